//! Heaps of one's own from outside, in a program whose global allocator is another: what they take
//! and give back by the kernel's figures, forks beside them, and threads that hand them on.

mod common;

use std::alloc::Layout;
use std::os::unix::process::ExitStatusExt as _;
use std::panic::AssertUnwindSafe;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use capmalloc::{FixedRegion, Heap, Limit, OsPages, PageSource};
use common::address_space;
use common::child::{Child, is_child};
use common::resident;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// Runs `test` in a process of its own, whose resident memory nobody else changes.
fn in_child(test: impl FnOnce()) {
    if is_child() { test() } else { drop(Child::new().succeed()) }
}

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, 8).expect("a layout")
}

/// A block of so many bytes, each of which is written.
fn block<S: PageSource>(heap: &Heap<S>, size: usize, byte: u8) -> Option<NonNull<u8>> {
    let block = heap.alloc(layout(size))?;
    // SAFETY: the block was just handed out, and is so long.
    unsafe { block.write_bytes(byte, size) };
    Some(block)
}

/// Blocks of all kinds that come to some `bytes` together, all of them written.
fn fill<S: PageSource>(heap: &Heap<S>, bytes: usize) -> Vec<(NonNull<u8>, usize)> {
    let mut blocks = Vec::new();
    for size in [24, 100, 1000, 5000, 20_000, 200_000, 3 * MIB] {
        let some = (0..bytes / 7 / size).map_while(|index| block(heap, size, index as u8));
        blocks.extend(some.map(|block| (block, size)));
    }
    blocks
}

fn free<S: PageSource>(heap: &Heap<S>, blocks: Vec<(NonNull<u8>, usize)>) {
    for (block, size) in blocks {
        // SAFETY: every caller has the blocks from `fill` on this heap, and gives them up.
        unsafe { heap.dealloc(block, layout(size)) };
    }
}

#[test]
fn a_heap_that_goes_gives_all_of_its_memory_back() {
    in_child(|| {
        drop(Heap::new().expect("a first heap, for what is made once"));
        let (resident_before, mapped_before) = (resident::bytes(), address_space::used_bytes());
        let heap = Heap::new().expect("a heap");
        let blocks = fill(&heap, 60 * MIB).len();
        assert!(blocks > 10_000 && resident::bytes() > resident_before + 50 * MIB);
        drop(heap);
        let (resident, mapped) = (resident::bytes(), address_space::used_bytes());
        assert!(resident < resident_before + 2 * MIB, "{resident_before} to {resident}");
        assert!(mapped < mapped_before + 8 * MIB, "{mapped_before} to {mapped}");
    });
}

#[test]
fn a_heap_for_each_of_many_tenants_costs_each_of_them_little() {
    const TENANTS: usize = 100;
    in_child(|| {
        drop(Heap::new().expect("a first heap, for what is made once"));
        let before_bytes = resident::bytes();
        let heaps: Vec<_> = (0..TENANTS).map(|_| Heap::new().expect("a heap")).collect();
        let fresh_bytes = (resident::bytes() - before_bytes) / TENANTS;
        assert!(fresh_bytes <= 40 * KIB, "{fresh_bytes} bytes are resident for a fresh heap");
        // In little address space a part of the tenants does.
        let served = heaps.iter().take_while(|heap| block(heap, 100, 1).is_some()).count();
        assert!(served >= TENANTS / 2, "{served} were served");
        let used_bytes = (resident::bytes() - before_bytes) / TENANTS;
        assert!(used_bytes <= 160 * KIB, "{used_bytes} bytes are resident for one small block");
        let told_bytes = heaps[0].stats().resident_bytes;
        assert!(told_bytes >= used_bytes / 2 && told_bytes <= 2 * used_bytes, "{told_bytes}");
        drop(heaps);
        let after_bytes = resident::bytes();
        assert!(after_bytes < before_bytes + 512 * KIB, "{before_bytes} to {after_bytes}");
    });
}

#[test]
fn a_limit_on_one_heap_is_not_anothers() {
    let (one, other) = (Heap::new().expect("a heap"), Heap::new().expect("another"));
    one.set_limit(Limit::ResidentHard, Some(2 * MIB));
    assert!(block(&one, 3 * MIB, 1).is_none() && block(&other, 3 * MIB, 1).is_some());
    assert!(block(&one, MIB, 1).is_some(), "what fits is had");
    assert!(one.stats().hard_limit_refusals > 0);
}

#[test]
fn a_heap_may_pass_from_thread_to_thread_with_its_blocks() {
    let heap = Heap::new().expect("a heap");
    let mut blocks = Vec::new();
    let mut carried = (heap, std::mem::take(&mut blocks));
    for round in 0..8_u8 {
        // Addresses, for a pointer cannot be sent by itself.
        struct Carried(Heap, Vec<(NonNull<u8>, usize)>);
        // SAFETY: the blocks are the heap's, and pass to the next thread together with it.
        unsafe impl Send for Carried {}
        let given = Carried(carried.0, carried.1);
        let thread = std::thread::spawn(move || {
            let given = given;
            let Carried(heap, before) = given;
            let more = fill(&heap, MIB);
            free(&heap, before);
            heap.check();
            assert!(heap.stats().threads <= 1, "round {round}");
            Carried(heap, more)
        });
        let Carried(heap, blocks) = thread.join().expect("a thread that does its part");
        carried = (heap, blocks);
    }
    free(&carried.0, carried.1);
    assert_eq!(carried.0.stats().allocated_bytes, 0);
}

static IS_OVER: AtomicBool = AtomicBool::new(false);

/// Ends the busy threads, also where the test panics.
struct Over;

impl Drop for Over {
    fn drop(&mut self) {
        IS_OVER.store(true, Relaxed);
    }
}

/// Uses a heap for as long as the test runs; another heap comes and goes meanwhile.
fn keep_busy<S: PageSource>(heap: &Heap<S>) {
    while !IS_OVER.load(Relaxed) {
        let blocks = fill(heap, 2 * MIB);
        let passing = Heap::with_source(OsPages).expect("a heap that comes and goes");
        fill(&passing, 50_000);
        free(heap, blocks);
        heap.trim();
    }
}

/// Runs `work` in a fork of this process; answers the status that it ended with.
fn status_of_fork(work: impl FnOnce() -> i32) -> i32 {
    // SAFETY: the child uses heaps, whose locks a fork takes along, and ends at once. Its figures
    // and lists come from the C library's allocator, which is taken along too.
    let process = unsafe { libc::fork() };
    assert!(process >= 0, "a fork");
    if process == 0 {
        // SAFETY: a child that hangs is ended, and ends the test. Then it ends itself, without a
        // look at what belongs to the parent's threads.
        unsafe {
            libc::alarm(60);
            libc::_exit(work());
        }
    }
    let mut status = 0;
    // SAFETY: waits for the child just made; the place for its status is ours.
    assert_eq!(unsafe { libc::waitpid(process, &mut status, 0) }, process);
    assert!(libc::WIFEXITED(status), "the forked child died: {status:#x}");
    libc::WEXITSTATUS(status)
}

/// Forks beside threads that use these heaps; a child uses them at once, and drops one.
fn forks_beside<S: PageSource>(heaps: Vec<Heap<S>>) {
    const FORKS: usize = 20;
    let mut heaps = heaps;
    std::thread::scope(|scope| {
        for heap in &heaps {
            (0..2).for_each(|_| drop(scope.spawn(|| keep_busy(heap))));
        }
        let _over = Over;
        for _ in 0..FORKS {
            let status = status_of_fork(|| {
                for heap in &heaps {
                    let blocks = fill(heap, MIB);
                    free(heap, blocks);
                    heap.trim();
                    heap.check();
                }
                let new = Heap::new().expect("a heap of the child's own");
                i32::from(fill(&new, MIB).is_empty())
            });
            assert_eq!(status, 0);
        }
    });
    let last = heaps.pop().expect("heaps that were given");
    let drop_in_child = move || {
        drop(last);
        0
    };
    assert_eq!(status_of_fork(drop_in_child), 0);
}

#[test]
fn a_forked_child_uses_heaps_that_were_busy() {
    in_child(|| forks_beside((0..2).map(|_| Heap::new().expect("a heap")).collect()));
}

#[test]
fn a_forked_child_uses_heaps_in_a_region_that_was_busy() {
    in_child(|| {
        let memory = vec![std::mem::MaybeUninit::uninit(); 40 * MIB].leak();
        let region = Arc::new(FixedRegion::new(memory).expect("40 MiB are enough"));
        let heap = || Heap::with_source(Arc::clone(&region)).expect("a heap in the region");
        forks_beside((0..2).map(|_| heap()).collect());
    });
}

/// Pages of the operating system, for a source that notes each call in a list of its own heap.
struct Noting {
    notes: std::sync::Mutex<Vec<(usize, NonNull<u8>)>>,
    beside: Heap,
}

// SAFETY: the pointers are noted, and never used.
unsafe impl Send for Noting {}
// SAFETY: as above.
unsafe impl Sync for Noting {}

// SAFETY: all memory is the operating system's, which keeps the contract.
unsafe impl PageSource for Noting {
    fn map(&self, bytes: usize, align: usize) -> Option<NonNull<u8>> {
        let base = OsPages.map(bytes, align)?;
        let note = block(&self.beside, 100, 1)?;
        self.notes.lock().expect("notes").push((bytes, note));
        Some(base)
    }

    unsafe fn unmap(&self, base: NonNull<u8>, bytes: usize) {
        // SAFETY: the caller's promise is the one asked for.
        unsafe { OsPages.unmap(base, bytes) };
    }

    unsafe fn purge(&self, base: NonNull<u8>, bytes: usize) -> bool {
        // SAFETY: the caller's promise is the one asked for.
        unsafe { OsPages.purge(base, bytes) }
    }
}

#[test]
fn a_source_may_use_an_older_heap_and_the_global_allocator() {
    let beside = Heap::new().expect("a heap for the notes");
    let source = Noting { notes: std::sync::Mutex::default(), beside };
    let heap = Heap::with_source(source).expect("a heap that is noted");
    let blocks = fill(&heap, 20 * MIB);
    let notes = heap.source().notes.lock().expect("notes").len();
    assert!(notes >= 8, "{notes} mappings were noted");
    free(&heap, blocks);
    drop(heap);
}

/// Pages of the operating system, until the method of this name is called.
struct Panicking(&'static str, AtomicBool);

impl Panicking {
    fn enter(&self, method: &str) {
        assert!(self.0 != method || !self.1.load(Relaxed), "{method}");
    }
}

// SAFETY: all memory is the operating system's, which keeps the contract.
unsafe impl PageSource for Panicking {
    fn map(&self, bytes: usize, align: usize) -> Option<NonNull<u8>> {
        self.enter("map");
        OsPages.map(bytes, align)
    }

    unsafe fn unmap(&self, base: NonNull<u8>, bytes: usize) {
        self.enter("unmap");
        // SAFETY: the caller's promise is the one asked for.
        unsafe { OsPages.unmap(base, bytes) };
    }

    unsafe fn purge(&self, base: NonNull<u8>, bytes: usize) -> bool {
        self.enter("purge");
        // SAFETY: the caller's promise is the one asked for.
        unsafe { OsPages.purge(base, bytes) }
    }

    unsafe fn remap(&self, base: NonNull<u8>, old: usize, new: usize) -> Option<NonNull<u8>> {
        self.enter("remap");
        // SAFETY: the caller's promise is the one asked for.
        unsafe { OsPages.remap(base, old, new) }
    }

    fn granularity_bytes(&self) -> usize {
        self.enter("granularity_bytes");
        OsPages.granularity_bytes()
    }
}

/// Holds that `work`, run in a process of its own, is ended over a page source's panic.
fn aborts(work: impl FnOnce()) {
    if is_child() {
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: the limit is a valid one. Nobody wants the core of a process that dies on purpose.
        unsafe { libc::setrlimit(libc::RLIMIT_CORE, &none) };
        return work();
    }
    let ending = Child::new().end();
    assert_eq!(ending.status.signal(), Some(libc::SIGABRT), "{ending}");
    assert!(ending.complaints.contains("capmalloc: a page source panicked"), "{ending}");
}

/// Calls `misuse` with a heap whose source panics in one method, and catches what it can: a panic
/// that came out of the heap would end nothing.
fn with_panicking(method: &'static str, misuse: impl FnOnce(Heap<Panicking>)) {
    aborts(|| {
        let heap = Heap::with_source(Panicking(method, AtomicBool::new(false))).expect("a heap");
        // Something of each kind that a method can be called for.
        let large = heap.alloc(layout(100_000)).expect("memory");
        let _kept = heap.alloc(layout(100_000)).expect("memory");
        // SAFETY: the block was just handed out for this layout.
        unsafe { heap.dealloc(large, layout(100_000)) };
        heap.source().1.store(true, Relaxed);
        let _ = std::panic::catch_unwind(AssertUnwindSafe(|| misuse(heap)));
    });
}

#[test]
fn a_page_source_that_panics_as_it_maps() {
    with_panicking("map", |heap| assert!(heap.alloc(layout(3 << 20)).is_none()));
}

#[test]
fn a_page_source_that_panics_as_it_purges() {
    with_panicking("purge", |heap| assert_eq!(heap.trim().total_bytes(), 0));
}

#[test]
fn a_page_source_that_panics_as_it_is_asked_for_its_unit() {
    with_panicking("granularity_bytes", |heap| assert_eq!(heap.trim().total_bytes(), 0));
}

#[test]
fn a_page_source_that_panics_as_it_moves_a_mapping() {
    with_panicking("remap", |heap| {
        let block = heap.alloc(layout(3 << 20)).expect("memory");
        // SAFETY: the block was just handed out for this layout.
        assert!(unsafe { heap.realloc(block, layout(3 << 20), 5 << 20) }.is_none());
    });
}

#[test]
fn a_page_source_that_panics_as_it_unmaps() {
    with_panicking("unmap", drop);
}

#[test]
fn a_page_source_that_panics_as_its_heap_is_made() {
    aborts(|| {
        let source = Panicking("map", AtomicBool::new(true));
        let _ = std::panic::catch_unwind(AssertUnwindSafe(|| Heap::with_source(source)));
    });
}
