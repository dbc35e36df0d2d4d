//! The depot: a bin's small stock of free blocks, between the thread caches and the slabs.
//!
//! What one thread flushes another refills with, by copying pointers and without a look at a
//! slab: producer and consumer pairs live off it. A batch is copied rather than a magazine
//! swapped, so that a thread at the edge between full and empty keeps half of its blocks instead
//! of trading magazines at every call.
//!
//! A depot that turned a batch away, and then ran out, was too small for what comes and goes: it
//! may hold twice as much from then on, as far as the budget of the caches lends. Blocks that lay
//! at its bottom for a whole period of decay were not needed, and go back to their slabs with
//! what was borrowed for them.

use super::block_stack::{BlockStack, ChunkSupply};
use crate::budget::CacheBudget;
use crate::page_source::PageSource;
use crate::size_class::{PerClass, SizeClass};

/// Bytes of blocks that a depot may always hold, and the fewest and most blocks.
const STOCK_BYTES: usize = 32 * 1024;
const BLOCKS_MIN: usize = 2;
const BLOCKS_MAX: usize = 256;

/// Bytes of blocks, and blocks, that a depot may come to hold.
const GROWN_BYTES: usize = 1 << 20;
const GROWN_BLOCKS_MAX: usize = 1 << 14;

/// A bounded stack of free blocks; zeroed memory is an empty one.
#[derive(Debug)]
pub(super) struct Depot {
    blocks: BlockStack,
    /// Blocks that it may hold beyond [`capacity`], borrowed from the budget.
    extra: u32,
    /// The fewest blocks that it held since the last period of decay ended.
    low_water: u32,
    /// The most that it held.
    high_water: u32,
    /// Whether a batch was turned away since the depot last grew or was drained.
    was_full: bool,
}

/// Where a depot's records come from, and what lends it its growth.
#[derive(Debug)]
pub(super) struct DepotSupply<'heap, S> {
    pub(super) chunks: ChunkSupply<'heap, S>,
    pub(super) budget: &'heap CacheBudget,
}

/// How many blocks of a class a depot may hold without borrowing.
pub(crate) fn capacity(class: SizeClass) -> usize {
    static BLOCKS: PerClass = SizeClass::blocks_within(STOCK_BYTES, BLOCKS_MIN, BLOCKS_MAX);
    BLOCKS.of(class)
}

/// How many blocks of a class a depot may come to hold.
pub(crate) fn capacity_max(class: SizeClass) -> usize {
    static BLOCKS: PerClass = SizeClass::blocks_within(GROWN_BYTES, BLOCKS_MIN, GROWN_BLOCKS_MAX);
    BLOCKS.of(class)
}

impl Depot {
    pub(super) fn len(&self) -> usize {
        self.blocks.len()
    }

    /// Moves up to `into.len()` blocks out; answers how many.
    ///
    /// Where there are too few, and batches were turned away, the depot may hold more hereafter.
    pub(super) fn take(
        &mut self,
        class: SizeClass,
        into: &mut [*mut u8],
        budget: &CacheBudget,
    ) -> usize {
        let count = self.blocks.take(class, into);
        self.low_water = self.low_water.min(self.len() as u32);
        if count < into.len() && self.was_full {
            self.grow(class, budget);
        }
        count
    }

    /// Lets the depot hold twice as much, as far as the budget lends.
    #[cold]
    fn grow(&mut self, class: SizeClass, budget: &CacheBudget) {
        self.was_full = false;
        let now = self.room(class);
        let more = now.min(capacity_max(class).saturating_sub(now));
        let more_bytes = more * class.block_bytes();
        if more > 0 && budget.borrow_bytes_for_depot(more_bytes) {
            self.extra += more as u32;
        }
    }

    /// How many blocks it may hold as it is.
    fn room(&self, class: SizeClass) -> usize {
        capacity(class) + self.extra as usize
    }

    /// Calls `visit` with every block.
    pub(super) fn for_each(&self, class: SizeClass, visit: impl FnMut(*mut u8)) {
        self.blocks.for_each(class, visit);
    }

    /// Moves all of `from` in, or nothing where it has no room.
    pub(super) fn put<S: PageSource>(
        &mut self,
        class: SizeClass,
        from: &[*mut u8],
        supply: &DepotSupply<'_, S>,
    ) -> bool {
        if self.len() + from.len() > self.room(class) {
            self.was_full = true;
            return false;
        }
        let is_in = self.blocks.put(class, from, &supply.chunks);
        self.high_water = self.high_water.max(self.len() as u32);
        is_in
    }

    /// Moves blocks that a whole period did without out, up to `into.len()`; answers how many.
    ///
    /// An answer below that tells that there are no more: room and records that were had and not
    /// needed have gone back, and the next period's marks begin.
    pub(super) fn take_surplus<S: PageSource>(
        &mut self,
        class: SizeClass,
        into: &mut [*mut u8],
        supply: &DepotSupply<'_, S>,
    ) -> usize {
        let surplus = self.low_water as usize;
        let wanted = surplus.min(into.len());
        let count = self.take(class, &mut into[..wanted], supply.budget);
        // `take` set the mark to what is left; of the surplus there is less now.
        self.low_water = (surplus - count) as u32;
        self.return_extra(class, count, supply.budget);
        let len = self.len() as u32;
        self.high_water = self.high_water.saturating_sub(count as u32).max(len);
        let needed = self.high_water as usize;
        self.blocks.give_spares(class, needed, &supply.chunks);
        // Not where `into` was just filled: the caller comes again, and would find the new mark.
        if count < into.len() {
            self.return_extra(class, self.room(class) - needed, supply.budget);
            (self.low_water, self.high_water) = (len, len);
        }
        count
    }

    fn return_extra(&mut self, class: SizeClass, blocks: usize, budget: &CacheBudget) {
        let blocks = blocks.min(self.extra as usize);
        self.extra -= blocks as u32;
        budget.return_bytes_of_depot(blocks * class.block_bytes());
    }

    /// Gives what an empty depot has and had borrowed back.
    pub(super) fn release<S: PageSource>(&mut self, class: SizeClass, supply: &DepotSupply<'_, S>) {
        if self.len() == 0 {
            (self.was_full, self.high_water) = (false, 0);
            self.return_extra(class, self.extra as usize, supply.budget);
            self.blocks.give_spares(class, 0, &supply.chunks);
        }
    }

    /// Stops the program where the depot contradicts itself.
    pub(super) fn check(&self, class: SizeClass) {
        let (len, room) = (self.len() as u32, self.room(class));
        self.blocks.check(class, room);
        ensure!(self.low_water <= len, "the least that a depot held");
        ensure!(len <= self.high_water, "the most that a depot held");
        ensure!(self.high_water as usize <= room, "a depot's capacity");
    }
}
