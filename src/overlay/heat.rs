//! Heat over a plane: the coarse map stretched over the picture and mixed in.
//!
//! A map changes with every frame, so nothing of picture size is built for it.
//! Between two rows of cell centres heat is linear from top to bottom. Colour
//! is therefore looked up only on *key rows*, and there only at *knots*, both
//! close enough that colour between them is straight too; everything between is
//! stepped to. How many there are depends on how much heat changes, not on the
//! size of the picture.

use std::ops::Range;

use super::blend::{Rows, blend_flat, ramp_lane};
use super::colour::{LEVELS, Ramp, fixed};
use crate::annotation::{ActivationMap, View};
use crate::frame::{PlaneMut, Size};

/// Most steps from one key row to the next: bounds the sum of rounding errors
/// to a fraction of a level.
const MAX_STEPS: usize = 32;

/// Most samples from one knot to the next, for the same reason.
const MAX_KNOT: usize = 16;

/// Change of heat per row below which two rows share one line of paint: each
/// is then less than a level away from its own.
const SLOW: f32 = 1.0 / 140.0;

/// Heat below this is drawn as none: it would change no sample.
const LEAST_HEAT: f32 = 0.5 / LEVELS as f32;

/// Where the cells of a map lie along one axis of a plane.
///
/// Cell centres cut the axis into intervals in which heat is linear. Interval
/// `i` lies before the centre of cell `i`; the last one lies after all centres.
/// Before the first and after the last centre heat is constant, as
/// in `interpolate(mode="bilinear", align_corners=False)`.
#[derive(Debug, Default)]
struct Axis {
    cells: usize,
    /// Position of sample 0 in cells, counted from the first centre.
    origin: f64,
    /// Cells per sample.
    pitch: f64,
    /// First sample of each interval, and the end of the last one.
    bounds: Vec<usize>,
}

impl Axis {
    /// Lays `cells` cells over `extent` samples from `start` on, of which the
    /// plane shows `0..visible`.
    fn lay(&mut self, cells: usize, start: f64, extent: f64, visible: usize) {
        self.cells = cells;
        self.pitch = cells as f64 / extent;
        self.origin = (0.5 - start) * self.pitch - 0.5;
        // The first sample whose centre lies at `edge` or later.
        let sample_at = |edge: f64| (edge - 0.5).ceil().clamp(0.0, visible as f64) as usize;
        self.bounds.clear();
        self.bounds.push(sample_at(start));
        for cell in 0..cells {
            self.bounds.push(sample_at(start + (cell as f64 + 0.5) / self.pitch));
        }
        self.bounds.push(sample_at(start + extent));
    }

    /// The cells on either side of interval `i`; the same cell twice at an edge.
    fn cells_of(&self, i: usize) -> [usize; 2] {
        [i.saturating_sub(1), i.min(self.cells - 1)]
    }

    /// How far `sample` of interval `i` is from the first of its cells to the
    /// second, 0..1.
    fn fraction(&self, i: usize, sample: f64) -> f64 {
        if i == 0 || i == self.cells {
            return 0.0;
        }
        (self.origin + sample * self.pitch - (i - 1) as f64).clamp(0.0, 1.0)
    }
}

/// Paints heat, plane by plane; keeps the memory it works in.
#[derive(Debug, Default)]
pub(super) struct HeatPainter {
    /// The map, clamped to 0..1.
    map: Vec<f32>,
    across: Axis,
    down: Axis,
    rows: Rows,
    /// Samples from one knot to the next.
    knot: usize,
    /// Heat of the cells along one row of the picture.
    line: Vec<f32>,
    /// Neighbouring intervals with heat in the current band of rows.
    runs: Vec<[usize; 2]>,
}

impl HeatPainter {
    /// Takes over a sound map. False when it has no heat.
    pub(super) fn load(&mut self, map: &ActivationMap) -> bool {
        let cells = map.rows * map.cols;
        self.map.clear();
        let clamped = |&v: &f32| if v >= LEAST_HEAT { v.min(1.0) } else { 0.0 };
        self.map.extend(map.values[..cells].iter().map(clamped));
        self.across.cells = map.cols;
        self.down.cells = map.rows;
        self.map.iter().any(|&v| v > 0.0)
    }

    /// Paints the loaded map over a plane of `size`; `view` is in samples of
    /// this plane. Outside of the view there is no heat.
    pub(super) fn paint(&mut self, ramp: &Ramp, view: &View, size: Size, plane: &mut PlaneMut<'_>) {
        self.across.lay(self.across.cells, view.x, view.width, size.width);
        self.down.lay(self.down.cells, view.y, view.height, size.height);
        self.rows.reserve(size.width);
        let knot = ramp.steps_within(MAX_KNOT, self.steepest_across() * self.across.pitch as f32);
        // The powers of two from 4 on have a fast path.
        self.knot = if knot < 4 { 1 } else { 1 << knot.ilog2() };
        if let Some(mixed) = ramp.without_heat() {
            self.paint_around(mixed, size, plane);
        }
        for band in 0..=self.down.cells {
            if self.down.bounds[band] < self.down.bounds[band + 1] {
                let steepest = self.find_runs(band, ramp.without_heat().is_some());
                self.paint_band(ramp, band, steepest, plane);
            }
        }
    }

    /// Mixes the same into everything outside of the view.
    fn paint_around(&self, mixed: [u16; 2], size: Size, plane: &mut PlaneMut<'_>) {
        let ends = |axis: &Axis| [axis.bounds[0], axis.bounds[axis.cells + 1]];
        let ([left, right], [top, bottom]) = (ends(&self.across), ends(&self.down));
        for y in 0..size.height {
            let row = plane.row_mut(y, size.width);
            if (top..bottom).contains(&y) && left < right {
                blend_flat(&mut row[..left], mixed);
                blend_flat(&mut row[right..], mixed);
            } else {
                blend_flat(row, mixed);
            }
        }
    }

    /// The largest change of heat from one cell to the next in a row.
    fn steepest_across(&self) -> f32 {
        let rows = self.map.chunks_exact(self.across.cells);
        rows.flat_map(|row| row.windows(2)).map(|w| (w[0] - w[1]).abs()).fold(0.0, f32::max)
    }

    /// Finds the runs of intervals with heat (or `all`) between the two rows of
    /// cells of `band`; returns the largest change of heat from one to the
    /// other.
    fn find_runs(&mut self, band: usize, all: bool) -> f32 {
        let [upper, lower] = self.down.cells_of(band).map(|row| row * self.across.cells);
        let heat = |cell: usize| self.map[upper + cell].max(self.map[lower + cell]);
        self.runs.clear();
        for i in 0..=self.across.cells {
            if !all && self.across.cells_of(i).iter().all(|&cell| heat(cell) <= 0.0) {
                continue;
            }
            match self.runs.last_mut() {
                Some(run) if run[1] + 1 == i => run[1] = i,
                _ => self.runs.push([i, i]),
            }
        }
        (0..self.across.cells)
            .map(|cell| (self.map[upper + cell] - self.map[lower + cell]).abs())
            .fold(0.0, f32::max)
    }

    /// Paints the runs of one band, key row by key row.
    fn paint_band(&mut self, ramp: &Ramp, band: usize, steepest: f32, plane: &mut PlaneMut<'_>) {
        let (start, end) = (self.down.bounds[band], self.down.bounds[band + 1]);
        if self.runs.is_empty() {
            return;
        }
        let per_row = steepest * self.down.pitch as f32;
        // Rows that share a line of paint, and the lines of this band.
        let hold = if per_row < SLOW { 2 } else { 1 };
        let lines = (end - start).div_ceil(hold);
        let middle = |line: usize| (start + line * hold) as f64 + (hold - 1) as f64 / 2.0;
        let apart = ramp.steps_within(MAX_STEPS, per_row * hold as f32);
        let mut key = 0;
        self.look_up_row(ramp, band, middle(0));
        self.settle();
        while key < lines {
            // The last line of a band is a key row: the next one lies beyond
            // the bend at the cell centres.
            let next = (key + apart).min(lines - 1);
            if next > key {
                self.look_up_row(ramp, band, middle(next));
                for i in 0..self.runs.len() {
                    let columns = self.columns(self.runs[i]);
                    self.rows.aim(columns, next - key);
                }
            } else {
                self.hold_still();
            }
            let until = next.max(key + 1);
            for line in key..until {
                let row = start + line * hold;
                let count = hold.min(end - row);
                for i in 0..self.runs.len() {
                    let columns = self.columns(self.runs[i]);
                    self.rows.blend_and_step(columns, row, count, plane);
                }
            }
            key = until;
        }
    }

    /// The samples of a run.
    fn columns(&self, [first, last]: [usize; 2]) -> Range<usize> {
        self.across.bounds[first]..self.across.bounds[last + 1]
    }

    /// Takes the looked-up row over as it is.
    fn settle(&mut self) {
        for &run in &self.runs {
            let columns = self.columns(run);
            self.rows.settle(columns);
        }
    }

    /// Lets the current line of paint stay as it is.
    fn hold_still(&mut self) {
        for &run in &self.runs {
            let columns = self.columns(run);
            self.rows.hold_still(columns);
        }
    }

    /// Looks alpha and paint up at height `y` of `band`.
    fn look_up_row(&mut self, ramp: &Ramp, band: usize, y: f64) {
        let t = self.down.fraction(band, y) as f32;
        let [upper, lower] = self.down.cells_of(band).map(|row| row * self.across.cells);
        self.line.clear();
        self.line.extend((0..self.across.cells).map(|cell| {
            let (a, b) = (self.map[upper + cell], self.map[lower + cell]);
            a + (b - a) * t
        }));
        for &[first, last] in &self.runs {
            for i in first..=last {
                let (mut x, end) = (self.across.bounds[i], self.across.bounds[i + 1]);
                let [a, b] = self.across.cells_of(i).map(|cell| self.line[cell]);
                if x >= end {
                    continue;
                }
                if a == b {
                    self.rows.fill(x..end, ramp.at(a));
                    continue;
                }
                let first = a + (b - a) * self.across.fraction(i, x as f64) as f32;
                let slope = fixed((b - a) * self.across.pitch as f32);
                let (start, origin) = (fixed(first), x);
                // At the last knot heat has just reached the next cell centre.
                let paint = |x: usize| {
                    let rise = slope.saturating_mul((x - origin) as i32);
                    ramp.at_fixed(start.saturating_add(rise))
                };
                if self.knot == 1 {
                    self.rows.set(x..end, paint);
                    continue;
                }
                let mut from = paint(x);
                while x < end {
                    let next = (x + self.knot).min(end);
                    let to = paint(next);
                    ramp_lane(&mut self.rows.next_alpha[x..next], from[0], to[0]);
                    ramp_lane(&mut self.rows.next_paint[x..next], from[1], to[1]);
                    (x, from) = (next, to);
                }
            }
        }
    }
}
