//! How the global heap and its threads begin, and what the C library tells it of their ends and of
//! the program's.

use core::ffi::c_void;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;

use super::process_once::ProcessOnce;
use super::{BACKGROUND, HEAP, SLOT, raw, watch_forks};
use crate::config::{Config, Settings};
use crate::os::message;
use crate::thread_cache::{ThreadSlot, ThreadState};

static START: ProcessOnce = ProcessOnce::new();

/// The settings of a heap that something is asked of before the program's own allocator is; a
/// constant, so that no slow path writes them down to pass them.
pub(super) const DEFAULTS: &Config = &Config::new();

/// The key whose destructor tells of a thread's end, plus one; zero while there is none.
static EXIT_KEY: AtomicU32 = AtomicU32::new(0);

/// Readies the heap at the first call of all, and a thread at its own first.
#[inline]
pub(super) fn prepare(slot: &ThreadSlot, config: &Config) {
    if slot.state() == ThreadState::Fresh {
        prepare_slow(slot, config);
    }
}

#[cold]
fn prepare_slow(slot: &ThreadSlot, config: &Config) {
    // Whatever allocates from within, such as a C library that stores a key's value in memory of
    // its own, must not come back here.
    slot.set_state(ThreadState::Uncached);
    if !raw::are_forks_told() {
        watch_forks();
    }
    START.call(|| start(config));
    // A thread whose end would go unnoticed would keep its cache for ever: it goes without one.
    if raw::may_have_cache(slot) && watch_exit(slot) {
        slot.set_state(ThreadState::Fresh);
    }
}

/// Sets the heap up; in a child that was copied in the midst of this, once more.
fn start(config: &Config) {
    let settings = Settings::read(config);
    HEAP.arenas().set_first_cap(settings.arena_max);
    HEAP.budget().set_limit_bytes(settings.cache_budget_bytes);
    if settings.cpu_caches {
        HEAP.use_cpu_caches();
    }
    if let Some(policy) = settings.policy {
        HEAP.set_policy(policy);
    }
    HEAP.decay().set_milliseconds(settings.decay_milliseconds);
    if settings.background {
        BACKGROUND.want();
    }
    for (limit, bytes) in settings.limits {
        HEAP.page_heap().source().limits().set(limit, bytes);
    }
    let mut key = 0;
    // SAFETY: `thread_ends` has the signature of a key's destructor, and the key's place is ours.
    if unsafe { libc::pthread_key_create(&mut key, Some(thread_ends)) } == 0 {
        EXIT_KEY.store(key + 1, Relaxed);
    }
    if settings.stats_at_exit {
        // SAFETY: the function takes and returns nothing and lives as long as the program.
        unsafe { libc::atexit(write_stats_at_exit) };
    }
}

/// Asks to be told of this thread's end; `false` where that cannot be had.
fn watch_exit(slot: &ThreadSlot) -> bool {
    // Relaxed: `ProcessOnce` orders the store before every thread's return from it.
    let Some(key) = EXIT_KEY.load(Relaxed).checked_sub(1) else { return false };
    let value = core::ptr::from_ref(slot).cast::<c_void>();
    // SAFETY: the key was made in `start`; the value only has to differ from null.
    unsafe { libc::pthread_setspecific(key, value) == 0 }
}

extern "C" fn thread_ends(_slot: *mut c_void) {
    // Thread-locals without a destructor of their own live as long as the thread.
    SLOT.with(|slot| HEAP.detach(slot));
}

extern "C" fn write_stats_at_exit() {
    // The program still runs, and so does its allocator: the table may allocate.
    message::write(&HEAP.stats().to_string());
}
