//! Depots: a bounded stock of free blocks that spares the slabs.

use super::{SizeClass, World, class_of, never};
use crate::arena::depot;

#[test]
fn blocks_stocked_are_the_next_refill() {
    let world = World::with_open(1);
    let class = class_of(64);
    let blocks = world.take(0, class, 40);
    assert!(world.bin(0, class).stock(&blocks[..30], never));
    assert_eq!(world.depot_blocks(0, class), 30);
    assert_eq!(world.counts(0, class).taken_blocks, 40, "a stocked block is not in its slab");
    let mut again = world.take(0, class, 30);
    again.sort_unstable();
    assert_eq!(again, blocks[..30]);
    assert_eq!(world.depot_blocks(0, class), 0);
}

#[test]
fn a_refill_takes_the_stock_first_and_the_rest_from_slabs() {
    let world = World::with_open(1);
    let class = class_of(64);
    let blocks = world.take(0, class, 40);
    assert!(world.bin(0, class).stock(&blocks[..10], never));
    let more = world.take(0, class, 15);
    assert!(blocks[..10].iter().all(|block| more[..10].contains(block)));
    assert!(more[10..].iter().all(|block| !blocks.contains(block)));
}

#[test]
fn a_depot_takes_a_batch_whole_or_not_at_all() {
    let world = World::with_open(1);
    for class in SizeClass::all() {
        let capacity = depot::capacity(class);
        let blocks = world.take(0, class, capacity + 1);
        let bin = world.bin(0, class);
        assert!(bin.stock(&blocks[..capacity - 1], never));
        assert!(!bin.stock(&blocks[capacity - 1..], never), "two blocks into room for one");
        assert_eq!(world.depot_blocks(0, class), capacity - 1);
        assert!(bin.stock(&blocks[capacity - 1..capacity], never));
        assert!(!bin.stock(&blocks[capacity..], never));
        world.check();
    }
}

#[test]
fn a_depot_holds_a_few_blocks_of_any_class_and_many_of_none() {
    for class in SizeClass::all() {
        let capacity = depot::capacity(class);
        assert!((2..=256).contains(&capacity));
        assert!(capacity == 2 || capacity * class.block_bytes() <= 32 * 1024);
    }
}

#[test]
fn a_depot_without_memory_for_its_stock_takes_nothing() {
    let world = World::with_open(1);
    let class = class_of(64);
    let blocks = world.take(0, class, 2);
    world.source().set_calls_left(0);
    assert!(!world.bin(0, class).stock(&blocks, never));
    world.check();
    world.source().set_calls_left(usize::MAX);
    assert!(world.bin(0, class).stock(&blocks, never));
}

#[test]
fn a_drained_depot_gives_its_storage_back() {
    let world = World::with_open(1);
    let class = class_of(64);
    let before_bytes = world.metadata.resident_bytes();
    let blocks = world.take(0, class, 20);
    assert!(world.bin(0, class).stock(&blocks, never));
    assert!(world.metadata.resident_bytes() > before_bytes);
    let mut drained = [core::ptr::null_mut(); 15];
    assert_eq!(world.bin(0, class).drain_depot(&mut drained), 15);
    assert_eq!(world.depot_blocks(0, class), 5, "what did not fit stays");
    assert_eq!(world.bin(0, class).drain_depot(&mut drained), 5);
    world.metadata.release_empty(world.page_heap.source());
    assert_eq!(world.metadata.resident_bytes(), before_bytes);
}
