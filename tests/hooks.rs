//! Hooks are told what happens to the heap, with the right figures, and can do whatever the program
//! can do meanwhile.

mod common;

use std::alloc::{GlobalAlloc as _, Layout};
use std::cell::Cell;
use std::os::unix::process::ExitStatusExt as _;
use std::ptr::NonNull;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Barrier, Mutex, OnceLock};
use std::time::Duration;

use capmalloc::hooks::{self, Event, HookId, LimitReached, Response};
use capmalloc::{CapMalloc, Heap, Limit, OsPages, PageSource};
use common::child::{Child, is_child};
use common::worker::Worker;

#[global_allocator]
static GLOBAL: CapMalloc = CapMalloc::new();

const MIB: usize = 1 << 20;
const SEGMENT_BYTES: usize = 4 * MIB;

/// Nothing decays, so that nothing happens but what a test does.
const SETTINGS: [(&str, &str); 2] = [("CAPMALLOC_DECAY_MS", "-1"), ("CAPMALLOC_ARENA_MAX", "4")];

/// Runs `test` in a process of its own, with hooks and a heap of its own.
fn alone(test: impl FnOnce()) {
    if !is_child() {
        Child::with_settings(&SETTINGS).succeed();
        return;
    }
    wait_until_main_thread_waits();
    test();
    capmalloc::check();
}

/// Waits until the main thread, which has just made this one, waits for its end.
///
/// Until then it allocates now and then, and would tell hooks what this thread causes.
fn wait_until_main_thread_waits() {
    let is_asleep = || {
        let status = std::fs::read_to_string("/proc/self/stat").expect("the kernel tells");
        // Behind the name, which may hold anything, comes the state of the main thread.
        status.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('S'))
    };
    while !is_asleep() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// What hooks were told: places enough, and neither a lock nor an allocation to fill one.
static LOG: [OnceLock<Event>; 4096] = [const { OnceLock::new() }; 4096];
static LOGGED: AtomicUsize = AtomicUsize::new(0);

fn log(event: &Event) {
    let place = LOGGED.fetch_add(1, SeqCst);
    LOG[place].set(*event).expect("a place of its own");
}

/// What is logged while `act` runs.
fn events_of<T>(act: impl FnOnce() -> T) -> (T, Vec<Event>) {
    let first = LOGGED.load(SeqCst);
    let answer = act();
    let events = &LOG[first..LOGGED.load(SeqCst)];
    (answer, events.iter().map(|event| *event.get().expect("logged")).collect())
}

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, 8).expect("a layout")
}

fn alloc(size: usize) -> *mut u8 {
    // SAFETY: a valid layout.
    unsafe { GLOBAL.alloc(layout(size)) }
}

fn free(block: *mut u8, size: usize) {
    // SAFETY: the tests give here what `alloc` gave them for this size, once.
    unsafe { GLOBAL.dealloc(block, layout(size)) };
}

fn limits_in(events: &[Event]) -> Vec<LimitReached> {
    let reached = |event: &Event| match event {
        Event::LimitReached(reached) => Some(*reached),
        _ => None,
    };
    events.iter().filter_map(reached).collect()
}

fn failures_in(events: &[Event]) -> Vec<(usize, usize)> {
    let failure = |event: &Event| match event {
        Event::AllocationFailed { size, align, .. } => Some((*size, *align)),
        _ => None,
    };
    events.iter().filter_map(failure).collect()
}

fn trims_in(events: &[Event]) -> usize {
    events.iter().filter(|event| matches!(event, Event::Trimmed(_))).count()
}

#[test]
fn arenas_are_told_when_they_open_and_when_they_are_drained() {
    alone(|| {
        let open = capmalloc::stats().arenas.len();
        hooks::add(log);
        let worker = Worker::start();
        let ((), events) = events_of(|| worker.run(|| drop(vec![1_u8; 100])));
        // The worker's first allocation may have been at its start.
        let created = |event: &Event| match event {
            Event::ArenaCreated { arena, .. } => Some(*arena),
            _ => None,
        };
        let all: Vec<usize> = LOG.iter().map_while(OnceLock::get).filter_map(created).collect();
        assert_eq!(all, [open], "{events:?}");

        let ((), events) = events_of(|| capmalloc::set_arena_max(1).expect("in range"));
        let drained = |event: &Event| match event {
            Event::ArenaDrained { arena, .. } => *arena,
            _ => panic!("{event:?}"),
        };
        assert!(events.iter().map(drained).eq(1..=open), "{events:?}");
        let (outcome, events) = events_of(|| capmalloc::set_arena_max(0));
        assert!(outcome.is_err() && events.is_empty());

        capmalloc::set_arena_max(2).expect("in range");
        let ((), events) = events_of(|| Worker::start().run(|| drop(vec![1_u8; 100])));
        assert!(events.iter().filter_map(created).eq([1]), "again: {events:?}");
    });
}

#[test]
fn segments_are_told_with_their_addresses_and_what_is_mapped() {
    alone(|| {
        hooks::add(log);
        let before = capmalloc::stats();
        let (blocks, events) = events_of(|| [(); 6].map(|()| alloc(2 * MIB)));
        let mut mapped_before_bytes = before.mapped_bytes;
        let mut segments = Vec::new();
        for event in &events {
            let Event::SegmentMapped { address, bytes, mapped_bytes, .. } = *event else {
                panic!("{event:?}");
            };
            assert_eq!((address % SEGMENT_BYTES, bytes), (0, SEGMENT_BYTES));
            assert!(mapped_bytes >= mapped_before_bytes + SEGMENT_BYTES);
            mapped_before_bytes = mapped_bytes;
            segments.push(address);
        }
        let after = capmalloc::stats();
        assert_eq!(segments.len(), after.segments_mapped - before.segments_mapped);
        assert_eq!(mapped_before_bytes, after.mapped_bytes);
        assert!(segments.len() >= 2);
        let is_in_a_segment = |address: usize| {
            segments.iter().any(|start| (*start..start + SEGMENT_BYTES).contains(&address))
        };
        assert!(is_in_a_segment(blocks[5].addr()));

        let (trimmed, events) = events_of(|| {
            blocks.into_iter().for_each(|block| free(block, 2 * MIB));
            capmalloc::trim()
        });
        let (done, released) = events.split_last().expect("events");
        assert_eq!(*done, Event::Trimmed(trimmed));
        assert_eq!(trimmed.segment_address_bytes, released.len() * SEGMENT_BYTES);
        assert!(!released.is_empty());
        for event in released {
            let Event::SegmentReleased { address, bytes, mapped_bytes, .. } = *event else {
                panic!("{event:?}");
            };
            assert!(segments.contains(&address) && bytes == SEGMENT_BYTES);
            assert!(mapped_bytes + SEGMENT_BYTES <= mapped_before_bytes);
            mapped_before_bytes = mapped_bytes;
        }
    });
}

#[test]
fn trims_are_told_with_what_they_gave_back() {
    alone(|| {
        hooks::add(log);
        free(alloc(5 * MIB), 5 * MIB);
        let (trimmed, events) = events_of(capmalloc::trim);
        assert_eq!(trimmed.huge_bytes, 5 * MIB);
        assert_eq!(events.last(), Some(&Event::Trimmed(trimmed)));
        let (trimmed, events) = events_of(|| capmalloc::trim_arena(0).expect("it is open"));
        assert_eq!(events, [Event::Trimmed(trimmed)]);
        let (trimmed, events) = events_of(|| capmalloc::trim_arena(1000));
        assert!(trimmed.is_none() && events.is_empty());
    });
}

#[test]
fn a_refused_request_tells_the_limit_and_by_how_much_and_then_that_it_fails() {
    alone(|| {
        hooks::add(log);
        capmalloc::trim();
        // The two limits, each with what it is counted against.
        let held_bytes = || capmalloc::stats().resident_bytes;
        let mapped_bytes = || capmalloc::stats().mapped_bytes;
        let limits: [(Limit, &dyn Fn() -> usize); 2] =
            [(Limit::ResidentHard, &held_bytes), (Limit::AddressSpace, &mapped_bytes)];
        for (limit, held_bytes) in limits {
            let limit_bytes = held_bytes() + 30 * MIB;
            capmalloc::set_limit(limit, Some(limit_bytes));
            let held = alloc(20 * MIB);
            assert!(!held.is_null());
            let before_bytes = held_bytes();
            let mapped_before_bytes = mapped_bytes();
            let refusals =
                |stats: capmalloc::Stats| stats.hard_limit_refusals + stats.address_space_refusals;
            let tries_before = refusals(capmalloc::stats());
            let (block, events) = events_of(|| alloc(20 * MIB));
            assert!(block.is_null());
            assert_eq!(refusals(capmalloc::stats()) - tries_before, 2, "it was tried twice");
            let [reached] = limits_in(&events)[..] else { panic!("{events:?}") };
            assert_eq!((reached.limit, reached.limit_bytes), (limit, limit_bytes));
            assert_eq!(reached.asked_bytes, 20 * MIB);
            // The record of the request may be a page more than before.
            assert!((before_bytes..before_bytes + MIB).contains(&reached.held_bytes));
            assert!(
                (mapped_before_bytes..mapped_before_bytes + MIB).contains(&reached.mapped_bytes)
            );
            assert_eq!(reached.over_bytes(), reached.held_bytes + 20 * MIB - limit_bytes);
            assert_eq!(failures_in(&events), [(20 * MIB, 8)]);
            assert_eq!(trims_in(&events), 1);
            assert!(matches!(events.last(), Some(Event::AllocationFailed { .. })), "{events:?}");
            free(held, 20 * MIB);
            capmalloc::trim();
            capmalloc::set_limit(limit, None);
        }
    });
}

#[test]
fn a_request_that_nothing_could_serve_is_told_too() {
    alone(|| {
        hooks::add(log);
        let size = isize::MAX as usize - 4096;
        let (block, events) = events_of(|| alloc(size));
        assert!(block.is_null());
        assert_eq!(failures_in(&events), [(size, 8)]);
        assert_eq!((trims_in(&events), limits_in(&events).len()), (0, 0));
        let Some(Event::AllocationFailed { mapped_bytes, resident_bytes, .. }) = events.last()
        else {
            panic!("{events:?}");
        };
        let stats = capmalloc::stats();
        assert!(*mapped_bytes >= SEGMENT_BYTES && *mapped_bytes <= stats.mapped_bytes);
        assert!(*resident_bytes > 0 && *resident_bytes <= *mapped_bytes);
    });
}

#[test]
fn the_soft_limit_is_told_once_after_its_trim() {
    alone(|| {
        hooks::add(log);
        capmalloc::trim();
        let limit_bytes = capmalloc::stats().resident_bytes + 20 * MIB;
        capmalloc::set_limit(Limit::ResidentSoft, Some(limit_bytes));
        // Kept for reuse, and so the first thing that the trim gives back.
        free(alloc(10 * MIB), 10 * MIB);
        let (held, events) = events_of(|| alloc(15 * MIB));
        let [reached] = limits_in(&events)[..] else { panic!("{events:?}") };
        assert_eq!((reached.limit, reached.limit_bytes), (Limit::ResidentSoft, limit_bytes));
        assert_eq!(reached.asked_bytes, 0);
        assert!((4 * MIB..6 * MIB).contains(&reached.over_bytes()), "{reached:?}");
        assert_eq!(reached.over_bytes(), reached.held_bytes - limit_bytes);
        assert!(reached.left_bytes + 9 * MIB < reached.held_bytes, "{reached:?}");
        assert_eq!(trims_in(&events), 1);
        let is_told = |event: &Event| matches!(event, Event::LimitReached(_));
        assert!(events.last().is_some_and(is_told), "the trim comes first: {events:?}");
        let (_, events) = events_of(|| free(alloc(MIB), MIB));
        assert_eq!(events.iter().filter(|event| is_told(event)).count(), 0);
        free(held, 15 * MIB);
    });
}

/// Memory that a hook gives up when there is no other.
static BALLAST: Mutex<Option<Vec<u8>>> = Mutex::new(None);

fn give_ballast_up(event: &Event) -> Response {
    log(event);
    if !matches!(event, Event::AllocationFailed { .. }) {
        // It means nothing.
        return Response::Retry;
    }
    let given_up = BALLAST.try_lock().ok().and_then(|mut ballast| ballast.take());
    if given_up.is_some() { Response::Retry } else { Response::Ignore }
}

/// Holds that `request` succeeds, under a limit that has no room for it beside the ballast.
fn succeeds_without_ballast(size: usize, room_bytes: usize, request: impl FnOnce() -> *mut u8) {
    *BALLAST.lock().expect("no one panics") = Some(vec![1; 40 * MIB]);
    capmalloc::trim();
    let limit_bytes = capmalloc::stats().resident_bytes + room_bytes;
    capmalloc::set_limit(Limit::ResidentHard, Some(limit_bytes));
    let (block, events) = events_of(request);
    capmalloc::set_limit(Limit::ResidentHard, None);
    assert!(!block.is_null());
    assert!(BALLAST.lock().expect("no one panics").is_none(), "the ballast is gone");
    assert_eq!(failures_in(&events), [(size, 8)]);
    assert_eq!(limits_in(&events).len(), 1, "{events:?}");
    // SAFETY: the block has this size.
    unsafe { block.write_bytes(7, size) };
    free(block, size);
    capmalloc::trim();
}

#[test]
fn a_retry_succeeds_where_the_hook_gave_something_up() {
    alone(|| {
        hooks::add(log_nothing);
        hooks::add(give_ballast_up);
        hooks::add(log_nothing);
        succeeds_without_ballast(20 * MIB, 10 * MIB, || alloc(20 * MIB));
        succeeds_without_ballast(2 * MIB, MIB, || alloc(2 * MIB));
        succeeds_without_ballast(20 * MIB, 10 * MIB, || {
            // SAFETY: a valid layout.
            let block = unsafe { GLOBAL.alloc_zeroed(layout(20 * MIB)) };
            // SAFETY: the block has this size, and bytes were promised to be zero.
            let is_zero = |at: usize| unsafe { block.add(at).read() } == 0;
            assert!(!block.is_null() && (0..20 * MIB).step_by(4096).all(is_zero));
            block
        });
        let old = [alloc(100), alloc(100_000), alloc(5 * MIB)];
        for (block, size) in old.into_iter().zip([100, 100_000, 5 * MIB]) {
            succeeds_without_ballast(30 * MIB, 10 * MIB, || {
                // SAFETY: the block has this size; it is given up for the new one.
                unsafe {
                    block.write_bytes(9, size);
                    let moved = GLOBAL.realloc(block, layout(size), 30 * MIB);
                    assert!(!moved.is_null());
                    assert_eq!((moved.read(), moved.add(size - 1).read()), (9, 9));
                    moved
                }
            });
        }
    });
}

fn count_in(calls: &AtomicUsize) {
    calls.fetch_add(1, Relaxed);
}

fn trim() {
    capmalloc::trim();
}

fn log_nothing(_: &Event) {}

#[test]
fn a_small_request_is_tried_again_as_well() {
    alone(|| {
        const SIZE: usize = 1000;
        hooks::add(give_ballast_up);
        *BALLAST.lock().expect("no one panics") = Some(vec![1; 4 * MIB]);
        let limit_bytes = capmalloc::stats().resident_bytes + 2 * MIB;
        capmalloc::set_limit(Limit::ResidentHard, Some(limit_bytes));
        // Blocks in a chain through themselves: a list of them would be one more request.
        let (mut last, mut count) = (core::ptr::null_mut::<u8>(), 0);
        let ((), events) = events_of(|| {
            loop {
                let block = alloc(SIZE);
                if block.is_null() {
                    // The test itself needs some more.
                    return capmalloc::set_limit(Limit::ResidentHard, None);
                }
                // SAFETY: the block has room for a pointer, and its alignment.
                unsafe { block.cast::<*mut u8>().write(last) };
                (last, count) = (block, count + 1);
            }
        });
        assert!(count * SIZE > 5 * MIB, "the ballast's room was used: {count} blocks");
        assert_eq!(failures_in(&events), [(SIZE, 8), (SIZE, 8)], "and then there was none");
        while !last.is_null() {
            // SAFETY: a block of the chain begins with the pointer to the next.
            let next = unsafe { last.cast::<*mut u8>().read() };
            free(last, SIZE);
            last = next;
        }
    });
}

#[test]
fn a_request_is_tried_again_once_however_many_hooks_ask_for_it() {
    alone(|| {
        let ask = |event: &Event| {
            log(event);
            Response::Retry
        };
        hooks::add(ask);
        hooks::add(|_: &Event| Response::Retry);
        capmalloc::trim();
        let resident_bytes = capmalloc::stats().resident_bytes;
        capmalloc::set_limit(Limit::ResidentHard, Some(resident_bytes + 30 * MIB));
        let held = alloc(20 * MIB);
        for (size, tries) in [(20 * MIB, 4), (200 * MIB, 2)] {
            let before = capmalloc::stats().hard_limit_refusals;
            let (block, events) = events_of(|| alloc(size));
            assert!(block.is_null());
            assert_eq!(capmalloc::stats().hard_limit_refusals - before, tries);
            assert_eq!(failures_in(&events), [(size, 8)]);
            assert_eq!(limits_in(&events).len(), 1, "{events:?}");
            // A request larger than the limit is worth no trim.
            assert_eq!(trims_in(&events), tries / 2 - usize::from(tries == 2));
        }
        free(held, 20 * MIB);
    });
}

#[test]
fn a_hook_may_fail_to_allocate() {
    alone(|| {
        hooks::add(|event: &Event| {
            log(event);
            if let Event::AllocationFailed { .. } = event {
                assert!(alloc(isize::MAX as usize - 4096).is_null());
            }
        });
        let (block, events) = events_of(|| alloc(isize::MAX as usize - 8192));
        assert!(block.is_null());
        assert_eq!(events.len(), 1, "the hook's own failure is no event: {events:?}");
    });
}

std::thread_local! {
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// Runs `act` in a hook, of which there is one on this thread.
fn in_hook(act: impl FnOnce()) {
    assert_eq!(DEPTH.replace(1), 0, "a hook within a hook");
    act();
    DEPTH.set(0);
}

/// Allocates and frees blocks of all routes.
fn churn() {
    let small: Vec<Vec<u8>> = (0..2000).map(|index| vec![index as u8; index % 500]).collect();
    let large: Vec<Vec<u8>> = (1..9).map(|index| vec![index as u8; index * 200_000]).collect();
    let huge = vec![1_u8; 3 * MIB];
    drop((small, large, huge));
}

#[test]
fn a_hook_may_allocate_and_trim_and_what_that_causes_waits() {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    alone(|| {
        hooks::add(|_: &Event| {
            in_hook(|| {
                // What it causes calls it again at the next slow path, so it stops at some time.
                if CALLS.fetch_add(1, Relaxed) < 20 {
                    churn();
                    capmalloc::trim();
                    churn();
                    assert!(capmalloc::stats().allocated_bytes > 0);
                }
            });
        });
        (0..10).for_each(|_| {
            churn();
            capmalloc::trim();
        });
        assert!(CALLS.load(Relaxed) > 20);
    });
}

#[test]
fn what_is_too_much_to_be_kept_is_told_as_a_number() {
    const TRIMS: usize = 100;
    static IS_FIRST: AtomicBool = AtomicBool::new(true);
    alone(|| {
        hooks::add(|event: &Event| {
            log(event);
            if IS_FIRST.swap(false, Relaxed) {
                (0..TRIMS).for_each(|_| trim());
            }
        });
        // The first trim calls the hook, and the end of the change of a setting tells the rest.
        let ((), events) = events_of(|| {
            capmalloc::trim();
            capmalloc::set_limit(Limit::ResidentSoft, None);
        });
        let Some((Event::Trimmed(_), events)) = events.split_first() else {
            panic!("{events:?}");
        };
        let Some((Event::Missed { count, .. }, kept)) = events.split_first() else {
            panic!("{events:?}");
        };
        assert_eq!((trims_in(kept), kept.len() + count), (64, TRIMS));
    });
}

#[test]
fn a_hook_may_remove_itself() {
    static ID: OnceLock<HookId> = OnceLock::new();
    alone(|| {
        let hook = |event: &Event| {
            if let Some(id) = ID.get() {
                log(event);
                assert!(hooks::remove(*id));
            }
        };
        let id = hooks::add(hook);
        ID.set(id).expect("set once");
        let (_, events) = events_of(|| (0..3).for_each(|_| trim()));
        assert_eq!(events.len(), 1, "{events:?}");
        assert!(!hooks::remove(id));
    });
}

#[test]
fn a_removed_hook_is_told_nothing_more() {
    alone(|| {
        let id = hooks::add(log);
        let (_, events) = events_of(capmalloc::trim);
        assert_eq!(trims_in(&events), 1);
        assert!(hooks::remove(id) && !hooks::remove(id));
        let (_, events) = events_of(|| {
            churn();
            capmalloc::trim();
        });
        assert!(events.is_empty(), "{events:?}");
        hooks::add(log);
        let (_, events) = events_of(capmalloc::trim);
        assert_eq!(events.len(), 1, "and nothing is told later: {events:?}");
    });
}

#[test]
fn threads_may_use_hooks_at_the_same_time() {
    const THREADS: usize = 8;
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    alone(|| {
        let count = |_: &Event| {
            in_hook(|| {
                CALLS.fetch_add(1, Relaxed);
                drop(vec![1_u8; 10_000]);
            });
        };
        let barrier = Barrier::new(THREADS);
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    barrier.wait();
                    for _ in 0..10 {
                        let own = hooks::add(count);
                        churn();
                        capmalloc::trim();
                        assert!(hooks::remove(own));
                    }
                });
            }
        });
        assert!(CALLS.load(Relaxed) >= THREADS);
        let calls = CALLS.load(Relaxed);
        churn();
        capmalloc::trim();
        assert_eq!(CALLS.load(Relaxed), calls, "all are removed");
    });
}

/// Runs `work` in a fork of this process, which ends well where it answers `true`.
fn in_fork(work: impl FnOnce() -> bool) {
    // SAFETY: the child runs nothing but `work`, which uses the allocator and no lock of the
    // parent's, and then ends at once.
    let process = unsafe { libc::fork() };
    assert!(process >= 0, "a fork");
    if process == 0 {
        // One that waits for a lock of a thread that only the parent has would do so for ever.
        // SAFETY: it only starts a clock, whose signal ends the child.
        unsafe { libc::alarm(30) };
        let status = if work() { 0 } else { 3 };
        // SAFETY: ends the child without a look at what belongs to the parent's threads.
        unsafe { libc::_exit(status) };
    }
    let mut status = 0;
    // SAFETY: waits for the child just made; the place for its status is ours.
    assert_eq!(unsafe { libc::waitpid(process, &mut status, 0) }, process);
    assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "status {status:#x}");
}

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
