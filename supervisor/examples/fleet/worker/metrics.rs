//! The worker's report as metrics.
//!
//! They are made anew for each scrape, so that nothing is told of what is gone.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::exposition::{Counters, Gauges, Labels, signed};
use crate::wire::{InstanceReport, WorkerReport};

pub(super) fn registry(report: &WorkerReport) -> Registry {
    let mut registry = Registry::with_prefix("fleet");
    let (footprint, responsive) = (Gauges::default(), Gauges::default());
    let restarts = Counters::default();
    for instance in &report.instances {
        let labels = labels(instance);
        footprint.get_or_create(&labels).set(signed(instance.footprint_bytes));
        responsive.get_or_create(&labels).set(i64::from(instance.responsive));
        restarts.get_or_create(&labels).inc_by(instance.restarts);
    }
    registry.register("instance_footprint_bytes", "Resident memory of an instance", footprint);
    registry.register("instance_responsive", "Whether an instance answers", responsive);
    registry.register("instance_restarts", "Restarts since the worker started", restarts);
    whole(&mut registry, report);
    registry
}

/// What is the worker's and no instance's.
fn whole(registry: &mut Registry, report: &WorkerReport) {
    let resident = Gauge::<i64>::default();
    resident.set(signed(report.resident_bytes));
    registry.register("worker_resident_bytes", "Resident memory of all instances", resident);
    let limit = Gauge::<i64>::default();
    limit.set(report.limit_bytes.map_or(-1, signed));
    registry.register("worker_limit_bytes", "What they may hold; -1 for no limit", limit);
    let refusals = Counter::<u64>::default();
    refusals.inc_by(report.refusals);
    registry.register("worker_refusals", "Requests for memory that the limit refused", refusals);
}

fn labels(instance: &InstanceReport) -> Labels {
    vec![("instance_id", instance.id.to_string()), ("module", instance.module.clone())]
}
