//! Collections of other crates in a heap.

use allocator_api2::alloc::Allocator as _;
use allocator_api2::boxed::Box;
use allocator_api2::vec::Vec;

use crate::heap::Heap;
use crate::heap::tests::{layout, test_heap};
use crate::test_source::TestSource;

#[test]
fn vectors_and_boxes_grow_shrink_and_give_back() {
    let heap = test_heap();
    {
        let mut numbers = Vec::new_in(&heap);
        (0..200_000_u64).for_each(|number| numbers.push(number));
        let boxed = Box::new_in([7_u8; 5000], &heap);
        assert!(heap.stats().allocated_bytes >= 1_605_000);
        numbers.truncate(10);
        numbers.shrink_to_fit();
        assert_eq!((&numbers[..], boxed[4999]), (&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9][..], 7));
        assert_eq!(numbers.capacity(), 10);
    }
    assert_eq!(heap.stats().allocated_bytes, 0);
    heap.check();
}

#[test]
fn a_collection_may_have_the_heap_to_itself() {
    let source = std::sync::Arc::new(TestSource::new());
    let heap = Heap::with_source(std::sync::Arc::clone(&source)).unwrap();
    let mut texts = Vec::new_in(heap);
    (0..1000).for_each(|number| texts.push([number; 100]));
    assert_eq!(texts[999], [999; 100]);
    drop(texts);
    assert_eq!(source.outstanding_bytes(), 0);
}

#[test]
fn maps_of_another_crate_work_in_a_heap() {
    let heap = test_heap();
    let hasher = std::hash::RandomState::new();
    let mut squares = hashbrown::HashMap::with_hasher_in(hasher, &heap);
    squares.extend((0..20_000_u64).map(|number| (number, number * number)));
    assert!((0..20_000).all(|number| squares[&number] == number * number));
    assert!(heap.stats().allocated_bytes >= 20_000 * 16);
    drop(squares);
    assert_eq!(heap.stats().allocated_bytes, 0);
}

#[test]
fn a_layout_of_size_zero_takes_nothing_on_any_way() {
    let heap = test_heap();
    let (zero, some) = (layout(0, 64), layout(1000, 64));
    // SAFETY: each block is given up once, by its present layout.
    unsafe {
        let nothing = heap.allocate(zero).unwrap();
        assert_eq!((nothing.len(), nothing.cast::<u8>().addr().get() % 64), (0, 0));
        heap.deallocate(nothing.cast(), zero);
        let nothing = heap.allocate_zeroed(zero).unwrap();
        let block = heap.grow(nothing.cast(), zero, some).unwrap();
        let nothing = heap.shrink(block.cast(), some, zero).unwrap();
        assert_eq!((nothing.len(), heap.stats().allocated_bytes), (0, 0));
        let mut block = heap.grow_zeroed(nothing.cast(), zero, some).unwrap();
        assert!(block.as_mut().iter().all(|byte| *byte == 0));
        heap.deallocate(block.cast(), some);
    }
    assert_eq!(heap.stats().allocated_bytes, 0);
}

#[test]
fn contents_survive_where_size_and_alignment_change() {
    let heap = test_heap();
    let sizes = [1, 100, 40_000, 3 << 20];
    for (small, large) in sizes.iter().flat_map(|size| sizes.map(|other| (*size, other))) {
        if small > large {
            continue;
        }
        for (from, to) in [(8, 8), (8, 4096), (4096, 8), (1 << 16, 1 << 16)] {
            let (old, new) = (layout(small, from), layout(large, to));
            // SAFETY: each block is used within its size, and given up once.
            unsafe {
                // What it grows into is likely to be this, which is not zero any more.
                let used = heap.allocate(new).unwrap().cast::<u8>();
                used.write_bytes(0xEE, large);
                heap.deallocate(used, new);
                let block = heap.allocate(old).unwrap().cast::<u8>();
                block.write_bytes(5, small);
                let mut block = heap.grow_zeroed(block, old, new).unwrap();
                assert!(block.as_ref()[..small].iter().all(|byte| *byte == 5));
                assert!(block.as_ref()[small..].iter().all(|byte| *byte == 0));
                assert_eq!((block.len(), block.as_mut().as_ptr().addr() % to), (large, 0));
                let block = heap.shrink(block.cast(), new, old).unwrap();
                assert!(block.as_ref().iter().all(|byte| *byte == 5));
                heap.deallocate(block.cast(), old);
            }
        }
    }
    assert_eq!(heap.stats().allocated_bytes, 0);
    assert!(heap.allocate(layout(isize::MAX as usize, 1)).is_err());
}
