//! A page source over memory that the caller gives: no call to the operating system after start.
//!
//! The region's records lie at its end: the lock, a bit for each page that says whether it is
//! mapped, and one that says whether it is known to read as zero. Joining free neighbours is
//! implied by the first. Long mappings are placed from the front, so that a heap's segments, which
//! want alignment, do not have its many short records between them; those come from the back.

mod bit_map;
mod pages;

use core::cell::UnsafeCell;
use core::fmt;
use core::mem::MaybeUninit;
use core::ptr::NonNull;
use core::sync::atomic::AtomicU64;

use crate::global;
use crate::lock::{Mutex, rank};
use crate::roster::{self, Member, Seat};
use crate::segment::SEGMENT_BYTES;
use crate::units::PAGE_BYTES;
use bit_map::BitMap;

/// Mappings of at least this size are placed from the front.
const LONG_BYTES: usize = 1 << 20;

/// The least that a region needs beside a heap's first segment, for the heap's records.
const RECORDS_BYTES: usize = 1 << 20;

/// Pages from a fixed region of memory.
///
/// A [`Heap`](crate::Heap) on it never asks the operating system for memory: what it can ever use
/// is the region, and where that is full it gives `None`. Several heaps can share one region, by
/// `Arc<FixedRegion>` or `&'static FixedRegion`.
///
/// The smallest region in which a heap serves blocks of all sizes is 5 MiB at a multiple of 4 MiB,
/// or 9 MiB anywhere: the heap's segments are 4 MiB long and aligned to it. An allocation of more
/// than 2 MiB is a mapping of its own in the region; a `realloc` of it grows in place where the
/// pages behind it are free.
///
/// Nothing is ever given back from the region: what a heap on it purges or trims stays where it
/// is, to be used again. Memory that was used before is cleared when it is mapped again.
///
/// ```
/// use capmalloc::{FixedRegion, Heap};
/// use core::alloc::Layout;
/// use core::mem::MaybeUninit;
///
/// let memory: &'static mut [MaybeUninit<u8>] = vec![MaybeUninit::uninit(); 16 << 20].leak();
/// let heap = Heap::with_source(FixedRegion::new(memory)?)?;
/// assert!(heap.alloc(Layout::new::<[u8; 1000]>()).is_some());
/// let too_much = Layout::from_size_align(20 << 20, 1)?;
/// assert!(heap.alloc(too_much).is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct FixedRegion {
    records: NonNull<Records>,
}

// SAFETY: the records are shared by design: maps of atomics, a lock, and a seat for the roster.
unsafe impl Send for FixedRegion {}
// SAFETY: as above.
unsafe impl Sync for FixedRegion {}

/// What a region knows of itself, at its end.
struct Records {
    /// The region's first page.
    base: NonNull<u8>,
    /// Pages of the region, its records' not among them.
    pages: usize,
    /// One bit for each page that is mapped, changed under the lock.
    mapped: BitMap,
    /// One bit for each page known to read as zero. Those of mapped pages are who mapped them's.
    zeroed: BitMap,
    /// Held while pages are chosen and given back; counts those that are mapped.
    mapped_pages: Mutex<{ rank::REGION }, usize>,
    /// Used by the roster alone, under its lock.
    seat: UnsafeCell<MaybeUninit<Seat>>,
}

// SAFETY: as for `FixedRegion`.
unsafe impl Sync for Records {}

/// A region that is too small.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RegionError {
    bytes: usize,
    needed_bytes: usize,
}

impl fmt::Display for RegionError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "a region of {} bytes is too small: one that begins there needs {}, or {} where it \
             begins at a multiple of {SEGMENT_BYTES}",
            self.bytes,
            self.needed_bytes,
            SEGMENT_BYTES + RECORDS_BYTES,
        )
    }
}

impl core::error::Error for RegionError {}

impl FixedRegion {
    /// A source over memory that is given for good.
    ///
    /// All of it counts as used before, and is cleared as it is mapped. What lies before the first
    /// page boundary in it and behind the last one is not used.
    ///
    /// # Errors
    ///
    /// Where the memory is less than a heap needs to serve anything.
    pub fn new(memory: &'static mut [MaybeUninit<u8>]) -> Result<FixedRegion, RegionError> {
        let bytes = memory.len();
        // SAFETY: an exclusive borrow for ever is memory that nothing else uses.
        unsafe { FixedRegion::from_raw(NonNull::from_mut(memory).cast(), bytes) }
    }

    /// A source over the `bytes` of memory at `base`.
    ///
    /// As [`new`](Self::new), for memory that is not a borrow: a mapping, a linker section, a
    /// region of an outer allocator.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    ///
    /// # Safety
    ///
    /// The memory is valid for reads and writes and nothing else uses it until the region has been
    /// dropped. One that is forgotten, or whose heap is, is never dropped.
    pub unsafe fn from_raw(base: NonNull<u8>, bytes: usize) -> Result<FixedRegion, RegionError> {
        // SAFETY: the caller's promise.
        unsafe { FixedRegion::over(base, bytes, false) }
    }

    /// A source over the `bytes` of zeroed memory at `base`, which is not cleared before its
    /// first use.
    ///
    /// So pages of a large region that are not needed are never touched.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    ///
    /// # Safety
    ///
    /// As [`from_raw`](Self::from_raw); and all of the memory reads as zero.
    pub unsafe fn from_raw_zeroed(
        base: NonNull<u8>,
        bytes: usize,
    ) -> Result<FixedRegion, RegionError> {
        // SAFETY: the caller's promise.
        unsafe { FixedRegion::over(base, bytes, true) }
    }

    /// # Safety
    ///
    /// As [`from_raw`](Self::from_raw), and with `is_zeroed` as its sibling.
    unsafe fn over(
        base: NonNull<u8>,
        bytes: usize,
        is_zeroed: bool,
    ) -> Result<FixedRegion, RegionError> {
        let pages = pages_of(base, bytes)?;
        let head_bytes = base.as_ptr().align_offset(PAGE_BYTES);
        let words = pages.div_ceil(u64::BITS as usize);
        // SAFETY: `pages_of` leaves room behind the pages for the records and both maps, which the
        // caller says is ours; a page boundary is aligned for all of them.
        unsafe {
            let base = base.add(head_bytes);
            let records = base.add(pages * PAGE_BYTES).cast::<Records>();
            let mapped = BitMap::new(records.add(1).cast(), words, 0);
            let zeroed = BitMap::new(
                records.add(1).cast::<AtomicU64>().add(words),
                words,
                if is_zeroed { u64::MAX } else { 0 },
            );
            records.write(Records {
                base,
                pages,
                mapped,
                zeroed,
                mapped_pages: Mutex::new(0),
                seat: UnsafeCell::new(MaybeUninit::uninit()),
            });
            Ok(FixedRegion::enter(records))
        }
    }

    /// Sees to it that forks find the region's lock.
    ///
    /// # Safety
    ///
    /// The records are written, and valid until the region is dropped.
    unsafe fn enter(records: NonNull<Records>) -> FixedRegion {
        global::watch_forks();
        let region = FixedRegion { records };
        // SAFETY: the seat stays where it is until `drop`, or for ever.
        unsafe {
            region.seat().write(Seat::new(records as NonNull<dyn Member>));
            roster::enter(region.seat());
        }
        region
    }

    fn seat(&self) -> NonNull<Seat> {
        // SAFETY: the pointer to a cell is not null.
        unsafe { NonNull::new_unchecked(self.records().seat.get()).cast() }
    }

    fn records(&self) -> &Records {
        // SAFETY: written by `over`, in memory that is this region's until it is dropped.
        unsafe { self.records.as_ref() }
    }

    /// Bytes of the region's pages, its own records not among them.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.records().pages * PAGE_BYTES
    }

    /// Bytes of pages that nobody has at this moment.
    #[must_use]
    pub fn free_bytes(&self) -> usize {
        let mapped_pages = *self.records().mapped_pages.lock();
        self.bytes() - mapped_pages * PAGE_BYTES
    }
}

/// How many pages the region has beside its records, if that is enough to be of use.
fn pages_of(base: NonNull<u8>, bytes: usize) -> Result<usize, RegionError> {
    let gap_bytes = base.as_ptr().align_offset(SEGMENT_BYTES);
    let needed_bytes = gap_bytes.saturating_add(SEGMENT_BYTES + RECORDS_BYTES);
    if bytes < needed_bytes {
        return Err(RegionError { bytes, needed_bytes });
    }
    let whole_pages = (bytes - base.as_ptr().align_offset(PAGE_BYTES)) / PAGE_BYTES;
    let map_bytes = whole_pages.div_ceil(u64::BITS as usize) * size_of::<u64>();
    Ok(whole_pages - (size_of::<Records>() + 2 * map_bytes).div_ceil(PAGE_BYTES))
}

impl Drop for FixedRegion {
    fn drop(&mut self) {
        // SAFETY: `enter` entered the seat; after this nobody looks at the region's memory.
        unsafe { roster::leave(self.seat()) };
    }
}

impl fmt::Debug for FixedRegion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("FixedRegion")
            .field("base", &self.records().base)
            .field("bytes", &self.bytes())
            .field("free_bytes", &self.free_bytes())
            .finish()
    }
}

#[cfg(test)]
pub(crate) mod tests;
