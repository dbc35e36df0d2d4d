//! Stacks of pointers that belong to a processor: restartable sequences, `rseq(2)`.
//!
//! A thread pops from, or pushes to, the stack of the processor it runs on, without a lock and
//! without an atomic instruction. The kernel sees to it that nobody comes between: where the thread
//! loses the processor, moves, or gets a signal before the last store of such a sequence, it begins
//! anew. So nobody ever waits for a thread that was preempted here.
//!
//! ```text
//! a thread, in one sequence            who wants the stacks for himself
//! number of the processor              shown = null
//! load shown: null ends it             fence: every sequence under way begins anew
//! load the processor's stacks          the stacks are his
//! copy pointers                        shown = the table (Release)
//! store top: the last step
//! ```
//!
//! A sequence that began before the fence either stored its `top`, which the fence makes visible, or
//! begins anew and finds null.
//!
//! The C library registers each thread with the kernel (glibc from 2.35 on). Where it does not, or
//! the kernel has no such fence (Linux before 5.10), or the processor is none of those for which the
//! sequences are written here, there are no such stacks, and callers go the way they went before.

use core::ptr::NonNull;
use core::sync::atomic::AtomicPtr;
use core::sync::atomic::Ordering::{Acquire, Relaxed};

/// Processors that can have stacks; one with a higher number has none.
const PLACES: usize = 1023;

/// A stack of pointers, as the sequences know it.
///
/// Invariant: `bottom <= top <= limit`, all in one array, or all null.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Stack {
    top: AtomicPtr<*mut u8>,
    bottom: AtomicPtr<*mut u8>,
    limit: AtomicPtr<*mut u8>,
}

/// Where each processor's stacks are: null for one that has none. Zeroed memory is an empty one.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Places {
    /// How many of the places may be read.
    count: usize,
    places: [AtomicPtr<u8>; PLACES],
}

/// The table as threads find it; null while there is none, or somebody has it for himself.
pub(crate) type Shown = AtomicPtr<Places>;

impl Stack {
    /// Gives an empty stack its storage, in which it may hold nothing yet.
    pub(crate) fn set_storage(&self, storage: NonNull<*mut u8>) {
        for bound in [&self.top, &self.bottom, &self.limit] {
            bound.store(storage.as_ptr(), Relaxed);
        }
    }

    /// Pointers in the stack; a guess while threads are at work.
    pub(crate) fn len(&self) -> usize {
        self.entries_below(&self.top)
    }

    pub(crate) fn capacity(&self) -> usize {
        self.entries_below(&self.limit)
    }

    fn entries_below(&self, bound: &AtomicPtr<*mut u8>) -> usize {
        let bytes = bound.load(Relaxed).addr().saturating_sub(self.bottom.load(Relaxed).addr());
        bytes / size_of::<*mut u8>()
    }

    /// Lets the stack hold `capacity` pointers, also while threads are at work.
    ///
    /// # Safety
    ///
    /// The storage has room for so many, and it holds no more than that.
    pub(crate) unsafe fn set_capacity(&self, capacity: usize) {
        // SAFETY: the caller promises the room. Relaxed: a thread that sees the old bound for a
        // while finds the stack full, or puts a pointer where there has always been room for it.
        let limit = unsafe { self.bottom.load(Relaxed).add(capacity) };
        self.limit.store(limit, Relaxed);
    }

    /// Makes the stack forget its pointers; answers how many.
    ///
    /// # Safety
    ///
    /// No sequence is under way on this stack.
    pub(crate) unsafe fn clear(&self) -> usize {
        let len = self.len();
        self.top.store(self.bottom.load(Relaxed), Relaxed);
        len
    }

    /// The pointers that a stack forgot, oldest first.
    ///
    /// # Safety
    ///
    /// It forgot so many, and nobody has pushed since, nor does while the slice lives.
    #[allow(clippy::mut_from_ref, reason = "the storage is not part of the stack it hangs from")]
    pub(crate) unsafe fn forgotten(&self, len: usize) -> &mut [*mut u8] {
        if len == 0 {
            return &mut [];
        }
        // SAFETY: so many entries are written, by the caller's promise, and the caller's alone.
        unsafe { core::slice::from_raw_parts_mut(self.bottom.load(Relaxed), len) }
    }

    /// Calls `visit` with each pointer, while threads may be at work: some may have gone, and some
    /// that came may be missing.
    pub(crate) fn for_each(&self, mut visit: impl FnMut(*mut u8)) {
        let bottom = self.bottom.load(Relaxed);
        for index in 0..self.len() {
            // SAFETY: the storage stays, and was zeroed at first; sequences write whole pointers.
            let pointer = unsafe { AtomicPtr::from_ptr(bottom.add(index)) }.load(Relaxed);
            if !pointer.is_null() {
                visit(pointer);
            }
        }
    }
}

impl Places {
    /// Lets threads read the places, all of them null yet.
    pub(crate) fn open(&mut self) {
        self.count = PLACES;
    }

    /// The place of a processor.
    pub(crate) fn of(&self, processor: usize) -> Option<&AtomicPtr<u8>> {
        self.places.get(processor)
    }

    /// The stacks of all processors that have some.
    pub(crate) fn iter(&self) -> impl Iterator<Item = NonNull<u8>> + '_ {
        // Acquire pairs with the Release of whoever made the stacks.
        self.places.iter().filter_map(|place| NonNull::new(place.load(Acquire)))
    }
}

/// Pops up to `into.len()` pointers from the stack that lies `offset_bytes` into the processor's
/// stacks, the one on top first; answers how many. What lies behind those in `into` may have been
/// written by a sequence that began anew, and is not the caller's.
///
/// # Safety
///
/// `shown` is null or a table whose places are null or hold a [`Stack`] at this offset. Whoever
/// takes a table, or something in it, away, shows null and makes a [`fence`] first.
#[inline]
pub(crate) unsafe fn pop(shown: &Shown, offset_bytes: usize, into: &mut [*mut u8]) -> usize {
    // Acquire pairs with the Release of who shows the table: what the sequence needs to know of this
    // thread was found out before.
    if shown.load(Acquire).is_null() {
        return 0;
    }
    // SAFETY: the caller's promise.
    unsafe { sequences::pop(shown, offset_bytes, into) }
}

/// Pushes as many of `from` as there is room for, the first one first; answers how many.
///
/// # Safety
///
/// As [`pop`].
#[inline]
pub(crate) unsafe fn push(shown: &Shown, offset_bytes: usize, from: &[*mut u8]) -> usize {
    // Acquire as in `pop`.
    if shown.load(Acquire).is_null() {
        return 0;
    }
    // SAFETY: the caller's promise.
    unsafe { sequences::push(shown, offset_bytes, from) }
}

pub(crate) use sequences::{announce, fence, is_available, processor};

#[cfg(all(
    target_os = "linux",
    target_env = "gnu",
    target_arch = "x86_64",
    target_pointer_width = "64",
    not(miri),
    not(all(test, loom))
))]
#[path = "restartable/x86_64.rs"]
mod sequences;

#[cfg(not(all(
    target_os = "linux",
    target_env = "gnu",
    target_arch = "x86_64",
    target_pointer_width = "64",
    not(miri),
    not(all(test, loom))
)))]
#[path = "restartable/missing.rs"]
mod sequences;

/// Keeps the calling thread on the processor that it runs on; `None` where there are no sequences.
#[cfg(test)]
pub(crate) fn stay_here() -> Option<()> {
    let processor = processor()?;
    // SAFETY: a zeroed mask is a valid one, and the calls read and write it alone.
    unsafe {
        let mut mask: libc::cpu_set_t = core::mem::zeroed();
        libc::CPU_SET(processor, &mut mask);
        assert_eq!(libc::sched_setaffinity(0, size_of_val(&mask), &mask), 0);
    }
    Some(())
}

#[cfg(test)]
#[path = "restartable/tests.rs"]
mod tests;
