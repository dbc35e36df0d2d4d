//! Heaps of one's own, on sources that fail on demand and on regions that fill up.

mod ending;
mod faults;
mod model;
mod threads;

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::NonNull;
use core::time::Duration;

use super::{Heap, OWN_TOUCHED_PAGES};
use crate::allocator::Allocator;
use crate::limits::Limit;
use crate::page_source::PageSource;
use crate::test_source::TestSource;
use crate::units::PAGE_BYTES;

const SMALL: usize = 100;
const LARGE: usize = 100_000;
const HUGE: usize = 3 << 20;

pub(crate) fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).expect("a valid layout")
}

/// A heap of which nothing decays, also where another test ends the periods of all heaps.
pub(crate) fn test_heap() -> Heap<TestSource> {
    let heap = Heap::with_source(TestSource::new()).expect("a source that refuses nothing");
    heap.set_decay(None);
    heap
}

/// A live block, filled with one byte.
#[derive(Debug)]
struct Block {
    base: NonNull<u8>,
    layout: Layout,
    byte: u8,
}

// SAFETY: a live block is its holder's alone, on whatever thread that is.
unsafe impl Send for Block {}

impl Block {
    fn claim(base: NonNull<u8>, layout: Layout, byte: u8) -> Block {
        assert!(base.addr().get().is_multiple_of(layout.align()), "{layout:?}");
        // SAFETY: every caller has just been handed this block of this layout.
        unsafe { base.write_bytes(byte, layout.size()) };
        Block { base, layout, byte }
    }

    fn alloc<S: PageSource>(heap: &Heap<S>, layout: Layout, byte: u8) -> Option<Block> {
        heap.alloc(layout).map(|base| Block::claim(base, layout, byte))
    }

    fn alloc_zeroed<S: PageSource>(heap: &Heap<S>, layout: Layout, byte: u8) -> Option<Block> {
        let base = heap.alloc_zeroed(layout)?;
        Block { base, layout, byte: 0 }.verify(layout.size());
        Some(Block::claim(base, layout, byte))
    }

    /// Sees that nobody else wrote into the first `size` bytes.
    fn verify(&self, size: usize) {
        // SAFETY: the block is live, at least so long, and all of it was written.
        let bytes = unsafe { core::slice::from_raw_parts(self.base.as_ptr(), size) };
        let Some((first, rest)) = bytes.split_first() else { return };
        assert!(*first == self.byte && *rest == bytes[..rest.len()], "written into: {self:?}");
    }

    /// Resizes; where that is refused, the block is as it was.
    fn realloc<S: PageSource>(&mut self, heap: &Heap<S>, size: usize) -> bool {
        self.verify(self.layout.size());
        // SAFETY: the block is live and of this layout, and is given up where it moves.
        let Some(base) = (unsafe { heap.realloc(self.base, self.layout, size) }) else {
            self.verify(self.layout.size());
            return false;
        };
        let kept_bytes = size.min(self.layout.size());
        self.base = base;
        self.verify(kept_bytes);
        *self = Block::claim(base, layout(size, self.layout.align()), self.byte);
        true
    }

    fn dealloc<S: PageSource>(self, heap: &Heap<S>) {
        self.verify(self.layout.size());
        // SAFETY: the block came from this heap for this layout, and is given up.
        unsafe { heap.dealloc(self.base, self.layout) };
    }
}

/// Live blocks of every kind, and free ones in the cache, the depot, spans and kept mappings.
fn fill<S: PageSource>(heap: &Heap<S>) -> Vec<Block> {
    let mut blocks = Vec::new();
    for (size, count) in [(8, 3000), (SMALL, 2000), (5000, 60), (30_000, 20), (LARGE, 9), (HUGE, 4)]
    {
        let alloc = |index| Block::alloc(heap, layout(size, 1), index as u8);
        let mut some: Vec<_> = (0..count).filter_map(alloc).collect();
        blocks.extend(some.split_off(some.len() / 2));
        some.into_iter().for_each(|block| block.dealloc(heap));
    }
    blocks
}

#[test]
fn zeroed_memory_with_a_source_in_it_is_an_unset_allocator() {
    let mut place = Box::<Allocator<TestSource>>::new_zeroed();
    // SAFETY: the place is zeroed memory of the size and alignment; after `init_unset` it is a
    // valid allocator.
    let made = unsafe {
        Allocator::init_unset(place.as_mut_ptr(), TestSource::new());
        place.assume_init()
    };
    let unset = Allocator::unset(TestSource::new());
    assert_eq!(format!("{made:?}"), format!("{unset:?}"));
}

#[test]
fn a_fresh_heap_is_empty_and_counts_its_own_record() {
    let heap = test_heap();
    let stats = heap.stats();
    assert_eq!((stats.allocated_bytes, stats.active_bytes, stats.arena_max), (0, 0, 1));
    assert_eq!(stats.mapped_bytes, Heap::<TestSource>::OWN_BYTES);
    assert_eq!(stats.resident_bytes, OWN_TOUCHED_PAGES * PAGE_BYTES);
    assert_eq!(heap.source().outstanding_bytes(), stats.mapped_bytes);
    heap.check();
}

#[test]
fn every_layout_gets_its_alignment_and_memory_of_its_own() {
    let heap = test_heap();
    let mut blocks = Vec::new();
    for align in (0..=23).map(|shift| 1 << shift) {
        for size in [0, 1, 8, SMALL, 4096, LARGE, HUGE] {
            let byte = blocks.len() as u8;
            blocks.push(Block::alloc(&heap, layout(size, align), byte).unwrap());
            blocks.push(Block::alloc_zeroed(&heap, layout(size, align), byte).unwrap());
        }
    }
    blocks.iter().for_each(|block| block.verify(block.layout.size()));
    heap.check();
    blocks.into_iter().for_each(|block| block.dealloc(&heap));
    assert_eq!(heap.stats().allocated_bytes, 0);
}

#[test]
fn contents_survive_a_resize_between_any_two_sizes() {
    let heap = test_heap();
    let sizes = [1, SMALL, 2 * SMALL, LARGE, 2 * LARGE, HUGE, 2 * HUGE];
    for (from, to) in sizes.iter().flat_map(|from| sizes.map(|to| (*from, to))) {
        let mut block = Block::alloc(&heap, layout(from, 1), 0x5A).unwrap();
        assert!(block.realloc(&heap, to));
        block.dealloc(&heap);
    }
}

#[test]
fn a_size_that_cannot_be_had_gives_none_and_costs_nothing() {
    let heap = test_heap();
    let most = isize::MAX as usize;
    for (size, align) in [(most, 1), (most - 4095, 4096), (1 << 50, 1 << 22)] {
        assert!(heap.alloc(layout(size, align)).is_none());
        assert!(heap.alloc_zeroed(layout(size, align)).is_none());
    }
    for size in [SMALL, LARGE, HUGE] {
        let mut block = Block::alloc(&heap, layout(size, 8), 7).unwrap();
        assert!(!block.realloc(&heap, most) && !block.realloc(&heap, usize::MAX));
        block.dealloc(&heap);
    }
    heap.check();
}

#[test]
fn generic_code_that_knows_a_global_allocator_can_use_a_heap() {
    fn use_it(allocator: &impl GlobalAlloc) {
        let old = layout(SMALL, 16);
        // SAFETY: each block is used within its size, and given up once, with its layout.
        unsafe {
            let block = allocator.alloc_zeroed(old);
            assert_eq!(block.add(SMALL - 1).read(), 0);
            let block = allocator.realloc(block, old, LARGE);
            assert!(block.addr().is_multiple_of(16));
            allocator.dealloc(block, layout(LARGE, 16));
            assert!(allocator.alloc(layout(isize::MAX as usize - 15, 16)).is_null());
        }
    }
    let heap = test_heap();
    use_it(&heap);
    assert_eq!(heap.stats().allocated_bytes, 0);
}

#[test]
fn a_heap_owns_its_blocks_and_nothing_else() {
    let (one, other) = (test_heap(), test_heap());
    for size in [1, SMALL, LARGE, HUGE] {
        let block = Block::alloc(&one, layout(size, 1), 1).unwrap();
        let last = block.base.as_ptr().wrapping_add(size - 1);
        assert!(one.owns(block.base.as_ptr()) && one.owns(last), "{size}");
        assert!(!other.owns(block.base.as_ptr()) && !other.owns(last), "{size}");
    }
    let freed = Block::alloc(&one, layout(HUGE, 1), 1).unwrap();
    let address = freed.base.as_ptr();
    freed.dealloc(&one);
    assert!(!one.owns(address), "a mapping that is only kept is no block");
    for stray in [0, 1, PAGE_BYTES, usize::MAX, (&raw const one).addr(), 1 << 63] {
        assert!(!one.owns(core::ptr::without_provenance(stray)), "{stray:#x}");
    }
}

#[test]
fn limits_hold_for_the_heap_alone() {
    let heap = test_heap();
    heap.set_limit(Limit::ResidentHard, Some(8 << 20));
    assert_eq!(heap.limit(Limit::ResidentHard), Some(8 << 20));
    let blocks: Vec<_> =
        core::iter::from_fn(|| Block::alloc(&heap, layout(LARGE, 1), 1)).take(1000).collect();
    assert!(blocks.len() > 40 && blocks.len() < 84, "{}", blocks.len());
    assert!(heap.stats().hard_limit_refusals > 0);
    assert!(heap.stats().resident_bytes <= 8 << 20);
    assert!(Block::alloc(&test_heap(), layout(4 * HUGE, 1), 1).is_some());
    blocks.into_iter().for_each(|block| block.dealloc(&heap));
    assert!(Block::alloc(&heap, layout(HUGE, 1), 1).is_some(), "what was freed can be had again");
}

#[test]
fn a_trim_gives_back_what_no_block_needs() {
    let heap = test_heap();
    let blocks = fill(&heap);
    assert!(heap.stats().thread_cache_bytes > 0 && heap.stats().dirty_bytes > 0);
    heap.trim();
    let stats = heap.stats();
    assert_eq!((stats.thread_cache_bytes, stats.depot_bytes, stats.dirty_bytes), (0, 0, 0));
    blocks.into_iter().for_each(|block| block.dealloc(&heap));
    heap.trim();
    let stats = heap.stats();
    assert_eq!((stats.active_bytes, stats.segments), (0, 0));
    heap.check();
}

#[test]
fn decay_is_the_heaps_own() {
    let heap = test_heap();
    heap.set_decay(Some(Duration::ZERO));
    let block = Block::alloc(&heap, layout(HUGE, 1), 1).unwrap();
    block.dealloc(&heap);
    assert_eq!(heap.stats().dirty_bytes, 0, "a freed mapping goes back at once");
    assert_eq!((heap.decay(), test_heap().decay()), (Some(Duration::ZERO), None));
    assert_eq!(Heap::new().unwrap().decay(), Some(Duration::from_secs(1)));
}

#[test]
fn without_a_budget_nothing_is_cached() {
    let heap = test_heap();
    heap.set_cache_budget(0);
    let blocks = fill(&heap);
    assert_eq!((heap.stats().thread_cache_bytes, heap.cache_budget()), (0, 0));
    blocks.into_iter().for_each(|block| block.dealloc(&heap));
}
