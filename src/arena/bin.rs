//! Bins: one size class's slabs in one arena, and the lock that guards them.
//!
//! ```text
//! refill ── from the depot
//!        ── from the fullest slabs with room
//!        └─ nothing found: cut new slabs from the page heap
//! flush ─── to the depot of the arena that the blocks came from
//!        └─ no room: each block to its slab; emptied slabs to the page heap
//! ```

use core::ptr::NonNull;

use crossbeam_utils::CachePadded;

use super::depot::{Depot, DepotSupply};
use super::slab_lists::{SlabLists, SlabTally, level_of};
use crate::budget::CacheBudget;
use crate::lock::{Mutex, MutexGuard, rank};
use crate::metadata::Metadata;
use crate::page_heap::PageHeap;
use crate::page_source::PageSource;
use crate::size_class::{SizeClass, SlabShape};
use crate::slab::{Misuse, Slab};
use crate::span::SpanKind;

/// Slabs cut or freed under one hold of the page heap's lock.
const SLAB_BATCH: usize = 16;

/// Bytes of slabs cut at once to fill a batch.
const CUT_BYTES_MAX: usize = 64 * 1024;

/// The part of a bin's slabs that may be free, and how many bytes in any case, for blocks to go from
/// thread to thread by the depot.
const SPARSE_PART: usize = 16;
const SPARSE_MIN_BYTES: usize = 32 * 1024;

/// One size class of one arena; zeroed memory is an open, empty one.
pub(crate) type Bin = CachePadded<Mutex<{ rank::BIN }, BinState>>;

/// What a bin's lock guards.
#[derive(Debug)]
pub(crate) struct BinState {
    pub(super) slabs: SlabLists,
    /// Whether the arena is closed: no more refills, its slabs are moving elsewhere.
    pub(super) is_closed: bool,
    pub(super) depot: Depot,
    pub(super) counts: BinCounts,
    /// Bytes of purged pages that came to be resident again, not yet told to the limits.
    retouched_bytes: usize,
    /// Refills and flushes at the end of the last period of decay.
    seen_uses: u64,
    /// Whether nothing was done here since its depot and slabs were given back what they could.
    is_settled: bool,
}

/// What a bin counts as it works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct BinCounts {
    pub(crate) slabs: usize,
    /// Blocks out of the slabs: with users, in thread caches and in depots.
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

/// A bin with what it needs of the rest of the heap.
#[derive(Debug)]
pub(crate) struct BinContext<'heap, S> {
    pub(crate) bin: &'heap Bin,
    pub(crate) class: SizeClass,
    pub(crate) arena: usize,
    pub(crate) page_heap: &'heap PageHeap<S>,
    pub(crate) metadata: &'heap Metadata,
    pub(crate) budget: &'heap CacheBudget,
}

/// How a refill went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refill {
    /// So many blocks were had, at least one; and whether the lock was found taken.
    Got { count: usize, contended: bool },
    /// No memory.
    Refused,
    /// The arena is closed; the thread must take another.
    Closed,
}

/// How a bin stands to decay.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Settling {
    /// It was used during the period.
    Used,
    /// It was not, and has yet to give back what it can.
    Due,
    /// It was not, and gave back what it can before.
    Settled,
}

impl<S: PageSource> BinContext<'_, S> {
    fn lock(&self) -> (MutexGuard<'_, { rank::BIN }, BinState>, bool) {
        let (mut state, contended) = self.bin.lock_noting_contention();
        state.counts.lock_acquisitions += 1;
        state.counts.lock_contentions += u64::from(contended);
        (state, contended)
    }

    /// Fills `into` with free blocks, lowest addresses first, as far as there are any.
    pub(crate) fn refill(&self, into: &mut [*mut u8]) -> Refill {
        let (mut state, contended) = self.lock();
        if state.is_closed {
            return Refill::Closed;
        }
        state.counts.refills += 1;
        let mut count = state.depot.take(self.class, into, &self.depot_supply());
        count += state.take_from_slabs(self.class, &mut into[count..]);
        if count == 0 {
            self.cut_slabs(&mut state, into.len());
            count = state.take_from_slabs(self.class, into);
        }
        self.tell_retouched(&mut state);
        if count == 0 { Refill::Refused } else { Refill::Got { count, contended } }
    }

    /// Cuts as many new slabs as `wanted` blocks need, or as can be had.
    fn cut_slabs(&self, state: &mut BinState, wanted: usize) {
        let shape = self.class.shape();
        let bytes_bound = (CUT_BYTES_MAX / shape.pages().bytes()).max(1);
        let slabs = wanted.div_ceil(shape.capacity as usize).min(bytes_bound).min(SLAB_BATCH);
        let mut spans = [None; SLAB_BATCH];
        let taken = self.page_heap.take_many(shape.pages(), SpanKind::Slab, &mut spans[..slabs]);
        // Linked in reverse, so that the list's head is the lowest.
        for span in spans[..taken].iter().rev().flatten() {
            let slab = Slab::cut(*span, self.class, self.arena);
            state.slabs.link(slab, 0);
            state.counts.slabs += 1;
        }
    }

    /// Takes all of `blocks` into the depot, or none where there is no room.
    ///
    /// Nor where one belongs to a sealed slab, as `is_sealed` tells: the next refill would write
    /// to a page that is to stay as it is.
    pub(crate) fn stock(
        &self,
        blocks: &[*mut u8],
        is_sealed: impl FnMut(&*mut u8) -> bool,
    ) -> bool {
        let (mut state, _) = self.lock();
        // Blocks of other arenas may be sealed where this one's slabs are not.
        if state.is_closed || state.is_sparse(self.class) || blocks.iter().any(is_sealed) {
            return false;
        }
        state.counts.flushes += 1;
        state.depot.put(self.class, blocks, &self.depot_supply())
    }

    /// Puts those of `blocks` that belong to this bin back into their slabs.
    ///
    /// The others are moved to the front of `blocks`; answers how many they are.
    pub(crate) fn put_back<'blocks>(
        &self,
        blocks: &'blocks mut [*mut u8],
        lookup: impl Fn(*mut u8) -> Result<Slab, Misuse>,
    ) -> Result<&'blocks mut [*mut u8], (Misuse, *mut u8)> {
        let mut emptied = [None; SLAB_BATCH];
        let (mut state, _) = self.lock();
        state.counts.flushes += 1;
        let (mut index, mut others, mut emptied_count) = (0, 0, 0);
        while let Some(&block) = blocks.get(index) {
            let slab = lookup(block).map_err(|misuse| (misuse, block))?;
            if slab.arena() != self.arena {
                blocks[others] = block;
                others += 1;
                index += 1;
                continue;
            }
            let (count, is_emptied) = state.put(self.class.shape(), slab, &blocks[index..])?;
            index += count;
            if is_emptied {
                if emptied_count == SLAB_BATCH {
                    self.tell_retouched(&mut state);
                    self.page_heap.free_many(&emptied);
                    emptied_count = 0;
                }
                emptied[emptied_count] = Some(slab.span());
                emptied_count += 1;
            }
        }
        self.tell_retouched(&mut state);
        // Under the bin's lock, so that a fork finds each slab either in its bin or free.
        if emptied_count > 0 {
            self.page_heap.free_many(&emptied[..emptied_count]);
        }
        Ok(&mut blocks[..others])
    }

    /// Puts one block back into its slab; `false` where that belongs to another bin by now.
    pub(crate) fn put_back_one(
        &self,
        block: NonNull<u8>,
        lookup: impl Fn(*mut u8) -> Result<Slab, Misuse>,
    ) -> Result<bool, Misuse> {
        let (mut state, _) = self.lock();
        // Under the lock, so that a block freed twice at once is seen for what it is.
        let slab = lookup(block.as_ptr())?;
        if slab.arena() != self.arena {
            return Ok(false);
        }
        state.counts.flushes += 1;
        let outcome = state.put(self.class.shape(), slab, &[block.as_ptr()]);
        let (_, is_emptied) = outcome.map_err(|(misuse, _)| misuse)?;
        self.tell_retouched(&mut state);
        if is_emptied {
            // Under the bin's lock, as in `put_back`.
            self.page_heap.free(slab.span());
        }
        Ok(true)
    }

    fn tell_retouched(&self, state: &mut BinState) {
        let retouched_bytes = core::mem::take(&mut state.retouched_bytes);
        if retouched_bytes > 0 {
            self.page_heap.source().limits().count_resident(retouched_bytes);
        }
    }

    fn depot_supply(&self) -> DepotSupply<'_, S> {
        let source = self.page_heap.source();
        DepotSupply { metadata: self.metadata, source, budget: self.budget }
    }

    /// Takes the depot's blocks out, up to `into.len()`; an empty one gives up what it borrowed.
    pub(crate) fn drain_depot(&self, into: &mut [*mut u8]) -> usize {
        let (mut state, _) = self.lock();
        let count = state.depot.take(self.class, into, &self.depot_supply());
        state.depot.release(self.class, &self.depot_supply());
        count
    }

    /// Takes blocks out, up to `into.len()`, that the depot did without since the last period.
    pub(crate) fn take_depot_surplus(&self, into: &mut [*mut u8]) -> usize {
        let (mut state, _) = self.lock();
        state.depot.take_surplus(self.class, into, &self.depot_supply())
    }

    /// Calls `visit` with each of the depot's blocks, under the bin's lock.
    pub(crate) fn for_each_in_depot(&self, visit: impl FnMut(*mut u8)) {
        self.bin.lock().depot.for_each(self.class, visit);
    }

    /// Looks whether the bin was used since the last look, and says once that it was not.
    pub(crate) fn settle(&self) -> Settling {
        let (mut state, _) = self.lock();
        let uses = state.counts.refills + state.counts.flushes;
        if core::mem::replace(&mut state.seen_uses, uses) != uses {
            state.is_settled = false;
            return Settling::Used;
        }
        match core::mem::replace(&mut state.is_settled, true) {
            true => Settling::Settled,
            false => Settling::Due,
        }
    }

    /// Gives pages without a used block inside slabs back; answers the bytes.
    pub(crate) fn purge_slabs(&self) -> usize {
        let shape = self.class.shape();
        if shape.pages().count() < 2 {
            return 0;
        }
        let (state, _) = self.lock();
        let purge = |slab: Slab| slab.purge_free_pages(shape, self.page_heap.source());
        state.slabs.with_free_blocks().map(purge).sum()
    }

    /// Seals every slab of the bin; answers how many were not sealed before.
    pub(crate) fn seal(&self) -> usize {
        self.lock().0.slabs.seal_all()
    }

    /// Ends the seal of every slab of the bin; answers how many there were.
    pub(crate) fn thaw(&self) -> usize {
        self.lock().0.slabs.thaw_all(self.class.shape())
    }

    /// Moves every slab to `target`, which is of the same class in another arena.
    ///
    /// This bin must be closed already.
    pub(super) fn move_slabs_to(&self, target: &BinContext<'_, S>) {
        let (mut from, mut to) = Mutex::lock_two(self.bin, target.bin);
        debug_assert!(from.is_closed && !to.is_closed);
        while let Some((slab, level)) = from.slabs.take_any() {
            slab.span().set_arena(target.arena);
            to.slabs.link(slab, level);
        }
        to.counts.slabs += core::mem::take(&mut from.counts.slabs);
        to.counts.taken_blocks += core::mem::take(&mut from.counts.taken_blocks);
    }

    /// Stops the program where the bin contradicts itself.
    pub(crate) fn check(&self) {
        self.bin.lock().check(self.class, self.arena);
    }
}

impl BinState {
    /// Takes blocks from the fullest slabs first, so that sparse ones come to be empty.
    fn take_from_slabs(&mut self, class: SizeClass, into: &mut [*mut u8]) -> usize {
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

    /// Whether so much of the slabs is free that blocks should go back to them.
    ///
    /// What a depot hands out again may lie anywhere, while a refill from the slabs fills the fullest
    /// and lets the sparse ones come to be empty. Sealed slabs do not count: no refill takes what is
    /// free in those.
    fn is_sparse(&self, class: SizeClass) -> bool {
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
    fn put(
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

    fn check(&self, class: SizeClass, arena: usize) {
        let tally = self.slabs.check(class, arena);
        let counted =
            SlabTally { slabs: self.counts.slabs, taken_blocks: self.counts.taken_blocks };
        ensure_eq!(tally, counted, "slabs of a bin, and blocks taken from them");
        self.depot.check(class);
    }
}
