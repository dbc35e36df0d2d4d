//! The paths whose instructions are counted, by `ci/instructions.sh` and `src/bin/instructions.rs`.
//!
//! A count is not a time: it knows nothing of caches, of branches guessed wrong, or of other
//! threads. But it is the same each time, so that one instruction more on a fast path shows.

use crate::workloads::{Burst, Growth, Pair, Release, Replacement, Work};

/// One path through an allocator.
#[derive(Debug)]
pub struct Path {
    /// The name printed for this path and accepted from the command line.
    pub name: &'static str,
    /// How many operations one iteration does.
    pub operations_per_iteration: u64,
    /// How many iterations are enough for what happens only now and then to happen many times.
    pub iterations: u64,
    /// What is done.
    pub work: Work,
}

const BURST_BLOCKS: usize = 1000;

/// Every path, in the order in which they are printed.
pub static PATHS: &[Path] = &[
    // One allocation and one free.
    pair("pair_8", Pair::of(8)),
    pair("pair_48", Pair::of(48)),
    pair("pair_1024", Pair::of(1024)),
    pair("pair_64_aligned_64", Pair::aligned(64, 64)),
    pair("pair_4096_zeroed", Pair::zeroed(4096)),
    // The same of a mapping that is kept in between.
    Path { iterations: 1000, ..pair("pair_4_mib", Pair::of(4 << 20)) },
    // One free and one allocation, of 8 bytes to 2 KiB, among 4096 blocks.
    Path {
        name: "replacement",
        operations_per_iteration: 1,
        // As many as there are random choices, so that each run makes all of them.
        iterations: 65_536,
        work: Work::Replacement(Replacement::small(1)),
    },
    // One allocation and one free, with up to 1000 blocks live.
    burst("burst_64_fifo", 64, Release::OldestFirst),
    burst("burst_64_lifo", 64, Release::NewestFirst),
    burst("burst_1024_fifo", 1024, Release::OldestFirst),
    // A vector's whole growth to 1 MiB.
    Path {
        name: "growth_1_mib",
        operations_per_iteration: 1,
        iterations: 50,
        work: Work::Growth(Growth { final_bytes: 1 << 20, is_filled: false }),
    },
];

const fn pair(name: &'static str, pair: Pair) -> Path {
    Path { name, operations_per_iteration: 1, iterations: 50_000, work: Work::Pair(pair) }
}

const fn burst(name: &'static str, size_bytes: usize, release: Release) -> Path {
    let burst = Burst { blocks: BURST_BLOCKS, size_bytes, release };
    Path {
        name,
        operations_per_iteration: BURST_BLOCKS as u64,
        iterations: 100,
        work: Work::Burst(burst),
    }
}

impl Path {
    /// Finds a path by its printed name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<&'static Self> {
        PATHS.iter().find(|path| path.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::PeerId;
    use crate::workloads::Scale;

    #[test]
    fn every_path_runs_on_every_peer() {
        for path in PATHS {
            for &peer in PeerId::ALL {
                crate::test_peers::open(peer, &path.work, Scale::Full).run(2);
            }
        }
    }

    #[test]
    fn names_are_unique_and_lead_back_to_their_paths() {
        for path in PATHS {
            let found = Path::from_name(path.name).expect("the path exists");
            assert!(std::ptr::eq(found, path), "{} is there twice", path.name);
        }
        assert!(Path::from_name("no such path").is_none());
    }
}
