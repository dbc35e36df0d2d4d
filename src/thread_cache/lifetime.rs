//! How caches come and go with their threads.
//!
//! A program that starts a thread for each job would pay for a cache filled from nothing and
//! emptied again each time. So a few caches of threads that ended are parked, with all that they
//! hold, and the next threads go on with them. A parked cache is nobody's: reclaim takes it first,
//! and decay as any that went unused.

use core::ptr::NonNull;
use core::sync::atomic::Ordering::Relaxed;

use super::{CacheRegistry, LockedCache, Magazines, ThreadCache, ThreadSlot};
use crate::budget::CacheBudget;
use crate::page_source::PageSource;

impl ThreadCache {
    /// Gives the calling thread, which refills from `arena`, a cache: a parked one, or a new one.
    pub(crate) fn attach<'slot, S: PageSource>(
        slot: &'slot ThreadSlot,
        arena: usize,
        registry: &CacheRegistry,
        magazines: &Magazines<'_, S>,
    ) -> Option<&'slot ThreadCache> {
        let parked = registry.lock().unpark(slot, arena, magazines.budget);
        let cache = match parked {
            Some(cache) => cache,
            None => ThreadCache::enter_new(slot, arena, registry, magazines)?,
        };
        slot.set_own(Some(cache));
        // SAFETY: the cache is on the registry as this slot's, and freed only after `detach`, which
        // the slot's thread calls when it is done with it.
        Some(unsafe { cache.as_ref() })
    }

    fn enter_new<S: PageSource>(
        slot: &ThreadSlot,
        arena: usize,
        registry: &CacheRegistry,
        magazines: &Magazines<'_, S>,
    ) -> Option<NonNull<ThreadCache>> {
        let record = magazines.metadata.take(magazines.source, size_of::<ThreadCache>())?;
        let cache = record.cast::<ThreadCache>();
        // SAFETY: the record has a cache's size and alignment and nobody else has it.
        unsafe {
            cache.write(ThreadCache::new());
            cache.as_ref().set_owner(Some(slot), arena);
            registry.lock().insert(cache, magazines.budget);
        }
        Some(cache)
    }

    /// Makes the cache this slot's, or nobody's.
    pub(super) fn set_owner(&self, slot: Option<&ThreadSlot>, arena: usize) {
        let mut state = self.owned.lock();
        self.set_arena(arena);
        state.contended = false;
        let slot = slot.map_or(core::ptr::null_mut(), |slot| core::ptr::from_ref(slot).cast_mut());
        self.slot.store(slot, Relaxed);
    }

    /// The cache that `attach` gave this slot.
    pub(crate) fn of(slot: &ThreadSlot) -> Option<&ThreadCache> {
        // SAFETY: the slot's cache is freed only after `detach`, called by the slot's thread, which
        // is also the caller here.
        slot.own().map(|cache| unsafe { cache.as_ref() })
    }

    /// Parks the slot's cache as it is, where there is room for one more; `false` leaves it.
    pub(crate) fn park(slot: &ThreadSlot, registry: &CacheRegistry, budget: &CacheBudget) -> bool {
        let Some(cache) = slot.own() else { return false };
        // The fast path is over for this thread before anyone else can have the cache.
        slot.hide();
        // SAFETY: `attach` entered the cache on the registry, and its owner is the caller.
        let is_parked = unsafe { registry.lock().park(cache, budget) };
        if is_parked {
            slot.set_own(None);
        }
        is_parked
    }

    /// Takes the slot's cache, whose bins have been drained, off the registry and frees it.
    pub(crate) fn detach<S: PageSource>(
        slot: &ThreadSlot,
        registry: &CacheRegistry,
        magazines: &Magazines<'_, S>,
    ) {
        let Some(cache) = slot.own() else { return };
        slot.hide();
        slot.set_own(None);
        // SAFETY: `attach` entered the cache and nobody took it off. Whoever reached it through
        // the registry held the registry's lock, or has held the cache's own since; so once that is
        // had no other thread has the cache, and the owner, which is the caller, has just
        // forgotten it.
        unsafe {
            registry.lock().remove(cache, magazines.budget);
            drop(cache.as_ref().lock());
            let bytes = size_of::<ThreadCache>();
            magazines.metadata.give(magazines.source, cache.cast(), bytes);
        }
    }

    /// Frees a cache that has no owner, after `drain`.
    ///
    /// # Safety
    ///
    /// The cache was taken off the registry, and its owner, if it had one, is gone.
    pub(crate) unsafe fn free_ownerless<S: PageSource>(
        cache: NonNull<ThreadCache>,
        magazines: &Magazines<'_, S>,
        drain: impl FnOnce(&mut LockedCache<'_>),
    ) {
        // SAFETY: nobody else can reach the cache; it was made by `enter_new`.
        unsafe {
            drain(&mut cache.as_ref().lock());
            let bytes = size_of::<ThreadCache>();
            magazines.metadata.give(magazines.source, cache.cast(), bytes);
        }
    }
}
