//! All instances that the controller knows of, and the memory that it hands to their workers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;

use capmalloc_supervisor::{Health, Instance, InstanceStatus};

use super::remote::{RemoteInstance, RemoteWorker};
use crate::wire::InstanceState;

/// A worker's limit is set anew when it is off by this part of the host's memory.
const LIMIT_STEP: u64 = 256;

/// One instance and where it is.
struct Member {
    instance: RemoteInstance,
    worker: usize,
    footprint_bytes: u64,
}

/// The workers of a fleet and their instances.
pub(super) struct RemoteFleet {
    workers: Vec<Arc<RemoteWorker>>,
    /// Whatever was seen once stays: one whose worker has ended is gone, and may come back.
    members: BTreeMap<u64, Member>,
    limit_bytes: u64,
}

impl RemoteFleet {
    pub(super) fn new(urls: &[String], limit_bytes: u64) -> RemoteFleet {
        let workers = urls.iter().map(|url| Arc::new(RemoteWorker::new(url))).collect();
        RemoteFleet { workers, members: BTreeMap::new(), limit_bytes }
    }

    /// Asks all workers, each on a thread of its own, so that one that hangs delays no other.
    pub(super) fn refresh(&mut self) {
        thread::scope(|scope| {
            for worker in &self.workers {
                scope.spawn(|| worker.refresh());
            }
        });
        for (index, worker) in self.workers.iter().enumerate() {
            let latest = worker.latest();
            for seen in latest.iter().flat_map(|report| &report.instances) {
                let member = self.members.entry(seen.id).or_insert_with(|| Member {
                    instance: RemoteInstance::new(seen.id, &seen.module, worker),
                    worker: index,
                    footprint_bytes: 0,
                });
                member.instance.saw(seen.incarnation);
                member.footprint_bytes = seen.footprint_bytes;
            }
        }
    }

    /// All instances as the library sees them.
    pub(super) fn instances(&self) -> Vec<&dyn Instance> {
        self.members.values().map(|member| &member.instance as &dyn Instance).collect()
    }

    /// What the workers that answer hold.
    pub(super) fn used_bytes(&self) -> u64 {
        self.held().into_iter().flatten().map(|(bytes, _)| bytes).sum()
    }

    /// What each worker holds and may hold, or none for one that does not answer.
    fn held(&self) -> Vec<Option<(u64, Option<u64>)>> {
        let held = self.workers.iter().map(|worker| {
            let latest = worker.latest();
            latest.as_ref().ok().map(|report| (report.resident_bytes, report.limit_bytes))
        });
        held.collect()
    }

    /// Hands out the host's memory: each worker may have what it holds and an equal part of what is
    /// free. So the limits of those that answer never come to more than the host's; one that is late
    /// keeps the limit that it has, which is not known and not set aside.
    pub(super) fn share_limit(&self) {
        let held = self.held();
        let used: u64 = held.iter().flatten().map(|(bytes, _)| bytes).sum();
        let share = self.limit_bytes.saturating_sub(used) / self.workers.len() as u64;
        for (worker, held) in self.workers.iter().zip(held) {
            let Some((bytes, limit)) = held else { continue };
            let wanted = bytes + share;
            if limit.is_none_or(|limit| limit.abs_diff(wanted) > self.limit_bytes / LIMIT_STEP) {
                worker.set_limit(wanted);
            }
        }
    }

    /// All instances as they were when they were last asked.
    pub(super) fn states(&self, statuses: &[InstanceStatus]) -> Vec<InstanceState> {
        let health =
            |id| statuses.iter().find(|status| status.id == id).map(|status| status.health);
        let states = self.members.values().map(|member| InstanceState {
            id: member.instance.id().0,
            module: member.instance.module().to_string(),
            incarnation: member.instance.incarnation(),
            worker: member.worker as u64,
            state: match health(member.instance.id()) {
                Some(Health::Healthy) => "healthy",
                Some(Health::Hung) => "hung",
                Some(Health::Stopped) => "stopped",
                Some(_) => "unresponsive",
                None => "gone",
            }
            .to_owned(),
            footprint_bytes: member.footprint_bytes,
        });
        states.collect()
    }
}
