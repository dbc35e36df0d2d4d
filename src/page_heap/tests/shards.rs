//! Shards: where pages come from and go to while somebody keeps a shard's lock.

use super::super::shard::Shard;
use super::super::shards::FURTHER;
use super::{PageHeap, TestSource, address, fill, pages, take, take_aligned, take_rest, with_heap};
use crate::lock::RanksAside;
use crate::page_source::PageSource;
use crate::segment::{SEGMENT_BYTES, SEGMENT_PAGES};
use crate::span::{SpanKind, SpanPtr};
use crate::units::PAGE_BYTES;

/// All that there may be.
pub(super) const SHARDS: usize = 1 + FURTHER;

/// Runs `work` while somebody keeps the locks of the first `count` shards.
///
/// That somebody is this very thread, whose ranks do not stand in its way: whatever waits for such a
/// lock waits for ever.
pub(super) fn while_kept<S: PageSource, T>(
    heap: &PageHeap<S>,
    count: usize,
    work: impl FnOnce() -> T,
) -> T {
    // Those that were never needed are made.
    (1..count).for_each(|number| heap.shards.make(number, &heap.source).expect("a record"));
    let _kept: Vec<_> = heap.shards.iter().take(count).map(Shard::lock_beside).collect();
    let _aside = RanksAside::new();
    work()
}

impl<S: PageSource> PageHeap<S> {
    /// The same for the tests of other rooms, and of the first shard.
    pub(crate) fn while_first_is_kept<T>(&self, work: impl FnOnce() -> T) -> T {
        while_kept(self, 1, work)
    }
}

fn shard_of(span: SpanPtr) -> usize {
    span.segment().shard()
}

#[test]
fn pages_come_from_the_first_shard_that_nobody_keeps() {
    with_heap(TestSource::new(), |heap| {
        let before = take(heap, 2);
        for kept in 0..SHARDS {
            assert_eq!(shard_of(while_kept(heap, kept, || take(heap, 3))), kept);
            heap.check();
        }
        let stats = heap.stats();
        assert_eq!(stats.segment_count, SHARDS);
        assert_eq!(stats.active_bytes, (2 + 3 * SHARDS) * PAGE_BYTES);
        assert_eq!(address(take(heap, 2)), address(before) + 5 * PAGE_BYTES, "then as before");
    });
}

#[test]
fn batches_come_from_one_shard_and_go_back_to_their_own() {
    with_heap(TestSource::new(), |heap| {
        let mut list = [None; 8];
        let (first, second) = list.split_at_mut(4);
        assert_eq!(heap.take_many(pages(2), SpanKind::Large, first), 4);
        let taken = while_kept(heap, 1, || heap.take_many(pages(2), SpanKind::Large, second));
        assert_eq!(taken, 4);
        assert!(list.iter().flatten().map(|span| shard_of(*span)).eq([0, 0, 0, 0, 1, 1, 1, 1]));
        list.swap(1, 6);
        heap.free_many(&list);
        heap.check();
        assert_eq!(heap.stats().active_bytes, 0);
        assert_eq!(heap.stats().dirty_bytes, 16 * PAGE_BYTES);
    });
}

#[test]
fn what_is_freed_meanwhile_is_free_once_the_lock_is_taken_again() {
    with_heap(TestSource::new(), |heap| {
        let [alone, first, second] = [take(heap, 1), take(heap, 3), take(heap, 2)];
        let elsewhere = while_kept(heap, 1, || take(heap, 4));
        while_kept(heap, 1, || {
            heap.free(alone);
            heap.free_many(&[Some(first), Some(elsewhere), Some(second)]);
            let kinds = [alone, first, second].map(|span| span.kind());
            assert_eq!(kinds, [SpanKind::Left; 3], "no pointer into them passes for a live one");
            assert!(elsewhere.kind().is_free(), "whose lock nobody kept");
        });
        // The next to come by, whatever for, takes them in.
        assert_eq!(address(take(heap, 6)), address(alone));
        heap.check();
        assert_eq!(heap.stats().active_bytes, 6 * PAGE_BYTES);
    });
}

#[test]
fn slabs_that_were_left_are_no_slabs_any_more() {
    with_heap(TestSource::new(), |heap| {
        let class = crate::size_class::SizeClass::all().last().expect("classes");
        let span =
            heap.take(class.shape().pages(), PAGE_BYTES, SpanKind::Slab).expect("pages").span;
        crate::slab::Slab::cut(span, class, 0);
        while_kept(heap, 1, || heap.free(span));
        heap.check();
        assert_eq!(heap.block_class(address(span)), None);
        let kinds = (0..class.shape().pages().count())
            .map(|page| span.segment().span(span.page_index() + page).kind());
        assert!(kinds.into_iter().all(|kind| kind != SpanKind::SlabInside));
    });
}

#[test]
fn free_pages_of_other_shards_serve_before_a_segment_is_mapped() {
    with_heap(TestSource::new(), |heap| {
        let first = take(heap, SEGMENT_PAGES);
        let elsewhere = while_kept(heap, 1, || take(heap, 10));
        let again = take(heap, 20);
        assert_eq!((shard_of(first), shard_of(elsewhere), shard_of(again)), (0, 1, 1));
        heap.free(elsewhere);
        assert_eq!(address(take(heap, 10)), address(elsewhere), "dirty pages first");
        assert_eq!(shard_of(take(heap, SEGMENT_PAGES - 30)), 1);
        assert_eq!(heap.stats().segment_count, 2);
        heap.check();
    });
}

#[test]
fn where_nothing_can_be_mapped_the_shard_that_is_kept_is_waited_for() {
    // Where there is no other shard yet, and where that has nothing left.
    for has_other in [false, true] {
        with_heap(TestSource::new(), |heap| {
            take(heap, 1);
            if has_other {
                while_kept(heap, 1, || take(heap, SEGMENT_PAGES));
            }
            heap.source().inner().set_calls_left(0);
            let kept = heap.shards.first().lock();
            std::thread::scope(|scope| {
                let taken = scope.spawn(|| shard_of(take(heap, 1)));
                std::thread::sleep(std::time::Duration::from_millis(20));
                drop(kept);
                assert_eq!(taken.join().unwrap(), 0);
            });
            heap.source().inner().set_calls_left(usize::MAX);
            heap.check();
            assert_eq!(heap.stats().segment_count, 1 + usize::from(has_other));
        });
    }
}

#[test]
fn where_all_are_kept_the_first_is_waited_for() {
    with_heap(TestSource::new(), |heap| {
        while_kept(heap, SHARDS, || ());
        let kept = heap.shards.lock_all();
        std::thread::scope(|scope| {
            let taken = scope.spawn(|| shard_of(take(heap, 1)));
            std::thread::sleep(std::time::Duration::from_millis(20));
            drop(kept);
            taken.join().unwrap();
        });
        heap.check();
        assert_eq!(heap.stats().active_bytes, PAGE_BYTES);
    });
}

#[test]
fn a_shard_of_later_use_decays_purges_and_gives_its_segments_back() {
    with_heap(TestSource::new(), |heap| {
        let spans = while_kept(heap, 1, || [take(heap, 5), take(heap, 1), take(heap, 7)]);
        heap.free(spans[0]);
        assert!(heap.has_dirty());
        assert_eq!(heap.end_period().spans_bytes, 0);
        heap.free(spans[2]);
        assert_eq!(heap.end_period().spans_bytes, 5 * PAGE_BYTES);
        assert_eq!(heap.purge_dirty(), 7 * PAGE_BYTES);
        heap.free(spans[1]);
        let purged = heap.purge_all();
        assert_eq!((purged.spans_bytes, purged.segments_bytes), (PAGE_BYTES, SEGMENT_BYTES));
        assert_eq!(heap.stats().segment_count, 0);
    });
}

#[test]
fn a_shard_of_later_use_has_an_excess_of_its_own() {
    with_heap(TestSource::new(), |heap| {
        let take_whole = || take(heap, SEGMENT_PAGES);
        let spans: Vec<_> = while_kept(heap, 1, || (0..9).map(|_| take_whole()).collect());
        spans.iter().for_each(|span| heap.free(*span));
        assert!(heap.has_excess() && heap.take_excess());
        assert!(!heap.has_excess() && !heap.take_excess(), "one is told of it");
        assert_eq!(heap.purge_excess(), 35 << 20, "all but a megabyte");
        heap.check();
    });
}

#[test]
fn a_span_grows_elsewhere_where_its_shard_is_kept() {
    with_heap(TestSource::new(), |heap| {
        let span = take(heap, 3);
        assert_eq!(while_kept(heap, 1, || heap.grow(span, pages(4))), None);
        assert_eq!(heap.grow(span, pages(4)), Some(true));
    });
}

#[test]
fn segments_are_visited_in_address_order_whosever_they_are() {
    with_heap(TestSource::new(), |heap| {
        for kept in [1, 0, 2, 0, 1] {
            while_kept(heap, kept, || take(heap, SEGMENT_PAGES));
        }
        heap.check();
        let mut addresses = Vec::with_capacity(8);
        heap.for_each_segment(|segment| addresses.push(segment.base().addr().get()));
        assert_eq!(addresses.len(), 5);
        assert!(addresses.is_sorted());
    });
}

#[test]
fn a_shard_is_made_when_it_is_needed_counted_and_not_during_a_fork() {
    with_heap(TestSource::new(), |heap| {
        take(heap, 1);
        let before = heap.stats().metadata_bytes;
        let resident_bytes = heap.source().limits().resident_bytes();
        heap.hold_for_fork();
        let waiter = std::thread::scope(|scope| {
            let taken = scope.spawn(|| shard_of(take(heap, 1)));
            std::thread::sleep(std::time::Duration::from_millis(20));
            // SAFETY: held a few lines before, by this thread.
            unsafe { heap.release_after_fork() };
            taken.join().unwrap()
        });
        assert_eq!((waiter, heap.shards.iter().count()), (0, 1), "what a child would not know");
        while_kept(heap, 1, || take(heap, 1));
        assert_eq!(heap.shards.iter().count(), 2);
        let made_bytes = heap.shards.metadata_bytes();
        assert!(made_bytes > 0 && heap.stats().metadata_bytes > before + made_bytes);
        assert!(heap.source().limits().resident_bytes() > resident_bytes + made_bytes);
    });
}

#[test]
fn what_a_fork_finds_left_is_free_in_the_child() {
    with_heap(TestSource::new(), |heap| {
        let span = take(heap, 3);
        fill(span, 1);
        let rest = take_rest(heap);
        while_kept(heap, 1, || heap.free(span));
        heap.hold_for_fork();
        // SAFETY: held by the line above; the test is parent and child in one.
        unsafe { heap.release_after_fork() };
        heap.adopt_purging();
        assert_eq!(heap.stats().dirty_bytes, 3 * PAGE_BYTES);
        assert!(!take_aligned(heap, 3, PAGE_BYTES).is_zeroed);
        heap.free(rest);
    });
}
