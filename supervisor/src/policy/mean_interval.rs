//! Restart what is over the upper end of the mean's confidence interval.

use super::{FleetView, Over, Policy, Reason, Verdict, by_urgency};
use crate::estimator::{Estimator, EstimatorConfig, Member, SlopeConfidence, Threshold};

/// Restarts instances over the upper end of the confidence interval of their module's mean.
///
/// This is the estimate as it was proposed. The interval of a mean narrows as instances multiply,
/// so with many of them it restarts about half the healthy ones: see
/// [`PredictionInterval`](super::PredictionInterval).
#[derive(Clone, Copy, Debug)]
pub struct MeanInterval {
    estimator: Estimator,
}

impl MeanInterval {
    /// By an estimator of this kind.
    #[must_use]
    pub fn new(config: EstimatorConfig) -> MeanInterval {
        MeanInterval { estimator: Estimator::new(config) }
    }
}

impl Default for MeanInterval {
    /// At 95 % for all.
    fn default() -> MeanInterval {
        let confidence = SlopeConfidence::fixed(0.95);
        MeanInterval::new(EstimatorConfig { confidence, ..EstimatorConfig::default() })
    }
}

impl Policy for MeanInterval {
    fn name(&self) -> &str {
        "mean interval"
    }

    fn judge(&mut self, view: &FleetView<'_>) -> Vec<Verdict> {
        let mut over = Vec::new();
        for module in view.store.modules() {
            let estimate = self.estimator.module(view.store, module);
            for member in &estimate.members {
                let Ok(threshold) = estimate.mean_threshold(member) else { break };
                over.extend(verdict_if_over(view, member, &threshold));
            }
        }
        by_urgency(over)
    }
}

/// A verdict on an instance that is healthy and holds more than it may.
pub(super) fn verdict_if_over(
    view: &FleetView<'_>,
    member: &Member,
    threshold: &Threshold,
) -> Option<Over> {
    if member.level <= threshold.bytes || !view.is_healthy(member.id) {
        return None;
    }
    let reason = Reason::OverEstimate {
        level_bytes: member.level as u64,
        threshold_bytes: threshold.bytes as u64,
        confidence: member.confidence,
        is_anchored: threshold.is_anchored,
    };
    let verdict = Verdict { instance: member.id, incarnation: member.incarnation, reason };
    Some(Over { factor: member.level / threshold.bytes.max(1.0), verdict })
}
