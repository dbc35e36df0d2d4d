//! The fleet, its host and its supervisor, run through simulated time.

use std::collections::BTreeMap;
use std::time::Duration;

use capmalloc_supervisor::{
    Estimator, Instance, InstanceId, LimitedHost, ManualClock, ModuleName, Report, Supervisor,
    SupervisorConfig,
};
use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::Which;
use super::instance::{Plan, Simulated};
use super::outcome::Outcome;
use super::scenario::Scenario;

/// Seconds in a step, which is the collector's period.
const STEP_SECONDS: u64 = 10;

/// Steps between two looks at the estimate.
const ESTIMATE_STEPS: u64 = 30;

/// Runs a scenario for simulated hours. The same seed gives the same needs, leaks and outcome.
pub(crate) fn simulate(scenario: &Scenario, which: Which, seed: u64, hours: f64) -> Outcome {
    let mut fleet = Fleet::new(scenario, seed);
    let clock = ManualClock::new();
    let host = LimitedHost { limit_bytes: fleet.limit_bytes as u64 };
    let config = SupervisorConfig::default();
    let mut supervisor = Supervisor::new(config, clock.clone(), host, which.policy());
    let steps = (hours * 3600.0) as u64 / STEP_SECONDS;
    for step in 0..steps {
        let report = {
            let instances: Vec<&dyn Instance> =
                fleet.instances.iter().map(|instance| instance as &dyn Instance).collect();
            supervisor.step(&instances)
        };
        fleet.count_restarts(&report);
        if step % ESTIMATE_STEPS == 0 {
            fleet.look_at_estimate(&supervisor);
        }
        clock.advance(Duration::from_secs(STEP_SECONDS));
        fleet.pass();
    }
    supervisor.check();
    fleet.outcome(steps)
}

struct Fleet {
    instances: Vec<Simulated>,
    /// The true mean need of each module.
    needs: BTreeMap<ModuleName, f64>,
    limit_bytes: f64,
    /// Instances that leaked and saw no memory run out before the step.
    sound_leaks: BTreeMap<InstanceId, bool>,
    outcome: Outcome,
    memory: Vec<f64>,
    up_steps: u64,
    estimates: Vec<(f64, f64)>,
}

impl Fleet {
    fn new(scenario: &Scenario, seed: u64) -> Fleet {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut instances = Vec::new();
        let mut needs = BTreeMap::new();
        for module in &scenario.modules {
            let name = ModuleName::new(module.name);
            let plans: Vec<Plan> = (0..module.instances)
                .map(|index| Plan::draw(module, index < module.leaking, &mut random))
                .collect();
            let sum: f64 = plans.iter().map(|plan| plan.need_bytes).sum();
            needs.insert(name.clone(), sum / plans.len() as f64);
            for plan in plans {
                let id = instances.len() as u64;
                let seed = seed.wrapping_mul(1_000_003).wrapping_add(id);
                instances.push(Simulated::new(id, name.clone(), plan, seed));
            }
        }
        let need: f64 = instances.iter().map(|instance| instance.plan().need_bytes).sum();
        let modules = scenario.modules.len() as u64;
        Fleet {
            instances,
            needs,
            limit_bytes: need * scenario.headroom,
            sound_leaks: BTreeMap::new(),
            outcome: Outcome { modules, ..Outcome::default() },
            memory: Vec::new(),
            up_steps: 0,
            estimates: Vec::new(),
        }
    }

    fn instance(&self, id: InstanceId) -> &Simulated {
        &self.instances[id.0 as usize]
    }

    fn count_restarts(&mut self, report: &Report) {
        for verdict in &report.execution.begun {
            self.outcome.restarts += 1;
            if !self.instance(verdict.instance).is_leaking() {
                self.outcome.healthy_restarts += 1;
            } else if self.sound_leaks.get(&verdict.instance).copied().unwrap_or(true) {
                self.outcome.leaking_saved += 1;
            }
        }
    }

    /// Compares what the library estimates with what is so.
    fn look_at_estimate(&mut self, supervisor: &Supervisor) {
        for (module, need) in &self.needs {
            let estimate = Estimator::default().module(supervisor.store(), module);
            if let Ok(estimate) = estimate.over_all(0.95) {
                let bound = estimate.prediction_interval.upper;
                self.estimates.push((estimate.mean / need, bound / need));
            }
        }
    }

    fn pass(&mut self) {
        self.instances.iter().for_each(|instance| instance.pass(STEP_SECONDS as f64));
        self.end_where_memory_ran_out();
        let held: f64 = self.instances.iter().map(Simulated::held_bytes).sum();
        self.memory.push(held / self.limit_bytes);
        self.up_steps += self.instances.iter().filter(|instance| instance.is_up()).count() as u64;
        for instance in self.instances.iter().filter(|instance| instance.is_leaking()) {
            self.sound_leaks.insert(instance.id(), !instance.saw_memory_run_out());
        }
    }

    /// As long as the instances hold more than there is, ends the largest, as the kernel would.
    fn end_where_memory_ran_out(&mut self) {
        while self.instances.iter().map(Simulated::held_bytes).sum::<f64>() > self.limit_bytes {
            self.outcome.out_of_memory += 1;
            let leaking = self.instances.iter().filter(|instance| instance.is_leaking());
            let first = leaking.filter(|instance| instance.see_memory_run_out()).count();
            self.outcome.leaking_lost += first as u64;
            let by_size = |one: &&Simulated, other: &&Simulated| {
                one.held_bytes().total_cmp(&other.held_bytes())
            };
            self.instances.iter().max_by(by_size).expect("somebody holds it").kill();
        }
    }

    fn outcome(self, steps: u64) -> Outcome {
        let hours = (steps * STEP_SECONDS) as f64 / 3600.0;
        let leaking = self.instances.iter().filter(|instance| instance.is_leaking());
        let (count, left) = leaking.fold((0, 0), |(count, left), one| {
            (count + 1, left + u64::from(!one.saw_memory_run_out()))
        });
        let mean = mean(self.memory.iter().copied());
        Outcome {
            leaking_left: left,
            healthy_hours: (self.instances.len() - count) as f64 * hours,
            hours,
            memory_mean: mean,
            memory_variance: self::mean(self.memory.iter().map(|used| (used - mean).powi(2))),
            uptime: self.up_steps as f64 / (steps * self.instances.len() as u64) as f64,
            estimate: self::mean(self.estimates.iter().map(|(estimate, _)| *estimate)),
            bound: self::mean(self.estimates.iter().map(|(_, bound)| *bound)),
            ..self.outcome
        }
    }
}

fn mean(numbers: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = numbers.fold((0.0, 0_u64), |(sum, count), number| (sum + number, count + 1));
    if count == 0 { f64::NAN } else { sum / count as f64 }
}
