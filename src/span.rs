//! Page descriptors: what capmalloc knows of each page, kept apart from the page.
//!
//! A segment has one descriptor a page, one cache line each. The descriptor of a span's first
//! page, its head, speaks for the whole span:
//!
//! | bytes | slab | free span | large |
//! |---|---|---|---|
//! | 0–23 | `links`: next, previous in its bin; next of those left | child, sibling, previous in its heap | next of those left |
//! | 24 | `kind` | `kind` | `kind` |
//! | 25 | `class` | – | – |
//! | 26–27 | `arena` | – | – |
//! | 28–29 | `page_count` | `page_count` (at the tail too) | `page_count` |
//! | 30–31 | `free_blocks` | – | – |
//! | 32–63 | `words`: the free bitmap | its address, to order by | – |
//!
//! Every field is an atomic read and written with Relaxed, which compiles to plain moves: the lock
//! that guards a field (the bin's for a slab, that of a shard of the page heap for the rest) also
//! orders it, as the stack does on which a span is left, and a neighbour's kind can be read under a
//! shard's lock while a slab's owner works under another. So a mistake in locking would be a wrong number that `check` finds, not undefined
//! behaviour.

use core::ops::Deref;
use core::ptr::NonNull;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicPtr, AtomicU8, AtomicU16, AtomicU64};

use crate::segment::SegmentPtr;
use crate::size_class::SizeClass;
use crate::units::Pages;

/// Words of bitmap within a descriptor; the 8-byte class needs twice as many.
pub(crate) const INLINE_WORDS: usize = 4;

/// What a page belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum SpanKind {
    /// Inside a free or large span, where nobody looks.
    Inside = 0,
    /// The head or tail of a free span that is still resident, freed in an even period of decay.
    FreeDirtyEven,
    /// The same, freed in an odd period.
    FreeDirtyOdd,
    /// The head or tail of a free span given back to the kernel, or never touched: it reads zero.
    FreeRetained,
    /// The head of a slab.
    Slab,
    /// A further page of a slab; `page_count` is the distance to the head.
    SlabInside,
    /// The head of a large allocation.
    Large,
    /// The tail of a large allocation of two pages or more.
    LargeTail,
    /// The ends of a span on its way back to the kernel: in use to all others until it is back.
    Purging,
    /// The head of a slab that no refill takes from.
    SealedSlab,
    /// The head of a large allocation that was given up and waits in a thread's cache.
    CachedLarge,
    /// The head of a span that its user gave up while its shard's lock was not to be had.
    Left,
}

impl SpanKind {
    fn from_byte(byte: u8) -> SpanKind {
        match byte {
            1 => SpanKind::FreeDirtyEven,
            2 => SpanKind::FreeDirtyOdd,
            3 => SpanKind::FreeRetained,
            4 => SpanKind::Slab,
            5 => SpanKind::SlabInside,
            6 => SpanKind::Large,
            7 => SpanKind::LargeTail,
            8 => SpanKind::Purging,
            9 => SpanKind::SealedSlab,
            10 => SpanKind::CachedLarge,
            11 => SpanKind::Left,
            _ => SpanKind::Inside,
        }
    }

    pub(crate) fn is_free(self) -> bool {
        self.is_dirty() || self == SpanKind::FreeRetained
    }

    pub(crate) fn is_dirty(self) -> bool {
        matches!(self, SpanKind::FreeDirtyEven | SpanKind::FreeDirtyOdd)
    }
}

/// One page's descriptor; see the module's table.
#[repr(C, align(64))]
#[derive(Debug)]
pub(crate) struct Span {
    links: [AtomicPtr<Span>; 3],
    kind: AtomicU8,
    class: AtomicU8,
    arena: AtomicU16,
    page_count: AtomicU16,
    free_blocks: AtomicU16,
    words: [AtomicU64; INLINE_WORDS],
}

const _: () = assert!(size_of::<Span>() == 64);

/// One of a descriptor's links; a bin, a free-span heap and the spans left use them each in its own way.
#[derive(Clone, Copy, Debug)]
#[repr(usize)]
pub(crate) enum Link {
    /// The next slab of a list or span of those left, or the first child in a heap.
    NextOrChild = 0,
    /// The previous slab of a list, or the next sibling in a heap.
    PreviousOrSibling = 1,
    /// The parent or the sibling before, in a heap.
    Above = 2,
}

impl Span {
    pub(crate) fn kind(&self) -> SpanKind {
        SpanKind::from_byte(self.kind.load(Relaxed))
    }

    pub(crate) fn set_kind(&self, kind: SpanKind) {
        self.kind.store(kind as u8, Relaxed);
    }

    /// The class of a slab's blocks, where the byte is one.
    pub(crate) fn class(&self) -> Option<SizeClass> {
        SizeClass::from_index(self.class.load(Relaxed) as usize)
    }

    pub(crate) fn set_class(&self, class: SizeClass) {
        self.class.store(class.index() as u8, Relaxed);
    }

    /// The index of the arena that a slab belongs to.
    pub(crate) fn arena(&self) -> usize {
        self.arena.load(Relaxed) as usize
    }

    pub(crate) fn set_arena(&self, arena: usize) {
        self.arena.store(arena as u16, Relaxed);
    }

    pub(crate) fn pages(&self) -> Pages {
        Pages::new(self.page_count.load(Relaxed) as u32)
    }

    pub(crate) fn set_pages(&self, pages: Pages) {
        self.page_count.store(pages.count() as u16, Relaxed);
    }

    pub(crate) fn free_blocks(&self) -> usize {
        self.free_blocks.load(Relaxed) as usize
    }

    pub(crate) fn set_free_blocks(&self, count: usize) {
        self.free_blocks.store(count as u16, Relaxed);
    }

    pub(crate) fn inline_word(&self, index: usize) -> &AtomicU64 {
        &self.words[index]
    }

    /// A free span's address as a number, kept at hand to order spans by.
    pub(crate) fn order(&self) -> u64 {
        self.words[0].load(Relaxed)
    }

    pub(crate) fn set_order(&self, address: usize) {
        self.words[0].store(address as u64, Relaxed);
    }

    pub(crate) fn link(&self, link: Link) -> Option<SpanPtr> {
        NonNull::new(self.links[link as usize].load(Relaxed)).map(SpanPtr)
    }

    pub(crate) fn set_link(&self, link: Link, to: Option<SpanPtr>) {
        let pointer = to.map_or(core::ptr::null_mut(), |span| span.0.as_ptr());
        self.links[link as usize].store(pointer, Relaxed);
    }
}

/// A page's descriptor, held by whoever works on its span.
///
/// Invariant: it points into the descriptors of a segment that is mapped. A segment is unmapped
/// only under its shard's lock when all its pages are free, and free spans are reached only from
/// the shard; so a span that is in use or left, or reached under that lock, has its segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SpanPtr(NonNull<Span>);

// SAFETY: a descriptor is all atomics, and the pointer's validity does not depend on the thread.
unsafe impl Send for SpanPtr {}
// SAFETY: as above.
unsafe impl Sync for SpanPtr {}

impl Deref for SpanPtr {
    type Target = Span;
    #[inline]
    fn deref(&self) -> &Span {
        // SAFETY: by the type's invariant the descriptor is mapped, and it is never borrowed
        // mutably.
        unsafe { self.0.as_ref() }
    }
}

impl SpanPtr {
    /// Takes `descriptor` for a span.
    ///
    /// # Safety
    ///
    /// It is a descriptor of a mapped segment, derived from the pointer to the whole segment, and
    /// the type's invariant holds for as long as the result is used.
    pub(crate) unsafe fn new(descriptor: NonNull<Span>) -> Self {
        SpanPtr(descriptor)
    }

    pub(crate) fn as_non_null(self) -> NonNull<Span> {
        self.0
    }

    /// The segment that this span lies in.
    pub(crate) fn segment(self) -> SegmentPtr {
        SegmentPtr::of_span(self)
    }

    /// The index of this page in its segment.
    pub(crate) fn page_index(self) -> usize {
        self.segment().index_of(self)
    }

    /// The first byte of this page.
    pub(crate) fn base(self) -> NonNull<u8> {
        let segment = self.segment();
        segment.page_base(segment.index_of(self))
    }
}
