//! A clock for ages: cheap to read, and good to a few milliseconds.

use super::errno::ErrnoKept;

/// Milliseconds since some moment of the past, never falling.
pub(crate) fn coarse_milliseconds() -> u64 {
    let _errno = ErrnoKept::new();
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the place is valid for the write; the clock exists on every supported kernel, and
    // where it should not, time stands still and nothing ages.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &mut now) };
    now.tv_sec as u64 * 1000 + now.tv_nsec as u64 / 1_000_000
}
