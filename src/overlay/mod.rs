//! The look: heat over the picture, and a panel that says what the classifier
//! saw.
//!
//! Pure: pictures in, pictures out; no files, clocks, threads or media library.
//! A [`Painter`] belongs to one stream. Heat changes with every frame and is
//! blended straight into the picture; the panel changes with every annotation
//! only, so it is drawn once and then blended as a tile. Explained pictures side
//! by side make a [`contact_sheet`].

mod blend;
mod blur;
mod canvas;
mod colour;
mod contour;
mod heat;
mod panel;
mod sheet;
mod slate;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use self::blur::BlurPainter;
pub use self::colour::Colormap;
use self::colour::Ramp;
use self::contour::ContourPainter;
use self::heat::HeatPainter;
use self::panel::{Content, PanelPainter, Tile};
pub use self::sheet::{Cell, SHEET_OPACITY, contact_sheet, heated};
pub use self::slate::slate;
use crate::annotation::{ActivationMap, Annotation, Heat, View};
use crate::frame::{Colorimetry, PictureMut, Size};

/// How heat is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HeatStyle {
    /// Colours over the picture.
    #[default]
    Heatmap,
    /// What has no heat is darkened.
    Shade,
    /// What has no heat is blurred.
    Blur,
    /// Outlines of what has heat.
    Contour,
    /// Not at all.
    Off,
}

impl HeatStyle {
    /// All there are.
    pub const ALL: [Self; 5] = [Self::Heatmap, Self::Shade, Self::Blur, Self::Contour, Self::Off];
}

/// How much the panel says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HudMode {
    /// Per head its name, label, probability and bar, and a legend of the heat.
    #[default]
    Full,
    /// Per head its label and probability.
    Compact,
    /// No panel.
    Off,
}

/// How heat and panel look.
#[derive(Clone, Debug, PartialEq)]
pub struct Style {
    /// How much of the picture full heat covers, 0..1. Shades and blur take
    /// away twice as much of what has no heat.
    pub opacity: f32,
    /// Colours of the heat, layer by layer; with fewer of them than layers they
    /// start again.
    pub colormaps: Vec<Colormap>,
    /// How heat is shown.
    pub heat: HeatStyle,
    /// How much the panel says.
    pub hud: HudMode,
}

impl Default for Style {
    fn default() -> Self {
        Self {
            opacity: 0.45,
            colormaps: vec![Colormap::default()],
            heat: HeatStyle::default(),
            hud: HudMode::default(),
        }
    }
}

impl Style {
    /// The colours of a layer.
    fn colormap(&self, layer: usize) -> Colormap {
        self.colormaps.iter().cycle().nth(layer).copied().unwrap_or_default()
    }

    /// The colour that stands for a layer.
    fn accent(&self, layer: usize) -> [f32; 3] {
        match self.heat {
            HeatStyle::Heatmap | HeatStyle::Contour => self.colormap(layer).rgb(ACCENT_HEAT),
            HeatStyle::Shade | HeatStyle::Blur | HeatStyle::Off => [225.0, 230.0, 236.0],
        }
    }
}

/// The heat whose colour stands for a class.
const ACCENT_HEAT: f32 = 0.72;

/// What paints heat, with what it needs for it.
#[derive(Debug)]
enum Brush {
    /// Ramps of the planes for each layer.
    Colours(Vec<[Ramp; 3]>, HeatPainter),
    Shade(Box<[Ramp; 3]>, HeatPainter),
    /// With its strength, 0..1.
    Blur(f32, BlurPainter),
    Contour(ContourPainter),
    None,
}

impl Brush {
    fn new(size: Size, colorimetry: Colorimetry, pixel_aspect: f32, style: &Style) -> Self {
        let opacity = if style.opacity > 0.0 { style.opacity.min(1.0) } else { 0.0 };
        let strength = (2.0 * opacity).min(1.0);
        match style.heat {
            HeatStyle::Heatmap => {
                let ramps = |map: &Colormap| Ramp::colours(*map, opacity, colorimetry);
                let ramps = style.colormaps.iter().map(ramps).collect();
                Self::Colours(ramps, HeatPainter::default())
            }
            HeatStyle::Shade => {
                let ramps = Ramp::shades(strength, colorimetry);
                Self::Shade(Box::new(ramps), HeatPainter::default())
            }
            HeatStyle::Blur => Self::Blur(strength, BlurPainter::default()),
            HeatStyle::Contour => {
                let colours = (0..style.colormaps.len()).map(|layer| style.accent(layer));
                Self::Contour(ContourPainter::new(size, pixel_aspect, colorimetry, colours))
            }
            HeatStyle::Off => Self::None,
        }
    }

    fn paint(&mut self, picture: &mut PictureMut<'_>, heats: &[Heat]) {
        match self {
            Self::Colours(ramps, painter) => {
                for (n, heat) in heats.iter().enumerate() {
                    let shared = shared(heats, n);
                    if let Some(ramps) = ramps.get(heat.layer % ramps.len().max(1))
                        && painter.load(shared.as_ref().unwrap_or(&heat.map))
                    {
                        paint_planes(painter, ramps, &heat.view, picture);
                    }
                }
            }
            Self::Shade(ramps, painter) => {
                if let Some((map, view)) = strongest(heats) {
                    painter.load(&map);
                    paint_planes(painter, ramps, &view, picture);
                }
            }
            Self::Blur(strength, painter) => {
                if let Some((map, view)) = strongest(heats) {
                    painter.paint(picture, &map, &view, *strength);
                }
            }
            Self::Contour(painter) => {
                for heat in heats {
                    painter.paint(picture, heat.layer, &heat.map, &heat.view);
                }
            }
            Self::None => {}
        }
    }
}

fn paint_planes(
    painter: &mut HeatPainter,
    ramps: &[Ramp; 3],
    view: &View,
    picture: &mut PictureMut<'_>,
) {
    let half = View {
        x: view.x / 2.0,
        y: view.y / 2.0,
        width: view.width / 2.0,
        height: view.height / 2.0,
    };
    let chroma = picture.size.chroma();
    let sizes = [(picture.size, *view), (chroma, half), (chroma, half)];
    for ((plane, ramp), (size, view)) in picture.planes.iter_mut().zip(ramps).zip(sizes) {
        if size.width > 0 && size.height > 0 {
            painter.paint(ramp, &view, size, plane);
        }
    }
}

/// The heat of layer `n` where others lie over the same picture: each gets its
/// part of the place, so that the stronger one decides the colour and together
/// they cover no more than the strongest alone would. `None` where it is alone.
fn shared(heats: &[Heat], n: usize) -> Option<ActivationMap> {
    let own = &heats[n].map;
    let others = heats.iter().enumerate().filter(|(i, h)| *i != n && same_grid(&h.map, own));
    let others: Vec<_> = others.map(|(_, h)| &h.map.values).collect();
    if others.is_empty() {
        return None;
    }
    let part = |(i, own): (usize, &f32)| {
        let square = |v: f32| if v > 0.0 { v * v } else { 0.0 };
        let all = square(*own) + others.iter().map(|o| square(o[i])).sum::<f32>();
        if all > 0.0 { own * square(*own) / all } else { 0.0 }
    };
    let values = own.values.iter().enumerate().map(part).collect();
    Some(ActivationMap { values, ..*own })
}

/// The heat of whichever layer is the strongest in each place.
fn strongest(heats: &[Heat]) -> Option<(ActivationMap, View)> {
    let (first, others) = heats.split_first()?;
    let mut map = first.map.clone();
    for other in others.iter().map(|h| &h.map).filter(|m| same_grid(m, &first.map)) {
        map.values.iter_mut().zip(&other.values).for_each(|(v, o)| *v = v.max(*o));
    }
    Some((map, first.view))
}

fn same_grid(a: &ActivationMap, b: &ActivationMap) -> bool {
    (a.rows, a.cols, a.values.len()) == (b.rows, b.cols, b.values.len())
}

/// Paints heat and panel over the pictures of one stream.
#[derive(Debug)]
pub struct Painter {
    brush: Brush,
    panel: PanelPainter,
    /// What the panel says, and the panel.
    shown: Option<(Content, Tile)>,
}

impl Painter {
    /// A painter for pictures of `size`; `pixel_aspect` is the width of a pixel
    /// divided by its height.
    pub fn new(size: Size, colorimetry: Colorimetry, pixel_aspect: f64, style: Style) -> Self {
        let sound = pixel_aspect.is_finite() && (0.1..=10.0).contains(&pixel_aspect);
        let pixel_aspect = if sound { pixel_aspect as f32 } else { 1.0 };
        Self {
            brush: Brush::new(size, colorimetry, pixel_aspect, &style),
            panel: PanelPainter::new(size, colorimetry, pixel_aspect, style),
            shown: None,
        }
    }

    /// Draws the panel anew if it has something new to say; without an
    /// annotation there is none.
    pub fn set_annotation(&mut self, annotation: Option<&Annotation>) {
        self.set_aged_annotation(annotation, None);
    }

    /// As [`set_annotation`](Self::set_annotation); the panel also says how old
    /// the annotation is, in steps of half a second, so that it need not be
    /// drawn for every frame.
    pub fn set_aged_annotation(
        &mut self,
        annotation: Option<&Annotation>,
        age: Option<std::time::Duration>,
    ) {
        let content = annotation.map(|annotation| self.panel.content(annotation).aged(age));
        if self.shown.as_ref().map(|(old, _)| old) != content.as_ref() {
            self.shown = content.and_then(|new| self.panel.draw(&new).map(|tile| (new, tile)));
        }
    }

    /// Paints `heats`, a layer each, and the panel over `picture`, where it
    /// stands. Without heat, colours and outlines touch no sample; shades and
    /// blur cover the picture unless there are no layers at all.
    pub fn paint(&mut self, picture: &mut PictureMut<'_>, heats: &[Heat]) {
        if heats.iter().all(is_sound) {
            self.brush.paint(picture, heats);
        }
        let chroma = picture.size.chroma();
        for (i, size) in [picture.size, chroma, chroma].into_iter().enumerate() {
            if let Some((_, tile)) = &self.shown
                && size.width > 0
                && size.height > 0
            {
                tile.blend(i, size, &mut picture.planes[i]);
            }
        }
    }
}

/// Whether heat can be laid over a picture at all.
fn is_sound(Heat { map, view, .. }: &Heat) -> bool {
    let cells = map.rows.saturating_mul(map.cols);
    cells > 0
        && map.values.len() == cells
        && [view.x, view.y, view.width, view.height].iter().all(|v| v.is_finite())
        && view.width > 0.0
        && view.height > 0.0
}
