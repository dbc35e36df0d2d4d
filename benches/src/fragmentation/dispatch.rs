//! A global allocator that is another one in each process.

use std::alloc::{GlobalAlloc, Layout};
use std::ffi::CStr;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::Relaxed;

use super::ledger;
use crate::peers::PeerId;

/// The variable that names the peer which a process runs on; without it, the system's.
pub(super) const VARIABLE: &str = "FRAGMENTATION_PEER";
const VARIABLE_FOR_C: &CStr = c"FRAGMENTATION_PEER";

/// Nothing has been chosen yet.
const UNKNOWN: u8 = u8::MAX;

/// Passes everything on to the peer that the environment names at the first call.
///
/// Every call costs one look at the choice and one call through a table, the same for all peers.
#[derive(Debug)]
pub struct Dispatch {
    /// An index of [`PeerId::ALL`]. Relaxed: every thread would choose the same.
    choice: AtomicU8,
}

impl Dispatch {
    /// A dispatcher that has yet to choose.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "made in a static, where no default can be")]
    pub const fn new() -> Self {
        Self { choice: AtomicU8::new(UNKNOWN) }
    }

    #[inline]
    fn peer(&self) -> &'static dyn GlobalAlloc {
        let choice = self.choice.load(Relaxed);
        let choice = if choice == UNKNOWN { self.choose() } else { choice };
        PeerId::ALL[choice as usize].global()
    }

    /// Looks the choice up without allocating, since this is within the first allocation.
    #[cold]
    fn choose(&self) -> u8 {
        // SAFETY: the program changes no variable of its environment.
        let value = unsafe { libc::getenv(VARIABLE_FOR_C.as_ptr()) };
        let is_named = |peer: &PeerId| {
            // SAFETY: not null, and then a text that ends with a zero and stays.
            !value.is_null()
                && unsafe { CStr::from_ptr(value) }.to_bytes() == peer.name().as_bytes()
        };
        let choice = PeerId::ALL.iter().position(is_named).unwrap_or(0) as u8;
        self.choice.store(choice, Relaxed);
        choice
    }
}

/// Counts an answer that is no memory.
#[inline]
fn noted(pointer: *mut u8) -> *mut u8 {
    if pointer.is_null() {
        ledger::current().note_refusal();
    }
    pointer
}

// SAFETY: every call of one process goes to one peer, with the promises of the caller.
unsafe impl GlobalAlloc for Dispatch {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        noted(unsafe { self.peer().alloc(layout) })
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise; the block came from the same peer.
        unsafe { self.peer().dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        noted(unsafe { self.peer().alloc_zeroed(layout) })
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller's promise; the block came from the same peer.
        noted(unsafe { self.peer().realloc(pointer, layout, new_size) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_of_the_variable_are_one() {
        assert_eq!(VARIABLE_FOR_C.to_str(), Ok(VARIABLE));
    }

    #[test]
    fn without_a_choice_everything_comes_from_the_first_peer() {
        let dispatch = Dispatch::new();
        let layout = Layout::from_size_align(100, 8).expect("a layout");
        // SAFETY: a valid layout, with which the block goes back.
        unsafe {
            let block = dispatch.alloc_zeroed(layout);
            assert_eq!((block.read(), dispatch.choice.load(Relaxed)), (0, 0));
            dispatch.dealloc(block, layout);
        }
    }

    #[test]
    fn what_is_refused_is_counted() {
        let before = ledger::current().refused();
        let dispatch = Dispatch::new();
        let layout = Layout::from_size_align(isize::MAX as usize - 4096, 8).expect("a layout");
        // SAFETY: a valid layout; nothing comes of it.
        assert!(unsafe { dispatch.alloc(layout) }.is_null());
        assert!(ledger::current().refused() > before);
    }
}
