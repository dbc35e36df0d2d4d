//! Figures about a heap, in jemalloc's words.

use crate::allocator::Allocator;
use crate::arena::BinSnapshot;
use crate::os::{membarrier, restartable};
use crate::page_source::PageSource;
use crate::size_class::{CLASS_COUNT, SizeClass};

/// Figures about the heap at one moment; sizes are in bytes.
///
/// `allocated_bytes <= active_bytes <= resident_bytes <= mapped_bytes`, and no call of the
/// allocation paths keeps any of them: what is live is what the slabs handed out less what caches
/// and depots hold.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Live blocks, at the size of their class, span or mapping.
    pub allocated_bytes: usize,
    /// Pages of slabs, of large and huge allocations, and of freed spans in thread caches.
    pub active_bytes: usize,
    /// Records of the allocator itself that are resident.
    pub metadata_bytes: usize,
    /// Active pages, pages that are free but not given back, and metadata. The most that the heap
    /// can have resident: pages of an allocation that were never touched are counted.
    pub resident_bytes: usize,
    /// Address space taken from the page source.
    pub mapped_bytes: usize,
    /// Free pages that were given back, or never touched, whose address space is kept.
    pub retained_bytes: usize,
    /// Free pages that are resident still, freed mappings kept for reuse included.
    pub dirty_bytes: usize,
    /// Free blocks and large spans in thread caches, also in those that wait for the next thread.
    pub thread_cache_bytes: usize,
    /// Free blocks in CPU caches, which programs of many threads have.
    pub cpu_cache_bytes: usize,
    /// Free blocks in depots.
    pub depot_bytes: usize,
    /// Pages of slabs that serve no new block since [`warm_up`](crate::warm_up).
    pub sealed_bytes: usize,
    /// Allocations of a span of their own, in bytes.
    pub large_bytes: usize,
    /// Allocations of a mapping of their own, in bytes.
    pub huge_bytes: usize,
    /// Allocations of a mapping of their own, how many.
    pub huge_count: usize,
    /// Threads that have a cache.
    pub threads: usize,
    /// How many arenas may exist.
    pub arena_max: usize,
    /// Bytes of blocks that all caches may hold.
    pub cache_budget_bytes: usize,
    /// Bytes of that which thread caches have borrowed; what depots and CPU caches have is not counted
    /// here.
    pub cache_lent_bytes: usize,
    /// Bytes of that which CPU caches have borrowed.
    pub cpu_cache_lent_bytes: usize,
    /// Segments mapped now.
    pub segments: usize,
    /// Segments mapped since the start.
    pub segments_mapped: usize,
    /// Segments unmapped since the start.
    pub segments_released: usize,
    /// Calls that gave pages back.
    pub purge_calls: usize,
    /// Bytes that they gave back.
    pub purged_bytes: usize,
    /// Tries refused by the limit on address space; a request that fails has tried twice.
    pub address_space_refusals: usize,
    /// Tries refused by the hard limit on resident memory; a request that fails has tried twice.
    pub hard_limit_refusals: usize,
    /// Bytes that the last refused try would have added.
    pub last_refused_bytes: usize,
    /// How often the soft limit on resident memory was passed and answered by a trim.
    pub soft_limit_trims: usize,
    /// Whether the kernel lets the caches of idle threads be reclaimed.
    pub can_reclaim: bool,
    /// Whether processors may have caches: see [`Config::cpu_caches`](crate::Config::cpu_caches).
    pub can_cache_by_cpu: bool,
    /// The open arenas.
    pub arenas: Vec<ArenaStats>,
    /// The size classes that have slabs, over all arenas.
    pub classes: Vec<ClassStats>,
}

/// Figures about one arena.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ArenaStats {
    /// Threads that refill here.
    pub threads: usize,
    /// The size classes that have slabs here, in rising order.
    ///
    /// Blocks in caches of threads and processors count as live here, for those hold blocks of any
    /// arena.
    pub classes: Vec<ClassStats>,
    /// Pages of this arena's slabs, in bytes.
    pub slab_bytes: usize,
    /// How often blocks were taken from a bin: by batches for caches, or singly where there is none;
    /// and slabs that a refill which found all locks kept cut for itself, in the first arena.
    pub refills: u64,
    /// How often blocks were put back into a bin, also by decay and trims; a batch for which the
    /// depot has not enough room counts twice.
    pub flushes: u64,
    /// How often a lock was taken.
    pub lock_acquisitions: u64,
    /// How often it was found taken by another thread, by one who then had it; who went to another
    /// arena instead is not counted.
    pub lock_contentions: u64,
}

/// Figures about one size class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClassStats {
    /// Bytes in a block.
    pub block_bytes: usize,
    /// Blocks with users.
    pub live_blocks: usize,
    /// Free blocks in thread caches.
    pub cached_blocks: usize,
    /// Free blocks in CPU caches.
    pub cpu_cached_blocks: usize,
    /// Free blocks in depots.
    pub depot_blocks: usize,
    /// Slabs with at least one block out.
    pub slabs: usize,
    /// Blocks that those slabs are cut into.
    pub slab_blocks: usize,
    /// How often blocks of this class were taken from an arena: see [`ArenaStats::refills`].
    pub refills: u64,
    /// How often some were put back: see [`ArenaStats::flushes`].
    pub flushes: u64,
}

impl ClassStats {
    /// The part of the slabs' blocks that is live, from 0 to 1.
    #[must_use]
    pub fn occupancy(&self) -> f64 {
        if self.slab_blocks == 0 { 1.0 } else { self.live_blocks as f64 / self.slab_blocks as f64 }
    }

    fn of(
        class: SizeClass,
        bin: &BinSnapshot,
        cached_blocks: usize,
        cpu_cached_blocks: usize,
    ) -> ClassStats {
        let held_blocks = cached_blocks + cpu_cached_blocks + bin.depot_blocks;
        ClassStats {
            block_bytes: class.block_bytes(),
            live_blocks: bin.counts.taken_blocks.saturating_sub(held_blocks),
            cached_blocks,
            cpu_cached_blocks,
            depot_blocks: bin.depot_blocks,
            slabs: bin.counts.slabs,
            slab_blocks: bin.counts.slabs * class.shape().capacity as usize,
            refills: bin.counts.refills,
            flushes: bin.counts.flushes,
        }
    }
}

/// What all bins of one class add up to.
type ClassTotals = [BinSnapshot; CLASS_COUNT];

impl<S: PageSource> Allocator<S> {
    /// Collects the heap's figures.
    pub(crate) fn stats(&self) -> Stats {
        let mut totals: ClassTotals = [BinSnapshot::default(); CLASS_COUNT];
        let open = self.arenas().open();
        // All room is made before the first figure is taken: the lists may lie in this very heap.
        let mut stats = Stats {
            arenas: (0..open).map(|_| ArenaStats::with_room()).collect(),
            classes: Vec::with_capacity(CLASS_COUNT),
            ..Stats::default()
        };
        for (index, figures) in stats.arenas.iter_mut().enumerate() {
            if let Some(arena) = self.arenas().get(index) {
                figures.collect(&arena, &mut totals);
            }
        }
        let cached_large_bytes = self.add_classes(&mut stats, &totals);
        self.add_pages(&mut stats, &totals, cached_large_bytes);
        stats
    }

    /// Answers the bytes of large spans in thread caches, which are counted as cached already.
    fn add_classes(&self, stats: &mut Stats, totals: &ClassTotals) -> usize {
        let mut cached_blocks = [0; CLASS_COUNT];
        let mut cached_large_bytes = 0;
        {
            let caches = self.caches().lock();
            stats.threads = caches.count();
            for cache in caches.iter() {
                cached_large_bytes += cache.large_bytes();
                for class in SizeClass::all() {
                    cached_blocks[class.index()] += cache.bin(class).len();
                }
            }
        }
        let cpu_cached_blocks = self.cpu_caches().count_blocks();
        for class in SizeClass::all() {
            let bin = &totals[class.index()];
            let index = class.index();
            let (cached, cpu_cached) = (cached_blocks[index], cpu_cached_blocks[index]);
            let figures = ClassStats::of(class, bin, cached, cpu_cached);
            stats.allocated_bytes += figures.live_blocks * figures.block_bytes;
            stats.thread_cache_bytes += figures.cached_blocks * figures.block_bytes;
            stats.cpu_cache_bytes += figures.cpu_cached_blocks * figures.block_bytes;
            stats.depot_bytes += figures.depot_blocks * figures.block_bytes;
            if figures.slabs > 0 {
                stats.classes.push(figures);
            }
        }
        stats.thread_cache_bytes += cached_large_bytes;
        cached_large_bytes
    }

    fn add_pages(&self, stats: &mut Stats, totals: &ClassTotals, cached_large_bytes: usize) {
        let (pages, huge) = (self.page_heap().stats(), self.huge().stats());
        let slab_bytes: usize = SizeClass::all()
            .map(|class| totals[class.index()].counts.slabs * class.shape().pages().bytes())
            .sum();
        stats.sealed_bytes = SizeClass::all()
            .map(|class| totals[class.index()].sealed_slabs * class.shape().pages().bytes())
            .sum();
        let purged_slab_bytes: usize = totals.iter().map(|bin| bin.purged_bytes).sum();
        stats.large_bytes = pages.active_bytes.saturating_sub(slab_bytes + cached_large_bytes);
        stats.huge_bytes = huge.used_bytes;
        stats.huge_count = huge.count;
        stats.allocated_bytes += stats.large_bytes + stats.huge_bytes;
        let active_bytes = pages.active_bytes + huge.used_bytes;
        stats.active_bytes = active_bytes.saturating_sub(purged_slab_bytes);
        stats.retained_bytes = pages.retained_bytes + purged_slab_bytes;
        stats.dirty_bytes = pages.dirty_bytes + huge.cached_bytes;
        stats.metadata_bytes = pages.metadata_bytes + self.metadata().resident_bytes();
        stats.resident_bytes = stats.active_bytes + stats.dirty_bytes + stats.metadata_bytes;
        stats.segments = pages.segment_count;
        stats.segments_mapped = pages.segments_mapped;
        stats.segments_released = pages.segments_released;
        let source = self.page_heap().source();
        stats.mapped_bytes = source.mapped_bytes();
        (stats.address_space_refusals, stats.hard_limit_refusals) = source.limits().refusals();
        stats.last_refused_bytes = source.limits().refused_bytes();
        stats.soft_limit_trims = self.soft_limit_trims();
        stats.can_reclaim = membarrier::is_available();
        stats.can_cache_by_cpu = self.budget().has_crowd() && restartable::is_available();
        stats.purge_calls = source.purge_calls();
        stats.purged_bytes = source.purged_bytes();
        stats.arena_max = self.arenas().cap();
        stats.cache_budget_bytes = self.budget().limit_bytes();
        stats.cache_lent_bytes = self.budget().caches_lent_bytes();
        stats.cpu_cache_lent_bytes = self.budget().cpu_lent_bytes();
    }
}

impl ArenaStats {
    fn with_room() -> ArenaStats {
        ArenaStats { classes: Vec::with_capacity(CLASS_COUNT), ..ArenaStats::default() }
    }

    fn collect(&mut self, arena: &crate::arena::Arena, totals: &mut ClassTotals) {
        self.threads = arena.threads();
        for class in SizeClass::all() {
            let bin = arena.snapshot(class);
            totals[class.index()].add(&bin);
            self.slab_bytes += bin.counts.slabs * class.shape().pages().bytes();
            self.refills += bin.counts.refills;
            self.flushes += bin.counts.flushes;
            self.lock_acquisitions += bin.counts.lock_acquisitions;
            self.lock_contentions += bin.counts.lock_contentions;
            if bin.counts.slabs > 0 {
                self.classes.push(ClassStats::of(class, &bin, 0, 0));
            }
        }
    }
}

mod display;
