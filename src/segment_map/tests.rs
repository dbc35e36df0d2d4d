//! Addresses in and out of segments, wherever in the address space those lie.

use core::num::NonZeroUsize;
use core::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use super::{ADDRESS_BITS, SegmentMap};
use crate::counted_source::CountedSource;
use crate::page_source::PageSource;
use crate::segment::{SEGMENT_BYTES, SegmentPtr};
use crate::test_source::TestSource;

/// The addresses that one leaf is for.
const LEAF_BYTES: usize = 32 << 30;

/// A source whose segments' pages are addresses and nothing more, so that they can lie anywhere.
#[derive(Debug)]
struct PlacedSource {
    inner: TestSource,
    next_base: AtomicUsize,
}

// SAFETY: what is read or written, descriptors and leaves, is the inner source's. The pages of a
// segment are not there at all, and the segment map never touches them.
unsafe impl PageSource for PlacedSource {
    fn map(&self, bytes: usize, align: usize) -> Option<NonNull<u8>> {
        if bytes != SEGMENT_BYTES {
            return self.inner.map(bytes, align);
        }
        NonZeroUsize::new(self.next_base.load(SeqCst)).map(NonNull::without_provenance)
    }

    unsafe fn unmap(&self, base: NonNull<u8>, bytes: usize) {
        if bytes != SEGMENT_BYTES {
            // SAFETY: the caller's promise is the one asked for.
            unsafe { self.inner.unmap(base, bytes) };
        }
    }

    unsafe fn purge(&self, _base: NonNull<u8>, _bytes: usize) -> bool {
        false
    }
}

/// A map, its source, and the segments made for it.
struct World {
    source: CountedSource<PlacedSource>,
    map: Box<SegmentMap>,
    segments: Vec<SegmentPtr>,
}

impl World {
    fn new() -> World {
        let placed = PlacedSource { inner: TestSource::new(), next_base: AtomicUsize::new(0) };
        let map = Box::new(SegmentMap::new());
        World { source: CountedSource::new(placed), map, segments: Vec::new() }
    }

    /// Makes a segment with pages from `base` on.
    fn make(&mut self, base: usize) -> SegmentPtr {
        self.source.inner().next_base.store(base, SeqCst);
        let segment = SegmentPtr::map(&self.source, 0).expect("descriptors");
        self.segments.push(segment);
        segment
    }

    fn insert(&mut self, base: usize) -> SegmentPtr {
        let segment = self.make(base);
        assert!(self.map.insert(segment, &self.source));
        segment
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // SAFETY: the test is over, and nothing of the map or the segments is used any more.
        unsafe {
            self.map.unmap_leaves(&self.source);
            self.segments.iter().for_each(|segment| segment.unmap(&self.source));
        }
    }
}

#[test]
fn a_segment_is_found_from_its_first_byte_to_its_last() {
    let mut world = World::new();
    let base = 5 * LEAF_BYTES + 9 * SEGMENT_BYTES;
    let segment = world.insert(base);
    for inside in [base, base + 1, base + SEGMENT_BYTES / 2, base + SEGMENT_BYTES - 1] {
        assert_eq!(world.map.find(inside), Some(segment));
    }
    assert_eq!(world.map.find_near(base + 1), Some(segment));
    let same_place_elsewhere = [base - LEAF_BYTES, base + LEAF_BYTES];
    for outside in [0, 1, base - 1, base + SEGMENT_BYTES].into_iter().chain(same_place_elsewhere) {
        assert_eq!(world.map.find(outside), None, "{outside:#x}");
        assert_eq!(world.map.find_near(outside), None, "{outside:#x}");
    }
}

#[test]
fn segments_on_both_sides_of_a_leafs_edge_are_told_apart() {
    let mut world = World::new();
    let edge = 7 * LEAF_BYTES;
    let behind = world.insert(edge);
    let before = world.insert(edge - SEGMENT_BYTES);
    assert_eq!(world.map.leaf_count(), 2);
    assert_eq!(world.map.find(edge - 1), Some(before));
    assert_eq!(world.map.find(edge), Some(behind));
    assert!(world.map.segments().eq([before, behind]), "all segments, in address order");
}

#[test]
fn a_segment_removed_is_forgotten_and_its_neighbour_is_not() {
    let mut world = World::new();
    let base = 3 * LEAF_BYTES;
    let gone = world.insert(base);
    let neighbour = world.insert(base + SEGMENT_BYTES);
    world.map.remove(gone);
    assert_eq!(world.map.find(base), None);
    assert_eq!(world.map.find(base + SEGMENT_BYTES), Some(neighbour));
    assert!(world.map.segments().eq([neighbour]));
    assert_eq!(world.map.leaf_count(), 1, "a leaf once mapped stays for the next segment");
}

#[test]
fn the_first_leaf_is_at_hand_and_the_others_are_not() {
    let mut world = World::new();
    for address in [0, 1, 5 * LEAF_BYTES, usize::MAX] {
        assert_eq!(world.map.find_near(address), None, "{address:#x} in an empty map");
    }
    let first = world.insert(5 * LEAF_BYTES);
    let other = world.insert(6 * LEAF_BYTES);
    let last = world.insert(6 * LEAF_BYTES - SEGMENT_BYTES);
    assert_eq!(world.map.find_near(5 * LEAF_BYTES), Some(first));
    assert_eq!(world.map.find_near(6 * LEAF_BYTES - 1), Some(last));
    assert_eq!(world.map.find(6 * LEAF_BYTES), Some(other));
    assert_eq!(world.map.find_near(6 * LEAF_BYTES), None, "left to `find`");
    for above in [1_usize << ADDRESS_BITS, 1 << 56, 1 << 63] {
        assert_eq!(world.map.find_near(above | (5 * LEAF_BYTES)), None, "{above:#x}");
    }
    world.map.remove(first);
    assert_eq!(world.map.find_near(5 * LEAF_BYTES), None);
}

#[test]
fn addresses_of_too_many_bits_are_nobodys() {
    let mut world = World::new();
    let top = world.insert((1 << ADDRESS_BITS) - SEGMENT_BYTES);
    assert_eq!(world.map.find((1 << ADDRESS_BITS) - 1), Some(top));
    // The lower bits of each are those of an address that is found.
    for above in [1_usize << ADDRESS_BITS, 1 << 56, 1 << 63] {
        assert_eq!(world.map.find(above | ((1 << ADDRESS_BITS) - 1)), None, "{above:#x}");
    }
    assert_eq!(world.map.find(usize::MAX), None);
    let beyond = world.make(1 << ADDRESS_BITS);
    assert!(!world.map.insert(beyond, &world.source));
    world.map.remove(beyond);
    assert!(world.map.segments().eq([top]));
}

#[test]
fn without_memory_for_a_leaf_nothing_is_entered() {
    let mut world = World::new();
    let [segment, next] = [LEAF_BYTES, LEAF_BYTES + SEGMENT_BYTES].map(|base| world.make(base));
    world.source.inner().inner.set_calls_left(0);
    assert!(!world.map.insert(segment, &world.source));
    assert_eq!((world.map.find(LEAF_BYTES), world.map.leaf_count()), (None, 0));
    world.source.inner().inner.set_calls_left(1);
    assert!(world.map.insert(segment, &world.source));
    assert!(world.map.insert(next, &world.source), "the leaf is there already");
    assert_eq!(world.map.find(LEAF_BYTES), Some(segment));
}
