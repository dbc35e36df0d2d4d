//! A program's own policy decides which arena a thread uses, within the cap, and whoever runs the
//! program can still name another.

mod common;

use std::cell::Cell;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use capmalloc::hooks::{self, Event};
use capmalloc::{ArenaPolicy, ArenaView, CapMalloc, Config, Stats};
use common::block::Block;
use common::child::{Child, is_child};
use common::worker::Worker;

#[global_allocator]
static GLOBAL: CapMalloc = CapMalloc::with_config(
    Config::new().arena_max(CAP).arena_policy(&Crowding).cache_budget_bytes(1 << 20),
);

const CAP: usize = 4;

/// The main thread and the test's.
const OWN_THREADS: usize = 2;

/// Sends every thread where most are; or, when it is told to, anywhere at all.
struct Crowding;

std::thread_local! {
    static IS_IN_POLICY: Cell<bool> = const { Cell::new(false) };
}

/// Whether the policy does what hooks are told of.
static IS_EVENTFUL: AtomicBool = AtomicBool::new(false);
static ASKED: AtomicUsize = AtomicUsize::new(0);
static ANSWERS_ARE_WILD: AtomicBool = AtomicBool::new(false);

impl ArenaPolicy for Crowding {
    fn assign(&self, arenas: &ArenaView<'_>) -> usize {
        let asked = ASKED.fetch_add(1, Relaxed);
        assert!(arenas.open() <= arenas.cap(), "{arenas:?}");
        if ANSWERS_ARE_WILD.load(Relaxed) {
            return (usize::MAX / 7).wrapping_mul(asked);
        }
        IS_IN_POLICY.set(true);
        // A policy may allocate, even where this is the program's very first allocation.
        let mut threads = Vec::with_capacity(arenas.cap());
        threads.extend((0..arenas.open()).map(|arena| arenas.threads(arena)));
        let most = threads.iter().max().copied().unwrap_or(0);
        if IS_EVENTFUL.load(Relaxed) {
            capmalloc::trim();
            drop(vec![0_u8; 3 << 20]);
        }
        IS_IN_POLICY.set(false);
        threads.iter().position(|count| *count == most).unwrap_or(0)
    }

    fn reassign(&self, arenas: &ArenaView<'_>, current: usize, _contended: bool) -> Option<usize> {
        ANSWERS_ARE_WILD.load(Relaxed).then(|| self.assign(arenas).wrapping_add(current))
    }
}

fn refill() {
    let blocks: Vec<Block> = (0..1000).map(|_| Block::of_size(100)).collect();
    blocks.into_iter().for_each(Block::release);
}

fn workers(count: usize) -> Vec<Worker> {
    let workers: Vec<Worker> = (0..count).map(|_| Worker::start()).collect();
    workers.iter().for_each(|worker| worker.run(refill));
    workers
}

/// Holds that this many threads are counted, each in one arena that is open.
fn all_are_counted(threads: usize) -> Stats {
    let stats = capmalloc::stats();
    let in_arenas: usize = stats.arenas.iter().map(|arena| arena.threads).sum();
    assert_eq!((stats.threads, in_arenas), (threads, threads), "{stats}");
    stats
}

/// Runs `test` in a process of its own, under these settings; answers what it complained of.
fn in_child(settings: &[(&str, &str)], test: impl FnOnce()) -> String {
    if is_child() {
        test();
        capmalloc::check();
        return String::new();
    }
    Child::with_settings(settings).succeed().complaints
}

#[test]
fn the_programs_policy_decides() {
    in_child(&[], || {
        let _workers = workers(6);
        let stats = all_are_counted(6 + OWN_THREADS);
        assert_eq!(stats.arenas.len(), 1, "all crowd into the first: {stats}");
        assert!(ASKED.load(Relaxed) >= 6 + OWN_THREADS);
    });
}

#[test]
fn no_answer_of_a_policy_exceeds_the_cap() {
    in_child(&[], || {
        ANSWERS_ARE_WILD.store(true, Relaxed);
        let workers = workers(10);
        for cap in [CAP, 7, 2, 1, 3] {
            capmalloc::set_arena_max(cap).expect("a count in range");
            workers.iter().for_each(|worker| worker.run(refill));
            refill();
            let stats = capmalloc::stats();
            assert!(stats.arenas.len() <= cap, "{stats}");
            let in_arenas: usize = stats.arenas.iter().map(|arena| arena.threads).sum();
            // The main thread waits, perhaps for an arena that is closed meanwhile.
            assert!((stats.threads - 1..=stats.threads).contains(&in_arenas), "{stats}");
        }
    });
}

#[test]
fn hooks_wait_until_the_policy_has_answered() {
    static TOLD: AtomicUsize = AtomicUsize::new(0);
    in_child(&[], || {
        hooks::add(|event: &Event| {
            assert!(!IS_IN_POLICY.get(), "within the policy: {event:?}");
            TOLD.fetch_add(1, Relaxed);
        });
        IS_EVENTFUL.store(true, Relaxed);
        drop(workers(6));
        capmalloc::trim();
        assert!(TOLD.load(Relaxed) > 6, "{} events", TOLD.load(Relaxed));
    });
}

#[test]
fn threads_of_a_wild_policy_may_end() {
    in_child(&[], || {
        ANSWERS_ARE_WILD.store(true, Relaxed);
        for _ in 0..10 {
            workers(5).into_iter().for_each(Worker::end);
        }
        ANSWERS_ARE_WILD.store(false, Relaxed);
        all_are_counted(OWN_THREADS);
    });
}

#[test]
fn the_programs_settings_hold_where_the_environment_is_silent() {
    in_child(&[], || {
        assert_eq!(capmalloc::arena_max(), CAP);
        assert_eq!(capmalloc::stats().cache_budget_bytes, 1 << 20);
    });
}

#[test]
fn the_environment_has_the_last_word() {
    let settings = [
        ("CAPMALLOC_ARENA_POLICY", "per-thread"),
        ("CAPMALLOC_ARENA_MAX", "3"),
        ("CAPMALLOC_CACHE_BUDGET", "2M"),
    ];
    in_child(&settings, || {
        let _workers = workers(6);
        let stats = all_are_counted(6 + OWN_THREADS);
        assert_eq!((stats.arenas.len(), stats.arena_max), (3, 3), "{stats}");
        assert_eq!(stats.cache_budget_bytes, 2 << 20);
        assert_eq!(ASKED.load(Relaxed), 0, "the program's policy is not asked");
    });
}

#[test]
fn a_wrong_environment_leaves_the_programs_settings() {
    let settings = [("CAPMALLOC_ARENA_POLICY", "mine"), ("CAPMALLOC_ARENA_MAX", "none")];
    let complaints = in_child(&settings, || {
        let _workers = workers(6);
        assert_eq!(all_are_counted(6 + OWN_THREADS).arenas.len(), 1);
        assert_eq!(capmalloc::arena_max(), CAP);
    });
    if !is_child() {
        let lines: Vec<&str> = complaints.lines().collect();
        assert_eq!(lines.len(), 2, "{complaints}");
        assert!(lines.iter().all(|line| line.contains("the program's own choice")));
    }
}
