//! What a trace is replayed on.

use std::alloc::Layout;
use std::marker::PhantomData;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use crate::peers::Peer;

/// An allocator, and whoever wants to know what is live.
///
/// # Safety
///
/// The four functions must do what [`GlobalAlloc`](std::alloc::GlobalAlloc) says of those of the
/// same names.
pub unsafe trait ReplayTarget: Sync {
    /// Allocates a block.
    ///
    /// # Safety
    ///
    /// The layout must not be of no bytes.
    unsafe fn alloc(&self, layout: Layout) -> *mut u8;

    /// Allocates a block of zeros.
    ///
    /// # Safety
    ///
    /// The layout must not be of no bytes.
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8;

    /// Frees a block.
    ///
    /// # Safety
    ///
    /// It must be live, of this target, and have this layout.
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout);

    /// Resizes a block.
    ///
    /// # Safety
    ///
    /// It must be live, of this target, and have this layout; the new size must not be zero, and
    /// must make a layout with the same alignment.
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8;

    /// Takes note of how many bytes are live now: so many more than before, or less.
    ///
    /// Each thread tells it when it has changed that by 16 KiB, and when it ends. All that is told
    /// of a pass adds up to zero.
    fn live_bytes_changed(&self, change_bytes: isize) {
        let _ = change_bytes;
    }
}

/// The process's global allocator, with the live bytes in a counter.
#[derive(Debug)]
pub struct GlobalTarget<'a> {
    live_bytes: &'a AtomicUsize,
}

impl<'a> GlobalTarget<'a> {
    /// Counts live bytes in this counter.
    #[must_use]
    pub fn new(live_bytes: &'a AtomicUsize) -> Self {
        Self { live_bytes }
    }
}

// SAFETY: The functions are those of the global allocator.
unsafe impl ReplayTarget for GlobalTarget<'_> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: The caller's promise is the one that is asked for.
        unsafe { std::alloc::alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: The caller's promise is the one that is asked for.
        unsafe { std::alloc::alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: The caller's promise is the one that is asked for.
        unsafe { std::alloc::dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: The caller's promise is the one that is asked for.
        unsafe { std::alloc::realloc(pointer, layout, new_size) }
    }

    fn live_bytes_changed(&self, change_bytes: isize) {
        // Relaxed: it is only a number to look at. Adding what is negative subtracts.
        self.live_bytes.fetch_add(change_bytes as usize, Relaxed);
    }
}

/// One of the allocators that are compared here.
#[derive(Debug)]
pub struct PeerTarget<P: Peer>(PhantomData<P>);

impl<P: Peer> PeerTarget<P> {
    /// The peer as a target.
    #[must_use]
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

impl<P: Peer> Default for PeerTarget<P> {
    fn default() -> Self {
        Self::new()
    }
}

// SAFETY: A peer's functions are those of a `GlobalAlloc`.
unsafe impl<P: Peer> ReplayTarget for PeerTarget<P> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: The caller promises more than no bytes, and a layout is valid.
        unsafe { P::alloc(layout.size(), layout.align()) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: The caller promises more than no bytes, and a layout is valid.
        unsafe { P::alloc_zeroed(layout.size(), layout.align()) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: The caller's promise is the one that is asked for.
        unsafe { P::dealloc(pointer, layout.size(), layout.align()) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: The caller's promise is the one that is asked for.
        unsafe { P::realloc(pointer, layout.size(), layout.align(), new_size) }
    }
}
