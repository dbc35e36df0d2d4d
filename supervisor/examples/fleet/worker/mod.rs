//! A worker: several instances of several modules in one process, in one heap with a limit.

mod http;
mod metrics;
mod slot;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;

use capmalloc::{Heap, Limit};
use capmalloc_supervisor::wasm::{StorageInstance, WasmEngine, WasmModule};

use crate::options::WorkerOptions;
use crate::plan::MODULES;
use crate::process;
use crate::wire::{Outcome, WorkerReport};
use slot::Slot;

/// Slots are numbered over the whole fleet: the worker's number times this, and a count.
const SLOTS_PER_WORKER: u64 = 1000;

/// Threads of the server; instances run on others.
const SERVER_THREADS: usize = 2;

/// All that a worker has.
pub(crate) struct Worker {
    number: u64,
    heap: Arc<Heap>,
    slots: BTreeMap<u64, Arc<Slot>>,
}

impl Worker {
    fn new(options: &WorkerOptions) -> Result<Worker, Box<dyn std::error::Error>> {
        let heap = Arc::new(Heap::new()?);
        let engine = WasmEngine::new(Arc::clone(&heap))?;
        let modules = MODULES.iter().map(|module| StorageInstance::module(&engine, module.name));
        let modules: Vec<WasmModule> = modules.collect::<Result<_, _>>()?;
        let slots = (0..options.instances).zip(modules.iter().cycle()).map(|(count, module)| {
            let id = options.number * SLOTS_PER_WORKER + count;
            // An incarnation of a later worker process is a later one, whatever came before.
            let first_incarnation = options.generation << 32;
            Ok((id, Arc::new(Slot::start(id, module, first_incarnation)?)))
        });
        let slots = slots.collect::<Result<_, Box<dyn std::error::Error>>>()?;
        let worker = Worker { number: options.number, heap, slots };
        worker.set_limit(options.memory_limit << 20);
        Ok(worker)
    }

    fn slot(&self, id: u64) -> Option<&Arc<Slot>> {
        self.slots.get(&id)
    }

    /// Bounds what all instances hold together; what they hold already stays.
    fn set_limit(&self, bytes: u64) {
        self.heap.set_limit(Limit::ResidentHard, usize::try_from(bytes).ok());
    }

    /// All instances at this moment; it waits for none of them.
    fn report(&self) -> WorkerReport {
        let stats = self.heap.stats();
        WorkerReport {
            worker: self.number,
            resident_bytes: stats.resident_bytes as u64,
            limit_bytes: self.heap.limit(Limit::ResidentHard).map(|bytes| bytes as u64),
            refusals: stats.hard_limit_refusals as u64,
            instances: self.slots.values().map(|slot| slot.report()).collect(),
        }
    }
}

/// Runs a worker until it is killed.
pub(crate) fn run(options: &WorkerOptions) -> Outcome {
    process::die_with(options.role.parent);
    let worker = Arc::new(Worker::new(options)?);
    let served = process::serve(options.role.port, http::router(worker));
    process::runtime(SERVER_THREADS)?.block_on(served)?;
    Ok(ExitCode::SUCCESS)
}
