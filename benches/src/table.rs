//! The summary's table: medians, ratios and targets, printed as they are.

use crate::measurement::Measurement;
use crate::peers::PeerId;
use crate::rows::{Row, Target};
use crate::statistics::{median, relative_spread};

/// The samples of one row: for every peer, one measurement per round.
pub(crate) struct RowSamples {
    /// The row that was measured.
    pub(crate) row: &'static Row,
    /// The measurements of every peer, in the order of [`PeerId::ALL`].
    pub(crate) measurements: Vec<Vec<Measurement>>,
}

/// What the samples of one row come to.
struct Outcome {
    medians: Vec<(PeerId, f64)>,
    spread: f64,
    waited: f64,
}

/// A target and what came of it.
struct Verdict {
    ratio: f64,
    target: Target,
}

impl RowSamples {
    fn outcome(&self) -> Outcome {
        let times = self.of_every_peer(|it| it.operation_ns);
        let waits = self.of_every_peer(|it| it.waited_share);
        let peers = PeerId::ALL.iter().copied();
        Outcome {
            medians: peers.zip(times.iter().map(|it| median(it))).collect(),
            spread: times.iter().map(|it| relative_spread(it)).fold(0.0, f64::max),
            waited: waits.iter().map(|it| median(it)).fold(0.0, f64::max),
        }
    }

    /// One number of every measurement, peer by peer.
    fn of_every_peer(&self, number: fn(&Measurement) -> f64) -> Vec<Vec<f64>> {
        let peers = self.measurements.iter();
        peers.map(|rounds| rounds.iter().map(number).collect()).collect()
    }
}

impl Outcome {
    fn median_of(&self, peer: PeerId) -> f64 {
        let found = self.medians.iter().find(|(other, _)| *other == peer);
        found.expect("every peer is measured").1
    }

    /// The fastest peer that `accept` lets through, and its median.
    fn fastest(&self, accept: impl Fn(PeerId) -> bool) -> (PeerId, f64) {
        let accepted = self.medians.iter().filter(|(peer, _)| accept(*peer));
        *accepted
            .min_by(|left, right| left.1.total_cmp(&right.1))
            .expect("at least one peer is accepted")
    }

    /// capmalloc's time divided by that of the fastest other peer.
    fn ratio_to_best(&self) -> (PeerId, f64) {
        let (peer, best) = self.fastest(|peer| peer != PeerId::Capmalloc);
        (peer, self.median_of(PeerId::Capmalloc) / best)
    }

    fn verdict(&self, target: Target) -> Verdict {
        let (_, best) = self.fastest(|peer| target.against.contains(&peer));
        let ratio = self.median_of(PeerId::Capmalloc) / best;
        Verdict { ratio, target }
    }
}

impl Verdict {
    /// Compares what was measured and not the two digits that are printed.
    fn is_met(&self) -> bool {
        self.ratio <= self.target.limit_ratio
    }

    fn describe(&self) -> String {
        let names: Vec<&str> = self.target.against.iter().map(|peer| peer.name()).collect();
        let limit = self.target.limit_ratio;
        format!("{:.3}, at most {limit:.2} x {}", self.ratio, names.join("|"))
    }
}

/// The ratios to the fastest peer that rows are counted by.
const COUNTED_RATIOS: [f64; 2] = [1.0, 0.85];

/// Renders every row as one line of a table, and counts of targets met and of rows won.
pub(crate) fn render(samples: &[RowSamples]) -> String {
    let mut lines = vec![header()];
    let (mut met, mut targets) = (0, 0);
    let mut ratios = Vec::with_capacity(samples.len());
    for row_samples in samples {
        let outcome = row_samples.outcome();
        let verdict = row_samples.row.target.map(|target| outcome.verdict(target));
        targets += usize::from(verdict.is_some());
        met += usize::from(verdict.as_ref().is_some_and(Verdict::is_met));
        lines.push(cells(row_samples.row, &outcome, verdict.as_ref()));
        ratios.push(outcome.ratio_to_best().1);
    }
    format!("{}\n{met} of {targets} targets met\n{}", align(&lines), count_ratios(&ratios))
}

/// How many of the ratios are at most each of those that are counted, one line for each.
fn count_ratios(ratios: &[f64]) -> String {
    let line = |limit: f64| {
        let count = ratios.iter().filter(|&&ratio| ratio <= limit).count();
        format!("{count} of {} rows at most {limit:.2} x the fastest peer\n", ratios.len())
    };
    COUNTED_RATIOS.map(line).concat()
}

fn header() -> Vec<String> {
    let peers = PeerId::ALL.iter().map(|peer| peer.name());
    let columns = ["row"].into_iter().chain(peers);
    columns
        .chain(["spread", "waited", "to best peer", "ratio and target", "met"])
        .map(String::from)
        .collect()
}

fn cells(row: &Row, outcome: &Outcome, verdict: Option<&Verdict>) -> Vec<String> {
    let mut cells = vec![row.name.to_string()];
    cells.extend(outcome.medians.iter().map(|(_, time)| format!("{time:.2}")));
    cells.push(format!("{:.0}%", outcome.spread * 100.0));
    cells.push(format!("{:.0}%", outcome.waited * 100.0));
    let (peer, ratio) = outcome.ratio_to_best();
    cells.push(format!("{ratio:.3} x {}", peer.name()));
    cells.push(verdict.map_or_else(|| "-".to_string(), Verdict::describe));
    cells.push(match verdict.map(Verdict::is_met) {
        Some(true) => "yes".to_string(),
        Some(false) => "NO".to_string(),
        None => "-".to_string(),
    });
    cells
}

/// Pads every cell to the width of its column.
fn align(lines: &[Vec<String>]) -> String {
    let width_of = |column: usize| lines.iter().map(|line| line[column].len()).max();
    let widths: Vec<usize> = (0..lines[0].len()).filter_map(width_of).collect();
    let mut text = String::new();
    for line in lines {
        for (cell, width) in line.iter().zip(&widths) {
            text.push_str(&format!("{cell:<width$}  "));
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Samples of `pair_48`, whose target is 0.9 of jemalloc or mimalloc.
    fn pair_samples(system: f64, jemalloc: f64, mimalloc: f64, capmalloc: f64) -> RowSamples {
        let measurement = |operation_ns| Measurement { operation_ns, waited_share: 0.25 };
        let rounds = |time: f64| [time * 9.0, time, 0.0].map(measurement).to_vec();
        let time_of = |peer: &PeerId| match peer {
            PeerId::Glibc => system,
            PeerId::Jemalloc => jemalloc,
            PeerId::Mimalloc => mimalloc,
            PeerId::Capmalloc => capmalloc,
            // Those that are not always there are never the fastest.
            #[allow(unreachable_patterns)]
            _ => 1000.0,
        };
        RowSamples {
            row: Row::from_name("pair_48").expect("the row exists"),
            measurements: PeerId::ALL.iter().map(time_of).map(rounds).collect(),
        }
    }

    fn line_of(samples: RowSamples) -> String {
        let text = render(&[samples]);
        text.lines().nth(1).expect("one row").to_string()
    }

    #[test]
    fn the_target_counts_only_the_peers_it_names() {
        // The system's malloc is fastest here and yet no part of the target.
        let line = line_of(pair_samples(5.0, 20.0, 10.0, 8.0));
        assert!(line.contains("1.600 x system"), "{line}");
        assert!(line.contains("0.800, at most 0.90 x jemalloc|mimalloc"), "{line}");
        assert!(line.ends_with("yes"), "{line}");
    }

    #[test]
    fn the_limit_itself_meets_the_target_and_more_does_not() {
        assert!(line_of(pair_samples(5.0, 20.0, 10.0, 9.0)).ends_with("yes"));
        assert!(line_of(pair_samples(5.0, 10.0, 20.0, 9.001)).ends_with("NO"));
    }

    #[test]
    fn every_column_has_a_title() {
        let samples = pair_samples(1.0, 1.0, 1.0, 1.0);
        let outcome = samples.outcome();
        assert_eq!(cells(samples.row, &outcome, None).len(), header().len());
    }

    #[test]
    fn the_targets_met_are_counted() {
        let text = render(&[pair_samples(1.0, 1.0, 1.0, 0.5), pair_samples(1.0, 1.0, 1.0, 1.0)]);
        assert!(text.contains("\n1 of 2 targets met\n"), "{text}");
    }

    #[test]
    fn rows_are_counted_by_their_ratio_to_the_fastest_peer() {
        let samples = [1.0, 0.85, 0.84, 1.01].map(|it| pair_samples(2.0, 1.0, 3.0, it));
        let text = render(&samples);
        let counts = "\n3 of 4 rows at most 1.00 x the fastest peer\n\
                      2 of 4 rows at most 0.85 x the fastest peer\n";
        assert!(text.ends_with(counts), "{text}");
    }

    #[test]
    fn columns_line_up() {
        let lines = [["a", "bb"], ["ccc", "d"]].map(|line| line.map(String::from).to_vec());
        assert_eq!(align(&lines), "a    bb\nccc  d\n");
    }
}
