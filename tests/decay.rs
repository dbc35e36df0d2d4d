//! What is not needed goes back by itself, when the program says it should.
//!
//! Each test has a process of its own. When something happens is the scheduler's to say, so tests
//! wait until it did, and hold that what must not happen has not.

mod common;

use std::collections::BTreeSet;
use std::thread::sleep;
use std::time::Duration;

use capmalloc::CapMalloc;
use common::block::Block;
use common::child::{Child, is_child};
use common::worker::Worker;
use common::{resident, tasks, waiting};
use rand::rngs::SmallRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};

#[global_allocator]
static GLOBAL: CapMalloc = CapMalloc::new();

const PAGE_BYTES: usize = 4096;
const MIB: usize = 1 << 20;

const DECAY: Duration = Duration::from_millis(100);
const WITH_BACKGROUND: &[(&str, &str)] =
    &[("CAPMALLOC_BACKGROUND", "1"), ("CAPMALLOC_DECAY_MS", "100")];
const WITHOUT_BACKGROUND: &[(&str, &str)] =
    &[("CAPMALLOC_BACKGROUND", "0"), ("CAPMALLOC_DECAY_MS", "100")];

/// Runs `test` in a process of its own, under these settings.
fn in_child(settings: &[(&str, &str)], test: impl FnOnce()) {
    if is_child() {
        test();
        capmalloc::check();
    } else {
        settings.iter().fold(Child::new(), |child, (name, value)| child.and(name, value)).succeed();
    }
}

/// Small blocks of 64 MiB in all, of which one in ten is left, here and there.
fn survivors_of_a_burst() -> Vec<Block> {
    let mut random = SmallRng::seed_from_u64(3);
    let (mut blocks, mut total_bytes) = (Vec::new(), 0);
    while total_bytes < 64 * MIB {
        let size = random.random_range(16..=2048);
        blocks.push(Block::of_size(size));
        total_bytes += size;
    }
    blocks.shuffle(&mut random);
    let survivors = blocks.drain(..blocks.len() / 10).collect();
    blocks.into_iter().for_each(Block::release);
    survivors
}

/// Bytes of the pages that hold at least one of the blocks, or a part of their list.
fn floor_bytes(survivors: &[Block]) -> usize {
    let pages_of = |block: &Block| {
        let (start, size) = (block.address(), block.layout().size());
        start / PAGE_BYTES..=(start + size - 1) / PAGE_BYTES
    };
    let pages: BTreeSet<usize> = survivors.iter().flat_map(pages_of).collect();
    pages.len() * PAGE_BYTES + size_of_val(survivors)
}

/// Looks until what is resident grew by no more than the floor and a tenth of it.
fn fall_to(floor_bytes: usize, before_bytes: usize) {
    waiting::until(|| {
        let growth_bytes = resident::anonymous_bytes().saturating_sub(before_bytes);
        match growth_bytes <= floor_bytes + floor_bytes / 10 {
            true => Ok(()),
            false => Err(format!("{growth_bytes} bytes over a floor of {floor_bytes}")),
        }
    });
}

#[test]
fn an_idle_process_falls_to_its_page_floor_and_then_costs_nothing() {
    in_child(WITH_BACKGROUND, || {
        let before_bytes = resident::anonymous_bytes();
        let workers: Vec<Worker> = (0..3).map(|_| Worker::start()).collect();
        // Caches of threads that have nothing more to do, and are not about to end.
        workers.iter().for_each(|worker| worker.run(|| drop(survivors_of_a_burst())));
        let survivors = survivors_of_a_burst();
        let floor_bytes = floor_bytes(&survivors);
        assert!(floor_bytes > 16 * MIB, "enough to tell: {floor_bytes}");
        let status = format!("{}/status", tasks::background().expect("a background thread"));
        fall_to(floor_bytes, before_bytes);
        // Nothing here takes memory: a slow path would wake whom it looks at.
        let is_quiet = |_| {
            let times_asleep = tasks::times_asleep(&status);
            // Long enough for twenty periods, of which each would wake it once.
            sleep(DECAY * 10);
            tasks::times_asleep(&status) == times_asleep
        };
        assert!((0..30).any(is_quiet), "it never rests: {}", capmalloc::stats());
        // Work wakes it again.
        drop(survivors_of_a_burst());
        fall_to(floor_bytes, before_bytes);
        survivors.into_iter().for_each(Block::release);
    });
}

/// A large block, written to; freed, it leaves dirty pages.
fn large_block() -> Vec<u8> {
    vec![1; MIB]
}

fn dirty_bytes() -> usize {
    capmalloc::stats().dirty_bytes
}

/// Does what ends periods of decay, without a need for pages.
fn come_by() {
    drop(large_block());
}

/// Holds that freed pages stay, however often somebody comes by.
fn freed_pages_stay() {
    drop((0..20).map(|_| large_block()).collect::<Vec<_>>());
    for _ in 0..10 {
        come_by();
        sleep(DECAY / 2);
    }
    assert!(dirty_bytes() > 15 * MIB, "{}", capmalloc::stats());
}

/// Looks until no more is dirty than what the looking itself takes; `between` is done each time.
fn freed_pages_go(between: impl Fn()) {
    waiting::until(|| {
        between();
        match dirty_bytes() <= 2 * MIB {
            true => Ok(()),
            false => Err(format!("it does not go back: {}", capmalloc::stats())),
        }
    });
}

/// Holds that a free gives back what it frees.
fn freed_pages_go_at_once() {
    drop((0..20).map(|_| large_block()).collect::<Vec<_>>());
    assert_eq!(dirty_bytes(), 0, "{}", capmalloc::stats());
}

#[test]
fn the_time_may_change_while_the_program_runs() {
    in_child(WITHOUT_BACKGROUND, || {
        drop((0..20).map(|_| large_block()).collect::<Vec<_>>());
        freed_pages_go(come_by);
        capmalloc::set_decay(None);
        assert_eq!(capmalloc::decay(), None);
        freed_pages_stay();
        capmalloc::set_decay(Some(Duration::ZERO));
        come_by();
        freed_pages_go_at_once();
        capmalloc::set_decay(None);
        freed_pages_stay();
        capmalloc::set_decay(Some(DECAY));
        freed_pages_go(come_by);
        assert_eq!(capmalloc::decay(), Some(DECAY));
    });
}

#[test]
fn the_time_may_change_while_the_background_thread_runs() {
    in_child(WITH_BACKGROUND, || {
        drop((0..20).map(|_| large_block()).collect::<Vec<_>>());
        freed_pages_go(|| ());
        capmalloc::set_decay(None);
        freed_pages_stay();
        capmalloc::set_decay(Some(DECAY));
        // The program is idle from here on.
        freed_pages_go(|| ());
        capmalloc::set_decay(Some(Duration::ZERO));
        drop((0..20).map(|_| large_block()).collect::<Vec<_>>());
        // Some may be on their way back by the other thread's hands.
        freed_pages_go(|| ());
    });
}

#[test]
fn a_long_time_made_short_is_not_slept_through() {
    let an_hour = [("CAPMALLOC_BACKGROUND", "1"), ("CAPMALLOC_DECAY_MS", "3600000")];
    in_child(&an_hour, || {
        // No more than may wait for a decay time whatever else is in use.
        drop(large_block());
        waiting::until(|| tasks::background().ok_or("no background thread".into()));
        sleep(DECAY);
        assert!(dirty_bytes() > MIB / 2, "{}", capmalloc::stats());
        capmalloc::set_decay(Some(DECAY));
        freed_pages_go(|| ());
    });
}

#[test]
fn huge_mappings_kept_go_back_too() {
    in_child(WITH_BACKGROUND, || {
        drop(vec![1_u8; 10 * MIB]);
        assert!(dirty_bytes() >= 10 * MIB, "it is kept: {}", capmalloc::stats());
        freed_pages_go(|| ());
        drop(vec![1_u8; 10 * MIB]);
        capmalloc::set_decay(Some(Duration::ZERO));
        come_by();
        assert_eq!(dirty_bytes(), 0, "{}", capmalloc::stats());
    });
}

#[test]
fn without_a_background_thread_there_is_none() {
    in_child(WITHOUT_BACKGROUND, || {
        drop(survivors_of_a_burst());
        assert_eq!(tasks::background(), None);
    });
}

#[test]
fn small_blocks_go_back_that_a_thread_no_longer_uses_while_it_works_with_large_ones() {
    in_child(WITHOUT_BACKGROUND, || {
        let blocks: Vec<_> = (0..64).map(|_| Block::of_size(1000)).collect();
        blocks.into_iter().for_each(Block::release);
        let cached = || {
            let classes = capmalloc::stats().classes;
            classes.iter().find(|class| class.block_bytes == 1024).map_or(0, |it| it.cached_blocks)
        };
        assert!(cached() > 8, "{}", capmalloc::stats());
        waiting::until(|| {
            // One more than a cache keeps, so that the frees come by the allocator.
            drop([70_000, 110_000, 150_000, 190_000, 230_000].map(|size| vec![1_u8; size]));
            if cached() == 0 { Ok(()) } else { Err(format!("{}", capmalloc::stats())) }
        });
    });
}
