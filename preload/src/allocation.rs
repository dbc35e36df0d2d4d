//! `malloc`, `free` and those between.

use core::ffi::c_void;
use core::ptr::{NonNull, null_mut};

use capmalloc::raw;

use crate::errno::{no_memory, or_no_memory};

/// Allocates; of size zero there is a block too. Null with `ENOMEM` where memory is refused.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn malloc(size: usize) -> *mut c_void {
    match raw::alloc_cached(size) {
        Some(block) => block.as_ptr().cast(),
        None => malloc_slow(size),
    }
}

/// Never unwinds, as no function of C's does, and takes what `malloc` takes: so `malloc` ends in a
/// jump to it, and keeps nothing on the stack.
#[cold]
#[inline(never)]
extern "C" fn malloc_slow(size: usize) -> *mut c_void {
    or_no_memory(raw::alloc(size))
}

/// Allocates an array that reads as zero; `ENOMEM` also where its size overflows.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn calloc(count: usize, size: usize) -> *mut c_void {
    match count.checked_mul(size) {
        Some(bytes) => or_no_memory(raw::alloc_zeroed(bytes)),
        None => no_memory(),
    }
}

/// Resizes a block; null allocates, and size zero frees and gives null, as glibc's does.
///
/// # Safety
///
/// `pointer` is null or came from here and is given up, unless the answer is null for a size above
/// zero.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn realloc(pointer: *mut c_void, size: usize) -> *mut c_void {
    let Some(block) = NonNull::new(pointer.cast()) else { return malloc(size) };
    if size == 0 {
        // SAFETY: the caller's promise.
        unsafe { raw::free(block) };
        return null_mut();
    }
    // SAFETY: the caller's promise.
    or_no_memory(unsafe { raw::realloc(block, size) })
}

/// Resizes an array; `ENOMEM` also where its size overflows.
///
/// # Safety
///
/// As [`realloc`].
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn reallocarray(
    pointer: *mut c_void,
    count: usize,
    size: usize,
) -> *mut c_void {
    match count.checked_mul(size) {
        // SAFETY: the caller's promise.
        Some(bytes) => unsafe { realloc(pointer, bytes) },
        None => no_memory(),
    }
}

/// Gives a block back; null is nothing. `errno` stays as it was.
///
/// # Safety
///
/// `pointer` is null, or came from here and is given up.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn free(pointer: *mut c_void) {
    if let Some(block) = NonNull::new(pointer.cast()) {
        // SAFETY: the caller's promise; a block that the cache did not take is still the caller's.
        unsafe {
            if !raw::free_cached(block) {
                free_slow(block);
            }
        }
    }
}

/// As `malloc_slow`.
///
/// # Safety
///
/// As [`free`].
#[cold]
#[inline(never)]
unsafe extern "C" fn free_slow(block: NonNull<u8>) {
    // SAFETY: the caller's promise.
    unsafe { raw::free(block) };
}

/// An old name of [`free`].
///
/// # Safety
///
/// As [`free`].
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn cfree(pointer: *mut c_void) {
    // SAFETY: the caller's promise.
    unsafe { free(pointer) };
}

/// Gives a block back whose size the caller knows; C23's.
///
/// # Safety
///
/// As [`free`]; and `pointer` came from `malloc`, `calloc` or `realloc` with this size.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn free_sized(pointer: *mut c_void, size: usize) {
    if let Some(block) = NonNull::new(pointer.cast()) {
        // SAFETY: the caller's promise.
        unsafe { raw::free_sized(block, size) };
    }
}
