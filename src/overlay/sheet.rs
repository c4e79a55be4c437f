//! A contact sheet: pictures side by side, each with two lines of text below.
//!
//! Called for still pictures; what the pictures and the lines say is the
//! caller's business.

use ab_glyph::FontRef;

use super::canvas::{Box2, Canvas, Rgb, fitted, load_font};
use super::panel::{BRIGHT, DIM, GROUND};
use super::{HudMode, Painter, Style};
use crate::annotation::{ActivationMap, Heat, View};
use crate::frame::Size;
use crate::still::Still;

/// Opacity of full heat on pictures as small as those of a sheet.
pub const SHEET_OPACITY: f32 = 0.65;
/// Between the cells and around them, in pixels.
const GAP: usize = 8;
/// Least width of a cell, so that its lines can be read.
const NARROWEST: usize = 240;
/// Height of the first line of a cell, in pixels.
const BIG: f32 = 17.0;
/// Height of the second line and of the title, in pixels.
const SMALL: f32 = 14.0;
/// Height of the two lines together, and of the title.
const CAPTION: usize = 46;
const TITLE: usize = 22;

/// One picture of a sheet.
#[derive(Clone, Debug)]
pub struct Cell {
    /// The picture.
    pub picture: Still,
    /// First line: what is shown.
    pub label: String,
    /// Second line: the particulars.
    pub detail: String,
}

/// The picture with heat and nothing else over it.
pub fn heated(picture: &Still, heat: &ActivationMap, view: &View, style: &Style) -> Still {
    let style = Style { hud: HudMode::Off, ..style.clone() };
    picture.painted(|target, colours| {
        let heat = Heat { layer: 0, map: heat.clone(), view: *view };
        Painter::new(target.size, colours, 1.0, style).paint(target, &[heat]);
    })
}

/// The sheet of these rows of cells, with a title above. Every cell gets the
/// room of the largest; text that is too wide is cut off with an ellipsis.
pub fn contact_sheet(title: &str, rows: &[Vec<Cell>]) -> Still {
    let cells = || rows.iter().flatten().map(|c| c.picture.size);
    let width = cells().map(|s| s.width).max().unwrap_or(0).max(NARROWEST);
    let height = cells().map(|s| s.height).max().unwrap_or(0);
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0).max(1);
    let (across, down) = (width + GAP, height + CAPTION + GAP);
    let size = Size::new(GAP + columns * across, 2 * GAP + TITLE + rows.len() * down);
    let ground = GROUND.map(|v| v as u8);
    let mut sheet = Still { size, rgb: ground.repeat(size.width * size.height) };
    let font = load_font();
    let write = |sheet: &mut Still, at, room, lines: &[Line<'_>]| {
        if let Some(font) = &font {
            put(sheet, at, &written(font, room, lines));
        }
    };
    let room = Size::new(size.width - 2 * GAP, TITLE);
    write(&mut sheet, [GAP, GAP], room, &[Line(title, SMALL, 15.0, DIM)]);
    for (row, cells) in rows.iter().enumerate() {
        for (column, cell) in cells.iter().enumerate() {
            let [x, y] = [GAP + column * across, 2 * GAP + TITLE + row * down];
            let Size { width: w, height: h } = cell.picture.size;
            put(&mut sheet, [x + (width - w) / 2, y + (height - h) / 2], &cell.picture);
            let lines =
                [Line(&cell.label, BIG, 19.0, BRIGHT), Line(&cell.detail, SMALL, 38.0, DIM)];
            write(&mut sheet, [x, y + height], Size::new(width, CAPTION), &lines);
        }
    }
    sheet
}

/// A text, its height, its baseline and its colour.
struct Line<'a>(&'a str, f32, f32, Rgb);

/// Lines on bare ground.
fn written(font: &FontRef<'_>, size: Size, lines: &[Line<'_>]) -> Still {
    let (width, height) = (size.width as f32, size.height as f32);
    let mut canvas = Canvas::new(size.width, size.height, 1.0);
    canvas.fill(Box2 { x: 0.0, y: 0.0, width, height }, 0.0, 1.0, |_| GROUND);
    for Line(text, height, baseline, colour) in lines {
        let text = fitted(font, text, *height, width);
        canvas.text(font, &text, [0.0, *baseline], *height, *colour);
    }
    let rgb = canvas.pixels.iter().flat_map(|[r, g, b, _]| [*r, *g, *b].map(|v| v.round() as u8));
    Still { size, rgb: rgb.collect() }
}

/// Copies `part` into `sheet`, where it must have room.
fn put(sheet: &mut Still, [x, y]: [usize; 2], part: &Still) {
    let stride = part.size.width * 3;
    for (row, from) in part.rgb.chunks_exact(stride.max(1)).enumerate() {
        let at = ((y + row) * sheet.size.width + x) * 3;
        sheet.rgb[at..at + stride].copy_from_slice(from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(colour: u8, size: Size, label: &str) -> Cell {
        let rgb = vec![colour; size.width * size.height * 3];
        let (label, detail) = (label.to_owned(), "50%, cam".to_owned());
        Cell { picture: Still { size, rgb }, label, detail }
    }

    fn pixels_of(sheet: &Still, colour: [u8; 3]) -> usize {
        sheet.rgb.as_chunks::<3>().0.iter().filter(|p| **p == colour).count()
    }

    #[test]
    fn every_cell_is_there_whole_and_has_its_text_below() {
        let size = Size::new(300, 20);
        let rows = [vec![cell(90, size, "a"), cell(91, size, "b")], vec![cell(92, size, "")]];
        let sheet = contact_sheet("title", &rows);
        assert_eq!(sheet.rgb.len(), sheet.size.width * sheet.size.height * 3);
        for grey in 90..=92 {
            assert!(pixels_of(&sheet, [grey; 3]) >= 6000, "{grey}");
        }
        // The same sheet with other words differs below the first cell only.
        let other = [vec![cell(90, size, "MMM"), cell(91, size, "b")], rows[1].clone()];
        let other = contact_sheet("title", &other);
        let differs = |i: usize| sheet.rgb[i * 3..][..3] != other.rgb[i * 3..][..3];
        let places: Vec<_> = (0..sheet.rgb.len() / 3).filter(|i| differs(*i)).collect();
        assert!(!places.is_empty());
        let top = 2 * GAP + TITLE + 20;
        for at in places {
            let (x, y) = (at % sheet.size.width, at / sheet.size.width);
            assert!((GAP..GAP + 300).contains(&x) && (top..top + CAPTION).contains(&y), "{x} {y}");
        }
    }

    #[test]
    fn pictures_of_any_size_have_room() {
        let thin = contact_sheet(
            &"long title ".repeat(30),
            &[vec![cell(200, Size::new(1, 480), &"W".repeat(300))]],
        );
        assert_eq!(thin.size.width, NARROWEST + 2 * GAP);
        assert_eq!(pixels_of(&thin, [200; 3]).min(480), 480);
        assert!(contact_sheet("", &[]).size.width > 0);
    }
}
