//! All rows measured on all contenders, and what came of it, on the terminal and in files.

use std::path::PathBuf;

use super::contenders::Contender;
use super::observation::{Manner, observe};
use super::rows::Row;
use super::scale::Scale;
use super::table::{Series, legend, render};
use crate::report::{self, FORMAT_VERSION, Machine, Progress, Report, WorkloadResult};

/// What is to be compared, and how.
#[derive(Debug)]
pub(super) struct Comparison {
    pub(super) rows: Vec<&'static Row>,
    pub(super) contenders: Vec<Contender>,
    pub(super) rounds: usize,
    pub(super) manner: Manner,
    /// Where the results go; nowhere for a trial.
    pub(super) out: Option<PathBuf>,
    /// The command that does the same again.
    pub(super) command: String,
}

impl Comparison {
    /// Measures, row by row; results are written after each, so that none is lost.
    pub(super) fn run(&self) -> Result<(), String> {
        let mut report = self.empty_report();
        self.write(&report)?;
        println!("{}", legend(self.rounds, self.manner.scale));
        let runs = self.rows.len() * self.contenders.len() * self.rounds;
        let mut progress = Progress::new(runs);
        for row in &self.rows {
            let series = self.compare(row, &mut progress);
            progress.print(&render(row, &series));
            report.workloads.push(WorkloadResult {
                name: row.name.to_string(),
                title: row.title.to_string(),
                description: row.description.to_string(),
                contenders: series.iter().map(Series::result).collect(),
            });
            self.write(&report)?;
        }
        progress.finish();
        println!("{}", report::summary(&report));
        if let Some(page) = self.write(&report)? {
            println!("The report is in {}.", page.display());
        }
        self.verdict(&report)
    }

    /// Writes what there is so far; answers with the page to look at.
    fn write(&self, report: &Report) -> Result<Option<PathBuf>, String> {
        self.out.as_ref().map(|out| report::write(report, out)).transpose()
    }

    fn empty_report(&self) -> Report {
        Report {
            format_version: FORMAT_VERSION,
            command: self.command.clone(),
            machine: Machine::current(),
            rounds: self.rounds,
            quick: self.manner.scale != Scale::Full,
            workloads: Vec::new(),
        }
    }

    /// Measures a row, each round on all contenders, beginning with another one every time.
    ///
    /// A contender that failed is left out from then on, and does not stop the others.
    fn compare(&self, row: &Row, progress: &mut Progress) -> Vec<Series> {
        let mut series: Vec<Series> = self.contenders.iter().cloned().map(Series::new).collect();
        for round in 0..self.rounds {
            for offset in 0..series.len() {
                let index = (round + offset) % self.contenders.len();
                let one = &mut series[index];
                if one.failed.is_some() {
                    progress.end();
                    continue;
                }
                progress.begin(row.name, &one.contender.name, round + 1, self.rounds);
                match observe(row, &one.contender, self.manner) {
                    Ok(observation) => one.rounds.push(observation),
                    Err(cause) => {
                        let cause = format!("round {}: {cause}", round + 1);
                        let name = &one.contender.name;
                        progress.note(&format!("{} of {name} failed in {cause}", row.name));
                        one.failed = Some(cause);
                    }
                }
                progress.end();
            }
        }
        series
    }

    /// A comparison in which something failed did not succeed, once all else is done.
    fn verdict(&self, report: &Report) -> Result<(), String> {
        let contenders = report.workloads.iter().flat_map(|row| &row.contenders);
        match contenders.filter(|one| one.failed.is_some()).count() {
            0 => Ok(()),
            count => Err(format!("{count} of the measurements failed, as said above")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::rows::ROWS;
    use super::*;

    /// The program of the tests knows nothing of measuring, so that every process of it fails.
    #[test]
    fn who_fails_stops_nobody_and_is_reported() {
        let out = std::env::temp_dir().join(format!("fragmentation-{}", std::process::id()));
        let names = ["glibc", "capmalloc-2"];
        let comparison = Comparison {
            rows: ROWS.iter().take(2).collect(),
            contenders: names.map(|name| Contender::from_name(name).expect(name)).to_vec(),
            rounds: 2,
            manner: Manner { scale: Scale::Smoke, is_stats_wanted: false },
            out: Some(out.join("new")),
            command: String::new(),
        };
        let message = comparison.run().expect_err("nothing can be measured");
        assert!(message.contains("4 of the measurements failed"), "{message}");
        let json = std::fs::read_to_string(out.join("new/report.json")).expect("the results");
        let report = report::parse(&json).expect("a report");
        assert_eq!(report.workloads.len(), 2);
        for (contender, name) in report.workloads[1].contenders.iter().zip(names) {
            assert_eq!((contender.name.as_str(), contender.runs.len()), (name, 0));
            let cause = contender.failed.as_deref().expect("it failed");
            assert!(cause.starts_with("round 1: it ended with exit code"), "{cause}");
        }
        std::fs::remove_dir_all(&out).expect("the test's own directory");
    }

    #[test]
    fn results_that_cannot_be_written_are_an_error_at_once() {
        let out = Some(PathBuf::from("/proc/no/such/place"));
        let manner = Manner { scale: Scale::Smoke, is_stats_wanted: false };
        let (rows, contenders, command) = (Vec::new(), Vec::new(), String::new());
        let comparison = Comparison { rows, contenders, rounds: 1, manner, out, command };
        let message = comparison.run().expect_err("it cannot be made");
        assert!(message.starts_with("cannot write /proc/no/such/place"), "{message}");
    }
}
