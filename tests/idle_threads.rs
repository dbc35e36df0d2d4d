//! However many threads sit idle, what is resident is bounded by what lives.
//!
//! Each test has a process of its own. What is resident is the kernel's figure, less files and
//! the threads' stacks; what lives is what `stats` says.

mod common;

use std::time::Duration;

use capmalloc::CapMalloc;
use common::address_space;
use common::block::Block;
use common::child::{Child, is_child};
use common::load::{Connections, Workers};
use common::{resident, waiting};

#[global_allocator]
static GLOBAL: CapMalloc = CapMalloc::new();

const MIB: usize = 1 << 20;
const THREADS: usize = 1000;

/// What is resident and what lives, in bytes.
#[derive(Debug)]
struct Figures {
    resident_bytes: usize,
    live_bytes: usize,
}

impl Figures {
    fn now(stack_bytes: usize) -> Figures {
        // First, for `stats` takes memory, and so may give some back.
        let resident_bytes = resident::anonymous_bytes() - stack_bytes;
        Figures { resident_bytes, live_bytes: capmalloc::stats().allocated_bytes }
    }

    /// That no more than `hundredths` of a hundred of the live bytes are resident.
    fn bounded_by(self, hundredths: usize) -> Result<(), String> {
        assert!(self.live_bytes > 10 * MIB, "enough to tell: {self:?}");
        if self.resident_bytes * 100 <= self.live_bytes * hundredths {
            return Ok(());
        }
        Err(format!("more than {hundredths} %: {self:?} {}", capmalloc::stats()))
    }
}

/// Runs `test` in a process of its own, beside a thousand threads that `begin` has put to sleep.
fn beside_a_thousand(
    settings: &[(&str, &str)],
    begin: impl FnOnce(usize) -> Connections,
    test: impl FnOnce(usize),
) {
    if !is_child() {
        settings.iter().fold(Child::new(), |child, (name, value)| child.and(name, value)).succeed();
        return;
    }
    let connections = begin(THREADS);
    test(connections.stack_bytes());
    connections.wake();
    capmalloc::check();
    let left_bytes = capmalloc::stats().allocated_bytes;
    assert!(left_bytes < MIB, "all was freed: {}", capmalloc::stats());
}

#[test]
fn a_trim_leaves_a_thousand_idle_threads_with_twice_what_lives() {
    beside_a_thousand(&[("CAPMALLOC_DECAY_MS", "-1")], Connections::asleep, |stack_bytes| {
        capmalloc::trim();
        Figures::now(stack_bytes).bounded_by(200).expect("right after the trim");
    });
}

#[test]
fn decay_leaves_a_thousand_idle_threads_with_twice_what_lives() {
    beside_a_thousand(&[("CAPMALLOC_BACKGROUND", "1")], Connections::asleep, |stack_bytes| {
        waiting::until(|| Figures::now(stack_bytes).bounded_by(200));
    });
}

#[test]
fn the_budget_leaves_a_thousand_idle_threads_with_two_and_a_half_times_what_lives() {
    // With decay turned off altogether, only the budget bounds what is free and resident.
    beside_a_thousand(
        &[("CAPMALLOC_DECAY_MS", "-1")],
        Connections::asleep_after_turns,
        |stack_bytes| {
            Figures::now(stack_bytes).bounded_by(250).expect("with neither trim nor decay");
        },
    );
}

/// Runs `test` in a process of its own that was started by `prepare`.
fn in_child(child: Child, test: impl FnOnce()) {
    if is_child() {
        test();
        capmalloc::check();
    } else {
        child.succeed();
    }
}

#[test]
fn a_trim_leaves_threads_that_freed_all_with_next_to_nothing() {
    in_child(Child::new().and("CAPMALLOC_DECAY_MS", "-1"), || {
        let before_bytes = resident::anonymous_bytes();
        let workers = Workers::start();
        let stack_bytes = workers.idle_stack_bytes();
        let trimmed = capmalloc::trim();
        let growth_bytes = resident::anonymous_bytes() - stack_bytes - before_bytes;
        assert!(growth_bytes <= 4 * MIB, "{growth_bytes} after {trimmed:?}");
        assert!(trimmed.total_bytes() > 20 * MIB, "enough to tell: {trimmed:?}");
        workers.end();
    });
}

#[test]
fn decay_leaves_threads_that_freed_all_with_next_to_nothing() {
    let child = Child::new().and("CAPMALLOC_BACKGROUND", "1").and("CAPMALLOC_DECAY_MS", "100");
    in_child(child, || {
        let before_bytes = resident::anonymous_bytes();
        let workers = Workers::start();
        let stack_bytes = workers.idle_stack_bytes();
        waiting::until(|| {
            let growth_bytes = resident::anonymous_bytes() - stack_bytes - before_bytes;
            match growth_bytes <= 4 * MIB {
                true => Ok(()),
                false => Err(format!("{growth_bytes}: {}", capmalloc::stats())),
            }
        });
        workers.end();
    });
}

/// What `ulimit -v 1000000` allows.
fn limit_addresses() -> std::io::Result<()> {
    address_space::limit(1_000_000 << 10)
}

#[test]
fn the_load_of_64_threads_finds_room_in_a_gigabyte_of_addresses() {
    // SAFETY: two system calls, which are allowed between a fork and an exec.
    in_child(unsafe { Child::new().prepared_by(limit_addresses) }, || {
        assert!(address_space::limit_bytes().is_some_and(|bytes| bytes <= 1_000_000 << 10));
        let workers = Workers::start();
        workers.idle_stack_bytes();
        workers.end();
        assert_eq!(capmalloc::stats().address_space_refusals, 0, "no limit of ours was set");
    });
}

#[test]
fn a_cap_lowered_under_load_drains_the_arenas_and_loses_nothing() {
    in_child(Child::new().and("CAPMALLOC_ARENA_MAX", "8"), || {
        let before_bytes = resident::anonymous_bytes();
        let block = |_| Block::of_size(1000);
        let start = |_| std::thread::spawn(move || (0..300).map(block).collect::<Vec<Block>>());
        let threads: Vec<_> = (0..16).map(start).collect();
        let held: Vec<Block> =
            threads.into_iter().flat_map(|thread| thread.join().expect("memory")).collect();
        let workers = Workers::start();
        // All arenas are in use, and their threads at work.
        waiting::until(|| {
            let stats = capmalloc::stats();
            let is_full = stats.arenas.len() == 8 && stats.allocated_bytes > 20 * MIB;
            if is_full { Ok(()) } else { Err(format!("no load: {stats}")) }
        });
        capmalloc::set_arena_max(1).expect("a count in range");
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(capmalloc::stats().arenas.len(), 1);
        let stack_bytes = workers.idle_stack_bytes();
        capmalloc::check();
        let stats = capmalloc::stats();
        assert!(stats.threads > Workers::COUNT, "{stats}");
        let live_blocks: usize = stats.classes.iter().map(|class| class.live_blocks).sum();
        assert!(live_blocks >= held.len(), "slabs move with the blocks that lie in them: {stats}");
        held.into_iter().for_each(Block::release);
        capmalloc::trim();
        let growth_bytes = resident::anonymous_bytes() - stack_bytes - before_bytes;
        assert!(growth_bytes <= 4 * MIB, "{growth_bytes}: {}", capmalloc::stats());
        workers.end();
    });
}
