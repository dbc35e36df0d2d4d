//! Runs of free pages that no single span holds, found before a segment is mapped.

use super::{
    PAGE_BYTES, PageHeap, TestSource, ZERO_PAGE, bytes_of, fill, holds, pages, take, take_aligned,
    take_rest, take_row, with_heap,
};
use crate::limits::Limit;
use crate::span::{SpanKind, SpanPtr};

/// Leaves a hole of three hundred pages from the eleventh on, of which the middle hundred are
/// retained; hands its three stripes to the test, and two spans in use elsewhere.
fn with_striped_hole(test: impl FnOnce(&PageHeap<TestSource>, [SpanPtr; 5])) {
    with_heap(TestSource::new(), |heap| {
        let [_, first, middle, last, _, one, _, other] =
            take_row(heap, [10, 100, 100, 100, 1, 160, 1, 160]);
        let stripes = [first, middle, last];
        take_rest(heap);
        for stripe in stripes {
            fill(stripe, 0xA5);
        }
        heap.free(stripes[1]);
        heap.purge_all();
        heap.free(stripes[0]);
        heap.free(stripes[2]);
        assert_eq!(dirty_and_retained_pages(heap), (200, 100));
        test(heap, [first, middle, last, one, other]);
        assert_eq!(heap.stats().segment_count, 1, "free pages are used before more are mapped");
    });
}

fn dirty_and_retained_pages(heap: &PageHeap<TestSource>) -> (usize, usize) {
    let stats = heap.stats();
    (stats.dirty_bytes / PAGE_BYTES, stats.retained_bytes / PAGE_BYTES)
}

#[test]
fn neighbours_of_both_states_serve_together_what_neither_could() {
    with_striped_hole(|heap, [first, ..]| {
        let run = take_aligned(heap, 150, PAGE_BYTES);
        assert_eq!((run.span, run.is_zeroed), (first, false), "a part of it was used");
        heap.check();
        assert_eq!(dirty_and_retained_pages(heap), (100, 50));
    });
}

#[test]
fn a_run_may_start_inside_one_span_and_end_inside_another() {
    with_striped_hole(|heap, _| {
        let run = take_aligned(heap, 130, 64 * PAGE_BYTES);
        assert_eq!((run.span.page_index(), run.is_zeroed), (64, false));
        heap.check();
        assert_eq!(dirty_and_retained_pages(heap), (54 + 100, 16));
        fill(run.span, 1);
        heap.free(run.span);
        assert_eq!(dirty_and_retained_pages(heap), (284, 16));
    });
}

#[test]
fn a_run_may_consist_of_whole_spans() {
    with_striped_hole(|heap, stripes| {
        let [first, _, _, elsewhere @ ..] = stripes;
        // A look at the segments pays only while twice as much is free.
        assert_eq!(run_of_three_stripes(heap), None);
        for hole in elsewhere {
            heap.free(hole);
        }
        assert_eq!(run_of_three_stripes(heap), Some(first));
        assert_eq!(dirty_and_retained_pages(heap), (320, 0));
    });
}

/// Takes three hundred pages, but not from a new segment.
fn run_of_three_stripes(heap: &PageHeap<TestSource>) -> Option<SpanPtr> {
    heap.source().inner().set_calls_left(0);
    let taken = heap.take(pages(300), PAGE_BYTES, SpanKind::Large);
    heap.check();
    taken.map(|taken| taken.span)
}

#[test]
fn what_a_run_leaves_of_a_retained_span_still_reads_as_zero() {
    with_striped_hole(|heap, [_, middle, ..]| {
        let run = take_aligned(heap, 150, PAGE_BYTES);
        fill(run.span, 1);
        // The last stripe goes first, because dirty pages do.
        take(heap, 100);
        let rest = take_aligned(heap, 50, PAGE_BYTES);
        assert_eq!(rest.span.page_index(), middle.page_index() + 50);
        assert!(rest.is_zeroed && holds(bytes_of(&rest.span), &ZERO_PAGE));
    });
}

#[test]
fn a_run_that_the_limit_refuses_is_free_again_and_counted() {
    with_striped_hole(|heap, _| {
        let limits = heap.source().limits();
        limits.set(Limit::ResidentHard, Some(limits.resident_bytes() + 49 * PAGE_BYTES));
        assert!(heap.take(pages(150), PAGE_BYTES, SpanKind::Large).is_none());
        heap.check();
        // The part of it that was retained is taken for dirty now, and must be counted so.
        assert_eq!(dirty_and_retained_pages(heap), (250, 50));
        limits.set(Limit::ResidentHard, None);
        assert!(!take_aligned(heap, 150, PAGE_BYTES).is_zeroed);
    });
}

#[test]
fn an_aligned_hole_without_slack_is_found() {
    with_heap(TestSource::new(), |heap| {
        let [_, hole, _, elsewhere] = take_row(heap, [16, 16, 16, 20]);
        take_rest(heap);
        heap.free(hole);
        heap.free(elsewhere);
        assert_eq!(take_aligned(heap, 16, 16 * PAGE_BYTES).span, hole);
        assert_eq!(heap.stats().segment_count, 1);
    });
}

#[test]
fn a_run_never_crosses_a_page_in_use() {
    with_heap(TestSource::new(), |heap| {
        let [before, _, behind] = take_row(heap, [110, 1, 110]);
        take_rest(heap);
        heap.free(before);
        heap.free(behind);
        take(heap, 111);
        assert_eq!(heap.stats().segment_count, 2);
    });
}
