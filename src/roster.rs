//! The roster: every heap of one's own and every fixed region, so that a fork and the background
//! thread find them.
//!
//! Who is entered last comes first. A heap may take its pages from a source that allocates from an
//! older heap, or from a region, and holds locks of its own meanwhile; so a fork, which wants all
//! locks, takes the younger one's first, and the global heap's after all of these.

use core::ptr::NonNull;

use crate::lock::{Mutex, rank};

/// What a member of the roster does when it is told.
pub(crate) trait Member: Sync {
    /// Takes every lock, outermost first.
    fn prepare_fork(&self);

    /// Releases every lock, innermost first.
    ///
    /// # Safety
    ///
    /// [`prepare_fork`](Self::prepare_fork) took them, in this thread or the one it was copied
    /// from.
    unsafe fn finish_fork(&self);

    /// Notes that this is a forked child, in its one thread; no lock is held.
    fn note_child(&self) {}

    /// Ends a period of decay that is over; answers whether there will be more to give back.
    fn end_period(&self, now: u64) -> bool {
        let _ = now;
        false
    }
}

/// A member's place on the roster, within the member.
#[derive(Debug)]
pub(crate) struct Seat {
    member: NonNull<dyn Member>,
    next: Option<NonNull<Seat>>,
    previous: Option<NonNull<Seat>>,
}

#[derive(Debug)]
struct Roster {
    first: Option<NonNull<Seat>>,
    /// Whose turn it is in a walk that lets the lock go between two members.
    turn: Option<NonNull<Seat>>,
}

// SAFETY: seats are used under the roster's lock, and members can be shared.
unsafe impl Send for Roster {}

static ROSTER: Mutex<{ rank::ROSTER }, Roster> = Mutex::new(Roster { first: None, turn: None });

impl Seat {
    pub(crate) fn new(member: NonNull<dyn Member>) -> Seat {
        Seat { member, next: None, previous: None }
    }
}

impl core::fmt::Debug for dyn Member {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.write_str("Member")
    }
}

/// Enters a member.
///
/// # Safety
///
/// The seat and its member stay where they are and valid until [`leave`], or for ever, and nobody
/// else uses the seat.
pub(crate) unsafe fn enter(seat: NonNull<Seat>) {
    let mut roster = ROSTER.lock();
    // SAFETY: the caller's promise; who is first on the roster is valid.
    unsafe {
        (*seat.as_ptr()).next = roster.first;
        (*seat.as_ptr()).previous = None;
        if let Some(first) = roster.first {
            (*first.as_ptr()).previous = Some(seat);
        }
    }
    roster.first = Some(seat);
}

/// Takes a member off, after whatever the roster's users do with it now.
///
/// # Safety
///
/// The seat is on the roster.
pub(crate) unsafe fn leave(seat: NonNull<Seat>) {
    let mut roster = ROSTER.lock();
    // SAFETY: the caller's promise; its neighbours are on the roster, and so valid.
    unsafe {
        let (next, previous) = ((*seat.as_ptr()).next, (*seat.as_ptr()).previous);
        match previous {
            Some(previous) => (*previous.as_ptr()).next = next,
            None => roster.first = next,
        }
        if let Some(next) = next {
            (*next.as_ptr()).previous = previous;
        }
        if roster.turn == Some(seat) {
            roster.turn = next;
        }
    }
}

/// Takes the roster's lock, and then every member's, the youngest's first.
pub(crate) fn prepare_fork() {
    ROSTER.hold_for_fork();
    // SAFETY: the lock was just taken.
    unsafe { ROSTER.peek() }.visit(|member| member.prepare_fork());
}

/// Releases what [`prepare_fork`] took.
///
/// # Safety
///
/// It was taken so, in this thread or the one it was copied from.
pub(crate) unsafe fn finish_fork() {
    // SAFETY: the caller's promise. The order in which locks are released does not matter.
    unsafe {
        ROSTER.peek().visit(|member| member.finish_fork());
        ROSTER.release_after_fork();
    }
}

/// Tells every member that this is a forked child.
pub(crate) fn note_child() {
    let mut roster = ROSTER.lock();
    roster.turn = None;
    roster.visit(|member| member.note_child());
}

/// Ends every member's period of decay that is over; answers whether there will be more to do.
///
/// The lock is let go after each member, so that nobody who makes or drops a heap, or forks, waits
/// for all of them.
pub(crate) fn end_periods(now: u64) -> bool {
    let mut is_more_due = false;
    let mut roster = ROSTER.lock();
    roster.turn = roster.first;
    while let Some(seat) = roster.turn {
        // SAFETY: the seat is on the roster, whose lock keeps it and its member there.
        let member = unsafe {
            roster.turn = seat.as_ref().next;
            seat.as_ref().member.as_ref()
        };
        is_more_due |= member.end_period(now);
        drop(roster);
        roster = ROSTER.lock();
    }
    is_more_due
}

impl Roster {
    /// Visits all members, the youngest first.
    fn visit(&self, mut visit: impl FnMut(&dyn Member)) {
        let mut next = self.first;
        while let Some(seat) = next {
            // SAFETY: the seat is on the roster, and the borrow keeps its lock.
            unsafe {
                visit(seat.as_ref().member.as_ref());
                next = seat.as_ref().next;
            }
        }
    }
}
