//! Text from outside, without the characters that command a terminal or that HTML forbids.

use super::results::Report;

/// The report with every such character replaced by the sign for it.
pub(super) fn readable(report: &Report) -> Report {
    let mut report = report.clone();
    let machine = &mut report.machine;
    let of_machine = [
        &mut machine.cpu_model,
        &mut machine.kernel,
        &mut machine.glibc,
        &mut machine.rustc,
        &mut machine.capmalloc_version,
        &mut machine.thp,
        &mut report.command,
    ];
    of_machine.into_iter().for_each(replace);
    for workload in &mut report.workloads {
        let of_workload = [&mut workload.name, &mut workload.title, &mut workload.description];
        of_workload.into_iter().for_each(replace);
        for contender in &mut workload.contenders {
            [&mut contender.name, &mut contender.allocator].into_iter().for_each(replace);
            contender.settings.iter_mut().chain(&mut contender.failed).for_each(replace);
        }
    }
    report
}

fn replace(text: &mut String) {
    let is_forbidden = |one: char| {
        let code = one as u32;
        (one.is_control() && one != '\n')
            || code & 0xfffe == 0xfffe
            || (0xfdd0..=0xfdef).contains(&code)
    };
    if text.contains(is_forbidden) {
        *text = text.replace(is_forbidden, "\u{fffd}");
    }
}
