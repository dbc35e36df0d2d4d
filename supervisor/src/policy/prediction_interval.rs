//! Restart what is over the upper end of the prediction interval for one more instance.

use super::mean_interval::verdict_if_over;
use super::{FleetView, Policy, Verdict, by_urgency};
use crate::estimator::{CommonLeak, Estimator, EstimatorConfig, Member};
use crate::instance::ModuleName;
use crate::store::Store;

/// The least part of what an instance holds that another restart must be worth.
const LEAST_GAIN: f64 = 0.1;

/// Restarts instances over the upper end of the prediction interval for one more instance, made from
/// the module's other instances.
///
/// That interval does not narrow to nothing as instances multiply: it goes to where the part that
/// the confidence says of all instances lies. It is made without the instance that is judged, and
/// where there are enough others, without those that grow steeply: leaks would widen the interval
/// that is to find them.
///
/// An instance that was restarted before and holds little more than it did early after that needs
/// what it holds. It is left alone: another restart would bring it back to where it is.
#[derive(Clone, Default, Debug)]
pub struct PredictionInterval {
    estimator: Estimator,
    common_leaks: Vec<(ModuleName, CommonLeak)>,
}

impl PredictionInterval {
    /// By an estimator of this kind.
    #[must_use]
    pub fn new(config: EstimatorConfig) -> PredictionInterval {
        PredictionInterval { estimator: Estimator::new(config), common_leaks: Vec::new() }
    }

    /// Whether another restart would bring too little, going by what the last one brought.
    fn is_useless(store: &Store, member: &Member) -> bool {
        let was_restarted = store.ended().any(|ended| ended.id == member.id);
        was_restarted && member.level - member.early < LEAST_GAIN * member.level
    }
}

impl Policy for PredictionInterval {
    fn name(&self) -> &str {
        "prediction interval"
    }

    fn judge(&mut self, view: &FleetView<'_>) -> Vec<Verdict> {
        let mut over = Vec::new();
        self.common_leaks.clear();
        for module in view.store.modules() {
            let estimate = self.estimator.module(view.store, module);
            let found = estimate.common_leak.map(|leak| (module.clone(), leak));
            self.common_leaks.extend(found);
            for member in &estimate.members {
                let Ok(threshold) = estimate.prediction_threshold(member) else { continue };
                let found = verdict_if_over(view, member, &threshold);
                over.extend(found.filter(|_| !Self::is_useless(view.store, member)));
            }
        }
        by_urgency(over)
    }

    fn common_leaks(&self) -> &[(ModuleName, CommonLeak)] {
        &self.common_leaks
    }
}
