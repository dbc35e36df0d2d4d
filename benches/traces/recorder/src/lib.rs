//! A global allocator that writes down what a program asks of it.
//!
//! A program is recorded with two lines:
//!
//! ```no_run
//! #[global_allocator]
//! static ALLOCATOR: trace_recorder::Recorder = trace_recorder::Recorder;
//! ```
//!
//! When the environment variable `TRACE_RECORDING` names a file, every call is written to it and
//! passed on to the system's allocator; without it, calls are only passed on. The recording is
//! turned into a trace by `trace pack`, in the package beside this one.
//!
//! The file is mapped and shared with the kernel, and every call is one slot of it, taken by adding
//! one to a counter in the file itself. So there are no buffers: nothing is lost when a thread ends
//! or when the process does, however that happens, and nothing allocates. The counter gives all
//! threads' calls one order. A block's release takes its number before the block is handed back,
//! and an allocation takes its number after it has its block: whichever thread gets an address next
//! has a later number than the one that gave it up. Growing a block may do both, so it is written
//! twice, when it begins and when it is done.
//!
//! `TRACE_RECORDING_SLOTS` is how many slots the file has, 2^25 unless given. Calls after the last
//! slot are counted and not written: a trace is then the beginning of the program's run. A child
//! of `fork` records nothing.

mod recording;
mod sources;

use std::alloc::{GlobalAlloc, Layout, System};

use recording::Kind::{Allocate, AllocateZeroed, BeginReallocate, EndReallocate, Free};
use recording::record;

pub use sources::source_files;

/// The system's allocator, with every call written down.
#[derive(Clone, Copy, Debug, Default)]
pub struct Recorder;

// SAFETY: Every call is passed on as it is, and recording neither allocates nor unwinds.
unsafe impl GlobalAlloc for Recorder {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: The caller's promise is the one that is asked for.
        let pointer = unsafe { System.alloc(layout) };
        record(Allocate, pointer, layout.size(), layout.align());
        pointer
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: The caller's promise is the one that is asked for.
        let pointer = unsafe { System.alloc_zeroed(layout) };
        record(AllocateZeroed, pointer, layout.size(), layout.align());
        pointer
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        record(Free, pointer, layout.size(), layout.align());
        // SAFETY: The caller's promise is the one that is asked for.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        record(BeginReallocate, pointer, layout.size(), layout.align());
        // SAFETY: The caller's promise is the one that is asked for.
        let new_pointer = unsafe { System.realloc(pointer, layout, new_size) };
        record(EndReallocate, new_pointer, new_size, layout.align());
        new_pointer
    }
}
