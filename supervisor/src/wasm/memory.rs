//! One linear memory: a block of the heap, zero where the guest has not written.

use std::ptr::{self, NonNull};
use std::sync::{Arc, Mutex};

use capmalloc::PageSource;
use wasmtime::LinearMemory;

use super::account::{Extent, MemoryAccount, SharedExtent, lock};
use super::memories::HeapMemories;
use super::refusal::MemoryRefused;

/// From this length on, what must be zero is given back to the operating system rather than written
/// to: fresh pages stay untouched, and used ones read as zero without being resident.
const PURGED_FROM_BYTES: usize = 256 << 10;

/// A linear memory in a heap.
#[derive(Debug)]
pub(super) struct HeapMemory {
    /// Keeps the heap, and is told of everything.
    memories: HeapMemories,
    /// Dangling while there are no bytes, else a block of the heap of `HeapMemories::layout(bytes)`.
    base: NonNull<u8>,
    bytes: usize,
    /// The same for those who ask from outside.
    extent: SharedExtent,
}

// SAFETY: the block is this memory's alone and belongs to no thread; the heap can be used by any.
// `&HeapMemory` gives out the address only; what is done through it is wasmtime's to order.
unsafe impl Send for HeapMemory {}
// SAFETY: as above.
unsafe impl Sync for HeapMemory {}

impl HeapMemory {
    /// A memory of so many zeros.
    pub(super) fn new(memories: HeapMemories, bytes: usize) -> Result<HeapMemory, MemoryRefused> {
        let base = alloc_zeroed(&memories, bytes)?;
        let extent = Arc::new(Mutex::new(Extent { address: base.addr().get(), bytes }));
        MemoryAccount::enter_current(&extent);
        memories.note_new(bytes);
        Ok(HeapMemory { memories, base, bytes, extent })
    }

    /// A block of the new length with the contents of the old one, which is given up.
    ///
    /// What comes in addition may be anything: a block that the heap has reused, or part of one.
    fn resize(&self, new_bytes: usize) -> Result<NonNull<u8>, MemoryRefused> {
        let more_bytes = new_bytes - self.bytes;
        let layouts = HeapMemories::layout(self.bytes).zip(HeapMemories::layout(new_bytes));
        self.memories.ask(self.bytes, more_bytes, || {
            let (layout, new_layout) = layouts?;
            // SAFETY: the block is of this heap and layout, and after `Some` its old address is
            // used no more: `grow_to` puts the new one in its place. The new length has a layout.
            unsafe { self.memories.heap().realloc(self.base, layout, new_layout.size()) }
        })
    }
}

/// A block of so many zeros.
fn alloc_zeroed(memories: &HeapMemories, bytes: usize) -> Result<NonNull<u8>, MemoryRefused> {
    if bytes == 0 {
        return Ok(NonNull::dangling());
    }
    let layout = HeapMemories::layout(bytes);
    if bytes < PURGED_FROM_BYTES {
        return memories.ask(0, bytes, || memories.heap().alloc_zeroed(layout?));
    }
    let base = memories.ask(0, bytes, || memories.heap().alloc(layout?))?;
    // SAFETY: the whole block was just made, and is nobody else's.
    unsafe { zero(memories, base, bytes) };
    Ok(base)
}

/// Makes a range read as zeros.
///
/// # Safety
///
/// It lies within one block of the memories' heap, and nobody else uses it.
unsafe fn zero(memories: &HeapMemories, start: NonNull<u8>, bytes: usize) {
    let source = memories.heap().source();
    let unit_bytes = source.granularity_bytes();
    // Linear memories begin at a multiple of a page and have whole pages of 64 KiB, unless the
    // guest's pages are custom ones or the kernel's are longer than the heap's.
    let is_whole = start.addr().get().is_multiple_of(unit_bytes);
    let purged_bytes = match is_whole && bytes >= PURGED_FROM_BYTES {
        true => bytes & !(unit_bytes - 1),
        false => 0,
    };
    // SAFETY: the range is whole units of the source's, within what the heap had from it, and holds
    // nothing that is wanted: that is the caller's promise. A purge keeps the addresses, so to the
    // heap the block is as it was, but for its pages: it counts those of live blocks as resident
    // whether or not they are.
    let is_purged = purged_bytes > 0 && unsafe { source.purge(start, purged_bytes) };
    let done_bytes = if is_purged { purged_bytes } else { 0 };
    // SAFETY: the rest of the range, which the caller may write to.
    unsafe { ptr::write_bytes(start.as_ptr().add(done_bytes), 0, bytes - done_bytes) };
}

// SAFETY: the block at `as_ptr` is live from `new` to `drop`, of `byte_size` bytes, all of which were
// zero when they came, and nobody else has it: the extents are told its address and never use it for
// an access. The capacity is the size, so every growth may move it, as the trait allows.
unsafe impl LinearMemory for HeapMemory {
    fn byte_size(&self) -> usize {
        self.bytes
    }

    fn byte_capacity(&self) -> usize {
        self.bytes
    }

    fn grow_to(&mut self, new_size: usize) -> wasmtime::Result<()> {
        let more_bytes = new_size.saturating_sub(self.bytes);
        if more_bytes == 0 {
            return Ok(());
        }
        // Taken over the move, so that who asks never looks where the memory no longer is.
        let mut extent = lock(&self.extent);
        let base = match self.bytes {
            0 => alloc_zeroed(&self.memories, new_size)?,
            _ => {
                let base = self.resize(new_size)?;
                // SAFETY: the block has the new length now, and wasmtime, which calls with the
                // memory borrowed mutably, has given no access to what lies behind the old one.
                unsafe { zero(&self.memories, base.add(self.bytes), more_bytes) };
                base
            }
        };
        *extent = Extent { address: base.addr().get(), bytes: new_size };
        drop(extent);
        (self.base, self.bytes) = (base, new_size);
        self.memories.note_grown(more_bytes);
        Ok(())
    }

    fn as_ptr(&self) -> *mut u8 {
        self.base.as_ptr()
    }
}

impl Drop for HeapMemory {
    fn drop(&mut self) {
        *lock(&self.extent) = Extent::default();
        self.memories.note_dropped(self.bytes);
        if let (true, Some(layout)) = (self.bytes > 0, HeapMemories::layout(self.bytes)) {
            // SAFETY: the block is of this heap and layout, and goes with its memory.
            unsafe { self.memories.heap().dealloc(self.base, layout) };
        }
    }
}
