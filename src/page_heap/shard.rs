//! A part of the page heap: some segments and their free spans, behind a lock of their own.
//!
//! The first one serves everybody for as long as its lock is to be had. Who keeps that for longer than
//! work takes has lost the processor, or waits in the kernel. Whoever needs pages meanwhile takes them
//! from the next shard, and whoever frees some leaves them for the next one to take this lock.

use core::sync::atomic::AtomicBool;
use core::sync::atomic::Ordering::Relaxed;

use super::free_spans::FreeSpans;
use crate::left_spans::LeftSpans;
use crate::lock::{Mutex, MutexGuard, rank};
use crate::span::{SpanKind, SpanPtr};
use crate::units::Pages;

/// Dirty pages beyond half of those in use that wait no longer than for the next slow path.
const EXCESS_PAGES: Pages = Pages::new(8192);

/// A shard's free spans, under its lock.
pub(super) type SpansGuard<'shard> = MutexGuard<'shard, { rank::PAGE_HEAP }, FreeSpans>;

/// One shard; zeroed memory is one without segments.
#[derive(Debug)]
pub(super) struct Shard {
    spans: Mutex<{ rank::PAGE_HEAP }, FreeSpans>,
    left: LeftSpans,
    /// Whether so many pages are dirty that some should go back before the next look at the clock.
    has_excess: AtomicBool,
}

impl Shard {
    pub(super) const fn new() -> Self {
        Shard {
            spans: Mutex::new(FreeSpans::new()),
            left: LeftSpans::new(),
            has_excess: AtomicBool::new(false),
        }
    }

    /// Takes the lock, and in what was left meanwhile.
    pub(super) fn lock(&self) -> SpansGuard<'_> {
        self.take_in(self.spans.lock())
    }

    /// The same for one who holds those of all shards before this one.
    pub(super) fn lock_beside(&self) -> SpansGuard<'_> {
        self.take_in(self.spans.lock_beside())
    }

    /// The same, unless somebody keeps the lock for longer than work takes.
    pub(super) fn lock_unless_stalled(&self) -> Option<SpansGuard<'_>> {
        Some(self.take_in(self.spans.lock_unless_stalled()?))
    }

    /// The same where the lock is free; for one who holds another shard's.
    pub(super) fn try_lock_beside(&self) -> Option<SpansGuard<'_>> {
        Some(self.take_in(self.spans.try_lock_beside()?))
    }

    fn take_in<'shard>(&self, mut spans: SpansGuard<'shard>) -> SpansGuard<'shard> {
        self.left.take_all(|span| spans.free_whole(span));
        spans
    }

    /// Frees spans of this shard, at once or when its lock is taken next.
    pub(super) fn free(&self, list: impl Iterator<Item = SpanPtr>) {
        match self.lock_unless_stalled() {
            Some(mut spans) => {
                list.for_each(|span| spans.free_whole(span));
                self.note_excess(&mut spans);
            }
            None => {
                list.for_each(|span| {
                    // From here on no pointer to it is taken for a live allocation's.
                    span.set_kind(SpanKind::Left);
                    self.left.push(span);
                });
                // Who had the lock may have given it back before they were there.
                drop(self.spans.try_lock().map(|spans| self.take_in(spans)));
            }
        }
    }

    /// Notes whether free pages came to be more than may wait for the clock.
    ///
    /// What frees a great part of its memory at once and then does nothing would else keep it all.
    fn note_excess(&self, spans: &mut FreeSpans) {
        let dirty = spans.dirty_pages();
        spans.unpurged = spans.unpurged.min(dirty);
        let is_excess = dirty > spans.unpurged.max(spans.active / 2) + EXCESS_PAGES;
        // Relaxed: a hint. Read first, so that the line is not written at every call.
        if is_excess != self.has_excess.load(Relaxed) {
            self.has_excess.store(is_excess, Relaxed);
        }
    }

    /// Whether so many pages are dirty that some should go back now.
    #[inline]
    pub(super) fn has_excess(&self) -> bool {
        self.has_excess.load(Relaxed)
    }

    /// The same, and whether the caller is the one to see to it.
    pub(super) fn take_excess(&self) -> bool {
        self.has_excess() && self.has_excess.swap(false, Relaxed)
    }

    /// Takes the lock for a fork.
    pub(super) fn hold_for_fork(&self) {
        self.spans.hold_for_fork();
    }

    /// # Safety
    ///
    /// As [`Mutex::release_after_fork`].
    pub(super) unsafe fn release_after_fork(&self) {
        // SAFETY: the caller's promise.
        unsafe { self.spans.release_after_fork() };
    }
}
