//! What capmalloc is held to, workload by workload.

use super::aggregates::ratio;
use super::metrics::{CPU, FINAL, IDLE, MEAN, Metric, P50, P99};
use super::results::{ContenderResult, Report, WorkloadResult};

/// A bound, and what came of it in one workload.
#[derive(Debug, PartialEq)]
pub(super) struct Verdict {
    /// The workload's title.
    pub(super) workload: String,
    /// What is compared.
    pub(super) subject: String,
    /// What it is compared with.
    pub(super) reference: String,
    pub(super) ratio: f64,
    /// The most that the ratio may be.
    pub(super) limit: f64,
}

impl Verdict {
    /// Compares what was measured and not the two digits that are shown.
    pub(super) fn is_met(&self) -> bool {
        self.ratio <= self.limit
    }
}

/// Every bound that the measured figures can answer, in the order of the workloads.
pub(super) fn verdicts(report: &Report) -> Vec<Verdict> {
    report.workloads.iter().flat_map(of_workload).collect()
}

fn of_workload(workload: &WorkloadResult) -> Vec<Verdict> {
    let mut found = vec![
        against_best_peer(workload, &MEAN, 0.9),
        against_best_peer(workload, &FINAL, 0.9),
        against_best_peer(workload, &P99, 1.0),
    ];
    if is_of_idle_connections(workload) {
        let at_rest = if workload.tells(&IDLE) { &IDLE } else { &FINAL };
        found.push(against_best_peer(workload, at_rest, 0.4));
    }
    let time = if workload.tells(&P50) { &P50 } else { &CPU };
    let (ours, one_arena) = (workload.ours(), workload.ours_capped(1));
    found.push(between(workload, &MEAN, ours, one_arena, 1.05));
    found.push(between(workload, time, one_arena, ours, 1.10));
    found.into_iter().flatten().collect()
}

/// The one load with a bound of its own on what is held while nothing happens.
fn is_of_idle_connections(workload: &WorkloadResult) -> bool {
    workload.name.replace(['-', ' '], "_").contains("idle_connections")
}

fn against_best_peer(workload: &WorkloadResult, metric: &Metric, limit: f64) -> Option<Verdict> {
    let (peer, _) = workload.best_peer(metric)?;
    between(workload, metric, workload.ours(), Some(peer), limit)
}

fn between(
    workload: &WorkloadResult,
    metric: &Metric,
    subject: Option<&ContenderResult>,
    reference: Option<&ContenderResult>,
    limit: f64,
) -> Option<Verdict> {
    let (subject, reference) = (subject?, reference?);
    Some(Verdict {
        workload: workload.title.clone(),
        subject: format!("{} of {}", metric.heading(), subject.name),
        reference: reference.name.clone(),
        ratio: ratio(subject.median(metric), reference.median(metric))?,
        limit,
    })
}
