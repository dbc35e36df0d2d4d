//! Threads as the heap sees them: slots that attach, work with or without a cache, and detach.

use super::{
    Block, SizeClass, TestSource, ThreadSlot, churn, finish, layout, threads_of_arenas, timeless,
};
use crate::thread_cache::ThreadState;

#[test]
fn without_a_budget_everything_goes_straight_through_the_arena() {
    let heap = timeless(TestSource::new(), 2);
    heap.budget().set_limit_bytes(Some(0));
    let slots = [ThreadSlot::new(), ThreadSlot::new()];
    for slot in &slots {
        churn(&heap, slot);
        let stats = heap.stats();
        assert_eq!((stats.thread_cache_bytes, stats.cache_lent_bytes), (0, 0));
        assert_eq!((stats.depot_bytes, stats.allocated_bytes, stats.active_bytes), (0, 0, 0));
    }
    finish(&heap, &slots);
}

#[test]
fn caches_never_hold_more_than_the_budget() {
    let heap = timeless(TestSource::new(), 2);
    heap.budget().set_limit_bytes(Some(10_000));
    let slots = [const { ThreadSlot::new() }; 3];
    for slot in slots.iter().cycle().take(6) {
        churn(&heap, slot);
        let stats = heap.stats();
        assert!(stats.thread_cache_bytes <= stats.cache_lent_bytes);
        assert!(stats.cache_lent_bytes <= 10_000);
        assert!(stats.cache_lent_bytes > 0, "the budget is made use of");
    }
    finish(&heap, &slots);
}

/// Bytes of a leaf of the segment map.
const LEAF_BYTES: usize = 64 << 10;

#[test]
fn threads_that_come_and_go_leave_nothing_behind() {
    let heap = timeless(TestSource::new(), 2);
    let mut mapped_bytes = Vec::new();
    for _ in 0..10 {
        let slot = ThreadSlot::new();
        churn(&heap, &slot);
        assert_eq!((heap.stats().threads, threads_of_arenas(&heap)), (1, 1));
        heap.detach(&slot);
        assert_eq!((heap.stats().threads, threads_of_arenas(&heap)), (0, 0));
        heap.trim(&ThreadSlot::new());
        mapped_bytes.push(heap.stats().mapped_bytes);
    }
    // The second thread opens the second arena; those after it find everything there, but for one
    // more leaf of the segment map where the system's addresses pass into its range.
    let (first, last) = (mapped_bytes[1], mapped_bytes[9]);
    assert!(last <= first + LEAF_BYTES, "{mapped_bytes:?}");
    finish(&heap, &[]);
}

#[test]
fn a_detached_slot_works_on_without_a_cache() {
    let heap = timeless(TestSource::new(), 2);
    let slot = ThreadSlot::new();
    let kept = Block::alloc(&heap, &slot, layout(64, 1), 1).unwrap();
    heap.detach(&slot);
    heap.detach(&slot);
    kept.dealloc(&heap, &slot);
    churn(&heap, &slot);
    assert_eq!(slot.state(), ThreadState::Uncached);
    let stats = heap.stats();
    assert_eq!((stats.threads, stats.allocated_bytes), (0, 0));
    finish(&heap, core::slice::from_ref(&slot));
}

#[test]
fn the_next_thread_goes_on_with_the_cache_of_one_that_ended() {
    let heap = timeless(TestSource::new(), 2);
    let slots: [ThreadSlot; 3] = core::array::from_fn(|_| ThreadSlot::new());
    churn(&heap, &slots[0]);
    let held_bytes = heap.stats().thread_cache_bytes;
    heap.detach(&slots[0]);
    assert_eq!(heap.stats().thread_cache_bytes, held_bytes, "parked as it was");
    heap.check();
    // The second thread takes it, whatever arena it comes to, and the third finds none.
    let kept = Block::alloc(&heap, &slots[1], layout(100, 1), 1).unwrap();
    assert_eq!(heap.stats().thread_cache_bytes, held_bytes - 104);
    let other = Block::alloc(&heap, &slots[2], layout(64, 1), 2).unwrap();
    assert_eq!(heap.caches().lock().parked_count(), 0);
    kept.dealloc(&heap, &slots[1]);
    other.dealloc(&heap, &slots[2]);
    finish(&heap, &slots);
}

#[test]
fn few_caches_are_parked_and_none_that_nobody_needs_stays() {
    let heap = timeless(TestSource::new(), 2);
    let slots: [ThreadSlot; 20] = core::array::from_fn(|_| ThreadSlot::new());
    slots.iter().for_each(|slot| churn(&heap, slot));
    slots.iter().for_each(|slot| heap.detach(slot));
    assert_eq!(heap.caches().lock().parked_count(), 8);
    assert!(heap.has_unreturned());
    assert!(heap.stats().thread_cache_bytes > 0);
    assert!(heap.reclaim_unused_since(0) == 0, "all were used since");
    assert!(heap.reclaim_unused_since(u64::MAX) > 0);
    assert_eq!(heap.caches().lock().parked_count(), 0);
    assert_eq!(heap.stats().thread_cache_bytes, 0);
    finish(&heap, &slots);
}

#[test]
fn a_slot_detached_before_it_had_a_cache_goes_without_too() {
    let heap = timeless(TestSource::new(), 2);
    let slot = ThreadSlot::new();
    heap.detach(&slot);
    churn(&heap, &slot);
    let threads = heap.stats().threads;
    finish(&heap, core::slice::from_ref(&slot));
    assert_eq!(threads, 0, "a thread that has ended is given no cache that nobody would free");
}

#[test]
fn the_cache_of_those_who_have_none_stays_empty() {
    let heap = timeless(TestSource::new(), 2);
    let slots = [const { ThreadSlot::new() }; 2];
    for slot in &slots {
        churn(&heap, slot);
        heap.reclaim_all();
        heap.flush_own_cache(slot);
        churn(&heap, slot);
    }
    finish(&heap, &slots);
    let fresh = ThreadSlot::new();
    assert!(SizeClass::all().all(|class| fresh.pop(class).is_none()));
}

#[test]
fn a_slot_without_memory_for_a_cache_is_served_and_attaches_when_there_is_some() {
    let heap = timeless(TestSource::new(), 1);
    let source = heap.page_heap().source().inner();
    // The arena's record, and the first segment's three mappings; the cache's chunk is refused.
    source.set_calls_left(1);
    let slot = ThreadSlot::new();
    assert!(heap.alloc(&slot, layout(64, 1)).is_none());
    assert_eq!((slot.state(), heap.arenas().open()), (ThreadState::Fresh, 1));
    heap.check();
    source.set_calls_left(usize::MAX);
    let block = Block::alloc(&heap, &slot, layout(64, 1), 1).unwrap();
    assert_eq!((slot.state(), threads_of_arenas(&heap)), (ThreadState::Attached, 1));
    block.dealloc(&heap, &slot);
    finish(&heap, core::slice::from_ref(&slot));
}

#[test]
fn threads_of_a_closed_arena_move_at_their_next_refill() {
    let heap = timeless(TestSource::new(), 3);
    let slots = [const { ThreadSlot::new() }; 3];
    slots.iter().for_each(|slot| churn(&heap, slot));
    assert_eq!(heap.stats().arenas.iter().map(|arena| arena.threads).max(), Some(1));
    heap.set_arena_max(1).unwrap();
    let moved = heap.stats().arenas[0].threads;
    assert_eq!((moved, threads_of_arenas(&heap)), (1, 3), "nobody has refilled yet");
    slots.iter().for_each(|slot| churn(&heap, slot));
    assert_eq!(heap.stats().arenas[0].threads, 3);
    finish(&heap, &slots);
}
