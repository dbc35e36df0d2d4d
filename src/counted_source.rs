//! A page source with a count of what was taken from it, limits on that, and notices of it.

use core::ptr::NonNull;
use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::Relaxed;

use crate::hooks::{HooksAside, Notices};
use crate::limits::Limits;
use crate::lock::RanksAside;
use crate::page_source::PageSource;

/// A page source, and what is taken from it.
///
/// The counts of purges are read by `stats` only, so Relaxed is enough: they order nothing.
#[derive(Debug)]
pub(crate) struct CountedSource<S> {
    source: S,
    limits: Limits,
    notices: Notices,
    purge_calls: AtomicUsize,
    purged_bytes: AtomicUsize,
}

impl<S: PageSource> CountedSource<S> {
    pub(crate) const fn new(source: S) -> Self {
        CountedSource {
            source,
            limits: Limits::new(),
            notices: Notices::new(),
            purge_calls: AtomicUsize::new(0),
            purged_bytes: AtomicUsize::new(0),
        }
    }

    /// Makes `place` what [`new`](Self::new) would have made of this source.
    ///
    /// # Safety
    ///
    /// `place` is zeroed memory of the size and alignment, and nobody else's.
    pub(crate) unsafe fn init(place: *mut Self, source: S) {
        // SAFETY: the caller's promise; zeros are limits that are not set and counts of nothing.
        unsafe { (&raw mut (*place).source).write(source) };
    }

    pub(crate) fn map(&self, bytes: usize, align: usize) -> Option<NonNull<u8>> {
        if !self.add_mapped(bytes) {
            return None;
        }
        let base = call(|| self.source.map(bytes, align));
        if base.is_none() {
            self.limits.subtract_mapped(bytes);
        }
        base
    }

    /// # Safety
    ///
    /// As [`PageSource::unmap`].
    pub(crate) unsafe fn unmap(&self, base: NonNull<u8>, bytes: usize) {
        // SAFETY: the caller's promise is the one asked for.
        call(|| unsafe { self.source.unmap(base, bytes) });
        self.limits.subtract_mapped(bytes);
    }

    /// # Safety
    ///
    /// As [`PageSource::purge`].
    pub(crate) unsafe fn purge(&self, base: NonNull<u8>, bytes: usize) -> bool {
        // SAFETY: the caller's promise is the one asked for.
        let purged = call(|| unsafe { self.source.purge(base, bytes) });
        if purged {
            self.purge_calls.fetch_add(1, Relaxed);
            self.purged_bytes.fetch_add(bytes, Relaxed);
        }
        purged
    }

    /// # Safety
    ///
    /// As [`PageSource::remap`].
    pub(crate) unsafe fn remap(
        &self,
        base: NonNull<u8>,
        old_bytes: usize,
        new_bytes: usize,
    ) -> Option<NonNull<u8>> {
        let more_bytes = new_bytes.saturating_sub(old_bytes);
        if !self.add_mapped(more_bytes) {
            return None;
        }
        // SAFETY: the caller's promise is the one asked for.
        let moved = call(|| unsafe { self.source.remap(base, old_bytes, new_bytes) });
        match moved {
            Some(_) => self.limits.subtract_mapped(old_bytes.saturating_sub(new_bytes)),
            None => self.limits.subtract_mapped(more_bytes),
        }
        moved
    }

    fn add_mapped(&self, bytes: usize) -> bool {
        let counted = self.limits.add_mapped(bytes);
        counted.map_err(|reached| self.notices.note_refusal(reached)).is_ok()
    }

    /// Counts pages about to become resident; `false` where the hard limit refuses them.
    pub(crate) fn add_resident(&self, bytes: usize) -> bool {
        let counted = self.limits.add_resident(bytes);
        counted.map_err(|reached| self.notices.note_refusal(reached)).is_ok()
    }

    /// Where it is noted what hooks are to be told.
    pub(crate) fn notices(&self) -> &Notices {
        &self.notices
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn granularity_bytes(&self) -> usize {
        call(|| self.source.granularity_bytes())
    }

    pub(crate) fn mapped_bytes(&self) -> usize {
        self.limits.mapped_bytes()
    }

    pub(crate) fn purge_calls(&self) -> usize {
        self.purge_calls.load(Relaxed)
    }

    pub(crate) fn purged_bytes(&self) -> usize {
        self.purged_bytes.load(Relaxed)
    }

    pub(crate) fn inner(&self) -> &S {
        &self.source
    }
}

/// Calls into a source, which may be a program's own: it may use other heaps, and must not unwind.
///
/// What it allocates from the global heap tells no hooks: this heap's locks may be held.
#[inline]
pub(crate) fn call<T>(source_call: impl FnOnce() -> T) -> T {
    let _aside = (RanksAside::new(), HooksAside::new());
    let unwinding = AbortOnUnwind;
    let answer = source_call();
    core::mem::forget(unwinding);
    answer
}

/// Ends the program when dropped: a source's panic must not unwind out of an allocation, whose
/// callers are compiled in the belief that nothing does.
///
/// Unit tests, whose sources assert, are told by the panic itself.
struct AbortOnUnwind;

impl Drop for AbortOnUnwind {
    fn drop(&mut self) {
        #[cfg(not(test))]
        crate::os::message::abort_with(format_args!("a page source panicked"));
    }
}
