//! Which span a request gets, and what is said of its contents.

use super::{
    PAGE_BYTES, TestSource, ZERO_PAGE, address, bytes_of, fill, holds, pages, take, take_aligned,
    take_rest, take_row, with_heap,
};
use crate::segment::{SEGMENT_BYTES, SEGMENT_PAGES};
use crate::span::SpanKind;

#[test]
fn the_shortest_hole_that_fits_is_taken_and_of_equals_the_lowest() {
    with_heap(TestSource::new(), |heap| {
        let [five, _, three, _, other_three, _, eight, _] =
            take_row(heap, [5, 1, 3, 1, 3, 1, 8, 1]);
        take_rest(heap);
        // Freed in an order that is neither that of lengths nor that of addresses.
        for hole in [other_three, eight, three, five] {
            heap.free(hole);
        }
        assert_eq!(take(heap, 3), three);
        assert_eq!(take(heap, 2), other_three, "shorter than the hole of five");
        assert_eq!(take(heap, 4), five);
        assert_eq!(address(take(heap, 1)), address(five) + 4 * PAGE_BYTES, "the lower rest");
        assert_eq!(address(take(heap, 1)), address(other_three) + 2 * PAGE_BYTES);
        assert_eq!(take(heap, 8), eight);
        assert_eq!(heap.stats().segment_count, 1);
    });
}

#[test]
fn a_dirty_hole_is_taken_before_a_retained_one_that_fits_better() {
    with_heap(TestSource::new(), |heap| {
        let [three, _, ten, _] = take_row(heap, [3, 1, 10, 1]);
        take_rest(heap);
        heap.free(three);
        heap.purge_all();
        heap.free(ten);
        let stats = heap.stats();
        assert_eq!(stats.retained_bytes, 3 * PAGE_BYTES);
        assert_eq!(stats.dirty_bytes, 10 * PAGE_BYTES);
        let first = take_aligned(heap, 3, PAGE_BYTES);
        assert_eq!((first.span, first.is_zeroed), (ten, false));
        take(heap, 7);
        let last = take_aligned(heap, 3, PAGE_BYTES);
        assert_eq!((last.span, last.is_zeroed), (three, true));
    });
}

#[test]
fn fresh_pages_are_known_to_be_zero_and_used_ones_are_not_until_purged() {
    with_heap(TestSource::new(), |heap| {
        // Keeps the segment from being unmapped when the rest of it is purged.
        take(heap, 1);
        let fresh = take_aligned(heap, 4, PAGE_BYTES);
        assert!(fresh.is_zeroed && holds(bytes_of(&fresh.span), &ZERO_PAGE));
        fill(fresh.span, 0xA5);
        heap.free(fresh.span);
        let again = take_aligned(heap, 4, PAGE_BYTES);
        assert_eq!((again.span, again.is_zeroed), (fresh.span, false));
        heap.free(again.span);
        heap.purge_all();
        let purged = take_aligned(heap, 4, PAGE_BYTES);
        assert_eq!((purged.span, purged.is_zeroed), (fresh.span, true));
        assert!(holds(bytes_of(&purged.span), &ZERO_PAGE));
    });
}

#[test]
fn spans_start_at_the_alignment_asked_for_and_the_pages_skipped_are_not_lost() {
    with_heap(TestSource::new(), |heap| {
        let mut taken_pages = 0;
        for align in (0..=9).map(|shift| 1 << shift) {
            for count in [1, 3, 512] {
                // Moves what follows off the alignment that it would have by itself.
                take(heap, 1);
                let taken = take_aligned(heap, count, align * PAGE_BYTES);
                assert_eq!(address(taken.span) % (align * PAGE_BYTES), 0, "{count} at {align}");
                heap.check();
                taken_pages += 1 + count;
            }
        }
        let stats = heap.stats();
        assert_eq!(stats.active_bytes, taken_pages * PAGE_BYTES);
        let free_bytes = stats.dirty_bytes + stats.retained_bytes;
        assert_eq!(stats.active_bytes + free_bytes, stats.segment_count * SEGMENT_BYTES);
    });
}

#[test]
fn many_are_taken_as_far_as_one_new_segment_goes() {
    with_heap(TestSource::new(), |heap| {
        let mut spans = [None; 8];
        assert_eq!(heap.take_many(pages(200), SpanKind::Slab, &mut spans), 5);
        assert_eq!((heap.stats().segment_count, spans.iter().flatten().count()), (1, 5));
        assert!(spans[..5].windows(2).all(|pair| pair[0].map(address) < pair[1].map(address)));
        heap.free_many(&spans);
        assert_eq!(heap.stats().active_bytes, 0);
    });
}

#[test]
fn every_page_of_a_segment_leads_to_it_and_none_beyond() {
    with_heap(TestSource::new(), |heap| {
        let whole = take(heap, SEGMENT_PAGES);
        let first = address(whole);
        for page in [0, 1, SEGMENT_PAGES / 2, SEGMENT_PAGES - 1] {
            for offset in [0, 1, PAGE_BYTES - 1] {
                let inside = first + page * PAGE_BYTES + offset;
                let found = heap.segment_of(inside).unwrap().page_containing(inside);
                assert_eq!((found.page_index(), address(found)), (page, first + page * PAGE_BYTES));
            }
        }
        assert!(heap.segment_of(first - 1).is_none());
        assert!(heap.segment_of(first + SEGMENT_BYTES).is_none());
        heap.free(whole);
        heap.purge_all();
        assert!(heap.segment_of(first).is_none(), "a segment unmapped is forgotten");
    });
}

#[test]
fn spans_freed_in_any_order_join_into_one_a_segment() {
    with_heap(TestSource::new(), |heap| {
        let mut spans = Vec::new();
        for _ in 0..SEGMENT_PAGES / 8 {
            spans.extend([1, 2, 5].map(|count| take(heap, count)));
        }
        assert_eq!(heap.stats().segment_count, 1);
        let lowest = spans[0];
        // A stride that shares no factor with their number visits all, neighbours far apart.
        for step in 0..spans.len() {
            heap.free(spans[step * 145 % spans.len()]);
            heap.check();
        }
        let whole = take_aligned(heap, SEGMENT_PAGES, PAGE_BYTES);
        assert_eq!((whole.span, whole.is_zeroed), (lowest, false));
        assert_eq!(heap.stats().segment_count, 1);
    });
}
