//! The controller: samples the workers' instances and restarts those that its policy names.

mod fleet;
mod http;
mod journal;
mod metrics;
mod remote;

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use capmalloc_supervisor::{
    AcceleratedClock, EstimatorConfig, HostMemory, LargestOnLowMemory, MeanInterval, Never,
    OldestOnLowMemory, Policy, PredictionInterval, Supervisor, SupervisorConfig,
};

use crate::options::{ControllerOptions, PolicyName};
use crate::process;
use crate::wire::{ControllerReport, Outcome};
use fleet::RemoteFleet;
use journal::Journal;

/// What the server tells and the loop writes.
pub(crate) type Shared = Arc<Mutex<ControllerReport>>;

/// The least that the loop sleeps, however fast time runs.
const PAUSE_MIN: Duration = Duration::from_millis(2);

/// Runs a controller until it is killed.
pub(crate) fn run(options: &ControllerOptions) -> Outcome {
    process::die_with(options.role.parent);
    let shared = Shared::default();
    let served = process::serve(options.role.port, http::router(Arc::clone(&shared)));
    let runtime = process::runtime(1)?;
    let server = runtime.spawn(served);
    let mut fleet = RemoteFleet::new(&options.workers, options.memory_limit << 20);
    let used = Arc::new(AtomicU64::new(0));
    let mut supervisor = supervisor(options, Arc::clone(&used));
    let mut journal = Journal::new(options.policy.name(), options.memory_limit << 20);
    while !server.is_finished() {
        fleet.refresh();
        fleet.share_limit();
        used.store(fleet.used_bytes(), Ordering::Relaxed);
        let report = supervisor.step(&fleet.instances());
        if report.collection.is_some() {
            let told = journal.enter(&report, &supervisor, &fleet);
            *shared.lock().unwrap_or_else(PoisonError::into_inner) = told;
        }
        thread::sleep(options.role.time.real(supervisor.until_due()).max(PAUSE_MIN));
    }
    runtime.block_on(server)??;
    Ok(ExitCode::SUCCESS)
}

/// A supervisor that begins with nothing known; `used` is what the workers hold.
fn supervisor(options: &ControllerOptions, used: Arc<AtomicU64>) -> Supervisor {
    let limit_bytes = options.memory_limit << 20;
    // What the limit counts is what is used: more than the footprints, by what heaps keep.
    let host = move |_instances_bytes| HostMemory {
        used_bytes: used.load(Ordering::Relaxed),
        limit_bytes,
    };
    let clock = AcceleratedClock::new(options.role.time.factor);
    Supervisor::new(SupervisorConfig::default(), clock, host, policy(options))
}

fn policy(options: &ControllerOptions) -> Box<dyn Policy + Send> {
    match options.policy {
        PolicyName::Mean => Box::new(MeanInterval::default()),
        PolicyName::Prediction => Box::new(PredictionInterval::new(EstimatorConfig {
            least_growth_per_hour: options.estimate.least_growth,
            ..EstimatorConfig::default()
        })),
        PolicyName::Largest => Box::new(LargestOnLowMemory::default()),
        PolicyName::Oldest => Box::new(OldestOnLowMemory::default()),
        PolicyName::None => Box::new(Never),
    }
}
