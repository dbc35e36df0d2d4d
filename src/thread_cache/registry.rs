//! The registry: every thread's cache, so that statistics and reclaim can find them.
//!
//! Two lists of threads' caches: warm ones may hold blocks, cold ones were reclaimed and hold none
//! until their owner comes back. So a reclaim never looks at the thousand threads that it emptied
//! before. Two more lists hold caches without an owner: those parked for the next threads, and in
//! a forked child those of threads that stayed with the parent.

use core::ptr::NonNull;
use core::sync::atomic::Ordering::Relaxed;

use super::cache_list::CacheList;
use super::{ThreadCache, ThreadSlot};
use crate::budget::CacheBudget;
use crate::lock::{Mutex, MutexGuard, rank};

/// Caches parked at most: for a few threads at a time that start as others end.
const PARKED_MAX: usize = 8;

/// The caches of all threads that have one.
#[derive(Debug)]
pub(crate) struct CacheRegistry {
    lists: Mutex<{ rank::CACHE_REGISTRY }, CacheLists>,
}

/// What the registry's lock guards; the links in the caches are guarded by it too.
#[derive(Debug)]
pub(crate) struct CacheLists {
    warm: CacheList,
    cold: CacheList,
    /// Caches of threads that ended, for those to come.
    parked: CacheList,
    /// In a forked child: caches of threads that exist in the parent alone.
    orphans: CacheList,
}

impl CacheRegistry {
    pub(crate) const fn new() -> Self {
        CacheRegistry {
            lists: Mutex::new(CacheLists {
                warm: CacheList::new(),
                cold: CacheList::new(),
                parked: CacheList::new(),
                orphans: CacheList::new(),
            }),
        }
    }

    /// Keeps caches from coming and going while the answer lives.
    pub(crate) fn lock(&self) -> MutexGuard<'_, { rank::CACHE_REGISTRY }, CacheLists> {
        self.lists.lock()
    }
}

impl CacheRegistry {
    /// Takes the registry's lock and every cache's for a fork.
    ///
    /// A cache's owner may be on its fast path at that moment. In the child, which lacks the
    /// owner, its bins are whole all the same: `top` is stored with Release after the block that
    /// it counts, and so is copied with it.
    pub(crate) fn hold_for_fork(&self) {
        self.lists.hold_for_fork();
        // SAFETY: the lock was just taken, and nobody else has it.
        let lists = unsafe { self.lists.peek() };
        lists.iter().chain(lists.orphans.iter()).for_each(|cache| cache.owned.hold_for_fork());
    }

    /// Releases what [`hold_for_fork`](Self::hold_for_fork) took.
    ///
    /// # Safety
    ///
    /// It was taken so, in this thread or the one it was copied from.
    pub(crate) unsafe fn release_after_fork(&self) {
        // SAFETY: the caller holds the registry's lock and every cache's.
        unsafe {
            let lists = self.lists.peek();
            let caches = lists.iter().chain(lists.orphans.iter());
            caches.for_each(|cache| cache.owned.release_after_fork());
            self.lists.release_after_fork();
        }
    }
}

impl CacheLists {
    /// Threads that have a cache.
    pub(crate) fn count(&self) -> usize {
        self.warm.count + self.cold.count
    }

    /// Sets aside all caches but `own`, that of the one thread there is after a fork.
    pub(crate) fn orphan_all_but(&mut self, own: Option<&ThreadCache>) {
        let own = own.map(NonNull::from_ref);
        // SAFETY: the thread's own cache is on one of the lists, and goes back on one.
        unsafe {
            own.inspect(|own| self.take_off(*own));
            self.orphans.append(&mut self.warm);
            self.orphans.append(&mut self.cold);
            if let Some(own) = own {
                own.as_ref().is_cold.store(false, Relaxed);
                self.warm.insert(own);
            }
        }
    }

    /// Takes out a cache that was set aside.
    pub(crate) fn take_orphan(&mut self) -> Option<NonNull<ThreadCache>> {
        let orphan = self.orphans.first?;
        // SAFETY: it is first on the list.
        unsafe { self.orphans.remove(orphan) };
        Some(orphan)
    }

    /// Whether caches are set aside that nobody has taken out yet.
    pub(crate) fn has_orphans(&self) -> bool {
        self.orphans.count > 0
    }

    pub(crate) fn warm_count(&self) -> usize {
        self.warm.count
    }

    /// All caches, parked ones too; the borrow keeps the lock.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &ThreadCache> + '_ {
        self.warm.iter().chain(self.cold.iter()).chain(self.parked.iter())
    }

    /// The caches that are somebody's, or were a thread's that a fork left behind.
    pub(crate) fn attached(&self) -> impl Iterator<Item = &ThreadCache> + '_ {
        self.warm.iter().chain(self.cold.iter()).chain(self.orphans.iter())
    }

    /// Tells the budget how many threads with a cache came by the slow path since `moment`.
    pub(crate) fn recount_used_since(&self, moment: u64, budget: &CacheBudget) {
        let is_in_use = |cache: &&ThreadCache| {
            let is_in_use = cache.used_at() >= moment;
            cache.is_counted.store(is_in_use, Relaxed);
            is_in_use
        };
        budget
            .set_active_caches(self.warm.iter().chain(self.cold.iter()).filter(is_in_use).count());
    }

    pub(crate) fn parked_count(&self) -> usize {
        self.parked.count
    }

    /// Parks a cache, unless it was reclaimed meanwhile or enough are parked.
    ///
    /// # Safety
    ///
    /// The cache is on one of the threads' lists, hidden from its owner, who is the caller and
    /// forgets it where the answer is `true`.
    pub(super) unsafe fn park(
        &mut self,
        cache: NonNull<ThreadCache>,
        budget: &CacheBudget,
    ) -> bool {
        // SAFETY: the caller's promise.
        unsafe {
            if self.parked.count >= PARKED_MAX || cache.as_ref().is_cold.load(Relaxed) {
                return false;
            }
            cache.as_ref().set_owner(None, 0);
            self.remove(cache, budget);
            self.parked.insert(cache);
        }
        true
    }

    /// Makes the cache that was parked last this slot's.
    pub(super) fn unpark(
        &mut self,
        slot: &ThreadSlot,
        arena: usize,
        budget: &CacheBudget,
    ) -> Option<NonNull<ThreadCache>> {
        let cache = self.parked.first?;
        // SAFETY: a cache on a list is valid until taken off under this lock, and is put back.
        unsafe {
            self.parked.remove(cache);
            cache.as_ref().set_owner(Some(slot), arena);
            self.insert(cache, budget);
        }
        Some(cache)
    }

    /// The cache that was parked the longest ago.
    pub(crate) fn oldest_parked(&self) -> Option<&ThreadCache> {
        // SAFETY: a cache on a list is valid until taken off under this lock, which is borrowed.
        self.parked.last.map(|cache| unsafe { cache.as_ref() })
    }

    /// Takes the cache that was parked the longest ago off the registry.
    pub(crate) fn take_oldest_parked(&mut self) -> Option<NonNull<ThreadCache>> {
        let cache = self.parked.last?;
        // SAFETY: it is last on the list.
        unsafe { self.parked.remove(cache) };
        Some(cache)
    }

    /// The warm cache that was attached or looked at the longest ago, put in front.
    pub(crate) fn rotate_warm(&mut self) -> Option<&ThreadCache> {
        let last = self.warm.last?;
        // SAFETY: a cache on a list is valid until taken off under this lock, and is put back.
        unsafe {
            self.warm.remove(last);
            self.warm.insert(last);
            Some(last.as_ref())
        }
    }

    /// Moves a cache between the lists, where it is not on the right one already.
    pub(crate) fn set_cold(&mut self, cache: &ThreadCache, is_cold: bool) {
        // Relaxed: set under this lock and the cache's, cleared under this one, and read under either.
        if cache.is_cold.swap(is_cold, Relaxed) == is_cold {
            return;
        }
        let cache = NonNull::from_ref(cache);
        let (from, to) = match is_cold {
            true => (&mut self.warm, &mut self.cold),
            false => (&mut self.cold, &mut self.warm),
        };
        // SAFETY: the cache was on the list that its mark named, and goes to the other.
        unsafe {
            from.remove(cache);
            to.insert(cache);
        }
    }

    /// Enters a cache, warm and in use.
    ///
    /// # Safety
    ///
    /// The cache is valid, on no list, and taken off by `remove` before it is freed.
    pub(super) unsafe fn insert(&mut self, cache: NonNull<ThreadCache>, budget: &CacheBudget) {
        // SAFETY: the caller's promise.
        unsafe {
            self.warm.insert(cache);
            cache.as_ref().is_counted.store(true, Relaxed);
        }
        budget.add_active_cache();
    }

    /// Takes a thread's cache off its list, and out of the count of those in use.
    ///
    /// # Safety
    ///
    /// The cache is on one of the threads' lists.
    pub(super) unsafe fn remove(&mut self, cache: NonNull<ThreadCache>, budget: &CacheBudget) {
        // SAFETY: the caller's promise.
        let was_counted = unsafe {
            self.take_off(cache);
            cache.as_ref().is_counted.swap(false, Relaxed)
        };
        if was_counted {
            budget.subtract_active_cache();
        }
    }

    /// # Safety
    ///
    /// As [`remove`](Self::remove).
    unsafe fn take_off(&mut self, cache: NonNull<ThreadCache>) {
        // SAFETY: the caller's promise; the mark names the list.
        unsafe {
            let is_cold = cache.as_ref().is_cold.load(Relaxed);
            if is_cold { self.cold.remove(cache) } else { self.warm.remove(cache) }
        }
    }
}
