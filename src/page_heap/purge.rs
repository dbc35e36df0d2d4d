//! Giving dirty pages back to the kernel, and empty segments with their addresses.

use super::PageHeap;
use super::free_spans::{FreeSpans, set_ends};
use super::shard::Shard;
use crate::hooks::Event;
use crate::page_source::PageSource;
use crate::segment::{SEGMENT_BYTES, SEGMENT_PAGES, SegmentPtr};
use crate::span::{Link, SpanKind, SpanPtr};
use crate::units::{PAGE_BYTES, Pages};

/// Spans purged between two holds of a shard's lock.
const BATCH: usize = 32;

/// Dirty pages that may wait for reuse at any time, and the part of the pages in use that may.
const DIRTY_MIN_PAGES: u32 = 256;
const DIRTY_PART: u32 = 8;

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
        let spans_bytes = self.purge_dirty();
        Purged { spans_bytes, segments_bytes: self.release_empty_segments() }
    }

    /// Gives every dirty span back, and keeps the segments; answers the bytes.
    pub(crate) fn purge_dirty(&self) -> usize {
        let purge = |shard: &Shard| {
            if shard.lock().dirty_pages() == Pages::ZERO {
                return 0;
            }
            let mut left = Pages::ALL;
            self.purge_period(shard, 0, &mut left) + self.purge_period(shard, 1, &mut left)
        };
        self.shards.iter().map(purge).sum()
    }

    /// Gives back what is dirty beyond a part of what is in use, what waited longest first.
    pub(crate) fn purge_excess(&self) -> usize {
        self.shards.iter().map(|shard| self.purge_excess_of(shard)).sum()
    }

    fn purge_excess_of(&self, shard: &Shard) -> usize {
        let (mut excess, last) = {
            // Who has to wait needs not: the next one to come by does the same.
            let Some(spans) = shard.lock_unless_stalled() else { return 0 };
            shard.take_excess();
            let kept = (spans.active / DIRTY_PART).max(Pages::new(DIRTY_MIN_PAGES));
            (spans.dirty_pages().saturating_sub(kept), 1 - spans.period)
        };
        let purged_bytes = self.purge_period(shard, last, &mut excess)
            + self.purge_period(shard, 1 - last, &mut excess);
        // A source that takes nothing back is not asked again at each free.
        let mut spans = shard.lock();
        spans.unpurged = spans.dirty_pages();
        purged_bytes
    }

    /// Gives back what was freed before the period that ends now, and begins the next.
    pub(crate) fn end_period(&self) -> Purged {
        let end = |shard: &Shard| {
            let last = 1 - shard.lock().period;
            let mut wanted = Pages::ALL;
            let spans_bytes = self.purge_period(shard, last, &mut wanted);
            shard.lock().period = last;
            spans_bytes
        };
        let spans_bytes = self.shards.iter().map(end).sum();
        Purged { spans_bytes, segments_bytes: self.release_empty_segments() }
    }

    /// Whether there is anything that the end of this period or the next would give back.
    pub(crate) fn has_dirty(&self) -> bool {
        self.shards.iter().any(|shard| shard.lock().dirty_pages() != Pages::ZERO)
    }

    /// Gives a period's spans back until there are none or `wanted` pages of them were given back;
    /// what is still wanted then stays in it.
    fn purge_period(&self, shard: &Shard, period: usize, wanted: &mut Pages) -> usize {
        let mut spans_bytes = 0;
        while *wanted != Pages::ZERO {
            let mut batch = [None; BATCH];
            let unit_bytes = self.source.granularity_bytes();
            let started = shard.lock().start_purge(period, *wanted, &mut batch, unit_bytes);
            if started == Pages::ZERO {
                break;
            }
            *wanted = wanted.saturating_sub(started);
            // The calls to the kernel are made without the lock: the spans are in nobody's hands.
            let mut done = [true; BATCH];
            for (span, is_done) in batch.iter().flatten().zip(&mut done) {
                *is_done = self.purge_span(*span);
            }
            let mut spans = shard.lock();
            for (&span, &is_done) in batch.iter().flatten().zip(&done) {
                let purged_bytes = if is_done { span.pages().bytes() } else { 0 };
                spans.finish_purge(span, is_done);
                self.source.limits().subtract_resident(purged_bytes);
                spans_bytes += purged_bytes;
            }
            if done.contains(&false) {
                break;
            }
        }
        spans_bytes
    }

    /// Takes back the spans that another thread of the parent was purging when this process, its
    /// child, was made; whether they were given back is not known, so they count as dirty.
    pub(crate) fn adopt_purging(&self) {
        for shard in self.shards.iter() {
            let mut spans = shard.lock();
            if spans.purging == Pages::ZERO {
                continue;
            }
            for segment in spans.segments.iter() {
                adopt_purging_in(&mut spans, segment);
            }
        }
    }

    fn purge_span(&self, span: SpanPtr) -> bool {
        // SAFETY: the span is marked as purging, so its pages are free and stay so until
        // `finish_purge`; `start_purge` trimmed it to the source's granularity.
        unsafe { self.source.purge(span.base(), span.pages().bytes()) }
    }

    fn release_empty_segments(&self) -> usize {
        self.shards.iter().map(|shard| self.release_empty_segments_of(shard)).sum()
    }

    fn release_empty_segments_of(&self, shard: &Shard) -> usize {
        let mut spans = shard.lock();
        let mut segments = core::mem::take(&mut spans.segments);
        let mut released_bytes = 0;
        segments.retain(|segment| {
            if !segment.is_free() {
                return true;
            }
            let dirty = spans.forget_segment(segment);
            self.source.limits().subtract_resident(dirty.bytes());
            self.segment_map.remove(segment);
            let address = segment.base().addr().get();
            // SAFETY: all of its pages were free, its spans left the index, and the map forgot it, as
            // does the list.
            unsafe { segment.unmap(&self.source) };
            released_bytes += SEGMENT_BYTES;
            self.source.notices().note(Event::SegmentReleased {
                address,
                bytes: SEGMENT_BYTES,
                mapped_bytes: self.source.mapped_bytes(),
            });
            false
        });
        spans.segments = segments;
        released_bytes
    }
}

fn adopt_purging_in(spans: &mut FreeSpans, segment: SegmentPtr) {
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

impl FreeSpans {
    /// Takes a period's dirty spans out of the index, longest first: a batch of them, or as many as
    /// hold the pages wanted. Answers their pages.
    fn start_purge(
        &mut self,
        period: usize,
        wanted: Pages,
        batch: &mut [Option<SpanPtr>],
        granularity_bytes: usize,
    ) -> Pages {
        let (mut count, mut started) = (0, Pages::ZERO);
        // Spans that cover no whole unit of the source, kept out of the way of those behind them.
        let mut unfit: Option<SpanPtr> = None;
        while count < batch.len() && started < wanted {
            let Some(span) = self.dirty[period].take_longest() else { break };
            let Some(span) = self.trim_to_granularity(span, granularity_bytes) else {
                span.set_link(Link::NextOrChild, unfit);
                unfit = Some(span);
                continue;
            };
            let left = (wanted - started).round_up_to(granularity_bytes / PAGE_BYTES);
            let span = self.split_off_end(span, left);
            set_ends(span, span.pages(), SpanKind::Purging);
            span.segment().mark_used(span.page_index(), span.pages());
            self.purging += span.pages();
            started += span.pages();
            batch[count] = Some(span);
            count += 1;
        }
        while let Some(span) = unfit {
            unfit = span.link(Link::NextOrChild);
            self.insert(span, span.pages(), span.kind());
        }
        started
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

    /// Returns what a free span (out of the index) has before its last `pages`, and answers with
    /// those: what lies lower is taken again sooner.
    fn split_off_end(&mut self, span: SpanPtr, pages: Pages) -> SpanPtr {
        if span.pages() <= pages {
            return span;
        }
        let (before, kind) = (span.pages() - pages, span.kind());
        let end = span.segment().span(span.page_index() + before.count());
        set_ends(end, pages, kind);
        self.insert(span, before, kind);
        end
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
