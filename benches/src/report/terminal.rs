//! The summary on the terminal.

use std::fmt::Write as _;

use super::findings::sentences;
use super::grids::{Grid, bounds, overview, short};
use super::results::{Report, WorkloadResult};
use super::verdicts::{Verdict, verdicts};

/// The widest that a line may be.
const WIDTH: usize = 118;
/// Longer names and titles are cut.
const NAME_WIDTH: usize = 24;

/// The report's tables; see [`super::summary`].
pub(super) fn summary(report: &Report) -> String {
    let mut text = String::from(
        "Medians; the best is marked. x glibc: by that of glibc with nothing set; x best: by that \
         of the\nbest contender that is not capmalloc.\n\n",
    );
    for workload in &report.workloads {
        text.push_str(&table_of(workload));
        text.push('\n');
    }
    text.push_str("As a ratio to glibc with nothing set, the mean over all workloads:\n");
    text.push_str(&align(&overview(report)));
    let missed: Vec<Verdict> =
        verdicts(report).into_iter().filter(|verdict| !verdict.is_met()).collect();
    if !missed.is_empty() {
        text.push_str("\nBounds not met:\n");
        text.push_str(&align(&bounds(&missed)));
    }
    text.push('\n');
    for sentence in sentences(report) {
        text.push_str(&wrap(&sentence));
    }
    text
}

fn table_of(workload: &WorkloadResult) -> String {
    let mut text = wrap(&format!("{}: {}", workload.title, workload.description));
    text.push_str(&align(&short(workload)));
    text
}

/// Pads every cell to the width of its column: names to the left, figures to the right.
fn align(grid: &Grid) -> String {
    let mut lines: Vec<Vec<String>> =
        vec![grid.headings.iter().map(|heading| format!("{heading} ")).collect()];
    for row in &grid.rows {
        let cell = |cell: &super::grids::Cell| {
            format!("{}{}", cut(&cell.text), if cell.is_best { '*' } else { ' ' })
        };
        lines.push(row.iter().map(cell).collect());
    }
    let columns = 0..grid.headings.len();
    let widths: Vec<usize> = columns
        .map(|column| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for line in &lines {
        let mut width = 0;
        let mut row = String::new();
        for (column, (cell, &room)) in line.iter().zip(&widths).enumerate() {
            width += room + 1;
            if width > WIDTH {
                break;
            }
            // Writing to a string cannot fail.
            let _ = match column {
                0 => write!(row, " {cell:<room$}"),
                _ => write!(row, " {cell:>room$}"),
            };
        }
        text.push_str(row.trim_end());
        text.push('\n');
    }
    text
}

fn cut(text: &str) -> String {
    match text.chars().count() > NAME_WIDTH {
        true => text.chars().take(NAME_WIDTH - 1).chain(['…']).collect(),
        false => text.to_owned(),
    }
}

fn wrap(text: &str) -> String {
    let (mut lines, mut width) = (String::new(), 0);
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if width > 0 && width + 1 + length > WIDTH {
            lines.push('\n');
            width = 0;
        }
        if width > 0 {
            lines.push(' ');
            width += 1;
        }
        lines.push_str(word);
        width += length;
    }
    lines.push('\n');
    lines
}
