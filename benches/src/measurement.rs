//! One measurement, and whether the machine let it run undisturbed.

use std::fmt;
use std::fs::{read_dir, read_to_string};
use std::str::FromStr;
use std::time::Duration;

use crate::peers::{Open, PeerId};
use crate::rows::Row;
use crate::workloads::Scale;

/// The time of one operation, and how far other processes got in the way.
///
/// It is printed by the process that measures and parsed by the one that
/// makes the table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measurement {
    /// The wall time of one operation, in nanoseconds.
    pub operation_ns: f64,
    /// The time the threads were ready to run but had no processor, as a
    /// share of the wall time. It corrects nothing; it tells the reader
    /// whether to repeat the measurement on a quieter machine.
    pub waited_share: f64,
}

impl Measurement {
    /// Measures one row on one peer, once, in this process, which opens work by `open`.
    #[must_use]
    pub fn take(row: &Row, peer: PeerId, open: Open) -> Self {
        let mut run = open(peer, &row.work, Scale::Full);
        if row.warm_up_iterations > 0 {
            run.run(row.warm_up_iterations);
        }
        let waited_before = waited_for_processors();
        let elapsed = run.run(row.measured_iterations);
        let waited = waited_for_processors().saturating_sub(waited_before);
        let operations = row.measured_iterations * row.operations_per_iteration;
        Self {
            operation_ns: elapsed.as_secs_f64() * 1e9 / operations as f64,
            waited_share: waited.as_secs_f64() / elapsed.as_secs_f64(),
        }
    }
}

impl fmt::Display for Measurement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.operation_ns, self.waited_share)
    }
}

impl FromStr for Measurement {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers: Result<Vec<f64>, _> = text.split_whitespace().map(str::parse).collect();
        match numbers.as_deref() {
            Ok(&[operation_ns, waited_share]) => Ok(Self { operation_ns, waited_share }),
            _ => Err(format!("{text:?} is no measurement")),
        }
    }
}

/// How long the live threads of this process have waited for a processor in
/// total, or zero where the kernel does not tell.
fn waited_for_processors() -> Duration {
    let threads = read_dir("/proc/self/task").into_iter().flatten().flatten();
    threads
        .filter_map(|thread| read_to_string(thread.path().join("schedstat")).ok())
        .filter_map(|line| waited(&line))
        .sum()
}

/// Reads the second of the three numbers in a thread's `schedstat`.
fn waited(line: &str) -> Option<Duration> {
    let nanoseconds = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(Duration::from_nanos(nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_printed_measurement_reads_back_the_same() {
        let measurement = Measurement { operation_ns: 4.25, waited_share: 0.125 };
        assert_eq!(measurement.to_string().parse(), Ok(measurement));
    }

    #[test]
    fn anything_else_is_no_measurement() {
        for text in ["", "4.25", "4.25 0.1 0.2", "4.25 much"] {
            assert!(text.parse::<Measurement>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_time_waited_is_the_second_number() {
        assert_eq!(waited("9000 2500 7\n"), Some(Duration::from_nanos(2500)));
        assert_eq!(waited("9000"), None);
    }
}
