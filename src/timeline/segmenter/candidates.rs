//! Where one segment may end and the next begin: cues that belong together,
//! and a grid where there are none. Called by the segmenter; must not know
//! labels.

use super::profile::{Candidates, Cues, Slots};
use crate::timeline::cue::{Cue, CueKind};

/// A moment at which a segment may end.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Candidate {
    /// Seconds of stream time.
    pub(super) time: f64,
    /// What was noticed there, in the order of [`CueKind`].
    pub(super) kinds: Vec<CueKind>,
}

impl Candidate {
    /// Nats for a boundary here.
    pub(super) fn bonus(&self, cues: &Cues) -> f64 {
        cues.boundary + self.kinds.iter().map(|kind| cues.weight(*kind)).sum::<f64>()
    }

    /// Whether a spot may begin or end here.
    fn bounds_slot(&self) -> bool {
        self.kinds.iter().any(|kind| matches!(kind, CueKind::Black | CueKind::Silence))
    }
}

/// A cue on its own: an interval of seconds, short enough to be one moment.
#[derive(Clone, Copy, Debug)]
struct Moment {
    start: f64,
    end: f64,
    kind: CueKind,
    taken: bool,
}

/// The order in which cues collect what lies around them, and whose time
/// counts: how exactly each kind tells the moment.
const LEADERS: [CueKind; 7] = [
    CueKind::Black,
    CueKind::ShotCut,
    CueKind::Aspect,
    CueKind::Scte35,
    CueKind::AudioChannels,
    CueKind::Silence,
    CueKind::Freeze,
];

/// The candidates strictly between `start` and `end`, in order.
///
/// `cues` need no order. Cues within `merge_s` of each other are one candidate:
/// at the middle of what black and silence have in common, else at the middle
/// of the black, else at the cut nearest to the middle of the silence. Where
/// nothing is noticed for `cueless_s`, there is one every `grid_s`.
pub(super) fn candidates(
    cues: &[Cue],
    start: f64,
    end: f64,
    settings: &Candidates,
) -> Vec<Candidate> {
    let mut moments = moments(cues, settings.moment_s);
    moments.retain(|m| m.end > start - settings.merge_s && m.start < end + settings.merge_s);
    let mut found = merged(&mut moments, settings);
    found.retain(|c| c.time > start + settings.merge_s && c.time < end - settings.merge_s);
    with_grid(found, start, end, settings)
}

/// Cues as moments, by their start; long ones as their two ends.
fn moments(cues: &[Cue], moment_s: f64) -> Vec<Moment> {
    let mut moments = Vec::with_capacity(cues.len());
    for cue in cues {
        let (start, end) = (cue.start.as_secs_f64(), cue.end.max(cue.start).as_secs_f64());
        let moment = |start, end| Moment { start, end, kind: cue.kind, taken: false };
        if end - start > moment_s {
            moments.extend([moment(start, start), moment(end, end)]);
        } else {
            moments.push(moment(start, end));
        }
    }
    moments.sort_by(|a, b| a.start.total_cmp(&b.start).then(a.kind.cmp(&b.kind)));
    moments
}

/// Groups `moments` (by their start) around leaders.
fn merged(moments: &mut [Moment], settings: &Candidates) -> Vec<Candidate> {
    let Candidates { merge_s, moment_s, .. } = *settings;
    let mut found = Vec::new();
    // First cuts inside silence, nearest to its middle: a silence with a cut is
    // one candidate, though there may be several cuts in it.
    for leader in LEADERS {
        for at in 0..moments.len() {
            let it = moments[at];
            if it.kind != leader || it.taken {
                continue;
            }
            let (from, to) = (it.start - merge_s, it.end + merge_s);
            let first = moments.partition_point(|m| m.start < from - moment_s);
            let near = (first..moments.len()).take_while(|&i| moments[i].start <= to);
            let near: Vec<usize> =
                near.filter(|&i| !moments[i].taken && moments[i].end >= from).collect();
            // A silence belongs to the cut nearest to its middle.
            let own = |i: usize| {
                let other = moments[i];
                leader != CueKind::ShotCut
                    || other.kind != CueKind::Silence
                    || nearest_cut(moments, &other, merge_s, moment_s) == Some(at)
            };
            let near: Vec<usize> = near.into_iter().filter(|&i| own(i)).collect();
            let mut kinds: Vec<CueKind> = near.iter().map(|&i| moments[i].kind).collect();
            kinds.sort_unstable();
            kinds.dedup();
            let silence = near.iter().map(|&i| moments[i]).find(|m| m.kind == CueKind::Silence);
            let time = match silence {
                Some(s) if leader == CueKind::Black => common_middle(&it, &s),
                _ => it.start.midpoint(it.end),
            };
            near.into_iter().for_each(|i| moments[i].taken = true);
            found.push(Candidate { time, kinds });
        }
    }
    found.sort_by(|a, b| a.time.total_cmp(&b.time));
    found
}

/// The cut that is left and nearest to the middle of `silence`.
fn nearest_cut(moments: &[Moment], silence: &Moment, merge_s: f64, moment_s: f64) -> Option<usize> {
    let (from, to) = (silence.start - merge_s, silence.end + merge_s);
    let middle = silence.start.midpoint(silence.end);
    let first = moments.partition_point(|m| m.start < from - moment_s);
    (first..moments.len())
        .take_while(|&i| moments[i].start <= to)
        .filter(|&i| moments[i].kind == CueKind::ShotCut && !moments[i].taken)
        .filter(|&i| moments[i].end >= from)
        .min_by(|&a, &b| {
            let off = |i: usize| (moments[i].start - middle).abs();
            off(a).total_cmp(&off(b))
        })
}

/// The middle of what both have in common, else of the first.
fn common_middle(black: &Moment, silence: &Moment) -> f64 {
    let (from, to) = (black.start.max(silence.start), black.end.min(silence.end));
    if from <= to { from.midpoint(to) } else { black.start.midpoint(black.end) }
}

/// Adds candidates without cues to long stretches without candidates. They are
/// counted from the candidate before, so that they stay where they are when the
/// stream goes on.
fn with_grid(found: Vec<Candidate>, start: f64, end: f64, settings: &Candidates) -> Vec<Candidate> {
    let mut all = Vec::with_capacity(found.len());
    let mut before = start;
    let fill = |all: &mut Vec<Candidate>, before: f64, until: f64| {
        if until - before > settings.cueless_s {
            let steps = (1..).map(|n| before + f64::from(n) * settings.grid_s);
            let times = steps.take_while(|t| *t < until - settings.merge_s.max(0.5));
            all.extend(times.map(|time| Candidate { time, kinds: Vec::new() }));
        }
    };
    for candidate in found {
        fill(&mut all, before, candidate.time);
        before = candidate.time;
        all.push(candidate);
    }
    fill(&mut all, before, end);
    all
}

/// The stretches between candidates that are as far apart as a spot lasts:
/// start and end in seconds, in order, overlaps joined.
pub(super) fn slot_spans(candidates: &[Candidate], slots: &Slots) -> Vec<(f64, f64)> {
    let longest = slots.lengths_s.iter().copied().fold(0.0, f64::max) + slots.tolerance_s;
    let ends: Vec<f64> = candidates.iter().filter(|c| c.bounds_slot()).map(|c| c.time).collect();
    let mut spans: Vec<(f64, f64)> = Vec::new();
    for (i, &start) in ends.iter().enumerate() {
        let apart = |end: f64| {
            let off = |length: &f64| (end - start - length).abs() <= slots.tolerance_s;
            slots.lengths_s.iter().any(off)
        };
        let reachable = ends[i + 1..].iter().take_while(|end| **end - start <= longest);
        let Some(&end) = reachable.filter(|end| apart(**end)).last() else { continue };
        match spans.last_mut() {
            Some(last) if start <= last.1 => last.1 = last.1.max(end),
            _ => spans.push((start, end)),
        }
    }
    spans
}
