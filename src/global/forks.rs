//! Forks of the process: how the heaps come to be told of them, and what is done then.

use core::sync::atomic::AtomicPtr;
use core::sync::atomic::Ordering::Relaxed;

use super::process_once::ProcessOnce;
use super::{BACKGROUND, HEAP, SLOT, hooks};
use crate::os::{membarrier, message};
use crate::roster;
use crate::thread_cache::{ThreadSlot, ThreadState};

/// Whether the handlers are registered, which heaps of one's own need too.
static REGISTERED: ProcessOnce = ProcessOnce::new();

/// The slot of the thread that holds all locks for a fork; the same in parent and child. Relaxed:
/// only that thread compares it with its own.
static FORKING: AtomicPtr<ThreadSlot> = AtomicPtr::new(core::ptr::null_mut());

/// Asks once to be told of forks, and readies the process for fences on all of its threads.
///
/// Also called by who makes a heap of one's own, perhaps in a program whose allocator is another.
pub(crate) fn watch_forks() {
    if REGISTERED.is_done() {
        return;
    }
    SLOT.with(|slot| {
        // What the C library may allocate meanwhile must not come back here.
        let before = slot.set_state(ThreadState::Uncached);
        REGISTERED.call(register);
        // While the process has one thread this costs nothing; later it waits for all of them.
        membarrier::is_available();
        slot.set_state(before);
    });
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
    SLOT.with(|slot| {
        // A child that was copied right behind its parent's registration has registered once more.
        if core::ptr::eq(FORKING.load(Relaxed), slot) {
            return;
        }
        // First, for a heap's page source may be what allocates from the global heap.
        roster::prepare_fork();
        hooks::hold_for_fork();
        HEAP.prepare_fork();
        FORKING.store(core::ptr::from_ref(slot).cast_mut(), Relaxed);
    });
}

extern "C" fn after_fork() {
    SLOT.with(release);
}

/// Releases what the thread with this slot holds for a fork; `false` where that is nothing.
fn release(slot: &ThreadSlot) -> bool {
    if !core::ptr::eq(FORKING.load(Relaxed), slot) {
        return false;
    }
    FORKING.store(core::ptr::null_mut(), Relaxed);
    // SAFETY: the kernel's copy was made between `before_fork` and this, in this thread.
    unsafe {
        HEAP.finish_fork();
        hooks::release_after_fork();
        roster::finish_fork();
    }
    true
}

extern "C" fn after_fork_in_child() {
    SLOT.with(|slot| {
        if release(slot) {
            HEAP.note_child(slot);
            roster::note_child();
            BACKGROUND.note_child();
        }
    });
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn handlers_that_are_registered_twice_act_once() {
        before_fork();
        // Would wait for itself.
        before_fork();
        let is_held = SLOT.with(|slot| core::ptr::eq(FORKING.load(Relaxed), slot));
        after_fork();
        // Would release what another thread may have by now.
        let is_held_still = SLOT.with(release);
        assert_eq!((is_held, is_held_still), (true, false));
    }
}
