//! A colour for each contender: a hue for each allocator, a shade for each of its settings.
//!
//! Plots are drawn in the light colours, and the style sheet puts the dark ones in their place. So
//! no two contenders may have the same light colour.

use std::fmt::Write as _;

use plotters::style::RGBColor;

use super::super::results::{ContenderResult, Report};

/// Text, axes and grid lines of plots; the style sheet has their colours.
pub(super) const INK: RGBColor = RGBColor(1, 2, 3);
pub(super) const AXIS: RGBColor = RGBColor(4, 5, 6);
pub(super) const GRID: RGBColor = RGBColor(7, 8, 9);
/// The line of live memory.
pub(super) const LIVE: RGBColor = RGBColor(10, 11, 12);

/// Hues in degrees; peers that are not named here share the last ones in turn.
const HUES: [(&str, f64); 7] = [
    ("capmalloc", 215.0),
    ("glibc", 22.0),
    ("system", 22.0),
    ("jemalloc", 135.0),
    ("mimalloc", 322.0),
    ("tcmalloc", 275.0),
    ("snmalloc", 182.0),
];
const OTHER_HUES: [f64; 4] = [48.0, 0.0, 90.0, 248.0];

#[derive(Debug)]
pub(super) struct Palette {
    colours: Vec<Colour>,
}

#[derive(Debug)]
struct Colour {
    contender: String,
    light: RGBColor,
    dark: RGBColor,
    is_default: bool,
}

impl Palette {
    /// Colours for every contender of the report, each the same in all workloads.
    pub(super) fn new(report: &Report) -> Self {
        let mut palette = Self { colours: Vec::new() };
        let mut allocators: Vec<(&str, usize)> = Vec::new();
        for contender in report.workloads.iter().flat_map(|workload| &workload.contenders) {
            if palette.colours.iter().any(|colour| colour.contender == contender.name) {
                continue;
            }
            let known = allocators.iter().position(|(name, _)| *name == contender.allocator);
            let place = known.unwrap_or_else(|| {
                allocators.push((&contender.allocator, 0));
                allocators.len() - 1
            });
            // The default has the strongest shade; the settings follow it in their order.
            let count = &mut allocators[place].1;
            *count += usize::from(!contender.is_default);
            let shade = if contender.is_default { 0 } else { *count };
            palette.add(contender, hue(&contender.allocator, place), shade);
        }
        palette
    }

    fn add(&mut self, contender: &ContenderResult, hue: f64, shade: usize) {
        let step = (shade % 6) as f64 * 0.075;
        let mut light = from_hsl(hue, 0.78, 0.38 + step);
        let dark = from_hsl(hue, 0.80, 0.70 - step * 0.75);
        while light.0 < 16 || self.colours.iter().any(|colour| colour.light == light) {
            light = RGBColor(light.0.wrapping_add(1).max(16), light.1, light.2);
            if light.0 == u8::MAX {
                light.1 = light.1.wrapping_add(1);
            }
        }
        let is_default = contender.is_default;
        self.colours.push(Colour { contender: contender.name.clone(), light, dark, is_default });
    }

    /// The colour that plots are drawn in.
    pub(super) fn of(&self, contender: &str) -> RGBColor {
        let found = self.colours.iter().find(|colour| colour.contender == contender);
        found.map_or(INK, |colour| colour.light)
    }

    /// Rules that draw defaults with thicker lines.
    pub(super) fn light_rules(&self) -> String {
        let mut rules = String::new();
        for colour in self.colours.iter().filter(|colour| colour.is_default) {
            // Writing to a string cannot fail.
            let _ = write!(
                rules,
                ".memory .wide polyline[stroke=\"{}\"]{{stroke-width:3}}",
                hex(colour.light)
            );
        }
        rules
    }

    /// Rules that put the dark colours in the place of the light ones.
    pub(super) fn dark_rules(&self) -> String {
        let mut rules = String::new();
        for colour in &self.colours {
            let (light, dark) = (hex(colour.light), hex(colour.dark));
            // Writing to a string cannot fail.
            let _ = write!(
                rules,
                "svg [stroke=\"{light}\"]{{stroke:{dark}}}svg [fill=\"{light}\"]{{fill:{dark}}}"
            );
        }
        rules
    }
}

/// As plots have it, for selectors.
pub(super) fn hex(colour: RGBColor) -> String {
    format!("#{:02X}{:02X}{:02X}", colour.0, colour.1, colour.2)
}

fn hue(allocator: &str, place: usize) -> f64 {
    let known = HUES.iter().find(|(name, _)| *name == allocator);
    known.map_or(OTHER_HUES[place % OTHER_HUES.len()], |(_, hue)| *hue)
}

fn from_hsl(hue: f64, saturation: f64, lightness: f64) -> RGBColor {
    let amplitude = saturation * lightness.min(1.0 - lightness);
    let channel = |offset: f64| {
        let position = (offset + hue / 30.0) % 12.0;
        let share = (position - 3.0).min(9.0 - position).clamp(-1.0, 1.0);
        ((lightness - amplitude * share) * 255.0).round() as u8
    };
    RGBColor(channel(0.0), channel(8.0), channel(4.0))
}

#[cfg(test)]
mod tests {
    use super::super::super::results::WorkloadResult;
    use super::*;

    #[test]
    fn every_contender_has_a_colour_of_its_own() {
        let contender = |index: usize| ContenderResult {
            name: format!("contender {index}"),
            allocator: ["capmalloc", "glibc", "one", "two"][index % 4].into(),
            ..ContenderResult::default()
        };
        let contenders = (0..400).map(contender).collect();
        let workload = WorkloadResult { contenders, ..WorkloadResult::default() };
        let report = Report { workloads: vec![workload], ..Report::default() };
        let palette = Palette::new(&report);
        let mut colours: Vec<String> = palette.colours.iter().map(|one| hex(one.light)).collect();
        colours.sort_unstable();
        colours.dedup();
        assert_eq!(colours.len(), 400);
    }

    #[test]
    fn colours_are_the_known_ones() {
        assert_eq!(hex(from_hsl(0.0, 1.0, 0.5)), "#FF0000");
        assert_eq!(hex(from_hsl(120.0, 1.0, 0.25)), "#008000");
        assert_eq!(hex(from_hsl(240.0, 0.5, 0.5)), "#4040BF");
    }
}
