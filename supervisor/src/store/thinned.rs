//! A series that spans everything since its start in a bounded place.

/// Keeps one of every `stride` values, and doubles the stride where it would grow too long.
///
/// Which of the values of a stride is kept is drawn at random, each as likely as the others: so a
/// footprint that goes up and down in step with the sampling is not seen at its peaks alone, and
/// the median of what is kept is near that of all.
#[derive(Clone, Debug)]
pub(crate) struct Thinned<T> {
    kept: Vec<T>,
    kept_max: usize,
    stride: u64,
    /// The one drawn so far of the stride that is not complete, and how many it was drawn from.
    drawn: Option<T>,
    drawn_from: u64,
    random: u64,
}

impl<T: Copy> Thinned<T> {
    /// # Panics
    ///
    /// Where `kept_max` is below two or odd.
    pub(crate) fn new(kept_max: usize, seed: u64) -> Thinned<T> {
        assert!(kept_max >= 2 && kept_max.is_multiple_of(2), "a series can't keep {kept_max}");
        Thinned { kept: Vec::new(), kept_max, stride: 1, drawn: None, drawn_from: 0, random: seed }
    }

    pub(crate) fn push(&mut self, value: T) {
        self.drawn_from += 1;
        if self.drawn.is_none() || self.below(self.drawn_from) == 0 {
            self.drawn = Some(value);
        }
        if self.drawn_from < self.stride {
            return;
        }
        if self.kept.len() == self.kept_max {
            // What was drawn stands for half a stride from now on.
            self.halve();
            return;
        }
        self.kept.extend(self.drawn.take());
        self.drawn_from = 0;
    }

    fn halve(&mut self) {
        for index in 0..self.kept_max / 2 {
            let chosen = 2 * index + self.below(2) as usize;
            self.kept[index] = self.kept[chosen];
        }
        self.kept.truncate(self.kept_max / 2);
        self.stride *= 2;
    }

    /// What is kept, oldest first.
    pub(crate) fn kept(&self) -> &[T] {
        &self.kept
    }

    /// How many values each kept one stands for.
    #[cfg(test)]
    pub(crate) fn stride(&self) -> u64 {
        self.stride
    }

    pub(crate) fn bytes_held(&self) -> usize {
        self.kept.capacity() * size_of::<T>()
    }

    /// The next of SplitMix64, brought below a bound.
    fn below(&mut self, bound: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^= mixed >> 31;
        ((u128::from(mixed) * u128::from(bound)) >> 64) as u64
    }

    pub(crate) fn check(&self) {
        assert!(self.kept.len() <= self.kept_max, "a series keeps more than it may");
        assert!(self.drawn_from < self.stride, "a complete stride was not kept");
        assert!(self.drawn.is_some() == (self.drawn_from > 0), "nothing drawn, or from nothing");
        assert!(self.stride.is_power_of_two(), "a stride of {}", self.stride);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_is_lost_until_it_is_full() {
        let mut series = Thinned::new(8, 1);
        (0..8).for_each(|value| series.push(value));
        assert_eq!(series.kept(), [0, 1, 2, 3, 4, 5, 6, 7]);
        series.push(8);
        assert_eq!((series.kept().len(), series.stride()), (4, 2));
        series.check();
    }

    #[test]
    fn it_spans_everything_since_the_start_in_even_steps() {
        let mut series = Thinned::new(64, 7);
        (0..100_000_u64).for_each(|value| series.push(value));
        series.check();
        let stride = series.stride();
        assert!(series.kept().len() >= 32);
        for (index, kept) in series.kept().iter().enumerate() {
            assert_eq!(kept / stride, index as u64, "one of each stride");
        }
    }

    #[test]
    fn what_goes_up_and_down_in_step_with_the_stride_is_seen_as_it_is() {
        let mut series = Thinned::new(128, 3);
        (0..1_000_000_u64).for_each(|index| series.push(index % 2));
        let high = series.kept().iter().filter(|&&value| value == 1).count();
        let part = high as f64 / series.kept().len() as f64;
        assert!((0.3..0.7).contains(&part), "{part}");
    }

    /// The rank of a value among all, from 0 to 1.
    fn rank(value: u64, all: &[u64]) -> f64 {
        let below = all.iter().filter(|&&other| other < value).count();
        let same = all.iter().filter(|&&other| other == value).count();
        (below as f64 + same as f64 / 2.0) / all.len() as f64
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Of any series, the kept median is near the middle of all; of a rising one, very near.
        #[test]
        fn the_median_of_what_is_kept_is_near_that_of_all(
            mut values in proptest::collection::vec(0..1_000_000_u64, 1..4000),
            rises in any::<bool>(),
            seed in any::<u64>(),
        ) {
            if rises {
                values.sort_unstable();
            }
            let mut series = Thinned::new(128, seed);
            for value in &values {
                series.push(*value);
                series.check();
            }
            prop_assert!(series.kept().len() <= 128);
            let mut kept = series.kept().to_vec();
            prop_assume!(!kept.is_empty());
            kept.sort_unstable();
            let far = (rank(kept[kept.len() / 2], &values) - 0.5).abs();
            // A series that is short keeps all, and its upper median is off by one.
            let allowed = if rises { 2.0 / 64.0 } else { 0.3 };
            prop_assert!(far <= allowed + 1.0 / values.len() as f64, "{far}");
        }
    }
}
