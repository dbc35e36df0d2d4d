//! What is remembered: bounded time series by instance and by module.

mod series;
mod thinned;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::instance::{Footprint, InstanceId, ModuleName};

pub use series::{Ended, Sample, Series};
use thinned::Thinned;

/// How much is remembered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct StoreConfig {
    /// Samples of one incarnation; even, and at least 16. When they are full, every second one is
    /// dropped, so that they still span the time since the start.
    pub samples_max: usize,
    /// Latest samples of which the [level](Series::level_bytes) is taken.
    pub level_samples: usize,
    /// Instances; a sample of one more is refused.
    pub instances_max: usize,
    /// Incarnations that have ended; the oldest are forgotten.
    pub ended_max: usize,
    /// Modules. One without instances makes place for another; else a sample is refused.
    pub modules_max: usize,
    /// Time since its first sample that an instance may take to reach its working size. Its growth
    /// until then is no leak.
    pub warm_up: Duration,
    /// Time after the warm-up of which the [early footprint](Series::early_bytes) is taken. When it
    /// is over, the instance counts as settled.
    pub early: Duration,
}

impl Default for StoreConfig {
    /// 256 samples each of 4,096 instances of 512 modules, 1,024 ended incarnations; five minutes of
    /// warm-up, five minutes of early footprints, ten minutes for the level at 10 s a sample.
    fn default() -> StoreConfig {
        StoreConfig {
            samples_max: 256,
            level_samples: 60,
            instances_max: 4096,
            ended_max: 1024,
            modules_max: 512,
            warm_up: Duration::from_secs(300),
            early: Duration::from_secs(300),
        }
    }
}

/// That a sample was refused because the store is full.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[non_exhaustive]
pub enum StoreFull {
    /// It holds as many instances as it may.
    Instances {
        /// How many that is.
        instances_max: usize,
    },
    /// It holds as many modules as it may, and all of them have instances.
    Modules {
        /// How many that is.
        modules_max: usize,
    },
}

impl fmt::Display for StoreFull {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreFull::Instances { instances_max } => {
                write!(formatter, "the store holds {instances_max} instances, which is its most")
            }
            StoreFull::Modules { modules_max } => {
                write!(formatter, "the store holds {modules_max} modules, which is its most")
            }
        }
    }
}

impl std::error::Error for StoreFull {}

/// What is known of the footprints of all instances since their starts, in a bounded place.
#[derive(Clone, Debug)]
pub struct Store {
    config: StoreConfig,
    instances: BTreeMap<InstanceId, Series>,
    modules: BTreeMap<ModuleName, ModuleSeries>,
    ended: VecDeque<Ended>,
}

/// What all instances of a module held together, over time.
#[derive(Clone, Debug)]
struct ModuleSeries {
    sums: Thinned<Sample>,
    last: Option<Sample>,
    instances: usize,
}

impl Store {
    /// An empty store.
    ///
    /// # Panics
    ///
    /// Where `samples_max` is odd or below 16, or another bound is zero.
    #[must_use]
    pub fn new(config: StoreConfig) -> Store {
        assert!(config.samples_max >= 16 && config.samples_max.is_multiple_of(2), "{config:?}");
        assert!(config.level_samples > 0 && config.instances_max > 0, "{config:?}");
        assert!(config.ended_max > 0 && config.modules_max > 0, "{config:?}");
        Store {
            config,
            instances: BTreeMap::new(),
            modules: BTreeMap::new(),
            ended: VecDeque::new(),
        }
    }

    /// How much is remembered.
    #[must_use]
    pub fn config(&self) -> &StoreConfig {
        &self.config
    }

    /// Remembers a footprint. One of another incarnation, or module, ends the series before it.
    ///
    /// # Errors
    ///
    /// Where the instance or its module is a new one and there is no place.
    pub fn record(
        &mut self,
        at: Duration,
        id: InstanceId,
        module: &ModuleName,
        incarnation: u64,
        footprint: Footprint,
    ) -> Result<(), StoreFull> {
        let sample = Sample { at, resident_bytes: footprint.resident_bytes };
        if let Some(series) = self.instances.get_mut(&id) {
            if series.is_of(module, incarnation) {
                series.push(sample, &self.config);
                return Ok(());
            }
            self.end(at, id);
        }
        self.begin(id, module, incarnation, sample)
    }

    fn begin(
        &mut self,
        id: InstanceId,
        module: &ModuleName,
        incarnation: u64,
        sample: Sample,
    ) -> Result<(), StoreFull> {
        if self.instances.len() == self.config.instances_max {
            return Err(StoreFull::Instances { instances_max: self.config.instances_max });
        }
        self.make_place_for(module)?;
        let samples_max = self.config.samples_max;
        let known = self.modules.entry(module.clone()).or_insert_with(|| ModuleSeries {
            sums: Thinned::new(samples_max, 0),
            last: None,
            instances: 0,
        });
        known.instances += 1;
        let series = Series::new(id, module.clone(), incarnation, sample, &self.config);
        self.instances.insert(id, series);
        Ok(())
    }

    /// Forgets the module without instances that was last heard of the longest ago, if need be.
    fn make_place_for(&mut self, module: &ModuleName) -> Result<(), StoreFull> {
        if self.modules.len() < self.config.modules_max || self.modules.contains_key(module) {
            return Ok(());
        }
        let empty = self.modules.iter().filter(|(_, series)| series.instances == 0);
        let oldest = empty.min_by_key(|(_, series)| series.last.map(|sample| sample.at));
        let full = StoreFull::Modules { modules_max: self.config.modules_max };
        let name = oldest.map(|(name, _)| name.clone()).ok_or(full)?;
        self.modules.remove(&name);
        Ok(())
    }

    /// Ends an instance's series, because it is gone or was restarted. What it came to is kept.
    pub fn end(&mut self, at: Duration, id: InstanceId) {
        let Some(series) = self.instances.remove(&id) else { return };
        if let Some(module) = self.modules.get_mut(series.module()) {
            module.instances -= 1;
        }
        if self.ended.len() == self.config.ended_max {
            self.ended.pop_front();
        }
        self.ended.push_back(Ended::of(&series, at));
    }

    /// Adds what each module holds now to the modules' series, once for each collection.
    pub fn sum_up(&mut self, at: Duration) {
        let mut sums: BTreeMap<&ModuleName, u64> = BTreeMap::new();
        for series in self.instances.values() {
            let sum = sums.entry(series.module()).or_default();
            *sum = sum.saturating_add(series.last().resident_bytes);
        }
        for (name, module) in &mut self.modules {
            let Some(&resident_bytes) = sums.get(name) else { continue };
            let sample = Sample { at, resident_bytes };
            module.sums.push(sample);
            module.last = Some(sample);
        }
    }

    /// An instance's series since its start.
    #[must_use]
    pub fn series(&self, id: InstanceId) -> Option<&Series> {
        self.instances.get(&id)
    }

    /// The series of all instances, by id.
    pub fn all(&self) -> impl Iterator<Item = &Series> {
        self.instances.values()
    }

    /// The series of a module's instances, by id.
    pub fn of_module(&self, module: &ModuleName) -> impl Iterator<Item = &Series> {
        self.instances.values().filter(move |series| series.module() == module)
    }

    /// The modules that are known.
    pub fn modules(&self) -> impl Iterator<Item = &ModuleName> {
        self.modules.keys()
    }

    /// What all instances of a module held together, oldest first, thinned out as the instances'
    /// series are.
    #[must_use]
    pub fn module_sums(&self, module: &ModuleName) -> &[Sample] {
        self.modules.get(module).map_or(&[], |series| series.sums.kept())
    }

    /// Incarnations that have ended, oldest first.
    pub fn ended(&self) -> impl DoubleEndedIterator<Item = &Ended> {
        self.ended.iter()
    }

    /// The sum of what all instances held when they were last sampled.
    #[must_use]
    pub fn instances_bytes(&self) -> u64 {
        let last = self.instances.values().map(|series| series.last().resident_bytes);
        last.fold(0, u64::saturating_add)
    }

    /// Bytes of memory that the samples take.
    #[must_use]
    pub fn bytes_held(&self) -> usize {
        let series: usize = self.instances.values().map(Series::bytes_held).sum();
        let sums: usize = self.modules.values().map(|module| module.sums.bytes_held()).sum();
        series + sums + self.ended.capacity() * size_of::<Ended>()
    }

    /// The most that [`bytes_held`](Self::bytes_held) can come to.
    #[must_use]
    pub fn bytes_max(&self) -> usize {
        let samples = self.config.samples_max.next_power_of_two() * size_of::<Sample>();
        let series = samples + Series::recent_bytes_max(&self.config);
        let ended = self.config.ended_max.next_power_of_two().max(4) * size_of::<Ended>();
        self.config.instances_max * series + self.config.modules_max * samples + ended
    }

    /// Panics where what is kept contradicts itself or a bound; for tests.
    pub fn check(&self) {
        assert!(self.instances.len() <= self.config.instances_max, "too many instances");
        assert!(self.modules.len() <= self.config.modules_max, "too many modules");
        assert!(self.ended.len() <= self.config.ended_max, "too many that have ended");
        assert!(self.bytes_held() <= self.bytes_max(), "more bytes than there can be");
        for (id, series) in &self.instances {
            assert_eq!(*id, series.id(), "a series under another's id");
            series.check(&self.config);
        }
        for (name, module) in &self.modules {
            assert_eq!(module.instances, self.of_module(name).count(), "instances of {name}");
            module.sums.check();
        }
    }
}

#[cfg(test)]
mod tests;
