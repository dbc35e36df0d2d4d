//! Size classes: which rounded size a request gets, and how a slab of that size is cut.
//!
//! Eight classes to every doubling up to a page, so that rounding wastes at most an eighth of a block,
//! and steps of eight bytes up to 128, because Rust passes the alignment and a 40-byte `align <= 8`
//! value need not pay for 16-byte alignment. Above a page there are fewer, four up to two pages and
//! then one for each number of whole pages: a cache that holds some blocks of each class would hold
//! little else than those of the largest. Every class in `(2^k, 2^(k+1)]` is a multiple of
//! `2^(k-3)`; it follows that a size rounded up to its alignment always lands in a class whose
//! blocks have that alignment, up to a page. `(size, align)` to class is therefore a pure function
//! that needs no search, the same on `alloc` and on `dealloc`.

use crate::units::{PAGE_BYTES, Pages};

/// The number of size classes.
pub(crate) const CLASS_COUNT: usize = 66;

/// The largest request that a slab serves; above it a request gets a span of its own.
pub(crate) const SMALL_MAX_BYTES: usize = 32 * 1024;

/// The class-table's step: every class is a multiple of it.
pub(crate) const GRAIN_BYTES: usize = 8;

/// Blocks in the widest slab: one page of 8-byte blocks.
pub(crate) const SLAB_BLOCKS_MAX: usize = PAGE_BYTES / GRAIN_BYTES;

/// A rounded request size; always below [`CLASS_COUNT`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct SizeClass(u8);

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

impl SizeClass {
    /// The class of a request, or `None` where it is not small.
    #[inline(always)]
    pub(crate) const fn of(size: usize, align: usize) -> Option<SizeClass> {
        if align <= GRAIN_BYTES {
            SizeClass::of_unaligned(size)
        } else {
            SizeClass::of_aligned(size, align)
        }
    }

    /// The class of a request whose alignment every class has, up to [`GRAIN_BYTES`].
    #[inline(always)]
    pub(crate) const fn of_unaligned(size: usize) -> Option<SizeClass> {
        if size <= SMALL_MAX_BYTES { Some(SizeClass::of_small(size)) } else { None }
    }

    /// The class of a request by C's rule, whose alignment is that of any type of this size: 8 up to
    /// eight bytes, and 16 above.
    #[inline(always)]
    pub(crate) const fn of_fundamental(size: usize) -> Option<SizeClass> {
        if size > SMALL_MAX_BYTES {
            return None;
        }
        let table: &'static ClassTable = &FUNDAMENTAL_CLASS_OF_GRAINS;
        Some(SizeClass(table[size.div_ceil(GRAIN_BYTES)]))
    }

    /// The class of a size already known to be small and aligned to no more than eight bytes.
    #[inline(always)]
    const fn of_small(size: usize) -> SizeClass {
        // A reference to a constant becomes a table in the crate that inlines this, reached by one
        // address computation; a static of this crate would be reached through a table of offsets.
        let table: &'static ClassTable = &CLASS_OF_GRAINS;
        SizeClass(table[size.div_ceil(GRAIN_BYTES)])
    }

    #[inline(always)]
    const fn of_aligned(size: usize, align: usize) -> Option<SizeClass> {
        // The last byte of a block of the rounded size, which has all bits below the alignment. Zero
        // wraps around, and is no small one.
        let last = size.wrapping_sub(1) | (align - 1);
        if last < SMALL_MAX_BYTES && align <= PAGE_BYTES {
            return Some(SizeClass::of_small(last + 1));
        }
        SizeClass::of_aligned_slow(size, align)
    }

    /// Size zero, which would land in the 8-byte class, whose blocks lack the alignment.
    #[cold]
    const fn of_aligned_slow(size: usize, align: usize) -> Option<SizeClass> {
        if size == 0 && align <= PAGE_BYTES { Some(SizeClass::of_small(align)) } else { None }
    }

    /// How many blocks of each class lie in so many bytes, held between the fewest and the most.
    pub(crate) const fn blocks_within(bytes: usize, fewest: usize, most: usize) -> PerClass {
        let mut blocks = [0; CLASS_COUNT];
        let mut index = 0;
        while index < CLASS_COUNT {
            let fitting = bytes / class_bytes(index);
            let at_most = if fitting > most { most } else { fitting };
            blocks[index] = if at_most < fewest { fewest } else { at_most } as u16;
            index += 1;
        }
        PerClass(blocks)
    }

    /// The class with this index, for walks over all of them.
    pub(crate) fn from_index(index: usize) -> Option<SizeClass> {
        (index < CLASS_COUNT).then_some(SizeClass(index as u8))
    }

    /// The class's place among all, counted from one: what is kept where zero means no class.
    pub(crate) const fn ordinal(self) -> u8 {
        const { assert!(CLASS_COUNT < u8::MAX as usize) };
        self.0 + 1
    }

    /// The class with this ordinal; `None` of zero.
    ///
    /// # Safety
    ///
    /// The number is zero or came from [`ordinal`](Self::ordinal).
    #[inline(always)]
    pub(crate) unsafe fn from_ordinal(ordinal: u8) -> Option<SizeClass> {
        match ordinal {
            0 => None,
            ordinal => {
                let class = SizeClass(ordinal - 1);
                debug_assert!(class.index() < CLASS_COUNT);
                Some(class)
            }
        }
    }

    pub(crate) fn all() -> impl DoubleEndedIterator<Item = SizeClass> + Clone {
        (0..CLASS_COUNT as u8).map(SizeClass)
    }

    #[inline(always)]
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }

    #[inline]
    pub(crate) fn shape(self) -> &'static SlabShape {
        &SHAPES[self.index()]
    }

    #[inline]
    pub(crate) fn block_bytes(self) -> usize {
        self.shape().block_bytes as usize
    }
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

/// A number of blocks for each class, looked up where a division would have to be made.
#[derive(Debug)]
pub(crate) struct PerClass([u16; CLASS_COUNT]);

impl PerClass {
    /// The sum over all classes.
    pub(crate) const fn sum(&self) -> usize {
        let (mut index, mut sum) = (0, 0);
        while index < CLASS_COUNT {
            sum += self.0[index] as usize;
            index += 1;
        }
        sum
    }

    #[inline]
    pub(crate) fn of(&self, class: SizeClass) -> usize {
        self.0[class.index()] as usize
    }
}

/// The number of classes up to a page, and up to two.
const PAGE_CLASS_COUNT: usize = 56;
const TWO_PAGES_CLASS_COUNT: usize = 60;

const fn class_bytes(index: usize) -> usize {
    if index < 16 {
        return (index + 1) * GRAIN_BYTES;
    }
    if index < PAGE_CLASS_COUNT {
        let step_bytes = GRAIN_BYTES << (index / 8 - 1);
        return step_bytes * 8 + (index % 8 + 1) * step_bytes;
    }
    if index < TWO_PAGES_CLASS_COUNT {
        return PAGE_BYTES + (index - PAGE_CLASS_COUNT + 1) * (PAGE_BYTES / 4);
    }
    (index - TWO_PAGES_CLASS_COUNT + 3) * PAGE_BYTES
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

static SHAPES: [SlabShape; CLASS_COUNT] = {
    let mut shapes = [const { SlabShape::of(GRAIN_BYTES) }; CLASS_COUNT];
    let mut index = 0;
    while index < CLASS_COUNT {
        shapes[index] = SlabShape::of(class_bytes(index));
        index += 1;
    }
    shapes
};

type ClassTable = [u8; SMALL_MAX_BYTES / GRAIN_BYTES + 1];

/// Class by size in grains of eight bytes.
const CLASS_OF_GRAINS: ClassTable = {
    let mut table = [0; SMALL_MAX_BYTES / GRAIN_BYTES + 1];
    let (mut grains, mut class) = (0, 0);
    while grains < table.len() {
        if grains * GRAIN_BYTES > class_bytes(class) {
            class += 1;
        }
        table[grains] = class as u8;
        grains += 1;
    }
    table
};

/// The same by C's rule: every class above 8 bytes is a multiple of 16.
///
/// A table of its own, so that `malloc` has as little to compute as the rest.
const FUNDAMENTAL_CLASS_OF_GRAINS: ClassTable = {
    let mut table = CLASS_OF_GRAINS;
    let mut grains = 3;
    while grains < table.len() {
        table[grains] = CLASS_OF_GRAINS[grains.next_multiple_of(2)];
        grains += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    const TWO_PAGES_BYTES: usize = 2 * PAGE_BYTES;

    #[test]
    fn blocks_of_two_pages_and_more_have_a_slab_each() {
        for class in SizeClass::all().filter(|class| class.block_bytes() >= TWO_PAGES_BYTES) {
            assert_eq!(class.shape().capacity, 1);
            assert_eq!(class.shape().pages().bytes(), class.block_bytes());
        }
    }

    #[test]
    fn classes_rise_to_the_largest_small_size() {
        let sizes: Vec<_> = SizeClass::all().map(SizeClass::block_bytes).collect();
        assert!(sizes.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(sizes[..10], [8, 16, 24, 32, 40, 48, 56, 64, 72, 80]);
        assert_eq!(sizes.last(), Some(&SMALL_MAX_BYTES));
    }

    #[test]
    fn every_small_request_fits_and_wastes_at_most_an_eighth_or_less_than_a_page() {
        for size in 1..=SMALL_MAX_BYTES {
            let block_bytes = SizeClass::of(size, 1).unwrap().block_bytes();
            assert!(block_bytes >= size);
            let waste_bytes = block_bytes - size;
            let bound_bytes = if size <= PAGE_BYTES {
                8.max(block_bytes / 8 + 1)
            } else if size <= TWO_PAGES_BYTES {
                PAGE_BYTES / 4
            } else {
                PAGE_BYTES
            };
            assert!(waste_bytes < bound_bytes, "{size} in {block_bytes}");
        }
        assert_eq!(SizeClass::of(SMALL_MAX_BYTES + 1, 1), None);
    }

    #[test]
    fn blocks_have_the_alignment_asked_for() {
        for align in (0..=12).map(|shift| 1usize << shift) {
            for size in (0..=SMALL_MAX_BYTES).step_by(7).chain([1, SMALL_MAX_BYTES]) {
                let Some(class) = SizeClass::of(size, align) else {
                    assert!(size + align > SMALL_MAX_BYTES, "{size} at {align} is small");
                    continue;
                };
                assert!(class.block_bytes() >= size);
                assert_eq!(class.block_bytes() % align.max(8).min(align), 0, "{size} at {align}");
            }
        }
        assert_eq!(SizeClass::of(64, 2 * PAGE_BYTES), None);
    }

    #[test]
    fn slabs_are_small_and_nearly_full() {
        for class in SizeClass::all() {
            let shape = class.shape();
            let used_bytes = shape.capacity as usize * class.block_bytes();
            let slab_bytes = shape.pages().bytes();
            assert!(used_bytes <= slab_bytes);
            assert!((slab_bytes - used_bytes) * 16 <= slab_bytes);
            assert!(shape.capacity as usize <= SLAB_BLOCKS_MAX);
            assert!(shape.pages().count() <= 16, "{} pages", shape.pages().count());
        }
    }

    #[test]
    fn parts_of_a_slab_are_rounded_down_exactly() {
        for class in SizeClass::all() {
            let capacity = class.shape().capacity as usize;
            for blocks in 0..=capacity {
                assert_eq!(class.shape().parts_filled(blocks, 8), blocks * 8 / capacity);
            }
        }
    }

    #[test]
    fn offsets_divide_exactly() {
        for class in SizeClass::all() {
            let shape = class.shape();
            for offset in 0..shape.pages().bytes() {
                assert_eq!(shape.block_containing(offset), offset / class.block_bytes());
                let starts = offset % class.block_bytes() == 0
                    && offset / class.block_bytes() < shape.capacity as usize;
                assert_eq!(shape.block_at(offset).is_some(), starts);
            }
        }
    }

    #[test]
    fn by_cs_rule_a_block_has_the_alignment_of_any_type_of_its_size() {
        for size in 0..=SMALL_MAX_BYTES {
            let bytes = SizeClass::of_fundamental(size).map(SizeClass::block_bytes);
            let align = if size <= 8 { 8 } else { 16 };
            assert_eq!(bytes, SizeClass::of(size, align).map(SizeClass::block_bytes), "{size}");
        }
        assert_eq!(SizeClass::of_fundamental(SMALL_MAX_BYTES + 1), None);
        assert_eq!(SizeClass::of_fundamental(usize::MAX), None);
    }
}
