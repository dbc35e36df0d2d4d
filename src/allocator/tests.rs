//! The heap as a whole, on slots that stand for threads.

mod balance;
mod block;
mod by_cpu;
mod faults;
mod faulty_source;
mod forks;
mod large;
mod limits;
mod model;
mod page_map;
mod policies;
mod routes;
mod seals;
mod slots;
mod stalls;
mod threads;

use core::alloc::Layout;

use super::{Allocator, Route};
use crate::arena::ARENAS_MAX;
use crate::page_source::PageSource;
use crate::size_class::SizeClass;
use crate::test_source::TestSource;
use crate::thread_cache::ThreadSlot;
use block::Block;

/// A heap of which nothing happens by the clock: what decays does so when a test says so.
fn timeless<S: PageSource>(source: S, arena_max: usize) -> Box<Allocator<S>> {
    let heap = Box::new(Allocator::new(source, arena_max));
    heap.decay().set_milliseconds(-1);
    heap
}

/// Detaches the slots, sees that nothing is live or cached, and gives the heap back.
fn finish<S: PageSource>(heap: &Allocator<S>, slots: &[ThreadSlot]) {
    slots.iter().for_each(|slot| heap.detach(slot));
    heap.check();
    let stats = heap.stats();
    assert_eq!((stats.allocated_bytes, stats.threads), (0, 0));
    assert_eq!(threads_of_arenas(heap), 0);
    heap.trim(&ThreadSlot::new());
    let stats = heap.stats();
    assert_eq!((stats.thread_cache_bytes, stats.cache_lent_bytes), (0, 0));
    assert_eq!(heap.budget().lent_bytes(), 0);
    assert_eq!((stats.active_bytes, stats.dirty_bytes, stats.segments), (0, 0, 0));
    // SAFETY: the slots are detached and no block is live, so nobody uses the heap any more.
    unsafe { heap.release() };
    let source = heap.page_heap().source();
    assert_eq!(source.mapped_bytes(), 0, "all goes back to the source");
    assert_eq!(source.limits().resident_bytes(), 0, "the limits count what is gone");
}

/// Threads that refill from any arena, closed ones included.
fn threads_of_arenas<S: PageSource>(heap: &Allocator<S>) -> usize {
    (0..ARENAS_MAX).filter_map(|arena| heap.arenas().get(arena)).map(|arena| arena.threads()).sum()
}

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).expect("a valid layout")
}

/// Allocates and frees enough of several classes for caches, depots and slabs to be at work.
fn churn<S: PageSource>(heap: &Allocator<S>, slot: &ThreadSlot) {
    for size in [8, 100, 3000, 30_000] {
        for _ in 0..2 {
            let one = |index| Block::alloc(heap, slot, layout(size, 1), index as u8).unwrap();
            let blocks: Vec<_> = (0..300).map(one).collect();
            blocks.into_iter().for_each(|block| block.dealloc(heap, slot));
        }
    }
    heap.check();
}
