//! How well a timeline agrees with the truth: the parts of a stream with one
//! label, as `heatcast score` compares them. Takes seconds, gives numbers; must
//! not know a file or a format. Definitions: `docs/reference/score.md`.

use serde::Serialize;

/// Overlaps (intersection over union) from which segments count as found.
pub const IOUS: [f64; 3] = [0.5, 0.75, 0.9];
/// Seconds within which boundaries count as found.
pub const TOLERANCES_S: [f64; 3] = [0.5, 1.0, 2.0];

/// Boundaries this near to an end of the stream are its ends, seconds.
const STREAM_END_S: f64 = 1.0;
/// Segments this close together are one, seconds.
const TOUCHING_S: f64 = 0.001;
/// Segments may overlap by the rounding of the coarsest format, a frame;
/// seconds.
const ROUNDING_S: f64 = 0.05;

/// A stretch of the stream with the label that is scored.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Span {
    /// Where it begins, seconds.
    pub start_s: f64,
    /// Where it ends, seconds.
    pub end_s: f64,
    /// Stream time at which its start was announced, of live results.
    pub start_said_s: Option<f64>,
    /// Stream time at which its end was announced, of live results.
    pub end_said_s: Option<f64>,
}

impl Span {
    /// A stretch from `start_s` to `end_s`.
    pub const fn new(start_s: f64, end_s: f64) -> Self {
        Self { start_s, end_s, start_said_s: None, end_said_s: None }
    }
}

/// Why stretches cannot be a timeline.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum Contradiction {
    /// It ends before it begins, or where it begins.
    #[error("the segment from {0:.3} s ends at {1:.3} s, not after its start")]
    Backwards(f64, f64),
    /// A time below zero, or none at all.
    #[error("the segment from {0} s to {1} s has no place in a recording")]
    Nowhere(f64, f64),
    /// It begins before the one before it ends.
    #[error("the segments {0:.3} s to {1:.3} s and {2:.3} s to {3:.3} s overlap")]
    Overlap(f64, f64, f64, f64),
}

/// `spans` in order, those that touch joined, and cut off at `duration_s`.
///
/// # Errors
/// For the first span that contradicts itself, and the first two that overlap.
pub fn timeline(mut spans: Vec<Span>, duration_s: f64) -> Result<Vec<Span>, Contradiction> {
    for span in &spans {
        let (start, end) = (span.start_s, span.end_s);
        if !(start.is_finite() && start >= 0.0) || end.is_nan() {
            return Err(Contradiction::Nowhere(start, end));
        }
        if end <= start {
            return Err(Contradiction::Backwards(start, end));
        }
    }
    spans.sort_by(|a, b| a.start_s.total_cmp(&b.start_s).then(a.end_s.total_cmp(&b.end_s)));
    let mut joined: Vec<Span> = Vec::with_capacity(spans.len());
    for span in spans {
        match joined.last_mut() {
            Some(last) if span.start_s < last.end_s - ROUNDING_S => {
                let (a, b) = (last.start_s, last.end_s);
                return Err(Contradiction::Overlap(a, b, span.start_s, span.end_s));
            }
            Some(last) if span.start_s <= last.end_s + TOUCHING_S => {
                last.end_s = last.end_s.max(span.end_s);
                last.end_said_s = span.end_said_s;
            }
            _ => joined.push(span),
        }
    }
    for span in &mut joined {
        span.end_s = span.end_s.min(duration_s);
    }
    joined.retain(|span| span.start_s < span.end_s);
    Ok(joined)
}

/// What is counted when two timelines are compared; those of several files add
/// up.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    /// Files compared.
    files: usize,
    /// Seconds with the label in both, in the truth only, in the other only,
    /// and in neither.
    both_s: f64,
    missed_s: f64,
    false_s: f64,
    neither_s: f64,
    /// Segments of the truth and of the other, and pairs of each overlap.
    segments: [usize; 2],
    paired: [usize; IOUS.len()],
    /// Boundaries of the truth and of the other, and pairs within each
    /// tolerance.
    boundaries: [usize; 2],
    near: [usize; TOLERANCES_S.len()],
    /// Predicted minus true seconds, of the starts and of the ends of pairs.
    errors_s: [Vec<f64>; 2],
    /// Announced minus true seconds, of the starts and of the ends of pairs.
    delays_s: [Vec<f64>; 2],
}

impl Tally {
    /// Compares two results of [`timeline`] over `duration_s`.
    pub fn of(truth: &[Span], predicted: &[Span], duration_s: f64) -> Self {
        let seconds = |spans: &[Span]| spans.iter().map(|s| s.end_s - s.start_s).sum::<f64>();
        let both_s = shared_s(truth, predicted);
        let (missed_s, false_s) = (seconds(truth) - both_s, seconds(predicted) - both_s);
        let mut tally = Self {
            files: 1,
            both_s,
            missed_s: missed_s.max(0.0),
            false_s: false_s.max(0.0),
            neither_s: (duration_s - both_s - missed_s - false_s).max(0.0),
            segments: [truth.len(), predicted.len()],
            paired: IOUS.map(|iou| pairs(truth, predicted, iou).len()),
            ..Self::default()
        };
        let inner = |t: &f64| *t > STREAM_END_S && *t < duration_s - STREAM_END_S;
        for edge in [start, end] {
            let of = |spans: &[Span]| spans.iter().map(edge).filter(inner).collect::<Vec<f64>>();
            let (wanted, got) = (of(truth), of(predicted));
            tally.boundaries[0] += wanted.len();
            tally.boundaries[1] += got.len();
            for (near, tolerance) in tally.near.iter_mut().zip(TOLERANCES_S) {
                *near += near_pairs(&wanted, &got, tolerance);
            }
        }
        for (i, j) in pairs(truth, predicted, IOUS[0]) {
            let (wanted, got) = (&truth[i], &predicted[j]);
            let said = [got.start_said_s, got.end_said_s];
            for (which, edge) in [start, end].into_iter().enumerate() {
                if inner(&edge(wanted)) {
                    tally.errors_s[which].push(edge(got) - edge(wanted));
                    tally.delays_s[which].extend(said[which].map(|said| said - edge(wanted)));
                }
            }
        }
        tally
    }

    /// Adds what was counted in another file.
    pub fn add(&mut self, other: &Self) {
        self.files += other.files;
        self.both_s += other.both_s;
        self.missed_s += other.missed_s;
        self.false_s += other.false_s;
        self.neither_s += other.neither_s;
        let sum = |into: &mut [usize], from: &[usize]| {
            into.iter_mut().zip(from).for_each(|(a, b)| *a += b);
        };
        sum(&mut self.segments, &other.segments);
        sum(&mut self.paired, &other.paired);
        sum(&mut self.boundaries, &other.boundaries);
        sum(&mut self.near, &other.near);
        for which in 0..2 {
            self.errors_s[which].extend(&other.errors_s[which]);
            self.delays_s[which].extend(&other.delays_s[which]);
        }
    }

    /// The numbers people compare.
    pub fn scores(&self) -> Scores {
        let duration_s = self.both_s + self.missed_s + self.false_s + self.neither_s;
        let hours = duration_s / 3600.0;
        let f1 = |paired: usize, of: [usize; 2]| ratio(2.0 * paired as f64, (of[0] + of[1]) as f64);
        let [iou_50, iou_75, iou_90] = self.paired.map(|n| f1(n, self.segments));
        let [half, one, two] = self.near.map(|n| f1(n, self.boundaries));
        let accuracy = |right: f64| ratio(right, duration_s);
        let truth_s = self.both_s + self.missed_s;
        Scores {
            files: self.files,
            duration_s,
            segments: Pair { truth: self.segments[0], predicted: self.segments[1] },
            boundaries: Pair { truth: self.boundaries[0], predicted: self.boundaries[1] },
            frame_accuracy: accuracy(self.both_s + self.neither_s),
            mcc: self.mcc(),
            precision: ratio(self.both_s, self.both_s + self.false_s),
            recall: ratio(self.both_s, truth_s),
            segment_f1: AtIou { iou_50, iou_75, iou_90 },
            boundary_f1: Within { half, one, two },
            boundary_error_s: Errors::of(&self.errors_s),
            show_lost_s_per_h: ratio(self.false_s, hours),
            ads_missed_s_per_h: ratio(self.missed_s, hours),
            latency_s: Latency {
                start: Delay::of(&self.delays_s[0]),
                end: Delay::of(&self.delays_s[1]),
            },
            all_show: AllShow {
                frame_accuracy: accuracy(duration_s - truth_s),
                show_lost_s_per_h: ratio(0.0, hours),
                ads_missed_s_per_h: ratio(truth_s, hours),
            },
        }
    }

    /// Matthews correlation coefficient (Matthews 1975), over seconds.
    fn mcc(&self) -> Option<f64> {
        let (tp, tn, fp, fneg) = (self.both_s, self.neither_s, self.false_s, self.missed_s);
        let below = (tp + fp) * (tp + fneg) * (tn + fp) * (tn + fneg);
        ratio(tp * tn - fp * fneg, below.sqrt()).map(|mcc| mcc.clamp(-1.0, 1.0))
    }
}

/// Null in JSON where there is nothing to divide by.
fn ratio(above: f64, below: f64) -> Option<f64> {
    (below > 0.0).then(|| above / below)
}

const fn start(span: &Span) -> f64 {
    span.start_s
}

const fn end(span: &Span) -> f64 {
    span.end_s
}

/// Seconds that lie in both.
fn shared_s(a: &[Span], b: &[Span]) -> f64 {
    let (mut i, mut j, mut shared) = (0, 0, 0.0);
    while let (Some(x), Some(y)) = (a.get(i), b.get(j)) {
        shared += (x.end_s.min(y.end_s) - x.start_s.max(y.start_s)).max(0.0);
        if x.end_s < y.end_s { i += 1 } else { j += 1 }
    }
    shared
}

/// Pairs of segments with at least this overlap, each in one pair at most.
///
/// From one half on, that is the largest possible number: only where two
/// segments halve one exactly is there a choice, and the first is as good.
fn pairs(truth: &[Span], predicted: &[Span], iou: f64) -> Vec<(usize, usize)> {
    let (mut i, mut j, mut found) = (0, 0, Vec::new());
    while let (Some(x), Some(y)) = (truth.get(i), predicted.get(j)) {
        let shared = x.end_s.min(y.end_s) - x.start_s.max(y.start_s);
        let both = x.end_s.max(y.end_s) - x.start_s.min(y.start_s);
        if shared > 0.0 && shared / both >= iou {
            found.push((i, j));
            (i, j) = (i + 1, j + 1);
        } else if x.end_s < y.end_s {
            i += 1;
        } else {
            j += 1;
        }
    }
    found
}

/// The largest number of pairs of moments that are no more than `tolerance_s`
/// apart, each in one pair at most; both rising.
fn near_pairs(a: &[f64], b: &[f64], tolerance_s: f64) -> usize {
    let (mut i, mut j, mut found) = (0, 0, 0);
    while let (Some(x), Some(y)) = (a.get(i), b.get(j)) {
        // Times are decimals in most files: 11.0 is within 0.5 of 10.5.
        if (x - y).abs() <= tolerance_s + 1e-9 {
            (i, j, found) = (i + 1, j + 1, found + 1);
        } else if x < y {
            i += 1;
        } else {
            j += 1;
        }
    }
    found
}

/// The value that a part `q` (0 to 1) of the others does not exceed, between
/// neighbours by straight line.
fn quantile(values: &[f64], q: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = q * sorted.len().saturating_sub(1) as f64;
    let (below, above) = (sorted.get(at.floor() as usize)?, sorted.get(at.ceil() as usize)?);
    Some(below + (above - below) * at.fract())
}

/// The contract of `heatcast score --json` for one file or all together.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Scores {
    /// Files compared.
    pub files: usize,
    /// Seconds compared.
    pub duration_s: f64,
    /// Segments on both sides.
    pub segments: Pair,
    /// Boundaries on both sides, those at the ends of a stream not counted.
    pub boundaries: Pair,
    /// Part of the time with the same answer.
    pub frame_accuracy: Option<f64>,
    /// Matthews correlation coefficient over time.
    pub mcc: Option<f64>,
    /// Part of the predicted time that is right.
    pub precision: Option<f64>,
    /// Part of the true time that is found.
    pub recall: Option<f64>,
    /// F1 of segments.
    pub segment_f1: AtIou,
    /// F1 of boundaries.
    pub boundary_f1: Within,
    /// How far boundaries of found segments are off.
    pub boundary_error_s: Errors,
    /// Seconds wrongly given the label, per hour.
    pub show_lost_s_per_h: Option<f64>,
    /// Seconds wrongly not given the label, per hour.
    pub ads_missed_s_per_h: Option<f64>,
    /// When boundaries were announced, of live results.
    pub latency_s: Latency,
    /// The same numbers for an empty prediction.
    pub all_show: AllShow,
}

/// A number of each side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Pair {
    /// In the truth.
    pub truth: usize,
    /// In the prediction.
    pub predicted: usize,
}

/// By overlap of segments.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct AtIou {
    /// Intersection over union of at least 0.5.
    #[serde(rename = "0.5")]
    pub iou_50: Option<f64>,
    /// Intersection over union of at least 0.75.
    #[serde(rename = "0.75")]
    pub iou_75: Option<f64>,
    /// Intersection over union of at least 0.9.
    #[serde(rename = "0.9")]
    pub iou_90: Option<f64>,
}

/// By distance of boundaries.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Within {
    /// Half a second.
    #[serde(rename = "0.5")]
    pub half: Option<f64>,
    /// One second.
    #[serde(rename = "1")]
    pub one: Option<f64>,
    /// Two seconds.
    #[serde(rename = "2")]
    pub two: Option<f64>,
}

/// Errors of boundaries in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Errors {
    /// Half of the boundaries are nearer.
    pub median: Option<f64>,
    /// Nine of ten are nearer.
    pub p90: Option<f64>,
    /// Mean of predicted minus true time: late is positive.
    pub bias: Option<f64>,
    /// The same of starts alone.
    pub start_bias: Option<f64>,
    /// The same of ends alone.
    pub end_bias: Option<f64>,
}

impl Errors {
    fn of([starts, ends]: &[Vec<f64>; 2]) -> Self {
        let all: Vec<f64> = starts.iter().chain(ends).copied().collect();
        let off: Vec<f64> = all.iter().map(|e| e.abs()).collect();
        let mean = |v: &[f64]| ratio(v.iter().sum(), v.len() as f64);
        Self {
            median: quantile(&off, 0.5),
            p90: quantile(&off, 0.9),
            bias: mean(&all),
            start_bias: mean(starts),
            end_bias: mean(ends),
        }
    }
}

/// When boundaries were announced.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Latency {
    /// Starts.
    pub start: Delay,
    /// Ends.
    pub end: Delay,
}

/// Announced minus true time, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Delay {
    /// How many were announced.
    pub n: usize,
    /// Half of them were earlier.
    pub median: Option<f64>,
    /// Nine of ten were earlier.
    pub p90: Option<f64>,
}

impl Delay {
    fn of(delays: &[f64]) -> Self {
        Self { n: delays.len(), median: quantile(delays, 0.5), p90: quantile(delays, 0.9) }
    }
}

/// What an empty prediction would have scored.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct AllShow {
    /// Part of the time without the label.
    pub frame_accuracy: Option<f64>,
    /// Nothing.
    pub show_lost_s_per_h: Option<f64>,
    /// All of it.
    pub ads_missed_s_per_h: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(pairs: &[(f64, f64)]) -> Vec<Span> {
        pairs.iter().map(|(start, end)| Span::new(*start, *end)).collect()
    }

    fn scores(truth: &[(f64, f64)], predicted: &[(f64, f64)], duration_s: f64) -> Scores {
        let line = |pairs| timeline(spans(pairs), duration_s).unwrap();
        Tally::of(&line(truth), &line(predicted), duration_s).scores()
    }

    #[track_caller]
    fn near(found: Option<f64>, wanted: f64) {
        assert!(found.is_some_and(|f| (f - wanted).abs() < 1e-9), "{found:?}, wanted {wanted}");
    }

    #[test]
    fn the_same_timeline_is_perfect() {
        let breaks = [(100.0, 200.0), (500.0, 650.0)];
        let s = scores(&breaks, &breaks, 1000.0);
        for part in [
            s.frame_accuracy,
            s.mcc,
            s.precision,
            s.recall,
            s.segment_f1.iou_50,
            s.segment_f1.iou_90,
            s.boundary_f1.half,
            s.boundary_f1.two,
        ] {
            near(part, 1.0);
        }
        for none in [
            s.boundary_error_s.median,
            s.boundary_error_s.p90,
            s.boundary_error_s.bias,
            s.show_lost_s_per_h,
            s.ads_missed_s_per_h,
        ] {
            near(none, 0.0);
        }
        near(s.all_show.frame_accuracy, 0.75);
        near(s.all_show.ads_missed_s_per_h, 900.0);
    }

    #[test]
    fn known_errors_get_known_figures() {
        // Of half an hour: one break begins 10 s late and ends 1.5 s late, one
        // is missed, one of 20 s is made up.
        let truth = [(100.0, 200.0), (600.0, 700.0)];
        let predicted = [(110.0, 201.5), (1000.0, 1020.0)];
        let s = scores(&truth, &predicted, 1800.0);
        near(s.frame_accuracy, (1800.0 - 10.0 - 1.5 - 100.0 - 20.0) / 1800.0);
        near(s.show_lost_s_per_h, 2.0 * 21.5);
        near(s.ads_missed_s_per_h, 2.0 * 110.0);
        near(s.precision, 90.0 / 111.5);
        near(s.recall, 90.0 / 200.0);
        // Intersection over union is 90 / 101.5 = 0.887.
        near(s.segment_f1.iou_50, 0.5);
        near(s.segment_f1.iou_75, 0.5);
        near(s.segment_f1.iou_90, 0.0);
        near(s.boundary_f1.one, 0.0);
        near(s.boundary_f1.two, 2.0 * 1.0 / 8.0);
        near(s.boundary_error_s.median, (10.0 + 1.5) / 2.0);
        near(s.boundary_error_s.p90, 1.5 + 0.9 * 8.5);
        near(s.boundary_error_s.bias, 5.75);
        near(s.boundary_error_s.start_bias, 10.0);
        near(s.boundary_error_s.end_bias, 1.5);
        let (tp, tn, fp, missed) = (90.0_f64, 1578.5, 21.5, 110.0);
        let below = ((tp + fp) * (tp + missed) * (tn + fp) * (tn + missed)).sqrt();
        near(s.mcc, (tp * tn - fp * missed) / below);
    }

    #[test]
    fn nothing_to_divide_by_is_no_figure() {
        let s = scores(&[], &[], 100.0);
        near(s.frame_accuracy, 1.0);
        assert_eq!((s.mcc, s.segment_f1.iou_50, s.boundary_f1.one), (None, None, None));
        assert_eq!((s.precision, s.recall, s.boundary_error_s.median), (None, None, None));
        near(scores(&[(10.0, 20.0)], &[], 100.0).segment_f1.iou_50, 0.0);
        let json = serde_json::to_value(&s).unwrap();
        assert!(json["segment_f1"]["0.5"].is_null() && json["boundary_f1"]["2"].is_null());
    }

    #[test]
    fn each_segment_and_boundary_is_in_one_pair_at_most() {
        // Two halves of one break: only one of them can be it.
        let s = scores(&[(100.0, 200.0)], &[(100.0, 150.0), (150.5, 200.0)], 1000.0);
        near(s.segment_f1.iou_50, 2.0 * 1.0 / 3.0);
        // Three boundaries around one.
        assert_eq!(near_pairs(&[10.0], &[9.5, 10.0, 10.5], 1.0), 1);
        // The most pairs, not the nearest first.
        assert_eq!(near_pairs(&[10.0, 11.0], &[10.9, 11.9], 1.0), 2);
        assert_eq!(near_pairs(&[10.0], &[10.5], 0.5), 1);
        // A start is no end.
        let s = scores(&[(100.0, 200.0)], &[(200.0, 300.0)], 1000.0);
        near(s.boundary_f1.one, 0.0);
    }

    #[test]
    fn the_ends_of_a_stream_are_no_boundaries() {
        let s = scores(&[(0.0, 50.0), (900.0, 1000.0)], &[(0.8, 50.0), (900.0, 999.5)], 1000.0);
        assert_eq!((s.boundaries.truth, s.boundaries.predicted), (2, 2));
        near(s.boundary_f1.half, 1.0);
        near(s.boundary_error_s.p90, 0.0);
    }

    #[test]
    fn files_are_pooled_by_what_was_counted() {
        let one = Tally::of(&spans(&[(10.0, 20.0)]), &spans(&[(10.0, 20.0)]), 100.0);
        let mut all = Tally::of(&[], &spans(&[(0.0, 300.0)]), 300.0);
        near(all.scores().frame_accuracy, 0.0);
        all.add(&one);
        let s = all.scores();
        assert_eq!((s.files, s.duration_s), (2, 400.0));
        near(s.frame_accuracy, 0.25);
        near(s.segment_f1.iou_50, 2.0 / 3.0);
        near(s.show_lost_s_per_h, 2700.0);
    }

    #[test]
    fn announcements_are_measured_from_the_true_time() {
        let said = |start, end, a, b| Span {
            start_said_s: Some(a),
            end_said_s: Some(b),
            ..Span::new(start, end)
        };
        let truth = spans(&[(100.0, 200.0), (500.0, 600.0)]);
        let predicted = [said(101.0, 200.0, 131.0, 230.0), said(500.0, 600.0, 510.0, 640.0)];
        let latency = Tally::of(&truth, &predicted, 1000.0).scores().latency_s;
        near(latency.start.median, (31.0 + 10.0) / 2.0);
        near(latency.end.p90, 30.0 + 0.9 * 10.0);
        assert_eq!((latency.start.n, latency.end.n), (2, 2));
        let none = Tally::of(&truth, &truth, 1000.0).scores().latency_s;
        assert_eq!((none.start.n, none.start.median), (0, None));
    }

    #[test]
    fn a_timeline_is_in_order_joined_and_within_the_stream() {
        let given = [(30.0, 40.0), (10.0, 20.0), (20.0005, 25.0), (90.0, 200.0), (150.0, 160.0)];
        let joined = timeline(spans(&given[..4]), 100.0).unwrap();
        assert_eq!(joined, spans(&[(10.0, 25.0), (30.0, 40.0), (90.0, 100.0)]));
        for (pairs, says) in [
            (&given[..], "90.000 s to 200.000 s and 150.000 s to 160.000 s overlap"),
            (&[(20.0, 10.0)], "the segment from 20.000 s ends at 10.000 s"),
            (&[(20.0, 20.0)], "not after its start"),
            (&[(-1.0, 10.0)], "has no place"),
            (&[(0.0, f64::NAN)], "has no place"),
        ] {
            let said = timeline(spans(pairs), 1000.0).unwrap_err().to_string();
            assert!(said.contains(says), "{said}");
        }
        // The rounding of a format that counts frames.
        assert_eq!(timeline(spans(&[(0.0, 10.04), (10.0, 20.0)]), 100.0).unwrap().len(), 1);
    }
}
