//! Who is to be restarted: five answers behind one trait.

mod low_memory;
mod mean_interval;
mod never;
mod prediction_interval;

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::collector::{Health, InstanceStatus};
use crate::estimator::CommonLeak;
use crate::host::HostMemory;
use crate::instance::{InstanceId, ModuleName};
use crate::store::Store;

pub use low_memory::{LargestOnLowMemory, OldestOnLowMemory};
pub use mean_interval::MeanInterval;
pub use never::Never;
pub use prediction_interval::PredictionInterval;

/// All that a policy goes by.
#[derive(Clone, Copy, Debug)]
pub struct FleetView<'a> {
    /// The footprints of all instances since their start.
    pub store: &'a Store,
    /// The steady time.
    pub now: Duration,
    /// How the host is off.
    pub host: HostMemory,
    /// All instances as they were when they were last asked, by id.
    pub instances: &'a [InstanceStatus],
}

impl<'a> FleetView<'a> {
    /// The instances that answered when they were last asked.
    pub fn healthy(&self) -> impl Iterator<Item = &'a InstanceStatus> {
        self.instances.iter().filter(|status| status.health == Health::Healthy)
    }

    /// Whether an instance answered when it was last asked.
    #[must_use]
    pub fn is_healthy(&self, id: InstanceId) -> bool {
        let found = self.instances.binary_search_by_key(&id, |status| status.id);
        found.is_ok_and(|index| self.instances[index].health == Health::Healthy)
    }
}

/// That an instance should be restarted. Whether it is, the executor decides.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Verdict {
    /// Which one.
    pub instance: InstanceId,
    /// The incarnation that was judged; another one is left alone.
    pub incarnation: u64,
    /// Why.
    pub reason: Reason,
}

/// Why an instance should be restarted.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
#[non_exhaustive]
pub enum Reason {
    /// It holds more than an instance of its module needs.
    OverEstimate {
        /// What it holds.
        level_bytes: u64,
        /// What it may hold.
        threshold_bytes: u64,
        /// The confidence that it was judged at.
        confidence: f64,
        /// Whether that is by what instances held early after their start.
        is_anchored: bool,
    },
    /// The host is short of memory.
    LowMemory {
        /// The part of the host's memory that is used.
        used_fraction: f64,
    },
    /// It does not answer.
    Hung,
    /// It has ended by itself.
    Stopped,
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::OverEstimate { level_bytes, threshold_bytes, confidence, is_anchored } => {
                let percent = confidence * 100.0;
                let by = if *is_anchored { "early footprints" } else { "the others" };
                write!(
                    formatter,
                    "it holds {level_bytes} bytes, over {threshold_bytes} by {by} at {percent:.1} %"
                )
            }
            Reason::LowMemory { used_fraction } => {
                write!(formatter, "{:.1} % of the host's memory is used", used_fraction * 100.0)
            }
            Reason::Hung => formatter.write_str("it does not answer"),
            Reason::Stopped => formatter.write_str("it has ended by itself"),
        }
    }
}

/// Says who should be restarted.
pub trait Policy {
    /// A short name for tables and logs.
    fn name(&self) -> &str;

    /// Judges the fleet once after each collection; the most urgent verdict first.
    ///
    /// A policy may say the same each time until it is done: the executor sees to it that nothing is
    /// overdone.
    fn judge(&mut self, view: &FleetView<'_>) -> Vec<Verdict>;

    /// Leaks that all instances of a module have in common, as of the last judgement. A policy that
    /// looks for none finds none.
    fn common_leaks(&self) -> &[(ModuleName, CommonLeak)] {
        &[]
    }
}

impl<P: Policy + ?Sized> Policy for Box<P> {
    fn name(&self) -> &str {
        (**self).name()
    }

    fn judge(&mut self, view: &FleetView<'_>) -> Vec<Verdict> {
        (**self).judge(view)
    }

    fn common_leaks(&self) -> &[(ModuleName, CommonLeak)] {
        (**self).common_leaks()
    }
}

/// A verdict on what is over its threshold, with how far over it is.
struct Over {
    factor: f64,
    verdict: Verdict,
}

/// The verdicts, the one the farthest over its threshold first.
fn by_urgency(mut over: Vec<Over>) -> Vec<Verdict> {
    over.sort_by(|one, other| other.factor.total_cmp(&one.factor));
    over.into_iter().map(|over| over.verdict).collect()
}

#[cfg(test)]
mod tests;
