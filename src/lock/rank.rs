//! The order in which locks may be taken, outermost first; gaps leave room.

/// The roster of heaps and regions.
pub(crate) const ROSTER: u8 = 3;
/// The list of hooks.
pub(crate) const HOOKS: u8 = 5;
/// Who may use the one cache of a heap of its own; only ever tried, but for trims and forks.
pub(crate) const HEAP_SLOT: u8 = 8;
/// The set of arenas: its cap and which of its slots are open.
pub(crate) const ARENA_SET: u8 = 10;
/// The list of every thread's cache.
pub(crate) const CACHE_REGISTRY: u8 = 20;
/// One thread's cache, outside the owner's fast path.
pub(crate) const THREAD_CACHE: u8 = 30;
/// Which processors have a cache, and what those may hold.
pub(crate) const CPU_CACHES: u8 = 35;
/// What is on its way from one structure to another, or back to the source, and is in none.
pub(crate) const IN_HAND: u8 = 37;
/// One size class's slabs in one arena.
pub(crate) const BIN: u8 = 40;
/// The table of huge mappings.
pub(crate) const HUGE: u8 = 50;
/// Which shards the page heap has.
pub(crate) const SHARDS: u8 = 55;
/// The free spans of a shard.
pub(crate) const PAGE_HEAP: u8 = 60;
/// Entering segments in the segment map.
pub(crate) const SEGMENT_MAP: u8 = 65;
/// Metadata's own storage.
pub(crate) const METADATA: u8 = 70;
/// What happened and hooks were not yet told.
pub(crate) const NOTICES: u8 = 80;
/// Which pages of a fixed region are in use.
pub(crate) const REGION: u8 = 90;
