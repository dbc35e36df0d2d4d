//! Bins whose lock somebody keeps.

use super::{Refill, World, class_of};
use crate::units::PAGE_BYTES;

/// One page a slab, 64 blocks.
const BLOCK_BYTES: usize = 64;

#[test]
fn a_bin_that_is_kept_is_not_waited_for_by_who_can_go_elsewhere() {
    let world = World::with_open(1);
    let class = class_of(BLOCK_BYTES);
    let mut blocks = world.take(0, class, 4);
    let bin = world.bin(0, class);
    bin.while_kept(|| {
        let mut into = [core::ptr::null_mut(); 4];
        assert_eq!(bin.try_refill(&mut into), None);
        assert_eq!(bin.try_refill_now(&mut into), None);
        assert_eq!(bin.refill_unless_stalled(&mut into), None);
        assert_eq!(bin.try_stock(&blocks, super::never), None);
        assert!(!bin.try_stock_now(&blocks, super::never));
    });
    assert_eq!(bin.try_stock(&blocks[..2], super::never), Some(true));
    assert!(bin.try_stock_now(&blocks[2..], super::never));
    let refill = bin.refill_unless_stalled(&mut blocks);
    assert_eq!(refill, Some(Refill::Got { count: 4, contended: true }));
    assert_eq!(world.counts(0, class).taken_blocks, 4);
    world.put_back(class, &blocks);
}

#[test]
fn slabs_cut_apart_are_the_bins_once_its_lock_is_taken() {
    let world = World::with_open(1);
    let class = class_of(BLOCK_BYTES);
    let before = world.take(0, class, 1);
    let mut blocks = [core::ptr::null_mut(); 100];
    let bin = world.bin(0, class);
    assert_eq!(bin.while_kept(|| bin.refill_apart(&mut blocks)), 100);
    assert!(blocks.is_sorted(), "lowest addresses first");
    let counts = world.counts(0, class);
    assert_eq!((counts.slabs, counts.taken_blocks), (3, 101));
    world.check();
    // The first slab has room for 63 more, the last one for 28.
    let more = world.take(0, class, 28 + 63);
    assert_eq!(world.counts(0, class).slabs, 3);
    for blocks in [&before, &blocks[..], &more] {
        world.put_back(class, blocks);
    }
    assert_eq!(world.active_bytes(), 0);
}

#[test]
fn blocks_of_a_slab_that_nobody_listed_yet_go_back_like_any() {
    let world = World::with_open(1);
    let class = class_of(PAGE_BYTES);
    let mut blocks = [core::ptr::null_mut(); 3];
    let bin = world.bin(0, class);
    assert_eq!(bin.while_kept(|| bin.refill_apart(&mut blocks)), 3);
    // The first to take the lock is who frees.
    world.put_back(class, &blocks[1..]);
    let lookup = |block| world.slab_of(block, class);
    let last = core::ptr::NonNull::new(blocks[0]).expect("a block");
    assert_eq!(bin.put_back_one(last, lookup), Ok(true));
    assert_eq!((world.counts(0, class).slabs, world.active_bytes()), (0, 0));
}

#[test]
fn a_refill_apart_without_memory_leaves_nothing_behind() {
    let world = World::with_open(1);
    let class = class_of(BLOCK_BYTES);
    let bin = world.bin(0, class);
    world.source().set_calls_left(0);
    let mut blocks = [core::ptr::null_mut(); 3];
    assert_eq!(bin.while_kept(|| bin.refill_apart(&mut blocks)), 0);
    world.source().set_calls_left(usize::MAX);
    assert_eq!(world.counts(0, class).slabs, 0);
}

#[test]
fn slabs_that_were_left_move_with_an_arena_that_closes_into_the_first() {
    let world = World::with_open(2);
    let class = class_of(BLOCK_BYTES);
    let first = world.bin(0, class);
    let mut blocks = [core::ptr::null_mut(); 2];
    assert_eq!(first.while_kept(|| first.refill_apart(&mut blocks)), 2);
    let other = world.take(1, class, 2);
    world.set_cap(1);
    assert_eq!(world.counts(0, class).slabs, 2);
    world.put_back(class, &blocks);
    world.put_back(class, &other);
    assert_eq!(world.active_bytes(), 0);
}
