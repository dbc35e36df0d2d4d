//! The tables, in a form that the terminal, Markdown and HTML each lay out.

use super::aggregates::{geometric_mean, ratio};
use super::format::{self, NOTHING};
use super::losses::Loss;
use super::metrics::{CPU, FINAL, IDLE, MEAN, METRICS, Metric, P50, P99, PEAK};
use super::results::{ContenderResult, Report, WorkloadResult};
use super::verdicts::Verdict;

/// A table; the first column names its rows.
#[derive(Debug)]
pub(super) struct Grid {
    pub(super) headings: Vec<String>,
    pub(super) rows: Vec<Vec<Cell>>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Cell {
    pub(super) text: String,
    /// The least and the most of several runs.
    pub(super) range: Option<String>,
    /// Whether it is the best of its column.
    pub(super) is_best: bool,
}

impl Cell {
    fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }
}

/// What a reader asks for first.
pub(super) static MAIN_METRICS: [&Metric; 7] = [&MEAN, &PEAK, &FINAL, &IDLE, &P50, &P99, &CPU];

/// The contenders of a workload in all figures that were measured.
pub(super) fn full(workload: &WorkloadResult) -> Grid {
    let metrics: Vec<&Metric> = told(workload, &METRICS);
    of_workload(workload, &metrics)
}

/// The contenders of a workload in what a terminal has room for, with ratios behind the figures
/// that are asked for first.
pub(super) fn short(workload: &WorkloadResult) -> Grid {
    let mut grid = of_workload(workload, &[]);
    for metric in told(workload, &[&MEAN, &FINAL, &IDLE, &P50, &P99, &CPU]) {
        grid.headings.push(metric.heading());
        for (row, contender) in grid.rows.iter_mut().zip(&workload.contenders) {
            row.push(figure(workload, contender, metric));
        }
        if [MEAN.title, P99.title].contains(&metric.title) {
            push_ratios(&mut grid, workload, metric);
        }
    }
    grid
}

fn push_ratios(grid: &mut Grid, workload: &WorkloadResult, metric: &Metric) {
    let glibc = workload.glibc().and_then(|one| one.median(metric));
    let best = workload.best_peer(metric).map(|(_, value)| value);
    grid.headings.extend(["x glibc", "x best"].map(String::from));
    for (row, contender) in grid.rows.iter_mut().zip(&workload.contenders) {
        let value = contender.median(metric);
        row.extend([glibc, best].map(|other| Cell::new(format::ratio(ratio(value, other)))));
    }
}

fn told<'a>(workload: &WorkloadResult, metrics: &[&'a Metric]) -> Vec<&'a Metric> {
    metrics.iter().copied().filter(|metric| workload.tells(metric)).collect()
}

fn of_workload(workload: &WorkloadResult, metrics: &[&Metric]) -> Grid {
    let headings = metrics.iter().map(|metric| metric.heading());
    let row = |contender: &ContenderResult| {
        let cells = metrics.iter().map(|metric| figure(workload, contender, metric));
        std::iter::once(name_of(contender)).chain(cells).collect()
    };
    Grid {
        headings: std::iter::once("allocator".to_owned()).chain(headings).collect(),
        rows: workload.contenders.iter().map(row).collect(),
    }
}

fn name_of(contender: &ContenderResult) -> Cell {
    let mark = if contender.failed.is_some() { " (failed)" } else { "" };
    Cell::new(format!("{}{mark}", contender.name))
}

fn figure(workload: &WorkloadResult, contender: &ContenderResult, metric: &Metric) -> Cell {
    let Some(statistic) = contender.statistic(metric) else { return Cell::new(NOTHING) };
    let text = |value| metric.unit.format(value);
    let (least, most) = (text(statistic.minimum), text(statistic.maximum));
    Cell {
        text: text(statistic.median),
        range: (least != most).then(|| format!("{least}–{most}")),
        is_best: workload.is_best(contender, metric),
    }
}

/// Every contender by what it takes of glibc's default, the mean over all workloads.
pub(super) fn overview(report: &Report) -> Grid {
    let metrics: Vec<&Metric> = MAIN_METRICS
        .into_iter()
        .filter(|metric| report.workloads.iter().any(|one| one.tells(metric)))
        .collect();
    let mut names: Vec<&str> = Vec::new();
    for contender in report.workloads.iter().flat_map(|workload| &workload.contenders) {
        if !names.contains(&contender.name.as_str()) {
            names.push(&contender.name);
        }
    }
    let column = |metric: &&Metric| -> Vec<Option<f64>> {
        names.iter().map(|name| by_glibc(report, name, metric)).collect()
    };
    let columns: Vec<Vec<Option<f64>>> = metrics.iter().map(column).collect();
    let cell = |column: &Vec<Option<f64>>, index: usize| {
        let best = column.iter().flatten().copied().fold(f64::INFINITY, f64::min);
        let text = format::ratio(column[index]);
        let is_best = column[index].is_some() && text == format::ratio(Some(best));
        Cell { text, range: None, is_best }
    };
    let row = |(index, name): (usize, &&str)| {
        let cells = columns.iter().map(|column| cell(column, index));
        std::iter::once(Cell::new(*name)).chain(cells).collect()
    };
    let headings = metrics.iter().map(|metric| metric.title.to_owned());
    Grid {
        headings: std::iter::once("allocator".to_owned()).chain(headings).collect(),
        rows: names.iter().enumerate().map(row).collect(),
    }
}

fn by_glibc(report: &Report, name: &str, metric: &Metric) -> Option<f64> {
    let of = |workload: &WorkloadResult| {
        let contender = workload.contenders.iter().find(|one| one.name == name)?;
        let value = contender.is_complete().then(|| contender.median(metric))?;
        ratio(value, workload.glibc()?.median(metric))
    };
    geometric_mean(&report.workloads.iter().filter_map(of).collect::<Vec<f64>>())
}

/// capmalloc's default, workload by workload.
pub(super) fn answers(report: &Report) -> Grid {
    let is_told = |metric: &&Metric| report.workloads.iter().any(|one| one.tells(metric));
    let metrics: Vec<&Metric> = [&MEAN, &P99, &CPU].into_iter().filter(is_told).collect();
    let mut headings = vec!["workload".to_owned()];
    for metric in &metrics {
        headings.push(metric.heading());
        headings.push("vs glibc".to_owned());
        headings.push("vs best other".to_owned());
    }
    let cells = |workload: &WorkloadResult| {
        let mut row = vec![Cell::new(&workload.title)];
        row.extend(metrics.iter().flat_map(|metric| answer(workload, metric)));
        row
    };
    Grid { headings, rows: report.workloads.iter().map(cells).collect() }
}

fn answer(workload: &WorkloadResult, metric: &Metric) -> [Cell; 3] {
    let value = workload.ours().and_then(|ours| ours.median(metric));
    let glibc = workload.glibc().and_then(|glibc| glibc.median(metric));
    let best = workload.best_peer(metric);
    let figure = value.map_or_else(|| NOTHING.to_owned(), |value| metric.unit.format(value));
    let by_best = ratio(value, best.map(|(_, value)| value));
    let name = best.map_or(String::new(), |(peer, _)| format!(" {}", peer.name));
    [
        Cell::new(figure),
        Cell::new(format::ratio(ratio(value, glibc))),
        Cell::new(match by_best {
            Some(_) => format!("{}{name}", format::ratio(by_best)),
            None => NOTHING.to_owned(),
        }),
    ]
}

/// The bounds, met or not.
pub(super) fn bounds(verdicts: &[Verdict]) -> Grid {
    let row = |verdict: &Verdict| {
        let met = if verdict.is_met() { "yes" } else { "NO" };
        let texts = [
            verdict.workload.clone(),
            verdict.subject.clone(),
            verdict.reference.clone(),
            format!("{:.3}×", verdict.ratio),
            format!("{:.2}×", verdict.limit),
            met.to_owned(),
        ];
        texts.map(Cell::new).to_vec()
    };
    let headings = ["workload", "what", "by", "is", "at most", "met"];
    Grid { headings: headings.map(String::from).to_vec(), rows: verdicts.iter().map(row).collect() }
}

/// The losses, as given.
pub(super) fn losses(losses: &[Loss]) -> Grid {
    let row = |loss: &Loss| {
        let worse = if loss.ratio.is_some() { format::ratio(loss.ratio) } else { "∞".into() };
        let texts = [
            loss.workload.clone(),
            loss.metric.title.to_owned(),
            loss.metric.with_unit(loss.ours),
            format!("{} {}", loss.metric.with_unit(loss.best), loss.winner),
            worse,
            loss.better_peers.to_string(),
            if loss.is_unclear { "not clear" } else { "clear" }.to_owned(),
        ];
        texts.map(Cell::new).to_vec()
    };
    let headings =
        ["workload", "figure", "capmalloc", "best", "worse by", "better ones", "is it so"];
    Grid { headings: headings.map(String::from).to_vec(), rows: losses.iter().map(row).collect() }
}
