//! What is done with a bin besides serving it: decay, trim, seals, and its arena's end.

use super::super::bin_cell::BinCell;
use super::{BinContext, Settling};
use crate::page_source::PageSource;
use crate::slab::Slab;

impl<S: PageSource> BinContext<'_, S> {
    /// Takes the depot's blocks out, up to `into.len()`; an empty one gives up what it borrowed.
    pub(crate) fn drain_depot(&self, into: &mut [*mut u8]) -> usize {
        let (mut state, _) = self.lock();
        let count = state.depot.take(self.class, into, self.budget);
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
        self.bin.lock(self.class).depot.for_each(self.class, visit);
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
    pub(in super::super) fn move_slabs_to(&self, target: &BinContext<'_, S>) {
        let (mut from, mut to) = BinCell::lock_two(self.class, self.bin, target.bin);
        debug_assert!(from.is_closed && !to.is_closed);
        while let Some((slab, level)) = from.slabs.take_any() {
            slab.span().set_arena(target.arena);
            to.slabs.link(slab, level);
        }
        to.counts.slabs += core::mem::take(&mut from.counts.slabs);
        to.counts.taken_blocks += core::mem::take(&mut from.counts.taken_blocks);
    }
}
