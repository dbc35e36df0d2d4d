//! Where memory is short: a small program needs little address space and little memory, and a
//! program that runs out is told so, loses nothing, and can use again what it frees.

mod common;

use std::alloc::{GlobalAlloc as _, Layout};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use capmalloc::CapMalloc;
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
    unsafe { program.pre_exec(|| limit_addresses(64 * MIB)) };
    greet(program, |_| ());
}

#[test]
fn a_small_program_is_resident_little_more_than_on_the_systems_allocator() {
    let look = |process| (resident::bytes_of(process), resident::anonymous_bytes_of(process));
    let own = greet(example("hello"), look);
    let system = greet(example("hello_system"), look);
    assert!(own.1 < system.1 + 256 * KIB, "anonymous memory: {own:?}, {system:?}");
    // Code that was not optimised is several times as long, and is resident as well.
    if !cfg!(debug_assertions) {
        assert!(own.0 < system.0 + 512 * KIB, "{own:?}, {system:?}");
    }
}

fn limit_addresses(bytes: usize) -> std::io::Result<()> {
    let limit = libc::rlimit { rlim_cur: bytes as u64, rlim_max: bytes as u64 };
    // SAFETY: the limit is a valid one.
    match unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
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
    limit_addresses(address_space::used_bytes() + 100 * MIB).expect("a lower limit");
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
