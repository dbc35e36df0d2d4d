//! The page heap: every free span of the process, shared by all arenas.
//!
//! ```text
//! take ── of the first shard whose lock is to be had                  (shard.rs)
//!         best fit among the dirty spans, then among the retained ones (free_spans.rs)
//!      └─ a run across neighbours of both states                       (runs.rs)
//!      └─ what another shard has free                                  (take.rs)
//!           └─ a new segment                                           (segment.rs)
//! free ── joins its dirty neighbours, and waits as dirty
//!      └─ left for whoever takes the lock next                         (../left_spans.rs)
//! purge ─ dirty spans, longest first, go back to the kernel as retained (purge.rs)
//!         all of them for a trim, those freed before the last period for decay
//! ```
//!
//! Because no arena owns a free page, memory that one arena or size class gave up serves any
//! other: the cap on arenas can be low or high without changing how much is held.

mod check;
mod free_index;
mod free_spans;
mod purge;
mod resize;
mod runs;
mod segment_list;
mod shard;
mod shards;
mod span_heap;
mod take;
mod whole;

use crate::counted_source::CountedSource;
use crate::page_source::PageSource;
use crate::segment::SegmentPtr;
use crate::segment_map::SegmentMap;
use crate::size_class::SizeClass;
use crate::span::SpanPtr;
use crate::units::Pages;
use shard::Shard;
use shards::Shards;

/// The spans of all segments, and the source they come from.
#[derive(Debug)]
pub(crate) struct PageHeap<S> {
    source: CountedSource<S>,
    segment_map: SegmentMap,
    shards: Shards,
}

/// A span just taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    pub(crate) span: SpanPtr,
    /// Whether its pages are known to read as zero.
    pub(crate) is_zeroed: bool,
    /// How many of its pages were not resident.
    fresh: Pages,
}

/// What the page heap holds, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PageHeapStats {
    pub(crate) active_bytes: usize,
    pub(crate) dirty_bytes: usize,
    pub(crate) retained_bytes: usize,
    pub(crate) metadata_bytes: usize,
    pub(crate) segment_count: usize,
    pub(crate) segments_mapped: usize,
    pub(crate) segments_released: usize,
}

impl<S: PageSource> PageHeap<S> {
    pub(crate) const fn new(source: S) -> Self {
        PageHeap {
            source: CountedSource::new(source),
            segment_map: SegmentMap::new(),
            shards: Shards::new(),
        }
    }

    /// Makes `place` what [`new`](Self::new) would have made of this source.
    ///
    /// # Safety
    ///
    /// `place` is zeroed memory of the size and alignment, and nobody else's.
    pub(crate) unsafe fn init(place: *mut Self, source: S) {
        // SAFETY: the caller's promise; zeros are a map without leaves, empty indexes, counts of
        // nothing, and free locks.
        unsafe { CountedSource::init(&raw mut (*place).source, source) };
    }

    pub(crate) fn source(&self) -> &CountedSource<S> {
        &self.source
    }

    /// The segment that `address` lies in, if it is one of ours.
    #[inline]
    pub(crate) fn segment_of(&self, address: usize) -> Option<SegmentPtr> {
        self.segment_map.find(address)
    }

    /// The class of the small blocks on the page of `address`, if it is one of ours and has any.
    #[inline(always)]
    pub(crate) fn block_class(&self, address: usize) -> Option<SizeClass> {
        self.segment_map.find_near(address)?.block_class(address)
    }

    /// Frees a span that `take` returned, whole.
    pub(crate) fn free(&self, span: SpanPtr) {
        self.shards.of(span).free(core::iter::once(span));
    }

    /// Frees the spans of a list, those of one shard under one lock.
    pub(crate) fn free_many(&self, list: &[Option<SpanPtr>]) {
        for (number, shard) in self.shards.iter().enumerate() {
            let is_in_shard = |span: &SpanPtr| span.segment().shard() == number;
            let mut spans = list.iter().flatten().copied().filter(is_in_shard).peekable();
            if spans.peek().is_some() {
                shard.free(spans);
            }
        }
    }

    /// Whether so many pages are dirty that some should go back now.
    #[inline]
    pub(crate) fn has_excess(&self) -> bool {
        self.shards.iter().any(Shard::has_excess)
    }

    /// The same, and whether the caller is the one to see to it.
    pub(crate) fn take_excess(&self) -> bool {
        // Of every shard, whatever the first one says.
        self.shards.iter().filter(|shard| shard.take_excess()).count() > 0
    }
}

#[cfg(test)]
mod tests;
