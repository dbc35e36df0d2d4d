//! The spans that nobody uses, by how long they have been free and how long they are.

use super::Taken;
use super::free_index::FreeIndex;
use super::segment_list::SegmentList;
use crate::segment::SEGMENT_PAGES;
use crate::span::{SpanKind, SpanPtr};
use crate::units::Pages;

/// What a shard's lock guards.
#[derive(Debug)]
pub(super) struct FreeSpans {
    /// Resident free spans, by whether they were freed in an even period of decay or an odd one.
    pub(super) dirty: [FreeIndex; 2],
    /// The index in `dirty` of the period that runs.
    pub(super) period: usize,
    pub(super) retained: FreeIndex,
    /// Pages in spans that somebody uses, or left.
    pub(super) active: Pages,
    /// Pages in spans on their way back to the kernel.
    pub(super) purging: Pages,
    /// Dirty pages that the last purge of an excess left, or fewer if fewer were left since.
    pub(super) unpurged: Pages,
    pub(super) segments: SegmentList,
    pub(super) segment_count: usize,
    pub(super) segments_mapped: usize,
    pub(super) segments_released: usize,
}

impl FreeSpans {
    pub(super) const fn new() -> Self {
        FreeSpans {
            dirty: [FreeIndex::new(), FreeIndex::new()],
            period: 0,
            retained: FreeIndex::new(),
            active: Pages::ZERO,
            purging: Pages::ZERO,
            unpurged: Pages::ZERO,
            segments: SegmentList::new(),
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
    pub(super) fn dirty_kind(&self) -> SpanKind {
        if self.period == 0 { SpanKind::FreeDirtyEven } else { SpanKind::FreeDirtyOdd }
    }

    pub(super) fn dirty_pages(&self) -> Pages {
        self.dirty[0].pages() + self.dirty[1].pages()
    }

    /// Takes a span out of the free ones: a dirty one if any fits, because it is resident already.
    pub(super) fn take(&mut self, pages: Pages, align: usize, kind: SpanKind) -> Option<Taken> {
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
    pub(super) fn split_before(&mut self, span: SpanPtr, align: usize) -> SpanPtr {
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
    pub(super) fn split(&mut self, span: SpanPtr, pages: Pages) {
        let rest = span.pages() - pages;
        if rest == Pages::ZERO {
            return;
        }
        let segment = span.segment();
        let tail = segment.span(segment.index_of(span) + pages.count());
        self.insert(tail, rest, span.kind());
    }

    pub(super) fn mark_taken(&mut self, span: SpanPtr, pages: Pages) {
        let segment = span.segment();
        segment.mark_used(segment.index_of(span), pages);
        self.active += pages;
    }

    /// Makes a span free that was taken, or what became of it.
    pub(super) fn free_whole(&mut self, span: SpanPtr) {
        self.free(span, span.pages(), self.dirty_kind());
    }

    /// Makes `pages` from `span` on free.
    pub(super) fn free(&mut self, span: SpanPtr, pages: Pages, kind: SpanKind) {
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
    pub(super) fn join(&mut self, span: SpanPtr, pages: Pages, kind: SpanKind) {
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

    pub(super) fn insert(&mut self, span: SpanPtr, pages: Pages, kind: SpanKind) {
        set_ends(span, pages, kind);
        self.index(kind).insert(span);
    }

    pub(super) fn remove(&mut self, span: SpanPtr) {
        self.index(span.kind()).remove(span);
    }

    /// The head of the span that follows, unless the segment ends there.
    pub(super) fn neighbour_after(&self, span: SpanPtr, pages: Pages) -> Option<SpanPtr> {
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
    let may_be_slab = matches!(span.kind(), SpanKind::Slab | SpanKind::Left);
    span.set_kind(SpanKind::Inside);
    if may_be_slab {
        (first..first + pages.count())
            .for_each(|page| segment.span(page).set_kind(SpanKind::Inside));
    }
}

/// Writes a span's kind and length at its head, and what its last page says to a neighbour.
pub(super) fn set_ends(span: SpanPtr, pages: Pages, kind: SpanKind) {
    span.set_kind(kind);
    span.set_pages(pages);
    if pages.count() > 1 {
        let segment = span.segment();
        let tail = segment.span(segment.index_of(span) + pages.count() - 1);
        tail.set_kind(if kind == SpanKind::Large { SpanKind::LargeTail } else { kind });
        tail.set_pages(pages);
    }
}
