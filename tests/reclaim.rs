//! Caches are taken from threads that sleep, wake, start and end at that very moment; and where
//! the kernel cannot help with that, they are left alone.
//!
//! Each test has a process of its own.

mod common;

use std::ffi::c_int;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::{scope, sleep, spawn};
use std::time::Duration;

use capmalloc::CapMalloc;
use common::block::Block;
use common::child::{Child, is_child};
use common::worker::Worker;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

#[global_allocator]
static GLOBAL: CapMalloc = CapMalloc::new();

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// How much is done, less where every call takes long.
const ROUNDS: usize = if cfg!(debug_assertions) { 60 } else { 300 };

/// Runs `test` in a process of its own, under these settings.
fn in_child(settings: &[(&str, &str)], test: impl FnOnce()) {
    if is_child() {
        test();
        capmalloc::check();
    } else {
        settings.iter().fold(Child::new(), |child, (name, value)| child.and(name, value)).succeed();
    }
}

/// Takes, checks and replaces blocks in bursts, and sleeps for a while after some of them.
fn live(seed: usize, rounds: usize) {
    let mut random = SmallRng::seed_from_u64(seed as u64);
    let mut kept: Vec<Block> = Vec::new();
    for _ in 0..rounds {
        let blocks = (0..300).map(|_| Block::of_size(random.random_range(1..3000)));
        kept.extend(blocks.collect::<Vec<_>>());
        while kept.len() > 60 {
            kept.swap_remove(random.random_range(0..kept.len())).release();
        }
        if random.random_ratio(1, 3) {
            sleep(Duration::from_micros(random.random_range(0..3000)));
        }
    }
    kept.into_iter().for_each(Block::release);
}

/// Threads that live on, threads that come and go, and several that take the caches of all.
fn reclaim_from_all() {
    let is_over = AtomicBool::new(false);
    scope(|scope| {
        let trim = || {
            while !is_over.load(Relaxed) {
                capmalloc::trim();
                drop(Block::of_size(1000));
            }
        };
        let trimmers: Vec<_> = (0..3).map(|_| scope.spawn(trim)).collect();
        let settled: Vec<_> = (0..8).map(|seed| scope.spawn(move || live(seed, ROUNDS))).collect();
        for wave in 0..ROUNDS / 3 {
            let start = |thread| scope.spawn(move || live(wave * 4 + thread + 100, 2));
            let brief: Vec<_> = (0..4).map(start).collect();
            brief.into_iter().for_each(|thread| thread.join().expect("memory"));
        }
        settled.into_iter().for_each(|thread| thread.join().expect("memory"));
        is_over.store(true, Relaxed);
        trimmers.into_iter().for_each(|thread| thread.join().expect("no trim fails"));
    });
    capmalloc::trim();
    let stats = capmalloc::stats();
    assert!(stats.allocated_bytes < 256 * KIB && stats.threads <= 3, "all was freed: {stats}");
    // The main thread, which waits, keeps its cache where nobody can take it.
    let is_all_taken = !stats.can_reclaim || stats.cache_lent_bytes < 64 * KIB;
    assert!(is_all_taken, "{stats}");
}

#[test]
fn caches_may_be_taken_at_any_moment() {
    in_child(&[], reclaim_from_all);
}

#[test]
fn caches_may_be_taken_at_any_moment_where_the_budget_is_tiny() {
    in_child(&[("CAPMALLOC_CACHE_BUDGET", "64K")], reclaim_from_all);
}

#[test]
fn caches_may_be_taken_at_any_moment_while_everything_decays_at_once() {
    in_child(&[("CAPMALLOC_DECAY_MS", "0"), ("CAPMALLOC_BACKGROUND", "1")], reclaim_from_all);
}

#[test]
fn caches_may_be_taken_at_any_moment_while_all_decays_soon() {
    let settings = [
        ("CAPMALLOC_DECAY_MS", "20"),
        ("CAPMALLOC_BACKGROUND", "1"),
        ("CAPMALLOC_CACHE_BUDGET", "1M"),
    ];
    in_child(&settings, reclaim_from_all);
}

#[test]
fn the_budget_holds_whoever_is_at_work() {
    in_child(&[("CAPMALLOC_CACHE_BUDGET", "256K")], || {
        let workers: Vec<_> = (0..40).map(|seed| spawn(move || live(seed, 10))).collect();
        while !workers.iter().all(|worker| worker.is_finished()) {
            let lent_bytes = capmalloc::stats().cache_lent_bytes;
            // One who borrows shows it for a moment before the sum is looked at.
            assert!(lent_bytes <= 256 * KIB + workers.len() * 64 * KIB, "{lent_bytes}");
        }
        workers.into_iter().for_each(|worker| worker.join().expect("memory"));
        let stats = capmalloc::stats();
        assert!(stats.cache_lent_bytes <= 256 * KIB, "{stats}");
        assert!(stats.thread_cache_bytes <= stats.cache_lent_bytes, "{stats}");
    });
}

#[test]
fn records_go_with_the_blocks_that_they_described() {
    in_child(&[("CAPMALLOC_DECAY_MS", "-1")], || {
        let fill = |bytes: usize| {
            let mut random = SmallRng::seed_from_u64(1);
            let (mut blocks, mut total_bytes) = (Vec::with_capacity(bytes / 500), 0);
            while total_bytes < bytes {
                let size = random.random_range(16..=2048);
                blocks.push(Block::of_size(size));
                total_bytes += size;
            }
            blocks
        };
        let blocks = fill(440 * MIB);
        let peak = capmalloc::stats();
        assert!(peak.allocated_bytes > 440 * MIB && peak.metadata_bytes > 5 * MIB, "{peak}");
        blocks.into_iter().for_each(Block::release);
        capmalloc::trim();
        let stats = capmalloc::stats();
        assert!(stats.metadata_bytes < MIB, "{stats}");
        assert!(stats.mapped_bytes < 16 * MIB, "their addresses too: {stats}");
    });
}

/// Has the kernel answer calls of `membarrier` as one that does not know it.
fn forbid_membarrier() -> std::io::Result<()> {
    const NUMBER_OFFSET: u32 = 0;
    let statement = |code, k| libc::sock_filter { code, jt: 0, jf: 0, k };
    let is_membarrier = libc::sock_filter {
        code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16,
        jt: 0,
        jf: 1,
        k: libc::SYS_membarrier as u32,
    };
    let answer = (libc::BPF_RET | libc::BPF_K) as u16;
    let mut filter = [
        statement((libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16, NUMBER_OFFSET),
        is_membarrier,
        statement(answer, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32),
        statement(answer, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    let (on, none): (c_int, c_int) = (1, 0);
    // SAFETY: the calls concern this process alone; the filter is valid while it is installed.
    let status = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, on, none, none, none)
            | libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program)
    };
    if status == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// Runs `test` in a process of its own whose kernel has no `membarrier`.
fn without_membarrier(settings: &[(&str, &str)], test: impl FnOnce()) {
    if is_child() {
        let stats = capmalloc::stats();
        assert!(!stats.can_reclaim && !stats.can_cache_by_cpu, "{stats}");
        test();
        capmalloc::check();
        return;
    }
    // SAFETY: two system calls, which are allowed between a fork and an exec.
    let child = unsafe { Child::new().prepared_by(forbid_membarrier) };
    settings.iter().fold(child, |child, (name, value)| child.and(name, value)).succeed();
}

/// Bytes in the caches once idle workers' blocks and the caller's own have been trimmed.
fn bytes_cached_after_a_trim() -> usize {
    let workers: Vec<Worker> = (0..10).map(|_| Worker::start()).collect();
    workers.iter().for_each(|worker| worker.run(|| live(1, 2)));
    capmalloc::trim();
    let cached_bytes = capmalloc::stats().thread_cache_bytes;
    // The owners find their caches as they left them, or as the trim did.
    workers.iter().for_each(|worker| worker.run(|| live(2, 2)));
    workers.into_iter().for_each(Worker::end);
    cached_bytes
}

#[test]
fn without_membarrier_idle_threads_keep_their_caches_and_stats_say_so() {
    without_membarrier(&[("CAPMALLOC_DECAY_MS", "20")], || {
        let cached_bytes = bytes_cached_after_a_trim();
        assert!(cached_bytes > 200 * KIB, "{cached_bytes}");
        assert!(capmalloc::stats().to_string().contains("reclaim missing"));
        // Threads that end give back theirs.
        capmalloc::trim();
        let stats = capmalloc::stats();
        assert!(stats.thread_cache_bytes < 64 * KIB && stats.threads <= 3, "{stats}");
    });
}

#[test]
fn with_membarrier_they_do_not() {
    in_child(&[], || {
        assert!(capmalloc::stats().can_reclaim, "{}", capmalloc::stats());
        let cached_bytes = bytes_cached_after_a_trim();
        assert!(cached_bytes < 64 * KIB, "{cached_bytes}");
    });
}

#[test]
fn without_membarrier_the_budget_holds_and_nothing_is_lost() {
    without_membarrier(&[("CAPMALLOC_CACHE_BUDGET", "256K")], || {
        reclaim_from_all();
        let stats = capmalloc::stats();
        assert!(stats.cache_lent_bytes <= 256 * KIB, "{stats}");
    });
}
