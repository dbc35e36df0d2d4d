//! An owned block of a peer's memory, so that workloads need no unsafe code.

use std::marker::PhantomData;
use std::ptr::NonNull;

use crate::peers::Peer;

/// The alignment of every block, which is what most Rust types ask for.
const ALIGN_BYTES: usize = 8;

/// A block allocated from the peer `P`, freed when it is dropped.
pub(crate) struct Block<P: Peer> {
    pointer: NonNull<u8>,
    size_bytes: usize,
    peer: PhantomData<P>,
}

// SAFETY: A block is the only owner of its memory, and `GlobalAlloc` requires
// that memory may be freed on another thread than the one that allocated it.
unsafe impl<P: Peer> Send for Block<P> {}

impl<P: Peer> Block<P> {
    /// Allocates a block without touching it.
    #[inline(always)]
    pub(crate) fn allocate(size_bytes: usize) -> Self {
        debug_assert!(size_bytes > 0 && size_bytes <= isize::MAX as usize - ALIGN_BYTES);
        // SAFETY: No workload asks for zero bytes or for anywhere near
        // `isize::MAX`, and the alignment is a power of two.
        let pointer = unsafe { P::alloc(size_bytes, ALIGN_BYTES) };
        let Some(pointer) = NonNull::new(pointer) else {
            out_of_memory(size_bytes);
        };
        Self { pointer, size_bytes, peer: PhantomData }
    }

    /// Allocates a block and writes its first byte, as a program that
    /// allocates in order to store something would.
    #[inline(always)]
    pub(crate) fn allocate_touched(size_bytes: usize) -> Self {
        let block = Self::allocate(size_bytes);
        // SAFETY: The block is live, at least one byte long, and owned here.
        // The write is volatile because nothing reads the byte back.
        unsafe { block.pointer.write_volatile(1) };
        block
    }
}

impl<P: Peer> Drop for Block<P> {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: The pointer came from `P::alloc` with this size and this
        // alignment, and dropping happens once.
        unsafe { P::dealloc(self.pointer.as_ptr(), self.size_bytes, ALIGN_BYTES) };
    }
}

/// The pages that the kernel gives memory in.
const PAGE_BYTES: usize = 4096;

/// Writes the first byte of a block and of each further page, as a program that fills the block
/// would: memory that the kernel has to bring first is paid for.
///
/// # Safety
///
/// The block is live, has `size_bytes` bytes, at least one, and is the caller's.
#[inline(always)]
pub(crate) unsafe fn touch(block: *mut u8, size_bytes: usize) {
    let mut offset = 0;
    while offset < size_bytes {
        // SAFETY: The offset lies in the block, which is the caller's. The write is volatile
        // because nothing reads the byte back.
        unsafe { block.add(offset).write_volatile(1) };
        offset += PAGE_BYTES;
    }
}

/// Stops the bench; kept out of line so that the check costs one branch.
#[cold]
#[inline(never)]
pub(crate) fn out_of_memory(size_bytes: usize) -> ! {
    panic!("the allocator refused {size_bytes} bytes");
}
