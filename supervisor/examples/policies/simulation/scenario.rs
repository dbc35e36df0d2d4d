//! What fleets are simulated.

use std::ops::Range;

/// Mebibytes.
pub(crate) const MIB: f64 = 1_048_576.0;

/// A fleet on a host.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    /// A short name.
    pub(crate) name: &'static str,
    /// What is special about it.
    pub(crate) about: &'static str,
    /// The programs that run.
    pub(crate) modules: Vec<Module>,
    /// The host's memory, by the sum of all needs.
    pub(crate) headroom: f64,
}

/// Instances of one program.
#[derive(Clone, Debug)]
pub(crate) struct Module {
    /// Its name.
    pub(crate) name: &'static str,
    /// How many instances run.
    pub(crate) instances: usize,
    /// How many of them leak.
    pub(crate) leaking: usize,
    /// What an instance needs on average, in bytes.
    pub(crate) need_bytes: f64,
    /// The standard deviation of needs among instances, as a part of the need.
    pub(crate) spread: f64,
    /// The standard deviation of a footprint over time, as a part of the need.
    pub(crate) noise: f64,
    /// Legitimate spikes of an instance in an hour.
    pub(crate) spikes_per_hour: f64,
    /// What those that leak lose in an hour, as parts of the need; drawn for each from here, each
    /// order of magnitude as likely as another.
    pub(crate) leak_per_hour: Range<f64>,
    /// Whether footprints never fall, as those of linear memories.
    pub(crate) only_grows: bool,
}

impl Module {
    fn new(name: &'static str, instances: usize, leaking: usize, need_mib: f64) -> Module {
        Module {
            name,
            instances,
            leaking,
            need_bytes: need_mib * MIB,
            spread: 0.05,
            noise: 0.04,
            spikes_per_hour: 1.0,
            leak_per_hour: 0.3..4.0,
            only_grows: false,
        }
    }
}

/// The scenarios of the table.
pub(crate) fn scenarios() -> Vec<Scenario> {
    let linear = Module { only_grows: true, spikes_per_hour: 0.0, ..Module::new("w", 10, 2, 32.0) };
    let slow = Module { leak_per_hour: 0.1..0.25, ..Module::new("s", 10, 10, 64.0) };
    vec![
        Scenario {
            name: "three",
            about: "4 modules of 3 instances, 1 of each leaks",
            modules: (0..4).map(|index| few(index, 3, 1)).collect(),
            headroom: 1.5,
        },
        Scenario {
            name: "ten",
            about: "1 module of 10 instances, 2 leak",
            modules: vec![Module::new("a", 10, 2, 64.0)],
            headroom: 1.5,
        },
        Scenario {
            name: "fifty",
            about: "1 module of 50 instances, 10 leak",
            modules: vec![Module::new("a", 50, 10, 64.0)],
            headroom: 1.5,
        },
        Scenario {
            name: "mixed",
            about: "modules of 10, 10 and 3 instances of 16, 64 and 256 MiB; 2 of the first leak \
                    and 2 of the second",
            modules: vec![
                Module::new("small", 10, 2, 16.0),
                Module::new("middle", 10, 2, 64.0),
                Module::new("large", 3, 0, 256.0),
            ],
            headroom: 1.3,
        },
        Scenario {
            name: "linear",
            about: "1 module of 10 instances whose footprint never falls, 2 leak",
            modules: vec![linear],
            headroom: 1.5,
        },
        Scenario {
            name: "common",
            about: "1 module of 10 instances, all leak slowly",
            modules: vec![slow],
            headroom: 1.5,
        },
    ]
}

fn few(index: usize, instances: usize, leaking: usize) -> Module {
    let (name, need_mib) = [("a", 16.0), ("b", 32.0), ("c", 64.0), ("d", 128.0)][index];
    Module::new(name, instances, leaking, need_mib)
}
