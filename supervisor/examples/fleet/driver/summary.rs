//! What a run comes to, and what several runs do.

use std::collections::BTreeMap;

use serde::Serialize;

/// Mean and standard deviation of some figures.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Spread {
    pub(super) mean: f64,
    pub(super) deviation: f64,
}

impl Spread {
    /// None without a figure; a single one has no deviation.
    pub(super) fn of(figures: &[f64]) -> Option<Spread> {
        if figures.is_empty() {
            return None;
        }
        let mean = figures.iter().sum::<f64>() / figures.len() as f64;
        let squares: f64 = figures.iter().map(|figure| (figure - mean).powi(2)).sum();
        let deviation = (squares / (figures.len() as f64 - 1.0).max(1.0)).sqrt();
        Some(Spread { mean, deviation })
    }
}

/// Median of some figures, with the least and the greatest.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Middle {
    pub(super) median: f64,
    pub(super) least: f64,
    pub(super) greatest: f64,
}

impl Middle {
    pub(super) fn of(figures: impl Iterator<Item = f64>) -> Option<Middle> {
        let mut figures: Vec<f64> = figures.collect();
        figures.sort_by(f64::total_cmp);
        let (&least, &greatest) = (figures.first()?, figures.last()?);
        let half = figures.len() / 2;
        let median = if figures.len() % 2 == 1 {
            figures[half]
        } else {
            f64::midpoint(figures[half - 1], figures[half])
        };
        Some(Middle { median, least, greatest })
    }
}

/// One run.
#[derive(Clone, Debug, Serialize)]
pub(super) struct RunSummary {
    /// The estimate of a module's need over its known need, of every sample period.
    pub(super) mean_over_need: Option<Spread>,
    /// The same of the mean's upper end.
    pub(super) mean_upper_over_need: Option<Spread>,
    /// The same of the prediction interval's upper end.
    pub(super) prediction_upper_over_need: Option<Spread>,
    pub(super) memory_mean_bytes: f64,
    pub(super) memory_variance_bytes2: f64,
    /// How long an incarnation of an instance lasts, in simulated seconds.
    pub(super) uptime_seconds: f64,
    /// The part of the looks at instances that found them ready.
    pub(super) availability: f64,
    pub(super) restarts: BTreeMap<String, u64>,
    pub(super) healthy_restarts_per_hour: f64,
    /// The instances that leak.
    pub(super) leaking: Vec<u64>,
    /// The part of them that was restarted before memory ran out.
    pub(super) leaking_restarted: Option<f64>,
    pub(super) first_out_of_memory_seconds: Option<f64>,
    pub(super) requests: u64,
    pub(super) failed: BTreeMap<String, u64>,
    pub(super) objects_lost: u64,
}

impl RunSummary {
    pub(super) fn all_failed(&self) -> u64 {
        self.failed.values().sum()
    }

    /// The part of the requests that failed.
    pub(super) fn failed_fraction(&self) -> f64 {
        self.all_failed() as f64 / self.requests.max(1) as f64
    }
}
