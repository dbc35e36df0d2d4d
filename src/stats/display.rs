//! How figures are told to people.

use core::fmt;

use super::Stats;

impl fmt::Display for Stats {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "capmalloc: {} threads with a cache", self.threads)?;
        for (name, bytes) in [
            ("allocated", self.allocated_bytes),
            ("active", self.active_bytes),
            ("metadata", self.metadata_bytes),
            ("resident", self.resident_bytes),
            ("mapped", self.mapped_bytes),
            ("retained", self.retained_bytes),
            ("dirty", self.dirty_bytes),
            ("in thread caches", self.thread_cache_bytes),
            ("in CPU caches", self.cpu_cache_bytes),
            ("in depots", self.depot_bytes),
            ("sealed", self.sealed_bytes),
            ("large", self.large_bytes),
            ("huge", self.huge_bytes),
        ] {
            writeln!(formatter, "  {name:<17}{bytes:>15} bytes  {:>10}", Human(bytes))?;
        }
        writeln!(
            formatter,
            "  segments {} (mapped {}, released {}); purges {} of {} in all",
            self.segments,
            self.segments_mapped,
            self.segments_released,
            self.purge_calls,
            Human(self.purged_bytes),
        )?;
        writeln!(
            formatter,
            "  refused: address space {}, resident {}; trimmed for the soft limit {}; reclaim {}; \
             CPU caches {}",
            self.address_space_refusals,
            self.hard_limit_refusals,
            self.soft_limit_trims,
            if self.can_reclaim { "on" } else { "missing: the kernel has no membarrier" },
            if self.can_cache_by_cpu { "on" } else { "off" },
        )?;
        self.write_arenas(formatter)?;
        self.write_classes(formatter)
    }
}

impl Stats {
    fn write_arenas(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "arenas {} of at most {}", self.arenas.len(), self.arena_max)?;
        writeln!(
            formatter,
            "  {:>5} {:>8} {:>12} {:>12} {:>12} {:>12} {:>10}",
            "arena", "threads", "slabs", "refills", "flushes", "locked", "contended"
        )?;
        for (index, arena) in self.arenas.iter().enumerate() {
            writeln!(
                formatter,
                "  {index:>5} {:>8} {:>12} {:>12} {:>12} {:>12} {:>10}",
                arena.threads,
                Human(arena.slab_bytes).to_string(),
                arena.refills,
                arena.flushes,
                arena.lock_acquisitions,
                arena.lock_contentions,
            )?;
        }
        Ok(())
    }

    fn write_classes(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "  {:>11} {:>12} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10}",
            "block bytes",
            "live",
            "cached",
            "by CPU",
            "depots",
            "slabs",
            "occupancy",
            "refills",
            "flushes"
        )?;
        for class in &self.classes {
            writeln!(
                formatter,
                "  {:>11} {:>12} {:>10} {:>10} {:>10} {:>10} {:>9}% {:>10} {:>10}",
                class.block_bytes,
                class.live_blocks,
                class.cached_blocks,
                class.cpu_cached_blocks,
                class.depot_blocks,
                class.slabs,
                Tenths::of_hundred(class.live_blocks, class.slab_blocks).to_string(),
                class.refills,
                class.flushes,
            )?;
        }
        Ok(())
    }
}

/// A number with one digit after the point, for people; without floating point, whose formatting
/// would be most of what a small program is larger by.
struct Tenths(usize);

impl Tenths {
    /// How many `unit`s make `amount`.
    fn of(amount: usize, unit: usize) -> Tenths {
        Tenths(amount / unit * 10 + (amount % unit * 10 + unit / 2) / unit)
    }

    /// `part` of `whole`, in percent; everything of nothing.
    fn of_hundred(part: usize, whole: usize) -> Tenths {
        if whole == 0 { Tenths(1000) } else { Tenths::of(100 * part, whole) }
    }
}

impl fmt::Display for Tenths {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&format!("{}.{}", self.0 / 10, self.0 % 10))
    }
}

/// A number of bytes for people.
struct Human(usize);

impl fmt::Display for Human {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(usize, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        let unit = UNITS.iter().find(|(unit_bytes, _)| self.0 >= *unit_bytes);
        let text = match unit {
            Some(&(unit_bytes, name)) => format!("{} {name}", Tenths::of(self.0, unit_bytes)),
            None => format!("{} B", self.0),
        };
        formatter.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_told_in_the_largest_unit_that_is_reached_to_a_tenth() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            ((1 << 20) - 1, "1024.0 KiB"),
            (1 << 20, "1.0 MiB"),
            (107_374_182_400, "100.0 GiB"),
        ] {
            assert_eq!(Human(bytes).to_string(), text);
        }
        assert!(Human(usize::MAX).to_string().ends_with(".0 GiB"));
        assert_eq!(format!("[{:>10}]", Human(1536)), "[   1.5 KiB]");
    }

    #[test]
    fn a_part_is_told_in_percent_to_a_tenth() {
        assert_eq!(Tenths::of_hundred(1, 3).to_string(), "33.3");
        assert_eq!(Tenths::of_hundred(2, 3).to_string(), "66.7");
        assert_eq!(Tenths::of_hundred(4096, 4096).to_string(), "100.0");
        assert_eq!(Tenths::of_hundred(0, 0).to_string(), "100.0", "none is missing");
    }
}
