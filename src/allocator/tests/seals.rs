//! Seals of the heap as a whole.

use core::cell::Cell;

use super::{Block, TestSource, ThreadSlot, finish, layout, timeless};
use crate::arena::ARENAS_MAX;
use crate::size_class::SizeClass;

fn sealed_slabs(heap: &super::Allocator<TestSource>) -> usize {
    let arenas = (0..ARENAS_MAX).map_while(|index| heap.arenas().get(index));
    let of_arena = |arena: crate::arena::ArenaPtr| -> usize {
        SizeClass::all().map(|class| arena.snapshot(class).sealed_slabs).sum()
    };
    arenas.map(of_arena).sum()
}

#[test]
fn slabs_that_move_between_arenas_meanwhile_are_sealed_and_thawed_too() {
    let heap = timeless(TestSource::new(), 2);
    let slots = [ThreadSlot::new(), ThreadSlot::new()];
    let blocks: Vec<_> = slots
        .iter()
        .map(|slot| Block::alloc(&heap, slot, layout(100, 1), 1).expect("memory"))
        .collect();
    heap.warm_up(&slots[0]);
    // Those of the other thread's cache are in another slab of the same class.
    let sealed = sealed_slabs(&heap);
    assert!(sealed >= 2);
    let thaws = Cell::new(0);
    let change = heap.arenas().set_cap(
        1,
        heap.metadata(),
        heap.page_heap(),
        heap.budget(),
        |class, blocks| {
            // The arena is closed, and its slabs of the first class have yet to move.
            if thaws.replace(thaws.get() + 1) == 0 {
                assert!(heap.thaw() > 0);
            }
            heap.put_back(class, blocks);
        },
    );
    assert!(change.is_ok() && thaws.get() > 0);
    assert_eq!(sealed_slabs(&heap), 0);
    for (block, slot) in blocks.into_iter().zip(&slots) {
        block.dealloc(&heap, slot);
    }
    finish(&heap, &slots);
}
