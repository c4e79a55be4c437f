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
                    .map(Estimates::into_gain),
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
    fn into_gain(mut self) -> Self {
        for less in [&mut self.deletion, &mut self.drop] {
            let Estimate { mean, ci95: [low, high] } = *less;
            *less = Estimate { mean: -mean, ci95: [-high, -low] };
        }
        self
    }
}

fn mean_curve<'a>(looks: &'a [Look], of: impl Fn(&'a Maps) -> Option<&'a Vec<f64>>) -> Vec<f64> {
    let mut sums = [0.0; STEPS + 1];
    for curve in looks.iter().filter_map(|look| of(&look.by)) {
        sums.iter_mut().zip(curve).for_each(|(sum, v)| *sum += v);
    }
    sums.iter().map(|sum| sum / looks.len().max(1) as f64).collect()
}

#[cfg(test)]
mod tests;
