//! What is kept for reuse is held in proportion to what is in use.

use super::faulty_source::FaultySource;
use super::{Allocator, Block, PageSource, TestSource, ThreadSlot, finish, layout, timeless};
use crate::os::clock;
use crate::thread_cache::ThreadCache;

const MIB: usize = 1 << 20;

/// A moment that no coarse clock's reading here comes close to, so that only ticks with later ones
/// count.
const LATER: u64 = 1 << 40;

fn large_blocks<S: PageSource>(heap: &Allocator<S>, slot: &ThreadSlot, count: usize) -> Vec<Block> {
    let block = |index| Block::alloc(heap, slot, layout(MIB, 1), index as u8).unwrap();
    (0..count).map(block).collect()
}

#[test]
fn a_busy_heap_keeps_no_more_dirty_pages_than_an_eighth_of_those_in_use() {
    let heap = timeless(TestSource::new(), 1);
    let slot = ThreadSlot::new();
    let mut blocks = large_blocks(&heap, &slot, 32);
    heap.decay().begin_period(LATER);
    heap.decay().set_milliseconds(1000);
    blocks.drain(..16).for_each(|block| block.dealloc(&heap, &slot));
    heap.tick(LATER + 100);
    assert_eq!(heap.stats().dirty_bytes, 2 * MIB);
    blocks.drain(..8).for_each(|block| block.dealloc(&heap, &slot));
    heap.tick(LATER + 101);
    assert!(heap.stats().dirty_bytes > 2 * MIB, "not looked at again so soon");
    heap.tick(LATER + 200);
    assert_eq!(heap.stats().dirty_bytes, MIB);
    heap.decay().set_milliseconds(-1);
    blocks.drain(..).for_each(|block| block.dealloc(&heap, &slot));
    heap.tick(LATER + 300);
    assert!(heap.stats().dirty_bytes > MIB, "nothing goes back where nothing decays");
    finish(&heap, &[slot]);
}

#[test]
fn a_great_part_freed_in_one_go_does_not_wait_for_the_clock() {
    let heap = timeless(TestSource::new(), 1);
    let slot = ThreadSlot::new();
    let mut blocks = large_blocks(&heap, &slot, 100);
    heap.tick(LATER);
    heap.decay().begin_period(LATER);
    heap.decay().set_milliseconds(1000);
    // Dirty pages up to half of those in use and 32 MiB wait.
    blocks.drain(..54).for_each(|block| block.dealloc(&heap, &slot));
    assert_eq!(heap.stats().dirty_bytes, 54 * MIB);
    blocks.drain(..1).for_each(|block| block.dealloc(&heap, &slot));
    assert_eq!(heap.stats().dirty_bytes, (45 * MIB / 8).next_multiple_of(4096));
    blocks.into_iter().for_each(|block| block.dealloc(&heap, &slot));
    heap.decay().set_milliseconds(-1);
    finish(&heap, &[slot]);
}

#[test]
fn a_source_that_takes_nothing_back_is_asked_again_only_when_much_more_is_free() {
    let heap = timeless(FaultySource::refusing(0..0), 1);
    let slot = ThreadSlot::new();
    let mut blocks = large_blocks(&heap, &slot, 100);
    heap.tick(LATER);
    heap.decay().begin_period(LATER);
    heap.decay().set_milliseconds(1000);
    let source = heap.page_heap().source().inner();
    source.refuse_all();
    blocks.drain(..60).for_each(|block| block.dealloc(&heap, &slot));
    let asked = source.refused();
    assert!(asked > 0);
    blocks.drain(..20).for_each(|block| block.dealloc(&heap, &slot));
    assert_eq!(source.refused(), asked);
    source.heal();
    heap.decay().set_milliseconds(-1);
    blocks.into_iter().for_each(|block| block.dealloc(&heap, &slot));
    finish(&heap, &[slot]);
}

#[test]
fn the_budget_follows_resident_memory_up_and_down() {
    let heap = timeless(TestSource::new(), 1);
    let slot = ThreadSlot::new();
    heap.budget().set_limit_bytes(None);
    let blocks = large_blocks(&heap, &slot, 48);
    heap.tick(LATER);
    let stats = heap.stats();
    assert!((12 * MIB..13 * MIB).contains(&stats.cache_budget_bytes), "{stats}");
    blocks.into_iter().for_each(|block| block.dealloc(&heap, &slot));
    heap.trim(&slot);
    heap.tick(LATER + 100);
    assert_eq!(heap.stats().cache_budget_bytes, 8 * MIB);
    finish(&heap, &[slot]);
}

/// Has the thread's cache borrow for several classes; answers how much it has.
fn fill_cache<S: PageSource>(heap: &Allocator<S>, slot: &ThreadSlot) -> usize {
    for bytes in [64, 256, 1024, 4096] {
        let block = |index| Block::alloc(heap, slot, layout(bytes, 1), index as u8).unwrap();
        let blocks: Vec<Block> = (0..200).map(block).collect();
        blocks.into_iter().for_each(|block| block.dealloc(heap, slot));
    }
    borrowed_bytes(slot)
}

fn borrowed_bytes(slot: &ThreadSlot) -> usize {
    ThreadCache::of(slot).expect("a cache").borrowed_bytes()
}

#[test]
fn a_thread_without_its_share_gets_it_from_those_with_more_and_from_the_idle() {
    let heap = timeless(TestSource::new(), 1);
    heap.budget().set_limit_bytes(Some(MIB / 2));
    let [rich, poor] = [const { ThreadSlot::new() }; 2];
    let rich_bytes = fill_cache(&heap, &rich);
    Block::alloc(&heap, &poor, layout(64, 1), 1).unwrap().dealloc(&heap, &poor);
    let now = clock::coarse_milliseconds();
    heap.budget().set_active_caches(1);
    heap.reclaim_for_budget(&poor, now + 20);
    assert_eq!(borrowed_bytes(&rich), rich_bytes, "within its share, and not idle for long");
    heap.budget().set_active_caches(3);
    assert!(heap.budget().share_bytes().is_some_and(|bytes| rich_bytes >= bytes));
    heap.reclaim_for_budget(&rich, now + 40);
    assert_eq!(borrowed_bytes(&rich), rich_bytes, "it has its share and takes from nobody");
    heap.reclaim_for_budget(&poor, now + 60);
    // Where the kernel has no fence on all threads, nothing can be taken.
    let left_bytes = if heap.stats().can_reclaim { 0 } else { rich_bytes };
    assert_eq!(borrowed_bytes(&rich), left_bytes);
    heap.budget().set_active_caches(1);
    fill_cache(&heap, &rich);
    heap.reclaim_for_budget(&poor, clock::coarse_milliseconds() + 10_000);
    assert_eq!(borrowed_bytes(&rich), left_bytes, "idle for long");
    // As many as there are, which are counted out as they go.
    heap.budget().set_active_caches(2);
    finish(&heap, &[rich, poor]);
}

#[test]
fn who_only_takes_and_resizes_sees_to_decay_too() {
    let resize = |heap: &Allocator<TestSource>, slot: &ThreadSlot, kept: &mut Vec<Block>| {
        for mebibytes in [16, 8] {
            let block = kept.pop().expect("one is kept");
            kept.push(block.realloc(heap, slot, mebibytes * MIB).unwrap());
        }
    };
    let take = |heap: &Allocator<TestSource>, slot: &ThreadSlot, kept: &mut Vec<Block>| {
        kept.push(Block::alloc(heap, slot, layout(3 * MIB, 1), 1).unwrap());
    };
    for work in [&resize as &dyn Fn(&_, &_, &mut _), &take] {
        let heap = timeless(TestSource::new(), 1);
        let slot = ThreadSlot::new();
        let mut kept = vec![Block::alloc(&heap, &slot, layout(4 * MIB, 1), 1).unwrap()];
        large_blocks(&heap, &slot, 4).into_iter().for_each(|block| block.dealloc(&heap, &slot));
        assert!(heap.page_heap().has_dirty());
        // Two periods that have been over for long.
        heap.decay().set_milliseconds(1000);
        for _ in 0..2 {
            heap.decay().begin_period(1);
            work(&heap, &slot, &mut kept);
        }
        assert!(!heap.page_heap().has_dirty());
        heap.decay().set_milliseconds(-1);
        kept.into_iter().for_each(|block| block.dealloc(&heap, &slot));
        finish(&heap, &[slot]);
    }
}

#[test]
fn what_a_thread_at_work_holds_of_sizes_that_it_asks_for_no_more_goes_back() {
    let heap = timeless(TestSource::new(), 1);
    let slot = ThreadSlot::new();
    let block = |index| Block::alloc(&heap, &slot, layout(64, 1), index as u8).unwrap();
    let blocks: Vec<_> = (0..200).map(block).collect();
    blocks.into_iter().for_each(|block| block.dealloc(&heap, &slot));
    assert!(heap.stats().thread_cache_bytes > 64 * 64);
    heap.give_up_stale(&slot, LATER);
    heap.give_up_stale(&slot, LATER + 1000);
    assert!(heap.stats().thread_cache_bytes > 64 * 64, "nothing decays here");
    let depot_bytes = heap.stats().depot_bytes;
    heap.decay().set_milliseconds(1000);
    heap.give_up_stale(&slot, LATER - 500);
    heap.give_up_stale(&slot, LATER);
    heap.give_up_stale(&slot, LATER + 499);
    assert!(heap.stats().thread_cache_bytes > 64 * 64, "not looked again so soon");
    heap.give_up_stale(&slot, LATER + 500);
    heap.decay().set_milliseconds(-1);
    assert_eq!(heap.stats().thread_cache_bytes, 0);
    assert_eq!(heap.stats().depot_bytes, depot_bytes, "the blocks are back in their slabs");
    finish(&heap, &[slot]);
}
