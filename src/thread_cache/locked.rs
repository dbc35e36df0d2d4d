//! What a slow path or a reclaimer does with a cache under its lock.

use core::ptr::NonNull;
use core::sync::atomic::Ordering::Relaxed;

use super::{CacheBin, CacheState, Magazines, ThreadCache, ThreadSlot, cache_bin};
use crate::lock::{MutexGuard, rank};
use crate::page_source::PageSource;
use crate::size_class::SizeClass;
use crate::span::SpanPtr;

/// A cache under its lock.
#[derive(Debug)]
pub(crate) struct LockedCache<'cache> {
    pub(super) cache: &'cache ThreadCache,
    pub(crate) state: MutexGuard<'cache, { rank::THREAD_CACHE }, CacheState>,
}

impl<'cache> LockedCache<'cache> {
    pub(crate) fn arena(&self) -> usize {
        self.cache.arena()
    }

    pub(crate) fn cache(&self) -> &'cache ThreadCache {
        self.cache
    }

    /// Whether the hidden cache's owner is known to be outside the fast path: the second half of a
    /// reclaim, after a fence on every thread.
    ///
    /// The registry's lock is held, which keeps the owner's slot alive.
    pub(crate) fn is_idle(&self) -> bool {
        self.cache.slot().is_some_and(ThreadSlot::is_idle)
    }

    /// Lets the owner's fast path use the cache; called by the owner.
    pub(crate) fn show(&self, slot: &ThreadSlot) {
        slot.show(NonNull::from_ref(self.cache));
    }

    /// Hides the cache from the owner's fast path; called by the owner.
    pub(crate) fn hide(&self, slot: &ThreadSlot) {
        slot.hide();
    }

    pub(crate) fn pop(&mut self, class: SizeClass) -> Option<NonNull<u8>> {
        // SAFETY: the lock is held, and the owner is here or known to be idle.
        unsafe { self.cache.bin(class).pop() }
    }

    /// # Safety
    ///
    /// The block is of this class, given up by its user, and nowhere else.
    pub(crate) unsafe fn push(&mut self, class: SizeClass, block: NonNull<u8>) -> bool {
        // SAFETY: the lock is held; the caller promises the block.
        unsafe { self.cache.bin(class).push(block) }
    }

    /// Fills an empty bin up to half by `refill`, which answers how many blocks it had.
    ///
    /// Half, so that what is freed next finds room. The first block refilled comes out first.
    pub(crate) fn fill(&mut self, class: SizeClass, refill: impl FnOnce(&mut [*mut u8]) -> usize) {
        let bin = self.cache.bin(class);
        debug_assert_eq!(bin.len(), 0);
        let wanted = bin.capacity().div_ceil(2);
        // SAFETY: the lock is held, and this is the only slice.
        let entries = unsafe { bin.entries(wanted) };
        let count = refill(entries);
        entries[..count].reverse();
        bin.set_len(count);
    }

    /// Hands the oldest `count` blocks of a bin to `flush`, or all there are.
    pub(crate) fn flush(
        &mut self,
        class: SizeClass,
        count: usize,
        flush: impl FnOnce(&mut [*mut u8]),
    ) {
        let bin = self.cache.bin(class);
        let count = count.min(bin.len());
        if count == 0 {
            return;
        }
        // SAFETY: the lock is held; the slice is gone before `drop_oldest` makes its own.
        unsafe {
            flush(bin.entries(count));
            bin.drop_oldest(count);
        }
    }

    pub(super) fn move_magazine<S: PageSource>(
        &mut self,
        bin: &CacheBin,
        capacity: usize,
        magazines: &Magazines<'_, S>,
    ) -> Option<()> {
        let (old_bytes, new_bytes) =
            (cache_bin::magazine_bytes(bin.capacity()), cache_bin::magazine_bytes(capacity));
        let old = bin.magazine();
        if let (Some(old), true) = (old, old_bytes == new_bytes) {
            // SAFETY: the lock is held, and the storage holds the new capacity as it is.
            unsafe { bin.set_magazine(old.as_ptr(), capacity) };
            return Some(());
        }
        let new = magazines.metadata.take(magazines.source, new_bytes)?.cast::<*mut u8>();
        // SAFETY: the lock is held; the new storage is longer than the old, whose entries are all
        // initialised; the old one is out of use once the bin has the new.
        unsafe {
            if let Some(old) = old {
                new.copy_from_nonoverlapping(old, bin.len());
                bin.set_magazine(new.as_ptr(), capacity);
                magazines.metadata.give(magazines.source, old.cast(), old_bytes);
            } else {
                bin.set_magazine(new.as_ptr(), capacity);
            }
        }
        Some(())
    }

    /// Hands all blocks to `flush` and `free_large`, and gives magazines and what they borrowed back.
    pub(crate) fn drain<S: PageSource>(
        &mut self,
        magazines: &Magazines<'_, S>,
        mut flush: impl FnMut(SizeClass, &mut [*mut u8]),
        free_large: impl FnMut(SpanPtr),
    ) -> usize {
        let mut drained_bytes = 0;
        for class in SizeClass::all() {
            let bin = self.cache.bin(class);
            let (len, capacity) = (bin.len(), bin.capacity());
            if capacity == 0 {
                continue;
            }
            self.flush(class, len, |blocks| flush(class, blocks));
            drained_bytes += len * class.block_bytes();
            self.release_magazine(bin, magazines);
            magazines.budget.return_bytes(capacity * class.block_bytes());
        }
        drained_bytes += self.drain_large(magazines, free_large);
        magazines.budget.return_bytes(self.state.shares.take_all_spare());
        self.cache.borrowed_bytes.store(0, Relaxed);
        drained_bytes
    }

    /// Gives the magazine of an empty bin back.
    pub(super) fn release_magazine<S: PageSource>(
        &self,
        bin: &CacheBin,
        magazines: &Magazines<'_, S>,
    ) {
        let Some(magazine) = bin.magazine() else { return };
        let bytes = cache_bin::magazine_bytes(bin.capacity());
        // SAFETY: the lock is held, and an empty bin of capacity zero needs no storage; the
        // magazine was taken by `move_magazine` with this size.
        unsafe {
            bin.set_magazine(core::ptr::null_mut(), 0);
            magazines.metadata.give(magazines.source, magazine.cast(), bytes);
        }
    }
}
