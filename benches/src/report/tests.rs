//! Tests of the whole: figures that are known by hand, pages as a parser reads them, odd reports.

mod figures;
mod odd;
mod pages;

use super::results::{ContenderResult, FORMAT_VERSION, Machine, Report, Run, WorkloadResult};

const MIB: u64 = 1 << 20;

/// A contender with a run for each mean, in MiB.
fn contender(name: &str, arena_max: Option<u32>, means: &[u64]) -> ContenderResult {
    let allocator = name.split('-').next().unwrap_or(name).to_owned();
    let run = |mean: &u64| Run {
        mean_bytes: mean * MIB,
        peak_bytes: 2 * mean * MIB,
        final_bytes: mean * MIB,
        cpu_seconds: 1.0,
        wall_seconds: 1.0,
        ..Run::default()
    };
    ContenderResult {
        name: name.into(),
        is_default: name == allocator,
        allocator,
        arena_max,
        settings: Vec::new(),
        failed: None,
        runs: means.iter().map(run).collect(),
    }
}

fn report_of(contenders: Vec<ContenderResult>) -> Report {
    let workload = WorkloadResult {
        name: "idle_connections".into(),
        title: "Idle".into(),
        description: "They idle.".into(),
        contenders,
    };
    Report {
        format_version: FORMAT_VERSION,
        rounds: 3,
        workloads: vec![workload],
        ..Report::default()
    }
}

/// A report with what is easily forgotten: one run, a failure, no service times, markup in names.
fn odd_report() -> Report {
    let mut lone = contender("capmalloc", None, &[10]);
    lone.runs[0].occupancy = Some(vec!["LC".into(), String::new()]);
    lone.runs[0].samples = vec![(0.0, 1.0, None), (1.0, f64::NAN, Some(f64::NAN))];
    let mut failed = contender("<b>&\"'</b>", Some(0), &[]);
    failed.failed = Some("</style><script>alert(1)</script> \u{1b}[31m \0".into());
    let mut report = report_of(vec![failed, lone]);
    report.command = "cargo bench -- --rounds 1 < a & b > c".into();
    report.workloads[0].title = "<img src=x onerror=alert(1)> | `code` \u{ffff}".into();
    report.workloads.push(WorkloadResult::default());
    report
}
