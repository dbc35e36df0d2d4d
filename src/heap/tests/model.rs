//! A heap on a fixed region against what should be live, under any calls.

use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::Index;

use super::{Block, layout};
use crate::fixed_region::FixedRegion;
use crate::fixed_region::tests::Memory;
use crate::heap::Heap;

#[derive(Clone, Debug)]
enum Action {
    Alloc { size: usize, align: usize, is_zeroed: bool },
    AllocMany { size: usize, count: usize },
    Free { chosen: Index },
    FreeMany { count: usize },
    Realloc { chosen: Index, size: usize },
    Trim,
    Replace,
}

fn sizes() -> impl Strategy<Value = usize> {
    prop_oneof![
        12 => 0..1200_usize,
        6 => 1200..40_000_usize,
        3 => 40_000..1_000_000_usize,
        3 => 1_000_000..6_000_000_usize,
    ]
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let align = prop_oneof![6 => Just(1_usize), 1 => (0..=22_u32).prop_map(|shift| 1 << shift)];
    let chosen = any::<Index>;
    let action = prop_oneof![
        6 => (sizes(), align, any::<bool>())
            .prop_map(|(size, align, is_zeroed)| Action::Alloc { size, align, is_zeroed }),
        3 => (0..3000_usize, 1..300_usize)
            .prop_map(|(size, count)| Action::AllocMany { size, count }),
        5 => chosen().prop_map(|chosen| Action::Free { chosen }),
        3 => (1..300_usize).prop_map(|count| Action::FreeMany { count }),
        4 => (chosen(), sizes()).prop_map(|(chosen, size)| Action::Realloc { chosen, size }),
        1 => Just(Action::Trim),
        1 => Just(Action::Replace),
    ];
    prop::collection::vec(action, 1..80)
}

struct Pair {
    heap: Heap<Arc<FixedRegion>>,
    blocks: Vec<Block>,
    byte: u8,
}

impl Pair {
    fn apply(&mut self, action: &Action, region: &Arc<FixedRegion>) {
        self.byte = self.byte.wrapping_add(1);
        match action {
            Action::Alloc { size, align, is_zeroed } => {
                let alloc = if *is_zeroed { Block::alloc_zeroed } else { Block::alloc };
                self.blocks.extend(alloc(&self.heap, layout(*size, *align), self.byte));
            }
            Action::AllocMany { size, count } => {
                let alloc = |_| Block::alloc(&self.heap, layout(*size, 1), self.byte);
                self.blocks.extend((0..*count).map_while(alloc));
            }
            Action::FreeMany { count } => {
                let left = self.blocks.len().saturating_sub(*count);
                self.blocks.drain(left..).for_each(|block| block.dealloc(&self.heap));
            }
            Action::Free { chosen } if !self.blocks.is_empty() => {
                let chosen = chosen.index(self.blocks.len());
                self.blocks.swap_remove(chosen).dealloc(&self.heap);
            }
            Action::Realloc { chosen, size } if !self.blocks.is_empty() => {
                let chosen = chosen.index(self.blocks.len());
                self.blocks[chosen].realloc(&self.heap, *size);
            }
            Action::Trim => drop(self.heap.trim()),
            Action::Replace => self.replace(region),
            Action::Free { .. } | Action::Realloc { .. } => {}
        }
    }

    /// Drops the heap with all of its blocks, and goes on with another on the same region.
    fn replace(&mut self, region: &Arc<FixedRegion>) {
        self.blocks.clear();
        let Ok(next) = Heap::with_source(Arc::clone(region)) else { return };
        self.heap = next;
    }

    fn check(&self) {
        self.heap.check();
        let live_bytes: usize = self.blocks.iter().map(|block| block.layout.size()).sum();
        let stats = self.heap.stats();
        assert!(stats.allocated_bytes >= live_bytes);
        let free_bytes = self.heap.source().free_bytes();
        assert_eq!(stats.mapped_bytes, self.heap.source().bytes() - free_bytes);
        assert!(self.blocks.iter().all(|block| self.heap.owns(block.base.as_ptr())));
    }
}

fn run(actions: &[Action]) {
    let memory = Memory::new(16 << 20, 1 << 16, 0xA5);
    let region = Arc::new(memory.region().expect("a region of 16 MiB"));
    let heap = Heap::with_source(Arc::clone(&region)).expect("a heap in an empty region");
    let mut pair = Pair { heap, blocks: Vec::new(), byte: 0 };
    for action in actions {
        pair.apply(action, &region);
        pair.check();
    }
    pair.blocks.iter().for_each(|block| block.verify(block.layout.size()));
    pair.blocks.drain(..).for_each(|block| block.dealloc(&pair.heap));
    pair.heap.trim();
    // However full it was, and whatever it was used for: half of it is one block again. But the record
    // of a heap that was made beside a full one may lie in the midst of the region, as long as it lives.
    if !actions.iter().any(|action| matches!(action, Action::Replace)) {
        alloc_half(&pair.heap);
    }
    drop(pair);
    assert_eq!(region.free_bytes(), region.bytes());
    alloc_half(&Heap::with_source(region).expect("a heap in a region that is empty again"));
}

fn alloc_half(heap: &Heap<Arc<FixedRegion>>) {
    let half = Block::alloc(heap, layout(8 << 20, 1), 1).expect("half of the region");
    half.dealloc(heap);
}

#[test]
fn a_heap_made_beside_a_full_one_outlives_it() {
    use Action::{Alloc, AllocMany, Replace};
    let alloc = |size| Alloc { size, align: 1, is_zeroed: false };
    run(&[
        alloc(3_942_287),
        alloc(128_751),
        AllocMany { size: 730, count: 299 },
        alloc(2_859_282),
        alloc(4_948_181),
        AllocMany { size: 2442, count: 235 },
        Replace,
        alloc(3_942_287),
    ]);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 24,
        max_shrink_time: 20_000,
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn any_calls_leave_a_sound_heap_in_a_region_that_fills_up(actions in actions()) {
        run(&actions);
    }
}

#[test]
fn a_full_region_gives_none_and_recovers() {
    for size in [16, 1000, 20_000, 300_000, 3 << 20] {
        let memory = Memory::new(16 << 20, 1 << 16, 0xA5);
        let heap = Heap::with_source(memory.region().unwrap()).unwrap();
        for _ in 0..2 {
            let alloc = || Block::alloc(&heap, layout(size, 1), size as u8);
            let mut blocks: Vec<_> = core::iter::from_fn(alloc).collect();
            let most_bytes = blocks.len() * size;
            assert!(most_bytes >= 6 << 20, "{size}: only {most_bytes} of 16 MiB were had");
            heap.check();
            blocks.drain(..1).for_each(|block| block.dealloc(&heap));
            blocks.push(alloc().expect("what was freed can be had again"));
            blocks.into_iter().for_each(|block| block.dealloc(&heap));
        }
        // What many small blocks took serves one large block, and the other way.
        assert!(Block::alloc(&heap, layout(5 << 20, 1), 1).is_some());
    }
}
