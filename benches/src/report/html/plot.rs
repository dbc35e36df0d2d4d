//! What all plots share: their size, their axes, and how they are put into the page.

use plotters::chart::ChartContext;
use plotters::coord::cartesian::Cartesian2d;
use plotters::coord::ranged1d::ValueFormatter;
use plotters::prelude::*;

use super::super::format;
use super::palette::{AXIS, GRID, INK};

pub(super) const SIZE: (u32, u32) = (880, 400);
/// Values beyond this are drawn as this: no machine has as much of anything.
const MOST: f64 = 1e15;

pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
pub(super) type DrawingError = DrawingAreaErrorKind<std::io::Error>;

/// A value that an axis can carry.
pub(super) fn bounded(value: f64) -> f64 {
    if value.is_nan() { 0.0 } else { value.clamp(0.0, MOST) }
}

/// Draws a plot, and gives it as an element with a title for those who cannot see it.
pub(super) fn element(
    title: &str,
    draw: impl FnOnce(&Area<'_>) -> Result<(), DrawingError>,
) -> maud::Markup {
    let mut drawn = String::new();
    let outcome = {
        let area = SVGBackend::with_string(&mut drawn, SIZE).into_drawing_area();
        draw(&area).and_then(|()| area.present())
    };
    // The backend's own tag has a fixed size, which would not fit a narrow screen.
    let body = drawn.split_once('>').map_or("", |(_, rest)| rest);
    let body = body.trim_end().strip_suffix("</svg>");
    match (outcome, body) {
        (Ok(()), Some(body)) => maud::html! {
            svg viewBox=(format!("0 0 {} {}", SIZE.0, SIZE.1)) role="img" {
                title { (title) }
                (maud::PreEscaped(body))
            }
        },
        _ => maud::html! { p { "This plot could not be drawn: " (title) } },
    }
}

/// Axes with their names, and the grid behind the plot.
pub(super) fn axes<X, Y>(
    chart: &mut ChartContext<'_, SVGBackend<'_>, Cartesian2d<X, Y>>,
    x_name: &str,
    y_name: &str,
) -> Result<(), DrawingError>
where
    X: Ranged<ValueType = f64> + ValueFormatter<f64>,
    Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let tick = |value: &f64| tick(*value);
    chart
        .configure_mesh()
        .x_desc(x_name)
        .y_desc(y_name)
        .x_labels(9)
        .y_labels(9)
        .x_label_formatter(&tick)
        .y_label_formatter(&tick)
        .label_style(("sans-serif", 19).into_font().color(&INK))
        .axis_desc_style(("sans-serif", 20).into_font().color(&INK))
        .axis_style(AXIS)
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .draw()
}

/// A number on an axis, without decimals that say nothing.
fn tick(value: f64) -> String {
    let text = format::number(value);
    match text.split_once('.') {
        Some((whole, decimals)) if decimals.bytes().all(|digit| digit == b'0') => whole.into(),
        Some(_) if !text.contains('e') => text.trim_end_matches('0').into(),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_short_and_values_bounded() {
        assert_eq!([0.0, 0.5, 2.0, 12.5, 1500.0].map(tick), ["0", "0.5", "2", "12.5", "1,500"]);
        assert_eq!(bounded(f64::NAN), 0.0);
        assert_eq!(bounded(f64::INFINITY), MOST);
        assert_eq!(bounded(-1.0), 0.0);
    }

    #[test]
    fn an_error_of_drawing_is_a_line_of_text() {
        let failed = element("a <plot>", |_| Err(DrawingAreaErrorKind::LayoutError));
        assert!(failed.into_string().contains("could not be drawn: a &lt;plot&gt;"));
    }
}
