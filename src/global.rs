//! The one static heap, each thread's slot, and `GlobalAlloc` on top of them.
//!
//! Global state is in this room and in those below it alone, but for the roster of other heaps.
//! `alloc` and `dealloc` are the whole fast path: one table load for the class, one thread-relative
//! load for the cache, and the magazine.

pub(crate) mod control;
mod forks;
pub(crate) mod hooks;
mod process_once;
pub mod raw;
mod slot;
mod start;

use core::alloc::{GlobalAlloc, Layout};
use core::ffi::c_void;
use core::ptr::NonNull;

use crate::allocator::Allocator;
use crate::background::Background;
use crate::config::Config;
use crate::os::OsPages;
use crate::roster;
use crate::size_class::{CLASS_COUNT, GRAIN_BYTES, SizeClass};
use crate::thread_cache::{ThreadSlot, ThreadState};
pub(crate) use forks::watch_forks;
use slot::SLOT;
use start::{DEFAULTS, prepare};

/// All zero until the first allocation, so that it costs the program's file and start nothing.
static HEAP: Allocator<OsPages> = Allocator::unset(OsPages);

static BACKGROUND: Background = Background::new();

/// The allocator: make it a program's `#[global_allocator]` and all of its memory comes from here.
///
/// All values share one heap. Where a program names several, the first to allocate brings the
/// settings.
///
/// ```
/// use capmalloc::CapMalloc;
///
/// #[global_allocator]
/// static GLOBAL: CapMalloc = CapMalloc::new();
///
/// let numbers: Vec<u64> = (0..1000).collect();
/// assert!(capmalloc::stats().allocated_bytes >= 8000);
/// # drop(numbers);
/// ```
///
/// Zero-sized and over-aligned requests are served; a size that cannot be had gives null, as
/// [`GlobalAlloc`] says. A block given back twice, with another size, or that was never given out
/// stops the program with a message where it is seen, which is when it reaches its slab.
#[derive(Clone, Copy, Debug, Default)]
pub struct CapMalloc {
    config: Config,
}

impl CapMalloc {
    /// The allocator with default settings; the environment may change them.
    #[must_use]
    pub const fn new() -> Self {
        CapMalloc::with_config(Config::new())
    }

    /// The allocator with settings from code; the environment may change them.
    #[must_use]
    pub const fn with_config(config: Config) -> Self {
        CapMalloc { config }
    }

    #[inline(always)]
    fn alloc_small(&self, layout: Layout, class: SizeClass) -> *mut u8 {
        match SLOT.with(|slot| slot.pop(class)) {
            Some(block) => block.as_ptr(),
            None => self.alloc_small_slow(layout, class),
        }
    }

    /// The same as `alloc` for stricter alignments; apart, so that the many that have none do not
    /// pay for the rounding.
    #[inline(always)]
    fn alloc_aligned(&self, layout: Layout) -> *mut u8 {
        match SizeClass::of(layout.size(), layout.align()) {
            Some(class) => self.alloc_small(layout, class),
            None => self.alloc_big(layout),
        }
    }

    #[cold]
    #[inline(never)]
    fn alloc_small_slow(&self, layout: Layout, class: SizeClass) -> *mut u8 {
        SLOT.with(|slot| {
            prepare(slot, &self.config);
            let attempt = || HEAP.alloc_small_slow(slot, class);
            hooks::serve(slot, layout.size(), layout.align(), attempt)
        })
    }

    #[cold]
    #[inline(never)]
    fn alloc_zeroed_big(&self, layout: Layout) -> *mut u8 {
        SLOT.with(|slot| {
            prepare(slot, &self.config);
            let attempt = || HEAP.alloc_zeroed(slot, layout);
            hooks::serve(slot, layout.size(), layout.align(), attempt)
        })
    }

    /// Resizes what is not small on both sides, or finds the thread's cache empty.
    ///
    /// # Safety
    ///
    /// As [`GlobalAlloc::realloc`].
    #[cold]
    #[inline(never)]
    unsafe fn realloc_slow(&self, block: NonNull<u8>, layout: Layout, new_size: usize) -> *mut u8 {
        SLOT.with(|slot| {
            prepare(slot, &self.config);
            // SAFETY: the caller's promise is the one asked for; where it answers `None` the block
            // is as it was, and may be tried again.
            let attempt = || unsafe { HEAP.realloc(slot, block, layout, new_size) };
            hooks::serve(slot, new_size, layout.align(), attempt)
        })
    }

    #[inline(never)]
    fn alloc_big(&self, layout: Layout) -> *mut u8 {
        match SLOT.with(|slot| HEAP.alloc_large_cached(slot, layout)) {
            Some(block) => block.as_ptr(),
            None => self.alloc_big_slow(layout),
        }
    }

    #[cold]
    #[inline(never)]
    fn alloc_big_slow(&self, layout: Layout) -> *mut u8 {
        SLOT.with(|slot| {
            prepare(slot, &self.config);
            let attempt = || HEAP.alloc_big(slot, layout).map(|big| big.base);
            hooks::serve(slot, layout.size(), layout.align(), attempt)
        })
    }
}

// SAFETY: blocks are handed out once each, with the size and alignment of the layout's class, span
// or mapping (the tests of each part say so). Nothing here unwinds: what could, a program's own
// policy, aborts instead.
unsafe impl GlobalAlloc for CapMalloc {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.align() > GRAIN_BYTES {
            return self.alloc_aligned(layout);
        }
        match SizeClass::of_unaligned(layout.size()) {
            Some(class) => self.alloc_small(layout, class),
            None => self.alloc_big(layout),
        }
    }

    #[inline]
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller gives a block up that `alloc` gave out, so it is not null.
        let block = unsafe { NonNull::new_unchecked(pointer) };
        if layout.align() > GRAIN_BYTES {
            return dealloc_aligned(block, layout);
        }
        match SizeClass::of_unaligned(layout.size()) {
            Some(class) => dealloc_small(block, class),
            None => dealloc_big(block, layout),
        }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        match SizeClass::of(layout.size(), layout.align()) {
            Some(class) => {
                let block = self.alloc_small(layout, class);
                if !block.is_null() {
                    // SAFETY: the block was just allocated with at least this size.
                    unsafe { block.write_bytes(0, layout.size()) };
                }
                block
            }
            None => self.alloc_zeroed_big(layout),
        }
    }

    #[inline]
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller gives a block that `alloc` gave out, so it is not null.
        let block = unsafe { NonNull::new_unchecked(pointer) };
        let align = layout.align();
        let classes = (SizeClass::of(layout.size(), align), SizeClass::of(new_size, align));
        let (Some(old), Some(new)) = classes else {
            // SAFETY: the caller's promise.
            return unsafe { self.realloc_slow(block, layout, new_size) };
        };
        if old == new {
            return pointer;
        }
        let Some(moved) = SLOT.with(|slot| slot.pop(new)) else {
            // SAFETY: the caller's promise.
            return unsafe { self.realloc_slow(block, layout, new_size) };
        };
        // SAFETY: the new block is another one, and both are at least this long.
        unsafe { moved.copy_from_nonoverlapping(block, layout.size().min(new_size)) };
        dealloc_small(block, old);
        moved.as_ptr()
    }
}

#[inline(always)]
fn dealloc_small(block: NonNull<u8>, class: SizeClass) {
    // SAFETY: reached from `dealloc` alone, with its caller's promise; the class is a pure
    // function of the layout.
    if !SLOT.with(|slot| unsafe { slot.push(class, block) }) {
        dealloc_small_slow(block, class);
    }
}

/// The same as `dealloc` for stricter alignments.
#[inline(always)]
fn dealloc_aligned(block: NonNull<u8>, layout: Layout) {
    match SizeClass::of(layout.size(), layout.align()) {
        Some(class) => dealloc_small(block, class),
        None => dealloc_big(block, layout),
    }
}

#[inline(never)]
fn dealloc_big(block: NonNull<u8>, layout: Layout) {
    if !SLOT.with(|slot| HEAP.dealloc_large_cached(slot, block, layout)) {
        dealloc_big_slow(block, layout);
    }
}

#[cold]
#[inline(never)]
fn dealloc_big_slow(block: NonNull<u8>, layout: Layout) {
    SLOT.with(|slot| {
        // A thread may begin with the free of what another made, and gets a cache for that.
        prepare(slot, DEFAULTS);
        HEAP.dealloc_big(slot, block, layout);
        poke_background(slot);
        hooks::end_slow_path(slot);
    });
}

#[cold]
#[inline(never)]
fn dealloc_small_slow(block: NonNull<u8>, class: SizeClass) {
    SLOT.with(|slot| {
        prepare(slot, DEFAULTS);
        // SAFETY: reached from `dealloc` alone, with its caller's promise.
        unsafe { HEAP.dealloc_small_slow(slot, class, block) };
        poke_background(slot);
        hooks::end_slow_path(slot);
    });
}

/// Sees to it that somebody ends the periods of decay, if the program wants that.
#[inline]
fn poke_background(slot: &ThreadSlot) {
    // A thread within the allocator, or about to end, leaves it to others.
    if slot.state() != ThreadState::Uncached {
        BACKGROUND.poke(background_thread);
    }
}

extern "C" fn background_thread(_argument: *mut c_void) -> *mut c_void {
    // It needs no blocks, and a cache would only have to be reclaimed. It may have one: who
    // watches all threads begin may have freed something on this one before.
    SLOT.with(|slot| HEAP.detach(slot));
    BACKGROUND.run(&HEAP, roster::end_periods, hooks::deliver)
}

/// The same for the slow paths of heaps of one's own, whose periods the thread ends too.
#[inline]
pub(crate) fn poke_background_for_heap() {
    SLOT.with(poke_background);
}

const _: () = assert!(CLASS_COUNT <= u8::MAX as usize);
