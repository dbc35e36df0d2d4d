//! Long series of samples, made short enough to draw without losing what stands out.

use super::results::Sample;

/// At most about so many points of a series, in the order that they came.
///
/// The series is cut into stretches of as many samples each, and every one gives its least and its
/// most resident memory, so that a short peak is still as high as it was. Points that are not
/// finite are left out.
pub(super) fn thin(samples: &[Sample], limit: usize) -> Vec<Sample> {
    let is_finite = |sample: &&Sample| sample.0.is_finite() && sample.1.is_finite();
    let finite: Vec<Sample> = samples.iter().filter(is_finite).copied().collect();
    let (Some(first), Some(last)) = (finite.first(), finite.last()) else { return finite };
    if finite.len() <= limit {
        return finite;
    }
    let mut kept = vec![*first];
    for stretch in finite.chunks(finite.len().div_ceil((limit / 2).max(1))) {
        let indices = || 0..stretch.len();
        let least = indices().min_by(|&a, &b| stretch[a].1.total_cmp(&stretch[b].1));
        let most = indices().max_by(|&a, &b| stretch[a].1.total_cmp(&stretch[b].1));
        let (Some(least), Some(most)) = (least, most) else { continue };
        kept.push(stretch[least.min(most)]);
        kept.push(stretch[least.max(most)]);
    }
    kept.push(*last);
    kept.dedup();
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extremes_and_ends_are_kept() {
        let mut samples: Vec<Sample> =
            (0..10_000).map(|at| (f64::from(at), 50.0 + f64::from(at % 3), None)).collect();
        samples[1234].1 = 900.0;
        samples[7777].1 = 1.0;
        samples[5000].1 = f64::NAN;
        let thinned = thin(&samples, 400);
        assert!((200..=402).contains(&thinned.len()), "{}", thinned.len());
        assert_eq!((thinned.first(), thinned.last()), (samples.first(), samples.last()));
        assert!(thinned.contains(&samples[1234]) && thinned.contains(&samples[7777]));
        assert!(thinned.is_sorted_by(|left, right| left.0 < right.0));
    }

    #[test]
    fn short_series_are_left_as_they_are() {
        let samples = [(0.0, 1.0, Some(1.0)), (1.0, f64::NAN, None), (2.0, 3.0, None)];
        assert_eq!(thin(&samples, 400), [samples[0], samples[2]]);
        assert_eq!(thin(&[], 400), []);
    }
}
