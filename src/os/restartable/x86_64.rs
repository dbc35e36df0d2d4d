//! The sequences for x86-64, and what they need of the C library and the kernel.
//!
//! The layout of `struct rseq` and of the descriptor, the signature before the place where a thread
//! begins anew, and the sections they lie in are those of `linux/rseq.h` and of its users.

use core::arch::asm;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicIsize, AtomicU8};

use super::Shown;
use crate::os::errno::ErrnoKept;

mod loader;

const UNKNOWN: u8 = 0;
const READY: u8 = 1;
const MISSING: u8 = 2;

/// What is known of C library and kernel.
static STATE: AtomicU8 = AtomicU8::new(UNKNOWN);

/// Bytes from the thread pointer to the thread's `struct rseq`.
static OFFSET_BYTES: AtomicIsize = AtomicIsize::new(0);

/// Tells the kernel that this process may ask for fences; cheap while it has one thread, and where it
/// was told before. `false` where it has none.
pub(crate) fn announce() -> bool {
    let _errno = ErrnoKept::new();
    call(libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ) == 0
}

fn register() -> bool {
    let _errno = ErrnoKept::new();
    let is_ready = find_thread_area().is_some_and(|offset_bytes| {
        OFFSET_BYTES.store(offset_bytes, Relaxed);
        announce()
    });
    // Release pairs with the Acquire of `is_available`: the offset is seen. Sequences see it by way of
    // the table, which is shown by one who found it ready.
    STATE.store(if is_ready { READY } else { MISSING }, Release);
    is_ready
}

/// Whether there can be such stacks.
pub(crate) fn is_available() -> bool {
    // Acquire pairs with the Release of `register`.
    match STATE.load(Acquire) {
        READY => true,
        MISSING => false,
        _ => register(),
    }
}

/// Makes every sequence of the process that is under way begin anew; `false` where the kernel can't.
///
/// After it, what sequences stored is visible here, and those to come see what was stored here
/// before the call.
pub(crate) fn fence() -> bool {
    let _errno = ErrnoKept::new();
    // A child of a fork may have to register anew.
    let is_done = call(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ) == 0
        || (register() && call(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ) == 0);
    core::sync::atomic::fence(core::sync::atomic::Ordering::SeqCst);
    is_done
}

fn call(command: libc::c_int) -> libc::c_long {
    // SAFETY: the call reads its arguments alone and touches no memory of ours.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) }
}

/// Where the C library keeps each thread's `struct rseq`, if it has one and the kernel uses it.
fn find_thread_area() -> Option<isize> {
    let size = loader::object::<u32>(c"__rseq_size")?;
    let offset = loader::object::<isize>(c"__rseq_offset")?;
    // SAFETY: constants of the C library, which sets them before the program starts; the size is zero
    // where the kernel refused.
    unsafe { (*size > 0).then(|| *offset) }
}

/// The number of the processor that the thread runs on at this moment.
pub(crate) fn processor() -> Option<usize> {
    if !is_available() {
        return None;
    }
    let number: u32;
    // SAFETY: a load from the thread's `struct rseq`, which lives as long as the thread.
    unsafe {
        asm!(
            "mov {number:e}, dword ptr fs:[{area} + 4]",
            number = out(reg) number,
            area = in(reg) OFFSET_BYTES.load(Relaxed),
            options(nostack, readonly),
        );
    }
    // Of a thread that is not registered it says a number below zero.
    i32::try_from(number).ok().and_then(|number| usize::try_from(number).ok())
}

/// From the descriptor to the thread's stack, in `{stack}`; 7 where there is none.
macro_rules! sequence_begins {
    () => {
        concat!(
            ".pushsection __rseq_cs, \"aw\", @progbits\n",
            ".balign 32\n",
            "2:\n",
            ".long 0, 0\n",
            ".quad 4f, (5f - 4f), 6f\n",
            ".popsection\n",
            "3:\n",
            "lea {entry}, [rip + 2b]\n",
            "mov qword ptr fs:[{area} + 8], {entry}\n",
            "4:\n",
            "xor {count:e}, {count:e}\n",
            "mov {stack:e}, dword ptr fs:[{area} + 4]\n",
            "mov {top}, qword ptr [{shown}]\n",
            "test {top}, {top}\n",
            "jz 7f\n",
            "cmp {stack}, qword ptr [{top}]\n",
            "jae 7f\n",
            "mov {stack}, qword ptr [{top} + {stack} * 8 + 8]\n",
            "test {stack}, {stack}\n",
            "jz 7f\n",
            "add {stack}, {offset}\n",
        )
    };
}

/// `{wanted}` bytes as entries, `{most}` of them at most; 7 where there are none.
macro_rules! wanted_from_bytes {
    () => {
        concat!(
            "shr {wanted}, 3\n",
            "cmp {wanted}, {most}\n",
            "cmova {wanted}, {most}\n",
            "test {wanted}, {wanted}\n",
            "jz 7f\n",
        )
    };
}

/// The one store that counts, and what is done instead by who was interrupted before it.
macro_rules! sequence_ends {
    () => {
        concat!(
            "mov qword ptr [{stack}], {top}\n",
            "5:\n",
            ".pushsection __rseq_failure, \"ax\", @progbits\n",
            // The signature, within an instruction that nobody executes.
            ".byte 0x0f, 0xb9, 0x3d\n",
            ".long 0x53053053\n",
            "6:\n",
            "jmp 3b\n",
            ".popsection\n",
            "7:\n",
        )
    };
}

/// # Safety
///
/// As [`super::pop`]; and a table is, or was, shown.
#[inline]
pub(super) unsafe fn pop(shown: &Shown, offset_bytes: usize, into: &mut [*mut u8]) -> usize {
    let mut count: usize;
    // SAFETY: the thread's `struct rseq` was found before a table was shown. Between 4 and 5 the
    // kernel takes the thread to 6, and from there to 3, wherever another could have come between, so
    // that the loads and the one store to `top` are as if done at one moment. What is read lies in a
    // table, stacks and storage that are there as long as the table is shown, by the caller's
    // promise; what is written are `into`, `top`, and the pointer to the descriptor.
    unsafe {
        asm!(
            sequence_begins!(),
            "mov {top}, qword ptr [{stack}]",
            "mov {wanted}, {top}",
            "sub {wanted}, qword ptr [{stack} + 8]",
            wanted_from_bytes!(),
            "8:",
            "sub {top}, 8",
            "mov {entry}, qword ptr [{top}]",
            "mov qword ptr [{into} + {count} * 8], {entry}",
            "add {count}, 1",
            "cmp {count}, {wanted}",
            "jne 8b",
            sequence_ends!(),
            shown = in(reg) shown.as_ptr(),
            offset = in(reg) offset_bytes,
            area = in(reg) OFFSET_BYTES.load(Relaxed),
            into = in(reg) into.as_mut_ptr(),
            most = in(reg) into.len(),
            count = out(reg) count,
            wanted = out(reg) _,
            stack = out(reg) _,
            top = out(reg) _,
            entry = out(reg) _,
            options(nostack),
        );
    }
    count
}

/// # Safety
///
/// As [`super::push`]; and a table is, or was, shown.
#[inline]
pub(super) unsafe fn push(shown: &Shown, offset_bytes: usize, from: &[*mut u8]) -> usize {
    let mut count: usize;
    // SAFETY: as in `pop`; what is written are entries from `top` on, which are nobody's until `top`
    // is stored, and those of a sequence that begins anew are written again or never counted.
    unsafe {
        asm!(
            sequence_begins!(),
            "mov {top}, qword ptr [{stack}]",
            "mov {wanted}, qword ptr [{stack} + 16]",
            "sub {wanted}, {top}",
            // A bound that was lowered lies below what is there.
            "jbe 7f",
            wanted_from_bytes!(),
            "8:",
            "mov {entry}, qword ptr [{from} + {count} * 8]",
            "mov qword ptr [{top}], {entry}",
            "add {top}, 8",
            "add {count}, 1",
            "cmp {count}, {wanted}",
            "jne 8b",
            sequence_ends!(),
            shown = in(reg) shown.as_ptr(),
            offset = in(reg) offset_bytes,
            area = in(reg) OFFSET_BYTES.load(Relaxed),
            from = in(reg) from.as_ptr(),
            most = in(reg) from.len(),
            count = out(reg) count,
            wanted = out(reg) _,
            stack = out(reg) _,
            top = out(reg) _,
            entry = out(reg) _,
            options(nostack),
        );
    }
    count
}
