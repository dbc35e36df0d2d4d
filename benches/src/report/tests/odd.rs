//! Any report at all can be shown.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::super::readable::readable;
use super::super::{html, json, markdown, summary};
use super::*;

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => 0.0..1e4_f64,
        1 => Just(0.0),
        2 => prop::num::f64::ANY,
        1 => Just(f64::NAN),
        1 => Just(f64::MAX),
        1 => Just(f64::MIN_POSITIVE),
    ]
}

fn bytes() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 0..1_u64 << 34, 1 => any::<u64>(), 1 => Just(0), 1 => Just(u64::MAX)]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![2 => "[a-z<>&\"'|`]{0,12}", 1 => ".{0,60}", 1 => any::<String>()]
}

fn run() -> impl Strategy<Value = Run> {
    let held = (bytes(), bytes(), bytes(), bytes(), option::of(bytes()), option::of(bytes()));
    let time = (number(), number(), option::of(number()), option::of(number()));
    let counts = (option::of(bytes()), bytes(), bytes());
    let samples = vec((number(), number(), option::of(number())), 0..6);
    let occupancy = option::of(vec("[LCDR.x]{0,40}", 0..4));
    (held, time, counts, samples, occupancy).prop_map(|(held, time, counts, samples, occupancy)| {
        Run {
            live_bytes: held.0,
            mean_bytes: held.1,
            peak_bytes: held.2,
            final_bytes: held.3,
            idle_bytes: held.4,
            trimmed_bytes: held.5,
            cpu_seconds: time.0,
            wall_seconds: time.1,
            p50_us: time.2,
            p99_us: time.3,
            operations: counts.0,
            minor_faults: counts.1,
            failed_allocations: counts.2,
            samples,
            occupancy,
            ..Run::default()
        }
    })
}

fn any_contender() -> impl Strategy<Value = ContenderResult> {
    let allocator = prop_oneof![
        2 => Just("capmalloc".to_owned()),
        2 => Just("glibc".to_owned()),
        1 => text(),
    ];
    let named = (text(), allocator, option::of(any::<u32>()), vec(text(), 0..3));
    let of = (named, any::<bool>(), option::weighted(0.2, text()), vec(run(), 0..4));
    of.prop_map(|((name, allocator, arena_max, settings), is_default, failed, runs)| {
        ContenderResult { name, allocator, arena_max, settings, is_default, failed, runs }
    })
}

fn any_report() -> impl Strategy<Value = Report> {
    let workload = (text(), text(), text(), vec(any_contender(), 0..6)).prop_map(
        |(name, title, description, contenders)| WorkloadResult {
            name,
            title,
            description,
            contenders,
        },
    );
    (text(), text(), bytes(), 0..9_usize, any::<bool>(), vec(workload, 0..3)).prop_map(
        |(command, cpu_model, memory_bytes, rounds, quick, workloads)| Report {
            format_version: FORMAT_VERSION,
            command,
            machine: Machine { cpu_model, memory_bytes, ..Machine::default() },
            rounds,
            quick,
            workloads,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_form_can_be_made_and_the_page_is_well_formed(report in any_report()) {
        let page = scraper::Html::parse_document(&html::render(&readable(&report)));
        prop_assert!(page.errors.is_empty(), "{:?}", page.errors);
        prop_assert!(!markdown::render(&readable(&report)).is_empty());
        prop_assert!(summary(&report).lines().all(|line| line.chars().count() < 4096));
        // What was read once is the same when it is read again; a NaN is not the same as itself.
        let written = json::render(&report);
        let read = json::parse(&written);
        prop_assert_eq!(read.map(|read| json::render(&read)), Ok(written));
    }
}
