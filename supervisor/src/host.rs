//! The machine that the instances share.

use std::fs;

use serde::Serialize;

/// How much memory the host has, and how much of it is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct HostMemory {
    /// Bytes in use, by instances and by others.
    pub used_bytes: u64,
    /// Bytes that there are.
    pub limit_bytes: u64,
}

impl HostMemory {
    /// The part that is used: 1 where all is.
    #[must_use]
    pub fn used_fraction(&self) -> f64 {
        if self.limit_bytes == 0 { 1.0 } else { self.used_bytes as f64 / self.limit_bytes as f64 }
    }
}

/// Tells how the host is off.
pub trait Host {
    /// The host's memory now. `instances_bytes` is the sum of the footprints of all instances.
    fn memory(&mut self, instances_bytes: u64) -> HostMemory;
}

impl<F: FnMut(u64) -> HostMemory> Host for F {
    fn memory(&mut self, instances_bytes: u64) -> HostMemory {
        self(instances_bytes)
    }
}

/// A host on which nothing but the instances counts, and of which they may use so much.
#[derive(Clone, Copy, Debug)]
pub struct LimitedHost {
    /// Bytes that all instances together may use.
    pub limit_bytes: u64,
}

impl Host for LimitedHost {
    fn memory(&mut self, instances_bytes: u64) -> HostMemory {
        HostMemory { used_bytes: instances_bytes, limit_bytes: self.limit_bytes }
    }
}

/// The machine as the kernel describes it in `/proc/meminfo`.
///
/// Where that can't be read, nothing but the instances counts, and there is no limit.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemHost;

impl Host for SystemHost {
    fn memory(&mut self, instances_bytes: u64) -> HostMemory {
        let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        parse_meminfo(&text)
            .unwrap_or(HostMemory { used_bytes: instances_bytes, limit_bytes: u64::MAX })
    }
}

fn parse_meminfo(text: &str) -> Option<HostMemory> {
    let bytes_of = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
    };
    let limit_bytes = bytes_of("MemTotal:")?;
    let available_bytes = bytes_of("MemAvailable:")?;
    Some(HostMemory { used_bytes: limit_bytes.saturating_sub(available_bytes), limit_bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_words_are_understood() {
        let text = "MemTotal:       2048 kB\nMemFree: 1 kB\nMemAvailable:    512 kB\n";
        let memory = parse_meminfo(text).unwrap();
        assert_eq!(memory, HostMemory { used_bytes: 1536 << 10, limit_bytes: 2048 << 10 });
        assert!((memory.used_fraction() - 0.75).abs() < 1e-12);
        assert_eq!(parse_meminfo("MemTotal: lots\n"), None);
    }

    #[test]
    fn a_limited_host_counts_the_instances_alone() {
        let memory = LimitedHost { limit_bytes: 10 }.memory(4);
        assert_eq!((memory.used_bytes, memory.limit_bytes), (4, 10));
        assert!(SystemHost.memory(4).limit_bytes > 0);
    }
}
