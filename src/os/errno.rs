//! Keeps the caller's `errno` as it was: an allocation that succeeds must not change it.

/// Saves `errno` when made and restores it when dropped.
#[derive(Debug)]
pub(crate) struct ErrnoKept(libc::c_int);

impl ErrnoKept {
    pub(crate) fn new() -> Self {
        // SAFETY: the location is the calling thread's own errno, valid while the thread lives.
        ErrnoKept(unsafe { *libc::__errno_location() })
    }
}

impl Drop for ErrnoKept {
    fn drop(&mut self) {
        // SAFETY: as in `new`; guards are not sent between threads because they live on the stack
        // of one call.
        unsafe { *libc::__errno_location() = self.0 };
    }
}
