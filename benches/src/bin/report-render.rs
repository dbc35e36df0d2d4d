//! The pages of a report of the bench of memory, made anew.
//!
//! - `report-render FILE.json DIRECTORY` makes them from the figures that a bench wrote.
//! - `report-render --example DIRECTORY` makes them from made-up figures.
//!
//! Prints the tables, then the path of the page.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use capmalloc_benches::report;

const USAGE: &str = "usage: report-render FILE.json DIRECTORY | report-render --example DIRECTORY";

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    match perform(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("report-render: {message}");
            ExitCode::FAILURE
        }
    }
}

fn perform(arguments: &[std::ffi::OsString]) -> Result<(), String> {
    let [source, directory] = arguments else { return Err(USAGE.to_owned()) };
    let report = match source.to_str() {
        Some("--example") => report::example::report(),
        _ => read(Path::new(source))?,
    };
    let page = report::write(&report, Path::new(directory))?;
    // Whoever reads only the first lines of it is not in the wrong.
    let _ = writeln!(std::io::stdout(), "{}\n{}", report::summary(&report), page.display());
    Ok(())
}

fn read(path: &Path) -> Result<report::Report, String> {
    let named = |error: String| format!("{}: {error}", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| named(error.to_string()))?;
    report::parse(&text).map_err(named)
}
