//! The rows of the comparison: what is measured, how often, and to what end.

use crate::peers::PeerId;
use crate::workloads::{
    Burst, Exchange, Growth, Handoff, Pair, Release, Replacement, Server, ShortThreads, VecPush,
    Work,
};

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
    /// What is done.
    pub work: Work,
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

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// Every row, in the order in which the rows are run and printed.
pub static ROWS: &[Row] = &[
    Row {
        name: "pair_8",
        operation: "alloc and free of 8 B",
        operations_per_iteration: 1,
        warm_up_iterations: 1_000_000,
        measured_iterations: 20_000_000,
        target: None,
        work: Work::Pair(Pair::of(8)),
    },
    Row {
        name: "pair_48",
        operation: "alloc and free of 48 B",
        operations_per_iteration: 1,
        warm_up_iterations: 1_000_000,
        measured_iterations: 20_000_000,
        target: Some(Target { limit_ratio: 0.9, against: FAST_PEERS }),
        work: Work::Pair(Pair::of(48)),
    },
    Row {
        name: "pair_256",
        operation: "alloc and free of 256 B",
        operations_per_iteration: 1,
        warm_up_iterations: 1_000_000,
        measured_iterations: 20_000_000,
        target: None,
        work: Work::Pair(Pair::of(256)),
    },
    Row {
        name: "pair_1024",
        operation: "alloc and free of 1 KiB",
        operations_per_iteration: 1,
        warm_up_iterations: 1_000_000,
        measured_iterations: 20_000_000,
        target: None,
        work: Work::Pair(Pair::of(KIB)),
    },
    Row {
        name: "pair_8k",
        operation: "alloc and free of 8 KiB",
        operations_per_iteration: 1,
        warm_up_iterations: 500_000,
        measured_iterations: 5_000_000,
        target: None,
        work: Work::Pair(Pair::of(8 * KIB)),
    },
    Row {
        name: "pair_32k",
        operation: "alloc and free of 32 KiB",
        operations_per_iteration: 1,
        warm_up_iterations: 200_000,
        measured_iterations: 2_000_000,
        target: None,
        work: Work::Pair(Pair::of(32 * KIB)),
    },
    Row {
        name: "pair_128k",
        operation: "alloc and free of 128 KiB",
        operations_per_iteration: 1,
        warm_up_iterations: 50_000,
        measured_iterations: 500_000,
        target: None,
        work: Work::Pair(Pair::of(128 * KIB)),
    },
    Row {
        name: "pair_4m",
        operation: "alloc and free of 4 MiB",
        operations_per_iteration: 1,
        warm_up_iterations: 100,
        measured_iterations: 1_000,
        target: None,
        work: Work::Pair(Pair::of(4 * MIB)),
    },
    Row {
        name: "zeroed_64",
        operation: "alloc_zeroed and free of 64 B",
        operations_per_iteration: 1,
        warm_up_iterations: 1_000_000,
        measured_iterations: 20_000_000,
        target: None,
        work: Work::Pair(Pair::zeroed(64)),
    },
    Row {
        name: "zeroed_4k",
        operation: "alloc_zeroed and free of 4 KiB",
        operations_per_iteration: 1,
        warm_up_iterations: 200_000,
        measured_iterations: 2_000_000,
        target: None,
        work: Work::Pair(Pair::zeroed(4 * KIB)),
    },
    Row {
        name: "zeroed_1m",
        operation: "alloc_zeroed and free of 1 MiB",
        operations_per_iteration: 1,
        warm_up_iterations: 200,
        measured_iterations: 2_000,
        target: None,
        work: Work::Pair(Pair::zeroed(MIB)),
    },
    Row {
        name: "aligned_64",
        operation: "alloc and free of 256 B aligned to 64",
        operations_per_iteration: 1,
        warm_up_iterations: 1_000_000,
        measured_iterations: 10_000_000,
        target: None,
        work: Work::Pair(Pair::aligned(256, 64)),
    },
    Row {
        name: "aligned_4096",
        operation: "alloc and free of 4 KiB aligned to 4 KiB",
        operations_per_iteration: 1,
        warm_up_iterations: 200_000,
        measured_iterations: 2_000_000,
        target: None,
        work: Work::Pair(Pair::aligned(4 * KIB, 4 * KIB)),
    },
    Row {
        name: "burst_fifo_64",
        operation: "alloc and free of 64 B, 10,000 live, oldest freed first",
        operations_per_iteration: 10_000,
        warm_up_iterations: 100,
        measured_iterations: 1_000,
        target: None,
        work: burst(10_000, 64, Release::OldestFirst),
    },
    Row {
        name: "burst_lifo_64",
        operation: "alloc and free of 64 B, 10,000 live, newest freed first",
        operations_per_iteration: 10_000,
        warm_up_iterations: 100,
        measured_iterations: 1_000,
        target: None,
        work: burst(10_000, 64, Release::NewestFirst),
    },
    Row {
        name: "burst_fifo_1k",
        operation: "alloc and free of 1 KiB, 1,000 live, oldest freed first",
        operations_per_iteration: 1_000,
        warm_up_iterations: 1_000,
        measured_iterations: 10_000,
        target: None,
        work: burst(1_000, KIB, Release::OldestFirst),
    },
    Row {
        name: "burst_lifo_1k",
        operation: "alloc and free of 1 KiB, 1,000 live, newest freed first",
        operations_per_iteration: 1_000,
        warm_up_iterations: 1_000,
        measured_iterations: 10_000,
        target: None,
        work: burst(1_000, KIB, Release::NewestFirst),
    },
    Row {
        name: "replacement_1t",
        operation: "free and alloc of 8 B to 2 KiB, 4,096 live",
        operations_per_iteration: 1,
        warm_up_iterations: 500_000,
        measured_iterations: 5_000_000,
        target: Some(Target { limit_ratio: 1.0, against: FAST_PEERS }),
        work: Work::Replacement(Replacement::small(1)),
    },
    Row {
        name: "replacement_2t",
        operation: "the same on each of two threads",
        operations_per_iteration: 1,
        warm_up_iterations: 500_000,
        measured_iterations: 5_000_000,
        target: Some(Target { limit_ratio: 1.0, against: FAST_PEERS }),
        work: Work::Replacement(Replacement::small(2)),
    },
    Row {
        name: "mixed_25t",
        operation: "free and alloc of 8 B to 32 KiB, 512 live, on each of 25 threads",
        operations_per_iteration: 1,
        warm_up_iterations: 20_000,
        measured_iterations: 200_000,
        target: None,
        work: Work::Replacement(Replacement { threads: 25, slots: 512, size_max_bytes: 32 * KIB }),
    },
    Row {
        name: "server_2t",
        operation: "the same as replacement_2t, by fresh threads every 20,000",
        operations_per_iteration: 1,
        warm_up_iterations: 100_000,
        measured_iterations: 1_000_000,
        target: None,
        work: Work::Server(SERVER),
    },
    Row {
        name: "thread_start",
        operation: "start and end of a thread that allocates 100 blocks",
        operations_per_iteration: 4,
        warm_up_iterations: 100,
        measured_iterations: 1_000,
        target: None,
        work: Work::ShortThreads(ShortThreads { threads: 4, blocks: 100 }),
    },
    Row {
        name: "handoff_64",
        operation: "alloc of 64 B on one thread and free on another",
        operations_per_iteration: 1_024,
        warm_up_iterations: 500,
        measured_iterations: 5_000,
        target: None,
        work: Work::Handoff(Handoff { batch_blocks: 1_024, size_bytes: 64 }),
    },
    Row {
        name: "handoff_4t",
        operation: "free and alloc of 8 B to 1 KiB on each of four threads, freed by any",
        operations_per_iteration: 256,
        warm_up_iterations: 1_000,
        measured_iterations: 10_000,
        target: None,
        work: Work::Exchange(Exchange { threads: 4, batch_blocks: 256, size_max_bytes: KIB }),
    },
    Row {
        name: "grow_4k",
        operation: "a byte vector filled and doubled to 4 KiB",
        operations_per_iteration: 1,
        warm_up_iterations: 50_000,
        measured_iterations: 500_000,
        target: None,
        work: Work::Growth(Growth { final_bytes: 4 * KIB, is_filled: true }),
    },
    Row {
        name: "grow_1m",
        operation: "a byte vector filled and doubled to 1 MiB",
        operations_per_iteration: 1,
        warm_up_iterations: 200,
        measured_iterations: 2_000,
        target: None,
        work: Work::Growth(Growth { final_bytes: MIB, is_filled: true }),
    },
    Row {
        name: "vec_push_512mib",
        operation: "push of a u64 to a vector that grows to 512 MiB",
        operations_per_iteration: (VEC_BYTES / size_of::<u64>()) as u64,
        warm_up_iterations: 0,
        measured_iterations: 1,
        target: Some(Target { limit_ratio: 1.0, against: &[PeerId::Glibc] }),
        work: Work::VecPush(VecPush { final_bytes: VEC_BYTES }),
    },
];

const SERVER: Server = Server { tables: Replacement::small(2), replacements_per_thread: 20_000 };

const fn burst(blocks: usize, size_bytes: usize, release: Release) -> Work {
    Work::Burst(Burst { blocks, size_bytes, release })
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
    use crate::workloads::Scale;

    #[test]
    fn every_row_runs_on_every_peer() {
        for row in ROWS {
            for &peer in PeerId::ALL {
                let mut run = crate::test_peers::open(peer, &row.work, Scale::Smoke);
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
