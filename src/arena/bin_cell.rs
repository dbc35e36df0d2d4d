//! A bin's state behind its lock, and slabs that threads left who did not wait for it.

use super::bin_state::BinState;
use crate::left_spans::LeftSpans;
use crate::lock::{Mutex, MutexGuard, rank};
use crate::size_class::SizeClass;
use crate::slab::Slab;

/// A bin's state, under its lock.
pub(super) type StateGuard<'bin> = MutexGuard<'bin, { rank::BIN }, BinState>;

/// One size class of one arena; zeroed memory is an open, empty one.
///
/// Whoever takes the lock lists what was left first. So a slab is listed before anybody puts a block
/// of it back, for it is left before the first of its blocks is handed out.
#[derive(Debug)]
pub(crate) struct BinCell {
    state: Mutex<{ rank::BIN }, BinState>,
    left: LeftSpans,
}

impl BinCell {
    /// Takes the lock, waiting for it if need be.
    pub(super) fn lock(&self, class: SizeClass) -> StateGuard<'_> {
        self.take_in(class, self.state.lock())
    }

    /// Takes the lock and tells whether it had to wait for it.
    #[inline]
    pub(super) fn lock_noting_contention(&self, class: SizeClass) -> (StateGuard<'_>, bool) {
        let (state, contended) = self.state.lock_noting_contention();
        (self.take_in(class, state), contended)
    }

    /// Takes the lock if it is to be had within a moment, and tells whether it had to wait.
    #[inline]
    pub(super) fn lock_soon(&self, class: SizeClass) -> Option<(StateGuard<'_>, bool)> {
        let (state, contended) = self.state.lock_soon()?;
        Some((self.take_in(class, state), contended))
    }

    /// Takes the lock unless somebody keeps it for longer than work takes.
    pub(super) fn lock_unless_stalled(&self, class: SizeClass) -> Option<StateGuard<'_>> {
        Some(self.take_in(class, self.state.lock_unless_stalled()?))
    }

    /// Takes the lock if nobody has it.
    pub(super) fn try_lock(&self, class: SizeClass) -> Option<StateGuard<'_>> {
        Some(self.take_in(class, self.state.try_lock()?))
    }

    /// Takes the locks of two bins of one class.
    pub(super) fn lock_two<'bin>(
        class: SizeClass,
        first: &'bin Self,
        second: &'bin Self,
    ) -> (StateGuard<'bin>, StateGuard<'bin>) {
        let (one, other) = Mutex::lock_two(&first.state, &second.state);
        (first.take_in(class, one), second.take_in(class, other))
    }

    #[inline]
    fn take_in<'bin>(&self, class: SizeClass, mut state: StateGuard<'bin>) -> StateGuard<'bin> {
        self.left.take_all(|span| state.link_left(class.shape(), Slab::from_span(span)));
        state
    }

    /// Leaves a slab for whoever takes the lock next.
    ///
    /// It is cut for this bin, whose arena does not close, and nobody else knows of it.
    pub(super) fn leave(&self, slab: Slab) {
        self.left.push(slab.span());
    }

    /// Takes the lock for a fork; what was left is found by whoever takes it next.
    pub(super) fn hold_for_fork(&self) {
        self.state.hold_for_fork();
    }

    /// # Safety
    ///
    /// As [`Mutex::release_after_fork`].
    pub(super) unsafe fn release_after_fork(&self) {
        // SAFETY: the caller's promise.
        unsafe { self.state.release_after_fork() };
    }
}
