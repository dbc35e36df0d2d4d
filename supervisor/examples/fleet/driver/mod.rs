//! The driver: a fleet for each policy and each seed, then the table and the plot.

mod fleet;
mod plot;
mod process;
mod record;
mod summary;
mod table;

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::options::{Experiment, PolicyName};
use crate::wire::{ControllerReport, Outcome, RestartReport};
use fleet::Fleet;
use record::Record;
use summary::RunSummary;

/// What a shell gives a program that was interrupted.
const INTERRUPTED: u8 = 130;

/// All that was measured, for `report.json`.
#[derive(Serialize)]
struct Report<'a> {
    factor: f64,
    real_seconds: f64,
    simulated_seconds: f64,
    workers: u64,
    instances_per_worker: u64,
    memory_limit_mib: u64,
    leaking: f64,
    runs: &'a [Run],
}

/// One policy under one seed.
#[derive(Serialize)]
struct Run {
    policy: &'static str,
    seed: u64,
    summary: RunSummary,
    /// The controller's restarts, the latest of many.
    restarts: Vec<RestartReport>,
    /// What the controller noticed besides.
    findings: Vec<String>,
    /// Simulated seconds and bytes, for the plot.
    memory: Vec<(f64, u64)>,
}

/// Runs the whole experiment.
pub(crate) fn run(experiment: &Experiment) -> Outcome {
    fs::create_dir_all(&experiment.out)
        .map_err(|error| format!("{}: {error}", experiment.out.display()))?;
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&interrupted);
    ctrlc::set_handler(move || flag.store(true, Ordering::Relaxed))?;
    let Some(runs) = run_all(experiment, &interrupted)? else {
        eprintln!("fleet: interrupted; every process that it started has been ended");
        return Ok(ExitCode::from(INTERRUPTED));
    };
    let text = table::render(experiment, &runs);
    print!("{text}");
    write(experiment, &runs, &text)?;
    Ok(ExitCode::SUCCESS)
}

/// All runs, or none where somebody interrupted them.
fn run_all(
    experiment: &Experiment,
    interrupted: &AtomicBool,
) -> Result<Option<Vec<Run>>, Box<dyn std::error::Error>> {
    let count = experiment.policies.len() as u64 * u64::from(experiment.repetitions);
    let bar = ProgressBar::new(count).with_style(ProgressStyle::with_template(
        "{bar:30} {pos}/{len} runs, {elapsed} gone, {eta} to go: {msg}",
    )?);
    bar.enable_steady_tick(Duration::from_secs(1));
    let mut runs = Vec::new();
    for seed in 1..=u64::from(experiment.repetitions) {
        for &policy in &experiment.policies {
            bar.set_message(format!("{}, seed {seed}", policy.name()));
            let Some(run) = run_one(experiment, policy, seed, interrupted)? else {
                return Ok(None);
            };
            runs.push(run);
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    Ok(Some(runs))
}

fn run_one(
    experiment: &Experiment,
    policy: PolicyName,
    seed: u64,
    interrupted: &AtomicBool,
) -> Result<Option<Run>, Box<dyn std::error::Error>> {
    let mut fleet = Fleet::start(experiment, policy, seed)?;
    let tick = experiment.time.real(Duration::from_secs(10)).max(Duration::from_millis(50));
    let begun = Instant::now();
    let mut record = Record::new(experiment);
    while begun.elapsed().as_secs_f64() < experiment.seconds {
        if interrupted.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let next = Instant::now() + tick;
        fleet.tend()?;
        record.observe(begun.elapsed(), &fleet.look());
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    let last = fleet.look();
    record.observe(begun.elapsed(), &last);
    drop(fleet);
    let summary = record.summary(&last)?;
    let (policy, memory) = (policy.name(), record.into_memory());
    let ControllerReport { restarts, findings, .. } = last.controller.unwrap_or_default();
    Ok(Some(Run { policy, seed, summary, restarts, findings, memory }))
}

/// Writes what was found into the directory that was asked for.
fn write(
    experiment: &Experiment,
    runs: &[Run],
    text: &str,
) -> Result<(), Box<dyn std::error::Error>> {
    let report = Report {
        factor: experiment.time.factor,
        real_seconds: experiment.seconds,
        simulated_seconds: experiment.seconds * experiment.time.factor,
        workers: experiment.workers,
        instances_per_worker: experiment.instances,
        memory_limit_mib: experiment.memory_limit,
        leaking: experiment.leaking,
        runs,
    };
    let out = &experiment.out;
    put(&out.join("report.json"), &serde_json::to_string(&report)?)?;
    put(&out.join("table.txt"), text)?;
    let svg = plot::memory(experiment, runs)?;
    put(&out.join("memory.svg"), &svg)?;
    put(&out.join("index.html"), &plot::page(text, &svg))?;
    println!("\nwritten to {}: index.html, memory.svg, table.txt, report.json", out.display());
    Ok(())
}

fn put(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}
