//! Large spans that grow and shrink where they lie.

use super::{
    PAGE_BYTES, TestSource, ZERO_PAGE, bytes_of, fill, holds, pages, take, take_aligned, take_rest,
    take_row, with_heap,
};
use crate::span::SpanKind;

#[test]
fn growth_takes_just_what_it_needs_of_the_free_span_behind() {
    with_heap(TestSource::new(), |heap| {
        let [span, hole, _] = take_row(heap, [4, 10, 1]);
        fill(span, 7);
        heap.free(hole);
        assert_eq!(heap.grow(span, pages(9)), Some(false), "the hole had been in use");
        assert_eq!((span.kind(), span.pages()), (SpanKind::Large, pages(9)));
        assert!(holds(&bytes_of(&span)[..4 * PAGE_BYTES], &[7; PAGE_BYTES]));
        heap.check();
        assert_eq!(heap.grow(span, pages(14)), Some(false), "to the last page of the hole");
        heap.check();
        assert_eq!(heap.grow(span, pages(15)), None, "a span in use is in the way");
        assert_eq!(span.pages(), pages(14), "a refusal leaves the span as it was");
        assert_eq!(heap.stats().active_bytes, 15 * PAGE_BYTES);
    });
}

#[test]
fn growth_into_pages_never_used_is_known_to_be_zero() {
    with_heap(TestSource::new(), |heap| {
        let span = take(heap, 4);
        fill(span, 7);
        assert_eq!(heap.grow(span, pages(500)), Some(true));
        assert!(holds(&bytes_of(&span)[4 * PAGE_BYTES..], &ZERO_PAGE));
        heap.check();
        assert_eq!(heap.grow(span, pages(1024)), Some(true), "to the end of the segment");
        assert_eq!(heap.grow(span, pages(1025)), None);
    });
}

#[test]
fn a_hole_that_is_too_short_is_left_alone() {
    with_heap(TestSource::new(), |heap| {
        let [span, hole, _] = take_row(heap, [4, 3, 1]);
        heap.free(hole);
        assert_eq!(heap.grow(span, pages(8)), None);
        assert_eq!(heap.stats().dirty_bytes, 3 * PAGE_BYTES);
        assert_eq!(take(heap, 3), hole);
    });
}

#[test]
fn what_shrinking_leaves_is_free_and_joins_what_follows() {
    with_heap(TestSource::new(), |heap| {
        let [span, behind, _] = take_row(heap, [10, 5, 1]);
        take_rest(heap);
        fill(span, 7);
        heap.free(behind);
        heap.shrink(span, pages(2));
        assert_eq!((span.kind(), span.pages()), (SpanKind::Large, pages(2)));
        assert!(holds(bytes_of(&span), &[7; PAGE_BYTES]));
        heap.check();
        let rest = take_aligned(heap, 13, PAGE_BYTES);
        assert_eq!(rest.span.page_index(), span.page_index() + 2);
        assert!(!rest.is_zeroed, "its pages were in use");
        heap.shrink(span, pages(1));
        heap.check();
        heap.free(span);
        assert_eq!(heap.stats().dirty_bytes, 2 * PAGE_BYTES);
    });
}
