//! Settings: what the program says in code, and what the environment says over it.

mod settings;

use core::fmt;

use crate::arena::ARENAS_MAX;
use crate::arena::policy::ArenaPolicy;
use crate::decay::DEFAULT_DECAY_MILLISECONDS;
use crate::limits::Limit;

pub(crate) use settings::Settings;

/// Settings for [`CapMalloc::with_config`](crate::CapMalloc::with_config), made in a constant.
///
/// The environment overrides each of them, so that whoever runs a program can choose. What the
/// program sets while it runs, as by [`set_arena_max`](crate::set_arena_max), comes after both.
///
/// | setting | variable | default |
/// |---|---|---|
/// | [`arena_max`](Self::arena_max) | `CAPMALLOC_ARENA_MAX`, else `MALLOC_ARENA_MAX` | usable CPUs |
/// | [`arena_policy`](Self::arena_policy) | `CAPMALLOC_ARENA_POLICY` | `per-thread` |
/// | [`cache_budget_bytes`](Self::cache_budget_bytes) | `CAPMALLOC_CACHE_BUDGET` | a quarter of resident memory |
/// | [`cpu_caches`](Self::cpu_caches) | `CAPMALLOC_CPU_CACHES` | on |
/// | [`decay_milliseconds`](Self::decay_milliseconds) | `CAPMALLOC_DECAY_MS` | 1000 |
/// | [`background`](Self::background) | `CAPMALLOC_BACKGROUND` | off |
/// | [`limit`](Self::limit), address space | `CAPMALLOC_ADDRESS_SPACE_MAX` | none |
/// | [`limit`](Self::limit), resident, soft | `CAPMALLOC_RESIDENT_SOFT` | none |
/// | [`limit`](Self::limit), resident, hard | `CAPMALLOC_RESIDENT_HARD` | none |
/// | [`stats_at_exit`](Self::stats_at_exit) | `CAPMALLOC_STATS_AT_EXIT` | off |
///
/// ```
/// use capmalloc::{CapMalloc, Config};
///
/// #[global_allocator]
/// static GLOBAL: CapMalloc = CapMalloc::with_config(Config::new().arena_max(2));
///
/// assert!(capmalloc::arena_max() >= 1);
/// ```
#[derive(Clone, Copy)]
#[must_use]
pub struct Config {
    arena_max: Option<usize>,
    policy: Option<&'static dyn ArenaPolicy>,
    cache_budget_bytes: Option<usize>,
    cpu_caches: bool,
    decay_milliseconds: i64,
    background: bool,
    limits: [Option<usize>; 3],
    stats_at_exit: bool,
}

impl fmt::Debug for Config {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Config")
            .field("arena_max", &self.arena_max)
            .field("cache_budget_bytes", &self.cache_budget_bytes)
            .field("cpu_caches", &self.cpu_caches)
            .field("decay_milliseconds", &self.decay_milliseconds)
            .field("stats_at_exit", &self.stats_at_exit)
            .finish_non_exhaustive()
    }
}

impl Default for Config {
    fn default() -> Self {
        Config::new()
    }
}

impl Config {
    /// The defaults.
    pub const fn new() -> Self {
        Config {
            arena_max: None,
            policy: None,
            cache_budget_bytes: None,
            cpu_caches: true,
            decay_milliseconds: DEFAULT_DECAY_MILLISECONDS,
            background: false,
            limits: [None; 3],
            stats_at_exit: false,
        }
    }

    /// The most arenas that may exist at a time, from 1 to 1024.
    ///
    /// # Panics
    ///
    /// Where `count` is out of range; in a constant, that is an error when the program is built.
    pub const fn arena_max(mut self, count: usize) -> Self {
        assert!(count >= 1 && count <= ARENAS_MAX, "arena_max takes 1 to 1024");
        self.arena_max = Some(count);
        self
    }

    /// Which arena a thread uses: [`PerThread`](crate::PerThread),
    /// [`OnContention`](crate::OnContention), [`PerCpu`](crate::PerCpu), or one's own.
    ///
    /// Unless it is set, that is `PerThread`. Setting that chooses the same, but a policy that is set
    /// is asked at every refill, and the default only where it has something to say.
    pub const fn arena_policy(mut self, policy: &'static dyn ArenaPolicy) -> Self {
        self.policy = Some(policy);
        self
    }

    /// How many bytes of free blocks the caches of all threads and processors, and depots, together may
    /// hold.
    ///
    /// Unless it is set, that is a quarter of what is resident, at least 8 MiB and at most 16 MiB.
    pub const fn cache_budget_bytes(mut self, bytes: usize) -> Self {
        self.cache_budget_bytes = Some(bytes);
        self
    }

    /// Whether processors have caches of free blocks, out of the same budget, where threads are more
    /// than 16 for each arena that may be open, or than the budget has 128 KiB for each.
    ///
    /// They need what glibc has from 2.35 on and Linux from 5.10 on, on x86-64: see `rseq(2)`. Where
    /// that is missing there are none, and nothing else changes.
    pub const fn cpu_caches(mut self, is_wanted: bool) -> Self {
        self.cpu_caches = is_wanted;
        self
    }

    /// Milliseconds from the last use of memory to its being given back: 0 for at once, -1 for
    /// never.
    ///
    /// # Panics
    ///
    /// Where the number is below -1; in a constant, that is an error when the program is built.
    pub const fn decay_milliseconds(mut self, milliseconds: i64) -> Self {
        assert!(milliseconds >= -1, "decay_milliseconds takes -1 for never, or a time");
        self.decay_milliseconds = milliseconds;
        self
    }

    /// Whether a thread of low priority gives memory back while the program is idle.
    ///
    /// Without it, decay happens when a thread allocates or frees, and an idle program keeps what
    /// it had when it fell idle. The thread sleeps whenever nothing is left to give back.
    pub const fn background(mut self, is_wanted: bool) -> Self {
        self.background = is_wanted;
        self
    }

    /// A limit in bytes; see [`set_limit`](crate::set_limit).
    ///
    /// # Panics
    ///
    /// Where `bytes` is zero; in a constant, that is an error when the program is built.
    pub const fn limit(mut self, limit: Limit, bytes: usize) -> Self {
        assert!(bytes > 0, "a limit is at least one byte");
        self.limits[limit as usize] = Some(bytes);
        self
    }

    /// Whether the table of [`stats`](crate::stats) is written to standard error at exit.
    pub const fn stats_at_exit(mut self, is_wanted: bool) -> Self {
        self.stats_at_exit = is_wanted;
        self
    }
}
