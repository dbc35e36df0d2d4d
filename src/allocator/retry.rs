//! What happens when memory is refused, or runs short of a limit.

use super::Allocator;
use crate::hooks::{Event, LimitReached};
use crate::page_source::PageSource;
use crate::thread_cache::ThreadSlot;

impl<S: PageSource> Allocator<S> {
    /// Tries, and where memory is refused gives back all that can go and tries once more.
    ///
    /// What is free in other threads' caches, in depots and between used pages may be just what
    /// the operating system or a limit would not give. No lock is held.
    #[inline]
    pub(super) fn with_retry<T>(
        &self,
        slot: &ThreadSlot,
        attempt: impl Fn() -> Option<T>,
    ) -> Option<T> {
        attempt().or_else(|| {
            self.trim(slot);
            attempt()
        })
    }

    /// Trims if the soft limit on resident memory was passed since somebody last looked.
    pub(super) fn answer_soft_limit(&self, slot: &ThreadSlot) {
        let limits = self.page_heap.source().limits();
        if let Some(reached) = limits.take_soft_pending() {
            self.trim(slot);
            let left_bytes = limits.resident_bytes();
            self.notices().note(Event::LimitReached(LimitReached { left_bytes, ..reached }));
            self.soft_limit_trims.fetch_add(1, core::sync::atomic::Ordering::Relaxed);
        }
    }
}
