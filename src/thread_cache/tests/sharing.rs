//! How the bins of one cache divide what it borrowed.

use proptest::prelude::*;

use super::stacks::{grow_fully, push, with_cache};
use super::{SizeClass, ThreadCache, World, class_of};
use crate::size_class::CLASS_COUNT;

/// Lets a bin come by the slow path so often, as a program does for which the budget is spent;
/// answers how many blocks other bins gave up.
fn miss(world: &World, cache: &ThreadCache, class: SizeClass, count: usize) -> usize {
    let mut flushed = 0;
    for moment in 0..count {
        let mut locked = cache.lock();
        locked.note_miss(class, moment as u64);
        if !locked.grow(class, &world.magazines()) {
            locked.grow_at_others_cost(class, &world.magazines(), |_, blocks| {
                flushed += blocks.len();
            });
        }
        drop(locked);
        cache.check();
    }
    flushed
}

/// A budget of which a cache may have so much, the reserve for others being left.
fn budget_of_which(bytes: usize) -> usize {
    (bytes * 8).div_ceil(7)
}

#[test]
fn a_bin_that_is_asked_often_takes_from_one_of_large_blocks() {
    let (small, large) = (class_of(32), class_of(16 << 10));
    with_cache(budget_of_which(33 << 10), |world, slot, cache| {
        cache.lock().show(slot);
        assert_eq!(grow_fully(world, cache, large), [0, 1, 2]);
        assert_eq!(push(slot, large, 1..10), 2);
        let flushed = miss(world, cache, small, 200);
        assert_eq!(flushed, 1, "one was enough");
        assert_eq!(cache.bin(large).capacity(), 1);
        assert_eq!(cache.bin(small).capacity(), 512, "all that it may have");
        // What the small bin had no use for is still the cache's, and comes back with it.
        let spare = cache.borrowed_bytes() - (16 << 10) - 512 * 32;
        assert!(spare <= 1 << 10, "{spare}");
    });
}

#[test]
fn a_bin_of_large_blocks_leaves_one_of_small_blocks_that_is_asked_more_often() {
    let (small, large) = (class_of(64), class_of(16 << 10));
    with_cache(budget_of_which(16 << 10), |world, slot, cache| {
        cache.lock().show(slot);
        assert_eq!(grow_fully(world, cache, small).last(), Some(&256));
        assert_eq!(push(slot, small, 1..1000), 256);
        for _ in 0..50 {
            miss(world, cache, small, 40);
            assert_eq!(miss(world, cache, large, 4), 0);
        }
        assert_eq!((cache.bin(small).capacity(), cache.bin(large).capacity()), (256, 0));
    });
}

#[test]
fn what_nobody_uses_any_more_goes_to_those_who_ask() {
    let (before, after) = (class_of(1024), class_of(1280));
    with_cache(budget_of_which(65 << 10), |world, slot, cache| {
        cache.lock().show(slot);
        assert_eq!(grow_fully(world, cache, before).last(), Some(&64));
        assert_eq!(push(slot, before, 1..1000), 64);
        miss(world, cache, after, 300);
        assert!(cache.bin(after).capacity() >= 32);
        assert!(cache.bin(before).capacity() <= 16);
    });
}

#[test]
fn a_thread_that_comes_by_without_a_pause_is_pressed() {
    with_cache(1 << 20, |_, _, cache| {
        let class = class_of(64);
        let mut locked = cache.lock();
        for moment in 0..1000 {
            locked.note_miss(class, moment / 8);
            assert!(!locked.is_pressed(), "eight at a time");
        }
        (0..100).for_each(|_| locked.note_miss(class, 5000));
        assert!(locked.is_pressed());
        locked.note_miss(class, 5001);
        assert!(!locked.is_pressed(), "for that moment");
    });
}

proptest! {
    /// Whatever bins ask for, the sums agree, and no block is lost.
    #[test]
    fn bins_never_hold_more_than_was_borrowed_nor_lose_a_block(
        budget_bytes in prop::sample::select(vec![0_usize, 5000, 100_000, 400_000]),
        asked in prop::collection::vec((0..CLASS_COUNT, 1_usize..40, 0_usize..20), 0..60),
    ) {
        with_cache(budget_bytes, |world, slot, cache| {
            cache.lock().show(slot);
            let (mut pushed, mut flushed) = (0, 0);
            for (class, misses, blocks) in asked {
                let class = SizeClass::from_index(class).unwrap();
                flushed += miss(world, cache, class, misses);
                pushed += push(slot, class, pushed + 1..pushed + 1 + blocks);
                let held: usize = SizeClass::all().map(|class| cache.bin(class).len()).sum();
                assert_eq!(held + flushed, pushed);
                assert_eq!(cache.borrowed_bytes(), world.budget.caches_lent_bytes());
            }
        });
    }
}
