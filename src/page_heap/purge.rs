//! Giving dirty pages back to the kernel, and empty segments with their addresses.

use super::{FreeSpans, PageHeap, set_ends};
use crate::page_source::PageSource;
use crate::segment::{SEGMENT_BYTES, SEGMENT_PAGES, SegmentPtr};
use crate::span::{Link, SpanKind, SpanPtr};
use crate::units::{PAGE_BYTES, Pages};

/// Spans purged between two holds of the page heap's lock.
const BATCH: usize = 32;

/// What a purge gave back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Purged {
    /// Bytes of dirty spans given back.
    pub(crate) spans_bytes: usize,
    /// Bytes of address space of the segments unmapped.
    pub(crate) segments_bytes: usize,
}

impl<S: PageSource> PageHeap<S> {
    /// Gives every dirty span back, then unmaps the segments of which no page is in use.
    pub(crate) fn purge_all(&self) -> Purged {
        let spans_bytes = self.purge_period(0) + self.purge_period(1);
        Purged { spans_bytes, segments_bytes: self.release_empty_segments() }
    }

    /// Gives every dirty span back, and keeps the segments.
    pub(crate) fn purge_dirty(&self) {
        if self.has_dirty() {
            self.purge_period(0);
            self.purge_period(1);
        }
    }

    /// Gives back what was freed before the period that ends now, and begins the next.
    pub(crate) fn end_period(&self) -> Purged {
        let last = 1 - self.spans.lock().period;
        let spans_bytes = self.purge_period(last);
        self.spans.lock().period = last;
        Purged { spans_bytes, segments_bytes: self.release_empty_segments() }
    }

    /// Whether there is anything that the end of this period or the next would give back.
    pub(crate) fn has_dirty(&self) -> bool {
        self.spans.lock().dirty_pages() != Pages::ZERO
    }

    fn purge_period(&self, period: usize) -> usize {
        let mut spans_bytes = 0;
        loop {
            let mut batch = [None; BATCH];
            let unit_bytes = self.source.granularity_bytes();
            if self.spans.lock().start_purge(period, &mut batch, unit_bytes) == 0 {
                return spans_bytes;
            }
            // The calls to the kernel are made without the lock: the spans are in nobody's hands.
            let done = batch.map(|span| span.map(|span| (span, self.purge_span(span))));
            let mut spans = self.spans.lock();
            for (span, purged) in done.into_iter().flatten() {
                let purged_bytes = if purged { span.pages().bytes() } else { 0 };
                spans.finish_purge(span, purged);
                self.source.limits().subtract_resident(purged_bytes);
                spans_bytes += purged_bytes;
            }
            if done.iter().flatten().any(|(_, purged)| !purged) {
                return spans_bytes;
            }
        }
    }

    /// Takes back the spans that another thread of the parent was purging when this process, its
    /// child, was made; whether they were given back is not known, so they count as dirty.
    pub(crate) fn adopt_purging(&self) {
        let mut spans = self.spans.lock();
        if spans.purging == Pages::ZERO {
            return;
        }
        for segment in self.segment_map.segments() {
            let mut index = 0;
            while index < SEGMENT_PAGES {
                let span = segment.span(index);
                if span.kind() == SpanKind::Purging {
                    spans.finish_purge(span, false);
                    // It may have joined the spans around it, so the walk begins anew.
                    index = 0;
                } else {
                    index += span.pages().count();
                }
            }
        }
    }

    /// Whether spans are on their way back to the kernel.
    pub(crate) fn is_purging(&self) -> bool {
        self.spans.lock().purging != Pages::ZERO
    }

    fn purge_span(&self, span: SpanPtr) -> bool {
        // SAFETY: the span is marked as purging, so its pages are free and stay so until
        // `finish_purge`; `start_purge` trimmed it to the source's granularity.
        unsafe { self.source.purge(span.base(), span.pages().bytes()) }
    }

    fn release_empty_segments(&self) -> usize {
        let mut spans = self.spans.lock();
        let mut released_bytes = 0;
        for segment in self.segment_map.segments() {
            if !segment.is_free() {
                continue;
            }
            let dirty = spans.forget_segment(segment);
            self.source.limits().subtract_resident(dirty.bytes());
            self.segment_map.remove(segment);
            // SAFETY: all of its pages were free, its spans left the index, and the map forgot it.
            unsafe { segment.unmap(&self.source) };
            released_bytes += SEGMENT_BYTES;
        }
        released_bytes
    }
}

impl FreeSpans {
    /// Takes up to a batch of a period's dirty spans out of the index, longest first.
    fn start_purge(
        &mut self,
        period: usize,
        batch: &mut [Option<SpanPtr>],
        granularity_bytes: usize,
    ) -> usize {
        let mut count = 0;
        // Spans that cover no whole unit of the source, kept out of the way of those behind them.
        let mut unfit: Option<SpanPtr> = None;
        while count < batch.len() {
            let Some(span) = self.dirty[period].take_longest() else { break };
            let Some(span) = self.trim_to_granularity(span, granularity_bytes) else {
                span.set_link(Link::NextOrChild, unfit);
                unfit = Some(span);
                continue;
            };
            set_ends(span, span.pages(), SpanKind::Purging);
            span.segment().mark_used(span.page_index(), span.pages());
            self.purging += span.pages();
            batch[count] = Some(span);
            count += 1;
        }
        while let Some(span) = unfit {
            unfit = span.link(Link::NextOrChild);
            self.insert(span, span.pages(), span.kind());
        }
        count
    }

    /// Puts the ends of a span that no whole kernel page covers back, and answers with the rest.
    ///
    /// Answers `None`, with the whole span still out of the index, where nothing would be left.
    fn trim_to_granularity(&mut self, span: SpanPtr, granularity_bytes: usize) -> Option<SpanPtr> {
        let unit = granularity_bytes / PAGE_BYTES;
        let first = span.page_index();
        let end = (first + span.pages().count()) / unit * unit;
        let aligned = first.next_multiple_of(unit);
        if end <= aligned {
            return None;
        }
        let span = self.split_before(span, unit);
        let pages = Pages::new((end - aligned) as u32);
        self.split(span, pages);
        set_ends(span, pages, span.kind());
        Some(span)
    }

    /// Makes a span free again after the attempt to give it back.
    fn finish_purge(&mut self, span: SpanPtr, purged: bool) {
        self.purging -= span.pages();
        span.segment().mark_free(span.page_index(), span.pages());
        let kind = if purged { SpanKind::FreeRetained } else { self.dirty_kind() };
        self.join(span, span.pages(), kind);
    }

    /// Takes all spans of a free segment out of the index; answers how many pages were dirty.
    fn forget_segment(&mut self, segment: SegmentPtr) -> Pages {
        let mut dirty = Pages::ZERO;
        let mut index = 0;
        while index < SEGMENT_PAGES {
            let span = segment.span(index);
            index += span.pages().count();
            dirty += if span.kind().is_dirty() { span.pages() } else { Pages::ZERO };
            self.remove(span);
        }
        self.segment_count -= 1;
        self.segments_released += 1;
        dirty
    }
}
