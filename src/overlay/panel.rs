//! The panel: what it says, how it is laid out, and the tile it becomes.
//!
//! Lengths are in display units (see [`super::canvas`]) and derive from the
//! text height `max(12, picture height / 36)`, so the panel looks the same at
//! every size.

use std::sync::Arc;

use ab_glyph::{Font, FontRef, ScaleFont};

use super::blend::{NEUTRAL, blend_in_place, mix};
use super::canvas::{Box2, Canvas, Rgb, fitted, load_font, text_width};
use super::{HeatStyle, HudMode, Style, contour};
use crate::annotation::{Annotation, ClassProb, Explanation};
use crate::frame::{Colorimetry, PlaneMut, Size};

pub(super) const GROUND: Rgb = [10.0, 13.0, 18.0];
/// Lets the picture shine through and still leaves a contrast above 4.5:1 for
/// [`DIM`] over pure white.
const GROUND_ALPHA: f32 = 0.78;
pub(super) const BRIGHT: Rgb = [250.0, 250.0, 250.0];
pub(super) const DIM: Rgb = [200.0, 206.0, 214.0];
const TRACK: Rgb = [72.0, 78.0, 88.0];
/// Fill of the bars of classes that are not explained.
const BAR: Rgb = [176.0, 184.0, 196.0];

/// Draws panels; keeps the font and what does not change from one to the next.
#[derive(Debug)]
pub(super) struct PanelPainter {
    size: Size,
    colorimetry: Colorimetry,
    pixel_aspect: f32,
    style: Style,
    font: Option<FontRef<'static>>,
}

/// What a panel says. Panels that say the same look the same.
#[derive(Debug, PartialEq)]
pub(super) struct Content {
    entries: Vec<Entry>,
    legend: Option<Legend>,
    /// Age of all this in half seconds, rounded up, where it is shown.
    age: Option<u32>,
}

impl Content {
    /// The same, which is so old.
    pub(super) fn aged(mut self, age: Option<std::time::Duration>) -> Self {
        self.age = age.map(|age| (age.as_secs_f32() * 2.0).ceil().max(1.0) as u32);
        self
    }
}

/// What a legend says.
#[derive(Debug, PartialEq)]
struct Legend {
    /// Logit units of full heat.
    full_scale: f32,
    /// The layers that have colours.
    layers: Vec<usize>,
}

/// One line of the panel with a label and a probability.
#[derive(Debug, PartialEq)]
struct Entry {
    /// Name of the head above the label; none in a second entry of a head.
    name: Option<Arc<str>>,
    label: Arc<str>,
    /// Probability in whole per cent.
    percent: u8,
    /// Less than half a per cent, but something.
    is_trace: bool,
    /// The layer of its heat, if it is explained.
    layer: Option<usize>,
}

impl Entry {
    fn new(name: Option<&Arc<str>>, class: &ClassProb, layer: Option<usize>) -> Self {
        // `as` saturates, and takes what is no number for zero.
        let percent = (class.probability.clamp(0.0, 1.0) * 100.0).round() as u8;
        let is_trace = percent == 0 && class.probability > 0.0;
        Self { name: name.cloned(), label: class.label.clone(), percent, is_trace, layer }
    }
}

/// Measures of the panel in display units.
struct Layout {
    /// Height of labels and of everything else that is written.
    big: f32,
    small: f32,
    pad: f32,
    /// Width inside the padding.
    inner: f32,
    /// The panel may become this high.
    room: f32,
}

impl PanelPainter {
    pub(super) fn new(
        size: Size,
        colorimetry: Colorimetry,
        pixel_aspect: f32,
        style: Style,
    ) -> Self {
        Self { size, colorimetry, pixel_aspect, style, font: load_font() }
    }

    /// What there is to say about `annotation`.
    pub(super) fn content(&self, annotation: &Annotation) -> Content {
        let why: &[Explanation] =
            if self.style.heat == HeatStyle::Off { &[] } else { &annotation.explanations };
        let mut entries = Vec::new();
        for (i, head) in annotation.heads.iter().enumerate() {
            let why = || why.iter().filter(|e| e.head == i);
            let layer = why().find(|e| e.class.index == head.shown.index).map(|e| e.heat.layer);
            entries.push(Entry::new(Some(&head.head), &head.shown, layer));
            for e in why().filter(|e| e.class.index != head.shown.index) {
                let mut entry = Entry::new(None, &e.class, Some(e.heat.layer));
                // Several classes are compared, one is a question.
                if e.asked && self.style.colormaps.len() == 1 {
                    entry.label = format!("why not {}", e.class.label).into();
                }
                entries.push(entry);
            }
        }
        let has_legend = self.style.hud == HudMode::Full && self.style.heat != HeatStyle::Blur;
        let legend = why.first().filter(|_| has_legend).map(|first| Legend {
            full_scale: first.full_scale,
            layers: why.iter().map(|e| e.heat.layer).collect(),
        });
        Content { entries, legend, age: None }
    }

    /// The panel that says `content`; none if it is off or the picture too
    /// small.
    pub(super) fn draw(&self, content: &Content) -> Option<Tile> {
        let (font, layout) = (self.font.as_ref()?, self.layout()?);
        let entries = &content.entries;
        let full = self.style.hud == HudMode::Full;
        let (pad, line) = (layout.pad, |entry: &Entry| layout.entry_height(entry, full));
        let legend = content.legend.as_ref().map(|legend| (legend, 1.7 * layout.small));
        let age_height = content.age.map_or(0.0, |_| 1.5 * layout.small);

        // As many entries as there is room for, an explained one among them.
        let mut room =
            layout.room - 2.0 * pad - legend.map_or(0.0, |(_, height)| height) - age_height;
        let mut shown: Vec<&Entry> = Vec::new();
        let fits = entries.iter().take_while(|entry| {
            room -= line(entry);
            room >= 0.0
        });
        shown.extend(fits);
        if shown.iter().all(|entry| entry.layer.is_none())
            && let Some(hidden) = entries[shown.len()..].iter().find(|e| e.layer.is_some())
            && let Some(last) = shown.last_mut()
        {
            *last = hidden;
        }
        let text_only = 1.35 * layout.big;
        if entries.is_empty() && text_only > room {
            return None;
        }
        let body = if entries.is_empty() { text_only } else { shown.iter().map(|e| line(e)).sum() };
        if !entries.is_empty() && shown.is_empty() {
            return None;
        }
        let legend_height = legend.map_or(0.0, |(_, height)| height);
        let height = (body + legend_height + age_height + 2.0 * pad).min(layout.room);
        let width = layout.inner + 2.0 * pad;
        let mut canvas = self.canvas(width, height);
        let ground = Box2 { x: 0.0, y: 0.0, width, height };
        canvas.fill(ground, 0.4 * layout.big, GROUND_ALPHA, |_| GROUND);
        let mut y = pad;
        if entries.is_empty() {
            let words = fitted(font, "no classification", layout.big, layout.inner);
            canvas.text(font, &words, [pad, y + ascent(font, layout.big)], layout.big, DIM);
        }
        for entry in shown {
            self.draw_entry(&mut canvas, font, &layout, entry, y);
            y += line(entry);
        }
        if let Some((legend, _)) = legend {
            self.draw_legend(&mut canvas, font, &layout, legend, y);
        }
        if let Some(age) = content.age {
            let words = format!("up to {:.1} s old", age as f32 / 2.0);
            let words = fitted(font, &words, layout.small, layout.inner);
            let baseline = y + legend_height + 0.3 * layout.small + ascent(font, layout.small);
            canvas.text(font, &words, [pad, baseline], layout.small, DIM);
        }
        Some(self.tile(&canvas))
    }

    /// None if there is no room for a panel, or none is wanted.
    fn layout(&self) -> Option<Layout> {
        if self.style.hud == HudMode::Off {
            return None;
        }
        let (width, height) = (self.size.width as f32 * self.pixel_aspect, self.size.height as f32);
        let small = (height / 36.0).max(12.0);
        let big = 1.15 * small;
        let pad = 0.6 * small;
        // The tile starts at an even sample inside the safe area, which may
        // take two samples off either way, and ends above the lower third.
        let most = 0.45 * width - 2.0 * self.pixel_aspect;
        let wanted = if self.style.hud == HudMode::Full { 15.0 } else { 14.0 } * small;
        let inner = wanted.min(most) - 2.0 * pad;
        let room = height * (2.0 / 3.0 - 0.05) - 4.0;
        let enough = inner >= 4.0 * small && room >= 2.0 * pad + big;
        enough.then_some(Layout { big, small, pad, inner, room })
    }

    fn draw_entry(
        &self,
        canvas: &mut Canvas,
        font: &FontRef<'_>,
        layout: &Layout,
        entry: &Entry,
        mut y: f32,
    ) {
        let Layout { big, small, pad, inner, .. } = *layout;
        let full = self.style.hud == HudMode::Full;
        let accent = entry.layer.map(|layer| self.style.accent(layer));
        if let Some(name) = entry.name.as_ref().filter(|_| full) {
            let name = fitted(font, &name.to_uppercase(), small, inner);
            canvas.text(font, &name, [pad, y + ascent(font, small)], small, DIM);
            y += 1.2 * small;
        }
        let baseline = y + ascent(font, big);
        let mut x = pad;
        if let Some(accent) = accent {
            let side = (0.62 * big).round();
            // Centred on the capitals, which are 0.62 of the height.
            let top = (baseline - 0.31 * big - side / 2.0).round();
            let area = Box2 { x, y: top, width: side, height: side };
            canvas.fill(area, 0.15 * side, 1.0, |_| accent);
            x += side + 0.4 * big;
        }
        let percent = if entry.is_trace { "<1%".to_owned() } else { format!("{}%", entry.percent) };
        let end = pad + inner;
        let percent_x = end - text_width(font, &percent, big);
        let label = fitted(font, &entry.label, big, percent_x - x - 0.5 * big);
        canvas.text(font, &label, [x, baseline], big, BRIGHT);
        canvas.text(font, &percent, [percent_x, baseline], big, BRIGHT);
        if full {
            let height = (0.24 * small).round().max(3.0);
            let top = (y + 1.3 * big).round();
            let track = Box2 { x: pad, y: top, width: inner, height };
            canvas.fill(track, height / 2.0, 1.0, |_| TRACK);
            let reached = inner * f32::from(entry.percent) / 100.0;
            let filled = Box2 { width: reached.max(height), ..track };
            let colour = accent.unwrap_or(BAR);
            if entry.percent > 0 {
                canvas.fill(filled, height / 2.0, 1.0, |_| colour);
            }
        }
    }

    /// `0 [gradient] 7.5 logits`.
    fn draw_legend(
        &self,
        canvas: &mut Canvas,
        font: &FontRef<'_>,
        layout: &Layout,
        Legend { full_scale, layers }: &Legend,
        y: f32,
    ) {
        let Layout { small, pad, inner, .. } = *layout;
        let rule = Box2 { x: pad, y: (y + 0.1 * small).round(), width: inner, height: 1.0 };
        canvas.fill(rule, 0.0, 1.0, |_| TRACK);
        let baseline = y + 0.5 * small + ascent(font, small);
        let number = if full_scale.is_finite() { *full_scale } else { 0.0 };
        let precision = if number.abs() < 10.0 { 1 } else { 0 };
        let words = format!("{number:.precision$} logits");
        let words = fitted(font, &words, small, 0.7 * inner);
        let words_x = pad + inner - text_width(font, &words, small);
        canvas.text(font, "0", [pad, baseline], small, DIM);
        canvas.text(font, &words, [words_x, baseline], small, DIM);
        let x = pad + text_width(font, "0", small) + 0.4 * small;
        let height = (0.5 * small).round();
        let top = (baseline - 0.31 * small - height / 2.0).round();
        let gradient = Box2 { x, y: top, width: words_x - 0.4 * small - x, height };
        if gradient.width > 0.0 {
            // A rim, as colour maps may start as dark as the ground.
            let Box2 { x, y, width, height } = gradient;
            let rim = Box2 { x: x - 1.0, y: y - 1.0, width: width + 2.0, height: height + 2.0 };
            canvas.fill(rim, 0.15 * height + 1.0, 1.0, |_| TRACK);
            // A band for each layer, if they have colours of their own.
            let bands = if self.style.heat == HeatStyle::Shade { &layers[..1] } else { layers };
            let band = height / bands.len().max(1) as f32;
            for (n, &layer) in bands.iter().enumerate() {
                let area = Box2 { y: y + n as f32 * band, height: band, ..gradient };
                canvas.fill(area, 0.15 * band, 1.0, |t| self.legend_colour(layer, t));
            }
        }
    }

    /// What heat looks like, or stands for.
    fn legend_colour(&self, layer: usize, heat: f32) -> Rgb {
        match self.style.heat {
            HeatStyle::Shade => [255.0 * heat; 3],
            HeatStyle::Contour => {
                let on_line = contour::LEVELS.iter().any(|level| (heat - level).abs() < 0.02);
                if on_line { self.style.accent(layer) } else { GROUND }
            }
            _ => self.style.colormap(layer).rgb(heat),
        }
    }

    /// A canvas of an even number of samples.
    fn canvas(&self, width: f32, height: f32) -> Canvas {
        let even = |samples: f32| (samples.ceil() as usize).next_multiple_of(2);
        Canvas::new(even(width / self.pixel_aspect), even(height), self.pixel_aspect)
    }

    /// Turns a canvas into what is mixed into the planes.
    fn tile(&self, canvas: &Canvas) -> Tile {
        let even = |margin: f64| ((margin * 0.05).ceil() as usize).next_multiple_of(2);
        let origin = [even(self.size.width as f64), even(self.size.height as f64)];
        let (width, height) = (canvas.width, canvas.height);
        let luma = Size::new(width, height);
        let mut planes = [luma, luma.chroma(), luma.chroma()].map(TilePlane::clear);
        // Most of a panel is bare ground; that is worked out once.
        let ground = GROUND.map(|v| v * GROUND_ALPHA);
        let ground = [ground[0], ground[1], ground[2], GROUND_ALPHA];
        let mixed_ground = self.mixed(ground);
        for y in (0..height).step_by(2) {
            for x in (0..width).step_by(2) {
                let top = y * width + x;
                let corners = [top, top + 1, top + width, top + width + 1];
                let bare = corners.iter().all(|&at| canvas.pixels[at] == ground);
                let mut sum = [0.0f32; 4];
                for at in corners {
                    let pixel = canvas.pixels[at];
                    let mixed = if bare { mixed_ground } else { self.mixed(pixel) };
                    planes[0].set(at, mixed[0]);
                    sum.iter_mut().zip(pixel).for_each(|(sum, v)| *sum += v / 4.0);
                }
                let at = (y / 2) * (width / 2) + x / 2;
                let mixed = if bare { mixed_ground } else { self.mixed(sum) };
                planes[1].set(at, mixed[1]);
                planes[2].set(at, mixed[2]);
            }
        }
        Tile { origin, planes }
    }

    /// What mixes a premultiplied pixel into Y, U and V.
    fn mixed(&self, [r, g, b, alpha]: [f32; 4]) -> [[u16; 2]; 3] {
        let straight = [r, g, b].map(|v| if alpha > 0.0 { v / alpha } else { 0.0 });
        self.colorimetry.rgb_to_yuv(straight).map(|sample| mix(sample, alpha))
    }
}

impl Layout {
    fn entry_height(&self, entry: &Entry, full: bool) -> f32 {
        match (full, entry.name.is_some()) {
            (false, _) => 1.35 * self.big,
            (true, false) => 2.05 * self.big,
            (true, true) => 2.05 * self.big + 1.2 * self.small,
        }
    }
}

/// From the top of a line to its baseline, on a whole row for crisp letters.
fn ascent(font: &FontRef<'_>, height: f32) -> f32 {
    font.as_scaled(height).ascent().round()
}

/// A drawn panel.
#[derive(Debug)]
pub(super) struct Tile {
    /// Left and top in luma samples; both even.
    origin: [usize; 2],
    planes: [TilePlane; 3],
}

#[derive(Debug)]
struct TilePlane {
    size: Size,
    alpha: Vec<u16>,
    paint: Vec<u16>,
}

impl TilePlane {
    fn clear(size: Size) -> Self {
        let samples = size.width * size.height;
        Self { size, alpha: vec![0; samples], paint: vec![NEUTRAL; samples] }
    }

    fn set(&mut self, at: usize, mixed: [u16; 2]) {
        [self.alpha[at], self.paint[at]] = mixed;
    }
}

impl Tile {
    /// Mixes plane `i` of the tile into a plane of `size`; what does not lie in
    /// it is cut off.
    pub(super) fn blend(&self, i: usize, size: Size, dst: &mut PlaneMut<'_>) {
        let tile = &self.planes[i];
        let [left, top] = self.origin.map(|v| if i == 0 { v } else { v / 2 });
        let right = (left + tile.size.width).min(size.width);
        if left >= right {
            return;
        }
        let rows = tile.alpha.chunks(tile.size.width).zip(tile.paint.chunks(tile.size.width));
        for (y, (alpha, paint)) in (top..size.height).zip(rows) {
            blend_in_place(&mut dst.row_mut(y, right)[left..], alpha, paint);
        }
    }

    /// Left, top, right and bottom in luma samples.
    #[cfg(test)]
    pub(super) fn bounds(&self) -> [usize; 4] {
        let ([x, y], size) = (self.origin, self.planes[0].size);
        [x, y, x + size.width, y + size.height]
    }
}
