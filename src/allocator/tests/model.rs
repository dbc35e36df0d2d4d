//! The heap against what should be live, under calls of three threads in any order.

use proptest::prelude::*;
use proptest::sample::Index;

use super::{
    Allocator, Block, Route, TestSource, ThreadSlot, finish, layout, threads_of_arenas, timeless,
};
use crate::page_heap::PageHeap;
use crate::span::SpanKind;
use crate::stats::Stats;
use crate::thread_cache::ThreadState;
use crate::units::{PAGE_BYTES, Pages};

const SLOTS: usize = 3;

#[derive(Clone, Debug)]
enum Action {
    Alloc { slot: usize, size: usize, align: usize, is_zeroed: bool },
    AllocMany { slot: usize, size: usize, count: usize },
    Free { slot: usize, chosen: Index },
    FreeMany { slot: usize, count: usize },
    Realloc { slot: usize, chosen: Index, size: usize },
    Detach { slot: usize },
    Trim { slot: usize },
    TrimArena { arena: usize },
    Reclaim,
    Decay,
    WarmUp { slot: usize },
    Thaw,
    Fork { slot: usize },
    SetArenaMax { count: usize },
}

fn sizes() -> impl Strategy<Value = usize> {
    prop_oneof![
        12 => 0..1200_usize,
        6 => 1200..40_000_usize,
        // Few lengths of those that caches take, so that what was freed is wanted again.
        3 => prop::sample::select(vec![9 * PAGE_BYTES, 20 * PAGE_BYTES, 64 * PAGE_BYTES]),
        2 => 40_000..1_000_000_usize,
        1 => (2_usize << 20) - 8000..4_usize << 20,
    ]
}

fn calls() -> impl Strategy<Value = Action> {
    let align = prop_oneof![6 => Just(1_usize), 1 => (0..=14_u32).prop_map(|shift| 1 << shift)];
    let (slot, chosen) = (|| 0..SLOTS, any::<Index>);
    prop_oneof![
        6 => (slot(), sizes(), align, any::<bool>()).prop_map(|(slot, size, align, is_zeroed)| {
            Action::Alloc { slot, size, align, is_zeroed }
        }),
        3 => (slot(), 0..3000_usize, 1..600_usize)
            .prop_map(|(slot, size, count)| Action::AllocMany { slot, size, count }),
        5 => (slot(), chosen()).prop_map(|(slot, chosen)| Action::Free { slot, chosen }),
        3 => (slot(), 1..600_usize).prop_map(|(slot, count)| Action::FreeMany { slot, count }),
        3 => (slot(), chosen(), sizes())
            .prop_map(|(slot, chosen, size)| Action::Realloc { slot, chosen, size }),
    ]
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let slot = || 0..SLOTS;
    let action = prop_oneof![
        14 => calls(),
        2 => slot().prop_map(|slot| Action::Detach { slot }),
        1 => slot().prop_map(|slot| Action::Trim { slot }),
        1 => (0..4_usize).prop_map(|arena| Action::TrimArena { arena }),
        1 => Just(Action::Reclaim),
        2 => Just(Action::Decay),
        1 => slot().prop_map(|slot| Action::WarmUp { slot }),
        1 => Just(Action::Thaw),
        1 => slot().prop_map(|slot| Action::Fork { slot }),
        2 => (1..5_usize).prop_map(|count| Action::SetArenaMax { count }),
    ];
    prop::collection::vec(action, 1..60)
}

/// The heap, and the blocks that should be live.
struct Pair<'heap> {
    heap: &'heap Allocator<TestSource>,
    slots: [Box<ThreadSlot>; SLOTS],
    blocks: Vec<Block>,
    now: u64,
    descriptors_bytes: usize,
}

impl Pair<'_> {
    fn apply(&mut self, action: &Action) {
        match action {
            Action::Alloc { slot, size, align, is_zeroed } => {
                self.alloc(*slot, *size, *align, *is_zeroed);
            }
            Action::AllocMany { slot, size, count } => {
                (0..*count).for_each(|_| self.alloc(*slot, *size, 1, false));
            }
            Action::FreeMany { slot, count } => {
                (0..*count).for_each(|_| self.free(*slot, self.blocks.len().wrapping_sub(1)));
            }
            Action::Free { slot, chosen } if !self.blocks.is_empty() => {
                self.free(*slot, chosen.index(self.blocks.len()));
            }
            Action::Realloc { slot, chosen, size } if !self.blocks.is_empty() => {
                let block = self.blocks.swap_remove(chosen.index(self.blocks.len()));
                self.blocks.push(block.realloc(self.heap, &self.slots[*slot], *size).unwrap());
            }
            Action::Free { .. } | Action::Realloc { .. } => {}
            other => self.maintain(other),
        }
    }

    fn maintain(&mut self, action: &Action) {
        match action {
            Action::Detach { slot } => {
                self.heap.detach(&self.slots[*slot]);
                // The thread ended; another one comes in its place.
                *self.slots[*slot] = ThreadSlot::new();
            }
            Action::Trim { slot } => {
                self.heap.trim(&self.slots[*slot]);
                let stats = self.heap.stats();
                assert_eq!((stats.dirty_bytes, stats.depot_bytes), (0, 0));
                assert_eq!((stats.thread_cache_bytes, self.heap.budget().lent_bytes()), (0, 0));
                assert_eq!((stats.cpu_cache_bytes, stats.cpu_cache_lent_bytes), (0, 0));
                assert_eq!(self.heap.caches().lock().parked_count(), 0);
            }
            Action::WarmUp { slot } => {
                self.heap.warm_up(&self.slots[*slot]);
            }
            Action::Thaw => {
                self.heap.thaw();
            }
            Action::Fork { slot } => self.fork(*slot),
            Action::TrimArena { arena } => {
                let is_open = *arena < self.heap.arenas().open();
                assert_eq!(self.heap.trim_arena(*arena).is_some(), is_open);
            }
            Action::Reclaim => {
                self.heap.reclaim_all();
            }
            Action::SetArenaMax { count } => self.heap.set_arena_max(*count).unwrap(),
            _ => self.decay(),
        }
    }

    /// Goes on as the child that a thread forks, which lacks the others; their blocks stay live.
    fn fork(&mut self, forking: usize) {
        self.heap.prepare_fork();
        // SAFETY: the locks were just taken, in this thread.
        unsafe { self.heap.finish_fork() };
        self.heap.note_child(&self.slots[forking]);
        for (_, slot) in self.slots.iter_mut().enumerate().filter(|(index, _)| *index != forking) {
            **slot = ThreadSlot::new();
        }
        self.heap.adopt_orphans();
    }

    fn alloc(&mut self, slot: usize, size: usize, align: usize, is_zeroed: bool) {
        let byte = self.blocks.len() as u8 | 1;
        let alloc = if is_zeroed { Block::alloc_zeroed } else { Block::alloc };
        self.blocks.push(alloc(self.heap, &self.slots[slot], layout(size, align), byte).unwrap());
    }

    fn free(&mut self, slot: usize, index: usize) {
        if index < self.blocks.len() {
            self.blocks.swap_remove(index).dealloc(self.heap, &self.slots[slot]);
        }
    }

    fn decay(&mut self) {
        self.now += 1000;
        self.heap.decay().set_milliseconds(1000);
        self.heap.tick(self.now);
        self.heap.decay().set_milliseconds(-1);
    }

    fn check(&self) {
        self.heap.check();
        let stats = self.heap.stats();
        let counted = self.blocks.iter().map(|block| block.counted_bytes(self.heap));
        assert_eq!(stats.allocated_bytes, counted.sum::<usize>());
        let huge = self.blocks.iter().filter(|block| Route::of(block.layout) == Route::Huge);
        assert_eq!(stats.huge_count, huge.count());
        assert!(stats.thread_cache_bytes <= stats.cache_lent_bytes);
        assert!(stats.cache_lent_bytes <= stats.cache_budget_bytes);
        assert!(stats.cpu_cache_bytes <= stats.cpu_cache_lent_bytes);
        let borrowed_bytes: usize =
            self.heap.caches().lock().iter().map(|cache| cache.borrowed_bytes()).sum();
        assert_eq!(stats.cache_lent_bytes, borrowed_bytes);
        assert!(self.heap.budget().lent_bytes() <= stats.cache_budget_bytes);
        let states = self.slots.iter().filter(|slot| slot.state() == ThreadState::Attached);
        assert_eq!(stats.threads, states.count());
        assert_eq!(threads_of_arenas(self.heap), stats.threads);
        assert!(stats.arenas.len() <= stats.arena_max);
        assert!(stats.allocated_bytes <= stats.active_bytes + stats.retained_bytes);
        assert!(stats.resident_bytes <= stats.mapped_bytes);
        self.check_limits(&stats);
    }

    /// What the limits are held against must be what there is, to the byte.
    fn check_limits(&self, stats: &Stats) {
        let source = self.heap.page_heap().source();
        assert_eq!(source.limits().mapped_bytes(), source.inner().outstanding_bytes());
        let descriptors_bytes = stats.segments * self.descriptors_bytes;
        let records_bytes = self.heap.metadata().resident_bytes() + descriptors_bytes;
        let pages_bytes = stats.active_bytes + stats.dirty_bytes;
        assert_eq!(source.limits().resident_bytes(), pages_bytes + records_bytes);
    }
}

/// What the limits count for the descriptors of one segment.
fn descriptors_bytes() -> usize {
    let heap = Box::new(PageHeap::new(TestSource::new()));
    heap.take(Pages::new(1), 1, SpanKind::Large).unwrap();
    let counted_bytes = heap.source().limits().resident_bytes() - PAGE_BYTES;
    // SAFETY: the page was taken for the count alone.
    unsafe { heap.unmap_all() };
    counted_bytes
}

fn run(budget_bytes: usize, actions: &[Action]) {
    let heap = timeless(TestSource::new(), 2);
    heap.budget().set_limit_bytes(Some(budget_bytes));
    // In use with the smaller budgets, which are too little for a share of use.
    heap.use_cpu_caches();
    let slots = core::array::from_fn(|_| Box::new(ThreadSlot::new()));
    let now = crate::os::clock::coarse_milliseconds();
    let descriptors_bytes = descriptors_bytes();
    let mut pair = Pair { heap: &heap, slots, blocks: Vec::new(), now, descriptors_bytes };
    for action in actions {
        pair.apply(action);
        pair.check();
    }
    pair.blocks.iter().for_each(Block::verify);
    while !pair.blocks.is_empty() {
        pair.free(pair.blocks.len() % SLOTS, 0);
    }
    pair.slots.iter().for_each(|slot| heap.detach(slot));
    finish(&heap, &[]);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 48,
        max_shrink_time: 20_000,
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn any_calls_of_three_threads_leave_a_sound_heap_and_every_byte_in_its_block(
        budget_bytes in prop::sample::select(vec![0_usize, 6000, 100_000, 16 << 20]),
        actions in actions(),
    ) {
        run(budget_bytes, &actions);
    }
}
