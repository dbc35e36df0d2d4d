//! No panic leaves the allocator: its callers are compiled in the belief that nothing unwinds.

use crate::os::message;

/// Runs a program's own code, and ends the process with `message` where it panics.
pub(crate) fn or_abort<T>(message: &'static str, run: impl FnOnce() -> T) -> T {
    let unwinding = AbortOnUnwind(message);
    let answer = run();
    core::mem::forget(unwinding);
    answer
}

/// Ends the process when dropped, which only a panic comes to do.
struct AbortOnUnwind(&'static str);

impl Drop for AbortOnUnwind {
    fn drop(&mut self) {
        message::abort_with(format_args!("{}", self.0));
    }
}
