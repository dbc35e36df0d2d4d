//! What an allocation trace holds, and what its replay takes.
//!
//! - `trace info FILE` prints what a trace holds.
//! - `trace replay FILE [--allocator NAME] [--loops N]` replays it and prints the time it took and
//!   how much memory was resident. Without a name, each allocator takes its turn, in a process of
//!   its own.
//! - `trace pack RECORDING FILE --description TEXT [--slots N]` makes a trace of what the recorder
//!   wrote, or of its first slots alone.
//!
//! `FILE` may also be the name of a trace in `benches/traces`.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::{scope, sleep};
use std::time::Duration;

use capmalloc_benches::peers::{Peer, PeerId};
use capmalloc_benches::trace::profile::Profile;
use capmalloc_benches::trace::recording::pack;
use capmalloc_benches::trace::{PeerTarget, Plan, Trace, TraceError, replay_plan, trace_path};
use capmalloc_benches::workloads::{Run, Scale, Workload};

capmalloc_benches::program_peers!();

const USAGE: &str = "usage: trace info FILE
       trace replay FILE [--allocator NAME] [--loops N]
       trace pack RECORDING FILE --description TEXT [--slots N]";

/// How often memory is looked at during a replay.
const SAMPLE_EVERY: Duration = Duration::from_millis(2);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match perform(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("trace: {message}");
            ExitCode::FAILURE
        }
    }
}

fn perform(arguments: &[&str]) -> Result<(), String> {
    match arguments {
        ["info", file] => info(file),
        ["replay", file, options @ ..] => {
            let [allocator, loops] = parse_options(options, ["--allocator", "--loops"])?;
            let loops = parse_number(loops.unwrap_or("1"))? as usize;
            match allocator {
                Some(name) => replay_on(file, name, loops),
                None => replay_on_each(file, loops),
            }
        }
        ["pack", recording, file, options @ ..] => {
            let [description, slots] = parse_options(options, ["--description", "--slots"])?;
            let description = description.ok_or("a trace needs a --description")?;
            let slots = slots.map_or(Ok(u64::MAX), parse_number)?;
            pack_to(recording, file, description, slots)
        }
        _ => Err(USAGE.to_owned()),
    }
}

/// The values of two options that may be given in any order.
fn parse_options<'a>(
    mut options: &[&'a str],
    names: [&str; 2],
) -> Result<[Option<&'a str>; 2], String> {
    let mut values = [None; 2];
    while let [name, rest @ ..] = options {
        let index = names.iter().position(|known| known == name);
        let index = index.ok_or_else(|| format!("{name:?} is no option here\n{USAGE}"))?;
        let [value, rest @ ..] = rest else { return Err(format!("{name} needs a value")) };
        values[index] = Some(*value);
        options = rest;
    }
    Ok(values)
}

fn parse_number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{text:?} is not a number"))
}

/// The file that was named, or the trace of the repository that was.
fn path(file: &str) -> PathBuf {
    let is_name = !file.contains(['/', '.']) && !PathBuf::from(file).exists();
    if is_name { trace_path(file) } else { PathBuf::from(file) }
}

fn read(file: &str) -> Result<Trace, String> {
    Trace::read(&path(file)).map_err(|error| format!("{file}: {error}"))
}

fn info(file: &str) -> Result<(), String> {
    let trace = read(file)?;
    let length = std::fs::metadata(path(file)).map_err(|error| error.to_string())?.len();
    let profile = Profile::new(&trace).map_err(|error| error.to_string())?;
    let waits = Plan::new(&trace).map_err(|error| error.to_string())?.waits();
    print!("{profile}");
    println!("waits of threads in a replay {waits}");
    println!("bytes of the file {length}, not compressed {}", trace.content_bytes());
    Ok(())
}

fn pack_to(recording: &str, file: &str, description: &str, slots: u64) -> Result<(), String> {
    let packed = pack(recording.as_ref(), description, slots).map_err(|error| error.to_string())?;
    std::fs::write(file, &packed.bytes).map_err(|error| format!("{file}: {error}"))?;
    println!(
        "{file}: {} events in {} bytes; of {} slots {} were cut off and {} never written",
        packed.events,
        packed.bytes.len(),
        packed.called,
        packed.cut,
        packed.unwritten
    );
    Ok(())
}

fn replay_on_each(file: &str, loops: usize) -> Result<(), String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    for peer in PeerId::ALL {
        let loops = loops.to_string();
        let arguments = ["replay", file, "--allocator", peer.name(), "--loops", &loops];
        let status = Command::new(&program).args(arguments).status();
        if !status.map_err(|error| error.to_string())?.success() {
            return Err(format!("the replay on {} failed", peer.name()));
        }
    }
    Ok(())
}

fn replay_on(file: &str, allocator: &str, loops: usize) -> Result<(), String> {
    let peer = PeerId::from_name(allocator).ok_or_else(|| {
        let names: Vec<&str> = PeerId::ALL.iter().map(|peer| peer.name()).collect();
        format!("no allocator is called {allocator:?}; there are {}", names.join(", "))
    })?;
    let plan = Plan::new(&read(file)?).map_err(|error| error.to_string())?;
    let live_bytes = plan.peak_live_bytes();
    let mut run = open(peer, &ReplayOnce { plan: plan.into() });
    let resident = Resident::open()?;
    let before = resident.bytes()?;
    let is_done = AtomicBool::new(false);
    let (elapsed, peak) = scope(|scope| {
        let sampler = scope.spawn(|| resident.peak_until(&is_done));
        let elapsed = run.run(loops as u64);
        is_done.store(true, Relaxed);
        (elapsed, sampler.join().expect("reading a file does not panic"))
    });
    let (peak, after) = (peak?.saturating_sub(before), resident.bytes()?.saturating_sub(before));
    println!(
        "{allocator:>10}: {:8.1} ms; resident at most {} and afterwards {}; live at most {}",
        elapsed.as_secs_f64() * 1000.0,
        mebibytes(peak),
        mebibytes(after),
        mebibytes(live_bytes)
    );
    Ok(())
}

fn open(peer: PeerId, work: &ReplayOnce) -> Box<dyn Run> {
    macro_rules! open_on {
        ($(
            $(#[cfg($condition:meta)])? $(#[doc = $documentation:literal])+
            $marker:ident: $allocator:ty = $value:expr, $name:literal;
        )+) => {
            match peer {
                $($(#[cfg($condition)])? PeerId::$marker => {
                    work.open::<peers::$marker>(Scale::Full)
                })+
            }
        };
    }
    capmalloc_benches::every_peer!(open_on)
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// A replay as a workload, which is how one is run on a peer whose name is known only now.
struct ReplayOnce {
    plan: std::sync::Arc<Plan>,
}

struct ReplayRun<P: Peer> {
    plan: std::sync::Arc<Plan>,
    target: PeerTarget<P>,
}

impl Workload for ReplayOnce {
    fn open<P: Peer>(&self, _scale: Scale) -> Box<dyn Run> {
        Box::new(ReplayRun::<P> { plan: self.plan.clone(), target: PeerTarget::new() })
    }
}

impl<P: Peer> Run for ReplayRun<P> {
    fn run(&mut self, iterations: u64) -> Duration {
        let replayed = replay_plan(&self.plan, &self.target, iterations as usize);
        replayed.unwrap_or_else(|error: TraceError| panic!("{error}")).elapsed
    }
}

/// What the kernel says this process has resident of anonymous memory, which the tables of a replay
/// are not.
struct Resident(File);

impl Resident {
    fn open() -> Result<Self, String> {
        File::open("/proc/self/status").map(Self).map_err(|error| error.to_string())
    }

    fn bytes(&self) -> Result<u64, String> {
        let mut buffer = [0; 4096];
        let length = self.0.read_at(&mut buffer, 0).map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&buffer[..length]);
        let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kibibytes.map(|it| it * 1024).ok_or_else(|| "the kernel names no RssAnon".to_owned())
    }

    fn peak_until(&self, is_done: &AtomicBool) -> Result<u64, String> {
        let mut peak = 0;
        while !is_done.load(Relaxed) {
            peak = peak.max(self.bytes()?);
            sleep(SAMPLE_EVERY);
        }
        Ok(peak.max(self.bytes()?))
    }
}
