//! The estimate of a module: a threshold for each of its instances.

use serde::Serialize;

use super::{CommonLeak, Estimate, Growth, SlopeConfidence, TooFew, median, robust_scale};
use crate::instance::{InstanceId, ModuleName};
use crate::store::{Series, Store};

/// How a module's instances are compared.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct EstimatorConfig {
    /// The confidence, and how it follows the slope.
    pub confidence: SlopeConfidence,
    /// Growth below this part of the module's mean in an hour is none.
    pub least_growth_per_hour: f64,
    /// An instance is over where it is over the threshold, and over the mean by this part of it.
    pub least_excess: f64,
    /// Whether a leak that all instances have in common is looked for. It is by default.
    pub detects_common_leak: bool,
}

impl Default for EstimatorConfig {
    /// A confidence that follows the slope; growth from 3 % in an hour on; an excess of 5 %.
    fn default() -> EstimatorConfig {
        EstimatorConfig {
            confidence: SlopeConfidence::default(),
            least_growth_per_hour: 0.03,
            least_excess: 0.05,
            detects_common_leak: true,
        }
    }
}

/// Estimates what a module's instances need.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Estimator {
    config: EstimatorConfig,
}

/// A settled instance of a module, as the estimator sees it.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Member {
    /// Which one.
    pub id: InstanceId,
    /// Which incarnation of it.
    pub incarnation: u64,
    /// Its value for the estimate: the median of its footprints since its start.
    pub value: f64,
    /// What it holds now: the median of its latest footprints.
    pub level: f64,
    /// What it held early after its start.
    pub early: f64,
    /// How it grows.
    pub growth: Growth,
    /// Its slope less the module's median one, in units of the module's spread of slopes; under a
    /// common leak, its slope in units of its error.
    pub steepness: f64,
    /// The confidence that it is judged at.
    pub confidence: f64,
}

/// What an instance may hold, and by which estimate.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Threshold {
    /// Bytes above which the instance is over.
    pub bytes: f64,
    /// The estimate, at the instance's confidence.
    pub estimate: Estimate,
    /// Whether the estimate is by what instances held early after their start.
    pub is_anchored: bool,
}

/// What is known of a module's instances at a moment.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct ModuleEstimate {
    /// The settled instances, by id.
    pub members: Vec<Member>,
    /// Whether they leak all together.
    pub common_leak: Option<CommonLeak>,
    /// What each slot of the module held early after its latest settled start.
    early: Vec<f64>,
    config: EstimatorConfig,
}

impl Estimator {
    /// An estimator of this kind.
    ///
    /// # Panics
    ///
    /// Where the confidences are not between 0 and 1 and in order.
    #[must_use]
    pub fn new(config: EstimatorConfig) -> Estimator {
        config.confidence.check();
        Estimator { config }
    }

    /// How instances are compared.
    #[must_use]
    pub fn config(&self) -> &EstimatorConfig {
        &self.config
    }

    /// Looks at a module: its settled instances, how they grow, and whether all do.
    #[must_use]
    pub fn module(&self, store: &Store, module: &ModuleName) -> ModuleEstimate {
        let warm_up = store.config().warm_up;
        let settled = store.of_module(module).filter_map(|series| {
            Some(Member {
                id: series.id(),
                incarnation: series.incarnation(),
                value: series.value_bytes() as f64,
                level: series.level_bytes() as f64,
                early: series.early_bytes()? as f64,
                growth: Growth::of(series, warm_up)?,
                steepness: 0.0,
                confidence: self.config.confidence.highest,
            })
        });
        let mut members: Vec<Member> = settled.collect();
        let early = early_of_slots(store, module);
        let growths: Vec<Growth> = members.iter().map(|member| member.growth).collect();
        let usual = median(early.iter().copied()).unwrap_or(0.0);
        let least_slope = usual * self.config.least_growth_per_hour / 3600.0;
        let found = CommonLeak::find(&growths, least_slope);
        let common_leak = found.filter(|_| self.config.detects_common_leak);
        self.rate(&mut members, least_slope, common_leak.is_some());
        ModuleEstimate { members, common_leak, early, config: self.config }
    }

    /// Gives every member its steepness and its confidence.
    fn rate(&self, members: &mut [Member], least_slope: f64, is_common: bool) {
        let slopes: Vec<f64> = members.iter().map(|member| member.growth.slope).collect();
        let errors = members.iter().map(|member| member.growth.slope_error);
        let usual_error = median(errors).unwrap_or(0.0).max(least_slope).max(f64::MIN_POSITIVE);
        let usual_slope = median(slopes.iter().copied()).unwrap_or(0.0);
        // Where all leak, the usual slope is the leak, and so is the spread around it.
        let (middle, spread) = match is_common {
            true => (0.0, usual_error),
            false => (usual_slope, robust_scale(&slopes, usual_slope).max(usual_error)),
        };
        for member in members {
            let scale = spread.hypot(member.growth.slope_error);
            member.steepness = (member.growth.slope - middle) / scale;
            member.confidence = self.config.confidence.at(member.steepness);
        }
    }
}

/// For each slot of a module, what its instance held early, or if it is not settled yet, the one
/// before it.
fn early_of_slots(store: &Store, module: &ModuleName) -> Vec<f64> {
    let early = |series: &Series| {
        let of_one_before = || {
            let same = |ended: &&crate::store::Ended| {
                ended.id == series.id() && ended.module == *module && ended.early_bytes.is_some()
            };
            store.ended().rev().find(same).and_then(|ended| ended.early_bytes)
        };
        series.early_bytes().or_else(of_one_before)
    };
    store.of_module(module).filter_map(early).map(|bytes| bytes as f64).collect()
}

impl ModuleEstimate {
    /// The estimate over all settled instances at a confidence, as it stands in the literature.
    ///
    /// # Errors
    ///
    /// Where fewer than three are settled.
    pub fn over_all(&self, confidence: f64) -> Result<Estimate, TooFew> {
        let values: Vec<f64> = self.members.iter().map(|member| member.value).collect();
        Estimate::of(&values, confidence)
    }

    /// The upper end of the mean's interval over all settled instances, at a member's confidence.
    ///
    /// # Errors
    ///
    /// Where fewer than three are settled.
    pub fn mean_threshold(&self, member: &Member) -> Result<Threshold, TooFew> {
        let estimate = self.over_all(member.confidence)?;
        Ok(Threshold { bytes: estimate.mean_interval.upper, estimate, is_anchored: false })
    }

    /// What one more instance may hold at a moment, by the others, at a member's confidence.
    ///
    /// The others are those that are not steep, so that leaks don't widen the interval that is to
    /// find them; if they are fewer than three, all others; and if those are, or there is a common
    /// leak, what every slot held early after its start.
    ///
    /// # Errors
    ///
    /// Where there are not three to go by in any of these ways.
    pub fn prediction_threshold(&self, member: &Member) -> Result<Threshold, TooFew> {
        let (values, is_anchored) = self.examples(member);
        let estimate = Estimate::of(&values, member.confidence)?;
        let deviations = self.members.iter().map(|member| member.growth.deviation);
        let moment_upper = estimate.moment_upper(median(deviations).unwrap_or(0.0));
        let least = estimate.mean * (1.0 + self.config.least_excess);
        Ok(Threshold { bytes: moment_upper.max(least), estimate, is_anchored })
    }

    fn examples(&self, member: &Member) -> (Vec<f64>, bool) {
        if self.common_leak.is_some() {
            return (self.early.clone(), true);
        }
        let others = self.members.iter().filter(|other| other.id != member.id);
        let (flat, steep): (Vec<&Member>, Vec<&Member>) =
            others.partition(|other| other.steepness < self.config.confidence.steep);
        if flat.len() >= TooFew::NEEDED {
            return (flat.iter().map(|other| other.value).collect(), false);
        }
        if flat.len() + steep.len() >= TooFew::NEEDED {
            return (flat.iter().chain(&steep).map(|other| other.value).collect(), false);
        }
        (self.early.clone(), true)
    }
}
