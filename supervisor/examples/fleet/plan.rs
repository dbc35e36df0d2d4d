//! What the fleet's modules are asked to store, and which instances leak.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};
use rand_distr::{Distribution as _, Exp1, StandardNormal};

/// A module: all of its instances have the same kind of work.
#[derive(Debug)]
pub(crate) struct Module {
    pub(crate) name: &'static str,
    /// Sizes of objects; their logarithms are evenly spread between these.
    smallest_bytes: u64,
    largest_bytes: u64,
    /// What an instance's objects come to together, on average over instances.
    quota_bytes: u64,
}

/// Three kinds of work, from many kilobytes to a few megabytes at a time.
pub(crate) const MODULES: [Module; 3] = [
    Module::new("notes", 1 << 10, 32 << 10, 3 << 19),
    Module::new("images", 4 << 10, 256 << 10, 3 << 20),
    Module::new("archive", 32 << 10, 1 << 20, 7 << 20),
];

/// How much the quotas of a module's instances differ: their standard deviation, as a part.
const QUOTA_DEVIATION: f64 = 0.05;

/// An object's mean lifetime, in the fleet's time.
const LIFETIME: Duration = Duration::from_secs(4 * 60);

/// Mean time between two leaks of a leaking instance, in the fleet's time.
const LEAK_INTERVAL: Duration = Duration::from_secs(60);

/// A leaking instance loses as much as it needs in about this time.
const LEAK_DOUBLES: Duration = Duration::from_secs(20 * 60);

/// The plan of one instance: its random numbers and whether it leaks.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) module: &'static Module,
    pub(crate) leaks: bool,
    /// What the instance's objects may come to; they come close to it.
    pub(crate) quota_bytes: u64,
    /// Bytes that a leak loses on average.
    leak_mean_bytes: f64,
    random: StdRng,
}

impl Module {
    const fn new(
        name: &'static str,
        smallest_bytes: u64,
        largest_bytes: u64,
        quota_bytes: u64,
    ) -> Module {
        Module { name, smallest_bytes, largest_bytes, quota_bytes }
    }

    pub(crate) fn named(name: &str) -> Option<&'static Module> {
        MODULES.iter().find(|module| module.name == name)
    }
}

impl Plan {
    /// The plans of all instances of a fleet, in the order of their slots.
    pub(crate) fn of_fleet(seed: u64, leaking: f64, modules: &[&'static Module]) -> Vec<Plan> {
        let mut random = StdRng::seed_from_u64(seed);
        let leaky = (leaking * modules.len() as f64).round() as usize;
        let mut leaks: Vec<bool> = (0..modules.len()).map(|index| index < leaky).collect();
        leaks.shuffle(&mut random);
        let plans = modules.iter().zip(leaks);
        plans.map(|(module, leaks)| Plan::new(module, leaks, random.random())).collect()
    }

    fn new(module: &'static Module, leaks: bool, seed: u64) -> Plan {
        let mut random = StdRng::seed_from_u64(seed);
        let quota = module.quota_bytes as f64;
        let deviation: f64 = StandardNormal.sample(&mut random);
        // Beyond three standard deviations is too far for a few instances to be compared.
        let deviation = QUOTA_DEVIATION * deviation.clamp(-3.0, 3.0);
        let each = quota * LEAK_INTERVAL.div_duration_f64(LEAK_DOUBLES);
        // Some leak twice as fast as the average, some half as fast.
        let leak_mean_bytes = each * random.random_range(0.5..2.0);
        let quota_bytes = (quota * (1.0 + deviation)) as u64;
        Plan { module, leaks, quota_bytes, leak_mean_bytes, random }
    }

    pub(crate) fn object_bytes(&mut self) -> u64 {
        let (smallest, largest) = (self.module.smallest_bytes, self.module.largest_bytes);
        let exponent = self.random.random_range((smallest as f64).ln()..(largest as f64).ln());
        (exponent.exp() as u64).clamp(smallest, largest)
    }

    pub(crate) fn lifetime(&mut self) -> Duration {
        self.exponential(LIFETIME)
    }

    /// The time until the next leak.
    pub(crate) fn leak_pause(&mut self) -> Duration {
        self.exponential(LEAK_INTERVAL)
    }

    pub(crate) fn leak_bytes(&mut self) -> u32 {
        let factor: f64 = Exp1.sample(&mut self.random);
        (self.leak_mean_bytes * factor) as u32
    }

    /// A number below that, which is not zero.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.random.random_range(0..end)
    }

    fn exponential(&mut self, mean: Duration) -> Duration {
        let factor: f64 = Exp1.sample(&mut self.random);
        mean.mul_f64(factor)
    }
}
