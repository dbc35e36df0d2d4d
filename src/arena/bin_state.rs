//! What a bin's lock guards: its slabs, its depot and what it counts.

use super::depot::Depot;
use super::slab_lists::{SlabLists, SlabTally, level_of};
use crate::size_class::{SizeClass, SlabShape};
use crate::slab::{Misuse, Slab};
use crate::span::SpanPtr;

/// The part of a bin's slabs that may be free, and how many bytes in any case, for blocks to go from
/// thread to thread by the depot.
const SPARSE_PART: usize = 16;
const SPARSE_MIN_BYTES: usize = 32 * 1024;

/// What a bin's lock guards.
#[derive(Debug)]
pub(crate) struct BinState {
    pub(super) slabs: SlabLists,
    /// Whether the arena is closed: no more refills, its slabs are moving elsewhere.
    pub(super) is_closed: bool,
    pub(super) depot: Depot,
    pub(super) counts: BinCounts,
    /// Bytes of purged pages that came to be resident again, not yet told to the limits.
    pub(super) retouched_bytes: usize,
    /// Refills and flushes at the end of the last period of decay.
    pub(super) seen_uses: u64,
    /// Whether nothing was done here since its depot and slabs were given back what they could.
    pub(super) is_settled: bool,
}

/// What a bin counts as it works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct BinCounts {
    pub(crate) slabs: usize,
    /// Blocks out of the slabs: with users, in caches of threads and processors, and in depots.
    pub(crate) taken_blocks: usize,
    pub(crate) refills: u64,
    pub(crate) flushes: u64,
    pub(crate) lock_acquisitions: u64,
    pub(crate) lock_contentions: u64,
}

impl BinCounts {
    pub(crate) fn add(&mut self, other: &BinCounts) {
        self.slabs += other.slabs;
        self.taken_blocks += other.taken_blocks;
        self.refills += other.refills;
        self.flushes += other.flushes;
        self.lock_acquisitions += other.lock_acquisitions;
        self.lock_contentions += other.lock_contentions;
    }
}

impl BinState {
    /// Takes blocks from the fullest slabs first, so that sparse ones come to be empty.
    pub(super) fn take_from_slabs(&mut self, class: SizeClass, into: &mut [*mut u8]) -> usize {
        let shape = class.shape();
        let mut count = 0;
        while count < into.len() {
            let Some(slab) = self.slabs.fullest_with_room() else { break };
            let before = slab.fullness(shape);
            let purged_bytes = slab.purged_bytes(shape);
            count += slab.take(shape, &mut into[count..]);
            self.retouched_bytes += purged_bytes - slab.purged_bytes(shape);
            self.slabs.relink(shape, slab, before);
        }
        self.counts.taken_blocks += count;
        count
    }

    /// Lists slabs that were just cut.
    pub(super) fn link_new(&mut self, slabs: &[Option<SpanPtr>]) {
        // In reverse, so that the list's head is the lowest.
        for span in slabs.iter().rev().flatten() {
            self.slabs.link(Slab::from_span(*span), 0);
        }
        self.counts.slabs += slabs.len();
    }

    /// Lists a slab that somebody cut and took blocks from without the lock.
    pub(super) fn link_left(&mut self, shape: &SlabShape, slab: Slab) {
        self.slabs.link(slab, level_of(shape, slab));
        self.counts.slabs += 1;
        self.counts.taken_blocks += shape.capacity as usize - slab.free_blocks();
        self.counts.refills += 1;
    }

    /// Whether so much of the slabs is free that blocks should go back to them.
    ///
    /// What a depot hands out again may lie anywhere, while a refill from the slabs fills the fullest
    /// and lets the sparse ones come to be empty. Sealed slabs do not count: no refill takes what is
    /// free in those.
    pub(super) fn is_sparse(&self, class: SizeClass) -> bool {
        let capacity = class.shape().capacity as usize;
        let sealed = self.slabs.sealed_tally();
        let all_free_blocks = self.counts.slabs * capacity - self.counts.taken_blocks;
        let blocks = (self.counts.slabs - sealed.slabs) * capacity;
        let free_blocks = all_free_blocks - sealed.free_blocks;
        free_blocks * SPARSE_PART > blocks && free_blocks * class.block_bytes() > SPARSE_MIN_BYTES
    }

    /// Puts back those of `blocks`, from the first on, that follow each other in one slab.
    ///
    /// Answers how many, and whether their slab is empty now, and off the lists.
    pub(super) fn put(
        &mut self,
        shape: &SlabShape,
        slab: Slab,
        blocks: &[*mut u8],
    ) -> Result<(usize, bool), (Misuse, *mut u8)> {
        let before = level_of(shape, slab);
        let count = slab.put(shape, blocks)?;
        self.counts.taken_blocks -= count;
        self.slabs.note_freed(before, count);
        let is_emptied = slab.is_empty(shape);
        if is_emptied {
            self.slabs.unlink(slab, before);
            // Whoever takes the span next cuts it anew: with its last block the seal is gone.
            slab.set_sealed(false);
            self.counts.slabs -= 1;
            // The page heap takes the whole span for dirty, and so for resident.
            self.retouched_bytes += slab.purged_bytes(shape);
        } else {
            self.slabs.relink(shape, slab, before);
        }
        Ok((count, is_emptied))
    }

    /// Bytes of slabs' pages given back and not handed out since.
    pub(super) fn purged_bytes(&self, class: SizeClass) -> usize {
        let shape = class.shape();
        if shape.pages().count() < 2 {
            return 0;
        }
        self.slabs.with_free_blocks().map(|slab| slab.purged_bytes(shape)).sum()
    }

    pub(super) fn check(&self, class: SizeClass, arena: usize) {
        let tally = self.slabs.check(class, arena);
        let counted =
            SlabTally { slabs: self.counts.slabs, taken_blocks: self.counts.taken_blocks };
        ensure_eq!(tally, counted, "slabs of a bin, and blocks taken from them");
        self.depot.check(class);
    }
}
