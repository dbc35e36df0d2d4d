//! Memory against latency, a point for each contender, and a curve through the caps on arenas of
//! each allocator that has several.

use std::ops::Range;

use maud::Markup;
use plotters::coord::combinators::WithKeyPoints;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;

use super::super::metrics::{CPU, MEAN, Metric, P99};
use super::super::results::{ContenderResult, WorkloadResult};
use super::labels::{self, Label};
use super::palette::{INK, Palette};
use super::plot::{self, Area, DrawingError, bounded};

/// From this ratio of the most to the least on, an axis has a logarithmic scale.
const WIDE_RATIO: f64 = 8.0;
/// Logarithms need a value above zero.
const LEAST: f64 = 1e-6;

struct Point<'a> {
    contender: &'a ContenderResult,
    at: (f64, f64),
}

struct Plot<'a> {
    points: Vec<Point<'a>>,
    /// Names of the axes, with units.
    x_name: String,
    y_name: String,
    palette: &'a Palette,
}

/// What is on the vertical axis: service time where one was measured, or else CPU time.
pub(super) fn time_metric(workload: &WorkloadResult) -> &'static Metric {
    if workload.tells(&P99) { &P99 } else { &CPU }
}

/// The plot, or nothing where fewer than two contenders have both figures.
pub(super) fn element(workload: &WorkloadResult, palette: &Palette) -> Option<Markup> {
    let time = time_metric(workload);
    let point = |contender: &'_ ContenderResult| {
        let mib = contender.median(&MEAN)? / f64::from(1 << 20);
        let at = (bounded(mib).max(LEAST), bounded(contender.median(time)?).max(LEAST));
        contender.is_complete().then_some(at)
    };
    let points = workload.contenders.iter();
    let points: Vec<Point<'_>> =
        points.filter_map(|contender| Some(Point { contender, at: point(contender)? })).collect();
    if points.len() < 2 {
        return None;
    }
    let (x_name, y_name) = ("mean resident MiB".to_owned(), time.heading());
    let title = format!("Mean memory against {y_name} in “{}”", workload.title);
    let plot = Plot { points, x_name, y_name, palette };
    Some(plot::element(&title, |area| plot.draw(area)))
}

impl Plot<'_> {
    fn draw(&self, area: &Area<'_>) -> Result<(), DrawingError> {
        let (x, y) = (self.range(|at| at.0), self.range(|at| at.1));
        match (is_wide(&x), is_wide(&y)) {
            (false, false) => self.draw_with(area, x, y),
            (true, false) => self.draw_with(area, logarithmic(x), y),
            (false, true) => self.draw_with(area, x, logarithmic(y)),
            (true, true) => self.draw_with(area, logarithmic(x), logarithmic(y)),
        }
    }

    fn range(&self, coordinate: impl Fn((f64, f64)) -> f64) -> Range<f64> {
        let values = || self.points.iter().map(|point| coordinate(point.at));
        let (least, most) = (values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max));
        // Room for the points at the edge, and some where all are one.
        let room = (0.12 * (most - least)).max(0.04 * most);
        let below = if most / least > WIDE_RATIO { least * 0.8 } else { least - room };
        below..most + room
    }

    fn draw_with<X, Y>(&self, area: &Area<'_>, x: X, y: Y) -> Result<(), DrawingError>
    where
        X: AsRangedCoord<Value = f64>,
        X::CoordDescType: ValueFormatter<f64>,
        Y: AsRangedCoord<Value = f64>,
        Y::CoordDescType: ValueFormatter<f64>,
    {
        let mut chart = ChartBuilder::on(area)
            .margin(10)
            .margin_right(24)
            .x_label_area_size(48)
            .y_label_area_size(90)
            .build_cartesian_2d(x, y)?;
        plot::axes(&mut chart, &self.x_name, &self.y_name)?;
        for curve in self.curves() {
            let colour = self.palette.of(&curve[0].contender.name);
            let line = curve.iter().map(|point| point.at);
            chart.draw_series(LineSeries::new(line, colour.stroke_width(2)))?;
        }
        let mut labels = Vec::new();
        for point in &self.points {
            let name = &point.contender.name;
            let is_default = point.contender.is_default;
            let (size, colour) = (if is_default { 7 } else { 5 }, self.palette.of(name));
            let style = if is_default { colour.filled() } else { colour.stroke_width(3) };
            chart.draw_series([Circle::new(point.at, size, style)])?;
            labels.push(Label::new(name, chart.backend_coord(&point.at), is_default));
        }
        draw_labels(area, labels)
    }

    /// The settings of each allocator with several caps, by the cap; the default, whose cap is that
    /// of the machine, comes last.
    fn curves(&self) -> Vec<Vec<&Point<'_>>> {
        let mut allocators: Vec<&str> = Vec::new();
        for point in &self.points {
            if !allocators.contains(&point.contender.allocator.as_str()) {
                allocators.push(&point.contender.allocator);
            }
        }
        let curve = |allocator: &str| {
            let is_of = |point: &&Point<'_>| {
                let contender = point.contender;
                contender.allocator == allocator
                    && (contender.arena_max.is_some() || contender.is_default)
            };
            let mut curve: Vec<&Point<'_>> = self.points.iter().filter(is_of).collect();
            curve.sort_by_key(|point| {
                let contender = point.contender;
                (contender.is_default, contender.arena_max.unwrap_or(u32::MAX))
            });
            curve
        };
        allocators.into_iter().map(curve).filter(|curve| curve.len() > 1).collect()
    }
}

fn is_wide(range: &Range<f64>) -> bool {
    range.end / range.start > WIDE_RATIO
}

fn logarithmic(range: Range<f64>) -> WithKeyPoints<LogCoord<f64>> {
    let marks = marks(&range);
    range.log_scale().with_key_points(marks)
}

/// One, two and five times the powers of ten, or the powers alone where that would be too many.
fn marks(range: &Range<f64>) -> Vec<f64> {
    let (first, last) = (range.start.log10().floor() as i32, range.end.log10().ceil() as i32);
    let steps: &[f64] = if last - first > 4 { &[1.0] } else { &[1.0, 2.0, 5.0] };
    let all =
        (first..=last).flat_map(|power| steps.iter().map(move |step| step * 10f64.powi(power)));
    all.filter(|mark| range.contains(mark)).collect()
}

fn draw_labels(area: &Area<'_>, labels: Vec<Label>) -> Result<(), DrawingError> {
    let font = ("sans-serif", 17).into_font().color(&INK);
    for label in labels::place(labels, plot::SIZE) {
        if let Some(line) = label.leader() {
            area.draw(&PathElement::new(line.to_vec(), INK.mix(0.5).stroke_width(1)))?;
        }
        area.draw(&Text::new(label.text.clone(), label.corner, font.clone()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_round_and_within() {
        assert_eq!(marks(&(60.0..2900.0)), [100.0, 200.0, 500.0, 1000.0, 2000.0]);
        assert_eq!(marks(&(12.0..97.0)), [20.0, 50.0]);
        assert_eq!(marks(&(0.5..2e6)).len(), 7);
    }
}
