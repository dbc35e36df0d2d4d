//! How far the bench is, while it runs.

use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Seldom enough that drawing takes nothing from what is measured.
const REDRAW_PAUSE: Duration = Duration::from_secs(1);
const TEMPLATE: &str = "{msg} [{bar:30}] {pos}/{len}, {elapsed_precise}{prefix}";

/// Shows on standard error which run is under way, how many are left, and for how long.
///
/// On a terminal that is one line which is drawn anew; elsewhere it is a plain line for each round
/// of a workload.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    is_terminal: bool,
    started: Instant,
    runs: u64,
    done: u64,
    /// The round that was last told in a plain line.
    told: Option<(String, usize)>,
}

impl Progress {
    /// For so many runs, of all workloads, contenders and rounds together.
    ///
    /// # Examples
    ///
    /// ```
    /// use capmalloc_benches::report::Progress;
    ///
    /// let mut progress = Progress::new(2);
    /// for round in 1..=2 {
    ///     progress.begin("idle_connections", "capmalloc", round, 2);
    ///     progress.end();
    /// }
    /// progress.finish();
    /// ```
    pub fn new(runs: usize) -> Self {
        let bar = ProgressBar::with_draw_target(Some(runs as u64), ProgressDrawTarget::stderr());
        // A bar on something that is no terminal draws nothing.
        let is_terminal = !bar.is_hidden();
        bar.set_style(ProgressStyle::with_template(TEMPLATE).expect("the template is well-formed"));
        if is_terminal {
            bar.enable_steady_tick(REDRAW_PAUSE);
        }
        let started = Instant::now();
        Self { bar, is_terminal, started, runs: runs as u64, done: 0, told: None }
    }

    /// One run begins; rounds are counted from 1.
    pub fn begin(&mut self, workload: &str, contender: &str, round: usize, rounds: usize) {
        self.bar.set_message(format!("{workload}: {contender}, round {round} of {rounds}"));
        self.bar.set_prefix(self.left().map_or(String::new(), |left| format!(", {left} left")));
        let here = (workload.to_owned(), round);
        if !self.is_terminal && self.told.as_ref() != Some(&here) {
            eprintln!("{}", self.line(workload, round, rounds));
            self.told = Some(here);
        }
    }

    /// The run that last began is over, whether it succeeded or not.
    pub fn end(&mut self) {
        self.done += 1;
        self.bar.inc(1);
    }

    /// Shows a line that is to stay, such as a failure.
    pub fn note(&self, line: &str) {
        match self.is_terminal {
            true => self.bar.println(line),
            false => eprintln!("{line}"),
        }
    }

    /// Prints what is to stay on standard output, with the display out of the way meanwhile.
    pub fn print(&self, text: &str) {
        self.bar.suspend(|| println!("{text}"));
    }

    /// Takes the display away.
    pub fn finish(self) {
        self.bar.finish_and_clear();
    }

    fn line(&self, workload: &str, round: usize, rounds: usize) -> String {
        let left = self.left().map_or(String::new(), |left| format!(", {left} left"));
        let (done, runs) = (self.done, self.runs);
        format!("{workload}: round {round} of {rounds}; {done} of {runs} runs done{left}")
    }

    /// The time until the end, if the other runs take as long as those that are done.
    fn left(&self) -> Option<String> {
        let left = self.runs.checked_sub(self.done)?;
        let each = self.started.elapsed().checked_div(u32::try_from(self.done).ok()?)?;
        let time = each.checked_mul(u32::try_from(left).ok()?)?;
        Some(format!("about {}", HumanDuration(time)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_line_tells_workload_round_and_what_is_left() {
        let mut progress = Progress::new(4);
        assert_eq!(progress.line("burst", 1, 2), "burst: round 1 of 2; 0 of 4 runs done");
        progress.begin("burst", "glibc", 1, 2);
        progress.end();
        let line = progress.line("burst", 1, 2);
        assert!(line.starts_with("burst: round 1 of 2; 1 of 4 runs done, about "), "{line}");
        assert!(line.ends_with(" left"), "{line}");
    }

    #[test]
    fn more_runs_than_were_told_of_are_no_trouble() {
        let mut progress = Progress::new(0);
        for round in 1..=3 {
            progress.begin("burst", "glibc", round, 3);
            progress.end();
        }
        progress.note("a note");
        progress.finish();
    }
}
