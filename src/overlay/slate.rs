//! The picture that stands in while a live source is away: two lines of text
//! on a dark ground, in the middle.

use super::canvas::{Box2, Canvas, Rgb, fitted, load_font, text_width};
use super::panel::{BRIGHT, DIM, GROUND};
use crate::frame::{Colorimetry, Size};

/// Colour of the rule between the lines.
const RULE: Rgb = [72.0, 78.0, 88.0];

/// The planes of an I420 picture of `size` that says `title` and, smaller,
/// `detail`. Rows stand behind each other without gaps; `pixel_aspect` is the
/// width of a pixel divided by its height.
pub fn slate(
    size: Size,
    colorimetry: Colorimetry,
    pixel_aspect: f64,
    title: &str,
    detail: &str,
) -> [Vec<u8>; 3] {
    let ground = colorimetry.rgb_to_yuv(GROUND).map(|v| v.round().clamp(0.0, 255.0) as u8);
    let chroma = size.chroma();
    let mut planes = [
        vec![ground[0]; size.width * size.height],
        vec![ground[1]; chroma.width * chroma.height],
        vec![ground[2]; chroma.width * chroma.height],
    ];
    let aspect = if (0.1..=10.0).contains(&pixel_aspect) { pixel_aspect as f32 } else { 1.0 };
    let band = (size.height / 3).next_multiple_of(2).min(size.height / 2 * 2);
    let top = (size.height - band) / 4 * 2;
    let mut canvas = Canvas::new(size.width, band, aspect);
    let (width, height) = (size.width as f32 * aspect, band as f32);
    let whole = Box2 { x: 0.0, y: 0.0, width, height };
    canvas.fill(whole, 0.0, 1.0, |_| GROUND);
    let (big, small) = ((height / 4.0).max(10.0), (height / 8.0).max(8.0));
    if let Some(font) = load_font() {
        let mut line = |text: &str, text_height: f32, baseline: f32, colour: Rgb| {
            let text = fitted(&font, text, text_height, 0.9 * width);
            let x = (width - text_width(&font, &text, text_height)) / 2.0;
            canvas.text(&font, &text, [x, baseline], text_height, colour);
        };
        line(title, big, 0.48 * height, BRIGHT);
        line(detail, small, 0.8 * height, DIM);
    }
    let rule = Box2 { x: 0.3 * width, y: (0.58 * height).round(), width: 0.4 * width, height: 1.0 };
    canvas.fill(rule, 0.0, 1.0, |_| RULE);
    for (at, [r, g, b, _]) in canvas.pixels.iter().enumerate() {
        let [y, u, v] = colorimetry.rgb_to_yuv([*r, *g, *b]).map(|v| v.round() as u8);
        let (row, column) = (top + at / size.width, at % size.width);
        planes[0][row * size.width + column] = y;
        if row % 2 == 0 && column % 2 == 0 {
            let at = row / 2 * chroma.width + column / 2;
            (planes[1][at], planes[2][at]) = (u, v);
        }
    }
    planes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slate_is_dark_with_bright_words_in_the_middle() {
        for (size, aspect) in [
            (Size::new(1280, 720), 1.0),
            (Size::new(720, 576), 16.0 / 15.0),
            (Size::new(637, 269), 1.0),
            (Size::new(16, 16), 1.0),
        ] {
            let planes =
                slate(size, Colorimetry::BT709, aspect, "no signal since 14:03:22", "news");
            assert_eq!(planes[0].len(), size.width * size.height);
            assert_eq!(planes[1].len(), size.chroma().width * size.chroma().height);
            let bright = |rows: std::ops::Range<usize>| {
                planes[0][rows.start * size.width..rows.end * size.width]
                    .iter()
                    .filter(|y| **y > 180)
                    .count()
            };
            if size.height > 100 {
                let (third, two) = (size.height / 3, size.height * 2 / 3);
                assert!(bright(third..two) > 200, "{size:?}");
                assert_eq!(bright(0..third - 1) + bright(two + 1..size.height), 0, "{size:?}");
            }
        }
    }
}
