//! The supervisor: runs every row in every round, in processes of their own.

use std::time::{Duration, Instant};

use crate::children::{Helper, RunError, sleep};
use crate::control::{Command, LoadReport, Message, ServerReport};
use crate::interrupt;
use crate::measurement::Measurement;
use crate::memory::ProcessMemory;
use crate::options::Options;
use crate::progress::Progress;
use crate::report;
use crate::row::{Row, remove_allocator_settings};

const SAMPLE_INTERVAL: Duration = Duration::from_millis(20);

/// How long a server is left alone before its memory counts as that of an idle one.
const IDLE: Duration = Duration::from_secs(1);

/// All runs of a row, in the order of the rounds.
#[derive(Debug)]
pub(crate) struct RowRuns {
    pub(crate) row: Row,
    pub(crate) runs: Vec<Measurement>,
}

/// Measures what the options ask for, and prints the results.
pub(crate) fn run(options: &Options) -> Result<(), RunError> {
    options.check_json_path();
    interrupt::listen()
        .map_err(|error| RunError::Failed(format!("cannot handle interrupts: {error}")))?;
    let results = measure_all(options)?;
    report::print(options, &results)?;
    if let Some(path) = &options.json {
        report::write_json(path, options, &results).map_err(|error| {
            RunError::Failed(format!("cannot write {}: {error}", path.display()))
        })?;
    }
    Ok(())
}

/// Runs the rows round by round, rather than each row's repetitions together, so that a machine
/// that becomes faster or slower meanwhile does so for all rows alike.
fn measure_all(options: &Options) -> Result<Vec<RowRuns>, RunError> {
    let rows = options.rows().into_iter();
    let mut results: Vec<_> = rows.map(|row| RowRuns { row, runs: Vec::new() }).collect();
    let rounds = options.repeat();
    let requests = options.warm_up_requests() + options.requests();
    let mut progress = Progress::new(results.len() * rounds, requests);
    for round in 0..rounds {
        for index in order_of_round(results.len(), round, rounds) {
            let result = &mut results[index];
            progress.begin(result.row);
            let run = measure(options, result.row, &progress)?;
            progress.finish(result.row, &run);
            result.runs.push(run);
        }
    }
    Ok(results)
}

/// The order of the rows in a round. Each round begins elsewhere, and every other one goes backwards,
/// so that no row always runs first or always follows the same one.
fn order_of_round(rows: usize, round: usize, rounds: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..rows).collect();
    order.rotate_left(round * rows / rounds);
    if round % 2 == 1 {
        order.reverse();
    }
    order
}

/// One run of one row.
fn measure(options: &Options, row: Row, progress: &Progress) -> Result<Measurement, RunError> {
    let mut run = Run::start(options, row)?;
    match run.measure(options, progress) {
        Err(RunError::Failed(reason)) => {
            // If the server has crashed, then any other failure is only a consequence.
            let reason = run.server.early_end().unwrap_or(reason);
            Err(RunError::Failed(format!("row {}: {reason}", row.name())))
        }
        outcome => outcome,
    }
}

/// The two processes of a run. The server comes first so that it also ends first: its clients'
/// end would otherwise look like a failure to it.
struct Run {
    server: Helper,
    load: Helper,
    server_port: u16,
}

impl Run {
    fn start(options: &Options, row: Row) -> Result<Self, RunError> {
        let mut load = Helper::start("the load generator", |command| {
            remove_allocator_settings(command);
            command
                .arg("generate")
                .args(["--connections", &options.connections.to_string()])
                .args(["--warm-up-requests", &options.warm_up_requests().to_string()])
                .args(["--requests", &options.requests().to_string()]);
        })?;
        let downstream_port = port_of(&mut load)?;
        let mut server = Helper::start("the server", |command| {
            row.configure(command);
            command
                .arg("serve")
                .args(["--threads", &options.threads.to_string()])
                .args(["--downstream-port", &downstream_port.to_string()]);
        })?;
        let server_port = port_of(&mut server)?;
        Ok(Self { server, load, server_port })
    }

    fn measure(&mut self, options: &Options, progress: &Progress) -> Result<Measurement, RunError> {
        let memory = ProcessMemory::of(self.server.process());
        self.warm_up(progress)?;
        self.obeyed(&Command::Reset)?;
        let (load, mean_resident_bytes) = self.load_and_sample(&memory, progress)?;
        let served = self.server_report()?;
        let peak_resident_bytes = memory.peak_resident_bytes()?;
        sleep(IDLE)?;
        let idle_resident_bytes = memory.resident_bytes()?;
        self.obeyed(&Command::Trim)?;
        let requests = f64::from(options.requests());
        Ok(Measurement {
            requests_per_second: requests / load.elapsed_seconds,
            service_p50_micros: served.service_p50_micros,
            service_p99_micros: served.service_p99_micros,
            latency_p50_micros: load.latency_p50_micros,
            latency_p99_micros: load.latency_p99_micros,
            processor_micros_per_request: served.processor_micros / requests,
            minor_faults_per_request: served.minor_faults / requests,
            mean_resident_bytes,
            peak_resident_bytes,
            idle_resident_bytes,
            trimmed_resident_bytes: memory.resident_bytes()?,
        })
    }

    /// Has the cache filled before anything counts.
    fn warm_up(&mut self, progress: &Progress) -> Result<(), RunError> {
        let server_port = self.server_port;
        self.load.tell(&Command::WarmUp { server_port })?;
        loop {
            match self.load.message()? {
                Message::Progress { begun_requests } => progress.advance(begun_requests),
                Message::Warm => return Ok(()),
                other => return Err(self.load.unexpected(&other)),
            }
        }
    }

    /// Has the measured requests sent, and returns the mean of the server's memory meanwhile.
    fn load_and_sample(
        &mut self,
        memory: &ProcessMemory,
        progress: &Progress,
    ) -> Result<(LoadReport, f64), RunError> {
        self.load.tell(&Command::Measure)?;
        let mut sum_bytes = 0.0;
        let mut samples = 0.0;
        let mut next_sample = Instant::now();
        loop {
            match self.load.message_until(next_sample)? {
                Some(Message::Progress { begun_requests }) => progress.advance(begun_requests),
                Some(Message::Generated(load)) => return Ok((load, sum_bytes / samples)),
                Some(other) => return Err(self.load.unexpected(&other)),
                None => {
                    sum_bytes += memory.resident_bytes()?;
                    samples += 1.0;
                    next_sample = Instant::now() + SAMPLE_INTERVAL;
                }
            }
        }
    }

    fn server_report(&mut self) -> Result<ServerReport, RunError> {
        self.server.tell(&Command::Report)?;
        match self.server.message()? {
            Message::Served(served) => Ok(served),
            other => Err(self.server.unexpected(&other)),
        }
    }

    /// Has the server do something that it confirms.
    fn obeyed(&mut self, command: &Command) -> Result<(), RunError> {
        self.server.tell(command)?;
        match self.server.message()? {
            Message::Done => Ok(()),
            other => Err(self.server.unexpected(&other)),
        }
    }
}

fn port_of(helper: &mut Helper) -> Result<u16, RunError> {
    match helper.message()? {
        Message::Ready { port } => Ok(port),
        other => Err(helper.unexpected(&other)),
    }
}
