//! Drop: everything goes back to the source, whatever is live.

use std::sync::Arc;

use super::{Block, HUGE, LARGE, SMALL, fill, layout};
use crate::heap::Heap;
use crate::test_source::TestSource;

/// Makes a heap, works with it, drops it, and sees that the source has everything back.
fn after(work: impl FnOnce(&Heap<Arc<TestSource>>)) {
    let source = Arc::new(TestSource::new());
    let heap = Heap::with_source(Arc::clone(&source)).unwrap();
    work(&heap);
    heap.check();
    drop(heap);
    assert_eq!(source.outstanding_bytes(), 0);
    assert_eq!(Arc::strong_count(&source), 1, "the heap's source is dropped with it");
}

#[test]
fn a_heap_without_a_block_goes() {
    after(|_| {});
    after(|heap| assert_eq!(heap.trim().total_bytes(), 0));
}

#[test]
fn blocks_of_every_kind_go_with_their_heap() {
    for size in [1, SMALL, 30_000, LARGE, HUGE] {
        after(|heap| assert!(Block::alloc(heap, layout(size, 1), 1).is_some()));
    }
    after(|heap| drop(fill(heap)));
}

#[test]
fn many_huge_blocks_go_too() {
    after(|heap| {
        for _ in 0..40 {
            assert!(heap.alloc(layout(1, 4 << 20)).is_some());
        }
    });
}

#[test]
fn pages_purged_inside_slabs_are_no_obstacle() {
    after(|heap| {
        let blocks = fill(heap);
        // All but a few of the slabs' blocks, so that a trim purges between the live ones.
        blocks.into_iter().enumerate().filter(|(index, _)| index % 50 != 0).for_each(
            |(_, block)| {
                block.dealloc(heap);
            },
        );
        heap.trim();
        fill(heap);
    });
}

#[test]
fn a_heap_that_moved_and_one_that_was_forgotten_stay_sound() {
    let heaps: Vec<_> = (0..4).map(|_| Heap::with_source(TestSource::new()).unwrap()).collect();
    let blocks: Vec<_> = heaps.iter().map(fill).collect();
    for (heap, blocks) in heaps.into_iter().zip(blocks).rev() {
        blocks.into_iter().for_each(|block| block.dealloc(&heap));
        heap.check();
    }
    core::mem::forget(Heap::new().unwrap());
    let _one_more = Heap::new().unwrap();
}
