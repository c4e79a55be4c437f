//! What painting costs per frame, style by style: median milliseconds, and as a
//! multiple of copying the three planes. Wanted: at most 1.0 ms at 1080p. Run with `cargo bench --bench overlay`; a
//! word after `--` picks the cases whose names contain it.
#![allow(clippy::print_stdout, reason = "stdout is for results")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use heatcast::annotation::{
    ActivationMap, Annotation, ClassProb, Explanation, HeadResult, Heat, View,
};
use heatcast::frame::{Colorimetry, PictureMut, PlaneMut, Pts, Size};
use heatcast::overlay::{Colormap, HeatStyle, Painter, Style};

fn main() {
    for size in [Size::new(1280, 720), Size::new(1920, 1080), Size::new(3840, 2160)] {
        measure(size);
    }
}

fn measure(size: Size) {
    let planes = [size, size.chroma(), size.chroma()];
    let src: Vec<Vec<u8>> = planes
        .iter()
        .map(|s| (0..s.width * s.height).map(|i| (i * 31 % 219 + 16) as u8).collect())
        .collect();
    let mut dst = src.clone();
    let view = View { x: 0.0, y: 0.0, width: size.width as f64, height: size.height as f64 };
    let annotation = annotation(view);
    let look = |heat| Style { heat, ..Style::default() };
    let two = || Style { colormaps: Colormap::HUES[..2].to_vec(), ..Style::default() };
    let new = |style| Painter::new(size, Colorimetry::BT709, 1.0, style);

    let (copy, copy_least) = measured(|| {
        for (from, to) in src.iter().zip(&mut dst) {
            to.copy_from_slice(black_box(from));
        }
    });
    println!(
        "{}x{} plane copy          {copy:7.3} ms          least {copy_least:7.3} ms",
        size.width, size.height
    );
    let none = || ActivationMap::zeros(7, 12);
    let (spot, full) = (|| blob(0.16, 0.0), || blob(0.4, 0.15));
    let mut two_maps = vec![full(), full()];
    two_maps[1].values.reverse();
    let (heatmap, shade) = (HeatStyle::Heatmap, HeatStyle::Shade);
    let (blur, contour) = (HeatStyle::Blur, HeatStyle::Contour);
    let cases = [
        ("no heat", look(heatmap), vec![none()], false),
        ("partial heat", look(heatmap), vec![spot()], false),
        ("full heat", look(heatmap), vec![full()], false),
        ("full heat, panel", look(heatmap), vec![full()], true),
        ("steep heat, panel", look(heatmap), vec![chequers()], true),
        ("two classes, panel", two(), two_maps, true),
        ("shade, no heat", look(shade), vec![none()], true),
        ("shade, panel", look(shade), vec![full()], true),
        ("blur, no heat", look(blur), vec![none()], true),
        ("blur, panel", look(blur), vec![full()], true),
        ("contour, panel", look(contour), vec![full()], true),
        ("contour, steep", look(contour), vec![chequers()], true),
    ];
    let wanted = std::env::args().skip(1).find(|arg| !arg.starts_with('-')).unwrap_or_default();
    for (name, style, maps, panel) in cases.into_iter().filter(|(name, ..)| name.contains(&wanted))
    {
        let mut painter = new(style);
        let layers = maps.into_iter().enumerate();
        let heats: Vec<_> = layers.map(|(layer, map)| Heat { layer, map, view }).collect();
        painter.set_annotation(panel.then_some(&annotation));
        let (ms, least) = measured(|| {
            let mut picture = picture_mut(size, &planes, &mut dst);
            painter.paint(black_box(&mut picture), black_box(&heats));
        });
        println!(
            "{}x{} {name:<18}  {ms:7.3} ms  {:5.2} x  least {least:7.3} ms",
            size.width,
            size.height,
            ms / copy
        );
    }
    let mut painter = new(Style::default());
    let (ms, least) = measured(|| painter.set_annotation(Some(black_box(&annotation))));
    println!(
        "{}x{} set_annotation      {ms:7.3} ms          least {least:7.3} ms",
        size.width, size.height
    );
}

/// Median and least milliseconds; the least is what a busy machine hides.
fn measured(mut f: impl FnMut()) -> (f64, f64) {
    let mut times: Vec<f64> = (0..151)
        .map(|_| {
            let start = Instant::now();
            f();
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    (times[times.len() / 2], times[0])
}

fn blob(radius: f64, floor: f64) -> ActivationMap {
    let mut map = ActivationMap::zeros(7, 12);
    for (i, v) in map.values.iter_mut().enumerate() {
        let (dx, dy) = ((i % 12) as f64 / 11.0 - 0.6, (i / 12) as f64 / 6.0 - 0.4);
        let heat = (-(dx * dx + dy * dy) / (radius * radius)).exp();
        *v = if floor == 0.0 && heat < 0.05 { 0.0 } else { heat.max(floor) as f32 };
    }
    map
}

/// The worst case: full and no heat in turns.
fn chequers() -> ActivationMap {
    let mut map = ActivationMap::zeros(7, 12);
    map.values.iter_mut().enumerate().for_each(|(i, v)| *v = ((i + i / 12) % 2) as f32);
    map
}

fn annotation(view: View) -> Annotation {
    let class =
        |label: &str, probability| ClassProb { index: 3, label: Arc::from(label), probability };
    let head = |name: &str, label, p| HeadResult {
        head: Arc::from(name),
        top: vec![class(label, p)],
        shown: class(label, p),
        probabilities: [1.0 - p, p].into(),
    };
    Annotation {
        pts: Pts(0),
        starts_shot: false,
        heads: vec![head("genre", "cartoon", 0.87), head("place", "meadow at noon", 0.41)],
        explanations: vec![Explanation {
            head: 0,
            class: class("cartoon", 0.87),
            asked: false,
            heat: Heat { layer: 0, map: blob(0.4, 0.0), view },
            full_scale: 7.5,
        }],
    }
}

fn picture_mut<'a>(size: Size, planes: &[Size; 3], data: &'a mut [Vec<u8>]) -> PictureMut<'a> {
    let mut parts = data.iter_mut().zip(planes);
    let mut next = || match parts.next() {
        Some((data, size)) => PlaneMut { data, stride: size.width },
        None => PlaneMut { data: &mut [], stride: 0 },
    };
    PictureMut { size, planes: [next(), next(), next()] }
}
