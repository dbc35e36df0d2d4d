//! A heap some of whose locks somebody keeps: whoever can go elsewhere does.

use super::{Block, TestSource, ThreadSlot, finish, layout, timeless};
use crate::arena::Refill;
use crate::arena::policy::PerThread;
use crate::size_class::SizeClass;

const BYTES: usize = 1000;

fn class() -> SizeClass {
    SizeClass::of(BYTES, 1).expect("a small size")
}

#[test]
fn a_thread_allocates_while_somebody_keeps_every_bin() {
    let (heap, slot) = (timeless(TestSource::new(), 2), ThreadSlot::new());
    let one = |mark| Block::alloc(&heap, &slot, layout(BYTES, 1), mark).expect("memory");
    let mut blocks = vec![one(0)];
    heap.arenas().hold_bins_for_fork();
    blocks.extend((1..=200).map(one));
    // SAFETY: held a few lines before, by this thread.
    unsafe { heap.arenas().release_bins_after_fork() };
    heap.check();
    let live_bytes = blocks.len() * class().block_bytes();
    assert_eq!(heap.stats().allocated_bytes, live_bytes);
    blocks.into_iter().for_each(|block| block.dealloc(&heap, &slot));
    finish(&heap, &[slot]);
}

#[test]
fn a_thread_allocates_while_somebody_keeps_the_page_heap() {
    let (heap, slot) = (timeless(TestSource::new(), 1), ThreadSlot::new());
    let one = |size| Block::alloc(&heap, &slot, layout(size, 1), 7).expect("memory");
    let sizes = [BYTES, 100_000, 3_000_000, 40];
    let mut blocks: Vec<_> = sizes.into_iter().map(one).collect();
    heap.page_heap().while_first_is_kept(|| {
        blocks.extend(sizes.into_iter().map(one));
        // Those from before among them.
        blocks.drain(..).for_each(|block| block.dealloc(&heap, &slot));
    });
    heap.check();
    finish(&heap, &[slot]);
}

#[test]
fn a_batch_goes_to_another_arenas_depot_while_somebody_keeps_its_own() {
    let heap = timeless(TestSource::new(), 2);
    let slots = [ThreadSlot::new(), ThreadSlot::new()];
    let alloc = |slot| Block::alloc(&heap, slot, layout(BYTES, 1), 1).expect("memory");
    let other = alloc(&slots[1]);
    let blocks: Vec<_> = (0..300).map(|_| alloc(&slots[0])).collect();
    let stocked = |arena| heap.arenas().get(arena).expect("open").snapshot(class()).depot_blocks;
    assert_eq!((stocked(0), stocked(1)), (0, 0));
    let bin = heap.bin(0, class()).expect("open");
    let mut batch = [core::ptr::null_mut(); 8];
    let Refill::Got { count, .. } = bin.refill(&mut batch) else { panic!("no memory") };
    bin.while_kept(|| heap.flush(class(), &mut batch[..count]));
    assert_eq!((stocked(0), stocked(1)), (0, count));
    heap.check();
    blocks.into_iter().for_each(|block| block.dealloc(&heap, &slots[0]));
    other.dealloc(&heap, &slots[1]);
    finish(&heap, &slots);
}

#[test]
fn with_a_policy_of_the_programs_own_a_bin_is_waited_for() {
    let heap = timeless(TestSource::new(), 2);
    heap.set_policy(&PerThread);
    let slots = [ThreadSlot::new(), ThreadSlot::new()];
    let blocks = [0, 1]
        .map(|index| Block::alloc(&heap, &slots[index], layout(BYTES, 1), 1).expect("memory"));
    let bin = heap.bin(0, class()).expect("open");
    let kept = bin.keep();
    std::thread::scope(|scope| {
        let taken = scope.spawn(|| {
            let mut batch = [core::ptr::null_mut(); 8];
            let refill = heap.refill_from(&bin, &mut batch);
            let Refill::Got { count, .. } = refill else { panic!("{refill:?}") };
            let arena = heap.slab_of(batch[0], class()).expect("a block").arena();
            heap.put_back(class(), &mut batch[..count]);
            arena
        });
        std::thread::sleep(std::time::Duration::from_millis(20));
        drop(kept);
        assert_eq!(taken.join().unwrap(), 0);
    });
    for (block, slot) in blocks.into_iter().zip(&slots) {
        block.dealloc(&heap, slot);
    }
    finish(&heap, &slots);
}
