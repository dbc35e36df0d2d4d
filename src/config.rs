//! Settings: what the program says in code, and what the environment says over it.

use core::ffi::CStr;
use core::fmt;

use crate::arena::ARENAS_MAX;
use crate::arena::policy::{ArenaPolicy, OnContention, PerCpu};
use crate::decay::DEFAULT_DECAY_MILLISECONDS;
use crate::limits::Limit;
use crate::os::{cpus, environment};

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

/// The limits in the order of [`Config`]'s array, and the variables that set them.
const LIMITS: [(Limit, &CStr); 3] = [
    (Limit::AddressSpace, c"CAPMALLOC_ADDRESS_SPACE_MAX"),
    (Limit::ResidentSoft, c"CAPMALLOC_RESIDENT_SOFT"),
    (Limit::ResidentHard, c"CAPMALLOC_RESIDENT_HARD"),
];

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

    /// Which arena a thread uses: [`PerThread`](crate::PerThread), [`OnContention`], [`PerCpu`], or
    /// one's own.
    ///
    /// Unless it is set, that is `PerThread`. Setting that chooses the same, but a policy that is set
    /// is asked at every refill, and the default only where it has something to say.
    pub const fn arena_policy(mut self, policy: &'static dyn ArenaPolicy) -> Self {
        self.policy = Some(policy);
        self
    }

    /// How many bytes of free blocks the caches of all threads together may hold.
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

/// Settings after the environment had its say.
#[derive(Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) arena_max: usize,
    /// `None` for the default one, which is not asked at each refill.
    pub(crate) policy: Option<&'static dyn ArenaPolicy>,
    /// `None` for a part of resident memory.
    pub(crate) cache_budget_bytes: Option<usize>,
    pub(crate) cpu_caches: bool,
    pub(crate) decay_milliseconds: i64,
    pub(crate) background: bool,
    pub(crate) limits: [(Limit, Option<usize>); 3],
    pub(crate) stats_at_exit: bool,
}

impl Settings {
    /// Reads the environment over `config`, without allocating.
    pub(crate) fn read(config: &Config) -> Settings {
        Settings {
            arena_max: read_arena_max(config),
            policy: read_policy(config),
            cache_budget_bytes: read_budget(config),
            cpu_caches: read_switch(c"CAPMALLOC_CPU_CACHES", config.cpu_caches),
            decay_milliseconds: environment::read_or_warn(
                c"CAPMALLOC_DECAY_MS",
                environment::parse_milliseconds,
                "a number of milliseconds, or -1 for never",
                &config.decay_milliseconds,
            )
            .unwrap_or(config.decay_milliseconds),
            limits: LIMITS.map(|(limit, name)| (limit, read_limit(config, limit, name))),
            background: read_switch(c"CAPMALLOC_BACKGROUND", config.background),
            stats_at_exit: read_switch(c"CAPMALLOC_STATS_AT_EXIT", config.stats_at_exit),
        }
    }
}

fn read_arena_max(config: &Config) -> usize {
    let fallback = FirstCap(config.arena_max);
    let own = c"CAPMALLOC_ARENA_MAX";
    let name = if environment::variable(own).is_some() { own } else { c"MALLOC_ARENA_MAX" };
    let in_range = |count: &usize| (1..=ARENAS_MAX).contains(count);
    environment::read_or_warn(
        name,
        |value| environment::parse_count(value).filter(in_range),
        "a whole number from 1 to 1024",
        &fallback,
    )
    .unwrap_or_else(|| fallback.count())
}

fn read_switch(name: &CStr, fallback: bool) -> bool {
    let fallback_text = if fallback { "1" } else { "0" };
    environment::read_or_warn(name, environment::parse_switch, "1 or 0", &fallback_text)
        .unwrap_or(fallback)
}

fn read_budget(config: &Config) -> Option<usize> {
    let fallback_text: &dyn fmt::Display = match &config.cache_budget_bytes {
        Some(bytes) => &Bytes(*bytes),
        None => &"a quarter of resident memory",
    };
    environment::read_or_warn(
        c"CAPMALLOC_CACHE_BUDGET",
        environment::parse_bytes_size,
        "a size such as 512K or 16M",
        fallback_text,
    )
    .or(config.cache_budget_bytes)
}

fn read_limit(config: &Config, limit: Limit, name: &CStr) -> Option<usize> {
    let fallback = config.limits[limit as usize];
    let fallback_text: &dyn fmt::Display = match &fallback {
        Some(bytes) => &Bytes(*bytes),
        None => &"no limit",
    };
    environment::read_or_warn(
        name,
        |value| environment::parse_bytes_size(value).filter(|bytes| *bytes > 0),
        "a size such as 512M or 2G",
        fallback_text,
    )
    .or(fallback)
}

fn read_policy(config: &Config) -> Option<&'static dyn ArenaPolicy> {
    let named = environment::read_or_warn(
        c"CAPMALLOC_ARENA_POLICY",
        policy_named,
        "per-thread, on-contention or per-cpu",
        if config.policy.is_some() { &"the program's own choice" } else { &"per-thread" },
    );
    named.unwrap_or(config.policy)
}

/// The policy that a word stands for; within, `None` for the default one.
fn policy_named(name: &[u8]) -> Option<Option<&'static dyn ArenaPolicy>> {
    match name {
        b"per-thread" => Some(None),
        b"on-contention" => Some(Some(&OnContention)),
        b"per-cpu" => Some(Some(&PerCpu)),
        _ => None,
    }
}

/// The cap where the environment names none: the program's, or the CPUs that it may use.
///
/// The CPUs are counted only when they are needed, for that reads several files.
struct FirstCap(Option<usize>);

impl FirstCap {
    fn count(&self) -> usize {
        self.0.unwrap_or_else(|| cpus::usable().min(ARENAS_MAX))
    }
}

impl fmt::Display for FirstCap {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = if self.0.is_some() { "the program's own choice" } else { "the usable CPUs" };
        write!(formatter, "{}, {reason}", self.count())
    }
}

/// A number of bytes as settings are written.
struct Bytes(usize);

impl fmt::Display for Bytes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes != 0 && bytes % (1 << 20) == 0 => write!(formatter, "{}M", bytes >> 20),
            bytes if bytes != 0 && bytes % (1 << 10) == 0 => write!(formatter, "{}K", bytes >> 10),
            bytes => write!(formatter, "{bytes}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_shown_as_they_are_written() {
        assert_eq!(Bytes(16 << 20).to_string(), "16M");
        assert_eq!(Bytes(512 << 10).to_string(), "512K");
        assert_eq!(Bytes(0).to_string(), "0");
        assert_eq!(Bytes(1000).to_string(), "1000");
    }

    #[test]
    fn policies_are_found_by_name() {
        assert!(policy_named(b"per-cpu").is_some_and(|policy| policy.is_some()));
        assert!(policy_named(b"on-contention").is_some_and(|policy| policy.is_some()));
        assert!(policy_named(b"per-thread").is_some_and(|policy| policy.is_none()));
        assert!(policy_named(b"Per-Thread").is_none());
    }

    #[test]
    #[should_panic(expected = "arena_max takes 1 to 1024")]
    fn a_cap_out_of_range_is_an_error() {
        let _ = Config::new().arena_max(0);
    }
}
