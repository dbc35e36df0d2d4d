//! A page source that fails at any one step, or from that step on, breaks nothing, nor do limits.

use super::faulty_source::FaultySource;
use super::{Allocator, Block, SizeClass, ThreadSlot, finish, layout, timeless};
use crate::arena::policy::PerThread;
use crate::limits::Limit;

const SLOTS: usize = 4;

/// Refused steps after which a run looks at the whole heap and every block; the rest are looked at
/// once it is over, so that a source refusing everything does not take all day.
const LOOKS_MAX: usize = 6;

/// Refusals after which a run of allocations is given up: each refusal costs a trim of everything.
const REFUSALS_MAX: usize = 4;

/// Refusals during one call that excuse its giving none: one where no trim could help.
const EXCUSE: usize = 1;

/// A workload in progress on a heap whose source may fail.
struct Player<'heap> {
    heap: &'heap Allocator<FaultySource>,
    slots: &'heap [ThreadSlot; SLOTS],
    blocks: Vec<Block>,
    looks: usize,
    now: u64,
}

impl Player<'_> {
    /// How often the source or a limit refused something.
    fn refusals(&self) -> usize {
        let source = self.heap.page_heap().source();
        let (by_address_space, by_resident) = source.limits().refusals();
        source.inner().refused() + by_address_space + by_resident
    }

    /// Does a part of the workload; where the source refused something, looks at everything.
    fn observe<T>(&mut self, part: impl FnOnce(&mut Self) -> T) -> T {
        let refused = self.refusals();
        let outcome = part(self);
        if self.refusals() != refused && self.looks < LOOKS_MAX {
            self.looks += 1;
            self.look();
        }
        outcome
    }

    fn look(&self) {
        self.heap.check();
        self.blocks.iter().for_each(Block::verify);
    }

    /// Keeps a block, or sees that there was a reason for there being none; answers which.
    fn keep(&mut self, ask: impl FnOnce(&Self, u8) -> Option<Block>) -> bool {
        self.observe(|player| {
            let excuse = player.refusals() + EXCUSE;
            let block = ask(player, player.blocks.len() as u8 | 1);
            let is_excused = player.refusals() >= excuse;
            assert!(block.is_some() || is_excused, "none, without a reason");
            let is_kept = block.is_some();
            player.blocks.extend(block);
            is_kept
        })
    }

    fn alloc(&mut self, slot: usize, size: usize, align: usize) -> bool {
        let layout = layout(size, align);
        self.keep(|player, byte| Block::alloc(player.heap, &player.slots[slot], layout, byte))
    }

    /// Allocates blocks on these slots and of these sizes, until a few were refused.
    fn alloc_many(&mut self, requests: impl Iterator<Item = (usize, usize)>) {
        let mut refusals = 0;
        for (slot, size) in requests {
            refusals += usize::from(!self.alloc(slot, size, 1));
            if refusals == REFUSALS_MAX {
                return;
            }
        }
    }

    fn alloc_zeroed(&mut self, slot: usize, size: usize, align: usize) {
        let layout = layout(size, align);
        self.keep(|player, byte| {
            Block::alloc_zeroed(player.heap, &player.slots[slot], layout, byte)
        });
    }

    /// Resizes the newest block through all of these sizes; a refusal leaves it as it was.
    fn realloc(&mut self, slot: usize, sizes: &[usize]) {
        for size in sizes {
            let Some(block) = self.blocks.pop() else { return };
            self.observe(|player| {
                let excuse = player.refusals() + EXCUSE;
                let outcome = block.realloc(player.heap, &player.slots[slot], *size);
                let is_excused = player.refusals() >= excuse;
                assert!(outcome.is_ok() || is_excused, "not resized to {size} without a reason");
                player.blocks.push(outcome.unwrap_or_else(|block| block));
            });
        }
    }

    /// Frees the newest blocks but for `left` of them; a free can't fail, whatever the source does.
    fn dealloc_down_to(&mut self, slot: usize, left: usize) {
        while self.blocks.len() > left {
            let block = self.blocks.pop().expect("more than are left");
            self.observe(|player| block.dealloc(player.heap, &player.slots[slot]));
        }
    }

    fn set_arena_max(&mut self, count: usize) {
        self.observe(|player| player.heap.set_arena_max(count).expect("a cap in range"));
        assert!(self.heap.arenas().open() <= count);
    }

    /// Lets the periods pass after which all that lies unused goes back.
    fn decay(&mut self) {
        self.heap.decay().set_milliseconds(1000);
        // The first may only begin a period.
        for _ in 0..4 {
            self.now += 1000;
            self.observe(|player| player.heap.tick(player.now));
        }
        self.heap.decay().set_milliseconds(-1);
    }

    fn trim(&mut self, slot: usize) {
        self.observe(|player| player.heap.trim(&player.slots[slot]));
    }
}

/// The whole of the workload: every kind of call that asks the source for anything.
fn workload(player: &mut Player<'_>) {
    player.observe(|player| player.heap.set_policy(&PerThread));
    small_blocks_of_every_class(player);
    one_thread_frees_what_others_allocate(player);
    large_and_huge_blocks(player);
    resizing_in_all_directions(player);
    arenas_that_close_and_open(player);
    giving_back(player);
    threads_without_a_cache(player);
}

fn small_blocks_of_every_class(player: &mut Player<'_>) {
    player.alloc_many(SizeClass::all().map(|class| (class.index() % 2, class.block_bytes())));
    for class in SizeClass::all().step_by(8) {
        player.alloc_zeroed(0, class.block_bytes() - 1, 8);
    }
    player.alloc(0, 0, 1);
    player.alloc(1, 100, 4096);
}

fn one_thread_frees_what_others_allocate(player: &mut Player<'_>) {
    for (bytes, count) in [(64, 600), (1024, 100), (20_000, 20)] {
        let before = player.blocks.len();
        player.alloc_many((0..count).map(|index| (index % 2, bytes)));
        player.dealloc_down_to(2, before + count / 10);
        player.alloc_many((0..count).map(|_| (3, bytes)));
        player.dealloc_down_to(0, before + count / 20);
    }
}

fn large_and_huge_blocks(player: &mut Player<'_>) {
    let before = player.blocks.len();
    for (size, align) in [(40_000, 1), (300_000, 1 << 16), (2 << 20, 1), (1, 1 << 21)] {
        player.alloc(0, size, align);
        player.alloc_zeroed(1, size, align);
    }
    for (size, align) in [((2 << 20) + 1, 1), (3 << 20, 1 << 16), (100, 4 << 20)] {
        player.alloc(2, size, align);
        player.alloc_zeroed(2, size, align);
    }
    player.dealloc_down_to(3, before + 5);
    // One of the mappings that were kept serves this.
    player.alloc_zeroed(3, 3 << 20, 1 << 12);
}

fn resizing_in_all_directions(player: &mut Player<'_>) {
    const SMALL: usize = 100;
    const LARGE: usize = 200_000;
    const HUGE: usize = 3 << 20;
    for align in [1, 1 << 13] {
        player.alloc(0, SMALL, align);
        player.realloc(0, &[SMALL + 1, 2 * SMALL, LARGE, LARGE + 8000, LARGE / 2, SMALL]);
        player.realloc(1, &[HUGE, 2 * HUGE, HUGE, SMALL, HUGE, LARGE, HUGE, HUGE + (1 << 20)]);
        // A block behind it that is in use leaves only the way by copying.
        player.alloc(2, LARGE, align);
        player.alloc(2, LARGE, align);
        player.realloc(2, &[2 * LARGE, 4 * LARGE, LARGE]);
    }
}

fn arenas_that_close_and_open(player: &mut Player<'_>) {
    for cap in [1, 4, 2, 3] {
        player.set_arena_max(cap);
        let before = player.blocks.len();
        player.alloc_many((0..200).map(|index| (index % SLOTS, 16 + index)));
        player.dealloc_down_to(cap % SLOTS, before + 30);
    }
}

fn giving_back(player: &mut Player<'_>) {
    for slot in 0..SLOTS {
        let before = player.blocks.len();
        player.alloc_many((0..50).map(|index| (slot, 5000 + 100 * index)));
        player.alloc(slot, 3 << 20, 1);
        player.dealloc_down_to((slot + 1) % SLOTS, before + 3);
        if slot % 2 == 0 { player.trim(slot) } else { player.decay() }
    }
    player.observe(|player| player.heap.trim_arena(0));
    player.observe(|player| player.heap.reclaim_all());
}

fn threads_without_a_cache(player: &mut Player<'_>) {
    player.heap.detach(&player.slots[3]);
    for bytes in [24, 64, 40_000] {
        player.alloc(3, bytes, 1);
    }
    player.dealloc_down_to(3, player.blocks.len().saturating_sub(2));
}

/// Plays the workload on a heap that may refuse things, and then sees that it works again and gives
/// everything back; answers how many steps it asked for and how often it was refused.
fn play(heap: &Allocator<FaultySource>) -> (usize, usize) {
    let slots = [const { ThreadSlot::new() }; SLOTS];
    let now = crate::os::clock::coarse_milliseconds();
    let mut player = Player { heap, slots: &slots, blocks: Vec::new(), looks: 0, now };
    workload(&mut player);
    player.look();
    let source = heap.page_heap().source();
    let (steps, refusals) = (source.inner().steps(), player.refusals());
    source.inner().heal();
    source.limits().set(Limit::AddressSpace, None);
    source.limits().set(Limit::ResidentHard, None);
    for (size, align) in [(64, 1), (300_000, 1), (3 << 20, 1), (1, 1 << 20)] {
        (0..SLOTS).for_each(|slot| assert!(player.alloc(slot, size, align)));
    }
    player.dealloc_down_to(1, 0);
    finish(heap, &slots);
    assert_eq!(source.inner().outstanding_bytes(), 0);
    (steps, refusals)
}

/// The least number of steps that the workload asks the source for.
const STEPS_MIN: usize = 60;

/// Runs in a row that ended before the step they were to refuse, after which there are no more.
const SHORT_RUNS_MAX: usize = 8;

/// Plays once for each step of the workload, on a source that refuses `refused(step)`.
///
/// Runs differ in how many steps they take: where the segments happen to lie may take a leaf of
/// their map more or less, and a cache is reclaimed for the budget's sake only where the clock has
/// gone on since it was used, which on a busy machine it has more often.
fn play_refusing(refused: impl Fn(usize) -> core::ops::Range<usize>) {
    let (mut step, mut short_runs) = (0, 0);
    while short_runs < SHORT_RUNS_MAX {
        let (steps, refusals) = play(&timeless(FaultySource::refusing(refused(step)), 3));
        assert_eq!(refusals > 0, steps > step, "step {step} of {steps}");
        short_runs = if refusals == 0 { short_runs + 1 } else { 0 };
        step += 1;
    }
    assert!(step > STEPS_MIN, "the workload asks the source for {step} things only");
}

#[test]
fn a_source_that_fails_from_any_step_on_gives_none_and_breaks_nothing() {
    play_refusing(|step| step..usize::MAX);
}

#[test]
fn a_source_that_fails_at_any_one_step_is_asked_again_and_breaks_nothing() {
    play_refusing(|step| step..step + 1);
}

#[test]
fn a_limit_at_any_height_gives_none_and_breaks_nothing() {
    for limit in [Limit::AddressSpace, Limit::ResidentHard] {
        for megabytes in (0..30).step_by(2) {
            let heap = timeless(FaultySource::refusing(0..0), 3);
            let limits = heap.page_heap().source().limits();
            limits.set(limit, Some((megabytes << 20) + 1));
            assert!(play(&heap).1 > 0 || megabytes > 20, "{limit:?} at {megabytes} MiB");
        }
    }
}
