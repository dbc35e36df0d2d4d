//! The executor's care, case by case and against a model.

use proptest::prelude::*;

use super::*;
use crate::policy::Reason;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn status(id: u64, module: &str, incarnation: u64, health: Health) -> InstanceStatus {
    InstanceStatus { id: InstanceId(id), module: module.into(), incarnation, health }
}

/// Healthy instances of one module, in their first incarnation.
fn module(instances: u64) -> Vec<InstanceStatus> {
    (0..instances).map(|id| status(id, "m", 0, Health::Healthy)).collect()
}

fn verdict(id: u64, incarnation: u64) -> Verdict {
    Verdict { instance: InstanceId(id), incarnation, reason: Reason::Hung }
}

fn why(execution: &Execution) -> Vec<Skip> {
    execution.skipped.iter().map(|skipped| skipped.why).collect()
}

fn run(
    executor: &mut Executor,
    at: u64,
    statuses: &[InstanceStatus],
    verdicts: &[Verdict],
) -> Execution {
    let execution = executor.execute(seconds(at), statuses, verdicts, &mut |_| Ok(()));
    executor.check();
    execution
}

#[test]
fn one_restart_at_a_time_and_the_next_when_it_has_ended_and_the_module_cooled_down() {
    let mut executor = Executor::new(ExecutorConfig::default());
    let mut statuses = module(3);
    let all = [verdict(0, 0), verdict(1, 0)];
    let first = run(&mut executor, 0, &statuses, &all);
    assert_eq!((first.begun.len(), why(&first)), (1, vec![Skip::ModuleCoolsDown]));
    let second = run(&mut executor, 70, &statuses, &all);
    assert_eq!(why(&second), [Skip::UnderWay, Skip::TooManyAtOnce]);
    statuses[0].incarnation = 1;
    let third = run(&mut executor, 80, &statuses, &all);
    assert_eq!(third.completed, [InstanceId(0)]);
    assert_eq!((third.begun[0].instance, why(&third)[0]), (InstanceId(1), Skip::OtherIncarnation));
}

#[test]
fn an_instance_that_was_restarted_cools_down() {
    let mut executor = Executor::new(ExecutorConfig::default());
    let mut statuses = module(3);
    run(&mut executor, 0, &statuses, &[verdict(0, 0)]);
    statuses[0].incarnation = 1;
    let cooling = run(&mut executor, 100, &statuses, &[verdict(0, 1)]);
    assert_eq!(why(&cooling), [Skip::InstanceCoolsDown]);
    assert_eq!(why(&run(&mut executor, 699, &statuses, &[verdict(0, 1)])).len(), 1);
    assert_eq!(run(&mut executor, 700, &statuses, &[verdict(0, 1)]).begun.len(), 1);
}

#[test]
fn the_last_healthy_instance_of_a_module_stays() {
    let mut executor = Executor::new(ExecutorConfig::default());
    let mut statuses = module(2);
    statuses.push(status(2, "n", 0, Health::Healthy));
    statuses[1].health = Health::Hung;
    let refused = run(&mut executor, 0, &statuses, &[verdict(0, 0), verdict(2, 0)]);
    assert_eq!(why(&refused), [Skip::LastHealthy, Skip::LastHealthy]);
    let hung = run(&mut executor, 0, &statuses, &[verdict(1, 0)]);
    assert_eq!(hung.begun.len(), 1, "it hangs, and another one serves");
    let mut executor = Executor::new(ExecutorConfig { concurrent_max: 9, ..no_waiting() });
    let all: Vec<Verdict> = (0..4).map(|id| verdict(id, 0)).collect();
    let begun = run(&mut executor, 0, &module(4), &all);
    assert_eq!((begun.begun.len(), why(&begun)), (3, vec![Skip::LastHealthy]));
}

fn no_waiting() -> ExecutorConfig {
    ExecutorConfig {
        instance_cool_down: Duration::ZERO,
        module_cool_down: Duration::ZERO,
        ..ExecutorConfig::default()
    }
}

#[test]
fn where_all_hang_none_is_restarted() {
    let mut executor = Executor::new(no_waiting());
    let statuses: Vec<_> = (0..3).map(|id| status(id, "m", 0, Health::Hung)).collect();
    let all: Vec<Verdict> = (0..3).map(|id| verdict(id, 0)).collect();
    assert_eq!(why(&run(&mut executor, 0, &statuses, &all)), [Skip::LastHealthy; 3]);
}

#[test]
fn one_that_has_ended_is_restarted_though_it_is_the_last() {
    let mut executor = Executor::new(no_waiting());
    let statuses = [status(0, "m", 0, Health::Stopped), status(1, "m", 0, Health::Hung)];
    let execution = run(&mut executor, 0, &statuses, &[verdict(0, 0), verdict(1, 0)]);
    assert_eq!(execution.begun.len(), 1);
    assert_eq!(execution.begun[0].instance, InstanceId(0));
    assert_eq!(why(&execution), [Skip::LastHealthy], "the other may yet be at work");
}

#[test]
fn a_failed_restart_backs_off_ever_longer() {
    let mut executor = Executor::new(ExecutorConfig::default());
    let statuses = module(2);
    let mut tried_at = Vec::new();
    for at in 0..6000 {
        let mut fail = |_: &Verdict| {
            tried_at.push(at);
            Err(RestartError::Busy)
        };
        let execution = executor.execute(seconds(at), &statuses, &[verdict(0, 0)], &mut fail);
        assert!(execution.begun.is_empty());
        executor.check();
    }
    assert_eq!(tried_at, [0, 60, 180, 420, 900, 1860, 3780]);
}

/// A restart that fails may have ended the instance, which the statuses do not show yet.
#[test]
fn restarts_that_fail_do_not_go_through_a_module_one_after_another() {
    let verdicts: Vec<Verdict> = (0..4).map(|id| verdict(id, 0)).collect();
    let mut fail = |_: &Verdict| Err(RestartError::Failed("no memory".to_owned()));
    let mut executor = Executor::new(ExecutorConfig::default());
    let first = executor.execute(seconds(0), &module(4), &verdicts, &mut fail);
    assert_eq!((first.failed.len(), why(&first)), (1, vec![Skip::ModuleCoolsDown; 3]));
    for refusal in [RestartError::Busy, RestartError::Failed("no memory".to_owned())] {
        let mut executor = Executor::new(no_waiting());
        let refused = &mut |_: &Verdict| Err(refusal.clone());
        let execution = executor.execute(seconds(0), &module(4), &verdicts, refused);
        assert_eq!((execution.failed.len(), why(&execution)), (3, vec![Skip::LastHealthy]));
    }
}

#[test]
fn a_restart_that_does_not_end_counts_as_failed_and_lets_others_go_on() {
    let mut executor = Executor::new(ExecutorConfig::default());
    let statuses = module(3);
    run(&mut executor, 0, &statuses, &[verdict(0, 0)]);
    assert!(run(&mut executor, 120, &statuses, &[]).timed_out.is_empty());
    let late = run(&mut executor, 121, &statuses, &[verdict(0, 0), verdict(1, 0)]);
    assert_eq!(
        (late.timed_out.as_slice(), why(&late)),
        (&[InstanceId(0)][..], vec![Skip::BacksOff])
    );
    assert_eq!(late.begun[0].instance, InstanceId(1));
}

#[test]
fn what_vanished_is_neither_restarted_nor_waited_for() {
    let mut executor = Executor::new(no_waiting());
    let statuses = module(3);
    run(&mut executor, 0, &statuses, &[verdict(0, 0)]);
    let gone = run(&mut executor, 10, &statuses[1..], &[verdict(0, 0), verdict(1, 0)]);
    assert_eq!((gone.vanished.as_slice(), why(&gone)), (&[InstanceId(0)][..], vec![Skip::Gone]));
    assert_eq!(gone.begun.len(), 1);
    let mut gone_meanwhile = |_: &Verdict| Err(RestartError::Gone);
    let mut executor = Executor::new(ExecutorConfig::default());
    let verdicts = [verdict(1, 0)];
    let skipped = executor.execute(seconds(0), &statuses, &verdicts, &mut gone_meanwhile);
    assert_eq!(why(&skipped), [Skip::Gone]);
    assert_eq!(run(&mut executor, 1, &statuses, &verdicts).begun.len(), 1, "nothing has to wait");
}

#[test]
fn a_wait_may_be_for_good() {
    let for_good = ExecutorConfig {
        instance_cool_down: Duration::MAX,
        module_cool_down: Duration::MAX,
        back_off_first: Duration::MAX,
        back_off_max: Duration::MAX,
        ..ExecutorConfig::default()
    };
    let mut statuses = module(3);
    let mut executor = Executor::new(for_good);
    run(&mut executor, 5, &statuses, &[verdict(0, 0)]);
    statuses[0].incarnation = 1;
    let ended = run(&mut executor, 10, &statuses, &[verdict(0, 1), verdict(1, 0)]);
    assert_eq!(why(&ended), [Skip::InstanceCoolsDown, Skip::ModuleCoolsDown]);
    let mut fail = |_: &Verdict| Err(RestartError::Busy);
    let mut executor = Executor::new(for_good);
    let failed = executor.execute(seconds(5), &statuses, &[verdict(1, 0)], &mut fail);
    assert_eq!(failed.failed.len(), 1);
    assert_eq!(why(&run(&mut executor, 1_000_000, &statuses, &[verdict(1, 0)])), [Skip::BacksOff]);
}

/// What happens to a fleet of two modules.
#[derive(Clone, Debug)]
enum Action {
    /// Verdicts on these instances; the bit of those whose restart fails at once.
    Judge {
        ids: Vec<u64>,
        fails: u8,
    },
    Pass {
        seconds: u64,
    },
    /// The restart of an instance, if one is under way, ends.
    Complete {
        id: u64,
    },
    Hang {
        id: u64,
    },
    Recover {
        id: u64,
    },
    Vanish {
        id: u64,
    },
    Appear {
        id: u64,
    },
}

const INSTANCES: u64 = 7;

fn action() -> impl Strategy<Value = Action> {
    let id = || 0..INSTANCES;
    prop_oneof![
        6 => (proptest::collection::vec(id(), 1..8), any::<u8>())
            .prop_map(|(ids, fails)| Action::Judge { ids, fails: fails & (fails >> 4) }),
        4 => (1..400_u64).prop_map(|seconds| Action::Pass { seconds }),
        4 => id().prop_map(|id| Action::Complete { id }),
        1 => id().prop_map(|id| Action::Hang { id }),
        2 => id().prop_map(|id| Action::Recover { id }),
        1 => id().prop_map(|id| Action::Vanish { id }),
        2 => id().prop_map(|id| Action::Appear { id }),
    ]
}

/// What the test knows of an instance, apart from the executor.
#[derive(Clone, Debug)]
struct Slot {
    is_there: bool,
    health: Health,
    incarnation: u64,
    /// Its restart was begun and has not ended.
    is_restarting: bool,
    completed: Option<u64>,
}

struct Model {
    slots: Vec<Slot>,
    now: u64,
    config: ExecutorConfig,
    begun: BTreeMap<&'static str, u64>,
}

impl Model {
    fn new(config: ExecutorConfig) -> Model {
        let slot = Slot {
            is_there: true,
            health: Health::Healthy,
            incarnation: 0,
            is_restarting: false,
            completed: None,
        };
        Model { slots: vec![slot; INSTANCES as usize], now: 0, config, begun: BTreeMap::new() }
    }

    fn module(id: u64) -> &'static str {
        if id < 4 { "a" } else { "b" }
    }

    fn statuses(&self) -> Vec<InstanceStatus> {
        let there = (0..).zip(&self.slots).filter(|(_, slot)| slot.is_there);
        there
            .map(|(id, slot)| status(id, Model::module(id), slot.incarnation, slot.health))
            .collect()
    }

    /// Others of the module that serve, and whose restart is not under way.
    fn others_that_serve(&self, id: u64, executor_says: &[InstanceId]) -> usize {
        let others = (0..).zip(&self.slots).filter(|(other, slot)| {
            *other != id
                && Model::module(*other) == Model::module(id)
                && slot.is_there
                && slot.health == Health::Healthy
                && !executor_says.contains(&InstanceId(*other))
        });
        others.count()
    }

    fn act(&mut self, action: &Action) {
        match *action {
            Action::Judge { .. } => {}
            Action::Pass { seconds } => self.now += seconds,
            Action::Complete { id } => {
                let slot = &mut self.slots[id as usize];
                if std::mem::take(&mut slot.is_restarting) {
                    slot.incarnation += 1;
                    slot.health = Health::Healthy;
                }
            }
            Action::Hang { id } => self.slots[id as usize].health = Health::Hung,
            Action::Recover { id } => self.slots[id as usize].health = Health::Healthy,
            Action::Vanish { id } => self.slots[id as usize].is_there = false,
            Action::Appear { id } => self.slots[id as usize].is_there = true,
        }
    }

    /// Checks a step's outcome, restart by restart.
    fn verify(
        &mut self,
        execution: &Execution,
        before: &[InstanceId],
    ) -> Result<(), TestCaseError> {
        for id in &execution.completed {
            self.slots[id.0 as usize].completed = Some(self.now);
        }
        let begun = execution.begun.iter().map(|verdict| verdict.instance);
        let failed = execution.failed.iter().map(|(id, _)| *id);
        let touched: Vec<InstanceId> = begun.chain(failed).collect();
        for id in &touched {
            prop_assert!(self.others_that_serve(id.0, &touched) > 0, "no other is left: {id}");
        }
        let ended = [&execution.completed, &execution.timed_out, &execution.vanished];
        let is_over = |id: &&InstanceId| !ended.iter().any(|list| list.contains(id));
        let mut under_way: Vec<InstanceId> = before.iter().filter(is_over).copied().collect();
        for verdict in &execution.begun {
            let id = verdict.instance;
            prop_assert!(self.others_that_serve(id.0, &under_way) > 0, "the last one: {id}");
            prop_assert!(!under_way.contains(&id), "twice at once: {id}");
            under_way.push(id);
            prop_assert!(under_way.len() <= self.config.concurrent_max);
            let slot = &mut self.slots[id.0 as usize];
            prop_assert!(slot.is_there && slot.incarnation == verdict.incarnation);
            let cool_down = self.config.instance_cool_down.as_secs();
            prop_assert!(slot.completed.is_none_or(|at| self.now >= at + cool_down), "{id} is hot");
            slot.is_restarting = true;
            let last = self.begun.insert(Model::module(id.0), self.now);
            let cool_down = self.config.module_cool_down.as_secs();
            prop_assert!(last.is_none_or(|at| self.now >= at + cool_down), "a hot module");
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn whatever_happens_restarts_are_careful(
        concurrent_max in 1..4_usize,
        module_cool_down in prop_oneof![Just(0), Just(60_u64)],
        actions in proptest::collection::vec(action(), 1..120),
    ) {
        let config = ExecutorConfig {
            concurrent_max,
            module_cool_down: seconds(module_cool_down),
            ..ExecutorConfig::default()
        };
        let (mut executor, mut model) = (Executor::new(config), Model::new(config));
        for action in &actions {
            model.act(action);
            let (ids, fails) = match action {
                Action::Judge { ids, fails } => (ids.as_slice(), *fails),
                _ => (&[][..], 0),
            };
            let incarnation = |id: u64| model.slots[id as usize].incarnation;
            let verdicts: Vec<_> = ids.iter().map(|&id| verdict(id, incarnation(id))).collect();
            let before: Vec<InstanceId> = executor.under_way().collect();
            let mut restart = |verdict: &Verdict| match fails >> verdict.instance.0 & 1 {
                0 => Ok(()),
                _ if verdict.instance.0.is_multiple_of(2) => Err(RestartError::Busy),
                _ => Err(RestartError::Failed("it was tried".to_owned())),
            };
            let statuses = model.statuses();
            let execution = executor.execute(seconds(model.now), &statuses, &verdicts, &mut restart);
            executor.check();
            model.verify(&execution, &before)?;
            prop_assert_eq!(
                execution.begun.len() + execution.skipped.len() + execution.failed.len(),
                verdicts.len()
            );
        }
    }
}
