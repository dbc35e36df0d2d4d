//! How fast capmalloc is beside its peers.
//!
//! - `cargo bench --bench throughput` runs criterion and then the summary.
//! - `cargo bench --bench throughput -- --summary` prints the summary alone;
//!   `--rows pair_48,pair_1024` and `--rounds 15` choose what it measures.
//! - `cargo bench --features all-peers ...` compares with snmalloc, rpmalloc and tcmalloc too. They
//!   take a C++ compiler minutes to build, which `cargo test` is spared.
//!
//! The summary is what targets are judged by, because it interleaves the
//! allocators. Criterion tells how one allocator changed since the last run.

use std::process::ExitCode;
use std::time::Duration;

use capmalloc_benches::arguments::Mode;
use capmalloc_benches::measurement::Measurement;
use capmalloc_benches::peers::PeerId;
use capmalloc_benches::rows::{ROWS, Row};
use capmalloc_benches::summary::summarize;
use capmalloc_benches::workloads::Scale;
use criterion::{Criterion, SamplingMode, Throughput};

capmalloc_benches::program_peers!();

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match Mode::parse(&arguments).and_then(perform) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("throughput: {message}");
            ExitCode::FAILURE
        }
    }
}

fn perform(mode: Mode) -> Result<(), String> {
    if !cfg!(feature = "all-peers") && !matches!(mode, Mode::Measure { .. }) {
        eprintln!("throughput: `cargo bench --features all-peers` compares with more allocators");
    }
    match mode {
        Mode::Measure { row, peer } => println!("{}", Measurement::take(row, peer, peers::open)),
        Mode::Summary { rows, rounds } => println!("{}", summarize(&rows, rounds)?),
        Mode::Criterion { is_test, then_summary } => {
            run_criterion(if is_test { Scale::Smoke } else { Scale::Full });
            if then_summary {
                return perform(Mode::full_summary());
            }
        }
    }
    Ok(())
}

/// Runs every row as a group of criterion, with one function per allocator.
fn run_criterion(scale: Scale) {
    let mut criterion = Criterion::default().configure_from_args();
    for row in ROWS {
        run_group(&mut criterion, row, scale);
    }
    criterion.final_summary();
}

fn run_group(criterion: &mut Criterion, row: &Row, scale: Scale) {
    let mut group = criterion.benchmark_group(row.name);
    group.throughput(Throughput::Elements(row.operations_per_iteration));
    group.warm_up_time(Duration::from_secs(1));
    group.measurement_time(Duration::from_secs(2));
    if row.is_slow() {
        // The fewest samples that criterion accepts, all of the same length.
        group.sample_size(10).sampling_mode(SamplingMode::Flat);
    }
    for &peer in PeerId::ALL {
        let mut opened = None;
        group.bench_function(peer.name(), |bencher| {
            // Criterion calls this once per sample, and skips it altogether
            // for functions that were filtered out.
            let run = opened.get_or_insert_with(|| peers::open(peer, &row.work, scale));
            bencher.iter_custom(|iterations| run.run(iterations));
        });
    }
    group.finish();
}
