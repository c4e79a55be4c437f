//! The look: heat over the picture, and a panel that says what the classifier
//! saw.
//!
//! Pure: pictures in, pictures out; no files, clocks, threads or media library.
//! A [`Painter`] belongs to one stream. Heat changes with every frame and is
//! blended straight into the picture; the panel changes with every annotation
//! only, so it is drawn once and then blended as a tile. Explained pictures side
//! by side make a [`contact_sheet`].

mod blend;
mod canvas;
mod colour;
mod heat;
mod panel;
mod sheet;
mod slate;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use self::colour::Colormap;
use self::colour::Ramp;
use self::heat::HeatPainter;
use self::panel::{Content, PanelPainter, Tile};
pub use self::sheet::{Cell, SHEET_OPACITY, contact_sheet, heated};
pub use self::slate::slate;
use crate::annotation::{ActivationMap, Annotation, View};
use crate::frame::{Colorimetry, PictureMut, Size};

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
    /// What the panel says, and the panel.
    shown: Option<(Content, Tile)>,
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

    /// Paints `heat` and the panel over `picture`, where it stands.
    ///
    /// Heat is a map of 0..1 and where it lies in the picture. Where it is zero
    /// no sample is touched.
    pub fn paint(&mut self, picture: &mut PictureMut<'_>, heat: Option<(&ActivationMap, &View)>) {
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
            let size = if i == 0 { picture.size } else { picture.size.chroma() };
            let plane = &mut picture.planes[i];
            if size.width == 0 || size.height == 0 {
                continue;
            }
            if let Some(view) = view {
                self.heat.paint(&self.ramps[i], &view, size, plane);
            }
            if let Some((_, tile)) = &self.shown {
                tile.blend(i, size, plane);
            }
        }
    }
}
