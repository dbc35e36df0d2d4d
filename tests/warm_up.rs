//! A warm parent's pages stay shared with the workers that it forks.

mod common;

use std::alloc::Layout;
use std::ptr::NonNull;

use capmalloc::CapMalloc;
use common::child::{Child, is_child};
use common::fork::figures_of_fork;
use common::resident::private_dirty_bytes;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

#[global_allocator]
static GLOBAL: CapMalloc = CapMalloc::new();

const BLOCKS: usize = 600_000;
const KEPT_OF_TEN: u32 = 6;
const NEW_BYTES: usize = 22 << 20;

/// What freeing every inherited block may cost: records, and no block's page.
const FREED_DIRTY_MAX_BYTES: usize = 2 << 20;

/// A block that holds the pointer to the next, and its own length, so that a list of blocks needs no
/// memory of its own.
struct Node {
    next: Option<NonNull<Node>>,
    bytes: usize,
}

fn layout_of(bytes: usize) -> Layout {
    Layout::from_size_align(bytes, align_of::<Node>()).expect("a small layout")
}

/// A block filled to its end, in front of `next`.
fn new_node(bytes: usize, next: Option<NonNull<Node>>) -> NonNull<Node> {
    // SAFETY: the size is not zero.
    let block = NonNull::new(unsafe { std::alloc::alloc(layout_of(bytes)) }).expect("memory");
    let node = block.cast::<Node>();
    // SAFETY: the block has this length, which is at least a node's, and its alignment.
    unsafe {
        block.write_bytes(bytes as u8, bytes);
        node.write(Node { next, bytes });
    }
    node
}

/// Frees a list's blocks, each of which must be as it was written.
fn free_all(mut list: Option<NonNull<Node>>) {
    while let Some(node) = list {
        // SAFETY: the list's nodes are blocks made by `new_node`, each of its own length, and each
        // is forgotten here.
        unsafe {
            let Node { next, bytes } = node.read();
            let rest = node.cast::<u8>().add(size_of::<Node>());
            let rest = core::slice::from_raw_parts(rest.as_ptr(), bytes - size_of::<Node>());
            assert!(rest.iter().all(|byte| *byte == bytes as u8));
            std::alloc::dealloc(node.as_ptr().cast(), layout_of(bytes));
            list = next;
        }
    }
}

fn random_bytes(random: &mut SmallRng) -> usize {
    random.random_range(size_of::<Node>()..=128)
}

/// Small blocks, of which six in ten are left, anywhere between the holes of the others.
fn half_full_heap(random: &mut SmallRng) -> Option<NonNull<Node>> {
    let (mut kept, mut freed) = (None, None);
    for _ in 0..BLOCKS {
        let is_kept = random.random_range(0..10) < KEPT_OF_TEN;
        let list = if is_kept { &mut kept } else { &mut freed };
        *list = Some(new_node(random_bytes(random), *list));
    }
    free_all(freed);
    kept
}

/// Writes new blocks of so many bytes in all.
fn new_blocks(random: &mut SmallRng, bytes: usize) -> Option<NonNull<Node>> {
    let (mut list, mut written_bytes) = (None, 0);
    while written_bytes < bytes {
        let block_bytes = random_bytes(random);
        list = Some(new_node(block_bytes, list));
        written_bytes += block_bytes;
    }
    list
}

/// How many bytes more of this process's own pages are dirty after `work`.
fn growth_bytes<T>(work: impl FnOnce() -> T) -> (usize, T) {
    let before_bytes = private_dirty_bytes();
    let value = work();
    (private_dirty_bytes().saturating_sub(before_bytes), value)
}

#[test]
fn a_worker_dirties_what_it_allocates_and_nothing_by_freeing() {
    if !is_child() {
        // Nothing goes back by the clock: what a worker dirtied is to be seen.
        Child::new().and("CAPMALLOC_DECAY_MS", "-1").succeed();
        return;
    }
    let mut random = SmallRng::seed_from_u64(3);
    let inherited = half_full_heap(&mut random);
    capmalloc::warm_up();
    capmalloc::check();
    let [new_bytes, freed_bytes] = figures_of_fork(|| {
        let (new_bytes, new) = growth_bytes(|| new_blocks(&mut random, NEW_BYTES));
        let (freed_bytes, ()) = growth_bytes(|| free_all(inherited));
        capmalloc::check();
        free_all(new);
        [new_bytes, freed_bytes]
    });
    println!("\nnote: new blocks dirtied {new_bytes}, freeing {freed_bytes}");
    assert!(new_bytes * 10 <= NEW_BYTES * 12, "{new_bytes} bytes dirtied for {NEW_BYTES}");
    assert!(freed_bytes <= FREED_DIRTY_MAX_BYTES, "{freed_bytes} bytes dirtied by freeing");
    free_all(inherited);
}

#[test]
fn without_it_new_blocks_land_between_the_old() {
    if !is_child() {
        Child::new().and("CAPMALLOC_DECAY_MS", "-1").succeed();
        return;
    }
    let mut random = SmallRng::seed_from_u64(3);
    let inherited = half_full_heap(&mut random);
    capmalloc::trim();
    let [new_bytes] = figures_of_fork(|| [growth_bytes(|| new_blocks(&mut random, NEW_BYTES)).0]);
    // Otherwise the test above would show nothing.
    assert!(new_bytes > 2 * NEW_BYTES, "{new_bytes} bytes dirtied for {NEW_BYTES}");
    free_all(inherited);
}

#[test]
fn seals_are_counted_and_end_by_themselves_or_by_thaw() {
    if !is_child() {
        Child::new().succeed();
        return;
    }
    let mut random = SmallRng::seed_from_u64(5);
    let inherited = new_blocks(&mut random, 1 << 20);
    capmalloc::warm_up();
    assert!(capmalloc::stats().sealed_bytes >= 1 << 20);
    let fresh = new_blocks(&mut random, 1 << 20);
    let sealed_bytes = capmalloc::stats().sealed_bytes;
    free_all(inherited);
    capmalloc::trim();
    let left_bytes = capmalloc::stats().sealed_bytes;
    assert!(left_bytes * 4 < sealed_bytes, "{left_bytes} of {sealed_bytes} sealed still");
    assert_eq!(capmalloc::thaw(), left_bytes);
    assert_eq!((capmalloc::thaw(), capmalloc::stats().sealed_bytes), (0, 0));
    capmalloc::check();
    free_all(fresh);
}
