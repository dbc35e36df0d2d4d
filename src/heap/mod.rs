//! Heaps of one's own: the unit for a tenant, a request or a plugin.
//!
//! A heap's allocator, all zeros but for a few fields, lies in memory of the heap's own page
//! source, so that nothing of a heap is anywhere else, and a fresh one costs the few pages that are
//! written.
//!
//! ```text
//! Heap ── Shared, in memory of the source
//!         ├─ Allocator   all routes, with one arena
//!         ├─ slot        one cache, for whichever thread finds its lock free
//!         └─ seat        on the roster, for forks and the background thread
//! ```

#[cfg(feature = "allocator-api2")]
mod api2;
mod control;
mod member;
mod routes;

use core::cell::UnsafeCell;
use core::fmt;
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::ptr::NonNull;
use core::sync::atomic::AtomicU8;

use crate::allocator::Allocator;
use crate::counted_source;
use crate::decay::DEFAULT_DECAY_MILLISECONDS;
use crate::global;
use crate::lock::{Mutex, rank};
use crate::os::OsPages;
use crate::page_source::PageSource;
use crate::roster::{self, Member, Seat};
use crate::thread_cache::ThreadSlot;
use crate::units::{PAGE_BYTES, round_up};

/// Bytes of free blocks that a heap's cache may hold, unless the program says otherwise.
const DEFAULT_BUDGET_BYTES: usize = 1 << 20;

/// Pages of a heap's own record that are written to in the end; the rest are the empty parts of its
/// map of segments and of its tables.
const OWN_TOUCHED_PAGES: usize = 5;

/// A heap of one's own: an arena outside the cap and outside the global heap.
///
/// Nothing in it is shared with the global heap or with another `Heap`, neither pages nor caches
/// nor limits. Dropping it gives everything back at once, however many blocks are live: the cost
/// is that of a few calls to the page source, not of a call for each block.
///
/// Any thread may use it. One at a time has the heap's cache, which makes small blocks about as
/// cheap as the global heap's; threads that find it taken go to the slabs directly, which is
/// correct and slower. So a heap for each tenant, request or plugin is fast, and one heap for all
/// threads is what the global allocator is for.
///
/// ```
/// use capmalloc::{Heap, Limit};
/// use core::alloc::Layout;
///
/// let heap = Heap::new()?;
/// heap.set_limit(Limit::ResidentHard, Some(64 << 20));
/// let block = heap.alloc(Layout::new::<[u64; 8]>()).expect("64 bytes");
/// // SAFETY: the block is this program's, and as long as the array.
/// unsafe { block.cast::<[u64; 8]>().write([7; 8]) };
/// assert_eq!(heap.stats().allocated_bytes, 64);
/// // The block goes with the heap; it does not have to be freed.
/// drop(heap);
/// # Ok::<(), capmalloc::HeapError>(())
/// ```
///
/// With the feature `allocator-api2`, `&Heap` and `Heap` are allocators for the collections of that
/// crate and of others that know it, such as `hashbrown`.
///
/// # What drop does not do
///
/// Values that live in the heap's blocks are not dropped: the heap knows of memory only. What
/// they hold outside the heap, such as files or memory of another heap, stays as it is.
///
/// # Forks
///
/// A forked child can use every heap at once, whatever the parent's threads were doing in it.
pub struct Heap<S: PageSource + 'static = OsPages> {
    shared: NonNull<Shared<S>>,
    _owned: PhantomData<Shared<S>>,
}

// SAFETY: all that a heap has can be shared and sent: the allocator is made for many threads, the
// slot is used under its lock, the seat under the roster's, and a page source is both by its trait.
unsafe impl<S: PageSource> Send for Heap<S> {}
// SAFETY: as above.
unsafe impl<S: PageSource> Sync for Heap<S> {}

/// What a heap keeps, at a place that does not move.
struct Shared<S: 'static> {
    allocator: Allocator<S>,
    /// The one slot of the heap, whose cache serves whoever holds the lock.
    slot: Mutex<{ rank::HEAP_SLOT }, ThreadSlot>,
    /// Used by the roster alone, under its lock.
    seat: UnsafeCell<MaybeUninit<Seat>>,
    /// Ends of periods in a row at which the background thread found nothing to give back.
    fruitless: AtomicU8,
}

// SAFETY: as for `Heap`; the seat is used under the roster's lock.
unsafe impl<S: PageSource> Sync for Shared<S> {}

/// Why there is no heap.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum HeapError {
    /// The page source refused the memory for the heap's own record.
    NoMemory {
        /// Bytes that were asked for.
        bytes: usize,
    },
}

impl fmt::Display for HeapError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HeapError::NoMemory { bytes } => {
                write!(formatter, "the page source has no {bytes} bytes for a heap's own record")
            }
        }
    }
}

impl core::error::Error for HeapError {}

impl Heap {
    /// A heap on pages of the operating system.
    ///
    /// Nothing is reserved ahead: an empty heap takes some 100 KiB of address space, and holds the
    /// few pages resident that it has written to.
    ///
    /// # Errors
    ///
    /// Where the operating system refuses the memory for the heap's own record.
    ///
    /// ```
    /// let heap = capmalloc::Heap::new()?;
    /// assert_eq!(heap.stats().allocated_bytes, 0);
    /// # Ok::<(), capmalloc::HeapError>(())
    /// ```
    pub fn new() -> Result<Heap, HeapError> {
        Heap::with_source(OsPages)
    }
}

impl<S: PageSource> Heap<S> {
    const OWN_BYTES: usize = match round_up(size_of::<Shared<S>>(), PAGE_BYTES) {
        Some(bytes) => bytes,
        None => unreachable!(),
    };

    /// A heap on pages of `source`, which is dropped with it.
    ///
    /// # Errors
    ///
    /// Where the source refuses the memory for the heap's own record; the source is then dropped.
    ///
    /// ```
    /// use capmalloc::{Heap, OsPages};
    ///
    /// let heap = Heap::with_source(OsPages)?;
    /// # Ok::<(), capmalloc::HeapError>(())
    /// ```
    pub fn with_source(source: S) -> Result<Heap<S>, HeapError> {
        const { assert!(align_of::<Shared<S>>() <= PAGE_BYTES) };
        global::watch_forks();
        let bytes = Self::OWN_BYTES;
        let place = counted_source::call(|| source.map(bytes, PAGE_BYTES));
        let place = place.ok_or(HeapError::NoMemory { bytes })?;
        let shared = place.cast::<Shared<S>>();
        // SAFETY: the source just mapped zeroed memory of this size and alignment for us alone;
        // every field is written, or zeros are its value.
        let heap = unsafe {
            Allocator::init_unset(&raw mut (*shared.as_ptr()).allocator, source);
            (&raw mut (*shared.as_ptr()).slot).write(Mutex::new(ThreadSlot::new()));
            Heap { shared, _owned: PhantomData }
        };
        heap.set_up();
        Ok(heap)
    }

    fn set_up(&self) {
        let (allocator, limits) =
            (self.allocator(), self.allocator().page_heap().source().limits());
        allocator.arenas().set_first_cap(1);
        allocator.budget().set_limit_bytes(Some(DEFAULT_BUDGET_BYTES));
        allocator.decay().set_milliseconds(DEFAULT_DECAY_MILLISECONDS);
        let is_counted = limits.add_mapped(Self::OWN_BYTES).is_ok();
        debug_assert!(is_counted, "a heap has no limits yet");
        limits.count_resident(OWN_TOUCHED_PAGES * PAGE_BYTES);
        let seat = self.seat();
        // SAFETY: the seat is this heap's and nobody's yet; it stays where it is until `drop` takes
        // it off the roster, or for ever where the heap is forgotten: the source is then never
        // dropped, and so its memory stays.
        unsafe {
            seat.write(Seat::new(self.shared as NonNull<dyn Member>));
            roster::enter(seat);
        }
    }

    fn seat(&self) -> NonNull<Seat> {
        // SAFETY: the pointer to a cell is not null.
        unsafe { NonNull::new_unchecked(self.shared().seat.get()).cast() }
    }

    fn shared(&self) -> &Shared<S> {
        // SAFETY: made by `with_source`, and unmapped by `drop` alone.
        unsafe { self.shared.as_ref() }
    }

    fn allocator(&self) -> &Allocator<S> {
        &self.shared().allocator
    }
}

impl<S: PageSource> Drop for Heap<S> {
    /// Gives everything back to the source, live blocks included, and drops the source.
    fn drop(&mut self) {
        // SAFETY: `set_up` entered the seat; it is off the roster before its memory goes.
        unsafe { roster::leave(self.seat()) };
        let allocator = self.allocator();
        // SAFETY: the heap is its owner's alone now, and off the roster; blocks are given up with
        // it.
        unsafe { allocator.unmap_all() };
        let left_bytes = allocator.page_heap().source().mapped_bytes();
        debug_assert_eq!(left_bytes, Self::OWN_BYTES, "all but the record went back");
        // SAFETY: the source is taken out of memory that nobody looks at again; no other field has
        // anything to drop. The memory was mapped by `with_source` with this size.
        unsafe {
            let source = core::ptr::from_ref(allocator.page_heap().source().inner()).read();
            counted_source::call(|| source.unmap(self.shared.cast(), Self::OWN_BYTES));
        }
    }
}

impl<S: PageSource> fmt::Debug for Heap<S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limits = self.allocator().page_heap().source().limits();
        formatter
            .debug_struct("Heap")
            .field("mapped_bytes", &limits.mapped_bytes())
            .field("resident_bytes", &limits.resident_bytes())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) mod tests;
