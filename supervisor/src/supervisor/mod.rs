//! All parts together.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::clock::Clock;
use crate::collector::{ClockJump, Collection, Collector, CollectorConfig, Health, InstanceStatus};
use crate::estimator::CommonLeak;
use crate::executor::{Execution, Executor, ExecutorConfig};
use crate::host::{Host, HostMemory};
use crate::instance::{Instance, ModuleName, RestartError};
use crate::policy::{FleetView, Policy, Reason, Verdict};
use crate::store::{Store, StoreConfig};

/// How all parts do their work.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct SupervisorConfig {
    /// How often footprints are taken.
    pub collector: CollectorConfig,
    /// How many are remembered.
    pub store: StoreConfig,
    /// How careful restarts are.
    pub executor: ExecutorConfig,
    /// Whether an instance that hangs is restarted, whatever the policy. It is by default.
    pub restarts_hung: bool,
}

impl Default for SupervisorConfig {
    fn default() -> SupervisorConfig {
        SupervisorConfig {
            collector: CollectorConfig::default(),
            store: StoreConfig::default(),
            executor: ExecutorConfig::default(),
            restarts_hung: true,
        }
    }
}

/// What one step found and did.
#[derive(Clone, PartialEq, Default, Debug, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The steady time of the step.
    pub at: Duration,
    /// That the clock jumped since the step before.
    pub clock_jump: Option<ClockJump>,
    /// What was collected; `None` where it is not time yet, and then nothing else was done either.
    pub collection: Option<Collection>,
    /// How the host was off.
    pub host: Option<HostMemory>,
    /// What was judged, the most urgent first.
    pub verdicts: Vec<Verdict>,
    /// Modules whose instances leak all together: a bug in the program, which restarts only put off.
    pub common_leaks: Vec<(ModuleName, CommonLeak)>,
    /// What became of it.
    pub execution: Execution,
}

/// Collects, judges and restarts, a step at a time.
///
/// A new supervisor knows nothing, so it restarts nothing by estimate until instances have settled
/// under its eyes: a controller that comes back does not begin with a storm.
pub struct Supervisor {
    clock: Box<dyn Clock>,
    host: Box<dyn Host + Send>,
    policy: Box<dyn Policy + Send>,
    restarts_hung: bool,
    collector: Collector,
    store: Store,
    executor: Executor,
}

impl fmt::Debug for Supervisor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Supervisor")
            .field("policy", &self.policy.name())
            .field("collector", &self.collector)
            .field("executor", &self.executor)
            .finish_non_exhaustive()
    }
}

impl Supervisor {
    /// A supervisor that begins with its first step.
    ///
    /// # Panics
    ///
    /// Where the configuration of a part is one that it refuses.
    #[must_use]
    pub fn new(
        config: SupervisorConfig,
        clock: impl Clock + 'static,
        host: impl Host + Send + 'static,
        policy: impl Policy + Send + 'static,
    ) -> Supervisor {
        Supervisor {
            clock: Box::new(clock),
            host: Box::new(host),
            policy: Box::new(policy),
            restarts_hung: config.restarts_hung,
            collector: Collector::new(config.collector),
            store: Store::new(config.store),
            executor: Executor::new(config.executor),
        }
    }

    /// Collects if it is time to, and then judges and restarts.
    ///
    /// `instances` are all that there are now. What was there in the last step and is not now is
    /// gone.
    pub fn step(&mut self, instances: &[&dyn Instance]) -> Report {
        let clock_jump = self.collector.advance(self.clock.now());
        let mut report = Report { at: self.collector.now(), clock_jump, ..Report::default() };
        report.collection = self.collector.collect(instances, &mut self.store);
        if report.collection.is_none() {
            return report;
        }
        let host = self.host.memory(self.store.instances_bytes());
        report.host = Some(host);
        report.verdicts = self.judge(host);
        report.common_leaks = self.policy.common_leaks().to_vec();
        report.execution = self.executor.execute(
            self.collector.now(),
            self.collector.statuses(),
            &report.verdicts,
            &mut |verdict| restart(instances, verdict),
        );
        report
    }

    fn judge(&mut self, host: HostMemory) -> Vec<Verdict> {
        let instances = self.collector.statuses();
        let mut verdicts = Vec::new();
        if self.restarts_hung {
            verdicts.extend(instances.iter().filter_map(|status| {
                let reason = match status.health {
                    Health::Hung => Reason::Hung,
                    Health::Stopped => Reason::Stopped,
                    Health::Healthy | Health::Unresponsive => return None,
                };
                let (instance, incarnation) = (status.id, status.incarnation);
                Some(Verdict { instance, incarnation, reason })
            }));
        }
        let now = self.collector.now();
        verdicts.extend(self.policy.judge(&FleetView { store: &self.store, now, host, instances }));
        verdicts
    }

    /// How long until the next step has something to do, by the clock.
    #[must_use]
    pub fn until_due(&self) -> Duration {
        self.collector.until_due()
    }

    /// The policy's name.
    #[must_use]
    pub fn policy_name(&self) -> &str {
        self.policy.name()
    }

    /// What is known of footprints.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// What is under way.
    #[must_use]
    pub fn executor(&self) -> &Executor {
        &self.executor
    }

    /// All instances as they were when they were last asked, by id.
    #[must_use]
    pub fn statuses(&self) -> &[InstanceStatus] {
        self.collector.statuses()
    }

    /// Panics where a part contradicts itself; for tests.
    pub fn check(&self) {
        self.store.check();
        self.executor.check();
    }
}

/// Restarts the instance of a verdict, if it is still there and the one that was judged.
fn restart(instances: &[&dyn Instance], verdict: &Verdict) -> Result<(), RestartError> {
    let found = instances.iter().find(|instance| instance.id() == verdict.instance);
    match found {
        Some(instance) if instance.incarnation() == verdict.incarnation => instance.restart(),
        _ => Err(RestartError::Gone),
    }
}

#[cfg(test)]
mod tests;
