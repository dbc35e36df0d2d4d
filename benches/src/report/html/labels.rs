//! Names beside the points of a plot, so that none lies on another or on a point.

/// Estimated, as no font can be measured here; wide enough for the usual ones.
const CHARACTER_WIDTH: i32 = 9;
const HEIGHT: i32 = 17;
/// Half a point, and a little room.
const POINT: i32 = 8;
/// Lines of text above and below a point in which its label may be.
const LINES: i32 = 9;
/// Longer names are cut.
const MOST_CHARACTERS: usize = 28;

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Label {
    pub(super) text: String,
    /// The point that it belongs to, in pixels.
    point: (i32, i32),
    /// The upper left corner, once it is placed.
    pub(super) corner: (i32, i32),
    /// Whether it is placed before others.
    is_first: bool,
}

type Rectangle = [(i32, i32); 2];

impl Label {
    pub(super) fn new(name: &str, point: (i32, i32), is_first: bool) -> Self {
        let mut text: String = name.chars().take(MOST_CHARACTERS).collect();
        if name.chars().count() > MOST_CHARACTERS {
            text.push('…');
        }
        Self { text, point, corner: point, is_first }
    }

    fn width(&self) -> i32 {
        self.text.chars().count() as i32 * CHARACTER_WIDTH
    }

    fn rectangle(&self) -> Rectangle {
        [self.corner, (self.corner.0 + self.width(), self.corner.1 + HEIGHT)]
    }

    /// A line to the point, where the label had to be put away from it.
    pub(super) fn leader(&self) -> Option<[(i32, i32); 2]> {
        let [(left, top), (right, bottom)] = self.rectangle();
        let near = (self.point.0.clamp(left, right), self.point.1.clamp(top, bottom));
        let (x, y) = (near.0 - self.point.0, near.1 - self.point.1);
        (x * x + y * y > 4 * POINT * POINT).then_some([self.point, near])
    }

    /// Places around the point, the nearest first: beside it, then in lines above and below.
    fn corners(&self) -> Vec<(i32, i32)> {
        let ((x, y), width) = (self.point, self.width());
        let level = y - HEIGHT / 2;
        let mut corners = vec![(x + POINT + 4, level), (x - POINT - 4 - width, level)];
        for line in 0..LINES {
            let away = POINT + line * (HEIGHT + 1);
            for row in [y - away - HEIGHT, y + away] {
                // Over the middle, and then more and more to either side.
                let shifts = [4, 3, 5, 2, 6, 1, 7, 0, 8].map(|eighths| eighths * width / 8);
                corners.extend(shifts.map(|shift| (x - shift, row)));
                corners.extend([(x + 2 * POINT, row), (x - 2 * POINT - width, row)]);
            }
        }
        corners
    }
}

/// Puts every label at the nearest place that is free; where none is, beside its point.
pub(super) fn place(mut labels: Vec<Label>, size: (u32, u32)) -> Vec<Label> {
    labels.sort_by_key(|label| !label.is_first);
    let points: Vec<Rectangle> = labels
        .iter()
        .map(|label| {
            let (x, y) = label.point;
            [(x - POINT, y - POINT), (x + POINT, y + POINT)]
        })
        .collect();
    let mut placed: Vec<Label> = Vec::new();
    for mut label in labels {
        let corners = label.corners();
        let is_free = |corner: &&(i32, i32)| {
            let rectangle = Label { corner: **corner, ..label.clone() }.rectangle();
            let taken = placed.iter().map(Label::rectangle);
            is_within(rectangle, size)
                && taken.chain(points.iter().copied()).all(|other| !overlap(rectangle, other))
        };
        label.corner = *corners.iter().find(is_free).unwrap_or(&corners[0]);
        placed.push(label);
    }
    placed
}

/// Within the picture, without the room of the axes.
fn is_within([(left, top), (right, bottom)]: Rectangle, (width, height): (u32, u32)) -> bool {
    left >= 102 && top >= 4 && right <= width as i32 - 4 && bottom <= height as i32 - 60
}

fn overlap(one: Rectangle, other: Rectangle) -> bool {
    let [(left, top), (right, bottom)] = one;
    let [(other_left, other_top), (other_right, other_bottom)] = other;
    left < other_right && other_left < right && top < other_bottom && other_top < bottom
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_one_place_do_not_overlap() {
        let label =
            |index: usize| Label::new(&format!("contender-{index}"), (400, 200), index == 3);
        let placed = place((0..14).map(label).collect(), (880, 400));
        assert_eq!(placed[0].text, "contender-3");
        assert_eq!(placed[0].leader(), None);
        assert!(placed.last().is_some_and(|label| label.leader().is_some()));
        for (index, one) in placed.iter().enumerate() {
            assert!(is_within(one.rectangle(), (880, 400)), "{one:?}");
            for other in &placed[..index] {
                assert!(!overlap(one.rectangle(), other.rectangle()), "{one:?} {other:?}");
            }
        }
    }

    #[test]
    fn long_names_are_cut() {
        let label = Label::new(&"n".repeat(100), (0, 0), false);
        assert_eq!(label.text.chars().count(), MOST_CHARACTERS + 1);
    }
}
