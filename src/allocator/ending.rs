//! The end of a heap: everything goes back to the source.

#[cfg(test)]
use core::ptr::NonNull;
#[cfg(test)]
use core::sync::atomic::Ordering::Acquire;

use super::Allocator;
#[cfg(test)]
use super::PolicyRef;
use crate::page_source::PageSource;
#[cfg(test)]
use crate::size_class::SizeClass;

impl<S: PageSource> Allocator<S> {
    /// Gives everything back to the source at once, whatever is live.
    ///
    /// # Safety
    ///
    /// Nothing of the heap is used any more, by any thread, and no slot of it either.
    pub(crate) unsafe fn unmap_all(&self) {
        let source = self.page_heap.source();
        // SAFETY: the caller's promise, for each part in turn; records go after their users, and
        // the segments last, because the bins' slabs are named by their descriptors.
        unsafe {
            self.huge.unmap_all(&self.huge_supply());
            self.arenas.release(&self.metadata, &self.page_heap);
            self.metadata.unmap_all(source);
            self.page_heap.unmap_segments();
        }
    }

    /// Gives everything back to the source, part by part, so that a record left behind is seen.
    ///
    /// # Safety
    ///
    /// Nothing of the heap is used any more, by any thread, and no slot is attached to it.
    #[cfg(test)]
    pub(crate) unsafe fn release(&self) {
        // SAFETY: the caller's promise, for each part in turn; records go after their users.
        unsafe {
            self.huge.unmap_all(&self.huge_supply());
            self.drain_cpu_caches();
            self.cpu_caches.release(&self.magazines());
            for class in SizeClass::all() {
                for arena in 0..crate::arena::ARENAS_MAX {
                    let Some(context) = self.bin(arena, class) else { break };
                    while context.drain_depot(&mut [core::ptr::null_mut(); 256]) > 0 {}
                }
            }
            self.arenas.release(&self.metadata, &self.page_heap);
            if let Some(policy) = NonNull::new(self.policy.swap(core::ptr::null_mut(), Acquire)) {
                let bytes = size_of::<PolicyRef>();
                self.metadata.give(self.page_heap.source(), policy.cast(), bytes);
            }
            self.metadata.release_empty(self.page_heap.source());
            self.page_heap.unmap_all();
        }
    }
}
