//! Slabs cut, handed out, taken back and purged.

use super::*;
use crate::page_heap::PageHeap;
use crate::test_source::TestSource;

fn with_slab(class: SizeClass, test: impl Fn(&PageHeap<TestSource>, Slab)) {
    let heap = PageHeap::new(TestSource::new());
    let taken = heap.take(class.shape().pages(), 1, SpanKind::Slab).unwrap();
    test(&heap, Slab::cut(taken.span, class, 3));
    heap.free(taken.span);
    heap.check();
    // SAFETY: nothing in the heap is used any more.
    unsafe { heap.unmap_all() };
}

#[test]
fn every_class_hands_out_each_block_once_and_takes_it_back() {
    for class in SizeClass::all() {
        with_slab(class, |_, slab| {
            let shape = class.shape();
            let capacity = shape.capacity as usize;
            let mut blocks = vec![core::ptr::null_mut(); capacity + 1];
            assert_eq!(slab.take(shape, &mut blocks), capacity);
            slab.check(class, 3);
            assert!(blocks[..capacity].windows(2).all(|pair| pair[0] < pair[1]));
            assert_eq!(slab.fullness(shape), FULLNESS_LEVELS - 1);
            for block in blocks[..capacity].iter().rev() {
                assert_eq!(slab.put(shape, &[*block]), Ok(1));
                assert_eq!(slab.put(shape, &[*block]), Err((Misuse::FreeAlready, *block)));
            }
            assert!(slab.is_empty(shape));
            slab.check(class, 3);
        });
    }
}

#[test]
fn interior_pointers_are_seen() {
    let class = SizeClass::of(48, 8).unwrap();
    with_slab(class, |_, slab| {
        let mut block = [core::ptr::null_mut()];
        slab.take(class.shape(), &mut block);
        let inside = block[0].wrapping_add(8);
        let refused = Err((Misuse::Interior, inside));
        assert_eq!(slab.put(class.shape(), &[inside]), refused);
    });
}

#[test]
fn pages_without_a_used_block_are_purged_once_and_counted_again_when_handed_out() {
    let class = SizeClass::of(6144, 8).unwrap();
    with_slab(class, |heap, slab| {
        let shape = class.shape();
        assert_eq!((shape.pages().count(), shape.capacity), (3, 2));
        let mut first = [core::ptr::null_mut()];
        slab.take(shape, &mut first);
        // The second block starts half-way into the second page, which the first one uses.
        assert_eq!(slab.purge_free_pages(shape, heap.source()), PAGE_BYTES);
        assert_eq!(slab.purge_free_pages(shape, heap.source()), 0);
        assert_eq!(slab.purged_bytes(shape), PAGE_BYTES);
        let mut second = [core::ptr::null_mut()];
        slab.take(shape, &mut second);
        assert_eq!(slab.purged_bytes(shape), 0);
        // A bin tells the limits what came back; here the test stands in for it.
        heap.source().limits().count_resident(PAGE_BYTES);
        assert_eq!(slab.put(shape, &[first[0], second[0]]), Ok(2));
    });
}
