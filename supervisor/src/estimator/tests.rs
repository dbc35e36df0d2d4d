//! The estimator against published tables, another implementation, and known lines.

use std::time::Duration;

use super::*;
use crate::instance::{Footprint, InstanceId, ModuleName};
use crate::store::{Sample, Store, StoreConfig};

fn close(one: f64, other: f64, tolerance: f64) -> bool {
    (one - other).abs() <= tolerance * other.abs().max(1.0)
}

/// Two-sided critical values as tables print them, to three decimals: those of the NIST/SEMATECH
/// e-Handbook of Statistical Methods, section 1.3.6.7.2, say the same.
#[test]
fn quantiles_are_those_of_published_tables() {
    let table = [
        (0.80, [(1.0, 3.078), (2.0, 1.886), (4.0, 1.533), (9.0, 1.383), (29.0, 1.311)]),
        (0.90, [(1.0, 6.314), (2.0, 2.920), (4.0, 2.132), (9.0, 1.833), (29.0, 1.699)]),
        (0.95, [(1.0, 12.706), (2.0, 4.303), (4.0, 2.776), (9.0, 2.262), (29.0, 2.045)]),
        (0.98, [(1.0, 31.821), (2.0, 6.965), (4.0, 3.747), (9.0, 2.821), (29.0, 2.462)]),
        (0.99, [(1.0, 63.657), (2.0, 9.925), (4.0, 4.604), (9.0, 3.250), (29.0, 2.756)]),
    ];
    for (confidence, row) in table {
        for (freedom, published) in row {
            let t = student_t_quantile(confidence, freedom);
            assert!((t - published).abs() <= 0.0006, "{confidence} {freedom}: {t}");
        }
    }
}

/// Figures of one sample at one confidence, as the other implementation gave them.
struct Known {
    values: &'static [f64],
    confidence: f64,
    mean: f64,
    variance: f64,
    t: f64,
    mean_interval: (f64, f64),
    prediction_interval: (f64, f64),
}

/// Computed once with SciPy 1.17.1: `stats.t.interval(c, m - 1, mean, scale)`, for the mean with the
/// scale `stats.sem(values)`, for one more with `sqrt(var(ddof=1) * (1 + 1/m))`.
const SCIPY: [Known; 5] = [
    Known {
        values: &[64.0, 66.5, 63.2],
        confidence: 0.95,
        mean: 64.56666666666666,
        variance: 2.9633333333333294,
        t: 4.302652729749462,
        mean_interval: (60.29038876333149, 68.84294457000183),
        prediction_interval: (56.014110859996315, 73.119222473337),
    },
    Known {
        values: &[64.0, 66.5, 63.2],
        confidence: 0.999,
        mean: 64.56666666666666,
        variance: 2.9633333333333294,
        t: 31.599054576445365,
        mean_interval: (33.16131110142767, 95.9720222319074),
        prediction_interval: (1.7559555361886936, 127.37737779714813),
    },
    Known {
        values: &[101.3, 99.8, 100.4, 103.9, 97.6],
        confidence: 0.90,
        mean: 100.6,
        variance: 5.265000000000017,
        t: 2.1318467863266495,
        mean_interval: (98.4123886157384, 102.7876113842616),
        prediction_interval: (95.2414683530555, 105.9585316469445),
    },
    Known {
        values: &[31.0, 30.0, 32.5, 29.5, 30.5, 31.5, 33.0, 30.2, 29.9, 31.1],
        confidence: 0.95,
        mean: 30.919999999999998,
        variance: 1.310666666666667,
        t: 2.262157162798205,
        mean_interval: (30.101028287529388, 31.738971712470608),
        prediction_interval: (28.203778115820157, 33.63622188417984),
    },
    Known {
        values: &[
            5242880.0, 5439488.0, 5177344.0, 5505024.0, 5373952.0, 5111808.0, 5701632.0, 5308416.0,
            5242880.0, 5570560.0, 5046272.0, 5373952.0, 5636096.0, 5308416.0, 5832704.0,
        ],
        confidence: 0.999,
        mean: 5391428.266666667,
        variance: 49985238435.35238,
        t: 4.140454112738259,
        mean_interval: (5152414.3270224435, 5630442.2063108925),
        prediction_interval: (4435372.508089775, 6347484.025243571),
    },
];

#[test]
fn intervals_are_those_of_another_implementation() {
    for known in SCIPY {
        let estimate = Estimate::of(known.values, known.confidence).unwrap();
        let (of_mean, of_next) = (estimate.mean_interval, estimate.prediction_interval);
        for (ours, theirs) in [
            (estimate.mean, known.mean),
            (estimate.variance, known.variance),
            (estimate.t, known.t),
            (of_mean.lower, known.mean_interval.0),
            (of_mean.upper, known.mean_interval.1),
            (of_next.lower, known.prediction_interval.0),
            (of_next.upper, known.prediction_interval.1),
        ] {
            assert!(close(ours, theirs, 1e-7), "{ours} and {theirs}");
        }
        let again = estimate.at(0.5).at(known.confidence);
        assert_eq!(again, estimate);
    }
}

#[test]
fn fewer_than_three_give_no_estimate_and_say_so() {
    for values in [&[][..], &[5.0], &[5.0, 6.0]] {
        let refused = Estimate::of(values, 0.95).unwrap_err();
        assert_eq!(refused, TooFew { instances: values.len() });
        assert!(refused.to_string().contains("3 are needed"), "{refused}");
    }
}

#[test]
fn values_that_are_all_the_same_leave_no_doubt() {
    let estimate = Estimate::of(&[7.0; 4], 0.99).unwrap();
    assert_eq!((estimate.variance, estimate.prediction_interval.upper), (0.0, 7.0));
    assert!((estimate.moment_upper(1.0) - 7.0 - estimate.t).abs() < 1e-12);
}

#[test]
#[should_panic(expected = "a confidence of 1")]
fn certainty_is_refused() {
    let _ = Estimate::of(&[1.0, 2.0, 3.0], 1.0);
}

/// The first flaw: among many, half of the healthy lie over the mean's interval.
#[test]
fn the_means_interval_narrows_to_nothing_and_the_prediction_interval_does_not() {
    let normal = [-1.28, -0.84, -0.52, -0.25, 0.0, 0.0, 0.25, 0.52, 0.84, 1.28];
    let many: Vec<f64> = (0..500).map(|index| 100.0 + normal[index % 10]).collect();
    let estimate = Estimate::of(&many, 0.95).unwrap();
    let over = |upper: f64| many.iter().filter(|&&value| value > upper).count();
    assert_eq!(over(estimate.mean_interval.upper), 200);
    assert_eq!(over(estimate.prediction_interval.upper), 0);
}

#[test]
fn medians_are_the_middle() {
    assert_eq!(median([]), None);
    assert_eq!(median([3.0]), Some(3.0));
    assert_eq!(median([9.0, 1.0, 5.0]), Some(5.0));
    assert_eq!(median([9.0, 1.0, 5.0, 6.0]), Some(5.5));
    assert!(close(robust_scale(&[1.0, 2.0, 3.0, 4.0, 1000.0], 3.0), 1.4826, 1e-12));
}

fn samples(count: u64, footprint: impl Fn(u64) -> u64) -> Vec<Sample> {
    let sample =
        |index| Sample { at: Duration::from_secs(10 * index), resident_bytes: footprint(index) };
    (0..count).map(sample).collect()
}

/// SciPy 1.17.1's `stats.theilslopes` says 0.2 for these, with a stray among them.
#[test]
fn a_slope_is_that_of_another_implementation_and_strays_do_not_move_it() {
    let tenths = [102, 119, 141, 158, 300, 201, 222, 237, 260, 283];
    let growth = Growth::over(&samples(10, |index| tenths[index as usize])).unwrap();
    assert!(close(growth.slope, 2.0, 1e-9), "{growth:?}");
}

#[test]
fn a_line_without_noise_has_its_slope_and_no_error() {
    let growth = Growth::over(&samples(200, |index| 1000 + 50 * index)).unwrap();
    assert!(close(growth.slope, 5.0, 1e-9), "{growth:?}");
    assert!(growth.slope_error < 1e-9 && growth.deviation < 1e-6, "{growth:?}");
    assert_eq!(Growth::over(&samples(7, |index| index)), None);
}

#[test]
fn noise_that_lasts_makes_a_slope_more_doubtful() {
    let quick = |index: u64| 1_000_000 + 1000 * (index * 7919 % 100);
    let lasting = |index: u64| quick(index / 20);
    let quick = Growth::over(&samples(240, quick)).unwrap();
    let lasting = Growth::over(&samples(240, lasting)).unwrap();
    assert!(lasting.slope_error > 2.0 * quick.slope_error, "{quick:?} {lasting:?}");
}

#[test]
fn the_confidence_falls_with_steepness_between_its_bounds() {
    let confidence = SlopeConfidence::default();
    let close_to = |steepness, expected| close(confidence.at(steepness), expected, 1e-9);
    assert!(close_to(-5.0, 0.999) && close_to(1.0, 0.999));
    assert!(close_to(4.0, 0.8) && close_to(1e9, 0.8));
    assert!(close_to(2.5, 1.0 - (0.001_f64 * 0.2).sqrt()));
    let steps: Vec<f64> = (0..50).map(|step| confidence.at(f64::from(step) / 10.0)).collect();
    assert!(steps.is_sorted_by(|one, other| one >= other));
    assert!(close(SlopeConfidence::fixed(0.9).at(2.0), 0.9, 1e-12));
}

fn growth(slope: f64) -> Growth {
    Growth { slope, slope_error: 1.0, deviation: 1.0 }
}

#[test]
fn a_leak_is_common_only_where_most_grow_beyond_doubt() {
    let find = |slopes: &[f64]| {
        let growths: Vec<Growth> = slopes.iter().map(|&slope| growth(slope)).collect();
        CommonLeak::find(&growths, 0.5)
    };
    let found = find(&[10.0, 11.0, 9.0, 10.5]).unwrap();
    assert_eq!((found.instances, found.growing), (4, 4));
    assert!(close(found.slope, 10.25, 1e-12) && found.t > 20.0);
    assert!(find(&[10.0; 5]).is_some(), "no doubt where there is no variance");
    assert_eq!(find(&[10.0, 11.0]), None, "too few");
    assert_eq!(find(&[50.0, 60.0, 0.1, -0.2, 0.3, 0.0]), None, "two of six");
    assert_eq!(find(&[50.0, 55.0, 60.0, 0.1, -0.2, 0.0]), None, "half");
    assert_eq!(find(&[1.0, 1.2, 0.9, 1.1]), None, "within the slopes' error");
    assert_eq!(find(&[-10.0, -11.0, -9.0]), None, "they shrink");
}

/// A store of a module's instances after so many samples, each by its own footprint.
fn store(instances: u64, count: u64, footprint: impl Fn(u64, u64) -> u64) -> Store {
    let mut store = Store::new(StoreConfig::default());
    for index in 0..count {
        for id in 0..instances {
            let footprint = Footprint::resident(footprint(id, index));
            let at = Duration::from_secs(10 * index);
            store.record(at, InstanceId(id), &"m".into(), 0, footprint).unwrap();
        }
    }
    store
}

/// A healthy footprint around 100,000, each instance's a little different.
fn healthy(id: u64, index: u64) -> u64 {
    100_000 + 500 * id + 37 * (index * 31 % 17)
}

fn module() -> ModuleName {
    "m".into()
}

#[test]
fn the_steep_one_is_judged_at_the_lowest_confidence_without_itself() {
    let leak = |id, index| healthy(id, index) + if id == 4 { 100 * index } else { 0 };
    let estimate = Estimator::default().module(&store(5, 200, leak), &module());
    assert_eq!(estimate.common_leak, None);
    let (leaking, others) = estimate.members.split_last().unwrap();
    assert!(leaking.steepness > 4.0 && close(leaking.confidence, 0.8, 1e-9), "{leaking:?}");
    let threshold = estimate.prediction_threshold(leaking).unwrap();
    assert_eq!(threshold.estimate.instances, 4);
    assert!(threshold.bytes < 110_000.0 && leaking.level > threshold.bytes, "{threshold:?}");
    for other in others {
        assert!(close(other.confidence, 0.999, 1e-9), "{other:?}");
        let threshold = estimate.prediction_threshold(other).unwrap();
        assert_eq!(threshold.estimate.instances, 3, "neither itself nor the steep one");
        assert!(other.level < threshold.bytes && !threshold.is_anchored);
    }
}

#[test]
fn a_module_of_three_goes_by_early_footprints_and_one_of_two_by_none() {
    let leak = |id, index| healthy(id, index) + if id == 2 { 100 * index } else { 0 };
    let estimate = Estimator::default().module(&store(3, 300, leak), &module());
    let leaking = estimate.members[2];
    let threshold = estimate.prediction_threshold(&leaking).unwrap();
    assert!(threshold.is_anchored && leaking.level > threshold.bytes, "{threshold:?}");
    let estimate = Estimator::default().module(&store(2, 300, leak), &module());
    let refused = estimate.prediction_threshold(&estimate.members[1]).unwrap_err();
    assert_eq!(refused, TooFew { instances: 2 });
    assert!(estimate.mean_threshold(&estimate.members[1]).is_err());
}

/// The second flaw: a leak that all share drags the mean along, and is found by its slope.
#[test]
fn a_common_leak_is_found_and_anchors_the_threshold() {
    let leak = |id, index| healthy(id, index) + 60 * index;
    let store = store(6, 1000, leak);
    let estimate = Estimator::default().module(&store, &module());
    let found = estimate.common_leak.unwrap();
    assert_eq!((found.instances, found.growing), (6, 6));
    assert!(close(found.slope, 6.0, 0.05), "{found:?}");
    for member in &estimate.members {
        let threshold = estimate.prediction_threshold(member).unwrap();
        assert!(threshold.is_anchored && member.level > threshold.bytes, "{threshold:?}");
    }
    let config = EstimatorConfig { detects_common_leak: false, ..EstimatorConfig::default() };
    let dragged = Estimator::new(config).module(&store, &module());
    let threshold = dragged.prediction_threshold(&dragged.members[0]).unwrap();
    assert!(threshold.bytes > 130_000.0 && !threshold.is_anchored, "{threshold:?}");
}

#[test]
fn growth_while_instances_warm_up_puts_nobody_over() {
    let cold = |index: u64| (40_000.0 * (-(index as f64) / 12.0).exp()) as u64;
    let warm = |id, index: u64| healthy(id, index) - cold(index);
    let young = Estimator::default().module(&store(5, 50, warm), &module());
    assert!(young.members.is_empty(), "nobody has settled");
    for count in [61, 70, 100, 200] {
        let estimate = Estimator::default().module(&store(5, count, warm), &module());
        assert_eq!(estimate.members.len(), 5);
        for member in &estimate.members {
            let threshold = estimate.prediction_threshold(member).unwrap();
            assert!(member.level < threshold.bytes, "{member:?} {threshold:?}");
        }
        assert!(count < 200 || estimate.common_leak.is_none(), "{:?}", estimate.common_leak);
    }
}
