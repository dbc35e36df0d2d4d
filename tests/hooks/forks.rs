//! Hooks in forked children, on the background thread, and ones that panic.

use super::*;

/// Ends the threads beside a test, also where it panics.
struct Over(&'static AtomicBool);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

#[test]
fn a_forked_child_has_the_hooks() {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    static IS_OVER: AtomicBool = AtomicBool::new(false);
    alone(|| {
        let count = |_: &Event| count_in(&CALLS);
        let kept = hooks::add(count);
        std::thread::scope(|scope| {
            let _over = Over(&IS_OVER);
            // Two who have the locks of the hooks much of the time, and others who run hooks.
            scope.spawn(|| {
                while !IS_OVER.load(Relaxed) {
                    assert!(hooks::remove(hooks::add(log_nothing)));
                }
            });
            scope.spawn(|| {
                while !IS_OVER.load(Relaxed) {
                    assert!(alloc(isize::MAX as usize - 4096).is_null());
                }
            });
            for _ in 0..2 {
                scope.spawn(|| {
                    while !IS_OVER.load(Relaxed) {
                        let own = hooks::add(|_: &Event| drop(vec![1_u8; 5000]));
                        churn();
                        capmalloc::trim();
                        hooks::remove(own);
                    }
                });
            }
            for _ in 0..60 {
                in_fork(|| {
                    // What waited at the fork, if anything.
                    capmalloc::set_limit(Limit::ResidentSoft, None);
                    let before = CALLS.load(Relaxed);
                    capmalloc::trim();
                    let is_told = CALLS.load(Relaxed) > before;
                    let own = hooks::add(count);
                    churn();
                    capmalloc::check();
                    is_told && hooks::remove(own) && hooks::remove(kept)
                });
            }
        });
        assert!(hooks::remove(kept), "the child removed its own");
    });
}

/// Pages of the operating system, from a source that uses the global heap as it maps them.
struct Trimming;

// SAFETY: all memory is the operating system's, which keeps the contract.
unsafe impl PageSource for Trimming {
    fn map(&self, bytes: usize, align: usize) -> Option<NonNull<u8>> {
        capmalloc::trim();
        OsPages.map(bytes, align)
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
fn what_a_page_source_causes_is_told_when_its_heap_has_no_lock() {
    static HEAP: OnceLock<Heap<Trimming>> = OnceLock::new();
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    alone(|| {
        let heap = HEAP.get_or_init(|| Heap::with_source(Trimming).expect("a heap"));
        // A hook that waits for its own thread's lock would do so for ever.
        // SAFETY: it only starts a clock, whose signal ends this process.
        unsafe { libc::alarm(60) };
        hooks::add(|_: &Event| {
            count_in(&CALLS);
            heap.trim();
            let block = heap.alloc(layout(3 * MIB)).expect("memory");
            // SAFETY: just allocated with this layout, and used no more.
            unsafe { heap.dealloc(block, layout(3 * MIB)) };
            in_fork(|| heap.alloc(layout(100)).is_some());
        });
        for size in [100, 100_000, 3 * MIB] {
            let before = CALLS.load(Relaxed);
            assert!(heap.alloc(layout(size)).is_some());
            assert_eq!(CALLS.load(Relaxed), before, "a heap of one's own tells nothing");
            capmalloc::set_limit(Limit::ResidentSoft, None);
            assert!(CALLS.load(Relaxed) > before, "{size}");
        }
        heap.check();
    });
}

#[test]
fn a_hook_may_fork() {
    static FORKS: AtomicUsize = AtomicUsize::new(0);
    alone(|| {
        hooks::add(|_: &Event| {
            FORKS.fetch_add(1, Relaxed);
            in_fork(|| {
                churn();
                capmalloc::trim();
                capmalloc::check();
                true
            });
        });
        (0..3).for_each(|_| trim());
        assert!(FORKS.load(Relaxed) >= 3);
    });
}

#[test]
fn a_hook_that_panics_stops_the_program() {
    if is_child() {
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: the limit is a valid one. Nobody wants the core of a process that dies on purpose.
        unsafe { libc::setrlimit(libc::RLIMIT_CORE, &none) };
        hooks::add(|event: &Event| assert!(!matches!(event, Event::Trimmed(_)), "of its own"));
        let outcome = std::panic::catch_unwind(capmalloc::trim);
        unreachable!("a panic came through the allocator: {outcome:?}");
    }
    let ending = Child::new().end();
    assert_eq!(ending.status.signal(), Some(libc::SIGABRT), "{ending}");
    assert!(ending.complaints.contains("of its own"), "the panic's own message: {ending}");
    let last = ending.complaints.lines().last();
    assert_eq!(last, Some("capmalloc: a hook panicked"), "{ending}");
}

#[test]
fn the_background_thread_tells_what_it_does_while_the_program_sleeps() {
    static IS_TOLD: AtomicBool = AtomicBool::new(false);
    if !is_child() {
        let settings = [("CAPMALLOC_DECAY_MS", "50"), ("CAPMALLOC_BACKGROUND", "1")];
        Child::with_settings(&settings).succeed();
        return;
    }
    hooks::add(|event: &Event| {
        if let Event::SegmentReleased { .. } = event {
            drop(vec![1_u8; 100_000]);
            IS_TOLD.store(true, Relaxed);
        }
    });
    let blocks = [(); 6].map(|()| alloc(2 * MIB));
    blocks.into_iter().for_each(|block| free(block, 2 * MIB));
    // Nothing here comes by a slow path, and a test that fails does so by never ending its wait.
    for _ in 0..6000 {
        if IS_TOLD.load(Relaxed) {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("nobody told of a segment released");
}
