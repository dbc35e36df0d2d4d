//! What the command line asks for, and its doing.

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
                "--arenas" => given.arenas = Some(each(value()?, parse_cap)?),
                "--rounds" => given.rounds = Some(parse_rounds(value()?)?),
                "--out" => given.out = Some(invocation_directory().join(value()?)),
                MEASURE_FLAG => {
                    let row = Row::from_name(value()?)?;
                    given.measured = Some((row, Contender::from_name(value()?)?));
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
    let told: Vec<&str> =
        arguments.iter().map(String::as_str).filter(|argument| *argument != "--bench").collect();
    if !told.is_empty() {
        command.push_str(" -- ");
        command.push_str(&told.join(" "));
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Mode, String> {
        let arguments: Vec<String> = line.split_whitespace().map(String::from).collect();
        Mode::parse(&arguments)
    }

    fn compared(line: &str) -> Comparison {
        match parse(line) {
            Ok(Mode(Task::Compare(comparison))) => comparison,
            other => panic!("{line:?} was read as {other:?}"),
        }
    }

    fn names(line: &str) -> Vec<String> {
        compared(line).contenders.into_iter().map(|contender| contender.name).collect()
    }

    #[test]
    fn only_a_bench_is_at_full_scale() {
        let scale = |line| match parse(line).expect(line).0 {
            Task::Compare(comparison) => comparison.manner.scale,
            Task::Measure { manner, .. } => manner.scale,
            Task::Help => panic!("{line:?} asks for no help"),
        };
        assert_eq!(scale("--bench"), Scale::Full);
        assert_eq!(scale("--bench --quick"), Scale::Quick);
        assert_eq!(scale("--bench --test"), Scale::Smoke);
        assert_eq!(scale(""), Scale::Smoke);
        assert_eq!(scale("--measure size_drift glibc"), Scale::Full);
        assert_eq!(scale("--measure size_drift glibc --quick"), Scale::Quick);
        assert_eq!(scale("--measure size_drift glibc --test"), Scale::Smoke);
    }

    #[test]
    fn rows_allocators_and_rounds_are_chosen_in_any_order() {
        let line = "--rounds 3 --allocators jemalloc,glibc-2 --bench --only size_drift";
        let Comparison { rows, rounds, command, .. } = compared(line);
        assert_eq!((rows[0].name, rows.len(), rounds), ("size_drift", 1, 3));
        assert_eq!(names(line), ["jemalloc", "glibc-2"]);
        assert_eq!(
            command,
            "cargo bench --bench fragmentation -- --rounds 3 --allocators jemalloc,glibc-2 --only \
             size_drift"
        );
    }

    #[test]
    fn caps_are_added_to_what_is_compared() {
        assert_eq!(
            names("--allocators glibc,capmalloc-2 --arenas 2,8"),
            ["glibc", "capmalloc-2", "capmalloc-8"]
        );
        assert!(names("--arenas 3").contains(&"capmalloc-3".to_string()));
        assert!(!names("--arenas 3").contains(&"capmalloc-4".to_string()));
        assert!(names("--allocators all").contains(&"glibc-4".to_string()));
    }

    #[test]
    fn a_trial_writes_nothing_unless_told_where() {
        assert_eq!(compared("--bench --test").out, None);
        assert_eq!(compared("--test --out /tmp/x").out, Some(PathBuf::from("/tmp/x")));
        assert!(compared("--bench").out.is_some_and(|out| out.ends_with(OUT_NAME)));
        assert!(compared("--out x").out.is_some_and(|out| out.is_absolute()));
    }

    #[test]
    fn mistakes_are_named() {
        for (line, part) in [
            ("--only size_drip", "no row \"size_drip\""),
            ("--only size_drift,size_drift", "\"size_drift\" is there twice"),
            ("--allocators malloc", "no allocator \"malloc\""),
            ("--arenas 0", "\"0\" is not a number of arenas"),
            ("--arenas 1,,2", "\"\" is not a number of arenas"),
            ("--rounds", "--rounds needs a value"),
            ("--rounds 0", "\"0\" is not a number of rounds"),
            ("--measure size_drift", "--measure needs a value"),
            ("--quickly", "\"--quickly\" is no argument"),
        ] {
            let message = parse(line).expect_err(line);
            assert!(message.contains(part), "{line:?} gave {message:?}");
        }
    }
}
