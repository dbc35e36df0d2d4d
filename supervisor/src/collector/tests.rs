//! The collector and clocks that jump, instances that hang, vanish and come back.

use std::cell::{Cell, RefCell};

use super::*;
use crate::instance::{Footprint, RestartError};
use crate::store::StoreConfig;

/// An instance that answers as it is told.
struct Told {
    id: InstanceId,
    module: ModuleName,
    incarnation: Cell<u64>,
    answer: RefCell<Result<u64, SampleError>>,
    asked: Cell<usize>,
}

impl Told {
    fn new(id: u64) -> Told {
        Told {
            id: InstanceId(id),
            module: "m".into(),
            incarnation: Cell::new(0),
            answer: RefCell::new(Ok(100)),
            asked: Cell::new(0),
        }
    }

    fn answers(&self, answer: Result<u64, SampleError>) {
        *self.answer.borrow_mut() = answer;
    }
}

impl Instance for Told {
    fn id(&self) -> InstanceId {
        self.id
    }

    fn module(&self) -> &ModuleName {
        &self.module
    }

    fn incarnation(&self) -> u64 {
        self.incarnation.get()
    }

    fn footprint(&self) -> Result<Footprint, SampleError> {
        self.asked.set(self.asked.get() + 1);
        self.answer.borrow().clone().map(Footprint::resident)
    }

    fn restart(&self) -> Result<(), RestartError> {
        unreachable!("a collector restarts nobody")
    }
}

struct Stage {
    collector: Collector,
    store: Store,
}

impl Stage {
    fn new() -> Stage {
        Stage {
            collector: Collector::new(CollectorConfig::default()),
            store: Store::new(StoreConfig::default()),
        }
    }

    fn at(&mut self, clock: u64, instances: &[&dyn Instance]) -> Option<Collection> {
        self.collector.advance(Duration::from_secs(clock));
        let collection = self.collector.collect(instances, &mut self.store);
        self.store.check();
        collection
    }

    fn health(&self, id: u64) -> Option<Health> {
        let found = self.collector.statuses().iter().find(|status| status.id == InstanceId(id));
        found.map(|status| status.health)
    }
}

#[test]
fn footprints_are_taken_once_a_period() {
    let (mut stage, told) = (Stage::new(), Told::new(1));
    assert_eq!(stage.at(1000, &[&told]).unwrap().sampled, 1, "at once");
    assert!(stage.at(1009, &[&told]).is_none());
    assert_eq!(stage.collector.until_due(), Duration::from_secs(1));
    assert!(stage.at(1012, &[&told]).is_some());
    assert!(stage.at(1020, &[&told]).is_some(), "in step, though the one before was late");
    assert!(stage.at(1055, &[&told]).is_some(), "three periods were missed");
    assert!(stage.at(1056, &[&told]).is_none(), "and are not made up for");
    assert_eq!(told.asked.get(), 4);
}

#[test]
fn a_jump_forward_takes_one_sample_and_counts_as_a_period() {
    let (mut stage, told) = (Stage::new(), Told::new(1));
    stage.at(0, &[&told]);
    let jump = stage.collector.advance(Duration::from_secs(8 * 3600));
    assert_eq!(jump, Some(ClockJump::Forward(Duration::from_secs(8 * 3600))));
    assert!(stage.collector.collect(&[&told], &mut stage.store).is_some());
    assert!(stage.at(8 * 3600, &[&told]).is_none());
    assert_eq!(stage.collector.now(), Duration::from_secs(10));
    assert_eq!(stage.store.series(told.id).unwrap().samples().len(), 2);
}

#[test]
fn a_jump_backward_begins_a_new_period_and_time_goes_on() {
    let (mut stage, told) = (Stage::new(), Told::new(1));
    stage.at(5000, &[&told]);
    stage.at(5008, &[&told]);
    let jump = stage.collector.advance(Duration::from_secs(100));
    assert_eq!(jump, Some(ClockJump::Backward(Duration::from_secs(4908))));
    assert!(stage.collector.collect(&[&told], &mut stage.store).is_none());
    assert!(stage.at(109, &[&told]).is_none());
    assert!(stage.at(110, &[&told]).is_some());
    assert_eq!(stage.collector.now(), Duration::from_secs(18));
}

#[test]
fn an_instance_that_does_not_answer_three_times_hangs_until_it_answers() {
    let (mut stage, told) = (Stage::new(), Told::new(1));
    told.answers(Err(SampleError::Unresponsive));
    let seen: Vec<_> = (0..4)
        .map(|step| {
            assert_eq!(stage.at(step * 10, &[&told]).unwrap().missed.len(), 1);
            stage.health(1).unwrap()
        })
        .collect();
    use Health::{Hung, Unresponsive};
    assert_eq!(seen, [Unresponsive, Unresponsive, Hung, Hung]);
    told.answers(Ok(7));
    stage.at(40, &[&told]);
    assert_eq!(stage.health(1), Some(Health::Healthy));
    told.answers(Err(SampleError::Failed("not a number".into())));
    stage.at(50, &[&told]);
    told.incarnation.set(1);
    stage.at(60, &[&told]);
    assert_eq!(stage.health(1), Some(Unresponsive), "a new incarnation begins with no misses");
}

#[test]
fn what_is_gone_is_told_once_and_its_series_ends() {
    let (mut stage, one, other) = (Stage::new(), Told::new(1), Told::new(2));
    stage.at(0, &[&one, &other]);
    other.answers(Err(SampleError::Gone));
    assert_eq!(stage.at(10, &[&one, &other]).unwrap().gone, [InstanceId(2)]);
    assert_eq!(stage.at(20, &[&one, &other]).unwrap().gone, []);
    assert_eq!(stage.at(30, &[]).unwrap().gone, [InstanceId(1)]);
    assert_eq!((stage.store.all().count(), stage.store.ended().count()), (0, 2));
    assert!(stage.collector.statuses().is_empty());
}

#[test]
fn two_instances_with_one_id_are_told_apart_from_one() {
    let (mut stage, one, other) = (Stage::new(), Told::new(1), Told::new(1));
    let collection = stage.at(0, &[&one, &other]).unwrap();
    assert_eq!((collection.sampled, collection.missed.len()), (1, 1));
    assert_eq!(other.asked.get(), 0);
    assert!(collection.missed[0].error.to_string().contains("another instance has the id #1"));
}
