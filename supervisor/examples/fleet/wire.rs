//! What the processes tell each other, as JSON.

use std::collections::BTreeMap;
use std::error::Error;
use std::process::ExitCode;

use serde::{Deserialize, Serialize};

/// What a role of the fleet ends with.
pub(crate) type Outcome = Result<ExitCode, Box<dyn Error>>;

/// The response header that says which incarnation of an instance has answered.
pub(crate) const INCARNATION_HEADER: &str = "x-incarnation";

/// The response header that says why a request failed.
pub(crate) const CAUSE_HEADER: &str = "x-cause";

/// Why a request to an instance failed. The order is the table's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Cause {
    /// The instance asked for memory and there was none.
    OutOfMemory,
    /// The instance was being restarted.
    Restarting,
    /// It has trapped, or could not be started for want of memory, and waits for a restart.
    Stopped,
    /// An object was lost with the instance that held it.
    Lost,
    /// The instance did not answer in time, or had too many requests waiting.
    Unresponsive,
    /// The worker could not be reached.
    Unreachable,
    /// Anything else: it is a defect of the fleet.
    Other,
}

impl Cause {
    pub(crate) const ALL: [Cause; 7] = [
        Cause::OutOfMemory,
        Cause::Restarting,
        Cause::Stopped,
        Cause::Lost,
        Cause::Unresponsive,
        Cause::Unreachable,
        Cause::Other,
    ];

    /// The name on the wire, in metrics and in the report.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Cause::OutOfMemory => "out_of_memory",
            Cause::Restarting => "restarting",
            Cause::Stopped => "stopped",
            Cause::Lost => "lost",
            Cause::Unresponsive => "unresponsive",
            Cause::Unreachable => "unreachable",
            Cause::Other => "other",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Cause> {
        Cause::ALL.into_iter().find(|cause| cause.name() == name)
    }
}

/// A worker and its instances at one moment: the answer of `/footprints`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct WorkerReport {
    pub(crate) worker: u64,
    /// What the worker's instances hold together, as its memory limit counts it.
    pub(crate) resident_bytes: u64,
    /// What they may hold together; none for no limit.
    pub(crate) limit_bytes: Option<u64>,
    /// Requests for memory that the limit refused.
    pub(crate) refusals: u64,
    pub(crate) instances: Vec<InstanceReport>,
}

/// One instance in a worker's report.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct InstanceReport {
    /// The slot's number, of the whole fleet.
    pub(crate) id: u64,
    pub(crate) module: String,
    /// Rises with each restart, of the instance or of its worker.
    pub(crate) incarnation: u64,
    /// Whether it has answered of late; what follows is of when it last did.
    pub(crate) responsive: bool,
    /// Whether it has ended by itself.
    pub(crate) stopped: bool,
    /// Why it has not answered, or has ended.
    pub(crate) trouble: Option<String>,
    pub(crate) footprint_bytes: u64,
    /// What an instance of the module holds before its first request.
    pub(crate) base_bytes: u64,
    /// Restarts since the worker started.
    pub(crate) restarts: u64,
}

/// What the controller knows and has done: the answer of `/state`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct ControllerReport {
    pub(crate) policy: String,
    /// Rounds in which instances were sampled.
    pub(crate) rounds: u64,
    /// Time since the controller started, as the fleet counts it.
    pub(crate) uptime_seconds: f64,
    pub(crate) used_bytes: u64,
    pub(crate) limit_bytes: u64,
    pub(crate) modules: BTreeMap<String, ModuleReport>,
    pub(crate) instances: Vec<InstanceState>,
    /// Restarts, the latest last; the oldest of many are left out.
    pub(crate) restarts: Vec<RestartReport>,
    /// Restarts of all time, by module.
    pub(crate) restarts_by_module: BTreeMap<String, u64>,
    /// Restarts that were asked for and failed.
    pub(crate) restarts_failed: u64,
    /// What was noticed, such as a leak common to a module; the latest last.
    pub(crate) findings: Vec<String>,
}

/// What is estimated for a module.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct ModuleReport {
    pub(crate) instances: usize,
    /// The estimate of what an instance needs, if there are enough of them.
    pub(crate) mean_bytes: Option<f64>,
    /// The upper end of the mean's confidence interval.
    pub(crate) mean_upper_bytes: Option<f64>,
    /// The upper end of the prediction interval for one more instance.
    pub(crate) prediction_upper_bytes: Option<f64>,
    /// Why there is no estimate.
    pub(crate) without: Option<String>,
}

/// One instance as the controller sees it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct InstanceState {
    pub(crate) id: u64,
    pub(crate) module: String,
    pub(crate) incarnation: u64,
    pub(crate) worker: u64,
    /// `healthy`, `unresponsive`, `hung`, `stopped` or `gone`, by its last answers.
    pub(crate) state: String,
    pub(crate) footprint_bytes: u64,
}

/// One restart that the controller has made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RestartReport {
    /// Time since the controller started, as the fleet counts it.
    pub(crate) at_seconds: f64,
    pub(crate) id: u64,
    pub(crate) module: String,
    pub(crate) reason: String,
}

/// What the load generator knows: a line on its output for each sample period.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct LoadReport {
    pub(crate) instances: Vec<Need>,
    pub(crate) requests: u64,
    pub(crate) failed: BTreeMap<String, u64>,
    /// Objects that went with an instance when it was restarted.
    pub(crate) objects_lost: u64,
}

/// What one instance is known to need.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Need {
    pub(crate) id: u64,
    pub(crate) module: String,
    /// The objects that it holds.
    pub(crate) live_bytes: u64,
    /// What it was made to leak since it started.
    pub(crate) leaked_bytes: u64,
    /// Whether the plan has it leak.
    pub(crate) leaks: bool,
}
