//! What the C library's place in a program can tell the heap: that threads begin, and forks are near.

use core::sync::atomic::AtomicBool;
use core::sync::atomic::Ordering::Relaxed;

use crate::global::{DEFAULTS, SLOT, prepare};
use crate::os::thread::is_first_thread;
use crate::thread_cache::ThreadSlot;

/// Whether somebody tells of every thread's beginning.
static ARE_THREADS_TOLD: AtomicBool = AtomicBool::new(false);

/// Says that every thread but the first that may have a cache calls [`thread_begins`].
///
/// A thread's cache is flushed when the destructors of its keys run. One that first allocates in
/// the very last of them, or in the C library's own cleaning up behind them, would get a cache that
/// nobody takes back, known by a place in its stack that is gone. Who starts all threads can
/// exclude that: with each of them told of, no other gets a cache.
pub fn threads_are_told() {
    // Relaxed: told before the second thread begins, which orders it.
    ARE_THREADS_TOLD.store(true, Relaxed);
}

/// Whether somebody calls [`watch_forks`] in time.
static ARE_FORKS_TOLD: AtomicBool = AtomicBool::new(false);

/// Says that [`watch_forks`] is called before a second thread begins, and before anyone else's
/// handlers for fork are registered.
///
/// Else that is done at the first allocation, and the C library keeps what it needs for handlers
/// also in programs that have neither threads nor handlers. A process of one thread may fork without
/// ours: nobody holds a lock or has a cache that the child would have to take over.
pub fn forks_are_told() {
    // Relaxed: told before the second thread begins, which orders it.
    ARE_FORKS_TOLD.store(true, Relaxed);
}

/// Has the heap held still for every fork from now on; once is enough, and more do no harm.
pub fn watch_forks() {
    SLOT.with(|slot| prepare(slot, DEFAULTS));
    crate::global::watch_forks();
}

pub(in crate::global) fn are_forks_told() -> bool {
    ARE_FORKS_TOLD.load(Relaxed)
}

/// Tells that the calling thread begins: it may have a cache, and its end is watched.
pub fn thread_begins() {
    SLOT.with(|slot| {
        slot.set_told();
        prepare(slot, DEFAULTS);
    });
}

/// Whether the end of the thread with this slot is sure to be noticed, if it is asked for now.
pub(in crate::global) fn may_have_cache(slot: &ThreadSlot) -> bool {
    !ARE_THREADS_TOLD.load(Relaxed) || slot.is_told() || is_first_thread()
}
