//! Blurs the picture where there is no evidence.
//!
//! A blurred picture holds no detail, so it is kept small: the means of square
//! blocks. Block centres are the knots of a lattice; there the blurred picture
//! is mixed with its alpha, and everything between is stepped to, as for heat
//! (see [`super::heat`]).

use super::blend::{NEUTRAL, Rows, ramp_lane};
use crate::annotation::{ActivationMap, View};
use crate::frame::{PictureMut, PlaneMut, Size};

/// Blocks from top to bottom, about.
const BLOCKS_DOWN: usize = 64;

/// Paints blur; keeps the memory it works in.
#[derive(Debug, Default)]
pub(super) struct BlurPainter {
    /// Per block of the picture, in 1/65535: how much of it is blurred.
    alpha: Vec<u16>,
    /// Per block of a plane, in 1/256 of a sample: its mean.
    mean: Vec<u16>,
    /// The same, half-way through smoothing.
    across: Vec<u16>,
    /// Sums of the columns of a row of blocks.
    sums: Vec<u16>,
    rows: Rows,
}

impl BlurPainter {
    /// Blurs what has no heat, by `strength` (0..1).
    pub(super) fn paint(
        &mut self,
        picture: &mut PictureMut<'_>,
        map: &ActivationMap,
        view: &View,
        strength: f32,
    ) {
        // The powers of two have a fast path.
        let side = (picture.size.height / BLOCKS_DOWN).clamp(4, 64);
        let side = 1 << side.ilog2();
        let blocks = Size::new(
            picture.size.width.div_ceil(side).max(1),
            picture.size.height.div_ceil(side).max(1),
        );
        self.look_up_alpha(map, view, strength, side, blocks);
        for (i, plane) in picture.planes.iter_mut().enumerate() {
            let (size, side) =
                if i == 0 { (picture.size, side) } else { (picture.size.chroma(), side / 2) };
            if size.width > 0 && size.height > 0 {
                self.shrink(plane, size, side, blocks);
                self.paint_plane(plane, size, side, blocks);
            }
        }
    }

    /// How much of the picture is blurred at the centre of every block.
    fn look_up_alpha(
        &mut self,
        map: &ActivationMap,
        view: &View,
        strength: f32,
        side: usize,
        blocks: Size,
    ) {
        let axis = |n: usize, start: f64, extent: f64, cells: usize| {
            let at = ((n as f64 + 0.5) * side as f64 - start) / extent;
            let inside = (0.0..1.0).contains(&at);
            let cell = (at * cells as f64 - 0.5).clamp(0.0, (cells - 1) as f64);
            let first = cell as usize;
            (first, (first + 1).min(cells - 1), cell.fract() as f32, inside)
        };
        let heat = |cell: usize| {
            let heat = map.values[cell];
            if heat > 0.0 { heat.min(1.0) } else { 0.0 }
        };
        let across: Vec<_> =
            (0..blocks.width).map(|n| axis(n, view.x, view.width, map.cols)).collect();
        self.alpha.clear();
        for n in 0..blocks.height {
            let (upper, lower, down, inside) = axis(n, view.y, view.height, map.rows);
            let line = |col: usize| {
                let [a, b] = [upper, lower].map(|row| heat(row * map.cols + col));
                a + (b - a) * down
            };
            self.alpha.extend(across.iter().map(|&(left, right, part, within)| {
                let (a, b) = (line(left), line(right));
                let heat = if inside && within { a + (b - a) * part } else { 0.0 };
                (strength * (1.0 - heat) * 65535.0).round() as u16
            }));
        }
    }

    /// Takes the means of the blocks of a plane, smoothed.
    fn shrink(&mut self, plane: &mut PlaneMut<'_>, size: Size, side: usize, blocks: Size) {
        // Every other line is enough for a mean over many.
        let skip = if side >= 8 { 2 } else { 1 };
        self.sums.resize(size.width, 0);
        self.mean.clear();
        for block in 0..blocks.height {
            // Blocks beyond the edge of an odd plane repeat the last line.
            let top = (block * side).min(size.height - 1);
            let bottom = (top + side).min(size.height);
            self.sums.fill(0);
            for y in (top..bottom).step_by(skip) {
                let row = plane.row_mut(y, size.width);
                self.sums.iter_mut().zip(row).for_each(|(sum, s)| *sum += u16::from(*s));
            }
            let lines = (bottom - top).div_ceil(skip);
            self.mean.extend((0..blocks.width).map(|block| {
                let left = (block * side).min(size.width - 1);
                let columns = &self.sums[left..(left + side).min(size.width)];
                let sum: u32 = columns.iter().map(|s| u32::from(*s)).sum();
                (sum * 256 / (columns.len() * lines) as u32) as u16
            }));
        }
        // A tent over three blocks, each way, lets no block show.
        let tent =
            |a: u16, b: u16, c: u16| ((u32::from(a) + 2 * u32::from(b) + u32::from(c)) / 4) as u16;
        let (width, last) = (blocks.width, blocks.height - 1);
        self.across.clear();
        for row in self.mean.chunks_exact(width) {
            let at = |x: usize| row[x.min(width - 1)];
            self.across.extend((0..width).map(|x| tent(at(x.saturating_sub(1)), at(x), at(x + 1))));
        }
        for y in 0..=last {
            let row = |y: usize| &self.across[y.min(last) * width..][..width];
            let lines = row(y.saturating_sub(1)).iter().zip(row(y)).zip(row(y + 1));
            let to = &mut self.mean[y * width..][..width];
            to.iter_mut().zip(lines).for_each(|(to, ((a, b), c))| *to = tent(*a, *b, *c));
        }
    }

    fn paint_plane(&mut self, plane: &mut PlaneMut<'_>, size: Size, side: usize, blocks: Size) {
        self.rows.reserve(size.width);
        let all = 0..size.width;
        let mut y = 0;
        for block in 0..blocks.height {
            self.look_up_row(block, size.width, side, blocks);
            // Before the first centre nothing changes; nor after the last.
            let centre = (block * side + side / 2).min(size.height);
            if block == 0 {
                self.rows.settle(all.clone());
                self.rows.hold_still(all.clone());
            } else if centre > y {
                self.rows.aim(all.clone(), side);
            }
            while y < centre {
                self.rows.blend_and_step(all.clone(), y, 1, plane);
                y += 1;
            }
            // Steps are rounded; the knots are exact.
            self.rows.settle(all.clone());
        }
        self.rows.hold_still(all.clone());
        while y < size.height {
            self.rows.blend_and_step(all.clone(), y, 1, plane);
            y += 1;
        }
    }

    /// Looks alpha and paint up along the centres of a row of blocks.
    fn look_up_row(&mut self, block: usize, width: usize, side: usize, blocks: Size) {
        let row = block * blocks.width..(block + 1) * blocks.width;
        let mixed = |(alpha, mean): (&u16, &u16)| {
            let paint = (u32::from(*alpha) * u32::from(*mean)) >> 16;
            [*alpha, paint as u16 + NEUTRAL]
        };
        let knots = self.alpha[row.clone()].iter().zip(&self.mean[row]).map(mixed);
        let (mut x, mut from) = (0, [0, NEUTRAL]);
        for (n, to) in knots.enumerate() {
            let centre = (n * side + side / 2).min(width);
            if n == 0 {
                self.rows.fill(0..centre, to);
            } else if x < centre {
                ramp_lane(&mut self.rows.next_alpha[x..centre], from[0], to[0]);
                ramp_lane(&mut self.rows.next_paint[x..centre], from[1], to[1]);
            }
            (x, from) = (centre, to);
        }
        self.rows.fill(x..width, from);
    }
}
