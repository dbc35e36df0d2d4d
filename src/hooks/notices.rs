//! Notices: what happened under the heap's locks, kept until a thread without any can tell it.

use core::cell::Cell;
use core::mem::MaybeUninit;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::Ordering::Relaxed;

use super::event::Event;
use crate::limits::{Limit, LimitReached};
use crate::lock::{Mutex, rank};

/// Events that can wait; a power of two.
pub(super) const NOTICES_MAX: usize = 64;

std::thread_local! {
    /// One bit for each limit that this thread's current request is known to have reached, so that
    /// the tries of one request are one event. Constant and without a destructor.
    static REACHED: Cell<u8> = const { Cell::new(0) };
}

/// Begins anew for this thread's next request.
#[inline]
pub(crate) fn end_request() {
    REACHED.set(0);
}

/// Runs what has requests of its own in the middle of a request, such as hooks.
pub(super) fn apart_from_request<T>(run: impl FnOnce() -> T) -> T {
    let reached = REACHED.replace(0);
    let answer = run();
    REACHED.set(reached);
    answer
}

/// The events that hooks were not yet told. All zero at first, as the static heap has to be.
///
/// Both flags change under the lock alone. They are looked at without it, Relaxed: an event that
/// meets a hook just being added or removed may go either way, and one that another thread noted
/// is told by whoever sees it first.
#[derive(Debug)]
pub(crate) struct Notices {
    /// Whether there are hooks, without which nothing is noted.
    is_wanted: AtomicBool,
    are_waiting: AtomicBool,
    ring: Mutex<{ rank::NOTICES }, Ring>,
}

#[derive(Debug)]
struct Ring {
    /// Invariant: the `len` entries from `first` on, around the end, are written.
    entries: [MaybeUninit<Event>; NOTICES_MAX],
    first: usize,
    len: usize,
    /// Events older than all entries that were dropped for want of room.
    missed: usize,
}

impl Notices {
    pub(crate) const fn new() -> Self {
        Notices {
            is_wanted: AtomicBool::new(false),
            are_waiting: AtomicBool::new(false),
            ring: Mutex::new(Ring {
                entries: [const { MaybeUninit::zeroed() }; NOTICES_MAX],
                first: 0,
                len: 0,
                missed: 0,
            }),
        }
    }

    /// Begins or ends to note events; what was noted and not told is forgotten at the end.
    pub(super) fn set_wanted(&self, is_wanted: bool) {
        let mut ring = self.ring.lock();
        self.is_wanted.store(is_wanted, Relaxed);
        if !is_wanted {
            (ring.len, ring.missed) = (0, 0);
            self.are_waiting.store(false, Relaxed);
        }
    }

    #[inline]
    pub(crate) fn is_wanted(&self) -> bool {
        self.is_wanted.load(Relaxed)
    }

    #[inline]
    pub(crate) fn are_waiting(&self) -> bool {
        self.are_waiting.load(Relaxed)
    }

    /// Notes an event; any lock may be held.
    #[inline]
    pub(crate) fn note(&self, event: Event) {
        if self.is_wanted() {
            self.note_slow(event);
        }
    }

    #[cold]
    fn note_slow(&self, event: Event) {
        let mut ring = self.ring.lock();
        // The last hook may be gone since.
        if self.is_wanted() {
            ring.push(event);
            self.are_waiting.store(true, Relaxed);
        }
    }

    /// Notes that a limit refused something, unless this request was told of that limit before.
    #[cold]
    pub(crate) fn note_refusal(&self, reached: LimitReached) {
        let told = REACHED.get();
        let is_first = told & bit(reached.limit) == 0;
        if self.is_wanted() && is_first {
            REACHED.set(told | bit(reached.limit));
            self.note_slow(Event::LimitReached(reached));
        }
    }

    /// How many events wait.
    pub(super) fn count(&self) -> usize {
        self.ring.lock().count()
    }

    /// Takes the oldest event out.
    pub(super) fn take(&self) -> Option<Event> {
        let mut ring = self.ring.lock();
        let event = ring.pop();
        self.are_waiting.store(ring.count() != 0, Relaxed);
        event
    }

    /// Stops the program where the notices contradict themselves.
    pub(crate) fn check(&self) {
        let ring = self.ring.lock();
        ensure!(ring.first < NOTICES_MAX && ring.len <= NOTICES_MAX, "notices lie beyond the ring");
        ensure_eq!(self.are_waiting(), ring.count() != 0, "notices are waiting");
        ensure!(self.is_wanted() || ring.count() == 0, "there are notices and no hooks");
    }

    /// Takes the lock for a fork.
    pub(crate) fn hold_for_fork(&self) {
        self.ring.hold_for_fork();
    }

    /// # Safety
    ///
    /// As [`Mutex::release_after_fork`].
    pub(crate) unsafe fn release_after_fork(&self) {
        // SAFETY: the caller's promise.
        unsafe { self.ring.release_after_fork() };
    }
}

impl Ring {
    fn count(&self) -> usize {
        self.len + usize::from(self.missed != 0)
    }

    fn push(&mut self, event: Event) {
        if self.len == NOTICES_MAX {
            self.first = (self.first + 1) % NOTICES_MAX;
            self.len -= 1;
            self.missed = self.missed.saturating_add(1);
        }
        self.entries[(self.first + self.len) % NOTICES_MAX].write(event);
        self.len += 1;
    }

    fn pop(&mut self) -> Option<Event> {
        if self.missed != 0 {
            return Some(Event::Missed { count: core::mem::take(&mut self.missed) });
        }
        self.len = self.len.checked_sub(1)?;
        // SAFETY: by the invariant the first entry is written, since `len` was not zero.
        let event = unsafe { self.entries[self.first].assume_init() };
        self.first = (self.first + 1) % NOTICES_MAX;
        Some(event)
    }
}

fn bit(limit: Limit) -> u8 {
    1 << limit as u8
}
