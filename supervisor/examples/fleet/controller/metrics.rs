//! The controller's report as metrics, made anew for each scrape.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::exposition::{Counters, FloatGauges, Gauges, signed};
use crate::wire::ControllerReport;

pub(super) fn registry(report: &ControllerReport) -> Registry {
    let mut registry = Registry::with_prefix("fleet_controller");
    let rounds = Counter::<u64>::default();
    rounds.inc_by(report.rounds);
    registry.register("rounds", "Rounds in which all instances were sampled", rounds);
    gauge(&mut registry, "host_used_bytes", "What all workers hold", report.used_bytes);
    gauge(&mut registry, "host_limit_bytes", "What they may hold", report.limit_bytes);
    let failed = Counter::<u64>::default();
    failed.inc_by(report.restarts_failed);
    registry.register("restarts_failed", "Restarts that were tried and failed", failed);
    let restarts = Counters::default();
    for (module, count) in &report.restarts_by_module {
        restarts.get_or_create(&vec![("module", module.clone())]).inc_by(*count);
    }
    registry.register("restarts", "Restarts by module", restarts);
    instances(&mut registry, report);
    estimates(&mut registry, report);
    registry
}

fn gauge(registry: &mut Registry, name: &str, help: &str, value: u64) {
    let gauge = Gauge::<i64>::default();
    gauge.set(signed(value));
    registry.register(name, help, gauge);
}

fn instances(registry: &mut Registry, report: &ControllerReport) {
    let (footprint, healthy) = (Gauges::default(), Gauges::default());
    for instance in &report.instances {
        let labels =
            vec![("instance_id", instance.id.to_string()), ("module", instance.module.clone())];
        footprint.get_or_create(&labels).set(signed(instance.footprint_bytes));
        healthy.get_or_create(&labels).set(i64::from(instance.state == "healthy"));
    }
    registry.register("instance_footprint_bytes", "The footprint seen last", footprint);
    registry.register("instance_healthy", "Whether an instance has answered", healthy);
}

fn estimates(registry: &mut Registry, report: &ControllerReport) {
    let (mean, upper) = (FloatGauges::default(), FloatGauges::default());
    for (name, module) in &report.modules {
        let labels =
            |interval: &str| vec![("module", name.clone()), ("interval", interval.to_owned())];
        if let Some(bytes) = module.mean_bytes {
            mean.get_or_create(&vec![("module", name.clone())]).set(bytes);
        }
        if let Some(bytes) = module.mean_upper_bytes {
            upper.get_or_create(&labels("mean")).set(bytes);
        }
        if let Some(bytes) = module.prediction_upper_bytes {
            upper.get_or_create(&labels("prediction")).set(bytes);
        }
    }
    registry.register("estimate_bytes", "What an instance of a module needs", mean);
    registry.register("estimate_upper_bytes", "Upper end of the estimate's interval", upper);
}
