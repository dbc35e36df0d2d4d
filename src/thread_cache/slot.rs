//! A thread's slot, and the handshake by which its cache can be taken from outside.
//!
//! The slot is two words that the fast path touches, and two that it does not. The owner says that
//! it is at work by `busy`, and looks at its cache only through `cache`:
//!
//! ```text
//! owner                                reclaimer, under the cache's lock
//! busy = true                          cache = EMPTY
//! (compiler fence)                     membarrier: every thread passes a full fence
//! load cache                           load busy (Acquire)
//! pop or push                          false: the cache is the reclaimer's
//! busy = false (Release)               true:  leave it alone
//! ```
//!
//! The barrier falls somewhere into the owner's column. Where it falls after `busy = true`, that
//! store is seen and the reclaimer leaves. Where it falls before, the owner's load of `cache`
//! comes after it and finds EMPTY, in which every bin is both empty and full: it touches
//! nothing and takes the slow path, which waits for the cache's lock. And a `busy` seen false
//! after an operation was stored with Release, so the reclaimer's Acquire load sees all that the
//! operation wrote. The owner pays two plain stores for this, and no fence that the processor
//! knows of.

use core::ptr::NonNull;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};

use super::{EMPTY, ThreadCache};
use crate::size_class::SizeClass;
use crate::sync::{AtomicBool, AtomicPtr, AtomicU8, HAS_HANDSHAKE, compiler_fence};

/// How a thread stands to the allocator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum ThreadState {
    /// It has not needed a cache yet.
    Fresh = 0,
    /// It has a cache.
    Attached,
    /// It is within the allocator or a policy, or has exited: what it allocates now comes straight
    /// from an arena.
    Uncached,
}

/// What the allocator keeps for each thread in thread-local storage.
///
/// Laid out as written, because `global/slot.rs` may make the first one of each thread in assembly.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct ThreadSlot {
    busy: AtomicBool,
    state: AtomicU8,
    /// Whether the thread's beginning was told: see [`crate::raw::thread_begins`].
    is_told: AtomicBool,
    /// What the fast path works on: the thread's cache, or EMPTY.
    cache: AtomicPtr<ThreadCache>,
    /// The thread's cache, also while `cache` is EMPTY.
    own: AtomicPtr<ThreadCache>,
}

impl ThreadSlot {
    /// Bytes from a slot's start to its pointer to the cache that the fast path uses.
    #[allow(dead_code, reason = "for the slot in assembly, which few builds have")]
    pub(crate) const CACHE_OFFSET_BYTES: usize = core::mem::offset_of!(ThreadSlot, cache);

    pub(crate) const fn new() -> Self {
        ThreadSlot {
            busy: AtomicBool::new(false),
            state: AtomicU8::new(ThreadState::Fresh as u8),
            is_told: AtomicBool::new(false),
            cache: AtomicPtr::new((&raw const EMPTY).cast_mut()),
            own: AtomicPtr::new(core::ptr::null_mut()),
        }
    }

    /// The slot of one who goes without a cache.
    pub(crate) const fn uncached() -> Self {
        let slot = ThreadSlot::new();
        ThreadSlot { state: AtomicU8::new(ThreadState::Uncached as u8), ..slot }
    }

    /// Takes a block from the cache's bin of this class, if it has one.
    #[inline(always)]
    pub(crate) fn pop(&self, class: SizeClass) -> Option<NonNull<u8>> {
        self.enter();
        // SAFETY: `cache` points to EMPTY or to the thread's own cache, which is freed only after
        // the thread exited; between `enter` and `leave` this thread alone uses its bins.
        let block = unsafe { (*self.cache.load(Relaxed)).bin(class).pop() };
        self.leave();
        block
    }

    /// Puts a free block into the cache's bin of this class; `false` where that is full.
    ///
    /// # Safety
    ///
    /// The block is of this class, given up by its user, and nowhere else.
    #[inline(always)]
    pub(crate) unsafe fn push(&self, class: SizeClass, block: NonNull<u8>) -> bool {
        self.enter();
        // SAFETY: as in `pop`; the caller promises the block.
        let pushed = unsafe { (*self.cache.load(Relaxed)).bin(class).push(block) };
        self.leave();
        pushed
    }

    /// Lets `work` do with the thread's cache, or with EMPTY, what the fast path may.
    #[inline(always)]
    pub(super) fn work<T>(&self, work: impl FnOnce(&ThreadCache) -> T) -> T {
        self.enter();
        // SAFETY: as in `pop`.
        let result = work(unsafe { &*self.cache.load(Relaxed) });
        self.leave();
        result
    }

    #[inline(always)]
    fn enter(&self) {
        if !HAS_HANDSHAKE {
            return;
        }
        self.busy.store(true, Relaxed);
        // Keeps the compiler from moving the load of `cache` above the store; the processor's own
        // reordering of the two is what the reclaimer's membarrier takes care of.
        compiler_fence(SeqCst);
    }

    #[inline(always)]
    fn leave(&self) {
        if !HAS_HANDSHAKE {
            return;
        }
        // Release pairs with the Acquire in `is_idle`.
        self.busy.store(false, Release);
    }

    pub(crate) fn state(&self) -> ThreadState {
        match self.state.load(Relaxed) {
            0 => ThreadState::Fresh,
            1 => ThreadState::Attached,
            _ => ThreadState::Uncached,
        }
    }

    /// Notes that the thread's beginning was told; the owner's alone to call.
    pub(crate) fn set_told(&self) {
        self.is_told.store(true, Relaxed);
    }

    pub(crate) fn is_told(&self) -> bool {
        self.is_told.load(Relaxed)
    }

    /// Sets the state and answers what it was; the owner's alone to call.
    pub(crate) fn set_state(&self, state: ThreadState) -> ThreadState {
        let before = self.state();
        self.state.store(state as u8, Relaxed);
        before
    }

    /// The thread's cache, whether it is in use or was taken for empty.
    pub(super) fn own(&self) -> Option<NonNull<ThreadCache>> {
        NonNull::new(self.own.load(Relaxed))
    }

    pub(super) fn set_own(&self, cache: Option<NonNull<ThreadCache>>) {
        self.own.store(cache.map_or(core::ptr::null_mut(), NonNull::as_ptr), Relaxed);
    }

    /// Lets the fast path work on `cache`; the owner calls it under the cache's lock.
    pub(super) fn show(&self, cache: NonNull<ThreadCache>) {
        self.cache.store(cache.as_ptr(), Relaxed);
    }

    /// Takes the cache from the fast path's sight; under the cache's lock.
    pub(super) fn hide(&self) {
        self.cache.store((&raw const EMPTY).cast_mut(), Relaxed);
    }

    /// Whether the cache is hidden and its owner was outside the fast path at the last fence.
    ///
    /// Called by a reclaimer under the cache's lock, after a fence on every thread that followed
    /// `hide`. `true` means that the owner's last operation is over and visible, and that its next
    /// one finds EMPTY.
    pub(super) fn is_idle(&self) -> bool {
        let is_hidden = core::ptr::eq(self.cache.load(Relaxed), &raw const EMPTY);
        // Acquire pairs with the Release in `leave`.
        is_hidden && !self.busy.load(Acquire)
    }
}
