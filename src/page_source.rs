//! Where pages come from: the seam between the heap and the operating system.

use core::ptr::NonNull;
use std::sync::Arc;

use crate::units::PAGE_BYTES;

/// The methods of a source that is reached through a pointer.
macro_rules! forward {
    () => {
        fn map(&self, bytes: usize, align: usize) -> Option<NonNull<u8>> {
            (**self).map(bytes, align)
        }

        unsafe fn unmap(&self, base: NonNull<u8>, bytes: usize) {
            // SAFETY: the caller's promise is the one asked for.
            unsafe { (**self).unmap(base, bytes) };
        }

        unsafe fn purge(&self, base: NonNull<u8>, bytes: usize) -> bool {
            // SAFETY: the caller's promise is the one asked for.
            unsafe { (**self).purge(base, bytes) }
        }

        unsafe fn remap(
            &self,
            base: NonNull<u8>,
            old_bytes: usize,
            new_bytes: usize,
        ) -> Option<NonNull<u8>> {
            // SAFETY: the caller's promise is the one asked for.
            unsafe { (**self).remap(base, old_bytes, new_bytes) }
        }

        fn granularity_bytes(&self) -> usize {
            (**self).granularity_bytes()
        }
    };
}

/// Where a heap's pages come from.
///
/// The operating system is one page source ([`OsPages`](crate::OsPages)), a fixed region of memory
/// another ([`FixedRegion`](crate::FixedRegion)); a test double that fails on demand, or memory
/// with special properties, can be more. Every pointer that a source hands out stays valid for
/// reads and writes of the length asked for until it is given to [`unmap`](Self::unmap) or moved by
/// [`remap`](Self::remap).
///
/// Sizes are in bytes and multiples of [`PAGE_BYTES`]; alignments are powers of two of at least
/// that. For its records a heap asks for mappings of 64 KiB, and for longer ones of a few pages up to
/// some hundred KiB, some at multiples of 64 or 128 KiB; for its blocks, for 4 MiB at a multiple of
/// 4 MiB; and for one mapping for each allocation of more than 2 MiB.
///
/// No method may call into the heap that it serves, nor fork, nor make or drop a
/// [`Heap`](crate::Heap) or a [`FixedRegion`](crate::FixedRegion). They may use the global
/// allocator, and heaps that are older than the one that they serve; no [hook](crate::hooks) runs
/// meanwhile. A method that panics ends the program.
///
/// A heap is taken through a fork with all of its locks, but knows of none in its source. A source
/// with a lock, which another thread may hold at that moment, needs handlers of its own, or its
/// child could wait for ever; atomics need none. Let them make the lock anew in the child. One that
/// takes it before the fork runs before the heap's own, as a rule, and then waits for a thread that
/// waits for the lock with one of the heap's in its hands.
///
/// The example `own_pages` is a source that takes pages of 2 MiB where the kernel has them.
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
    /// `base` and `bytes` are a whole mapping as [`map`](Self::map) or [`remap`](Self::remap)
    /// returned it, and nothing uses it any more.
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

// SAFETY: the memory is that of the source behind, which keeps the contract.
unsafe impl<S: PageSource + ?Sized> PageSource for &S {
    forward!();
}

// SAFETY: as above.
unsafe impl<S: PageSource + ?Sized> PageSource for Arc<S> {
    forward!();
}
