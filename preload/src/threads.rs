//! Threads, told of from their beginning.
//!
//! A thread's cache goes back when the destructors of its keys run, which is noticed only by who
//! asked before the last of them: see `capmalloc::raw::threads_are_told`. So every thread asks at
//! its very beginning, before any code of the program. The new thread runs a piece of assembly that
//! calls [`begin`] and jumps to the program's own function: nothing of it is left on the stack,
//! where the unwinding of a cancelled thread, or a debugger, would meet it.

/// Whether threads are told of on this architecture.
pub(crate) const ARE_TOLD: bool = cfg!(any(target_arch = "x86_64", target_arch = "aarch64"));

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod told {
    use core::arch::naked_asm;
    use core::ffi::{c_int, c_void};
    use core::mem::transmute;
    use core::ptr::NonNull;

    use capmalloc::raw;

    use crate::next::Next;

    /// A thread's function; what it answers is passed on in whatever register it is.
    type Function = unsafe extern "C" fn(*mut c_void) -> *mut c_void;

    type CreatePthread = unsafe extern "C" fn(
        *mut libc::pthread_t,
        *const libc::pthread_attr_t,
        Function,
        *mut c_void,
    ) -> c_int;

    type CreateThrd = unsafe extern "C" fn(*mut libc::pthread_t, Function, *mut c_void) -> c_int;

    /// From `threads.h`.
    const THRD_ERROR: c_int = 2;
    const THRD_NOMEM: c_int = 3;

    /// What a new thread is to run; in two registers where it is returned.
    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Task {
        function: Function,
        argument: *mut c_void,
    }

    static NEXT_PTHREAD: Next = Next::new(c"pthread_create");
    static NEXT_THRD: Next = Next::new(c"thrd_create");

    /// Makes a thread as the C library does, and has it told of.
    ///
    /// # Safety
    ///
    /// As the C library's.
    #[unsafe(no_mangle)]
    pub(super) unsafe extern "C" fn pthread_create(
        thread: *mut libc::pthread_t,
        attributes: *const libc::pthread_attr_t,
        function: Function,
        argument: *mut c_void,
    ) -> c_int {
        let Some(next) = NEXT_PTHREAD.address() else { return libc::EAGAIN };
        // SAFETY: the symbol is the function of this name, which has this type.
        let next = unsafe { transmute::<*mut c_void, CreatePthread>(next.as_ptr()) };
        raw::watch_forks();
        let Some(task) = keep(function, argument) else { return libc::EAGAIN };
        // SAFETY: the caller's promise; `enter` runs the task, which is then its own.
        let error = unsafe { next(thread, attributes, enter, task.as_ptr().cast()) };
        if error != 0 {
            // SAFETY: no thread was made, so the task is still ours.
            unsafe { raw::free(task.cast()) };
        }
        error
    }

    /// Makes a thread as the C library does, and has it told of.
    ///
    /// # Safety
    ///
    /// As the C library's.
    #[unsafe(no_mangle)]
    pub(super) unsafe extern "C" fn thrd_create(
        thread: *mut libc::pthread_t,
        function: Function,
        argument: *mut c_void,
    ) -> c_int {
        let Some(next) = NEXT_THRD.address() else { return THRD_ERROR };
        // SAFETY: the symbol is the function of this name. Its threads' functions return an `int`,
        // which `enter` hands on unseen.
        let next = unsafe { transmute::<*mut c_void, CreateThrd>(next.as_ptr()) };
        raw::watch_forks();
        let Some(task) = keep(function, argument) else { return THRD_NOMEM };
        // SAFETY: the caller's promise; `enter` runs the task, which is then its own.
        let error = unsafe { next(thread, enter, task.as_ptr().cast()) };
        if error != 0 {
            // SAFETY: no thread was made, so the task is still ours.
            unsafe { raw::free(task.cast()) };
        }
        error
    }

    fn keep(function: Function, argument: *mut c_void) -> Option<NonNull<Task>> {
        let task = raw::alloc(size_of::<Task>())?.cast::<Task>();
        // SAFETY: a block of that size, aligned for any such type.
        unsafe { task.write(Task { function, argument }) };
        Some(task)
    }

    /// The new thread's first call.
    ///
    /// # Safety
    ///
    /// `task` is one of [`keep`], for this thread alone.
    unsafe extern "C" fn begin(task: *mut Task) -> Task {
        raw::thread_begins();
        // SAFETY: the caller's promise.
        unsafe {
            let kept = task.read();
            raw::free(NonNull::new_unchecked(task.cast()));
            kept
        }
    }

    /// Calls [`begin`] and becomes the thread's own function.
    ///
    /// # Safety
    ///
    /// As [`begin`].
    #[cfg(target_arch = "x86_64")]
    #[unsafe(naked)]
    unsafe extern "C" fn enter(task: *mut c_void) -> *mut c_void {
        naked_asm!(
            "sub rsp, 8",
            "call {begin}",
            "add rsp, 8",
            "mov rdi, rdx",
            "jmp rax",
            begin = sym begin,
        )
    }

    /// Calls [`begin`] and becomes the thread's own function.
    ///
    /// # Safety
    ///
    /// As [`begin`].
    #[cfg(target_arch = "aarch64")]
    #[unsafe(naked)]
    unsafe extern "C" fn enter(task: *mut c_void) -> *mut c_void {
        naked_asm!(
            "stp x29, x30, [sp, #-16]!",
            "bl {begin}",
            "ldp x29, x30, [sp], #16",
            "mov x16, x0",
            "mov x0, x1",
            "br x16",
            begin = sym begin,
        )
    }
}
