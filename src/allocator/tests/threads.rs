//! Threads at once: each on its slot, with blocks that change hands, while arenas come and go.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::{Allocator, Block, PageSource, TestSource, ThreadSlot, finish, layout};
use crate::os::OsPages;

const WORKERS: usize = 4;
const CALLS: usize = 20_000;

/// What the threads share.
struct Crew<S> {
    heap: Allocator<S>,
    /// Blocks on their way from one thread to another.
    exchange: Mutex<Vec<Block>>,
    at_work: AtomicUsize,
}

/// Tells that a worker is done, also where it panics: the others would wait for ever.
struct Leave<'crew>(&'crew AtomicUsize);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

fn random_size(random: &mut StdRng) -> usize {
    match random.random_range(0..100) {
        0 => random.random_range(2_000_000..3_000_000),
        1..=4 => random.random_range(33_000..200_000),
        5..=14 => random.random_range(2000..33_000),
        _ => random.random_range(0..2000),
    }
}

impl<S: PageSource> Crew<S> {
    /// A worker's whole life: attach by working, hand blocks over, and detach.
    fn work(&self, seed: u64) {
        let _leave = Leave(&self.at_work);
        let (slot, mut random) = (ThreadSlot::new(), StdRng::seed_from_u64(seed));
        let mut blocks: Vec<Block> = Vec::new();
        for _ in 0..CALLS {
            match random.random_range(0..10) {
                0..4 => blocks.extend(self.alloc(&slot, &mut random)),
                4..=6 if !blocks.is_empty() => {
                    let index = random.random_range(0..blocks.len());
                    blocks.swap_remove(index).dealloc(&self.heap, &slot);
                }
                7 if !blocks.is_empty() => {
                    let index = random.random_range(0..blocks.len());
                    let block = blocks.swap_remove(index);
                    let size = random_size(&mut random);
                    // Where memory is short the block is left as it was.
                    let resized = block.realloc(&self.heap, &slot, size);
                    blocks.push(resized.unwrap_or_else(|block| block));
                }
                8 => self.exchange.lock().unwrap().extend(blocks.pop()),
                _ => self.take_over(&slot, &mut random),
            }
        }
        blocks.into_iter().for_each(|block| block.dealloc(&self.heap, &slot));
        self.heap.detach(&slot);
    }

    fn alloc(&self, slot: &ThreadSlot, random: &mut StdRng) -> Option<Block> {
        let (layout, byte) = (layout(random_size(random), 1), random.random());
        let alloc = if random.random_bool(0.1) { Block::alloc_zeroed } else { Block::alloc };
        alloc(&self.heap, slot, layout, byte)
    }

    /// Frees a few blocks that another thread put down.
    fn take_over(&self, slot: &ThreadSlot, random: &mut StdRng) {
        let taken = {
            let mut exchange = self.exchange.lock().unwrap();
            let left = exchange.len() - random.random_range(0..3).min(exchange.len());
            exchange.split_off(left)
        };
        taken.into_iter().for_each(|block| block.dealloc(&self.heap, slot));
    }

    /// Changes the cap, trims, reclaims and checks for as long as the others work.
    fn disturb(&self, seed: u64) {
        let (slot, mut random) = (ThreadSlot::new(), StdRng::seed_from_u64(seed));
        while self.at_work.load(SeqCst) > 0 {
            match random.random_range(0..6) {
                0 | 1 => self.heap.set_arena_max(random.random_range(1..=WORKERS)).unwrap(),
                2 => drop(self.heap.trim(&slot)),
                3 => drop(self.heap.trim_arena(random.random_range(0..WORKERS))),
                4 => drop(self.heap.stats()),
                _ => self.heap.check(),
            }
            self.heap.reclaim_all();
            std::thread::yield_now();
        }
    }
}

fn run<S: PageSource>(source: S, prepare: impl FnOnce(&Allocator<S>)) {
    let crew = Box::new(Crew {
        heap: Allocator::new(source, WORKERS),
        exchange: Mutex::new(Vec::new()),
        at_work: AtomicUsize::new(WORKERS),
    });
    // Short periods, so that memory decays under the threads' hands.
    crew.heap.decay().set_milliseconds(20);
    prepare(&crew.heap);
    std::thread::scope(|scope| {
        for seed in 0..WORKERS as u64 {
            let crew = &crew;
            scope.spawn(move || crew.work(seed));
        }
        scope.spawn(|| crew.disturb(99));
    });
    let slot = ThreadSlot::new();
    let left = core::mem::take(&mut *crew.exchange.lock().unwrap());
    left.into_iter().for_each(|block| block.dealloc(&crew.heap, &slot));
    finish(&crew.heap, core::slice::from_ref(&slot));
}

#[test]
fn threads_that_trade_blocks_while_arenas_close_leave_a_sound_heap() {
    run(TestSource::new(), |_| {});
}

#[test]
fn the_same_holds_on_pages_of_the_kernel() {
    run(OsPages, |_| {});
}

#[test]
fn the_same_holds_by_way_of_cpu_caches() {
    run(TestSource::new(), |heap| {
        heap.budget().set_limit_bytes(Some(500_000));
        heap.use_cpu_caches();
    });
}
