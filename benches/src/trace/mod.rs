//! Allocation traces of real programs: read, written, and replayed on an allocator.
//!
//! A made-up workload shows what its author thought of. A trace is what a program really asked of
//! its allocator: which sizes, in which order, on which thread, and how long each block lived. The
//! layers are
//!
//! - [`event`]: one call of a program, and what any order of them has to keep to;
//! - [`ledger`]: the blocks that are live at a point of a trace, which is how it is checked;
//! - [`columns`]: events as bytes;
//! - [`format`](mod@format): a trace as a file, written and read;
//! - [`recording`]: what the recorder wrote down, turned into a trace;
//! - [`plan`]: a trace as the work of each thread;
//! - [`target`]: what a plan is replayed on;
//! - [`replay`](mod@replay): the replay itself;
//! - [`profile`]: what a trace holds, in numbers and as text;
//! - [`table`]: memory for all this which no allocator knows of.
//!
//! The traces themselves are in `benches/traces`, whose README says what was recorded and how.

pub mod columns;
pub mod error;
pub mod event;
pub mod format;
pub mod ledger;
pub mod plan;
pub mod profile;
pub mod recording;
pub mod replay;
pub mod table;
pub mod target;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

pub use error::TraceError;
pub use event::{Action, Event};
pub use format::{Trace, TraceWriter};
pub use plan::Plan;
pub use replay::{Replayed, replay, replay_plan};
pub use target::{GlobalTarget, PeerTarget, ReplayTarget};

/// What a replay was of and how it went.
#[derive(Clone, Debug)]
pub struct TraceSummary {
    /// What was recorded, as the trace says it.
    pub description: String,
    /// The events of one pass over the trace.
    pub events: usize,
    /// The blocks that are allocated in one pass.
    pub blocks: usize,
    /// The threads that take part.
    pub threads: usize,
    /// The most bytes that were live at one time when the trace was recorded.
    pub peak_live_bytes: u64,
    /// What the replay holds in memory itself, all of it resident before the first event and until
    /// the last; the kernel counts it as shared memory and not as anonymous.
    pub table_bytes: usize,
    /// How often the trace was passed over.
    pub loops: usize,
    /// The time that all passes took together, without reading the trace.
    pub elapsed: Duration,
}

/// Where the trace of this name is kept in the repository.
#[must_use]
pub fn trace_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("traces").join(name).with_extension("trace")
}

/// Replays a trace of the repository on the process's global allocator.
///
/// `live_bytes` is what the trace has live, give or take 16 KiB for each of its threads, so
/// that another thread can compare it with what the process has resident. It is added to and
/// subtracted from, and is in the end what it was.
///
/// # Panics
///
/// When there is no such trace, it can't be read, or the allocator refuses memory.
#[must_use]
pub fn run_trace(name: &str, loops: usize, live_bytes: &AtomicUsize) -> TraceSummary {
    let failed = |error: TraceError| -> ! { panic!("the trace {name}: {error}") };
    let plan = load_plan(name).unwrap_or_else(|error| failed(error));
    run_plan(&plan, loops, live_bytes).unwrap_or_else(|error| failed(error))
}

/// Reads a trace of the repository and prepares its replay, which takes memory from the system but
/// leaves none with the allocator.
///
/// # Errors
///
/// When there is no such trace or it can't be read.
pub fn load_plan(name: &str) -> Result<Plan, TraceError> {
    Plan::new(&Trace::read(&trace_path(name))?)
}

/// Replays what [`load_plan`] gave, as [`run_trace`] does.
///
/// # Errors
///
/// When the allocator refuses memory or a thread can't be started.
pub fn run_plan(
    plan: &Plan,
    loops: usize,
    live_bytes: &AtomicUsize,
) -> Result<TraceSummary, TraceError> {
    let replayed = replay_plan(plan, &GlobalTarget::new(live_bytes), loops)?;
    Ok(TraceSummary {
        description: plan.description().to_owned(),
        events: plan.events(),
        blocks: plan.blocks(),
        threads: plan.threads(),
        peak_live_bytes: plan.peak_live_bytes(),
        table_bytes: plan.table_bytes(),
        loops,
        elapsed: replayed.elapsed,
    })
}
