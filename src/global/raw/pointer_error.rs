//! What a pointer from outside turned out to be.

use core::fmt;
use core::ptr::NonNull;

use crate::os::message;
use crate::slab::Misuse;

/// What is wrong with a pointer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum PointerError {
    /// It is in no memory of this heap.
    NotOurs,
    /// It is in memory of this heap, where no allocation starts.
    NoBlock,
    /// It leads to a block that is free.
    Free,
}

impl PointerError {
    pub(super) fn of(misuse: Misuse) -> PointerError {
        match misuse {
            Misuse::NotOurs => PointerError::NotOurs,
            Misuse::FreeAlready => PointerError::Free,
            Misuse::NotASlab | Misuse::OtherSize(_) | Misuse::Interior => PointerError::NoBlock,
        }
    }
}

impl fmt::Display for PointerError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            PointerError::NotOurs => "it is not in any memory of this heap",
            PointerError::NoBlock => "no allocation starts there",
            PointerError::Free => "it is free already",
        })
    }
}

impl core::error::Error for PointerError {}

/// Ends the program over a pointer that `function` was given, with one line on standard error.
///
/// Writes without allocating.
#[cold]
#[inline(never)]
pub fn abort_over(function: &str, block: NonNull<u8>, error: PointerError) -> ! {
    message::abort_with(format_args!("{function} of {block:p}: {error}"))
}
