//! A process from outside: started, watched, and its figures collected.

use std::io::{BufRead as _, BufReader, Read};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use super::arguments::{MEASURE_FLAG, QUICK_FLAG, SMOKE_FLAG, STATS_FLAG};
use super::contenders::{Contender, FOREIGN_SETTINGS};
use super::dispatch;
use super::ledger::{self, Ledger, Phase, WatchedLedger};
use super::memory;
use super::rows::Row;
use super::samples::{Sample, Samples};
use super::scale::Scale;
use super::stage::Told;
use crate::report::Run;

const SAMPLE_PAUSE: Duration = Duration::from_millis(10);

/// What came of one load on one contender.
#[derive(Clone, Debug, Default)]
pub(super) struct Observation {
    pub(super) run: Run,
    /// What the process told beyond the run's figures.
    pub(super) told: Told,
}

/// How a run is to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    pub(super) scale: Scale,
    pub(super) is_stats_wanted: bool,
}

impl Manner {
    /// A process that takes longer than this is ended: it hangs.
    fn patience(self) -> Duration {
        Duration::from_secs(self.scale.of(300, 90, 90))
    }
}

/// Runs this program again for one measurement, and watches it.
pub(super) fn observe(
    row: &Row,
    contender: &Contender,
    manner: Manner,
) -> Result<Observation, String> {
    let watched = WatchedLedger::new().map_err(|error| format!("no shared page: {error}"))?;
    let mut child = command(row, contender, manner, &watched)
        .and_then(|mut command| command.spawn())
        .map_err(|error| format!("it did not start: {error}"))?;
    let stdout = child.stdout.take().expect("a pipe was asked for");
    let ledger = watched.ledger();
    let (samples, told, is_late) = watch(&child, stdout, ledger, manner.patience());
    let status = child.wait().map_err(|error| format!("it was not waited for: {error}"))?;
    if is_late {
        return Err(format!("it was not done within {} s", manner.patience().as_secs()));
    }
    if !status.success() {
        return Err(ending(status));
    }
    let told = told.ok_or("it did not tell what it measured")?;
    Ok(Observation { run: run(&told, samples, ledger), told })
}

fn command(
    row: &Row,
    contender: &Contender,
    manner: Manner,
    watched: &WatchedLedger,
) -> std::io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args([MEASURE_FLAG, row.name, &contender.description()]).stdout(Stdio::piped());
    command.args(manner.scale.of(None, Some(QUICK_FLAG), Some(SMOKE_FLAG)));
    command.args(manner.is_stats_wanted.then_some(STATS_FLAG));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if FOREIGN_SETTINGS.iter().any(|start| text.starts_with(start)) {
            command.env_remove(&name);
        }
    }
    command.envs(contender.settings());
    command.env(dispatch::VARIABLE, contender.peer.name());
    command.env(ledger::VARIABLE, watched.name());
    Ok(command)
}

/// Samples the process until it has measured all; then lets it run on to its end.
fn watch(
    child: &Child,
    stdout: ChildStdout,
    ledger: &Ledger,
    patience: Duration,
) -> (Samples, Option<Told>, bool) {
    let has_ended = &AtomicBool::new(false);
    scope(|scope| {
        let sampler = scope.spawn(move || sample(child.id(), ledger, has_ended, patience));
        let mut output = BufReader::new(stdout);
        let told =
            output.by_ref().lines().map_while(Result::ok).find_map(|line| Told::parse(&line));
        let _ = output.read_to_end(&mut Vec::new());
        has_ended.store(true, Relaxed);
        let (samples, is_late) = sampler.join().expect("sampling does not panic");
        (samples, told, is_late)
    })
}

/// Looks until the end; a process that takes too long is killed, and `true` answered.
fn sample(
    process: u32,
    ledger: &Ledger,
    has_ended: &AtomicBool,
    patience: Duration,
) -> (Samples, bool) {
    let (begun, mut samples) = (Instant::now(), Samples::default());
    while !has_ended.load(Relaxed) {
        // The phase before the figures: a figure of the idle time may count as one of the load,
        // but none of the load is lost.
        let phase = ledger.phase();
        let is_of_interest = phase > Phase::Starting && phase < Phase::Measured;
        if let Some(held_bytes) = is_of_interest.then(|| held_bytes(process, ledger)).flatten() {
            let live_bytes = ledger.live_bytes();
            samples.push(Sample { at: Instant::now(), phase, held_bytes, live_bytes });
        }
        if begun.elapsed() > patience {
            // SAFETY: a child of this process that is not waited for yet.
            unsafe { libc::kill(process as i32, libc::SIGKILL) };
            return (samples, true);
        }
        sleep(SAMPLE_PAUSE);
    }
    (samples, false)
}

fn held_bytes(process: u32, ledger: &Ledger) -> Option<usize> {
    let mut children = ledger.children().peekable();
    if children.peek().is_none() {
        return memory::anonymous_bytes_by_counters(process);
    }
    memory::family_bytes(std::iter::once(process).chain(children))
}

fn ending(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("it was ended by signal {signal}"),
        (None, Some(code)) => format!("it ended with exit code {code}"),
        (None, None) => format!("it ended with {status}"),
    }
}

fn run(told: &Told, samples: Samples, ledger: &Ledger) -> Run {
    let samples = samples.without_stacks(told.stack_bytes as usize);
    let exact_bytes = told.final_bytes;
    Run {
        live_bytes: told.live_bytes,
        floor_bytes: told.floor_bytes,
        mean_bytes: samples.mean_bytes().map_or(exact_bytes, |bytes| bytes as u64),
        peak_bytes: (samples.peak_bytes() as u64).max(exact_bytes),
        final_bytes: exact_bytes,
        idle_bytes: Some(told.idle_bytes),
        trimmed_bytes: told.trimmed_bytes,
        cpu_seconds: told.cpu_seconds,
        operations: told.operations,
        wall_seconds: told.wall_seconds,
        p50_us: told.p50_us,
        p99_us: told.p99_us,
        p999_us: told.p999_us,
        minor_faults: told.minor_faults,
        madvise_calls: told.madvise_calls,
        waited_percent: told.waited_percent,
        samples: samples.thinned(),
        occupancy: told.occupancy.clone(),
        failed_allocations: ledger.refused(),
    }
}
