//! Units of memory, as types, so that pages and bytes never meet as bare integers.

use core::ops::{Add, AddAssign, Div, Sub, SubAssign};

/// Bytes in one page, the unit in which the page heap counts.
///
/// This is capmalloc's own unit; where the kernel's pages are larger, only whole kernel pages are
/// given back.
pub const PAGE_BYTES: usize = 4096;

/// A number of pages of [`PAGE_BYTES`] bytes each.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) struct Pages(u32);

impl Pages {
    pub(crate) const ZERO: Pages = Pages(0);
    /// More than there are.
    pub(crate) const ALL: Pages = Pages(u32::MAX);

    pub(crate) const fn new(count: u32) -> Self {
        Pages(count)
    }

    /// The fewest pages that hold `bytes`; only for sizes already known to fit a segment.
    pub(crate) const fn containing(bytes: usize) -> Self {
        let count = bytes.div_ceil(PAGE_BYTES);
        debug_assert!(count <= u32::MAX as usize);
        Pages(count as u32)
    }

    /// This many pages less than these, or none.
    pub(crate) const fn saturating_sub(self, other: Pages) -> Self {
        Pages(self.0.saturating_sub(other.0))
    }

    /// Rounded up to a multiple of so many pages; as they are where that is more than there can be.
    pub(crate) const fn round_up_to(self, unit: usize) -> Self {
        match self.0.checked_next_multiple_of(unit as u32) {
            Some(count) => Pages(count),
            None => self,
        }
    }

    pub(crate) const fn count(self) -> usize {
        self.0 as usize
    }

    pub(crate) const fn bytes(self) -> usize {
        self.0 as usize * PAGE_BYTES
    }
}

impl Add for Pages {
    type Output = Pages;
    fn add(self, other: Pages) -> Pages {
        Pages(self.0 + other.0)
    }
}

impl Sub for Pages {
    type Output = Pages;
    fn sub(self, other: Pages) -> Pages {
        debug_assert!(self.0 >= other.0);
        Pages(self.0.wrapping_sub(other.0))
    }
}

impl Div<u32> for Pages {
    type Output = Pages;
    fn div(self, parts: u32) -> Pages {
        Pages(self.0 / parts)
    }
}

impl AddAssign for Pages {
    fn add_assign(&mut self, other: Pages) {
        *self = *self + other;
    }
}

impl SubAssign for Pages {
    fn sub_assign(&mut self, other: Pages) {
        *self = *self - other;
    }
}

/// Rounds `bytes` up to a multiple of `unit`, a power of two; `None` on overflow.
pub(crate) const fn round_up(bytes: usize, unit: usize) -> Option<usize> {
    debug_assert!(unit.is_power_of_two());
    match bytes.checked_add(unit - 1) {
        Some(sum) => Some(sum & !(unit - 1)),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_round_up_and_convert_back() {
        assert_eq!(Pages::containing(0), Pages::ZERO);
        assert_eq!(Pages::containing(1), Pages::new(1));
        assert_eq!(Pages::containing(PAGE_BYTES), Pages::new(1));
        assert_eq!(Pages::containing(PAGE_BYTES + 1), Pages::new(2));
        assert_eq!(Pages::new(3).bytes(), 12288);
    }

    #[test]
    fn pages_round_up_to_units() {
        assert_eq!(Pages::new(5).round_up_to(4), Pages::new(8));
        assert_eq!(Pages::ZERO.round_up_to(4), Pages::ZERO);
        assert_eq!(Pages::ALL.round_up_to(16), Pages::ALL);
    }

    #[test]
    fn round_up_reports_overflow() {
        assert_eq!(round_up(1, 16), Some(16));
        assert_eq!(round_up(32, 16), Some(32));
        assert_eq!(round_up(usize::MAX, 16), None);
    }
}
