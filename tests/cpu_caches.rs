//! Processors have caches where threads are many, within the same budget, unless that is not wanted
//! or cannot be.
//!
//! Each test has a process of its own.

mod common;

use std::sync::Barrier;
use std::thread::scope;

use capmalloc::{CapMalloc, Config, Stats};
use common::block::Block;
use common::child::{Child, is_child};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

#[global_allocator]
static GLOBAL: CapMalloc = CapMalloc::with_config(Config::new().cpu_caches(true));

const KIB: usize = 1 << 10;
const BUDGET_BYTES: usize = 400 * KIB;
const THREADS: usize = 24;
const ROUNDS: usize = if cfg!(debug_assertions) { 20 } else { 100 };

/// Whether there is all that they need, as the C library and the kernel themselves tell it.
fn can_be_here() -> bool {
    // `MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ`, as the query answers it.
    const FENCE: libc::c_long = 1 << 7;
    // SAFETY: a look at the tables of what is loaded; then one at a constant of the C library, which
    // the loader has set; and a system call that reads its arguments alone.
    let (size, fences) = unsafe {
        let size = libc::dlsym(libc::RTLD_DEFAULT, c"__rseq_size".as_ptr()).cast::<u32>();
        let query = libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_QUERY, 0, 0);
        (size.as_ref().copied().unwrap_or(0), query.max(0))
    };
    cfg!(target_arch = "x86_64") && size > 0 && fences & FENCE != 0
}

/// Runs the test in a process of its own, under these settings and one arena.
fn in_child(settings: &[(&str, &str)], test: impl FnOnce()) {
    if is_child() {
        test();
        capmalloc::check();
        return;
    }
    let budget = BUDGET_BYTES.to_string();
    // The third is for the C library, which takes 64 MiB of address space for each of so many threads.
    let common = [
        ("CAPMALLOC_ARENA_MAX", "1"),
        ("CAPMALLOC_CACHE_BUDGET", &budget),
        ("MALLOC_ARENA_MAX", "1"),
    ];
    let child = Child::with_settings(&common);
    settings.iter().fold(child, |child, (name, value)| child.and(name, value)).succeed();
}

/// Requests of many threads at once; answers the figures of a moment when all of them had some.
fn crowd() -> Stats {
    let meeting = Barrier::new(THREADS + 1);
    scope(|scope| {
        for seed in 0..THREADS {
            let meeting = &meeting;
            scope.spawn(move || {
                let mut random = SmallRng::seed_from_u64(seed as u64);
                for round in 0..ROUNDS {
                    let size = |_| random.random_range(1..6000);
                    let blocks: Vec<_> = (0..200).map(size).map(Block::of_size).collect();
                    blocks.into_iter().for_each(Block::release);
                    if round == ROUNDS / 2 {
                        meeting.wait();
                        meeting.wait();
                    }
                }
            });
        }
        meeting.wait();
        let stats = capmalloc::stats();
        meeting.wait();
        stats
    })
}

fn assert_off(stats: &Stats) {
    assert!(!stats.can_cache_by_cpu && stats.to_string().contains("CPU caches off"), "{stats}");
    assert_eq!((stats.cpu_cache_bytes, stats.cpu_cache_lent_bytes), (0, 0), "{stats}");
}

#[test]
fn a_crowd_has_them_within_its_budget_and_a_trim_empties_them() {
    in_child(&[], || {
        let stats = crowd();
        let lent_bytes = stats.cache_lent_bytes + stats.cpu_cache_lent_bytes;
        assert!(lent_bytes <= BUDGET_BYTES, "{stats}");
        assert_eq!(stats.can_cache_by_cpu, can_be_here(), "{stats}");
        if stats.can_cache_by_cpu {
            assert!(stats.to_string().contains("CPU caches on"), "{stats}");
            assert!(stats.cpu_cache_bytes > 0, "{stats}");
            assert!(stats.cpu_cache_bytes <= stats.cpu_cache_lent_bytes, "{stats}");
        }
        let left_bytes = capmalloc::stats().cpu_cache_bytes;
        assert_eq!(capmalloc::trim().cpu_cache_bytes > 0, left_bytes > 0);
        let stats = capmalloc::stats();
        // Some of these figures' own lists may have come that way again.
        assert!(stats.cpu_cache_bytes < 16 * KIB, "{stats}");
        assert!(stats.allocated_bytes < 128 * KIB, "all was freed: {stats}");
    });
}

#[test]
fn they_are_left_out_where_they_are_not_wanted() {
    in_child(&[("CAPMALLOC_CPU_CACHES", "0")], || assert_off(&crowd()));
}

#[test]
fn they_are_left_out_where_the_c_library_registers_no_thread() {
    in_child(&[("GLIBC_TUNABLES", "glibc.pthread.rseq=0")], || assert_off(&crowd()));
}

#[test]
fn decay_empties_them_where_the_crowd_is_gone() {
    in_child(&[("CAPMALLOC_DECAY_MS", "40"), ("CAPMALLOC_BACKGROUND", "1")], || {
        crowd();
        common::waiting::until(|| match capmalloc::stats() {
            stats if stats.cpu_cache_lent_bytes == 0 => Ok(()),
            stats => Err(stats.to_string()),
        });
    });
}
