//! The background thread: decay for programs that fall idle.
//!
//! Decay is paid by whoever comes by a slow path, and in an idle program nobody does. One thread of
//! low priority then ends the periods instead. Once nothing is left to give back it sleeps without
//! a deadline, until a slow path finds it asleep; so it costs an idle program nothing.

use core::ffi::c_void;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::{Relaxed, SeqCst};

use crate::allocator::Allocator;
use crate::os::{clock, futex, thread};
use crate::page_source::PageSource;

/// Nobody asked for the thread, or it could not be made.
const OFF: u32 = 0;
/// The next slow path makes the thread.
const WANTED: u32 = 1;
/// The thread ends periods.
const RUNNING: u32 = 2;
/// The thread sleeps until it is woken.
const ASLEEP: u32 = 3;

/// The longest that the thread sleeps through: other heaps have times of their own, and the global
/// one's may change meanwhile.
const NAP_MAX_MILLISECONDS: u64 = 500;

/// What the background thread is doing; the word it sleeps on.
#[derive(Debug)]
pub(crate) struct Background(AtomicU32);

impl Background {
    pub(crate) const fn new() -> Self {
        Background(AtomicU32::new(OFF))
    }

    /// Asks for the thread; the next [`poke`](Self::poke) makes it.
    pub(crate) fn want(&self) {
        self.0.store(WANTED, Relaxed);
    }

    /// Notes, in a forked child, that the thread stayed with the parent.
    pub(crate) fn note_child(&self) {
        if self.0.load(Relaxed) != OFF {
            self.want();
        }
    }

    /// Makes the thread if it is wanted, wakes it if it sleeps; called after each slow path, with
    /// no lock held.
    #[inline]
    pub(crate) fn poke(&self, entry: extern "C" fn(*mut c_void) -> *mut c_void) {
        // Relaxed: a sleeper missed now is found by the next slow path.
        let state = self.0.load(Relaxed);
        if state == WANTED || state == ASLEEP {
            self.poke_slow(state, entry);
        }
    }

    #[cold]
    fn poke_slow(&self, state: u32, entry: extern "C" fn(*mut c_void) -> *mut c_void) {
        // SeqCst, as the thread's own store of ASLEEP: one order for all who change the word.
        if self.0.compare_exchange(state, RUNNING, SeqCst, Relaxed).is_err() {
            return;
        }
        if state == ASLEEP {
            futex::wake_one(&self.0);
        } else if !thread::spawn(c"capmalloc-decay", entry) {
            self.0.store(OFF, Relaxed);
        }
    }

    /// The thread's work, without end.
    ///
    /// `end_others` ends the periods of other heaps that are over at a moment, and answers whether
    /// another look will find more. `after_period` is called after each period, with no lock held.
    pub(crate) fn run<S: PageSource>(
        &self,
        heap: &Allocator<S>,
        end_others: impl Fn(u64) -> bool,
        after_period: impl Fn(),
    ) -> ! {
        thread::lower_priority();
        let mut slept = 0;
        loop {
            // Where the global heap's memory does not decay, that of others may all the same.
            let period = heap.decay().period_milliseconds().unwrap_or(NAP_MAX_MILLISECONDS);
            let nap = period.saturating_sub(slept).min(NAP_MAX_MILLISECONDS);
            thread::sleep_milliseconds(nap);
            slept += nap;
            let now = clock::coarse_milliseconds();
            // Asked anew, for the time may have changed during the nap.
            let is_own_due = match heap.decay().period_milliseconds() {
                Some(period) if slept < period => true,
                period => {
                    slept = 0;
                    period.is_some() && heap.end_period(heap.decay().begin_period(now))
                }
            };
            let is_more_due = end_others(now) || is_own_due;
            after_period();
            if !is_more_due {
                self.sleep_while_idle(heap);
            }
        }
    }

    /// Sleeps until a slow path comes by.
    fn sleep_while_idle<S: PageSource>(&self, heap: &Allocator<S>) {
        // SeqCst, before the last look: what a slow path did before this is likely seen by it, and
        // what it does later finds ASLEEP. One that falls between is made up for by the next.
        self.0.store(ASLEEP, SeqCst);
        let is_decaying = heap.decay().period_milliseconds().is_some();
        if is_decaying && heap.has_unreturned() {
            self.0.store(RUNNING, Relaxed);
        }
        while self.0.load(SeqCst) == ASLEEP {
            futex::wait(&self.0, ASLEEP);
        }
    }
}
