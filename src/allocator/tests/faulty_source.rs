//! A page source of which any step can be refused.

use core::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use super::{PageSource, TestSource};
use crate::units::PAGE_BYTES;

/// The test source behind a turnstile: mapping, moving a mapping and purging are a step each, and
/// a range of steps is refused. Unlike the test source, it moves mappings as the kernel does.
#[derive(Debug)]
pub(super) struct FaultySource {
    inner: TestSource,
    steps: AtomicUsize,
    refused: AtomicUsize,
    refuse_from: AtomicUsize,
    refuse_until: AtomicUsize,
}

impl FaultySource {
    pub(super) fn refusing(steps: core::ops::Range<usize>) -> Self {
        FaultySource {
            inner: TestSource::new(),
            steps: AtomicUsize::new(0),
            refused: AtomicUsize::new(0),
            refuse_from: AtomicUsize::new(steps.start),
            refuse_until: AtomicUsize::new(steps.end),
        }
    }

    /// Refuses everything from here on.
    pub(super) fn refuse_all(&self) {
        self.refuse_from.store(0, SeqCst);
        self.refuse_until.store(usize::MAX, SeqCst);
    }

    /// Refuses nothing from here on.
    pub(super) fn heal(&self) {
        self.refuse_until.store(0, SeqCst);
    }

    /// Steps asked for, refused ones included.
    pub(super) fn steps(&self) -> usize {
        self.steps.load(SeqCst)
    }

    pub(super) fn refused(&self) -> usize {
        self.refused.load(SeqCst)
    }

    pub(super) fn outstanding_bytes(&self) -> usize {
        self.inner.outstanding_bytes()
    }

    fn may_pass(&self) -> bool {
        let step = self.steps.fetch_add(1, SeqCst);
        let is_refused =
            step >= self.refuse_from.load(SeqCst) && step < self.refuse_until.load(SeqCst);
        self.refused.fetch_add(usize::from(is_refused), SeqCst);
        !is_refused
    }
}

// SAFETY: all memory is the inner source's, which keeps the contract; a refused step does nothing.
unsafe impl PageSource for FaultySource {
    fn map(&self, bytes: usize, align: usize) -> Option<NonNull<u8>> {
        self.may_pass().then(|| self.inner.map(bytes, align))?
    }

    unsafe fn unmap(&self, base: NonNull<u8>, bytes: usize) {
        // SAFETY: the caller's promise is the one asked for.
        unsafe { self.inner.unmap(base, bytes) };
    }

    unsafe fn purge(&self, base: NonNull<u8>, bytes: usize) -> bool {
        // SAFETY: the caller's promise is the one asked for.
        self.may_pass() && unsafe { self.inner.purge(base, bytes) }
    }

    unsafe fn remap(
        &self,
        base: NonNull<u8>,
        old_bytes: usize,
        new_bytes: usize,
    ) -> Option<NonNull<u8>> {
        let moved = self.map(new_bytes, PAGE_BYTES)?;
        // SAFETY: both mappings are at least so long and apart, and the caller gives the old up.
        unsafe {
            moved.copy_from_nonoverlapping(base, old_bytes.min(new_bytes));
            self.inner.unmap(base, old_bytes);
        }
        Some(moved)
    }
}
