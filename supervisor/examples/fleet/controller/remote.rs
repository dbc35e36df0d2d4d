//! Workers and their instances, seen over HTTP.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use capmalloc_supervisor::{
    Footprint, Instance, InstanceId, ModuleName, RestartError, SampleError,
};

use crate::wire::WorkerReport;

/// How long a worker may take to answer; its instances do not keep it from that.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(750);

/// A worker process.
#[derive(Debug)]
pub(super) struct RemoteWorker {
    url: String,
    agent: ureq::Agent,
    /// Its last answer, or why there is none.
    latest: Mutex<Result<WorkerReport, SampleError>>,
}

impl RemoteWorker {
    pub(super) fn new(url: &str) -> RemoteWorker {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(ANSWER_TIMEOUT))
            .build();
        let latest = Mutex::new(Err(SampleError::Unresponsive));
        RemoteWorker { url: url.to_owned(), agent: agent.into(), latest }
    }

    /// Asks the worker for all of its instances at once.
    pub(super) fn refresh(&self) {
        let answer = self.ask();
        *self.latest() = answer;
    }

    fn ask(&self) -> Result<WorkerReport, SampleError> {
        let response = self.agent.get(format!("{}/footprints", self.url)).call();
        let mut response = response.map_err(sample_error)?;
        response.body_mut().read_json().map_err(sample_error)
    }

    pub(super) fn latest(&self) -> MutexGuard<'_, Result<WorkerReport, SampleError>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says how much memory its instances may hold together.
    pub(super) fn set_limit(&self, bytes: u64) {
        // A worker that does not hear it has the limit that it had, and is told again soon.
        let _ = self.agent.post(format!("{}/limit?bytes={bytes}", self.url)).send_empty();
    }
}

/// A worker that cannot be reached at all has ended; one that is late has not, for all we know.
fn sample_error(error: ureq::Error) -> SampleError {
    match error {
        ureq::Error::Timeout(_) => SampleError::Unresponsive,
        ureq::Error::Io(error) if error.kind() == io::ErrorKind::TimedOut => {
            SampleError::Unresponsive
        }
        ureq::Error::Io(_) | ureq::Error::ConnectionFailed => SampleError::Gone,
        error => SampleError::Failed(error.to_string()),
    }
}

/// An instance in a worker process.
#[derive(Debug)]
pub(super) struct RemoteInstance {
    id: InstanceId,
    module: ModuleName,
    /// The incarnation that was seen last.
    incarnation: AtomicU64,
    worker: Arc<RemoteWorker>,
}

impl RemoteInstance {
    pub(super) fn new(id: u64, module: &str, worker: &Arc<RemoteWorker>) -> RemoteInstance {
        RemoteInstance {
            id: InstanceId(id),
            module: ModuleName::new(module),
            incarnation: AtomicU64::new(0),
            worker: Arc::clone(worker),
        }
    }

    pub(super) fn saw(&self, incarnation: u64) {
        self.incarnation.store(incarnation, Ordering::Relaxed);
    }
}

impl Instance for RemoteInstance {
    fn id(&self) -> InstanceId {
        self.id
    }

    fn module(&self) -> &ModuleName {
        &self.module
    }

    fn incarnation(&self) -> u64 {
        self.incarnation.load(Ordering::Relaxed)
    }

    /// What the worker's last answer says of it.
    fn footprint(&self) -> Result<Footprint, SampleError> {
        let latest = self.worker.latest();
        let report = latest.as_ref().map_err(Clone::clone)?;
        let instance = report.instances.iter().find(|instance| instance.id == self.id.0);
        match instance {
            None => Err(SampleError::Gone),
            Some(instance) if instance.stopped => {
                Err(SampleError::Stopped(instance.trouble.clone().unwrap_or_default()))
            }
            Some(instance) if !instance.responsive => Err(SampleError::Unresponsive),
            Some(instance) => Ok(Footprint::resident(instance.footprint_bytes)),
        }
    }

    /// Asks for it, and does not wait for an instance that is slow to end.
    fn restart(&self) -> Result<(), RestartError> {
        let (id, incarnation) = (self.id.0, self.incarnation());
        let url = format!("{}/restart/{id}?incarnation={incarnation}", self.worker.url);
        let mut response = self.worker.agent.post(url).send_empty().map_err(restart_error)?;
        match response.status().as_u16() {
            200..300 => Ok(()),
            404 | 410 => Err(RestartError::Gone),
            409 => Err(RestartError::Busy),
            status => {
                let reason = response.body_mut().read_to_string().unwrap_or_default();
                Err(RestartError::Failed(format!("status {status}: {}", reason.trim())))
            }
        }
    }
}

fn restart_error(error: ureq::Error) -> RestartError {
    match sample_error(error) {
        SampleError::Gone => RestartError::Gone,
        error => RestartError::Failed(error.to_string()),
    }
}
