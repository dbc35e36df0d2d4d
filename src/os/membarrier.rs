//! A full fence on every thread of the process, paid by the caller alone: `membarrier(2)`.

use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicU8, fence};

use super::errno::ErrnoKept;
use crate::sync::HAS_HANDSHAKE;

const UNKNOWN: u8 = 0;
const READY: u8 = 1;
const MISSING: u8 = 2;

/// What is known of the kernel's willingness. Relaxed: the answer guards no memory.
static STATE: AtomicU8 = AtomicU8::new(UNKNOWN);

/// Tells the kernel that this process will ask for fences; cheap while it has one thread.
pub(crate) fn register() -> bool {
    let _errno = ErrnoKept::new();
    let is_ready = call(libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) == 0;
    STATE.store(if is_ready { READY } else { MISSING }, Relaxed);
    is_ready
}

/// Whether [`everywhere`] can work, as far as has been tried.
pub(crate) fn is_available() -> bool {
    // Nobody says when he is at work, so nobody may be taken for idle.
    if !HAS_HANDSHAKE {
        return false;
    }
    match STATE.load(Relaxed) {
        READY => true,
        MISSING => false,
        _ => register(),
    }
}

/// Makes every running thread of the process pass a full fence; `false` where the kernel can't.
///
/// After it, whatever a thread stored before its fence is visible here, and whatever it loads
/// after its fence sees what was stored here before the call.
pub(crate) fn everywhere() -> bool {
    if !is_available() {
        return false;
    }
    let _errno = ErrnoKept::new();
    // A child of a fork may have to register anew.
    let is_done = call(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED) == 0
        || (register() && call(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED) == 0);
    fence(core::sync::atomic::Ordering::SeqCst);
    is_done
}

fn call(command: libc::c_int) -> libc::c_long {
    // SAFETY: the call reads its arguments alone and touches no memory of ours.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_the_same_each_time() {
        assert_eq!(everywhere(), everywhere());
        assert_eq!(everywhere(), is_available());
    }
}
