//! A small deterministic generator, so that every peer sees the same requests.

use std::ops::RangeInclusive;

/// The SplitMix64 generator: tiny, fast, and good enough to pick slots.
pub(crate) struct Random {
    state: u64,
}

impl Random {
    /// Starts the sequence that belongs to `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next 64 random bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 up to but not including 1, with 53 random bits.
    fn fraction(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A number from 0 up to but not including `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.fraction() * bound as f64) as usize
    }

    /// A size whose logarithm is uniform over `sizes`, which gives every
    /// doubling of the size the same share, as programs roughly do.
    pub(crate) fn log_uniform(&mut self, sizes: &RangeInclusive<usize>) -> usize {
        let low = (*sizes.start() as f64).ln();
        // The end is one past the last size, so that rounding down gives the
        // last size its share too.
        let high = (*sizes.end() as f64 + 1.0).ln();
        let size = (low + self.fraction() * (high - low)).exp() as usize;
        // Rounding in `exp` may leave the range by one at either end.
        size.clamp(*sizes.start(), *sizes.end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: RangeInclusive<usize> = 8..=2048;

    fn sizes(seed: u64, count: usize) -> Vec<usize> {
        let mut random = Random::new(seed);
        (0..count).map(|_| random.log_uniform(&SIZES)).collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_sizes() {
        assert_eq!(sizes(1, 1000), sizes(1, 1000));
        assert_ne!(sizes(1, 1000), sizes(2, 1000));
    }

    #[test]
    fn sizes_stay_in_range_and_reach_both_ends() {
        let sizes = sizes(3, 100_000);
        assert_eq!(sizes.iter().min(), Some(SIZES.start()));
        assert_eq!(sizes.iter().max(), Some(SIZES.end()));
    }

    #[test]
    fn every_doubling_gets_the_same_share() {
        let sizes = sizes(4, 100_000);
        for doubling in 0..8 {
            let doubled = (8 << doubling)..(16 << doubling);
            let count = sizes.iter().filter(|&size| doubled.contains(size)).count();
            // One eighth of 100,000 is 12,500; 500 is over four standard deviations.
            assert!(count.abs_diff(12_500) < 500, "{doubled:?} has {count}");
        }
    }

    #[test]
    fn numbers_below_a_bound_are_spread_evenly() {
        let mut random = Random::new(5);
        let mut counts = [0_usize; 8];
        for _ in 0..80_000 {
            counts[random.below(8)] += 1;
        }
        assert!(counts.iter().all(|count| count.abs_diff(10_000) < 500));
    }
}
