//! Bins as stacks that start small and grow for those who come back for more.

use super::{SizeClass, ThreadCache, ThreadSlot, World, block, class_of};
use crate::thread_cache::cache_bin;

/// Pushes blocks of these numbers by the fast path; answers how many found room.
pub(super) fn push(slot: &ThreadSlot, class: SizeClass, numbers: core::ops::Range<usize>) -> usize {
    // SAFETY: the numbers stand for blocks that nobody has, and nobody looks into.
    numbers.take_while(|number| unsafe { slot.push(class, block(*number)) }).count()
}

pub(super) fn with_cache(
    budget_bytes: usize,
    test: impl FnOnce(&World, &ThreadSlot, &ThreadCache),
) {
    let (world, slot) = (World::with_budget(budget_bytes), ThreadSlot::new());
    let cache = world.attach(&slot);
    cache.lock().show(&slot);
    test(&world, &slot, cache);
    cache.check();
    world.detach(&slot);
    assert_eq!((world.budget.lent_bytes(), world.bytes_in_use()), (0, 0));
}

/// Grows a bin until it grows no more; answers each capacity that it came to have.
pub(super) fn grow_fully(world: &World, cache: &ThreadCache, class: SizeClass) -> Vec<usize> {
    let mut capacities = vec![cache.bin(class).capacity()];
    loop {
        cache.lock().grow(class, &world.magazines());
        let capacity = cache.bin(class).capacity();
        if capacities.last() == Some(&capacity) {
            return capacities;
        }
        capacities.push(capacity);
    }
}

#[test]
fn bins_start_empty_and_double_from_a_few_blocks_to_their_most() {
    with_cache(usize::MAX, |world, _, cache| {
        let mut borrowed_bytes = 0;
        for class in SizeClass::all() {
            let capacities = grow_fully(world, cache, class);
            assert_eq!(capacities[0], 0);
            assert!(capacities[1] <= 8 && (capacities[1] - 1) * class.block_bytes() < 2048);
            let doubles =
                |pair: &[usize]| pair[1] == (2 * pair[0]).min(*capacities.last().unwrap());
            assert!(capacities[1..].windows(2).all(doubles), "{capacities:?}");
            let most = *capacities.last().unwrap();
            assert_eq!(most, (128 * 1024 / class.block_bytes()).clamp(2, 512));
            assert_eq!(most, cache_bin::capacity_max(class));
            borrowed_bytes += most * class.block_bytes();
        }
        assert_eq!(world.budget.lent_bytes(), borrowed_bytes);
        assert_eq!(cache.borrowed_bytes(), borrowed_bytes);
    });
}

#[test]
fn the_last_block_in_is_the_first_out_also_after_growth() {
    with_cache(usize::MAX, |world, slot, cache| {
        let class = class_of(64);
        let mut pushed = 0;
        while pushed < cache_bin::capacity_max(class) {
            cache.lock().grow(class, &world.magazines());
            pushed += push(slot, class, pushed + 1..usize::MAX / 8);
            assert_eq!((cache.bin(class).len(), cache.bin(class).capacity()), (pushed, pushed));
        }
        for number in (1..=pushed).rev() {
            assert_eq!(slot.pop(class), Some(block(number)));
        }
        assert_eq!(slot.pop(class), None);
    });
}

#[test]
fn classes_do_not_share_room() {
    with_cache(usize::MAX, |world, slot, cache| {
        cache.lock().grow(class_of(64), &world.magazines());
        assert_eq!(push(slot, class_of(64), 1..2), 1);
        assert_eq!(push(slot, class_of(72), 1..2), 0, "nothing was asked for of this class");
        assert_eq!(slot.pop(class_of(72)), None);
        assert_eq!(slot.pop(class_of(64)), Some(block(1)));
    });
}

#[test]
fn a_bin_is_filled_to_half_and_gives_the_first_block_first() {
    with_cache(usize::MAX, |world, slot, cache| {
        let class = class_of(64);
        cache.lock().grow(class, &world.magazines());
        cache.lock().fill(class, |entries| {
            assert_eq!(entries.len(), 4);
            let blocks = [1, 2, 3].map(|number| block(number).as_ptr());
            entries[..3].copy_from_slice(&blocks);
            3
        });
        assert_eq!([slot.pop(class), slot.pop(class)], [Some(block(1)), Some(block(2))]);
        assert_eq!([slot.pop(class), slot.pop(class)], [Some(block(3)), None]);
    });
}

#[test]
fn a_flush_takes_the_oldest_and_leaves_the_warm_ones_on_top() {
    with_cache(usize::MAX, |world, slot, cache| {
        let class = class_of(64);
        cache.lock().grow(class, &world.magazines());
        assert_eq!(push(slot, class, 1..100), 8);
        let mut flushed = Vec::new();
        cache.lock().flush(class, 5, |blocks| flushed.extend_from_slice(blocks));
        assert_eq!(flushed, [1, 2, 3, 4, 5].map(|number| block(number).as_ptr()));
        assert_eq!(slot.pop(class), Some(block(8)));
        cache.lock().flush(class, 100, |blocks| assert_eq!(blocks.len(), 2));
        cache.lock().flush(class, 100, |_| panic!("an empty bin has nothing to flush"));
    });
}

#[test]
fn bins_grow_no_further_than_the_budget_and_other_bins_share_it() {
    let class = class_of(1024);
    with_cache(7 * 1024, |world, _, cache| {
        // Two blocks to start with, and two more; the next four would pass the budget.
        assert_eq!(grow_fully(world, cache, class), [0, 2, 4]);
        assert!(!cache.lock().grow(class, &world.magazines()), "the budget is the reason");
        assert_eq!(grow_fully(world, cache, class_of(2048)), [0, 1]);
        assert_eq!(world.budget.lent_bytes(), 6 * 1024);
        assert_eq!(grow_fully(world, cache, class_of(512)), [0], "four blocks are too many");
    });
    with_cache(0, |world, slot, cache| {
        assert_eq!(grow_fully(world, cache, class), [0]);
        assert_eq!(push(slot, class, 1..2), 0);
    });
}

#[test]
fn a_magazine_refused_leaves_the_old_one_and_returns_the_loan() {
    with_cache(usize::MAX, |world, slot, cache| {
        let class = class_of(64);
        cache.lock().grow(class, &world.magazines());
        push(slot, class, 1..9);
        let lent_bytes = world.budget.lent_bytes();
        world.source.inner().set_calls_left(0);
        // The magazine of eight pointers is a whole record, so the next one needs another pool.
        assert!(cache.lock().grow(class, &world.magazines()), "the budget is not the reason");
        assert_eq!((cache.bin(class).len(), cache.bin(class).capacity()), (8, 8));
        assert_eq!((world.budget.lent_bytes(), cache.borrowed_bytes()), (lent_bytes, lent_bytes));
        assert_eq!(slot.pop(class), Some(block(8)));
        world.source.inner().set_calls_left(usize::MAX);
        cache.lock().grow(class, &world.magazines());
        assert_eq!(cache.bin(class).capacity(), 16);
    });
}

#[test]
fn a_drain_hands_out_every_block_once_and_the_cache_starts_anew() {
    with_cache(usize::MAX, |world, slot, cache| {
        let classes = [class_of(8), class_of(64), class_of(32 * 1024)];
        for class in classes {
            cache.lock().grow(class, &world.magazines());
            push(slot, class, 1..3);
        }
        let mut drained = Vec::new();
        let bytes = cache.lock().drain(
            &world.magazines(),
            |class, blocks| drained.extend(blocks.iter().map(|block| (class, block.addr() / 8))),
            |_| panic!("no span was given up"),
        );
        let [small, middle, big] = classes;
        assert_eq!(drained, [(small, 1), (small, 2), (middle, 1), (middle, 2), (big, 1)]);
        assert_eq!(bytes, 2 * 8 + 2 * 64 + 32 * 1024);
        assert_eq!((world.budget.lent_bytes(), cache.borrowed_bytes()), (0, 0));
        assert!(classes.into_iter().all(|class| slot.pop(class).is_none()));
        let again = cache.lock().drain(
            &world.magazines(),
            |_, _| panic!("nothing is left"),
            |_| panic!("nothing is left"),
        );
        assert_eq!(again, 0);
        assert_eq!(grow_fully(world, cache, middle)[..2], [0, 8]);
    });
}
