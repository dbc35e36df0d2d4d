//! A page source with a count of what was taken from it.

use core::ptr::NonNull;
use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::Relaxed;

use crate::page_source::PageSource;

/// A page source, and how many bytes of it are mapped.
///
/// The counts are read by `stats` only, so Relaxed is enough: they order nothing.
#[derive(Debug)]
pub(crate) struct CountedSource<S> {
    source: S,
    mapped_bytes: AtomicUsize,
    purge_calls: AtomicUsize,
    purged_bytes: AtomicUsize,
}

impl<S: PageSource> CountedSource<S> {
    pub(crate) const fn new(source: S) -> Self {
        CountedSource {
            source,
            mapped_bytes: AtomicUsize::new(0),
            purge_calls: AtomicUsize::new(0),
            purged_bytes: AtomicUsize::new(0),
        }
    }

    pub(crate) fn map(&self, bytes: usize, align: usize) -> Option<NonNull<u8>> {
        let base = self.source.map(bytes, align)?;
        self.mapped_bytes.fetch_add(bytes, Relaxed);
        Some(base)
    }

    /// # Safety
    ///
    /// As [`PageSource::unmap`].
    pub(crate) unsafe fn unmap(&self, base: NonNull<u8>, bytes: usize) {
        // SAFETY: the caller's promise is the one asked for.
        unsafe { self.source.unmap(base, bytes) };
        self.mapped_bytes.fetch_sub(bytes, Relaxed);
    }

    /// # Safety
    ///
    /// As [`PageSource::purge`].
    pub(crate) unsafe fn purge(&self, base: NonNull<u8>, bytes: usize) -> bool {
        // SAFETY: the caller's promise is the one asked for.
        let purged = unsafe { self.source.purge(base, bytes) };
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
        // SAFETY: the caller's promise is the one asked for.
        let moved = unsafe { self.source.remap(base, old_bytes, new_bytes) }?;
        // Wrapping makes one addition serve growth and shrinkage alike.
        self.mapped_bytes.fetch_add(new_bytes.wrapping_sub(old_bytes), Relaxed);
        Some(moved)
    }

    pub(crate) fn granularity_bytes(&self) -> usize {
        self.source.granularity_bytes()
    }

    pub(crate) fn mapped_bytes(&self) -> usize {
        self.mapped_bytes.load(Relaxed)
    }

    pub(crate) fn purge_calls(&self) -> usize {
        self.purge_calls.load(Relaxed)
    }

    pub(crate) fn purged_bytes(&self) -> usize {
        self.purged_bytes.load(Relaxed)
    }

    #[cfg(test)]
    pub(crate) fn inner(&self) -> &S {
        &self.source
    }
}
