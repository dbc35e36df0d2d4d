//! Where pages come from: the seam between the heap and the operating system.

use core::ptr::NonNull;

use crate::units::PAGE_BYTES;

/// Where a heap's pages come from.
///
/// The operating system is one page source; a fixed region of memory, or a test double that fails
/// on demand, are others. Every pointer that a source hands out stays valid for reads and writes
/// of the length asked for until it is given to [`unmap`](Self::unmap) or moved by
/// [`remap`](Self::remap).
///
/// Sizes are in bytes and multiples of [`PAGE_BYTES`]; alignments are powers of two of at least
/// that. No method may call into the heap that it serves.
///
/// # Safety
///
/// The heap writes through what [`map`](Self::map) returns, and reads zeros from it, without any
/// check of its own. An implementation must hand out memory that nothing else uses, that has the
/// size and alignment asked for, and that reads as zero; [`purge`](Self::purge) may answer `true`
/// only where the range reads as zero afterwards.
pub unsafe trait PageSource: Send + Sync {
    /// Maps `bytes` of zeroed memory aligned to `align`, or `None` where that is refused.
    fn map(&self, bytes: usize, align: usize) -> Option<NonNull<u8>>;

    /// Gives a range back for good.
    ///
    /// # Safety
    ///
    /// The range lies within what this source mapped, and nothing uses it any more.
    unsafe fn unmap(&self, base: NonNull<u8>, bytes: usize);

    /// Gives the memory of a range back and keeps its addresses.
    ///
    /// Answers `true` where the range is no longer resident and reads as zero, `false` where
    /// nothing happened.
    ///
    /// # Safety
    ///
    /// The range lies within what this source mapped, starts and ends on a multiple of
    /// [`granularity_bytes`](Self::granularity_bytes), and holds nothing that is still wanted.
    unsafe fn purge(&self, base: NonNull<u8>, bytes: usize) -> bool;

    /// Resizes a mapping of its own, moving it if it must, without copying its contents.
    ///
    /// `None` leaves the mapping as it was. The default refuses, and the heap copies.
    ///
    /// # Safety
    ///
    /// `base` and `old_bytes` are a whole mapping as [`map`](Self::map) or an earlier call of
    /// this returned it; after `Some` the old range is gone.
    unsafe fn remap(
        &self,
        base: NonNull<u8>,
        old_bytes: usize,
        new_bytes: usize,
    ) -> Option<NonNull<u8>> {
        let _ = (base, old_bytes, new_bytes);
        None
    }

    /// The unit in which [`purge`](Self::purge) works, a power of two of at least [`PAGE_BYTES`].
    fn granularity_bytes(&self) -> usize {
        PAGE_BYTES
    }
}
