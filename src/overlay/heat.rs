//! Heat over a plane: the coarse map stretched over the picture and mixed in.
//!
//! A map changes with every frame, so nothing of picture size is built for it.
//! Between two rows of cell centres heat is linear from top to bottom. Colour
//! is therefore looked up only on *key rows*, close enough that colour between
//! them is straight too; the rows between step from one to the next. A key row
//! is looked up sample by sample, which costs little as key rows are few: their
//! number depends on how much heat changes, not on the size of the picture.

use super::blend::Rows;
use super::colour::{LEVELS, Ramp};
use crate::annotation::{ActivationMap, View};
use crate::frame::{Plane, PlaneMut, Size};

/// Key rows for a change of heat from 0 to 1: with 24 the chord of the
/// crookedest colour map stays within two levels of the curve.
const KEYS_PER_UNIT: f32 = 24.0;

/// Most rows from one key row to the next: bounds the sum of rounding errors
/// of the steps to a fraction of a level.
const MAX_STEP: usize = 32;

/// Heat below this is drawn as none: it would change no sample.
const LEAST_HEAT: f32 = 0.5 / LEVELS as f32;

/// Bits of a fixed-point heat below those that choose an entry of the ramp.
const HEAT_SHIFT: u32 = 32 - LEVELS.ilog2();

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
    fn fraction(&self, i: usize, sample: usize) -> f64 {
        if i == 0 || i == self.cells {
            return 0.0;
        }
        (self.origin + sample as f64 * self.pitch - (i - 1) as f64).clamp(0.0, 1.0)
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
    /// Heat of the cells along one row of the picture.
    line: Vec<f32>,
    /// Neighbouring intervals with heat in the current band of rows.
    runs: Vec<[usize; 2]>,
}

impl HeatPainter {
    /// Takes over a map. False when it has nothing to paint.
    pub(super) fn load(&mut self, map: &ActivationMap, view: &View) -> bool {
        let cells = map.rows.saturating_mul(map.cols);
        let sound = cells > 0
            && map.values.len() >= cells
            && [view.x, view.y, view.width, view.height].iter().all(|v| v.is_finite())
            && view.width > 0.0
            && view.height > 0.0;
        if !sound {
            return false;
        }
        self.map.clear();
        let clamped = |&v: &f32| if v >= LEAST_HEAT { v.min(1.0) } else { 0.0 };
        self.map.extend(map.values[..cells].iter().map(clamped));
        self.across.cells = map.cols;
        self.down.cells = map.rows;
        self.map.iter().any(|&v| v > 0.0)
    }

    /// Copies a plane of `size` from `src` to `dst`, with the loaded map over
    /// `view`, which is in samples of this plane.
    pub(super) fn paint(
        &mut self,
        ramp: &Ramp,
        view: &View,
        size: Size,
        src: &Plane<'_>,
        dst: &mut PlaneMut<'_>,
    ) {
        self.across.lay(self.across.cells, view.x, view.width, size.width);
        self.down.lay(self.down.cells, view.y, view.height, size.height);
        self.rows.reserve(size.width);
        let (top, bottom) = (self.down.bounds[0], self.down.bounds[self.down.cells + 1]);
        super::copy_rows(src, dst, 0..top, 0..size.width);
        for band in 0..=self.down.cells {
            let rows = self.down.bounds[band]..self.down.bounds[band + 1];
            if rows.is_empty() {
                continue;
            }
            let steepest = self.find_runs(band);
            let mut done = 0;
            for r in 0..self.runs.len() {
                let [first, last] = self.runs[r];
                let columns = self.across.bounds[first]..self.across.bounds[last + 1];
                super::copy_rows(src, dst, rows.clone(), done..columns.start);
                done = columns.end;
            }
            super::copy_rows(src, dst, rows.clone(), done..size.width);
            self.paint_band(ramp, band, steepest, src, dst);
        }
        super::copy_rows(src, dst, bottom..size.height, 0..size.width);
    }

    /// Finds the runs of intervals with heat between the two rows of cells of
    /// `band`; returns the largest change of heat from one to the other.
    fn find_runs(&mut self, band: usize) -> f32 {
        let [upper, lower] = self.down.cells_of(band).map(|row| row * self.across.cells);
        let heat = |cell: usize| self.map[upper + cell].max(self.map[lower + cell]);
        self.runs.clear();
        for i in 0..=self.across.cells {
            if self.across.cells_of(i).iter().all(|&cell| heat(cell) <= 0.0) {
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
    fn paint_band(
        &mut self,
        ramp: &Ramp,
        band: usize,
        steepest: f32,
        src: &Plane<'_>,
        dst: &mut PlaneMut<'_>,
    ) {
        let (start, end) = (self.down.bounds[band], self.down.bounds[band + 1]);
        if self.runs.is_empty() {
            return;
        }
        let per_row = steepest * self.down.pitch as f32;
        let step = ((1.0 / (KEYS_PER_UNIT * per_row)) as usize).clamp(1, MAX_STEP);
        let mut key = start;
        self.look_up_row(ramp, band, key, 0);
        while key < end {
            // The last row of a band is a key row: the next one lies beyond the
            // bend at the cell centres.
            let next = (key + step).min(end - 1);
            if next > key {
                self.look_up_row(ramp, band, next, next - key);
            }
            for row in key..next.max(key + 1) {
                for &[first, last] in &self.runs {
                    let (x0, x1) = (self.across.bounds[first], self.across.bounds[last + 1]);
                    let from = &src.row(row, x1)[x0..];
                    self.rows.blend_and_step(x0, &mut dst.row_mut(row, x1)[x0..], from);
                }
            }
            key = next.max(key + 1);
        }
    }

    /// Looks colours up for `row`. With `distance` 0 the row is taken over as
    /// it is; else the steps are set to reach it in `distance` rows.
    fn look_up_row(&mut self, ramp: &Ramp, band: usize, row: usize, distance: usize) {
        let t = self.down.fraction(band, row) as f32;
        let [upper, lower] = self.down.cells_of(band).map(|row| row * self.across.cells);
        self.line.clear();
        self.line.extend((0..self.across.cells).map(|cell| {
            let (a, b) = (self.map[upper + cell], self.map[lower + cell]);
            a + (b - a) * t
        }));
        for &[first, last] in &self.runs {
            for i in first..=last {
                let (x0, x1) = (self.across.bounds[i], self.across.bounds[i + 1]);
                if x0 == x1 {
                    continue;
                }
                let [a, b] = self.across.cells_of(i).map(|cell| f64::from(self.line[cell]));
                let slope = if a == b { 0.0 } else { (b - a) * self.across.pitch };
                let start = a + (b - a) * self.across.fraction(i, x0);
                if distance == 0 {
                    look_up(ramp, start, slope, &mut self.rows, x0, x1);
                } else {
                    step_towards(ramp, start, slope, &mut self.rows, [x0, x1], distance);
                }
            }
        }
    }
}
