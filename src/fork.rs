//! Fork: a child that can allocate at once, from whichever thread forked.
//!
//! Before the fork the forking thread takes every lock, in the order of their ranks, so that no
//! structure is caught half-way (the segment map's is only held by who has a shard's); after it, parent and child each release them. The child lacks all
//! other threads: their caches are drained there, at its first slow path rather than in the
//! handler, because most children call `exec` and never get to one.

use core::sync::atomic::Ordering::Relaxed;

use crate::allocator::Allocator;
use crate::page_source::PageSource;
use crate::thread_cache::{ThreadCache, ThreadSlot};

impl<S: PageSource> Allocator<S> {
    /// Takes every lock, outermost first.
    pub(crate) fn prepare_fork(&self) {
        self.arenas().hold_set_for_fork();
        self.caches().hold_for_fork();
        self.cpu_caches().hold_for_fork();
        self.in_hand().hold_for_fork();
        self.arenas().hold_bins_for_fork();
        self.huge().hold_for_fork();
        self.page_heap().hold_for_fork();
        self.metadata().hold_for_fork();
        self.notices().hold_for_fork();
    }

    /// Releases every lock, innermost first; in the parent, or as the child's first step.
    ///
    /// # Safety
    ///
    /// [`prepare_fork`](Self::prepare_fork) took them, in this thread or the one it was copied
    /// from.
    pub(crate) unsafe fn finish_fork(&self) {
        // SAFETY: the caller's promise, for each part in turn.
        unsafe {
            self.notices().release_after_fork();
            self.metadata().release_after_fork();
            self.page_heap().release_after_fork();
            self.huge().release_after_fork();
            self.arenas().release_bins_after_fork();
            self.in_hand().release_after_fork();
            self.cpu_caches().release_after_fork();
            self.caches().release_after_fork();
            self.arenas().release_set_after_fork();
        }
    }

    /// Sets the caches of all other threads aside; the child's second step, in its one thread.
    pub(crate) fn note_child(&self, slot: &ThreadSlot) {
        let mut caches = self.caches().lock();
        caches.orphan_all_but(ThreadCache::of(slot));
        // The one that is left, whenever it came by.
        caches.recount_used_since(0, self.budget());
        self.arenas().recount_threads(caches.attached().map(ThreadCache::arena));
        let has_orphans = caches.has_orphans();
        drop(caches);
        self.decay().note_child();
        self.has_orphans().store(has_orphans, Relaxed);
        // At once, while there is one thread: later, spans on their way back to the kernel could be
        // another thread's of this process as well.
        self.page_heap().adopt_purging();
    }

    /// Takes over what threads that the fork left behind had in hand, if there is anything.
    #[inline]
    pub(crate) fn adopt_orphans(&self) {
        if self.has_orphans().load(Relaxed) {
            self.adopt_orphans_slow();
        }
    }

    #[cold]
    fn adopt_orphans_slow(&self) {
        // Relaxed: the orphans are found under the registry's lock; this only saves taking it.
        self.has_orphans().store(false, Relaxed);
        loop {
            // Held until the cache is freed, so that a fork of this child's finds its blocks in it
            // or out of it.
            let mut caches = self.caches().lock();
            let Some(orphan) = caches.take_orphan() else { break };
            // SAFETY: just taken off the registry; its owner was another thread of the parent.
            unsafe {
                ThreadCache::free_ownerless(orphan, &self.magazines(), |locked| {
                    self.drain(locked);
                    self.leave(locked.arena());
                });
            }
        }
    }
}
