//! What one processor holds: a stack for each class, and the storage of all.

use core::cell::UnsafeCell;
use core::mem::offset_of;
use core::ptr::NonNull;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicBool, AtomicU8};

use crate::budget::CacheBudget;
use crate::os::restartable::Stack;
use crate::size_class::{CLASS_COUNT, PerClass, SizeClass};

/// Bytes of blocks that a stack starts with, and the fewest and most blocks.
pub(super) const START_BYTES: usize = 32 * 1024;
const START_BLOCKS_MIN: usize = 2;
const START_BLOCKS_MAX: usize = 16;

/// Bytes of blocks that a stack may come to hold, and the fewest and most blocks.
pub(super) const FULL_BYTES: usize = 512 * 1024;
const BLOCKS_MIN: usize = 2;
pub(super) const BLOCKS_MAX: usize = 64;

/// One processor's stacks, and the storage of each.
#[repr(C)]
#[derive(Debug)]
pub(super) struct CpuCache {
    stacks: [Stack; CLASS_COUNT],
    /// Whether a stack turned a block away since it last grew.
    pub(super) was_full: [AtomicBool; CLASS_COUNT],
    /// The length that each stack had at the end of the last period of decay; under the lock.
    seen_lengths: [AtomicU8; CLASS_COUNT],
    /// What each stack held, and might hold, when it was emptied, and what has yet to be put back;
    /// under the lock.
    taken: [AtomicU8; CLASS_COUNT],
    unreturned: [AtomicU8; CLASS_COUNT],
    /// Written by sequences, and by nobody else.
    storage: UnsafeCell<[*mut u8; STORAGE]>,
}

pub(super) static START: PerClass =
    SizeClass::blocks_within(START_BYTES, START_BLOCKS_MIN, START_BLOCKS_MAX);
pub(super) const FULL: PerClass = SizeClass::blocks_within(FULL_BYTES, BLOCKS_MIN, BLOCKS_MAX);

/// Pointers that all stacks of a processor have room for.
const STORAGE: usize = FULL.sum();

impl CpuCache {
    /// Gives each stack its part of the storage.
    ///
    /// # Safety
    ///
    /// `cache` is a zeroed record of this size, and nobody else's.
    pub(super) unsafe fn set_storage(cache: NonNull<CpuCache>) {
        // SAFETY: the caller's promise; zeros are valid in every field.
        unsafe {
            let mut storage = (&raw mut (*cache.as_ptr()).storage).cast::<*mut u8>();
            for class in SizeClass::all() {
                cache.as_ref().stack(class).set_storage(NonNull::new_unchecked(storage));
                storage = storage.add(FULL.of(class));
            }
        }
    }

    pub(super) fn stack(&self, class: SizeClass) -> &Stack {
        &self.stacks[class.index()]
    }

    pub(super) fn is_stale(&self, class: SizeClass) -> bool {
        let (stack, seen) = (self.stack(class), &self.seen_lengths[class.index()]);
        stack.capacity() > 0 && usize::from(seen.load(Relaxed)) == stack.len()
    }

    pub(super) fn note_length(&self, class: SizeClass) {
        // Lengths are below 255, which so stands for none: an emptied stack begins anew.
        let stack = self.stack(class);
        let length = if stack.capacity() == 0 { u8::MAX } else { stack.len() as u8 };
        self.seen_lengths[class.index()].store(length, Relaxed);
    }

    /// Takes all blocks out of a stack, which may hold none from here on; they are yet to be put back.
    ///
    /// # Safety
    ///
    /// The caches are hidden, and the caller has their lock.
    pub(super) unsafe fn empty(&self, class: SizeClass) {
        let stack = self.stack(class);
        self.unreturned[class.index()].store(stack.capacity() as u8, Relaxed);
        // SAFETY: hidden, so that no sequence is under way; nothing has room in no storage.
        let count = unsafe {
            let count = stack.clear();
            stack.set_capacity(0);
            count
        };
        self.taken[class.index()].store(count as u8, Relaxed);
    }

    /// Puts the blocks that were taken out of a stack back, and what was borrowed for it; answers their
    /// bytes.
    ///
    /// While the caches are shown: into a stack that may hold nothing nobody writes, and the lock,
    /// which the caller has, keeps it so.
    pub(super) fn put_back_taken(
        &self,
        class: SizeClass,
        budget: &CacheBudget,
        put_back: &mut impl FnMut(SizeClass, &mut [*mut u8]),
    ) -> usize {
        let capacity = self.unreturned[class.index()].swap(0, Relaxed);
        let count = self.taken[class.index()].swap(0, Relaxed);
        if capacity == 0 {
            return 0;
        }
        // SAFETY: `empty` made the stack forget so many.
        put_back(class, unsafe { self.stack(class).forgotten(count.into()) });
        budget.return_bytes_of_cpu(usize::from(capacity) * class.block_bytes());
        usize::from(count) * class.block_bytes()
    }
}

/// Where a class's stack lies in a [`CpuCache`].
#[inline]
pub(super) fn offset_bytes(class: SizeClass) -> usize {
    offset_of!(CpuCache, stacks) + class.index() * size_of::<Stack>()
}
