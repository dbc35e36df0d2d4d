//! Sealing: a heap made ready to be forked, so that its pages stay shared.
//!
//! After a fork, parent and children share every page until one of them writes to it. A program
//! that forks workers from a warm parent wants that to last; but a heap of half-full slabs hands
//! the holes between inherited blocks out first, and each block written there costs a copy of a
//! whole page. `warm_up` trims the heap and then seals every slab: what is allocated from there on,
//! on either side, lies in slabs cut from fresh pages. Freeing an inherited block was never a write
//! to its page, because all that is known of it lies apart.
//!
//! A seal ends when its slab's last block is freed, or by `thaw`.

use core::sync::atomic::Ordering::Relaxed;

use crate::allocator::Allocator;
use crate::arena::ARENAS_MAX;
use crate::page_source::PageSource;
use crate::size_class::SizeClass;
use crate::thread_cache::ThreadSlot;
use crate::trim::Trimmed;

impl<S: PageSource> Allocator<S> {
    /// Trims the heap, then seals its slabs.
    pub(crate) fn warm_up(&self, slot: &ThreadSlot) -> Trimmed {
        // In this order, so that blocks on their way through caches and depots are in slabs again
        // and no batch of them is handed out after the seal.
        let trimmed = self.trim(slot);
        self.has_seals().store(true, Relaxed);
        self.for_each_bin(|bin| {
            bin.seal();
        });
        trimmed
    }

    /// Ends all seals; answers the bytes of the slabs that had one.
    pub(crate) fn thaw(&self) -> usize {
        self.has_seals().store(false, Relaxed);
        let mut thawed_bytes = 0;
        self.for_each_bin(|bin| thawed_bytes += bin.thaw() * bin.class.shape().pages().bytes());
        thawed_bytes
    }

    fn for_each_bin(&self, mut visit: impl FnMut(&crate::arena::BinContext<'_, S>)) {
        // From the last to the first, for a lower cap moves slabs that way; and closed ones too,
        // for their slabs may just be on their way: none is passed over.
        let records = (0..ARENAS_MAX).take_while(|&arena| self.arenas().get(arena).is_some());
        for arena in (0..records.count()).rev() {
            for class in SizeClass::all() {
                if let Some(bin) = self.bin(arena, class) {
                    visit(&bin);
                }
            }
        }
    }
}
