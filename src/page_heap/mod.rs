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
mod purge;
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
use free_index::FreeIndex;

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

/// What the page heap's lock guards.
#[derive(Debug)]
struct FreeSpans {
    /// Resident free spans, by whether they were freed in an even period of decay or an odd one.
    dirty: [FreeIndex; 2],
    /// The index in `dirty` of the period that runs.
    period: usize,
    retained: FreeIndex,
    /// Pages in spans that somebody uses.
    active: Pages,
    /// Pages in spans on their way back to the kernel.
    purging: Pages,
    /// Dirty pages that the last purge of an excess left, or fewer if fewer were left since.
    unpurged: Pages,
    segment_count: usize,
    segments_mapped: usize,
    segments_released: usize,
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

    /// Lengthens a large span in place to `pages`, if the span behind it is free and long enough.
    ///
    /// Answers whether the new part is known to be zero.
    pub(crate) fn grow(&self, span: SpanPtr, pages: Pages) -> Option<bool> {
        let mut spans = self.spans.lock();
        let more = pages - span.pages();
        let next =
            spans.neighbour_after(span, span.pages()).filter(|next| next.kind().is_free())?;
        if next.pages() < more {
            return None;
        }
        let is_zeroed = next.kind() == SpanKind::FreeRetained;
        if is_zeroed && !self.source.add_resident(more.bytes()) {
            return None;
        }
        spans.remove(next);
        spans.split(next, more);
        spans.mark_taken(next, more);
        next.set_kind(SpanKind::Inside);
        set_ends(span, pages, SpanKind::Large);
        Some(is_zeroed)
    }

    /// Shortens a large span in place to `pages`; the rest becomes free.
    pub(crate) fn shrink(&self, span: SpanPtr, pages: Pages) {
        let mut spans = self.spans.lock();
        let rest = span.pages() - pages;
        debug_assert!(rest != Pages::ZERO);
        let segment = span.segment();
        let tail = segment.span(segment.index_of(span) + pages.count());
        set_ends(span, pages, SpanKind::Large);
        let kind = spans.dirty_kind();
        spans.free(tail, rest, kind);
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

impl FreeSpans {
    const fn new() -> Self {
        FreeSpans {
            dirty: [FreeIndex::new(), FreeIndex::new()],
            period: 0,
            retained: FreeIndex::new(),
            active: Pages::ZERO,
            purging: Pages::ZERO,
            unpurged: Pages::ZERO,
            segment_count: 0,
            segments_mapped: 0,
            segments_released: 0,
        }
    }

    fn index(&mut self, kind: SpanKind) -> &mut FreeIndex {
        match kind {
            SpanKind::FreeDirtyEven => &mut self.dirty[0],
            SpanKind::FreeDirtyOdd => &mut self.dirty[1],
            _ => &mut self.retained,
        }
    }

    /// The kind of a span freed now.
    fn dirty_kind(&self) -> SpanKind {
        if self.period == 0 { SpanKind::FreeDirtyEven } else { SpanKind::FreeDirtyOdd }
    }

    fn dirty_pages(&self) -> Pages {
        self.dirty[0].pages() + self.dirty[1].pages()
    }

    /// Takes a span out of the free ones: a dirty one if any fits, because it is resident already.
    fn take(&mut self, pages: Pages, align: usize, kind: SpanKind) -> Option<Taken> {
        // A span this much longer holds an aligned run wherever it starts.
        let needed = pages + Pages::new(align as u32 - 1);
        let found = self.take_dirty(needed).or_else(|| self.retained.take_fit(needed))?;
        let is_zeroed = found.kind() == SpanKind::FreeRetained;
        let span = self.split_before(found, align);
        self.split(span, pages);
        self.mark_taken(span, pages);
        set_ends(span, pages, kind);
        let fresh = if is_zeroed { pages } else { Pages::ZERO };
        Some(Taken { span, is_zeroed, fresh })
    }

    /// Takes a dirty span out, of this period if one fits: the last one's are due to be purged.
    fn take_dirty(&mut self, pages: Pages) -> Option<SpanPtr> {
        let [this, last] = [self.period, 1 - self.period];
        self.dirty[this].take_fit(pages).or_else(|| self.dirty[last].take_fit(pages))
    }

    /// Returns the part of a free span (out of the index) before its first multiple of `align`
    /// pages, and answers with the rest.
    fn split_before(&mut self, span: SpanPtr, align: usize) -> SpanPtr {
        let segment = span.segment();
        let first = segment.index_of(span);
        let aligned = first.next_multiple_of(align);
        if aligned == first {
            return span;
        }
        let kind = span.kind();
        let before = Pages::new((aligned - first) as u32);
        let rest = segment.span(aligned);
        set_ends(rest, span.pages() - before, kind);
        self.insert(span, before, kind);
        rest
    }

    /// Returns what a free span (out of the index) has beyond `pages`.
    fn split(&mut self, span: SpanPtr, pages: Pages) {
        let rest = span.pages() - pages;
        if rest == Pages::ZERO {
            return;
        }
        let segment = span.segment();
        let tail = segment.span(segment.index_of(span) + pages.count());
        self.insert(tail, rest, span.kind());
    }

    fn mark_taken(&mut self, span: SpanPtr, pages: Pages) {
        let segment = span.segment();
        segment.mark_used(segment.index_of(span), pages);
        self.active += pages;
    }

    /// Makes `pages` from `span` on free.
    fn free(&mut self, span: SpanPtr, pages: Pages, kind: SpanKind) {
        forget_ends(span, pages);
        let segment = span.segment();
        segment.mark_free(segment.index_of(span), pages);
        self.active -= pages;
        self.join(span, pages, kind);
    }

    /// Puts a span among the free ones, joined with free neighbours that are dirty or not as it is.
    ///
    /// A joined span counts as freed when its largest part was: so a crumb freed now keeps no
    /// large span from being purged, nor does an old crumb hasten it.
    fn join(&mut self, span: SpanPtr, pages: Pages, kind: SpanKind) {
        let joins =
            |other: &SpanPtr| other.kind() == kind || (other.kind().is_dirty() && kind.is_dirty());
        let (mut head, mut total, mut largest) = (span, pages, (pages, kind));
        if let Some(next) = self.neighbour_after(span, pages).filter(joins) {
            self.remove(next);
            total += next.pages();
            largest = if next.pages() > largest.0 { (next.pages(), next.kind()) } else { largest };
        }
        if let Some(before) = self.neighbour_before(span).filter(joins) {
            self.remove(before);
            total += before.pages();
            let is_larger = before.pages() > largest.0;
            largest = if is_larger { (before.pages(), before.kind()) } else { largest };
            head = before;
        }
        self.insert(head, total, largest.1);
    }

    fn insert(&mut self, span: SpanPtr, pages: Pages, kind: SpanKind) {
        set_ends(span, pages, kind);
        self.index(kind).insert(span);
    }

    fn remove(&mut self, span: SpanPtr) {
        self.index(span.kind()).remove(span);
    }

    /// The head of the span that follows, unless the segment ends there.
    fn neighbour_after(&self, span: SpanPtr, pages: Pages) -> Option<SpanPtr> {
        let segment = span.segment();
        let index = segment.index_of(span) + pages.count();
        (index < SEGMENT_PAGES).then(|| segment.span(index))
    }

    /// The head of the free span that ends where `span` begins.
    fn neighbour_before(&self, span: SpanPtr) -> Option<SpanPtr> {
        let segment = span.segment();
        let index = segment.index_of(span);
        let tail = (index > 0).then(|| segment.span(index - 1))?;
        tail.kind().is_free().then(|| segment.span(index - tail.pages().count()))
    }
}

/// Clears what a span's descriptors say, so that no stale head is taken for a live one when a
/// pointer is given back a second time.
fn forget_ends(span: SpanPtr, pages: Pages) {
    let segment = span.segment();
    let first = segment.index_of(span);
    let was_slab = span.kind() == SpanKind::Slab;
    span.set_kind(SpanKind::Inside);
    if was_slab {
        (first..first + pages.count())
            .for_each(|page| segment.span(page).set_kind(SpanKind::Inside));
    }
}

/// Writes a span's kind and length at its head, and what its last page says to a neighbour.
fn set_ends(span: SpanPtr, pages: Pages, kind: SpanKind) {
    span.set_kind(kind);
    span.set_pages(pages);
    if pages.count() > 1 {
        let segment = span.segment();
        let tail = segment.span(segment.index_of(span) + pages.count() - 1);
        tail.set_kind(if kind == SpanKind::Large { SpanKind::LargeTail } else { kind });
        tail.set_pages(pages);
    }
}

#[cfg(test)]
mod tests;
