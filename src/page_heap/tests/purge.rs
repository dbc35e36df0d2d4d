//! What a purge gives back, and what it must not.

use std::sync::atomic::Ordering::SeqCst;

use super::source::{CoarseSource, StubbornSource};
use super::{
    PAGE_BYTES, PageHeap, TestSource, ZERO_PAGE, bytes_of, fill, holds, pages, take, take_aligned,
    take_rest, take_row, with_heap,
};
use crate::page_heap::purge::Purged;
use crate::page_source::PageSource;
use crate::segment::{SEGMENT_BYTES, SEGMENT_PAGES};
use crate::span::SpanPtr;

/// Takes many spans of two pages, and frees every other one, written to.
fn make_holes<S: PageSource>(heap: &PageHeap<S>, holes: usize) -> Vec<SpanPtr> {
    let spans: Vec<_> = (0..2 * holes).map(|_| take(heap, 2)).collect();
    let freed: Vec<_> = spans.into_iter().step_by(2).collect();
    for hole in &freed {
        fill(*hole, 0xA5);
        heap.free(*hole);
    }
    freed
}

#[test]
fn segments_without_a_used_page_are_unmapped_and_the_others_stay() {
    with_heap(TestSource::new(), |heap| {
        let spans: Vec<_> = (0..3).map(|_| take(heap, SEGMENT_PAGES)).collect();
        heap.shrink(spans[1], pages(1));
        fill(spans[1], 0xA5);
        heap.free(spans[0]);
        heap.free(spans[2]);
        let purged = heap.purge_all();
        assert_eq!(purged.segments_bytes, 2 * SEGMENT_BYTES);
        assert_eq!(purged.spans_bytes, (3 * SEGMENT_PAGES - 1) * PAGE_BYTES);
        let stats = heap.stats();
        assert_eq!((stats.segment_count, stats.segments_released), (1, 2));
        assert_eq!((stats.dirty_bytes, stats.active_bytes), (0, PAGE_BYTES));
        assert!(holds(bytes_of(&spans[1]), &[0xA5; PAGE_BYTES]));
        heap.free(spans[1]);
        assert_eq!(heap.purge_all().segments_bytes, SEGMENT_BYTES);
        assert_eq!(heap.purge_all(), Purged::default(), "nothing is left to give back");
    });
}

#[test]
fn a_purge_counts_what_was_dirty_and_not_the_retained_neighbours() {
    with_heap(TestSource::new(), |heap| {
        let [first, _, last] = take_row(heap, [1, 1, 1]);
        heap.free(last);
        assert_eq!(heap.purge_all().spans_bytes, PAGE_BYTES, "before a long retained span");
        heap.free(first);
        assert_eq!(heap.purge_all().spans_bytes, PAGE_BYTES, "between pages in use");
        assert_eq!(heap.source().purged_bytes(), 2 * PAGE_BYTES);
    });
}

#[test]
fn more_spans_than_a_batch_are_purged_in_one_call() {
    with_heap(TestSource::new(), |heap| {
        make_holes(heap, 100);
        assert_eq!(heap.purge_all().spans_bytes, 200 * PAGE_BYTES);
        heap.check();
        assert_eq!(heap.stats().dirty_bytes, 0);
        for _ in 0..100 {
            let taken = take_aligned(heap, 2, PAGE_BYTES);
            assert!(taken.is_zeroed && holds(bytes_of(&taken.span), &ZERO_PAGE));
        }
    });
}

#[test]
fn what_is_dirty_beyond_an_eighth_of_what_is_used_goes_back_the_oldest_first() {
    with_heap(TestSource::new(), |heap| {
        // So much in use that an eighth of it is more than what may always stay.
        let used: Vec<_> = (0..8).map(|_| take(heap, SEGMENT_PAGES)).collect();
        let kept = SEGMENT_PAGES - 1;
        // A used page behind each keeps its segment.
        let [old, _] = take_row(heap, [kept, 1]);
        let [new, _] = take_row(heap, [kept, 1]);
        fill(old, 0xA5);
        heap.free(old);
        assert_eq!(heap.purge_excess(), 0, "as much as may stay");
        heap.end_period();
        fill(new, 0x5A);
        heap.free(new);
        let excess = 2 * kept - (heap.stats().active_bytes / PAGE_BYTES) / 8;
        assert_eq!(heap.purge_excess(), excess * PAGE_BYTES);
        heap.check();
        assert_eq!(heap.stats().dirty_bytes, (2 * kept - excess) * PAGE_BYTES);
        let again = take_aligned(heap, kept, PAGE_BYTES);
        assert_eq!((again.span, again.is_zeroed), (new, false), "the newer one stayed as it was");
        assert!(holds(bytes_of(&again.span), &[0x5A; PAGE_BYTES]));
        assert_eq!(used.len(), 8);
    });
}

#[test]
fn a_few_dirty_pages_always_stay_and_of_more_no_more_goes_than_must() {
    for (holes, purged_pages) in [(100, 0), (128, 0), (129, 2), (200, 144)] {
        with_heap(TestSource::new(), |heap| {
            make_holes(heap, holes);
            // Of two pages each; 256 may stay.
            assert_eq!(heap.purge_excess(), purged_pages * PAGE_BYTES);
            heap.check();
            assert_eq!(heap.purge_excess(), 0);
        });
    }
}

#[test]
fn spans_that_the_source_keeps_stay_dirty_and_are_purged_when_it_yields() {
    with_heap(StubbornSource::new(), |heap| {
        let holes = make_holes(heap, 100);
        assert_eq!(heap.purge_all(), Purged::default());
        heap.check();
        assert_eq!(heap.stats().dirty_bytes, 200 * PAGE_BYTES);
        let taken = take_aligned(heap, 2, PAGE_BYTES);
        assert_eq!((taken.span, taken.is_zeroed), (holes[0], false));
        heap.source().inner().gives_back.store(true, SeqCst);
        assert_eq!(heap.purge_all().spans_bytes, 198 * PAGE_BYTES);
        assert_eq!(heap.stats().dirty_bytes, 0);
    });
}

#[test]
fn an_empty_segment_is_unmapped_even_where_its_pages_could_not_be_purged() {
    with_heap(StubbornSource::new(), |heap| {
        let span = take(heap, 7);
        heap.free(span);
        assert_eq!(heap.purge_all(), Purged { spans_bytes: 0, segments_bytes: SEGMENT_BYTES });
        assert_eq!(heap.stats().segment_count, 0);
    });
}

#[test]
fn what_is_freed_goes_back_at_the_end_of_the_next_period_and_not_of_its_own() {
    with_heap(TestSource::new(), |heap| {
        let [early, _, late, _] = take_row(heap, [3, 1, 5, 1]);
        heap.free(early);
        assert_eq!(heap.end_period().spans_bytes, 0);
        heap.free(late);
        heap.end_period();
        heap.check();
        assert_eq!(heap.stats().dirty_bytes, 5 * PAGE_BYTES, "the early hole is purged");
        assert!(heap.has_dirty());
        heap.end_period();
        assert_eq!(heap.stats().dirty_bytes, 0);
        assert!(!heap.has_dirty());
    });
}

#[test]
fn a_crumb_freed_late_does_not_keep_a_long_span_from_going_back() {
    with_heap(TestSource::new(), |heap| {
        let [long, crumb, _] = take_row(heap, [50, 1, 1]);
        heap.free(long);
        heap.end_period();
        heap.free(crumb);
        heap.end_period();
        assert_eq!(heap.stats().dirty_bytes, 0);
    });
}

#[test]
fn a_crumb_freed_early_does_not_hasten_a_long_span() {
    with_heap(TestSource::new(), |heap| {
        let [crumb, long, _] = take_row(heap, [1, 50, 1]);
        heap.free(crumb);
        heap.end_period();
        heap.free(long);
        heap.end_period();
        assert_eq!(heap.stats().dirty_bytes, 51 * PAGE_BYTES);
    });
}

/// Leaves a hole of `hole` pages behind `before`, purges, and answers which pages of the segment
/// came to be retained.
fn purged_of_hole<const UNIT: usize>(before: usize, hole: usize) -> Vec<usize> {
    let mut purged = Vec::new();
    with_heap(CoarseSource::<UNIT>(TestSource::new()), |heap| {
        let [_, span] = take_row(heap, [before, hole]);
        take_rest(heap);
        fill(span, 0xA5);
        heap.free(span);
        heap.purge_all();
        heap.check();
        for _ in 0..hole {
            let taken = take_aligned(heap, 1, PAGE_BYTES);
            assert_eq!(taken.is_zeroed, holds(bytes_of(&taken.span), &ZERO_PAGE));
            purged.extend(taken.is_zeroed.then(|| taken.span.page_index()));
        }
        assert_eq!(heap.stats().segment_count, 1);
    });
    purged
}

#[test]
fn only_whole_units_of_the_source_are_given_back() {
    assert_eq!(purged_of_hole::<4>(1, 3), []);
    assert_eq!(purged_of_hole::<4>(4, 4), [4, 5, 6, 7]);
    assert_eq!(purged_of_hole::<4>(3, 6), [4, 5, 6, 7]);
    assert_eq!(purged_of_hole::<4>(2, 6), [4, 5, 6, 7], "the front is trimmed");
    assert_eq!(purged_of_hole::<4>(4, 7), [4, 5, 6, 7], "the back is trimmed");
    assert_eq!(purged_of_hole::<4>(1, 6), [], "no unit is free as a whole");
    assert_eq!(purged_of_hole::<16>(5, 50), (16..48).collect::<Vec<_>>());
}

#[test]
fn a_span_without_a_whole_unit_does_not_hide_shorter_ones_that_have_one() {
    with_heap(CoarseSource::<4>(TestSource::new()), |heap| {
        let [_, long, _, unit, _] = take_row(heap, [1, 6, 1, 4, 1]);
        heap.free(long);
        heap.free(unit);
        assert_eq!(heap.purge_all().spans_bytes, 4 * PAGE_BYTES);
        assert_eq!(heap.stats().dirty_bytes, 6 * PAGE_BYTES);
    });
}
