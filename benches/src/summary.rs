//! The rows measured with the peers interleaved, as one table of ratios.
//!
//! Criterion finishes one function before it starts the next, so on a machine
//! whose speed drifts it compares one peer's good minute with another's bad
//! one. Here every round measures every peer once, within seconds, and the
//! order of the peers rotates from round to round.
//!
//! Each measurement has a process of its own. No peer then inherits the page
//! faults, the cached memory or the threads of another, and none keeps one
//! lucky or unlucky address layout for all its rounds. It also lets glibc
//! skip its locks in the rows of one thread, as it does in real programs of
//! one thread, but not in a process that ever started a second one.

use std::env::current_exe;
use std::fmt::Write;
use std::process::Command;

use crate::arguments::MEASURE_FLAG;
use crate::measurement::Measurement;
use crate::peers::PeerId;
use crate::rows::Row;
use crate::table::{RowSamples, render};

/// Measures the rows and gives the table, with notes on how to read it.
///
/// # Errors
///
/// Gives a message when a measuring process cannot be started or fails.
pub fn summarize(rows: &[&'static Row], rounds: usize) -> Result<String, String> {
    let samples: Vec<RowSamples> =
        rows.iter().map(|row| sample(row, rounds)).collect::<Result<_, _>>()?;
    Ok(format!("{}\n{}\n{}", conditions(rounds), render(&samples), operations(rows)))
}

/// Measures one row for all peers, round by round.
fn sample(row: &'static Row, rounds: usize) -> Result<RowSamples, String> {
    let mut measurements = vec![Vec::with_capacity(rounds); PeerId::ALL.len()];
    for round in 0..rounds {
        for index in rotated(PeerId::ALL.len(), round) {
            measurements[index].push(measure_in_child(row, PeerId::ALL[index])?);
        }
        eprintln!("{}: round {} of {rounds} done", row.name, round + 1);
    }
    Ok(RowSamples { row, measurements })
}

/// The numbers from 0 to `count`, starting at another one in every round.
fn rotated(count: usize, round: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |offset| (round + offset) % count)
}

/// Runs this program again for one measurement and reads what it prints.
fn measure_in_child(row: &Row, peer: PeerId) -> Result<Measurement, String> {
    let failure = |cause: &str| format!("measuring {} of {}: {cause}", row.name, peer.name());
    let program = current_exe().map_err(|error| failure(&error.to_string()))?;
    let mut command = Command::new(program);
    command.args([MEASURE_FLAG, row.name, peer.name()]);
    if peer.name() == "tcmalloc" {
        // Its caches are per processor where it may register for restartable sequences, which
        // the C library otherwise does first. That is how it is fastest.
        command.env("GLIBC_TUNABLES", "glibc.pthread.rseq=0");
    }
    let output = command.output().map_err(|error| failure(&error.to_string()))?;
    let printed = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr);
        return Err(failure(&format!("{}: {reason}", output.status)));
    }
    printed.parse().map_err(|error: String| failure(&error))
}

/// The conditions that the figures depend on and that differ by machine.
fn conditions(rounds: usize) -> String {
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    let setting = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled");
    let huge_pages = setting.as_deref().ok().and_then(chosen).unwrap_or("unknown");
    format!(
        "Nanoseconds per operation, medians of {rounds} interleaved rounds, one process each.\n\
         Spread: the widest interquartile range among the row's peers.\n\
         Waited: the most time a peer was ready to run but had no processor, medians.\n\
         Where either is large, repeat the summary on a quieter machine.\n\
         Processors: {processors}. Transparent huge pages: {huge_pages}.\n"
    )
}

/// The word in brackets, which is how the kernel marks the setting in force.
fn chosen(setting: &str) -> Option<&str> {
    setting.split_once('[')?.1.split_once(']').map(|(word, _)| word)
}

/// What one operation is in each row.
fn operations(rows: &[&Row]) -> String {
    let mut text = String::from("One operation is\n");
    for row in rows {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {:<16} {}", row.name, row.operation);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_round_starts_with_another_peer_and_has_all_of_them() {
        for round in 0..8 {
            let mut order: Vec<usize> = rotated(4, round).collect();
            assert_eq!(order[0], round % 4);
            order.sort_unstable();
            assert_eq!(order, [0, 1, 2, 3]);
        }
    }

    #[test]
    fn the_setting_in_force_is_the_one_in_brackets() {
        assert_eq!(chosen("always [madvise] never\n"), Some("madvise"));
        assert_eq!(chosen("always madvise never\n"), None);
    }

    #[test]
    fn every_row_is_explained() {
        let rows: Vec<&Row> = crate::rows::ROWS.iter().collect();
        let text = operations(&rows);
        assert!(rows.iter().all(|row| text.contains(row.operation)));
    }
}
