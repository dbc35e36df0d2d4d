//! Where there are no restartable sequences: nothing is ever shown, so nothing is ever there.

use super::Shown;

pub(crate) fn announce() -> bool {
    false
}

pub(crate) fn is_available() -> bool {
    false
}

pub(crate) fn fence() -> bool {
    false
}

pub(crate) fn processor() -> Option<usize> {
    None
}

/// # Safety
///
/// None is needed.
pub(super) unsafe fn pop(_: &Shown, _: usize, _: &mut [*mut u8]) -> usize {
    0
}

/// # Safety
///
/// None is needed.
pub(super) unsafe fn push(_: &Shown, _: usize, _: &[*mut u8]) -> usize {
    0
}
