//! A fleet of processes: all of it starts together, and what dies is started anew.

use std::time::{Duration, Instant};

use super::process::Process;
use crate::options::{Experiment, PolicyName};
use crate::wire::{ControllerReport, LoadReport, WorkerReport};

/// How long a look at a process may take.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);

/// How long after its start a process that dies again is left dead.
const BACK_OFF: Duration = Duration::from_millis(500);

/// A process that is replaced when it dies.
struct Kept {
    process: Process,
    arguments: Vec<String>,
    url: String,
    started: Instant,
    /// How many processes there have been.
    generation: u64,
}

/// Controller, workers and load generator.
pub(super) struct Fleet {
    load: Process,
    load_report: LoadReport,
    controller: Kept,
    workers: Vec<Kept>,
    agent: ureq::Agent,
}

/// What could be seen of a fleet at one moment.
#[derive(Debug, Default)]
pub(super) struct Look {
    pub(super) controller: Option<ControllerReport>,
    pub(super) workers: Vec<Option<WorkerReport>>,
    pub(super) load: LoadReport,
}

impl Fleet {
    pub(super) fn start(
        experiment: &Experiment,
        policy: PolicyName,
        seed: u64,
    ) -> Result<Fleet, String> {
        let workers = (0..experiment.workers).map(|number| Kept::start(worker(experiment, number)));
        let workers = workers.collect::<Result<Vec<_>, _>>()?;
        let urls: Vec<&str> = workers.iter().map(|worker| worker.url.as_str()).collect();
        let urls = urls.join(",");
        let controller = Kept::start(controller(experiment, policy, &urls))?;
        let load = Process::start(&load(experiment, seed, &urls))?;
        let agent = ureq::Agent::config_builder().timeout_global(Some(LOOK_TIMEOUT)).build().into();
        Ok(Fleet { load, load_report: LoadReport::default(), controller, workers, agent })
    }

    /// Replaces what has died; without the load generator there is nothing to measure.
    pub(super) fn tend(&mut self) -> Result<(), String> {
        for kept in self.workers.iter_mut().chain([&mut self.controller]) {
            kept.tend()?;
        }
        if self.load.is_running() { Ok(()) } else { Err("the load generator has ended".to_owned()) }
    }

    pub(super) fn look(&mut self) -> Look {
        if let Some(line) = self.load.last_line() {
            match serde_json::from_str(&line) {
                Ok(report) => self.load_report = report,
                Err(error) => eprintln!("fleet: the load generator says {line:?}: {error}"),
            }
        }
        Look {
            controller: self.get(&self.controller.url, "state"),
            workers: self.workers.iter().map(|kept| self.get(&kept.url, "footprints")).collect(),
            load: self.load_report.clone(),
        }
    }

    fn get<T: serde::de::DeserializeOwned>(&self, url: &str, what: &str) -> Option<T> {
        let response = self.agent.get(format!("{url}/{what}")).call();
        response.ok()?.body_mut().read_json().ok()
    }
}

impl Kept {
    fn start(arguments: Vec<String>) -> Result<Kept, String> {
        let process = Process::start(&arguments)?;
        let url = process.ready()?;
        Ok(Kept { process, arguments, url, started: Instant::now(), generation: 1 })
    }

    /// Starts a successor at the same address where the process has died, but not at once where it
    /// dies again and again.
    fn tend(&mut self) -> Result<(), String> {
        if self.process.is_running() || self.started.elapsed() < BACK_OFF {
            return Ok(());
        }
        let port = self.url.rsplit(':').next().unwrap_or("0");
        let mut arguments = self.arguments.clone();
        arguments.extend(["--port".to_owned(), port.to_owned()]);
        self.generation += 1;
        if arguments[0] == "worker" {
            arguments.extend(["--generation".to_owned(), self.generation.to_string()]);
        }
        self.started = Instant::now();
        self.process = Process::start(&arguments)?;
        Ok(())
    }
}

/// A command line from words and numbers.
fn words(words: &[&dyn std::fmt::Display]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

fn worker(experiment: &Experiment, number: u64) -> Vec<String> {
    let share = (experiment.memory_limit / experiment.workers).max(1);
    let (factor, instances) = (&experiment.time.factor, &experiment.instances);
    words(&[
        &"worker",
        &"--number",
        &number,
        &"--factor",
        factor,
        &"--instances",
        instances,
        &"--memory-limit",
        &share,
    ])
}

fn controller(experiment: &Experiment, policy: PolicyName, urls: &str) -> Vec<String> {
    let (factor, limit) = (&experiment.time.factor, &experiment.memory_limit);
    words(&[
        &"controller",
        &"--policy",
        &policy.name(),
        &"--factor",
        factor,
        &"--memory-limit",
        limit,
        &"--least-growth",
        &experiment.estimate.least_growth,
        &"--workers",
        &urls,
    ])
}

fn load(experiment: &Experiment, seed: u64, urls: &str) -> Vec<String> {
    let (factor, leaking) = (&experiment.time.factor, &experiment.leaking);
    words(&[
        &"load",
        &"--seed",
        &seed,
        &"--factor",
        factor,
        &"--leaking",
        leaking,
        &"--workers",
        &urls,
    ])
}
