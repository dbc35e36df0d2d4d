//! Which arena a thread uses: asked of the policy, counted in the arenas.

use super::{Allocator, PolicyRef};
use crate::arena::policy::PerThread;
use crate::page_source::PageSource;
use crate::thread_cache::{ThreadCache, ThreadSlot, ThreadState};

impl<S: PageSource> Allocator<S> {
    pub(super) fn assign_arena(&self) -> Option<usize> {
        self.arenas.assign(self.policy(), &self.metadata, &self.page_heap)
    }

    /// Asks the policy whether the thread should refill elsewhere, and moves it there.
    ///
    /// The default one has nothing to say unless the thread's arena is crowded, and is asked only
    /// then; a closed arena is found at the refill.
    pub(super) fn follow_policy(&self, slot: &ThreadSlot, cache: &ThreadCache) {
        let (policy, contended) = match self.policy_set() {
            Some(policy) => (policy, cache.lock().state.contended),
            None if self.arenas.is_crowded(cache.arena()) => (&PerThread as PolicyRef, false),
            None => return,
        };
        self.change_arena(slot, cache, || {
            let (metadata, page_heap) = (&self.metadata, &self.page_heap);
            self.arenas.reassign(policy, cache.arena(), contended, metadata, page_heap)
        });
    }

    /// Moves the thread to the arena that `choose` answers with, outside all locks.
    pub(super) fn change_arena(
        &self,
        slot: &ThreadSlot,
        cache: &ThreadCache,
        choose: impl FnOnce() -> Option<usize>,
    ) {
        let before = slot.set_state(ThreadState::Uncached);
        let choice = choose();
        slot.set_state(before);
        let Some(arena) = choice else { return };
        // Under the cache's lock, so that a fork finds the thread counted where its cache says.
        let mut locked = cache.lock();
        locked.state.contended = false;
        self.join(arena);
        self.leave(cache.set_arena(arena));
    }

    pub(super) fn join(&self, arena: usize) {
        if let Some(arena) = self.arenas.get(arena) {
            arena.join();
        }
    }

    pub(crate) fn leave(&self, arena: usize) {
        if let Some(arena) = self.arenas.get(arena) {
            arena.leave();
        }
    }
}
