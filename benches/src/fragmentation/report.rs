//! The rounds of a row as a table: medians, and the ratio to the first contender.

use std::fmt::Write as _;

use super::contenders::Contender;
use super::observation::Observation;
use super::rows::Row;
use crate::statistics::median;

/// All rounds of one contender in one row.
#[derive(Debug)]
pub(super) struct Series {
    pub(super) contender: &'static Contender,
    pub(super) rounds: Vec<Observation>,
}

const TITLES: [&str; 10] =
    ["allocator", "live", "floor", "start", "mean", "peak", "final", "x live", "CPU s", "ratios"];

/// How to read the tables.
pub(super) fn legend(rounds: usize) -> String {
    format!(
        "Medians of {rounds} interleaved rounds, a process each, in MiB; what is resident, less\n\
         files and stacks.\n\
         live: what the load asked for and holds at rest; floor: the pages which that lies on;\n\
         start: before the load; mean and peak: until rest; final: at rest, 2 s after the load\n\
         or, for capmalloc_trim, right after the trim; CPU: user and system, the whole process.\n\
         Ratios: mean, final and CPU time, to those of the first line.\n"
    )
}

/// One row's table.
pub(super) fn render(row: &Row, series: &[Series]) -> String {
    let mut lines = vec![TITLES.map(String::from)];
    let first = series.first().map(Medians::of);
    for one in series {
        let medians = Medians::of(one);
        lines.push(medians.cells(one.contender.name, first.as_ref().unwrap_or(&medians)));
    }
    let mut text = format!("{}: {}\n", row.name, row.load);
    for line in &lines {
        for (column, cell) in line.iter().enumerate() {
            let width = lines.iter().map(|line| line[column].len()).max().unwrap_or(0);
            // Writing to a string cannot fail; the names stand left, the figures right.
            let _ = match column {
                0 => write!(text, "  {cell:<width$}"),
                _ => write!(text, "  {cell:>width$}"),
            };
        }
        text.push('\n');
    }
    text
}

struct Medians {
    live: f64,
    floor: f64,
    start: f64,
    mean: f64,
    peak: f64,
    rest: f64,
    cpu_seconds: f64,
}

impl Medians {
    fn of(series: &Series) -> Self {
        let of = |value: &dyn Fn(&Observation) -> f64| {
            median(&series.rounds.iter().map(value).collect::<Vec<f64>>())
        };
        let mib = |bytes: usize| bytes as f64 / f64::from(1 << 20);
        Self {
            live: of(&|one| mib(one.told.live_bytes)),
            floor: of(&|one| mib(one.told.floor_bytes)),
            start: of(&|one| mib(one.told.start_bytes)),
            mean: of(&|one| one.mean_bytes / f64::from(1 << 20)),
            peak: of(&|one| mib(one.peak_bytes)),
            rest: of(&|one| mib(one.told.final_bytes)),
            cpu_seconds: of(&|one| one.cpu.as_secs_f64()),
        }
    }

    fn cells(&self, name: &str, first: &Medians) -> [String; TITLES.len()] {
        let mib = |value: f64| format!("{value:.1}");
        let by_live =
            if self.live > 0.0 { format!("{:.2}", self.rest / self.live) } else { "-".into() };
        let ratios =
            [self.mean / first.mean, self.rest / first.rest, self.cpu_seconds / first.cpu_seconds];
        [
            name.to_string(),
            mib(self.live),
            mib(self.floor),
            mib(self.start),
            mib(self.mean),
            mib(self.peak),
            mib(self.rest),
            by_live,
            format!("{:.2}", self.cpu_seconds),
            ratios.map(|ratio| format!("{ratio:.2}")).join(" "),
        ]
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::contenders::CONTENDERS;
    use super::super::rows::ROWS;
    use super::super::stage::Told;
    use super::*;

    fn series(index: usize, final_mib: [usize; 3]) -> Series {
        let observation = |mib: usize| Observation {
            told: Told { final_bytes: mib << 20, live_bytes: 10 << 20, ..Told::default() },
            mean_bytes: (mib << 20) as f64,
            peak_bytes: mib << 20,
            cpu: Duration::from_millis(mib as u64 * 10),
        };
        Series { contender: &CONTENDERS[index], rounds: final_mib.map(observation).to_vec() }
    }

    #[test]
    fn medians_and_ratios_to_the_first() {
        let text = render(&ROWS[0], &[series(0, [10, 20, 900]), series(1, [30, 1, 30])]);
        let cells = |line: &str| line.split_whitespace().map(String::from).collect::<Vec<_>>();
        let lines: Vec<Vec<String>> = text.lines().map(cells).collect();
        // Name, six columns of bytes, the ratio to what lives, CPU time, and the three ratios.
        assert_eq!(lines[2][6..], ["20.0", "2.00", "0.20", "1.00", "1.00", "1.00"], "{text}");
        assert_eq!(lines[3][6..], ["30.0", "3.00", "0.30", "1.50", "1.50", "1.50"], "{text}");
    }
}
