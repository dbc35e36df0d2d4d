//! The load generator: a client for each instance, and what the instances are known to need.

mod client;
mod truth;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::options::LoadOptions;
use crate::plan::{Module, Plan};
use crate::process;
use crate::wire::{Outcome, WorkerReport};
use client::Client;
use truth::Truth;

/// How long a request may take before the worker counts as not reachable.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);

/// Tells what is known once in this time of the fleet's, but no more often than `TELL_REAL`.
const TELL: Duration = Duration::from_secs(10);
const TELL_REAL: Duration = Duration::from_millis(50);

/// Generates load until it is killed, and tells on its output what is known.
pub(crate) fn run(options: &LoadOptions) -> Outcome {
    process::die_with(options.role.parent);
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(REQUEST_TIMEOUT))
        .build()
        .into();
    let truth = Arc::new(Truth::default());
    for client in clients(options, &agent, &truth)? {
        let name = format!("client-{}", client.id());
        thread::Builder::new().name(name).spawn(move || client.run())?;
    }
    let pause = options.role.time.real(TELL).max(TELL_REAL);
    loop {
        process::tell(&serde_json::to_string(&truth.report())?)?;
        thread::sleep(pause);
    }
}

/// A client for each instance that the workers have.
fn clients(
    options: &LoadOptions,
    agent: &ureq::Agent,
    truth: &Arc<Truth>,
) -> Result<Vec<Client>, Box<dyn std::error::Error>> {
    let mut slots = BTreeMap::new();
    for url in &options.workers {
        let report: WorkerReport =
            agent.get(format!("{url}/footprints")).call()?.body_mut().read_json()?;
        for instance in report.instances {
            let module = Module::named(&instance.module)
                .ok_or_else(|| format!("{url} has a module {:?}", instance.module))?;
            slots.insert(instance.id, (module, url));
        }
    }
    let modules: Vec<_> = slots.values().map(|(module, _)| *module).collect();
    let plans = Plan::of_fleet(options.seed, options.leaking, &modules);
    let time = options.role.time;
    let clients = slots.iter().zip(plans).map(|((id, (_, url)), plan)| {
        let known = truth.instance(*id, plan.module.name, plan.leaks);
        Client::new(*id, url, agent.clone(), time, plan, known)
    });
    Ok(clients.collect())
}
