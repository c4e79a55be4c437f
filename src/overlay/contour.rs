//! Outlines of the attended region: lines of equal heat, as on a map of
//! mountains.
//!
//! The coarse map is refined by Catmull-Rom splines, which go through the
//! cells' heat; marching squares find where it crosses a level; the pieces are
//! drawn into a buffer of nearness to the line, from which bright lines with a
//! dark rim are mixed into the picture, tile by tile.

use super::blend::{NEUTRAL, blend_one, mix};
use crate::annotation::{ActivationMap, View};
use crate::frame::{Colorimetry, PictureMut, Size};

/// Heats that are outlined.
pub(super) const LEVELS: [f32; 3] = [0.25, 0.5, 0.75];
/// Points between one cell and the next.
const FINE: usize = 6;
/// Side of a tile in luma samples; even.
const TILE: usize = 16;
/// Opacity of the dark rim.
const RIM: f32 = 0.55;

/// What is mixed into a plane by nearness to the line.
type Strokes = [[[u16; 2]; 256]; 3];

/// Paints outlines; keeps the memory it works in.
#[derive(Debug)]
pub(super) struct ContourPainter {
    size: Size,
    /// Display units per sample across.
    pixel_aspect: f32,
    /// Half of the line's width, and the rim's, in display units.
    half: f32,
    rim: f32,
    strokes: Vec<Strokes>,
    fine: Vec<f32>,
    /// Per luma sample: how much less its squared distance from the line is than
    /// that of the rim's end; 0 beyond it.
    near: Vec<f32>,
    touched: Vec<bool>,
}

impl ContourPainter {
    /// For pictures of `size`; `colours` are R, G, B of the lines of each layer.
    pub(super) fn new(
        size: Size,
        pixel_aspect: f32,
        colorimetry: Colorimetry,
        colours: impl IntoIterator<Item = [f32; 3]>,
    ) -> Self {
        let half = (size.height as f32 / 540.0).max(0.7);
        let rim = (half * 0.8).max(0.7);
        let stroke = |rgb: [f32; 3]| {
            let mut strokes: Strokes = [[[0, NEUTRAL]; 256]; 3];
            let (bright, dark) = (colorimetry.rgb_to_yuv(rgb), colorimetry.rgb_to_yuv([0.0; 3]));
            for near in 1..256 {
                let distance = (half + rim + 0.5) * (1.0 - near as f32 / 255.0).sqrt();
                let line = (half + 0.5 - distance).clamp(0.0, 1.0);
                let rim = RIM * (half + rim + 0.5 - distance).clamp(0.0, 1.0) * (1.0 - line);
                let alpha = line + rim;
                for (plane, (bright, dark)) in strokes.iter_mut().zip(bright.iter().zip(dark)) {
                    plane[near] = mix((line * bright + rim * dark) / alpha.max(1e-6), alpha);
                }
            }
            strokes
        };
        let tiles = size.width.div_ceil(TILE) * size.height.div_ceil(TILE);
        Self {
            size,
            pixel_aspect,
            half,
            rim,
            strokes: colours.into_iter().map(stroke).collect(),
            fine: Vec::new(),
            near: vec![0.0; size.width * size.height],
            touched: vec![false; tiles],
        }
    }

    /// Draws the outlines of a layer's heat. Without heat of the lowest level
    /// no sample is touched.
    pub(super) fn paint(
        &mut self,
        picture: &mut PictureMut<'_>,
        layer: usize,
        map: &ActivationMap,
        view: &View,
    ) {
        if map.max() < LEVELS[0] || picture.size != self.size || self.strokes.is_empty() {
            return;
        }
        let (rows, cols) = (map.rows * FINE, map.cols * FINE);
        self.refine(map);
        let fine = std::mem::take(&mut self.fine);
        let (dx, dy) = (view.width / cols as f64, view.height / rows as f64);
        for (y, pair) in fine.windows(2 * (cols + 1)).step_by(cols + 1).enumerate() {
            let (upper, lower) = pair.split_at(cols + 1);
            for x in 0..cols {
                let corners = [upper[x], upper[x + 1], lower[x + 1], lower[x]];
                let least = corners.into_iter().fold(f32::INFINITY, f32::min);
                let most = corners.into_iter().fold(0.0, f32::max);
                for level in LEVELS.into_iter().filter(|l| least < *l && *l <= most) {
                    for piece in pieces(corners, level) {
                        let at = |[px, py]: [f32; 2]| {
                            let px = view.x + (x as f64 + f64::from(px)) * dx;
                            let py = view.y + (y as f64 + f64::from(py)) * dy;
                            [px as f32 * self.pixel_aspect, py as f32]
                        };
                        self.draw(piece.map(at));
                    }
                }
            }
        }
        self.fine = fine;
        self.mix_in(picture, layer % self.strokes.len());
    }

    /// Heat at the corners of every small square, row by row: `FINE` to a cell.
    fn refine(&mut self, map: &ActivationMap) {
        let (rows, cols) = (map.rows, map.cols);
        let spline = |n: usize, cells: usize| {
            let at = (n as f32 / FINE as f32 - 0.5).clamp(0.0, (cells - 1) as f32);
            let first = at as usize;
            let t = at - first as f32;
            let weights = [
                ((2.0 - t) * t - 1.0) * t,
                (3.0 * t - 5.0) * t * t + 2.0,
                ((4.0 - 3.0 * t) * t + 1.0) * t,
                (t - 1.0) * t * t,
            ];
            let cell = |k: usize| (first + k).saturating_sub(1).min(cells - 1);
            std::array::from_fn::<_, 4, _>(|k| (cell(k), weights[k] / 2.0))
        };
        let heat = |at: usize| {
            let heat = map.values[at];
            if heat > 0.0 { heat.min(1.0) } else { 0.0 }
        };
        let across: Vec<_> = (0..=cols * FINE).map(|n| spline(n, cols)).collect();
        self.fine.clear();
        let mut line = vec![0.0; cols];
        for n in 0..=rows * FINE {
            let down = spline(n, rows);
            for (col, line) in line.iter_mut().enumerate() {
                *line = down.iter().map(|(row, w)| w * heat(row * cols + col)).sum();
            }
            let value =
                |knots: &[(usize, f32); 4]| knots.iter().map(|(c, w)| w * line[*c]).sum::<f32>();
            self.fine.extend(across.iter().map(value));
        }
    }

    /// Draws a straight piece, from and to in display units.
    fn draw(&mut self, [[x0, y0], [x1, y1]]: [[f32; 2]; 2]) {
        let reach = self.half + self.rim + 0.5;
        let (dx, dy) = (x1 - x0, y1 - y0);
        let length2 = dx * dx + dy * dy;
        let (along_x, along_y) =
            if length2 > 0.0 { (dx / length2, dy / length2) } else { (0.0, 0.0) };
        // `as` saturates.
        let first = |v: f32| v.floor() as usize;
        let rows = first(y0.min(y1) - reach)..first(y0.max(y1) + reach + 1.0).min(self.size.height);
        let (left, right) = (x0.min(x1) - reach, x0.max(x1) + reach);
        let length = length2.sqrt();
        let width = self.size.width;
        let reach2 = reach * reach;
        for y in rows {
            let py = y as f32 + 0.5;
            // Where this row is within reach of the endless line.
            let (mut from, mut to) = (left, right);
            if dy.abs() > 0.1 * length {
                let centre = x0 + (py - y0) * dx / dy;
                let spread = reach * length / dy.abs();
                (from, to) = (from.max(centre - spread), to.min(centre + spread));
            }
            let from = first(from / self.pixel_aspect);
            let to = first(to / self.pixel_aspect + 1.0).min(width);
            if from >= to {
                continue;
            }
            let row = &mut self.near[y * width + from..y * width + to];
            let (ax, ay) = ((from as f32 + 0.5) * self.pixel_aspect - x0, py - y0);
            let before = ay * along_y;
            for (x, near) in row.iter_mut().enumerate() {
                // An integer of 32 bits becomes a float in one instruction.
                let ax = ax + x as i32 as f32 * self.pixel_aspect;
                let t = (ax * along_x + before).clamp(0.0, 1.0);
                let (ex, ey) = (ax - t * dx, ay - t * dy);
                *near = near.max(reach2 - (ex * ex + ey * ey));
            }
            let across = width.div_ceil(TILE);
            let tiles = y / TILE * across;
            self.touched[tiles + from / TILE..=tiles + (to - 1) / TILE].fill(true);
        }
    }

    /// Mixes what was drawn into the picture and forgets it.
    fn mix_in(&mut self, picture: &mut PictureMut<'_>, layer: usize) {
        let Size { width, height } = self.size;
        let across = width.div_ceil(TILE);
        for tile in 0..self.touched.len() {
            if !std::mem::take(&mut self.touched[tile]) {
                continue;
            }
            let (left, top) = (tile % across * TILE, tile / across * TILE);
            let (right, bottom) = ((left + TILE).min(width), (top + TILE).min(height));
            let [luma, chroma @ ..] = &self.strokes[layer];
            let reach = self.half + self.rim + 0.5;
            let scale = 255.0 / (reach * reach);
            let index = |near: f32| ((near * scale) as i32 as usize).min(255);
            for y in top..bottom {
                let near = &self.near[y * width..][left..right];
                let row = &mut picture.planes[0].row_mut(y, right)[left..];
                for (s, near) in row.iter_mut().zip(near).filter(|(_, near)| **near > 0.0) {
                    blend_one(s, luma[index(*near)]);
                }
            }
            for y in top / 2..bottom.div_ceil(2) {
                let line = |y: usize| &self.near[y.min(height - 1) * width..][..width];
                let (upper, lower) = (line(2 * y), line(2 * y + 1));
                for x in left / 2..right.div_ceil(2) {
                    let (a, b) = (2 * x, (2 * x + 1).min(width - 1));
                    let sum = upper[a] + upper[b] + lower[a] + lower[b];
                    if sum > 0.0 {
                        for (plane, stroke) in picture.planes[1..].iter_mut().zip(chroma) {
                            let row = plane.row_mut(y, x + 1);
                            blend_one(&mut row[x], stroke[index(sum / 4.0)]);
                        }
                    }
                }
            }
            for y in top..bottom {
                self.near[y * width..][left..right].fill(0.0);
            }
        }
    }
}

/// The straight pieces in which the heat of a square crosses `level`. Corners
/// go round from the top left; places are 0..1 within the square.
fn pieces(corners: [f32; 4], level: f32) -> impl Iterator<Item = [[f32; 2]; 2]> {
    const AT: [[f32; 2]; 4] = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]];
    let above = corners.map(|heat| heat >= level);
    let mut found = [[[0.0; 2]; 2]; 2];
    let mut count = 0;
    let mut ends = [[0.0; 2]; 4];
    let mut crossed = 0;
    for i in 0..4 {
        let next = (i + 1) % 4;
        if above[i] != above[next] {
            let t = (level - corners[i]) / (corners[next] - corners[i]);
            ends[crossed] = [0, 1].map(|k| AT[i][k] + t * (AT[next][k] - AT[i][k]));
            crossed += 1;
        }
    }
    if crossed == 2 {
        (found[0], count) = ([ends[0], ends[1]], 1);
    } else if crossed == 4 {
        // A saddle: the middle says which corners belong together.
        let middle = corners.iter().sum::<f32>() / 4.0 >= level;
        let around_first = middle != above[0];
        found = if around_first {
            [[ends[3], ends[0]], [ends[1], ends[2]]]
        } else {
            [[ends[0], ends[1]], [ends[2], ends[3]]]
        };
        count = 2;
    }
    found.into_iter().take(count)
}
