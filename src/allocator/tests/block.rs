//! Live blocks that know what should be in them.

use core::alloc::Layout;
use core::ptr::NonNull;

use super::{Allocator, PageSource, Route, ThreadSlot, layout};
use crate::units::PAGE_BYTES;

/// A block in use, filled with one byte.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) base: NonNull<u8>,
    pub(super) layout: Layout,
    byte: u8,
}

// SAFETY: a live block is its holder's alone, on whatever thread that is.
unsafe impl Send for Block {}

impl Block {
    /// Takes a block that the heap just handed out, and fills it.
    ///
    /// # Safety
    ///
    /// The heap said that it is of this layout, and nobody else has it.
    pub(super) unsafe fn claim(base: NonNull<u8>, layout: Layout, byte: u8) -> Block {
        assert_eq!(base.addr().get() % layout.align(), 0, "{layout:?}");
        // SAFETY: the caller's promise.
        unsafe { base.write_bytes(byte, layout.size()) };
        Block { base, layout, byte }
    }

    pub(super) fn alloc<S: PageSource>(
        heap: &Allocator<S>,
        slot: &ThreadSlot,
        layout: Layout,
        byte: u8,
    ) -> Option<Block> {
        // SAFETY: the heap just handed the block out for this layout.
        heap.alloc(slot, layout).map(|base| unsafe { Block::claim(base, layout, byte) })
    }

    pub(super) fn alloc_zeroed<S: PageSource>(
        heap: &Allocator<S>,
        slot: &ThreadSlot,
        layout: Layout,
        byte: u8,
    ) -> Option<Block> {
        let base = heap.alloc_zeroed(slot, layout)?;
        Block { base, layout, byte: 0 }.verify();
        // SAFETY: the heap just handed the block out for this layout.
        Some(unsafe { Block::claim(base, layout, byte) })
    }

    /// Sees that nobody else wrote here.
    pub(super) fn verify(&self) {
        // SAFETY: the block is live, and all of it was written.
        let bytes = unsafe { core::slice::from_raw_parts(self.base.as_ptr(), self.layout.size()) };
        self.verify_prefix(bytes);
    }

    fn verify_prefix(&self, bytes: &[u8]) {
        let Some((first, rest)) = bytes.split_first() else { return };
        // All bytes are equal where each equals its neighbour; that is one quick comparison.
        let is_uniform = *rest == bytes[..rest.len()];
        assert!(is_uniform && *first == self.byte, "somebody else wrote into {self:?}");
    }

    /// Resizes; where that is refused, the block comes back as it was.
    pub(super) fn realloc<S: PageSource>(
        self,
        heap: &Allocator<S>,
        slot: &ThreadSlot,
        size: usize,
    ) -> Result<Block, Block> {
        self.verify();
        // SAFETY: the block is live and of this layout, and is given up where it moves.
        let Some(base) = (unsafe { heap.realloc(slot, self.base, self.layout, size) }) else {
            self.verify();
            return Err(self);
        };
        let kept_bytes = size.min(self.layout.size());
        // SAFETY: the block is live, and so much of it was written, here or where it lay before.
        self.verify_prefix(unsafe { core::slice::from_raw_parts(base.as_ptr(), kept_bytes) });
        // SAFETY: the heap just handed the block out for the new size.
        Ok(unsafe { Block::claim(base, layout(size, self.layout.align()), self.byte) })
    }

    pub(super) fn dealloc<S: PageSource>(self, heap: &Allocator<S>, slot: &ThreadSlot) {
        self.verify();
        // SAFETY: the block came from this heap for this layout, and is given up.
        unsafe { heap.dealloc(slot, self.base, self.layout) };
    }

    /// Bytes that the heap counts for this block.
    pub(super) fn counted_bytes<S: PageSource>(&self, heap: &Allocator<S>) -> usize {
        match Route::of(self.layout) {
            Route::Small(class) => class.block_bytes(),
            Route::Large => self.layout.size().max(1).next_multiple_of(PAGE_BYTES),
            // A mapping that was kept for reuse may be longer than was asked for now.
            Route::Huge => heap.huge().mapped_bytes(self.base).expect("a huge block"),
        }
    }
}
