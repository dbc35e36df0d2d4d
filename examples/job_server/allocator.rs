//! The global allocator of the example: glibc's malloc or capmalloc, as the environment says.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ffi::CStr;
use std::sync::atomic::{AtomicU8, Ordering};

use capmalloc::CapMalloc;

/// Holds `capmalloc` in a process that shall use capmalloc; without it the process uses glibc.
pub(crate) const ALLOCATOR_VARIABLE: &str = match ALLOCATOR_VARIABLE_C.to_str() {
    Ok(name) => name,
    Err(_) => panic!("the name is not UTF-8"),
};

/// The value of [`ALLOCATOR_VARIABLE`] that picks capmalloc.
pub(crate) const CAPMALLOC: &str = "capmalloc";

/// The same name for `getenv`, which wants it terminated by a zero byte.
const ALLOCATOR_VARIABLE_C: &CStr = c"JOB_SERVER_ALLOCATOR";

const UNDECIDED: u8 = 0;
const GLIBC: u8 = 1;
const CAPPED: u8 = 2;

/// Passes each call to one of two allocators, always the same one within a process.
pub(crate) struct EnvironmentChoice {
    capmalloc: CapMalloc,
    choice: AtomicU8,
}

impl EnvironmentChoice {
    pub(crate) const fn new() -> Self {
        Self { capmalloc: CapMalloc::new(), choice: AtomicU8::new(UNDECIDED) }
    }

    /// Says whether this process uses capmalloc.
    #[inline]
    fn uses_capmalloc(&self) -> bool {
        // The choice is a pure function of an environment that never changes, so threads that race
        // to make it store the same value, and no other memory depends on it: relaxed is enough.
        match self.choice.load(Ordering::Relaxed) {
            UNDECIDED => self.decide(),
            choice => choice == CAPPED,
        }
    }

    /// Reads the choice without allocating, since it is made within the first allocation.
    #[cold]
    fn decide(&self) -> bool {
        // SAFETY: The name is a zero-terminated literal, and `getenv` neither allocates nor needs
        // set-up by Rust's runtime. Nothing in this program ever changes the environment of its own
        // process, so the string that it returns stays valid and unchanged while we compare it.
        let value = unsafe { libc::getenv(ALLOCATOR_VARIABLE_C.as_ptr()) };
        let capped = !value.is_null() && {
            // SAFETY: `getenv` returned a pointer that is not null, hence to a zero-terminated
            // string which, as said above, nothing changes or frees.
            let value = unsafe { CStr::from_ptr(value) };
            value.to_bytes() == CAPMALLOC.as_bytes()
        };
        let choice = if capped { CAPPED } else { GLIBC };
        self.choice.store(choice, Ordering::Relaxed);
        capped
    }

    /// Asks the allocator in use to give its free memory back to the kernel.
    pub(crate) fn trim(&self) {
        if self.uses_capmalloc() {
            let _trimmed = capmalloc::trim();
        } else {
            trim_glibc();
        }
    }
}

#[cfg(target_env = "gnu")]
fn trim_glibc() {
    // SAFETY: `malloc_trim` takes glibc's own locks, touches only memory that is free, and may be
    // called at any time from any thread.
    unsafe { libc::malloc_trim(0) };
}

/// Other C libraries have no such call, and the supervisor refuses to compare there.
#[cfg(not(target_env = "gnu"))]
fn trim_glibc() {}

// SAFETY: Each method passes its arguments on unchanged to `CapMalloc` or `System`, both of which
// keep the contract of `GlobalAlloc`. The choice never changes once it is made, and the first call
// makes it, so a block always returns to the allocator which handed it out.
unsafe impl GlobalAlloc for EnvironmentChoice {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if self.uses_capmalloc() {
            // SAFETY: The caller's promises for `layout` are the ones this call needs.
            unsafe { self.capmalloc.alloc(layout) }
        } else {
            // SAFETY: As above.
            unsafe { System.alloc(layout) }
        }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if self.uses_capmalloc() {
            // SAFETY: `block` came from the same allocator, by the reason at the head of this
            // `impl`, and the caller promises that `layout` is the one it was allocated with.
            unsafe { self.capmalloc.dealloc(block, layout) }
        } else {
            // SAFETY: As above.
            unsafe { System.dealloc(block, layout) }
        }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if self.uses_capmalloc() {
            // SAFETY: The caller's promises for `layout` are the ones this call needs.
            unsafe { self.capmalloc.alloc_zeroed(layout) }
        } else {
            // SAFETY: As above.
            unsafe { System.alloc_zeroed(layout) }
        }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_bytes: usize) -> *mut u8 {
        if self.uses_capmalloc() {
            // SAFETY: `block` came from the same allocator, and the caller's promises for `layout`
            // and `new_bytes` are the ones this call needs.
            unsafe { self.capmalloc.realloc(block, layout, new_bytes) }
        } else {
            // SAFETY: As above.
            unsafe { System.realloc(block, layout, new_bytes) }
        }
    }
}
