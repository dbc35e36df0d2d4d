//! A process that loads what it needs, and forks workers which share that with it.

use std::ops::RangeInclusive;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::thread::sleep;
use std::time::Duration;

use crate::fragmentation::block::{Block, Fill};
use crate::fragmentation::ledger;
use crate::fragmentation::stage::{Stage, pages_bytes};
use crate::fragmentation::upkeep;
use crate::fragmentation::usage::Usage;
use crate::random::Random;

const SIZES: RangeInclusive<usize> = 16..=256;
const KEPT_PER_HUNDRED: usize = 60;
const CHILDREN: usize = 4;
const FREED_PER_HUNDRED: usize = 50;

const PAUSE: Duration = Duration::from_millis(2);

pub(crate) fn fork_warm(stage: &Stage) {
    let blocks = stage.scaled(600_000, 150_000, 10_000);
    let new_bytes = stage.scaled(10 << 20, 3 << 20, 256 << 10);
    let mut random = Random::new(0);
    let mut inherited = fill(&mut random, |count, _| count < blocks);
    inherited.retain(|_| random.below(100) < KEPT_PER_HUNDRED);
    inherited.shrink_to_fit();
    upkeep::prepare_for_fork(stage.peer());
    let mut family = Family::default();
    for number in 0..CHILDREN {
        family.start(number, || work(number, &mut inherited, new_bytes));
    }
    family.wait_until_ready();
    stage.rest(None, Some(&|show| inherited.iter().for_each(show)));
    inherited.iter().for_each(|block| block.check(Fill::Whole));
}

/// What a child does before it sleeps. It answers what it keeps.
fn work(number: usize, inherited: &mut Vec<Block>, new_bytes: usize) -> Vec<Block> {
    let mut random = Random::new(1 + number as u64);
    let before = Usage::default();
    let new = fill(&mut random, |_, bytes| bytes < new_bytes);
    let inherited_bytes = bytes(inherited);
    inherited.retain(|_| random.below(100) >= FREED_PER_HUNDRED);
    let ledger = ledger::current();
    // The parent has them still.
    ledger.add_live(inherited_bytes - bytes(inherited));
    let pages = new.iter().flat_map(|block| {
        let (first, last) = block.pages();
        first..=last
    });
    let floor_bytes = pages_bytes(pages.collect());
    ledger.child_sums.floor_bytes.fetch_add(floor_bytes, Relaxed);
    Usage::of_this_process().add_to(before, ledger);
    new
}

fn fill(random: &mut Random, is_more_wanted: impl Fn(usize, usize) -> bool) -> Vec<Block> {
    let (mut blocks, mut bytes) = (Vec::new(), 0);
    while is_more_wanted(blocks.len(), bytes) {
        let size = random.log_uniform(&SIZES);
        blocks.push(Block::new(size, Fill::Whole, random));
        bytes += size;
    }
    blocks
}

fn bytes(blocks: &[Block]) -> usize {
    blocks.iter().map(Block::size).sum()
}

/// Processes that were forked from this one; dropping it ends them.
#[derive(Default)]
struct Family {
    children: Vec<libc::pid_t>,
}

impl Family {
    /// Forks a child that does its work, and then sleeps until it is ended.
    fn start<T>(&mut self, number: usize, work: impl FnOnce() -> T) {
        // SAFETY: no other thread of this program runs, so the child may do what the parent may.
        let child = unsafe { libc::fork() };
        assert!(child >= 0, "child {number}: {}", std::io::Error::last_os_error());
        if child == 0 {
            ledger::end_with_parent();
            // A panic must not lead the child on into what the parent does next.
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            if outcome.is_err() {
                std::process::abort();
            }
            // Release: pairs with the Acquire of `wait_until_ready`.
            ledger::current().child_sums.ready.fetch_add(1, Release);
            loop {
                // SAFETY: waits for a signal.
                unsafe { libc::pause() };
            }
        }
        ledger::current().add_child(child as u32);
        self.children.push(child);
    }

    /// Waits until all children sleep; a child that ended instead ends the program.
    fn wait_until_ready(&self) {
        // Acquire: pairs with the Release of each child.
        while ledger::current().child_sums.ready.load(Acquire) < self.children.len() {
            for &child in &self.children {
                // SAFETY: a child of this process; its status is not asked for.
                let ended = unsafe { libc::waitpid(child, std::ptr::null_mut(), libc::WNOHANG) };
                assert_eq!(ended, 0, "a child ended before it was ready");
            }
            sleep(PAUSE);
        }
    }
}

impl Drop for Family {
    fn drop(&mut self) {
        for &child in &self.children {
            // SAFETY: children of this process that nobody waited for.
            unsafe {
                libc::kill(child, libc::SIGKILL);
                libc::waitpid(child, std::ptr::null_mut(), 0);
            }
        }
    }
}
