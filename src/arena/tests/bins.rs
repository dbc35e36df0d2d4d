//! Bins: which slabs serve a refill, where blocks go back to, and what is seen of mistakes.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::Index;

use super::{Misuse, Refill, SizeClass, World, class_of};
use crate::units::PAGE_BYTES;

/// One page a slab, 64 blocks.
const BLOCK_BYTES: usize = 64;

#[test]
fn every_class_serves_distinct_blocks_and_takes_them_all_back() {
    let world = World::with_open(1);
    for class in SizeClass::all() {
        let count = 3 * class.shape().capacity as usize + 1;
        let mut blocks = world.take(0, class, count);
        assert_eq!(world.counts(0, class).taken_blocks, count);
        blocks.sort_unstable();
        let bytes = class.block_bytes();
        assert!(blocks.windows(2).all(|pair| pair[0].addr() + bytes <= pair[1].addr()));
        world.put_back(class, &blocks);
        let counts = world.counts(0, class);
        assert_eq!((counts.taken_blocks, counts.slabs), (0, 0));
        assert_eq!(world.active_bytes(), 0, "emptied slabs go back to the page heap");
    }
}

#[test]
fn a_refill_comes_in_address_order_from_the_fullest_slab() {
    let world = World::with_open(1);
    let class = class_of(BLOCK_BYTES);
    let blocks = world.take(0, class, 128);
    let (sparse, dense) = blocks.split_at(64);
    world.put_back(class, &sparse[..50]);
    world.put_back(class, &dense[..10]);
    assert_eq!(world.take(0, class, 10), dense[..10]);
    assert_eq!(world.take(0, class, 50), sparse[..50], "no slab is cut while one has room");
    assert_eq!(world.counts(0, class).slabs, 2);
}

#[test]
fn slabs_are_not_cut_beyond_what_a_refill_needs() {
    let world = World::with_open(1);
    let class = class_of(BLOCK_BYTES);
    world.take(0, class, 1);
    assert_eq!(world.active_bytes(), PAGE_BYTES);
    world.take(0, class, 63);
    assert_eq!(world.active_bytes(), PAGE_BYTES);
    world.take(0, class, 65);
    assert_eq!(world.active_bytes(), 3 * PAGE_BYTES);
}

#[test]
fn many_slabs_emptied_at_once_all_go_back() {
    let world = World::with_open(1);
    // One block a slab: each block put back empties one, more of them than fit one batch.
    let class = class_of(PAGE_BYTES);
    let blocks = world.take(0, class, 50);
    world.put_back(class, &blocks[1..]);
    assert_eq!(world.active_bytes(), PAGE_BYTES);
    world.put_back(class, &blocks[..1]);
    assert_eq!(world.active_bytes(), 0);
}

#[test]
fn blocks_of_other_arenas_are_left_with_the_caller() {
    let world = World::with_open(2);
    let class = class_of(BLOCK_BYTES);
    let (own, foreign) = (world.take(0, class, 3), world.take(1, class, 2));
    let mut mixed = [own[0], foreign[0], own[1], foreign[1], own[2]];
    let lookup = |block| world.slab_of(block, class);
    let left = world.bin(0, class).put_back(&mut mixed, lookup).unwrap();
    assert_eq!(left, foreign);
    world.check();
    assert_eq!(world.counts(0, class).taken_blocks, 0);
    assert_eq!(world.counts(1, class).taken_blocks, 2);
}

#[test]
fn one_block_goes_back_to_its_own_arenas_bin_alone_and_the_last_frees_the_slab() {
    let world = World::with_open(2);
    let class = class_of(BLOCK_BYTES);
    let alone = |blocks: &[*mut u8]| core::ptr::NonNull::new(blocks[0]).unwrap();
    let (own, foreign) = (world.take(0, class, 1), world.take(1, class, 1));
    let lookup = |block| world.slab_of(block, class);
    assert_eq!(world.bin(0, class).put_back_one(alone(&foreign), lookup), Ok(false));
    assert_eq!(world.bin(0, class).put_back_one(alone(&own), lookup), Ok(true));
    world.check();
    assert_eq!((world.counts(0, class).slabs, world.counts(1, class).slabs), (0, 1));
    assert_eq!(world.active_bytes(), PAGE_BYTES);
    assert_eq!(world.bin(1, class).put_back_one(alone(&foreign), lookup), Ok(true));
    assert_eq!(world.active_bytes(), 0);
}

#[test]
fn a_block_put_back_wrongly_is_named_and_changes_nothing() {
    let world = World::with_open(1);
    let class = class_of(BLOCK_BYTES);
    let blocks = world.take(0, class, 3);
    world.put_back(class, &blocks[..1]);
    let second = blocks[1];
    let mistakes = [
        (class, blocks[0], Misuse::FreeAlready),
        (class, second.wrapping_add(8), Misuse::Interior),
        (class_of(8), second, Misuse::OtherSize(BLOCK_BYTES)),
    ];
    for (class, block, misuse) in mistakes {
        let lookup = |block| world.slab_of(block, class);
        let mut given = [block];
        let outcome = world.bin(0, class).put_back(&mut given, lookup);
        assert_eq!(outcome, Err((misuse, block)));
        let alone = core::ptr::NonNull::new(block).unwrap();
        assert_eq!(world.bin(0, class).put_back_one(alone, lookup), Err(misuse));
        world.check();
    }
    assert_eq!(world.counts(0, class).taken_blocks, 2);
}

#[test]
fn a_refill_without_memory_is_refused_and_works_again_with_it() {
    let world = World::with_open(1);
    let class = class_of(BLOCK_BYTES);
    for calls in 0..3 {
        world.source().set_calls_left(calls);
        let mut block = [core::ptr::null_mut()];
        assert_eq!(world.bin(0, class).refill(&mut block), Refill::Refused);
        world.check();
    }
    world.source().set_calls_left(usize::MAX);
    world.take(0, class, 1);
}

/// The bytes of a block that is in use.
fn bytes_of(block: &*mut u8, class: SizeClass) -> &[u8] {
    // SAFETY: the block was taken and not put back, so it is mapped and the test's alone.
    unsafe { core::slice::from_raw_parts(*block, class.block_bytes()) }
}

#[test]
fn a_purge_of_slabs_spares_every_page_with_a_part_of_a_used_block() {
    let world = World::with_open(1);
    for class in SizeClass::all().filter(|class| class.shape().pages().count() > 1) {
        let blocks = world.take(0, class, 3 * class.shape().capacity as usize);
        // SAFETY: the blocks are the test's, of their class's size.
        blocks.iter().for_each(|block| unsafe { block.write_bytes(0xA5, class.block_bytes()) });
        let (odd, even): (Vec<_>, Vec<_>) = (0..blocks.len()).partition(|index| index % 2 == 1);
        world.put_back(class, &even.iter().map(|index| blocks[*index]).collect::<Vec<_>>());
        let purged_bytes = world.bin(0, class).purge_slabs();
        let used_bytes = odd.len() * class.block_bytes();
        assert!(purged_bytes + used_bytes <= world.active_bytes(), "{class:?}");
        assert_eq!(world.bin(0, class).purge_slabs(), 0, "what is purged is known to be");
        let used: Vec<_> = odd.iter().map(|index| blocks[*index]).collect();
        assert!(used.iter().flat_map(|block| bytes_of(block, class)).all(|byte| *byte == 0xA5));
        world.put_back(class, &used);
    }
}

/// The fullness of a slab in eighths, as the bin's lists count it.
fn level(class: SizeClass, used: usize) -> usize {
    used * 8 / class.shape().capacity as usize
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 24,
        max_shrink_time: 20_000,
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn each_block_comes_from_a_slab_of_the_fullest_level(
        bytes in prop::sample::select(vec![8_usize, 64, 104, 512, 1792]),
        put_back in prop::collection::vec(any::<Index>(), 1..200),
        refills in 1..60_usize,
    ) {
        let (world, class) = (World::with_open(1), class_of(bytes));
        let mut held = world.take(0, class, 6 * class.shape().capacity as usize);
        let mut used = BTreeMap::new();
        let slab = |block| world.slab_of(block, class).unwrap().span().base();
        held.iter().for_each(|block| *used.entry(slab(*block)).or_insert(0) += 1);
        for chosen in put_back {
            if held.len() > 1 {
                let block = held.swap_remove(chosen.index(held.len()));
                *used.get_mut(&slab(block)).unwrap() -= 1;
                world.put_back(class, &[block]);
            }
        }
        for _ in 0..refills {
            let with_room = used.values().filter(|used| **used < class.shape().capacity as usize);
            let fullest = with_room.filter(|used| **used > 0).map(|used| level(class, *used)).max();
            let block = world.take(0, class, 1)[0];
            let used = used.entry(slab(block)).or_insert(0);
            prop_assert!(fullest.is_none_or(|fullest| level(class, *used) == fullest));
            *used += 1;
        }
    }
}
