//! The page heap's invariants, as code.

use core::sync::atomic::Ordering::Acquire;
use core::sync::atomic::fence;

use super::PageHeap;
use super::free_spans::FreeSpans;
use crate::page_source::PageSource;
use crate::segment::{SEGMENT_PAGES, SegmentPtr};
use crate::span::SpanKind;
use crate::units::Pages;

/// Pages by what they are used for, as a walk over all segments finds them.
#[derive(Default, PartialEq, Eq, Debug)]
struct Tally {
    dirty: Pages,
    retained: Pages,
    active: Pages,
    purging: Pages,
    free_spans: usize,
}

impl<S: PageSource> PageHeap<S> {
    /// Walks every segment under the locks of all shards, and stops the program where the page heap contradicts itself.
    ///
    /// Spans must tile each segment, free neighbours must differ in state, the free maps must say
    /// what the descriptors say, and the index must hold the free spans and nothing else.
    pub(crate) fn check(&self) {
        let shards = self.shards.lock_all();
        let mut known = 0;
        for (number, spans) in shards.iter().enumerate() {
            known += check_shard(number, spans);
        }
        ensure_eq!(self.segment_map.segments().count(), known, "segments known");
    }
}

/// Checks one shard; answers how many segments it has.
fn check_shard(number: usize, spans: &FreeSpans) -> usize {
    let mut tally = Tally::default();
    let (mut segment_count, mut before) = (0, None);
    for segment in spans.segments.iter() {
        let address = Some(segment.base().addr());
        ensure!(before < address, "segments in address order");
        ensure_eq!(segment.shard(), number, "a segment's shard");
        check_segment(segment, &mut tally);
        segment_count += 1;
        before = address;
    }
    ensure_eq!(segment_count, spans.segment_count, "a shard's segments");
    let expected = Tally {
        dirty: spans.dirty_pages(),
        retained: spans.retained.pages(),
        active: spans.active,
        purging: spans.purging,
        free_spans: indexed_spans(spans),
    };
    ensure_eq!(tally, expected, "pages by use: found, counted");
    segment_count
}

fn indexed_spans(spans: &FreeSpans) -> usize {
    let mut count = 0;
    for (index, kind) in [
        (&spans.dirty[0], SpanKind::FreeDirtyEven),
        (&spans.dirty[1], SpanKind::FreeDirtyOdd),
        (&spans.retained, SpanKind::FreeRetained),
    ] {
        let mut pages = Pages::ZERO;
        index.for_each(|span| {
            ensure_eq!(span.kind(), kind, "a span is in the other state's index");
            ensure_eq!(span.order(), span.base().addr().get() as u64, "a span's place in its heap");
            pages += span.pages();
            count += 1;
        });
        ensure_eq!(pages, index.pages(), "pages in the index");
    }
    count
}

fn check_segment(segment: SegmentPtr, tally: &mut Tally) {
    let mut before = SpanKind::Inside;
    let mut free = Pages::ZERO;
    let mut index = 0;
    while index < SEGMENT_PAGES {
        let span = segment.span(index);
        let (kind, pages) = (span.kind(), span.pages());
        let end = index + pages.count();
        ensure!(pages != Pages::ZERO && end <= SEGMENT_PAGES, "a span's length");
        for page in index..end {
            ensure_eq!(segment.is_page_free(page), kind.is_free(), "the free map");
            // A slab that is just being cut says nothing yet, and one that was left has not been told.
            let is_slab = matches!(kind, SpanKind::Slab | SpanKind::SealedSlab | SpanKind::Left);
            let address = segment.page_base(page).addr().get();
            if let Some(class) = segment.block_class(address) {
                // Acquire pairs with the Release in `set_block_class`.
                fence(Acquire);
                ensure!(is_slab && span.class() == Some(class), "a page's class of blocks");
            }
        }
        match kind {
            SpanKind::FreeDirtyEven | SpanKind::FreeDirtyOdd => tally.dirty += pages,
            SpanKind::FreeRetained => tally.retained += pages,
            SpanKind::Purging => tally.purging += pages,
            SpanKind::Slab
            | SpanKind::SealedSlab
            | SpanKind::Large
            | SpanKind::CachedLarge
            | SpanKind::Left => tally.active += pages,
            other => ensure!(false, "a span's head says {other:?}"),
        }
        if kind.is_free() {
            let are_both_dirty = kind.is_dirty() && before.is_dirty();
            ensure!(kind != before && !are_both_dirty, "free neighbours of one state are joined");
            ensure_eq!(segment.span(end - 1).kind(), kind, "a free span's tail");
            ensure_eq!(segment.span(end - 1).pages(), pages, "a free span's tail");
            tally.free_spans += 1;
            free += pages;
        }
        before = kind;
        index = end;
    }
    ensure_eq!(free, segment.free_pages(), "free pages of a segment");
}
