//! Memory over time, as the watching process saw it.

use std::time::Instant;

use super::ledger::Phase;
use crate::report;

/// So many points of a run are kept for its picture.
const KEPT_MAX: usize = 300;

const MIB: f64 = 1048576.0;

/// One look at a process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) at: Instant,
    pub(super) phase: Phase,
    /// Resident bytes, stacks included.
    pub(super) held_bytes: usize,
    pub(super) live_bytes: usize,
}

/// All looks at one process, from the load's begin.
#[derive(Clone, Debug, Default)]
pub(super) struct Samples {
    samples: Vec<Sample>,
}

impl Samples {
    pub(super) fn push(&mut self, sample: Sample) {
        self.samples.push(sample);
    }

    /// Takes away what lies on stacks.
    pub(super) fn without_stacks(mut self, stack_bytes: usize) -> Self {
        let of = |sample: &mut Sample| {
            sample.held_bytes = sample.held_bytes.saturating_sub(stack_bytes);
        };
        self.samples.iter_mut().for_each(of);
        self
    }

    /// The mean over time while the load was at work.
    ///
    /// Each sample stands for the time until the next: the watcher may be kept waiting.
    pub(super) fn mean_bytes(&self) -> Option<f64> {
        let (mut sum, mut seconds) = (0.0, 0.0);
        for pair in self.samples.windows(2).filter(|pair| pair[0].phase == Phase::Loading) {
            let lasted = pair[1].at.duration_since(pair[0].at).as_secs_f64();
            sum += pair[0].held_bytes as f64 * lasted;
            seconds += lasted;
        }
        (seconds > 0.0).then(|| sum / seconds)
    }

    pub(super) fn peak_bytes(&self) -> usize {
        self.samples.iter().map(|sample| sample.held_bytes).max().unwrap_or(0)
    }

    /// A few points that show the course; of samples close to each other the highest is kept.
    pub(super) fn thinned(&self) -> Vec<report::Sample> {
        let Some(first) = self.samples.first() else { return Vec::new() };
        let group = self.samples.len().div_ceil(KEPT_MAX);
        let highest = |group: &[Sample]| {
            let highest = group.iter().max_by_key(|sample| sample.held_bytes).copied();
            let highest = highest.unwrap_or(*first);
            let mib = |bytes: usize| rounded(bytes as f64 / MIB);
            let seconds = highest.at.duration_since(first.at).as_secs_f64();
            (rounded(seconds), mib(highest.held_bytes), Some(mib(highest.live_bytes)))
        };
        self.samples.chunks(group).map(highest).collect()
    }
}

/// To a thousandth.
fn rounded(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Samples at these milliseconds, with so many MiB each.
    fn samples(phase: Phase, points: &[(u64, usize)]) -> Vec<Sample> {
        let begun = Instant::now();
        let of = |&(milliseconds, mib): &(u64, usize)| Sample {
            at: begun + Duration::from_millis(milliseconds),
            phase,
            held_bytes: mib << 20,
            live_bytes: 1 << 20,
        };
        points.iter().map(of).collect()
    }

    #[test]
    fn the_mean_is_over_time_and_the_load_alone() {
        let mut all = samples(Phase::Loading, &[(0, 10), (10, 20), (40, 30)]);
        all[2].phase = Phase::Over;
        let all = Samples { samples: all };
        // 10 for 10 ms, and 20 for 30 ms.
        assert_eq!(all.mean_bytes(), Some(17.5 * 1048576.0));
        assert_eq!(all.peak_bytes(), 30 << 20);
        assert_eq!(Samples::default().mean_bytes(), None);
        let less = all.without_stacks(15 << 20);
        assert_eq!((less.peak_bytes(), less.samples[0].held_bytes), (15 << 20, 0));
    }

    #[test]
    fn few_points_are_kept_and_no_peak_is_lost() {
        let points: Vec<(u64, usize)> =
            (0..2000).map(|at| (at, if at == 777 { 99 } else { 1 })).collect();
        let thinned = Samples { samples: samples(Phase::Loading, &points) }.thinned();
        assert!(thinned.len() <= KEPT_MAX && thinned.len() > KEPT_MAX / 2, "{}", thinned.len());
        assert!(thinned.contains(&(0.777, 99.0, Some(1.0))), "{thinned:?}");
        assert!(thinned.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }
}
