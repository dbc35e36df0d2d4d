//! The report of the bench of memory: from what was measured to what a person reads.
//!
//! The harness fills in a [`Report`] and calls [`write()`] and [`summary`]; while it measures it
//! tells a [`Progress`] how far it is. Everything else is a function of the [`Report`]:
//!
//! - `results`: what was measured, and nothing else; `machine`: where;
//! - `metrics`: the figures that are told, with their units and how they are measured;
//! - `aggregates`, `verdicts`, `losses`: medians and ranges, bounds, what others do better;
//! - `findings`, `grids`, `text`: sentences and tables made of these;
//! - `terminal`, `markdown`, `html`, `json`: the same in four forms;
//! - `progress`: the display while the bench runs.

mod aggregates;
pub mod example;
mod findings;
mod format;
mod grids;
mod html;
mod json;
mod losses;
mod machine;
mod markdown;
mod metrics;
mod progress;
mod readable;
mod results;
mod samples;
mod terminal;
#[cfg(test)]
mod tests;
mod text;
mod verdicts;

use std::path::{Path, PathBuf};

pub use self::json::parse;
pub use self::progress::Progress;
pub use self::results::{
    ContenderResult, FORMAT_VERSION, Machine, Report, Run, Sample, WorkloadResult,
};

/// The report's tables as plain text for a terminal: medians, with a `*` at the best.
///
/// Lines are at most 118 columns; where a table is too wide its last columns are left out, as they
/// are in the files.
pub fn summary(report: &Report) -> String {
    terminal::summary(&readable::readable(report))
}

/// Writes `report.json`, `report.md` and `index.html` into a directory, which is made where it is
/// not there, and answers the path of the page.
///
/// The measured figures are written first, so that they are kept whatever happens then.
///
/// # Errors
///
/// Gives a message that names the file which could not be written.
///
/// # Examples
///
/// ```
/// use capmalloc_benches::report;
///
/// let directory = std::env::temp_dir().join(format!("report-{}", std::process::id()));
/// let page = report::write(&report::example::report(), &directory)?;
/// assert!(std::fs::read_to_string(page).is_ok_and(|text| text.starts_with("<!DOCTYPE html>")));
/// let figures = std::fs::read_to_string(directory.join("report.json")).unwrap_or_default();
/// assert_eq!(report::parse(&figures)?, report::example::report());
/// # std::fs::remove_dir_all(directory).map_err(|error| error.to_string())?;
/// # Ok::<(), String>(())
/// ```
pub fn write(report: &Report, directory: &Path) -> Result<PathBuf, String> {
    std::fs::create_dir_all(directory).map_err(|error| failure(directory, &error))?;
    put(directory, "report.json", &json::render(report))?;
    let report = readable::readable(report);
    put(directory, "report.md", &markdown::render(&report))?;
    put(directory, "index.html", &html::render(&report))
}

fn put(directory: &Path, name: &str, text: &str) -> Result<PathBuf, String> {
    let path = directory.join(name);
    std::fs::write(&path, text).map_err(|error| failure(&path, &error))?;
    Ok(path)
}

fn failure(path: &Path, error: &std::io::Error) -> String {
    format!("cannot write {}: {error}", path.display())
}

/// Where the bench puts its report: `capmalloc-report` in Cargo's target directory.
pub fn default_directory() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").filter(|value| !value.is_empty());
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    let target = target.map_or_else(|| workspace.join("target"), PathBuf::from);
    target.join("capmalloc-report")
}
