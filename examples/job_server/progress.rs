//! What the supervisor shows while it measures: a bar on a terminal, else a line for each run.

use std::io::{self, IsTerminal};

use indicatif::{ProgressBar, ProgressStyle};

use crate::measurement::{MEAN_RESIDENT, Measurement, REQUEST_RATE, SERVICE_P50};
use crate::row::Row;

/// Progress over all runs, counted in requests.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    runs: usize,
    finished_runs: usize,
    requests_per_run: u64,
}

impl Progress {
    pub(crate) fn new(runs: usize, requests_per_run: u32) -> Self {
        let requests_per_run = u64::from(requests_per_run);
        let all_requests = requests_per_run * runs as u64;
        Self {
            bar: io::stderr().is_terminal().then(|| new_bar(all_requests)),
            runs,
            finished_runs: 0,
            requests_per_run,
        }
    }

    /// A run of this row begins.
    pub(crate) fn begin(&self, row: Row) {
        if let Some(bar) = &self.bar {
            bar.set_message(format!(
                "run {} of {}: {}",
                self.finished_runs + 1,
                self.runs,
                row.name()
            ));
        }
        self.advance(0);
    }

    /// The run has come to its request with this number.
    pub(crate) fn advance(&self, begun_requests: u32) {
        if let Some(bar) = &self.bar {
            let before = self.requests_per_run * self.finished_runs as u64;
            bar.set_position(before + u64::from(begun_requests));
        }
    }

    /// The run has come to its end.
    pub(crate) fn finish(&mut self, row: Row, run: &Measurement) {
        self.finished_runs += 1;
        self.advance(0);
        if self.bar.is_none() {
            eprintln!(
                "run {} of {}: {:<12} {} req/s, service p50 {} µs, mean RSS {} MiB",
                self.finished_runs,
                self.runs,
                row.name(),
                REQUEST_RATE.show(run),
                SERVICE_P50.show(run),
                MEAN_RESIDENT.show(run),
            );
        }
    }
}

impl Drop for Progress {
    /// The bar goes away at the end, however that comes, so that it does not stand in the table.
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn new_bar(length: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {percent:>3} %  {msg}  {eta} left")
        .expect("the template is a constant that indicatif accepts");
    ProgressBar::new(length).with_style(style)
}
