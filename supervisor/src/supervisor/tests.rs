//! All parts together, with instances and clocks that misbehave.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use super::*;
use crate::clock::ManualClock;
use crate::executor::Skip;
use crate::host::LimitedHost;
use crate::instance::{Footprint, InstanceId, ModuleName, SampleError};
use crate::policy::{LargestOnLowMemory, Never, PredictionInterval};

/// An instance that leaks by the sample, and misbehaves as it is told.
struct Leaky {
    id: InstanceId,
    module: ModuleName,
    leak_bytes: u64,
    leaked_bytes: Cell<u64>,
    incarnation: Cell<u64>,
    asked: Cell<u64>,
    /// What it says instead of its footprint.
    error: RefCell<Option<SampleError>>,
    restarts: Cell<usize>,
    /// What its restart says instead of restarting it.
    on_restart: RefCell<Option<RestartError>>,
}

impl Leaky {
    fn new(id: u64, leak_bytes: u64) -> Leaky {
        Leaky {
            id: InstanceId(id),
            module: "m".into(),
            leak_bytes,
            leaked_bytes: Cell::new(0),
            incarnation: Cell::new(0),
            asked: Cell::new(0),
            error: RefCell::new(None),
            restarts: Cell::new(0),
            on_restart: RefCell::new(None),
        }
    }

    fn fleet(leaks: &[u64]) -> Vec<Leaky> {
        (0..).zip(leaks).map(|(id, &leak_bytes)| Leaky::new(id, leak_bytes)).collect()
    }
}

impl Instance for Leaky {
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
        self.leaked_bytes.set(self.leaked_bytes.get() + self.leak_bytes);
        if let Some(error) = self.error.borrow().clone() {
            return Err(error);
        }
        self.asked.set(self.asked.get() + 1);
        let noise = 37 * ((self.asked.get() * 31 + self.id.0 * 7) % 17);
        Ok(Footprint::resident(100_000 + 500 * self.id.0 + noise + self.leaked_bytes.get()))
    }

    fn restart(&self) -> Result<(), RestartError> {
        self.restarts.set(self.restarts.get() + 1);
        if let Some(error) = self.on_restart.borrow().clone() {
            return Err(error);
        }
        self.leaked_bytes.set(0);
        self.incarnation.set(self.incarnation.get() + 1);
        Ok(())
    }
}

struct Stage {
    clock: ManualClock,
    supervisor: Supervisor,
    steps: u64,
}

impl Stage {
    fn new(policy: impl Policy + Send + 'static) -> Stage {
        let clock = ManualClock::new();
        let supervisor = Stage::supervisor(&clock, policy);
        Stage { clock, supervisor, steps: 0 }
    }

    fn supervisor(clock: &ManualClock, policy: impl Policy + Send + 'static) -> Supervisor {
        let host = LimitedHost { limit_bytes: 1_000_000 };
        Supervisor::new(SupervisorConfig::default(), clock.clone(), host, policy)
    }

    /// One step, a period after the one before.
    fn step(&mut self, instances: &[Leaky]) -> Report {
        self.clock.advance(Duration::from_secs(10));
        self.steps += 1;
        let instances: Vec<&dyn Instance> =
            instances.iter().map(|instance| instance as &dyn Instance).collect();
        let report = self.supervisor.step(&instances);
        self.supervisor.check();
        report
    }

    /// Steps; the instances whose restarts were begun, with the step.
    fn steps(&mut self, count: u64, instances: &[Leaky]) -> Vec<(u64, u64)> {
        let mut begun = Vec::new();
        for _ in 0..count {
            let report = self.step(instances);
            begun.extend(report.execution.begun.iter().map(|one| (self.steps, one.instance.0)));
        }
        begun
    }
}

fn restarts(instances: &[Leaky]) -> Vec<usize> {
    instances.iter().map(|instance| instance.restarts.get()).collect()
}

#[test]
fn the_one_that_leaks_is_restarted_and_nobody_else() {
    let fleet = Leaky::fleet(&[0, 0, 200, 0, 0]);
    let mut stage = Stage::new(PredictionInterval::default());
    let begun = stage.steps(400, &fleet);
    assert!(begun.len() >= 2 && begun.iter().all(|(_, id)| *id == 2), "{begun:?}");
    assert!(begun.windows(2).all(|pair| pair[1].0 - pair[0].0 >= 60), "{begun:?}");
    assert_eq!(restarts(&fleet)[2], begun.len());
}

#[test]
fn without_a_policy_that_restarts_only_what_hangs_is_restarted() {
    let fleet = Leaky::fleet(&[0, 0, 200]);
    let mut stage = Stage::new(Never);
    assert_eq!(stage.steps(200, &fleet), []);
    *fleet[1].error.borrow_mut() = Some(SampleError::Unresponsive);
    let begun = stage.steps(3, &fleet);
    assert_eq!(begun, [(203, 1)], "after three misses, not one");
    let report = stage.supervisor.statuses().to_vec();
    assert_eq!(report[1].health, Health::Hung);
}

#[test]
fn a_module_whose_instances_have_all_ended_comes_back_one_by_one() {
    let fleet = Leaky::fleet(&[0, 0, 0]);
    let mut stage = Stage::new(Never);
    stage.steps(100, &fleet);
    for instance in &fleet {
        *instance.error.borrow_mut() = Some(SampleError::Stopped("unreachable".into()));
    }
    let begun = stage.steps(30, &fleet);
    assert_eq!(begun.first(), Some(&(101, 0)), "after one look");
    assert_eq!(begun.len(), 3, "{begun:?}");
    assert!(begun.windows(2).all(|pair| pair[1].0 > pair[0].0), "{begun:?}");
}

#[test]
fn an_instance_that_hangs_on_is_restarted_ever_more_seldom() {
    let fleet = Leaky::fleet(&[0, 0, 0]);
    *fleet[0].error.borrow_mut() = Some(SampleError::Unresponsive);
    let mut stage = Stage::new(Never);
    let begun = stage.steps(1000, &fleet);
    let gaps: Vec<u64> = begun.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    assert!(gaps.is_sorted() && gaps.last() > Some(&180) && begun.len() < 10, "{begun:?}");
}

#[test]
fn where_all_leak_at_once_there_is_no_storm() {
    let fleet = Leaky::fleet(&[150; 8]);
    let mut stage = Stage::new(PredictionInterval::default());
    let begun = stage.steps(500, &fleet);
    assert!(begun.len() >= 8, "each in its turn: {begun:?}");
    let is_apart = begun.windows(2).all(|pair| pair[1].0 - pair[0].0 >= 6);
    assert!(is_apart, "a minute for the module to cool down: {begun:?}");
    assert_eq!(stage.step(&fleet).common_leaks[0].0, "m".into());
    let held = stage.supervisor.store().instances_bytes();
    assert!(held < 8 * 130_000, "{held}");
}

#[test]
fn a_new_controller_begins_without_a_storm() {
    let fleet = Leaky::fleet(&[0, 0, 300, 0, 400, 0]);
    let mut stage = Stage::new(Never);
    stage.steps(100, &fleet);
    stage.supervisor = Stage::supervisor(&stage.clock, PredictionInterval::default());
    assert_eq!(stage.steps(60, &fleet), [], "nobody has settled under its eyes");
    let begun = stage.steps(100, &fleet);
    assert!(begun.iter().all(|(_, id)| [2, 4].contains(id)), "{begun:?}");
    assert!(begun.iter().any(|(_, id)| *id == 2) && begun.iter().any(|(_, id)| *id == 4));
}

/// An instance that somebody else restarts whenever it is judged.
struct Changing {
    leaky: Leaky,
    incarnation: Arc<AtomicU64>,
}

impl Instance for Changing {
    fn id(&self) -> InstanceId {
        self.leaky.id()
    }

    fn module(&self) -> &ModuleName {
        self.leaky.module()
    }

    fn incarnation(&self) -> u64 {
        self.incarnation.load(Relaxed)
    }

    fn footprint(&self) -> Result<Footprint, SampleError> {
        self.leaky.footprint()
    }

    fn restart(&self) -> Result<(), RestartError> {
        panic!("another incarnation than the one that was judged")
    }
}

/// Judges the largest, and changes its incarnation meanwhile.
struct Meddler(Arc<AtomicU64>);

impl Policy for Meddler {
    fn name(&self) -> &str {
        "meddler"
    }

    fn judge(&mut self, view: &FleetView<'_>) -> Vec<Verdict> {
        self.0.fetch_add(1, Relaxed);
        LargestOnLowMemory::new(0.0).judge(view)
    }
}

#[test]
fn an_instance_that_vanishes_between_sample_and_restart_is_left_alone() {
    let incarnation = Arc::new(AtomicU64::new(0));
    let changing = |id| Changing { leaky: Leaky::new(id, 0), incarnation: incarnation.clone() };
    let fleet = [changing(0), changing(1)];
    let mut stage = Stage::new(Meddler(incarnation.clone()));
    for _ in 0..5 {
        stage.clock.advance(Duration::from_secs(10));
        let report = stage.supervisor.step(&[&fleet[0], &fleet[1]]);
        let why: Vec<Skip> = report.execution.skipped.iter().map(|one| one.why).collect();
        assert_eq!(why, [Skip::Gone, Skip::Gone]);
        assert!(report.execution.begun.is_empty() && report.execution.failed.is_empty());
    }
}

#[test]
fn instances_that_come_and_go_do_not_disturb_the_others() {
    let fleet = Leaky::fleet(&[0, 0, 200, 0, 0]);
    let mut stage = Stage::new(PredictionInterval::default());
    for step in 0..400 {
        let there = if step % 50 < 10 { &fleet[..4] } else { &fleet[..] };
        let report = stage.step(there);
        assert!(report.execution.begun.iter().all(|verdict| verdict.instance.0 == 2));
    }
    assert!(fleet[2].restarts.get() >= 2);
}

#[test]
fn clocks_that_jump_restart_nobody_and_lose_nothing() {
    let fleet = Leaky::fleet(&[0, 0, 0, 0, 0]);
    let mut stage = Stage::new(PredictionInterval::default());
    stage.steps(100, &fleet);
    stage.clock.advance(Duration::from_secs(12 * 3600));
    let report = stage.step(&fleet);
    assert!(matches!(report.clock_jump, Some(ClockJump::Forward(_))));
    assert_eq!(report.collection.unwrap().sampled, 5);
    stage.clock.set(Duration::from_secs(5));
    let report = stage.step(&fleet);
    assert!(matches!(report.clock_jump, Some(ClockJump::Backward(_))));
    assert_eq!(stage.steps(100, &fleet), []);
    let series = stage.supervisor.store().series(InstanceId(0)).unwrap();
    assert!(series.samples().len() >= 200, "{}", series.samples().len());
    assert!(series.age() < Duration::from_secs(2100), "{:?}", series.age());
}

#[test]
fn a_clock_that_jumps_ahead_ends_no_cool_down() {
    let fleet = Leaky::fleet(&[0, 0, 2000, 0, 0]);
    let mut stage = Stage::new(PredictionInterval::default());
    while fleet[2].restarts.get() == 0 {
        stage.step(&fleet);
    }
    let mut begun = Vec::new();
    for _ in 0..50 {
        stage.clock.advance(Duration::from_secs(24 * 3600));
        begun.extend(stage.step(&fleet).execution.begun);
    }
    assert_eq!(begun, []);
}

#[test]
fn a_restart_that_fails_is_tried_again_later_and_the_others_go_on() {
    let fleet = Leaky::fleet(&[0, 0, 300, 0, 200, 0]);
    *fleet[2].on_restart.borrow_mut() = Some(RestartError::Busy);
    let mut stage = Stage::new(PredictionInterval::default());
    let begun = stage.steps(300, &fleet);
    assert!(begun.iter().all(|(_, id)| *id == 4) && !begun.is_empty(), "{begun:?}");
    let tries = fleet[2].restarts.get();
    assert!((2..12).contains(&tries), "{tries}");
}
