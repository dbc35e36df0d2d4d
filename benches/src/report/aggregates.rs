//! The runs of a contender as medians and ranges, and the comparisons within a workload.

use super::metrics::{Better, Metric};
use super::results::{ContenderResult, Run, WorkloadResult};
use crate::statistics::median;

const OURS: &str = "capmalloc";
/// The C library's allocator, by its own name and as the bench calls it.
const GLIBC: [&str; 2] = ["glibc", "system"];

/// All runs of a contender in one figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Statistic {
    pub(super) median: f64,
    pub(super) minimum: f64,
    pub(super) maximum: f64,
}

impl Statistic {
    /// Nothing where no value is a finite number.
    fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
        let (minimum, maximum) =
            values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), value| {
                (least.min(*value), most.max(*value))
            });
        (!values.is_empty()).then(|| Self { median: median(&values), minimum, maximum })
    }

    pub(super) fn overlaps(&self, other: &Self) -> bool {
        self.minimum <= other.maximum && other.minimum <= self.maximum
    }
}

impl ContenderResult {
    pub(super) fn statistic(&self, metric: &Metric) -> Option<Statistic> {
        Statistic::of(self.runs.iter().filter_map(metric.of))
    }

    pub(super) fn median(&self, metric: &Metric) -> Option<f64> {
        self.statistic(metric).map(|statistic| statistic.median)
    }

    pub(super) fn is_ours(&self) -> bool {
        self.allocator == OURS
    }

    /// Whether its figures may be compared: it ran to the end, every time.
    pub(super) fn is_complete(&self) -> bool {
        self.failed.is_none() && !self.runs.is_empty()
    }

    /// The run whose mean memory is the nearest to the median, of those with samples.
    pub(super) fn typical_run(&self) -> Option<&Run> {
        let middle = self.median(&super::metrics::MEAN)?;
        let distance = |run: &Run| (run.mean_bytes as f64 - middle).abs();
        let sampled = self.runs.iter().filter(|run| !run.samples.is_empty());
        sampled.min_by(|left, right| distance(left).total_cmp(&distance(right)))
    }

    /// The heap of the typical run, or of the first that has a picture.
    pub(super) fn occupancy(&self) -> Option<&[String]> {
        let of = |run: &'_ Run| run.occupancy.as_ref().is_some_and(|it| !it.is_empty());
        let typical = self.typical_run().filter(|run| of(run));
        typical.or_else(|| self.runs.iter().find(|run| of(run)))?.occupancy.as_deref()
    }
}

impl WorkloadResult {
    /// capmalloc as it is when nothing is set.
    pub(super) fn ours(&self) -> Option<&ContenderResult> {
        self.complete().find(|contender| contender.is_ours() && contender.is_default)
    }

    /// capmalloc with that cap on arenas.
    pub(super) fn ours_capped(&self, cap: u32) -> Option<&ContenderResult> {
        self.complete().find(|contender| {
            contender.is_ours() && !contender.is_default && contender.arena_max == Some(cap)
        })
    }

    /// The C library's allocator as it is when nothing is set.
    pub(super) fn glibc(&self) -> Option<&ContenderResult> {
        self.complete()
            .find(|contender| GLIBC.contains(&contender.allocator.as_str()) && contender.is_default)
    }

    /// The best contender that is not capmalloc, under any settings, and its median.
    pub(super) fn best_peer(&self, metric: &Metric) -> Option<(&ContenderResult, f64)> {
        best(self.complete().filter(|contender| !contender.is_ours()), metric)
    }

    /// The best of all contenders.
    pub(super) fn best(&self, metric: &Metric) -> Option<(&ContenderResult, f64)> {
        best(self.complete(), metric)
    }

    /// Whether a contender is the best in this figure, and another one is not.
    pub(super) fn is_best(&self, contender: &ContenderResult, metric: &Metric) -> bool {
        let Some((_, best)) = self.best(metric) else { return false };
        let is_other = |one: &ContenderResult| one.median(metric).is_some_and(|it| it != best);
        contender.is_complete()
            && contender.median(metric) == Some(best)
            && self.complete().any(is_other)
    }

    /// Whether anything is to be told in this figure.
    pub(super) fn tells(&self, metric: &Metric) -> bool {
        let mut values = self.contenders.iter().filter_map(|contender| contender.median(metric));
        if metric.title == super::metrics::REFUSED.title {
            return values.any(|value| value > 0.0);
        }
        values.next().is_some()
    }

    fn complete(&self) -> impl Iterator<Item = &ContenderResult> {
        self.contenders.iter().filter(|contender| contender.is_complete())
    }
}

fn best<'a>(
    contenders: impl Iterator<Item = &'a ContenderResult>,
    metric: &Metric,
) -> Option<(&'a ContenderResult, f64)> {
    let measured = contenders.filter_map(|contender| Some((contender, contender.median(metric)?)));
    match metric.better? {
        Better::Lower => measured.min_by(|left, right| left.1.total_cmp(&right.1)),
        // The first of equals, as in the other direction.
        Better::Higher => measured.min_by(|left, right| right.1.total_cmp(&left.1)),
    }
}

/// How many times the second value is in the first.
pub(super) fn ratio(value: Option<f64>, reference: Option<f64>) -> Option<f64> {
    let ratio = value? / reference?;
    ratio.is_finite().then_some(ratio)
}

/// The mean of ratios: twice as much and half as much come to one.
pub(super) fn geometric_mean(ratios: &[f64]) -> Option<f64> {
    let logarithms: Vec<f64> =
        ratios.iter().filter(|ratio| **ratio > 0.0).map(|ratio| ratio.ln()).collect();
    let mean = (logarithms.iter().sum::<f64>() / logarithms.len() as f64).exp();
    (!logarithms.is_empty() && mean.is_finite()).then_some(mean)
}
