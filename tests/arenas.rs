//! However many threads there are, there are never more arenas than the cap allows, and every
//! thread is counted in one of them.
//!
//! Each test has a process of its own, so that it knows all threads; the main thread, which waits,
//! and the test's own are two of them.

mod common;

use std::sync::{Arc, Mutex};

use capmalloc::{CapMalloc, Stats};
use common::block::Block;
use common::child::{Child, is_child};
use common::waiting;
use common::worker::Worker;

#[global_allocator]
static GLOBAL: CapMalloc = CapMalloc::new();

/// The main thread and the test's.
const OWN_THREADS: usize = 2;

/// Runs `test` in a process of its own, under these settings.
fn in_child(settings: &[(&str, &str)], test: impl FnOnce()) {
    if is_child() {
        test();
        capmalloc::check();
    } else {
        Child::with_settings(settings).succeed();
    }
}

/// Threads that have come by their arena, started one after the other.
fn workers(count: usize) -> Vec<Worker> {
    let start = |_| {
        let worker = Worker::start();
        worker.run(refill);
        worker
    };
    (0..count).map(start).collect()
}

/// Takes and frees more blocks of a size than any cache holds, so that the thread must go to its
/// arena, or to another where that one was closed.
fn refill() {
    let blocks: Vec<Block> = (0..1000).map(|_| Block::of_size(100)).collect();
    blocks.into_iter().for_each(Block::release);
}

fn threads_by_arena(stats: &Stats) -> Vec<usize> {
    stats.arenas.iter().map(|arena| arena.threads).collect()
}

/// Holds that this many threads are counted, each in one arena that is open.
///
/// One that has just said that it is done may still come by its arena, and be counted in two or in
/// none while the figures are taken; what is miscounted for good stays so.
fn all_are_counted(threads: usize) -> Stats {
    waiting::until(|| {
        let stats = capmalloc::stats();
        let in_arenas: usize = threads_by_arena(&stats).iter().sum();
        match (stats.threads, in_arenas) == (threads, threads) {
            true => Ok(stats),
            false => Err(format!("{threads} threads, {in_arenas} in arenas: {stats}")),
        }
    })
}

#[test]
fn threads_beyond_the_cap_share_the_arenas_evenly() {
    in_child(&[("CAPMALLOC_ARENA_MAX", "3")], || {
        let workers = workers(8);
        let stats = all_are_counted(8 + OWN_THREADS);
        assert_eq!(threads_by_arena(&stats), [4, 3, 3]);
        workers.into_iter().for_each(Worker::end);
        all_are_counted(OWN_THREADS);
    });
}

/// Lets the calling thread, and those that it starts, run on one of its processors; answers which
/// of them that is.
fn stay_on_one_processor() -> usize {
    // SAFETY: the set is written before it is read, and each call gets its size.
    unsafe {
        let processor = usize::try_from(libc::sched_getcpu()).unwrap();
        let mut set: libc::cpu_set_t = core::mem::zeroed();
        assert_eq!(libc::sched_getaffinity(0, size_of_val(&set), &mut set), 0);
        let place = (0..processor).filter(|lower| libc::CPU_ISSET(*lower, &set)).count();
        libc::CPU_ZERO(&mut set);
        libc::CPU_SET(processor, &mut set);
        assert_eq!(libc::sched_setaffinity(0, size_of_val(&set), &set), 0);
        place
    }
}

#[test]
fn threads_of_a_crowded_arena_use_their_processors_until_it_is_no_crowd() {
    in_child(&[("CAPMALLOC_ARENA_MAX", "2")], || {
        let here = stay_on_one_processor() % 2;
        let workers = workers(80 - OWN_THREADS);
        workers.iter().for_each(|worker| worker.run(refill));
        let stats = all_are_counted(80);
        assert_eq!(threads_by_arena(&stats)[1 - here], 32, "{stats}");
        workers.into_iter().for_each(Worker::end);
        all_are_counted(OWN_THREADS);
    });
}

#[test]
fn each_thread_has_an_arena_of_its_own_below_the_cap() {
    in_child(&[("CAPMALLOC_ARENA_MAX", "100")], || {
        let _workers = workers(20);
        let stats = all_are_counted(20 + OWN_THREADS);
        assert_eq!(threads_by_arena(&stats), [1; 20 + OWN_THREADS]);
    });
}

#[test]
fn a_lower_cap_closes_arenas_at_once_and_moves_no_block() {
    in_child(&[("CAPMALLOC_ARENA_MAX", "8")], || {
        let workers = workers(8);
        let blocks = Arc::new(Mutex::new(Vec::new()));
        for worker in &workers {
            let blocks = Arc::clone(&blocks);
            worker.run(move || {
                let mut blocks = blocks.lock().expect("nobody panicked");
                blocks.extend((0..500).map(|index| Block::of_size(index * 5)));
            });
        }
        let before = all_are_counted(8 + OWN_THREADS);
        assert_eq!(before.arenas.len(), 8);
        capmalloc::set_arena_max(2).expect("a count in range");
        let after = capmalloc::stats();
        assert_eq!((capmalloc::arena_max(), after.arena_max, after.arenas.len()), (2, 2, 2));
        assert!(after.resident_bytes <= before.resident_bytes, "{before}\n{after}");
        let is_left = |stats: &Stats| stats.arenas.iter().any(|arena| arena.slab_bytes == 0);
        assert!(!is_left(&after), "the slabs moved: {after}");
        blocks.lock().expect("nobody panicked").drain(..).for_each(Block::release);
        workers.iter().for_each(|worker| worker.run(refill));
        all_are_counted(8 + OWN_THREADS);
    });
}

#[test]
fn a_higher_cap_lets_new_threads_open_arenas() {
    in_child(&[("CAPMALLOC_ARENA_MAX", "1")], || {
        let mut all = workers(3);
        assert_eq!(threads_by_arena(&all_are_counted(3 + OWN_THREADS)), [5]);
        for cap in [3, 2, 4] {
            capmalloc::set_arena_max(cap).expect("a count in range");
            all.extend(workers(3));
            all.iter().for_each(|worker| worker.run(refill));
            let stats = all_are_counted(all.len() + OWN_THREADS);
            assert_eq!(stats.arenas.len(), cap);
        }
    });
}

#[test]
fn a_cap_out_of_range_is_refused_and_changes_nothing() {
    in_child(&[("CAPMALLOC_ARENA_MAX", "5")], || {
        for count in [0, 1025, usize::MAX] {
            let error = capmalloc::set_arena_max(count).expect_err("out of range");
            assert!(error.to_string().contains(&count.to_string()), "{error}");
            assert_eq!(capmalloc::arena_max(), 5);
        }
        for count in [1, 1024] {
            capmalloc::set_arena_max(count).expect("the ends of the range");
            assert_eq!(capmalloc::arena_max(), count);
        }
    });
}

#[test]
fn a_single_arena_is_trimmed_by_its_index() {
    in_child(&[("CAPMALLOC_ARENA_MAX", "3"), ("CAPMALLOC_DECAY_MS", "-1")], || {
        // The third thread has the third arena.
        let workers = workers(1);
        workers[0].run(|| drop((0..400).map(|_| Block::of_size(10_000)).collect::<Vec<_>>()));
        let trimmed = capmalloc::trim_arena(2).expect("an open arena");
        assert!(trimmed.depot_bytes > 0 && trimmed.total_bytes() > 3_000_000, "{trimmed:?}");
        assert_eq!(capmalloc::trim_arena(2).map(|again| again.total_bytes()), Some(0));
        assert!(capmalloc::trim_arena(0).is_some() && capmalloc::trim_arena(3).is_none());
    });
}

fn contentions(stats: &Stats) -> u64 {
    stats.arenas.iter().map(|arena| arena.lock_contentions).sum()
}

#[test]
fn on_contention_opens_no_arena_without_one() {
    let settings = [("CAPMALLOC_ARENA_POLICY", "on-contention"), ("CAPMALLOC_ARENA_MAX", "64")];
    in_child(&settings, || {
        let workers = workers(30);
        workers.iter().for_each(|worker| worker.run(refill));
        let stats = all_are_counted(30 + OWN_THREADS);
        // While a thread starts its parent may still be at work, and so the two may meet.
        assert!(stats.arenas.len() as u64 <= 1 + contentions(&stats), "{stats}");
    });
}

#[test]
fn on_contention_opens_an_arena_when_threads_meet() {
    let settings = [("CAPMALLOC_ARENA_POLICY", "on-contention"), ("CAPMALLOC_ARENA_MAX", "64")];
    in_child(&settings, || {
        // How soon two threads meet at a lock is the scheduler's to say; that they never do in so
        // many calls, it cannot say.
        for _ in 0..1000 {
            let threads: Vec<_> = (0..8).map(|_| std::thread::spawn(refill)).collect();
            threads.into_iter().for_each(|thread| thread.join().expect("memory"));
            if capmalloc::stats().arenas.len() > 1 {
                return;
            }
        }
        panic!("no second arena: {}", capmalloc::stats());
    });
}

#[test]
fn arenas_by_processor_stay_below_the_cap_too() {
    let settings = [("CAPMALLOC_ARENA_POLICY", "per-cpu"), ("CAPMALLOC_ARENA_MAX", "2")];
    in_child(&settings, || {
        let workers = workers(12);
        for _ in 0..10 {
            workers.iter().for_each(|worker| worker.run(refill));
            assert!(all_are_counted(12 + OWN_THREADS).arenas.len() <= 2);
        }
    });
}

#[test]
fn arenas_by_processor_are_no_more_than_processors() {
    let settings = [("CAPMALLOC_ARENA_POLICY", "per-cpu"), ("CAPMALLOC_ARENA_MAX", "1024")];
    in_child(&settings, || {
        let workers = workers(40);
        workers.iter().for_each(|worker| worker.run(refill));
        // SAFETY: sysconf has no preconditions.
        let processors = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_CONF) };
        let stats = all_are_counted(40 + OWN_THREADS);
        assert!(stats.arenas.len() <= processors as usize, "{processors}: {stats}");
    });
}
