//! Settings after the environment had its say.

use core::ffi::CStr;
use core::fmt;

use super::Config;
use crate::arena::ARENAS_MAX;
use crate::arena::policy::{ArenaPolicy, OnContention, PerCpu};
use crate::limits::Limit;
use crate::os::{cpus, environment};

/// The limits in the order of [`Config`]'s array, and the variables that set them.
const LIMITS: [(Limit, &CStr); 3] = [
    (Limit::AddressSpace, c"CAPMALLOC_ADDRESS_SPACE_MAX"),
    (Limit::ResidentSoft, c"CAPMALLOC_RESIDENT_SOFT"),
    (Limit::ResidentHard, c"CAPMALLOC_RESIDENT_HARD"),
];

/// What the heap begins with: the program's settings, and over them the environment's.
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
