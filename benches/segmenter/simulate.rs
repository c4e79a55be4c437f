//! Simulated recordings for the segmenter: programme and commercial breaks, a
//! classifier that errs as real ones do (by shot, and for stretches), and cues
//! that are missed or mean nothing. The same seed gives the same recording.
//! Used by the bench and by the regression test; must not know a segmenter.

use heatcast::frame::Pts;
use heatcast::timeline::cue::{Cue, CueKind};

/// How hard a recording is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Difficulty {
    /// Factor of all errors of the classifier.
    pub(crate) errors: f64,
    /// Part of the boundaries of spots with black and silence.
    pub(crate) black: f64,
}

/// As good as real channels that separate spots.
pub(crate) const USUAL: Difficulty = Difficulty { errors: 1.0, black: 0.85 };
/// A channel that rarely separates spots.
pub(crate) const FEW_CUES: Difficulty = Difficulty { errors: 1.0, black: 0.3 };
/// A classifier that errs more.
pub(crate) const POOR_CLASSIFIER: Difficulty = Difficulty { errors: 1.5, black: 0.85 };

/// A recording with its truth.
#[derive(Clone, Debug)]
pub(crate) struct Recording {
    pub(crate) duration_s: f64,
    /// Analysed frames per second.
    pub(crate) fps: f64,
    /// Commercial against show, in logits, frame by frame.
    pub(crate) logits: Vec<f64>,
    pub(crate) cues: Vec<Cue>,
    /// True breaks, seconds.
    pub(crate) breaks: Vec<(f64, f64)>,
}

/// SplitMix64 (Steele, Lea and Flood 2014): small, and good enough here.
struct Random(u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Even in 0..1.
    fn even(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.even()
    }

    fn whole(&mut self, low: usize, below: usize) -> usize {
        low + (self.even() * (below - low) as f64) as usize
    }

    fn happens(&mut self, probability: f64) -> bool {
        self.even() < probability
    }

    /// Normal with mean 0 (Box and Muller).
    fn normal(&mut self, deviation: f64) -> f64 {
        let radius = (-2.0 * (1.0 - self.even()).ln()).sqrt();
        deviation * radius * (std::f64::consts::TAU * self.even()).cos()
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.even()).ln()
    }

    /// Moments of a Poisson process, so many a minute.
    fn moments(&mut self, duration_s: f64, a_minute: f64) -> Vec<f64> {
        let mut moments = Vec::new();
        let mut time = self.exponential(60.0 / a_minute);
        while time < duration_s {
            moments.push(time);
            time += self.exponential(60.0 / a_minute);
        }
        moments
    }
}

/// Lengths of spots with their parts.
const SPOTS: [(f64, f64); 5] =
    [(10.0, 0.07), (15.0, 0.33), (20.0, 0.12), (30.0, 0.43), (60.0, 0.05)];

/// A recording of so many seconds.
pub(crate) fn recording(seed: u64, duration_s: f64, fps: f64, how: Difficulty) -> Recording {
    let mut random = Random(seed);
    let (mut shows, mut spots, mut breaks) = (Vec::new(), Vec::new(), Vec::new());
    let mut time = 0.0;
    while time < duration_s {
        let length = (560.0_f64.ln() + random.normal(0.45)).exp().clamp(150.0, 1500.0);
        shows.push((time, time + length));
        time += length;
        let start = time;
        for _ in 0..random.whole(3, 10) {
            let mut left = random.even();
            let drawn = SPOTS.iter().find(|(_, part)| {
                left -= part;
                left < 0.0
            });
            let length = drawn.map_or(30.0, |spot| spot.0) + random.normal(0.08);
            spots.push((time, time + length));
            time += length;
        }
        // Trailers and station identification.
        for _ in 0..random.whole(0, 3) {
            let length = random.between(5.0, 25.0);
            spots.push((time, time + length));
            time += length;
        }
        breaks.push((start, time));
    }
    let mut shots = Vec::new();
    for (parts, mean_s) in [(&shows, 6.0), (&spots, 2.0)] {
        for &(start, end) in parts {
            let mut from = start;
            while from < end {
                let to = (from + random.exponential(mean_s).max(0.4)).min(end);
                let to = if end - to < 0.3 { end } else { to };
                shots.push((from, to, mean_s < 3.0));
                from = to;
            }
        }
    }
    let mut logits = vec![0.0; (duration_s * fps) as usize];
    classifier(&mut random, &mut logits, fps, how, (&shots, &shows, &spots));
    let cues = cues(&mut random, duration_s, how, &spots, &shots);
    breaks.retain(|b| b.0 < duration_s - 1.0);
    breaks.iter_mut().for_each(|b| b.1 = b.1.min(duration_s));
    Recording { duration_s, fps, logits, cues, breaks }
}

type Parts<'a> = (&'a [(f64, f64, bool)], &'a [(f64, f64)], &'a [(f64, f64)]);

/// What a classifier says: wrong by shot, for stretches of programme that look
/// like commercials, for calm commercials, and a little in every frame.
fn classifier(
    random: &mut Random,
    logits: &mut [f64],
    fps: f64,
    how: Difficulty,
    (shots, shows, spots): Parts<'_>,
) {
    let mut add = |from: f64, to: f64, value: f64| {
        let at = |t: f64| ((t * fps).round().max(0.0) as usize).min(logits.len());
        let (from, to) = (at(from), at(to));
        logits[from..to.max(from)].iter_mut().for_each(|l| *l += value);
    };
    for &(from, to, commercial) in shots {
        let mean = if commercial { 2.0 } else { -2.0 };
        add(from, to, mean + random.normal(1.7) * how.errors);
    }
    for &(start, end) in shows {
        for from in random.moments(end - start, 60.0 / 500.0) {
            let from = (start + from).min((end - 40.0).max(start + 1.0));
            add(from, from + random.between(8.0, 35.0), 3.0 * how.errors);
        }
    }
    for &(start, end) in spots {
        if random.happens(0.12) {
            add(start, end, -3.2 * how.errors);
        }
    }
    for logit in logits.iter_mut() {
        *logit += random.normal(1.0);
    }
}

fn cues(
    random: &mut Random,
    duration_s: f64,
    how: Difficulty,
    spots: &[(f64, f64)],
    shots: &[(f64, f64, bool)],
) -> Vec<Cue> {
    let mut cues: Vec<Cue> = Vec::new();
    let mut note = |kind, middle: f64, length: f64| {
        let (start, end) = (middle - length / 2.0, middle + length / 2.0);
        if start >= 0.0 && end <= duration_s {
            let (start, end) = (Pts::from_secs_f64(start), Pts::from_secs_f64(end));
            cues.push(Cue { kind, start, end });
        }
    };
    let mut ends: Vec<f64> = spots.iter().flat_map(|s| [s.0, s.1]).collect();
    ends.sort_by(f64::total_cmp);
    ends.dedup_by(|a, b| (*a - *b).abs() < 1e-3);
    for time in ends {
        if random.happens(how.black) {
            let middle = time + random.normal(0.06);
            note(CueKind::Black, middle, random.between(0.08, 0.4));
            note(CueKind::Silence, middle, random.between(0.2, 0.6));
        } else if random.happens(0.5) {
            note(CueKind::Silence, time + random.normal(0.1), random.between(0.2, 0.6));
        }
    }
    for shot in shots {
        if random.happens(0.95) {
            note(CueKind::ShotCut, shot.1 + random.normal(0.03), 0.0);
        }
    }
    // What means nothing.
    for time in random.moments(duration_s, 1.0) {
        note(CueKind::ShotCut, time, 0.0);
    }
    for time in random.moments(duration_s, 0.35) {
        note(CueKind::Silence, time, random.between(0.2, 0.6));
    }
    for time in random.moments(duration_s, 0.12) {
        note(CueKind::Black, time, random.between(0.08, 0.4));
        note(CueKind::Silence, time, random.between(0.2, 0.6));
    }
    cues.sort_by_key(|c| (c.start, c.kind));
    cues
}
