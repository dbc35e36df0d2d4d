//! Policies at work on a heap: what they may do, and where threads end up.

use core::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use super::{
    Allocator, Block, TestSource, ThreadSlot, churn, finish, layout, threads_of_arenas, timeless,
};
use crate::arena::policy::{ArenaPolicy, ArenaView, OnContention, PerCpu};
use crate::os::OsPages;

#[test]
fn the_policies_at_hand_keep_to_the_cap_and_count_their_threads() {
    for policy in [&OnContention as &'static dyn ArenaPolicy, &PerCpu] {
        let heap = timeless(TestSource::new(), 2);
        heap.set_policy(policy);
        let slots = [const { ThreadSlot::new() }; 4];
        slots.iter().for_each(|slot| churn(&heap, slot));
        assert!((1..=2).contains(&heap.arenas().open()));
        assert_eq!(threads_of_arenas(&heap), 4);
        finish(&heap, &slots);
    }
}

/// Sends a thread to the next arena at every refill.
struct Restless;

impl ArenaPolicy for Restless {
    fn assign(&self, _arenas: &ArenaView<'_>) -> usize {
        0
    }

    fn reassign(&self, arenas: &ArenaView<'_>, current: usize, _: bool) -> Option<usize> {
        Some((current + 1) % arenas.cap())
    }
}

#[test]
fn a_thread_sent_around_takes_its_count_along() {
    let heap = timeless(TestSource::new(), 3);
    heap.set_policy(&Restless);
    let slots = [const { ThreadSlot::new() }; 2];
    for cap in [3, 1, 2] {
        heap.set_arena_max(cap).unwrap();
        slots.iter().for_each(|slot| churn(&heap, slot));
        let stats = heap.stats();
        assert_eq!((stats.arenas.len(), threads_of_arenas(&heap)), (cap, 2));
        let refills: Vec<_> = stats.arenas.iter().map(|arena| arena.refills).collect();
        assert!(refills.iter().all(|refills| *refills > 0), "each arena had its turn: {refills:?}");
    }
    finish(&heap, &slots);
}

/// A heap that a policy can reach, as a program's policy reaches the global one.
static HEAP: Allocator<OsPages> = Allocator::new(OsPages, 2);
static SLOT: ThreadSlot = ThreadSlot::new();

/// Allocates whenever it is asked, as a policy may.
struct Allocating {
    depth: AtomicUsize,
    asked: AtomicUsize,
}

impl Allocating {
    fn allocate(&self) {
        self.asked.fetch_add(1, SeqCst);
        let depth = self.depth.fetch_add(1, SeqCst);
        assert!(depth == 0, "a policy that allocates is asked again from within");
        let block = Block::alloc(&HEAP, &SLOT, layout(200, 1), 1).unwrap();
        block.dealloc(&HEAP, &SLOT);
        self.depth.fetch_sub(1, SeqCst);
    }
}

impl ArenaPolicy for Allocating {
    fn assign(&self, arenas: &ArenaView<'_>) -> usize {
        self.allocate();
        arenas.open()
    }

    fn reassign(&self, _arenas: &ArenaView<'_>, _current: usize, _: bool) -> Option<usize> {
        self.allocate();
        None
    }
}

#[test]
fn a_policy_may_allocate_also_before_there_is_any_arena() {
    static POLICY: Allocating =
        Allocating { depth: AtomicUsize::new(0), asked: AtomicUsize::new(0) };
    HEAP.set_policy(&POLICY);
    let one = |index| Block::alloc(&HEAP, &SLOT, layout(64, 1), index as u8).unwrap();
    let blocks: Vec<_> = (0..100).map(one).collect();
    assert!(POLICY.asked.load(SeqCst) > 1);
    HEAP.check();
    blocks.into_iter().for_each(|block| block.dealloc(&HEAP, &SLOT));
    finish(&HEAP, core::slice::from_ref(&SLOT));
}
