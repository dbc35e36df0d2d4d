//! The command line.

use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use crate::row::Row;

/// Enough to turn the cache over more than twice, since fragmentation shows only then.
const DEFAULT_REQUESTS: u32 = 2600;
const DEFAULT_REPEAT: u8 = 3;
const QUICK_REQUESTS: u32 = 800;
const QUICK_REPEAT: u8 = 1;

/// Measures one job server under glibc's malloc and under capmalloc, each with several caps on its
/// arenas: the same requests for each row, each row in processes of its own, and one table.
#[derive(Debug, Parser)]
#[command(
    name = "job_server",
    disable_help_subcommand = true,
    after_long_help = COLUMNS_HELP
)]
pub(crate) struct Options {
    /// Worker threads of the server
    #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u16).range(1..=400))]
    pub(crate) threads: u16,

    /// Connections of the load generator, each with one request under way at any time
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=400))]
    pub(crate) connections: u16,

    /// Measured requests in each run, after a quarter as many to warm up [default: 2600, or 800
    /// with --quick]
    #[arg(long, value_parser = clap::value_parser!(u32).range(100..=10_000_000))]
    requests: Option<u32>,

    /// Rounds, each of which runs every row once; the table shows medians [default: 3, or 1 with
    /// --quick]
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=99))]
    repeat: Option<u8>,

    /// Rows to run, separated by commas [default: all of them]
    #[arg(long, value_enum, value_delimiter = ',')]
    rows: Vec<Row>,

    /// One short round, to see it work rather than to rely on its numbers
    #[arg(long)]
    pub(crate) quick: bool,

    /// Also write every run and the medians to this file
    #[arg(long, value_name = "PATH")]
    pub(crate) json: Option<PathBuf>,

    #[command(subcommand)]
    pub(crate) part: Option<Part>,
}

const COLUMNS_HELP: &str = "\
Columns:
  req/s         answered requests for each second of the run
  service       time from a request fully read to its answer ready and all its data freed, less the
                downstream round trip: parsing, transforming, rendering and the cache, including any
                wait for an allocator's lock
  latency       the client's view: first byte sent to last byte received, with the downstream round
                trip and any wait for a worker
  CPU/req       user and system time of the server process for each request
  RSS mean      resident memory of the server process: the mean of samples taken every 20 ms from
                the first measured request to the last
  RSS peak      the kernel's high-water mark since the process began
  RSS idle      one second after the last request
  RSS trimmed   then, after malloc_trim(0) in glibc's rows or capmalloc::trim() in capmalloc's
";

/// The parts which the supervisor starts; nobody types them.
#[derive(Debug, Subcommand)]
pub(crate) enum Part {
    #[command(hide = true)]
    Serve(ServeOptions),
    #[command(hide = true)]
    Generate(GenerateOptions),
}

#[derive(Debug, Args)]
pub(crate) struct ServeOptions {
    /// Worker threads
    #[arg(long)]
    pub(crate) threads: u16,
    /// Loopback port of the downstream service
    #[arg(long)]
    pub(crate) downstream_port: u16,
}

#[derive(Debug, Args)]
pub(crate) struct GenerateOptions {
    /// Connections to the server
    #[arg(long)]
    pub(crate) connections: u16,
    /// Requests before the measured ones
    #[arg(long)]
    pub(crate) warm_up_requests: u32,
    /// Measured requests
    #[arg(long)]
    pub(crate) requests: u32,
}

impl Options {
    pub(crate) fn requests(&self) -> u32 {
        let default = if self.quick { QUICK_REQUESTS } else { DEFAULT_REQUESTS };
        self.requests.unwrap_or(default)
    }

    pub(crate) fn warm_up_requests(&self) -> u32 {
        self.requests() / 4
    }

    pub(crate) fn repeat(&self) -> usize {
        let default = if self.quick { QUICK_REPEAT } else { DEFAULT_REPEAT };
        usize::from(self.repeat.unwrap_or(default))
    }

    /// The chosen rows in the table's order, each once.
    pub(crate) fn rows(&self) -> Vec<Row> {
        let all = Row::value_variants().iter().copied();
        all.filter(|row| self.rows.is_empty() || self.rows.contains(row)).collect()
    }

    /// Ends the program with its usage if the results could not be written, because finding that
    /// out after two minutes of measuring would waste them.
    pub(crate) fn check_json_path(&self) {
        let Some(path) = &self.json else { return };
        if let Some(problem) = problem_of_path(path) {
            let message = format!("--json {}: {problem}", path.display());
            Self::command().error(ErrorKind::ValueValidation, message).exit();
        }
    }
}

fn problem_of_path(path: &Path) -> Option<&'static str> {
    let folder = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return Some("this is not the name of a file"),
    };
    if path.is_dir() {
        Some("this is a folder, not a file")
    } else if !folder.is_dir() {
        Some("its folder does not exist")
    } else {
        None
    }
}
