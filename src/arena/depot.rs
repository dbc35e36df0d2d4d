//! The depot: a bin's small stock of free blocks, between the thread caches and the slabs.
//!
//! What one thread flushes another refills with, by copying pointers and without a look at a
//! slab: producer and consumer pairs live off it. A batch is copied rather than a magazine
//! swapped, so that a thread at the edge between full and empty keeps half of its blocks instead
//! of trading magazines at every call.

use core::ptr::NonNull;

use crate::counted_source::CountedSource;
use crate::metadata::Metadata;
use crate::page_source::PageSource;
use crate::size_class::SizeClass;

/// Bytes of blocks that a depot may hold, and the fewest and most blocks.
const STOCK_BYTES: usize = 32 * 1024;
const BLOCKS_MIN: usize = 2;
const BLOCKS_MAX: usize = 256;

/// A stack of free blocks; zeroed memory is an empty one.
#[derive(Debug)]
pub(super) struct Depot {
    blocks: Option<NonNull<*mut u8>>,
    len: u32,
}

// SAFETY: the stack belongs to its bin and is used under the bin's lock.
unsafe impl Send for Depot {}

/// How many blocks of a class a depot holds at most.
pub(crate) fn capacity(class: SizeClass) -> usize {
    (STOCK_BYTES / class.block_bytes()).clamp(BLOCKS_MIN, BLOCKS_MAX)
}

impl Depot {
    pub(super) fn len(&self) -> usize {
        self.len as usize
    }

    /// Moves up to `into.len()` blocks out; answers how many.
    pub(super) fn take(&mut self, into: &mut [*mut u8]) -> usize {
        let Some(blocks) = self.blocks else { return 0 };
        let count = into.len().min(self.len());
        self.len -= count as u32;
        // SAFETY: the topmost `count` of `len` entries, all written by `put`.
        let top =
            unsafe { core::slice::from_raw_parts(blocks.as_ptr().add(self.len as usize), count) };
        into[..count].copy_from_slice(top);
        count
    }

    /// Copies up to `into.len()` blocks and leaves them in; answers how many.
    pub(super) fn copy(&mut self, into: &mut [*mut u8]) -> usize {
        let len = self.len;
        let count = self.take(into);
        self.len = len;
        count
    }

    /// Moves all of `from` in, or nothing where it has no room.
    pub(super) fn put<S: PageSource>(
        &mut self,
        class: SizeClass,
        from: &[*mut u8],
        metadata: &Metadata,
        source: &CountedSource<S>,
    ) -> bool {
        if self.len() + from.len() > capacity(class) {
            return false;
        }
        let Some(blocks) = self.storage(class, metadata, source) else { return false };
        // SAFETY: the storage holds `capacity` entries, and the sum was just seen to fit.
        unsafe {
            blocks
                .add(self.len())
                .copy_from_nonoverlapping(NonNull::from_ref(from).cast(), from.len());
        }
        self.len += from.len() as u32;
        true
    }

    fn storage<S: PageSource>(
        &mut self,
        class: SizeClass,
        metadata: &Metadata,
        source: &CountedSource<S>,
    ) -> Option<NonNull<*mut u8>> {
        if self.blocks.is_none() {
            self.blocks = Some(metadata.take(source, storage_bytes(class))?.cast());
        }
        self.blocks
    }

    /// Gives the storage of an empty depot back.
    pub(super) fn release<S: PageSource>(
        &mut self,
        class: SizeClass,
        metadata: &Metadata,
        source: &CountedSource<S>,
    ) {
        if self.len != 0 {
            return;
        }
        if let Some(blocks) = self.blocks.take() {
            // SAFETY: taken in `storage` with this size, and no longer reachable.
            unsafe { metadata.give(source, blocks.cast(), storage_bytes(class)) };
        }
    }
}

fn storage_bytes(class: SizeClass) -> usize {
    capacity(class) * size_of::<*mut u8>()
}
