//! What a pointer alone leads to, for callers who cannot say a block's layout.

use core::alloc::Layout;
use core::ptr::NonNull;

use super::{Allocator, LARGE_MAX_BYTES};
use crate::os::clock;
use crate::page_source::PageSource;
use crate::size_class::{SMALL_MAX_BYTES, SizeClass};
use crate::slab::Misuse;
use crate::span::{SpanKind, SpanPtr};
use crate::thread_cache::{CACHED_PAGES_MAX, ThreadSlot};

/// What a pointer leads to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Found {
    /// A page of blocks of this class.
    Small(SizeClass),
    /// The start of a span of its own.
    Large(SpanPtr),
    /// The start of a mapping of its own, of so many bytes to its user.
    Huge(usize),
}

impl Found {
    /// Bytes that the user of the allocation may use.
    pub(crate) fn usable_bytes(self) -> usize {
        match self {
            Found::Small(class) => class.block_bytes(),
            Found::Large(span) => span.pages().bytes(),
            Found::Huge(bytes) => bytes,
        }
    }

    /// A layout by which the allocation may be resized where it lies, or moved by the kernel;
    /// `None` for blocks of slabs, and for what only its alignment kept from being one.
    pub(crate) fn resizable_layout(self) -> Option<Layout> {
        let route_min_bytes = match self {
            Found::Small(_) => return None,
            Found::Large(_) => SMALL_MAX_BYTES,
            Found::Huge(_) => LARGE_MAX_BYTES,
        };
        let bytes = self.usable_bytes();
        // The least alignment: it names the same route again, and any page has it.
        (bytes > route_min_bytes).then(|| Layout::from_size_align(bytes, 1).ok()).flatten()
    }
}

impl<S: PageSource> Allocator<S> {
    /// The class of the block, if it is small and where most of the heap's blocks are.
    #[inline(always)]
    pub(crate) fn near_class(&self, block: NonNull<u8>) -> Option<SizeClass> {
        self.page_heap.block_class(block.addr().get())
    }

    /// What the pointer leads to, wherever it does; for a small block, its page.
    pub(crate) fn find(&self, block: NonNull<u8>) -> Result<Found, Misuse> {
        let address = block.addr().get();
        let Some(segment) = self.page_heap.segment_of(address) else {
            return self.huge.asked_bytes(block).map(Found::Huge).ok_or(Misuse::NotOurs);
        };
        if let Some(class) = segment.block_class(address) {
            return Ok(Found::Small(class));
        }
        let span = segment.page_containing(address);
        match span.kind() {
            SpanKind::Large if span.base() == block => Ok(Found::Large(span)),
            SpanKind::CachedLarge if span.base() == block => Err(Misuse::FreeAlready),
            _ => Err(Misuse::NotASlab),
        }
    }

    /// Holds that a block of this class, which is out of its slab, starts at `block`.
    ///
    /// A block in a thread's cache or in a depot is out of its slab too.
    pub(crate) fn confirm(&self, block: NonNull<u8>, class: SizeClass) -> Result<(), Misuse> {
        self.slab_of(block.as_ptr(), class)?.confirm(class.shape(), block)
    }

    /// Frees what is not small.
    pub(crate) fn dealloc_found(&self, slot: &ThreadSlot, block: NonNull<u8>, found: Found) {
        match found {
            Found::Small(_) => unreachable_route(),
            Found::Large(span) if span.pages() <= CACHED_PAGES_MAX => {
                return self.dealloc_large(slot, span);
            }
            Found::Large(span) => self.page_heap.free(span),
            // Another thread that frees the same was first: where it says so, so does this.
            Found::Huge(bytes) => {
                if !self.huge.dealloc(&self.huge_supply(), block, bytes) {
                    super::abort_over(Misuse::NotOurs, block.as_ptr(), bytes);
                }
            }
        }
        self.tick(clock::coarse_milliseconds());
    }
}

#[cold]
fn unreachable_route() -> ! {
    crate::os::message::abort_with(format_args!("a small block took the way of a large one"))
}
