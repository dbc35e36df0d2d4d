//! A forked child can allocate at once, whatever the parent's threads were doing, and takes over
//! what they left behind.

mod common;

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use capmalloc::CapMalloc;
use common::child::{Child, is_child};

#[global_allocator]
static GLOBAL: CapMalloc = CapMalloc::new();

const FORKS: usize = 60;
const BUSY_THREADS: u64 = 4;

/// Statuses by which a forked child says what went wrong.
const FINE: i32 = 0;
const OTHER_THREADS_COUNTED: i32 = 3;
const PAGES_LOST: i32 = 4;

static IS_OVER: AtomicBool = AtomicBool::new(false);

/// Ends the busy threads, also where the test panics.
struct Over;

impl Drop for Over {
    fn drop(&mut self) {
        IS_OVER.store(true, Relaxed);
    }
}

/// Allocates and frees blocks of all routes for as long as the test runs.
fn keep_busy(seed: u64) {
    let mut blocks: Vec<Vec<u8>> = vec![Vec::new(); 200];
    let mut state = seed + 1;
    while !IS_OVER.load(Relaxed) {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let index = (state >> 33) as usize % blocks.len();
        let size = (state >> 20) as usize % if index == 0 { 3_000_000 } else { 4000 };
        blocks[index] = vec![index as u8; size];
    }
}

fn some_blocks() -> Vec<Vec<u8>> {
    (0..400).map(|index| vec![index as u8; index * 5]).collect()
}

/// Runs `work` in a fork of this process; answers the status that it ended with.
fn status_of_fork(work: impl FnOnce() -> i32) -> i32 {
    // SAFETY: the child runs nothing but `work`, which uses the allocator, threads of its own and
    // no lock of the parent's, and then ends at once.
    let process = unsafe { libc::fork() };
    assert!(process >= 0, "a fork");
    if process == 0 {
        let status = work();
        // SAFETY: ends the child without a look at what belongs to the parent's threads.
        unsafe { libc::_exit(status) };
    }
    let mut status = 0;
    // SAFETY: waits for the child just made; the place for its status is ours.
    assert_eq!(unsafe { libc::waitpid(process, &mut status, 0) }, process);
    assert!(libc::WIFEXITED(status), "the forked child died: {status:#x}");
    libc::WEXITSTATUS(status)
}

/// Runs `test` beside threads that allocate all the time, in a process of its own.
fn beside_busy_threads(settings: &[(&str, &str)], test: impl FnOnce()) {
    if !is_child() {
        settings.iter().fold(Child::new(), |child, (name, value)| child.and(name, value)).succeed();
        return;
    }
    std::thread::scope(|scope| {
        (0..BUSY_THREADS).for_each(|seed| drop(scope.spawn(move || keep_busy(seed))));
        let _over = Over;
        test();
    });
    capmalloc::check();
}

#[test]
fn a_child_frees_what_it_inherited_and_allocates_at_once() {
    beside_busy_threads(&[], || {
        for _ in 0..FORKS {
            let inherited = some_blocks();
            let status = status_of_fork(|| {
                inherited.iter().enumerate().for_each(|(index, block)| {
                    assert!(block.iter().all(|byte| *byte == index as u8));
                });
                drop((inherited.clone(), some_blocks()));
                capmalloc::check();
                FINE
            });
            assert_eq!(status, FINE);
        }
    });
}

#[test]
fn a_childs_first_allocation_may_be_a_new_threads() {
    beside_busy_threads(&[], || {
        for _ in 0..FORKS {
            let status = status_of_fork(|| {
                let threads: Vec<_> = (0..3).map(|_| std::thread::spawn(some_blocks)).collect();
                let own = some_blocks();
                for thread in threads {
                    assert_eq!(thread.join().expect("a thread of the child's"), own);
                }
                capmalloc::trim();
                capmalloc::check();
                if capmalloc::stats().threads == 1 { FINE } else { OTHER_THREADS_COUNTED }
            });
            assert_eq!(status, FINE);
        }
    });
}

#[test]
fn pages_that_the_parent_was_giving_back_are_the_childs_to_give_back() {
    beside_busy_threads(&[("CAPMALLOC_DECAY_MS", "0")], || {
        for _ in 0..FORKS {
            let status = status_of_fork(|| {
                capmalloc::trim();
                capmalloc::check();
                if capmalloc::stats().dirty_bytes == 0 { FINE } else { PAGES_LOST }
            });
            assert_eq!(status, FINE);
        }
    });
}
