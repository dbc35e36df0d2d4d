//! What a heap does when the roster tells it: before and after forks, and at the end of periods.

use core::sync::atomic::Ordering::Relaxed;

use super::Shared;
use crate::page_source::PageSource;
use crate::roster::Member;

/// Periods without anything given back after which the background thread forgets a heap until its
/// next slow path. A source that cannot purge would else keep the thread awake for ever.
const FRUITLESS_MAX: u8 = 4;

impl<S: PageSource> Member for Shared<S> {
    fn prepare_fork(&self) {
        self.slot.hold_for_fork();
        self.allocator.prepare_fork();
    }

    unsafe fn finish_fork(&self) {
        // SAFETY: the caller's promise.
        unsafe {
            self.allocator.finish_fork();
            self.slot.release_after_fork();
        }
    }

    fn note_child(&self) {
        // The slot is no thread's: nobody was at work in it, and the child goes on with it.
        self.allocator.note_child(&self.slot.lock());
    }

    fn end_period(&self, now: u64) -> bool {
        let before_calls = self.allocator.page_heap().source().purge_calls();
        let is_more_due = self.allocator.end_period_if_due(now);
        let is_fruitful = self.allocator.page_heap().source().purge_calls() != before_calls;
        let fruitless = if is_fruitful { 0 } else { self.fruitless.load(Relaxed) + 1 };
        self.fruitless.store(fruitless.min(FRUITLESS_MAX), Relaxed);
        is_more_due && fruitless < FRUITLESS_MAX
    }
}
