//! Where another allocator does better than capmalloc as it is when nothing is set. All of it.

use super::metrics::{Better, METRICS, Metric};
use super::results::{ContenderResult, Report, WorkloadResult};

/// Below this a difference is told as nearly none.
const SMALL_RATIO: f64 = 1.01;

/// A figure in which capmalloc is not the best.
#[derive(Debug)]
pub(super) struct Loss {
    /// The workload's title.
    pub(super) workload: String,
    pub(super) metric: &'static Metric,
    pub(super) ours: f64,
    pub(super) winner: String,
    pub(super) best: f64,
    /// How many times worse; nothing where the best is zero.
    pub(super) ratio: Option<f64>,
    /// How many contenders that are not capmalloc do better.
    pub(super) better_peers: usize,
    /// Whether it is within the range of the runs, or below one percent.
    pub(super) is_unclear: bool,
}

/// Every loss, the clear ones first, and the largest first among them.
pub(super) fn losses(report: &Report) -> Vec<Loss> {
    let mut found: Vec<Loss> = report.workloads.iter().flat_map(of_workload).collect();
    // Where the best is zero there is no ratio, and nothing is worse than that.
    let size = |loss: &Loss| loss.ratio.unwrap_or(f64::INFINITY);
    found.sort_by(|left, right| {
        left.is_unclear.cmp(&right.is_unclear).then(size(right).total_cmp(&size(left)))
    });
    found
}

fn of_workload(workload: &WorkloadResult) -> Vec<Loss> {
    METRICS.iter().filter_map(|metric| of_metric(workload, metric)).collect()
}

fn of_metric(workload: &WorkloadResult, metric: &'static Metric) -> Option<Loss> {
    let (ours, (peer, best)) = (workload.ours()?, workload.best_peer(metric)?);
    let (range, best_range) = (ours.statistic(metric)?, peer.statistic(metric)?);
    let is_worse = |than: f64| match metric.better {
        Some(Better::Lower) => range.median > than,
        Some(Better::Higher) => range.median < than,
        None => false,
    };
    let factor = match metric.better? {
        Better::Lower => range.median / best,
        Better::Higher => best / range.median,
    };
    let is_better_peer = |peer: &&ContenderResult| {
        !peer.is_ours() && peer.is_complete() && peer.median(metric).is_some_and(is_worse)
    };
    let has_ranges = ours.runs.len() > 1 && peer.runs.len() > 1;
    is_worse(best).then(|| Loss {
        workload: workload.title.clone(),
        metric,
        ours: range.median,
        winner: peer.name.clone(),
        best,
        ratio: factor.is_finite().then_some(factor),
        better_peers: workload.contenders.iter().filter(is_better_peer).count(),
        is_unclear: factor < SMALL_RATIO || has_ranges && range.overlaps(&best_range),
    })
}
