//! The policies on fleets made by hand.

use super::*;
use crate::instance::{Footprint, ModuleName};
use crate::store::StoreConfig;

/// A fleet that has run for so many samples.
struct Fleet {
    store: Store,
    statuses: Vec<InstanceStatus>,
}

impl Fleet {
    /// Instances of one module by their footprints at each sample.
    fn new(instances: u64, count: u64, footprint: impl Fn(u64, u64) -> u64) -> Fleet {
        let module = ModuleName::new("m");
        let mut store = Store::new(StoreConfig::default());
        for (index, id) in (0..count).flat_map(|index| (0..instances).map(move |id| (index, id))) {
            let footprint = Footprint::resident(footprint(id, index));
            let at = Duration::from_secs(10 * index);
            store.record(at, InstanceId(id), &module, 0, footprint).unwrap();
        }
        let status = |id| InstanceStatus {
            id: InstanceId(id),
            module: module.clone(),
            incarnation: 0,
            health: Health::Healthy,
        };
        Fleet { store, statuses: (0..instances).map(status).collect() }
    }

    fn judge(&self, policy: &mut dyn Policy, used_bytes: u64) -> Vec<u64> {
        let host = HostMemory { used_bytes, limit_bytes: 100 };
        let now = Duration::from_secs(100_000);
        let view = FleetView { store: &self.store, now, host, instances: &self.statuses };
        policy.judge(&view).iter().map(|verdict| verdict.instance.0).collect()
    }
}

fn leaking(id: u64, index: u64) -> u64 {
    let leak = if id >= 6 { 40 * (id - 5) * index } else { 0 };
    100_000 + 700 * id + 37 * (index * 31 % 17) + leak
}

#[test]
fn the_prediction_interval_finds_those_that_leak_the_worst_first() {
    let fleet = Fleet::new(8, 500, leaking);
    assert_eq!(fleet.judge(&mut PredictionInterval::default(), 50), [7, 6]);
}

#[test]
fn the_means_interval_finds_healthy_ones_too() {
    let fleet = Fleet::new(6, 500, leaking);
    assert_eq!(fleet.judge(&mut PredictionInterval::default(), 50), []);
    assert_eq!(fleet.judge(&mut MeanInterval::default(), 50), [5], "by less than a percent");
}

#[test]
fn on_low_memory_the_largest_or_the_oldest_come_first() {
    let fleet = Fleet::new(3, 100, leaking);
    assert_eq!(fleet.judge(&mut LargestOnLowMemory::default(), 90), []);
    assert_eq!(fleet.judge(&mut LargestOnLowMemory::default(), 91), [2, 1, 0]);
    assert_eq!(fleet.judge(&mut LargestOnLowMemory::new(0.5), 60), [2, 1, 0]);
    assert_eq!(fleet.judge(&mut OldestOnLowMemory::default(), 90), []);
    assert_eq!(fleet.judge(&mut OldestOnLowMemory::default(), 91), [0, 1, 2]);
    let mut fleet = fleet;
    let footprint = Footprint::resident(5);
    let at = Duration::from_secs(2000);
    fleet.store.record(at, InstanceId(0), &"m".into(), 1, footprint).unwrap();
    assert_eq!(fleet.judge(&mut OldestOnLowMemory::default(), 91), [1, 2, 0]);
    assert_eq!(fleet.judge(&mut Never, 100), []);
}

#[test]
fn who_does_not_answer_is_not_judged_by_footprints() {
    let mut fleet = Fleet::new(8, 500, leaking);
    fleet.statuses[7].health = Health::Unresponsive;
    assert_eq!(fleet.judge(&mut PredictionInterval::default(), 100), [6]);
    assert!(!fleet.judge(&mut LargestOnLowMemory::default(), 100).contains(&7));
}

#[test]
fn an_instance_that_needs_more_than_the_others_is_restarted_once_and_left_alone() {
    let larger = |id: u64, index| leaking(id.min(5), index) + if id == 6 { 60_000 } else { 0 };
    let mut fleet = Fleet::new(7, 500, larger);
    let mut policy = PredictionInterval::default();
    assert_eq!(fleet.judge(&mut policy, 50), [6]);
    for index in 0..200 {
        let at = Duration::from_secs(5000 + 10 * index);
        let footprint = Footprint::resident(larger(6, index));
        fleet.store.record(at, InstanceId(6), &"m".into(), 1, footprint).unwrap();
    }
    assert_eq!(fleet.judge(&mut policy, 50), [], "the restart brought nothing");
}

#[test]
fn reasons_say_what_was_seen() {
    let over = Reason::OverEstimate {
        level_bytes: 12,
        threshold_bytes: 10,
        confidence: 0.8,
        is_anchored: false,
    };
    assert_eq!(over.to_string(), "it holds 12 bytes, over 10 by the others at 80.0 %");
    let low = Reason::LowMemory { used_fraction: 0.915 };
    assert_eq!(low.to_string(), "91.5 % of the host's memory is used");
}
