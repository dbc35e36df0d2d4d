//! Cache bins: one class's stack of free blocks in one thread's cache.

use core::ptr::NonNull;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicPtr, AtomicU32};

use crate::metadata::Metadata;
use crate::size_class::SizeClass;

/// Bytes of blocks that a bin may hold at most, and the most and fewest blocks.
const FULL_BYTES: usize = 64 * 1024;
const BLOCKS_MAX: usize = 256;
const BLOCKS_MIN: usize = 2;

/// Bytes of blocks that a bin starts with: more only for those who come back for more.
const START_BYTES: usize = 2 * 1024;
const START_BLOCKS_MAX: usize = 8;

/// Pointers in the smallest magazine.
const MAGAZINE_MIN: usize = 8;

/// A magazine, how many blocks are in it and how many may be.
///
/// The fields are written by the owner, on its fast path or under the cache's lock, and by a
/// reclaimer that holds the lock and has seen the owner idle. They are atomics, read and written
/// with Relaxed, so that `stats` may look at any time; the handshake in [`super::slot`] orders the
/// rest.
///
/// Invariant: `len <= capacity`, and `magazine` holds at least `capacity` pointers.
#[derive(Debug)]
pub(crate) struct CacheBin {
    magazine: AtomicPtr<*mut u8>,
    len: AtomicU32,
    capacity: AtomicU32,
}

/// How many blocks of a class a bin may come to hold.
pub(crate) fn capacity_max(class: SizeClass) -> usize {
    (FULL_BYTES / class.block_bytes()).clamp(BLOCKS_MIN, BLOCKS_MAX)
}

fn capacity_start(class: SizeClass) -> usize {
    (START_BYTES / class.block_bytes()).clamp(1, START_BLOCKS_MAX)
}

/// Bytes of the magazine that a bin of this capacity has.
pub(super) fn magazine_bytes(capacity: usize) -> usize {
    let pointers = capacity.next_power_of_two().max(MAGAZINE_MIN);
    Metadata::rounded_bytes(pointers * size_of::<*mut u8>())
}

impl CacheBin {
    pub(super) const fn new() -> Self {
        CacheBin {
            magazine: AtomicPtr::new(core::ptr::null_mut()),
            len: AtomicU32::new(0),
            capacity: AtomicU32::new(0),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len.load(Relaxed) as usize
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity.load(Relaxed) as usize
    }

    /// Takes the block on top.
    ///
    /// # Safety
    ///
    /// The caller is the owner between the handshake's two stores, or holds the cache's lock.
    #[inline(always)]
    pub(super) unsafe fn pop(&self) -> Option<NonNull<u8>> {
        let len = self.len.load(Relaxed);
        if len == 0 {
            return None;
        }
        // SAFETY: `len` entries of the magazine are written, and no entry is null: they came from
        // a slab or from a user's live block. The caller is the only one at work here.
        let block =
            unsafe { NonNull::new_unchecked(*self.magazine.load(Relaxed).add(len as usize - 1)) };
        self.len.store(len - 1, Relaxed);
        Some(block)
    }

    /// Puts a block on top; `false` where the bin is full.
    ///
    /// # Safety
    ///
    /// As [`pop`](Self::pop); and the block is free, of this bin's class, and in no other hands.
    #[inline(always)]
    pub(super) unsafe fn push(&self, block: NonNull<u8>) -> bool {
        let len = self.len.load(Relaxed);
        if len == self.capacity.load(Relaxed) {
            return false;
        }
        // SAFETY: the magazine holds `capacity` entries, more than `len`; as in `pop`.
        unsafe { *self.magazine.load(Relaxed).add(len as usize) = block.as_ptr() };
        self.len.store(len + 1, Relaxed);
        true
    }

    /// The magazine's first `count` entries.
    ///
    /// # Safety
    ///
    /// The cache's lock is held, and no other slice of this magazine is in use.
    pub(super) unsafe fn entries(&self, count: usize) -> &mut [*mut u8] {
        debug_assert!(count <= self.capacity());
        if count == 0 {
            return &mut [];
        }
        // SAFETY: the magazine holds `capacity` initialised entries (fresh storage is zeroed, and
        // null is a valid pointer value); the caller has them to itself.
        unsafe { core::slice::from_raw_parts_mut(self.magazine.load(Relaxed), count) }
    }

    pub(super) fn set_len(&self, len: usize) {
        debug_assert!(len <= self.capacity());
        self.len.store(len as u32, Relaxed);
    }

    /// Drops the oldest `count` entries, which somebody else took, from the bottom.
    ///
    /// # Safety
    ///
    /// As [`entries`](Self::entries).
    pub(super) unsafe fn drop_oldest(&self, count: usize) {
        let len = self.len();
        // SAFETY: the caller's promise.
        unsafe { self.entries(len) }.copy_within(count.., 0);
        self.set_len(len - count);
    }

    /// The capacity that a bin of this class grows to next.
    pub(super) fn next_capacity(&self, class: SizeClass) -> usize {
        match self.capacity() {
            0 => capacity_start(class),
            capacity => (capacity * 2).min(capacity_max(class)),
        }
    }

    pub(super) fn magazine(&self) -> Option<NonNull<*mut u8>> {
        NonNull::new(self.magazine.load(Relaxed))
    }

    /// Sets storage and capacity; the entries have been moved already.
    ///
    /// # Safety
    ///
    /// As [`entries`](Self::entries); the storage holds `capacity` initialised pointers.
    pub(super) unsafe fn set_magazine(&self, magazine: *mut *mut u8, capacity: usize) {
        self.magazine.store(magazine, Relaxed);
        self.capacity.store(capacity as u32, Relaxed);
    }
}
