//! The table that compares the policies.

use std::fmt::Write as _;

use super::Run;
use super::summary::{Middle, RunSummary};
use crate::options::Experiment;
use crate::plan::MODULES;
use crate::wire::Cause;

const MIB: f64 = 1048576.0;

/// What a line of the table tells of a run.
type Figure = Box<dyn Fn(&RunSummary) -> Option<f64>>;

/// One line of the table: a name, and a figure of a run.
struct Row {
    name: String,
    decimals: usize,
    figure: Figure,
}

/// The table as text: a column for each policy.
pub(super) fn render(experiment: &Experiment, runs: &[Run]) -> String {
    let mut text = heading(experiment);
    let _ = write!(text, "\n{:<42}", "policy");
    for policy in &experiment.policies {
        let _ = write!(text, " {:>24}", policy.name());
    }
    text.push('\n');
    for row in rows() {
        let _ = write!(text, "{:<42}", row.name);
        for policy in &experiment.policies {
            let of_policy = runs.iter().filter(|run| run.policy == policy.name());
            let figures = of_policy.filter_map(|run| (row.figure)(&run.summary));
            let _ = write!(text, " {:>24}", cell(Middle::of(figures), row.decimals));
        }
        text.push('\n');
    }
    text
}

fn heading(experiment: &Experiment) -> String {
    let factor = experiment.time.factor;
    let of_what = match experiment.repetitions {
        1 => "Figures of one run.".to_owned(),
        runs => format!("Medians of {runs} runs, and in brackets the least and the greatest."),
    };
    format!(
        "{} workers with {} instances each, {} % of which leak; {} MiB for all of them.\n\
         Time runs {factor} times as fast as the wall's: the sample period of 10 s lasts {} s, a \
         run of {} s stands for {:.0} min.\n\
         {of_what}\n",
        experiment.workers,
        experiment.instances,
        100.0 * experiment.leaking,
        experiment.memory_limit,
        10.0 / factor,
        experiment.seconds,
        experiment.seconds * factor / 60.0,
    )
}

fn cell(middle: Option<Middle>, decimals: usize) -> String {
    let Some(Middle { median, least, greatest }) = middle else { return "-".to_owned() };
    if least == greatest {
        return format!("{median:.decimals$}");
    }
    format!("{median:.decimals$} [{least:.decimals$}, {greatest:.decimals$}]")
}

fn row(
    name: impl Into<String>,
    decimals: usize,
    figure: impl Fn(&RunSummary) -> Option<f64> + 'static,
) -> Row {
    Row { name: name.into(), decimals, figure: Box::new(figure) }
}

fn rows() -> Vec<Row> {
    let mut rows = vec![
        row("estimate / need, mean", 2, |run| Some(run.mean_over_need?.mean)),
        row("estimate / need, standard deviation", 2, |run| Some(run.mean_over_need?.deviation)),
        row("mean's upper end / need", 2, |run| Some(run.mean_upper_over_need?.mean)),
        row("prediction's upper end / need", 2, |run| Some(run.prediction_upper_over_need?.mean)),
        row("host memory, mean, MiB", 1, |run| Some(run.memory_mean_bytes / MIB)),
        row("host memory, variance, MiB^2", 0, |run| {
            Some(run.memory_variance_bytes2 / (MIB * MIB))
        }),
        row("uptime per instance, minutes", 1, |run| Some(run.uptime_seconds / 60.0)),
        row("instances found ready, %", 2, |run| Some(100.0 * run.availability)),
    ];
    for module in &MODULES {
        rows.push(row(format!("restarts of {}", module.name), 0, |run| {
            Some(run.restarts.get(module.name).copied().unwrap_or(0) as f64)
        }));
    }
    rows.push(row("healthy instances restarted, % per hour", 1, |run| {
        Some(100.0 * run.healthy_restarts_per_hour)
    }));
    rows.push(row("leaking ones restarted in time, %", 0, |run| {
        Some(100.0 * run.leaking_restarted?)
    }));
    rows.push(row("first out of memory, minutes", 1, |run| {
        Some(run.first_out_of_memory_seconds? / 60.0)
    }));
    rows.push(row("requests", 0, |run| Some(run.requests as f64)));
    rows.push(row("requests failed, %", 2, |run| Some(100.0 * run.failed_fraction())));
    for cause in Cause::ALL {
        rows.push(row(format!("  {}", cause.name().replace('_', " ")), 0, move |run| {
            Some(run.failed.get(cause.name()).copied().unwrap_or(0) as f64)
        }));
    }
    rows.push(row("objects lost with their instance", 0, |run| Some(run.objects_lost as f64)));
    rows
}
