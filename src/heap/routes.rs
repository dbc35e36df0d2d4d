//! A heap's allocations: by its cache for who finds the slot free, and past it for the others.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::NonNull;
use core::sync::atomic::Ordering::Relaxed;

use super::Heap;
use crate::allocator::Allocator;
use crate::global;
use crate::page_source::PageSource;
use crate::size_class::SizeClass;
use crate::thread_cache::ThreadSlot;

impl<S: PageSource> Heap<S> {
    /// Allocates a block of at least `layout.size()` bytes at a multiple of its alignment.
    ///
    /// `None` where memory is refused, by the source or by a limit, after a trim and one more try.
    /// A size of zero gets a block too, which has to be freed like any other.
    ///
    /// ```
    /// use capmalloc::Heap;
    /// use core::alloc::Layout;
    ///
    /// let heap = Heap::new()?;
    /// let layout = Layout::from_size_align(100, 4096).expect("a layout");
    /// let block = heap.alloc(layout).expect("a page");
    /// assert!(block.addr().get().is_multiple_of(4096));
    /// // SAFETY: the block is of this heap and layout, and is not used again.
    /// unsafe { heap.dealloc(block, layout) };
    /// # Ok::<(), capmalloc::HeapError>(())
    /// ```
    #[inline]
    #[must_use = "a block that nobody knows of is lost until the heap is dropped"]
    pub fn alloc(&self, layout: Layout) -> Option<NonNull<u8>> {
        match SizeClass::of(layout.size(), layout.align()) {
            Some(class) => match self.pop(class) {
                Some(block) => Some(block),
                None => self.alloc_slow(layout),
            },
            None => self.alloc_slow(layout),
        }
    }

    /// Allocates a block of which the first `layout.size()` bytes read as zero.
    ///
    /// Pages that are known to be fresh are not cleared a second time. Else as
    /// [`alloc`](Self::alloc).
    #[must_use = "a block that nobody knows of is lost until the heap is dropped"]
    pub fn alloc_zeroed(&self, layout: Layout) -> Option<NonNull<u8>> {
        self.with_slot(|allocator, slot| allocator.alloc_zeroed(slot, layout))
    }

    /// Frees a block.
    ///
    /// One that is given back twice, with another layout, or that is not of this heap stops the
    /// program with a message where it is seen, which is when it reaches its slab.
    ///
    /// # Safety
    ///
    /// `block` came from this heap for this `layout`, and nobody uses it any more.
    #[inline]
    pub unsafe fn dealloc(&self, block: NonNull<u8>, layout: Layout) {
        if let Some(class) = SizeClass::of(layout.size(), layout.align()) {
            // SAFETY: the caller's promise; the class is a pure function of the layout.
            if unsafe { self.push(class, block) } {
                return;
            }
        }
        // SAFETY: the caller's promise.
        unsafe { self.dealloc_slow(block, layout) };
    }

    /// Resizes a block; its contents up to the smaller size stay.
    ///
    /// It may move. `None` where memory is refused or `new_size`, rounded up to the alignment,
    /// passes `isize::MAX`: the block is then as it was.
    ///
    /// # Safety
    ///
    /// `block` came from this heap for this `layout`. After `Some` it is of the new size and the
    /// old pointer is given up.
    #[must_use = "after a resize the old pointer is given up"]
    pub unsafe fn realloc(
        &self,
        block: NonNull<u8>,
        layout: Layout,
        new_size: usize,
    ) -> Option<NonNull<u8>> {
        self.with_slot(|allocator, slot| {
            // SAFETY: the caller's promise is the one asked for, but for the bound on the size,
            // past which there is no layout and the answer is `None`.
            unsafe { allocator.realloc(slot, block, layout, new_size) }
        })
    }

    #[inline(always)]
    fn pop(&self, class: SizeClass) -> Option<NonNull<u8>> {
        self.shared().slot.try_lock()?.pop(class)
    }

    /// # Safety
    ///
    /// The block is of this class and heap, given up by its user, and nowhere else.
    #[inline(always)]
    unsafe fn push(&self, class: SizeClass, block: NonNull<u8>) -> bool {
        match self.shared().slot.try_lock() {
            // SAFETY: the caller's promise.
            Some(slot) => unsafe { slot.push(class, block) },
            None => false,
        }
    }

    #[cold]
    #[inline(never)]
    fn alloc_slow(&self, layout: Layout) -> Option<NonNull<u8>> {
        self.with_slot(|allocator, slot| allocator.alloc(slot, layout))
    }

    /// # Safety
    ///
    /// As [`dealloc`](Self::dealloc).
    #[cold]
    #[inline(never)]
    unsafe fn dealloc_slow(&self, block: NonNull<u8>, layout: Layout) {
        // SAFETY: the caller's promise is the one asked for.
        self.with_slot(|allocator, slot| unsafe { allocator.dealloc(slot, block, layout) });
    }

    /// Calls with the heap's slot if nobody has it, and else with that of one without a cache.
    fn with_slot<T>(&self, call: impl FnOnce(&Allocator<S>, &ThreadSlot) -> T) -> T {
        let shared = self.shared();
        let answer = match shared.slot.try_lock() {
            Some(slot) => call(&shared.allocator, &slot),
            None => call(&shared.allocator, &ThreadSlot::uncached()),
        };
        self.poke_background();
        answer
    }

    /// Sees to it that the background thread, where the program wants one, knows of this heap's
    /// use.
    fn poke_background(&self) {
        if self.shared().fruitless.load(Relaxed) != 0 {
            self.shared().fruitless.store(0, Relaxed);
        }
        global::poke_background_for_heap();
    }
}

// SAFETY: blocks are handed out once each, with the size and alignment of their layout, and stay
// where they are when the heap moves. Nothing here unwinds: a page source's panic aborts.
unsafe impl<S: PageSource> GlobalAlloc for Heap<S> {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        as_pointer(Heap::alloc(self, layout))
    }

    #[inline]
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller gives a block up that `alloc` gave out, so it is not null.
        unsafe { Heap::dealloc(self, NonNull::new_unchecked(pointer), layout) };
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        as_pointer(Heap::alloc_zeroed(self, layout))
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller gives a block that `alloc` gave out, so it is not null.
        unsafe {
            as_pointer(Heap::realloc(self, NonNull::new_unchecked(pointer), layout, new_size))
        }
    }
}

fn as_pointer(block: Option<NonNull<u8>>) -> *mut u8 {
    block.map_or(core::ptr::null_mut(), NonNull::as_ptr)
}
