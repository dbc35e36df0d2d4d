//! The rows of the comparison: what is measured, how often, and to what end.

use crate::peers::PeerId;
use crate::workloads::{Burst, Handoff, Pair, Release, Replacement, Run, Scale, VecPush};

/// One row of the comparison.
#[derive(Debug)]
pub struct Row {
    /// The name printed for this row and accepted from the command line.
    pub name: &'static str,
    /// What one operation is, for the reader of the table.
    pub operation: &'static str,
    /// How many operations one iteration of the workload does at full scale.
    pub operations_per_iteration: u64,
    /// How many iterations run unmeasured before a measurement. It is zero
    /// where the first touch of fresh memory is the very thing measured.
    pub warm_up_iterations: u64,
    /// How many iterations one measurement of the summary times: enough to
    /// last about a tenth of a second or longer.
    pub measured_iterations: u64,
    /// What capmalloc is meant to reach in this row, if anything was set.
    pub target: Option<Target>,
    /// Prepares this row's workload on a peer.
    pub open: fn(PeerId, Scale) -> Box<dyn Run>,
}

/// A bound on capmalloc's time, as a multiple of a peer's.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The largest ratio that meets the target.
    pub limit_ratio: f64,
    /// The peers compared with; the fastest of them counts.
    pub against: &'static [PeerId],
}

/// The two peers that are hardest to beat on small blocks.
const FAST_PEERS: &[PeerId] = &[PeerId::Jemalloc, PeerId::Mimalloc];

/// The final size of the vector of `vec_push_512mib`.
const VEC_BYTES: usize = 512 << 20;

/// Every row, in the order in which the rows are run and printed.
pub static ROWS: &[Row] = &[
    Row {
        name: "pair_48",
        operation: "alloc and free of 48 B",
        operations_per_iteration: 1,
        warm_up_iterations: 1_000_000,
        measured_iterations: 20_000_000,
        target: Some(Target { limit_ratio: 0.9, against: FAST_PEERS }),
        open: |peer, scale| peer.open(&Pair { size_bytes: 48 }, scale),
    },
    Row {
        name: "pair_1024",
        operation: "alloc and free of 1 KiB",
        operations_per_iteration: 1,
        warm_up_iterations: 1_000_000,
        measured_iterations: 20_000_000,
        target: None,
        open: |peer, scale| peer.open(&Pair { size_bytes: 1024 }, scale),
    },
    Row {
        name: "replacement_1t",
        operation: "free and alloc of 8 B to 2 KiB",
        operations_per_iteration: 1,
        warm_up_iterations: 500_000,
        measured_iterations: 5_000_000,
        target: Some(Target { limit_ratio: 1.0, against: FAST_PEERS }),
        open: |peer, scale| peer.open(&Replacement { threads: 1 }, scale),
    },
    Row {
        name: "replacement_2t",
        operation: "the same on each of two threads",
        operations_per_iteration: 1,
        warm_up_iterations: 500_000,
        measured_iterations: 5_000_000,
        target: Some(Target { limit_ratio: 1.0, against: FAST_PEERS }),
        open: |peer, scale| peer.open(&Replacement { threads: 2 }, scale),
    },
    Row {
        name: "burst_fifo_64",
        operation: "alloc and free of 64 B, 10,000 live, oldest freed first",
        operations_per_iteration: 10_000,
        warm_up_iterations: 100,
        measured_iterations: 1_000,
        target: None,
        open: |peer, scale| peer.open(&burst(Release::OldestFirst), scale),
    },
    Row {
        name: "burst_lifo_64",
        operation: "alloc and free of 64 B, 10,000 live, newest freed first",
        operations_per_iteration: 10_000,
        warm_up_iterations: 100,
        measured_iterations: 1_000,
        target: None,
        open: |peer, scale| peer.open(&burst(Release::NewestFirst), scale),
    },
    Row {
        name: "handoff_64",
        operation: "alloc of 64 B on one thread and free on another",
        operations_per_iteration: 1_024,
        warm_up_iterations: 500,
        measured_iterations: 5_000,
        target: None,
        open: |peer, scale| peer.open(&HANDOFF, scale),
    },
    Row {
        name: "vec_push_512mib",
        operation: "push of a u64 to a vector that grows to 512 MiB",
        operations_per_iteration: (VEC_BYTES / size_of::<u64>()) as u64,
        warm_up_iterations: 0,
        measured_iterations: 1,
        target: Some(Target { limit_ratio: 1.0, against: &[PeerId::Glibc] }),
        open: |peer, scale| {
            let final_bytes = VEC_BYTES;
            peer.open(&VecPush { final_bytes }, scale)
        },
    },
];

const HANDOFF: Handoff = Handoff { batch_blocks: 1_024, size_bytes: 64 };

const fn burst(release: Release) -> Burst {
    Burst { blocks: 10_000, size_bytes: 64, release }
}

impl Row {
    /// Finds a row by its printed name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<&'static Self> {
        ROWS.iter().find(|row| row.name == name)
    }

    /// Whether one iteration alone is long enough to be a measurement, in
    /// which case only few of them can be afforded.
    #[must_use]
    pub fn is_slow(&self) -> bool {
        self.measured_iterations == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_runs_on_every_peer() {
        for row in ROWS {
            for &peer in PeerId::ALL {
                let mut run = (row.open)(peer, Scale::Smoke);
                run.run(1);
                run.run(2);
            }
        }
    }

    #[test]
    fn names_are_unique_and_lead_back_to_their_rows() {
        for row in ROWS {
            let found = Row::from_name(row.name).expect("the row exists");
            assert!(std::ptr::eq(found, row), "{} is there twice", row.name);
        }
        assert!(Row::from_name("no such row").is_none());
    }
}
