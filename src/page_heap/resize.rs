//! Large spans that become longer or shorter where they lie.

use super::PageHeap;
use super::free_spans::set_ends;
use crate::page_source::PageSource;
use crate::span::{SpanKind, SpanPtr};
use crate::units::Pages;

impl<S: PageSource> PageHeap<S> {
    /// Lengthens a large span in place to `pages`, if the span behind it is free and long
    /// enough, and nobody keeps their shard's lock.
    ///
    /// Answers whether the new part is known to be zero.
    pub(crate) fn grow(&self, span: SpanPtr, pages: Pages) -> Option<bool> {
        // Who has to wait is better off with a span elsewhere.
        let mut spans = self.shards.of(span).lock_unless_stalled()?;
        let more = pages - span.pages();
        let next =
            spans.neighbour_after(span, span.pages()).filter(|next| next.kind().is_free())?;
        if next.pages() < more {
            return None;
        }
        let is_zeroed = next.kind() == SpanKind::FreeRetained;
        if is_zeroed && !self.source.add_resident(more.bytes()) {
            return None;
        }
        spans.remove(next);
        spans.split(next, more);
        spans.mark_taken(next, more);
        next.set_kind(SpanKind::Inside);
        set_ends(span, pages, SpanKind::Large);
        Some(is_zeroed)
    }

    /// Shortens a large span in place to `pages`; the rest becomes free.
    pub(crate) fn shrink(&self, span: SpanPtr, pages: Pages) {
        let mut spans = self.shards.of(span).lock();
        let rest = span.pages() - pages;
        debug_assert!(rest != Pages::ZERO);
        let segment = span.segment();
        let tail = segment.span(segment.index_of(span) + pages.count());
        set_ends(span, pages, SpanKind::Large);
        let kind = spans.dirty_kind();
        spans.free(tail, rest, kind);
    }
}
