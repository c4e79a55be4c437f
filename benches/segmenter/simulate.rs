//! Simulated recordings for the segmenter: programme and commercial breaks, or
//! pauses and play, a classifier that errs as real ones do (by shot, and for stretches), and cues
//! that are missed or mean nothing. The same seed gives the same recording.
//! Used by the bench and by the regression test; must not know a segmenter.

use heatcast::frame::Pts;
use heatcast::timeline::cue::{Cue, CueKind};

/// A kind of recording: what it is made of, and how hard it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    /// The labels: of what there is more, and of what is looked for.
    pub(crate) labels: [&'static str; 2],
    /// How long it lasts from one break to the next.
    programme: Lengths,
    /// What a break consists of.
    pieces: Pieces,
    /// Mean length of a shot in programme and in breaks, seconds.
    shots_s: [f64; 2],
    /// Factor of all errors of the classifier.
    errors: f64,
    /// Stretches of programme a minute that look like a break, and how long they
    /// last, seconds.
    lookalikes: (f64, [f64; 2]),
    /// Part of the boundaries of spots with black and silence.
    black: f64,
    /// Part of the others with silence.
    silence: f64,
    /// What means nothing: silences, and black with silence, a minute.
    noise: [f64; 2],
}

/// Log-normal lengths in seconds.
#[derive(Clone, Copy, Debug)]
struct Lengths {
    median_s: f64,
    sigma: f64,
    least_s: f64,
    most_s: f64,
}

#[derive(Clone, Copy, Debug)]
enum Pieces {
    /// Spots: lengths with their parts, how many there are at least and at most,
    /// and the most trailers behind them.
    Spots(&'static [(f64, f64)], [usize; 2], usize),
    /// One piece.
    One(Lengths),
}

/// As good as real channels that separate spots.
pub(crate) const USUAL: Kind = Kind {
    name: "usual",
    labels: ["show", "commercial"],
    programme: Lengths { median_s: 560.0, sigma: 0.45, least_s: 150.0, most_s: 1500.0 },
    pieces: Pieces::Spots(
        &[(10.0, 0.07), (15.0, 0.33), (20.0, 0.12), (30.0, 0.43), (60.0, 0.05)],
        [3, 9],
        2,
    ),
    shots_s: [6.0, 2.0],
    errors: 1.0,
    lookalikes: (60.0 / 500.0, [8.0, 35.0]),
    black: 0.85,
    silence: 0.5,
    noise: [0.35, 0.12],
};
/// A channel that rarely separates spots.
pub(crate) const FEW_CUES: Kind = Kind { name: "few cues", black: 0.3, ..USUAL };
/// A classifier that errs more.
pub(crate) const POOR_CLASSIFIER: Kind = Kind { name: "poor classifier", errors: 1.5, ..USUAL };

/// A channel of the United States: breaks of 15 and 30 seconds every eight minutes.
const US: Kind = Kind {
    name: "us",
    programme: Lengths { median_s: 480.0, sigma: 0.4, least_s: 180.0, most_s: 1200.0 },
    pieces: Pieces::Spots(&[(15.0, 0.48), (30.0, 0.46), (10.0, 0.02), (60.0, 0.04)], [5, 11], 2),
    ..USUAL
};
/// A European channel: few, long breaks of spots of any length, hard cuts with
/// a moment of silence between them.
const EU: Kind = Kind {
    name: "eu",
    programme: Lengths { median_s: 1300.0, sigma: 0.4, least_s: 600.0, most_s: 2700.0 },
    pieces: Pieces::Spots(
        &[
            (5.0, 0.06),
            (7.0, 0.06),
            (10.0, 0.12),
            (15.0, 0.16),
            (20.0, 0.24),
            (25.0, 0.12),
            (30.0, 0.16),
            (40.0, 0.05),
            (45.0, 0.03),
        ],
        [9, 20],
        3,
    ),
    black: 0.15,
    silence: 0.75,
    ..USUAL
};
/// A news channel: short reports, many pictures that look like commercials,
/// speakers who pause.
const NEWS: Kind = Kind {
    name: "news",
    programme: Lengths { median_s: 450.0, sigma: 0.5, least_s: 120.0, most_s: 1200.0 },
    pieces: Pieces::Spots(&[(15.0, 0.4), (30.0, 0.45), (60.0, 0.15)], [3, 7], 2),
    shots_s: [3.5, 2.0],
    errors: 1.3,
    lookalikes: (60.0 / 240.0, [8.0, 35.0]),
    black: 0.5,
    silence: 0.6,
    noise: [1.0, 0.05],
    ..USUAL
};
/// A match: rallies and moves of seconds, close-ups and replays between them.
const SPORT: Kind = Kind {
    name: "sports-action",
    labels: ["non_action", "action"],
    programme: Lengths { median_s: 13.0, sigma: 0.7, least_s: 4.0, most_s: 180.0 },
    pieces: Pieces::One(Lengths { median_s: 8.0, sigma: 0.6, least_s: 2.0, most_s: 60.0 }),
    shots_s: [3.5, 15.0],
    errors: 1.0,
    lookalikes: (60.0 / 90.0, [1.0, 4.0]),
    black: 0.0,
    silence: 0.0,
    noise: [0.1, 0.02],
};
/// What each shipped profile is for, by its name.
pub(crate) const OWN: [Kind; 4] = [US, EU, NEWS, SPORT];

/// A file of minutes with a break of 20 to 60 seconds.
pub(crate) const BRIEF: Kind = Kind {
    name: "brief",
    programme: Lengths { median_s: 60.0, sigma: 0.4, least_s: 30.0, most_s: 120.0 },
    pieces: Pieces::Spots(&[(15.0, 0.3), (20.0, 0.2), (30.0, 0.5)], [1, 2], 0),
    ..USUAL
};

/// A recording with its truth.
#[derive(Clone, Debug)]
pub(crate) struct Recording {
    pub(crate) duration_s: f64,
    /// Analysed frames per second.
    pub(crate) fps: f64,
    /// What is looked for against the rest, in logits, frame by frame.
    pub(crate) logits: Vec<f64>,
    pub(crate) cues: Vec<Cue>,
    /// True breaks, or plays, seconds.
    pub(crate) breaks: Vec<(f64, f64)>,
    /// The kind's.
    pub(crate) labels: [&'static str; 2],
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

impl Lengths {
    fn draw(&self, random: &mut Random) -> f64 {
        let length = (self.median_s.ln() + random.normal(self.sigma)).exp();
        length.clamp(self.least_s, self.most_s)
    }
}

impl Pieces {
    fn draw(&self, random: &mut Random) -> Vec<f64> {
        match self {
            Self::One(lengths) => vec![lengths.draw(random)],
            Self::Spots(table, [least, most], trailers) => {
                let spot = |random: &mut Random| {
                    let mut left = random.even();
                    let drawn = table.iter().find(|(_, part)| {
                        left -= part;
                        left < 0.0
                    });
                    drawn.map_or(30.0, |spot| spot.0) + random.normal(0.08)
                };
                let spots = random.whole(*least, most + 1);
                let mut pieces: Vec<f64> = (0..spots).map(|_| spot(random)).collect();
                // Trailers and station identification.
                for _ in 0..random.whole(0, trailers + 1) {
                    pieces.push(random.between(5.0, 25.0));
                }
                pieces
            }
        }
    }
}

/// A recording of so many seconds.
pub(crate) fn recording(seed: u64, duration_s: f64, fps: f64, kind: Kind) -> Recording {
    let mut random = Random(seed);
    let (mut shows, mut spots, mut breaks) = (Vec::new(), Vec::new(), Vec::new());
    let mut time = 0.0;
    while time < duration_s {
        let length = kind.programme.draw(&mut random);
        shows.push((time, time + length));
        time += length;
        let start = time;
        for length in kind.pieces.draw(&mut random) {
            spots.push((time, time + length));
            time += length;
        }
        breaks.push((start, time));
    }
    let mut shots = Vec::new();
    for (i, parts) in [&shows, &spots].into_iter().enumerate() {
        let mean_s = kind.shots_s[i];
        for &(start, end) in parts {
            let mut from = start;
            while from < end {
                let to = (from + random.exponential(mean_s).max(0.4)).min(end);
                let to = if end - to < 0.3 { end } else { to };
                shots.push((from, to, i == 1));
                from = to;
            }
        }
    }
    let mut logits = vec![0.0; (duration_s * fps) as usize];
    classifier(&mut random, &mut logits, fps, kind, (&shots, &shows, &spots));
    let cues = cues(&mut random, duration_s, kind, &spots, &shots);
    breaks.retain(|b| b.0 < duration_s - 1.0);
    breaks.iter_mut().for_each(|b| b.1 = b.1.min(duration_s));
    Recording { duration_s, fps, logits, cues, breaks, labels: kind.labels }
}

/// So many seconds from anywhere in a longer recording.
pub(crate) fn excerpt(seed: u64, duration_s: f64, fps: f64, kind: Kind) -> Recording {
    let from = Random(seed ^ 0x5eed).between(0.0, 1200.0).floor();
    let whole = recording(seed, from + duration_s, fps, kind);
    let cut = |(start, end): (f64, f64)| (start.max(from) - from, end - from);
    let earlier = |at: Pts| Pts::from_secs_f64(at.as_secs_f64() - from);
    let cues = whole.cues.iter().filter(|c| c.start.as_secs_f64() >= from);
    Recording {
        duration_s,
        logits: whole.logits[(from * fps) as usize..].to_vec(),
        cues: cues.map(|c| Cue { start: earlier(c.start), end: earlier(c.end), ..*c }).collect(),
        breaks: whole.breaks.iter().copied().map(cut).filter(|b| b.1 > 1.0).collect(),
        ..whole
    }
}

type Parts<'a> = (&'a [(f64, f64, bool)], &'a [(f64, f64)], &'a [(f64, f64)]);

/// What a classifier says: wrong by shot, for stretches of programme that look
/// like commercials, for calm commercials, and a little in every frame.
fn classifier(
    random: &mut Random,
    logits: &mut [f64],
    fps: f64,
    kind: Kind,
    (shots, shows, spots): Parts<'_>,
) {
    let mut add = |from: f64, to: f64, value: f64| {
        let at = |t: f64| ((t * fps).round().max(0.0) as usize).min(logits.len());
        let (from, to) = (at(from), at(to));
        logits[from..to.max(from)].iter_mut().for_each(|l| *l += value);
    };
    for &(from, to, commercial) in shots {
        let mean = if commercial { 2.0 } else { -2.0 };
        add(from, to, mean + random.normal(1.7) * kind.errors);
    }
    for &(start, end) in shows {
        let (a_minute, [least, most]) = kind.lookalikes;
        for from in random.moments(end - start, a_minute) {
            let from = (start + from).min((end - most - 5.0).max(start + 1.0));
            add(from, from + random.between(least, most), 3.0 * kind.errors);
        }
    }
    for &(start, end) in spots {
        if random.happens(0.12) {
            add(start, end, -3.2 * kind.errors);
        }
    }
    for logit in logits.iter_mut() {
        *logit += random.normal(1.0);
    }
}

fn cues(
    random: &mut Random,
    duration_s: f64,
    kind: Kind,
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
        if random.happens(kind.black) {
            let middle = time + random.normal(0.06);
            note(CueKind::Black, middle, random.between(0.08, 0.4));
            note(CueKind::Silence, middle, random.between(0.2, 0.6));
        } else if random.happens(kind.silence) {
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
    for time in random.moments(duration_s, kind.noise[0]) {
        note(CueKind::Silence, time, random.between(0.2, 0.6));
    }
    for time in random.moments(duration_s, kind.noise[1]) {
        note(CueKind::Black, time, random.between(0.08, 0.4));
        note(CueKind::Silence, time, random.between(0.2, 0.6));
    }
    cues.sort_by_key(|c| (c.start, c.kind));
    cues
}
