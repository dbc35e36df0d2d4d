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

mod shape;

use crate::units::PAGE_BYTES;

pub(crate) use shape::SlabShape;

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
        &shape::SHAPES[self.index()]
    }

    #[inline]
    pub(crate) fn block_bytes(self) -> usize {
        self.shape().block_bytes as usize
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
mod tests;
