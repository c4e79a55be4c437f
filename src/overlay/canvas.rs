//! A small RGB canvas with alpha for the panel: rounded boxes and text.
//!
//! Positions are in *display units*: one is the height of a luma sample. A
//! sample is `pixel_aspect` units wide, so that squares and letters come out
//! right on pictures whose samples are not square.

use ab_glyph::{Font, FontRef, PxScale, ScaleFont, point};

/// DejaVu Sans: Latin, Greek and Cyrillic (licence in `assets/`).
static FONT: &[u8] = include_bytes!("../../assets/DejaVuSans.ttf");

/// The font, unless its data is damaged.
pub(super) fn load_font() -> Option<FontRef<'static>> {
    FontRef::try_from_slice(FONT).ok()
}

/// R, G, B in 0..255.
pub(super) type Rgb = [f32; 3];

/// A rectangle in display units.
#[derive(Clone, Copy, Debug)]
pub(super) struct Box2 {
    pub(super) x: f32,
    pub(super) y: f32,
    pub(super) width: f32,
    pub(super) height: f32,
}

/// A picture of premultiplied R, G, B and alpha (0..1), row by row.
#[derive(Debug)]
pub(super) struct Canvas {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) pixels: Vec<[f32; 4]>,
    pixel_aspect: f32,
}

impl Canvas {
    /// A transparent canvas of `width` x `height` samples.
    pub(super) fn new(width: usize, height: usize, pixel_aspect: f32) -> Self {
        Self { width, height, pixels: vec![[0.0; 4]; width * height], pixel_aspect }
    }

    fn put(&mut self, x: usize, y: usize, [r, g, b]: Rgb, alpha: f32) {
        let pixel = &mut self.pixels[y * self.width + x];
        for (under, over) in pixel.iter_mut().zip([r, g, b, 1.0]) {
            *under += (over - *under) * alpha;
        }
    }

    /// Fills a box with round corners; `colour` is asked with 0..1 from left to
    /// right.
    pub(super) fn fill(
        &mut self,
        area: Box2,
        radius: f32,
        alpha: f32,
        colour: impl Fn(f32) -> Rgb,
    ) {
        let par = self.pixel_aspect;
        let (cx, cy) = (area.x + area.width / 2.0, area.y + area.height / 2.0);
        let (hx, hy) = (area.width / 2.0, area.height / 2.0);
        let radius = radius.min(hx).min(hy).max(0.0);
        let span = |from: f32, to: f32, most: usize| {
            // `as` saturates at zero.
            (from.floor() as usize).min(most)..(to.ceil() as usize).min(most)
        };
        for y in span(area.y, area.y + area.height, self.height) {
            for x in span(area.x / par, (area.x + area.width) / par, self.width) {
                let (px, py) = ((x as f32 + 0.5) * par, y as f32 + 0.5);
                // Signed distance to the round box, negative inside.
                let (dx, dy) = ((px - cx).abs() - hx + radius, (py - cy).abs() - hy + radius);
                let outside =
                    if dx > 0.0 && dy > 0.0 { (dx * dx + dy * dy).sqrt() } else { dx.max(dy) };
                let cover = (0.5 - outside + radius).clamp(0.0, 1.0);
                if cover > 0.0 {
                    let t = ((px - area.x) / area.width).clamp(0.0, 1.0);
                    self.put(x, y, colour(t), alpha * cover);
                }
            }
        }
    }

    /// Writes `text` with its baseline at `y`.
    pub(super) fn text(
        &mut self,
        font: &FontRef<'_>,
        text: &str,
        [x, y]: [f32; 2],
        height: f32,
        colour: Rgb,
    ) {
        let scale = PxScale { x: height / self.pixel_aspect, y: height };
        let scaled = font.as_scaled(scale);
        let mut pen = x / self.pixel_aspect;
        let mut last = None;
        for c in printable(text) {
            let id = font.glyph_id(c);
            if let Some(last) = last {
                pen += scaled.kern(last, id);
            }
            let glyph = id.with_scale_and_position(scale, point(pen, y));
            if let Some(outline) = font.outline_glyph(glyph) {
                let bounds = outline.px_bounds();
                let (left, top) = (bounds.min.x as i64, bounds.min.y as i64);
                outline.draw(|gx, gy, cover| {
                    let (x, y) = (left + i64::from(gx), top + i64::from(gy));
                    if let (Ok(x), Ok(y)) = (usize::try_from(x), usize::try_from(y))
                        && x < self.width
                        && y < self.height
                    {
                        self.put(x, y, colour, cover.clamp(0.0, 1.0));
                    }
                });
            }
            pen += scaled.h_advance(id);
            last = Some(id);
        }
    }
}

/// The characters of `text` that leave a mark or a space on one line.
fn printable(text: &str) -> impl Iterator<Item = char> {
    text.chars().map(|c| if c.is_whitespace() { ' ' } else { c }).filter(|c| !c.is_control())
}

/// Width of `text` in display units.
pub(super) fn text_width(font: &FontRef<'_>, text: &str, height: f32) -> f32 {
    let scaled = font.as_scaled(PxScale::from(height));
    let mut width = 0.0;
    let mut last = None;
    for c in printable(text) {
        let id = font.glyph_id(c);
        width += scaled.h_advance(id) + last.map_or(0.0, |last| scaled.kern(last, id));
        last = Some(id);
    }
    width
}

/// `text`, cut off with an ellipsis if it is wider than `room` display units.
pub(super) fn fitted(font: &FontRef<'_>, text: &str, height: f32, room: f32) -> String {
    // No label needs more; this bounds the work for absurd ones.
    let mut kept: String = printable(text).take(200).collect();
    if kept.len() == text.len() && text_width(font, &kept, height) <= room {
        return kept;
    }
    loop {
        let cut = format!("{}…", kept.trim_end());
        if text_width(font, &cut, height) <= room {
            return cut;
        }
        if kept.pop().is_none() {
            return String::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latin_greek_and_cyrillic_have_glyphs() {
        let font = load_font().unwrap();
        for c in "Ünïcode ŁódźΩμέγα Новости рекламаёЇ…%·".chars() {
            assert_ne!(font.glyph_id(c).0, 0, "{c}");
        }
    }

    #[test]
    fn long_text_is_cut_with_an_ellipsis_and_fits() {
        let font = load_font().unwrap();
        let long = "a label far too long for any panel, a label far too long".repeat(9);
        let cut = fitted(&font, &long, 20.0, 150.0);
        assert!(cut.ends_with('…') && text_width(&font, &cut, 20.0) <= 150.0);
        assert_eq!(fitted(&font, "short", 20.0, 150.0), "short");
        assert_eq!(fitted(&font, "short", 20.0, 1.0), "");
    }

    #[test]
    fn wide_samples_make_narrow_letters() {
        let font = load_font().unwrap();
        let last_column = |par: f32| {
            let mut canvas = Canvas::new(200, 40, par);
            canvas.text(&font, "MMMM", [0.0, 30.0], 30.0, [255.0; 3]);
            (0..200).rfind(|x| (0..40).any(|y| canvas.pixels[y * 200 + x][3] > 0.1)).unwrap()
        };
        let (square, wide) = (last_column(1.0) as f64, last_column(1.5) as f64);
        assert!((square / wide - 1.5).abs() < 0.05, "{square} {wide}");
    }
}
