//! What is resident is what live blocks lie on, and little else: by the allocator's own figures
//! and by the kernel's.
//!
//! Each test has a process of its own, whose heap is fresh and whose memory nobody else uses.

mod common;

use std::alloc::{GlobalAlloc as _, Layout};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use capmalloc::CapMalloc;
use common::address_space::scaled_bytes;
use common::block::Block;
use common::child::{Child, is_child};
use common::resident;
use common::worker::Worker;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};

#[global_allocator]
static GLOBAL: CapMalloc = CapMalloc::new();

const PAGE_BYTES: usize = 4096;
const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// Runs `test` in a process of its own, where nothing goes back to the kernel unless it is told.
fn in_child(test: impl FnOnce()) {
    if is_child() {
        test();
        capmalloc::check();
    } else {
        Child::new().and("CAPMALLOC_DECAY_MS", "-1").succeed();
    }
}

/// Bytes that are resident, as the allocator says and as the kernel says.
#[derive(Clone, Copy, Debug)]
struct Resident {
    /// Without the allocator's own records.
    told_bytes: usize,
    metadata_bytes: usize,
    seen_bytes: usize,
}

impl Resident {
    fn now() -> Resident {
        // First, for the figures take memory of their own.
        let seen_bytes = resident::bytes();
        let stats = capmalloc::stats();
        let metadata_bytes = stats.metadata_bytes;
        Resident { told_bytes: stats.resident_bytes - metadata_bytes, metadata_bytes, seen_bytes }
    }

    fn after_trim() -> Resident {
        capmalloc::trim();
        Resident::now()
    }

    /// How much more is resident than was `before`, as told and as seen, without records.
    fn growth_bytes(&self, before: &Resident) -> (usize, usize) {
        let seen_bytes = self.seen_bytes.saturating_sub(before.seen_bytes);
        let records_bytes = self.metadata_bytes.saturating_sub(before.metadata_bytes);
        let told_bytes = self.told_bytes.saturating_sub(before.told_bytes);
        (told_bytes, seen_bytes.saturating_sub(records_bytes))
    }
}

/// The distinct pages that any byte of a block lies on.
fn pages(blocks: &[Block]) -> BTreeSet<usize> {
    let pages_of = |block: &Block| {
        let (start, size) = (block.address(), block.layout().size());
        start / PAGE_BYTES..=(start + size - 1) / PAGE_BYTES
    };
    blocks.iter().flat_map(pages_of).collect()
}

/// Blocks of 16 to 2048 bytes, `bytes` in all, in random order.
fn small_blocks(bytes: usize) -> Vec<Block> {
    let mut random = SmallRng::seed_from_u64(5);
    // With room for all from the start, so that the list's own memory does not move.
    let mut blocks = Vec::with_capacity(bytes / 1000);
    let mut total_bytes = 0;
    while total_bytes < bytes {
        let size = random.random_range(16..=2048);
        blocks.push(Block::of_size(size));
        total_bytes += size;
    }
    blocks.shuffle(&mut random);
    blocks
}

/// Blocks of every route, `bytes` in all or little more, each of their pages written to.
fn all_kinds_of_blocks(bytes: usize) -> (Vec<Block>, Vec<Vec<u8>>) {
    let small = small_blocks(bytes / 2);
    let large = (0..bytes / (4 * 500_000)).map(|index| vec![1; 400_000 + index * 1000]);
    let huge = (0..bytes / (4 * 3 * MIB)).map(|index| vec![2; 3 * MIB + index * 100_000]);
    (small, large.chain(huge).collect())
}

#[test]
fn where_all_is_freed_next_to_nothing_stays() {
    in_child(|| {
        let before = Resident::after_trim();
        drop(all_kinds_of_blocks(100 * MIB));
        let after = Resident::after_trim();
        assert!(after.told_bytes < 256 * KIB, "{before:?} {after:?}");
        let (_, seen_bytes) = after.growth_bytes(&before);
        assert!(seen_bytes < 256 * KIB, "{before:?} {after:?}");
        assert!(after.metadata_bytes < 512 * KIB, "records of what is gone: {after:?}");
    });
}

/// Holds that not much more is resident than the pages of these blocks and their list.
fn only_their_pages_are_resident(survivors: &Vec<Block>, before: &Resident) {
    let after = Resident::after_trim();
    let (told_bytes, seen_bytes) = after.growth_bytes(before);
    let list_bytes = survivors.capacity() * size_of::<Block>();
    let needed_bytes = pages(survivors).len() * PAGE_BYTES + list_bytes;
    let bound_bytes = needed_bytes + needed_bytes * 3 / 100;
    assert!(needed_bytes > 10 * MIB, "enough to tell: {needed_bytes}");
    assert!(told_bytes <= bound_bytes, "{needed_bytes}: {before:?} {after:?}");
    assert!(seen_bytes <= bound_bytes, "{needed_bytes}: {before:?} {after:?}");
}

#[test]
fn where_few_blocks_survive_only_their_pages_stay() {
    in_child(|| {
        let before = Resident::after_trim();
        let mut blocks = small_blocks(120 * MIB);
        let survivors: Vec<Block> = blocks.drain(..blocks.len() / 20).collect();
        blocks.into_iter().for_each(Block::release);
        let mapped_bytes = capmalloc::stats().mapped_bytes;
        only_their_pages_are_resident(&survivors, &before);
        // A record for each page costs a fiftieth of what it describes.
        let metadata_bytes = capmalloc::stats().metadata_bytes;
        assert!(metadata_bytes < mapped_bytes / 50 + 128 * KIB, "{metadata_bytes}");
        survivors.into_iter().for_each(Block::release);
    });
}

#[test]
fn pages_that_were_given_back_and_used_again_are_given_back_again() {
    in_child(|| {
        let before = Resident::after_trim();
        let mut blocks = small_blocks(60 * MIB);
        let survivors: Vec<Block> = blocks.drain(..blocks.len() / 20).collect();
        for _ in 0..2 {
            // The list goes as well.
            core::mem::take(&mut blocks).into_iter().for_each(Block::release);
            only_their_pages_are_resident(&survivors, &before);
            blocks = small_blocks(60 * MIB);
            let (told_bytes, seen_bytes) = Resident::now().growth_bytes(&before);
            assert!(told_bytes + MIB > seen_bytes, "{told_bytes} of {seen_bytes} are told");
        }
        blocks.into_iter().chain(survivors).for_each(Block::release);
    });
}

#[test]
fn a_trim_tells_what_it_gave_back() {
    in_child(|| {
        let (mut small, big) = all_kinds_of_blocks(100 * MIB);
        let survivors: Vec<Block> = small.drain(..small.len() / 20).collect();
        drop((small, big));
        let before_bytes = resident::bytes();
        let trimmed = capmalloc::trim();
        let dropped_bytes = before_bytes - resident::bytes();
        let (low_bytes, high_bytes) = (dropped_bytes * 98 / 100, dropped_bytes * 102 / 100);
        let told_bytes = trimmed.total_bytes();
        assert!(dropped_bytes > 40 * MIB, "enough to tell: {dropped_bytes}");
        assert!((low_bytes..=high_bytes).contains(&told_bytes), "{dropped_bytes}: {trimmed:?}");
        survivors.into_iter().for_each(Block::release);
    });
}

/// Has several threads free what others allocated, so that caches and depots hold blocks of
/// several arenas; answers what is left.
fn mix(workers: &[Worker]) -> Arc<Mutex<Vec<Block>>> {
    let shared = Arc::new(Mutex::new(Vec::new()));
    for round in 0..6 {
        for (index, worker) in workers.iter().enumerate() {
            let shared = Arc::clone(&shared);
            worker.run(move || {
                let mut random = SmallRng::seed_from_u64(round * 100 + index as u64);
                let mut shared = shared.lock().expect("nobody panicked");
                shared.extend((0..3000).map(|_| Block::of_size(random.random_range(1..20_000))));
                shared.shuffle(&mut random);
                let kept = shared.len() / 3;
                shared.drain(kept..).for_each(Block::release);
            });
        }
    }
    shared
}

#[test]
fn a_second_trim_finds_nothing_more() {
    in_child(|| {
        capmalloc::set_arena_max(6).expect("a count in range");
        let workers: Vec<Worker> = (0..6).map(|_| Worker::start()).collect();
        let survivors = mix(&workers);
        workers.into_iter().for_each(Worker::end);
        let (first, second) = (capmalloc::trim(), capmalloc::trim());
        assert!(first.total_bytes() > MIB, "{first:?}");
        assert_eq!(second.total_bytes(), 0, "after {first:?}: {second:?}");
        survivors.lock().expect("nobody panicked").drain(..).for_each(Block::release);
    });
}

/// Bytes in live blocks of all kinds, in large ones and in huge ones, and how many the last are.
fn figures() -> (usize, [usize; 3]) {
    let stats = capmalloc::stats();
    let rising =
        [stats.allocated_bytes, stats.active_bytes, stats.resident_bytes, stats.mapped_bytes];
    assert!(rising.is_sorted(), "{stats}");
    (stats.allocated_bytes, [stats.large_bytes, stats.huge_bytes, stats.huge_count])
}

#[test]
fn figures_are_exact_while_nobody_else_allocates() {
    in_child(|| {
        capmalloc::set_arena_max(6).expect("a count in range");
        let workers: Vec<Worker> = (0..6).map(|_| Worker::start()).collect();
        workers.iter().for_each(|worker| worker.run(|| drop(Block::of_size(100))));
        // Their arenas stay.
        workers.into_iter().for_each(Worker::end);
        // What the figures are told in comes from slabs that a trim took away, and counts as well.
        capmalloc::trim();
        let (before_bytes, none) = figures();
        assert_eq!(none, [0, 0, 0], "neither large nor huge blocks");
        let (large, huge) = (vec![1_u8; 100_000], vec![2_u8; 5_000_000]);
        let both_bytes = [100_000, 5_000_000].map(|size: usize| size.next_multiple_of(PAGE_BYTES));
        let (after_bytes, some) = figures();
        assert_eq!(some, [both_bytes[0], both_bytes[1], 1]);
        // The main thread may still be making itself ready to wait, which takes a small block.
        let rest_bytes = after_bytes.abs_diff(before_bytes + both_bytes[0] + both_bytes[1]);
        assert!(rest_bytes < KIB, "{rest_bytes} bytes are nobody's");
        drop((large, huge));
        assert_eq!(figures().1, none);
    });
}

#[test]
fn a_huge_block_grows_without_a_copy() {
    in_child(|| {
        let (small_bytes, big_bytes) = (64 * MIB, scaled_bytes(1 << 30));
        let layout = Layout::from_size_align(small_bytes, 8).expect("a layout");
        let before = resident::bytes();
        // SAFETY: the layouts are valid, the writes and reads lie within the block, and it is
        // freed with the size that it had last.
        unsafe {
            let block = GLOBAL.alloc(layout);
            assert!(!block.is_null(), "memory");
            block.write_bytes(7, small_bytes);
            let grown = GLOBAL.realloc(block, layout, big_bytes);
            assert!(!grown.is_null(), "memory");
            assert_eq!((grown.read(), grown.add(small_bytes - 1).read()), (7, 7));
            grown.add(big_bytes - 1).write(8);
            // A copy would have had both for a moment.
            let peak_bytes = resident::peak_bytes() - before;
            assert!(peak_bytes < small_bytes + 8 * MIB, "{peak_bytes} bytes at the peak");
            GLOBAL.dealloc(grown, Layout::from_size_align(big_bytes, 8).expect("a layout"));
        }
        assert!(resident::bytes() < before + MIB, "it is gone");
    });
}

#[test]
fn zeroed_memory_costs_nothing_until_it_is_touched() {
    in_child(|| {
        let sizes = [MIB, 3 * MIB, scaled_bytes(1 << 30)];
        let before = Resident::now();
        for size in sizes {
            let layout = Layout::from_size_align(size, 8).expect("a layout");
            // SAFETY: a valid layout, with which the block goes back; the read is of its last byte.
            unsafe {
                let block = GLOBAL.alloc_zeroed(layout);
                assert!(!block.is_null(), "memory");
                let growth_bytes = Resident::now().seen_bytes - before.seen_bytes;
                assert!(growth_bytes < 512 * KIB, "{growth_bytes} bytes for {size}");
                assert_eq!(block.add(size - 1).read(), 0);
                GLOBAL.dealloc(block, layout);
            }
        }
    });
}
