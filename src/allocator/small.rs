//! The slow paths of small allocations: refill, flush, and threads without a cache.

use core::ptr::NonNull;
use core::sync::atomic::Ordering::Relaxed;

use super::{Allocator, abort_over};
use crate::arena::{BinContext, Refill};
use crate::os::clock;
use crate::page_source::PageSource;
use crate::size_class::SizeClass;
use crate::slab::{Misuse, Slab, page_of};
use crate::thread_cache::{LockedCache, ThreadCache, ThreadSlot};

impl<S: PageSource> Allocator<S> {
    /// Allocates a small block when the thread's cache had none.
    #[cold]
    #[inline(never)]
    pub(crate) fn alloc_small_slow(
        &self,
        slot: &ThreadSlot,
        class: SizeClass,
    ) -> Option<NonNull<u8>> {
        self.with_retry(slot, || match self.cache_for(slot) {
            Some(cache) => self.alloc_refilling(slot, cache, class),
            None => self.alloc_uncached(class),
        })
    }

    /// Frees a small block when the thread's cache had no room.
    ///
    /// # Safety
    ///
    /// The block is of this class, from this heap, and its user gives it up.
    #[cold]
    #[inline(never)]
    pub(crate) unsafe fn dealloc_small_slow(
        &self,
        slot: &ThreadSlot,
        class: SizeClass,
        block: NonNull<u8>,
    ) {
        let Some(cache) = self.cache_for(slot) else {
            self.put_back_one(class, block);
            return;
        };
        let now = clock::coarse_milliseconds();
        let is_later = cache.used_at() != now;
        if cache.bin(class).capacity() == 0 && !is_later && self.put_unlent(class, block) {
            return;
        }
        let mut locked = cache.open(slot, &self.caches, now);
        let mut has_budget = true;
        // SAFETY: the caller's promise; each attempt that answers false left the block alone.
        unsafe {
            if !locked.push(class, block) {
                has_budget = self.grow(&mut locked, class, now);
                if !locked.push(class, block) {
                    let half = cache.bin(class).capacity().div_ceil(2);
                    locked.flush(class, half, |blocks| self.flush_by_cpu(class, blocks));
                    if !locked.push(class, block) {
                        self.put_one_by_cpu(class, block);
                    }
                }
            }
        }
        drop(locked);
        self.pay_dues(slot, Call { now, is_later, has_budget });
    }

    /// What is owed from time to time, paid by whoever comes by; no lock is held.
    #[inline]
    fn pay_dues(&self, slot: &ThreadSlot, call: Call) {
        if !call.has_budget {
            self.reclaim_for_budget(slot, call.now);
        }
        self.answer_soft_limit(slot);
        // The clock moves in steps of some milliseconds, in which a thread may come by thousands of
        // times.
        if call.is_later {
            self.give_up_stale(slot, call.now);
            self.tick(call.now);
        } else {
            self.give_back_excess(call.now);
        }
    }

    fn alloc_refilling(
        &self,
        slot: &ThreadSlot,
        cache: &ThreadCache,
        class: SizeClass,
    ) -> Option<NonNull<u8>> {
        let now = clock::coarse_milliseconds();
        let is_later = cache.used_at() != now;
        // Once in a step of the clock the cache is opened all the same, so that its owner counts as at
        // work, and pays what is owed.
        if cache.bin(class).capacity() == 0
            && !is_later
            && let Some(block) = self.take_unlent(class)
        {
            return Some(block);
        }
        self.follow_policy(slot, cache);
        loop {
            let mut locked = cache.open(slot, &self.caches, now);
            if let Some(block) = locked.pop(class) {
                return Some(block);
            }
            let has_budget = self.grow(&mut locked, class, now);
            let refilled = self.refill(cache, &mut locked, class);
            drop(locked);
            match refilled {
                Ok(block) => {
                    self.pay_dues(slot, Call { now, is_later, has_budget });
                    return block;
                }
                Err(ArenaClosed) => self.change_arena(slot, cache, || self.assign_arena()),
            }
        }
    }

    /// Lets a bin hold more; `false` where that needs a reclaim.
    fn grow(&self, locked: &mut LockedCache<'_>, class: SizeClass, now: u64) -> bool {
        locked.note_miss(class, now);
        if locked.grow(class, &self.magazines()) {
            return true;
        }
        let is_content = locked.is_content(class, &self.budget);
        if is_content {
            let flush = |class, blocks: &mut [*mut u8]| self.flush(class, blocks);
            locked.grow_at_others_cost(class, &self.magazines(), flush);
        }
        is_content
    }

    /// Fills the bin from the thread's arena and takes a block from it.
    fn refill(
        &self,
        cache: &ThreadCache,
        locked: &mut LockedCache<'_>,
        class: SizeClass,
    ) -> Result<Option<NonNull<u8>>, ArenaClosed> {
        let Some(context) = self.bin(cache.arena(), class) else { return Ok(None) };
        if cache.bin(class).capacity() == 0 {
            return self.take_one_by_cpu(&context);
        }
        let mut outcome = Refill::Refused;
        locked.fill(class, |entries| {
            outcome = self.refill_by_cpu(&context, entries);
            if let Refill::Got { count, .. } = outcome { count } else { 0 }
        });
        match outcome {
            Refill::Got { contended, .. } => {
                locked.state.contended = contended;
                Ok(locked.pop(class))
            }
            Refill::Refused => Ok(None),
            Refill::Closed => Err(ArenaClosed),
        }
    }

    fn take_one(&self, context: &BinContext<'_, S>) -> Result<Option<NonNull<u8>>, ArenaClosed> {
        let mut block = [core::ptr::null_mut()];
        match context.refill(&mut block) {
            Refill::Got { .. } => Ok(NonNull::new(block[0])),
            Refill::Refused => Ok(None),
            Refill::Closed => Err(ArenaClosed),
        }
    }

    /// Allocates a block straight from an arena.
    fn alloc_uncached(&self, class: SizeClass) -> Option<NonNull<u8>> {
        loop {
            // Without asking the policy, which may itself be what allocates here.
            let arena = self.arenas.first(&self.metadata, &self.page_heap)?;
            // The first arena closes only when the heap is released.
            if let Ok(block) = self.take_one(&self.bin(arena, class)?) {
                return block;
            }
        }
    }

    /// Gives blocks of one class up to a depot, or else to their slabs.
    pub(super) fn flush(&self, class: SizeClass, blocks: &mut [*mut u8]) {
        let Some(first) = blocks.first() else { return };
        // A batch goes to the depot of the arena that its first block came from, if nobody keeps that
        // bin, so that between a producer and a consumer it travels back.
        let slab = self.slab_of(*first, class);
        let slab = slab.unwrap_or_else(|misuse| abort_over(misuse, *first, class.block_bytes()));
        // Relaxed: who seals slabs drained the caches before, and those at work may miss it.
        let has_seals = self.has_seals.load(Relaxed);
        let is_sealed =
            |block: &*mut u8| has_seals && self.slab_of(*block, class).is_ok_and(Slab::is_sealed);
        let bin = self.bin(slab.arena(), class);
        let is_stocked = bin.is_some_and(|bin| self.stock_in(&bin, blocks, is_sealed));
        if !is_stocked {
            self.put_back(class, blocks);
        }
    }

    /// Puts one block back into its slab.
    pub(super) fn put_back_one(&self, class: SizeClass, block: NonNull<u8>) {
        loop {
            let lookup = |block| self.slab_of(block, class);
            let outcome = lookup(block.as_ptr()).and_then(|slab| {
                let bin = self.bin(slab.arena(), class).ok_or(Misuse::NotASlab)?;
                bin.put_back_one(block, lookup)
            });
            match outcome {
                Ok(true) => return,
                // The arena closed between the look and the lock; the next look finds the new one.
                Ok(false) => {}
                Err(misuse) => abort_over(misuse, block.as_ptr(), class.block_bytes()),
            }
        }
    }

    /// Puts blocks of one class back into their slabs, arena by arena.
    pub(crate) fn put_back(&self, class: SizeClass, blocks: &mut [*mut u8]) {
        let mut rest = blocks;
        while let Some(&first) = rest.first() {
            // The arena may close between the look and the lock; then its slabs have moved, no
            // block is found to belong to it, and the next look finds the new one.
            let outcome = self.slab_of(first, class).map_err(|misuse| (misuse, first));
            let outcome = outcome.and_then(|slab| match self.bin(slab.arena(), class) {
                Some(bin) => bin.put_back(rest, |block| self.slab_of(block, class)),
                None => Err((Misuse::NotASlab, first)),
            });
            match outcome {
                Ok(others) => rest = others,
                Err((misuse, block)) => abort_over(misuse, block, class.block_bytes()),
            }
        }
    }

    pub(super) fn slab_of(&self, block: *mut u8, class: SizeClass) -> Result<Slab, Misuse> {
        let block = NonNull::new(block).ok_or(Misuse::NotOurs)?;
        Slab::of_block(page_of(&self.page_heap, block)?, class)
    }

    #[inline]
    pub(crate) fn bin(&self, arena: usize, class: SizeClass) -> Option<BinContext<'_, S>> {
        self.arenas.context(arena, class, &self.page_heap, &self.metadata, &self.budget)
    }
}

/// A call of the slow path, as what is owed after it depends on it.
#[derive(Clone, Copy)]
struct Call {
    /// The time by the coarse clock, in milliseconds.
    now: u64,
    /// Whether the thread's last call was at another time.
    is_later: bool,
    /// Whether the bin had what it asked of the budget.
    has_budget: bool,
}

/// The arena was closed by a lower cap.
pub(super) struct ArenaClosed;
