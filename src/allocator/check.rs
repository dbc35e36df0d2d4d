//! The heap's invariants, layer by layer.

use super::Allocator;
use crate::arena::ARENAS_MAX;
use crate::page_source::PageSource;
use crate::size_class::SizeClass;
use crate::thread_cache::ThreadCache;

impl<S: PageSource> Allocator<S> {
    /// Walks every structure and stops the program where one contradicts itself.
    ///
    /// Safe at any time: each structure is walked under its own lock. What holds only between
    /// structures is left to the tests, who know when nothing else runs.
    pub(crate) fn check(&self) {
        self.page_heap.check();
        self.huge.check();
        self.metadata.check();
        self.notices().check();
        self.caches().lock().iter().for_each(ThreadCache::check);
        self.cpu_caches.check(&self.budget);
        ensure!(self.arenas.open() <= ARENAS_MAX, "more arenas are open than can be");
        for arena in 0..ARENAS_MAX {
            for class in SizeClass::all() {
                let Some(bin) = self.bin(arena, class) else { return };
                bin.check();
            }
        }
    }
}
