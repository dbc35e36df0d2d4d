//! Restarts what was judged, with care: few at once, not too often, never the last one.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::collector::{Health, InstanceStatus};
use crate::instance::{InstanceId, ModuleName, RestartError};
use crate::policy::Verdict;

/// How careful restarts are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct ExecutorConfig {
    /// Restarts that may be under way at once.
    pub concurrent_max: usize,
    /// The time after an instance's restart in which it is not restarted again.
    pub instance_cool_down: Duration,
    /// The time after a module's restart in which none of its instances is restarted, also where that
    /// was tried and failed.
    pub module_cool_down: Duration,
    /// The time in which a restart must have ended: a footprint was taken of the new incarnation.
    pub restart_timeout: Duration,
    /// The time after a failed restart until it is tried again. It doubles with each failure.
    pub back_off_first: Duration,
    /// The most that it grows to.
    pub back_off_max: Duration,
}

impl Default for ExecutorConfig {
    /// One at a time; an instance at most every ten minutes and a module every minute; two minutes
    /// to end; a minute after the first failure and at most an hour.
    fn default() -> ExecutorConfig {
        ExecutorConfig {
            concurrent_max: 1,
            instance_cool_down: Duration::from_secs(600),
            module_cool_down: Duration::from_secs(60),
            restart_timeout: Duration::from_secs(120),
            back_off_first: Duration::from_secs(60),
            back_off_max: Duration::from_secs(3600),
        }
    }
}

/// Why a verdict was not carried out now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[non_exhaustive]
pub enum Skip {
    /// As many restarts as may be are under way.
    TooManyAtOnce,
    /// It is being restarted already.
    UnderWay,
    /// The instance was restarted a short time ago.
    InstanceCoolsDown,
    /// Its module had a restart a short time ago.
    ModuleCoolsDown,
    /// Its restarts failed, and it is too early for another try.
    BacksOff,
    /// No other instance of its module is healthy.
    LastHealthy,
    /// It is gone.
    Gone,
    /// It was restarted since it was judged.
    OtherIncarnation,
}

impl fmt::Display for Skip {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Skip::TooManyAtOnce => "as many restarts as may be are under way",
            Skip::UnderWay => "it is being restarted already",
            Skip::InstanceCoolsDown => "it was restarted a short time ago",
            Skip::ModuleCoolsDown => "its module had a restart a short time ago",
            Skip::BacksOff => "its restarts failed, and it is too early for another try",
            Skip::LastHealthy => "no other instance of its module is healthy",
            Skip::Gone => "it is gone",
            Skip::OtherIncarnation => "it was restarted since it was judged",
        })
    }
}

/// A verdict that was not carried out now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Skipped {
    /// On whom.
    pub instance: InstanceId,
    /// Why.
    pub why: Skip,
}

/// What became of restarts.
#[derive(Clone, PartialEq, Default, Debug, Serialize)]
pub struct Execution {
    /// Restarts that were begun now.
    pub begun: Vec<Verdict>,
    /// Instances whose restart has ended well.
    pub completed: Vec<InstanceId>,
    /// Restarts that failed, and why.
    pub failed: Vec<(InstanceId, RestartError)>,
    /// Instances whose restart did not end in time. It counts as failed.
    pub timed_out: Vec<InstanceId>,
    /// Instances that were gone before their restart had ended.
    pub vanished: Vec<InstanceId>,
    /// Verdicts that were not carried out now.
    pub skipped: Vec<Skipped>,
}

/// Restarts instances by a callback.
///
/// A restart is under way from its beginning until a footprint was taken of the new incarnation,
/// the instance is gone, or the time for it is over. What the executor knows, it knows from the
/// statuses that it is given; it keeps no more than what has yet to pass.
#[derive(Clone, Debug)]
pub struct Executor {
    config: ExecutorConfig,
    under_way: BTreeMap<InstanceId, UnderWay>,
    instances: BTreeMap<InstanceId, Wait>,
    modules: BTreeMap<ModuleName, Duration>,
}

#[derive(Clone, Debug)]
struct UnderWay {
    incarnation: u64,
    begun: Duration,
}

/// Until when an instance is left alone, and why.
#[derive(Clone, Copy, Default, Debug)]
struct Wait {
    until: Duration,
    failures: u32,
}

impl Executor {
    /// An executor that has restarted nothing yet.
    ///
    /// # Panics
    ///
    /// Where no restart may be under way.
    #[must_use]
    pub fn new(config: ExecutorConfig) -> Executor {
        assert!(config.concurrent_max > 0, "{config:?}");
        Executor {
            config,
            under_way: BTreeMap::new(),
            instances: BTreeMap::new(),
            modules: BTreeMap::new(),
        }
    }

    /// How careful restarts are.
    #[must_use]
    pub fn config(&self) -> &ExecutorConfig {
        &self.config
    }

    /// The instances whose restart is under way.
    pub fn under_way(&self) -> impl Iterator<Item = InstanceId> {
        self.under_way.keys().copied()
    }

    /// Sees which restarts have ended, then begins those of the verdicts that may be, in order.
    ///
    /// `statuses` are all instances by id, and `now` never runs backward. The callback begins a
    /// restart, if the instance's incarnation is still the one of the verdict.
    pub fn execute(
        &mut self,
        now: Duration,
        statuses: &[InstanceStatus],
        verdicts: &[Verdict],
        restart: &mut dyn FnMut(&Verdict) -> Result<(), RestartError>,
    ) -> Execution {
        let mut execution = Execution::default();
        self.observe(now, statuses, &mut execution);
        for verdict in verdicts {
            match self.refusal(now, statuses, verdict, &execution.failed) {
                Some(why) => {
                    execution.skipped.push(Skipped { instance: verdict.instance, why });
                }
                None => self.begin(now, statuses, verdict, restart, &mut execution),
            }
        }
        self.forget_what_has_passed(now);
        execution
    }

    fn observe(&mut self, now: Duration, statuses: &[InstanceStatus], execution: &mut Execution) {
        let ids: Vec<InstanceId> = self.under_way.keys().copied().collect();
        for id in ids {
            let restart = &self.under_way[&id];
            let is_late = now.saturating_sub(restart.begun) > self.config.restart_timeout;
            match find(statuses, id) {
                None => {
                    self.under_way.remove(&id);
                    execution.vanished.push(id);
                }
                Some(status) if has_ended(status, restart) => {
                    self.under_way.remove(&id);
                    self.cool_down(now, id);
                    execution.completed.push(id);
                }
                Some(_) if is_late => {
                    self.under_way.remove(&id);
                    self.back_off(now, id);
                    execution.timed_out.push(id);
                }
                Some(_) => {}
            }
        }
    }

    /// Why a restart may not begin now; `failed` are those of this step that did.
    fn refusal(
        &self,
        now: Duration,
        statuses: &[InstanceStatus],
        verdict: &Verdict,
        failed: &[(InstanceId, RestartError)],
    ) -> Option<Skip> {
        let id = verdict.instance;
        let Some(status) = find(statuses, id) else { return Some(Skip::Gone) };
        let is_waiting = |until: &Duration| now < *until;
        if self.under_way.contains_key(&id) {
            return Some(Skip::UnderWay);
        }
        if status.incarnation != verdict.incarnation {
            return Some(Skip::OtherIncarnation);
        }
        if let Some(wait) = self.instances.get(&id).filter(|wait| is_waiting(&wait.until)) {
            let has_failed = wait.failures > 0;
            return Some(if has_failed { Skip::BacksOff } else { Skip::InstanceCoolsDown });
        }
        if self.modules.get(&status.module).is_some_and(is_waiting) {
            return Some(Skip::ModuleCoolsDown);
        }
        // One that has ended by itself does no work that could be missed.
        let is_at_work = status.health != Health::Stopped;
        if is_at_work && !self.has_other_healthy(statuses, status, failed) {
            return Some(Skip::LastHealthy);
        }
        (self.under_way.len() >= self.config.concurrent_max).then_some(Skip::TooManyAtOnce)
    }

    /// Whether the module can do without an instance: another one answers and is not about to end.
    ///
    /// One whose restart has just failed may have ended all the same, and counts again when it has
    /// answered again.
    fn has_other_healthy(
        &self,
        statuses: &[InstanceStatus],
        than: &InstanceStatus,
        failed: &[(InstanceId, RestartError)],
    ) -> bool {
        statuses.iter().any(|status| {
            status.module == than.module
                && status.id != than.id
                && status.health == Health::Healthy
                && !self.under_way.contains_key(&status.id)
                && failed.iter().all(|(id, _)| *id != status.id)
        })
    }

    fn begin(
        &mut self,
        now: Duration,
        statuses: &[InstanceStatus],
        verdict: &Verdict,
        restart: &mut dyn FnMut(&Verdict) -> Result<(), RestartError>,
        execution: &mut Execution,
    ) {
        let id = verdict.instance;
        let Some(status) = find(statuses, id) else { return };
        match restart(verdict) {
            Ok(()) => {
                self.under_way
                    .insert(id, UnderWay { incarnation: verdict.incarnation, begun: now });
                self.cool_module_down(now, status);
                execution.begun.push(*verdict);
            }
            // Nothing was tried, so nothing has to wait.
            Err(RestartError::Gone) => {
                execution.skipped.push(Skipped { instance: id, why: Skip::Gone });
            }
            Err(error) => {
                // What made this one fail may make the module's next one fail, too, and its
                // instance be gone for it.
                if matches!(error, RestartError::Failed(_)) {
                    self.cool_module_down(now, status);
                }
                self.back_off(now, id);
                execution.failed.push((id, error));
            }
        }
    }

    fn cool_module_down(&mut self, now: Duration, of: &InstanceStatus) {
        let until = now.saturating_add(self.config.module_cool_down);
        self.modules.insert(of.module.clone(), until);
    }

    fn cool_down(&mut self, now: Duration, id: InstanceId) {
        let until = now.saturating_add(self.config.instance_cool_down);
        self.instances.insert(id, Wait { until, failures: 0 });
    }

    fn back_off(&mut self, now: Duration, id: InstanceId) {
        let wait = self.instances.entry(id).or_default();
        let factor = 1_u32 << wait.failures.min(20);
        let back_off = self.config.back_off_first.saturating_mul(factor);
        wait.until = now.saturating_add(back_off.min(self.config.back_off_max));
        wait.failures = wait.failures.saturating_add(1);
    }

    /// Failures are remembered for as long again as the longest back-off.
    fn forget_what_has_passed(&mut self, now: Duration) {
        let longest = self.config.back_off_max;
        self.modules.retain(|_, until| now < *until);
        self.instances.retain(|_, wait| {
            let kept = if wait.failures > 0 { longest } else { Duration::ZERO };
            now < wait.until.saturating_add(kept)
        });
    }

    /// Panics where more is under way than may be; for tests.
    pub fn check(&self) {
        let (under_way, most) = (self.under_way.len(), self.config.concurrent_max);
        assert!(under_way <= most, "{under_way} restarts under way, and {most} may be");
    }
}

fn find(statuses: &[InstanceStatus], id: InstanceId) -> Option<&InstanceStatus> {
    let found = statuses.binary_search_by_key(&id, |status| status.id);
    found.ok().map(|index| &statuses[index])
}

fn has_ended(status: &InstanceStatus, restart: &UnderWay) -> bool {
    status.incarnation != restart.incarnation && status.health == Health::Healthy
}

#[cfg(test)]
mod tests;
