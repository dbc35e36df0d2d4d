//! A bin's slabs on lists by fullness, and the sealed ones on a list apart.
//!
//! A refill takes from the fullest slab that has room, so that sparse ones come to be empty. From a
//! sealed slab it takes nothing: its pages are shared with a forked process for as long as nobody
//! writes to them, and blocks freed into it wait there until it is empty or thawed.

use crate::size_class::{SizeClass, SlabShape};
use crate::slab::{FULLNESS_LEVELS, Slab};
use crate::span::Link::{NextOrChild as Next, PreviousOrSibling as Previous};
use crate::span::SpanPtr;

/// The list of slabs without a free block.
const FULL: usize = FULLNESS_LEVELS - 1;

/// The list of sealed slabs, whatever their fullness.
const SEALED: usize = FULLNESS_LEVELS;

const LISTS: usize = FULLNESS_LEVELS + 1;

/// Slabs of one class, each on one list, doubly linked through the descriptors; zeroed memory is
/// lists without slabs.
#[derive(Debug)]
pub(super) struct SlabLists {
    first: [Option<SpanPtr>; LISTS],
    /// One bit for each list that is not empty.
    occupied: u16,
    sealed: SealedTally,
}

/// How many slabs are sealed, and how many of their blocks are free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SealedTally {
    pub(super) slabs: usize,
    pub(super) free_blocks: usize,
}

/// What a walk over all slabs of a bin adds up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SlabTally {
    pub(super) slabs: usize,
    pub(super) taken_blocks: usize,
}

/// The list that a slab belongs on.
#[inline]
pub(super) fn level_of(shape: &SlabShape, slab: Slab) -> usize {
    if slab.is_sealed() { SEALED } else { slab.fullness(shape) }
}

impl SlabLists {
    /// The fullest slab that a refill may take from, of several the one that came there last.
    pub(super) fn fullest_with_room(&self) -> Option<Slab> {
        let with_room = self.occupied & ((1 << FULL) - 1);
        let level = with_room.checked_ilog2()?;
        self.first[level as usize].map(Slab::from_span)
    }

    pub(super) fn link(&mut self, slab: Slab, level: usize) {
        let span = slab.span();
        let first = self.first[level];
        span.set_link(Next, first);
        span.set_link(Previous, None);
        if let Some(first) = first {
            first.set_link(Previous, Some(span));
        }
        self.first[level] = Some(span);
        self.occupied |= 1 << level;
        if level == SEALED {
            self.sealed.slabs += 1;
            self.sealed.free_blocks += slab.free_blocks();
        }
    }

    pub(super) fn unlink(&mut self, slab: Slab, level: usize) {
        let span = slab.span();
        let (next, previous) = (span.link(Next), span.link(Previous));
        match previous {
            Some(previous) => previous.set_link(Next, next),
            None => self.first[level] = next,
        }
        if let Some(next) = next {
            next.set_link(Previous, previous);
        }
        if self.first[level].is_none() {
            self.occupied &= !(1 << level);
        }
        if level == SEALED {
            self.sealed.slabs -= 1;
            self.sealed.free_blocks -= slab.free_blocks();
        }
    }

    /// Notes that `count` blocks of a slab on list `level` are free that were not when it came there.
    #[inline]
    pub(super) fn note_freed(&mut self, level: usize, count: usize) {
        if level == SEALED {
            self.sealed.free_blocks += count;
        }
    }

    /// Moves a slab whose blocks came or went to the list it belongs on now.
    #[inline]
    pub(super) fn relink(&mut self, shape: &SlabShape, slab: Slab, before: usize) {
        let after = level_of(shape, slab);
        if after != before {
            self.unlink(slab, before);
            self.link(slab, after);
        }
    }

    /// Takes any slab off its list, until none is left.
    pub(super) fn take_any(&mut self) -> Option<(Slab, usize)> {
        let level = self.occupied.checked_ilog2()? as usize;
        let slab = self.first[level].map(Slab::from_span)?;
        self.unlink(slab, level);
        Some((slab, level))
    }

    /// Seals every slab; answers how many were not sealed before.
    pub(super) fn seal_all(&mut self) -> usize {
        let mut count = 0;
        for level in 0..SEALED {
            while let Some(slab) = self.first[level].map(Slab::from_span) {
                self.unlink(slab, level);
                slab.set_sealed(true);
                self.link(slab, SEALED);
                count += 1;
            }
        }
        count
    }

    /// Lets refills take from sealed slabs again; answers how many there were.
    pub(super) fn thaw_all(&mut self, shape: &SlabShape) -> usize {
        let mut count = 0;
        while let Some(slab) = self.first[SEALED].map(Slab::from_span) {
            self.unlink(slab, SEALED);
            slab.set_sealed(false);
            self.link(slab, slab.fullness(shape));
            count += 1;
        }
        count
    }

    /// The slabs that may have a free block.
    pub(super) fn with_free_blocks(&self) -> impl Iterator<Item = Slab> + '_ {
        self.on(0..FULL).chain(self.on(SEALED..LISTS))
    }

    pub(super) fn sealed_tally(&self) -> SealedTally {
        self.sealed
    }

    pub(super) fn sealed(&self) -> impl Iterator<Item = Slab> + '_ {
        self.on(SEALED..LISTS)
    }

    fn on(&self, levels: core::ops::Range<usize>) -> impl Iterator<Item = Slab> + '_ {
        self.first[levels].iter().flat_map(|first| {
            core::iter::successors(*first, |span| span.link(Next)).map(Slab::from_span)
        })
    }

    /// Stops the program where the lists contradict their slabs; answers what these add up to.
    pub(super) fn check(&self, class: SizeClass, arena: usize) -> SlabTally {
        let shape = class.shape();
        let mut tally = SlabTally::default();
        let mut sealed = SealedTally::default();
        for level in 0..LISTS {
            let is_occupied = self.occupied & (1 << level) != 0;
            ensure_eq!(self.first[level].is_some(), is_occupied, "a bin's occupied lists");
            let mut previous = None;
            for slab in self.on(level..level + 1) {
                slab.check(class, arena);
                ensure_eq!(level_of(shape, slab), level, "a slab is on the wrong list");
                ensure!(!slab.is_empty(shape), "an empty slab stays in its bin");
                ensure_eq!(slab.span().link(Previous), previous, "a list's back links");
                previous = Some(slab.span());
                tally.slabs += 1;
                tally.taken_blocks += shape.capacity as usize - slab.free_blocks();
                if slab.is_sealed() {
                    sealed.slabs += 1;
                    sealed.free_blocks += slab.free_blocks();
                }
            }
        }
        ensure_eq!(sealed, self.sealed, "sealed slabs of a bin, and their free blocks");
        tally
    }
}
