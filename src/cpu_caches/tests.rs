//! CPU caches without a heap behind them.

use super::record::{FULL_BYTES, START_BYTES};
use super::state::REFUSALS_AFTER_ONE;
use super::*;
use crate::counted_source::CountedSource;
use crate::metadata::Metadata;
use crate::test_source::TestSource;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

struct World {
    source: CountedSource<TestSource>,
    metadata: Metadata,
    budget: CacheBudget,
    caches: CpuCaches,
    /// Blocks that came back, as the numbers that stand for them.
    returned: std::cell::RefCell<Vec<usize>>,
}

impl World {
    fn new(budget_bytes: usize) -> World {
        World {
            source: CountedSource::new(TestSource::new()),
            metadata: Metadata::new(),
            budget: CacheBudget::new(budget_bytes),
            caches: CpuCaches::new(),
            returned: Default::default(),
        }
    }

    /// One on a processor that stays the same, where there are such caches.
    fn here(budget_bytes: usize) -> Option<World> {
        restartable::stay_here()?;
        let world = World::new(budget_bytes);
        world.budget.set_crowd(1);
        world.budget.set_active_caches(2);
        Some(world)
    }

    fn magazines(&self) -> Magazines<'_, TestSource> {
        Magazines { metadata: &self.metadata, source: &self.source, budget: &self.budget }
    }

    fn grow(&self, class: SizeClass) {
        self.caches.grow(class, &self.magazines());
        self.caches.check(&self.budget);
    }

    fn put(&self, class: SizeClass, count: usize) -> usize {
        let blocks: Vec<_> = (1..=count).map(core::ptr::without_provenance_mut).collect();
        // SAFETY: numbers stand for blocks, into which nobody looks.
        unsafe { self.caches.put(class, &blocks) }
    }

    fn take(&self, class: SizeClass, most: usize) -> Vec<usize> {
        let mut blocks = vec![core::ptr::null_mut(); most];
        let count = self.caches.take(class, &mut blocks);
        blocks[..count].iter().map(|block: &*mut u8| block.addr()).collect()
    }

    fn put_back(&self, _: SizeClass, blocks: &mut [*mut u8]) {
        self.returned.borrow_mut().extend(blocks.iter().map(|block| block.addr()));
    }

    fn drain(&self) -> usize {
        self.caches.drain(&self.budget, |class, blocks| self.put_back(class, blocks))
    }

    fn settle(&self) -> bool {
        self.caches.settle(&self.budget, |class, blocks| self.put_back(class, blocks))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.drain();
            self.caches.check(&self.budget);
            assert_eq!(self.budget.lent_bytes(), 0, "what was borrowed came back");
            // SAFETY: nobody else has this world.
            unsafe { self.caches.release(&self.magazines()) };
            self.metadata.release_empty(&self.source);
        }
    }
}

fn class_of(size: usize) -> SizeClass {
    SizeClass::of(size, 1).expect("a small size")
}

/// Has the stack of a class hold as much as it ever may; answers each bound that it came to have.
fn grow_fully(world: &World, class: SizeClass) -> Vec<usize> {
    let mut bounds = Vec::new();
    loop {
        world.grow(class);
        let bound = world.put(class, 2 * BLOCKS_MAX);
        world.take(class, bound);
        if bounds.last() == Some(&bound) {
            return bounds;
        }
        bounds.push(bound);
    }
}

#[test]
fn there_is_nothing_until_one_is_made() {
    let world = World::new(1 << 20);
    assert_eq!((world.put(class_of(48), 3), world.take(class_of(48), 3)), (0, vec![]));
    assert_eq!((world.caches.batch(class_of(48)), world.drain(), world.settle()), (0, 0, false));
    assert_eq!(world.source.mapped_bytes(), 0);
}

#[test]
fn stacks_grow_where_they_turned_blocks_away_from_a_few_to_their_most() {
    let Some(world) = World::here(usize::MAX) else { return };
    for class in SizeClass::all() {
        let bounds = grow_fully(&world, class);
        let bytes = class.block_bytes();
        assert_eq!(bounds[0], (START_BYTES / bytes).clamp(2, 16));
        assert_eq!(bounds.last(), Some(&(FULL_BYTES / bytes).clamp(2, 64)));
        let doubles = |pair: &[usize]| pair[1] == (2 * pair[0]).min(FULL.of(class));
        assert!(bounds.windows(2).all(doubles), "{bounds:?}");
        assert_eq!(world.caches.batch(class), bounds.last().unwrap().div_ceil(2));
    }
}

#[test]
fn one_that_had_room_stays_as_it_is() {
    let Some(world) = World::here(1 << 20) else { return };
    let class = class_of(100);
    world.grow(class);
    assert_eq!(world.put(class, 5), 5);
    assert_eq!(world.take(class, 9), [5, 4, 3, 2, 1]);
    let lent_bytes = world.budget.cpu_lent_bytes();
    world.grow(class);
    assert_eq!((world.budget.cpu_lent_bytes(), lent_bytes), (lent_bytes, 16 * 104));
    assert_eq!(world.put(class, 17), 16, "now it turns one away");
    world.grow(class);
    assert_eq!(world.budget.cpu_lent_bytes(), 2 * lent_bytes);
}

#[test]
fn they_hold_no_more_than_their_part_of_the_budget_and_what_others_left_of_it() {
    let Some(world) = World::here(100_000) else { return };
    let class = class_of(8000);
    assert_eq!(grow_fully(&world, class), [4], "8 of them would be more than half");
    assert!(world.budget.cpu_lent_bytes() <= 50_000);
    assert!(world.budget.borrow_bytes(50_000, true) && world.budget.borrow_bytes_for_depot(15_000));
    world.grow(class_of(3000));
    assert_eq!(world.put(class_of(3000), 1), 0);
    world.budget.return_bytes(50_000);
    world.budget.return_bytes_of_depot(15_000);
    world.grow(class_of(1000));
    assert_eq!(world.put(class_of(1000), 20), 16);
}

#[test]
fn a_drain_gives_back_blocks_and_room() {
    let Some(world) = World::here(1 << 20) else { return };
    let (small, large) = (class_of(64), class_of(10_000));
    world.grow(small);
    world.grow(large);
    world.put(small, 4);
    world.put(large, 2);
    let mut seen = 0;
    world.caches.for_each_block(|_, _| seen += 1);
    let counts = world.caches.count_blocks();
    assert_eq!((seen, counts[small.index()], counts[large.index()]), (6, 4, 2));
    assert_eq!(world.drain(), 4 * 64 + 2 * large.block_bytes());
    assert_eq!(*world.returned.borrow(), [1, 2, 3, 4, 1, 2]);
    assert_eq!((world.budget.cpu_lent_bytes(), world.put(small, 1)), (0, 0));
    assert_eq!((world.caches.batch(small), world.drain()), (0, 0));
    world.grow(small);
    assert_eq!((world.put(small, 1), world.take(small, 2)), (1, vec![1]));
}

#[test]
fn what_nobody_touched_for_a_period_goes_and_the_rest_stays() {
    let Some(world) = World::here(1 << 20) else { return };
    let (used, left) = (class_of(64), class_of(200));
    world.grow(used);
    world.grow(left);
    world.put(used, 4);
    world.put(left, 3);
    assert!(world.settle(), "nothing has lain there for a period yet");
    assert!(world.returned.borrow().is_empty());
    world.take(used, 1);
    assert!(world.settle());
    assert_eq!(*world.returned.borrow(), [1, 2, 3]);
    assert_eq!(world.budget.cpu_lent_bytes(), 16 * 64);
    assert!(!world.settle(), "the other one has lain there by now");
    assert_eq!(*world.returned.borrow(), [1, 2, 3, 1, 2, 3]);
    assert_eq!(world.budget.cpu_lent_bytes(), 0);
    // What is emptied and filled anew is not taken for what lay there before.
    world.grow(left);
    world.put(left, 3);
    assert!(world.settle());
    assert_eq!(world.returned.borrow().len(), 6);
}

#[test]
fn those_that_grow_leave_room_for_those_that_have_yet_to_begin() {
    // Half of it is for them, and half of that for growth.
    let Some(world) = World::here(1 << 20) else { return };
    assert_eq!(grow_fully(&world, class_of(32 << 10)), [2, 4, 8]);
    world.grow(class_of(4000));
    assert_eq!(world.put(class_of(4000), 20), START.of(class_of(4000)));
}

#[test]
fn what_is_left_of_a_crowd_that_is_gone_goes_also_where_it_is_in_use() {
    let Some(world) = World::here(1 << 20) else { return };
    world.grow(class_of(64));
    world.put(class_of(64), 4);
    assert!(world.settle());
    world.budget.set_active_caches(1);
    world.take(class_of(64), 1);
    assert!(!world.settle());
    assert_eq!(*world.returned.borrow(), [1, 2, 3]);
    assert_eq!(world.budget.cpu_lent_bytes(), 0);
}

#[test]
fn threads_find_the_other_stacks_while_blocks_are_put_back() {
    let Some(world) = World::here(1 << 20) else { return };
    let (used, left) = (class_of(64), class_of(200));
    world.grow(left);
    world.put(left, 3);
    world.settle();
    world.grow(used);
    world.put(used, 4);
    let mut seen = Vec::new();
    let back = |class, blocks: &mut [*mut u8]| {
        world.put_back(class, blocks);
        seen.push((world.take(used, 1), world.take(left, 1), world.put(left, 1)));
    };
    assert!(world.caches.settle(&world.budget, back));
    assert_eq!(
        seen,
        [(vec![4], vec![], 0)],
        "and nothing comes or goes in the one that is emptied"
    );
}

#[test]
fn without_memory_there_are_none_and_nothing_is_lost() {
    for calls in 0..3 {
        let Some(world) = World::here(1 << 20) else { return };
        world.source.inner().set_calls_left(calls);
        world.grow(class_of(64));
        let had = world.put(class_of(64), 1);
        world.source.inner().set_calls_left(usize::MAX);
        // Not asked again at once.
        for _ in 0..REFUSALS_AFTER_ONE {
            world.grow(class_of(64));
            assert_eq!(world.put(class_of(64), 0), 0);
        }
        world.grow(class_of(64));
        assert_eq!(world.put(class_of(64), 1), 1, "after {calls} calls, then one more");
        assert_eq!(world.take(class_of(64), 9).len(), had + 1);
    }
}

/// Numbers that stand for blocks go round among threads, while another empties the caches all the
/// time: so sequences begin anew, and often find nothing the second time.
#[test]
fn a_block_is_in_one_hand_however_often_the_caches_are_emptied() {
    if !restartable::is_available() {
        return;
    }
    const BLOCKS: usize = 4;
    const ROUNDS: usize = 10_000;
    let (source, metadata) = (CountedSource::new(TestSource::new()), Metadata::new());
    let (budget, caches, class) = (CacheBudget::new(1 << 20), CpuCaches::new(), class_of(64));
    budget.set_crowd(1);
    budget.set_active_caches(2);
    let magazines = || Magazines { metadata: &metadata, source: &source, budget: &budget };
    let is_out = [const { AtomicBool::new(false) }; BLOCKS + 1];
    let at_hand = Mutex::new((1..=BLOCKS).collect::<Vec<_>>());
    let is_over = AtomicBool::new(false);
    let put = |number: usize| {
        // SAFETY: numbers stand for blocks, into which nobody looks.
        if unsafe { caches.put(class, &[core::ptr::without_provenance_mut(number)]) } == 0 {
            caches.grow(class, &magazines());
            at_hand.lock().unwrap().push(number);
        }
    };
    let pass_on = || {
        while !is_over.load(Relaxed) {
            let Some(block) = caches.take_one(class) else {
                let number = at_hand.lock().unwrap().pop();
                number.into_iter().for_each(put);
                continue;
            };
            let number = block.addr().get();
            assert!(!is_out[number].swap(true, Acquire), "{number} is in two hands");
            is_out[number].store(false, Release);
            put(number);
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..2).map(|_| scope.spawn(pass_on)).collect();
        for _ in 0..ROUNDS {
            caches.drain(&budget, |_, blocks| {
                at_hand.lock().unwrap().extend(blocks.iter().map(|block| block.addr()));
            });
            if threads.iter().any(|thread| thread.is_finished()) {
                break;
            }
            // So that blocks have gone round for a while when the next fence comes.
            (0..2000).for_each(|_| core::hint::spin_loop());
        }
        is_over.store(true, Relaxed);
    });
    caches.drain(&budget, |_, blocks| {
        at_hand.lock().unwrap().extend(blocks.iter().map(|block| block.addr()));
    });
    let mut found = at_hand.into_inner().unwrap();
    found.sort_unstable();
    assert_eq!(found, (1..=BLOCKS).collect::<Vec<_>>());
    // SAFETY: no thread uses the caches any more.
    unsafe { caches.release(&magazines()) };
    metadata.release_empty(&source);
}
