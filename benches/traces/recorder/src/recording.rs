//! The file that is recorded to: a header page, then one slot for each call.
//!
//! All numbers are in the machine's own order, for the file is read where it was written.
//!
//! | offset in the header | what |
//! |---|---|
//! | 0 | the eight bytes `CAPMREC1` |
//! | 8 | how many slots were asked for, a `u64` that may be more than there are |
//! | 16 | how many slots there are, a `u64` |
//!
//! | offset in a slot | what |
//! |---|---|
//! | 0 | the kind of call, a `u32`: zero while the slot is not written, else a [`Kind`] |
//! | 4 | the thread, a `u16`, numbered from one in the order of first calls |
//! | 6 | the alignment's binary logarithm, a `u8` |
//! | 8 | the size, a `u64` |
//! | 16 | the address, a `u64`; zero if the call failed |

use std::cell::Cell;
use std::ffi::CStr;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64};

const MAGIC: u64 = u64::from_ne_bytes(*b"CAPMREC1");
const HEADER_BYTES: usize = 4096;
const DEFAULT_SLOTS: u64 = 1 << 25;
/// A file of 24 TiB, which no file system grants, but no sum of it overflows either.
const MAX_SLOTS: u64 = 1 << 40;

/// What a slot says was called.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(crate) enum Kind {
    /// A block was allocated.
    Allocate = 1,
    /// A block of zeros was allocated.
    AllocateZeroed = 2,
    /// A block is about to be freed.
    Free = 3,
    /// A block is about to be resized; the slot has what it was.
    BeginReallocate = 4,
    /// The same thread's block has been resized; the slot has what it is.
    EndReallocate = 5,
}

#[repr(C)]
struct Header {
    magic: AtomicU64,
    asked: AtomicU64,
    slots: AtomicU64,
}

#[repr(C)]
struct Slot {
    kind: AtomicU32,
    thread: AtomicU16,
    align_log2: AtomicU8,
    size: AtomicU64,
    address: AtomicU64,
}

const UNDECIDED: u8 = 0;
const STARTING: u8 = 1;
const OFF: u8 = 2;
const ON: u8 = 3;

static STATE: AtomicU8 = AtomicU8::new(UNDECIDED);
static FILE: AtomicPtr<Header> = AtomicPtr::new(null_mut());
static THREADS: AtomicU16 = AtomicU16::new(0);

thread_local! {
    // Without a destructor it is there from a thread's first call to its last.
    static THREAD: Cell<u16> = const { Cell::new(0) };
}

/// Writes down one call.
pub(crate) fn record(kind: Kind, pointer: *mut u8, size: usize, align: usize) {
    // Acquire: pairs with the release in `start`, so that the file is seen once it is on.
    match STATE.load(Acquire) {
        ON => {}
        OFF => return,
        _ if !start() => return,
        _ => {}
    }
    let Some(slot) = next_slot() else { return };
    slot.thread.store(this_thread(), Relaxed);
    slot.align_log2.store(align.trailing_zeros() as u8, Relaxed);
    slot.size.store(size as u64, Relaxed);
    slot.address.store(pointer.addr() as u64, Relaxed);
    // Release: who reads the kind of a file still being written reads the rest too.
    slot.kind.store(kind as u32, Release);
}

/// The slot of the next call, or nothing when the file is full.
fn next_slot() -> Option<&'static Slot> {
    let file = FILE.load(Relaxed);
    // SAFETY: It was set before recording was turned on and stays mapped.
    let header = unsafe { &*file };
    // Relaxed is enough for the order: calls on one address follow each other by way of the
    // allocator's own synchronisation, and all additions to one counter have one order.
    let number = header.asked.fetch_add(1, Relaxed);
    if number >= header.slots.load(Relaxed) {
        return None;
    }
    // SAFETY: The mapping holds a header page and then as many slots as the header says.
    Some(unsafe { &*file.byte_add(HEADER_BYTES).cast::<Slot>().add(number as usize) })
}

fn this_thread() -> u16 {
    THREAD.with(|thread| {
        if thread.get() == 0 {
            let before = THREADS.fetch_add(1, Relaxed);
            if before == u16::MAX {
                give_up(c"trace recorder: more than 65534 threads\n");
            }
            thread.set(before + 1);
        }
        thread.get()
    })
}

/// Decides on the process's first call whether it is recorded.
#[cold]
fn start() -> bool {
    // Acquire: pairs with the release below for the thread that finds it decided.
    if STATE.compare_exchange(UNDECIDED, STARTING, Acquire, Acquire).is_err() {
        while STATE.load(Acquire) == STARTING {
            // SAFETY: Yielding has no requirements.
            unsafe { libc::sched_yield() };
        }
        return STATE.load(Acquire) == ON;
    }
    let state = if let Some(path) = variable(c"TRACE_RECORDING") {
        FILE.store(map_file(path, slots_asked_for()).as_ptr(), Relaxed);
        // SAFETY: The function only stores to an atomic, which a child of `fork` may do.
        unsafe { libc::pthread_atfork(None, None, Some(stop_in_child)) };
        ON
    } else {
        OFF
    };
    // Release: pairs with the acquires in `record` and above.
    STATE.store(state, Release);
    state == ON
}

extern "C" fn stop_in_child() {
    STATE.store(OFF, Relaxed);
}

/// Reads a variable without allocating.
fn variable(name: &CStr) -> Option<&'static CStr> {
    // SAFETY: The name ends in a zero. This is the process's first allocation, before which Rust
    // code had no chance to change the environment.
    let value = unsafe { libc::getenv(name.as_ptr()) };
    // SAFETY: What `getenv` finds ends in a zero; it is read at once and not kept.
    (!value.is_null()).then(|| unsafe { CStr::from_ptr(value) })
}

fn slots_asked_for() -> u64 {
    let Some(value) = variable(c"TRACE_RECORDING_SLOTS") else { return DEFAULT_SLOTS };
    match value.to_str().ok().and_then(|text| text.parse().ok()) {
        Some(slots) if (1..=MAX_SLOTS).contains(&slots) => slots,
        _ => give_up(c"trace recorder: TRACE_RECORDING_SLOTS is not a number from 1 to 2^40\n"),
    }
}

fn map_file(path: &CStr, slots: u64) -> NonNull<Header> {
    let bytes = HEADER_BYTES + slots as usize * size_of::<Slot>();
    let flags = libc::O_CREAT | libc::O_TRUNC | libc::O_RDWR | libc::O_CLOEXEC;
    // SAFETY: The path ends in a zero; the file is this function's own until it is mapped, and the
    // mapping is new memory that is never unmapped.
    let memory = unsafe {
        let file = libc::open(path.as_ptr(), flags, 0o644);
        if file < 0 {
            give_up(c"trace recorder: the file named by TRACE_RECORDING cannot be created\n");
        }
        if libc::ftruncate(file, bytes as libc::off_t) != 0 {
            give_up(c"trace recorder: the file named by TRACE_RECORDING cannot be made so large\n");
        }
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let memory = libc::mmap(null_mut(), bytes, protection, libc::MAP_SHARED, file, 0);
        libc::close(file);
        memory
    };
    if memory == libc::MAP_FAILED {
        give_up(c"trace recorder: the file named by TRACE_RECORDING cannot be mapped\n");
    }
    let header = memory.cast::<Header>();
    // SAFETY: The mapping is at least a page of zeros, which is a header of zeros.
    unsafe {
        (*header).slots.store(slots, Relaxed);
        (*header).magic.store(MAGIC, Relaxed);
        NonNull::new_unchecked(header)
    }
}

/// Ends the process: a recording that lacks calls without saying so would be worth nothing.
fn give_up(message: &CStr) -> ! {
    // SAFETY: The message is as long as it says, and both calls may be made anywhere.
    unsafe {
        libc::write(2, message.as_ptr().cast(), message.count_bytes());
        libc::abort()
    }
}
