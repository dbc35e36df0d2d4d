//! Where memory is short: a small program needs little address space and little memory, and a
//! program that runs out is told so, loses nothing, and can use again what it frees.

mod common;

use std::alloc::{GlobalAlloc as _, Layout};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Barrier};

use capmalloc::{CapMalloc, Limit, Stats};
use common::address_space;
use common::child::{Child, is_child};
use common::resident;

#[global_allocator]
static GLOBAL: CapMalloc = CapMalloc::new();

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// An example's program, which `cargo test` builds along with the tests.
fn example(name: &str) -> Command {
    let test = std::env::current_exe().expect("the test binary has a path");
    // It lies in `deps`, beside which is `examples`.
    let profile = test.ancestors().nth(2).expect("a directory for the profile");
    let path: PathBuf = [profile.as_os_str(), "examples".as_ref(), name.as_ref()].iter().collect();
    assert!(path.exists(), "{} is missing; `cargo build --examples` makes it", path.display());
    Command::new(path)
}

/// Has a program ask for a name and greet, looks at it in between, and answers what was seen.
fn greet<T>(mut program: Command, look: impl FnOnce(u32) -> T) -> T {
    program.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = program.spawn().expect("the example starts");
    let mut told = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let mut next = || told.next().expect("a line").expect("text");
    assert_eq!(next(), "What is your name?");
    let seen = look(child.id());
    child.stdin.take().expect("a pipe").write_all(b"Ada\n").expect("the example listens");
    assert_eq!(next(), "Hello, Ada!");
    assert!(child.wait().expect("it ends").success());
    seen
}

#[test]
fn a_small_program_runs_in_64_mib_of_addresses() {
    let mut program = example("hello");
    // SAFETY: one system call, which is allowed between a fork and an exec.
    unsafe { program.pre_exec(|| address_space::limit(64 * MIB)) };
    greet(program, |_| ());
}

#[test]
fn a_small_program_is_resident_little_more_than_on_the_systems_allocator() {
    let look = |process| (resident::bytes_of(process), resident::anonymous_bytes_of(process));
    // The median of five runs: how much of a file is mapped around a fault is not the program's to say.
    let median = |name| {
        let mut seen: [_; 5] = core::array::from_fn(|_| greet(example(name), look));
        seen.sort_unstable();
        seen[2]
    };
    let (own, system) = (median("hello"), median("hello_system"));
    assert!(own.1 < system.1 + 256 * KIB, "anonymous memory: {own:?}, {system:?}");
    // Code that was not optimised is several times as long, and is resident as well.
    if !cfg!(debug_assertions) {
        assert!(own.0 < system.0 + 512 * KIB, "{own:?}, {system:?}");
    }
}

/// Blocks of one size, linked through themselves: when memory is out there is none for a list.
struct Chain {
    first: *mut Link,
    layout: Layout,
    count: usize,
}

#[repr(C)]
struct Link {
    next: *mut Link,
    /// The link's own address, turned around, to tell whether somebody wrote over it.
    mark: usize,
}

impl Chain {
    /// As many blocks of `size` bytes as there are.
    fn exhausting(size: usize) -> Chain {
        let layout = Layout::from_size_align(size, 8).expect("a layout");
        let mut chain = Chain { first: core::ptr::null_mut(), layout, count: 0 };
        loop {
            // SAFETY: a valid layout.
            let block = unsafe { GLOBAL.alloc(layout) }.cast::<Link>();
            if block.is_null() {
                return chain;
            }
            // SAFETY: the block is new, aligned, and has room for a link.
            unsafe { block.write(Link { next: chain.first, mark: !block.addr() }) };
            chain.first = block;
            chain.count += 1;
        }
    }

    fn bytes(&self) -> usize {
        self.count * self.layout.size()
    }

    /// Gives all blocks back; none of them may have been handed out twice.
    fn release(self) {
        let (mut next, mut count) = (self.first, 0);
        while !next.is_null() {
            let block = next;
            // SAFETY: the chain holds live blocks, each of which begins with its link.
            let link = unsafe { block.read() };
            assert_eq!(link.mark, !block.addr(), "{block:p} was overwritten");
            next = link.next;
            count += 1;
            // SAFETY: allocated with this layout, and off the chain.
            unsafe { GLOBAL.dealloc(block.cast(), self.layout) };
        }
        assert_eq!(count, self.count, "the chain is whole");
    }
}

/// Runs `test` in a process of its own that may map a hundred mebibytes more than it has.
fn in_want(test: impl FnOnce()) {
    if !is_child() {
        Child::new().succeed();
        return;
    }
    address_space::limit(address_space::used_bytes() + 100 * MIB).expect("a lower limit");
    test();
    capmalloc::check();
}

/// Sizes of every route: small ones, large ones, and huge ones.
const SIZES: [usize; 6] = [40, 240, 3000, 30_000, 300_000, 3_000_000];

#[test]
fn whoever_runs_out_is_refused_and_can_use_again_what_he_frees() {
    in_want(|| {
        for size in SIZES {
            let first = Chain::exhausting(size);
            let first_bytes = first.bytes();
            assert!(first_bytes > 80 * MIB, "{first_bytes} bytes in blocks of {size}");
            capmalloc::check();
            first.release();
            capmalloc::check();
            let second = Chain::exhausting(size);
            assert!(second.bytes() >= first_bytes * 98 / 100, "blocks of {size}");
            second.release();
            // The next size needs the addresses, not only the pages.
            capmalloc::trim();
        }
    });
}

#[test]
fn who_has_run_out_of_one_size_may_yet_have_another() {
    in_want(|| {
        let huge = Chain::exhausting(3_000_000);
        let large = Chain::exhausting(100_000);
        let small = Chain::exhausting(64);
        capmalloc::check();
        // The last huge block leaves less than 3 MB, and one of the segments takes 4 MiB.
        assert!(huge.bytes() + large.bytes() + small.bytes() > 80 * MIB);
        large.release();
        small.release();
        huge.release();
        capmalloc::check();
    });
}

fn big_bytes() -> (usize, usize) {
    let stats = capmalloc::stats();
    (stats.large_bytes, stats.huge_bytes)
}

#[test]
fn a_refused_growth_leaves_a_block_as_it_was() {
    in_want(|| {
        for size in SIZES {
            let layout = Layout::from_size_align(size, 8).expect("a layout");
            // SAFETY: valid layouts; the block has `size` bytes, stays when it cannot grow, and is
            // freed with the layout that it came with.
            unsafe {
                let block = GLOBAL.alloc(layout);
                assert!(!block.is_null(), "memory");
                block.write_bytes(9, size);
                let chain = Chain::exhausting(2_000_000);
                let before = big_bytes();
                assert!(GLOBAL.realloc(block, layout, 50 * MIB).is_null(), "from {size}");
                assert!(GLOBAL.alloc_zeroed(Layout::new::<[u8; 50 * MIB]>()).is_null());
                assert_eq!((block.read(), block.add(size - 1).read()), (9, 9), "{size}");
                assert_eq!(big_bytes(), before, "{size}");
                chain.release();
                GLOBAL.dealloc(block, layout);
            }
            capmalloc::trim();
        }
    });
}

#[test]
fn thousands_of_refusals_leave_no_record_behind() {
    in_want(|| {
        let too_much = Layout::from_size_align(500 * MIB, 8).expect("a layout");
        let before_bytes = capmalloc::stats().metadata_bytes;
        for _ in 0..3000 {
            // SAFETY: a valid layout; what is refused is not given back.
            assert!(unsafe { GLOBAL.alloc(too_much) }.is_null());
        }
        let after_bytes = capmalloc::stats().metadata_bytes;
        assert!(after_bytes < before_bytes + 64 * KIB, "from {before_bytes} to {after_bytes}");
    });
}

#[test]
fn collections_that_can_fail_do_so_in_peace() {
    in_want(|| {
        let mut list: Vec<u64> = Vec::new();
        while list.try_reserve(list.capacity() + 1).is_ok() {
            list.resize(list.capacity(), 7);
        }
        assert!(list.len() * size_of::<u64>() > 30 * MIB, "{} numbers", list.len());
        assert!(list.iter().all(|number| *number == 7));
    });
}

/// Runs `test` in a process of its own, where nothing goes back but for a limit's sake.
fn under_limits_of_our_own(test: impl FnOnce()) {
    if is_child() {
        test();
        capmalloc::check();
    } else {
        Child::new().and("CAPMALLOC_DECAY_MS", "-1").succeed();
    }
}

/// Takes blocks of each size until `limit` refuses, and holds that this is told and passes again.
fn reach(limit: Limit, held_bytes: fn(&Stats) -> usize, refusals: fn(&Stats) -> usize) {
    for size in SIZES {
        capmalloc::trim();
        let before = capmalloc::stats();
        let limit_bytes = held_bytes(&before) + 60 * MIB;
        capmalloc::set_limit(limit, Some(limit_bytes));
        assert_eq!(capmalloc::limit(limit), Some(limit_bytes));
        let chain = Chain::exhausting(size);
        // The figures take memory too, a segment at most.
        capmalloc::set_limit(limit, None);
        let full = capmalloc::stats();
        assert!(held_bytes(&full) <= limit_bytes + 5 * MIB, "{size}: {full}");
        // The last segment may not fit, nor the last block and its descriptors.
        assert!(chain.bytes() > 45 * MIB, "{} bytes in blocks of {size}", chain.bytes());
        assert!(refusals(&full) > refusals(&before), "{size}: {full}");
        assert!(full.last_refused_bytes > 0, "{size}: {full}");
        capmalloc::check();
        // As much can be had again as was freed.
        capmalloc::set_limit(limit, Some(limit_bytes));
        let count = chain.count;
        chain.release();
        let again = Chain::exhausting(size);
        assert!(again.count >= count * 98 / 100, "{} of {count} blocks of {size}", again.count);
        again.release();
        capmalloc::set_limit(limit, None);
        // Without the limit there is more.
        let before = refusals(&capmalloc::stats());
        drop(Vec::<u8>::with_capacity(100 * MIB));
        assert_eq!(refusals(&capmalloc::stats()), before);
    }
}

#[test]
fn a_limit_on_address_space_refuses_tells_and_is_recovered_from() {
    under_limits_of_our_own(|| {
        reach(
            Limit::AddressSpace,
            |stats| stats.mapped_bytes,
            |stats| stats.address_space_refusals,
        );
        assert_eq!(capmalloc::stats().hard_limit_refusals, 0, "{}", capmalloc::stats());
    });
}

#[test]
fn a_hard_limit_on_resident_memory_refuses_tells_and_is_recovered_from() {
    under_limits_of_our_own(|| {
        reach(Limit::ResidentHard, |stats| stats.resident_bytes, |stats| stats.hard_limit_refusals);
        assert_eq!(capmalloc::stats().address_space_refusals, 0, "{}", capmalloc::stats());
    });
}

/// Blocks of every small size, 20 MiB in all.
fn small_blocks() -> Vec<Vec<u8>> {
    let mut blocks: Vec<Vec<u8>> = Vec::new();
    let mut total_bytes = 0;
    while total_bytes < 20 * MIB {
        let size = 16 + total_bytes % 2000;
        blocks.push(vec![blocks.len() as u8; size]);
        total_bytes += size;
    }
    blocks
}

#[test]
fn a_soft_limit_refuses_nothing_and_trims_once_each_time_it_is_passed() {
    under_limits_of_our_own(|| {
        // All of it is dirty then, and less than what is allowed.
        drop(small_blocks());
        let idle_bytes = capmalloc::stats().resident_bytes;
        assert!(idle_bytes > 15 * MIB, "{}", capmalloc::stats());
        capmalloc::set_limit(Limit::ResidentSoft, Some(idle_bytes + 8 * MIB));
        assert_eq!(capmalloc::stats().soft_limit_trims, 0);
        for passed in 1..=3 {
            drop(small_blocks());
            // Too long for what lies dirty, and alone below the limit.
            let large: Vec<Vec<u8>> = (0..11).map(|_| vec![3_u8; 2 * MIB]).collect();
            let stats = capmalloc::stats();
            assert_eq!(stats.soft_limit_trims, passed, "{stats}");
            assert!(stats.dirty_bytes < 8 * MIB, "what was free went first: {stats}");
            assert_eq!(stats.hard_limit_refusals + stats.address_space_refusals, 0, "{stats}");
            drop(large);
            // It speaks again only once memory has been below it.
            capmalloc::trim();
        }
        let live: Vec<Vec<u8>> = (0..30).map(|_| vec![4_u8; 2 * MIB]).collect();
        let above = capmalloc::stats();
        let more: Vec<Vec<u8>> = (0..30).map(|_| vec![5_u8; MIB]).collect();
        let further = capmalloc::stats();
        assert!(above.soft_limit_trims > 3, "{above}");
        assert_eq!(further.soft_limit_trims, above.soft_limit_trims, "what lives is no news");
        drop((live, more));
    });
}

/// Allocates until refused or the list is full, checks and frees all, and so on, beside others who do
/// the same.
fn swing(seed: u8, mut blocks: Vec<Box<[u8]>>) {
    for round in 0..6 {
        let size = SIZES[(seed as usize + round) % 4];
        while blocks.len() < blocks.capacity() {
            let mut block: Vec<u8> = Vec::new();
            if block.try_reserve_exact(size).is_err() {
                break;
            }
            block.resize(size, seed);
            blocks.push(block.into_boxed_slice());
        }
        let is_whole = |block: &[u8]| block.iter().all(|byte| *byte == seed);
        assert!(blocks.iter().all(|block| is_whole(block)), "a block was overwritten");
        blocks.clear();
    }
}

#[test]
fn threads_that_meet_the_limits_together_are_refused_and_lose_nothing() {
    under_limits_of_our_own(|| {
        let before = capmalloc::stats();
        // The threads are there and their lists have room first: what is refused is blocks.
        let start = Arc::new(Barrier::new(8 + 1));
        let swing_later = |seed| {
            let (start, blocks) = (Arc::clone(&start), Vec::with_capacity(4000));
            std::thread::spawn(move || {
                start.wait();
                swing(seed, blocks);
            })
        };
        let threads: Vec<_> = (1..=8).map(swing_later).collect();
        capmalloc::set_limit(Limit::ResidentHard, Some(before.resident_bytes + 40 * MIB));
        capmalloc::set_limit(Limit::AddressSpace, Some(before.mapped_bytes + 80 * MIB));
        capmalloc::set_limit(Limit::ResidentSoft, Some(before.resident_bytes + 30 * MIB));
        start.wait();
        threads.into_iter().for_each(|thread| thread.join().expect("no byte is lost"));
        let stats = capmalloc::stats();
        assert!(stats.hard_limit_refusals > 0 && stats.soft_limit_trims > 0, "{stats}");
        capmalloc::trim();
        let stats = capmalloc::stats();
        assert!(stats.resident_bytes < before.resident_bytes + MIB, "{before}\n{stats}");
    });
}
