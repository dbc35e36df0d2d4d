//! What concerns the page heap as a whole: all of its shards, one after the other or at once.

use super::{PageHeap, PageHeapStats};
use crate::page_source::PageSource;
use crate::segment::SegmentPtr;
use crate::units::PAGE_BYTES;

impl<S: PageSource> PageHeap<S> {
    /// Calls `visit` with each segment in address order, under the locks: it must not allocate.
    pub(crate) fn for_each_segment(&self, visit: impl FnMut(SegmentPtr)) {
        let _spans = self.shards.lock_all();
        self.segment_map.segments().for_each(visit);
    }

    /// Takes the locks for a fork.
    pub(crate) fn hold_for_fork(&self) {
        self.shards.hold_for_fork();
    }

    /// # Safety
    ///
    /// As [`Mutex::release_after_fork`](crate::lock::Mutex::release_after_fork).
    pub(crate) unsafe fn release_after_fork(&self) {
        // SAFETY: the caller's promise.
        unsafe { self.shards.release_after_fork() };
    }

    pub(crate) fn stats(&self) -> PageHeapStats {
        let shards = self.shards.lock_all();
        let descriptors_bytes: usize =
            self.segment_map.segments().map(|segment| segment.metadata_bytes()).sum();
        // Of a leaf, a page is touched for each 2 GiB of addresses; one is near enough.
        let map_bytes = self.segment_map.leaf_count() * PAGE_BYTES;
        let mut stats = PageHeapStats {
            metadata_bytes: descriptors_bytes + map_bytes + self.shards.metadata_bytes(),
            ..PageHeapStats::default()
        };
        for spans in shards.iter() {
            stats.active_bytes += spans.active.bytes();
            stats.dirty_bytes += (spans.dirty_pages() + spans.purging).bytes();
            stats.retained_bytes += spans.retained.pages().bytes();
            stats.segment_count += spans.segment_count;
            stats.segments_mapped += spans.segments_mapped;
            stats.segments_released += spans.segments_released;
        }
        stats
    }

    /// Unmaps every segment, whatever is in use there.
    ///
    /// What the limits count of their pages is left as it is, for it ends with the heap.
    ///
    /// # Safety
    ///
    /// Nothing that lies in them is used any more, and neither is the page heap.
    pub(crate) unsafe fn unmap_segments(&self) {
        let spans = self.shards.lock_all();
        for segment in self.segment_map.segments() {
            self.segment_map.remove(segment);
            // SAFETY: the caller gives up all that lies in it.
            unsafe { segment.unmap(&self.source) };
        }
        drop(spans);
        // SAFETY: the caller gives the page heap up.
        unsafe {
            self.segment_map.unmap_leaves(&self.source);
            self.shards.unmap(&self.source);
        }
    }

    /// The same where no slab has purged pages, with the limits told, so that a test sees that they
    /// counted right.
    ///
    /// # Safety
    ///
    /// As [`unmap_segments`](Self::unmap_segments).
    #[cfg(test)]
    pub(crate) unsafe fn unmap_all(&self) {
        let stats = self.stats();
        self.source.limits().subtract_resident(stats.active_bytes + stats.dirty_bytes);
        // SAFETY: the caller's promise.
        unsafe { self.unmap_segments() };
    }
}
