//! Sleeping on a word of memory, by `futex(2)`: no allocation, no state outside the word.

use core::sync::atomic::AtomicU32;

use super::errno::ErrnoKept;

/// Sleeps while `word` holds `expected`; may also return without cause.
pub(crate) fn wait(word: &AtomicU32, expected: u32) {
    let _errno = ErrnoKept::new();
    // SAFETY: the word outlives the call, and a null timeout means to wait for a wake.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG,
            expected,
            core::ptr::null::<libc::timespec>(),
        );
    }
}

/// Wakes all threads that sleep on `word`.
pub(crate) fn wake_all(word: &AtomicU32) {
    wake(word, libc::c_int::MAX);
}

/// Wakes one thread that sleeps on `word`.
pub(crate) fn wake_one(word: &AtomicU32) {
    wake(word, 1);
}

fn wake(word: &AtomicU32, count: libc::c_int) {
    let _errno = ErrnoKept::new();
    // SAFETY: the kernel uses the address only to find sleepers.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG,
            count,
        );
    }
}
