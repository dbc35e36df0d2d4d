//! Blocks straight from the allocator, which know what they ought to contain.

use std::alloc::{GlobalAlloc as _, Layout};
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use capmalloc::CapMalloc;

use super::pattern;

/// All values of the type share the one heap, the binary's global allocator included.
static HEAP: CapMalloc = CapMalloc::new();

/// A live block, filled with a pattern of its own; dropping it frees it.
#[derive(Debug)]
pub(crate) struct Block {
    pointer: *mut u8,
    layout: Layout,
    seed: usize,
}

// SAFETY: the block is its owner's alone, and may be freed by any thread.
unsafe impl Send for Block {}

impl Block {
    /// A new block, checked for its alignment and filled; `None` where the allocator has none.
    pub(crate) fn new(layout: Layout) -> Option<Block> {
        // SAFETY: the allocator serves every layout, of size zero too.
        Block::filled(unsafe { HEAP.alloc(layout) }, layout)
    }

    /// The same from `alloc_zeroed`, checked to read as zero before it is filled.
    pub(crate) fn zeroed(layout: Layout) -> Option<Block> {
        // SAFETY: as above.
        let pointer = unsafe { HEAP.alloc_zeroed(layout) };
        if !pointer.is_null() {
            // SAFETY: the block is new, ours, and has the layout's size.
            unsafe { pattern::check_zeroed(pointer, layout.size()) };
        }
        Block::filled(pointer, layout)
    }

    /// A block of `size` bytes for which nothing is asked but that it is there.
    pub(crate) fn of_size(size: usize) -> Block {
        let layout = Layout::from_size_align(size, 8).expect("a size that can be had");
        Block::new(layout).expect("memory")
    }

    fn filled(pointer: *mut u8, layout: Layout) -> Option<Block> {
        // Relaxed: the number only has to differ from the neighbours'.
        static NEXT_SEED: AtomicUsize = AtomicUsize::new(0);
        if pointer.is_null() {
            return None;
        }
        let seed = NEXT_SEED.fetch_add(1, Relaxed).wrapping_mul(37) % 8192;
        let block = Block { pointer, layout, seed };
        block.check_alignment();
        // SAFETY: the block is new, ours, and has the layout's size.
        unsafe { pattern::write(pointer, layout.size(), seed) };
        Some(block)
    }

    fn check_alignment(&self) {
        let misplaced_bytes = self.pointer.addr() % self.layout.align();
        assert_eq!(misplaced_bytes, 0, "{:p} for {:?}", self.pointer, self.layout);
    }

    pub(crate) fn address(&self) -> usize {
        self.pointer.addr()
    }

    pub(crate) fn layout(&self) -> Layout {
        self.layout
    }

    /// Panics unless the contents are those that were written.
    pub(crate) fn check(&self) {
        let size = self.layout.size();
        // SAFETY: the block was filled with this size and seed, and is ours.
        unsafe { pattern::check(self.pointer, size, size, self.seed) };
    }

    /// Resizes by the allocator's `realloc`, checks what was to be kept, and fills the rest.
    ///
    /// Answers whether it could be had; where not, the block is as it was.
    pub(crate) fn resize(&mut self, new_size: usize) -> bool {
        let old_size = self.layout.size();
        // SAFETY: the block is live and has this layout; callers pass sizes that a layout of this
        // alignment can have.
        let pointer = unsafe { HEAP.realloc(self.pointer, self.layout, new_size) };
        if pointer.is_null() {
            self.check();
            return false;
        }
        self.pointer = pointer;
        self.layout = Layout::from_size_align(new_size, self.layout.align()).expect("a layout");
        self.check_alignment();
        // SAFETY: the block has the new size, and the lesser of both sizes was to be kept.
        unsafe {
            pattern::check(pointer, old_size, old_size.min(new_size), self.seed);
            pattern::write(pointer, new_size, self.seed);
        }
        true
    }

    /// Checks the contents, then frees the block.
    pub(crate) fn release(self) {
        self.check();
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: the block came from this heap with this layout, and its owner gives it up.
        unsafe { HEAP.dealloc(self.pointer, self.layout) };
    }
}
