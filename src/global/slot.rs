//! Where each thread's slot lies: thread-local storage, constant and without a destructor, so that
//! reaching it neither allocates nor registers anything.
//!
//! In a program that is one load relative to the thread pointer by itself. A shared library's
//! thread-locals are reached by a call of `__tls_get_addr`, unless they are of the initial-exec
//! model, which stable Rust has no word for: with the feature `initial-exec` the slot is defined and
//! reached in assembly.

use crate::thread_cache::ThreadSlot;

/// Stands for the calling thread's slot as a `LocalKey` would.
pub(super) static SLOT: Slot = Slot;

#[derive(Debug)]
pub(super) struct Slot;

impl Slot {
    /// Inlined with what it runs: the library's own `with` becomes a function of its own for a longer
    /// body, which asks another where the slot lies.
    #[inline(always)]
    pub(super) fn with<T>(&self, run: impl FnOnce(&ThreadSlot) -> T) -> T {
        // SAFETY: the slot is constant at first and has no destructor, so it is valid for as long as
        // the thread lives, and is shared as its fields, all atomics, allow. The reference does not
        // leave this call by its type, so it is not taken to another thread.
        run(unsafe { &*place::slot() })
    }
}

#[cfg(not(all(
    feature = "initial-exec",
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64"),
    target_pointer_width = "64",
    not(any(loom, miri)),
)))]
mod place {
    use crate::thread_cache::ThreadSlot;

    std::thread_local! {
        static LOCAL: ThreadSlot = const { ThreadSlot::new() };
    }

    #[inline(always)]
    pub(super) fn slot() -> *const ThreadSlot {
        LOCAL.with(core::ptr::from_ref)
    }
}

#[cfg(all(
    feature = "initial-exec",
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64"),
    target_pointer_width = "64",
    not(any(loom, miri)),
))]
mod place {
    use core::arch::{asm, global_asm};

    use crate::thread_cache::{EMPTY, ThreadSlot, ThreadState};

    // A slot as `ThreadSlot::new` makes it: zeros, but for the cache that the fast path uses.
    const _: () = assert!(size_of::<ThreadSlot>() == 24 && align_of::<ThreadSlot>() == 8);
    const _: () = assert!(ThreadSlot::CACHE_OFFSET_BYTES == 8 && ThreadState::Fresh as u8 == 0);

    global_asm!(
        ".pushsection .tdata.capmalloc_thread_slot,\"awT\",%progbits",
        ".p2align 3",
        ".globl capmalloc_thread_slot",
        ".hidden capmalloc_thread_slot",
        ".type capmalloc_thread_slot, %object",
        ".size capmalloc_thread_slot, 24",
        "capmalloc_thread_slot:",
        ".quad 0",
        ".quad {empty}",
        ".quad 0",
        ".popsection",
        empty = sym EMPTY,
    );

    /// The thread pointer, and the slot's distance from it, which the loader wrote down.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(super) fn slot() -> *const ThreadSlot {
        let slot: *const ThreadSlot;
        // SAFETY: reads the thread pointer, which does not change while a thread lives, and a word
        // of the table of offsets, which does not change after loading; it writes the one register
        // and the flags.
        unsafe {
            asm!(
                "mov {slot}, qword ptr fs:[0]",
                "add {slot}, qword ptr [rip + capmalloc_thread_slot@GOTTPOFF]",
                slot = out(reg) slot,
                options(pure, nomem, nostack),
            );
        }
        slot
    }

    /// The thread pointer, and the slot's distance from it, which the loader wrote down.
    #[cfg(target_arch = "aarch64")]
    #[inline(always)]
    pub(super) fn slot() -> *const ThreadSlot {
        let slot: *const ThreadSlot;
        // SAFETY: as on the other architecture.
        unsafe {
            asm!(
                "mrs {slot}, tpidr_el0",
                "adrp {offset}, :gottprel:capmalloc_thread_slot",
                "ldr {offset}, [{offset}, :gottprel_lo12:capmalloc_thread_slot]",
                "add {slot}, {slot}, {offset}",
                slot = out(reg) slot,
                offset = out(reg) _,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
        slot
    }
}
