//! Limits that are lowered below what is held already.

use super::faulty_source::FaultySource;
use super::{Allocator, Block, ThreadSlot, finish, layout, timeless};
use crate::limits::Limit;

const LARGE: usize = 1 << 20;
const HUGE: usize = 8 << 20;

/// Runs a test on a heap that holds a large and a huge block, and as much that is free but
/// resident, under a limit far below that.
fn with_limit(limit: Limit, test: impl FnOnce(&Allocator<FaultySource>, &ThreadSlot, [Block; 2])) {
    let heap = timeless(FaultySource::refusing(0..0), 1);
    let slots = [ThreadSlot::new()];
    let alloc = |size| Block::alloc(&heap, &slots[0], layout(size, 1), 0xA5).unwrap();
    let (blocks, free) = ([LARGE, HUGE].map(alloc), [LARGE, HUGE].map(alloc));
    free.into_iter().for_each(|block| block.dealloc(&heap, &slots[0]));
    heap.page_heap().source().limits().set(limit, Some(1 << 20));
    test(&heap, &slots[0], blocks);
    heap.check();
    heap.page_heap().source().limits().set(limit, None);
    finish(&heap, &slots);
}

#[test]
fn what_is_free_and_resident_serves_on() {
    for limit in [Limit::AddressSpace, Limit::ResidentHard] {
        with_limit(limit, |heap, slot, blocks| {
            let large = Block::alloc(heap, slot, layout(LARGE, 1), 1);
            let huge = Block::alloc(heap, slot, layout(HUGE, 1), 1);
            let found = [large.is_some(), huge.is_some()];
            blocks.into_iter().chain(large).chain(huge).for_each(|block| block.dealloc(heap, slot));
            assert_eq!(found, [true, true], "large and huge under {limit:?}");
        });
    }
}

#[test]
fn blocks_shrink_where_they_lie() {
    for limit in [Limit::AddressSpace, Limit::ResidentHard] {
        with_limit(limit, |heap, slot, blocks| {
            for block in blocks {
                let size = block.layout.size() / 2;
                block.realloc(heap, slot, size).unwrap().dealloc(heap, slot);
            }
        });
    }
}
