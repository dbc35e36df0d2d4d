//! An instance whose need is known.

use std::cell::RefCell;

use capmalloc_supervisor::{
    Footprint, Instance, InstanceId, ModuleName, RestartError, SampleError,
};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use rand_distr::{Distribution, Exp, Normal};

use super::scenario::Module;

/// Seconds after which a footprint's noise is another.
const NOISE_SECONDS: f64 = 60.0;

/// How much of its need an instance has not filled yet when it starts, and how fast it does.
const COLD_PART: f64 = 0.4;
const WARM_UP_SECONDS: f64 = 120.0;

/// The longest that a legitimate spike lasts.
const SPIKE_SECONDS_MAX: f64 = 150.0;

/// A simulated instance.
#[derive(Debug)]
pub(crate) struct Simulated {
    id: InstanceId,
    module: ModuleName,
    plan: Plan,
    state: RefCell<State>,
}

/// What is the same over restarts.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// What the instance needs.
    pub(crate) need_bytes: f64,
    /// What it leaks in a second; zero for a healthy one.
    pub(crate) leak_bytes: f64,
    noise: f64,
    spikes_per_hour: f64,
    only_grows: bool,
}

#[derive(Debug)]
struct State {
    random: SmallRng,
    incarnation: u64,
    age: f64,
    /// Seconds until a restart is over.
    down: f64,
    noise: f64,
    spike: f64,
    spike_ends: f64,
    leaked: f64,
    footprint: f64,
    /// Whether memory ran out on the host since this incarnation started.
    saw_memory_run_out: bool,
}

impl Plan {
    /// Draws what one instance of a module needs and leaks.
    pub(crate) fn draw(module: &Module, is_leaking: bool, random: &mut SmallRng) -> Plan {
        let deviation = normal(random, module.spread).clamp(-0.5, 0.5);
        let (least, most) = (module.leak_per_hour.start.ln(), module.leak_per_hour.end.ln());
        let leak_per_hour = random.random_range(least..most).exp();
        Plan {
            need_bytes: module.need_bytes * (1.0 + deviation),
            leak_bytes: f64::from(u8::from(is_leaking)) * leak_per_hour * module.need_bytes
                / 3600.0,
            noise: module.noise,
            spikes_per_hour: module.spikes_per_hour,
            only_grows: module.only_grows,
        }
    }
}

fn normal(random: &mut SmallRng, deviation: f64) -> f64 {
    Normal::new(0.0, deviation).expect("a deviation").sample(random)
}

fn exponential(random: &mut SmallRng, mean: f64) -> f64 {
    Exp::new(1.0 / mean).expect("a mean").sample(random)
}

impl Simulated {
    /// An instance that starts now.
    pub(crate) fn new(id: u64, module: ModuleName, plan: Plan, seed: u64) -> Simulated {
        let mut state = State {
            random: SmallRng::seed_from_u64(seed),
            incarnation: 0,
            age: 0.0,
            down: 0.0,
            noise: 0.0,
            spike: 0.0,
            spike_ends: 0.0,
            leaked: 0.0,
            footprint: 0.0,
            saw_memory_run_out: false,
        };
        state.begin();
        let instance = Simulated { id: InstanceId(id), module, plan, state: RefCell::new(state) };
        instance.pass(0.0);
        instance
    }

    /// What is the same over restarts.
    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Whether it leaks.
    pub(crate) fn is_leaking(&self) -> bool {
        self.plan.leak_bytes > 0.0
    }

    /// Whether it serves.
    pub(crate) fn is_up(&self) -> bool {
        self.state.borrow().down <= 0.0
    }

    /// What it holds now.
    pub(crate) fn held_bytes(&self) -> f64 {
        self.state.borrow().footprint
    }

    /// Notes that the host's memory ran out; whether that is the first time for the incarnation.
    pub(crate) fn see_memory_run_out(&self) -> bool {
        !std::mem::replace(&mut self.state.borrow_mut().saw_memory_run_out, true)
    }

    /// Whether the host's memory ran out in the time of this incarnation.
    pub(crate) fn saw_memory_run_out(&self) -> bool {
        self.state.borrow().saw_memory_run_out
    }

    /// Ends it as the kernel does where memory ran out; its host starts it again.
    pub(crate) fn kill(&self) {
        self.state.borrow_mut().restart();
    }

    /// Lets seconds pass.
    pub(crate) fn pass(&self, seconds: f64) {
        let mut state = self.state.borrow_mut();
        if state.down > 0.0 {
            state.down -= seconds;
            if state.down > 0.0 {
                return;
            }
        }
        state.pass(seconds, &self.plan);
    }
}

impl State {
    fn begin(&mut self) {
        self.age = 0.0;
        self.leaked = 0.0;
        self.footprint = 0.0;
        self.spike_ends = 0.0;
        self.saw_memory_run_out = false;
        self.noise = normal(&mut self.random, 1.0);
    }

    fn restart(&mut self) {
        self.incarnation += 1;
        self.down = self.random.random_range(5.0..20.0);
        self.begin();
    }

    fn pass(&mut self, seconds: f64, plan: &Plan) {
        self.age += seconds;
        let kept = (-seconds / NOISE_SECONDS).exp();
        let fresh = normal(&mut self.random, 1.0);
        self.noise = self.noise * kept + fresh * (1.0 - kept * kept).sqrt();
        if plan.leak_bytes > 0.0 && seconds > 0.0 {
            // Requests come in bursts, and what they leak with them.
            self.leaked += plan.leak_bytes * seconds * exponential(&mut self.random, 1.0);
        }
        self.spike(seconds, plan);
        let warm = 1.0 - COLD_PART * (-self.age / WARM_UP_SECONDS).exp();
        let spike = if self.age < self.spike_ends { self.spike } else { 0.0 };
        let part = warm * (1.0 + plan.noise * self.noise) + spike;
        let footprint = plan.need_bytes * part + self.leaked;
        let is_kept = plan.only_grows && footprint < self.footprint;
        self.footprint = if is_kept { self.footprint } else { footprint };
    }

    fn spike(&mut self, seconds: f64, plan: &Plan) {
        let chance = plan.spikes_per_hour * seconds / 3600.0;
        if self.age >= self.spike_ends && self.random.random_bool(chance) {
            let lasts = exponential(&mut self.random, 60.0).min(SPIKE_SECONDS_MAX);
            self.spike_ends = self.age + lasts;
            self.spike = self.random.random_range(0.2..1.0);
        }
    }
}

impl Instance for Simulated {
    fn id(&self) -> InstanceId {
        self.id
    }

    fn module(&self) -> &ModuleName {
        &self.module
    }

    fn incarnation(&self) -> u64 {
        self.state.borrow().incarnation
    }

    fn footprint(&self) -> Result<Footprint, SampleError> {
        let state = self.state.borrow();
        if state.down > 0.0 {
            return Err(SampleError::Unresponsive);
        }
        Ok(Footprint::resident(state.footprint as u64))
    }

    fn restart(&self) -> Result<(), RestartError> {
        self.state.borrow_mut().restart();
        Ok(())
    }
}
