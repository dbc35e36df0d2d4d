//! Blocks of the global allocator that know what they contain.

use std::alloc::{Layout, alloc, dealloc};
use std::ptr::NonNull;

use crate::random::Random;

const PAGE_BYTES: usize = 4096;

/// How much of a block is written when it is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fill {
    /// Every byte: for what is kept.
    Whole,
    /// One byte of each page, and the last: as a buffer that is made ready for use.
    Pages,
}

/// A live block; dropping it frees it.
#[derive(Debug)]
pub(super) struct Block {
    pointer: NonNull<u8>,
    size: u32,
    seed: u32,
}

// SAFETY: the block is its owner's alone.
unsafe impl Send for Block {}

impl Block {
    /// A new block with contents of its own; ends the program where there is no memory.
    pub(super) fn new(size: usize, fill: Fill, random: &mut Random) -> Self {
        // SAFETY: callers ask for sizes from 1 to a few kilobytes.
        let pointer = unsafe { alloc(layout(size)) };
        let pointer = NonNull::new(pointer).expect("memory");
        let block = Self { pointer, size: size as u32, seed: random.bits() as u32 };
        for offset in block.offsets(fill) {
            // SAFETY: the offset lies within the block.
            unsafe { pointer.add(offset).write(block.byte(offset)) };
        }
        block
    }

    /// Fills the whole of a block whose pages alone were written.
    pub(super) fn fill(&mut self) {
        for offset in self.offsets(Fill::Whole) {
            // SAFETY: the offset lies within the block.
            unsafe { self.pointer.add(offset).write(self.byte(offset)) };
        }
    }

    pub(super) fn size(&self) -> usize {
        self.size as usize
    }

    /// The numbers of the first and of the last page that it lies on.
    pub(super) fn pages(&self) -> (usize, usize) {
        let start = self.pointer.addr().get();
        (start / PAGE_BYTES, (start + self.size() - 1) / PAGE_BYTES)
    }

    /// Panics unless the bytes that were written are still there.
    pub(super) fn check(&self, fill: Fill) {
        let is_kept = |offset: usize| {
            // SAFETY: the offset lies within the block, and was written.
            let found = unsafe { self.pointer.add(offset).read() };
            found == self.byte(offset)
        };
        assert!(self.offsets(fill).all(is_kept), "{:p} was overwritten", self.pointer);
    }

    fn offsets(&self, fill: Fill) -> impl Iterator<Item = usize> + use<> {
        let (size, step) = match fill {
            Fill::Whole => (self.size(), 1),
            Fill::Pages => (self.size(), PAGE_BYTES),
        };
        (0..size).step_by(step).chain(std::iter::once(size - 1))
    }

    fn byte(&self, offset: usize) -> u8 {
        (self.seed as usize).wrapping_add(offset.wrapping_mul(31)) as u8
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout, and its owner gives it up.
        unsafe { dealloc(self.pointer.as_ptr(), layout(self.size())) };
    }
}

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, 8).expect("a size that can be had")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_are_kept_and_a_stray_byte_is_seen() {
        let mut random = Random::new(1);
        for size in [1, 16, 4096, 4097, 32768] {
            let mut block = Block::new(size, Fill::Pages, &mut random);
            block.check(Fill::Pages);
            block.fill();
            block.check(Fill::Whole);
            // SAFETY: within the block.
            unsafe { block.pointer.write(!block.byte(0)) };
            let outcome = std::panic::catch_unwind(|| block.check(Fill::Pages));
            assert!(outcome.is_err(), "{size}");
        }
    }
}
