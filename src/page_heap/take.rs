//! Taking spans: from the first shard whose lock is to be had, then from wherever there are any.

use super::free_spans::FreeSpans;
use super::shard::{Shard, SpansGuard};
use super::{PageHeap, Taken};
use crate::hooks::Event;
use crate::page_source::PageSource;
use crate::segment::{SEGMENT_BYTES, SEGMENT_PAGES, SegmentPtr};
use crate::span::{SpanKind, SpanPtr};
use crate::units::{PAGE_BYTES, Pages};

/// What is asked of the page heap.
#[derive(Clone, Copy)]
struct Request {
    pages: Pages,
    /// A multiple of so many pages is where the span begins.
    align: usize,
    kind: SpanKind,
}

impl<S: PageSource> PageHeap<S> {
    /// Takes a span of `pages`, its first at a multiple of `align_bytes`.
    ///
    /// `pages` is at most a segment's; `None` where the page source refuses. The span's kind is
    /// the caller's to set before anyone else can reach it.
    pub(crate) fn take(&self, pages: Pages, align_bytes: usize, kind: SpanKind) -> Option<Taken> {
        let align = align_bytes.div_ceil(PAGE_BYTES);
        let (taken, _) = self.take_with_more(Request { pages, align, kind }, &mut [])?;
        Some(taken)
    }

    /// Takes up to `into.len()` spans of `pages` under one lock; answers how many.
    pub(crate) fn take_many(
        &self,
        pages: Pages,
        kind: SpanKind,
        into: &mut [Option<SpanPtr>],
    ) -> usize {
        let Some((first, more)) = into.split_first_mut() else { return 0 };
        let Some((taken, count)) = self.take_with_more(Request { pages, align: 1, kind }, more)
        else {
            return 0;
        };
        *first = Some(taken.span);
        count + 1
    }

    /// Takes a span, and as many like it as `more` has room for and its shard has at hand; answers
    /// how many more.
    fn take_with_more(
        &self,
        request: Request,
        more: &mut [Option<SpanPtr>],
    ) -> Option<(Taken, usize)> {
        debug_assert!(request.pages != Pages::ZERO && request.pages.count() <= SEGMENT_PAGES);
        let (shard, mut spans) = self.lock_any();
        let Some(taken) = self.take_locked(shard, &mut spans, request) else {
            drop(spans);
            return Some((self.take_elsewhere(shard, request, |shard| Some(shard.lock()))?, 0));
        };
        // A new segment is mapped for the first span only: the rest are a convenience.
        let mut count = 0;
        for slot in more {
            let Some(taken) = self.take_free(&mut spans, request) else { break };
            *slot = Some(taken.span);
            count += 1;
        }
        Some((taken, count))
    }

    /// The first shard whose lock is to be had, or else the first, after a wait.
    #[inline]
    fn lock_any(&self) -> (usize, SpansGuard<'_>) {
        match self.shards.first().lock_unless_stalled() {
            Some(spans) => (0, spans),
            None => self.lock_other_slow(),
        }
    }

    #[cold]
    fn lock_other_slow(&self) -> (usize, SpansGuard<'_>) {
        let further = self.shards.lock_further(&self.source);
        further.unwrap_or_else(|| (0, self.shards.first().lock()))
    }

    fn take_locked(&self, shard: usize, spans: &mut FreeSpans, request: Request) -> Option<Taken> {
        if let Some(taken) = spans.find(request) {
            return self.admit(spans, taken);
        }
        self.take_elsewhere(shard, request, Shard::try_lock_beside).or_else(|| {
            self.map_segment(shard, spans)?;
            self.take_free(spans, request)
        })
    }

    fn take_free(&self, spans: &mut FreeSpans, request: Request) -> Option<Taken> {
        let taken = spans.take(request.pages, request.align, request.kind)?;
        self.admit(spans, taken)
    }

    /// Takes what another shard has free, as far as its lock is to be had: what came to be free where
    /// nobody looks would else stay so while new segments are mapped.
    #[cold]
    fn take_elsewhere<'heap>(
        &'heap self,
        own: usize,
        request: Request,
        lock: impl Fn(&'heap Shard) -> Option<SpansGuard<'heap>>,
    ) -> Option<Taken> {
        for (number, shard) in self.shards.iter().enumerate() {
            let spans = if number == own { None } else { lock(shard) };
            let Some(mut spans) = spans else { continue };
            if let Some(taken) = spans.find(request) {
                return self.admit(&mut spans, taken);
            }
        }
        None
    }

    /// Counts a span's fresh pages as resident; puts it back where the limit refuses them.
    fn admit(&self, spans: &mut FreeSpans, taken: Taken) -> Option<Taken> {
        if self.source.add_resident(taken.fresh.bytes()) {
            return Some(taken);
        }
        let kind = if taken.is_zeroed { SpanKind::FreeRetained } else { spans.dirty_kind() };
        spans.free(taken.span, taken.span.pages(), kind);
        // Of a run across both kinds, what was retained is now dirty to the index.
        let mislabelled_bytes = if taken.is_zeroed { 0 } else { taken.fresh.bytes() };
        self.source.limits().count_resident(mislabelled_bytes);
        None
    }

    /// Maps one more segment for a shard: capmalloc never reserves further ahead than that.
    #[cold]
    fn map_segment(&self, shard: usize, spans: &mut FreeSpans) -> Option<()> {
        let segment = SegmentPtr::map(&self.source, shard)?;
        if !self.segment_map.insert(segment, &self.source) {
            // SAFETY: just mapped, and the map does not know it.
            unsafe { segment.unmap(&self.source) };
            return None;
        }
        spans.segments.insert(segment);
        spans.segment_count += 1;
        spans.segments_mapped += 1;
        let whole = Pages::new(SEGMENT_PAGES as u32);
        segment.mark_free(0, whole);
        spans.insert(segment.span(0), whole, SpanKind::FreeRetained);
        self.source.notices().note(Event::SegmentMapped {
            address: segment.base().addr().get(),
            bytes: SEGMENT_BYTES,
            mapped_bytes: self.source.mapped_bytes(),
        });
        Some(())
    }
}

impl FreeSpans {
    fn find(&mut self, request: Request) -> Option<Taken> {
        let Request { pages, align, kind } = request;
        self.take(pages, align, kind).or_else(|| self.take_run(pages, align, kind))
    }
}
