//! The forms of a report as their readers see them.

use scraper::{Html, Selector};

use super::super::readable::readable;
use super::super::{example, html, json, markdown, summary};
use super::*;

fn page(report: &Report) -> Html {
    Html::parse_document(&html::render(&readable(report)))
}

fn select<'a>(page: &'a Html, selector: &str) -> Vec<scraper::ElementRef<'a>> {
    page.select(&Selector::parse(selector).expect("a selector")).collect()
}

/// What a browser would fetch, run or complain of.
fn check(page: &Html) {
    assert!(page.errors.is_empty(), "{:?}", page.errors);
    assert_eq!(select(page, "script, iframe, object, embed, base, form, audio, video").len(), 0);
    for element in page.root_element().descendants().filter_map(scraper::ElementRef::wrap) {
        for (name, value) in element.value().attrs() {
            let is_inside = value.starts_with('#') || value.starts_with("data:");
            let is_address = ["src", "href", "xlink:href", "srcset", "action"].contains(&name);
            assert!(is_inside || !is_address, "{name}={value:?}");
            assert!(!name.starts_with("on") && !value.contains("url("), "{name}={value:?}");
        }
    }
    for style in select(page, "style") {
        let text: String = style.text().collect();
        assert!(!text.contains("url(") && !text.contains("@import"), "{text}");
    }
    for image in select(page, "img") {
        assert!(image.attr("alt").is_some_and(|text| !text.is_empty()));
    }
    for plot in select(page, "svg[role=img]") {
        assert!(plot.select(&Selector::parse("title").expect("a selector")).next().is_some());
    }
    let mut ids: Vec<&str> = select(page, "[id]").iter().filter_map(|one| one.attr("id")).collect();
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all, "an id is there twice");
}

#[test]
fn the_page_has_every_part_and_nothing_from_outside() {
    let report = example::report();
    let text = html::render(&report);
    assert!(text.len() < 3 << 20, "{} bytes", text.len());
    let page = page(&report);
    check(&page);
    assert_eq!(select(&page, "section.workload").len(), 2);
    assert_eq!(select(&page, "figure.memory .wide svg").len(), 2);
    assert_eq!(select(&page, "figure.scatter svg").len(), 2);
    assert_eq!(select(&page, "figure.heap img").len(), 12);
    assert!(!select(&page, "#answer li").is_empty());
    // A line for each contender and the live one; a point for each, and no more.
    let first = "#w0 figure.memory .wide svg polyline[stroke-width='1']:not([stroke='#040506'])";
    assert_eq!(select(&page, first).len(), 11);
    assert_eq!(select(&page, "#w0 figure.memory .wide svg polyline[stroke='#0A0B0C']").len(), 1);
    assert_eq!(select(&page, "#w0 figure.scatter svg circle").len(), 11);
    // Two curves of caps: glibc's and capmalloc's.
    assert_eq!(select(&page, "#w0 figure.scatter svg polyline[stroke-width='2']").len(), 2);
}

#[test]
fn odd_reports_are_well_formed_and_their_text_is_only_text() {
    let page = page(&odd_report());
    check(&page);
    let text: String = page.root_element().text().collect();
    for part in ["<b>&\"'</b>", "</style><script>alert(1)</script>", "<img src=x onerror=alert(1)>"]
    {
        assert!(text.contains(part), "{part}");
    }
    check(&super::pages::page(&Report::default()));
}

#[test]
fn live_memory_may_be_told_for_longer_than_resident_memory() {
    let mut contender = contender("glibc", None, &[10]);
    let live = |at: f64| (at, f64::NAN, Some(1.0));
    contender.runs[0].samples = vec![(0.0, 1.0, Some(1.0)), live(1e12), live(f64::MAX)];
    check(&page(&report_of(vec![contender])));
}

#[test]
fn the_best_of_a_column_and_ranges_stand_in_the_table() {
    let report = report_of(vec![
        contender("glibc", None, &[20, 30, 40]),
        contender("capmalloc", None, &[10, 10, 10]),
    ]);
    let page = page(&report);
    let best: Vec<String> =
        select(&page, "#w0 td.best").iter().map(|one| one.text().collect()).collect();
    assert!(best.contains(&"10.0".to_owned()) && !best.iter().any(|text| text.contains("30.0")));
    // CPU times are all the same, so that none of them is the best.
    assert!(!best.iter().any(|text| text.contains("1.00")), "{best:?}");
    let ranges: Vec<String> =
        select(&page, "#w0 td small").iter().map(|one| one.text().collect()).collect();
    assert!(ranges.contains(&"20.0–40.0".to_owned()), "{ranges:?}");
}

#[test]
fn json_reads_back_as_it_was_written() {
    let report = example::report();
    assert_eq!(json::parse(&json::render(&report)), Ok(report));
}

#[test]
fn what_is_not_finite_comes_back_as_such() {
    let mut report = report_of(vec![contender("glibc", None, &[1])]);
    let run = &mut report.workloads[0].contenders[0].runs[0];
    (run.cpu_seconds, run.p99_us) = (f64::INFINITY, Some(f64::NAN));
    run.samples = vec![(0.0, f64::NAN, Some(1.0))];
    let read = json::parse(&json::render(&report)).expect("it is valid");
    let run = &read.workloads[0].contenders[0].runs[0];
    assert!(run.cpu_seconds.is_nan() && run.p99_us.is_none() && run.samples[0].1.is_nan());
    assert_eq!(run.samples[0].2, Some(1.0));
}

#[test]
fn bad_json_is_told_what_is_wrong_with_it() {
    let newer = json::render(&Report { format_version: 2, ..Report::default() });
    for (text, part) in [
        ("{", "this is no JSON"),
        ("[1]", "it has no format_version"),
        ("{\"format_version\":1}", "missing field `command`"),
        (&newer, "format version 2; this program reads 1"),
    ] {
        let message = json::parse(text).expect_err(text);
        assert!(message.contains(part), "{text:?} gave {message:?}");
    }
}

#[test]
fn markdown_keeps_tables_whole() {
    let text = markdown::render(&readable(&odd_report()));
    assert!(
        !text.contains("<script") && !text.contains("<img") && !text.contains('\u{1b}'),
        "{text}"
    );
    let mut columns = None;
    for line in text.lines() {
        if !line.starts_with('|') {
            columns = None;
            continue;
        }
        let bars = line.replace("\\|", "").matches('|').count();
        assert_eq!(bars, *columns.get_or_insert(bars), "{line}");
    }
    let example = markdown::render(&example::report());
    assert!(example.contains("## Where capmalloc loses") && example.contains("| **115** ("));
}

#[test]
fn the_terminals_lines_fit_and_mark_the_best() {
    for report in [example::report(), odd_report(), Report::default()] {
        let text = summary(&report);
        assert!(!text.contains('\u{1b}'), "{text}");
        for line in text.lines() {
            assert!(line.chars().count() <= 118, "{line}");
        }
    }
    let text = summary(&example::report());
    let line = text.lines().find(|line| line.starts_with(" capmalloc-trim ")).expect("its line");
    assert!(line.contains("115* ") && line.contains("0.50×"), "{line}");
}

#[test]
fn files_are_written_and_a_failure_names_the_file() {
    let directory = std::env::temp_dir().join(format!("report-test-{}", std::process::id()));
    let page = super::super::write(&odd_report(), &directory).expect("it can be written");
    assert_eq!(page, directory.join("index.html"));
    let mut names: Vec<_> = std::fs::read_dir(&directory)
        .expect("it is there")
        .filter_map(|entry| Some(entry.ok()?.file_name()))
        .collect();
    names.sort();
    assert_eq!(names, ["index.html", "report.json", "report.md"]);
    let message = super::super::write(&odd_report(), &page).expect_err("it is a file");
    assert!(message.contains("index.html"), "{message}");
    std::fs::remove_dir_all(directory).expect("it can be removed");
}
