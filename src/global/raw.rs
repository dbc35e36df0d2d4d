//! The global heap for callers that have only a pointer, as those of C's `free` do.
//!
//! `malloc` and its relations can be written on top of these functions; the package
//! `capmalloc-preload` does so. Memory from here and memory from [`CapMalloc`](crate::CapMalloc) is
//! of one heap: a block of either may be given back by the other, with its true layout where one is
//! asked for.
//!
//! ```
//! use capmalloc::raw;
//!
//! let block = raw::alloc(100).expect("100 bytes");
//! assert!(raw::usable_bytes(block)? >= 100);
//! // SAFETY: the block is this program's, which gives the old pointer up.
//! let block = unsafe { raw::realloc(block, 100_000) }.expect("100,000 bytes");
//! // SAFETY: the block is this program's, and not used any more.
//! unsafe { raw::free(block) };
//! # Ok::<(), raw::PointerError>(())
//! ```
//!
//! How a pointer leads to its block: the segment map to the segment, and that to the class of the
//! page's blocks, two loads in a row. Nothing of the block or of its slab is looked at until a
//! batch is flushed, so a small block freed twice, or freed by a pointer into its middle, is seen
//! then; what is no block of this heap at all is seen at once.
//!
//! # Errors
//!
//! A size that cannot be had gives `None`. A pointer that cannot be what the caller says ends the
//! program with one line that names the function, the pointer and the finding.

mod pointer_error;
mod told;

use core::alloc::Layout;
use core::ptr::NonNull;

use super::{CapMalloc, DEFAULTS, HEAP, SLOT, dealloc_small, hooks, poke_background, prepare};
use crate::allocator::{Found, usable_bytes as usable_bytes_of};
use crate::os::message;
use crate::size_class::SizeClass;

pub use pointer_error::{PointerError, abort_over};
pub(super) use told::{are_forks_told, may_have_cache};
pub use told::{forks_are_told, thread_begins, threads_are_told, watch_forks};

/// The alignment of every C type.
const FUNDAMENTAL_ALIGN: usize = 16;

const CAPMALLOC: CapMalloc = CapMalloc::new();

/// Allocates `size` bytes, aligned for any C type that fits: to 8 up to eight bytes, and to 16
/// above.
///
/// `None` where memory is refused. Of size zero there is a block too.
#[inline]
pub fn alloc(size: usize) -> Option<NonNull<u8>> {
    match SizeClass::of_fundamental(size) {
        Some(class) => match SLOT.with(|slot| slot.pop(class)) {
            Some(block) => Some(block),
            None => alloc_small_slow(size, class),
        },
        None => alloc_big(size),
    }
}

/// A block for this size from the calling thread's cache, if it has one at hand.
///
/// The part of [`alloc`] that is worth a place in the caller's own code; `None` says nothing but
/// that `alloc` has to be asked.
#[inline(always)]
pub fn alloc_cached(size: usize) -> Option<NonNull<u8>> {
    SLOT.with(|slot| slot.pop(SizeClass::of_fundamental(size)?))
}

#[cold]
#[inline(never)]
fn alloc_small_slow(size: usize, class: SizeClass) -> Option<NonNull<u8>> {
    NonNull::new(CAPMALLOC.alloc_small_slow(layout(size, FUNDAMENTAL_ALIGN)?, class))
}

#[cold]
#[inline(never)]
fn alloc_big(size: usize) -> Option<NonNull<u8>> {
    NonNull::new(CAPMALLOC.alloc_big(layout(size, FUNDAMENTAL_ALIGN)?))
}

/// `None` for sizes past `isize::MAX`.
fn layout(size: usize, align: usize) -> Option<Layout> {
    Layout::from_size_align(size, align).ok()
}

/// Allocates as [`alloc`] does, memory that reads as zero.
///
/// Pages known to be fresh are not cleared a second time.
#[inline]
pub fn alloc_zeroed(size: usize) -> Option<NonNull<u8>> {
    if SizeClass::of_fundamental(size).is_none() {
        return alloc_big_zeroed(size);
    }
    let block = alloc(size)?;
    // SAFETY: the block was just allocated with at least this size.
    unsafe { block.write_bytes(0, size) };
    Some(block)
}

#[cold]
#[inline(never)]
fn alloc_big_zeroed(size: usize) -> Option<NonNull<u8>> {
    let layout = layout(size, FUNDAMENTAL_ALIGN)?;
    SLOT.with(|slot| {
        prepare(slot, DEFAULTS);
        let attempt = || HEAP.alloc_zeroed(slot, layout);
        NonNull::new(hooks::serve(slot, size, FUNDAMENTAL_ALIGN, attempt))
    })
}

/// Allocates `size` bytes at a multiple of `align`, a power of two.
///
/// `None` where memory is refused, and where `align` is not a power of two.
///
/// ```
/// use capmalloc::raw;
///
/// let block = raw::alloc_aligned(100, 4096).expect("a page");
/// assert_eq!(block.addr().get() % 4096, 0);
/// assert!(raw::alloc_aligned(100, 3).is_none());
/// // SAFETY: the block is this program's, and not used any more.
/// unsafe { raw::free(block) };
/// ```
pub fn alloc_aligned(size: usize, align: usize) -> Option<NonNull<u8>> {
    NonNull::new(CAPMALLOC.alloc_aligned(layout(size, align)?))
}

/// Gives a block back to the calling thread's cache, if that has room for it; `false` says nothing
/// but that [`free`] has to be asked.
///
/// # Safety
///
/// As [`free`]; after `false` the block is still its user's.
#[inline(always)]
pub unsafe fn free_cached(block: NonNull<u8>) -> bool {
    let Some(class) = HEAP.near_class(block) else { return false };
    // SAFETY: the caller's promise, and the class is that of the block's slab.
    SLOT.with(|slot| unsafe { slot.push(class, block) })
}

/// Gives a block back.
///
/// # Safety
///
/// `block` came from this heap, and its user gives it up.
#[inline]
pub unsafe fn free(block: NonNull<u8>) {
    match HEAP.near_class(block) {
        Some(class) => dealloc_small(block, class),
        None => free_slow(block, "free"),
    }
}

/// Gives back what is not small, or lies where the heap has little.
#[cold]
#[inline(never)]
fn free_slow(block: NonNull<u8>, function: &'static str) {
    match HEAP.find(block) {
        Ok(Found::Small(class)) => dealloc_small(block, class),
        Ok(found) => {
            SLOT.with(|slot| {
                // A thread may begin with the free of what another made.
                prepare(slot, DEFAULTS);
                HEAP.dealloc_found(slot, block, found);
                poke_background(slot);
                hooks::end_slow_path(slot);
            });
        }
        Err(misuse) => abort_over(function, block, PointerError::of(misuse)),
    }
}

/// Gives a block back of which the caller knows the size that [`alloc`] or [`realloc`] was asked
/// for.
///
/// A size that the block cannot have ends the program. Sizes are told apart as far as blocks are:
/// in size classes, and in pages above 32 KiB.
///
/// # Safety
///
/// As [`free`]; and `block` came from [`alloc`], [`alloc_zeroed`] or [`realloc`] with this size.
#[inline]
pub unsafe fn free_sized(block: NonNull<u8>, size: usize) {
    let class = HEAP.near_class(block);
    match class {
        Some(found) if SizeClass::of_fundamental(size) == class => dealloc_small(block, found),
        _ => {
            let align = if size <= FUNDAMENTAL_ALIGN / 2 { 1 } else { FUNDAMENTAL_ALIGN };
            free_sized_slow(block, size, align, "free_sized");
        }
    }
}

/// Gives a block back of which the caller knows what [`alloc_aligned`] was asked for.
///
/// # Safety
///
/// As [`free`]; and `block` came from [`alloc_aligned`] with this size and alignment.
pub unsafe fn free_aligned_sized(block: NonNull<u8>, align: usize, size: usize) {
    free_sized_slow(block, size, align, "free_aligned_sized");
}

#[cold]
#[inline(never)]
fn free_sized_slow(block: NonNull<u8>, size: usize, align: usize, function: &'static str) {
    let found = HEAP.find(block).unwrap_or_else(|misuse| {
        abort_over(function, block, PointerError::of(misuse));
    });
    let told = layout(size, align).and_then(usable_bytes_of);
    if told != Some(found.usable_bytes()) {
        let usable_bytes = found.usable_bytes();
        message::abort_with(format_args!(
            "{function} of {block:p} with {size} bytes: it is a block of {usable_bytes}"
        ));
    }
    free_slow(block, function);
}

/// Resizes a block, moving it if need be; the contents up to the smaller size stay, and it is
/// aligned as [`alloc`] aligns.
///
/// `None` where memory is refused; the block is then as it was.
///
/// # Safety
///
/// `block` came from this heap; after `Some` its old pointer is given up.
#[inline]
pub unsafe fn realloc(block: NonNull<u8>, new_size: usize) -> Option<NonNull<u8>> {
    let found = find_block(block).unwrap_or_else(|error| abort_over("realloc", block, error));
    if let Found::Small(class) = found
        && SizeClass::of_fundamental(new_size) == Some(class)
    {
        return Some(block);
    }
    if let Some(old) = found.resizable_layout()
        && SizeClass::of_fundamental(new_size).is_none()
    {
        // SAFETY: the caller's promise; the layout takes the allocation's own route, and `None`
        // left it as it was.
        return unsafe { realloc_big(block, old, new_size) };
    }
    let moved = alloc(new_size)?;
    let kept_bytes = found.usable_bytes().min(new_size);
    // SAFETY: both blocks are at least this long, the new one is not the old, and the caller gives
    // the old one up.
    unsafe {
        moved.copy_from_nonoverlapping(block, kept_bytes);
        free(block);
    }
    Some(moved)
}

/// # Safety
///
/// As [`realloc`]; and `old` is a layout by which the block may be resized.
#[cold]
#[inline(never)]
unsafe fn realloc_big(block: NonNull<u8>, old: Layout, new_size: usize) -> Option<NonNull<u8>> {
    layout(new_size, old.align())?;
    SLOT.with(|slot| {
        prepare(slot, DEFAULTS);
        // SAFETY: the caller's promise; where it answers `None` the block is as it was, and may be
        // tried again.
        let attempt = || unsafe { HEAP.realloc(slot, block, old, new_size) };
        NonNull::new(hooks::serve(slot, new_size, old.align(), attempt))
    })
}

/// Bytes that the user of a block may use, at least as many as were asked for.
///
/// # Errors
///
/// Where `block` is not the start of a block of this heap. That a small block is free already is
/// seen only where it has left all caches and depots.
pub fn usable_bytes(block: NonNull<u8>) -> Result<usize, PointerError> {
    find_block(block).map(Found::usable_bytes)
}

fn find_block(block: NonNull<u8>) -> Result<Found, PointerError> {
    let found = match HEAP.near_class(block) {
        Some(class) => Ok(Found::Small(class)),
        None => HEAP.find(block),
    };
    let found = found.map_err(PointerError::of)?;
    if let Found::Small(class) = found {
        HEAP.confirm(block, class).map_err(PointerError::of)?;
    }
    Ok(found)
}
