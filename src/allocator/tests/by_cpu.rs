//! CPU caches of a heap: when they are in use, and by which ways blocks leave them.

use super::{Allocator, Block, TestSource, ThreadSlot, finish, layout, timeless};
use crate::os::restartable;
use crate::page_map::PageState::{Cached, Live};
use crate::units::PAGE_BYTES;

/// Threads that are a crowd with so small a budget.
const CROWD: usize = 3;

/// Bytes of budget, of which CPU caches may have half.
const BUDGET_BYTES: usize = 400_000;

type Slots = [ThreadSlot; CROWD];

/// A heap of one arena, whose budget the first of these threads had as far as it may; the test stays on
/// its processor. `None` where there are no CPU caches.
fn crowd() -> Option<(Box<Allocator<TestSource>>, Slots)> {
    restartable::stay_here()?;
    let heap = timeless(TestSource::new(), 1);
    heap.budget().set_limit_bytes(Some(BUDGET_BYTES));
    heap.use_cpu_caches();
    let slots: Slots = core::array::from_fn(|_| ThreadSlot::new());
    for slot in &slots {
        take_and_free(&heap, slot, 64, 1);
    }
    while heap.budget().borrow_bytes(8, true) {}
    Some((heap, slots))
}

fn take(heap: &Allocator<TestSource>, slot: &ThreadSlot, size: usize, count: usize) -> Vec<Block> {
    let one = |index| Block::alloc(heap, slot, layout(size, 1), index as u8).expect("memory");
    (0..count).map(one).collect()
}

fn take_and_free(heap: &Allocator<TestSource>, slot: &ThreadSlot, size: usize, count: usize) {
    take(heap, slot, size, count).into_iter().for_each(|block| block.dealloc(heap, slot));
}

/// Gives back what `crowd` borrowed for nobody, and the heap.
fn end(heap: &Allocator<TestSource>, slots: &Slots) {
    let of_caches: usize = heap.caches().lock().iter().map(|cache| cache.borrowed_bytes()).sum();
    heap.budget().return_bytes(heap.budget().caches_lent_bytes() - of_caches);
    finish(heap, slots);
}

/// How often a lock of a bin was taken, in all.
fn locked(heap: &Allocator<TestSource>) -> u64 {
    heap.stats().arenas.iter().map(|arena| arena.lock_acquisitions).sum()
}

#[test]
fn threads_that_may_hold_nothing_come_to_the_bins_once_a_batch() {
    let Some((heap, slots)) = crowd() else { return };
    // Two at first, then as many more as the stack comes to hold.
    (0..6).for_each(|_| take_and_free(&heap, &slots[1], 1000, 40));
    let before = locked(&heap);
    (0..10).for_each(|_| take_and_free(&heap, &slots[2], 1000, 10));
    assert_eq!(locked(&heap), before, "what one thread freed the next has, and no bin is asked");
    (0..10).for_each(|_| take_and_free(&heap, &slots[2], 1000, 100));
    assert!(locked(&heap) - before < 200, "2000 calls");
    heap.check();
    let stats = heap.stats();
    assert!(stats.cpu_cache_bytes > 0 && stats.cpu_cache_bytes <= stats.cpu_cache_lent_bytes);
    assert!(stats.cpu_cache_lent_bytes <= BUDGET_BYTES / 2);
    assert_eq!(stats.allocated_bytes, 0);
    end(&heap, &slots);
}

#[test]
fn with_fewer_threads_or_unasked_there_are_none() {
    for (threads, is_asked) in [(CROWD - 1, true), (CROWD, false)] {
        let heap = timeless(TestSource::new(), 1);
        heap.budget().set_limit_bytes(Some(BUDGET_BYTES));
        if is_asked {
            heap.use_cpu_caches();
        }
        let slots: Slots = core::array::from_fn(|_| ThreadSlot::new());
        for slot in &slots[..threads] {
            take_and_free(&heap, slot, 1000, 500);
            take_and_free(&heap, slot, 9000, 50);
        }
        assert_eq!(heap.stats().cpu_cache_lent_bytes, 0);
        finish(&heap, &slots);
    }
}

#[test]
fn a_crowd_are_many_for_the_arenas_or_for_the_budget() {
    let heap = timeless(TestSource::new(), 1);
    let is_crowd = |caches| {
        heap.budget().set_active_caches(caches);
        heap.budget().is_crowded()
    };
    heap.budget().set_limit_bytes(Some(64 << 20));
    assert!(!is_crowd(1000), "nobody asked for CPU caches");
    heap.use_cpu_caches();
    if restartable::is_available() {
        assert!(!is_crowd(16) && is_crowd(17));
        heap.set_arena_max(2).expect("a cap within bounds");
        assert!(!is_crowd(32) && is_crowd(33));
        // Three quarters of it are 12 shares of 128 KiB.
        heap.budget().set_limit_bytes(Some(2 << 20));
        assert!(!is_crowd(12) && is_crowd(13));
        heap.budget().set_limit_bytes(Some(1));
        assert!(is_crowd(1));
        heap.budget().set_limit_bytes(Some(0));
        assert!(!is_crowd(1000), "all goes straight to the bins");
    }
    heap.budget().set_active_caches(0);
    finish(&heap, &[]);
}

#[test]
fn threads_that_come_as_others_end_are_no_crowd() {
    if !restartable::is_available() {
        return;
    }
    let heap = timeless(TestSource::new(), 1);
    heap.use_cpu_caches();
    // One after another, and then more at a time than caches are parked.
    for at_a_time in [1, 12] {
        for _ in 0..40 / at_a_time {
            let slots: Vec<_> = (0..at_a_time).map(|_| ThreadSlot::new()).collect();
            for slot in &slots {
                take_and_free(&heap, slot, 64, 1);
                assert!(!heap.budget().is_crowded(), "of {at_a_time}");
            }
            slots.iter().for_each(|slot| heap.detach(slot));
        }
    }
    finish(&heap, &[]);
}

#[test]
fn a_cache_with_bins_of_its_own_is_filled_and_flushed_by_its_processors() {
    let Some((heap, slots)) = crowd() else { return };
    // What is borrowed for nobody goes to the first thread's bin.
    heap.budget().return_bytes(60_000);
    take_and_free(&heap, &slots[0], 1000, 60);
    let lent = heap.stats().cache_lent_bytes;
    while heap.budget().borrow_bytes(8, true) {}
    (0..6).for_each(|_| take_and_free(&heap, &slots[0], 1000, 200));
    let before = locked(&heap);
    let blocks = take(&heap, &slots[0], 1000, 30);
    assert_eq!(locked(&heap), before, "bin and stack together have so many");
    blocks.into_iter().for_each(|block| block.dealloc(&heap, &slots[0]));
    assert!(heap.stats().cpu_cache_bytes > 0 && lent > 0);
    heap.check();
    end(&heap, &slots);
}

#[test]
fn a_trim_empties_them_and_decay_what_nobody_touched() {
    let Some((heap, slots)) = crowd() else { return };
    (0..3).for_each(|_| take_and_free(&heap, &slots[1], 1000, 40));
    let held_bytes = heap.stats().cpu_cache_bytes;
    assert!(held_bytes > 0 && heap.has_unreturned());
    let trimmed = heap.trim(&slots[0]);
    assert_eq!(trimmed.cpu_cache_bytes, held_bytes);
    let stats = heap.stats();
    assert_eq!((stats.cpu_cache_bytes, stats.cpu_cache_lent_bytes), (0, 0));
    (0..3).for_each(|_| take_and_free(&heap, &slots[1], 1000, 40));
    let now = crate::os::clock::coarse_milliseconds();
    heap.end_period(now);
    assert!(heap.stats().cpu_cache_bytes > 0, "it was used in the period that ended");
    heap.end_period(now + 500);
    assert_eq!(heap.stats().cpu_cache_lent_bytes, 0);
    heap.check();
    end(&heap, &slots);
}

#[test]
fn who_is_served_by_them_alone_counts_as_at_work() {
    let Some((heap, slots)) = crowd() else { return };
    (0..6).for_each(|_| take_and_free(&heap, &slots[1], 1000, 40));
    let before = crate::os::clock::coarse_milliseconds();
    while crate::os::clock::coarse_milliseconds() < before + 30 {
        take_and_free(&heap, &slots[1], 1000, 4);
    }
    let used_at = heap.caches().lock().iter().map(|cache| cache.used_at()).max();
    assert!(used_at > Some(before), "{used_at:?}, and the last 30 ms began at {before}");
    end(&heap, &slots);
}

#[test]
fn pages_whose_blocks_lie_there_are_shown_as_cached() {
    let Some((heap, slots)) = crowd() else { return };
    heap.trim(&slots[0]);
    let before = heap.page_map().count(Cached);
    let blocks = take(&heap, &slots[1], 2 * PAGE_BYTES, 4);
    let live = heap.page_map().count(Live);
    assert!(live >= 8);
    blocks.into_iter().for_each(|block| block.dealloc(&heap, &slots[1]));
    let stats = heap.stats();
    assert!(stats.cpu_cache_bytes > 0);
    let held_bytes = stats.cpu_cache_bytes + stats.depot_bytes + stats.thread_cache_bytes;
    assert_eq!((heap.page_map().count(Cached) - before) * PAGE_BYTES, held_bytes);
    end(&heap, &slots);
}

#[test]
fn blocks_of_sealed_slabs_pass_them_by() {
    let Some((heap, slots)) = crowd() else { return };
    let mut kept = take(&heap, &slots[1], 1000, 20);
    let late = kept.split_off(10);
    heap.warm_up(&slots[0]);
    while heap.budget().borrow_bytes(8, true) {}
    assert_eq!(heap.stats().cpu_cache_bytes, 0);
    kept.into_iter().for_each(|block| block.dealloc(&heap, &slots[1]));
    assert_eq!(heap.stats().cpu_cache_bytes, 0, "or the next one would write to a shared page");
    take_and_free(&heap, &slots[1], 1000, 20);
    let held_bytes = heap.stats().cpu_cache_bytes;
    assert!(held_bytes > 0);
    late.into_iter().for_each(|block| block.dealloc(&heap, &slots[1]));
    assert_eq!(heap.stats().cpu_cache_bytes, held_bytes, "nor do others make room for them");
    heap.thaw();
    end(&heap, &slots);
}

#[test]
fn a_child_goes_on_with_them() {
    let Some((heap, mut slots)) = crowd() else { return };
    (0..3).for_each(|_| take_and_free(&heap, &slots[1], 1000, 40));
    heap.prepare_fork();
    // SAFETY: the locks were just taken, in this thread.
    unsafe { heap.finish_fork() };
    heap.note_child(&slots[1]);
    let held_bytes = heap.stats().cpu_cache_bytes;
    let blocks = take(&heap, &slots[1], 1000, 2);
    assert!(heap.stats().cpu_cache_bytes < held_bytes);
    blocks.into_iter().for_each(|block| block.dealloc(&heap, &slots[1]));
    heap.check();
    (slots[0], slots[2]) = (ThreadSlot::new(), ThreadSlot::new());
    heap.adopt_orphans();
    end(&heap, &slots);
}
