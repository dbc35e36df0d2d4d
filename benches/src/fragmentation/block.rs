//! Blocks of the global allocator that know what they contain.

use std::alloc::{Layout, alloc, dealloc, realloc};
use std::ptr::NonNull;

use super::ledger;
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
        ledger::current().add_live(size);
        let mut block = Self { pointer, size: size as u32, seed: random.bits() as u32 };
        block.write(fill);
        block
    }

    /// Fills the whole of a block whose pages alone were written.
    pub(super) fn fill(&mut self) {
        self.write(Fill::Whole);
    }

    /// Makes a filled block larger, and fills what is new of it.
    pub(super) fn grow(&mut self, new_size: usize) {
        let old_size = self.size();
        assert!(new_size >= old_size, "it would not grow");
        // SAFETY: allocated with this layout; the new size is not zero, for the old one is not.
        let pointer = unsafe { realloc(self.pointer.as_ptr(), layout(old_size), new_size) };
        self.pointer = NonNull::new(pointer).expect("memory");
        self.size = new_size as u32;
        ledger::current().add_live(new_size - old_size);
        for offset in old_size..new_size {
            // SAFETY: the offset lies within the block.
            unsafe { self.pointer.add(offset).write(self.byte(offset)) };
        }
    }

    fn write(&mut self, fill: Fill) {
        let write = |offset: usize| {
            // SAFETY: the offset lies within the block.
            unsafe { self.pointer.add(offset).write(self.byte(offset)) };
            true
        };
        // A loop of its own for either, which the compiler makes a fast one of where it can.
        match fill {
            Fill::Whole => (0..self.size()).for_each(|offset| _ = write(offset)),
            Fill::Pages => _ = self.each_page(write),
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
        let is_whole = match fill {
            Fill::Whole => (0..self.size()).fold(true, |all, offset| all & is_kept(offset)),
            Fill::Pages => self.each_page(is_kept),
        };
        assert!(is_whole, "{:p} was overwritten", self.pointer);
    }

    /// Whether something is true of a byte of each page, and of the last one.
    fn each_page(&self, is_true: impl Fn(usize) -> bool) -> bool {
        let last = self.size() - 1;
        (0..last).step_by(PAGE_BYTES).chain([last]).all(is_true)
    }

    fn byte(&self, offset: usize) -> u8 {
        (self.seed as usize).wrapping_add(offset.wrapping_mul(31)) as u8
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        ledger::current().subtract_live(self.size());
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

    #[test]
    fn a_block_grows_with_its_contents() {
        let mut block = Block::new(100, Fill::Whole, &mut Random::new(2));
        for size in [100, 101, 5000, 300_000] {
            block.grow(size);
            block.check(Fill::Whole);
            assert_eq!(block.size(), size);
        }
    }
}
