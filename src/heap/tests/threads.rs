//! Threads that share one heap: one has the cache, the others get by without.

use core::time::Duration;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::{Block, HUGE, LARGE, SMALL, fill, layout, test_heap};
use crate::fixed_region::tests::Memory;
use crate::heap::Heap;
use crate::page_source::PageSource;
use crate::test_source::TestSource;

const WORKERS: usize = 4;
const CALLS: usize = 15_000;

fn random_size(random: &mut StdRng) -> usize {
    match random.random_range(0..100) {
        0 => random.random_range(HUGE - LARGE..HUGE),
        1..=4 => random.random_range(33_000..2 * LARGE),
        5..=14 => random.random_range(2000..33_000),
        _ => random.random_range(0..2000),
    }
}

fn work<S: PageSource>(heap: &Heap<S>, exchange: &Mutex<Vec<Block>>, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut blocks: Vec<Block> = Vec::new();
    for _ in 0..CALLS {
        match random.random_range(0..10) {
            0..4 => {
                let layout = layout(random_size(&mut random), 1);
                blocks.extend(Block::alloc(heap, layout, random.random()));
            }
            4..=6 if !blocks.is_empty() => {
                blocks.swap_remove(random.random_range(0..blocks.len())).dealloc(heap);
            }
            7 if !blocks.is_empty() => {
                let index = random.random_range(0..blocks.len());
                blocks[index].realloc(heap, random_size(&mut random));
            }
            8 => exchange.lock().unwrap().extend(blocks.pop()),
            _ => {
                let taken = exchange.lock().unwrap().pop();
                taken.into_iter().for_each(|block| block.dealloc(heap));
            }
        }
    }
    blocks.into_iter().for_each(|block| block.dealloc(heap));
}

fn run<S: PageSource>(heap: Heap<S>) {
    let (exchange, at_work) = (Mutex::new(Vec::new()), AtomicUsize::new(WORKERS));
    std::thread::scope(|scope| {
        for seed in 0..WORKERS as u64 {
            let (heap, exchange, at_work) = (&heap, &exchange, &at_work);
            scope.spawn(move || {
                // Told also where the work panics: the one who disturbs would wait for ever.
                let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    work(heap, exchange, seed);
                }));
                at_work.fetch_sub(1, SeqCst);
                outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            });
        }
        scope.spawn(|| {
            while at_work.load(SeqCst) > 0 {
                heap.trim();
                heap.check();
                drop(heap.stats());
                crate::roster::end_periods(crate::os::clock::coarse_milliseconds());
                std::thread::yield_now();
            }
        });
    });
    let left = exchange.into_inner().unwrap();
    left.into_iter().for_each(|block| block.dealloc(&heap));
    heap.check();
    assert_eq!(heap.stats().allocated_bytes, 0);
}

#[test]
fn threads_that_trade_blocks_leave_a_sound_heap() {
    run(test_heap());
}

#[test]
fn the_same_holds_on_pages_of_the_kernel() {
    run(Heap::new().unwrap());
}

#[test]
fn who_finds_the_cache_taken_is_served_all_the_same() {
    let heap = test_heap();
    let mut blocks = fill(&heap);
    let cached_bytes = heap.stats().thread_cache_bytes;
    let slot = heap.shared().slot.lock();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            blocks.extend(fill(&heap));
            blocks.drain(..).for_each(|block| block.dealloc(&heap));
            for size in [SMALL, LARGE, HUGE] {
                let mut block = Block::alloc_zeroed(&heap, layout(size, 1), 1).unwrap();
                assert!(block.realloc(&heap, 2 * size));
                block.dealloc(&heap);
            }
        });
    });
    drop(slot);
    assert_eq!(heap.stats().thread_cache_bytes, cached_bytes, "nobody touched the cache");
    heap.check();
}

#[test]
fn heaps_that_come_and_go_do_not_stand_in_each_others_way() {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let makers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..6 {
                        let heaps = [(); 3].map(|()| Heap::with_source(TestSource::new()).unwrap());
                        for heap in &heaps {
                            heap.set_decay(Some(Duration::from_millis(20)));
                            fill(heap);
                        }
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            while !is_over.load(SeqCst) {
                crate::roster::end_periods(crate::os::clock::coarse_milliseconds());
            }
        });
        let outcomes: Vec<_> = makers.into_iter().map(|maker| maker.join()).collect();
        is_over.store(true, SeqCst);
        outcomes.into_iter().for_each(|outcome| outcome.unwrap());
    });
}

#[test]
fn who_ends_all_periods_ends_those_of_heaps_that_are_idle() {
    let heap = test_heap();
    // The block is live, so that the pages around it are not given back with their segment.
    let _live = Block::alloc(&heap, layout(LARGE, 1), 1).unwrap();
    drop(fill(&heap).into_iter().map(|block| block.dealloc(&heap)).collect::<Vec<()>>());
    assert!(heap.stats().dirty_bytes > 0 && heap.stats().thread_cache_bytes > 0);
    heap.set_decay(Some(Duration::from_secs(1)));
    let now = crate::os::clock::coarse_milliseconds();
    for period in 1..6 {
        crate::roster::end_periods(now + period * 1000);
    }
    let stats = heap.stats();
    assert_eq!((stats.dirty_bytes, stats.depot_bytes), (0, 0));
    assert!(stats.thread_cache_bytes == 0 || !stats.can_reclaim);
}

#[test]
fn a_fork_holds_every_lock_of_heaps_and_regions() {
    let memory = Memory::new(16 << 20, 1 << 16, 0);
    let region = Arc::new(memory.region().unwrap());
    let heap = Heap::with_source(Arc::clone(&region)).unwrap();
    crate::roster::prepare_fork();
    let taken = [heap.shared().slot.try_lock().is_none(), region.is_locked()];
    // SAFETY: the locks were taken just now, in this thread.
    unsafe { crate::roster::finish_fork() };
    assert_eq!(taken, [true, true]);
    assert!(Block::alloc(&heap, layout(SMALL, 1), 1).is_some() && !region.is_locked());
}
