//! Figures of maps whose faithfulness is known beforehand.

use std::convert::Infallible;

use super::*;

/// An input of 64 x 32 pixels for maps of 4 x 2 cells.
fn spec() -> InputSpec {
    InputSpec { mean: [100.0; 3], std: [50.0; 3], ..InputSpec::new(64, 32) }
}

const PIXELS: usize = 64 * 32;

/// A chequered picture: blurred, no pixel of it is as it was.
fn chequered() -> Vec<f32> {
    let light = |i: usize| (i % 64 + i / 64).is_multiple_of(2);
    (0..3 * PIXELS).map(|i| if light(i) { 3.1 } else { 1.0 }).collect()
}

/// A classifier that is as confident as its top left quarter, half of the
/// width and half of the height, is like the chequered picture.
fn corner(input: &[f32]) -> f64 {
    let known = chequered();
    let pixels = (0..3 * PIXELS).filter(|i| i % 64 < 32 && i % PIXELS / 64 < 16);
    let like = pixels.filter(|&i| (input[i] - known[i]).abs() < 1e-3).count();
    like as f64 / (3 * PIXELS / 4) as f64
}

fn grid(hot: impl Fn(usize, usize) -> f32) -> ActivationMap {
    let values = (0..8).map(|i| hot(i / 4, i % 4)).collect();
    ActivationMap { rows: 2, cols: 4, values }
}

fn named(maps: &[(&str, ActivationMap)], boxes: &[Rect]) -> (Vec<(String, Figures)>, usize) {
    let (input, spec) = (chequered(), spec());
    let stimulus = Stimulus { input: &input, spec: &spec, confidence: 1.0, boxes, seed: 5 };
    let maps: Vec<_> = maps.iter().map(|(name, map)| ((*name).to_owned(), map)).collect();
    let mut asked = 0;
    let figures = measure(&stimulus, &maps, &mut |input| {
        asked += 1;
        Ok::<_, Infallible>(corner(input))
    });
    (figures.unwrap(), asked)
}

fn near(a: f64, b: f64) {
    assert!((a - b).abs() < 1e-9, "{a} is not {b}");
}

#[test]
fn the_true_map_is_better_than_chance_and_its_opposite_worse() {
    let truth = grid(|row, col| if row == 0 && col < 2 { 1.0 } else { 0.0 });
    let opposite = grid(|row, col| if row == 0 && col < 2 { -1.0 } else { 0.0 });
    let (by, _) = named(&[("true", truth), ("opposite", opposite)], &[]);
    assert_eq!(
        by.iter().map(|b| b.0.as_str()).collect::<Vec<_>>(),
        ["true", "opposite", RANDOM, CENTRE]
    );
    // Of 16 steps the first four take the quarter away, but for the blending
    // between cells: a triangle.
    let about = |a: f64, b: f64| assert!((a - b).abs() < 0.005, "{a} is not {b}");
    about(area(&by[0].1.deletion), 0.125);
    about(area(&by[0].1.insertion), 0.875);
    about(area(&by[1].1.deletion), 0.875);
    about(area(&by[1].1.insertion), 0.125);
    assert!(area(&by[2].1.deletion) > 0.125 && area(&by[2].1.insertion) < 0.875);
    assert_eq!(by[0].1.deletion.len(), STEPS + 1);
}

#[test]
fn confidence_drops_by_what_is_darkened_and_rises_where_a_distraction_is() {
    let all = grid(|_, _| 2.0);
    let half = grid(|row, _| if row == 0 { 1.0 } else { 0.0 });
    let (by, _) = named(&[("all", all), ("half", half)], &[]);
    // A map that is the same everywhere says nothing: black.
    near(by[0].1.drop, 1.0);
    // The upper quarter stays as it is; then the heat falls off.
    near(by[1].1.drop, 0.5);
    assert!(!by[1].1.increase);
    let (input, spec) = (chequered(), spec());
    let stimulus = Stimulus { input: &input, spec: &spec, confidence: 0.5, boxes: &[], seed: 1 };
    let map = grid(|row, _| row as f32);
    let maps = [("m".to_owned(), &map)];
    let by = measure(&stimulus, &maps, &mut |_| Ok::<_, Infallible>(0.6)).unwrap();
    assert!(by[0].1.increase && by[0].1.drop == 0.0);
}

#[test]
fn darkening_is_on_the_scale_of_the_picture() {
    let heat = grid(|_, _| 0.5);
    let dark = darkened(&[3.1; 3 * PIXELS], &spec(), &heat);
    // White is 255; half of it is 127.5.
    assert!(dark.iter().all(|v| (v * 50.0 + 100.0 - 127.5).abs() < 1e-3), "{dark:?}");
}

#[test]
fn boxes_count_the_heat_in_them_and_forgive_a_little() {
    let truth = || grid(|row, col| if row == 0 && col == 0 { 1.0 } else { -1.0 });
    let view = View { x: 0.0, y: 0.0, width: 640.0, height: 320.0 };
    let rect = |at| Rect::in_input(at, &view, &spec());
    assert_eq!(
        rect([100.0, 200.0, 400.0, 200.0]),
        Rect { left: 10.0, top: 20.0, right: 50.0, bottom: 40.0 }
    );
    let figures = |at| named(&[("m", truth())], &[rect(at)]).0.swap_remove(0).1;
    let whole = figures([0.0, 0.0, 640.0, 320.0]);
    assert_eq!((whole.pointing, whole.energy), (Some(true), Some(1.0)));
    let beside = figures([320.0, 0.0, 320.0, 320.0]);
    assert_eq!((beside.pointing, beside.energy), (Some(false), Some(0.0)));
    // The hottest pixel's centre is half a pixel from the edge, and 3 % of
    // 64 pixels are 1.9.
    assert_eq!(figures([23.0, 0.0, 200.0, 200.0]).pointing, Some(true));
    assert_eq!(figures([25.0, 0.0, 200.0, 200.0]).pointing, Some(false));
    let half = figures([0.0, 0.0, 640.0, 80.0]).energy.unwrap();
    assert!(half > 0.6 && half < 1.0, "{half}");
    assert_eq!(named(&[("m", truth())], &[]).0[0].1.energy, None);
    // The padding of a letterbox is no part of the picture.
    let wide = View { x: 0.0, y: -320.0, width: 640.0, height: 960.0 };
    let whole = Rect::in_input([0.0, 0.0, 640.0, 320.0], &wide, &spec());
    assert!((whole.top - 32.0 / 3.0).abs() < 1e-9 && (whole.bottom - 64.0 / 3.0).abs() < 1e-9);
}

#[test]
fn maps_that_differ_only_in_scale_are_measured_once() {
    let map = |scale: f32| grid(move |row, col| scale * (col as f32 - row as f32));
    let once = named(&[("cam", map(1.0))], &[]);
    let twice = named(&[("cam", map(1.0)), ("gradcam", map(1.0 / 84.0))], &[]);
    assert_eq!(once.1, twice.1);
    assert_eq!(twice.0[0].1, twice.0[1].1);
    assert!(named(&[("cam", map(1.0)), ("not", map(-1.0))], &[]).1 > once.1);
}

#[test]
fn chance_keeps_the_values_and_their_smoothness_but_not_their_place() {
    let map = grid(|row, col| (row * 4 + col) as f32);
    let sorted = |map: &ActivationMap| {
        let mut values = map.values.clone();
        values.sort_by(f32::total_cmp);
        values
    };
    // Mean difference of neighbours, around the edges.
    let rough = |map: &ActivationMap| -> f32 {
        (0..8).map(|i| (map.values[i] - map.values[i / 4 * 4 + (i + 1) % 4]).abs()).sum()
    };
    let mut seen = Vec::new();
    for seed in 0..40 {
        let other = elsewhere(&map, seed);
        assert_eq!(other, elsewhere(&map, seed));
        assert_eq!((sorted(&other), rough(&other)), (sorted(&map), rough(&map)));
        assert_ne!(other, map);
        if !seen.contains(&other.values) {
            seen.push(other.values);
        }
    }
    assert_eq!(seen.len(), 7, "every other place");
    let lone = ActivationMap { rows: 1, cols: 1, values: vec![2.0] };
    assert_eq!(elsewhere(&lone, 3), lone);
    let centre = middle(2, 4);
    assert!(centre.values[1] == centre.values[6] && centre.values[1] > centre.values[0]);
}

#[test]
fn blur_keeps_the_mean_and_takes_the_detail() {
    let (w, h) = (64, 40);
    let stripes = |i: usize| if (i / 2).is_multiple_of(2) { 1.0 } else { -1.0 };
    let input: Vec<f32> = (0..3 * w * h).map(stripes).collect();
    let soft = blurred(&input, w, h);
    assert_eq!(soft.len(), input.len());
    // Edges are repeated, so stripes remain there.
    let inner = soft.iter().enumerate().filter(|(i, _)| (8..w - 8).contains(&(i % w)));
    assert!(inner.clone().count() > 5000 && inner.clone().all(|(_, v)| v.abs() < 0.02));
    let flat = vec![0.7; 3 * w * h];
    assert!(blurred(&flat, w, h).iter().all(|v| (v - 0.7).abs() < 1e-5));
}

fn look(group: &str, figures: [(f64, bool, Option<f64>); 2]) -> Look {
    let of = |(p, increase, energy): (f64, bool, Option<f64>)| Figures {
        deletion: vec![p; STEPS + 1],
        insertion: vec![1.0 - p; STEPS + 1],
        drop: p,
        increase,
        pointing: energy.map(|e| e > 0.5),
        energy,
    };
    let [own, chance] = figures.map(of);
    let by = vec![("cam".to_owned(), own), (RANDOM.to_owned(), chance)];
    Look { group: Some(group.to_owned()), by }
}

#[test]
fn leads_are_taken_picture_by_picture() {
    // Pictures differ much, the lead is always 0.1.
    let looks: Vec<Look> = (0..20)
        .map(|i| {
            let p = f64::from(i) / 25.0;
            let energy = (i % 4 == 0).then_some(0.75);
            look(&format!("g{}", i / 2), [(p, i % 2 == 0, energy), (p + 0.1, false, energy)])
        })
        .collect();
    let found = Faithfulness::of(&looks).unwrap();
    assert_eq!((found.n, found.groups, found.with_boxes), (20, 10, 5));
    let cam = &found.methods[0];
    near(cam.figures.deletion.mean, 0.38);
    near(cam.figures.increase.mean, 0.5);
    let [low, high] = cam.figures.deletion.ci95;
    assert!(low < 0.3 && high > 0.45, "{low} {high}");
    let lead = cam.lead.as_ref().unwrap();
    near(lead.deletion.mean, 0.1);
    assert!(lead.deletion.ci95.iter().all(|v| (v - 0.1).abs() < 1e-9), "{lead:?}");
    near(lead.insertion.mean, 0.1);
    near(lead.drop.mean, 0.1);
    near(lead.energy.unwrap().mean, 0.0);
    near(cam.figures.pointing.unwrap().mean, 1.0);
    assert!(found.methods[1].lead.is_none());
    assert_eq!(Faithfulness::of(&[]), None);
}
