//! What the command line asks for, and its doing.

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use super::comparison::Comparison;
use super::contenders::{Contender, DEFAULT_CAPMALLOC_CAPS, parse_cap};
use super::ledger;
use super::observation::Manner;
use super::rows::{ROWS, Row};
use super::scale::Scale;
use super::stage::Stage;
use crate::peers::PeerId;

/// The flag that makes the program one measurement; row and contender follow.
pub(super) const MEASURE_FLAG: &str = "--measure";
pub(super) const QUICK_FLAG: &str = "--quick";
pub(super) const SMOKE_FLAG: &str = "--test";
pub(super) const STATS_FLAG: &str = "--stats";

const DEFAULT_ROUNDS: usize = 5;

/// The directory of results in that of Cargo's.
const OUT_NAME: &str = "capmalloc-report";

const USAGE: &str = "\
cargo bench --bench fragmentation -- [OPTIONS]

  --quick             everything in about two minutes: enough to see a trend
  --only ROW,ROW      these rows alone
  --allocators A,B    these allocators: a name, glibc-N or capmalloc-N with a cap of N arenas,
                      capmalloc-background; or all, for every setting of each
  --with \"NAME: ALLOCATOR VARIABLE=VALUE ...\"
                      an allocator with settings of your own, under a name of yours; may be there
                      several times
  --arenas N,N        the caps on capmalloc's arenas beside its default (1,4)
  --rounds N          how often each is measured (5; with --quick, 1)
  --out DIR           where the report is written (target/capmalloc-report)
  --stats             have capmalloc print its figures at rest, to standard error
  --test              run everything once and small: that it works, not what it measures
  --help              this text";

/// What the program is to do.
#[derive(Debug)]
pub struct Mode(Task);

#[derive(Debug)]
enum Task {
    Help,
    Compare(Comparison),
    Measure { row: &'static Row, contender: Contender, manner: Manner },
}

/// The arguments as they stand there.
#[derive(Default)]
struct Given {
    is_bench: bool,
    is_quick: bool,
    is_smoke: bool,
    is_stats_wanted: bool,
    is_help_wanted: bool,
    rows: Option<Vec<&'static Row>>,
    allocators: Option<Vec<String>>,
    described: Vec<Contender>,
    arenas: Option<Vec<u32>>,
    rounds: Option<usize>,
    out: Option<PathBuf>,
    measured: Option<(&'static Row, Contender)>,
}

impl Mode {
    /// Reads the arguments that follow the program's name.
    ///
    /// # Errors
    ///
    /// Gives a message where the arguments are not complete or name something unknown.
    pub fn parse(arguments: &[String]) -> Result<Self, String> {
        let given = Given::read(arguments)?;
        let scale = given.scale();
        let manner = Manner { scale, is_stats_wanted: given.is_stats_wanted };
        if given.is_help_wanted {
            return Ok(Self(Task::Help));
        }
        if let Some((row, contender)) = given.measured {
            return Ok(Self(Task::Measure { row, contender, manner }));
        }
        let contenders = given.contenders()?;
        // A trial leaves no results behind unless it is told where.
        let out = given.out.or_else(|| (scale != Scale::Smoke).then(default_out));
        Ok(Self(Task::Compare(Comparison {
            rows: given.rows.unwrap_or_else(|| ROWS.iter().collect()),
            contenders,
            rounds: given.rounds.unwrap_or(scale.of(DEFAULT_ROUNDS, 1, 1)),
            manner,
            out,
            command: command(arguments),
        })))
    }

    /// Does what was asked for.
    ///
    /// # Errors
    ///
    /// Gives a message where results cannot be written or a measurement failed.
    pub fn perform(self) -> Result<(), String> {
        match self.0 {
            Task::Help => println!("{USAGE}"),
            Task::Compare(comparison) => comparison.run()?,
            Task::Measure { row, contender, manner } => {
                ledger::open()?;
                (row.run)(&Stage::new(manner.scale, contender, manner.is_stats_wanted));
            }
        }
        Ok(())
    }
}

impl Given {
    fn read(arguments: &[String]) -> Result<Self, String> {
        let mut given = Self::default();
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let mut value = || rest.next().ok_or(format!("{argument} needs a value"));
            match argument.as_str() {
                // Cargo passes this for `cargo bench`, and nothing for `cargo test`.
                "--bench" => given.is_bench = true,
                QUICK_FLAG => given.is_quick = true,
                SMOKE_FLAG => given.is_smoke = true,
                STATS_FLAG => given.is_stats_wanted = true,
                "--help" | "-h" => given.is_help_wanted = true,
                // The throughput bench calls it `--rows`.
                "--only" | "--rows" => given.rows = Some(each(value()?, Row::from_name)?),
                "--allocators" => {
                    given.allocators = Some(each(value()?, |name| Ok(name.to_string()))?);
                }
                "--with" => given.described.push(Contender::described(value()?)?),
                "--arenas" => given.arenas = Some(each(value()?, parse_cap)?),
                "--rounds" => given.rounds = Some(parse_rounds(value()?)?),
                "--out" => given.out = Some(invocation_directory().join(value()?)),
                MEASURE_FLAG => {
                    let row = Row::from_name(value()?)?;
                    given.measured = Some((row, Contender::from_description(value()?)?));
                }
                other => {
                    return Err(format!("{other:?} is no argument of this bench\n\n{USAGE}"));
                }
            }
        }
        Ok(given)
    }

    fn scale(&self) -> Scale {
        if self.is_smoke || !(self.is_bench || self.is_quick || self.measured.is_some()) {
            Scale::Smoke
        } else if self.is_quick {
            Scale::Quick
        } else {
            Scale::Full
        }
    }

    fn contenders(&self) -> Result<Vec<Contender>, String> {
        let mut contenders = self.named()?;
        for described in &self.described {
            if contenders.iter().any(|one| one.name == described.name) {
                return Err(format!("{:?} is there twice", described.name));
            }
            contenders.push(described.clone());
        }
        Ok(contenders)
    }

    fn named(&self) -> Result<Vec<Contender>, String> {
        let caps = self.arenas.as_deref();
        let Some(names) = &self.allocators else {
            return Ok(Contender::defaults(caps.unwrap_or(DEFAULT_CAPMALLOC_CAPS)));
        };
        if names.iter().any(|name| name == "all") {
            return Ok(Contender::all(caps));
        }
        let mut contenders = Vec::new();
        for name in names {
            contenders.push(Contender::from_name(name)?);
        }
        for &cap in caps.unwrap_or(&[]) {
            let capped = Contender::capped(PeerId::Capmalloc, cap);
            if !contenders.contains(&capped) {
                contenders.push(capped);
            }
        }
        Ok(contenders)
    }
}

/// The parts of a list, each of which may stand there once.
fn each<T>(names: &str, find: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    let names: Vec<&str> = names.split(',').map(str::trim).collect();
    for (index, name) in names.iter().enumerate() {
        if names[..index].contains(name) {
            return Err(format!("{name:?} is there twice"));
        }
    }
    names.into_iter().map(find).collect()
}

fn parse_rounds(value: &str) -> Result<usize, String> {
    match value.parse() {
        Ok(rounds) if rounds > 0 => Ok(rounds),
        _ => Err(format!("{value:?} is not a number of rounds")),
    }
}

/// Where the user is: Cargo runs a bench in the directory of its package.
fn invocation_directory() -> PathBuf {
    let shell = std::env::var_os("PWD").map(PathBuf::from);
    shell.filter(|path| path.is_absolute() && path.is_dir()).unwrap_or_default()
}

/// Beside the program's own place in `target/release/deps`.
fn default_out() -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    program.ancestors().nth(3).unwrap_or(Path::new("target")).join(OUT_NAME)
}

fn command(arguments: &[String]) -> String {
    let mut command = "cargo bench --bench fragmentation".to_string();
    // Cargo adds this one by itself.
    let told = arguments.iter().filter(|argument| *argument != "--bench");
    let told: Vec<String> = told.map(|argument| quoted(argument)).collect();
    if !told.is_empty() {
        command.push_str(" -- ");
        command.push_str(&told.join(" "));
    }
    command
}

/// As a shell takes it for one argument.
fn quoted(argument: &str) -> String {
    if argument.contains(char::is_whitespace) {
        format!("'{}'", argument.replace('\'', "'\\''"))
    } else {
        argument.to_string()
    }
}
