//! A heap as an allocator of the `allocator-api2` crate, for collections.

use core::alloc::Layout;
use core::ptr::NonNull;

use allocator_api2::alloc::{AllocError, Allocator};

use super::Heap;
use crate::page_source::PageSource;

type Block = Result<NonNull<[u8]>, AllocError>;

// SAFETY: blocks are handed out once each, with the size and alignment of their layout, and stay
// valid until they are freed or the heap, which cannot be cloned, is dropped: they lie in memory
// of the page source and stay where they are when the heap moves. A layout of size zero has no
// block, on any of the ways.
unsafe impl<S: PageSource> Allocator for Heap<S> {
    #[inline]
    fn allocate(&self, layout: Layout) -> Block {
        match layout.size() {
            0 => Ok(nothing(layout)),
            _ => block_of(self.alloc(layout), layout),
        }
    }

    fn allocate_zeroed(&self, layout: Layout) -> Block {
        match layout.size() {
            0 => Ok(nothing(layout)),
            _ => block_of(self.alloc_zeroed(layout), layout),
        }
    }

    #[inline]
    unsafe fn deallocate(&self, block: NonNull<u8>, layout: Layout) {
        if layout.size() != 0 {
            // SAFETY: the caller gives up a block of this layout, which is not of size zero.
            unsafe { self.dealloc(block, layout) };
        }
    }

    unsafe fn grow(&self, block: NonNull<u8>, old: Layout, new: Layout) -> Block {
        // SAFETY: the caller's promise.
        unsafe { self.resize(block, old, new) }
    }

    unsafe fn grow_zeroed(&self, block: NonNull<u8>, old: Layout, new: Layout) -> Block {
        if old.size() == 0 {
            return self.allocate_zeroed(new);
        }
        // SAFETY: the caller's promise; the block is now of the new size, of which the part beyond
        // the old one is nobody's yet.
        unsafe {
            let grown = self.resize(block, old, new)?;
            grown.cast::<u8>().add(old.size()).write_bytes(0, new.size() - old.size());
            Ok(grown)
        }
    }

    unsafe fn shrink(&self, block: NonNull<u8>, old: Layout, new: Layout) -> Block {
        // SAFETY: the caller's promise.
        unsafe { self.resize(block, old, new) }
    }
}

impl<S: PageSource> Heap<S> {
    /// # Safety
    ///
    /// As [`Allocator::grow`] or [`Allocator::shrink`].
    unsafe fn resize(&self, block: NonNull<u8>, old: Layout, new: Layout) -> Block {
        if old.align() == new.align() && old.size() != 0 && new.size() != 0 {
            // SAFETY: the block is of this heap and of the old layout; the new one is valid.
            return block_of(unsafe { self.realloc(block, old, new.size()) }, new);
        }
        let moved = self.allocate(new)?;
        // SAFETY: both are at least so long, and apart: the new one was just handed out, unless
        // nothing is copied. The caller gives the old one up.
        unsafe {
            let kept_bytes = old.size().min(new.size());
            moved.cast::<u8>().copy_from_nonoverlapping(block, kept_bytes);
            self.deallocate(block, old);
        }
        Ok(moved)
    }
}

fn block_of(block: Option<NonNull<u8>>, layout: Layout) -> Block {
    let base = block.ok_or(AllocError)?;
    Ok(NonNull::slice_from_raw_parts(base, layout.size()))
}

/// What a layout of size zero gets: a well-aligned address.
fn nothing(layout: Layout) -> NonNull<[u8]> {
    NonNull::slice_from_raw_parts(layout.dangling_ptr(), 0)
}

#[cfg(test)]
mod tests;
