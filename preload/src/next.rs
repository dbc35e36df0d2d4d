//! The definitions that this library's own stand before.

use core::ffi::{CStr, c_void};
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::AtomicPtr;
use core::sync::atomic::Ordering::Relaxed;

/// The next definition of a symbol after ours, looked up once.
pub(crate) struct Next {
    name: &'static CStr,
    address: AtomicPtr<c_void>,
}

impl Next {
    pub(crate) const fn new(name: &'static CStr) -> Next {
        Next { name, address: AtomicPtr::new(null_mut()) }
    }

    pub(crate) fn address(&self) -> Option<NonNull<c_void>> {
        // Relaxed: the address of code that was there before this library.
        let mut address = self.address.load(Relaxed);
        if address.is_null() {
            // SAFETY: the name is terminated.
            address = unsafe { libc::dlsym(libc::RTLD_NEXT, self.name.as_ptr()) };
            self.address.store(address, Relaxed);
        }
        NonNull::new(address)
    }
}
