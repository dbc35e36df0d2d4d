//! What is asked about the calling thread.

use super::errno::ErrnoKept;

/// The processor that the calling thread runs on, at this moment; 0 where the kernel won't say.
pub(crate) fn current_cpu() -> usize {
    let _errno = ErrnoKept::new();
    // SAFETY: the call takes no arguments and writes nothing but errno.
    usize::try_from(unsafe { libc::sched_getcpu() }).unwrap_or(0)
}
