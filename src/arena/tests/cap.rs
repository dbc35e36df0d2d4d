//! The cap: arenas that close and open again, and the blocks that are out meanwhile.

use super::{ARENAS_MAX, PerThread, Refill, SizeClass, World, class_of, never};

#[test]
fn the_blocks_of_closed_arenas_belong_to_those_left_and_can_be_put_back() {
    let world = World::with_open(4);
    let class = class_of(64);
    let blocks: Vec<_> = (0..4).map(|arena| world.take(arena, class, 100)).collect();
    world.set_cap(2);
    assert_eq!((world.arenas.open(), world.arenas.cap()), (2, 2));
    for (arena, blocks) in blocks.iter().enumerate() {
        let owner = |block: &*mut u8| world.slab_of(*block, class).unwrap().arena();
        assert!(blocks.iter().all(|block| owner(block) == arena % 2));
        let counts = world.counts(arena, class);
        let expected = if arena < 2 { (4, 200) } else { (0, 0) };
        assert_eq!((counts.slabs, counts.taken_blocks), expected);
    }
    world.put_back(class, &blocks.concat());
    assert_eq!(world.active_bytes(), 0);
}

#[test]
fn no_block_moves_and_no_page_is_taken_when_arenas_close() {
    let world = World::with_open(3);
    for class in SizeClass::all() {
        for arena in 0..3 {
            world.take(arena, class, 3);
        }
    }
    let (pages, records) = (world.active_bytes(), world.metadata.resident_bytes());
    world.source().set_calls_left(0);
    world.set_cap(1);
    assert_eq!((world.active_bytes(), world.metadata.resident_bytes()), (pages, records));
    for class in SizeClass::all() {
        assert_eq!(world.counts(0, class).taken_blocks, 9);
    }
}

#[test]
fn a_closed_arena_refuses_refills_and_stock() {
    let world = World::with_open(2);
    let class = class_of(64);
    let blocks = world.take(1, class, 4);
    world.set_cap(1);
    let mut block = [core::ptr::null_mut()];
    assert_eq!(world.bin(1, class).refill(&mut block), Refill::Closed);
    assert!(!world.bin(1, class).stock(&blocks, never));
    assert!(world.bin(0, class).stock(&blocks, never), "the arena that has them now takes them");
}

#[test]
fn the_stock_of_a_closing_arena_goes_back_to_the_slabs_it_came_from() {
    let world = World::with_open(3);
    let class = class_of(64);
    let (own, foreign) = (world.take(2, class, 50), world.take(0, class, 50));
    assert!(world.bin(2, class).stock(&[&own[..], &foreign[..]].concat(), never));
    // Open arenas may hold stock of a closing one, whose slabs it then follows.
    let lent = world.take(2, class, 30);
    assert!(world.bin(1, class).stock(&lent, never));
    world.set_cap(2);
    assert_eq!(world.depot_blocks(2, class), 0);
    assert_eq!(world.counts(1, class).taken_blocks, 0);
    assert_eq!(world.counts(0, class).taken_blocks, 30, "what arena 1 holds in stock");
    let mut again = world.take(1, class, 30);
    again.sort_unstable();
    let mut lent = lent;
    lent.sort_unstable();
    assert_eq!(again, lent);
}

#[test]
fn a_raised_cap_opens_the_same_arenas_again_without_new_records() {
    let world = World::with_open(4);
    let class = class_of(64);
    let mut mapped_bytes = Vec::new();
    for _ in 0..3 {
        world.set_cap(1);
        world.set_cap(4);
        assert_eq!(world.arenas.open(), 1, "an arena opens when a thread needs it");
        for index in 1..4 {
            assert_eq!(world.assign(&PerThread), Some(index));
            let blocks = world.take(index, class, 5);
            assert!(world.bin(index, class).stock(&blocks[..3], never));
        }
        mapped_bytes.push(world.source().outstanding_bytes());
    }
    assert!(mapped_bytes.iter().all(|bytes| *bytes == mapped_bytes[0]), "{mapped_bytes:?}");
}

#[test]
fn a_cap_out_of_range_is_refused_and_changes_nothing() {
    let world = World::with_open(2);
    for cap in [0, ARENAS_MAX + 1, usize::MAX] {
        let outcome =
            world.arenas.set_cap(cap, &world.metadata, &world.page_heap, &world.budget, |_, _| {});
        let message = outcome.unwrap_err().to_string();
        assert_eq!(message, format!("{cap} arenas asked for; 1 to 1024 can be allowed"));
        assert_eq!((world.arenas.cap(), world.arenas.open()), (2, 2));
    }
    world.set_cap(ARENAS_MAX);
    assert_eq!(world.arenas.cap(), ARENAS_MAX);
}

#[test]
fn without_memory_for_a_record_a_thread_shares_an_arena_if_there_is_one() {
    let world = World::with_cap(4);
    world.source().set_calls_left(0);
    assert_eq!(world.assign(&PerThread), None);
    assert_eq!(world.arenas.open(), 0);
    world.source().set_calls_left(1);
    assert_eq!(world.assign(&PerThread), Some(0));
    assert_eq!(world.assign(&PerThread), Some(0), "the second record was refused");
    assert_eq!(world.arenas.open(), 1);
    world.source().set_calls_left(usize::MAX);
    assert_eq!(world.assign(&PerThread), Some(1));
}
