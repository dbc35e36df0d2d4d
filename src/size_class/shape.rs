//! How a slab of each class is cut, and which block an offset into it belongs to.

use super::{CLASS_COUNT, GRAIN_BYTES, class_bytes};
use crate::units::{PAGE_BYTES, Pages};

/// How a slab of one class is laid out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SlabShape {
    /// Bytes in a block.
    pub(crate) block_bytes: u32,
    /// `ceil(2^32 / block_bytes)`: a multiplication by it, then a shift, divides an offset exactly.
    reciprocal: u32,
    /// Blocks in a slab.
    pub(crate) capacity: u16,
    /// Pages in a slab.
    page_count: u16,
    /// `ceil(2^20 / capacity)`, to divide a number of blocks by the capacity in the same way.
    capacity_reciprocal: u32,
}

impl SlabShape {
    const fn of(block_bytes: usize) -> SlabShape {
        let page_count = slab_page_count(block_bytes);
        let capacity = page_count * PAGE_BYTES / block_bytes;
        SlabShape {
            block_bytes: block_bytes as u32,
            reciprocal: (1u64 << 32).div_ceil(block_bytes as u64) as u32,
            capacity: capacity as u16,
            page_count: page_count as u16,
            capacity_reciprocal: (1u32 << 20).div_ceil(capacity as u32),
        }
    }

    pub(crate) const fn pages(&self) -> Pages {
        Pages::new(self.page_count as u32)
    }

    /// How many `parts`-ths of the slab `blocks` fill, rounded down.
    ///
    /// Exact for products below 2^12: the error is less than a block in `2^20 / (blocks * parts)`.
    #[inline]
    pub(crate) fn parts_filled(&self, blocks: usize, parts: usize) -> usize {
        (((blocks * parts) as u64 * u64::from(self.capacity_reciprocal)) >> 20) as usize
    }

    /// The block that starts at `offset_bytes` into a slab, or `None` where none starts there.
    #[inline]
    pub(crate) fn block_at(&self, offset_bytes: usize) -> Option<usize> {
        let index = self.block_containing(offset_bytes);
        let starts_here = index * self.block_bytes as usize == offset_bytes;
        (starts_here && index < self.capacity as usize).then_some(index)
    }

    /// The block that covers `offset_bytes`; past the last block for the slab's tail.
    #[inline]
    pub(crate) fn block_containing(&self, offset_bytes: usize) -> usize {
        ((offset_bytes as u64 * self.reciprocal as u64) >> 32) as usize
    }
}

/// The fewest pages that leave at most a sixteenth of the slab uncut: small slabs empty sooner,
/// and an emptied slab can serve any class.
const fn slab_page_count(block_bytes: usize) -> usize {
    let mut page_count = block_bytes.div_ceil(PAGE_BYTES);
    loop {
        let slab_bytes = page_count * PAGE_BYTES;
        if (slab_bytes % block_bytes) * 16 <= slab_bytes {
            return page_count;
        }
        page_count += 1;
    }
}

pub(super) static SHAPES: [SlabShape; CLASS_COUNT] = {
    let mut shapes = [const { SlabShape::of(GRAIN_BYTES) }; CLASS_COUNT];
    let mut index = 0;
    while index < CLASS_COUNT {
        shapes[index] = SlabShape::of(class_bytes(index));
        index += 1;
    }
    shapes
};
