//! Thread caches by themselves: growth, stacks, budget, and where their storage goes.

mod lifetime;
mod sharing;
mod stacks;
mod stale;

use core::ptr::NonNull;

use super::{CacheRegistry, Magazines, ThreadCache, ThreadSlot};
use crate::budget::CacheBudget;
use crate::counted_source::CountedSource;
use crate::metadata::Metadata;
use crate::size_class::SizeClass;
use crate::test_source::TestSource;

/// What caches are made of, without a heap behind them.
struct World {
    source: CountedSource<TestSource>,
    metadata: Metadata,
    budget: CacheBudget,
    registry: CacheRegistry,
}

impl World {
    fn with_budget(bytes: usize) -> World {
        World {
            source: CountedSource::new(TestSource::new()),
            metadata: Metadata::new(),
            budget: CacheBudget::new(bytes),
            registry: CacheRegistry::new(),
        }
    }

    fn magazines(&self) -> Magazines<'_, TestSource> {
        Magazines { metadata: &self.metadata, source: &self.source, budget: &self.budget }
    }

    fn attach<'slot>(&self, slot: &'slot ThreadSlot) -> &'slot ThreadCache {
        ThreadCache::attach(slot, 0, &self.registry, &self.magazines()).expect("memory for it")
    }

    /// Drains and detaches; blocks still in the cache are forgotten, for they are not there.
    fn detach(&self, slot: &ThreadSlot) {
        if let Some(cache) = ThreadCache::of(slot) {
            cache.lock().drain(&self.magazines(), |_, _| {}, |_| {});
        }
        ThreadCache::detach(slot, &self.registry, &self.magazines());
    }

    /// Bytes mapped once every chunk of records that is not in use has been given back.
    fn bytes_in_use(&self) -> usize {
        self.metadata.release_empty(&self.source);
        self.source.mapped_bytes()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // What is in use still stays mapped, and the source tells.
        self.metadata.release_empty(&self.source);
    }
}

fn class_of(bytes: usize) -> SizeClass {
    SizeClass::of(bytes, 1).expect("a small size")
}

/// A pointer that stands for a block; a cache never looks into the blocks it holds.
fn block(number: usize) -> NonNull<u8> {
    NonNull::without_provenance(core::num::NonZeroUsize::new(number * 8).expect("not zero"))
}
