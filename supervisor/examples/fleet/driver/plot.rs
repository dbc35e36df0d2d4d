//! Memory over time, a line for each policy, and the page that shows it with the table.

use plotters::prelude::*;
use plotters::style::FontFamily;

use super::Run;
use crate::options::{Experiment, PolicyName};

const SIZE: (u32, u32) = (960, 480);
const MIB: f64 = 1048576.0;

/// Points of a line; each is the mean of what all runs of the policy held at about that time.
const POINTS: usize = 240;

const INK: RGBColor = RGBColor(51, 51, 51);
const GRID: RGBColor = RGBColor(225, 225, 225);

fn colour(policy: PolicyName) -> RGBColor {
    match policy {
        PolicyName::Mean => RGBColor(230, 159, 0),
        PolicyName::Prediction => RGBColor(0, 114, 178),
        PolicyName::Largest => RGBColor(0, 158, 115),
        PolicyName::Oldest => RGBColor(204, 121, 167),
        PolicyName::None => RGBColor(213, 94, 0),
    }
}

/// The plot as SVG.
pub(super) fn memory(
    experiment: &Experiment,
    runs: &[Run],
) -> Result<String, Box<dyn std::error::Error>> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        draw(&area, experiment, runs).map_err(|error| format!("the plot: {error}"))?;
        area.present()?;
    }
    Ok(svg)
}

fn draw(
    area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    experiment: &Experiment,
    runs: &[Run],
) -> Result<(), DrawingAreaErrorKind<std::io::Error>> {
    area.fill(&WHITE)?;
    let minutes = experiment.seconds * experiment.time.factor / 60.0;
    let limit = experiment.memory_limit as f64;
    let font = |size: u32| (FontFamily::SansSerif, size).into_font().color(&INK);
    let caption = format!(
        "Memory of all instances; time runs {} times as fast as the wall's",
        experiment.time.factor
    );
    let mut chart = ChartBuilder::on(area)
        .caption(caption, font(19))
        .margin(12)
        .margin_right(28)
        .x_label_area_size(46)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..minutes, 0.0..limit * 1.12)?;
    chart
        .configure_mesh()
        .x_desc("simulated minutes")
        .y_desc("MiB")
        .x_label_formatter(&|minutes| format!("{minutes:.0}"))
        .y_label_formatter(&|mib| format!("{mib:.0}"))
        .label_style(font(15))
        .axis_desc_style(font(16))
        .axis_style(INK)
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .draw()?;
    let dashes = DashedLineSeries::new([(0.0, limit), (minutes, limit)], 6, 4, INK.into());
    chart.draw_series(dashes)?.label("limit").legend(|place| legend(place, INK));
    for &policy in &experiment.policies {
        let colour = colour(policy);
        let line = LineSeries::new(mean_line(runs, policy, minutes), colour.stroke_width(2));
        chart.draw_series(line)?.label(policy.name()).legend(move |place| legend(place, colour));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE.mix(0.85))
        .border_style(GRID)
        .label_font(font(15))
        .draw()
}

fn legend((x, y): (i32, i32), colour: RGBColor) -> PathElement<(i32, i32)> {
    PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2))
}

/// Minutes and MiB.
fn mean_line(runs: &[Run], policy: PolicyName, minutes: f64) -> Vec<(f64, f64)> {
    let mut sums = vec![(0.0, 0.0); POINTS];
    let of_policy = runs.iter().filter(|run| run.policy == policy.name());
    for (seconds, bytes) in of_policy.flat_map(|run| &run.memory) {
        let place = (seconds / 60.0 / minutes * POINTS as f64) as usize;
        let (sum, count) = &mut sums[place.min(POINTS - 1)];
        *sum += *bytes as f64 / MIB;
        *count += 1.0;
    }
    let seen = sums.iter().enumerate().filter(|(_, (_, count))| *count > 0.0);
    let width = minutes / POINTS as f64;
    seen.map(|(index, (sum, count))| ((index as f64 + 0.5) * width, sum / count)).collect()
}

/// The page: all of it in one file.
pub(super) fn page(table: &str, svg: &str) -> String {
    let table = table.replace('&', "&amp;").replace('<', "&lt;");
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <title>A fleet under each restart policy</title>\n\
         <style>body {{ font-family: sans-serif; margin: 2em; max-width: 110em }}\n\
         pre {{ overflow-x: auto }}\nsvg {{ max-width: 100%; height: auto }}</style>\n\
         <h1>A fleet under each restart policy</h1>\n{svg}\n<pre>{table}</pre>\n</html>\n"
    )
}
