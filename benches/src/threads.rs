//! Threads that are started and end while the clock runs.
//!
//! The `rpmalloc` crate brings a `pthread_create` of its own, which every thread of a program that
//! has it linked passes through, whatever allocator the program uses. It would charge rpmalloc's
//! start of a thread to each of its peers. So those call the C library's own, by its address.

use std::ffi::c_void;
use std::ptr::{null, null_mut};
use std::sync::OnceLock;

use libc::{pthread_attr_t, pthread_t};

use crate::block::out_of_memory;
use crate::peers::{Peer, PeerId};

type Start = extern "C" fn(*mut c_void) -> *mut c_void;
type Create =
    unsafe extern "C" fn(*mut pthread_t, *const pthread_attr_t, Start, *mut c_void) -> i32;

/// A thread of a program whose allocator is one of the peers. Dropping it waits for its end.
pub(crate) struct Thread {
    handle: pthread_t,
}

impl Thread {
    /// Starts a thread that does `work`, which is in a block of the peer `P`: allocated here and
    /// freed there, as the standard library's threads have it.
    pub(crate) fn start<P: Peer, W: FnOnce() + Send + 'static>(work: W) -> Self {
        const { assert!(size_of::<W>() > 0, "a block has at least a byte") };
        // SAFETY: The layout is that of a type which is not empty.
        let block = unsafe { P::alloc(size_of::<W>(), align_of::<W>()) }.cast::<W>();
        if block.is_null() {
            out_of_memory(size_of::<W>());
        }
        // SAFETY: The block is as large and as aligned as the type asks.
        unsafe { block.write(work) };
        let mut handle = 0;
        let create = creation(P::ID);
        // SAFETY: `begin` takes what `block` is, which is nobody else's from here.
        let error = unsafe { create(&raw mut handle, null(), begin::<P, W>, block.cast()) };
        assert_eq!(error, 0, "the system started no thread");
        Self { handle }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        // SAFETY: The handle is of a thread that nobody joined or detached.
        unsafe { libc::pthread_join(self.handle, null_mut()) };
    }
}

/// The first function of each thread.
extern "C" fn begin<P: Peer, W: FnOnce()>(block: *mut c_void) -> *mut c_void {
    let block = block.cast::<W>();
    // SAFETY: `Thread::start` allocated the block from this peer with this layout, wrote the work
    // there, and left both to this thread. The work is moved out before its block is freed.
    let work = unsafe {
        let work = block.read();
        P::dealloc(block.cast(), size_of::<W>(), align_of::<W>());
        work
    };
    work();
    null_mut()
}

/// The function that starts the threads of a program whose allocator is this peer.
pub(crate) fn creation(peer: PeerId) -> Create {
    static SYSTEM: OnceLock<Create> = OnceLock::new();
    if peer.wraps_threads() {
        return of_this_program();
    }
    *SYSTEM.get_or_init(|| {
        // SAFETY: The name ends with a zero.
        let address = unsafe { libc::dlsym(libc::RTLD_NEXT, c"pthread_create".as_ptr()) };
        if address.is_null() {
            return of_this_program();
        }
        // SAFETY: It is the C library's function of that name, which has this signature.
        unsafe { std::mem::transmute::<*mut c_void, Create>(address) }
    })
}

/// What the linker found under the name: the C library's, or that of the `rpmalloc` crate.
fn of_this_program() -> Create {
    unsafe extern "C" {
        fn pthread_create(
            handle: *mut pthread_t,
            attributes: *const pthread_attr_t,
            start: Start,
            argument: *mut c_void,
        ) -> i32;
    }
    pthread_create
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::test_peers::{Capmalloc, Glibc};

    fn runs_once<P: Peer>() {
        let sum = Arc::new(AtomicU64::new(0));
        let threads: Vec<Thread> = (1..=4)
            .map(|number| {
                let sum = Arc::clone(&sum);
                Thread::start::<P, _>(move || {
                    sum.fetch_add(number, Ordering::Relaxed);
                })
            })
            .collect();
        // Their ends are what makes the additions visible.
        drop(threads);
        assert_eq!(sum.load(Ordering::Relaxed), 10);
        assert_eq!(Arc::strong_count(&sum), 1, "the work is dropped where it was done");
    }

    #[test]
    fn every_thread_does_its_work_once_and_has_ended_when_dropped() {
        runs_once::<Glibc>();
        runs_once::<Capmalloc>();
    }

    #[cfg(feature = "all-peers")]
    #[test]
    fn rpmalloc_alone_starts_threads_its_own_way() {
        use crate::test_peers::Rpmalloc;
        runs_once::<Rpmalloc>();
        assert!(std::ptr::fn_addr_eq(creation::<Rpmalloc>(), of_this_program()));
        assert!(!std::ptr::fn_addr_eq(creation::<Capmalloc>(), of_this_program()));
    }
}
