//! What the controller tells of its work.

use std::collections::{BTreeMap, BTreeSet};

use capmalloc_supervisor::{Estimator, ModuleName, Report, Supervisor, Verdict};

use super::fleet::RemoteFleet;
use crate::wire::{ControllerReport, ModuleReport, RestartReport};

/// The confidence of the intervals that are told; policies have their own.
const CONFIDENCE: f64 = 0.95;

/// Restarts and findings that are told; older ones are forgotten.
const KEPT: usize = 200;

/// The report as it grows, step by step.
pub(super) struct Journal {
    report: ControllerReport,
    /// Modules that leak as a whole, as far as the last step saw.
    leaking: BTreeSet<ModuleName>,
}

impl Journal {
    pub(super) fn new(policy: &str, limit_bytes: u64) -> Journal {
        let policy = policy.to_owned();
        let report = ControllerReport { policy, limit_bytes, ..ControllerReport::default() };
        Journal { report, leaking: BTreeSet::new() }
    }

    /// Enters a step in which footprints were taken, and returns the report as it is now.
    pub(super) fn enter(
        &mut self,
        step: &Report,
        supervisor: &Supervisor,
        fleet: &RemoteFleet,
    ) -> ControllerReport {
        self.report.rounds += 1;
        self.report.uptime_seconds = step.at.as_secs_f64();
        self.report.used_bytes = step.host.map_or(0, |host| host.used_bytes);
        self.report.instances = fleet.states(supervisor.statuses());
        if let Some(jump) = &step.clock_jump {
            self.find(step, format!("the clock jumped: {jump:?}"));
        }
        for verdict in &step.execution.begun {
            self.enter_restart(step, verdict, supervisor);
        }
        for (id, error) in &step.execution.failed {
            self.report.restarts_failed += 1;
            self.find(step, format!("the restart of {id} failed: {error}"));
        }
        for id in &step.execution.timed_out {
            self.report.restarts_failed += 1;
            self.find(step, format!("the restart of {id} has not ended in time"));
        }
        self.enter_leaks(step);
        self.enter_estimates(supervisor);
        self.report.clone()
    }

    fn enter_restart(&mut self, step: &Report, verdict: &Verdict, supervisor: &Supervisor) {
        let statuses = supervisor.statuses().iter();
        let found = statuses.into_iter().find(|status| status.id == verdict.instance);
        let module = found.map_or_else(String::new, |status| status.module.to_string());
        *self.report.restarts_by_module.entry(module.clone()).or_default() += 1;
        keep(
            &mut self.report.restarts,
            RestartReport {
                at_seconds: step.at.as_secs_f64(),
                id: verdict.instance.0,
                module,
                reason: verdict.reason.to_string(),
            },
        );
    }

    /// Leaks that a module's instances have in common, when they are first seen.
    fn enter_leaks(&mut self, step: &Report) {
        let leaking = step.common_leaks.iter().map(|(name, _)| name.clone()).collect();
        let before = std::mem::replace(&mut self.leaking, leaking);
        for (name, leak) in step.common_leaks.iter().filter(|(name, _)| !before.contains(name)) {
            self.find(step, format!("all of {name} leak, {:.0} bytes a second each", leak.slope));
        }
    }

    fn enter_estimates(&mut self, supervisor: &Supervisor) {
        let (estimator, mut modules) = (Estimator::default(), BTreeMap::new());
        for name in supervisor.store().modules() {
            let module = estimator.module(supervisor.store(), name);
            let mut told = ModuleReport { instances: module.members.len(), ..Default::default() };
            match module.over_all(CONFIDENCE) {
                Ok(estimate) => {
                    told.mean_bytes = Some(estimate.mean);
                    told.mean_upper_bytes = Some(estimate.mean_interval.upper);
                    told.prediction_upper_bytes = Some(estimate.prediction_interval.upper);
                }
                Err(too_few) => told.without = Some(too_few.to_string()),
            }
            modules.insert(name.to_string(), told);
        }
        self.report.modules = modules;
    }

    fn find(&mut self, step: &Report, what: String) {
        keep(&mut self.report.findings, format!("{:.0} s: {what}", step.at.as_secs_f64()));
    }
}

fn keep<T>(list: &mut Vec<T>, entry: T) {
    if list.len() == KEPT {
        list.remove(0);
    }
    list.push(entry);
}
