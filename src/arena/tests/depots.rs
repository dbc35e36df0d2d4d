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
        assert_eq!(world.budget.lent_bytes(), 0, "it has not run out since");
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
fn blocks_of_sparse_slabs_go_back_to_them_until_the_slabs_are_full_again() {
    let world = World::with_open(1);
    let class = class_of(512);
    let bin = world.bin(0, class);
    let mut blocks = world.take(0, class, 200 * 8);
    // Every eighth slab's worth of the blocks goes, one of each slab: more than a sixteenth.
    let gone: Vec<_> = blocks.iter().copied().step_by(8).collect();
    blocks.retain(|block| !gone.contains(block));
    world.put_back(class, &gone);
    assert!(!bin.stock(&blocks[..4], never));
    assert_eq!(world.depot_blocks(0, class), 0);
    world.take(0, class, 200);
    assert!(bin.stock(&blocks[..4], never));
}

#[test]
fn a_few_sparse_slabs_do_not_keep_blocks_from_the_depot() {
    let world = World::with_open(1);
    let class = class_of(512);
    let blocks = world.take(0, class, 64);
    world.put_back(class, &blocks[4..]);
    assert!(world.bin(0, class).stock(&blocks[..4], never), "at most 32 KiB lie free");
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

/// Bytes of the records that the chunks of blocks of up to 256 bytes are.
const RECORD_BYTES: usize = 2048;

/// Does `work` while no chunk can be had beyond those that a depot has.
fn without_records(world: &World, work: impl FnOnce()) {
    let source = world.page_heap.source();
    world.source().set_calls_left(0);
    let take = || world.metadata.take(source, RECORD_BYTES);
    let records: Vec<_> = core::iter::from_fn(take).collect();
    work();
    for record in records {
        // SAFETY: taken above with this size, and used by nobody.
        unsafe { world.metadata.give(source, record, RECORD_BYTES) };
    }
    world.source().set_calls_left(usize::MAX);
}

/// Has a depot swing between `blocks` and nothing with the chunks that it has.
fn swing_without_records(world: &World, class: SizeClass, blocks: &[*mut u8]) {
    without_records(world, || {
        for _ in 0..3 {
            assert!(world.bin(0, class).stock(blocks, never));
            world.check();
            assert_eq!(world.take(0, class, blocks.len()).len(), blocks.len());
        }
    });
}

#[test]
fn a_depot_at_the_edge_of_a_chunk_takes_no_storage_anew() {
    let world = World::with_open(1);
    let class = class_of(64);
    let blocks = world.take(0, class, 2);
    assert!(world.bin(0, class).stock(&blocks, never));
    world.take(0, class, 2);
    swing_without_records(&world, class, &blocks);
}

#[test]
fn a_batch_for_which_memory_ends_in_its_midst_is_not_in_the_depot() {
    let world = World::with_open(1);
    let class = class_of(64);
    let blocks = world.take(0, class, 256);
    assert!(world.bin(0, class).stock(&blocks[..1], never));
    without_records(&world, || {
        // The one chunk has room for 255.
        assert!(!world.bin(0, class).stock(&blocks[1..], never));
        assert_eq!(world.depot_blocks(0, class), 1);
        world.check();
        assert!(world.bin(0, class).stock(&blocks[1..255], never));
    });
    assert!(world.take(0, class, 255).iter().all(|block| blocks[..255].contains(block)));
}

#[test]
fn bursts_of_many_chunks_take_no_storage_anew_until_a_period_does_without_them() {
    let world = World::with_open(1);
    let class = class_of(16);
    let blocks = grow_to_hold(&world, class, 12_000);
    assert_eq!(world.take(0, class, 12_000).len(), 12_000);
    let mut taken = [core::ptr::null_mut(); 64];
    assert_eq!(world.bin(0, class).take_depot_surplus(&mut taken), 0, "it was empty just now");
    swing_without_records(&world, class, &blocks);
    // The end of a period that had use for all of it, and of one that did not.
    assert_eq!(world.bin(0, class).take_depot_surplus(&mut taken), 0);
    swing_without_records(&world, class, &blocks);
    let before_bytes = world.metadata.resident_bytes();
    for _ in 0..2 {
        assert_eq!(world.bin(0, class).take_depot_surplus(&mut taken), 0);
        world.check();
    }
    world.metadata.release_empty(world.page_heap.source());
    assert!(world.metadata.resident_bytes() < before_bytes);
}

#[test]
fn a_depot_that_holds_blocks_keeps_no_more_chunks_than_the_period_needed() {
    let world = World::with_open(1);
    let class = class_of(16);
    grow_to_hold(&world, class, 6000);
    let mut taken = vec![core::ptr::null_mut(); 6000];
    assert_eq!(world.bin(0, class).take_depot_surplus(&mut taken), 0);
    let others = world.take(0, class, 1000);
    assert_eq!(stock_what_fits(&world, class, &others), 1000);
    assert_eq!(world.bin(0, class).take_depot_surplus(&mut taken), 5000);
    assert_eq!(world.depot_blocks(0, class), 1000);
    // The check compares what chunks there are with the room, which is for 1000 blocks now.
    world.check();
}

/// Stocks `blocks` in batches, as far as there is room; answers how many.
fn stock_what_fits(world: &World, class: SizeClass, blocks: &[*mut u8]) -> usize {
    let bin = world.bin(0, class);
    blocks.chunks(32).take_while(|batch| bin.stock(batch, never)).map(<[_]>::len).sum()
}

/// Lets a depot turn blocks away and run out until it holds all of `count`.
fn grow_to_hold(world: &World, class: SizeClass, count: usize) -> Vec<*mut u8> {
    let blocks = world.take(0, class, count);
    for _ in 0..16 {
        let stocked = stock_what_fits(world, class, &blocks);
        world.check();
        if stocked == count {
            return blocks;
        }
        let mut taken = world.take(0, class, stocked + 1);
        let others = taken.split_off(stocked);
        world.put_back(class, &others);
    }
    panic!("the depot does not grow");
}

#[test]
fn a_depot_that_turns_blocks_away_and_runs_out_grows_and_hands_each_out_once() {
    let world = World::with_open(1);
    let class = class_of(64);
    let mut blocks = grow_to_hold(&world, class, 3000);
    assert_eq!(world.depot_blocks(0, class), 3000);
    assert_eq!(world.budget.lent_bytes(), (4096 - 256) * 64);
    let mut again = world.take(0, class, 3000);
    again.sort_unstable();
    blocks.sort_unstable();
    assert!(again == blocks, "what went in comes out, once");
}

#[test]
fn depots_have_a_quarter_of_the_budget_among_them() {
    let world = World::with_open(1);
    assert!(world.budget.borrow_bytes_for_depot(super::BUDGET_BYTES / 4 - 100));
    let class = class_of(64);
    let blocks = world.take(0, class, 600);
    let stocked = stock_what_fits(&world, class, &blocks);
    world.take(0, class, stocked + 1);
    assert_eq!(stock_what_fits(&world, class, &blocks), stocked, "no more than before");
    world.budget.return_bytes_of_depot(super::BUDGET_BYTES / 4 - 100);
}

#[test]
fn a_depot_gives_back_what_a_period_did_without_and_what_was_lent_for_it() {
    let world = World::with_open(1);
    let class = class_of(64);
    let blocks = grow_to_hold(&world, class, 3000);
    let mut taken = [core::ptr::null_mut(); 4096];
    // The end of a period in which the depot held less: nothing lay there all the time.
    assert_eq!(world.bin(0, class).take_depot_surplus(&mut taken), 0);
    assert_eq!(world.take(0, class, 500).len(), 500);
    assert_eq!(world.bin(0, class).take_depot_surplus(&mut taken), 2500);
    world.check();
    assert_eq!(world.depot_blocks(0, class), 0);
    assert_eq!(world.budget.lent_bytes(), (500 - 256) * 64, "room for what came and went");
    assert_eq!(world.bin(0, class).take_depot_surplus(&mut taken), 0);
    assert_eq!(world.budget.lent_bytes(), 0, "nothing came in this period");
    assert!(blocks.len() == 3000);
}

#[test]
fn a_surplus_of_whole_batches_is_all_that_a_period_gives_back() {
    let world = World::with_open(1);
    let class = class_of(64);
    grow_to_hold(&world, class, 1000);
    let mut batch = [core::ptr::null_mut(); 256];
    assert_eq!(world.bin(0, class).take_depot_surplus(&mut batch), 0);
    let others = world.take(0, class, 1000 - 256);
    assert_eq!(stock_what_fits(&world, class, &others), others.len());
    assert_eq!(world.bin(0, class).take_depot_surplus(&mut batch), 256);
    assert_eq!(world.bin(0, class).take_depot_surplus(&mut batch), 0, "the rest was of use");
    assert_eq!(world.depot_blocks(0, class), 1000 - 256);
}

#[test]
fn a_drained_depot_gives_up_what_it_borrowed() {
    let world = World::with_open(1);
    let class = class_of(1024);
    grow_to_hold(&world, class, 200);
    assert!(world.budget.lent_bytes() > 0);
    let mut drained = [core::ptr::null_mut(); 128];
    assert_eq!(world.bin(0, class).drain_depot(&mut drained), 128);
    assert!(world.budget.lent_bytes() > 0, "there are blocks in it yet");
    assert_eq!(world.bin(0, class).drain_depot(&mut drained), 72);
    assert_eq!(world.budget.lent_bytes(), 0);
    world.check();
}
