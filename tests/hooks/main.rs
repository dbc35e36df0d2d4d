//! Hooks are told what happens to the heap, with the right figures, and can do whatever the program
//! can do meanwhile.

#[path = "../common/mod.rs"]
mod common;
mod events;
mod forks;
mod inside;
mod refusals;

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

fn count_in(calls: &AtomicUsize) {
    calls.fetch_add(1, Relaxed);
}

fn trim() {
    capmalloc::trim();
}

fn log_nothing(_: &Event) {}

/// Allocates and frees blocks of all routes.
fn churn() {
    let small: Vec<Vec<u8>> = (0..2000).map(|index| vec![index as u8; index % 500]).collect();
    let large: Vec<Vec<u8>> = (1..9).map(|index| vec![index as u8; index * 200_000]).collect();
    let huge = vec![1_u8; 3 * MIB];
    drop((small, large, huge));
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
