//! Blocks with an alignment of the caller's choice.

use core::ffi::{c_int, c_void};
use core::ptr::{NonNull, null_mut};

use capmalloc::raw;

use crate::errno::{self, no_memory, or_no_memory};

/// The least alignment of a block above eight bytes.
const FUNDAMENTAL_ALIGN: usize = 16;

/// Allocates at a multiple of `align`, rounded up to a power of two as glibc does.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn memalign(align: usize, size: usize) -> *mut c_void {
    match align.checked_next_power_of_two() {
        Some(align) => or_no_memory(alloc(align, size)),
        None => invalid(),
    }
}

/// Allocates at a multiple of `align`; `EINVAL` where that is not a power of two.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn aligned_alloc(align: usize, size: usize) -> *mut c_void {
    if align.is_power_of_two() { or_no_memory(alloc(align, size)) } else { invalid() }
}

/// Allocates at a multiple of `align`, answering an error's number and leaving `errno` alone.
///
/// # Safety
///
/// `place` may be written to.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn posix_memalign(
    place: *mut *mut c_void,
    align: usize,
    size: usize,
) -> c_int {
    if !align.is_power_of_two() || !align.is_multiple_of(size_of::<*mut c_void>()) {
        return libc::EINVAL;
    }
    let Some(block) = alloc(align, size) else { return libc::ENOMEM };
    // SAFETY: the caller's promise.
    unsafe { place.write(block.as_ptr().cast()) };
    0
}

/// Allocates at a multiple of the kernel's page.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn valloc(size: usize) -> *mut c_void {
    or_no_memory(alloc(page_bytes(), size))
}

/// The same, of whole pages.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn pvalloc(size: usize) -> *mut c_void {
    match size.max(1).checked_next_multiple_of(page_bytes()) {
        Some(bytes) => or_no_memory(alloc(page_bytes(), bytes)),
        None => no_memory(),
    }
}

/// Gives a block back whose alignment and size the caller knows; C23's.
///
/// # Safety
///
/// `pointer` is null, or came from `aligned_alloc` with both and is given up.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn free_aligned_sized(
    pointer: *mut c_void,
    align: usize,
    size: usize,
) {
    if let Some(block) = NonNull::new(pointer.cast()) {
        // SAFETY: the caller's promise; `alloc` asked for no less than this alignment.
        unsafe { raw::free_aligned_sized(block, align.max(FUNDAMENTAL_ALIGN), size) };
    }
}

/// Any block may be resized by `realloc`, which keeps no more than the alignment of C's types: so
/// none has less.
fn alloc(align: usize, size: usize) -> Option<NonNull<u8>> {
    raw::alloc_aligned(size, align.max(FUNDAMENTAL_ALIGN))
}

fn page_bytes() -> usize {
    // SAFETY: asks for a number.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(bytes).unwrap_or(capmalloc::PAGE_BYTES)
}

#[cold]
fn invalid() -> *mut c_void {
    errno::set(libc::EINVAL);
    null_mut()
}
