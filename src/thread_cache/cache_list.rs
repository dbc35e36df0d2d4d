//! Lists of thread caches, whose links lie in the caches; the registry's lock guards them.

use core::ptr::NonNull;
use core::sync::atomic::Ordering::Relaxed;

use super::ThreadCache;

/// A list of caches, linked both ways.
#[derive(Debug)]
pub(super) struct CacheList {
    pub(super) first: Option<NonNull<ThreadCache>>,
    pub(super) last: Option<NonNull<ThreadCache>>,
    pub(super) count: usize,
}

// SAFETY: caches are shared records of atomics and a lock; the pointers are valid while listed.
unsafe impl Send for CacheList {}

impl CacheList {
    pub(super) const fn new() -> Self {
        CacheList { first: None, last: None, count: 0 }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &ThreadCache> + '_ {
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
            match self.first {
                Some(first) => first.as_ref().previous.store(cache.as_ptr(), Relaxed),
                None => self.last = Some(cache),
            }
        }
        self.first = Some(cache);
        self.count += 1;
    }

    /// Moves all of `other` to the end of this list.
    pub(super) fn append(&mut self, other: &mut CacheList) {
        let Some(first) = other.first.take() else { return };
        // SAFETY: caches on a list are valid.
        unsafe {
            first.as_ref().previous.store(as_pointer(self.last), Relaxed);
            match self.last {
                Some(last) => last.as_ref().next.store(first.as_ptr(), Relaxed),
                None => self.first = Some(first),
            }
        }
        self.last = other.last.take();
        self.count += core::mem::take(&mut other.count);
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
            match NonNull::new(next) {
                Some(next) => next.as_ref().previous.store(previous, Relaxed),
                None => self.last = NonNull::new(previous),
            }
        }
        self.count -= 1;
    }
}

fn as_pointer(cache: Option<NonNull<ThreadCache>>) -> *mut ThreadCache {
    cache.map_or(core::ptr::null_mut(), NonNull::as_ptr)
}
