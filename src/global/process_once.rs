//! What is done once in a process, and once more in a forked child that was copied in the midst of
//! it.

use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use crate::os::futex;
use crate::os::thread::process_number;

/// As `std::sync::Once`, but for forks: a child in which a thread of its parent's was at it finds
/// the parent's number, and does it itself. A `Once` would wait there for ever.
///
/// A child in a namespace of its own may have its parent's number, and is not told apart.
#[derive(Debug)]
pub(super) struct ProcessOnce {
    /// [`NEW`], [`DONE`], or the number of the process of which a thread is at it.
    state: AtomicU32,
}

const NEW: u32 = 0;
const DONE: u32 = u32::MAX;

impl ProcessOnce {
    pub(super) const fn new() -> Self {
        ProcessOnce { state: AtomicU32::new(NEW) }
    }

    /// Whether it is done, with all that it did.
    #[inline]
    pub(super) fn is_done(&self) -> bool {
        // Acquire pairs with the Release in `call`.
        self.state.load(Acquire) == DONE
    }

    /// Does it, unless it is done; waits for a thread of this process that is at it.
    pub(super) fn call(&self, act: impl FnOnce()) {
        let process = process_number();
        loop {
            // Acquire pairs with the Release below.
            let found = self.state.load(Acquire);
            if found == DONE {
                return;
            }
            if found == process {
                futex::wait(&self.state, process);
            } else if self.state.compare_exchange(found, process, Acquire, Relaxed).is_ok() {
                break;
            }
        }
        act();
        // Release pairs with the Acquire of whoever finds it done.
        self.state.store(DONE, Release);
        futex::wake_all(&self.state);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::Barrier;
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn it_is_done_once_and_the_others_wait_for_it() {
        let (once, count) = (ProcessOnce::new(), AtomicUsize::new(0));
        let begin = Barrier::new(4);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    begin.wait();
                    once.call(|| {
                        std::thread::sleep(core::time::Duration::from_millis(20));
                        count.fetch_add(1, Relaxed);
                    });
                    assert_eq!((count.load(Relaxed), once.is_done()), (1, true));
                });
            }
        });
    }

    #[test]
    fn what_another_process_was_at_is_done_anew() {
        let (once, mut is_called) = (ProcessOnce::new(), false);
        // No process has this number.
        once.state.store(DONE - 1, Relaxed);
        assert!(!once.is_done());
        once.call(|| is_called = true);
        assert!(is_called && once.is_done());
        once.call(|| panic!("it is done"));
    }
}
