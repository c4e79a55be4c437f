//! The look: heat over the picture, and a panel that says what the classifier
//! saw.
//!
//! Pure: pictures in, pictures out; no files, clocks, threads or media library.
//! A [`Painter`] belongs to one stream. Heat changes with every frame and is
//! blended straight into the copy of the picture; the panel changes with every
//! annotation only, so it is drawn once and then blended as a tile.

mod blend;
mod canvas;
mod colour;
mod heat;
mod panel;
#[cfg(test)]
mod tests;

use std::ops::Range;

use serde::{Deserialize, Serialize};

pub use self::colour::Colormap;
use self::colour::Ramp;
use self::heat::HeatPainter;
use self::panel::{PanelPainter, Tile};
use crate::annotation::{ActivationMap, Annotation, View};
use crate::frame::{Colorimetry, Picture, PictureMut, Plane, PlaneMut, Size};

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
    /// How much of the picture full heat covers, 0..1.
    pub opacity: f32,
    /// Colours of the heat.
    pub colormap: Colormap,
    /// Whether heat is painted at all.
    pub heat: bool,
    /// How much the panel says.
    pub hud: HudMode,
}

impl Default for Style {
    fn default() -> Self {
        Self { opacity: 0.45, colormap: Colormap::default(), heat: true, hud: HudMode::default() }
    }
}

/// Paints heat and panel over the pictures of one stream.
#[derive(Debug)]
pub struct Painter {
    ramps: [Ramp; 3],
    heat: HeatPainter,
    panel: PanelPainter,
    tile: Option<Tile>,
    shows_heat: bool,
}

impl Painter {
    /// A painter for pictures of `size`; `pixel_aspect` is the width of a pixel
    /// divided by its height.
    pub fn new(size: Size, colorimetry: Colorimetry, pixel_aspect: f64, style: Style) -> Self {
        Self {
            ramps: Ramp::planes(style.colormap, style.opacity, colorimetry),
            heat: HeatPainter::default(),
            shows_heat: style.heat,
            panel: PanelPainter::new(size, colorimetry, pixel_aspect, style),
            tile: None,
        }
    }

    /// Draws the panel anew; without an annotation there is none.
    pub fn set_annotation(&mut self, annotation: Option<&Annotation>) {
        self.tile = annotation.and_then(|annotation| self.panel.draw(annotation));
    }

    /// Copies `src` to `dst` with `heat` and the panel painted over it.
    ///
    /// Heat is a map of 0..1 and where it lies in the picture. Where it is zero
    /// the copy is bit-identical. If `dst` is larger than `src`, the last column
    /// and row are repeated; if it is smaller, the picture is cut off.
    pub fn paint(
        &mut self,
        src: &Picture<'_>,
        dst: &mut PictureMut<'_>,
        heat: Option<(&ActivationMap, &View)>,
    ) {
        let view = match heat {
            Some((map, view)) if self.shows_heat && self.heat.load(map, view) => Some(*view),
            _ => None,
        };
        let halved = |v: View| View {
            x: v.x / 2.0,
            y: v.y / 2.0,
            width: v.width / 2.0,
            height: v.height / 2.0,
        };
        let views = [view, view.map(halved), view.map(halved)];
        for (i, view) in views.into_iter().enumerate() {
            let [from, full] = [src.size, dst.size].map(|s| if i == 0 { s } else { s.chroma() });
            let size = Size::new(from.width.min(full.width), from.height.min(full.height));
            let (src, dst) = (&src.planes[i], &mut dst.planes[i]);
            if size.width == 0 || size.height == 0 {
                continue;
            }
            match view {
                Some(view) => self.heat.paint(&self.ramps[i], &view, size, src, dst),
                None => copy_rows(src, dst, 0..size.height, 0..size.width),
            }
            if let Some(tile) = &self.tile {
                tile.blend(i, size, dst);
            }
            repeat_edges(dst, size, full);
        }
    }
}

/// Copies `columns` of `rows`.
fn copy_rows(src: &Plane<'_>, dst: &mut PlaneMut<'_>, rows: Range<usize>, columns: Range<usize>) {
    if columns.is_empty() {
        return;
    }
    for y in rows {
        let from = &src.row(y, columns.end)[columns.start..];
        dst.row_mut(y, columns.end)[columns.start..].copy_from_slice(from);
    }
}

/// Repeats the last column and row of the painted `size` up to `full`.
fn repeat_edges(plane: &mut PlaneMut<'_>, size: Size, full: Size) {
    if full.width > size.width {
        for y in 0..size.height {
            let (painted, rest) = plane.row_mut(y, full.width).split_at_mut(size.width);
            rest.fill(painted.last().copied().unwrap_or(0));
        }
    }
    let last = (size.height - 1) * plane.stride;
    for y in size.height..full.height {
        plane.data.copy_within(last..last + full.width, y * plane.stride);
    }
}
