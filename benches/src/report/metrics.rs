//! What is told of a run, each figure with its unit, its better direction, and how it is measured.

use super::format;
use super::results::Run;

/// One figure of a run.
#[derive(Debug)]
pub(super) struct Metric {
    /// What heads its column.
    pub(super) title: &'static str,
    pub(super) unit: Unit,
    /// Which of two values is the better one; nothing for figures that only explain others.
    pub(super) better: Option<Better>,
    pub(super) of: fn(&Run) -> Option<f64>,
    /// What the figure is, and how it was measured.
    pub(super) method: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Better {
    Lower,
    Higher,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// Values are bytes, and shown as MiB.
    Mib,
    Microseconds,
    Seconds,
    PerSecond,
    Count,
    Percent,
}

impl Unit {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Mib => "MiB",
            Self::Microseconds => "µs",
            Self::Seconds => "s",
            Self::PerSecond => "/s",
            Self::Count => "",
            Self::Percent => "%",
        }
    }

    pub(super) fn format(self, value: f64) -> String {
        match self {
            Self::Mib => format::mib(value),
            Self::Count => format::count(value),
            _ => format::number(value),
        }
    }
}

impl Metric {
    /// The value with its unit behind it.
    pub(super) fn with_unit(&self, value: f64) -> String {
        let figure = self.unit.format(value);
        match self.unit {
            Unit::Count => figure,
            Unit::PerSecond | Unit::Percent => format!("{figure}{}", self.unit.name()),
            _ => format!("{figure} {}", self.unit.name()),
        }
    }

    /// The title, with the unit behind it.
    pub(super) fn heading(&self) -> String {
        match self.unit.name() {
            "" => self.title.to_owned(),
            unit => format!("{} {unit}", self.title),
        }
    }
}

fn bytes(value: Option<u64>) -> Option<f64> {
    value.map(|bytes| bytes as f64)
}

fn operations_per_second(run: &Run) -> Option<f64> {
    run.operations.map(|operations| operations as f64 / run.wall_seconds)
}

fn cpu_per_operation(run: &Run) -> Option<f64> {
    run.operations.map(|operations| run.cpu_seconds * 1e6 / operations as f64)
}

pub(super) static MEAN: Metric = Metric {
    title: "mean",
    unit: Unit::Mib,
    better: Some(Better::Lower),
    of: |run| Some(run.mean_bytes as f64),
    method: "resident memory of the process, without files and stacks, the mean over the load",
};
pub(super) static PEAK: Metric = Metric {
    title: "peak",
    unit: Unit::Mib,
    better: Some(Better::Lower),
    of: |run| Some(run.peak_bytes as f64),
    method: "the same, the most that any sample saw",
};
pub(super) static FINAL: Metric = Metric {
    title: "final",
    unit: Unit::Mib,
    better: Some(Better::Lower),
    of: |run| Some(run.final_bytes as f64),
    method: "the same, right after the load",
};
pub(super) static IDLE: Metric = Metric {
    title: "idle",
    unit: Unit::Mib,
    better: Some(Better::Lower),
    of: |run| bytes(run.idle_bytes),
    method: "the same, seconds after the load, in which nothing was called",
};
pub(super) static TRIMMED: Metric = Metric {
    title: "trimmed",
    unit: Unit::Mib,
    better: Some(Better::Lower),
    of: |run| bytes(run.trimmed_bytes),
    method: "the same, right after the allocator was asked to give back what it can",
};
pub(super) static LIVE: Metric = Metric {
    title: "live",
    unit: Unit::Mib,
    better: None,
    of: |run| Some(run.live_bytes as f64),
    method: "what the load asked for and still held when it was over",
};
pub(super) static FLOOR: Metric = Metric {
    title: "floor",
    unit: Unit::Mib,
    better: None,
    of: |run| bytes(run.floor_bytes),
    method: "the pages that the live blocks lay on, which no allocator could give back",
};
pub(super) static P50: Metric = Metric {
    title: "p50",
    unit: Unit::Microseconds,
    better: Some(Better::Lower),
    of: |run| run.p50_us,
    method: "the service time that half of the operations kept to",
};
pub(super) static P99: Metric = Metric {
    title: "p99",
    unit: Unit::Microseconds,
    better: Some(Better::Lower),
    of: |run| run.p99_us,
    method: "the service time that 99 of 100 operations kept to",
};
pub(super) static P999: Metric = Metric {
    title: "p99.9",
    unit: Unit::Microseconds,
    better: Some(Better::Lower),
    of: |run| run.p999_us,
    method: "the service time that 999 of 1000 operations kept to",
};
pub(super) static CPU: Metric = Metric {
    title: "CPU",
    unit: Unit::Seconds,
    better: Some(Better::Lower),
    of: |run| Some(run.cpu_seconds),
    method: "user and system time of the whole process",
};
pub(super) static CPU_PER_OPERATION: Metric = Metric {
    title: "CPU per operation",
    unit: Unit::Microseconds,
    better: Some(Better::Lower),
    of: cpu_per_operation,
    method: "that time by the number of operations",
};
pub(super) static WALL: Metric = Metric {
    title: "wall",
    unit: Unit::Seconds,
    better: Some(Better::Lower),
    of: |run| Some(run.wall_seconds),
    method: "the load from begin to end by the clock; some loads take a set time",
};
pub(super) static THROUGHPUT: Metric = Metric {
    title: "operations",
    unit: Unit::PerSecond,
    better: Some(Better::Higher),
    of: operations_per_second,
    method: "operations by that time; some loads have a set pace",
};
pub(super) static FAULTS: Metric = Metric {
    title: "faults",
    unit: Unit::Count,
    better: Some(Better::Lower),
    of: |run| Some(run.minor_faults as f64),
    method: "page faults that the kernel served without a disk",
};
pub(super) static MADVISE: Metric = Metric {
    title: "madvise",
    unit: Unit::Count,
    better: None,
    of: |run| bytes(run.madvise_calls),
    method: "calls of madvise, by which memory is given back",
};
pub(super) static WAITED: Metric = Metric {
    title: "waited",
    unit: Unit::Percent,
    better: None,
    of: |run| run.waited_percent,
    method: "time in which a thread was ready and had no processor, of the CPU time; where it is \
             large, service times tell of the machine",
};
pub(super) static REFUSED: Metric = Metric {
    title: "refused",
    unit: Unit::Count,
    better: Some(Better::Lower),
    of: |run| Some(run.failed_allocations as f64),
    method: "allocations that the allocator refused",
};

/// Every figure, in the order of the tables.
pub(super) static METRICS: [&Metric; 18] = [
    &MEAN,
    &PEAK,
    &FINAL,
    &IDLE,
    &TRIMMED,
    &P50,
    &P99,
    &P999,
    &CPU,
    &CPU_PER_OPERATION,
    &WALL,
    &THROUGHPUT,
    &LIVE,
    &FLOOR,
    &FAULTS,
    &MADVISE,
    &WAITED,
    &REFUSED,
];
