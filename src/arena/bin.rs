//! Bins: one size class's slabs in one arena, and the lock that guards them.
//!
//! ```text
//! refill ── from the depot
//!        ── from the fullest slabs with room
//!        ├─ nothing found: cut new slabs from the page heap
//!        └─ the lock is kept: slabs cut apart, and left for who takes it next
//! flush ─── to the depot of the arena that the blocks came from, or one that nobody has
//!        └─ no room: each block to its slab; emptied slabs to the page heap
//! ```

mod refill;
mod upkeep;

use core::ptr::NonNull;

use crossbeam_utils::CachePadded;

use super::bin_cell::{BinCell, StateGuard};
use super::bin_state::BinState;
use super::block_stack::ChunkSupply;
use super::depot::DepotSupply;
use crate::budget::CacheBudget;
use crate::metadata::Metadata;
use crate::page_heap::PageHeap;
use crate::page_source::PageSource;
use crate::size_class::SizeClass;
use crate::slab::{Misuse, Slab};
use crate::span::SpanPtr;

/// Slabs cut or freed under one hold of a lock of the page heap's.
const SLAB_BATCH: usize = 16;

type SlabBatch = [Option<SpanPtr>; SLAB_BATCH];

/// A bin on cache lines of its own.
pub(crate) type Bin = CachePadded<BinCell>;

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
    fn lock(&self) -> (StateGuard<'_>, bool) {
        let (mut state, contended) = self.bin.lock_noting_contention(self.class);
        note_lock(&mut state, contended);
        (state, contended)
    }

    /// Gives slabs that no bin lists back to the page heap.
    fn free_slabs(&self, slabs: &[Option<SpanPtr>]) {
        if !slabs.is_empty() {
            self.page_heap.free_many(slabs);
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
        let (state, _) = self.lock();
        self.stock_locked(state, blocks, is_sealed)
    }

    /// The same, unless somebody has the lock for longer than a moment.
    pub(crate) fn try_stock(
        &self,
        blocks: &[*mut u8],
        is_sealed: impl FnMut(&*mut u8) -> bool,
    ) -> Option<bool> {
        let (mut state, contended) = self.bin.lock_soon(self.class)?;
        note_lock(&mut state, contended);
        Some(self.stock_locked(state, blocks, is_sealed))
    }

    /// The same, unless somebody has the lock.
    pub(crate) fn try_stock_now(
        &self,
        blocks: &[*mut u8],
        is_sealed: impl FnMut(&*mut u8) -> bool,
    ) -> bool {
        let Some(mut state) = self.bin.try_lock(self.class) else { return false };
        note_lock(&mut state, false);
        self.stock_locked(state, blocks, is_sealed)
    }

    fn stock_locked(
        &self,
        mut state: StateGuard<'_>,
        blocks: &[*mut u8],
        is_sealed: impl FnMut(&*mut u8) -> bool,
    ) -> bool {
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
        let mut emptied: SlabBatch = [None; SLAB_BATCH];
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
                    drop(state);
                    self.free_slabs(&emptied);
                    emptied_count = 0;
                    state = self.bin.lock(self.class);
                }
                emptied[emptied_count] = Some(slab.span());
                emptied_count += 1;
            }
        }
        self.tell_retouched(&mut state);
        // Without the bin's lock, as in `cut_slabs`.
        drop(state);
        self.free_slabs(&emptied[..emptied_count]);
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
        drop(state);
        if is_emptied {
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
        let chunks = ChunkSupply { metadata: self.metadata, source: self.page_heap.source() };
        DepotSupply { chunks, budget: self.budget }
    }

    /// Stops the program where the bin contradicts itself.
    pub(crate) fn check(&self) {
        self.bin.lock(self.class).check(self.class, self.arena);
    }
}

fn note_lock(state: &mut BinState, contended: bool) {
    state.counts.lock_acquisitions += 1;
    state.counts.lock_contentions += u64::from(contended);
}
