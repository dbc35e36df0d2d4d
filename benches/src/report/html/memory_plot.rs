//! Resident memory over time, a line for each contender, with live memory as a dashed one.

use maud::Markup;
use plotters::prelude::*;

use super::super::results::{Sample, WorkloadResult};
use super::super::samples::thin;
use super::palette::{LIVE, Palette};
use super::plot::{self, Area, DrawingError, bounded};

/// Points of a line; there are fewer pixels than twice as many.
const POINTS: usize = 400;

/// The plot, or nothing where no run has samples.
pub(super) fn element(workload: &WorkloadResult, palette: &Palette) -> Option<Markup> {
    let series = |contender: &super::ContenderResult| {
        let samples = thin(&contender.typical_run()?.samples, POINTS);
        (!samples.is_empty()).then(|| (contender.name.clone(), samples))
    };
    let lines: Vec<(String, Vec<Sample>)> = workload.contenders.iter().filter_map(series).collect();
    if lines.is_empty() {
        return None;
    }
    let names: Vec<&str> = lines.iter().map(|(name, _)| name.as_str()).collect();
    let title = format!("Resident memory over time in “{}”: {}", workload.title, names.join(", "));
    let live = live_line(workload);
    Some(plot::element(&title, |area| draw(area, &lines, &live, palette)))
}

/// What capmalloc's run held live; where it did not tell, any other's.
fn live_line(workload: &WorkloadResult) -> Vec<(f64, f64)> {
    let others = workload.contenders.iter();
    let lines = workload.ours().into_iter().chain(others).filter_map(|contender| {
        let told: Vec<Sample> = contender
            .typical_run()?
            .samples
            .iter()
            .filter_map(|sample| Some((sample.0, sample.2?, None)))
            .collect();
        let line = thin(&told, POINTS);
        (line.len() > 1).then_some(line)
    });
    let line = lines.into_iter().next().unwrap_or_default();
    line.into_iter().map(|sample| (bounded(sample.0), bounded(sample.1))).collect()
}

fn draw(
    area: &Area<'_>,
    lines: &[(String, Vec<Sample>)],
    live: &[(f64, f64)],
    palette: &Palette,
) -> Result<(), DrawingError> {
    let points = || lines.iter().flat_map(|(_, samples)| samples);
    let times = points().map(|sample| bounded(sample.0));
    let end = times.chain(live.iter().map(|point| point.0)).fold(0.0, f64::max);
    let held = points().map(|sample| bounded(sample.1));
    let most = held.chain(live.iter().map(|point| point.1)).fold(0.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .margin(10)
        .margin_right(24)
        .x_label_area_size(48)
        .y_label_area_size(74)
        .build_cartesian_2d(0.0..end.max(1e-3), 0.0..(most * 1.05).max(1e-3))?;
    plot::axes(&mut chart, "seconds", "resident MiB")?;
    for (name, samples) in lines {
        let line = samples.iter().map(|sample| (bounded(sample.0), bounded(sample.1)));
        chart.draw_series(LineSeries::new(line, palette.of(name).stroke_width(1)))?;
    }
    chart.draw_series(LineSeries::new(live.iter().copied(), LIVE.stroke_width(2)))?;
    Ok(())
}
