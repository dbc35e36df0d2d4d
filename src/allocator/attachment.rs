//! A thread and its cache: how it comes to one, and what becomes of it.

use super::Allocator;
use crate::page_source::PageSource;
use crate::thread_cache::{LockedCache, ThreadCache, ThreadSlot, ThreadState};

impl<S: PageSource> Allocator<S> {
    /// The calling thread's cache, made if the thread is new; `None` for one that goes without.
    pub(super) fn cache_for<'slot>(&self, slot: &'slot ThreadSlot) -> Option<&'slot ThreadCache> {
        self.adopt_orphans();
        match slot.state() {
            ThreadState::Attached => ThreadCache::of(slot),
            ThreadState::Fresh => self.attach(slot),
            ThreadState::Uncached => None,
        }
    }

    fn attach<'slot>(&self, slot: &'slot ThreadSlot) -> Option<&'slot ThreadCache> {
        // What a policy allocates meanwhile comes straight from an arena.
        slot.set_state(ThreadState::Uncached);
        let cache = self.assign_arena().and_then(|arena| {
            // Counted for as long as the registry may list it, and longer rather than shorter: a
            // forked child that finds the cache listed makes its owner leave.
            self.join(arena);
            let cache = ThreadCache::attach(slot, arena, &self.caches, &self.magazines());
            if cache.is_none() {
                self.leave(arena);
            }
            cache
        });
        // Without memory for a cache the thread tries again at its next call.
        slot.set_state(if cache.is_some() { ThreadState::Attached } else { ThreadState::Fresh });
        cache
    }

    /// Parks, or flushes and frees, the cache of a thread that is about to end; it goes without
    /// from here on.
    pub(crate) fn detach(&self, slot: &ThreadSlot) {
        slot.set_state(ThreadState::Uncached);
        let Some(cache) = ThreadCache::of(slot) else { return };
        let arena = cache.arena();
        if !ThreadCache::park(slot, &self.caches, &self.budget) {
            // To depots as far as they have room, for the next thread like this one.
            let mut locked = cache.lock();
            locked.hide(slot);
            self.drain_to_depots(&mut locked);
            drop(locked);
            ThreadCache::detach(slot, &self.caches, &self.magazines());
        }
        // Last, as it joined first: see `attach`.
        self.leave(arena);
    }

    /// Flushes the calling thread's cache, if it has one, straight to the slabs; answers the bytes.
    pub(crate) fn flush_own_cache(&self, slot: &ThreadSlot) -> usize {
        if slot.state() != ThreadState::Attached {
            return 0;
        }
        let Some(cache) = ThreadCache::of(slot) else { return 0 };
        let mut locked = cache.lock();
        locked.hide(slot);
        self.drain(&mut locked)
    }

    /// Puts what lies unused in the caller's cache back into the slabs, once in a period of decay.
    #[inline]
    pub(super) fn give_up_stale(&self, slot: &ThreadSlot, now: u64) {
        let Some(period) = self.decay().period_milliseconds() else { return };
        let Some(cache) = ThreadCache::of(slot).filter(|cache| cache.is_look_due(now, period))
        else {
            return;
        };
        let put_back = |class, blocks: &mut [*mut u8]| self.put_back(class, blocks);
        cache.lock().give_up_stale(&self.magazines(), put_back);
    }

    /// Puts a locked cache's blocks back into their slabs; answers the bytes.
    pub(crate) fn drain(&self, locked: &mut LockedCache<'_>) -> usize {
        let put_back = |class, blocks: &mut [*mut u8]| self.put_back(class, blocks);
        locked.drain(&self.magazines(), put_back, |span| self.page_heap.free(span))
    }

    /// Gives a locked cache's blocks to depots as far as those have room; answers the bytes.
    pub(crate) fn drain_to_depots(&self, locked: &mut LockedCache<'_>) -> usize {
        let flush = |class, blocks: &mut [*mut u8]| self.flush(class, blocks);
        locked.drain(&self.magazines(), flush, |span| self.page_heap.free(span))
    }
}
