//! The large bin: a few freed spans, for the thread that wants one of the same length again.
//!
//! Buffers of 64 KiB or so come and go in programs that read and write much. Under the handshake of
//! [`super::slot`] they do so without a lock of the page heap's, and without a look at the clock. The
//! magazine holds the spans' descriptors rather than blocks, for these tell the length.

use core::ptr::NonNull;
use core::sync::atomic::Ordering::Relaxed;

use super::{LockedCache, Magazines, ThreadCache, ThreadSlot};
use crate::page_source::PageSource;
use crate::span::{Span, SpanKind, SpanPtr};
use crate::units::Pages;

/// The longest span that is cached, and how many of them at most.
pub(crate) const CACHED_PAGES_MAX: Pages = Pages::new(64);
const SPANS_MAX: usize = 4;

/// What each place for a span borrows from the budget, however short the span that comes there.
const PLACE_BYTES: usize = CACHED_PAGES_MAX.bytes();

impl ThreadSlot {
    /// Takes a cached span of this length, if the thread has one; its kind is large again.
    #[inline]
    pub(crate) fn pop_large(&self, pages: Pages) -> Option<SpanPtr> {
        // SAFETY: as in `pop`: between the two stores of `work` this thread alone uses the bin.
        self.work(|cache| unsafe { cache.pop_large(pages) })
    }

    /// Caches a large span that its user gave up; `false` where there is no room.
    ///
    /// # Safety
    ///
    /// The span is a large allocation of this heap's, at most [`CACHED_PAGES_MAX`] long, and in no
    /// other hands.
    #[inline]
    pub(crate) unsafe fn push_large(&self, span: SpanPtr) -> bool {
        // SAFETY: as in `pop_large`, and the caller's promise.
        self.work(|cache| unsafe { cache.push_large(span) })
    }
}

impl ThreadCache {
    /// Bytes of spans in the large bin.
    pub(crate) fn large_bytes(&self) -> usize {
        self.large_bytes.load(Relaxed)
    }

    /// Bytes of spans that the large bin may hold.
    pub(super) fn large_capacity_bytes(&self) -> usize {
        self.large.capacity() * PLACE_BYTES
    }

    /// # Safety
    ///
    /// The caller is the owner between the handshake's two stores, or holds the cache's lock.
    unsafe fn pop_large(&self, pages: Pages) -> Option<SpanPtr> {
        let len = self.large.len();
        for index in (0..len).rev() {
            // SAFETY: below the length entries are written; the caller has the bin to itself.
            let span = unsafe { as_span(self.large.entry(index)) }?;
            if span.pages() == pages {
                // SAFETY: the caller's promise. The length goes first: a fork between the two
                // stores may lose a span in the child, which has no owner, but doubles none.
                unsafe {
                    let last = self.large.entry(len - 1);
                    self.large.set_len(len - 1);
                    self.large.set_entry(index, last);
                }
                self.large_bytes.store(self.large_bytes() - pages.bytes(), Relaxed);
                span.set_kind(SpanKind::Large);
                return Some(span);
            }
        }
        None
    }

    /// # Safety
    ///
    /// As [`pop_large`](Self::pop_large) and [`ThreadSlot::push_large`].
    unsafe fn push_large(&self, span: SpanPtr) -> bool {
        let descriptor = span.as_non_null();
        // SAFETY: the caller has the bin to itself. The bin only stores the pointer.
        if !unsafe { self.large.push(descriptor.cast()) } {
            return false;
        }
        // No more a large allocation, so that giving it back again is seen.
        span.set_kind(SpanKind::CachedLarge);
        self.large_bytes.store(self.large_bytes() + span.pages().bytes(), Relaxed);
        true
    }
}

impl LockedCache<'_> {
    /// # Safety
    ///
    /// As [`ThreadSlot::push_large`].
    pub(crate) unsafe fn push_large(&mut self, span: SpanPtr) -> bool {
        // SAFETY: the lock is held; the caller's promise.
        unsafe { self.cache.push_large(span) }
    }

    /// Caches a span in the place of the one that has been there the longest, and answers that;
    /// else spans of a length that nobody asks for any more would keep all places. Without a
    /// place the answer is the span itself.
    ///
    /// # Safety
    ///
    /// As [`ThreadSlot::push_large`], and the bin is full.
    pub(crate) unsafe fn replace_oldest_large(&mut self, span: SpanPtr) -> SpanPtr {
        let bin = &self.cache.large;
        if bin.len() == 0 {
            return span;
        }
        // SAFETY: the lock is held, and the bin has an entry, which is one of `push_large`.
        let Some(oldest) = (unsafe { as_span(bin.entry(0)) }) else { return span };
        let left_bytes = self.cache.large_bytes() - oldest.pages().bytes();
        self.cache.large_bytes.store(left_bytes, Relaxed);
        // SAFETY: the lock is held; the caller's promise, and there is room for one now.
        unsafe {
            bin.drop_oldest(1);
            self.cache.push_large(span);
        }
        oldest
    }

    /// Makes room for twice as many spans, or for a first one, as far as the budget lends.
    pub(crate) fn grow_large<S: PageSource>(&mut self, magazines: &Magazines<'_, S>) {
        let capacity = self.cache.large.capacity();
        let next = (capacity * 2).clamp(1, SPANS_MAX);
        let more_bytes = (next - capacity) * PLACE_BYTES;
        if more_bytes == 0 || !magazines.budget.borrow_bytes_for_large(more_bytes) {
            return;
        }
        if self.move_magazine(&self.cache.large, next, magazines).is_some() {
            self.cache.borrowed_bytes.fetch_add(more_bytes, Relaxed);
        } else {
            magazines.budget.return_bytes(more_bytes);
        }
    }

    /// Hands all cached spans to `free`, and gives the magazine and what it borrowed back.
    pub(super) fn drain_large<S: PageSource>(
        &mut self,
        magazines: &Magazines<'_, S>,
        mut free: impl FnMut(SpanPtr),
    ) -> usize {
        let bin = &self.cache.large;
        let (len, capacity) = (bin.len(), bin.capacity());
        let mut drained_bytes = 0;
        for index in 0..len {
            // SAFETY: the lock is held, and the owner is here or known to be idle; entries below
            // the length are spans that `push_large` was given.
            let Some(span) = (unsafe { as_span(bin.entry(index)) }) else { continue };
            drained_bytes += span.pages().bytes();
            free(span);
        }
        bin.set_len(0);
        self.cache.large_bytes.store(0, Relaxed);
        self.release_magazine(bin, magazines);
        magazines.budget.return_bytes(capacity * PLACE_BYTES);
        drained_bytes
    }
}

/// The span whose descriptor an entry points to.
///
/// # Safety
///
/// The entry is null or one of `push_large`, whose span has not been freed since.
unsafe fn as_span(entry: *mut u8) -> Option<SpanPtr> {
    // SAFETY: the caller's promise; the span is in use, and so its segment is mapped. The pointer
    // kept its provenance over all of the segment's descriptors.
    NonNull::new(entry.cast::<Span>()).map(|descriptor| unsafe { SpanPtr::new(descriptor) })
}
