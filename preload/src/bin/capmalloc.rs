//! `capmalloc run`: a program, unchanged, with capmalloc as its allocator.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::{Args, Parser, Subcommand, ValueEnum};

const LIBRARY: &str = "libcapmalloc.so";
const LIBRARY_VARIABLE: &str = "CAPMALLOC_LIBRARY";

/// What shells answer where a program cannot be run, or is not there.
const CANNOT_RUN: u8 = 126;
const NOT_FOUND: u8 = 127;

/// Runs programs with capmalloc as their allocator.
#[derive(Parser, Debug)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Action,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// Runs a program with libcapmalloc.so, in place of this one: its exit status is the program's
    Run(Box<Run>),
    /// Prints where libcapmalloc.so is
    Library,
}

#[derive(Args, Debug)]
struct Run {
    /// The most arenas that may exist, 1 to 1024 [default: the usable CPUs]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=1024))]
    arena_max: Option<u16>,

    /// How threads are given arenas
    #[arg(long, value_name = "POLICY")]
    arena_policy: Option<Policy>,

    /// Bytes of free blocks that all caches together may hold, such as 16M; 0 for no caches
    #[arg(long, value_name = "SIZE", value_parser = size_or_zero)]
    cache_budget: Option<OsString>,

    /// No free blocks kept for processors, which programs with crowds of threads else have
    #[arg(long)]
    no_cpu_caches: bool,

    /// Milliseconds until unused memory goes back: 0 for at once, -1 for never
    #[arg(long, value_name = "TIME", allow_negative_numbers = true,
          value_parser = clap::value_parser!(i64).range(-1..))]
    decay_ms: Option<i64>,

    /// A thread that gives memory back while the program is idle
    #[arg(long)]
    background: bool,

    /// A limit on resident memory above which allocations fail, such as 2G
    #[arg(long, value_name = "SIZE", value_parser = size)]
    resident_hard: Option<OsString>,

    /// A limit on resident memory above which memory is given back, such as 1G
    #[arg(long, value_name = "SIZE", value_parser = size)]
    resident_soft: Option<OsString>,

    /// A limit on address space, such as 8G
    #[arg(long, value_name = "SIZE", value_parser = size)]
    address_space_max: Option<OsString>,

    /// Figures on standard error when the program, or one that it runs, ends
    #[arg(long, value_name = "FORM", num_args = 0..=1, require_equals = true,
          default_missing_value = "table")]
    stats: Option<Form>,

    /// The program and what it is given
    #[arg(required = true, trailing_var_arg = true, value_name = "PROGRAM")]
    program: Vec<OsString>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Policy {
    PerThread,
    OnContention,
    PerCpu,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Form {
    Table,
    Json,
}

/// A size as the library understands it, so that a mistake is told before the program starts.
fn size(text: &str) -> Result<OsString, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = text[digits.len()..].to_ascii_lowercase();
    let is_unit = matches!(
        unit.as_str(),
        "" | "b"
            | "k"
            | "kb"
            | "kib"
            | "m"
            | "mb"
            | "mib"
            | "g"
            | "gb"
            | "gib"
            | "t"
            | "tb"
            | "tib"
    );
    match digits.parse::<u64>() {
        Ok(number) if number > 0 && is_unit => Ok(text.into()),
        _ => Err("expected a size such as 512K, 16M or 2G".into()),
    }
}

fn size_or_zero(text: &str) -> Result<OsString, String> {
    if text == "0" { Ok(text.into()) } else { size(text) }
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Action::Run(run) => library().map(|library| execute(&run, &library)),
        Action::Library => library().map(|library| {
            println!("{}", library.display());
            ExitCode::SUCCESS
        }),
    };
    outcome.unwrap_or_else(|message| {
        eprintln!("capmalloc: {message}");
        ExitCode::from(CANNOT_RUN)
    })
}

/// Where the library is: where the variable says, or beside this program, or where packages put it.
fn library() -> Result<PathBuf, String> {
    if let Some(named) = std::env::var_os(LIBRARY_VARIABLE) {
        let path = PathBuf::from(named);
        return usable(&path).map_err(|reason| format!("{LIBRARY_VARIABLE}: {reason}"));
    }
    let program = std::env::current_exe()
        .map_err(|error| format!("cannot tell where this program is: {error}"))?;
    let directory = program.parent().unwrap_or(Path::new("/"));
    let places = [directory.join(LIBRARY), directory.join("../lib").join(LIBRARY)];
    places.iter().find_map(|place| usable(place).ok()).ok_or_else(|| {
        format!(
            "no {LIBRARY} in {} or in ../lib from there; set {LIBRARY_VARIABLE} to its path",
            directory.display()
        )
    })
}

/// The whole path of a library that can be preloaded.
fn usable(path: &Path) -> Result<PathBuf, String> {
    let path = path.canonicalize().map_err(|error| format!("{}: {error}", path.display()))?;
    if !path.is_file() {
        return Err(format!("{} is not a file", path.display()));
    }
    // The loader takes both for the end of a path, and has no way of writing them otherwise.
    let is_breaking = |letter: char| letter == ':' || letter.is_whitespace();
    if path.to_string_lossy().contains(is_breaking) {
        return Err(format!(
            "{}: a path with a colon or a space cannot be preloaded",
            path.display()
        ));
    }
    Ok(path)
}

/// Becomes the program; comes back only where that fails.
fn execute(run: &Run, library: &Path) -> ExitCode {
    let (program, arguments) = run.program.split_first().expect("clap asks for a program");
    let mut command = Command::new(program);
    command.args(arguments).envs(settings(run)).env("LD_PRELOAD", preload(library));
    let error = command.exec();
    eprintln!("capmalloc: {}: {error}", program.to_string_lossy());
    ExitCode::from(if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { CANNOT_RUN })
}

/// The library before all others that are preloaded anyway.
fn preload(library: &Path) -> OsString {
    let mut list = library.as_os_str().to_owned();
    if let Some(others) = std::env::var_os("LD_PRELOAD").filter(|others| !others.is_empty()) {
        list.push(":");
        list.push(others);
    }
    list
}

fn settings(run: &Run) -> Vec<(&'static str, OsString)> {
    let mut settings = Vec::new();
    let mut set = |name, value: Option<&OsStr>| {
        settings.extend(value.map(|value| (name, value.to_owned())));
    };
    let number = |number: Option<i64>| number.map(|number| OsString::from(number.to_string()));
    set("CAPMALLOC_ARENA_MAX", number(run.arena_max.map(i64::from)).as_deref());
    let policy = run.arena_policy.and_then(|policy| policy.to_possible_value());
    set("CAPMALLOC_ARENA_POLICY", policy.as_ref().map(|policy| OsStr::new(policy.get_name())));
    set("CAPMALLOC_CACHE_BUDGET", run.cache_budget.as_deref());
    set("CAPMALLOC_CPU_CACHES", run.no_cpu_caches.then_some(OsStr::new("0")));
    set("CAPMALLOC_DECAY_MS", number(run.decay_ms).as_deref());
    set("CAPMALLOC_BACKGROUND", run.background.then_some(OsStr::new("1")));
    set("CAPMALLOC_RESIDENT_HARD", run.resident_hard.as_deref());
    set("CAPMALLOC_RESIDENT_SOFT", run.resident_soft.as_deref());
    set("CAPMALLOC_ADDRESS_SPACE_MAX", run.address_space_max.as_deref());
    let form = run.stats.and_then(|form| form.to_possible_value());
    set("CAPMALLOC_STATS", form.as_ref().map(|form| OsStr::new(form.get_name())));
    settings
}
