//! Slabs: spans cut into blocks of one class, with one bit a block kept in the descriptors.
//!
//! A set bit is a free block. Nothing is ever written into a block, so a free cannot be turned
//! against the heap by a stray write, a second free finds its bit set, and pages without a live
//! block can go back to the kernel even when their neighbours in the slab cannot.

mod purge;

use core::ptr::NonNull;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

use crate::page_source::PageSource;
use crate::size_class::{SLAB_BLOCKS_MAX, SizeClass, SlabShape};
use crate::span::{INLINE_WORDS, SpanKind, SpanPtr};
use crate::units::{PAGE_BYTES, Pages};

/// Lists by fullness: eight of slabs with room, by eighths in use, and one of full ones.
pub(crate) const FULLNESS_LEVELS: usize = 9;

/// What is wrong with a pointer given back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Misuse {
    /// No segment of ours holds the address.
    NotOurs,
    /// The page holds no small blocks.
    NotASlab,
    /// The slab's blocks are of another size than the one freed.
    OtherSize(usize),
    /// No block starts at the address.
    Interior,
    /// The block is free already.
    FreeAlready,
}

/// The head of a slab; what it says is guarded by the lock of the slab's bin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Slab(SpanPtr);

impl Slab {
    /// Cuts a span, taken as [`SpanKind::Slab`], into free blocks.
    pub(crate) fn cut(span: SpanPtr, class: SizeClass, arena: usize) -> Slab {
        let shape = class.shape();
        let segment = span.segment();
        let first = segment.index_of(span);
        for distance in 1..shape.pages().count() {
            let inside = segment.span(first + distance);
            inside.set_pages(Pages::new(distance as u32));
            inside.set_kind(SpanKind::SlabInside);
        }
        span.set_class(class);
        segment.set_block_class(first, shape.pages(), class);
        span.set_arena(arena);
        let slab = Slab(span);
        let capacity = shape.capacity as usize;
        span.set_free_blocks(capacity);
        for index in 0..INLINE_WORDS.max(capacity.div_ceil(64)) {
            let bits = capacity.saturating_sub(index * 64).min(64);
            slab.word(index).store(low_bits(bits), Relaxed);
        }
        slab
    }

    /// The slab that `block`, a block handed out and not yet back, was cut from.
    ///
    /// Its class and arena are stable while the block is out, but for an arena that closes.
    pub(crate) fn of_block(span: SpanPtr, class: SizeClass) -> Result<Slab, Misuse> {
        let head = match span.kind() {
            SpanKind::Slab | SpanKind::SealedSlab => span,
            SpanKind::SlabInside => {
                let segment = span.segment();
                segment.span(segment.index_of(span) - span.pages().count())
            }
            _ => return Err(Misuse::NotASlab),
        };
        match head.class() {
            Some(found) if found == class => Ok(Slab(head)),
            Some(found) => Err(Misuse::OtherSize(found.block_bytes())),
            None => Err(Misuse::NotASlab),
        }
    }

    pub(crate) fn from_span(span: SpanPtr) -> Slab {
        Slab(span)
    }

    pub(crate) fn span(self) -> SpanPtr {
        self.0
    }

    pub(crate) fn arena(self) -> usize {
        self.0.arena()
    }

    /// Whether refills leave the slab alone: see `seal.rs`.
    #[inline]
    pub(crate) fn is_sealed(self) -> bool {
        self.0.kind() == SpanKind::SealedSlab
    }

    /// Seals or thaws the slab; the lock of its bin is held.
    pub(crate) fn set_sealed(self, is_sealed: bool) {
        self.0.set_kind(if is_sealed { SpanKind::SealedSlab } else { SpanKind::Slab });
    }

    pub(crate) fn free_blocks(self) -> usize {
        self.0.free_blocks()
    }

    pub(crate) fn is_empty(self, shape: &SlabShape) -> bool {
        self.free_blocks() == shape.capacity as usize
    }

    /// The list that the slab belongs on: 0 for nearly empty, the last for full.
    pub(crate) fn fullness(self, shape: &SlabShape) -> usize {
        let used = shape.capacity as usize - self.free_blocks();
        shape.parts_filled(used, FULLNESS_LEVELS - 1)
    }

    /// Takes up to `into.len()` free blocks, lowest address first; answers how many.
    pub(crate) fn take(self, shape: &SlabShape, into: &mut [*mut u8]) -> usize {
        let wanted = into.len().min(self.free_blocks());
        let base = self.0.base();
        let mut taken = 0;
        let mut index = 0;
        while taken < wanted {
            let word = self.word(index);
            let mut bits = word.load(Relaxed);
            while bits != 0 && taken < wanted {
                let block = index * 64 + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                // SAFETY: a set bit stands for a block within the slab's pages.
                let pointer = unsafe { base.add(block * shape.block_bytes as usize) };
                into[taken] = pointer.as_ptr();
                taken += 1;
            }
            word.store(bits, Relaxed);
            index += 1;
        }
        self.0.set_free_blocks(self.free_blocks() - taken);
        if shape.pages().count() > 1 {
            self.note_touched(shape, &into[..taken]);
        }
        taken
    }

    /// Takes blocks back for as long as they are this slab's, the first of them for certain.
    ///
    /// Answers how many that were. What is freed together was often allocated together, and a block
    /// in the range of a slab already confirmed needs no look-up of its own.
    pub(crate) fn put(
        self,
        shape: &SlabShape,
        blocks: &[*mut u8],
    ) -> Result<usize, (Misuse, *mut u8)> {
        let (base, bytes) = (self.0.base().addr().get(), shape.pages().bytes());
        let mut count = 0;
        for &block in blocks {
            let offset = block.addr().wrapping_sub(base);
            if offset >= bytes {
                break;
            }
            let index = shape.block_at(offset).ok_or((Misuse::Interior, block))?;
            let word = self.word(index / 64);
            let (bits, bit) = (word.load(Relaxed), 1 << (index % 64));
            if bits & bit != 0 {
                return Err((Misuse::FreeAlready, block));
            }
            word.store(bits | bit, Relaxed);
            count += 1;
        }
        self.0.set_free_blocks(self.free_blocks() + count);
        Ok(count)
    }

    /// Holds that `block`, on one of this slab's pages, is the start of a block that is out of it.
    pub(crate) fn confirm(self, shape: &SlabShape, block: NonNull<u8>) -> Result<(), Misuse> {
        let offset = block.addr().get() - self.0.base().addr().get();
        let index = shape.block_at(offset).ok_or(Misuse::Interior)?;
        if self.is_block_free(index) { Err(Misuse::FreeAlready) } else { Ok(()) }
    }

    /// A word of the free bitmap; those past the descriptor's lie in the segment's side words.
    fn word(&self, index: usize) -> &AtomicU64 {
        if index < INLINE_WORDS {
            return self.0.inline_word(index);
        }
        let segment = self.0.segment();
        // SAFETY: the reference lives as long as the segment, which outlives its slabs; only its
        // lifetime is shortened here to that of this handle.
        unsafe {
            &*core::ptr::from_ref(segment.side_word(self.0.page_index(), index - INLINE_WORDS))
        }
    }

    /// How many blocks that are out of the slab lie on the page, at least in part.
    pub(crate) fn taken_blocks_on(self, shape: &SlabShape, page: usize) -> usize {
        blocks_on(shape, page).filter(|block| !self.is_block_free(*block)).count()
    }

    fn is_block_free(self, block: usize) -> bool {
        self.word(block / 64).load(Relaxed) & (1 << (block % 64)) != 0
    }

    /// Stops the program where the slab contradicts itself.
    pub(crate) fn check(self, class: SizeClass, arena: usize) {
        let shape = class.shape();
        let is_slab = matches!(self.0.kind(), SpanKind::Slab | SpanKind::SealedSlab);
        ensure!(is_slab, "a slab's kind");
        ensure_eq!(self.0.class(), Some(class), "a slab's class");
        ensure_eq!(self.0.arena(), arena, "a slab's arena");
        ensure_eq!(self.0.pages(), shape.pages(), "a slab's pages");
        let capacity = shape.capacity as usize;
        let free: u32 =
            (0..capacity.div_ceil(64)).map(|i| self.word(i).load(Relaxed).count_ones()).sum();
        ensure_eq!(free as usize, self.free_blocks(), "a slab's free blocks");
        for distance in 1..shape.pages().count() {
            let inside = self.0.segment().span(self.0.page_index() + distance);
            ensure_eq!(inside.kind(), SpanKind::SlabInside, "a slab's further page");
            ensure_eq!(inside.pages().count(), distance, "a slab's further page");
        }
    }
}

/// The blocks that lie on a slab's page, at least in part.
fn blocks_on(shape: &SlabShape, page: usize) -> core::ops::RangeInclusive<usize> {
    let first = shape.block_containing(page * PAGE_BYTES);
    let last = shape.block_containing(page * PAGE_BYTES + PAGE_BYTES - 1);
    first..=last.min(shape.capacity as usize - 1)
}

/// Where a block's address leads: the page's descriptor, if a segment of ours holds it.
pub(crate) fn page_of<S: PageSource>(
    page_heap: &crate::page_heap::PageHeap<S>,
    block: NonNull<u8>,
) -> Result<SpanPtr, Misuse> {
    let address = block.addr().get();
    let segment = page_heap.segment_of(address).ok_or(Misuse::NotOurs)?;
    Ok(segment.page_containing(address))
}

const fn low_bits(count: usize) -> u64 {
    if count == 0 { 0 } else { u64::MAX >> (64 - count) }
}

const _: () = assert!(SLAB_BLOCKS_MAX <= 2 * INLINE_WORDS * 64);

#[cfg(test)]
mod tests;
