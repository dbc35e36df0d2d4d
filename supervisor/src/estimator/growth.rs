//! How fast an instance grows, and whether all of a module do.

use std::time::Duration;

use serde::Serialize;

use super::{median, robust_scale, student_t_quantile};
use crate::store::{Sample, Series};

/// Points that a series is reduced to before slopes are taken between all pairs of them.
const POINTS_MAX: usize = 24;

/// How fast an instance's footprint grows.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Growth {
    /// Bytes a second: the median of the slopes between all pairs of points (Theil and Sen).
    pub slope: f64,
    /// The standard error of the slope, by how far points lie from the line.
    pub slope_error: f64,
    /// The standard deviation of single footprints around the line, in bytes.
    pub deviation: f64,
}

impl Growth {
    /// The growth over the later half of an instance's life, and not before its warm-up was over.
    ///
    /// The later half, because an instance fills its caches in the earlier one. `None` where that
    /// are too few samples for a slope.
    #[must_use]
    pub fn of(series: &Series, warm_up: Duration) -> Option<Growth> {
        let from = series.started() + warm_up.max(series.age() / 2);
        let samples = series.samples();
        Growth::over(&samples[samples.partition_point(|sample| sample.at < from)..])
    }

    /// The growth over some samples, oldest first; `None` where they are fewer than eight.
    #[must_use]
    pub fn over(samples: &[Sample]) -> Option<Growth> {
        if samples.len() < 8 {
            return None;
        }
        let points = points(samples);
        let slope = theil_sen(&points)?;
        let point_residuals: Vec<f64> = points.iter().map(|(at, y)| y - slope * at).collect();
        let middle = median(point_residuals.iter().copied())?;
        let count = points.len() as f64;
        let span = points.last()?.0 - points.first()?.0;
        // The variance of evenly spaced times is span²/12.
        let independent = count / neighbours_factor(&point_residuals);
        let slope_error =
            robust_scale(&point_residuals, middle) * (12.0 / independent).sqrt() / span;
        let residuals: Vec<f64> =
            samples.iter().map(|sample| y(sample) - slope * x(sample)).collect();
        Some(Growth { slope, slope_error, deviation: robust_scale(&residuals, middle) })
    }
}

fn x(sample: &Sample) -> f64 {
    sample.at.as_secs_f64()
}

fn y(sample: &Sample) -> f64 {
    sample.resident_bytes as f64
}

/// Blocks of samples, each reduced to its middle time and the median of its footprints.
fn points(samples: &[Sample]) -> Vec<(f64, f64)> {
    let blocks = samples.len().min(POINTS_MAX);
    let bound = |block: usize| block * samples.len() / blocks;
    let point = |block: usize| {
        let samples = &samples[bound(block)..bound(block + 1)];
        let at = samples.iter().map(x).sum::<f64>() / samples.len() as f64;
        (at, median(samples.iter().map(y)).unwrap_or(0.0))
    };
    (0..blocks).map(point).collect()
}

/// By what factor points count for fewer, because each is like the one before it.
///
/// With a correlation ρ between neighbours that is (1 + ρ)/(1 − ρ). A few points show too small a
/// correlation, by (1 + 3ρ)/n, which is added back.
fn neighbours_factor(residuals: &[f64]) -> f64 {
    let count = residuals.len() as f64;
    let mean = residuals.iter().sum::<f64>() / count;
    let squares: f64 = residuals.iter().map(|residual| (residual - mean).powi(2)).sum();
    let products: f64 = residuals.windows(2).map(|pair| (pair[0] - mean) * (pair[1] - mean)).sum();
    if squares <= 0.0 {
        return 1.0;
    }
    let seen = products / squares;
    let correlation = (seen + (1.0 + 3.0 * seen) / count).clamp(0.0, 0.9);
    (1.0 + correlation) / (1.0 - correlation)
}

fn theil_sen(points: &[(f64, f64)]) -> Option<f64> {
    let pairs = points.iter().enumerate().flat_map(|(index, from)| {
        points[index + 1..].iter().map(move |to| (to.0 - from.0, to.1 - from.1))
    });
    median(pairs.filter(|(run, _)| *run > 0.0).map(|(run, rise)| rise / run))
}

/// That the instances of a module grow together, which no comparison among them can show.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct CommonLeak {
    /// Instances that were looked at.
    pub instances: usize,
    /// Those of them that grow by themselves beyond doubt.
    pub growing: usize,
    /// The median of their slopes, in bytes a second.
    pub slope: f64,
    /// How many standard errors the mean of the slopes lies above zero.
    pub t: f64,
}

impl CommonLeak {
    /// Looks for a leak that is common to instances with this growth.
    ///
    /// It is one where Student's test says at 99 % that the mean slope is above zero, and two thirds
    /// of the instances grow by more than twice their slope's error. The first alone would be
    /// content with half of the instances leaking fast, the second alone with chance. Slopes below
    /// `least_slope` are none.
    #[must_use]
    pub fn find(growths: &[Growth], least_slope: f64) -> Option<CommonLeak> {
        let instances = growths.len();
        if instances < 3 {
            return None;
        }
        let is_growing =
            |growth: &&Growth| growth.slope > least_slope.max(2.0 * growth.slope_error);
        let growing = growths.iter().filter(is_growing).count();
        let count = instances as f64;
        let slopes: Vec<f64> = growths.iter().map(|growth| growth.slope).collect();
        let mean = slopes.iter().sum::<f64>() / count;
        let squares: f64 = slopes.iter().map(|slope| (slope - mean).powi(2)).sum();
        // Slopes that are all the same have no variance, and no doubt about them either.
        let mean_error = (squares / (count - 1.0) / count).sqrt().max(f64::MIN_POSITIVE);
        let t = mean / mean_error;
        let is_common = 3 * growing >= 2 * instances && t > student_t_quantile(0.98, count - 1.0);
        let slope = median(slopes)?;
        (is_common && slope > least_slope).then_some(CommonLeak { instances, growing, slope, t })
    }
}
