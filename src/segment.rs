//! Segments: aligned reservations of address space that hold spans, and their descriptors.
//!
//! A segment's pages are one mapping, its descriptors another. The second is aligned to a power of
//! two above its size, so that a descriptor leads to its segment by masking; a pointer into the
//! pages leads to it only through the segment map.

use core::ops::Deref;
use core::ptr::NonNull;
use core::sync::atomic::Ordering::{Relaxed, Release};
use core::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, AtomicU64};

use crate::counted_source::CountedSource;
use crate::page_source::PageSource;
use crate::size_class::SizeClass;
use crate::span::{INLINE_WORDS, Span, SpanPtr};
use crate::units::{PAGE_BYTES, Pages, round_up};

/// Bytes of pages in a segment; also its alignment.
pub(crate) const SEGMENT_BYTES: usize = 4 << 20;

/// Pages in a segment.
pub(crate) const SEGMENT_PAGES: usize = SEGMENT_BYTES / PAGE_BYTES;

/// Alignment of a segment's descriptors; a power of two that holds all of them.
const DESCRIPTORS_ALIGN: usize = 128 << 10;

const DESCRIPTORS_BYTES: usize = match round_up(size_of::<Segment>(), PAGE_BYTES) {
    Some(bytes) => bytes,
    None => unreachable!(),
};

/// What the limits count for a segment's descriptors: all of them, of which few may be touched.
const DESCRIPTORS_COUNTED_BYTES: usize = core::mem::offset_of!(Segment, side_words);

const _: () = assert!(DESCRIPTORS_BYTES <= DESCRIPTORS_ALIGN);

/// What is known of a segment: guarded by the lock of its shard but for the slabs' own fields.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Segment {
    /// One bit for each page, set while it lies in a free span.
    free_map: [AtomicU64; SEGMENT_PAGES / 64],
    /// Not at the front: there it shared its set of the processor's cache with the first bytes of
    /// every page, which a program that has just filled a large block has all in use.
    base: NonNull<u8>,
    /// Pages in free spans.
    free_pages: AtomicU32,
    /// The most pages ever in use, counted from the front: descriptors behind it were not touched.
    touched_pages: AtomicU32,
    /// The next segment of the same shard of the page heap.
    next: AtomicPtr<Segment>,
    /// The number of that shard; never changed once the segment is known.
    shard: usize,
    /// For each page the class of the slab that it lies in, plus one; zero for any other page.
    ///
    /// The slabs' heads say it too. This is for who has nothing but a pointer: a byte a page, so
    /// that a cache line tells of 256 KiB, and no way from a slab's later pages to its head.
    block_classes: [AtomicU8; SEGMENT_PAGES],
    spans: [Span; SEGMENT_PAGES],
    /// The second half of the bitmaps of slabs whose blocks are too many for a descriptor.
    side_words: [[AtomicU64; INLINE_WORDS]; SEGMENT_PAGES],
}

/// A mapped segment.
///
/// Invariant: made by [`SegmentPtr::map`] and not yet given to [`SegmentPtr::unmap`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SegmentPtr(NonNull<Segment>);

// SAFETY: the segment's fields are atomics, but for `base` and `shard`, which are written before it is
// shared.
unsafe impl Send for SegmentPtr {}
// SAFETY: as above.
unsafe impl Sync for SegmentPtr {}

impl Deref for SegmentPtr {
    type Target = Segment;
    #[inline]
    fn deref(&self) -> &Segment {
        // SAFETY: by the type's invariant it is mapped, and it is only borrowed shared.
        unsafe { self.0.as_ref() }
    }
}

impl SegmentPtr {
    /// Maps a segment's pages and descriptors for a shard; all its pages are yet in no span.
    pub(crate) fn map<S: PageSource>(
        source: &CountedSource<S>,
        shard: usize,
    ) -> Option<SegmentPtr> {
        let descriptors = source.map(DESCRIPTORS_BYTES, DESCRIPTORS_ALIGN)?;
        let Some(base) = source.map(SEGMENT_BYTES, SEGMENT_BYTES) else {
            // SAFETY: just mapped, and nobody has seen it.
            unsafe { source.unmap(descriptors, DESCRIPTORS_BYTES) };
            return None;
        };
        let segment = descriptors.cast::<Segment>();
        // SAFETY: the mapping has a segment's size and alignment, and zeros are a valid value of
        // every field but `base` and `shard`, which are set here before any reference exists.
        unsafe {
            (&raw mut (*segment.as_ptr()).base).write(base);
            (&raw mut (*segment.as_ptr()).shard).write(shard);
        }
        source.limits().count_resident(DESCRIPTORS_COUNTED_BYTES);
        Some(SegmentPtr(segment))
    }

    /// Gives the segment's address space back.
    ///
    /// # Safety
    ///
    /// No page of it is in use, and no copy of this handle or of a span of it is used any more.
    pub(crate) unsafe fn unmap<S: PageSource>(self, source: &CountedSource<S>) {
        let base = self.base;
        // SAFETY: both mappings were made by `map` with these sizes; the caller gives them up.
        unsafe {
            source.unmap(base, SEGMENT_BYTES);
            source.unmap(self.0.cast(), DESCRIPTORS_BYTES);
        }
        source.limits().subtract_resident(DESCRIPTORS_COUNTED_BYTES);
    }

    /// Takes a pointer out of the segment map for the segment it is.
    ///
    /// # Safety
    ///
    /// It came from [`as_ptr`](Self::as_ptr) and the segment is still mapped.
    pub(crate) unsafe fn from_ptr(segment: NonNull<Segment>) -> Self {
        SegmentPtr(segment)
    }

    pub(crate) fn as_ptr(self) -> *mut Segment {
        self.0.as_ptr()
    }

    /// The segment behind this one in its shard's list, whose lock is held.
    pub(crate) fn next(self) -> Option<SegmentPtr> {
        // Relaxed: the shard's lock orders it.
        NonNull::new(self.next.load(Relaxed)).map(SegmentPtr)
    }

    pub(crate) fn set_next(self, next: Option<SegmentPtr>) {
        self.next.store(next.map_or(core::ptr::null_mut(), SegmentPtr::as_ptr), Relaxed);
    }

    #[inline]
    pub(crate) fn of_span(span: SpanPtr) -> SegmentPtr {
        let pointer =
            span.as_non_null().as_ptr().map_addr(|address| address & !(DESCRIPTORS_ALIGN - 1));
        // SAFETY: descriptors lie within a mapping aligned to DESCRIPTORS_ALIGN and no longer than
        // that, so masking gives its start, which is not null; a SpanPtr is derived from the
        // pointer to the whole mapping and so may be moved within it.
        SegmentPtr(unsafe { NonNull::new_unchecked(pointer.cast()) })
    }

    /// The descriptor of the page at `index`.
    #[inline]
    pub(crate) fn span(self, index: usize) -> SpanPtr {
        debug_assert!(index < SEGMENT_PAGES);
        // SAFETY: the index is below the array's length (every caller derives it from an offset
        // masked to the segment or from a span's end, which `check` holds within it); the pointer
        // is derived from the whole segment's.
        unsafe {
            let first = &raw mut (*self.0.as_ptr()).spans;
            SpanPtr::new(NonNull::new_unchecked(first.cast::<Span>().add(index)))
        }
    }

    #[inline]
    pub(crate) fn index_of(self, span: SpanPtr) -> usize {
        let offset = span.as_non_null().addr().get() - self.0.addr().get();
        (offset - core::mem::offset_of!(Segment, spans)) / size_of::<Span>()
    }

    #[inline]
    pub(crate) fn page_base(self, index: usize) -> NonNull<u8> {
        debug_assert!(index <= SEGMENT_PAGES);
        // SAFETY: at most the end of the segment's pages, one mapping.
        unsafe { self.base.add(index * PAGE_BYTES) }
    }

    /// The page that `address`, which lies in this segment, belongs to.
    #[inline]
    pub(crate) fn page_containing(self, address: usize) -> SpanPtr {
        self.span((address & (SEGMENT_BYTES - 1)) / PAGE_BYTES)
    }
}

impl Segment {
    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// The number of the page heap's shard that it belongs to.
    pub(crate) fn shard(&self) -> usize {
        self.shard
    }

    pub(crate) fn side_word(&self, page_index: usize, word: usize) -> &AtomicU64 {
        &self.side_words[page_index][word]
    }

    pub(crate) fn free_pages(&self) -> Pages {
        Pages::new(self.free_pages.load(Relaxed))
    }

    pub(crate) fn is_free(&self) -> bool {
        self.free_pages().count() == SEGMENT_PAGES
    }

    /// Bytes of descriptors that have been touched, in whole pages.
    pub(crate) fn metadata_bytes(&self) -> usize {
        let touched_pages = self.touched_pages.load(Relaxed) as usize;
        let spans_bytes = core::mem::offset_of!(Segment, spans) + touched_pages * size_of::<Span>();
        // The last page's descriptor is touched as the tail of the span at the end.
        let spans_bytes = spans_bytes.next_multiple_of(PAGE_BYTES) + PAGE_BYTES;
        spans_bytes.min(DESCRIPTORS_BYTES)
    }

    /// The class of the blocks on the page that `address`, which lies in this segment, belongs to.
    #[inline(always)]
    pub(crate) fn block_class(&self, address: usize) -> Option<SizeClass> {
        let page = (address & (SEGMENT_BYTES - 1)) / PAGE_BYTES;
        // Relaxed: a block's user got it from who cut its slab, or by way of them, and the byte
        // stays while the block is out.
        let ordinal = self.block_classes[page].load(Relaxed);
        // SAFETY: the byte is zero, as it was mapped, or what `set_block_class` stored.
        unsafe { SizeClass::from_ordinal(ordinal) }
    }

    /// Notes that these pages are a slab's, which nobody else has yet.
    pub(crate) fn set_block_class(&self, first: usize, pages: Pages, class: SizeClass) {
        let byte = class.ordinal();
        let bytes = &self.block_classes[first..first + pages.count()];
        // Release pairs with the fence of the page heap's `check`, which may look while a slab is
        // cut: where it sees the byte, it sees the class that the head says.
        bytes.iter().for_each(|place| place.store(byte, Release));
    }

    /// Forgets what blocks were on these pages, if any were.
    fn forget_block_class(&self, first: usize, pages: Pages) {
        // A span is one slab's as a whole or holds no slab, so its first page tells.
        if self.block_classes[first].load(Relaxed) != 0 {
            let bytes = &self.block_classes[first..first + pages.count()];
            bytes.iter().for_each(|place| place.store(0, Relaxed));
        }
    }

    /// Marks pages as lying in a free span; the lock of its shard is held.
    pub(crate) fn mark_free(&self, first: usize, pages: Pages) {
        self.forget_block_class(first, pages);
        self.for_words(first, pages, |word, mask| {
            debug_assert_eq!(word.load(Relaxed) & mask, 0, "pages freed twice");
            word.store(word.load(Relaxed) | mask, Relaxed);
        });
        self.free_pages.store((self.free_pages() + pages).count() as u32, Relaxed);
    }

    /// Marks pages as in use; the lock of its shard is held.
    pub(crate) fn mark_used(&self, first: usize, pages: Pages) {
        self.for_words(first, pages, |word, mask| {
            debug_assert_eq!(word.load(Relaxed) & mask, mask, "pages taken twice");
            word.store(word.load(Relaxed) & !mask, Relaxed);
        });
        self.free_pages.store((self.free_pages() - pages).count() as u32, Relaxed);
        let end = (first + pages.count()) as u32;
        if end > self.touched_pages.load(Relaxed) {
            self.touched_pages.store(end, Relaxed);
        }
    }

    pub(crate) fn is_page_free(&self, index: usize) -> bool {
        self.free_map[index / 64].load(Relaxed) & (1 << (index % 64)) != 0
    }

    /// The lowest run of free pages, dirty or retained, that holds `pages` at a multiple of
    /// `align` pages.
    pub(crate) fn find_free_run(&self, pages: Pages, align: usize) -> Option<usize> {
        let mut start = 0;
        while start + pages.count() <= SEGMENT_PAGES {
            let used = (start..start + pages.count()).rev().find(|&page| !self.is_page_free(page));
            match used {
                None => return Some(start),
                Some(page) => start = (page + 1).next_multiple_of(align),
            }
        }
        None
    }

    fn for_words(&self, first: usize, pages: Pages, change: impl Fn(&AtomicU64, u64)) {
        let end = first + pages.count();
        let mut page = first;
        while page < end {
            let bits = (64 - page % 64).min(end - page);
            let mask = (u64::MAX >> (64 - bits)) << (page % 64);
            change(&self.free_map[page / 64], mask);
            page += bits;
        }
    }
}
