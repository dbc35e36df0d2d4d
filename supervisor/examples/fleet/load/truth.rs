//! What is known of the instances because it was this program that asked them for it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::wire::{Cause, LoadReport, Need};

/// One instance: its client writes, the report reads.
#[derive(Debug)]
pub(crate) struct Known {
    id: u64,
    module: &'static str,
    leaks: bool,
    pub(crate) live_bytes: AtomicU64,
    pub(crate) leaked_bytes: AtomicU64,
    pub(crate) objects_lost: AtomicU64,
    requests: AtomicU64,
    failed: [AtomicU64; Cause::ALL.len()],
}

impl Known {
    /// Counts a request that was answered as it should be.
    pub(crate) fn succeeded(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request that failed.
    pub(crate) fn failed(&self, cause: Cause) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.failed[cause as usize].fetch_add(1, Ordering::Relaxed);
    }

    fn need(&self) -> Need {
        Need {
            id: self.id,
            module: self.module.to_owned(),
            live_bytes: self.live_bytes.load(Ordering::Relaxed),
            leaked_bytes: self.leaked_bytes.load(Ordering::Relaxed),
            leaks: self.leaks,
        }
    }
}

/// All instances.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    instances: Mutex<Vec<Arc<Known>>>,
}

impl Truth {
    /// A new instance to know of.
    pub(crate) fn instance(&self, id: u64, module: &'static str, leaks: bool) -> Arc<Known> {
        let known = Arc::new(Known {
            id,
            module,
            leaks,
            live_bytes: AtomicU64::new(0),
            leaked_bytes: AtomicU64::new(0),
            objects_lost: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            failed: Default::default(),
        });
        self.instances.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&known));
        known
    }

    pub(crate) fn report(&self) -> LoadReport {
        let instances = self.instances.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = |of: &dyn Fn(&Known) -> &AtomicU64| -> u64 {
            instances.iter().map(|known| of(known).load(Ordering::Relaxed)).sum()
        };
        let failed = Cause::ALL
            .map(|cause| (cause.name().to_owned(), sum(&|known| &known.failed[cause as usize])));
        LoadReport {
            instances: instances.iter().map(|known| known.need()).collect(),
            requests: sum(&|known| &known.requests),
            failed: BTreeMap::from(failed),
            objects_lost: sum(&|known| &known.objects_lost),
        }
    }
}
