//! The table: a row for each policy, means over seeds with their 95 % intervals.

use capmalloc_supervisor::student_t_quantile;
use serde::Serialize;

use super::simulation::{Outcome, Which};

/// A policy in a scenario.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    scenario: &'static str,
    policy: String,
    outcomes: Vec<Outcome>,
}

impl Row {
    /// A row by the outcomes of all seeds.
    pub(crate) fn new(scenario: &'static str, which: Which, outcomes: Vec<Outcome>) -> Row {
        Row { scenario, policy: which.name(), outcomes }
    }

    /// A figure's mean over the seeds that have it, and half its 95 % interval.
    fn figure(&self, of: impl Fn(&Outcome) -> Option<f64>, decimals: usize) -> String {
        let values: Vec<f64> = self.outcomes.iter().filter_map(of).collect();
        let count = values.len() as f64;
        if values.is_empty() {
            return "–".to_owned();
        }
        let mean = values.iter().sum::<f64>() / count;
        if values.len() < 2 {
            return format!("{mean:.decimals$}");
        }
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let error = (squares / (count - 1.0) / count).sqrt();
        let half = student_t_quantile(0.95, count - 1.0) * error;
        format!("{mean:.decimals$} ± {half:.decimals$}")
    }

    fn cells(&self) -> Vec<String> {
        vec![
            self.policy.clone(),
            self.figure(Outcome::leaking_saved_percent, 1),
            self.figure(|outcome| Some(outcome.leaking_left as f64), 1),
            self.figure(Outcome::healthy_percent_per_hour, 2),
            self.figure(|outcome| Some(100.0 * outcome.memory_mean), 1),
            self.figure(|outcome| Some(1e4 * outcome.memory_variance), 1),
            self.figure(|outcome| Some(outcome.out_of_memory as f64), 1),
            self.figure(|outcome| Some(outcome.restarts_per_module_hour()), 2),
            self.figure(|outcome| Some(100.0 * outcome.uptime), 3),
            self.figure(|outcome| Some(outcome.estimate), 3),
            self.figure(|outcome| Some(outcome.bound), 3),
        ]
    }
}

const HEADS: [&str; 11] = [
    "policy",
    "leaks in time %",
    "leaks left",
    "healthy %/h",
    "memory %",
    "variance %²",
    "out of memory",
    "restarts/module/h",
    "uptime %",
    "estimate/need",
    "bound/need",
];

/// Prints rows as a table in Markdown, columns in line.
pub(crate) fn print(rows: &[Row]) {
    let heads = HEADS.map(str::to_owned).to_vec();
    let cells: Vec<Vec<String>> = rows.iter().map(Row::cells).collect();
    let widths: Vec<usize> = (0..heads.len())
        .map(|column| {
            let lengths = cells.iter().chain([&heads]).map(|row| row[column].chars().count());
            lengths.max().unwrap_or(0)
        })
        .collect();
    let rule = widths.iter().map(|width| "-".repeat(*width)).collect();
    println!();
    for row in [&heads, &rule].into_iter().chain(&cells) {
        let line: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        println!("| {} |", line.join(" | "));
    }
    println!();
}
