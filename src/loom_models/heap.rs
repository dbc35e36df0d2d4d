//! A whole heap: the real refill, reclaim and thread end, over pages of the kernel.

use core::alloc::Layout;
use core::ptr::NonNull;
use std::sync::Arc;

use super::caches::class;
use crate::allocator::Allocator;
use crate::os::OsPages;
use crate::sync::{model, spawn};
use crate::thread_cache::{ThreadCache, ThreadSlot};

pub(super) type Heap = Allocator<OsPages>;

/// A block, which only its owner frees.
pub(super) struct Block(NonNull<u8>);

// SAFETY: a block may be freed by another thread than the one that has it.
unsafe impl Send for Block {}

const LAYOUT: Layout = Layout::new::<u64>();

impl Block {
    fn alloc(heap: &Heap, slot: &ThreadSlot) -> Block {
        Block(heap.alloc(slot, LAYOUT).expect("memory for it"))
    }

    fn free(self, heap: &Heap, slot: &ThreadSlot) {
        // SAFETY: allocated above with this layout, and given up once.
        unsafe { heap.dealloc(slot, self.0, LAYOUT) };
    }
}

/// A heap of one arena in which nothing decays, with everything touched that two threads share.
pub(super) fn heap() -> Arc<Heap> {
    let heap = Arc::new(Heap::new(OsPages, 1));
    heap.decay().set_milliseconds(-1);
    let slot = ThreadSlot::new();
    let blocks = [(); 2].map(|()| Block::alloc(&heap, &slot));
    heap.reclaim_all();
    // The fast path finds EMPTY.
    blocks.into_iter().for_each(|block| block.free(&heap, &slot));
    heap.detach(&slot);
    // No thread of the model is to begin with this one's cache.
    heap.trim(&slot);
    heap
}

/// Asserts that nothing is live, and gives the heap back.
pub(super) fn finish(heap: &Heap) {
    heap.check();
    // What threads that ended left to those to come.
    heap.trim(&ThreadSlot::new());
    let counts = heap.arenas().get(0).expect("it was used").snapshot(class()).counts;
    assert_eq!(counts.taken_blocks, 0, "all blocks are back in their slabs");
    assert_eq!((heap.caches().lock().count(), heap.budget().lent_bytes()), (0, 0));
    // SAFETY: the other threads are gone, and no block is live.
    unsafe { heap.release() };
}

#[test]
fn a_thread_allocates_and_frees_while_its_cache_is_reclaimed() {
    model(|| {
        let heap = heap();
        let slot = Arc::new(ThreadSlot::new());
        let kept = Block::alloc(&heap, &slot);
        let cached = Block::alloc(&heap, &slot);
        cached.free(&heap, &slot);
        let reclaimer = spawn({
            let heap = Arc::clone(&heap);
            move || heap.reclaim_all()
        });
        let first = Block::alloc(&heap, &slot);
        kept.free(&heap, &slot);
        let second = Block::alloc(&heap, &slot);
        reclaimer.join().unwrap();
        assert_ne!(first.0, second.0, "handed out once");
        let cache = ThreadCache::of(&slot).expect("it is attached");
        let is_warm = heap.caches().lock().warm_count() == 1;
        assert!(is_warm || cache.bin(class()).len() == 0, "the next reclaim would pass it over");
        [first, second].into_iter().for_each(|block| block.free(&heap, &slot));
        heap.detach(&slot);
        finish(&heap);
    });
}

#[test]
fn a_thread_frees_what_another_allocated_and_ends_while_it_is_reclaimed() {
    model(|| {
        let heap = heap();
        let (slot, other) = (ThreadSlot::new(), ThreadSlot::new());
        let handed_over = Block::alloc(&heap, &slot);
        Block::alloc(&heap, &other).free(&heap, &other);
        let thread = spawn({
            let heap = Arc::clone(&heap);
            move || {
                handed_over.free(&heap, &other);
                heap.detach(&other);
            }
        });
        heap.reclaim_all();
        thread.join().unwrap();
        heap.detach(&slot);
        finish(&heap);
    });
}
