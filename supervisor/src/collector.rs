//! Takes the footprint of every instance, once a period.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::instance::{Instance, InstanceId, ModuleName, SampleError};
use crate::store::{Store, StoreFull};

/// How often footprints are taken, and when an instance counts as hung.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct CollectorConfig {
    /// The time from one footprint to the next.
    pub period: Duration,
    /// Footprints in a row that an instance may fail to give until it counts as hung.
    pub misses_to_hung: u32,
    /// The longest time between two steps that is believed. A longer one is a jump of the clock, or
    /// a machine that slept, and counts as one period.
    pub gap_max: Duration,
}

impl Default for CollectorConfig {
    /// Every 10 s; hung after three misses; more than two minutes are a jump.
    fn default() -> CollectorConfig {
        CollectorConfig {
            period: Duration::from_secs(10),
            misses_to_hung: 3,
            gap_max: Duration::from_secs(120),
        }
    }
}

/// That the clock did not just go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[non_exhaustive]
pub enum ClockJump {
    /// It went on by more than is believed.
    Forward(Duration),
    /// It went back.
    Backward(Duration),
}

/// How an instance is, by its last footprints.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[non_exhaustive]
pub enum Health {
    /// It answered when it was last asked.
    Healthy,
    /// It did not answer when it was last asked.
    Unresponsive,
    /// It did not answer several times in a row.
    Hung,
    /// It said that it has ended by itself.
    Stopped,
}

/// What is known of an instance besides its footprints.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct InstanceStatus {
    /// Which one.
    pub id: InstanceId,
    /// What it is an instance of.
    pub module: ModuleName,
    /// Its incarnation when it was last asked.
    pub incarnation: u64,
    /// How it is.
    pub health: Health,
}

/// A footprint that could not be had.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Miss {
    /// Whose.
    pub id: InstanceId,
    /// Why.
    pub error: SampleError,
}

/// What one collection found.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize)]
pub struct Collection {
    /// When it was, by the steady time.
    pub at: Duration,
    /// How many footprints were taken.
    pub sampled: usize,
    /// Those that could not be had.
    pub missed: Vec<Miss>,
    /// Instances that were there before and are no longer.
    pub gone: Vec<InstanceId>,
    /// Instances whose footprint found no place in the store.
    pub refused: Vec<(InstanceId, StoreFull)>,
}

/// Takes the footprint of every instance when a period is over.
///
/// It keeps a *steady time* of its own, by which samples are dated and all waiting is measured: it
/// goes on with the clock, but for jumps. A jump forward counts as one period, so it brings one
/// sample and not many, and no cool-down is over because of it. A jump backward counts as nothing
/// and begins a new period.
#[derive(Clone, Debug)]
pub struct Collector {
    config: CollectorConfig,
    clock: Option<Duration>,
    steady: Duration,
    due: Duration,
    watched: BTreeMap<InstanceId, Watched>,
    statuses: Vec<InstanceStatus>,
}

#[derive(Clone, Debug)]
struct Watched {
    status: InstanceStatus,
    misses: u32,
}

impl Collector {
    /// A collector that takes its first footprints at once.
    ///
    /// # Panics
    ///
    /// Where the period or the number of misses is zero, or `gap_max` shorter than the period.
    #[must_use]
    pub fn new(config: CollectorConfig) -> Collector {
        assert!(!config.period.is_zero() && config.misses_to_hung > 0, "{config:?}");
        assert!(config.gap_max >= config.period, "{config:?}");
        Collector {
            config,
            clock: None,
            steady: Duration::ZERO,
            due: Duration::ZERO,
            watched: BTreeMap::new(),
            statuses: Vec::new(),
        }
    }

    /// The steady time.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.steady
    }

    /// How long until the next footprints are due.
    #[must_use]
    pub fn until_due(&self) -> Duration {
        self.due.saturating_sub(self.steady)
    }

    /// All instances as they were when they were last asked, by id.
    #[must_use]
    pub fn statuses(&self) -> &[InstanceStatus] {
        &self.statuses
    }

    /// Lets the steady time go on to where the clock is; says where the clock jumped.
    pub fn advance(&mut self, clock_now: Duration) -> Option<ClockJump> {
        let before = self.clock.replace(clock_now)?;
        let Some(passed) = clock_now.checked_sub(before) else {
            self.due = self.steady + self.config.period;
            return Some(ClockJump::Backward(before - clock_now));
        };
        if passed > self.config.gap_max {
            self.steady += self.config.period;
            return Some(ClockJump::Forward(passed));
        }
        self.steady += passed;
        None
    }

    /// Takes all footprints if they are due, after [`advance`](Self::advance).
    pub fn collect(
        &mut self,
        instances: &[&dyn Instance],
        store: &mut Store,
    ) -> Option<Collection> {
        if self.steady < self.due {
            return None;
        }
        // In step with the periods before, unless one was missed.
        self.due += self.config.period;
        if self.due <= self.steady {
            self.due = self.steady + self.config.period;
        }
        let mut collection = Collection { at: self.steady, ..Collection::default() };
        let mut before = std::mem::take(&mut self.watched);
        for instance in instances {
            self.sample(*instance, &mut before, store, &mut collection);
        }
        for id in before.into_keys() {
            if !self.watched.contains_key(&id) && !collection.gone.contains(&id) {
                collection.gone.push(id);
            }
        }
        collection.gone.iter().for_each(|id| store.end(self.steady, *id));
        store.sum_up(self.steady);
        self.statuses = self.watched.values().map(|watched| watched.status.clone()).collect();
        Some(collection)
    }

    fn sample(
        &mut self,
        instance: &dyn Instance,
        before: &mut BTreeMap<InstanceId, Watched>,
        store: &mut Store,
        collection: &mut Collection,
    ) {
        let id = instance.id();
        if self.watched.contains_key(&id) {
            let error = SampleError::Failed(format!("another instance has the id {id}"));
            collection.missed.push(Miss { id, error });
            return;
        }
        let incarnation = instance.incarnation();
        let module = instance.module().clone();
        let known = before.remove(&id);
        let mut has_stopped = false;
        let mut misses = known
            .as_ref()
            .filter(|known| known.status.incarnation == incarnation)
            .map_or(0, |known| known.misses);
        match instance.footprint() {
            // One that was restarted meanwhile is asked again next time.
            Ok(_) if instance.incarnation() != incarnation => {}
            Ok(footprint) => {
                misses = 0;
                match store.record(self.steady, id, &module, incarnation, footprint) {
                    Ok(()) => collection.sampled += 1,
                    Err(full) => collection.refused.push((id, full)),
                }
            }
            Err(SampleError::Gone) => {
                if known.is_some() {
                    collection.gone.push(id);
                }
                return;
            }
            Err(error) => {
                has_stopped = matches!(error, SampleError::Stopped(_));
                misses = misses.saturating_add(1);
                collection.missed.push(Miss { id, error });
            }
        }
        let health = if has_stopped { Health::Stopped } else { self.health(misses) };
        let status = InstanceStatus { id, module, incarnation, health };
        self.watched.insert(id, Watched { status, misses });
    }

    fn health(&self, misses: u32) -> Health {
        match misses {
            0 => Health::Healthy,
            misses if misses < self.config.misses_to_hung => Health::Unresponsive,
            _ => Health::Hung,
        }
    }
}

#[cfg(test)]
mod tests;
