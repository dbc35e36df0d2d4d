//! Sealed slabs: no refill takes from them, and a seal ends with its slab's last block.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::sample::Index;

use super::{SizeClass, World, class_of};
use crate::slab::Slab;
use crate::units::PAGE_BYTES;

/// One page a slab, 64 blocks.
const BLOCK_BYTES: usize = 64;

fn page_of(block: *mut u8) -> usize {
    block.addr() / PAGE_BYTES
}

impl World {
    fn is_sealed(&self, block: *mut u8, class: SizeClass) -> bool {
        self.slab_of(block, class).is_ok_and(Slab::is_sealed)
    }
}

#[test]
fn a_refill_takes_nothing_from_a_sealed_slab() {
    let world = World::with_open(1);
    let class = class_of(BLOCK_BYTES);
    let blocks = world.take(0, class, 64);
    world.put_back(class, &blocks[32..]);
    assert_eq!(world.bin(0, class).seal(), 1);
    assert_eq!(world.bin(0, class).seal(), 0, "nothing is sealed twice");
    world.check();
    let fresh = world.take(0, class, 32);
    assert!(fresh.iter().all(|block| page_of(*block) != page_of(blocks[0])));
    world.put_back(class, &blocks[..31]);
    assert!(world.is_sealed(blocks[31], class));
    assert_eq!(world.bin(0, class).thaw(), 1);
    world.check();
    let again = world.take(0, class, 32 + 63);
    assert!(again.iter().any(|block| page_of(*block) == page_of(blocks[0])));
    world.put_back(class, &[&fresh[..], &blocks[31..32], &again[..]].concat());
    assert_eq!(world.active_bytes(), 0);
}

#[test]
fn a_full_slab_is_sealed_too_and_the_seal_ends_when_it_is_empty() {
    let world = World::with_open(1);
    let class = class_of(BLOCK_BYTES);
    let blocks = world.take(0, class, 64);
    assert_eq!(world.bin(0, class).seal(), 1);
    world.put_back(class, &blocks);
    assert_eq!((world.active_bytes(), world.bin(0, class).thaw()), (0, 0));
    let again = world.take(0, class, 64);
    assert!(again.iter().all(|block| !world.is_sealed(*block, class)), "the span is cut anew");
    world.put_back(class, &again);
}

#[test]
fn a_depot_takes_no_block_of_a_sealed_slab_and_others_as_before() {
    let world = World::with_open(1);
    let class = class_of(BLOCK_BYTES);
    let sealed = world.take(0, class, 64);
    world.bin(0, class).seal();
    let fresh = world.take(0, class, 10);
    let is_sealed = |block: &*mut u8| world.is_sealed(*block, class);
    assert!(!world.bin(0, class).stock(&sealed[..10], is_sealed));
    assert!(!world.bin(0, class).stock(&[&fresh[..9], &sealed[..1]].concat(), is_sealed));
    assert!(world.bin(0, class).stock(&fresh, is_sealed));
    assert_eq!(world.depot_blocks(0, class), 10);
    let mut stock = vec![core::ptr::null_mut(); 10];
    assert_eq!(world.bin(0, class).drain_depot(&mut stock), 10);
    world.put_back(class, &[&stock[..], &sealed[..]].concat());
}

#[test]
fn what_is_free_in_sealed_slabs_does_not_keep_blocks_from_the_depot() {
    let world = World::with_open(1);
    let class = class_of(512);
    let blocks = world.take(0, class, 200 * 8);
    world.bin(0, class).seal();
    // One of each slab: a sixteenth of 800 KiB is less than 100.
    let gone: Vec<_> = blocks.iter().copied().step_by(8).collect();
    world.put_back(class, &gone);
    let fresh = world.take(0, class, 4);
    assert!(world.bin(0, class).stock(&fresh, super::never));
    world.bin(0, class).thaw();
    assert!(!world.bin(0, class).stock(&blocks[1..5], super::never), "which it does once thawed");
}

#[test]
fn a_depot_takes_no_block_of_another_arenas_sealed_slab() {
    let world = World::with_open(2);
    let class = class_of(BLOCK_BYTES);
    let sealed = world.take(1, class, 64);
    assert_eq!(world.bin(1, class).seal(), 1);
    let fresh = world.take(0, class, 10);
    let is_sealed = |block: &*mut u8| world.is_sealed(*block, class);
    assert!(!world.bin(0, class).stock(&[&fresh[..], &sealed[..1]].concat(), is_sealed));
    assert_eq!(world.depot_blocks(0, class), 0);
    world.put_back(class, &[&fresh[..], &sealed[..]].concat());
}

#[test]
fn pages_freed_inside_a_sealed_slab_go_back_and_are_counted() {
    let world = World::with_open(1);
    // Three pages, two blocks.
    let class = class_of(6144);
    let blocks = world.take(0, class, 2);
    world.bin(0, class).seal();
    world.put_back(class, &blocks[1..]);
    assert_eq!(world.bin(0, class).purge_slabs(), PAGE_BYTES);
    let snapshot = world.arenas.get(0).unwrap().snapshot(class);
    assert_eq!((snapshot.purged_bytes, snapshot.sealed_slabs), (PAGE_BYTES, 1));
    world.put_back(class, &blocks[..1]);
}

#[derive(Clone, Debug)]
enum Action {
    Take(usize),
    PutBack(Index),
    Seal,
    Thaw,
    SetCap(usize),
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        4 => (1..100_usize).prop_map(Action::Take),
        60 => any::<Index>().prop_map(Action::PutBack),
        1 => Just(Action::Seal),
        1 => Just(Action::Thaw),
        1 => (1..=2_usize).prop_map(Action::SetCap),
    ]
}

/// What is known of two arenas' slabs of one page each, from outside.
struct Model {
    world: Box<World>,
    class: SizeClass,
    live: Vec<*mut u8>,
    live_by_page: BTreeMap<usize, usize>,
    sealed_pages: BTreeSet<usize>,
    turn: usize,
}

impl Model {
    fn take(&mut self, count: usize) {
        self.turn += 1;
        let arena = self.turn % self.world.arenas.open();
        for block in self.world.take(arena, self.class, count) {
            assert!(!self.sealed_pages.contains(&page_of(block)), "a block of a sealed slab");
            *self.live_by_page.entry(page_of(block)).or_default() += 1;
            self.live.push(block);
        }
    }

    fn put_back(&mut self, index: usize) {
        let block = self.live.swap_remove(index);
        self.world.put_back(self.class, &[block]);
        let left = self.live_by_page.get_mut(&page_of(block)).unwrap();
        *left -= 1;
        if *left == 0 {
            self.live_by_page.remove(&page_of(block));
            self.sealed_pages.remove(&page_of(block));
        }
    }

    fn for_each_arena(&self, act: impl Fn(usize) -> usize) -> usize {
        (0..self.world.arenas.open()).map(act).sum()
    }

    fn seal(&mut self) {
        let sealed = self.for_each_arena(|arena| self.world.bin(arena, self.class).seal());
        assert_eq!(sealed, self.live_by_page.len() - self.sealed_pages.len());
        self.world.check();
        self.sealed_pages = self.live_by_page.keys().copied().collect();
    }

    fn thaw(&mut self) {
        let thawed = self.for_each_arena(|arena| self.world.bin(arena, self.class).thaw());
        assert_eq!(thawed, self.sealed_pages.len());
        self.world.check();
        self.sealed_pages.clear();
    }

    fn set_cap(&mut self, cap: usize) {
        self.world.set_cap(cap);
        // A thread that asks for an arena opens one, up to the cap.
        self.world.assign(&crate::arena::policy::PerThread);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn seals_hold_through_everything(actions in prop::collection::vec(action(), 1..300)) {
        let class = class_of(BLOCK_BYTES);
        let mut model = Model {
            world: World::with_open(2),
            class,
            live: Vec::new(),
            live_by_page: BTreeMap::new(),
            sealed_pages: BTreeSet::new(),
            turn: 0,
        };
        for action in actions {
            match action {
                Action::Take(count) => model.take(count),
                Action::PutBack(index) if !model.live.is_empty() => {
                    model.put_back(index.index(model.live.len()));
                }
                Action::PutBack(_) => {}
                Action::Seal => model.seal(),
                Action::Thaw => model.thaw(),
                Action::SetCap(cap) => model.set_cap(cap),
            }
        }
        model.world.put_back(class, &model.live);
        prop_assert_eq!(model.world.active_bytes(), 0);
    }
}

#[test]
fn sealed_slabs_do_not_hide_that_the_others_are_sparse() {
    let world = World::with_open(1);
    let class = class_of(512);
    let sealed = world.take(0, class, 8);
    world.bin(0, class).seal();
    // Of 200 slabs that are not sealed each loses one block of eight.
    let mut blocks = world.take(0, class, 200 * 8);
    let gone: Vec<_> = blocks.iter().copied().step_by(8).collect();
    blocks.retain(|block| !gone.contains(block));
    assert!(world.bin(0, class).stock(&sealed[..2], super::never), "nothing is free");
    let mut stock = [core::ptr::null_mut(); 4];
    assert_eq!(world.bin(0, class).drain_depot(&mut stock), 2);
    world.put_back(class, &gone);
    world.bin(0, class).check();
    assert!(!world.bin(0, class).stock(&blocks[..4], super::never));
    world.put_back(class, &[&blocks[..], &sealed[..]].concat());
    world.bin(0, class).check();
}
