//! The words that Markdown and HTML share.

use super::format;
use super::results::Report;

/// A heading, and what to know before reading on.
#[derive(Debug)]
pub(super) struct Section {
    pub(super) title: &'static str,
    pub(super) lead: &'static str,
}

pub(super) static ANSWERS: Section = Section {
    title: "capmalloc, workload by workload",
    lead: "capmalloc with nothing set: its mean resident memory, its service time at p99 and its \
           CPU time, each also as a ratio to glibc with nothing set and to the best of all other \
           contenders in that figure. Below 1× is less, which is better.",
};
pub(super) static OVERVIEW: Section = Section {
    title: "Against what you run now",
    lead: "Every contender as a ratio to glibc with nothing set, the geometric mean over all \
           workloads in which both were measured; the number of glibc-N or capmalloc-N is the cap \
           on arenas. \
           Below 1× is less, which is better. To compare with another line, divide by it.",
};
pub(super) static BOUNDS: Section = Section {
    title: "What capmalloc is held to",
    lead: "Each bound is on medians, and against the best of all other contenders in that figure \
           unless another one is named.",
};
pub(super) static LOSSES: Section = Section {
    title: "Where capmalloc loses",
    lead: "Every figure in which another contender is better than capmalloc with nothing set, \
           under whatever settings it has, none left out. “Better ones” counts these contenders. \
           A loss is clear when the ranges of the runs do not overlap and it is one percent or \
           more.",
};

/// How the runs were made.
pub(super) fn method(report: &Report) -> String {
    let rounds = match report.rounds {
        1 => "one round".to_owned(),
        rounds => format!("{rounds} rounds"),
    };
    format!(
        "Every run is a process of its own, in which the allocator is the global one; the same \
         code runs on all. There were {rounds}, interleaved: each round ran every contender once, \
         beginning with another one. Figures are medians of the runs, with the least and the most \
         behind them. Memory was read from the kernel by another process, at short and even \
         pauses, and counts pages that are in no file and not on stacks. Service times include \
         all that an operation does, not only its calls of the allocator. The plots show the run \
         whose mean memory is the nearest to the median, thinned to the least and the most of \
         every pause. These are figures of this machine and these loads; the command below \
         measures yours."
    )
}

/// What the figures depend on, by name.
pub(super) fn machine(report: &Report) -> Vec<(&'static str, String)> {
    let machine = &report.machine;
    let gib = machine.memory_bytes as f64 / f64::from(1 << 30);
    vec![
        ("Command", report.command.clone()),
        ("Processors", format!("{} of {}", machine.cpus, machine.cpu_model)),
        ("Memory", format!("{} GiB", format::number(gib))),
        ("Kernel", machine.kernel.clone()),
        ("glibc", machine.glibc.clone()),
        ("Transparent huge pages", machine.thp.clone()),
        ("capmalloc", machine.capmalloc_version.clone()),
        ("Compiler", machine.rustc.clone()),
        ("Rounds", report.rounds.to_string()),
    ]
}

/// The same on one line.
pub(super) fn conditions(report: &Report) -> String {
    let (machine, rounds) = (&report.machine, report.rounds);
    let rounds = if rounds == 1 { "1 round".into() } else { format!("{rounds} rounds") };
    let gib = format::number(machine.memory_bytes as f64 / f64::from(1 << 30));
    format!(
        "{} processors ({}), {gib} GiB, kernel {}, glibc {}; medians of {rounds} of",
        machine.cpus, machine.cpu_model, machine.kernel, machine.glibc
    )
}
