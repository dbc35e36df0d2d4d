//! A process from outside: its memory over time, and the CPU time that it took.

use std::fs::read_to_string;
use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::{scope, sleep};
use std::time::Duration;

use super::arguments::{MEASURE_FLAG, SMOKE_FLAG, STATS_FLAG};
use super::contenders::{Contender, FOREIGN_SETTINGS};
use super::dispatch;
use super::rows::Row;
use super::stage::Told;
use crate::workloads::Scale;

const SAMPLE_PAUSE: Duration = Duration::from_millis(5);

/// What came of one load on one contender. Bytes are resident, in no file, and not on stacks.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Observation {
    pub(super) told: Told,
    /// Mean until the process was at rest and measured.
    pub(super) mean_bytes: f64,
    /// Highest of the samples until then.
    pub(super) peak_bytes: usize,
    /// User and system time of the whole process.
    pub(super) cpu: Duration,
}

/// Runs this program again for one measurement, and watches it.
pub(super) fn observe(
    row: &Row,
    contender: &Contender,
    scale: Scale,
    is_stats_wanted: bool,
) -> Result<Observation, String> {
    let failure = |cause: String| format!("{} of {}: {cause}", row.name, contender.name);
    let mut child = command(row, contender, scale, is_stats_wanted)
        .and_then(|mut command| command.spawn())
        .map_err(|error| failure(error.to_string()))?;
    let stdout = child.stdout.take().expect("a pipe was asked for");
    let (samples, told) = watch(child.id(), stdout);
    let cpu = end(&child).map_err(failure)?;
    let told = told.ok_or_else(|| failure("it did not tell what it held".into()))?;
    let heap = |bytes: &usize| bytes.saturating_sub(told.stack_bytes);
    let samples: Vec<usize> = samples.iter().map(heap).collect();
    let mean_bytes = samples.iter().sum::<usize>() as f64 / samples.len().max(1) as f64;
    let peak_bytes = samples.iter().copied().max().unwrap_or(0);
    Ok(Observation { told, mean_bytes, peak_bytes, cpu })
}

fn command(
    row: &Row,
    contender: &Contender,
    scale: Scale,
    is_stats_wanted: bool,
) -> std::io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args([MEASURE_FLAG, row.name, contender.name]).stdout(Stdio::piped());
    command.args((scale == Scale::Smoke).then_some(SMOKE_FLAG));
    command.args(is_stats_wanted.then_some(STATS_FLAG));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if FOREIGN_SETTINGS.iter().any(|start| text.starts_with(start)) {
            command.env_remove(&name);
        }
    }
    command.envs(contender.settings.iter().copied());
    command.env(dispatch::VARIABLE, contender.peer.name());
    Ok(command)
}

/// Samples the process until it tells what it holds; then lets it run on to its end.
fn watch(process: u32, stdout: ChildStdout) -> (Vec<usize>, Option<Told>) {
    let is_told = &AtomicBool::new(false);
    scope(|scope| {
        let sampler = scope.spawn(move || {
            let mut samples = Vec::new();
            while !is_told.load(Relaxed) {
                samples.extend(anonymous_bytes(process));
                sleep(SAMPLE_PAUSE);
            }
            samples
        });
        let mut output = BufReader::new(stdout);
        let told =
            output.by_ref().lines().map_while(Result::ok).find_map(|line| Told::parse(&line));
        is_told.store(true, Relaxed);
        let _ = output.read_to_end(&mut Vec::new());
        (sampler.join().expect("sampling does not panic"), told)
    })
}

/// Resident bytes that lie in no file, as the kernel's counters have them.
fn anonymous_bytes(process: u32) -> Option<usize> {
    let text = read_to_string(format!("/proc/{process}/statm")).ok()?;
    let mut pages = text.split(' ').skip(1).map(str::parse::<usize>);
    let (resident, in_files) = (pages.next()?.ok()?, pages.next()?.ok()?);
    Some(resident.saturating_sub(in_files) * 4096)
}

/// Waits for the end, which must be a good one; answers the CPU time.
fn end(child: &Child) -> Result<Duration, String> {
    let (mut status, mut usage) = (0, std::mem::MaybeUninit::<libc::rusage>::zeroed());
    // SAFETY: waits for a child of this process; both places are this function's own.
    let waited = unsafe { libc::wait4(child.id() as i32, &mut status, 0, usage.as_mut_ptr()) };
    if waited != child.id() as i32 || !libc::WIFEXITED(status) || libc::WEXITSTATUS(status) != 0 {
        return Err(format!("it ended with status {status:#x}"));
    }
    // SAFETY: zeroed, and written by the kernel.
    let usage = unsafe { usage.assume_init() };
    Ok(duration(usage.ru_utime) + duration(usage.ru_stime))
}

fn duration(time: libc::timeval) -> Duration {
    Duration::from_secs(time.tv_sec as u64) + Duration::from_micros(time.tv_usec as u64)
}
