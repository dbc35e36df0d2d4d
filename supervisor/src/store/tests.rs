//! The store against its bounds.

use proptest::prelude::*;

use super::*;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn small() -> StoreConfig {
    StoreConfig { samples_max: 16, instances_max: 4, ended_max: 3, modules_max: 2, ..default() }
}

fn default() -> StoreConfig {
    StoreConfig::default()
}

fn record(store: &mut Store, at: u64, id: u64, module: &str, incarnation: u64, bytes: u64) -> bool {
    let footprint = Footprint::resident(bytes);
    store.record(seconds(at), InstanceId(id), &module.into(), incarnation, footprint).is_ok()
}

#[test]
fn a_series_knows_its_value_its_level_and_its_early_footprint() {
    let mut store = Store::new(default());
    for index in 0..200 {
        assert!(record(&mut store, index * 10, 1, "m", 0, 1000 + index));
        let is_settled = store.series(InstanceId(1)).unwrap().is_settled();
        assert_eq!(is_settled, index * 10 >= 600, "{index}");
    }
    let series = store.series(InstanceId(1)).unwrap();
    assert_eq!(series.value_bytes(), 1099, "of 1000 to 1199");
    assert_eq!(series.level_bytes(), 1169, "of the last sixty");
    assert_eq!(series.early_bytes(), Some(1045), "of 300 s to 600 s");
    assert_eq!((series.age(), series.last().resident_bytes), (seconds(1990), 1199));
    store.check();
}

#[test]
fn another_incarnation_begins_anew_and_what_ended_is_kept() {
    let mut store = Store::new(small());
    for incarnation in 0..5 {
        for index in 0..100 {
            record(&mut store, incarnation * 1000 + index * 10, 1, "m", incarnation, 100 + index);
        }
    }
    let kept: Vec<_> = store.ended().map(|ended| ended.incarnation).collect();
    assert_eq!(kept, [1, 2, 3], "the oldest is forgotten");
    assert_eq!(store.series(InstanceId(1)).unwrap().started(), seconds(4000));
    assert_eq!(store.ended().next_back().unwrap().level_bytes, 169);
    store.end(seconds(9000), InstanceId(1));
    assert!(store.series(InstanceId(1)).is_none() && store.all().next().is_none());
    store.check();
}

#[test]
fn what_has_no_place_is_refused_and_says_why() {
    let mut store = Store::new(small());
    (0..4).for_each(|id| assert!(record(&mut store, 0, id, "m", 0, 1)));
    let refused = store.record(seconds(1), InstanceId(9), &"m".into(), 0, Footprint::default());
    let message = refused.unwrap_err().to_string();
    assert_eq!(message, "the store holds 4 instances, which is its most");
    assert!(record(&mut store, 1, 3, "m", 1, 5), "a known one still has its place");
    store.end(seconds(2), InstanceId(0));
    store.end(seconds(2), InstanceId(1));
    assert!(record(&mut store, 3, 10, "n", 0, 1));
    assert!(!record(&mut store, 3, 11, "o", 0, 1), "both modules have instances");
    store.end(seconds(4), InstanceId(10));
    assert!(record(&mut store, 5, 11, "o", 0, 1), "the empty one made place");
    store.check();
}

#[test]
fn modules_are_summed_up_over_time() {
    let mut store = Store::new(default());
    for at in 0..3 {
        (0..4).for_each(|id| assert!(record(&mut store, at, id, "m", 0, id + at)));
        store.sum_up(seconds(at));
    }
    let sums: Vec<_> =
        store.module_sums(&"m".into()).iter().map(|sample| sample.resident_bytes).collect();
    assert_eq!(sums, [6, 10, 14]);
    assert_eq!(store.instances_bytes(), 14);
    assert!(store.module_sums(&"n".into()).is_empty());
}

#[derive(Clone, Debug)]
enum Action {
    Record { id: u64, module: u8, incarnation: u64, bytes: u64 },
    End { id: u64 },
    SumUp,
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        20 => (0..6_u64, 0..3_u8, 0..2_u64, any::<u64>())
            .prop_map(|(id, module, incarnation, bytes)| {
                Action::Record { id, module, incarnation, bytes }
            }),
        1 => (0..6_u64).prop_map(|id| Action::End { id }),
        2 => Just(Action::SumUp),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_comes_it_stays_within_its_bounds(
        actions in proptest::collection::vec(action(), 1..600),
    ) {
        let mut store = Store::new(small());
        for (step, action) in actions.into_iter().enumerate() {
            let at = seconds(10 * step as u64);
            match action {
                Action::Record { id, module, incarnation, bytes } => {
                    let module = ModuleName::new(["a", "b", "c"][usize::from(module)]);
                    let footprint = Footprint::resident(bytes);
                    let id = InstanceId(id);
                    if store.record(at, id, &module, incarnation, footprint).is_ok() {
                        prop_assert_eq!(store.series(id).unwrap().last().resident_bytes, bytes);
                    }
                }
                Action::End { id } => store.end(at, InstanceId(id)),
                Action::SumUp => store.sum_up(at),
            }
            store.check();
        }
    }
}
