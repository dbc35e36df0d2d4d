//! The calling thread's `errno`.

use core::ffi::{c_int, c_void};
use core::ptr::{NonNull, null_mut};

pub(crate) fn set(error: c_int) {
    // SAFETY: the location is the calling thread's own, valid while the thread lives.
    unsafe { *libc::__errno_location() = error };
}

/// What C has for a block, or for none: then `errno` says that there is no memory.
#[inline(always)]
pub(crate) fn or_no_memory(block: Option<NonNull<u8>>) -> *mut c_void {
    match block {
        Some(block) => block.as_ptr().cast(),
        None => no_memory(),
    }
}

#[cold]
#[inline(never)]
pub(crate) fn no_memory() -> *mut c_void {
    set(libc::ENOMEM);
    null_mut()
}

pub(crate) fn is_interruption() -> bool {
    // SAFETY: as in `set`.
    unsafe { *libc::__errno_location() == libc::EINTR }
}
