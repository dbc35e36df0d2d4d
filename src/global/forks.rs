//! Forks of the process: how the heaps come to be told of them, and what is done then.

use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use super::start::STARTING;
use super::{BACKGROUND, HEAP, SLOT, hooks};
use crate::os::{futex, membarrier, message};
use crate::roster;
use crate::thread_cache::ThreadState;

/// Whether the handlers are registered, which heaps of one's own need too: [`NEW`], [`REGISTERED`],
/// or the number of the process of which a thread is about to do it.
static FORKS: AtomicU32 = AtomicU32::new(NEW);

const NEW: u32 = 0;
const REGISTERED: u32 = u32::MAX;

/// Asks once to be told of forks, and readies the process for fences on all of its threads.
///
/// Also called by who makes a heap of one's own, perhaps in a program whose allocator is another.
pub(crate) fn watch_forks() {
    // Acquire pairs with the Release of who registered: a fork from here on calls the handlers.
    if FORKS.load(Acquire) == REGISTERED {
        return;
    }
    SLOT.with(|slot| {
        // What the C library may allocate meanwhile must not come back here.
        let before = slot.set_state(ThreadState::Uncached);
        register_once();
        // While the process has one thread this costs nothing; later it waits for all of them, and
        // so comes behind the handlers, by which a fork waits for what must not be cut in two.
        membarrier::is_available();
        slot.set_state(before);
    });
}

/// Registers the handlers, or waits for the thread that does.
///
/// A `Once` would not do: a fork in the midst of it leaves a child in which nobody ends it, and the
/// C library lets forks go before a registration. There the number is the parent's. Had the
/// handlers been registered by then, the first of them would have said so.
fn register_once() {
    // SAFETY: asks for a number.
    let process = unsafe { libc::getpid() }.cast_unsigned();
    loop {
        let found = FORKS.load(Acquire);
        if found == REGISTERED {
            return;
        }
        if found == process {
            futex::wait(&FORKS, process);
        } else if FORKS.compare_exchange(found, process, Acquire, Relaxed).is_ok() {
            break;
        }
    }
    register();
    // Release pairs with the Acquire of whoever comes by: the handlers are registered.
    FORKS.store(REGISTERED, Release);
    futex::wake_all(&FORKS);
}

fn register() {
    let (before, after) = (Some(before_fork as _), Some(after_fork as _));
    // SAFETY: the handlers have the signature asked for and live as long as the program. Being
    // registered at the first allocation of all, they enclose those of everyone else: theirs may
    // allocate.
    let error = unsafe { libc::pthread_atfork(before, after, Some(after_fork_in_child)) };
    if error != 0 {
        message::warn(format_args!(
            "no handlers for fork, error {error}: children may hang when they allocate"
        ));
    }
}

extern "C" fn before_fork() {
    // A child that finds its parent's number there may take the handlers for missing: see
    // `register_once`. Relaxed: copied with the process.
    FORKS.store(REGISTERED, Relaxed);
    // First, for a heap's page source may be what allocates from the global heap.
    roster::prepare_fork();
    STARTING.hold_for_fork();
    hooks::hold_for_fork();
    HEAP.prepare_fork();
}

extern "C" fn after_fork() {
    // SAFETY: the kernel's copy was made between `before_fork` and this, in this thread.
    unsafe {
        HEAP.finish_fork();
        hooks::release_after_fork();
        STARTING.release_after_fork();
        roster::finish_fork();
    }
}

extern "C" fn after_fork_in_child() {
    after_fork();
    SLOT.with(|slot| HEAP.note_child(slot));
    roster::note_child();
    BACKGROUND.note_child();
}
