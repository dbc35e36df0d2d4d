//! The paths whose instructions are counted, by `ci/instructions.sh` and `src/bin/instructions.rs`.
//!
//! A count is not a time: it knows nothing of caches, of branches guessed wrong, or of other
//! threads. But it is the same each time, so that one instruction more on a fast path shows.

use crate::peers::PeerId;
use crate::workloads::{Burst, Growth, LayoutPair, Pair, Release, Replacement, Run, Scale};

/// One path through an allocator.
#[derive(Debug)]
pub struct Path {
    /// The name printed for this path and accepted from the command line.
    pub name: &'static str,
    /// How many operations one iteration does.
    pub operations_per_iteration: u64,
    /// How many iterations are enough for what happens only now and then to happen many times.
    pub iterations: u64,
    /// Prepares the path's work on a peer.
    pub open: fn(PeerId) -> Box<dyn Run>,
}

const BURST_BLOCKS: usize = 1000;

/// Every path, in the order in which they are printed.
pub static PATHS: &[Path] = &[
    // One allocation and one free.
    Path { name: "pair_8", open: |peer| pair(peer, 8), ..PAIR },
    Path { name: "pair_48", open: |peer| pair(peer, 48), ..PAIR },
    Path { name: "pair_1024", open: |peer| pair(peer, 1024), ..PAIR },
    Path { name: "pair_64_aligned_64", open: |peer| layout_pair(peer, 64, 64, false), ..PAIR },
    Path { name: "pair_4096_zeroed", open: |peer| layout_pair(peer, 4096, 8, true), ..PAIR },
    // One free and one allocation, of 8 bytes to 2 KiB, among 4096 blocks.
    Path {
        name: "replacement",
        operations_per_iteration: 1,
        // As many as there are random choices, so that each run makes all of them.
        iterations: 65_536,
        open: |peer| peer.open(&Replacement { threads: 1 }, Scale::Full),
    },
    // One allocation and one free, with up to 1000 blocks of 64 bytes live.
    Path { name: "burst_64_fifo", open: |peer| burst(peer, Release::OldestFirst), ..BURST },
    Path { name: "burst_64_lifo", open: |peer| burst(peer, Release::NewestFirst), ..BURST },
    // A vector's whole growth to 1 MiB.
    Path {
        name: "growth_1_mib",
        operations_per_iteration: 1,
        iterations: 50,
        open: |peer| peer.open(&Growth { final_bytes: 1 << 20 }, Scale::Full),
    },
];

const PAIR: Path =
    Path { name: "", operations_per_iteration: 1, iterations: 50_000, open: |peer| pair(peer, 1) };

const BURST: Path = Path {
    name: "",
    operations_per_iteration: BURST_BLOCKS as u64,
    iterations: 100,
    open: |peer| burst(peer, Release::OldestFirst),
};

fn pair(peer: PeerId, size_bytes: usize) -> Box<dyn Run> {
    peer.open(&Pair { size_bytes }, Scale::Full)
}

fn layout_pair(
    peer: PeerId,
    size_bytes: usize,
    align_bytes: usize,
    is_zeroed: bool,
) -> Box<dyn Run> {
    peer.open(&LayoutPair { size_bytes, align_bytes, is_zeroed }, Scale::Full)
}

fn burst(peer: PeerId, release: Release) -> Box<dyn Run> {
    peer.open(&Burst { blocks: BURST_BLOCKS, size_bytes: 64, release }, Scale::Full)
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

    #[test]
    fn every_path_runs_on_every_peer() {
        for path in PATHS {
            for &peer in PeerId::ALL {
                (path.open)(peer).run(2);
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
