//! Cache bins: one class's stack of free blocks in one thread's cache.

use core::ptr::NonNull;
use core::sync::atomic::Ordering::{Relaxed, Release};

use crate::metadata::Metadata;
use crate::size_class::{PerClass, SizeClass};
use crate::sync::AtomicPtr;

/// Bytes of blocks that a bin may hold at most, and the most and fewest blocks.
const FULL_BYTES: usize = 128 * 1024;
const BLOCKS_MAX: usize = 512;
const BLOCKS_MIN: usize = 2;

/// Bytes of blocks that a bin starts with: more only for those who come back for more.
const START_BYTES: usize = 2 * 1024;
const START_BLOCKS_MAX: usize = 8;

/// Pointers in the smallest magazine.
const MAGAZINE_MIN: usize = 8;

/// An entry of a magazine as the fast path reads and writes it: plain moves to the processor, and
/// no data race with whoever only looks.
type AtomicEntry = core::sync::atomic::AtomicPtr<u8>;

/// A magazine between two bounds, and a pointer past the block on top.
///
/// Pointers rather than a length and a capacity: to take or put a block is to compare one pointer,
/// move it by one entry, and use it. In a bin without a magazine all three are null, so it is both
/// empty and full.
///
/// The fields are written by the owner, on its fast path or under the cache's lock, and by a
/// reclaimer that holds the lock and has seen the owner idle. They are atomics, so that `stats` may
/// look at any time, and Relaxed but for one store in `push`: the handshake in [`super::slot`]
/// orders the rest.
///
/// Invariant: `bottom <= top <= limit`, all in one magazine, whose entries from `bottom` to `top`
/// are free blocks.
#[derive(Debug)]
pub(crate) struct CacheBin {
    top: AtomicPtr<*mut u8>,
    bottom: AtomicPtr<*mut u8>,
    limit: AtomicPtr<*mut u8>,
}

/// How many blocks of a class a bin may come to hold.
pub(crate) fn capacity_max(class: SizeClass) -> usize {
    static BLOCKS: PerClass = SizeClass::blocks_within(FULL_BYTES, BLOCKS_MIN, BLOCKS_MAX);
    BLOCKS.of(class)
}

pub(super) fn capacity_start(class: SizeClass) -> usize {
    static BLOCKS: PerClass = SizeClass::blocks_within(START_BYTES, 1, START_BLOCKS_MAX);
    BLOCKS.of(class)
}

/// Bytes of the magazine that a bin of this capacity has.
pub(super) fn magazine_bytes(capacity: usize) -> usize {
    let pointers = capacity.next_power_of_two().max(MAGAZINE_MIN);
    Metadata::rounded_bytes(pointers * size_of::<*mut u8>())
}

impl CacheBin {
    pub(super) const fn new() -> Self {
        CacheBin {
            top: AtomicPtr::new(core::ptr::null_mut()),
            bottom: AtomicPtr::new(core::ptr::null_mut()),
            limit: AtomicPtr::new(core::ptr::null_mut()),
        }
    }

    /// Free blocks in the bin; a guess while its owner is at work.
    pub(crate) fn len(&self) -> usize {
        self.entries_below(&self.top)
    }

    pub(crate) fn capacity(&self) -> usize {
        self.entries_below(&self.limit)
    }

    fn entries_below(&self, bound: &AtomicPtr<*mut u8>) -> usize {
        let bytes = bound.load(Relaxed).addr().saturating_sub(self.bottom.load(Relaxed).addr());
        // Two looks at a bin that moves to another magazine meanwhile may be far apart.
        (bytes / size_of::<*mut u8>()).min(BLOCKS_MAX)
    }

    /// Takes the block on top.
    ///
    /// # Safety
    ///
    /// The caller is the owner between the handshake's two stores, or holds the cache's lock.
    #[inline(always)]
    pub(super) unsafe fn pop(&self) -> Option<NonNull<u8>> {
        let top = self.top.load(Relaxed);
        if top == self.bottom.load(Relaxed) {
            return None;
        }
        // SAFETY: above `bottom` the entry below `top` is written, and no entry is null: they came
        // from a slab or from a user's live block. The caller is the only one at work here.
        unsafe {
            let top = top.sub(1);
            let block = NonNull::new_unchecked(AtomicEntry::from_ptr(top).load(Relaxed));
            self.top.store(top, Relaxed);
            Some(block)
        }
    }

    /// Puts a block on top; `false` where the bin is full.
    ///
    /// # Safety
    ///
    /// As [`pop`](Self::pop); and the block is free, of this bin's class, and in no other hands.
    #[inline(always)]
    pub(super) unsafe fn push(&self, block: NonNull<u8>) -> bool {
        let top = self.top.load(Relaxed);
        if top == self.limit.load(Relaxed) {
            return false;
        }
        // SAFETY: below `limit` the magazine has an entry at `top`; as in `pop`.
        unsafe {
            AtomicEntry::from_ptr(top).store(block.as_ptr(), Relaxed);
            // Release, so that a fork at this moment copies no count without its block.
            self.top.store(top.add(1), Release);
        }
        true
    }

    /// Calls `visit` with each block, while the owner may be at work: some may have gone, and some
    /// that came may be missing.
    ///
    /// # Safety
    ///
    /// The cache's lock is held, so that the magazine stays.
    pub(super) unsafe fn for_each(&self, mut visit: impl FnMut(*mut u8)) {
        let bottom = self.bottom.load(Relaxed);
        for index in 0..self.len() {
            // SAFETY: below the length the magazine has an entry, initialised, which the owner
            // writes as an atomic too.
            visit(unsafe { AtomicEntry::from_ptr(bottom.add(index)) }.load(Relaxed));
        }
    }

    /// The magazine's first `count` entries.
    ///
    /// # Safety
    ///
    /// The cache's lock is held, and no other slice of this magazine is in use.
    #[allow(clippy::mut_from_ref, reason = "the magazine is not part of the bin it hangs from")]
    pub(super) unsafe fn entries(&self, count: usize) -> &mut [*mut u8] {
        debug_assert!(count <= self.capacity());
        if count == 0 {
            return &mut [];
        }
        // SAFETY: the magazine holds `capacity` initialised entries (fresh storage is zeroed, and
        // null is a valid pointer value); the caller has them to itself.
        unsafe { core::slice::from_raw_parts_mut(self.bottom.load(Relaxed), count) }
    }

    /// The entry at `index`.
    ///
    /// # Safety
    ///
    /// As [`pop`](Self::pop), and the index is below the capacity.
    pub(super) unsafe fn entry(&self, index: usize) -> *mut u8 {
        // SAFETY: the caller's promise: the magazine has the entry, initialised.
        unsafe { AtomicEntry::from_ptr(self.bottom.load(Relaxed).add(index)) }.load(Relaxed)
    }

    /// # Safety
    ///
    /// As [`entry`](Self::entry).
    pub(super) unsafe fn set_entry(&self, index: usize, entry: *mut u8) {
        // SAFETY: the caller's promise. Release, so that a fork at this moment copies what was
        // stored before as well.
        unsafe { AtomicEntry::from_ptr(self.bottom.load(Relaxed).add(index)) }
            .store(entry, Release);
    }

    pub(super) fn set_len(&self, len: usize) {
        debug_assert!(len <= self.capacity());
        // Wrapping, for a bin without a magazine adds nothing to null.
        self.top.store(self.bottom.load(Relaxed).wrapping_add(len), Relaxed);
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
        NonNull::new(self.bottom.load(Relaxed))
    }

    /// Sets storage and capacity, and keeps the length; the entries have been moved already.
    ///
    /// # Safety
    ///
    /// As [`entries`](Self::entries); the storage holds `capacity` initialised pointers, at least
    /// as many as are in the bin.
    pub(super) unsafe fn set_magazine(&self, magazine: *mut *mut u8, capacity: usize) {
        let len = self.len();
        self.bottom.store(magazine, Relaxed);
        self.limit.store(magazine.wrapping_add(capacity), Relaxed);
        self.set_len(len);
    }
}
