//! Many threads at once: blocks freed where they were not allocated, threads that come and go, and
//! settings that change meanwhile.
//!
//! Each test has a process of its own, so that afterwards the whole heap can be held to account.

mod common;

use std::alloc::Layout;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{ScopedJoinHandle, scope};

use capmalloc::CapMalloc;
use common::account::leaves_nothing_behind;
use common::block::Block;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

#[global_allocator]
static GLOBAL: CapMalloc = CapMalloc::new();

/// Waits until the threads are gone; a scope by itself waits only until their work is done.
fn join(threads: Vec<ScopedJoinHandle<'_, ()>>) {
    threads.into_iter().for_each(|thread| thread.join().expect("no thread panicked"));
}

fn random(seed: usize) -> SmallRng {
    SmallRng::seed_from_u64(seed as u64)
}

/// A block such as programs ask for: mostly small, sometimes large, now and then huge.
fn any_block(random: &mut SmallRng) -> Block {
    let size = match random.random_range(0..1000) {
        0 => random.random_range(2 << 20..5 << 20),
        1..10 => random.random_range(32_000..200_000),
        10..100 => random.random_range(1000..10_000),
        _ => random.random_range(0..600),
    };
    let align = 1 << random.random_range(0..=8);
    Block::new(Layout::from_size_align(size, align).expect("a layout")).expect("memory")
}

/// Sends blocks to random others, and frees what others sent.
fn trade(index: usize, others: &[Sender<Block>], arriving: &Receiver<Block>, blocks: usize) {
    let mut random = random(index);
    for _ in 0..blocks {
        let block = any_block(&mut random);
        let other = &others[random.random_range(0..others.len())];
        other.send(block).expect("all listen until nobody can send");
        arriving.try_iter().for_each(Block::release);
    }
}

fn trade_between(threads: usize, blocks: usize) {
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..threads).map(|_| channel()).unzip();
    scope(|scope| {
        let start = |(index, arriving): (usize, Receiver<Block>)| {
            let others = senders.clone();
            scope.spawn(move || {
                trade(index, &others, &arriving, blocks);
                drop(others);
                arriving.into_iter().for_each(Block::release);
            })
        };
        let traders: Vec<_> = receivers.into_iter().enumerate().map(start).collect();
        drop(senders);
        join(traders);
    });
}

#[test]
fn blocks_freed_by_other_threads_keep_their_contents_until_then() {
    leaves_nothing_behind(|| trade_between(8, 20_000));
}

#[test]
fn far_more_threads_than_arenas_trade_blocks() {
    leaves_nothing_behind(|| trade_between(64, 2000));
}

/// Takes a few blocks, swaps some with a bag that all threads share, and ends.
fn live_briefly(seed: usize, bag: &Mutex<Vec<Block>>) {
    let mut random = random(seed);
    let mut own: Vec<Block> = (0..60).map(|_| any_block(&mut random)).collect();
    let mut bag = bag.lock().expect("nobody panicked");
    for _ in 0..20 {
        bag.push(own.swap_remove(random.random_range(0..own.len())));
    }
    while bag.len() > 200 {
        let index = random.random_range(0..bag.len());
        own.push(bag.swap_remove(index));
    }
    drop(bag);
    own.into_iter().for_each(Block::release);
}

#[test]
fn threads_that_start_and_end_all_the_time_leave_no_cache_behind() {
    leaves_nothing_behind(|| {
        let bag = &Mutex::new(Vec::new());
        for wave in 0..80 {
            scope(|scope| {
                let start = |seed| scope.spawn(move || live_briefly(seed, bag));
                join((0..8).map(|thread| start(wave * 8 + thread)).collect());
            });
        }
        bag.lock().expect("nobody panicked").drain(..).for_each(Block::release);
    });
}

/// Resizes, frees and replaces blocks at random, with every content checked on the way.
fn churn(seed: usize, rounds: usize) {
    let mut random = random(seed);
    let mut blocks: Vec<Block> = (0..200).map(|_| any_block(&mut random)).collect();
    for _ in 0..rounds {
        let index = random.random_range(0..blocks.len());
        if random.random_ratio(1, 3) {
            let size = any_block(&mut random).layout().size();
            assert!(blocks[index].resize(size), "memory");
        } else {
            core::mem::replace(&mut blocks[index], any_block(&mut random)).release();
        }
    }
    blocks.into_iter().for_each(Block::release);
}

/// Calls `disturb` over and over while eight threads are at work.
fn churn_while(disturb: impl Fn(&mut SmallRng)) {
    let mut random = random(99);
    scope(|scope| {
        let start = |seed| scope.spawn(move || churn(seed, 20_000));
        let workers: Vec<_> = (0..8).map(start).collect();
        while !workers.iter().all(|worker| worker.is_finished()) {
            disturb(&mut random);
        }
        join(workers);
    });
}

#[test]
fn the_cap_may_change_at_any_moment() {
    leaves_nothing_behind(|| {
        churn_while(|random| {
            let count = random.random_range(1..=8);
            capmalloc::set_arena_max(count).expect("a count in range");
            assert!(capmalloc::stats().arenas.len() <= count, "more arenas than allowed");
        });
    });
}

#[test]
fn trims_may_come_at_any_moment() {
    leaves_nothing_behind(|| {
        churn_while(|random| match random.random_range(0..4) {
            0 => {
                capmalloc::trim();
            }
            1 => {
                capmalloc::trim_arena(random.random_range(0..4));
            }
            2 => drop(capmalloc::stats()),
            _ => capmalloc::check(),
        });
    });
}

#[test]
fn caps_and_trims_may_change_each_others_arenas() {
    leaves_nothing_behind(|| {
        churn_while(|random| {
            scope(|scope| {
                let trimmer = scope.spawn(|| {
                    capmalloc::trim();
                });
                let count = random.random_range(1..=8);
                capmalloc::set_arena_max(count).expect("a count in range");
                join(vec![trimmer]);
            });
        });
    });
}
