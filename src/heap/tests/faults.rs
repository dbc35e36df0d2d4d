//! A page source that refuses at any step breaks nothing, and loses nothing.

use super::{Block, HUGE, LARGE, SMALL, layout};
use crate::heap::{Heap, HeapError};
use crate::test_source::TestSource;

/// Allocates by all routes, and resizes; a refusal leaves everything as it was.
fn work(heap: &Heap<TestSource>) -> Vec<Block> {
    // The same things are asked of the source each time, however long it takes.
    heap.set_decay(None);
    let mut blocks = Vec::new();
    for round in 0..2_u8 {
        for (size, count) in [(8, 40), (SMALL, 40), (30_000, 9), (LARGE, 30), (HUGE, 5)] {
            let alloc = |byte| match byte % 2 {
                0 => Block::alloc(heap, layout(size, 8), byte),
                _ => Block::alloc_zeroed(heap, layout(size, 8), byte),
            };
            blocks.extend((0..count).map_while(|index| alloc(round * 40 + index)));
            if size == HUGE {
                blocks.drain(blocks.len().saturating_sub(4)..).for_each(|b| b.dealloc(heap));
            }
        }
        for size in [SMALL, LARGE, 2 * LARGE, HUGE, 2 * HUGE, SMALL, 1] {
            blocks.iter_mut().rev().step_by(7).take(6).for_each(|block| {
                block.realloc(heap, size);
            });
        }
        heap.trim();
    }
    blocks
}

/// How many things the work asks of a source that refuses nothing.
fn count_calls() -> usize {
    let heap = Heap::with_source(TestSource::new()).unwrap();
    let before = heap.source().calls_left();
    let blocks = work(&heap);
    blocks.into_iter().for_each(|block| block.dealloc(&heap));
    // Where the segments happen to lie decides which is used first, and how many leaves their map
    // needs, and so may take a few calls more or less.
    before - heap.source().calls_left() - 10
}

#[test]
fn a_heap_whose_record_is_refused_is_an_error_and_no_heap() {
    let refused = Heap::with_source(TestSource::failing_after(0)).unwrap_err();
    let HeapError::NoMemory { bytes } = refused;
    assert_eq!(bytes, Heap::<TestSource>::OWN_BYTES);
    assert!(refused.to_string().contains(&bytes.to_string()));
}

#[test]
fn a_source_that_refuses_from_any_step_on_gives_none_and_breaks_nothing() {
    let calls = count_calls();
    assert!(calls > 30, "the work asks the source for {calls} things only");
    for calls_left in 1..calls {
        let heap = Heap::with_source(TestSource::failing_after(calls_left)).unwrap();
        let mut blocks = work(&heap);
        assert_eq!(heap.source().calls_left(), 0, "{calls_left}: all were used up");
        heap.check();
        blocks.iter().for_each(|block| block.verify(block.layout.size()));
        // Every other run recovers, and every other is dropped in the middle of it.
        if calls_left % 2 == 0 {
            heap.source().set_calls_left(usize::MAX);
            blocks.extend([SMALL, LARGE, HUGE].map(|size| {
                Block::alloc(&heap, layout(size, 1), 3).expect("memory that is there again")
            }));
            blocks.into_iter().for_each(|block| block.dealloc(&heap));
            heap.trim();
            assert_eq!(heap.stats().segments, 0);
        }
        // The source's own drop sees to it that nothing is left.
    }
}
