//! The results: a table, what follows from it, and the same for machines.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use serde_json::{Value, json};

use crate::measurement::{MEAN_RESIDENT, Measurement, QUANTITIES, Quantity, SERVICE_P50, medians};
use crate::options::Options;
use crate::row::{BASELINE, Row};
use crate::supervisor::RowRuns;

const NAME_COLUMNS: usize = 12;
const VALUE_COLUMNS: usize = 9;

/// A row of the table.
struct Summary<'a> {
    row: Row,
    medians: Measurement,
    runs: &'a [Measurement],
}

fn summarize(results: &[RowRuns]) -> Vec<Summary<'_>> {
    let summary = |result: &'_ RowRuns| (result.row, medians(&result.runs));
    let medians = results.iter().map(summary);
    let runs = results.iter().map(|result| result.runs.as_slice());
    medians.zip(runs).map(|((row, medians), runs)| Summary { row, medians, runs }).collect()
}

/// Prints the table and the sentences after it.
pub(crate) fn print(options: &Options, results: &[RowRuns]) -> io::Result<()> {
    let summaries = summarize(results);
    let baseline = summaries.iter().find(|summary| summary.row == BASELINE);
    let mut text = heading(options);
    for summary in &summaries {
        let values = QUANTITIES.iter().map(|quantity| quantity.show(&summary.medians));
        push_line(&mut text, summary.row.name(), values);
        if let Some(baseline) = baseline.filter(|_| summary.row != BASELINE) {
            let ratio = |quantity: &Quantity| quantity.ratio(&summary.medians, &baseline.medians);
            let ratios = QUANTITIES.iter().map(|quantity| format!("{:.2}x", ratio(quantity)));
            push_line(&mut text, "", ratios);
        }
    }
    text.push('\n');
    text.push_str(&verdict(&summaries, baseline));
    text.push('\n');
    match io::stdout().lock().write_all(text.as_bytes()) {
        // A reader that has seen enough, such as `head`, is no failure of ours.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome,
    }
}

fn heading(options: &Options) -> String {
    let mut text = format!(
        "{} worker threads, {} connections, {} requests a run, {}.\n\
         Below each value is its ratio to that of {}; --help explains the columns.\n\n",
        options.threads,
        options.connections,
        options.requests(),
        match options.repeat() {
            1 => "one round".to_owned(),
            rounds => format!("medians of {rounds} rounds"),
        },
        BASELINE.name(),
    );
    for line in 0..2 {
        let name = if line == 0 { "row" } else { "" };
        let headings = QUANTITIES.iter().map(|quantity| quantity.heading[line].to_owned());
        push_line(&mut text, name, headings);
    }
    text
}

fn push_line(text: &mut String, name: &str, values: impl Iterator<Item = String>) {
    // Writing to a `String` cannot fail.
    _ = write!(text, "{name:<NAME_COLUMNS$}");
    for value in values {
        _ = write!(text, "{value:>VALUE_COLUMNS$}");
    }
    text.push('\n');
}

/// Says which rows have both less memory and shorter service than the baseline.
///
/// The medians alone would name a winner even among equals, so a row wins only if it is ahead in
/// both in every round; rounds are compared one by one, as a round's runs share the machine's mood.
fn verdict(summaries: &[Summary<'_>], baseline: Option<&Summary<'_>>) -> String {
    let Some(baseline) = baseline else {
        return format!("Without the row {} there is nothing to compare with.", BASELINE.name());
    };
    let others = summaries.iter().filter(|summary| summary.row != BASELINE);
    let ahead = others.filter(|summary| is_ahead(&summary.medians, &baseline.medians));
    let (clear, unclear): (Vec<_>, Vec<_>) = ahead.partition(|summary| {
        let mut rounds = summary.runs.iter().zip(baseline.runs);
        rounds.all(|(run, baseline)| is_ahead(run, baseline))
    });
    let mut text = if clear.is_empty() {
        "No row has both a lower mean RSS and a lower service p50 than glibc's default in every \
         round."
            .to_owned()
    } else {
        format!(
            "Both a lower mean RSS and a lower service p50 than glibc's default in every round: {}.",
            name_with_ratios(&clear, baseline)
        )
    };
    if !unclear.is_empty() {
        let names = name_with_ratios(&unclear, baseline);
        _ = write!(text, "\nLower in both by the medians only, so perhaps by chance: {names}.");
    }
    if baseline.runs.len() == 1 {
        text.push_str("\nOne round cannot tell a small difference from chance.");
    }
    text
}

fn is_ahead(run: &Measurement, baseline: &Measurement) -> bool {
    MEAN_RESIDENT.ratio(run, baseline) < 1.0 && SERVICE_P50.ratio(run, baseline) < 1.0
}

fn name_with_ratios(summaries: &[&Summary<'_>], baseline: &Summary<'_>) -> String {
    let names = summaries.iter().map(|summary| {
        let memory = MEAN_RESIDENT.ratio(&summary.medians, &baseline.medians);
        let service = SERVICE_P50.ratio(&summary.medians, &baseline.medians);
        format!("{} ({memory:.2}x, {service:.2}x)", summary.row.name())
    });
    names.collect::<Vec<_>>().join(", ")
}

/// Writes every run, and the medians, in the units that the names say.
pub(crate) fn write_json(path: &Path, options: &Options, results: &[RowRuns]) -> io::Result<()> {
    let rows = results.iter().map(|result| {
        json!({
            "row": result.row.name(),
            "medians": medians(&result.runs),
            "rounds": result.runs,
        })
    });
    let document = json!({
        "threads": options.threads,
        "connections": options.connections,
        "warm_up_requests": options.warm_up_requests(),
        "requests": options.requests(),
        "rows": rows.collect::<Vec<Value>>(),
    });
    let mut text = serde_json::to_string_pretty(&document)?;
    text.push('\n');
    fs::write(path, text)
}
