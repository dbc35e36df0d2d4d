//! How the bins of one cache share what it may hold, once the budget lends no more.
//!
//! A block that waits in a bin costs its size and spares, at best, one call of the slow path, so a
//! byte is worth most to the bin that would come by the slow path most often without it. Each bin
//! counts its calls. Every few of them a bin that wants to hold more takes it from bins of its own
//! cache to which the same bytes are worth much less: mostly those of large blocks, which are asked
//! for seldom and would fill any cache, and those that nobody uses any more.

use core::sync::atomic::Ordering::Relaxed;

use super::{CacheBin, LockedCache, Magazines, cache_bin};
use crate::budget::CacheBudget;
use crate::page_source::PageSource;
use crate::size_class::{CLASS_COUNT, SizeClass};

/// Calls of the slow path between two attempts of a bin to take from others.
const PAUSE_MISSES: u8 = 4;

/// The most calls that are counted of a bin: a multiple of the pause, so that its turn comes then
/// too.
const MISSES_MAX: u8 = 252;

/// How much less a byte must be worth to the bin that loses it.
const WORTH_RATIO: u64 = 4;

/// Bins looked at in one attempt.
const LOOKS: usize = 16;

/// A bin that would give less than this part of what is wanted is left alone.
const PART_MIN: usize = 4;

/// Bytes of a block for which a call of the slow path costs as much again as for a small one: larger
/// blocks lie on slabs of few, which come and go.
const COST_BYTES: u64 = 4096;

/// Calls of the slow path within one step of the coarse clock, some milliseconds, that tell of a
/// thread which is at work all the time: more than one request of a server makes.
const PRESSED_MISSES: u32 = 64;

/// What a cache remembers of its bins, under its lock.
#[derive(Debug)]
pub(crate) struct Shares {
    /// Calls of the slow path by each bin, halved when the hand passes.
    misses: [u8; CLASS_COUNT],
    /// The length that each bin had when the hand passed.
    lengths: [u8; CLASS_COUNT],
    /// The index of the class that is looked at next.
    hand: u8,
    /// Calls of the slow path at the moment of the last one, as the coarse clock has it.
    moment: u64,
    moment_misses: u32,
    /// Bytes borrowed that are no bin's, since they were not enough for the one that wanted them.
    spare_bytes: usize,
}

impl Shares {
    pub(super) const fn new() -> Self {
        Shares {
            misses: [0; CLASS_COUNT],
            lengths: [0; CLASS_COUNT],
            hand: 0,
            moment: 0,
            moment_misses: 0,
            spare_bytes: 0,
        }
    }

    /// Takes `bytes` of what is spare, if there are so many.
    fn take_spare(&mut self, bytes: usize) -> bool {
        let is_enough = self.spare_bytes >= bytes;
        if is_enough {
            self.spare_bytes -= bytes;
        }
        is_enough
    }

    pub(super) fn spare_bytes(&self) -> usize {
        self.spare_bytes
    }

    pub(super) fn take_all_spare(&mut self) -> usize {
        core::mem::take(&mut self.spare_bytes)
    }
}

impl LockedCache<'_> {
    /// Counts a call of the slow path by this class's bin.
    pub(crate) fn note_miss(&mut self, class: SizeClass, now: u64) {
        self.state.last_look.note(class);
        let shares = &mut self.state.shares;
        let misses = &mut shares.misses[class.index()];
        *misses = (*misses + 1).min(MISSES_MAX);
        if core::mem::replace(&mut shares.moment, now) != now {
            shares.moment_misses = 0;
        }
        shares.moment_misses = shares.moment_misses.saturating_add(1);
    }

    /// Whether the owner is at work without a pause and would do better with more than its share.
    pub(crate) fn is_pressed(&self) -> bool {
        self.state.shares.moment_misses >= PRESSED_MISSES
    }

    /// Lets a bin hold more at the cost of others of the same cache, if its turn has come and they
    /// are worth less; `flush` gets the blocks that these have no room for any more.
    pub(crate) fn grow_at_others_cost<S: PageSource>(
        &mut self,
        class: SizeClass,
        magazines: &Magazines<'_, S>,
        mut flush: impl FnMut(SizeClass, &mut [*mut u8]),
    ) {
        let more_bytes = self.more_bytes(class);
        let misses = self.state.shares.misses[class.index()];
        if more_bytes == 0 || !misses.is_multiple_of(PAUSE_MISSES) {
            return;
        }
        for _ in 0..LOOKS {
            if self.state.shares.spare_bytes >= more_bytes {
                break;
            }
            if let Some(other) = self.next_loser(class, more_bytes) {
                self.shrink(other, magazines, &mut flush);
            }
        }
        if self.state.shares.take_spare(more_bytes) {
            self.grow_by(class, more_bytes, magazines);
        }
    }

    /// Moves the hand on; answers the class it passes if that is to lose to `winner`.
    fn next_loser(&mut self, winner: SizeClass, more_bytes: usize) -> Option<SizeClass> {
        let shares = &mut self.state.shares;
        let class = SizeClass::from_index(usize::from(shares.hand))?;
        shares.hand = (shares.hand + 1) % CLASS_COUNT as u8;
        let (index, bin) = (class.index(), self.cache.bin(class));
        let (misses, len) = (shares.misses[index], bin.len() as u8);
        shares.misses[index] /= 2;
        let is_idle = misses == 0 && core::mem::replace(&mut shares.lengths[index], len) == len;
        let freed_bytes = (bin.capacity() - less(bin, class)) * class.block_bytes();
        let is_worth = freed_bytes > 0 && freed_bytes * PART_MIN >= more_bytes;
        if index == winner.index() || !is_worth {
            return None;
        }
        let winner_misses = u64::from(shares.misses[winner.index()]) * cost(winner);
        let winner_bytes = self.cache.bin(winner).capacity().max(1) * winner.block_bytes();
        let loser_bytes = bin.capacity() * class.block_bytes();
        // Misses for each byte, multiplied out.
        let loses = u64::from(misses.max(1)) * cost(class) * winner_bytes as u64 * WORTH_RATIO
            <= winner_misses * loser_bytes as u64;
        (is_idle || loses).then_some(class)
    }

    /// Makes a bin hold less; what it borrowed for that is spare then.
    fn shrink<S: PageSource>(
        &mut self,
        class: SizeClass,
        magazines: &Magazines<'_, S>,
        flush: &mut impl FnMut(SizeClass, &mut [*mut u8]),
    ) {
        let bin = self.cache.bin(class);
        let (capacity, kept) = (bin.capacity(), less(bin, class));
        let surplus = bin.len().saturating_sub(kept);
        self.flush(class, surplus, |blocks| flush(class, blocks));
        if kept == 0 {
            self.release_magazine(bin, magazines);
        } else if self.move_magazine(bin, kept, magazines).is_none() {
            return;
        }
        self.state.shares.spare_bytes += (capacity - kept) * class.block_bytes();
    }

    /// Lets a bin hold as much more as has been borrowed for it.
    fn grow_by<S: PageSource>(
        &mut self,
        class: SizeClass,
        more_bytes: usize,
        magazines: &Magazines<'_, S>,
    ) {
        let bin = self.cache.bin(class);
        if self.move_magazine(bin, bin.next_capacity(class), magazines).is_none() {
            self.cache.borrowed_bytes.fetch_sub(more_bytes, Relaxed);
            magazines.budget.return_bytes(more_bytes);
        }
    }

    /// Lets a bin hold more, as far as memory allows; `false` where the budget does not.
    pub(crate) fn grow<S: PageSource>(
        &mut self,
        class: SizeClass,
        magazines: &Magazines<'_, S>,
    ) -> bool {
        let more_bytes = self.more_bytes(class);
        if more_bytes == 0 {
            return true;
        }
        if !self.state.shares.take_spare(more_bytes) {
            let has_claim = !self.is_content(class, magazines.budget);
            if !magazines.budget.borrow_bytes(more_bytes, has_claim) {
                return false;
            }
            self.cache.borrowed_bytes.fetch_add(more_bytes, Relaxed);
        }
        self.grow_by(class, more_bytes, magazines);
        true
    }

    /// Whether the cache has its share of the budget without what this bin wants, and its owner no
    /// reason to want more than that.
    pub(crate) fn is_content(&self, class: SizeClass, budget: &CacheBudget) -> bool {
        let wanted_bytes = self.cache.borrowed_bytes() + self.more_bytes(class);
        !self.is_pressed() && budget.share_bytes().is_some_and(|bytes| wanted_bytes > bytes)
    }

    /// Bytes that a bin needs in order to grow; 0 for one that holds all that it may.
    fn more_bytes(&self, class: SizeClass) -> usize {
        let bin = self.cache.bin(class);
        (bin.next_capacity(class) - bin.capacity()) * class.block_bytes()
    }
}

/// What a bin shrinks to: half, or nothing where it has no more than it started with.
fn less(bin: &CacheBin, class: SizeClass) -> usize {
    let capacity = bin.capacity();
    if capacity <= cache_bin::capacity_start(class) { 0 } else { capacity / 2 }
}

/// What a call of the slow path costs, beside that for a small block.
fn cost(class: SizeClass) -> u64 {
    1 + class.block_bytes() as u64 / COST_BYTES
}
