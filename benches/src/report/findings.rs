//! The answer in a few sentences, made from the figures.

use super::aggregates::{geometric_mean, ratio};
use super::format;
use super::losses::losses;
use super::metrics::{CPU, MEAN, Metric, P99};
use super::results::{ContenderResult, Report, WorkloadResult};
use super::verdicts::{Verdict, verdicts};

/// What a reader is to know first, one sentence or two each.
pub(super) fn sentences(report: &Report) -> Vec<String> {
    let mut text = Vec::new();
    if report.quick {
        text.push(
            "This was a quick run with shortened loads: it shows that the bench works, and says \
             nothing about the allocators."
                .to_owned(),
        );
    }
    text.extend(given_settings(report));
    text.extend(against_peers(report, &MEAN, "mean memory"));
    text.extend(against_peers(report, &P99, "service time at p99"));
    text.extend(against_peers(report, &CPU, "CPU time"));
    text.extend(best_cap(report));
    text.extend(bounds(report));
    text.extend(failures(report));
    if text.is_empty() {
        text.push("Nothing was measured that can be compared.".to_owned());
    }
    text
}

/// What the names stand for that whoever asked for the run made up.
fn given_settings(report: &Report) -> Vec<String> {
    let mut text: Vec<String> = Vec::new();
    let contenders = report.workloads.iter().flat_map(|workload| &workload.contenders);
    for one in contenders.filter(|one| !one.settings.is_empty()) {
        let (name, allocator, settings) = (&one.name, &one.allocator, one.settings.join(" "));
        let sentence = format!("{name} is {allocator} with {settings}.");
        if !text.contains(&sentence) {
            text.push(sentence);
        }
    }
    text
}

fn against_peers(report: &Report, metric: &Metric, name: &str) -> Option<String> {
    let to_best = ratios(report, |workload| {
        ratio(workload.ours()?.median(metric), Some(workload.best_peer(metric)?.1))
    });
    let to_glibc = ratios(report, |workload| {
        ratio(workload.ours()?.median(metric), workload.glibc()?.median(metric))
    });
    let (best, glibc) = (spread(&to_best), spread(&to_glibc));
    match (best, glibc) {
        (Some(best), Some(glibc)) => Some(format!(
            "The {name} of capmalloc with nothing set is {glibc} that of glibc with nothing set, \
             and {best} that of the best other contender of each workload."
        )),
        (Some(best), None) => Some(format!(
            "The {name} of capmalloc with nothing set is {best} that of the best other contender \
             of each workload."
        )),
        _ => None,
    }
}

fn ratios(report: &Report, of: impl Fn(&WorkloadResult) -> Option<f64>) -> Vec<f64> {
    report.workloads.iter().filter_map(of).collect()
}

/// A mean ratio, with the range of the workloads where there are several.
fn spread(ratios: &[f64]) -> Option<String> {
    let mean = format::ratio(Some(geometric_mean(ratios)?));
    let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
    let most = ratios.iter().copied().fold(0.0, f64::max);
    let (least, most) = (format::ratio(Some(least)), format::ratio(Some(most)));
    Some(match ratios.len() {
        1 => mean,
        count if least == most => format!("{mean} (in each of {count} workloads)"),
        count => format!("{mean} ({least} to {most} over {count} workloads)"),
    })
}

/// What the lowest cap gives and takes, beside no cap.
fn best_cap(report: &Report) -> Option<String> {
    let caps = report.workloads.iter().flat_map(|workload| &workload.contenders);
    let caps = caps.filter(|one| one.is_ours() && !one.is_default && one.is_complete());
    let cap = caps.filter_map(|one| one.arena_max).min()?;
    let to_default = |metric: &Metric| {
        let ratio_of = |workload: &WorkloadResult| {
            let capped = workload.ours_capped(cap)?;
            ratio(capped.median(metric), workload.ours()?.median(metric))
        };
        geometric_mean(&ratios(report, ratio_of)).map(|mean| format::ratio(Some(mean)))
    };
    let parts = [(&MEAN, "memory"), (&P99, "p99"), (&CPU, "CPU time")];
    let parts = parts.map(|(metric, name)| Some(format!("{} the {name}", to_default(metric)?)));
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    let arenas = if cap == 1 { "arena" } else { "arenas" };
    (!parts.is_empty())
        .then(|| format!("A cap of {cap} {arenas} gives {} of capmalloc's default.", join(&parts)))
}

fn join(parts: &[String]) -> String {
    match parts {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

fn bounds(report: &Report) -> Option<String> {
    let verdicts = verdicts(report);
    let met = verdicts.iter().filter(|verdict| Verdict::is_met(verdict)).count();
    let losses = losses(report);
    let unclear = losses.iter().filter(|loss| loss.is_unclear).count();
    (!verdicts.is_empty()).then(|| {
        format!(
            "Bounds that capmalloc is held to: {met} of {} met. Figures in which another \
             contender is better: {}, of which {unclear} within the range of the runs or below \
             one percent; all are listed below.",
            verdicts.len(),
            losses.len()
        )
    })
}

fn failures(report: &Report) -> Vec<String> {
    let every = report.workloads.iter().flat_map(|workload| {
        workload.contenders.iter().map(move |contender| (workload, contender))
    });
    every.filter_map(|(workload, contender)| failure(workload, contender)).collect()
}

fn failure(workload: &WorkloadResult, contender: &ContenderResult) -> Option<String> {
    let reason = contender.failed.as_ref()?;
    Some(format!("{} failed in “{}”: {reason}", contender.name, workload.title))
}
