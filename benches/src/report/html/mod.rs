//! `index.html`: one page that needs no other file, no network and no script.
//!
//! - `palette`: a colour for each contender, in light and dark;
//! - `plot`: what all plots share; `memory_plot`, `scatter` and `labels`: the plots;
//! - `occupancy`: pictures of heaps;
//! - `page.css`: the style sheet.
//!
//! All text is escaped by the templates. Plots hide a line when its box in the legend is not ticked,
//! by a rule of the style sheet; ids are made from positions, never from names.

mod labels;
mod memory_plot;
mod occupancy;
mod palette;
mod plot;
mod scatter;

use std::fmt::Write as _;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use self::palette::{LIVE, Palette, hex};
use super::findings::sentences;
use super::grids::{self, Cell, Grid};
use super::losses::losses;
use super::metrics::METRICS;
use super::results::{ContenderResult, Report, WorkloadResult};
use super::text::{self, Section};
use super::verdicts::verdicts;

const STYLE: &str = include_str!("page.css");
const TITLE: &str = "Memory and latency of allocators";

/// The whole page.
pub(super) fn render(report: &Report) -> String {
    let palette = Palette::new(report);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                // Without this a browser would ask the server for an icon.
                link rel="icon" href="data:,";
                title { (TITLE) }
                style { (PreEscaped(STYLE)) (PreEscaped(rules(report, &palette))) }
            }
            body {
                main { (contents(report, &palette)) }
            }
        }
    };
    page.into_string()
}

/// The rules that depend on the contenders.
fn rules(report: &Report, palette: &Palette) -> String {
    let mut rules = palette.light_rules();
    for (index, workload) in report.workloads.iter().enumerate() {
        for (place, contender) in workload.contenders.iter().enumerate() {
            let colour = hex(palette.of(&contender.name));
            // Writing to a string cannot fail.
            let _ = write!(
                rules,
                "#w{index}:has(#w{index}c{place}:not(:checked)) .memory [stroke=\"{colour}\"]\
                 {{display:none}}"
            );
        }
    }
    format!("{rules}@media (prefers-color-scheme: dark){{{}}}", palette.dark_rules())
}

fn contents(report: &Report, palette: &Palette) -> Markup {
    html! {
        h1 { (TITLE) }
        p.lead { (text::conditions(report)) " " code { (report.command) } }
        ul.answer id="answer" {
            @for sentence in sentences(report) { li { (sentence) } }
        }
        nav aria-label="Contents" {
            ul {
                @for (index, workload) in report.workloads.iter().enumerate() {
                    li { a href=(format!("#w{index}")) { (workload.title) } }
                }
                li { a href="#losses" { "Where capmalloc loses" } }
                li { a href="#method" { "How it was measured" } }
                li { a href="#machine" { "Machine" } }
            }
        }
        (section("answers", &text::ANSWERS, grid(&grids::answers(report), "figures")))
        (section("overview", &text::OVERVIEW, grid(&grids::overview(report), "figures")))
        @for (index, one) in report.workloads.iter().enumerate() { (workload(index, one, palette)) }
        (section("losses", &text::LOSSES, grid(&grids::losses(&losses(report)), "words")))
        (section("bounds", &text::BOUNDS, grid(&grids::bounds(&verdicts(report)), "words")))
        section.method id="method" {
            h2 { "How it was measured" }
            p { (text::method(report)) }
            ul { @for metric in METRICS { li { b { (metric.heading()) } ": " (metric.method) "." } } }
        }
        section.machine id="machine" {
            h2 { "Machine" }
            dl { @for (name, value) in text::machine(report) { dt { (name) } dd { (value) } } }
        }
    }
}

fn section(id: &str, text: &Section, body: Markup) -> Markup {
    html! { section id=(id) { h2 { (text.title) } p.lead { (text.lead) } (body) } }
}

fn grid(grid: &Grid, class: &str) -> Markup {
    html! {
        @if grid.rows.is_empty() { p { "None." } } @else {
            div.wide tabindex="0" role="group" aria-label="table" {
                table class=(class) {
                    thead { tr {
                        @for heading in &grid.headings { th scope="col" { (heading) } }
                    } }
                    tbody { @for row in &grid.rows { (line(row)) } }
                }
            }
        }
    }
}

fn line(row: &[Cell]) -> Markup {
    let Some((name, cells)) = row.split_first() else { return html! {} };
    html! {
        tr.ours[name.text == "capmalloc"] {
            th scope="row" { (name.text) }
            @for cell in cells {
                td.best[cell.is_best] .yes[cell.text == "yes"] .no[cell.text == "NO"] {
                    (cell.text)
                    @if let Some(range) = &cell.range { small { (range) } }
                }
            }
        }
    }
}

fn workload(index: usize, workload: &WorkloadResult, palette: &Palette) -> Markup {
    let failed = workload.contenders.iter().filter_map(|one| Some((one, one.failed.as_ref()?)));
    html! {
        section.workload id=(format!("w{index}")) {
            h2 { (workload.title) }
            p.lead { code { (workload.name) } ": " (workload.description) }
            @for (contender, reason) in failed {
                p.failed { (contender.name) " failed: " (reason) }
            }
            @if let Some(plot) = memory_plot::element(workload, palette) {
                h3 { "Memory over time" }
                figure.memory {
                    figcaption { "Resident memory of a typical run; dashed, what was live." }
                    (legend(index, workload, palette))
                    (wide(plot, "plot of memory over time"))
                }
            }
            h3 { "Figures" }
            p.lead {
                "Medians, with the least and the most of the runs below; the best of each column "
                "stands out."
            }
            (grid(&grids::full(workload), "figures"))
            @if let Some(plot) = scatter::element(workload, palette) {
                h3 { "Memory against " (scatter::time_metric(workload).title) }
                figure.scatter {
                    figcaption {
                        "Less of both is at the lower left. A filled point is an allocator with "
                        "nothing set; a line joins the caps on arenas of one allocator, from the "
                        "lowest to the default."
                    }
                    (wide(plot, "plot of memory against time"))
                }
            }
            (heaps(workload))
        }
    }
}

/// What is wider than a phone moves sideways by itself, also by the keyboard.
fn wide(plot: Markup, name: &str) -> Markup {
    html! { div.wide tabindex="0" role="group" aria-label=(name) { (plot) } }
}

fn legend(index: usize, workload: &WorkloadResult, palette: &Palette) -> Markup {
    html! {
        ul.legend {
            @for (place, contender) in workload.contenders.iter().enumerate() {
                @let id = format!("w{index}c{place}");
                @if contender.typical_run().is_some() {
                    li {
                        input type="checkbox" id=(id) checked;
                        label for=(id) {
                            (dash(&hex(palette.of(&contender.name)))) (contender.name)
                        }
                    }
                }
            }
            li { (dash(&hex(LIVE))) "live" }
        }
    }
}

fn dash(colour: &str) -> Markup {
    html! {
        svg viewBox="0 0 26 12" aria-hidden="true" {
            polyline points="0,6 26,6" fill="none" stroke=(colour) stroke-width="3" {}
        }
    }
}

fn heaps(workload: &WorkloadResult) -> Markup {
    let with_heap = |one: &'_ ContenderResult| one.occupancy().is_some();
    html! {
        @if workload.contenders.iter().any(with_heap) {
            h3 { "The heap when the load was over" }
            p.lead {
                "Each cell is a page of 4 KiB, each square a segment of 4 MiB; figures in MiB."
            }
            (occupancy::legend())
            @for contender in &workload.contenders {
                @if let Some(segments) = contender.occupancy() {
                    (occupancy::element(&contender.name, segments))
                }
            }
        }
    }
}
