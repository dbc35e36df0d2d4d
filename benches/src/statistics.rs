//! The few statistics the summary needs.

/// The middle of the samples, or the mean of the two middle ones.
///
/// The median is used because a noisy machine only ever makes a sample slower,
/// and sometimes much slower, which would pull a mean up.
pub(crate) fn median(samples: &[f64]) -> f64 {
    quantile(samples, 0.5)
}

/// The distance between the quartiles as a share of the median: how much of a
/// measured difference may be noise.
pub(crate) fn relative_spread(samples: &[f64]) -> f64 {
    (quantile(samples, 0.75) - quantile(samples, 0.25)) / median(samples)
}

/// The sample below which `share` of all samples lie, interpolated between
/// the two nearest ones.
fn quantile(samples: &[f64], share: f64) -> f64 {
    assert!(!samples.is_empty(), "there is no median of nothing");
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let position = share * (sorted.len() - 1) as f64;
    let (below, above) = (position.floor() as usize, position.ceil() as usize);
    let weight = position - below as f64;
    sorted[below] * (1.0 - weight) + sorted[above] * weight
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_in_any_order() {
        assert_eq!(median(&[5.0]), 5.0);
        assert_eq!(median(&[9.0, 1.0, 5.0]), 5.0);
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), 2.5);
    }

    #[test]
    fn one_wild_sample_does_not_move_the_median() {
        assert_eq!(median(&[2.0, 1.0, 1000.0, 2.0, 3.0]), 2.0);
    }

    #[test]
    fn the_spread_is_the_distance_of_the_quartiles() {
        assert_eq!(relative_spread(&[4.0, 4.0, 4.0]), 0.0);
        assert_eq!(relative_spread(&[1.0, 2.0, 4.0, 6.0, 9.0]), 1.0);
    }

    #[test]
    #[should_panic(expected = "median of nothing")]
    fn no_samples_have_no_median() {
        let _ = median(&[]);
    }
}
