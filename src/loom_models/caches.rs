//! What the models of the handshake are made of: a cache, its owner, and who reclaims it.

use core::ptr::NonNull;
use std::sync::Arc;

use crate::budget::CacheBudget;
use crate::counted_source::CountedSource;
use crate::metadata::Metadata;
use crate::size_class::SizeClass;
use crate::sync::membarrier;
use crate::test_source::TestSource;
use crate::thread_cache::{CacheRegistry, Magazines, ThreadCache, ThreadSlot};

/// The only class in use.
pub(super) fn class() -> SizeClass {
    SizeClass::of(8, 1).expect("a small size")
}

/// What caches are made of, without a heap behind them.
pub(super) struct World {
    source: CountedSource<TestSource>,
    metadata: Metadata,
    budget: CacheBudget,
    pub(super) registry: CacheRegistry,
}

/// A thread of the model, as the cache knows its owner.
pub(super) struct Owner {
    world: Arc<World>,
    slot: Arc<ThreadSlot>,
    /// Blocks that the thread has.
    pub(super) held: Vec<usize>,
}

impl World {
    pub(super) fn new() -> Arc<World> {
        // EMPTY's words are touched here, before there are threads.
        let nobody = ThreadSlot::new();
        assert!(nobody.pop(class()).is_none());
        // SAFETY: the block is a number, which EMPTY does not take.
        assert!(!unsafe { nobody.push(class(), block(1)) });
        Arc::new(World {
            source: CountedSource::new(TestSource::new()),
            metadata: Metadata::new(),
            budget: CacheBudget::new(1 << 20),
            registry: CacheRegistry::new(),
        })
    }

    fn magazines(&self) -> Magazines<'_, TestSource> {
        Magazines { metadata: &self.metadata, source: &self.source, budget: &self.budget }
    }

    /// A thread whose cache holds the blocks from 1 to `count`.
    pub(super) fn owner_of(self: &Arc<Self>, count: usize) -> Owner {
        let slot = Arc::new(ThreadSlot::new());
        let cache = ThreadCache::attach(&slot, 0, &self.registry, &self.magazines());
        // Touches every word of the slot, of the cache and of its bins.
        assert!(slot.pop(class()).is_none());
        let mut locked = cache.expect("memory for it").open(&slot, &self.registry, 0);
        locked.drain(&self.magazines(), |_, _| {}, |_| {});
        drop(locked);
        let owner = Owner { world: Arc::clone(self), slot, held: Vec::new() };
        (1..=count).for_each(|number| owner.give(number));
        owner
    }

    /// Takes the blocks of every cache whose owner is not at work, in the steps of `reclaim.rs`.
    pub(super) fn reclaim(&self) -> Vec<usize> {
        let mut reclaimed = Vec::new();
        let mut caches = self.registry.lock();
        for _ in 0..caches.warm_count() {
            let Some(cache) = caches.rotate_warm() else { break };
            // SAFETY: it is on the registry's list, whose lock is held, and the world lives on.
            let hidden = unsafe { ThreadCache::hide_from_owner(cache, false) };
            let Some(mut locked) = hidden else { continue };
            assert!(membarrier::everywhere());
            if !locked.is_idle() {
                continue;
            }
            caches.set_cold(locked.cache(), true);
            // The cache's own lock keeps it from here on.
            drop(caches);
            locked.drain(&self.magazines(), |_, blocks| reclaimed.extend(numbers(blocks)), |_| {});
            drop(locked);
            caches = self.registry.lock();
        }
        reclaimed
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(self.budget.lent_bytes(), 0, "what caches borrowed came back");
            // What is in use still stays mapped, and the source tells.
            self.metadata.release_empty(&self.source);
        }
    }
}

impl Owner {
    fn cache(&self) -> &ThreadCache {
        ThreadCache::of(&self.slot).expect("it was attached")
    }

    /// Allocates, by the slow path where the fast one has nothing.
    pub(super) fn take(&mut self) -> bool {
        let fast = self.slot.pop(class());
        let block =
            fast.or_else(|| self.cache().open(&self.slot, &self.world.registry, 0).pop(class()));
        self.held.extend(block.map(|block| block.addr().get() / 8));
        block.is_some()
    }

    /// Allocates by the fast path alone.
    pub(super) fn take_fast(&mut self) -> bool {
        let block = self.slot.pop(class());
        self.held.extend(block.map(|block| block.addr().get() / 8));
        block.is_some()
    }

    /// Frees, by the slow path where the fast one has no room.
    pub(super) fn give(&self, number: usize) {
        // SAFETY: the block is a number that this thread had.
        if unsafe { self.slot.push(class(), block(number)) } {
            return;
        }
        let mut locked = self.cache().open(&self.slot, &self.world.registry, 0);
        // SAFETY: as above; the fast path left the block alone.
        unsafe {
            if !locked.push(class(), block(number)) {
                assert!(locked.grow(class(), &self.world.magazines()));
                assert!(locked.push(class(), block(number)));
            }
        }
    }

    /// Ends the thread and has one that was just made go on with its cache, where that is parked.
    pub(super) fn hand_on(mut self, slot: Arc<ThreadSlot>) -> Owner {
        if !ThreadCache::park(&self.slot, &self.world.registry, &self.world.budget) {
            self.detach();
        }
        let world = &self.world;
        ThreadCache::attach(&slot, 0, &world.registry, &world.magazines()).expect("memory for it");
        Owner { world: Arc::clone(world), slot, held: self.held }
    }

    /// Ends the thread without parking, as `Allocator::detach` does; what was in the cache is held.
    pub(super) fn detach(&mut self) {
        let mut locked = self.cache().lock();
        locked.hide(&self.slot);
        let mut cached = Vec::new();
        locked.drain(&self.world.magazines(), |_, blocks| cached.extend(numbers(blocks)), |_| {});
        drop(locked);
        ThreadCache::detach(&self.slot, &self.world.registry, &self.world.magazines());
        self.held.extend(cached);
    }
}

/// Asserts that these are the blocks from 1 to `count`, once each.
pub(super) fn assert_all(count: usize, blocks: impl IntoIterator<Item = usize>) {
    let mut blocks: Vec<_> = blocks.into_iter().collect();
    blocks.sort_unstable();
    assert_eq!(blocks, Vec::from_iter(1..=count), "each block is somewhere, and once");
}

/// A pointer that stands for a block; a cache never looks into the blocks it holds.
fn block(number: usize) -> NonNull<u8> {
    NonNull::without_provenance(core::num::NonZeroUsize::new(number * 8).expect("not zero"))
}

fn numbers(blocks: &[*mut u8]) -> impl Iterator<Item = usize> + '_ {
    blocks.iter().map(|block| block.addr() / 8)
}
