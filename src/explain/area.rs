//! Where in the picture the heat is. Called when events are written; must not
//! know how heat is painted.

use crate::annotation::{ActivationMap, View};
use crate::frame::Size;

/// Heat below this is none at all.
const NO_HEAT: f32 = 0.02;

/// The attended part of a picture, in fractions of its width and height.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Area {
    /// Centre of the heat: x from the left, y from the top, each 0..1.
    pub centroid: [f64; 2],
    /// The rectangle around it: left, top, width, height, each 0..1.
    pub bbox: [f64; 4],
}

/// The cells of `map` with at least half of the largest heat, as far as they
/// lie in a picture of `size` (luma pixels); they need not touch each other.
///
/// `None` without heat: when no cell in the picture reaches 0.02.
pub fn attended_area(map: &ActivationMap, view: &View, size: Size) -> Option<Area> {
    let (across, down) = (size.width as f64, size.height as f64);
    let cells = || {
        map.values.iter().take(map.rows * map.cols).enumerate().filter_map(|(i, heat)| {
            let (row, col) = ((i / map.cols) as f64, (i % map.cols) as f64);
            let span = |from: f64, extent: f64, at: f64, cells: usize, side: f64| {
                let edge = |n: f64| ((from + extent * n / cells as f64) / side).clamp(0.0, 1.0);
                (edge(at), edge(at + 1.0))
            };
            let (left, right) = span(view.x, view.width, col, map.cols, across);
            let (top, bottom) = span(view.y, view.height, row, map.rows, down);
            // Cells of the padding have no extent in the picture.
            (right > left && bottom > top).then_some(([left, top, right, bottom], *heat))
        })
    };
    let most = cells().map(|(_, heat)| heat).fold(0.0, f32::max);
    if most < NO_HEAT {
        return None;
    }
    let mut bounds = [1.0, 1.0, 0.0, 0.0_f64];
    let (mut x, mut y, mut total) = (0.0, 0.0, 0.0);
    for ([left, top, right, bottom], heat) in cells().filter(|(_, heat)| *heat >= most / 2.0) {
        let mass = f64::from(heat) * (right - left) * (bottom - top);
        x += mass * (left + right) / 2.0;
        y += mass * (top + bottom) / 2.0;
        total += mass;
        bounds =
            [left.min(bounds[0]), top.min(bounds[1]), right.max(bounds[2]), bottom.max(bounds[3])];
    }
    let [left, top, right, bottom] = bounds;
    (total > 0.0).then(|| Area {
        centroid: [x / total, y / total],
        bbox: [left, top, right - left, bottom - top],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size::new(400, 200);
    const WHOLE: View = View { x: 0.0, y: 0.0, width: 400.0, height: 200.0 };

    fn area(values: [f32; 8], view: View) -> Option<Area> {
        let map = ActivationMap { rows: 2, cols: 4, values: values.to_vec() };
        attended_area(&map, &view, SIZE)
    }

    #[test]
    fn one_hot_cell_is_the_area() {
        let found = area([0.0, 0.0, 0.9, 0.4, 0.0, 0.0, 0.0, 0.0], WHOLE).unwrap();
        assert_eq!(found, Area { centroid: [0.625, 0.25], bbox: [0.5, 0.0, 0.25, 0.5] });
    }

    #[test]
    fn two_spots_share_one_box_and_the_hotter_one_pulls_the_centre() {
        let found = area([0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0], WHOLE).unwrap();
        assert_eq!(found.bbox, [0.0, 0.0, 1.0, 1.0]);
        assert!((found.centroid[0] - (0.125 + 2.0 * 0.875) / 3.0).abs() < 1e-9);
    }

    #[test]
    fn no_heat_has_no_place() {
        assert_eq!(area([0.01; 8], WHOLE), None);
        assert_eq!(area([f32::NAN; 8], WHOLE), None);
        assert_eq!(attended_area(&ActivationMap::zeros(0, 0), &WHOLE, SIZE), None);
    }

    #[test]
    fn crop_lies_inside_and_letterbox_is_clipped_to_the_picture() {
        let crop = View { x: 100.0, y: 0.0, width: 200.0, height: 200.0 };
        let left = area([1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0], crop).unwrap();
        assert_eq!(left.bbox, [0.25, 0.0, 0.125, 1.0]);
        let letterbox = View { x: 0.0, y: -100.0, width: 400.0, height: 400.0 };
        let top = area([1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], letterbox).unwrap();
        assert_eq!(top.bbox, [0.0, 0.0, 0.25, 0.5]);
        let outside = View { y: -500.0, ..WHOLE };
        assert_eq!(area([1.0; 8], outside), None);
    }
}
