//! How faithful a map is to the classifier: does taking away what it points at
//! lower the classifier's confidence more than taking away something else, and
//! does the map lie where the object is? Called with one picture's input, its
//! maps and a way to ask the classifier again; must not know what that is.
//!
//! See `docs/reference/faithfulness.md` for what the figures mean.

use serde::Serialize;

use super::bootstrap::Groups;
use crate::annotation::{ActivationMap, View};
use crate::preprocess::InputSpec;

/// Equal parts in which a picture is taken away, or brought back.
pub const STEPS: usize = 16;
/// The map of chance.
pub const RANDOM: &str = "random";
/// The map that says "in the middle", whatever the picture.
pub const CENTRE: &str = "centre";
/// Standard deviation of the blur that insertion starts from, in parts of the
/// input's shorter side: 11 of 224 pixels.
const BLUR: f64 = 0.05;
/// How far beside a box the maximum may lie, in parts of the input's longer
/// side: 15 pixels of 500, as Zhang et al. allow.
const TOLERANCE: f64 = 0.03;
/// Maps that differ by less, relative to their largest value, are one map.
const ALIKE: f32 = 1e-5;

/// A rectangle of the classifier's input, in its pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rect {
    /// Left edge.
    pub left: f64,
    /// Top edge.
    pub top: f64,
    /// Right edge.
    pub right: f64,
    /// Bottom edge.
    pub bottom: f64,
}

impl Rect {
    /// The box of `[x, y, width, height]` pixels of a picture of which the
    /// input shows `view`.
    pub fn in_input([x, y, w, h]: [f64; 4], view: &View, spec: &InputSpec) -> Self {
        let across = |x: f64| (x - view.x) / view.width * spec.width as f64;
        let down = |y: f64| (y - view.y) / view.height * spec.height as f64;
        Self { left: across(x), top: down(y), right: across(x + w), bottom: down(y + h) }
    }

    fn holds(&self, x: f64, y: f64, tolerance: f64) -> bool {
        (self.left - tolerance..=self.right + tolerance).contains(&x)
            && (self.top - tolerance..=self.bottom + tolerance).contains(&y)
    }
}

/// One picture, as it was shown to the classifier.
#[derive(Clone, Copy, Debug)]
pub struct Stimulus<'a> {
    /// The input: 3 x height x width numbers, normalised.
    pub input: &'a [f32],
    /// How it was made.
    pub spec: &'a InputSpec,
    /// Confidence in the explained class, 0..1.
    pub confidence: f64,
    /// Where objects of the explained class are, if that is known.
    pub boxes: &'a [Rect],
    /// Chooses the map of chance.
    pub seed: u64,
}

/// The figures of one map.
#[derive(Clone, Debug, PartialEq)]
pub struct Figures {
    /// Confidence while the hottest pixels are taken away: `STEPS + 1` values.
    pub deletion: Vec<f64>,
    /// Confidence while the hottest pixels are brought back: `STEPS + 1` values.
    pub insertion: Vec<f64>,
    /// Part of the confidence that is lost when the picture is darkened where
    /// there is no heat, 0..1.
    pub drop: f64,
    /// True when confidence rises instead.
    pub increase: bool,
    /// Whether the hottest pixel lies in a box; none without boxes.
    pub pointing: Option<bool>,
    /// Part of the heat that lies in the boxes, 0..1; none without boxes.
    pub energy: Option<f64>,
}

/// The figures of one picture's maps, by name.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    /// Video or source the picture is from, where that is known.
    pub group: Option<String>,
    /// The maps: methods, then [`RANDOM`] and [`CENTRE`].
    pub by: Vec<(String, Figures)>,
}

/// Measures the `maps` of one picture, by name, and the two that know nothing
/// of it. `ask` gives the confidence in the explained class for another input.
///
/// Maps that are the same but for their scale are measured once.
///
/// # Errors
/// The first of `ask`.
pub fn measure<E>(
    stimulus: &Stimulus<'_>,
    maps: &[(String, &ActivationMap)],
    ask: &mut dyn FnMut(&[f32]) -> Result<f64, E>,
) -> Result<Vec<(String, Figures)>, E> {
    let Some((_, first)) = maps.first() else { return Ok(Vec::new()) };
    let (random, centre) = (elsewhere(first, stimulus.seed), middle(first.rows, first.cols));
    let named = maps.iter().map(|(name, map)| (name.clone(), *map));
    let all: Vec<(String, &ActivationMap)> =
        named.chain([(RANDOM.to_owned(), &random), (CENTRE.to_owned(), &centre)]).collect();
    let blank = vec![0.0; stimulus.input.len()];
    let blurred = blurred(stimulus.input, stimulus.spec.width, stimulus.spec.height);
    let ends = Ends { blank: (&blank, ask(&blank)?), blurred: (&blurred, ask(&blurred)?) };
    let mut done: Vec<(&ActivationMap, String, Figures)> = Vec::new();
    for (name, map) in all {
        let figures = match done.iter().find(|(other, ..)| is_alike(map, other)) {
            Some((.., figures)) => figures.clone(),
            None => of_map(stimulus, map, &ends, ask)?,
        };
        done.push((map, name, figures));
    }
    Ok(done.into_iter().map(|(_, name, figures)| (name, figures)).collect())
}

/// Inputs without the object, each with the confidence in it.
struct Ends<'a> {
    blank: (&'a [f32], f64),
    blurred: (&'a [f32], f64),
}

fn of_map<E>(
    stimulus: &Stimulus<'_>,
    map: &ActivationMap,
    ends: &Ends<'_>,
    ask: &mut dyn FnMut(&[f32]) -> Result<f64, E>,
) -> Result<Figures, E> {
    let Stimulus { input, spec, confidence, boxes, .. } = *stimulus;
    let surface = stretched(map, spec.width, spec.height);
    let mut order: Vec<usize> = (0..surface.len()).collect();
    order.sort_by(|&a, &b| surface[b].total_cmp(&surface[a]));
    let mut curve = |from: &[f32], to: &[f32], first: f64, last: f64| {
        let (mut canvas, area) = (from.to_vec(), order.len());
        let mut curve = vec![first];
        for step in 1..STEPS {
            for &i in &order[area * (step - 1) / STEPS..area * step / STEPS] {
                for at in [i, i + area, i + 2 * area] {
                    canvas[at] = to[at];
                }
            }
            curve.push(ask(&canvas)?);
        }
        curve.push(last);
        Ok(curve)
    };
    let deletion = curve(input, ends.blank.0, confidence, ends.blank.1)?;
    let insertion = curve(ends.blurred.0, input, ends.blurred.1, confidence)?;
    let kept = ask(&darkened(input, spec, &map.normalised()))?;
    let hottest = order.first().copied().unwrap_or_default();
    let (pointing, energy) = localised(&surface, hottest, spec, boxes).unzip();
    Ok(Figures {
        deletion,
        insertion,
        drop: if confidence > 0.0 { (1.0 - kept / confidence).max(0.0) } else { 0.0 },
        increase: kept > confidence,
        pointing,
        energy,
    })
}

/// The picture darkened where the heat (0..1) is low: black where there is none.
fn darkened(input: &[f32], spec: &InputSpec, heat: &ActivationMap) -> Vec<f32> {
    let heat = stretched(heat, spec.width, spec.height);
    let area = heat.len().max(1);
    let pixel = |(i, v): (usize, &f32)| {
        let c = (i / area).min(2);
        // (h (v s + m) - m) / s on the normalised scale.
        let black = -spec.mean[c] / spec.std[c];
        black + heat[i % area] * (v - black)
    };
    input.iter().enumerate().map(pixel).collect()
}

/// Whether the hottest pixel lies in a box, and how much of the heat does.
fn localised(
    surface: &[f32],
    hottest: usize,
    spec: &InputSpec,
    boxes: &[Rect],
) -> Option<(bool, f64)> {
    if boxes.is_empty() {
        return None;
    }
    let at = |i: usize| ((i % spec.width) as f64 + 0.5, (i / spec.width) as f64 + 0.5);
    let inside = |i: usize, tolerance: f64| {
        let (x, y) = at(i);
        boxes.iter().any(|b| b.holds(x, y, tolerance))
    };
    let tolerance = TOLERANCE * spec.width.max(spec.height) as f64;
    let (mut within, mut total) = (0.0, 0.0);
    for (i, heat) in surface.iter().enumerate().filter(|(_, heat)| **heat > 0.0) {
        total += f64::from(*heat);
        if inside(i, 0.0) {
            within += f64::from(*heat);
        }
    }
    Some((inside(hottest, tolerance), if total > 0.0 { within / total } else { 0.0 }))
}

/// The map at `width` x `height`, bilinear, as it is painted.
fn stretched(map: &ActivationMap, width: usize, height: usize) -> Vec<f32> {
    let taps = |out: usize, cells: usize| -> Vec<(usize, usize, f32)> {
        let tap = |i: usize| {
            let at = ((i as f32 + 0.5) * cells as f32 / out as f32 - 0.5).max(0.0);
            let first = (at as usize).min(cells.saturating_sub(1));
            (first, (first + 1).min(cells.saturating_sub(1)), at - first as f32)
        };
        (0..out).map(tap).collect()
    };
    if map.values.is_empty() {
        return vec![0.0; width * height];
    }
    let across = taps(width, map.cols);
    let mut out = Vec::with_capacity(width * height);
    for (top, bottom, down) in taps(height, map.rows) {
        let row = |r: usize| &map.values[r * map.cols..][..map.cols];
        let (above, below) = (row(top), row(bottom));
        out.extend(across.iter().map(|&(left, right, part)| {
            let mix = |row: &[f32]| row[left] + part.min(1.0) * (row[right] - row[left]);
            mix(above) + down.min(1.0) * (mix(below) - mix(above))
        }));
    }
    out
}

/// The same map, moved around the edges by chance: as smooth and as much heat,
/// in another place.
fn elsewhere(map: &ActivationMap, seed: u64) -> ActivationMap {
    let (rows, cols) = (map.rows.max(1), map.cols.max(1));
    // SplitMix64 (Steele et al. 2014).
    let mut bits = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^= bits >> 31;
    // Any place but its own.
    let moved = 1 + (bits >> 1) as usize % (rows * cols - 1).max(1);
    let (down, right) = (moved / cols, moved % cols);
    let value = |i: usize| {
        let (row, col) = ((i / cols + down) % rows, (i % cols + right) % cols);
        map.values.get(row * cols + col).copied().unwrap_or_default()
    };
    ActivationMap { values: (0..map.values.len()).map(value).collect(), ..*map }
}

/// Heat that falls off from the middle, as objects are often there.
fn middle(rows: usize, cols: usize) -> ActivationMap {
    let off = |i: usize, cells: usize| ((i as f32 + 0.5) / cells as f32 * 2.0 - 1.0).powi(2);
    let value = |i: usize| (-2.0 * (off(i / cols, rows) + off(i % cols, cols))).exp();
    ActivationMap { rows, cols, values: (0..rows * cols).map(value).collect() }
}

/// True for maps that are the same but for a positive factor.
fn is_alike(a: &ActivationMap, b: &ActivationMap) -> bool {
    let most = |m: &ActivationMap| m.values.iter().fold(0.0f32, |most, v| most.max(v.abs()));
    let (of_a, of_b) = (most(a).max(f32::MIN_POSITIVE), most(b).max(f32::MIN_POSITIVE));
    (a.rows, a.cols) == (b.rows, b.cols)
        && a.values.iter().zip(&b.values).all(|(a, b)| (a / of_a - b / of_b).abs() < ALIKE)
}

/// Every channel blurred with a Gaussian, the edges repeated.
fn blurred(input: &[f32], width: usize, height: usize) -> Vec<f32> {
    let sigma = BLUR * width.min(height) as f64;
    let reach = (3.0 * sigma).ceil() as usize;
    let mut weights: Vec<f32> = (0..=2 * reach)
        .map(|i| (-0.5 * ((i as f64 - reach as f64) / sigma).powi(2)).exp() as f32)
        .collect();
    let sum: f32 = weights.iter().sum();
    weights.iter_mut().for_each(|w| *w /= sum);
    let near = |i: usize, tap: usize, side: usize| (i + tap).saturating_sub(reach).min(side - 1);
    let mut out = Vec::with_capacity(input.len());
    for channel in input.chunks_exact((width * height).max(1)) {
        let mut across = Vec::with_capacity(channel.len());
        for row in channel.chunks_exact(width) {
            across.extend((0..width).map(|x| {
                weights.iter().enumerate().map(|(t, w)| w * row[near(x, t, width)]).sum::<f32>()
            }));
        }
        for y in 0..height {
            let mut sums = vec![0.0f32; width];
            for (t, w) in weights.iter().enumerate() {
                let row = &across[near(y, t, height) * width..][..width];
                sums.iter_mut().zip(row).for_each(|(sum, v)| *sum += w * v);
            }
            out.extend(sums);
        }
    }
    out
}

/// A mean over pictures.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// The mean.
    pub mean: f64,
    /// Its 95 % interval, by resampling the groups (or the pictures, where
    /// there are no groups).
    pub ci95: [f64; 2],
}

/// The figures of one method, each a mean over pictures.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Estimates {
    /// Area under the deletion curve, 0..1; less is better.
    pub deletion: Estimate,
    /// Area under the insertion curve, 0..1; more is better.
    pub insertion: Estimate,
    /// Average drop of confidence, 0..1; less is better.
    pub drop: Estimate,
    /// Part of the pictures whose confidence rises, 0..1; more is better.
    pub increase: Estimate,
    /// Part of the pictures with boxes whose hottest pixel lies in one; none
    /// without boxes.
    pub pointing: Option<Estimate>,
    /// Part of the heat that lies in the boxes, 0..1; none without boxes.
    pub energy: Option<Estimate>,
}

impl Estimates {
    /// Those that there are, with their names.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, &Estimate)> {
        let always = [
            ("deletion", &self.deletion),
            ("insertion", &self.insertion),
            ("drop", &self.drop),
            ("increase", &self.increase),
        ];
        let boxed = [("pointing", &self.pointing), ("energy", &self.energy)];
        let boxed = boxed.into_iter().filter_map(|(name, e)| Some((name, e.as_ref()?)));
        always.into_iter().chain(boxed)
    }
}

/// One method over all pictures.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MethodFaithfulness {
    /// Its name, or [`RANDOM`] or [`CENTRE`].
    pub method: String,
    /// Its figures.
    #[serde(flatten)]
    pub figures: Estimates,
    /// How much better they are than those of [`RANDOM`], picture by picture;
    /// above 0 is better in every figure. None for [`RANDOM`] itself.
    pub lead: Option<Estimates>,
    /// Mean confidence after each of the steps of deletion.
    pub deletion_curve: Vec<f64>,
    /// Mean confidence after each of the steps of insertion.
    pub insertion_curve: Vec<f64>,
}

/// The figures of every method.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Faithfulness {
    /// Explained classes of pictures.
    pub n: usize,
    /// Groups they are from, one for each where that is not known.
    pub groups: usize,
    /// Those of them with boxes.
    pub with_boxes: usize,
    /// Steps of a curve.
    pub steps: usize,
    /// The methods, then [`RANDOM`] and [`CENTRE`].
    pub methods: Vec<MethodFaithfulness>,
}

/// Area under a curve over 0..1, by the trapezoidal rule.
pub fn area(curve: &[f64]) -> f64 {
    let pairs = curve.windows(2).map(|pair| (pair[0] + pair[1]) / 2.0);
    pairs.sum::<f64>() / curve.len().saturating_sub(1).max(1) as f64
}

impl Faithfulness {
    /// What the looks at pictures amount to; none without a look. All of them
    /// have the same maps.
    pub fn of(looks: &[Look]) -> Option<Self> {
        let names: Vec<&String> = looks.first()?.by.iter().map(|(name, _)| name).collect();
        let random = names.iter().position(|name| *name == RANDOM)?;
        let groups = Groups::of(looks.iter().map(|look| look.group.as_deref()));
        let boxed = |look: &&Look| look.by.iter().any(|(_, figures)| figures.energy.is_some());
        let methods = names.iter().enumerate().map(|(m, name)| {
            Some(MethodFaithfulness {
                method: (*name).clone(),
                figures: estimates(looks, &groups, |by, figure| figure(&by.get(m)?.1))?,
                lead: (m != random)
                    .then(|| {
                        estimates(looks, &groups, |by, figure| {
                            Some(figure(&by.get(m)?.1)? - figure(&by.get(random)?.1)?)
                        })
                    })
                    .flatten()
                    .map(Estimates::as_gain),
                deletion_curve: mean_curve(looks, |by| Some(&by.get(m)?.1.deletion)),
                insertion_curve: mean_curve(looks, |by| Some(&by.get(m)?.1.insertion)),
            })
        });
        Some(Self {
            n: looks.len(),
            groups: groups.len(),
            with_boxes: looks.iter().filter(boxed).count(),
            steps: STEPS,
            methods: methods.collect::<Option<_>>()?,
        })
    }
}

type Maps = [(String, Figures)];

/// The means of what `value` makes of each figure of a picture's maps.
fn estimates(
    looks: &[Look],
    groups: &Groups,
    value: impl Fn(&Maps, &dyn Fn(&Figures) -> Option<f64>) -> Option<f64>,
) -> Option<Estimates> {
    let part = |is: bool| f64::from(u8::from(is));
    let of = |figure: &dyn Fn(&Figures) -> Option<f64>| {
        let values: Vec<Option<f64>> = looks.iter().map(|look| value(&look.by, figure)).collect();
        estimate(&values, groups)
    };
    Some(Estimates {
        deletion: of(&|f| Some(area(&f.deletion)))?,
        insertion: of(&|f| Some(area(&f.insertion)))?,
        drop: of(&|f| Some(f.drop))?,
        increase: of(&|f| Some(part(f.increase)))?,
        pointing: of(&|f| f.pointing.map(part)),
        energy: of(&|f| f.energy),
    })
}

/// The mean of those values that there are.
fn estimate(values: &[Option<f64>], groups: &Groups) -> Option<Estimate> {
    let mean = |drawn: &mut dyn Iterator<Item = usize>| {
        let known = drawn.filter_map(|i| values[i]);
        let (sum, n) = known.fold((0.0, 0usize), |(sum, n), v| (sum + v, n + 1));
        (n > 0).then(|| sum / n as f64)
    };
    let all = mean(&mut (0..values.len()))?;
    let statistic = |drawn: &[usize]| mean(&mut drawn.iter().copied()).unwrap_or(all);
    Some(Estimate { mean: all, ci95: groups.interval(statistic) })
}

impl Estimates {
    /// Differences of figures as gains: of two of them less is better.
    fn as_gain(mut self) -> Self {
        for less in [&mut self.deletion, &mut self.drop] {
            let Estimate { mean, ci95: [low, high] } = *less;
            *less = Estimate { mean: -mean, ci95: [-high, -low] };
        }
        self
    }
}

fn mean_curve<'a>(looks: &'a [Look], of: impl Fn(&'a Maps) -> Option<&'a Vec<f64>>) -> Vec<f64> {
    let mut sums = vec![0.0; STEPS + 1];
    for curve in looks.iter().filter_map(|look| of(&look.by)) {
        sums.iter_mut().zip(curve).for_each(|(sum, v)| *sum += v);
    }
    sums.iter().map(|sum| sum / looks.len().max(1) as f64).collect()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    /// An input of 64 x 32 pixels for maps of 4 x 2 cells.
    fn spec() -> InputSpec {
        InputSpec { mean: [100.0; 3], std: [50.0; 3], ..InputSpec::new(64, 32) }
    }

    const PIXELS: usize = 64 * 32;

    /// A chequered picture: blurred, no pixel of it is as it was.
    fn chequered() -> Vec<f32> {
        let light = |i: usize| (i % 64 + i / 64) % 2 == 0;
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
        let stimulus =
            Stimulus { input: &input, spec: &spec, confidence: 0.5, boxes: &[], seed: 1 };
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
        let stripes = |i: usize| if (i / 2) % 2 == 0 { 1.0 } else { -1.0 };
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
}
