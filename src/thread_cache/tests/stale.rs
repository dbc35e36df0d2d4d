//! What an owner at work gives up of its cache.

use super::stacks::{grow_fully, push, with_cache};
use super::{SizeClass, ThreadCache, World, class_of};

/// Has the owner look; answers the blocks that it gave up, by their class.
fn look(world: &World, cache: &ThreadCache) -> Vec<(usize, usize)> {
    let mut given_up = Vec::new();
    let note = |class: SizeClass, blocks: &mut [*mut u8]| {
        given_up.push((class.block_bytes(), blocks.len()))
    };
    let bytes = cache.lock().give_up_stale(&world.magazines(), note);
    assert_eq!(bytes, given_up.iter().map(|(bytes, count)| bytes * count).sum());
    cache.check();
    given_up
}

#[test]
fn a_bin_that_nobody_used_between_two_looks_gives_up_its_blocks_and_then_its_loan() {
    with_cache(1 << 20, |world, slot, cache| {
        let class = class_of(64);
        grow_fully(world, cache, class);
        assert_eq!(push(slot, class, 1..101), 100);
        assert_eq!(look(world, cache), [], "it came to hold them since the last look");
        assert_eq!(look(world, cache), [(64, 100)]);
        assert_eq!((cache.bin(class).len(), cache.bin(class).capacity()), (0, 512));
        assert_eq!(look(world, cache), []);
        assert_eq!((cache.bin(class).capacity(), world.budget.lent_bytes()), (0, 0));
    });
}

#[test]
fn a_bin_that_came_by_or_holds_another_number_is_in_use() {
    with_cache(1 << 20, |world, slot, cache| {
        let (misses, moves) = (class_of(64), class_of(128));
        for class in [misses, moves] {
            grow_fully(world, cache, class);
            assert_eq!(push(slot, class, 1..101), 100);
        }
        look(world, cache);
        for number in 101..105 {
            cache.lock().note_miss(misses, 0);
            assert_eq!(push(slot, moves, number..number + 1), 1);
            assert_eq!(look(world, cache), []);
        }
        assert_eq!(look(world, cache), [(64, 100), (128, 104)]);
    });
}

#[test]
fn the_owner_looks_once_in_a_while() {
    with_cache(0, |_, _, cache| {
        assert!(!cache.is_look_due(500, 500), "not at the first call");
        assert!(cache.is_look_due(1000, 500));
        assert!(!cache.is_look_due(1000, 500) && !cache.is_look_due(1499, 500));
        assert!(cache.is_look_due(1500, 500));
        assert!(!cache.is_look_due(1400, u64::MAX), "never, where the pause has no end");
    });
}
