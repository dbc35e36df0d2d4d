//! The numbers of one run of one row, and how they are combined and shown.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// One run of one row.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Measurement {
    pub(crate) requests_per_second: f64,
    pub(crate) service_p50_micros: f64,
    pub(crate) service_p99_micros: f64,
    pub(crate) latency_p50_micros: f64,
    pub(crate) latency_p99_micros: f64,
    pub(crate) processor_micros_per_request: f64,
    pub(crate) minor_faults_per_request: f64,
    pub(crate) mean_resident_bytes: f64,
    pub(crate) peak_resident_bytes: f64,
    pub(crate) idle_resident_bytes: f64,
    pub(crate) trimmed_resident_bytes: f64,
}

/// A measured quantity, and how the table shows it.
#[derive(Debug)]
pub(crate) struct Quantity {
    /// The two lines of the heading in the table.
    pub(crate) heading: [&'static str; 2],
    of: fn(&Measurement) -> f64,
    /// What one unit of the table is in the unit of the measurement.
    unit: f64,
    decimals: usize,
}

const MEBIBYTE: f64 = 1_048_576.0;
const MILLISECOND_MICROS: f64 = 1000.0;

pub(crate) const SERVICE_P50: Quantity =
    quantity(["service", "p50 µs"], |run| run.service_p50_micros, 1.0, 0);
pub(crate) const MEAN_RESIDENT: Quantity =
    quantity(["RSS MiB", "mean"], |run| run.mean_resident_bytes, MEBIBYTE, 1);
pub(crate) const REQUEST_RATE: Quantity =
    quantity(["req/s", ""], |run| run.requests_per_second, 1.0, 0);

/// The columns of the table.
pub(crate) const QUANTITIES: [Quantity; 10] = [
    REQUEST_RATE,
    SERVICE_P50,
    quantity(["service", "p99 µs"], |run| run.service_p99_micros, 1.0, 0),
    quantity(["latency", "p50 ms"], |run| run.latency_p50_micros, MILLISECOND_MICROS, 1),
    quantity(["latency", "p99 ms"], |run| run.latency_p99_micros, MILLISECOND_MICROS, 1),
    quantity(["CPU/req", "µs"], |run| run.processor_micros_per_request, 1.0, 0),
    MEAN_RESIDENT,
    quantity(["RSS MiB", "peak"], |run| run.peak_resident_bytes, MEBIBYTE, 1),
    quantity(["RSS MiB", "idle"], |run| run.idle_resident_bytes, MEBIBYTE, 1),
    quantity(["RSS MiB", "trimmed"], |run| run.trimmed_resident_bytes, MEBIBYTE, 1),
];

const fn quantity(
    heading: [&'static str; 2],
    of: fn(&Measurement) -> f64,
    unit: f64,
    decimals: usize,
) -> Quantity {
    Quantity { heading, of, unit, decimals }
}

impl Quantity {
    /// This quantity of a run in the table's unit.
    pub(crate) fn show(&self, run: &Measurement) -> String {
        format!("{:.*}", self.decimals, (self.of)(run) / self.unit)
    }

    /// This quantity of one run as a multiple of that of another.
    pub(crate) fn ratio(&self, run: &Measurement, baseline: &Measurement) -> f64 {
        (self.of)(run) / (self.of)(baseline)
    }
}

/// The medians of all quantities, each taken on its own.
pub(crate) fn medians(runs: &[Measurement]) -> Measurement {
    let median_of = |of: fn(&Measurement) -> f64| median(runs.iter().map(of).collect());
    Measurement {
        requests_per_second: median_of(|run| run.requests_per_second),
        service_p50_micros: median_of(|run| run.service_p50_micros),
        service_p99_micros: median_of(|run| run.service_p99_micros),
        latency_p50_micros: median_of(|run| run.latency_p50_micros),
        latency_p99_micros: median_of(|run| run.latency_p99_micros),
        processor_micros_per_request: median_of(|run| run.processor_micros_per_request),
        minor_faults_per_request: median_of(|run| run.minor_faults_per_request),
        mean_resident_bytes: median_of(|run| run.mean_resident_bytes),
        peak_resident_bytes: median_of(|run| run.peak_resident_bytes),
        idle_resident_bytes: median_of(|run| run.idle_resident_bytes),
        trimmed_resident_bytes: median_of(|run| run.trimmed_resident_bytes),
    }
}

/// The middle value, or the mean of the two in the middle.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

const SHORTEST_NANOS: u64 = 100;
const LONGEST_NANOS: u64 = 60_000_000_000;
const SIGNIFICANT_DIGITS: u8 = 3;

/// A histogram of durations, in nanoseconds, fine enough to tell rows apart that differ by one in a
/// thousand.
pub(crate) fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(SHORTEST_NANOS, LONGEST_NANOS, SIGNIFICANT_DIGITS)
        .expect("the bounds are constants that a histogram accepts")
}

/// Counts a duration; one beyond the bounds counts as the longest.
pub(crate) fn record(histogram: &mut Histogram<u64>, duration: Duration) {
    let nanos = u64::try_from(duration.as_nanos()).unwrap_or(LONGEST_NANOS);
    histogram.saturating_record(nanos);
}

pub(crate) fn quantile_micros(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    histogram.value_at_quantile(quantile) as f64 / 1000.0
}
