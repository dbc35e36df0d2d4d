//! What each allocator offers a program that wants memory given back, or is about to fork.

use crate::peers::PeerId;

/// Has a peer give back what it can by its own call; false where it has none.
pub(super) fn trim(peer: PeerId) -> bool {
    match peer.name() {
        "system" => trim_system(),
        "jemalloc" => purge_jemalloc(),
        "mimalloc" => {
            // SAFETY: may be called at any time.
            unsafe { libmimalloc_sys::mi_collect(true) };
        }
        "capmalloc" => drop(capmalloc::trim()),
        _ => return false,
    }
    true
}

/// Does what a peer has for a process that is about to fork.
pub(super) fn prepare_for_fork(peer: PeerId) {
    match peer.name() {
        "system" => trim_system(),
        "capmalloc" => drop(capmalloc::warm_up()),
        _ => {}
    }
}

#[cfg(target_env = "gnu")]
fn trim_system() {
    // SAFETY: may be called at any time.
    unsafe { libc::malloc_trim(0) };
}

#[cfg(not(target_env = "gnu"))]
fn trim_system() {}

/// Empties this thread's cache and gives back the free pages of all arenas, which is all that
/// jemalloc lets a thread do for the others.
fn purge_jemalloc() {
    // 4096 stands for all arenas, in jemalloc's `MALLCTL_ARENAS_ALL`.
    for name in [c"thread.tcache.flush", c"arena.4096.purge"] {
        let nothing = std::ptr::null_mut();
        // SAFETY: the name ends with a zero; these two take no value and answer none.
        let status = unsafe {
            tikv_jemalloc_sys::mallctl(name.as_ptr(), nothing, nothing.cast(), nothing, 0)
        };
        // A thread that has no cache cannot empty it.
        debug_assert!(status == 0 || status == libc::EFAULT, "{name:?}: {status}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_with_a_call_of_their_own_are_trimmed() {
        for &peer in PeerId::ALL {
            let has_call = ["system", "jemalloc", "mimalloc", "capmalloc"].contains(&peer.name());
            assert_eq!(trim(peer), has_call, "{peer:?}");
            prepare_for_fork(peer);
        }
    }
}
