//! The routes that a layout takes, and what all of them promise.

use super::{Allocator, Block, Route, SizeClass, TestSource, ThreadSlot, finish, layout, timeless};
use crate::units::PAGE_BYTES;

const SMALL: usize = 100;
const LARGE: usize = 100_000;
const HUGE: usize = 3 << 20;

fn with_heap(test: impl FnOnce(&Allocator<TestSource>, &ThreadSlot)) {
    let heap = timeless(TestSource::new(), 2);
    let slots = [ThreadSlot::new()];
    test(&heap, &slots[0]);
    finish(&heap, &slots);
}

#[test]
fn sizes_and_alignments_choose_the_route() {
    let routes = [
        (0, 1, Route::Small(SizeClass::of(8, 1).unwrap())),
        (32 << 10, PAGE_BYTES, Route::Small(SizeClass::of(32 << 10, 1).unwrap())),
        ((32 << 10) + 1, 1, Route::Large),
        (1, 2 * PAGE_BYTES, Route::Large),
        (2 << 20, 2 << 20, Route::Large),
        ((2 << 20) + 1, 1, Route::Huge),
        (1, 4 << 20, Route::Huge),
    ];
    for (size, align, route) in routes {
        assert_eq!(Route::of(layout(size, align)), route, "{size} at {align}");
    }
}

#[test]
fn every_layout_gets_its_alignment_and_memory_of_its_own() {
    with_heap(|heap, slot| {
        let sizes = [0, 1, 8, 100, 4096, 33_000, 1 << 20, (2 << 20) + 1];
        let mut blocks = Vec::new();
        for align in (0..=23).map(|shift| 1 << shift) {
            for size in sizes {
                let byte = blocks.len() as u8;
                blocks.push(Block::alloc(heap, slot, layout(size, align), byte).unwrap());
            }
        }
        blocks.iter().for_each(Block::verify);
        heap.check();
        blocks.into_iter().for_each(|block| block.dealloc(heap, slot));
    });
}

#[test]
fn a_size_that_cannot_be_had_gives_none_and_costs_nothing() {
    with_heap(|heap, slot| {
        let most = isize::MAX as usize;
        for (size, align) in [(most, 1), (most - 4095, 4096), (most / 2, 1), (1 << 50, 1 << 22)] {
            assert!(heap.alloc(slot, layout(size, align)).is_none());
            assert!(heap.alloc_zeroed(slot, layout(size, align)).is_none());
        }
        for start in [SMALL, LARGE, HUGE] {
            let block = Block::alloc(heap, slot, layout(start, 1), 7).unwrap();
            block.realloc(heap, slot, most).expect_err("more than there is").dealloc(heap, slot);
        }
        heap.check();
    });
}

#[test]
fn memory_asked_for_as_zero_is_zero_also_where_it_was_used_before() {
    with_heap(|heap, slot| {
        for size in [SMALL, 4096, LARGE, HUGE] {
            for _ in 0..3 {
                let block = Block::alloc_zeroed(heap, slot, layout(size, 1), 0xA5).unwrap();
                block.dealloc(heap, slot);
            }
        }
    });
}

#[test]
fn contents_survive_a_resize_between_any_two_routes() {
    with_heap(|heap, slot| {
        let sizes = [1, SMALL, 2 * SMALL, 33_000, LARGE, 2 * LARGE, 2 << 20, HUGE, 2 * HUGE];
        for align in [1, 64, 1 << 14] {
            for (from, to) in sizes.iter().flat_map(|from| sizes.map(|to| (*from, to))) {
                let block = Block::alloc(heap, slot, layout(from, align), 0x5A).unwrap();
                block.realloc(heap, slot, to).unwrap().dealloc(heap, slot);
            }
        }
    });
}

#[test]
fn a_resize_stays_in_place_where_class_or_pages_allow_it() {
    with_heap(|heap, slot| {
        let stays = [(97, 104), (LARGE, LARGE + 1), (LARGE, 3 * LARGE), (3 * LARGE, LARGE)];
        for (from, to) in stays {
            let block = Block::alloc(heap, slot, layout(from, 1), 1).unwrap();
            let base = block.base;
            let block = block.realloc(heap, slot, to).unwrap();
            assert_eq!(block.base, base, "{from} to {to}");
            block.dealloc(heap, slot);
        }
    });
}

#[test]
fn what_is_live_is_counted_to_the_byte() {
    with_heap(|heap, slot| {
        let mut blocks = Vec::new();
        for size in [0, 1, SMALL, 5000, LARGE, HUGE] {
            blocks.push(Block::alloc(heap, slot, layout(size, 1), 1).unwrap());
            let live_bytes = blocks.iter().map(|block| block.counted_bytes(heap)).sum::<usize>();
            assert_eq!(heap.stats().allocated_bytes, live_bytes);
        }
        blocks.into_iter().for_each(|block| block.dealloc(heap, slot));
        assert_eq!(heap.stats().allocated_bytes, 0);
    });
}
