//! A report with made-up figures, to look at the pages without measuring for an hour.

use super::results::{
    ContenderResult, FORMAT_VERSION, Machine, Report, Run, Sample, WorkloadResult,
};

const MIB: f64 = (1 << 20) as f64;
const ROUNDS: usize = 5;

/// A contender of the example: its name, its allocator, its cap, and what it takes of memory, of
/// latency and of CPU time beside glibc's default.
type Line = (&'static str, &'static str, Option<u32>, f64, f64, f64);

const LINES: [Line; 11] = [
    ("glibc", "glibc", None, 1.0, 1.0, 1.0),
    ("glibc-1", "glibc", Some(1), 0.68, 4.3, 1.21),
    ("glibc-2", "glibc", Some(2), 0.66, 1.6, 1.1),
    ("jemalloc", "jemalloc", None, 0.81, 0.78, 0.84),
    ("mimalloc", "mimalloc", None, 0.93, 0.68, 0.9),
    ("capmalloc-1", "capmalloc", Some(1), 0.56, 0.97, 0.96),
    ("capmalloc-2", "capmalloc", Some(2), 0.565, 0.82, 0.93),
    ("capmalloc-4", "capmalloc", Some(4), 0.575, 0.77, 0.92),
    ("capmalloc", "capmalloc", None, 0.58, 0.75, 0.91),
    ("capmalloc-background", "capmalloc", None, 0.55, 0.76, 0.92),
    ("capmalloc-trim", "capmalloc", None, 0.5, 0.76, 0.92),
];

/// The report; the same every time.
pub fn report() -> Report {
    let failed = ContenderResult {
        name: "snmalloc <odd> & \"quoted\"".into(),
        allocator: "snmalloc".into(),
        is_default: true,
        failed: Some("it ended with signal 11 <core dumped> & no figures".into()),
        ..ContenderResult::default()
    };
    let mut drift = workload("size_drift", "Sizes that drift", 420.0, false, 2);
    drift.description =
        "8 threads; 12 phases of 200 MiB in sizes that grow from 16–64 B to 512–2048 B, of which \
         5 % survive at random"
            .into();
    drift.contenders.push(failed);
    let mut connections = workload("idle_connections", "Connections that idle", 230.0, true, 1);
    connections.description =
        "1000 threads; 20 rounds of 200 blocks of 16 B to 32 KiB, 4 small ones of each kept; all \
         sleep, then wake and work again"
            .into();
    Report {
        format_version: FORMAT_VERSION,
        command: "cargo bench --bench fragmentation".into(),
        machine: Machine {
            cpus: 8,
            cpu_model: "Example Processor 3000 @ 2.50GHz".into(),
            memory_bytes: 16 << 30,
            kernel: "6.1.0".into(),
            glibc: "2.36".into(),
            rustc: "rustc 1.95.0".into(),
            capmalloc_version: "made-up figures".into(),
            thp: "madvise".into(),
        },
        rounds: ROUNDS,
        quick: false,
        workloads: vec![connections, drift],
    }
}

fn workload(name: &str, title: &str, mib: f64, has_latency: bool, seed: u64) -> WorkloadResult {
    let mut noise = Noise(seed);
    let contender = |&(name, allocator, arena_max, memory, latency, cpu): &Line| {
        let runs = (0..ROUNDS).map(|_| {
            let shake = 1.0 + 0.06 * (noise.next() - 0.5);
            let latency = has_latency.then_some(latency * shake);
            run(mib * memory * shake, latency, cpu * shake, allocator, &mut noise)
        });
        ContenderResult {
            name: name.into(),
            allocator: allocator.into(),
            arena_max,
            settings: Vec::new(),
            is_default: name == allocator,
            failed: None,
            runs: runs.collect(),
        }
    };
    WorkloadResult {
        name: name.into(),
        title: title.into(),
        description: String::new(),
        contenders: LINES.iter().map(contender).collect(),
    }
}

fn run(mib: f64, latency: Option<f64>, cpu: f64, allocator: &str, noise: &mut Noise) -> Run {
    let bytes = |mib: f64| (mib * MIB) as u64;
    let samples = samples(mib, noise);
    let peak = samples.iter().map(|sample| sample.1).fold(0.0, f64::max);
    Run {
        live_bytes: bytes(90.0),
        floor_bytes: Some(bytes(110.0)),
        mean_bytes: bytes(mib),
        peak_bytes: bytes(peak),
        final_bytes: bytes(mib * 0.92),
        idle_bytes: latency.map(|_| bytes(if allocator == "capmalloc" { 0.3 } else { 0.9 } * mib)),
        trimmed_bytes: (allocator == "capmalloc").then(|| bytes(mib * 0.6)),
        cpu_seconds: cpu * 14.2,
        operations: latency.map(|_| 400_000),
        wall_seconds: 12.0,
        p50_us: latency.map(|latency| latency * 21.0),
        p99_us: latency.map(|latency| latency * latency * 140.0),
        p999_us: latency.map(|latency| latency * latency * 910.0),
        minor_faults: bytes(mib) / 4096,
        madvise_calls: Some(321),
        waited_percent: latency.map(|_| 3.4),
        samples,
        occupancy: (allocator == "capmalloc").then(|| occupancy(mib, noise)),
        failed_allocations: 0,
    }
}

/// Memory that rises, holds with peaks, and falls.
fn samples(mib: f64, noise: &mut Noise) -> Vec<Sample> {
    let sample = |step: u32| {
        let at = f64::from(step) / 100.0;
        let shape = (at / 2.0).min(1.0) - if at > 10.0 { (at - 10.0) * 0.15 } else { 0.0 };
        let wave = 0.05 * (at * 4.0).sin() + 0.03 * noise.next();
        (at, mib * (shape + wave * shape) * 1.12, Some(90.0 * shape))
    };
    (0..1200).map(sample).collect()
}

fn occupancy(mib: f64, noise: &mut Noise) -> Vec<String> {
    let page = |segment: usize, noise: &mut Noise| match (segment + 1) as f64 * 0.02 + noise.next()
    {
        share if share < 0.5 => 'L',
        share if share < 0.6 => 'C',
        share if share < 0.75 => 'D',
        _ => 'R',
    };
    let segment = |segment: usize| {
        // States come in runs, as spans do.
        let mut pages = ".".repeat(4);
        while pages.len() < 1024 {
            let state = page(segment, noise);
            let length = 1 + (noise.next() * 14.0) as usize;
            pages.extend(std::iter::repeat_n(state, length.min(1024 - pages.len())));
        }
        pages
    };
    (0..(mib / 8.0) as usize).map(segment).collect()
}

/// Numbers from 0 to 1 that look like chance, by the generator of Knuth's MMIX.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f64 / f64::from(1 << 24)
    }
}
