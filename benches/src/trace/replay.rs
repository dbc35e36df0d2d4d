//! The replay of a trace on an allocator.

use std::alloc::Layout;
use std::hint::spin_loop;
use std::io;
use std::ptr::null_mut;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicUsize};
use std::thread::{Builder, scope, sleep, yield_now};
use std::time::{Duration, Instant};

use super::error::TraceError;
use super::format::Trace;
use super::plan::{Kind, Operation, Plan, Wait};
use super::table::{Table, Zeroable};
use super::target::ReplayTarget;

/// A program writes all of a block up to here, and one byte of each page after it.
pub const WRITTEN_BYTES: usize = 4096;
const PAGE_BYTES: usize = 4096;
/// How much a thread's live bytes change before it says so.
pub const REPORTED_BYTES: isize = 16 << 10;
const STACK_BYTES: usize = 256 << 10;

/// How a replay went.
#[derive(Clone, Copy, Debug)]
pub struct Replayed {
    /// The events of all passes.
    pub events: u64,
    /// The blocks that were live at the end of a pass and freed after it, of all passes.
    pub leftover_blocks: u64,
    /// The time of all passes.
    pub elapsed: Duration,
}

/// Replays a trace once on an allocator.
///
/// # Errors
///
/// When the allocator refuses memory, or the system has none for the replay itself. All blocks are
/// freed then too.
pub fn replay(trace: &Trace, target: &impl ReplayTarget) -> Result<Replayed, TraceError> {
    replay_plan(&Plan::new(trace)?, target, 1)
}

/// Passes over a trace a number of times. What is live at the end of a pass is freed before the
/// next one, by the calling thread, which is the trace's first one. The others begin and end with
/// each pass.
///
/// Every block is written to as [`WRITTEN_BYTES`] says, and where it grows, what it grew by: always
/// the lowest byte of its number, so that a target can tell whether it is still there.
///
/// # Errors
///
/// As [`replay`].
pub fn replay_plan(
    plan: &Plan,
    target: &impl ReplayTarget,
    loops: usize,
) -> Result<Replayed, TraceError> {
    let mut stage = Stage::new(plan, target)?;
    let start = Instant::now();
    let mut leftover_blocks = 0;
    for _ in 0..loops {
        let passed = stage.pass();
        leftover_blocks += stage.free_leftovers();
        passed?;
    }
    let events = plan.events() as u64 * loops as u64;
    Ok(Replayed { events, leftover_blocks, elapsed: start.elapsed() })
}

/// Where a block is, while it is live.
///
/// Relaxed is enough for all of it. A thread that comes to a block after another one has waited for
/// that one's progress, which is published with a release after each operation.
#[derive(Debug)]
pub(super) struct Slot {
    pointer: AtomicPtr<u8>,
    size_bytes: AtomicU32,
    align_log2: AtomicU8,
}

// SAFETY: Zeros are a null pointer and numbers.
unsafe impl Zeroable for Slot {}

/// How many operations a thread has done, on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Progress(AtomicU32);

// SAFETY: Zero is a number.
unsafe impl Zeroable for Progress {}

/// What the threads of a replay share.
struct Stage<'a, T> {
    plan: &'a Plan,
    target: &'a T,
    slots: Table<Slot>,
    progress: Table<Progress>,
    /// Whether all threads are to end early.
    is_stopped: AtomicBool,
    /// The size that was refused, if one was.
    refused_bytes: AtomicUsize,
}

impl<'a, T: ReplayTarget> Stage<'a, T> {
    fn new(plan: &'a Plan, target: &'a T) -> Result<Self, TraceError> {
        let mut slots = Table::zeroed(plan.blocks())?;
        slots.populate();
        Ok(Self {
            plan,
            target,
            slots,
            progress: Table::zeroed(plan.threads())?,
            is_stopped: AtomicBool::new(false),
            refused_bytes: AtomicUsize::new(0),
        })
    }

    /// Passes over the trace once.
    fn pass(&mut self) -> Result<(), TraceError> {
        self.progress.iter_mut().for_each(|progress| *progress.0.get_mut() = 0);
        let stage = &*self;
        let started = scope(|scope| {
            for thread in 1..stage.plan.threads() {
                let builder = Builder::new().stack_size(STACK_BYTES);
                if let Err(error) = builder.spawn_scoped(scope, move || stage.work(thread)) {
                    stage.is_stopped.store(true, Relaxed);
                    return Err(error);
                }
            }
            if stage.plan.threads() > 0 {
                stage.work(0);
            }
            Ok(())
        });
        started.map_err(|error: io::Error| TraceError::system("a thread of the replay", error))?;
        match *self.refused_bytes.get_mut() {
            0 => Ok(()),
            size_bytes => Err(TraceError::Refused { size_bytes }),
        }
    }

    /// Frees what is live, in the order of allocation, and gives how many blocks it was.
    fn free_leftovers(&mut self) -> u64 {
        let (mut blocks, mut bytes) = (0, 0);
        for slot in self.slots.iter() {
            if !slot.pointer.load(Relaxed).is_null() {
                blocks += 1;
                bytes += slot.size_bytes.load(Relaxed) as isize;
                self.free(slot);
            }
        }
        self.target.live_bytes_changed(-bytes);
        blocks
    }

    /// Does all operations of one thread.
    fn work(&self, thread: usize) {
        let _guard = StopOnPanic(&self.is_stopped);
        let mut waits = self.plan.waits_of(thread);
        let mut live = Live { target: self.target, change_bytes: 0 };
        for (position, operation) in self.plan.operations_of(thread).iter().enumerate() {
            while let [wait, rest @ ..] = waits
                && wait.position as usize == position
            {
                if !self.is_awaited(*wait) {
                    return;
                }
                waits = rest;
            }
            let Some(change_bytes) = self.perform(operation) else { return };
            // Release: pairs with the acquire in `is_awaited`, for the block and what is in it.
            self.progress[thread].0.store(position as u32 + 1, Release);
            live.change(change_bytes);
        }
    }

    /// Waits, and says whether to go on after that.
    fn is_awaited(&self, wait: Wait) -> bool {
        let progress = &self.progress[wait.thread as usize].0;
        let mut rounds = 0;
        // Acquire: pairs with the release in `work`.
        while progress.load(Acquire) < wait.done {
            if self.is_stopped.load(Relaxed) {
                return false;
            }
            rounds += 1;
            match rounds {
                0..64 => spin_loop(),
                64..1024 => yield_now(),
                // The thread that is waited for may itself wait for a processor for long.
                _ => sleep(Duration::from_micros(50)),
            }
        }
        true
    }

    /// Does one operation, and gives by how much it changed the live bytes, if it was done.
    fn perform(&self, operation: &Operation) -> Option<isize> {
        let slot = &self.slots[operation.block as usize];
        match operation.kind {
            Kind::Allocate | Kind::AllocateZeroed => self.allocate(slot, operation),
            Kind::Reallocate => self.reallocate(slot, operation),
            Kind::Free => {
                let size_bytes = slot.size_bytes.load(Relaxed) as isize;
                self.free(slot);
                Some(-size_bytes)
            }
        }
    }

    fn allocate(&self, slot: &Slot, operation: &Operation) -> Option<isize> {
        slot.size_bytes.store(operation.size_bytes, Relaxed);
        slot.align_log2.store(operation.align_log2, Relaxed);
        // SAFETY: The ledger that checked the trace lets no block have no bytes.
        let pointer = unsafe {
            match operation.kind {
                Kind::AllocateZeroed => self.target.alloc_zeroed(slot.layout()),
                _ => self.target.alloc(slot.layout()),
            }
        };
        self.keep(slot, pointer, 0, operation)
    }

    fn reallocate(&self, slot: &Slot, operation: &Operation) -> Option<isize> {
        let (pointer, layout) = (slot.pointer.load(Relaxed), slot.layout());
        // SAFETY: The trace's events are of live blocks only, and each was waited for; the new size
        // is not zero and is smaller than any that would be too large.
        let new_pointer =
            unsafe { self.target.realloc(pointer, layout, operation.size_bytes as usize) };
        self.keep(slot, new_pointer, layout.size(), operation)
    }

    /// Writes to a block and keeps where it is, or stops all threads if there is none.
    fn keep(
        &self,
        slot: &Slot,
        pointer: *mut u8,
        old_bytes: usize,
        operation: &Operation,
    ) -> Option<isize> {
        let size_bytes = operation.size_bytes as usize;
        if pointer.is_null() {
            self.refused_bytes.store(size_bytes, Relaxed);
            self.is_stopped.store(true, Relaxed);
            return None;
        }
        // SAFETY: The block is as large as was asked for and nobody else's.
        unsafe { write(pointer, old_bytes, size_bytes, operation.block as u8) };
        slot.pointer.store(pointer, Relaxed);
        slot.size_bytes.store(operation.size_bytes, Relaxed);
        Some(size_bytes as isize - old_bytes as isize)
    }

    fn free(&self, slot: &Slot) {
        let pointer = slot.pointer.load(Relaxed);
        slot.pointer.store(null_mut(), Relaxed);
        // SAFETY: The block is live, for a trace's events are of live blocks only and each is
        // waited for, and what is left is live too; its slot has the layout that it has.
        unsafe { self.target.dealloc(pointer, slot.layout()) };
    }
}

impl Slot {
    fn layout(&self) -> Layout {
        let size = self.size_bytes.load(Relaxed) as usize;
        let align = 1 << self.align_log2.load(Relaxed);
        // SAFETY: An alignment is a power of two of at most 2^31, and a size less than 2^32, which
        // rounded up is far from the largest `isize` where addresses have 64 bits.
        unsafe { Layout::from_size_align_unchecked(size, align) }
    }
}

const _: () = assert!(usize::BITS == 64);

/// Writes to what a block grew by, as a program would.
///
/// # Safety
///
/// The block must have as many bytes, and be the caller's.
unsafe fn write(pointer: *mut u8, old_bytes: usize, size_bytes: usize, byte: u8) {
    let written = size_bytes.saturating_sub(old_bytes).min(WRITTEN_BYTES);
    // SAFETY: The bytes from the old size to the new one are the block's.
    unsafe { pointer.add(old_bytes.min(size_bytes)).write_bytes(byte, written) };
    for offset in (old_bytes + written..size_bytes).step_by(PAGE_BYTES) {
        // SAFETY: The offset is less than the size. Volatile, because nothing reads it again.
        unsafe { pointer.add(offset).write_volatile(byte) };
    }
}

/// What a thread has yet to say of the live bytes, which it says at the latest when it ends.
struct Live<'a, T: ReplayTarget> {
    target: &'a T,
    change_bytes: isize,
}

impl<T: ReplayTarget> Live<'_, T> {
    fn change(&mut self, change_bytes: isize) {
        self.change_bytes += change_bytes;
        if self.change_bytes.abs() >= REPORTED_BYTES {
            self.report();
        }
    }

    #[cold]
    fn report(&mut self) {
        self.target.live_bytes_changed(self.change_bytes);
        self.change_bytes = 0;
    }
}

impl<T: ReplayTarget> Drop for Live<'_, T> {
    fn drop(&mut self) {
        self.report();
    }
}

/// Ends the other threads when one panics, which else would wait for it for ever.
struct StopOnPanic<'a>(&'a AtomicBool);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store(true, Relaxed);
        }
    }
}
