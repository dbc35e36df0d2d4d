//! Large spans in thread caches.

use super::{Block, TestSource, ThreadSlot, finish, layout, timeless};
use crate::thread_cache::{CACHED_PAGES_MAX, ThreadCache};
use crate::units::PAGE_BYTES;

#[test]
fn a_thread_gets_the_span_back_that_it_gave_up_if_it_wants_as_much() {
    let heap = timeless(TestSource::new(), 1);
    let slots = [ThreadSlot::new(), ThreadSlot::new()];
    let alloc = |slot, pages| Block::alloc(&heap, slot, layout(pages * PAGE_BYTES, 1), 7).unwrap();
    let freed = [9, 20].map(|pages| alloc(&slots[0], pages));
    let bases = [freed[0].base, freed[1].base];
    // The first freed makes room for one, the second for two.
    freed.into_iter().for_each(|block| block.dealloc(&heap, &slots[0]));
    let stats = heap.stats();
    assert_eq!((stats.large_bytes, stats.allocated_bytes), (0, 0));
    assert_eq!((stats.thread_cache_bytes, stats.dirty_bytes), (29 * PAGE_BYTES, 0));
    let others = [alloc(&slots[0], 10), alloc(&slots[1], 9)];
    assert!(others.iter().all(|block| !bases.contains(&block.base)), "another length, or thread");
    let again = [9, 20].map(|pages| alloc(&slots[0], pages));
    assert_eq!([again[0].base, again[1].base], bases);
    assert_eq!(heap.stats().thread_cache_bytes, 0);
    heap.check();
    others.into_iter().chain(again).for_each(|block| block.dealloc(&heap, &slots[0]));
    finish(&heap, &slots);
}

#[test]
fn few_spans_are_cached_none_too_long_and_all_go_back() {
    let heap = timeless(TestSource::new(), 1);
    let slot = ThreadSlot::new();
    let longest = CACHED_PAGES_MAX.count();
    for pages in [longest, longest + 1] {
        let blocks: Vec<_> = (0..9)
            .map(|byte| Block::alloc(&heap, &slot, layout(pages * PAGE_BYTES, 1), byte).unwrap())
            .collect();
        blocks.into_iter().for_each(|block| block.dealloc(&heap, &slot));
        let cached = if pages == longest { 4 } else { 0 };
        assert_eq!(heap.stats().thread_cache_bytes, cached * pages * PAGE_BYTES);
        heap.check();
        assert_eq!(heap.flush_own_cache(&slot), cached * pages * PAGE_BYTES);
        assert_eq!(heap.stats().cache_lent_bytes, 0);
    }
    finish(&heap, &[slot]);
}

#[test]
fn cached_spans_leave_half_of_the_budget_to_blocks() {
    let heap = timeless(TestSource::new(), 1);
    heap.budget().set_limit_bytes(Some(3 * CACHED_PAGES_MAX.bytes()));
    let slots = [const { ThreadSlot::new() }; 3];
    for slot in &slots {
        let block = Block::alloc(&heap, slot, layout(9 * PAGE_BYTES, 1), 1).unwrap();
        block.dealloc(&heap, slot);
    }
    assert_eq!(heap.stats().thread_cache_bytes, 9 * PAGE_BYTES, "one of the three found room");
    finish(&heap, &slots);
}

#[test]
fn memory_asked_for_as_zero_is_zero_where_a_cached_span_serves() {
    let heap = timeless(TestSource::new(), 1);
    let slot = ThreadSlot::new();
    let wanted = layout(9 * PAGE_BYTES, 1);
    let used = Block::alloc(&heap, &slot, wanted, 0xff).unwrap();
    let base = used.base;
    used.dealloc(&heap, &slot);
    let zeroed = Block::alloc_zeroed(&heap, &slot, wanted, 1).unwrap();
    assert_eq!(zeroed.base, base);
    zeroed.dealloc(&heap, &slot);
    finish(&heap, &[slot]);
}

#[test]
fn spans_of_a_length_that_nobody_wants_any_more_make_room() {
    let heap = timeless(TestSource::new(), 1);
    let slot = ThreadSlot::new();
    let alloc = |pages| Block::alloc(&heap, &slot, layout(pages * PAGE_BYTES, 1), 7).unwrap();
    for pages in [9, 20] {
        let blocks: Vec<_> = (0..6).map(|_| alloc(pages)).collect();
        blocks.into_iter().for_each(|block| block.dealloc(&heap, &slot));
        assert_eq!(heap.stats().thread_cache_bytes, 4 * pages * PAGE_BYTES);
        assert_eq!(heap.stats().large_bytes, 0);
        heap.check();
    }
    let again: Vec<_> = (0..4).map(|_| alloc(20)).collect();
    assert_eq!(heap.stats().thread_cache_bytes, 0);
    again.into_iter().for_each(|block| block.dealloc(&heap, &slot));
    finish(&heap, &[slot]);
}

#[test]
fn a_cache_that_was_hidden_borrows_no_more_while_it_has_room() {
    let heap = timeless(TestSource::new(), 1);
    let slot = ThreadSlot::new();
    let alloc = || Block::alloc(&heap, &slot, layout(9 * PAGE_BYTES, 1), 7).unwrap();
    alloc().dealloc(&heap, &slot);
    let lent_bytes = heap.stats().cache_lent_bytes;
    let block = alloc();
    ThreadCache::of(&slot).unwrap().lock().hide(&slot);
    block.dealloc(&heap, &slot);
    assert_eq!(heap.stats().thread_cache_bytes, 9 * PAGE_BYTES);
    assert_eq!(heap.stats().cache_lent_bytes, lent_bytes);
    finish(&heap, &[slot]);
}

#[test]
fn where_memory_goes_back_at_once_no_span_is_cached() {
    let heap = timeless(TestSource::new(), 1);
    let slot = ThreadSlot::new();
    heap.decay().set_milliseconds(0);
    Block::alloc(&heap, &slot, layout(9 * PAGE_BYTES, 1), 7).unwrap().dealloc(&heap, &slot);
    let stats = heap.stats();
    assert_eq!((stats.thread_cache_bytes, stats.dirty_bytes), (0, 0));
    heap.decay().set_milliseconds(-1);
    finish(&heap, &[slot]);
}
