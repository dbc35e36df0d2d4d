//! The footprints of one incarnation of an instance.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;

use super::StoreConfig;
use super::thinned::Thinned;
use crate::estimator::median;
use crate::instance::{InstanceId, ModuleName};

/// Footprints kept for the early one at most.
const EARLY_SAMPLES_MAX: usize = 64;

/// A footprint and when it was taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Sample {
    /// When, by the collector's steady time.
    pub at: Duration,
    /// Bytes of resident memory.
    pub resident_bytes: u64,
}

/// The footprints of an instance since its start, thinned out where they are many.
#[derive(Clone, Debug)]
pub struct Series {
    id: InstanceId,
    module: ModuleName,
    incarnation: u64,
    started: Duration,
    samples: Thinned<Sample>,
    /// The latest, of which none is left out.
    recent: VecDeque<u64>,
    last: Sample,
    early: Early,
}

/// The footprint early after the start: first the samples for it, then their median.
#[derive(Clone, Debug)]
enum Early {
    Awaited(Thinned<u64>),
    Known(u64),
}

impl Series {
    pub(super) fn new(
        id: InstanceId,
        module: ModuleName,
        incarnation: u64,
        first: Sample,
        config: &StoreConfig,
    ) -> Series {
        let seed = id.0 ^ incarnation.rotate_left(32);
        let mut series = Series {
            id,
            module,
            incarnation,
            started: first.at,
            samples: Thinned::new(config.samples_max, seed),
            recent: VecDeque::new(),
            last: first,
            early: Early::Awaited(Thinned::new(EARLY_SAMPLES_MAX, seed)),
        };
        series.push(first, config);
        series
    }

    pub(super) fn push(&mut self, sample: Sample, config: &StoreConfig) {
        self.last = sample;
        self.samples.push(sample);
        if self.recent.len() == config.level_samples {
            self.recent.pop_front();
        }
        self.recent.push_back(sample.resident_bytes);
        self.push_early(sample, config);
    }

    fn push_early(&mut self, sample: Sample, config: &StoreConfig) {
        let Early::Awaited(samples) = &mut self.early else { return };
        let age = sample.at.saturating_sub(self.started);
        if age < config.warm_up {
            return;
        }
        samples.push(sample.resident_bytes);
        if age >= config.warm_up + config.early {
            let kept = samples.kept().iter().map(|&bytes| bytes as f64);
            self.early = Early::Known(median(kept).unwrap_or(0.0) as u64);
        }
    }

    pub(super) fn is_of(&self, module: &ModuleName, incarnation: u64) -> bool {
        self.incarnation == incarnation && self.module == *module
    }

    /// Whose footprints they are.
    #[must_use]
    pub fn id(&self) -> InstanceId {
        self.id
    }

    /// What the instance is one of.
    #[must_use]
    pub fn module(&self) -> &ModuleName {
        &self.module
    }

    /// Which incarnation's they are.
    #[must_use]
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// When the first footprint was taken: the start, as far as anybody knows.
    #[must_use]
    pub fn started(&self) -> Duration {
        self.started
    }

    /// The time from the first footprint to the latest.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.last.at.saturating_sub(self.started)
    }

    /// The latest footprint.
    #[must_use]
    pub fn last(&self) -> Sample {
        self.last
    }

    /// The samples that are kept, oldest first; each stands for as many as the others.
    #[must_use]
    pub fn samples(&self) -> &[Sample] {
        self.samples.kept()
    }

    /// The instance's value for the estimate: the median of its footprints since its start.
    #[must_use]
    pub fn value_bytes(&self) -> u64 {
        let kept = self.samples.kept().iter().map(|sample| sample.resident_bytes as f64);
        median(kept).unwrap_or(self.last.resident_bytes as f64) as u64
    }

    /// What the instance holds now, whatever single footprints say: the median of the latest.
    #[must_use]
    pub fn level_bytes(&self) -> u64 {
        median(self.recent.iter().map(|&bytes| bytes as f64)).unwrap_or(0.0) as u64
    }

    /// What it held early after its start, once the warm-up was over. `None` until it is settled.
    #[must_use]
    pub fn early_bytes(&self) -> Option<u64> {
        match self.early {
            Early::Awaited(_) => None,
            Early::Known(bytes) => Some(bytes),
        }
    }

    /// Whether it has run long enough to be judged, and to be an example for others.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        matches!(self.early, Early::Known(_))
    }

    pub(super) fn bytes_held(&self) -> usize {
        let early_bytes = match &self.early {
            Early::Awaited(samples) => samples.bytes_held(),
            Early::Known(_) => 0,
        };
        self.samples.bytes_held() + self.recent.capacity() * size_of::<u64>() + early_bytes
    }

    pub(super) fn recent_bytes_max(config: &StoreConfig) -> usize {
        (config.level_samples.next_power_of_two().max(4) + EARLY_SAMPLES_MAX) * size_of::<u64>()
    }

    pub(super) fn check(&self, config: &StoreConfig) {
        self.samples.check();
        assert!(self.recent.len() <= config.level_samples, "too many recent samples");
        assert_eq!(self.recent.back(), Some(&self.last.resident_bytes), "the latest is another");
        let is_ordered = self.samples().is_sorted_by_key(|sample| sample.at);
        assert!(is_ordered, "samples out of order");
    }
}

/// What is left of an incarnation that has ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[non_exhaustive]
pub struct Ended {
    /// Whose it was.
    pub id: InstanceId,
    /// What the instance was one of.
    pub module: ModuleName,
    /// Which incarnation.
    pub incarnation: u64,
    /// When its first footprint was taken.
    pub started: Duration,
    /// When it was known to have ended.
    pub ended: Duration,
    /// The median of all its footprints.
    pub value_bytes: u64,
    /// What it held in the end.
    pub level_bytes: u64,
    /// What it held early after its start, if it lived so long.
    pub early_bytes: Option<u64>,
}

impl Ended {
    pub(super) fn of(series: &Series, ended: Duration) -> Ended {
        Ended {
            id: series.id,
            module: series.module.clone(),
            incarnation: series.incarnation,
            started: series.started,
            ended,
            value_bytes: series.value_bytes(),
            level_bytes: series.level_bytes(),
            early_bytes: series.early_bytes(),
        }
    }
}
