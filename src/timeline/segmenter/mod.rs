//! From probabilities and cues to segments: a semi-Markov dynamic programme
//! over the moments at which something was noticed. Called by the pipeline with
//! stream time; must not know a model, a file or a clock.
//!
//! [`Segmenter`] is for recordings: everything is known before it decides.
//! [`LiveSegmenter`] decides a fixed lag behind the stream and takes back what
//! turns out wrong within it. Both segment one head. The model and where its
//! numbers come from: `docs/design/segments.md`.

mod candidates;
mod evidence;
mod lattice;
mod live;
mod padding;
pub mod profile;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use live::{Edge, LiveSegmenter, SegmentEvent, State};
pub use profile::Profile;

use self::candidates::{Candidate, candidates, slot_spans};
use self::evidence::EvidenceSums;
use self::lattice::{Lattice, Prior, Root, Span};
use crate::frame::Pts;
use crate::timeline::cue::{Cue, CueKind};
use crate::timeline::segment::Segment;

/// What recordings and live streams have in common.
#[derive(Clone, Debug)]
struct Model {
    head: Arc<str>,
    labels: Vec<Arc<str>>,
    priors: Vec<Prior>,
    profile: Profile,
    /// The label of the profile's slots and of its padding, where the head has
    /// them.
    slot_label: Option<usize>,
    padded_label: Option<usize>,
}

impl Model {
    fn new(head: &str, labels: &[Arc<str>], profile: &Profile) -> Self {
        let find = |name: &str| labels.iter().position(|l| **l == *name);
        Self {
            head: head.into(),
            priors: labels.iter().map(|l| Prior::new(profile.duration(l))).collect(),
            slot_label: find(&profile.slots.label),
            padded_label: find(&profile.padding.label),
            labels: labels.to_vec(),
            profile: profile.clone(),
        }
    }

    fn sums(&self) -> EvidenceSums {
        let evidence = &self.profile.evidence;
        EvidenceSums::new(self.labels.len(), evidence.clip, evidence.reach_s)
    }

    fn slots(&self, candidates: &[Candidate]) -> Vec<(f64, f64)> {
        let slots = &self.profile.slots;
        let used = self.slot_label.is_some() && slots.logits != 0.0;
        if used { slot_spans(candidates, slots) } else { Vec::new() }
    }

    /// Nats for each label from the start of the stream to `time`, of which
    /// `slot_s` seconds lie in slots. `sums` are those of [`EvidenceSums::at`].
    fn nats(&self, sums: &[f64], slot_s: f64) -> Vec<f64> {
        let weight = self.profile.evidence.weight;
        let nats = sums[1..=self.labels.len()].iter().enumerate().map(|(k, sum)| {
            let logits = if self.slot_label == Some(k) { self.profile.slots.logits } else { 0.0 };
            weight * (sum + logits * slot_s)
        });
        nats.collect()
    }

    /// The mean probability of a label between two moments, by their sums.
    fn confidence(&self, label: usize, from: &[f64], to: &[f64]) -> f32 {
        let at = 1 + self.labels.len() + label;
        let seconds = to[0] - from[0];
        let mean = if seconds > 0.0 {
            (to[at] - from[at]) / seconds
        } else {
            // Nobody looked.
            1.0 / self.labels.len() as f64
        };
        mean.clamp(0.0, 1.0) as f32
    }
}

/// A recording is never taken for one that is more than so many times as long: shots
/// last seconds, whatever it is a recording of.
const LEAST_SCALE: f64 = 0.1;

/// What `profile` says about a recording of `length_s` seconds. One that is shorter
/// than two usual segments is a longer one in small: its segments may be as much
/// shorter. They may also be as long as ever, for it may be a part of a longer one.
///
/// Evidence counts for more by the square root: between errors that last as long as
/// ever and errors that are as much shorter, too.
fn in_small(profile: &Profile, labels: &[Arc<str>], length_s: f64) -> Profile {
    let medians: f64 = labels.iter().map(|l| profile.duration(l).median_s).sum();
    let usual_s = 2.0 * medians / labels.len().max(1) as f64;
    let scale = (length_s / usual_s).clamp(LEAST_SCALE, 1.0);
    let mut small = profile.clone();
    small.evidence.weight /= scale.sqrt();
    for duration in small.durations.values_mut() {
        duration.median_s *= scale;
        duration.min_s *= scale;
    }
    // It must stay shorter than what it is added to.
    small.padding.before_s *= scale;
    small.padding.after_s *= scale;
    small
}

/// Seconds of slots before each moment asked for, which must rise.
struct SlotClock<'a> {
    spans: &'a [(f64, f64)],
    passed_s: f64,
}

impl<'a> SlotClock<'a> {
    const fn new(spans: &'a [(f64, f64)]) -> Self {
        Self { spans, passed_s: 0.0 }
    }

    fn at(&mut self, time: f64) -> f64 {
        while let Some((&(start, end), rest)) =
            self.spans.split_first().filter(|(s, _)| s.1 <= time)
        {
            self.passed_s += end - start;
            self.spans = rest;
        }
        let part = self.spans.first().map_or(0.0, |(start, _)| (time - start).max(0.0));
        self.passed_s + part
    }
}

/// Cuts a recording into segments of one head.
#[derive(Clone, Debug)]
pub struct Segmenter {
    model: Model,
    sums: EvidenceSums,
    cues: Vec<Cue>,
    start: Option<Pts>,
}

impl Segmenter {
    /// A segmenter for a head with these labels.
    pub fn new(head: &str, labels: &[Arc<str>], profile: &Profile) -> Self {
        let model = Model::new(head, labels, profile);
        Self { sums: model.sums(), cues: Vec::new(), start: None, model }
    }

    /// Takes the answer for an analysed frame: a calibrated probability for
    /// each label; of a head of one label also that of its absence. Frames come
    /// in order; one without an answer says nothing.
    pub fn observe(&mut self, pts: Pts, starts_shot: bool, probabilities: &[f32]) {
        self.start.get_or_insert(pts);
        self.sums.add(pts, starts_shot, probabilities);
    }

    /// Takes a cue. Cues come in any order.
    pub fn cue(&mut self, cue: Cue) {
        self.cues.push(cue);
    }

    /// The segments from the first frame to `end`, the end of the recording:
    /// without gaps, neighbours with different labels. None without a frame.
    pub fn finish(mut self, end: Pts) -> Vec<Segment> {
        let known = self.start.filter(|s| *s < end && !self.model.labels.is_empty());
        let Some(start) = known else { return Vec::new() };
        let (first, last) = (start.as_secs_f64(), end.as_secs_f64());
        let Model { head, labels, profile, .. } = &self.model;
        let model = &Model::new(head, labels, &in_small(profile, labels, last - first));
        self.sums.finish(last);
        let found = candidates(&self.cues, first, last, &model.profile.candidates);
        let spans = model.slots(&found);
        let mut slots = SlotClock::new(&spans);
        let mut sums = Vec::new();
        let mut at = |time: f64| {
            let mut row = Vec::new();
            self.sums.at(time, &mut row);
            let nats = model.nats(&row, slots.at(time));
            sums.push(row);
            nats
        };
        let mut lattice = Lattice::new(model.priors.clone(), Root::STREAM, first, &at(first));
        for candidate in &found {
            let bonus = candidate.bonus(&model.profile.cues);
            lattice.push(candidate.time, bonus, &at(candidate.time));
        }
        let evidence = at(last);
        let (_, spans) = lattice.best_until(last, &evidence);
        let margins = lattice.margins(last, &evidence, &spans);
        let time = |node: usize| if node < lattice.len() { lattice.time(node) } else { last };
        let kinds = |node: usize| -> Vec<CueKind> {
            let candidate = node.checked_sub(1).and_then(|n| found.get(n));
            candidate.map(|c| c.kinds.clone()).unwrap_or_default()
        };
        let segments = spans.iter().zip(margins).map(|(span, margin)| {
            let Span { start, end, label } = *span;
            Segment {
                head: model.head.clone(),
                label: model.labels[label].clone(),
                start: Pts::from_secs_f64(time(start)),
                end: Pts::from_secs_f64(time(end)),
                confidence: model.confidence(label, &sums[start], &sums[end]),
                margin: margin as f32,
                start_cues: kinds(start),
                end_cues: kinds(end),
            }
        });
        let mut segments: Vec<Segment> = segments.collect();
        padding::pad(&mut segments, &model.profile.padding);
        segments
    }
}
