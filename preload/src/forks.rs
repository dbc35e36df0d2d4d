//! Handlers for fork, of which ours are the first.
//!
//! The C library calls those that prepare a fork in the opposite order: so others' may still allocate
//! before ours hold the heap. Most small programs have neither handlers nor threads, and spare the C
//! library's pages for them: the heap's are registered when either begins.

use core::ffi::{c_int, c_void};
use core::mem::transmute;

use capmalloc::raw;

use crate::next::Next;

type Handler = Option<unsafe extern "C" fn()>;

type Register = unsafe extern "C" fn(Handler, Handler, Handler, *mut c_void) -> c_int;

static NEXT: Next = Next::new(c"__register_atfork");

unsafe extern "C" {
    /// What tells this library from others, by its address.
    static __dso_handle: c_void;
}

/// What `pthread_atfork` of every library calls; registers ours before the first of others.
///
/// # Safety
///
/// As the C library's.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn __register_atfork(
    prepare: Handler,
    parent: Handler,
    child: Handler,
    library: *mut c_void,
) -> c_int {
    let is_ours = core::ptr::eq(library, &raw const __dso_handle);
    if !is_ours {
        raw::watch_forks();
    }
    let Some(next) = NEXT.address() else { return libc::ENOMEM };
    // SAFETY: the symbol is the function of this name, which has this type.
    let next = unsafe { transmute::<*mut c_void, Register>(next.as_ptr()) };
    // SAFETY: the caller's promise.
    unsafe { next(prepare, parent, child, library) }
}
