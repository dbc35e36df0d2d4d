//! Medians, ratios, bounds and losses against figures known by hand.

use super::super::aggregates::{Statistic, geometric_mean, ratio};
use super::super::findings::sentences;
use super::super::grids::overview;
use super::super::losses::losses;
use super::super::metrics::{CPU, MEAN, P99, THROUGHPUT};
use super::super::verdicts::{Verdict, verdicts};
use super::*;

fn with_p99(mut contender: ContenderResult, p99_us: f64) -> ContenderResult {
    contender.runs.iter_mut().for_each(|run| run.p99_us = Some(p99_us));
    contender
}

fn verdict<'a>(verdicts: &'a [Verdict], subject: &str) -> &'a Verdict {
    let found = verdicts.iter().find(|verdict| verdict.subject == subject);
    found.unwrap_or_else(|| panic!("no {subject} in {verdicts:?}"))
}

#[test]
fn a_statistic_is_the_median_and_the_range() {
    let contender = contender("glibc", None, &[9, 1, 4]);
    let mib = |value: u64| (value * MIB) as f64;
    let expected = Statistic { median: mib(4), minimum: mib(1), maximum: mib(9) };
    assert_eq!(contender.statistic(&MEAN), Some(expected));
    assert_eq!(contender.statistic(&P99), None);
}

#[test]
fn what_is_not_finite_is_left_out_of_a_statistic() {
    let mut contender = contender("glibc", None, &[1, 1, 1]);
    contender.runs[0].cpu_seconds = f64::NAN;
    contender.runs[1].cpu_seconds = 3.0;
    assert_eq!(contender.median(&CPU), Some(2.0));
    // No operation in no time is no pace.
    contender.runs[0].operations = Some(0);
    contender.runs[0].wall_seconds = 0.0;
    assert_eq!(contender.median(&THROUGHPUT), None);
}

#[test]
fn what_a_made_up_name_stands_for_is_told_once() {
    let mut ours = contender("ours", None, &[1]);
    ours.allocator = "jemalloc".into();
    ours.settings = vec!["_RJEM_MALLOC_CONF=narenas:1".into()];
    let mut report = report_of(vec![contender("glibc", None, &[1]), ours]);
    report.workloads.push(report.workloads[0].clone());
    let told = |text: &String| text == "ours is jemalloc with _RJEM_MALLOC_CONF=narenas:1.";
    assert_eq!(sentences(&report).iter().filter(|text| told(text)).count(), 1);
}

#[test]
fn without_glibc_nobody_is_the_best_beside_it() {
    let report =
        report_of(vec![contender("jemalloc", None, &[1]), contender("capmalloc", None, &[2])]);
    let cells: Vec<_> =
        overview(&report).rows.into_iter().flat_map(|row| row[1..].to_vec()).collect();
    assert!(!cells.is_empty() && cells.iter().all(|cell| !cell.is_best), "{cells:?}");
}

#[test]
fn ratios_of_nothing_are_nothing() {
    assert_eq!(ratio(Some(1.0), Some(4.0)), Some(0.25));
    assert_eq!(
        [ratio(Some(1.0), Some(0.0)), ratio(None, Some(1.0)), ratio(Some(1.0), None)],
        [None; 3]
    );
    assert_eq!(geometric_mean(&[0.5, 2.0]), Some(1.0));
    assert_eq!(geometric_mean(&[]), None);
}

#[test]
fn the_best_peer_is_never_ours_nor_one_that_failed() {
    let mut failed = contender("mimalloc", None, &[1]);
    failed.failed = Some("it fell".into());
    let report = report_of(vec![
        contender("glibc", None, &[100]),
        contender("glibc-1", Some(1), &[60]),
        failed,
        contender("capmalloc", None, &[30]),
    ]);
    let workload = &report.workloads[0];
    assert_eq!(workload.best_peer(&MEAN).map(|(peer, _)| peer.name.as_str()), Some("glibc-1"));
    assert_eq!(workload.best(&MEAN).map(|(peer, _)| peer.name.as_str()), Some("capmalloc"));
    assert_eq!(workload.glibc().map(|peer| peer.name.as_str()), Some("glibc"));
}

#[test]
fn the_limit_itself_is_met_and_more_is_not() {
    let of = |mean| {
        let report = report_of(vec![
            contender("glibc-1", Some(1), &[100]),
            contender("capmalloc", None, &[mean]),
        ]);
        let verdicts = verdicts(&report);
        let met = |subject: &str| verdict(&verdicts, subject).is_met();
        // The workload's name asks for the bound on what idles; without such a figure it is the end.
        let idle = verdicts.iter().find(|verdict| verdict.limit == 0.4).expect("it is bounded");
        (met("mean MiB of capmalloc"), idle.is_met())
    };
    assert_eq!(
        [of(40), of(41), of(90), of(91)],
        [(true, true), (true, false), (true, false), (false, false)]
    );
}

#[test]
fn only_idle_connections_have_the_bound_on_idling() {
    let mut report =
        report_of(vec![contender("glibc", None, &[100]), contender("capmalloc", None, &[1])]);
    report.workloads[0].name = "size_drift".into();
    assert!(verdicts(&report).iter().all(|verdict| verdict.limit != 0.4));
}

#[test]
fn caps_are_compared_with_the_default_in_both_directions() {
    let capped = with_p99(contender("capmalloc-1", Some(1), &[100]), 10.0);
    let mut report = report_of(vec![
        with_p99(contender("jemalloc", None, &[200]), 9.0),
        with_p99(contender("capmalloc", None, &[106]), 9.0),
        capped,
    ]);
    report.workloads[0].contenders[2].runs[0].cpu_seconds = 1.1;
    let verdicts = verdicts(&report);
    let memory: Vec<&Verdict> = verdicts.iter().filter(|verdict| verdict.limit == 1.05).collect();
    assert!(memory.len() == 1 && !memory[0].is_met() && memory[0].reference == "capmalloc-1");
    assert!(verdict(&verdicts, "CPU s of capmalloc-1").is_met());
    assert!(verdict(&verdicts, "p99 µs of capmalloc").is_met());
    // Service times at the median go before CPU time where there are any.
    for contender in &mut report.workloads[0].contenders {
        let is_capped = contender.arena_max.is_some();
        contender.runs[0].p50_us = Some(if is_capped { 1.2 } else { 1.0 });
    }
    assert!(!verdict(&super::super::verdicts::verdicts(&report), "p50 µs of capmalloc-1").is_met());
}

#[test]
fn every_loss_is_listed_and_the_unclear_ones_come_last() {
    let mut ours = with_p99(contender("capmalloc", None, &[100, 120, 140]), 10.0);
    let mut better = with_p99(contender("jemalloc", None, &[50, 60, 70]), 9.5);
    let other = with_p99(contender("mimalloc", None, &[80, 80, 80]), 9.0);
    ours.runs[0].p99_us = Some(1.0);
    // Three times the pace of ours, and nothing refused where ours refused.
    for run in &mut better.runs {
        run.operations = Some(300);
    }
    for run in &mut ours.runs {
        run.operations = Some(100);
        run.failed_allocations = 5;
    }
    let losses = losses(&report_of(vec![better, ours, other]));
    let told: Vec<String> = losses
        .iter()
        .map(|loss| {
            format!("{} {} {:?} {}", loss.metric.title, loss.winner, loss.ratio, loss.better_peers)
        })
        .collect();
    assert_eq!(
        told,
        [
            "refused jemalloc None 2",
            "CPU per operation jemalloc Some(3.0) 1",
            "operations jemalloc Some(3.0) 1",
            "mean jemalloc Some(2.0) 2",
            "peak jemalloc Some(2.0) 2",
            "final jemalloc Some(2.0) 2",
            "p99 mimalloc Some(1.1111111111111112) 2",
        ]
    );
    let unclear: Vec<bool> = losses.iter().map(|loss| loss.is_unclear).collect();
    assert_eq!(unclear, [false, false, false, false, false, false, true]);
}

#[test]
fn the_answer_tells_memory_bounds_and_failures() {
    let mut failed = contender("mimalloc", None, &[]);
    failed.failed = Some("it fell".into());
    let report = report_of(vec![
        contender("glibc", None, &[100]),
        contender("glibc-1", Some(1), &[50]),
        contender("capmalloc", None, &[40]),
        contender("capmalloc-1", Some(1), &[30]),
        failed,
    ]);
    let text = sentences(&report).join("\n");
    for part in [
        "mean memory of capmalloc with nothing set is 0.40× that of glibc",
        "and 0.80× that of the best other",
        "A cap of 1 arena gives 0.75× the memory and 1.00× the CPU time",
        "mimalloc failed in “Idle”: it fell",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    assert!(!text.contains("quick") && !text.contains("p99"), "{text}");
    let quick = Report { quick: true, ..Report::default() };
    assert!(sentences(&quick)[0].contains("quick run"));
}
