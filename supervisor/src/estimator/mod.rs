//! What an instance of a module needs, estimated from what the module's instances hold.

mod confidence;
mod estimate;
mod growth;
mod module;

pub use confidence::SlopeConfidence;
pub use estimate::{Estimate, Interval, TooFew, student_t_quantile};
pub use growth::{CommonLeak, Growth};
pub use module::{Estimator, EstimatorConfig, Member, ModuleEstimate, Threshold};

/// The middle of some numbers; of an even count, the mean of the two in the middle.
pub(crate) fn median(numbers: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut numbers: Vec<f64> = numbers.into_iter().collect();
    let half = numbers.len() / 2;
    if numbers.is_empty() {
        return None;
    }
    let is_even = numbers.len().is_multiple_of(2);
    let (below, &mut upper, _) = numbers.select_nth_unstable_by(half, f64::total_cmp);
    if !is_even {
        return Some(upper);
    }
    let lower = below.iter().copied().max_by(f64::total_cmp)?;
    Some(lower + (upper - lower) / 2.0)
}

/// The standard deviation of a normal distribution that has this median distance from its middle.
const SCALE_PER_MEDIAN_DISTANCE: f64 = 1.4826;

/// A standard deviation that a few strays can't move: from the median distance to a middle.
pub(crate) fn robust_scale(numbers: &[f64], middle: f64) -> f64 {
    let distances = numbers.iter().map(|number| (number - middle).abs());
    median(distances).unwrap_or(0.0) * SCALE_PER_MEDIAN_DISTANCE
}

#[cfg(test)]
mod tests;
