//! Thread caches: per-thread stacks of free blocks, the fast path of every small allocation.
//!
//! ```text
//! ThreadSlot::pop / push      slot.rs       the fast path: no lock, no atomic read-modify-write
//! ├─ CacheBin                 cache_bin.rs  one class's magazine
//! └─ large bin                large.rs      freed spans of large allocations
//! ThreadCache                 (here)        one thread's bins, and who may work on them when
//! ├─ LockedCache              locked.rs     what the slow path does under the cache's lock
//! ├─ CacheBudget              ../budget.rs  how far magazines may grow, all threads together
//! ├─ Shares                   sharing.rs    how the bins of one cache divide its part of that
//! ├─ LastLook                 stale.rs      what of it nobody uses any more
//! └─ CacheRegistry            registry.rs   every cache, for statistics and reclaim
//! attach, detach              lifetime.rs   caches come with threads, and are handed on when those end
//! ```

mod cache_bin;
mod cache_list;
mod large;
mod lifetime;
mod locked;
mod registry;
mod sharing;
mod slot;
mod stale;

use core::sync::atomic::Ordering::Relaxed;

use crate::budget::CacheBudget;
use crate::counted_source::CountedSource;
use crate::lock::{Mutex, rank};
use crate::metadata::Metadata;
use crate::size_class::{CLASS_COUNT, SizeClass};
use crate::sync::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize};

pub(crate) use cache_bin::CacheBin;
pub(crate) use large::CACHED_PAGES_MAX;
pub(crate) use locked::LockedCache;
pub(crate) use registry::CacheRegistry;
pub(crate) use slot::{ThreadSlot, ThreadState};

/// The cache that a thread without one sees: every bin is without a magazine, both empty and full, so that one
/// branch serves both "empty" and "no cache".
pub(crate) static EMPTY: ThreadCache = ThreadCache::new();

/// One thread's free blocks.
#[repr(C, align(64))]
#[derive(Debug)]
pub(crate) struct ThreadCache {
    bins: [CacheBin; CLASS_COUNT],
    /// Freed spans of large allocations: see [`large`].
    large: CacheBin,
    /// Held by whoever works on the bins outside the owner's fast path.
    owned: Mutex<{ rank::THREAD_CACHE }, CacheState>,
    next: AtomicPtr<ThreadCache>,
    previous: AtomicPtr<ThreadCache>,
    /// The slot of the thread whose cache this is; valid while the cache is in the registry.
    slot: AtomicPtr<ThreadSlot>,
    /// Whether the cache was reclaimed and its owner has not come back: see [`registry`].
    is_cold: AtomicBool,
    /// Whether the budget counts the cache among those in use; changed under the registry's lock.
    is_counted: AtomicBool,
    /// The arena that the owner refills from; changed under the lock, by the owner or where there
    /// is none.
    arena: AtomicUsize,
    /// When the owner last came by the slow path, in milliseconds of the coarse clock.
    used_at: AtomicU64,
    /// When the owner last looked for what it does not use.
    looked_at: AtomicU64,
    /// Bytes borrowed from the budget.
    borrowed_bytes: AtomicUsize,
    /// Bytes of the spans in `large`, written as its bin is.
    large_bytes: AtomicUsize,
}

/// What a cache's lock guards, besides the bins.
#[derive(Debug)]
pub(crate) struct CacheState {
    /// Whether the last refill found its lock taken.
    pub(crate) contended: bool,
    /// How the bins share what the cache borrowed.
    shares: sharing::Shares,
    /// What lies unused.
    last_look: stale::LastLook,
}

// One for each thread: no more than the record that it is meant to fill.
#[cfg(not(loom))]
const _: () = assert!(size_of::<ThreadCache>() <= 2048);

/// Where magazines come from and go.
#[derive(Debug)]
pub(crate) struct Magazines<'heap, S> {
    pub(crate) metadata: &'heap Metadata,
    pub(crate) source: &'heap CountedSource<S>,
    pub(crate) budget: &'heap CacheBudget,
}

impl ThreadCache {
    const fn new() -> Self {
        ThreadCache {
            bins: [const { CacheBin::new() }; CLASS_COUNT],
            large: CacheBin::new(),
            owned: Mutex::new(CacheState {
                contended: false,
                shares: sharing::Shares::new(),
                last_look: stale::LastLook::new(),
            }),
            next: AtomicPtr::new(core::ptr::null_mut()),
            previous: AtomicPtr::new(core::ptr::null_mut()),
            slot: AtomicPtr::new(core::ptr::null_mut()),
            is_cold: AtomicBool::new(false),
            is_counted: AtomicBool::new(false),
            arena: AtomicUsize::new(0),
            used_at: AtomicU64::new(0),
            looked_at: AtomicU64::new(0),
            borrowed_bytes: AtomicUsize::new(0),
            large_bytes: AtomicUsize::new(0),
        }
    }

    /// The arena that the owner refills from. Relaxed: arenas are found by their index, in `Arenas`.
    pub(crate) fn arena(&self) -> usize {
        self.arena.load(Relaxed)
    }

    /// Lets the owner refill from `arena`; answers from which it did. The caller is the owner, or
    /// there is none, and holds the cache's lock.
    pub(crate) fn set_arena(&self, arena: usize) -> usize {
        self.arena.swap(arena, Relaxed)
    }

    /// When the owner last came by the slow path. Relaxed: an age to choose by.
    pub(crate) fn used_at(&self) -> u64 {
        self.used_at.load(Relaxed)
    }

    /// Bytes that the cache's bins may hold.
    pub(crate) fn borrowed_bytes(&self) -> usize {
        self.borrowed_bytes.load(Relaxed)
    }

    /// Takes the cache's lock for its owner's slow path, and shows it to the fast path again.
    pub(crate) fn open(
        &self,
        slot: &ThreadSlot,
        registry: &CacheRegistry,
        now: u64,
    ) -> LockedCache<'_> {
        loop {
            if self.is_cold.load(Relaxed) {
                registry.lock().set_cold(self, false);
            }
            let locked = self.lock();
            // A reclaimer may have come between the two locks; it marks under both.
            if !self.is_cold.load(Relaxed) {
                self.used_at.store(now, Relaxed);
                locked.show(slot);
                return locked;
            }
        }
    }

    /// Takes the lock of a cache, unless somebody has it, and hides the cache from its owner's fast
    /// path: the first half of a reclaim. `beside` tells that the thread has locks of others.
    ///
    /// The answer is not bound to the borrow of the registry, so that it can outlive it.
    ///
    /// # Safety
    ///
    /// The registry's lock is held, which keeps the cache and its owner's slot alive, and the heap
    /// lives longer than the answer. From then on the cache's lock keeps the cache: its owner takes the
    /// lock once more before it gives the record back, and who frees a parked cache does too.
    pub(crate) unsafe fn hide_from_owner<'heap>(
        cache: &ThreadCache,
        beside: bool,
    ) -> Option<LockedCache<'heap>> {
        // SAFETY: the caller's promise.
        let cache: &'heap ThreadCache = unsafe { &*core::ptr::from_ref(cache) };
        let state = if beside { cache.owned.try_lock_beside() } else { cache.owned.try_lock() }?;
        if let Some(slot) = cache.slot() {
            slot.hide();
        }
        Some(LockedCache { cache, state })
    }

    fn slot(&self) -> Option<&ThreadSlot> {
        // SAFETY: null, or the slot of a thread that has not detached: it takes its cache off the
        // registry first, whose lock the callers hold. Every thread with a cache detaches when it
        // ends, but for one whose first use ever of the heap falls into the last round of its
        // keys' destructors, after the one that would tell of its end: no Rust thread's does.
        unsafe { self.slot.load(Relaxed).as_ref() }
    }

    /// Whether this is the cache of the thread with this slot.
    pub(crate) fn belongs_to(&self, slot: &ThreadSlot) -> bool {
        core::ptr::eq(self.slot.load(Relaxed), slot)
    }

    #[inline(always)]
    pub(crate) fn bin(&self, class: SizeClass) -> &CacheBin {
        // SAFETY: a class is below CLASS_COUNT, the array's length, by its type's invariant.
        unsafe { self.bins.get_unchecked(class.index()) }
    }

    /// Calls `visit` with each block in the cache, whose owner may be at work meanwhile.
    pub(crate) fn for_each_block(&self, mut visit: impl FnMut(SizeClass, *mut u8)) {
        let _locked = self.lock();
        for class in SizeClass::all() {
            // SAFETY: the lock is held.
            unsafe { self.bin(class).for_each(|block| visit(class, block)) };
        }
    }

    /// Stops the program where what the bins may hold is not what the cache borrowed.
    ///
    /// The owner may be at work: capacities change under the lock alone.
    pub(crate) fn check(&self) {
        let locked = self.lock();
        let of_bin = |class: SizeClass| self.bin(class).capacity() * class.block_bytes();
        let of_bins: usize = SizeClass::all().map(of_bin).sum();
        let bytes = of_bins + self.large_capacity_bytes() + locked.state.shares.spare_bytes();
        ensure_eq!(bytes, self.borrowed_bytes(), "bytes that a cache may hold: found, borrowed");
    }

    /// Takes the cache's lock.
    pub(crate) fn lock(&self) -> LockedCache<'_> {
        LockedCache { cache: self, state: self.owned.lock() }
    }
}

#[cfg(test)]
mod tests;
