//! Large and huge allocations: spans of the page heap, and mappings of their own.

use core::alloc::Layout;
use core::ptr::NonNull;

use super::{Allocator, Route};
use crate::huge::HugeBlock;
use crate::limits::Limit;
use crate::os::{clock, message};
use crate::page_source::PageSource;
use crate::segment_map::ADDRESS_BITS;
use crate::span::{SpanKind, SpanPtr};
use crate::thread_cache::{CACHED_PAGES_MAX, LockedCache, ThreadSlot};
use crate::units::{PAGE_BYTES, Pages};

impl<S: PageSource> Allocator<S> {
    /// Allocates what is not small.
    #[cold]
    #[inline(never)]
    pub(crate) fn alloc_big(&self, slot: &ThreadSlot, layout: Layout) -> Option<HugeBlock> {
        if let Some(base) = self.alloc_large_cached(slot, layout) {
            return Some(HugeBlock { base, is_zeroed: false });
        }
        let block = if self.is_hopeless(layout.size()) {
            self.alloc_big_once(layout)
        } else {
            self.with_retry(slot, || self.alloc_big_once(layout))
        };
        self.after_big(slot);
        block
    }

    /// What is owed from time to time, also by who only takes and resizes; no lock is held.
    pub(super) fn after_big(&self, slot: &ThreadSlot) {
        self.answer_soft_limit(slot);
        self.tick(clock::coarse_milliseconds());
    }

    /// Whether no trim could make a request of this size succeed.
    ///
    /// A program that asks for what an attacker names should not trim its heap each time.
    fn is_hopeless(&self, size: usize) -> bool {
        let limits = self.page_heap.source().limits();
        let [address_space, resident] = [Limit::AddressSpace, Limit::ResidentHard];
        let is_past = |limit| limits.get(limit).is_some_and(|max_bytes| size > max_bytes);
        size >= 1 << ADDRESS_BITS || is_past(address_space) || is_past(resident)
    }

    fn alloc_big_once(&self, layout: Layout) -> Option<HugeBlock> {
        if Route::of_more(layout) == Route::Huge {
            return self.huge.alloc(&self.huge_supply(), layout.size(), layout.align());
        }
        let pages = large_pages(layout.size());
        let taken = self.page_heap.take(pages, layout.align(), SpanKind::Large)?;
        Some(HugeBlock { base: taken.span.base(), is_zeroed: taken.is_zeroed })
    }

    /// Allocates from the large spans that the thread's cache holds.
    #[inline]
    pub(crate) fn alloc_large_cached(
        &self,
        slot: &ThreadSlot,
        layout: Layout,
    ) -> Option<NonNull<u8>> {
        let pages = cached_pages(layout)?;
        slot.pop_large(pages).map(SpanPtr::base)
    }

    /// Frees a large allocation into the thread's cache; `false` where it has no room for it.
    #[inline]
    pub(crate) fn dealloc_large_cached(
        &self,
        slot: &ThreadSlot,
        block: NonNull<u8>,
        layout: Layout,
    ) -> bool {
        if cached_pages(layout).is_none() {
            return false;
        }
        let span = self.large_span(block, layout.size());
        // SAFETY: the span is confirmed as the caller's, who gives it up.
        unsafe { slot.push_large(span) }
    }

    /// Frees what is not small.
    #[cold]
    pub(crate) fn dealloc_big(&self, slot: &ThreadSlot, block: NonNull<u8>, layout: Layout) {
        if cached_pages(layout).is_none() {
            self.dealloc_big_slow(block, layout);
        } else {
            self.dealloc_large(slot, self.large_span(block, layout.size()));
        }
    }

    /// Frees a span that a thread's cache may hold: it is confirmed as the caller's, who gives it
    /// up.
    #[inline(always)]
    pub(super) fn dealloc_large(&self, slot: &ThreadSlot, span: SpanPtr) {
        // SAFETY: the caller's span.
        if !unsafe { slot.push_large(span) } {
            self.dealloc_large_slow(slot, span);
        }
    }

    /// Frees a span for which the thread's cache had no room, or makes room.
    #[cold]
    fn dealloc_large_slow(&self, slot: &ThreadSlot, span: SpanPtr) {
        let now = clock::coarse_milliseconds();
        let cache = self.cache_for(slot);
        let given_up = match cache {
            Some(cache) => self.cache_large(&mut cache.open(slot, &self.caches, now), span),
            None => Some(span),
        };
        if let Some(span) = given_up {
            self.page_heap.free(span);
        }
        // Who comes by here first in each step of the clock would look at its bins nowhere else.
        if cache.is_some() {
            self.give_up_stale(slot, now);
        }
        self.tick(now);
    }

    /// Caches a span that the slot did not take; answers the one that has to go for it, if any.
    fn cache_large(&self, locked: &mut LockedCache<'_>, span: SpanPtr) -> Option<SpanPtr> {
        // SAFETY: the span is the caller's; a push that answers false left it alone.
        unsafe {
            // There may be room: the cache was hidden from the slot.
            if locked.push_large(span) {
                return None;
            }
            // Memory that is to go back at once does not wait in a cache.
            if !self.decay.is_immediate() {
                locked.grow_large(&self.magazines());
            }
            if locked.push_large(span) { None } else { Some(locked.replace_oldest_large(span)) }
        }
    }

    #[cold]
    fn dealloc_big_slow(&self, block: NonNull<u8>, layout: Layout) {
        if Route::of_more(layout) == Route::Large {
            self.page_heap.free(self.large_span(block, layout.size()));
        } else if !self.huge.dealloc(&self.huge_supply(), block, layout.size()) {
            abort_at_free(block, layout.size());
        }
        self.tick(clock::coarse_milliseconds());
    }

    /// The span of a large allocation, confirmed; aborts where there is none of this size.
    pub(super) fn large_span(&self, block: NonNull<u8>, size: usize) -> SpanPtr {
        let address = block.addr().get();
        let span =
            self.page_heap.segment_of(address).map(|segment| segment.page_containing(address));
        let confirmed = span.filter(|span| {
            // A head's block starts with its page.
            span.kind() == SpanKind::Large
                && address.is_multiple_of(PAGE_BYTES)
                && span.pages() == large_pages(size)
        });
        confirmed.unwrap_or_else(|| abort_at_free(block, size))
    }
}

#[cold]
#[inline(never)]
fn abort_at_free(block: NonNull<u8>, size: usize) -> ! {
    message::abort_with(format_args!(
        "free of {block:p}: no allocation of {size} bytes starts there"
    ))
}

/// Pages of a large allocation that a thread's cache may hold, and may serve.
fn cached_pages(layout: Layout) -> Option<Pages> {
    let is_cached = layout.size() <= CACHED_PAGES_MAX.bytes() && layout.align() <= PAGE_BYTES;
    is_cached.then(|| large_pages(layout.size()))
}

/// Pages of a large allocation; one of size zero, with a large alignment, has one too.
pub(super) fn large_pages(size: usize) -> Pages {
    Pages::containing(size.max(1))
}
