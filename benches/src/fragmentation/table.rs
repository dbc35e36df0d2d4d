//! The rounds of a row as a table: medians, and the ratio to the first contender.

use std::fmt::Write as _;

use super::contenders::Contender;
use super::observation::Observation;
use super::rows::Row;
use super::scale::Scale;
use crate::report::{ContenderResult, Run};
use crate::statistics::median;

/// All rounds of one contender in one row.
#[derive(Debug)]
pub(super) struct Series {
    pub(super) contender: Contender,
    pub(super) rounds: Vec<Observation>,
    /// Why there are not more rounds.
    pub(super) failed: Option<String>,
}

impl Series {
    pub(super) fn new(contender: Contender) -> Self {
        Self { contender, rounds: Vec::new(), failed: None }
    }

    pub(super) fn result(&self) -> ContenderResult {
        ContenderResult {
            name: self.contender.name.clone(),
            allocator: self.contender.allocator().to_string(),
            arena_max: self.contender.arena_max,
            settings: self.contender.given().collect(),
            is_default: self.contender.is_default(),
            failed: self.failed.clone(),
            runs: self.rounds.iter().map(|one| one.run.clone()).collect(),
        }
    }
}

const MIB: f64 = 1048576.0;

/// One column: its title, and its value in a round, of which the table has the median.
struct Column {
    title: &'static str,
    decimals: usize,
    of: fn(&Observation) -> Option<f64>,
}

const fn column(
    title: &'static str,
    decimals: usize,
    of: fn(&Observation) -> Option<f64>,
) -> Column {
    Column { title, decimals, of }
}

const fn mib(bytes: u64) -> Option<f64> {
    Some(bytes as f64 / MIB)
}

const COLUMNS: &[Column] = &[
    column("live", 1, |one| mib(one.run.live_bytes)),
    column("floor", 1, |one| mib(one.run.floor_bytes?)),
    column("start", 1, |one| mib(one.told.start_bytes)),
    column("mean", 1, |one| mib(one.run.mean_bytes)),
    column("peak", 1, |one| mib(one.run.peak_bytes)),
    column("final", 1, |one| mib(one.run.final_bytes)),
    column("idle", 1, |one| mib(one.run.idle_bytes?)),
    column("trimmed", 1, |one| mib(one.run.trimmed_bytes?)),
    column("children's", 1, |one| mib(one.told.children_dirty_bytes?)),
    column("CPU s", 2, |one| Some(one.run.cpu_seconds)),
    column("wall s", 2, |one| Some(one.run.wall_seconds)),
    column("p50 us", 0, |one| one.run.p50_us),
    column("p99 us", 0, |one| one.run.p99_us),
    column("p99.9 us", 0, |one| one.run.p999_us),
    column("k faults", 1, |one| Some(one.run.minor_faults as f64 / 1000.0)),
    column("madvise", 0, |one| Some(one.run.madvise_calls? as f64)),
    column("waited %", 0, |one| one.run.waited_percent),
    column("refused", 0, |one| {
        (one.run.failed_allocations > 0).then_some(one.run.failed_allocations as f64)
    }),
];

/// What the ratios are of: mean, idle and CPU time.
const RATIOS: [fn(&Run) -> f64; 3] = [
    |run| run.mean_bytes as f64,
    |run| run.idle_bytes.unwrap_or(run.final_bytes) as f64,
    |run| run.cpu_seconds,
];

/// How to read the tables.
pub(super) fn legend(rounds: usize, scale: Scale) -> String {
    let warning = match scale {
        Scale::Full => "",
        _ => "The loads are cut short: the figures show that the bench works, and no more.\n",
    };
    format!(
        "Medians of {rounds} interleaved rounds, a process each, in MiB; what is resident, less\n\
         files and stacks.\n\
         live: what the load asked for and holds at its end; floor: the pages which that lies on;\n\
         start: before the load; mean: over time, during the load; peak: of all samples;\n\
         final: when the load is over; idle: 2 s later; trimmed: after the allocator's own call;\n\
         children's: pages that forked children wrote to; CPU: user and system, the whole process\n\
         until idle; waited: time ready without a processor, in percent of the CPU time;\n\
         refused: allocations that failed. Ratios: mean, idle and CPU time, to the first line's.\n\
         {warning}"
    )
}

/// One row's table.
pub(super) fn render(row: &Row, series: &[Series]) -> String {
    let shown: Vec<&Column> = COLUMNS
        .iter()
        .filter(|column| {
            series.iter().flat_map(|one| &one.rounds).any(|one| (column.of)(one).is_some())
        })
        .collect();
    let titles = shown.iter().map(|column| column.title.to_string());
    let mut lines = vec![cells("allocator", titles, "ratios")];
    let measured: Vec<&Series> = series.iter().filter(|one| !one.rounds.is_empty()).collect();
    for one in &measured {
        let figures = shown.iter().map(|column| cell(column, one));
        lines.push(cells(&one.contender.name, figures, &ratios(one, measured[0])));
    }
    let mut text = format!("{}: {}\n{}", row.name, row.description, aligned(&lines));
    for one in series {
        if let Some(cause) = &one.failed {
            let _ = writeln!(text, "  {}: {cause}", one.contender.name);
        }
    }
    text
}

fn cells(name: &str, figures: impl Iterator<Item = String>, last: &str) -> Vec<String> {
    std::iter::once(name.to_string()).chain(figures).chain([last.to_string()]).collect()
}

fn cell(column: &Column, series: &Series) -> String {
    let values: Vec<f64> = series.rounds.iter().filter_map(column.of).collect();
    match values.as_slice() {
        [] => "-".to_string(),
        values => format!("{:.*}", column.decimals, median(values)),
    }
}

fn ratios(series: &Series, first: &Series) -> String {
    let of = |series: &Series, value: fn(&Run) -> f64| {
        median(&series.rounds.iter().map(|one| value(&one.run)).collect::<Vec<f64>>())
    };
    RATIOS.map(|value| format!("{:.2}", of(series, value) / of(first, value))).join(" ")
}

/// The names stand left, the figures right.
fn aligned(lines: &[Vec<String>]) -> String {
    let mut text = String::new();
    for line in lines {
        for (column, cell) in line.iter().enumerate() {
            let width = lines.iter().map(|line| line[column].len()).max().unwrap_or(0);
            // Writing to a string cannot fail.
            let _ = match column {
                0 => write!(text, "  {cell:<width$}"),
                _ => write!(text, "  {cell:>width$}"),
            };
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::rows::ROWS;
    use super::*;

    fn series(name: &str, idle_mib: [u64; 3]) -> Series {
        let observation = |mib: u64| Observation {
            run: Run {
                live_bytes: 10 << 20,
                mean_bytes: mib << 20,
                idle_bytes: Some(mib << 20),
                cpu_seconds: mib as f64 / 100.0,
                ..Run::default()
            },
            ..Observation::default()
        };
        let contender = Contender::from_name(name).expect(name);
        Series { contender, rounds: idle_mib.map(observation).to_vec(), failed: None }
    }

    #[test]
    fn medians_and_ratios_to_the_first() {
        let both = [series("glibc", [10, 20, 900]), series("capmalloc", [30, 1, 30])];
        let text = render(&ROWS[0], &both);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].ends_with("ratios") && lines[2].ends_with("1.00 1.00 1.00"), "{text}");
        assert!(lines[3].contains(" 30.0 "), "{text}");
        assert!(lines[3].ends_with("1.50 1.50 1.50"), "{text}");
        assert!(!text.contains("p99") && !text.contains("trimmed"), "no column is empty: {text}");
    }

    #[test]
    fn who_failed_stands_below() {
        let mut failed = series("jemalloc", [1, 2, 3]);
        failed.rounds.clear();
        failed.failed = Some("round 1: it was ended by signal 11".into());
        let text = render(&ROWS[0], &[failed, series("glibc", [1, 2, 3])]);
        assert!(text.ends_with("  jemalloc: round 1: it was ended by signal 11\n"), "{text}");
        assert_eq!(text.lines().count(), 4, "{text}");
    }
}
