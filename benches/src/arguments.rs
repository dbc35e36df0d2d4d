//! What the command line of a bench asks for.
//!
//! Criterion reads the command line too and rejects what it does not know, so
//! the summary's own flags have to be recognized before criterion sees them.

use crate::peers::PeerId;
use crate::rows::{ROWS, Row};

/// The flag that makes the program one measurement of the summary.
pub(crate) const MEASURE_FLAG: &str = "--measure";

/// How many rounds a summary has unless told otherwise.
const DEFAULT_ROUNDS: usize = 7;

/// What a bench program is to do.
#[derive(Debug)]
pub enum Mode {
    /// Run criterion with the arguments as they are.
    Criterion {
        /// Whether the workloads are only tried and not measured.
        is_test: bool,
        /// Whether the summary follows. It does when nothing was asked for
        /// in particular, as a filter or a listing would be.
        then_summary: bool,
    },
    /// Print the summary alone.
    Summary {
        /// The rows to measure, in the order they were asked for.
        rows: Vec<&'static Row>,
        /// How often each row measures each peer.
        rounds: usize,
    },
    /// Measure once and print nothing but the time.
    Measure {
        /// The row to measure.
        row: &'static Row,
        /// The peer to measure it on.
        peer: PeerId,
    },
}

impl Mode {
    /// The summary of every row, as it follows a plain run of criterion.
    #[must_use]
    pub fn full_summary() -> Self {
        Self::Summary { rows: ROWS.iter().collect(), rounds: DEFAULT_ROUNDS }
    }

    /// Reads the arguments that follow the program's name.
    ///
    /// # Errors
    ///
    /// Gives a message when the arguments ask for the summary or for one
    /// measurement but are not complete or name something unknown.
    pub fn parse(arguments: &[String]) -> Result<Self, String> {
        if let Some(asked) = without(arguments, "--summary") {
            return parse_summary(&asked);
        }
        match arguments {
            [flag, row, peer] if flag == MEASURE_FLAG => Ok(Self::Measure {
                row: find_row(row)?,
                peer: PeerId::from_name(peer).ok_or(format!("there is no peer {peer:?}"))?,
            }),
            _ => Ok(Self::parse_criterion(arguments)),
        }
    }

    /// Cargo passes `--bench` for `cargo bench` and nothing for `cargo test`.
    fn parse_criterion(arguments: &[String]) -> Self {
        let is_given = |flag: &str| arguments.iter().any(|argument| argument == flag);
        let is_test = !is_given("--bench") || is_given("--test");
        Self::Criterion { is_test, then_summary: !is_test && arguments.len() == 1 }
    }
}

/// The arguments without one flag, or nothing if the flag is not there.
fn without(arguments: &[String], flag: &str) -> Option<Vec<String>> {
    let rest: Vec<String> = arguments.iter().filter(|&it| it != flag).cloned().collect();
    (rest.len() < arguments.len()).then_some(rest)
}

fn parse_summary(arguments: &[String]) -> Result<Mode, String> {
    let Mode::Summary { mut rows, mut rounds } = Mode::full_summary() else {
        unreachable!("the full summary is a summary");
    };
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let mut value = || rest.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            // Cargo adds this flag to whatever it is asked to pass on.
            "--bench" => {}
            "--rows" => rows = value()?.split(',').map(find_row).collect::<Result<_, _>>()?,
            "--rounds" => rounds = parse_rounds(value()?)?,
            other => return Err(format!("{other:?} is no argument of the summary")),
        }
    }
    Ok(Mode::Summary { rows, rounds })
}

fn parse_rounds(value: &str) -> Result<usize, String> {
    match value.parse() {
        Ok(rounds) if rounds > 0 => Ok(rounds),
        _ => Err(format!("{value:?} is not a number of rounds")),
    }
}

fn find_row(name: &str) -> Result<&'static Row, String> {
    Row::from_name(name).ok_or_else(|| {
        let names: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
        format!("there is no row {name:?}; there are {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Mode, String> {
        let arguments: Vec<String> = line.split_whitespace().map(String::from).collect();
        Mode::parse(&arguments)
    }

    fn criterion(line: &str) -> (bool, bool) {
        match parse(line) {
            Ok(Mode::Criterion { is_test, then_summary }) => (is_test, then_summary),
            other => panic!("{line:?} was read as {other:?}"),
        }
    }

    fn summary(line: &str) -> (Vec<&str>, usize) {
        match parse(line) {
            Ok(Mode::Summary { rows, rounds }) => {
                (rows.iter().map(|row| row.name).collect(), rounds)
            }
            other => panic!("{line:?} was read as {other:?}"),
        }
    }

    #[test]
    fn only_a_plain_bench_run_ends_with_the_summary() {
        assert_eq!(criterion("--bench"), (false, true));
        assert_eq!(criterion("pair_48 --bench"), (false, false));
        assert_eq!(criterion("--bench --test"), (true, false));
        assert_eq!(criterion(""), (true, false));
    }

    #[test]
    fn the_summary_takes_rows_and_rounds_in_any_order() {
        let all: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
        assert_eq!(summary("--summary --bench"), (all, DEFAULT_ROUNDS));
        let some = (vec!["pair_1024", "pair_48"], 3);
        assert_eq!(summary("--rounds 3 --summary --rows pair_1024,pair_48"), some);
    }

    #[test]
    fn one_measurement_names_a_row_and_a_peer() {
        let mode = parse("--measure pair_48 jemalloc");
        let Ok(Mode::Measure { row, peer }) = mode else {
            panic!("read as {mode:?}");
        };
        assert_eq!((row.name, peer), ("pair_48", PeerId::Jemalloc));
    }

    #[test]
    fn mistakes_are_named() {
        for (line, part) in [
            ("--summary --rows pair_49", "no row \"pair_49\""),
            ("--summary --rows", "--rows needs a value"),
            ("--summary --rounds 0", "\"0\" is not a number of rounds"),
            ("--summary --quick", "\"--quick\" is no argument"),
            ("--measure pair_48 malloc", "no peer \"malloc\""),
        ] {
            let message = parse(line).expect_err(line);
            assert!(message.contains(part), "{line:?} gave {message:?}");
        }
    }
}
