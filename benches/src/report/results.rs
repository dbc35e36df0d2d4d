//! What a run of the bench measured: the contract between the harness, which fills these types in,
//! and the report, which is nothing but a function of them.
//!
//! They are what `report.json` holds. A number that is not finite cannot be written in JSON; it is
//! written as `null`, and read back as a NaN, which every part of the report shows as a dash.

use serde::{Deserialize, Deserializer, Serialize};

/// The version of the format that this code writes, and the only one that it reads.
pub const FORMAT_VERSION: u32 = 1;

/// One point of time of a run: seconds since the load began, resident MiB, and live MiB where the
/// load told.
pub type Sample = (f64, f64, Option<f64>);

/// Everything that one call of the bench measured.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Report {
    /// The version of this format, [`FORMAT_VERSION`].
    pub format_version: u32,
    /// The command that measures the same again.
    pub command: String,
    /// Where it was measured.
    pub machine: Machine,
    /// How many runs each contender had in each workload; interleaved, in a process each.
    pub rounds: usize,
    /// Whether the loads were shortened, so that the figures only show that the bench works.
    pub quick: bool,
    /// The workloads, in the order of the report.
    pub workloads: Vec<WorkloadResult>,
}

/// The machine and the versions that the figures depend on; what could not be found out is
/// "unknown" or 0.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Machine {
    /// Processors that the process may use.
    pub cpus: usize,
    /// The processor's name.
    pub cpu_model: String,
    /// Memory of the machine, in bytes.
    pub memory_bytes: u64,
    /// The release of the kernel.
    pub kernel: String,
    /// The version of the C library, which is that of the allocator in it.
    pub glibc: String,
    /// The compiler, as it names itself.
    pub rustc: String,
    /// The version of capmalloc, with the commit where it is known.
    pub capmalloc_version: String,
    /// The kernel's setting of transparent huge pages.
    pub thp: String,
}

/// One load, run on every contender.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct WorkloadResult {
    /// The name that the command line accepts.
    pub name: String,
    /// A heading of a few words.
    pub title: String,
    /// What the load does, in a sentence or two.
    pub description: String,
    /// The contenders, in the order of the tables.
    pub contenders: Vec<ContenderResult>,
}

/// An allocator under certain settings, and what came of it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct ContenderResult {
    /// The name in the tables, such as `glibc-1` or `capmalloc`.
    pub name: String,
    /// The allocator alone, such as `glibc` or `capmalloc`.
    pub allocator: String,
    /// The cap on arenas that its name stands for; nothing where that is none.
    pub arena_max: Option<u32>,
    /// The settings that were given with its name, such as `CAPMALLOC_CACHE_BUDGET=4M`.
    #[serde(default)]
    pub settings: Vec<String>,
    /// Whether these are the settings of a user who sets nothing.
    pub is_default: bool,
    /// Why it could not be measured to the end; the runs until then are in `runs`.
    pub failed: Option<String>,
    /// One for each round.
    pub runs: Vec<Run>,
}

/// What one process was seen to do. Resident bytes are anonymous: no files, no stacks.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Run {
    /// What the load asked for and held when it was over, in bytes.
    pub live_bytes: u64,
    /// The pages that the live blocks lay on, in bytes: no allocator could hold less without moving
    /// them.
    pub floor_bytes: Option<u64>,
    /// Resident bytes, the mean over time from the load's begin to its end.
    pub mean_bytes: u64,
    /// Resident bytes, the most that any sample saw.
    pub peak_bytes: u64,
    /// Resident bytes right after the load was over.
    pub final_bytes: u64,
    /// Resident bytes when the load had been over for some seconds and nothing was called.
    pub idle_bytes: Option<u64>,
    /// Resident bytes right after the allocator was asked to give back what it can.
    pub trimmed_bytes: Option<u64>,
    /// User and system time of the whole process, in seconds.
    #[serde(deserialize_with = "nan_if_null")]
    pub cpu_seconds: f64,
    /// Operations that the load did: requests, jobs or rounds.
    pub operations: Option<u64>,
    /// The load from begin to end by the clock, in seconds.
    #[serde(deserialize_with = "nan_if_null")]
    pub wall_seconds: f64,
    /// The service time that half of the operations kept to, in microseconds.
    pub p50_us: Option<f64>,
    /// The service time that 99 of 100 operations kept to, in microseconds.
    pub p99_us: Option<f64>,
    /// The service time that 999 of 1000 operations kept to, in microseconds.
    pub p999_us: Option<f64>,
    /// Page faults that the kernel served without reading from a disk.
    pub minor_faults: u64,
    /// Calls of `madvise`, where they were counted.
    pub madvise_calls: Option<u64>,
    /// Time in which a thread was ready and had no processor, in percent of the CPU time.
    pub waited_percent: Option<f64>,
    /// Memory over time.
    #[serde(deserialize_with = "samples")]
    pub samples: Vec<Sample>,
    /// The heap when the load was over: one string for each segment of 4 MiB, one character for each
    /// page of 4 KiB. `L`: has live blocks; `C`: only blocks in thread caches; `D`: dirty, free and
    /// resident; `R`: retained, free and not resident; `.`, or any other: metadata or unknown.
    pub occupancy: Option<Vec<String>>,
    /// Allocations that the allocator refused.
    pub failed_allocations: u64,
}

fn nan_if_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

fn samples<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Sample>, D::Error> {
    let read: Vec<(Option<f64>, Option<f64>, Option<f64>)> = Vec::deserialize(deserializer)?;
    let or_nan = |number: Option<f64>| number.unwrap_or(f64::NAN);
    Ok(read.into_iter().map(|(at, held, live)| (or_nan(at), or_nan(held), live)).collect())
}
