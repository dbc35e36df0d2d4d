//! A fleet whose instances' needs are known, in simulated time.
//!
//! What the supervisor sees is what it would see of real instances: footprints, and nothing else.
//! What it does is measured against what only the simulation knows.

mod fleet;
mod instance;
mod outcome;
mod scenario;

use capmalloc_supervisor::{
    EstimatorConfig, LargestOnLowMemory, MeanInterval, Never, OldestOnLowMemory, Policy,
    PredictionInterval, SlopeConfidence,
};

pub(crate) use fleet::simulate;
pub(crate) use outcome::Outcome;
pub(crate) use scenario::{Scenario, scenarios};

/// The policies that are compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Which {
    /// [`MeanInterval`].
    Mean,
    /// [`PredictionInterval`].
    Prediction,
    /// [`LargestOnLowMemory`].
    Largest,
    /// [`OldestOnLowMemory`].
    Oldest,
    /// [`Never`].
    Never,
    /// [`MeanInterval`] at a confidence that follows the slope.
    MeanBySlope,
    /// [`PredictionInterval`] at 95 % for all.
    PredictionFixed,
    /// [`PredictionInterval`] that looks for no common leak.
    PredictionDragged,
}

impl Which {
    /// The five policies, in the table's order.
    pub(crate) const ALL: [Which; 5] =
        [Which::Mean, Which::Prediction, Which::Largest, Which::Oldest, Which::Never];

    /// Variants that show what a part of the estimate is good for.
    pub(crate) const VARIANTS: [Which; 3] =
        [Which::MeanBySlope, Which::PredictionFixed, Which::PredictionDragged];

    /// A short name for the table.
    pub(crate) fn name(self) -> String {
        match self {
            Which::MeanBySlope => "mean, by slope".to_owned(),
            Which::PredictionFixed => "prediction, all at 95 %".to_owned(),
            Which::PredictionDragged => "prediction, no common leak".to_owned(),
            _ => self.policy().name().to_owned(),
        }
    }

    /// A new one, which knows nothing yet.
    pub(crate) fn policy(self) -> Box<dyn Policy + Send> {
        let by_slope = EstimatorConfig::default();
        let fixed = EstimatorConfig { confidence: SlopeConfidence::fixed(0.95), ..by_slope };
        let dragged = EstimatorConfig { detects_common_leak: false, ..by_slope };
        match self {
            Which::Mean => Box::new(MeanInterval::default()),
            Which::Prediction => Box::new(PredictionInterval::default()),
            Which::Largest => Box::new(LargestOnLowMemory::default()),
            Which::Oldest => Box::new(OldestOnLowMemory::default()),
            Which::Never => Box::new(Never),
            Which::MeanBySlope => Box::new(MeanInterval::new(by_slope)),
            Which::PredictionFixed => Box::new(PredictionInterval::new(fixed)),
            Which::PredictionDragged => Box::new(PredictionInterval::new(dragged)),
        }
    }
}
