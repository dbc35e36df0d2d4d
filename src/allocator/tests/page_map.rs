//! The picture of a heap shows each page as what it is used for.

use super::{Block, TestSource, ThreadSlot, finish, layout, timeless};
use crate::page_map::PageState::{Cached, Dirty, Live, Retained};
use crate::segment::SEGMENT_PAGES;
use crate::units::PAGE_BYTES;

#[test]
fn each_page_is_shown_as_what_it_is_used_for() {
    let heap = timeless(TestSource::new(), 1);
    let slot = ThreadSlot::new();
    let counts = || {
        let map = heap.page_map();
        assert_eq!(
            map.segments.iter().map(|one| one.pages.len()).sum::<usize>() % SEGMENT_PAGES,
            0
        );
        [Live, Cached, Dirty, Retained].map(|state| map.count(state))
    };
    assert_eq!(counts(), [0; 4], "no segment yet");
    let large = Block::alloc(&heap, &slot, layout(10 * PAGE_BYTES, 1), 1).unwrap();
    let rest = SEGMENT_PAGES - 10;
    assert_eq!(counts(), [10, 0, 0, rest]);
    large.dealloc(&heap, &slot);
    assert_eq!(counts(), [0, 10, 0, rest], "the thread may want as much again");
    assert_eq!(heap.stats().thread_cache_bytes, 10 * PAGE_BYTES);
    heap.flush_own_cache(&slot);
    assert_eq!(counts(), [0, 0, 10, rest]);
    heap.page_heap().purge_dirty();
    assert_eq!(counts(), [0, 0, 0, SEGMENT_PAGES]);
    // A page each; as many as caches and depots will not hold.
    let blocks: Vec<_> =
        (0..100).map(|i| Block::alloc(&heap, &slot, layout(PAGE_BYTES, 1), i).unwrap()).collect();
    let [live, cached, dirty, _] = counts();
    assert_eq!((live, dirty), (100, 0));
    assert_eq!(cached * PAGE_BYTES, heap.stats().thread_cache_bytes);
    blocks.into_iter().for_each(|block| block.dealloc(&heap, &slot));
    let stats = heap.stats();
    let [live, cached, dirty, retained] = counts();
    assert_eq!(live, 0);
    assert_eq!(cached * PAGE_BYTES, stats.thread_cache_bytes + stats.depot_bytes);
    assert_eq!(dirty * PAGE_BYTES, stats.dirty_bytes);
    assert_eq!(retained * PAGE_BYTES, stats.retained_bytes);
    finish(&heap, &[slot]);
}

#[test]
fn pages_inside_a_slab_are_shown_by_themselves() {
    let heap = timeless(TestSource::new(), 1);
    // Without a cache, blocks go straight to their slab: three pages, two blocks.
    heap.budget().set_limit_bytes(Some(0));
    let slot = ThreadSlot::new();
    let alloc = |byte| Block::alloc(&heap, &slot, layout(6144, 1), byte).unwrap();
    let [first, second] = [alloc(1), alloc(2)];
    assert_eq!(heap.page_map().count(Live), 3);
    second.dealloc(&heap, &slot);
    assert_eq!((heap.page_map().count(Live), heap.page_map().count(Dirty)), (2, 1));
    heap.trim(&slot);
    let map = heap.page_map();
    assert_eq!((map.count(Live), map.count(Dirty)), (2, 0));
    let picture = map.to_string();
    assert_eq!(picture.lines().nth(1).map(|line| &line[..10]), Some("##........"), "{picture}");
    first.dealloc(&heap, &slot);
    finish(&heap, &[slot]);
}
