//! A place for one instance: its requests, its footprint and its restarts.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, TryLockError};
use std::time::Duration;

use capmalloc_supervisor::wasm::{CallError, StorageError, StorageInstance, WasmModule, WasmTimes};
use capmalloc_supervisor::{Instance as _, InstanceId, RestartError, SampleError};

use crate::wire::{Cause, InstanceReport};

/// How long an instance waits for what, in real time: many sample periods, and short for a person.
const TIMES: WasmTimes = WasmTimes {
    call_wait: Duration::from_millis(1200),
    unresponsive_after: Duration::from_millis(1000),
    drain: Duration::from_millis(200),
    interrupt: Duration::from_secs(2),
    start: Duration::from_secs(5),
};

/// Requests that may wait for an instance, each on a thread of its own.
const WAITING_MAX: usize = 8;

/// What an instance can be asked to do.
#[derive(Debug)]
pub(crate) enum Operation {
    Get {
        key: u64,
    },
    Put {
        key: u64,
        object: axum::body::Bytes,
    },
    Delete {
        key: u64,
    },
    /// Lose so many bytes.
    Leak {
        bytes: u32,
    },
    /// Run until it is restarted.
    Hang,
}

/// What came of an operation.
pub(crate) enum Answer {
    Object(Vec<u8>),
    Done,
}

/// Why an instance was not restarted.
#[derive(Debug)]
pub(crate) enum NotRestarted {
    /// It is a later incarnation than the one meant.
    Changed,
    /// A restart is on its way already.
    UnderWay,
    /// It did not end, or another could not be started.
    Failed(RestartError),
}

/// One instance's place in a worker.
pub(crate) struct Slot {
    storage: StorageInstance,
    /// Held for the whole of a restart, so that the incarnation meant is the one restarted.
    restarting: Mutex<()>,
    first_incarnation: u64,
    /// What an instance holds before its first request.
    base_bytes: u64,
    /// The footprint that could be taken last.
    footprint_bytes: AtomicU64,
    waiting: AtomicUsize,
}

impl Slot {
    pub(crate) fn start(
        id: u64,
        module: &WasmModule,
        first_incarnation: u64,
    ) -> Result<Slot, Box<dyn std::error::Error>> {
        let storage = StorageInstance::new(InstanceId(id), module, TIMES)?;
        let base_bytes = storage.footprint()?.resident_bytes;
        Ok(Slot {
            storage,
            restarting: Mutex::new(()),
            first_incarnation,
            base_bytes,
            footprint_bytes: AtomicU64::new(base_bytes),
            waiting: AtomicUsize::new(0),
        })
    }

    pub(crate) fn id(&self) -> u64 {
        self.storage.id().0
    }

    pub(crate) fn module(&self) -> &str {
        self.storage.module().as_str()
    }

    pub(crate) fn incarnation(&self) -> u64 {
        self.first_incarnation + self.storage.incarnation()
    }

    /// Does it on this thread, which may have to wait for the instance.
    pub(crate) fn perform(&self, operation: &Operation) -> Result<Answer, Cause> {
        let waiting = self.waiting.fetch_add(1, Ordering::Relaxed);
        let outcome = match waiting < WAITING_MAX {
            true => self.call(operation),
            false => Err(Cause::Unresponsive),
        };
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        outcome
    }

    fn call(&self, operation: &Operation) -> Result<Answer, Cause> {
        let storage = &self.storage;
        let outcome = match operation {
            Operation::Get { key } => storage
                .get(&key.to_le_bytes())
                .map(|object| object.map(Answer::Object).ok_or(Cause::Lost)),
            Operation::Put { key, object } => {
                storage.put(&key.to_le_bytes(), object).map(|_replaced| Ok(Answer::Done))
            }
            Operation::Delete { key } => storage
                .delete(&key.to_le_bytes())
                .map(|found| if found { Ok(Answer::Done) } else { Err(Cause::Lost) }),
            Operation::Leak { bytes } => storage.leak(*bytes).map(|()| Ok(Answer::Done)),
            Operation::Hang => storage.hang().map(|()| Ok(Answer::Done)),
        };
        outcome.unwrap_or_else(|error| Err(self.cause(&error)))
    }

    fn cause(&self, error: &StorageError) -> Cause {
        match error {
            StorageError::OutOfMemory(_) => Cause::OutOfMemory,
            StorageError::Call(CallError::Busy) => Cause::Unresponsive,
            StorageError::Call(CallError::Interrupted) => Cause::Restarting,
            StorageError::Call(CallError::Stopped(_)) => Cause::Stopped,
            error => {
                eprintln!("fleet: instance {}: {error}", self.id());
                Cause::Other
            }
        }
    }

    pub(crate) fn report(&self) -> InstanceReport {
        let footprint = self.storage.footprint();
        if let Ok(footprint) = &footprint {
            self.footprint_bytes.store(footprint.resident_bytes, Ordering::Relaxed);
        }
        InstanceReport {
            id: self.id(),
            module: self.module().to_owned(),
            incarnation: self.incarnation(),
            responsive: footprint.is_ok(),
            stopped: matches!(footprint, Err(SampleError::Stopped(_))),
            trouble: footprint.err().as_ref().map(SampleError::to_string),
            footprint_bytes: self.footprint_bytes.load(Ordering::Relaxed),
            base_bytes: self.base_bytes,
            restarts: self.storage.incarnation(),
        }
    }

    /// Replaces the instance by a fresh one, if it is still the incarnation that is meant.
    pub(crate) fn restart(&self, incarnation: Option<u64>) -> Result<(), NotRestarted> {
        let _restarting = match self.restarting.try_lock() {
            Err(TryLockError::WouldBlock) => return Err(NotRestarted::UnderWay),
            // There is nothing behind the lock that a panic could have left half done.
            Err(TryLockError::Poisoned(error)) => error.into_inner(),
            Ok(guard) => guard,
        };
        if incarnation.is_some_and(|meant| meant != self.incarnation()) {
            return Err(NotRestarted::Changed);
        }
        self.storage.restart().map_err(NotRestarted::Failed)
    }
}
