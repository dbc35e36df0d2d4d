//! What a forked child makes of what its parent's other threads had in hand.

use core::ptr::NonNull;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use super::{Block, PageSource, TestSource, ThreadSlot, finish, layout, timeless};

const LARGE: usize = 200 << 10;
const HUGE: usize = 8 << 20;

/// A source of which one purge never returns, as that of a thread that stayed with the parent, or
/// takes until it is told, as one that unmaps may.
struct SlowSource {
    inner: TestSource,
    loses_one: AtomicBool,
    holds_one: AtomicBool,
    holds_unmap: AtomicBool,
    held: Barrier,
}

impl SlowSource {
    fn new() -> SlowSource {
        SlowSource {
            inner: TestSource::new(),
            loses_one: AtomicBool::new(false),
            holds_one: AtomicBool::new(false),
            holds_unmap: AtomicBool::new(false),
            held: Barrier::new(2),
        }
    }

    /// Waits twice where that is asked for: to tell that it is there, and to be told to go on.
    fn hold_if(&self, is_asked: &AtomicBool) {
        if is_asked.swap(false, SeqCst) {
            self.held.wait();
            self.held.wait();
        }
    }
}

// SAFETY: all memory is the inner source's, which keeps the contract.
unsafe impl PageSource for SlowSource {
    fn map(&self, bytes: usize, align: usize) -> Option<NonNull<u8>> {
        self.inner.map(bytes, align)
    }

    unsafe fn unmap(&self, base: NonNull<u8>, bytes: usize) {
        self.hold_if(&self.holds_unmap);
        // SAFETY: the caller's promise is the one asked for.
        unsafe { self.inner.unmap(base, bytes) };
    }

    unsafe fn purge(&self, base: NonNull<u8>, bytes: usize) -> bool {
        if self.loses_one.swap(false, SeqCst) {
            resume_unwind(Box::new("stays with the parent"));
        }
        self.hold_if(&self.holds_one);
        // SAFETY: the caller's promise is the one asked for.
        unsafe { self.inner.purge(base, bytes) }
    }
}

#[test]
fn a_child_takes_over_what_its_parent_was_purging_and_not_what_it_purges_itself() {
    let heap = timeless(SlowSource::new(), 1);
    let source = heap.page_heap().source().inner();
    // Freed spans go straight to the page heap.
    heap.budget().set_limit_bytes(Some(0));
    let slots = [ThreadSlot::new(), ThreadSlot::new()];
    let mut large: Vec<_> =
        (0..4).map(|_| Block::alloc(&heap, &slots[0], layout(LARGE, 1), 1).unwrap()).collect();

    large.remove(0).dealloc(&heap, &slots[0]);
    source.loses_one.store(true, SeqCst);
    assert!(catch_unwind(AssertUnwindSafe(|| heap.page_heap().purge_dirty())).is_err());
    heap.note_child(&slots[0]);

    // Not beside the first, with which it would be joined.
    large.remove(1).dealloc(&heap, &slots[0]);
    source.holds_one.store(true, SeqCst);
    let small = std::thread::scope(|scope| {
        let purge = scope.spawn(|| heap.page_heap().purge_dirty());
        source.held.wait();
        let small = Block::alloc(&heap, &slots[1], layout(100, 1), 1);
        source.held.wait();
        assert_eq!(purge.join().unwrap(), 2 * LARGE, "the parent's is dirty, and purged too");
        small.unwrap()
    });
    heap.check();
    small.dealloc(&heap, &slots[1]);
    large.into_iter().for_each(|block| block.dealloc(&heap, &slots[0]));
    finish(&heap, &slots);
}

#[test]
fn a_fork_waits_for_a_mapping_that_is_given_back() {
    let heap = timeless(SlowSource::new(), 1);
    let source = heap.page_heap().source().inner();
    let slot = ThreadSlot::new();
    let block = |index| Block::alloc(&heap, &slot, layout(HUGE, 1), index).unwrap();
    [block(0), block(1)].into_iter().for_each(|block| block.dealloc(&heap, &slot));
    source.holds_unmap.store(true, SeqCst);
    let has_forked = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let release = scope.spawn(|| heap.release_huge(0));
        source.held.wait();
        let kept_bytes = heap.huge().stats().cached_bytes;
        scope.spawn(|| {
            heap.prepare_fork();
            has_forked.store(true, SeqCst);
            // SAFETY: this thread has just taken the locks.
            unsafe { heap.finish_fork() };
        });
        // Long enough for one that does not wait.
        std::thread::sleep(core::time::Duration::from_millis(50));
        let was_early = has_forked.load(SeqCst);
        source.held.wait();
        assert_eq!(release.join().unwrap(), 2 * HUGE);
        assert!(!was_early);
        assert_eq!(kept_bytes, HUGE, "the other was where a child would find it");
    });
    assert!(has_forked.load(SeqCst));
    finish(&heap, &[slot]);
}

#[test]
fn a_child_counts_the_threads_that_it_has() {
    let heap = timeless(TestSource::new(), 2);
    let mut slots = [ThreadSlot::new(), ThreadSlot::new(), ThreadSlot::new()];
    let threads = || {
        let arenas = heap.arenas();
        [0, 1].map(|index| arenas.get(index).unwrap().threads())
    };
    for slot in &slots {
        Block::alloc(&heap, slot, layout(100, 1), 1).unwrap().dealloc(&heap, slot);
    }
    assert_eq!(threads(), [2, 1]);
    // The fork found one thread before it had its cache, and another that had left an arena and
    // not yet said so.
    heap.arenas().get(1).unwrap().join();
    heap.arenas().get(0).unwrap().join();
    heap.note_child(&slots[0]);
    assert_eq!(threads(), [2, 1], "those left behind count until their caches are taken over");
    heap.adopt_orphans();
    assert_eq!(threads(), [1, 0]);
    slots[1..].fill_with(ThreadSlot::new);
    finish(&heap, &slots);
}
