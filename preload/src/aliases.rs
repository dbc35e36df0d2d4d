//! The names that glibc's own functions have besides, which some programs call.

use core::ffi::{c_int, c_void};

use crate::{alignment, allocation};

/// [`allocation::malloc`] by another name.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn __libc_malloc(size: usize) -> *mut c_void {
    allocation::malloc(size)
}

/// [`allocation::calloc`] by another name.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn __libc_calloc(count: usize, size: usize) -> *mut c_void {
    allocation::calloc(count, size)
}

/// [`allocation::realloc`] by another name.
///
/// # Safety
///
/// As there.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn __libc_realloc(pointer: *mut c_void, size: usize) -> *mut c_void {
    // SAFETY: the caller's promise.
    unsafe { allocation::realloc(pointer, size) }
}

/// [`allocation::reallocarray`] by another name.
///
/// # Safety
///
/// As there.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn __libc_reallocarray(
    pointer: *mut c_void,
    count: usize,
    size: usize,
) -> *mut c_void {
    // SAFETY: the caller's promise.
    unsafe { allocation::reallocarray(pointer, count, size) }
}

/// [`allocation::free`] by another name.
///
/// # Safety
///
/// As there.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn __libc_free(pointer: *mut c_void) {
    // SAFETY: the caller's promise.
    unsafe { allocation::free(pointer) };
}

/// [`allocation::free`] by another name.
///
/// # Safety
///
/// As there.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn __libc_cfree(pointer: *mut c_void) {
    // SAFETY: the caller's promise.
    unsafe { allocation::free(pointer) };
}

/// [`alignment::memalign`] by another name.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn __libc_memalign(align: usize, size: usize) -> *mut c_void {
    alignment::memalign(align, size)
}

/// [`alignment::posix_memalign`] by another name.
///
/// # Safety
///
/// As there.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn __posix_memalign(
    place: *mut *mut c_void,
    align: usize,
    size: usize,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { alignment::posix_memalign(place, align, size) }
}

/// [`alignment::valloc`] by another name.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn __libc_valloc(size: usize) -> *mut c_void {
    alignment::valloc(size)
}

/// [`alignment::pvalloc`] by another name.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn __libc_pvalloc(size: usize) -> *mut c_void {
    alignment::pvalloc(size)
}
