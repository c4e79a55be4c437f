//! What the finished picture looks like.

use std::ops::Range;
use std::sync::Arc;

use super::*;
use crate::annotation::{ClassProb, Explanation, HeadResult};
use crate::frame::{PlaneMut, Pts};

/// Samples of the three planes, with strides wider than the rows.
#[derive(Clone)]
struct Buffer {
    size: Size,
    strides: [usize; 3],
    data: [Vec<u8>; 3],
}

impl Buffer {
    fn new(size: Size, padding: usize, sample: impl Fn(usize, usize, usize) -> u8) -> Self {
        let sizes = [size, size.chroma(), size.chroma()];
        let strides = sizes.map(|s| s.width + padding);
        let data = [0, 1, 2].map(|p| {
            (0..strides[p] * sizes[p].height)
                .map(|i| sample(p, i % strides[p], i / strides[p]))
                .collect()
        });
        Self { size, strides, data }
    }

    fn noise(size: Size, padding: usize) -> Self {
        Self::new(size, padding, |p, x, y| ((x * 7919 + y * 104_729 + p * 31) % 220 + 16) as u8)
    }

    fn flat(size: Size, luma: u8) -> Self {
        Self::new(size, 0, |p, _, _| if p == 0 { luma } else { 128 })
    }

    fn picture_mut(&mut self) -> PictureMut<'_> {
        let [y, u, v] = &mut self.data;
        let plane = |data, p: usize| PlaneMut { data, stride: self.strides[p] };
        PictureMut { size: self.size, planes: [plane(y, 0), plane(u, 1), plane(v, 2)] }
    }

    fn at(&self, p: usize, x: usize, y: usize) -> u8 {
        self.data[p][y * self.strides[p] + x]
    }

    fn rgb(&self, x: usize, y: usize) -> [f32; 3] {
        let yuv = [self.at(0, x, y), self.at(1, x / 2, y / 2), self.at(2, x / 2, y / 2)];
        Colorimetry::BT709.yuv_to_rgb(yuv.map(f32::from))
    }

    /// Samples of plane `p` without the padding.
    fn samples(&self, p: usize) -> Vec<u8> {
        let size = if p == 0 { self.size } else { self.size.chroma() };
        let rows = self.data[p].chunks(self.strides[p]);
        rows.flat_map(|row| row[..size.width].to_vec()).collect()
    }
}

fn whole(size: Size) -> View {
    View { x: 0.0, y: 0.0, width: size.width as f64, height: size.height as f64 }
}

fn painter(size: Size, style: Style) -> Painter {
    Painter::new(size, Colorimetry::BT709, 1.0, style)
}

fn painted(src: &Buffer, style: Style, map: &ActivationMap, view: &View) -> Buffer {
    let mut dst = src.clone();
    painter(src.size, style).paint(&mut dst.picture_mut(), &[heat(0, map, view)]);
    dst
}

fn heat(layer: usize, map: &ActivationMap, view: &View) -> Heat {
    Heat { layer, map: map.clone(), view: *view }
}

fn map(rows: usize, cols: usize, heat: impl Fn(usize, usize) -> f32) -> ActivationMap {
    let values = (0..rows * cols).map(|i| heat(i / cols, i % cols)).collect();
    ActivationMap { rows, cols, values }
}

fn class(label: &str, probability: f32) -> ClassProb {
    ClassProb { index: 1, label: Arc::from(label), probability }
}

fn annotation(label: &str, heads: usize) -> Annotation {
    let head = |i: usize| HeadResult {
        head: Arc::from(format!("head {i}")),
        top: vec![class(label, 0.8)],
        shown: class(label, 0.8),
        probabilities: [0.2, 0.8].into(),
    };
    Annotation {
        pts: Pts(0),
        starts_shot: false,
        heads: (0..heads).map(head).collect(),
        explanations: vec![Explanation {
            head: 0,
            class: class(label, 0.8),
            asked: false,
            heat: heat(
                0,
                &ActivationMap::zeros(7, 12),
                &View { x: 0.0, y: 0.0, width: 1.0, height: 1.0 },
            ),
            full_scale: 7.5,
        }],
    }
}

/// Heat by the textbook, at the centre of a sample; none outside of the view.
fn oracle_heat(map: &ActivationMap, view: &View, x: f64, y: f64) -> f64 {
    if x < view.x || y < view.y || x >= view.x + view.width || y >= view.y + view.height {
        return 0.0;
    }
    let axis = |at: f64, start: f64, extent: f64, cells: usize| {
        let c = ((at - start) * cells as f64 / extent - 0.5).clamp(0.0, (cells - 1) as f64);
        (c as usize, (c as usize + 1).min(cells - 1), c.fract())
    };
    let (x0, x1, tx) = axis(x, view.x, view.width, map.cols);
    let (y0, y1, ty) = axis(y, view.y, view.height, map.rows);
    let v = |row: usize, col: usize| f64::from(map.values[row * map.cols + col]);
    let row = |r: usize| v(r, x0) * (1.0 - tx) + v(r, x1) * tx;
    row(y0) * (1.0 - ty) + row(y1) * ty
}

/// The largest error against the oracle, over all planes.
fn worst(src: &Buffer, style: &Style, map: &ActivationMap, view: &View) -> f64 {
    let out = painted(src, style.clone(), map, view);
    let mut worst = 0.0f64;
    for p in 0..3 {
        let (size, scale) = if p == 0 { (src.size, 1.0) } else { (src.size.chroma(), 2.0) };
        for y in 0..size.height {
            for x in 0..size.width {
                let (px, py) = ((x as f64 + 0.5) * scale, (y as f64 + 0.5) * scale);
                let h = oracle_heat(map, view, px, py);
                let rgb = style.colormaps[0].rgb(h as f32);
                let colour = f64::from(Colorimetry::BT709.rgb_to_yuv(rgb)[p]);
                let s = f64::from(src.at(p, x, y));
                let want = s + f64::from(style.opacity) * h * (colour - s);
                worst = worst.max((want - f64::from(out.at(p, x, y))).abs());
                if h == 0.0 {
                    assert_eq!(out.at(p, x, y), src.at(p, x, y));
                }
            }
        }
    }
    worst
}

fn scattered(rows: usize, cols: usize) -> ActivationMap {
    map(rows, cols, |r, c| ((r * 31 + c * 17 + r * c * 7) % 11) as f32 / 10.0)
}

fn smooth(rows: usize, cols: usize) -> ActivationMap {
    map(rows, cols, |r, c| {
        let (x, y) = (c as f32 / cols as f32 - 0.6, r as f32 / rows as f32 - 0.4);
        (1.2 * (-(x * x + y * y) * 6.0).exp() - 0.1).clamp(0.0, 1.0)
    })
}

#[test]
fn heat_follows_the_textbook_within_two_levels() {
    let maps = [smooth(7, 12), scattered(7, 12), scattered(1, 1), scattered(3, 20)];
    for size in [Size::new(426, 240), Size::new(637, 269), Size::new(1280, 720)] {
        let src = Buffer::noise(size, 5);
        let (w, h) = (size.width as f64, size.height as f64);
        let views = [
            whole(size),
            View { x: w * 0.2, y: 0.0, width: h, height: h },
            View { x: 0.0, y: (h - w) / 2.0, width: w, height: w },
        ];
        for colormap in
            [Colormap::Inferno, Colormap::Viridis, Colormap::Turbo, Colormap::Jet, Colormap::Blue]
        {
            let style = Style { colormaps: vec![colormap], ..Style::default() };
            for (i, map) in maps.iter().enumerate() {
                for view in &views {
                    let worst = worst(&src, &style, map, view);
                    assert!(worst <= 2.0, "{size:?} {colormap:?} map {i} {view:?}: {worst}");
                }
            }
        }
    }
}

#[test]
fn a_steep_map_on_a_large_picture_stays_within_two_levels() {
    let size = Size::new(1920, 1080);
    let src = Buffer::noise(size, 0);
    let chequers = map(7, 12, |r, c| ((r + c) % 2) as f32);
    for map in [chequers, scattered(7, 12)] {
        let worst = worst(&src, &Style::default(), &map, &whole(size));
        assert!(worst <= 2.0, "{worst}");
    }
}

#[test]
fn without_evidence_the_picture_is_bit_identical() {
    let size = Size::new(637, 269);
    let src = Buffer::noise(size, 3);
    for map in [0.0, -1.0, f32::NAN].map(|heat| map(7, 12, |_, _| heat)) {
        let out = painted(&src, Style::default(), &map, &whole(size));
        assert!((0..3).all(|p| out.samples(p) == src.samples(p)));
    }
    let off = Style { heat: HeatStyle::Off, ..Style::default() };
    let out = painted(&src, off, &smooth(7, 12), &whole(size));
    assert!((0..3).all(|p| out.samples(p) == src.samples(p)));
}

#[test]
fn full_evidence_is_the_end_of_the_colour_map() {
    let size = Size::new(64, 48);
    let src = Buffer::flat(size, 90);
    let style = Style { opacity: 1.0, ..Style::default() };
    let out = painted(&src, style, &map(7, 12, |_, _| 1.0), &whole(size));
    let want = Colorimetry::BT709.rgb_to_yuv(Colormap::Inferno.rgb(1.0));
    for (p, want) in want.into_iter().enumerate() {
        assert!(out.samples(p).iter().all(|&s| (f32::from(s) - want).abs() <= 2.0));
    }
}

#[test]
fn the_first_cell_is_top_left() {
    let size = Size::new(120, 70);
    let src = Buffer::flat(size, 16);
    let style = Style { colormaps: vec![Colormap::Grey], ..Style::default() };
    let corner = map(7, 12, |r, c| if (r, c) == (0, 0) { 1.0 } else { 0.0 });
    let out = painted(&src, style, &corner, &whole(size));
    assert!(out.at(0, 1, 1) > 100);
    assert_eq!([out.at(0, 118, 1), out.at(0, 1, 68), out.at(0, 118, 68)], [16; 3]);
}

#[test]
fn a_crop_paints_nothing_outside() {
    let size = Size::new(320, 180);
    let src = Buffer::noise(size, 0);
    let view = View { x: 70.0, y: 0.0, width: 180.0, height: 180.0 };
    let out = painted(&src, Style::default(), &map(7, 7, |_, _| 1.0), &view);
    for y in 0..180 {
        for x in (0..70).chain(250..320) {
            assert_eq!(out.at(0, x, y), src.at(0, x, y));
        }
        assert_ne!(
            out.at(0, 71, y).abs_diff(src.at(0, 71, y))
                + out.at(1, 40, y / 2).abs_diff(src.at(1, 40, y / 2)),
            0
        );
    }
}

#[test]
fn the_panel_stays_in_its_place() {
    let long = "an exceedingly long label that no panel could ever hold in one line";
    for (w, h, par) in [
        (426, 240, 1.0),
        (720, 576, 64.0 / 45.0),
        (720, 576, 16.0 / 15.0),
        (1920, 1080, 1.0),
        (3840, 2160, 1.0),
        (240, 426, 1.0),
    ] {
        for heads in [0, 1, 2, 40] {
            for hud in [HudMode::Full, HudMode::Compact] {
                let style = Style { hud, ..Style::default() };
                let mut painter = Painter::new(Size::new(w, h), Colorimetry::BT709, par, style);
                painter.set_annotation(Some(&annotation(long, heads)));
                let [left, top, right, bottom] = painter.shown.as_ref().unwrap().1.bounds();
                assert!(left * 20 >= w && top * 20 >= h, "{w}x{h}: {left} {top}");
                assert!((right - left) as f64 <= 0.45 * w as f64, "{w}x{h}: {left}..{right}");
                assert!(bottom * 3 <= 2 * h, "{w}x{h} {heads}: {bottom}");
            }
        }
    }
}

#[test]
fn nothing_panics_on_tiny_pictures() {
    let maps = [scattered(7, 12), scattered(1, 1), ActivationMap::zeros(0, 0), scattered(40, 90)];
    for w in 1..=16 {
        for h in 1..=16 {
            let size = Size::new(w, h);
            let mut picture = Buffer::noise(size, w % 3);
            let mut painter = painter(size, Style::default());
            painter.set_annotation(Some(&annotation("label", 2)));
            let beyond = View { x: -9.5, y: 3.0, width: 31.0, height: 0.3 };
            let nowhere = View { width: f64::NAN, ..beyond };
            let outside = View { x: 400.0, ..beyond };
            let sliver = View { x: 0.4, y: 0.4, width: 0.2, height: 0.2 };
            let before = View { x: -400.0, y: -400.0, ..beyond };
            for map in &maps {
                for view in [whole(size), beyond, nowhere, outside, before, sliver] {
                    painter.paint(&mut picture.picture_mut(), &[heat(0, map, &view)]);
                }
            }
            painter.paint(&mut picture.picture_mut(), &[]);
        }
    }
}

fn with_panel(label: &str, luma: u8, size: Size) -> (Buffer, [usize; 4]) {
    let mut dst = Buffer::flat(size, luma);
    let mut painter = painter(size, Style::default());
    painter.set_annotation(Some(&annotation(label, 2)));
    painter.paint(&mut dst.picture_mut(), &[]);
    let bounds = painter.shown.as_ref().unwrap().1.bounds();
    (dst, bounds)
}

/// Relative luminance as WCAG defines it.
fn luminance(rgb: [f32; 3]) -> f32 {
    let linear = rgb
        .map(|v| v / 255.0)
        .map(|v| if v <= 0.040_45 { v / 12.92 } else { ((v + 0.055) / 1.055).powf(2.4) });
    0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
}

#[test]
fn the_text_stands_out_even_over_white() {
    let size = Size::new(1920, 1080);
    for luma in [16, 128, 235] {
        let (out, [left, top, right, bottom]) = with_panel("MMMMMM", luma, size);
        // Below the corner's rounding there is only ground; the name of a head
        // is its first line, its label the second.
        let ground = luminance(out.rgb(left + 4, (top + bottom) / 2));
        let brightest = |rows: Range<usize>| {
            let pixels = rows.flat_map(|y| (left..right).map(move |x| (x, y)));
            pixels.map(|(x, y)| luminance(out.rgb(x, y))).fold(0.0, f32::max)
        };
        for rows in [top + 18..top + 48, top + 60..top + 90, bottom - 40..bottom - 20] {
            let contrast = (brightest(rows.clone()) + 0.05) / (ground + 0.05);
            assert!(contrast >= 4.5, "luma {luma}, rows {rows:?}: {contrast}");
        }
    }
}

#[test]
fn another_label_makes_another_picture() {
    let size = Size::new(640, 360);
    let (one, _) = with_panel("advertisement", 120, size);
    let (other, _) = with_panel("news", 120, size);
    assert_ne!(one.samples(0), other.samples(0));
}

#[test]
fn without_an_annotation_or_with_the_hud_off_there_is_no_panel() {
    let size = Size::new(640, 360);
    let mut painter = painter(size, Style::default());
    painter.set_annotation(Some(&annotation("news", 1)));
    assert!(painter.shown.is_some());
    painter.set_annotation(None);
    assert!(painter.shown.is_none());
    let mut off = Painter::new(
        size,
        Colorimetry::BT709,
        1.0,
        Style { hud: HudMode::Off, ..Style::default() },
    );
    off.set_annotation(Some(&annotation("news", 1)));
    assert!(off.shown.is_none());
}

#[test]
fn outside_of_the_panel_nothing_changes() {
    let size = Size::new(640, 360);
    let (out, [left, top, right, bottom]) = with_panel("news", 120, size);
    for y in 0..360 {
        for x in 0..640 {
            let inside = (left..right).contains(&x) && (top..bottom).contains(&y);
            assert!(inside || out.at(0, x, y) == 120);
        }
    }
}
