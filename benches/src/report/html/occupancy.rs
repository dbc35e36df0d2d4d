//! A heap as a picture in which each cell is a page, and each square of 32 by 32 a segment.

use maud::{Markup, html};

use super::super::format;

/// Pages in a row of a segment; 32 of them are the 1024 pages of 4 MiB.
const SIDE: usize = 32;
/// Between two segments.
const GAP: usize = 2;
const SEGMENTS_IN_A_ROW: usize = 12;
/// More segments than these are counted, not drawn, so that the page stays of a size to be sent.
const MOST_SEGMENTS: usize = 240;

/// What a page may be: its letter, its name and its colour.
struct State {
    letter: char,
    name: &'static str,
    meaning: &'static str,
    colour: [u8; 3],
    opacity: u8,
}

const STATES: [State; 5] = [
    State {
        letter: 'L',
        name: "live",
        meaning: "has blocks in use",
        colour: [0x2b, 0x6c, 0xd4],
        opacity: 255,
    },
    State {
        letter: 'C',
        name: "cached",
        meaning: "has only free blocks that threads keep",
        colour: [0x35, 0xb5, 0xa0],
        opacity: 255,
    },
    State {
        letter: 'D',
        name: "dirty",
        meaning: "free and resident",
        colour: [0xe8, 0x8a, 0x1c],
        opacity: 255,
    },
    State {
        letter: 'R',
        name: "retained",
        meaning: "free and not resident",
        colour: [0x80, 0x80, 0x80],
        opacity: 56,
    },
    State {
        letter: '.',
        name: "other",
        meaning: "metadata or unknown",
        colour: [0x90, 0x50, 0xa8],
        opacity: 255,
    },
];
const OTHER: usize = 4;
/// The picture's ground, which is the page's.
const NOTHING: u8 = STATES.len() as u8;

/// The colours and what they mean.
pub(super) fn legend() -> Markup {
    html! {
        ul.legend {
            @for state in &STATES {
                li {
                    span.swatch style=(format!("background:{}", css(state))) {}
                    b { (state.name) } ": " (state.meaning)
                }
            }
        }
    }
}

/// The picture of a heap, with its counts in words.
pub(super) fn element(contender: &str, segments: &[String]) -> Markup {
    let drawn = &segments[..segments.len().min(MOST_SEGMENTS)];
    let (width, height, cells) = picture(drawn);
    let counts = counts(segments);
    let source =
        png(width, height, &cells).map(|bytes| format!("data:image/png;base64,{}", base64(&bytes)));
    // A page is drawn larger where there are few of them.
    let scale = (820 / width.max(1)).clamp(2, 5);
    let left_out = segments.len() - drawn.len();
    html! {
        figure.heap {
            figcaption {
                b { (contender) } ": " (segments.len()) " segments; " (counts)
                @if left_out > 0 { "; the last " (left_out) " segments are not drawn" }
            }
            @match source {
                Some(source) => div.wide tabindex="0" role="group" aria-label=(format!("heap of {contender}")) {
                    img src=(source) width=(width * scale) height=(height * scale)
                        alt=(format!("Heap of {contender}, each cell a page: {counts}"));
                },
                None => p { "This heap could not be drawn." }
            }
        }
    }
}

fn state_of(letter: char) -> usize {
    STATES.iter().position(|state| state.letter == letter).unwrap_or(OTHER)
}

fn counts(segments: &[String]) -> String {
    let mut counts = [0_usize; STATES.len()];
    for letter in segments.iter().flat_map(|segment| segment.chars()) {
        counts[state_of(letter)] += 1;
    }
    let told = counts.iter().zip(&STATES).filter(|(count, _)| **count > 0);
    let told = told
        .map(|(&count, state)| format!("{} {}", state.name, format::mib(count as f64 * 4096.0)));
    let told: Vec<String> = told.collect();
    format!("{} MiB", told.join(", "))
}

/// Width, height and the cells' states, row by row.
fn picture(segments: &[String]) -> (usize, usize, Vec<u8>) {
    let columns = segments.len().clamp(1, SEGMENTS_IN_A_ROW);
    // A segment of more pages than usual is drawn higher, and all with it.
    let pages = segments.iter().map(|one| one.chars().count()).max().unwrap_or(0);
    let tall = pages.div_ceil(SIDE).clamp(1, 4 * SIDE);
    let width = columns * (SIDE + GAP) - GAP;
    let height = segments.len().div_ceil(columns).max(1) * (tall + GAP) - GAP;
    let mut cells = vec![NOTHING; width * height];
    for (index, segment) in segments.iter().enumerate() {
        let left = index % columns * (SIDE + GAP);
        let top = index / columns * (tall + GAP);
        for (page, letter) in segment.chars().take(tall * SIDE).enumerate() {
            let (x, y) = (left + page % SIDE, top + page / SIDE);
            cells[y * width + x] = state_of(letter) as u8;
        }
    }
    (width, height, cells)
}

fn png(width: usize, height: usize, cells: &[u8]) -> Option<Vec<u8>> {
    let (mut bytes, mut colours, mut opacities) = (Vec::new(), Vec::new(), Vec::new());
    for state in &STATES {
        colours.extend(state.colour);
        opacities.push(state.opacity);
    }
    colours.extend([0; 3]);
    opacities.push(0);
    let mut encoder =
        png::Encoder::new(&mut bytes, u32::try_from(width).ok()?, u32::try_from(height).ok()?);
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_palette(colours);
    encoder.set_trns(opacities);
    encoder.set_compression(png::Compression::High);
    encoder.write_header().ok()?.write_image_data(cells).ok()?;
    Some(bytes)
}

fn css(state: &State) -> String {
    let [red, green, blue] = state.colour;
    format!("rgba({red},{green},{blue},{:.2})", f64::from(state.opacity) / 255.0)
}

/// Bytes as text, as a `data:` address has them.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let byte = |index: usize| u32::from(three.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let value = bits >> (18 - 6 * digit) & 63;
            text.push(if digit <= three.len() { DIGITS[value as usize] as char } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_standard() {
        let cases = ["", "f", "fo", "foo", "foob", "fooba", "foobar"];
        let coded = ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"];
        for (text, code) in cases.iter().zip(coded) {
            assert_eq!(base64(text.as_bytes()), code);
        }
    }

    #[test]
    fn each_cell_is_a_page_of_its_segment() {
        let segments: Vec<String> = (0..13).map(|_| format!("L{}R", "D".repeat(1022))).collect();
        let (width, height, cells) = picture(&segments);
        assert_eq!((width, height), (12 * 34 - 2, 2 * 34 - 2));
        let at = |x: usize, y: usize| cells[y * width + x];
        assert_eq!([at(0, 0), at(1, 0), at(31, 31), at(32, 0)], [0, 2, 3, NOTHING]);
        assert_eq!([at(34, 0), at(0, 34), at(34, 34)], [0, 0, NOTHING]);
    }

    #[test]
    fn the_picture_says_the_same_when_it_is_read_again() {
        let (width, height, cells) = picture(&["LCDR.".into()]);
        let bytes = png(width, height, &cells).expect("it is a picture");
        let mut reader =
            png::Decoder::new(std::io::Cursor::new(bytes)).read_info().expect("a header");
        let mut read = vec![0; reader.output_buffer_size().expect("a size")];
        reader.next_frame(&mut read).expect("cells");
        assert_eq!(read, cells);
        assert_eq!(&cells[..6], &[0, 1, 2, 3, 4, NOTHING]);
    }

    #[test]
    fn odd_heaps_are_counted_and_drawn() {
        for segments in [vec![], vec![String::new()], vec!["é?".into()], vec!["L".repeat(1 << 16)]]
        {
            assert!(element("<one>", &segments).into_string().contains("&lt;one&gt;"));
        }
        let many = vec!["L".to_owned(); MOST_SEGMENTS + 2];
        assert!(element("one", &many).into_string().contains("the last 2 segments are not drawn"));
        assert_eq!(counts(&["LL".into(), "R?".into()]), "live 0.01, retained 0.00, other 0.00 MiB");
    }
}
