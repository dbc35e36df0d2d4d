//! The allocator's lock: one futex word, ranked.
//!
//! parking_lot's own mutex cannot serve here, because it allocates when a thread parks and its
//! queue of parked threads does not survive a fork; its `lock_api` traits can, and give this lock
//! the guards that the rest of the world knows.
//!
//! Ranks are the order in which one thread may take locks, outermost first. Debug builds keep the
//! ranks that a thread holds and stop at the first lock taken out of order, so that a deadlock
//! shows as a failed test on the day it is written rather than as a hung service.

use core::ops::{Deref, DerefMut};
use core::sync::atomic::Ordering;

use parking_lot::lock_api::{self, GuardNoSend, RawMutex};

use crate::sync::{AtomicU32, Backoff, futex};
use held_rank::HeldRank;
pub(crate) use held_rank::RanksAside;

const FREE: u32 = 0;
const HELD: u32 = 1;

/// Held, and somebody may be asleep on the word, or found it kept for longer than work takes.
const HELD_AND_AWAITED: u32 = 2;

/// How often a waiting thread looks before it sleeps, at growing intervals: for some 20 to 50
/// microseconds, which is longer than anybody at work holds a lock.
///
/// But for the list of caches: who has it for longer than a moment makes a fence on all threads for a
/// reclaim, and is not waited for awake.
const fn spins(rank: u8) -> usize {
    match rank {
        _ if cfg!(loom) => 1,
        rank::CACHE_REGISTRY => 8,
        _ => 40,
    }
}

/// Looks of one who can go elsewhere: a microsecond or two, in which a holder at work is done.
const SPINS_SOON: usize = if cfg!(loom) { 1 } else { 8 };

/// A mutual exclusion lock in one word that sleeps in the kernel.
#[derive(Debug)]
pub(crate) struct RawFutexMutex<const RANK: u8>(AtomicU32);

// SAFETY: the word goes from FREE to HELD or HELD_AND_AWAITED for one thread at a time by an
// atomic exchange, and back only in `unlock`, whose caller holds the lock.
unsafe impl<const RANK: u8> RawMutex for RawFutexMutex<RANK> {
    #[allow(clippy::declare_interior_mutable_const, reason = "lock_api asks for this constant")]
    const INIT: Self = RawFutexMutex(AtomicU32::new(FREE));
    type GuardMarker = GuardNoSend;

    #[inline]
    fn lock(&self) {
        if !self.try_lock() {
            self.lock_slow();
        }
    }

    #[inline]
    fn try_lock(&self) -> bool {
        // Acquire pairs with the Release in `unlock`: what the last holder wrote is seen.
        self.0.compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    #[inline]
    unsafe fn unlock(&self) {
        // Release pairs with the Acquire of whoever takes the lock next.
        if self.0.swap(FREE, Ordering::Release) == HELD_AND_AWAITED {
            self.unlock_slow();
        }
    }
}

impl<const RANK: u8> RawFutexMutex<RANK> {
    #[cold]
    fn lock_slow(&self) {
        if self.spin(spins(RANK)) {
            return;
        }
        // All sleepers are woken at a time, and each of them tries again as if it had just come.
        while !self.try_lock() {
            // Relaxed, for nothing is read yet: the word only says to the holder that somebody sleeps.
            let marked = self.0.compare_exchange(
                HELD,
                HELD_AND_AWAITED,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
            if marked != Err(FREE) {
                futex::wait(&self.0, HELD_AND_AWAITED);
            }
        }
    }

    #[cold]
    fn lock_unless_stalled_slow(&self) -> bool {
        // Relaxed: the word alone tells, and nothing is read by it.
        if self.0.load(Ordering::Relaxed) == HELD_AND_AWAITED {
            return false;
        }
        if self.spin(spins(RANK)) {
            return true;
        }
        // At the price of one wake of nobody.
        let marked =
            self.0.compare_exchange(HELD, HELD_AND_AWAITED, Ordering::Relaxed, Ordering::Relaxed);
        marked == Err(FREE) && self.try_lock()
    }

    #[cold]
    fn unlock_slow(&self) {
        futex::wake_all(&self.0);
    }

    /// Looks for the lock to be free so often, at growing intervals; answers whether it was had.
    fn spin(&self, looks: usize) -> bool {
        let backoff = Backoff::new();
        // Never by giving up the processor: where a thousand threads wait for it, this one would be
        // away for long, and with it the outer locks that it holds.
        for _ in 0..looks {
            if self.0.load(Ordering::Relaxed) == FREE && self.try_lock() {
                return true;
            }
            backoff.spin();
        }
        false
    }
}

/// A lock of rank `RANK` around a `T`.
#[derive(Debug)]
pub(crate) struct Mutex<const RANK: u8, T>(lock_api::Mutex<RawFutexMutex<RANK>, T>);

/// Access to what a [`Mutex`] guards, until dropped.
pub(crate) struct MutexGuard<'lock, const RANK: u8, T> {
    // Dropped in this order: the lock is released while its rank still counts as held.
    inner: lock_api::MutexGuard<'lock, RawFutexMutex<RANK>, T>,
    _rank: HeldRank,
}

impl<const RANK: u8, T> Mutex<RANK, T> {
    pub(crate) const fn new(value: T) -> Self {
        Mutex(lock_api::Mutex::const_new(RawFutexMutex::INIT, value))
    }

    /// Takes the lock, waiting for it if need be.
    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, RANK, T> {
        let rank = HeldRank::take(RANK);
        MutexGuard { inner: self.0.lock(), _rank: rank }
    }

    /// Takes the lock if nobody has it.
    #[inline]
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, RANK, T>> {
        let inner = self.0.try_lock()?;
        Some(MutexGuard { inner, _rank: HeldRank::take(RANK) })
    }

    /// Takes the lock and tells whether it had to wait for it.
    #[inline]
    pub(crate) fn lock_noting_contention(&self) -> (MutexGuard<'_, RANK, T>, bool) {
        let rank = HeldRank::take(RANK);
        match self.0.try_lock() {
            Some(inner) => (MutexGuard { inner, _rank: rank }, false),
            None => (MutexGuard { inner: self.0.lock(), _rank: rank }, true),
        }
    }

    /// Takes the lock if it is to be had within a moment, and tells whether it had to wait; for one
    /// who can go elsewhere, where the holder may have lost the processor.
    #[inline]
    pub(crate) fn lock_soon(&self) -> Option<(MutexGuard<'_, RANK, T>, bool)> {
        if let Some(guard) = self.try_lock() {
            return Some((guard, false));
        }
        // SAFETY: the raw lock is used as a lock: where it was had, a guard is made of it.
        let is_mine = unsafe { self.0.raw() }.spin(SPINS_SOON);
        is_mine.then(|| (self.guard_of_mine(), true))
    }

    /// The guard of a lock that this thread has just taken as a raw one.
    fn guard_of_mine(&self) -> MutexGuard<'_, RANK, T> {
        // SAFETY: the callers have just taken the lock, and there is no other guard.
        let inner = unsafe { self.0.make_guard_unchecked() };
        MutexGuard { inner, _rank: HeldRank::take(RANK) }
    }

    /// Takes the lock, unless somebody has had it for as long as anybody awake waits for one: he has
    /// lost the processor, or waits in the kernel.
    ///
    /// The first to find that out says so to those who come after, who do not wait at all.
    pub(crate) fn lock_unless_stalled(&self) -> Option<MutexGuard<'_, RANK, T>> {
        if let Some(guard) = self.try_lock() {
            return Some(guard);
        }
        // SAFETY: the raw lock is used as a lock: where it was had, a guard is made of it.
        let is_mine = unsafe { self.0.raw() }.lock_unless_stalled_slow();
        is_mine.then(|| self.guard_of_mine())
    }

    /// Takes the lock beside another of its rank that this thread holds, if nobody has it; so nobody
    /// waits for it, and two threads cannot for each other.
    pub(crate) fn try_lock_beside(&self) -> Option<MutexGuard<'_, RANK, T>> {
        Some(MutexGuard { inner: self.0.try_lock()?, _rank: HeldRank::NONE })
    }

    /// Takes two locks of one rank, the one at the lower address first.
    ///
    /// Every taker of two uses this order, so that two of them cannot wait for each other.
    pub(crate) fn lock_two<'lock>(
        first: &'lock Self,
        second: &'lock Self,
    ) -> (MutexGuard<'lock, RANK, T>, MutexGuard<'lock, RANK, T>) {
        debug_assert!(!core::ptr::eq(first, second));
        if core::ptr::from_ref(first) < core::ptr::from_ref(second) {
            let one = first.lock();
            (one, second.lock_beside())
        } else {
            let one = second.lock();
            (first.lock_beside(), one)
        }
    }

    /// Takes the lock to hold it across a fork, where no guard can.
    ///
    /// Ranks are not noted: the fork takes every lock, in their order. Not copied into
    /// loops over all bins, which compilers unroll.
    #[inline(never)]
    pub(crate) fn hold_for_fork(&self) {
        // SAFETY: the raw lock is used as a lock, and released by `release_after_fork` alone.
        unsafe { self.0.raw() }.lock();
    }

    /// What the lock guards, for one who holds it across a fork.
    ///
    /// # Safety
    ///
    /// The calling thread holds the lock by [`hold_for_fork`](Self::hold_for_fork), and changes
    /// nothing.
    pub(crate) unsafe fn peek(&self) -> &T {
        // SAFETY: the caller holds the lock, so nobody else changes the value meanwhile.
        unsafe { &*self.0.data_ptr() }
    }

    /// Releases what [`hold_for_fork`](Self::hold_for_fork) took, in the parent or in the child.
    ///
    /// # Safety
    ///
    /// The calling thread, or in the child the thread it was copied from, holds the lock so.
    pub(crate) unsafe fn release_after_fork(&self) {
        // SAFETY: the caller holds the lock, and there is no guard. In the child the word may say
        // that somebody waits; nobody does, and a wake is harmless.
        unsafe { self.0.force_unlock() };
    }

    /// Takes the lock beside others of its rank that this thread holds; every taker of several takes
    /// them in one order.
    pub(crate) fn lock_beside(&self) -> MutexGuard<'_, RANK, T> {
        MutexGuard { inner: self.0.lock(), _rank: HeldRank::NONE }
    }
}

impl<const RANK: u8, T: core::fmt::Debug> core::fmt::Debug for MutexGuard<'_, RANK, T> {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        (**self).fmt(formatter)
    }
}

impl<const RANK: u8, T> Deref for MutexGuard<'_, RANK, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<const RANK: u8, T> DerefMut for MutexGuard<'_, RANK, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

mod held_rank;
pub(crate) mod rank;
#[cfg(test)]
mod tests;
