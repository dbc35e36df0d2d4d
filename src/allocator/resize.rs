//! `realloc` and `alloc_zeroed`: in place where class, span or mapping allow it.

use core::alloc::Layout;
use core::ptr::NonNull;

use super::large::large_pages;
use super::{Allocator, Route, usable_bytes};
use crate::page_source::PageSource;
use crate::size_class::SizeClass;
use crate::thread_cache::ThreadSlot;
use crate::units::PAGE_BYTES;

impl<S: PageSource> Allocator<S> {
    /// Allocates memory that reads as zero; fresh pages are not cleared a second time.
    pub(crate) fn alloc_zeroed(&self, slot: &ThreadSlot, layout: Layout) -> Option<NonNull<u8>> {
        let (block, is_zeroed) = if SizeClass::of(layout.size(), layout.align()).is_some() {
            (self.alloc(slot, layout)?, false)
        } else {
            let big = self.alloc_big(slot, layout)?;
            (big.base, big.is_zeroed)
        };
        if !is_zeroed {
            // SAFETY: the block was just allocated with at least this size.
            unsafe { block.write_bytes(0, layout.size()) };
        }
        Some(block)
    }

    /// Resizes; the contents up to the smaller size stay. `None` leaves the block as it was.
    ///
    /// # Safety
    ///
    /// `block` came from this heap for `layout`; `new_size`, rounded up to the alignment, does not
    /// pass `isize::MAX`. After `Some` the old pointer is given up.
    pub(crate) unsafe fn realloc(
        &self,
        slot: &ThreadSlot,
        block: NonNull<u8>,
        layout: Layout,
        new_size: usize,
    ) -> Option<NonNull<u8>> {
        let new_layout = Layout::from_size_align(new_size, layout.align()).ok()?;
        match (Route::of(layout), Route::of(new_layout)) {
            (Route::Small(old), Route::Small(new)) if old == new => return Some(block),
            (Route::Large, Route::Large) if self.resize_large(block, layout, new_size) => {
                self.after_big(slot);
                return Some(block);
            }
            // The kernel moves a mapping to any page; a stricter alignment needs a copy.
            (Route::Huge, Route::Huge) if layout.align() <= PAGE_BYTES => {
                if let Some(moved) = self.huge.resize(&self.huge_supply(), block, new_size) {
                    self.after_big(slot);
                    return Some(moved);
                }
            }
            _ => {}
        }
        // SAFETY: the caller's promise, handed on.
        unsafe { self.realloc_by_copy(slot, block, layout, new_layout) }
    }

    /// Grows or shrinks a large allocation where it lies; `false` leaves it as it was.
    fn resize_large(&self, block: NonNull<u8>, layout: Layout, new_size: usize) -> bool {
        let span = self.large_span(block, layout.size());
        let pages = large_pages(new_size);
        if pages < span.pages() {
            self.page_heap.shrink(span, pages);
            return true;
        }
        pages == span.pages() || self.page_heap.grow(span, pages).is_some()
    }

    /// # Safety
    ///
    /// As [`realloc`](Self::realloc).
    unsafe fn realloc_by_copy(
        &self,
        slot: &ThreadSlot,
        block: NonNull<u8>,
        layout: Layout,
        new_layout: Layout,
    ) -> Option<NonNull<u8>> {
        let moved = self.alloc(slot, new_layout)?;
        let kept_bytes = layout.size().min(new_layout.size());
        debug_assert!(usable_bytes(new_layout).is_some_and(|bytes| bytes >= kept_bytes));
        // SAFETY: both blocks are at least this long, the new one is not the old, and the caller
        // gives the old one up.
        unsafe {
            moved.copy_from_nonoverlapping(block, kept_bytes);
            self.dealloc(slot, block, layout);
        }
        Some(moved)
    }
}
