//! What the command line asks for, and its doing.

use super::contenders::{CONTENDERS, Contender};
use super::observation::observe;
use super::report::{Series, legend, render};
use super::rows::{ROWS, Row};
use super::stage::Stage;
use crate::workloads::Scale;

/// The flag that makes the program one measurement; row and contender follow.
pub(super) const MEASURE_FLAG: &str = "--measure";
pub(super) const SMOKE_FLAG: &str = "--test";
pub(super) const STATS_FLAG: &str = "--stats";

const DEFAULT_ROUNDS: usize = 5;

/// What the program is to do.
#[derive(Debug)]
pub struct Mode {
    scale: Scale,
    is_stats_wanted: bool,
    task: Task,
}

#[derive(Debug)]
enum Task {
    Compare { rows: Vec<&'static Row>, contenders: Vec<&'static Contender>, rounds: usize },
    Measure { row: &'static Row, contender: &'static Contender },
}

impl Mode {
    /// Reads the arguments that follow the program's name.
    ///
    /// # Errors
    ///
    /// Gives a message where the arguments are not complete or name something unknown.
    pub fn parse(arguments: &[String]) -> Result<Self, String> {
        let (mut rows, mut contenders) = (ROWS.iter().collect(), CONTENDERS.iter().collect());
        let (mut rounds, mut measured) = (None, None);
        // Cargo passes `--bench` for `cargo bench`, and nothing for `cargo test`.
        let (mut is_bench, mut is_smoke, mut is_stats_wanted) = (false, false, false);
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let mut value = || rest.next().ok_or(format!("{argument} needs a value"));
            match argument.as_str() {
                "--bench" => is_bench = true,
                SMOKE_FLAG => is_smoke = true,
                STATS_FLAG => is_stats_wanted = true,
                "--rows" => rows = each(value()?, Row::from_name)?,
                "--allocators" => contenders = each(value()?, Contender::from_name)?,
                "--rounds" => rounds = Some(parse_rounds(value()?)?),
                MEASURE_FLAG => {
                    measured = Some((Row::from_name(value()?)?, Contender::from_name(value()?)?));
                }
                other => return Err(format!("{other:?} is no argument of this bench")),
            }
        }
        let is_smoke = is_smoke || !(is_bench || measured.is_some());
        let scale = if is_smoke { Scale::Smoke } else { Scale::Full };
        let rounds = rounds.unwrap_or(if is_smoke { 1 } else { DEFAULT_ROUNDS });
        let task = match measured {
            Some((row, contender)) => Task::Measure { row, contender },
            None => Task::Compare { rows, contenders, rounds },
        };
        Ok(Self { scale, is_stats_wanted, task })
    }

    /// Does what was asked for.
    ///
    /// # Errors
    ///
    /// Gives a message where a measuring process cannot be started or fails.
    pub fn perform(self) -> Result<(), String> {
        let Self { scale, is_stats_wanted, task } = self;
        match task {
            Task::Measure { row, contender } => {
                (row.run)(&Stage::new(scale, contender, is_stats_wanted));
            }
            Task::Compare { rows, contenders, rounds } => {
                println!("{}", legend(rounds));
                for row in rows {
                    let series = compare(row, &contenders, rounds, scale, is_stats_wanted)?;
                    println!("{}", render(row, &series));
                }
            }
        }
        Ok(())
    }
}

/// Measures a row, each round on all contenders, beginning with another one every time.
fn compare(
    row: &Row,
    contenders: &[&'static Contender],
    rounds: usize,
    scale: Scale,
    is_stats_wanted: bool,
) -> Result<Vec<Series>, String> {
    let empty = |contender: &&'static Contender| Series { contender, rounds: Vec::new() };
    let mut series: Vec<Series> = contenders.iter().map(empty).collect();
    for round in 0..rounds {
        for offset in 0..series.len() {
            let index = (round + offset) % contenders.len();
            let one = &mut series[index];
            one.rounds.push(observe(row, one.contender, scale, is_stats_wanted)?);
        }
        eprintln!("{}: round {} of {rounds} done", row.name, round + 1);
    }
    Ok(series)
}

fn each<T>(names: &str, find: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    names.split(',').map(find).collect()
}

fn parse_rounds(value: &str) -> Result<usize, String> {
    match value.parse() {
        Ok(rounds) if rounds > 0 => Ok(rounds),
        _ => Err(format!("{value:?} is not a number of rounds")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Mode, String> {
        let arguments: Vec<String> = line.split_whitespace().map(String::from).collect();
        Mode::parse(&arguments)
    }

    #[test]
    fn only_a_bench_is_at_full_scale() {
        let scale = |line| parse(line).map(|mode| mode.scale).expect(line);
        assert_eq!(scale("--bench"), Scale::Full);
        assert_eq!(scale("--bench --test"), Scale::Smoke);
        assert_eq!(scale(""), Scale::Smoke);
        assert_eq!(scale("--measure size_drift system"), Scale::Full);
        assert_eq!(scale("--measure size_drift system --test"), Scale::Smoke);
    }

    #[test]
    fn rows_allocators_and_rounds_are_chosen_in_any_order() {
        let line = "--rounds 3 --allocators jemalloc,system --bench --rows size_drift";
        let Task::Compare { rows, contenders, rounds } = parse(line).expect(line).task else {
            panic!("not a comparison");
        };
        let names: Vec<&str> = contenders.iter().map(|contender| contender.name).collect();
        assert_eq!((rows[0].name, rows.len(), rounds), ("size_drift", 1, 3));
        assert_eq!(names, ["jemalloc", "system"]);
    }

    #[test]
    fn mistakes_are_named() {
        for (line, part) in [
            ("--rows size_drip", "no row \"size_drip\""),
            ("--allocators malloc", "no allocator \"malloc\""),
            ("--rounds", "--rounds needs a value"),
            ("--rounds 0", "\"0\" is not a number of rounds"),
            ("--measure size_drift", "--measure needs a value"),
            ("--quick", "\"--quick\" is no argument"),
        ] {
            let message = parse(line).expect_err(line);
            assert!(message.contains(part), "{line:?} gave {message:?}");
        }
    }
}
