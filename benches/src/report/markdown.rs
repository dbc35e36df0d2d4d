//! `report.md`: the answer and all tables, without the pictures.

use std::fmt::Write as _;

use super::findings::sentences;
use super::grids::{self, Cell, Grid};
use super::losses::losses;
use super::metrics::METRICS;
use super::results::{Report, WorkloadResult};
use super::text;
use super::verdicts::verdicts;

/// The report as Markdown.
pub(super) fn render(report: &Report) -> String {
    let mut page = String::from("# Memory and latency of allocators\n\n");
    for sentence in sentences(report) {
        line(&mut page, &format!("- {}", escape(&sentence)));
    }
    section(&mut page, text::ANSWERS.title, text::ANSWERS.lead, &grids::answers(report));
    section(&mut page, text::OVERVIEW.title, text::OVERVIEW.lead, &grids::overview(report));
    section(&mut page, text::BOUNDS.title, text::BOUNDS.lead, &grids::bounds(&verdicts(report)));
    let losses = grids::losses(&losses(report));
    section(&mut page, text::LOSSES.title, text::LOSSES.lead, &losses);
    for workload in &report.workloads {
        of_workload(&mut page, workload);
    }
    line(&mut page, "\n## How it was measured\n");
    line(&mut page, &escape(&text::method(report)));
    line(&mut page, "");
    for metric in METRICS {
        line(&mut page, &format!("- **{}**: {}.", metric.heading(), escape(metric.method)));
    }
    line(&mut page, "\n## Machine\n");
    for (name, value) in text::machine(report) {
        line(&mut page, &format!("- {name}: {}", escape(&value)));
    }
    page
}

fn line(page: &mut String, text: &str) {
    page.push_str(text);
    page.push('\n');
}

fn section(page: &mut String, title: &str, lead: &str, grid: &Grid) {
    line(page, &format!("\n## {title}\n\n{}\n", escape(lead)));
    table(page, grid);
}

fn of_workload(page: &mut String, workload: &WorkloadResult) {
    let (title, description) = (escape(&workload.title), escape(&workload.description));
    line(page, &format!("\n## {title}\n\n`{}`: {description}\n", code(&workload.name)));
    table(page, &grids::full(workload));
}

fn table(page: &mut String, grid: &Grid) {
    if grid.rows.is_empty() {
        return line(page, "None.");
    }
    let headings: Vec<String> = grid.headings.iter().map(|heading| escape(heading)).collect();
    line(page, &format!("| {} |", headings.join(" | ")));
    line(page, &format!("|---|{}", "---:|".repeat(grid.headings.len().saturating_sub(1))));
    for row in &grid.rows {
        let cells: Vec<String> = row.iter().map(cell).collect();
        line(page, &format!("| {} |", cells.join(" | ")));
    }
}

fn cell(cell: &Cell) -> String {
    let mut shown = escape(&cell.text);
    if cell.is_best {
        shown = format!("**{shown}**");
    }
    if let Some(range) = &cell.range {
        // Writing to a string cannot fail.
        let _ = write!(shown, " ({range})");
    }
    shown
}

/// Text that Markdown shows as it is, on one line.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for one in text.chars() {
        match one {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '|' | '*' | '_' | '`' | '[' | ']' | '\\' | '#' | '~' => escaped.extend(['\\', one]),
            _ if one.is_control() => escaped.push(' '),
            _ => escaped.push(one),
        }
    }
    escaped
}

/// Text between two backticks, in which nothing else can be escaped.
fn code(text: &str) -> String {
    text.chars().map(|one| if one == '`' || one.is_control() { ' ' } else { one }).collect()
}
