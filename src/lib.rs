//! A global allocator whose memory is bounded by the arenas you allow and by live data, never by
//! how many threads run.
//!
//! ```
//! use capmalloc::CapMalloc;
//!
//! #[global_allocator]
//! static GLOBAL: CapMalloc = CapMalloc::new();
//!
//! fn main() {
//!     let greeting = String::from("hello");
//!     assert_eq!(greeting.len(), 5);
//! }
//! ```
//!
//! Settings come from [`Config`] and, over it, from the environment: `CAPMALLOC_ARENA_MAX` (or
//! `MALLOC_ARENA_MAX`, as glibc's), `CAPMALLOC_ARENA_POLICY`, `CAPMALLOC_CACHE_BUDGET`,
//! `CAPMALLOC_CPU_CACHES`, `CAPMALLOC_DECAY_MS`, `CAPMALLOC_BACKGROUND`,
//! `CAPMALLOC_ADDRESS_SPACE_MAX`, `CAPMALLOC_RESIDENT_SOFT`, `CAPMALLOC_RESIDENT_HARD` and
//! `CAPMALLOC_STATS_AT_EXIT`. While the program runs there are [`set_arena_max`], [`set_decay`], [`set_limit`], [`trim`] and [`stats`];
//! before it forks, [`warm_up`].
//!
//! [`hooks`] tell the program of arenas, segments, trims, limits and failed allocations.
//!
//! A [`Heap`] is an arena of one's own outside of all this, for a tenant, a request or a plugin:
//! with its own limits, figures and cache, and a drop that gives everything back at once. Its pages
//! come from the operating system, from a [`FixedRegion`], or from any other [`PageSource`]. The
//! feature `allocator-api2` makes it an allocator for the collections of that crate and of
//! `hashbrown`.
//!
//! [`raw`] serves callers that have only a pointer, as those of C's `free` do.
//!
//! How it works is told in `docs/design.md`, and when to change what in `docs/tuning.md`.

#![cfg_attr(docsrs, feature(doc_cfg))]

#[macro_use]
mod ensure;

mod allocator;
mod arena;
mod background;
mod budget;
mod config;
mod counted_source;
mod cpu_caches;
mod decay;
mod fixed_region;
mod fork;
mod global;
mod heap;
pub mod hooks;
mod huge;
mod left_spans;
mod limits;
mod lock;
#[cfg(all(test, loom))]
mod loom_models;
mod metadata;
mod os;
mod page_heap;
mod page_map;
mod page_source;
mod reclaim;
mod roster;
mod seal;
mod segment;
mod segment_map;
mod size_class;
mod slab;
mod span;
mod stats;
mod sync;
#[cfg(test)]
mod test_source;
mod thread_cache;
mod trim;
mod units;
mod unwind;

pub use arena::ArenaMaxError;
pub use arena::policy::{ArenaPolicy, ArenaView, OnContention, PerCpu, PerThread};
pub use config::Config;
pub use fixed_region::{FixedRegion, RegionError};
pub use global::CapMalloc;
pub use global::control::{
    arena_max, check, decay, limit, page_map, set_arena_max, set_decay, set_limit, stats, thaw,
    trim, trim_arena, warm_up,
};
pub use global::raw;
pub use heap::{Heap, HeapError};
pub use limits::Limit;
pub use os::OsPages;
pub use page_map::{PageMap, PageState, SegmentPages};
pub use page_source::PageSource;
pub use stats::{ArenaStats, ClassStats, Stats};
pub use trim::Trimmed;
pub use units::PAGE_BYTES;
