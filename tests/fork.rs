//! A forked child can allocate at once, whatever the parent's threads were doing, and takes over
//! what they left behind.

mod common;

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use capmalloc::CapMalloc;
use common::child::{Child, is_child};
use common::tasks;

#[global_allocator]
static GLOBAL: CapMalloc = CapMalloc::new();

/// Forks of each test, unless the variable says otherwise.
const FORKS: usize = 30;
const FORKS_VARIABLE: &str = "CAPMALLOC_TEST_FORKS";

const BUSY_THREADS: u64 = 8;

/// A child that is not done after so many seconds hangs, and is ended by a signal.
const CHILD_SECONDS: u32 = 60;

/// Statuses by which a forked child says what went wrong.
const FINE: i32 = 0;
const OTHER_THREADS_COUNTED: i32 = 3;
const PAGES_LOST: i32 = 4;
const NO_BACKGROUND: i32 = 5;

/// How many forks a test makes: `CAPMALLOC_TEST_FORKS=10000 cargo test --release --test fork`.
fn forks() -> usize {
    let forks = std::env::var(FORKS_VARIABLE).ok();
    forks.map_or(FORKS, |forks| forks.parse().expect("a number of forks"))
}

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
        // Few lengths of large blocks, which caches keep and hand out again.
        let size = match index {
            0 => (state >> 20) as usize % 3_000_000,
            1..20 => 40_000 * (1 + (state >> 20) as usize % 5),
            _ => (state >> 20) as usize % 4000,
        };
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
        // SAFETY: sets this process's own clock, whose signal ends it.
        unsafe { libc::alarm(CHILD_SECONDS) };
        let status = work();
        // SAFETY: ends the child without a look at what belongs to the parent's threads.
        unsafe { libc::_exit(status) };
    }
    let mut status = 0;
    // SAFETY: waits for the child just made; the place for its status is ours.
    assert_eq!(unsafe { libc::waitpid(process, &mut status, 0) }, process);
    let is_hanging = libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGALRM;
    assert!(!is_hanging, "the forked child hung for {CHILD_SECONDS} seconds");
    assert!(libc::WIFEXITED(status), "the forked child died: {status:#x}");
    libc::WEXITSTATUS(status)
}

fn beside_busy_threads(settings: &[(&str, &str)], test: impl FnOnce()) {
    beside_threads(BUSY_THREADS, settings, test);
}

/// Runs `test` beside threads that allocate all the time, in a process of its own.
fn beside_threads(count: u64, settings: &[(&str, &str)], test: impl FnOnce()) {
    if !is_child() {
        settings.iter().fold(Child::new(), |child, (name, value)| child.and(name, value)).succeed();
        return;
    }
    std::thread::scope(|scope| {
        (0..count).for_each(|seed| drop(scope.spawn(move || keep_busy(seed))));
        let _over = Over;
        test();
    });
    capmalloc::check();
}

#[test]
fn a_child_frees_what_it_inherited_and_allocates_at_once() {
    beside_busy_threads(&[], || {
        for _ in 0..forks() {
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
fn a_child_of_a_crowd_goes_on_with_what_processors_hold() {
    let settings = [("CAPMALLOC_ARENA_MAX", "1"), ("CAPMALLOC_CACHE_BUDGET", "300K")];
    beside_busy_threads(&settings, || {
        for _ in 0..forks() {
            let inherited = some_blocks();
            let status = status_of_fork(|| {
                let beside = || {
                    (0..10).for_each(|_| drop(some_blocks()));
                };
                let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(beside)).collect();
                threads.into_iter().for_each(|thread| thread.join().expect("memory"));
                drop((inherited.clone(), some_blocks()));
                capmalloc::trim();
                capmalloc::check();
                if capmalloc::stats().cpu_cache_bytes == 0 { FINE } else { PAGES_LOST }
            });
            assert_eq!(status, FINE);
        }
        let stats = capmalloc::stats();
        assert!(!stats.can_cache_by_cpu || stats.cpu_cache_lent_bytes > 0, "{stats}");
    });
}

#[test]
fn a_childs_first_allocation_may_be_a_new_threads() {
    beside_busy_threads(&[], || {
        for _ in 0..forks() {
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
        for _ in 0..forks() {
            let status = status_of_fork(|| {
                capmalloc::trim();
                capmalloc::check();
                if capmalloc::stats().dirty_bytes == 0 { FINE } else { PAGES_LOST }
            });
            assert_eq!(status, FINE);
        }
    });
}

#[test]
fn a_child_counts_no_thread_twice_that_was_changing_its_arena() {
    // More than two arenas have before threads go by their processors, and change with them.
    beside_threads(80, &[("CAPMALLOC_ARENA_MAX", "2")], || {
        for _ in 0..forks() / 3 {
            let status = status_of_fork(|| {
                capmalloc::trim();
                let stats = capmalloc::stats();
                let in_arenas: usize = stats.arenas.iter().map(|arena| arena.threads).sum();
                if (stats.threads, in_arenas) == (1, 1) { FINE } else { OTHER_THREADS_COUNTED }
            });
            assert_eq!(status, FINE);
        }
    });
}

/// Waits, within the seconds that a child has, for what the background thread is to do.
fn wait_for(mut is_done: impl FnMut() -> bool) {
    while !is_done() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn a_child_has_a_background_thread_of_its_own() {
    let settings = [("CAPMALLOC_BACKGROUND", "1"), ("CAPMALLOC_DECAY_MS", "20")];
    beside_busy_threads(&settings, || {
        for _ in 0..forks() / 3 {
            assert!(tasks::background().is_some(), "the parent keeps its own");
            let status = status_of_fork(|| {
                drop(some_blocks());
                drop(vec![1_u8; 1 << 20]);
                if tasks::background().is_none() {
                    return NO_BACKGROUND;
                }
                // Nothing here allocates from now on, but for the figures.
                wait_for(|| capmalloc::stats().dirty_bytes < 64 << 10);
                capmalloc::check();
                FINE
            });
            assert_eq!(status, FINE);
        }
    });
}
