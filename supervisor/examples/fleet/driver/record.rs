//! What is noted down of a run, look by look.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::fleet::Look;
use super::summary::{RunSummary, Spread};
use crate::options::{Experiment, TimeOptions};
use crate::wire::{Cause, ControllerReport, InstanceReport, LoadReport};

/// Simulated time until the instances are as full as they are to be; what is before it is drawn but
/// not counted. A run shorter than thrice this counts from its start.
const WARM_UP: Duration = Duration::from_secs(300);

/// The lower half of an incarnation counts the restarts within its worker's process.
const RESTARTS_MASK: u64 = u32::MAX as u64;

/// Estimates over known needs.
#[derive(Debug, Default)]
struct Ratios {
    mean: Vec<f64>,
    mean_upper: Vec<f64>,
    prediction_upper: Vec<f64>,
}

/// One slot's history.
#[derive(Debug, Default)]
struct Slot {
    module: String,
    incarnation: u64,
    restarts: u64,
    /// When it was first restarted, in simulated seconds.
    first_restart: Option<f64>,
    looks: u64,
    responsive_looks: u64,
}

/// One run's notes.
pub(super) struct Record {
    time: TimeOptions,
    warm_up: f64,
    seconds: f64,
    memory: Vec<(f64, u64)>,
    ratios: Ratios,
    slots: BTreeMap<u64, Slot>,
    leaking: BTreeSet<u64>,
    /// When a request first failed for want of memory, in simulated seconds.
    first_out_of_memory: Option<f64>,
}

impl Record {
    pub(super) fn new(experiment: &Experiment) -> Record {
        let long = experiment.seconds * experiment.time.factor >= 3.0 * WARM_UP.as_secs_f64();
        Record {
            time: experiment.time,
            warm_up: if long { WARM_UP.as_secs_f64() } else { 0.0 },
            seconds: 0.0,
            memory: Vec::new(),
            ratios: Ratios::default(),
            slots: BTreeMap::new(),
            leaking: BTreeSet::new(),
            first_out_of_memory: None,
        }
    }

    /// Notes what was seen so long after the start, in real time.
    pub(super) fn observe(&mut self, elapsed: Duration, look: &Look) {
        self.seconds = elapsed.as_secs_f64() * self.time.factor;
        self.observe_load(&look.load);
        let mut bases = BTreeMap::new();
        for instance in look.workers.iter().flatten().flat_map(|worker| &worker.instances) {
            bases.insert(instance.id, instance.base_bytes);
            self.observe_instance(instance);
        }
        // With a worker's figures missing the sum would be wrong.
        if look.workers.iter().all(Option::is_some) {
            let used = look.workers.iter().flatten().map(|worker| worker.resident_bytes).sum();
            self.memory.push((self.seconds, used));
        }
        if let Some(controller) = look.controller.as_ref().filter(|_| self.seconds >= self.warm_up)
        {
            self.observe_estimates(controller, &look.load, &bases);
        }
    }

    fn observe_load(&mut self, load: &LoadReport) {
        let leaking = load.instances.iter().filter(|need| need.leaks);
        self.leaking.extend(leaking.map(|need| need.id));
        let refused = load.failed.get(Cause::OutOfMemory.name());
        if refused.is_some_and(|count| *count > 0) {
            self.first_out_of_memory.get_or_insert(self.seconds);
        }
    }

    fn observe_instance(&mut self, instance: &InstanceReport) {
        let seconds = self.seconds;
        let slot = self.slots.entry(instance.id).or_insert_with(|| Slot {
            module: instance.module.clone(),
            incarnation: instance.incarnation,
            ..Slot::default()
        });
        slot.looks += 1;
        slot.responsive_looks += u64::from(instance.responsive);
        let restarts = restarts_between(slot.incarnation, instance.incarnation);
        if restarts > 0 {
            slot.restarts += restarts;
            slot.first_restart.get_or_insert(seconds);
        }
        slot.incarnation = instance.incarnation;
    }

    fn observe_estimates(
        &mut self,
        controller: &ControllerReport,
        load: &LoadReport,
        bases: &BTreeMap<u64, u64>,
    ) {
        for (name, module) in &controller.modules {
            let needs = load.instances.iter().filter(|need| need.module == *name);
            let needs = needs.filter_map(|need| Some(need.live_bytes + bases.get(&need.id)?));
            let needs: Vec<f64> = needs.map(|bytes| bytes as f64).collect();
            let Some(need) = Spread::of(&needs).map(|spread| spread.mean) else { continue };
            let ratio = |bytes: Option<f64>| bytes.map(|bytes| bytes / need);
            self.ratios.mean.extend(ratio(module.mean_bytes));
            self.ratios.mean_upper.extend(ratio(module.mean_upper_bytes));
            self.ratios.prediction_upper.extend(ratio(module.prediction_upper_bytes));
        }
    }

    /// What the run comes to, `last` being the last look.
    pub(super) fn summary(&self, last: &Look) -> Result<RunSummary, String> {
        let memory = self.memory_from(self.warm_up).or_else(|| self.memory_from(0.0));
        let memory = memory.ok_or("the workers' memory was never seen")?;
        let mut restarts = BTreeMap::new();
        for slot in self.slots.values() {
            *restarts.entry(slot.module.clone()).or_default() += slot.restarts;
        }
        let all_restarts: u64 = restarts.values().sum();
        let looks: u64 = self.slots.values().map(|slot| slot.looks).sum();
        let responsive: u64 = self.slots.values().map(|slot| slot.responsive_looks).sum();
        let slots = self.slots.len() as f64;
        Ok(RunSummary {
            mean_over_need: Spread::of(&self.ratios.mean),
            mean_upper_over_need: Spread::of(&self.ratios.mean_upper),
            prediction_upper_over_need: Spread::of(&self.ratios.prediction_upper),
            memory_mean_bytes: memory.mean,
            memory_variance_bytes2: memory.deviation.powi(2),
            uptime_seconds: self.seconds * slots / (slots + all_restarts as f64),
            availability: responsive as f64 / looks.max(1) as f64,
            restarts,
            healthy_restarts_per_hour: self.healthy_restarts_per_hour(),
            leaking: self.leaking.iter().copied().collect(),
            leaking_restarted: self.leaking_restarted(),
            first_out_of_memory_seconds: self.first_out_of_memory,
            requests: last.load.requests,
            failed: last.load.failed.clone(),
            objects_lost: last.load.objects_lost,
        })
    }

    /// What all instances held, from so many simulated seconds on.
    fn memory_from(&self, start: f64) -> Option<Spread> {
        let counted = self.memory.iter().filter(|(seconds, _)| *seconds >= start);
        Spread::of(&counted.map(|(_, bytes)| *bytes as f64).collect::<Vec<f64>>())
    }

    /// Restarts of an instance that does not leak, in an hour of simulated time.
    fn healthy_restarts_per_hour(&self) -> f64 {
        let healthy = self.slots.iter().filter(|(id, _)| !self.leaking.contains(id));
        let healthy: Vec<f64> = healthy.map(|(_, slot)| slot.restarts as f64).collect();
        let hours = self.seconds / 3600.0;
        Spread::of(&healthy).map_or(0.0, |spread| spread.mean / hours)
    }

    /// The part of the leaking instances that were restarted before memory ran out.
    fn leaking_restarted(&self) -> Option<f64> {
        let end = self.first_out_of_memory.unwrap_or(f64::INFINITY);
        let leaking = self.leaking.iter().filter_map(|id| self.slots.get(id));
        let in_time = leaking.map(|slot| match slot.first_restart {
            Some(seconds) if seconds <= end => 1.0,
            _ => 0.0,
        });
        Spread::of(&in_time.collect::<Vec<f64>>()).map(|spread| spread.mean)
    }

    pub(super) fn into_memory(self) -> Vec<(f64, u64)> {
        self.memory
    }
}

/// How many restarts lie between two incarnations of a slot.
fn restarts_between(before: u64, now: u64) -> u64 {
    if before >> 32 == now >> 32 {
        now.saturating_sub(before)
    } else {
        // The worker was restarted, and within it perhaps the instance.
        1 + (now & RESTARTS_MASK)
    }
}
