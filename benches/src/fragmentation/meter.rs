//! How long the operations of a load take.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// Operations that take longer count as ones that take so long.
const LONGEST_MICROSECONDS: u64 = 60_000_000;

/// Collects times. They are kept within 1 %, in tenths of a microsecond.
#[derive(Debug)]
pub(super) struct Meter {
    times: Mutex<Histogram<u32>>,
}

/// The times below which so many of all operations stayed, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Latency {
    pub(super) operations: u64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    pub(super) p999_us: f64,
}

impl Meter {
    pub(super) fn new() -> Self {
        let times = Histogram::new_with_bounds(1, LONGEST_MICROSECONDS * 10, 2);
        Self { times: Mutex::new(times.expect("bounds in order")) }
    }

    pub(super) fn record(&self, time: Duration) {
        let tenths = u64::try_from(time.as_nanos() / 100).unwrap_or(u64::MAX);
        self.times.lock().unwrap_or_else(PoisonError::into_inner).saturating_record(tenths);
    }

    /// Does something, and records how long it took.
    pub(super) fn time<T>(&self, operation: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let outcome = operation();
        self.record(begun.elapsed());
        outcome
    }

    /// Nothing where nothing was recorded.
    pub(super) fn latency(&self) -> Option<Latency> {
        let times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |share| times.value_at_quantile(share) as f64 / 10.0;
        (!times.is_empty()).then(|| Latency {
            operations: times.len(),
            p50_us: of(0.5),
            p99_us: of(0.99),
            p999_us: of(0.999),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_what_was_recorded() {
        let meter = Meter::new();
        assert_eq!(meter.latency(), None);
        (1..=1000).for_each(|time| meter.record(Duration::from_micros(time)));
        meter.record(Duration::from_secs(1000));
        let Latency { operations, p50_us, p99_us, p999_us } = meter.latency().expect("times");
        assert_eq!(operations, 1001);
        for (found, expected) in [(p50_us, 500.0), (p99_us, 990.0), (p999_us, 1000.0)] {
            assert!((found / expected - 1.0_f64).abs() < 0.02, "{found} for {expected}");
        }
    }
}
