//! Trim: everything that no block needs goes back to the operating system.

use crate::allocator::Allocator;
use crate::hooks::Event;
use crate::huge::CACHED_MAX;
use crate::page_source::PageSource;
use crate::size_class::SizeClass;
use crate::thread_cache::ThreadSlot;

/// Blocks moved out of a depot at a time.
const DEPOT_BATCH: usize = 256;

/// What a trim gave back, and from where.
///
/// The figures of caches and depots are blocks on their way: returned to their slabs, they may have made
/// pages free that are counted below. [`total_bytes`](Self::total_bytes) is what went back to the
/// operating system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Trimmed {
    /// Bytes of free blocks taken from thread caches.
    pub thread_cache_bytes: usize,
    /// Bytes of free blocks taken from CPU caches.
    pub cpu_cache_bytes: usize,
    /// Bytes of free blocks taken from depots.
    pub depot_bytes: usize,
    /// Bytes of free spans given back.
    pub span_bytes: usize,
    /// Bytes of pages given back inside slabs of which other pages are in use.
    pub slab_page_bytes: usize,
    /// Bytes of freed huge mappings that had been kept for reuse.
    pub huge_bytes: usize,
    /// Bytes of the allocator's own records.
    pub metadata_bytes: usize,
    /// Bytes of address space of segments unmapped; their pages are counted above.
    pub segment_address_bytes: usize,
}

impl Trimmed {
    /// Bytes that were resident and went back to the operating system.
    pub const fn total_bytes(&self) -> usize {
        self.span_bytes + self.slab_page_bytes + self.huge_bytes + self.metadata_bytes
    }
}

impl<S: PageSource> Allocator<S> {
    /// Trims the heap, front to back: caches of all threads, depots, slabs, spans, segments.
    pub(crate) fn trim(&self, slot: &ThreadSlot) -> Trimmed {
        self.adopt_orphans();
        let own_bytes = self.flush_own_cache(slot);
        let mut trimmed =
            Trimmed { thread_cache_bytes: own_bytes + self.reclaim_all(), ..Trimmed::default() };
        trimmed.cpu_cache_bytes = self.drain_cpu_caches();
        // All depots first: they may hold blocks of any arena.
        let open = self.arenas().open();
        (0..open).for_each(|arena| self.empty_depots(arena, &mut trimmed));
        (0..open).for_each(|arena| self.purge_slabs(arena, &mut trimmed));
        trimmed.huge_bytes = self.release_huge(0);
        self.trim_pages(&mut trimmed);
        self.notices().note(Event::Trimmed(trimmed));
        trimmed
    }

    /// Trims what one arena holds, and the free spans that all share; `None` where it is not open.
    pub(crate) fn trim_arena(&self, arena: usize) -> Option<Trimmed> {
        if arena >= self.arenas().open() {
            return None;
        }
        let mut trimmed = Trimmed::default();
        self.empty_depots(arena, &mut trimmed);
        self.purge_slabs(arena, &mut trimmed);
        self.trim_pages(&mut trimmed);
        self.notices().note(Event::Trimmed(trimmed));
        Some(trimmed)
    }

    fn empty_depots(&self, arena: usize, trimmed: &mut Trimmed) {
        for class in SizeClass::all() {
            trimmed.depot_bytes += self.empty_depot(arena, class);
        }
    }

    fn purge_slabs(&self, arena: usize, trimmed: &mut Trimmed) {
        for class in SizeClass::all() {
            if let Some(bin) = self.bin(arena, class) {
                trimmed.slab_page_bytes += bin.purge_slabs();
            }
        }
    }

    /// Moves the blocks of a depot back into their slabs; answers the bytes.
    pub(crate) fn empty_depot(&self, arena: usize, class: SizeClass) -> usize {
        let Some(bin) = self.bin(arena, class) else { return 0 };
        self.put_back_from_depot(class, |blocks| bin.drain_depot(blocks))
    }

    /// Moves blocks that a depot did without for a period back into their slabs.
    pub(crate) fn empty_depot_of_surplus(&self, arena: usize, class: SizeClass) {
        if let Some(bin) = self.bin(arena, class) {
            self.put_back_from_depot(class, |blocks| bin.take_depot_surplus(blocks));
        }
    }

    /// Puts back what `take` answers with, batch by batch, until it has no more; in bytes.
    fn put_back_from_depot(
        &self,
        class: SizeClass,
        mut take: impl FnMut(&mut [*mut u8]) -> usize,
    ) -> usize {
        let mut blocks = [core::ptr::null_mut(); DEPOT_BATCH];
        let mut moved_bytes = 0;
        loop {
            let _in_hand = self.in_hand().lock();
            let count = take(&mut blocks);
            self.put_back(class, &mut blocks[..count]);
            moved_bytes += count * class.block_bytes();
            if count < DEPOT_BATCH {
                return moved_bytes;
            }
        }
    }

    /// Unmaps the huge mappings kept for reuse through so many ends of periods; answers the bytes.
    ///
    /// One at a time, for a fork waits while it goes.
    pub(crate) fn release_huge(&self, age: u8) -> usize {
        let release_one = |_| {
            let _in_hand = self.in_hand().lock();
            self.huge().release_one(&self.huge_supply(), age)
        };
        (0..CACHED_MAX).map_while(release_one).sum()
    }

    /// The same of all, for slow paths where nothing is to be kept: they wait for nobody's call to
    /// the kernel, and what is left is for the next of them.
    pub(crate) fn release_huge_unless_others_do(&self) {
        if self.huge().stats().cached_bytes > 0
            && let Some(_in_hand) = self.in_hand().try_lock()
        {
            let release_one = |_| self.huge().release_one(&self.huge_supply(), 0);
            (0..CACHED_MAX).map_while(release_one).for_each(drop);
        }
    }

    fn trim_pages(&self, trimmed: &mut Trimmed) {
        trimmed.metadata_bytes = self.metadata().release_empty(self.page_heap().source());
        let purged = self.page_heap().purge_all();
        trimmed.span_bytes = purged.spans_bytes;
        trimmed.segment_address_bytes = purged.segments_bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_source::TestSource;
    use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

    #[test]
    fn a_fork_waits_for_blocks_between_depot_and_slab() {
        let heap = Box::new(Allocator::new(TestSource::new(), 1));
        let class = SizeClass::of(64, 1).expect("a class");
        let (has_forked, mut was_early) = (AtomicBool::new(false), false);
        std::thread::scope(|scope| {
            heap.put_back_from_depot(class, |_| {
                scope.spawn(|| {
                    heap.prepare_fork();
                    has_forked.store(true, SeqCst);
                    // SAFETY: this thread has just taken the locks.
                    unsafe { heap.finish_fork() };
                });
                // Long enough for one that does not wait.
                std::thread::sleep(core::time::Duration::from_millis(50));
                was_early = has_forked.load(SeqCst);
                0
            });
        });
        assert_eq!((was_early, has_forked.load(SeqCst)), (false, true));
    }
}
