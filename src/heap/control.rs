//! What can be asked of a heap and set for it, besides blocks.

use core::ptr::NonNull;
use core::time::Duration;

use super::{Heap, OWN_TOUCHED_PAGES};
use crate::decay;
use crate::limits::Limit;
use crate::page_map::PageMap;
use crate::page_source::PageSource;
use crate::stats::Stats;
use crate::trim::Trimmed;
use crate::units::PAGE_BYTES;

impl<S: PageSource> Heap<S> {
    /// The heap's page source.
    #[must_use]
    pub fn source(&self) -> &S {
        self.allocator().page_heap().source().inner()
    }

    /// Gives all memory back that no live block needs, as [`trim`](crate::trim) does for the global
    /// heap.
    ///
    /// ```
    /// let heap = capmalloc::Heap::new()?;
    /// assert_eq!(heap.trim().total_bytes(), 0);
    /// # Ok::<(), capmalloc::HeapError>(())
    /// ```
    pub fn trim(&self) -> Trimmed {
        self.allocator().trim(&self.shared().slot.lock())
    }

    /// Figures about this heap at this moment.
    ///
    /// Its own record counts as metadata. The lists within the figures are allocated by the
    /// program's global allocator, not here.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let mut stats = self.allocator().stats();
        stats.metadata_bytes += OWN_TOUCHED_PAGES * PAGE_BYTES;
        stats.resident_bytes += OWN_TOUCHED_PAGES * PAGE_BYTES;
        stats
    }

    /// Draws the heap: what each of its pages is used for, as [`page_map`](crate::page_map) does.
    #[must_use]
    pub fn page_map(&self) -> PageMap {
        self.allocator().page_map()
    }

    /// Walks every structure of the heap and stops the program with a message where one contradicts
    /// itself; for tests.
    ///
    /// Safe at any time, and slow.
    pub fn check(&self) {
        self.allocator().check();
    }

    /// Whether an address lies in memory that this heap has from its source for blocks.
    ///
    /// It tells whose a live block is, so that it can be freed where it came from. Nothing is read
    /// at the address, and any will do. For a small or large block the answer takes two loads. Else
    /// the heap's table of huge allocations is looked at, the whole of it where the address is not
    /// the start of one.
    ///
    /// ```
    /// use capmalloc::Heap;
    /// use core::alloc::Layout;
    ///
    /// let (one, other) = (Heap::new()?, Heap::new()?);
    /// let block = one.alloc(Layout::new::<u64>()).expect("8 bytes");
    /// assert!(one.owns(block.as_ptr()) && !other.owns(block.as_ptr()));
    /// # Ok::<(), capmalloc::HeapError>(())
    /// ```
    #[must_use]
    pub fn owns(&self, pointer: *const u8) -> bool {
        let Some(address) = NonNull::new(pointer.cast_mut()) else { return false };
        self.allocator().page_heap().segment_of(address.addr().get()).is_some()
            || self.allocator().huge().contains(address)
    }

    /// A limit of this heap in bytes, if it is set.
    #[must_use]
    pub fn limit(&self, limit: Limit) -> Option<usize> {
        self.allocator().page_heap().source().limits().get(limit)
    }

    /// Sets a limit of this heap, or with `None` or zero lifts it, at any time.
    ///
    /// As [`set_limit`](crate::set_limit) for the global heap. The heap's own record counts.
    pub fn set_limit(&self, limit: Limit, bytes: Option<usize>) {
        self.allocator().page_heap().source().limits().set(limit, bytes);
    }

    /// The time from the last use of memory to its being given back; `None` for never.
    #[must_use]
    pub fn decay(&self) -> Option<Duration> {
        decay::duration_of(self.allocator().decay().milliseconds())
    }

    /// Changes the time from the last use of memory to its being given back, at any time.
    ///
    /// As [`set_decay`](crate::set_decay) for the global heap; one second at first. It is paid for
    /// by the heap's own slow paths, and by the global heap's background thread where there is one.
    pub fn set_decay(&self, time: Option<Duration>) {
        self.allocator().decay().set_milliseconds(decay::milliseconds_of(time));
    }

    /// Bytes of free blocks that the heap's cache may hold.
    #[must_use]
    pub fn cache_budget(&self) -> usize {
        self.allocator().budget().limit_bytes()
    }

    /// Changes how many bytes of free blocks the heap's cache may hold; 1 MiB at first.
    ///
    /// What the cache holds already stays until it is trimmed or decays. With zero, every call goes
    /// to the slabs.
    pub fn set_cache_budget(&self, bytes: usize) {
        self.allocator().budget().set_limit_bytes(Some(bytes));
    }
}
