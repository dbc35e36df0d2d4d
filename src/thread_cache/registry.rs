//! The registry: every thread's cache, so that statistics and reclaim can find them.

use core::ptr::NonNull;
use core::sync::atomic::Ordering::Relaxed;

use super::ThreadCache;
use crate::lock::{Mutex, MutexGuard, rank};

/// A list of the caches of all threads that have one.
#[derive(Debug)]
pub(crate) struct CacheRegistry {
    list: Mutex<{ rank::CACHE_REGISTRY }, CacheList>,
}

/// What the registry's lock guards; the links in the caches are guarded by it too.
#[derive(Debug)]
pub(crate) struct CacheList {
    first: Option<NonNull<ThreadCache>>,
    count: usize,
}

// SAFETY: caches are shared records of atomics and a lock; the pointer is valid while on the list.
unsafe impl Send for CacheList {}

impl CacheRegistry {
    pub(crate) const fn new() -> Self {
        CacheRegistry { list: Mutex::new(CacheList { first: None, count: 0 }) }
    }

    /// Keeps caches from coming and going while the answer lives.
    pub(crate) fn lock(&self) -> MutexGuard<'_, CacheList> {
        self.list.lock()
    }
}

impl CacheList {
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// The caches of all threads; the borrow keeps the lock.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &ThreadCache> + '_ {
        core::iter::successors(self.first, |cache| {
            // SAFETY: a cache on the list is taken off before it is freed, under this lock.
            NonNull::new(unsafe { cache.as_ref() }.next.load(Relaxed))
        })
        // SAFETY: as above; the reference lives no longer than the borrow of the list.
        .map(|cache| unsafe { cache.as_ref() })
    }

    /// # Safety
    ///
    /// The cache is valid, on no list, and taken off by `remove` before it is freed.
    pub(super) unsafe fn insert(&mut self, cache: NonNull<ThreadCache>) {
        // SAFETY: the caller's promise; the one that was first is on the list and so valid.
        unsafe {
            cache.as_ref().next.store(as_pointer(self.first), Relaxed);
            cache.as_ref().previous.store(core::ptr::null_mut(), Relaxed);
            if let Some(first) = self.first {
                first.as_ref().previous.store(cache.as_ptr(), Relaxed);
            }
        }
        self.first = Some(cache);
        self.count += 1;
    }

    /// # Safety
    ///
    /// The cache is on this list.
    pub(super) unsafe fn remove(&mut self, cache: NonNull<ThreadCache>) {
        // SAFETY: the cache and its neighbours are on the list and so valid.
        unsafe {
            let next = cache.as_ref().next.load(Relaxed);
            let previous = cache.as_ref().previous.load(Relaxed);
            match NonNull::new(previous) {
                Some(previous) => previous.as_ref().next.store(next, Relaxed),
                None => self.first = NonNull::new(next),
            }
            if let Some(next) = NonNull::new(next) {
                next.as_ref().previous.store(previous, Relaxed);
            }
        }
        self.count -= 1;
    }
}

fn as_pointer(cache: Option<NonNull<ThreadCache>>) -> *mut ThreadCache {
    cache.map_or(core::ptr::null_mut(), NonNull::as_ptr)
}
