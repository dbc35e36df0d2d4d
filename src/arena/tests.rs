//! Arenas without threads: bins, depots, the cap, and the policies.

mod bins;
mod cap;
mod depots;
mod policies;
mod seals;
mod stalls;

use core::ptr::NonNull;

use super::policy::{ArenaPolicy, PerThread};
use super::{ARENAS_MAX, Arenas, BinContext, BinCounts, Refill};
use crate::budget::CacheBudget;
use crate::metadata::Metadata;
use crate::page_heap::PageHeap;
use crate::size_class::SizeClass;
use crate::slab::{Misuse, Slab, page_of};
use crate::test_source::TestSource;

/// What depots may borrow half of.
const BUDGET_BYTES: usize = 1 << 20;

/// Arenas with all that they need, given back whole when the test is over.
struct World {
    page_heap: PageHeap<TestSource>,
    metadata: Metadata,
    arenas: Arenas,
    budget: CacheBudget,
}

impl World {
    /// Allows `cap` arenas and opens them all.
    fn with_open(cap: usize) -> Box<World> {
        let world = World::with_cap(cap);
        for index in 0..cap {
            assert_eq!(world.assign(&PerThread), Some(index));
            // A thread moves in, so that the next one opens an arena of its own.
            world.arenas.get(index).unwrap().join();
        }
        world
    }

    fn with_cap(cap: usize) -> Box<World> {
        Box::new(World {
            page_heap: PageHeap::new(TestSource::new()),
            metadata: Metadata::new(),
            arenas: Arenas::new(cap),
            budget: CacheBudget::new(BUDGET_BYTES),
        })
    }

    fn source(&self) -> &TestSource {
        self.page_heap.source().inner()
    }

    fn assign(&self, policy: &dyn ArenaPolicy) -> Option<usize> {
        self.arenas.assign(policy, &self.metadata, &self.page_heap)
    }

    fn bin(&self, arena: usize, class: SizeClass) -> BinContext<'_, TestSource> {
        self.arenas
            .context(arena, class, &self.page_heap, &self.metadata, &self.budget)
            .expect("a record")
    }

    fn counts(&self, arena: usize, class: SizeClass) -> BinCounts {
        self.arenas.get(arena).unwrap().snapshot(class).counts
    }

    fn depot_blocks(&self, arena: usize, class: SizeClass) -> usize {
        self.arenas.get(arena).unwrap().snapshot(class).depot_blocks
    }

    fn slab_of(&self, block: *mut u8, class: SizeClass) -> Result<Slab, Misuse> {
        Slab::of_block(page_of(&self.page_heap, NonNull::new(block).unwrap())?, class)
    }

    /// Takes this many blocks from an arena, in as many refills as it needs.
    fn take(&self, arena: usize, class: SizeClass, count: usize) -> Vec<*mut u8> {
        let mut blocks = vec![core::ptr::null_mut(); count];
        let mut taken = 0;
        while taken < count {
            let Refill::Got { count: more, .. } =
                self.bin(arena, class).refill(&mut blocks[taken..])
            else {
                panic!("a refill was refused");
            };
            taken += more;
        }
        self.check();
        blocks
    }

    /// Puts blocks back into their slabs, whatever arenas those belong to.
    fn put_back(&self, class: SizeClass, blocks: &[*mut u8]) {
        let mut rest = blocks.to_vec();
        while let Some(first) = rest.first() {
            let arena = self.slab_of(*first, class).unwrap().arena();
            let lookup = |block| self.slab_of(block, class);
            rest = self.bin(arena, class).put_back(&mut rest, lookup).unwrap().to_vec();
        }
        self.check();
    }

    fn set_cap(&self, cap: usize) {
        let give_back = |class, blocks: &mut [*mut u8]| self.put_back(class, blocks);
        self.arenas.set_cap(cap, &self.metadata, &self.page_heap, &self.budget, give_back).unwrap();
        self.check();
    }

    fn check(&self) {
        self.page_heap.check();
        for index in 0..ARENAS_MAX {
            if self.arenas.get(index).is_some() {
                SizeClass::all().for_each(|class| self.bin(index, class).check());
            }
        }
    }

    fn active_bytes(&self) -> usize {
        self.page_heap.stats().active_bytes
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        for index in 0..ARENAS_MAX {
            if self.arenas.get(index).is_some() {
                for class in SizeClass::all() {
                    while self.bin(index, class).drain_depot(&mut [core::ptr::null_mut(); 256]) > 0
                    {
                    }
                }
            }
        }
        // SAFETY: the test is over, and nothing of this world is used any more.
        unsafe {
            self.arenas.release(&self.metadata, &self.page_heap);
            self.metadata.release_empty(self.page_heap.source());
            self.page_heap.unmap_all();
        }
    }
}

/// Where nothing is sealed: what a flush asks of each block.
fn never(_block: &*mut u8) -> bool {
    false
}

fn class_of(bytes: usize) -> SizeClass {
    SizeClass::of(bytes, 1).expect("a small size")
}

impl<S: crate::page_source::PageSource> BinContext<'_, S> {
    /// Runs `work` while somebody keeps the bin's lock: this thread, whose rank does not stand in its
    /// way. Whatever waits for the lock waits for ever.
    pub(crate) fn while_kept<T>(&self, work: impl FnOnce() -> T) -> T {
        let _kept = self.keep();
        let _aside = crate::lock::RanksAside::new();
        work()
    }

    /// Keeps the bin's lock until what it answers is dropped.
    pub(crate) fn keep(&self) -> impl Drop + use<'_, S> {
        struct Kept<'bin>(Option<super::bin_cell::StateGuard<'bin>>);
        impl Drop for Kept<'_> {
            fn drop(&mut self) {
                self.0 = None;
            }
        }
        Kept(Some(self.bin.lock(self.class)))
    }
}
