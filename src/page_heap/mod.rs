//! The page heap: every free span of the process, shared by all arenas.
//!
//! ```text
//! take ── best fit among the dirty spans, then among the retained ones
//!      └─ a run across neighbours of both states                       (runs.rs)
//!           └─ a new segment                                           (segment.rs)
//! free ── joins its dirty neighbours, and waits as dirty
//! purge ─ dirty spans, longest first, go back to the kernel as retained (purge.rs)
//!         all of them for a trim, those freed before the last period for decay
//! ```
//!
//! Because no arena owns a free page, memory that one arena or size class gave up serves any other
//! at once: the cap on arenas can be low or high without changing how much is held.

mod check;
mod free_index;
mod free_spans;
mod purge;
mod resize;
mod runs;
mod span_heap;

use core::sync::atomic::AtomicBool;
use core::sync::atomic::Ordering::Relaxed;

use crate::counted_source::CountedSource;
use crate::hooks::Event;
use crate::lock::{Mutex, rank};
use crate::page_source::PageSource;
use crate::segment::{SEGMENT_BYTES, SEGMENT_PAGES, SegmentPtr};
use crate::segment_map::SegmentMap;
use crate::size_class::SizeClass;
use crate::span::{SpanKind, SpanPtr};
use crate::units::{PAGE_BYTES, Pages};
use free_spans::FreeSpans;

/// Dirty pages beyond half of those in use that wait no longer than for the next slow path.
const EXCESS_PAGES: Pages = Pages::new(8192);

/// The spans of all segments, and the source they come from.
#[derive(Debug)]
pub(crate) struct PageHeap<S> {
    source: CountedSource<S>,
    segment_map: SegmentMap,
    spans: Mutex<{ rank::PAGE_HEAP }, FreeSpans>,
    /// Whether so many pages are dirty that some should go back before the next look at the clock.
    has_excess: AtomicBool,
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
            spans: Mutex::new(FreeSpans::new()),
            has_excess: AtomicBool::new(false),
        }
    }

    /// Makes `place` what [`new`](Self::new) would have made of this source.
    ///
    /// # Safety
    ///
    /// `place` is zeroed memory of the size and alignment, and nobody else's.
    pub(crate) unsafe fn init(place: *mut Self, source: S) {
        // SAFETY: the caller's promise; zeros are a map without leaves, empty indexes, counts of
        // nothing, and a free lock.
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

    /// Takes a span of `pages`, its first at a multiple of `align_bytes`.
    ///
    /// `pages` is at most a segment's; `None` where the page source refuses. The span's kind is
    /// the caller's to set before anyone else can reach it.
    pub(crate) fn take(&self, pages: Pages, align_bytes: usize, kind: SpanKind) -> Option<Taken> {
        let mut spans = self.spans.lock();
        self.take_locked(&mut spans, pages, align_bytes.div_ceil(PAGE_BYTES), kind)
    }

    /// Takes up to `into.len()` spans of `pages` under one lock; answers how many.
    pub(crate) fn take_many(
        &self,
        pages: Pages,
        kind: SpanKind,
        into: &mut [Option<SpanPtr>],
    ) -> usize {
        let mut spans = self.spans.lock();
        for (count, slot) in into.iter_mut().enumerate() {
            // A new segment is mapped for the first span only: the rest are a convenience.
            let taken = match count {
                0 => self.take_locked(&mut spans, pages, 1, kind),
                _ => spans.take(pages, 1, kind).and_then(|taken| self.admit(&mut spans, taken)),
            };
            match taken {
                Some(taken) => *slot = Some(taken.span),
                None => return count,
            }
        }
        into.len()
    }

    fn take_locked(
        &self,
        spans: &mut FreeSpans,
        pages: Pages,
        align: usize,
        kind: SpanKind,
    ) -> Option<Taken> {
        debug_assert!(pages != Pages::ZERO && pages.count() <= SEGMENT_PAGES);
        let taken = spans
            .take(pages, align, kind)
            .or_else(|| spans.take_run(&self.segment_map, pages, align, kind))
            .or_else(|| {
                self.map_segment(spans)?;
                spans.take(pages, align, kind)
            })?;
        self.admit(spans, taken)
    }

    /// Counts a span's fresh pages as resident; puts it back where the limit refuses them.
    fn admit(&self, spans: &mut FreeSpans, taken: Taken) -> Option<Taken> {
        if self.source.add_resident(taken.fresh.bytes()) {
            return Some(taken);
        }
        let kind = if taken.is_zeroed { SpanKind::FreeRetained } else { spans.dirty_kind() };
        spans.free(taken.span, taken.span.pages(), kind);
        // Of a run across both kinds, what was retained is now dirty to the index.
        let mislabelled_bytes = if taken.is_zeroed { 0 } else { taken.fresh.bytes() };
        self.source.limits().count_resident(mislabelled_bytes);
        None
    }

    /// Maps one more segment: capmalloc never reserves further ahead than that.
    #[cold]
    fn map_segment(&self, spans: &mut FreeSpans) -> Option<()> {
        let segment = SegmentPtr::map(&self.source)?;
        if !self.segment_map.insert(segment, &self.source) {
            // SAFETY: just mapped, and the map does not know it.
            unsafe { segment.unmap(&self.source) };
            return None;
        }
        spans.segment_count += 1;
        spans.segments_mapped += 1;
        let whole = Pages::new(SEGMENT_PAGES as u32);
        segment.mark_free(0, whole);
        spans.insert(segment.span(0), whole, SpanKind::FreeRetained);
        self.source.notices().note(Event::SegmentMapped {
            address: segment.base().addr().get(),
            bytes: SEGMENT_BYTES,
            mapped_bytes: self.source.mapped_bytes(),
        });
        Some(())
    }

    /// Frees a span that `take` returned, whole.
    pub(crate) fn free(&self, span: SpanPtr) {
        let mut spans = self.spans.lock();
        let kind = spans.dirty_kind();
        spans.free(span, span.pages(), kind);
        self.note_excess(&mut spans);
    }

    /// Notes whether free pages came to be more than may wait for the clock.
    ///
    /// What frees a great part of its memory at once and then does nothing would else keep it all.
    fn note_excess(&self, spans: &mut FreeSpans) {
        let dirty = spans.dirty_pages();
        spans.unpurged = spans.unpurged.min(dirty);
        let is_excess = dirty > spans.unpurged.max(spans.active / 2) + EXCESS_PAGES;
        // Relaxed: a hint. Read first, so that the line is not written at every call.
        if is_excess != self.has_excess.load(Relaxed) {
            self.has_excess.store(is_excess, Relaxed);
        }
    }

    /// Whether so many pages are dirty that some should go back now.
    #[inline]
    pub(crate) fn has_excess(&self) -> bool {
        self.has_excess.load(Relaxed)
    }

    /// The same, and whether the caller is the one to see to it.
    pub(crate) fn take_excess(&self) -> bool {
        self.has_excess() && self.has_excess.swap(false, Relaxed)
    }

    /// Frees the spans of a list under one lock.
    pub(crate) fn free_many(&self, list: &[Option<SpanPtr>]) {
        let mut spans = self.spans.lock();
        let kind = spans.dirty_kind();
        for span in list.iter().flatten() {
            spans.free(*span, span.pages(), kind);
        }
        self.note_excess(&mut spans);
    }

    /// Calls `visit` with each segment in address order, under the lock: it must not allocate.
    pub(crate) fn for_each_segment(&self, visit: impl FnMut(SegmentPtr)) {
        let _spans = self.spans.lock();
        self.segment_map.segments().for_each(visit);
    }

    /// Takes the lock for a fork.
    pub(crate) fn hold_for_fork(&self) {
        self.spans.hold_for_fork();
    }

    /// # Safety
    ///
    /// As [`Mutex::release_after_fork`].
    pub(crate) unsafe fn release_after_fork(&self) {
        // SAFETY: the caller's promise.
        unsafe { self.spans.release_after_fork() };
    }

    pub(crate) fn stats(&self) -> PageHeapStats {
        let spans = self.spans.lock();
        let descriptors_bytes: usize =
            self.segment_map.segments().map(|segment| segment.metadata_bytes()).sum();
        // Of a leaf, a page is touched for each 2 GiB of addresses; one is near enough.
        let map_bytes = self.segment_map.leaf_count() * PAGE_BYTES;
        PageHeapStats {
            active_bytes: spans.active.bytes(),
            dirty_bytes: (spans.dirty_pages() + spans.purging).bytes(),
            retained_bytes: spans.retained.pages().bytes(),
            metadata_bytes: descriptors_bytes + map_bytes,
            segment_count: spans.segment_count,
            segments_mapped: spans.segments_mapped,
            segments_released: spans.segments_released,
        }
    }

    /// Unmaps every segment, whatever is in use there.
    ///
    /// What the limits count of their pages is left as it is, for it ends with the heap.
    ///
    /// # Safety
    ///
    /// Nothing that lies in them is used any more, and neither is the page heap.
    pub(crate) unsafe fn unmap_segments(&self) {
        let _spans = self.spans.lock();
        for segment in self.segment_map.segments() {
            self.segment_map.remove(segment);
            // SAFETY: the caller gives up all that lies in it.
            unsafe { segment.unmap(&self.source) };
        }
        // SAFETY: the caller gives the page heap up.
        unsafe { self.segment_map.unmap_leaves(&self.source) };
    }

    /// The same where no slab has purged pages, with the limits told, so that a test sees that they
    /// counted right.
    ///
    /// # Safety
    ///
    /// As [`unmap_segments`](Self::unmap_segments).
    #[cfg(test)]
    pub(crate) unsafe fn unmap_all(&self) {
        let resident = {
            let spans = self.spans.lock();
            spans.active + spans.dirty_pages() + spans.purging
        };
        self.source.limits().subtract_resident(resident.bytes());
        // SAFETY: the caller's promise.
        unsafe { self.unmap_segments() };
    }
}

#[cfg(test)]
mod tests;
