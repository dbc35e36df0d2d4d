//! Runs of free pages across dirty and retained neighbours, the last resort of a shard.

use super::Taken;
use super::free_spans::{FreeSpans, set_ends};
use crate::segment::SegmentPtr;
use crate::span::{SpanKind, SpanPtr};
use crate::units::Pages;

impl FreeSpans {
    /// Takes the lowest run of free pages, whatever their states, that is long enough.
    ///
    /// Spans of different states are kept apart so that one can be preferred to the other, and so
    /// no single span may be long enough where their union is.
    pub(super) fn take_run(&mut self, pages: Pages, align: usize, kind: SpanKind) -> Option<Taken> {
        // A single page is never split over two spans, and while little is free a look at every
        // segment is a poor bet.
        let free = self.dirty_pages() + self.retained.pages();
        if pages.count() == 1 || free.count() < 2 * pages.count() {
            return None;
        }
        let (segment, first) = self.segments.iter().find_map(|segment| {
            let run = segment.find_free_run(pages, align);
            run.filter(|_| segment.free_pages() >= pages).map(|first| (segment, first))
        })?;
        let fresh = self.gather(segment, first, pages);
        let span = segment.span(first);
        self.mark_taken(span, pages);
        set_ends(span, pages, kind);
        Some(Taken { span, is_zeroed: fresh == pages, fresh })
    }

    /// Takes all free spans that touch the run out of the index, and puts back what lies outside.
    ///
    /// Answers how many of the run's pages were retained.
    fn gather(&mut self, segment: SegmentPtr, first: usize, pages: Pages) -> Pages {
        let end = first + pages.count();
        let mut fresh = Pages::ZERO;
        let mut span = self.free_span_over(segment, first);
        loop {
            let (start, length) = (segment.index_of(span), span.pages().count());
            let span_kind = span.kind();
            if span_kind == SpanKind::FreeRetained {
                let overlap = end.min(start + length) - first.max(start);
                fresh += Pages::new(overlap as u32);
            }
            self.remove(span);
            if start < first {
                self.insert(span, Pages::new((first - start) as u32), span_kind);
            }
            if start + length > end {
                let rest = segment.span(end);
                self.insert(rest, Pages::new((start + length - end) as u32), span_kind);
            }
            if start + length >= end {
                return fresh;
            }
            span = segment.span(start + length);
        }
    }

    /// The free span that covers the page at `index`, which is free.
    fn free_span_over(&self, segment: SegmentPtr, index: usize) -> SpanPtr {
        // Only a span's ends are written, so its head is found from the last used page before it.
        let mut head =
            (0..index).rev().find(|&page| !segment.is_page_free(page)).map_or(0, |page| page + 1);
        loop {
            let span = segment.span(head);
            let end = head + span.pages().count();
            if end > index {
                return span;
            }
            head = end;
        }
    }
}
