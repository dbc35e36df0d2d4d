//! Threads: where one runs, and the one of our own.

use core::ffi::{CStr, c_void};

use super::errno::ErrnoKept;

/// The processor that the calling thread runs on, at this moment; 0 where the kernel won't say.
pub(crate) fn current_cpu() -> usize {
    let _errno = ErrnoKept::new();
    // SAFETY: the call takes no arguments and writes nothing but errno.
    usize::try_from(unsafe { libc::sched_getcpu() }).unwrap_or(0)
}

/// Whether the calling thread is the one that the process began with.
pub(crate) fn is_first_thread() -> bool {
    number(libc::SYS_gettid) == process_number()
}

/// The number of the process; that of a forked child is another.
pub(crate) fn process_number() -> u32 {
    number(libc::SYS_getpid)
}

/// What the kernel answers to a call without arguments that cannot fail.
///
/// By the one function that starting calls anyway: each other one is on pages of the C library of
/// its own, which a small program would hold for this alone.
fn number(call: libc::c_long) -> u32 {
    // SAFETY: the calls named here take and write nothing. Numbers of tasks fit.
    unsafe { libc::syscall(call) as u32 }
}

/// Bytes of stack of a thread of our own, which calls no code but ours and the program's hooks.
const STACK_BYTES: usize = 256 * 1024;

/// Makes a detached thread that no signal is delivered to; `false` where that is refused.
pub(crate) fn spawn(name: &CStr, entry: extern "C" fn(*mut c_void) -> *mut c_void) -> bool {
    let _errno = ErrnoKept::new();
    // SAFETY: attributes and masks are plain structures that their initialisers fill before they
    // are read; the entry has the signature asked for, and its argument is not used.
    unsafe {
        let mut attributes: libc::pthread_attr_t = core::mem::zeroed();
        if libc::pthread_attr_init(&mut attributes) != 0 {
            return false;
        }
        libc::pthread_attr_setstacksize(&mut attributes, STACK_BYTES);
        libc::pthread_attr_setdetachstate(&mut attributes, libc::PTHREAD_CREATE_DETACHED);
        let (mut all, mut before) = (core::mem::zeroed(), core::mem::zeroed());
        libc::sigfillset(&mut all);
        // The new thread inherits the mask: a program's handlers run on threads of its own.
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
        let mut thread: libc::pthread_t = core::mem::zeroed();
        let argument = core::ptr::null_mut();
        let is_made = libc::pthread_create(&mut thread, &attributes, entry, argument) == 0;
        libc::pthread_sigmask(libc::SIG_SETMASK, &before, core::ptr::null_mut());
        libc::pthread_attr_destroy(&mut attributes);
        if is_made {
            libc::pthread_setname_np(thread, name.as_ptr());
        }
        is_made
    }
}

/// Lets other threads go first.
pub(crate) fn lower_priority() {
    const NICENESS: libc::c_int = 10;
    // SAFETY: on Linux a process of number zero is the calling thread; nothing is written.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICENESS) };
}

/// Sleeps for a time, or less where a signal comes.
pub(crate) fn sleep_milliseconds(milliseconds: u64) {
    let time = libc::timespec {
        tv_sec: (milliseconds / 1000).min(i32::MAX as u64) as libc::time_t,
        tv_nsec: (milliseconds % 1000 * 1_000_000) as libc::c_long,
    };
    // SAFETY: the time is read, and no place for what is left of it is given.
    unsafe { libc::nanosleep(&time, core::ptr::null_mut()) };
}
