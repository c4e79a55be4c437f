//! Ways to make segments of a recording: the simple ones that others use, and
//! the product's. Used by the bench and by the regression test.

use std::sync::Arc;
use std::time::Duration;

use heatcast::frame::Pts;
use heatcast::timeline::cue::CueKind;
use heatcast::timeline::events::boundary_line;
use heatcast::timeline::formats::{Announced, announced};
use heatcast::timeline::score::{Span, Tally, timeline};
use heatcast::timeline::segmenter::{Edge, LiveSegmenter, Profile, SegmentEvent, Segmenter, State};

use super::simulate::Recording;

/// Breaks in seconds.
pub(crate) type Breaks = Vec<(f64, f64)>;

/// Logits are clipped to this before a mean is taken.
const CLIP: f64 = 4.0;

/// Every frame for itself.
pub(crate) fn threshold(r: &Recording) -> Breaks {
    runs(r, r.logits.iter().map(|l| *l > 0.0))
}

/// The mean over a window.
pub(crate) fn mean(r: &Recording, window_s: f64) -> Breaks {
    let half = (window_s * r.fps / 2.0) as usize;
    let mut sums = vec![0.0];
    for logit in &r.logits {
        sums.push(sums.last().copied().unwrap_or(0.0) + logit.clamp(-CLIP, CLIP));
    }
    let n = r.logits.len();
    runs(r, (0..n).map(|i| sums[(i + half + 1).min(n)] > sums[i.saturating_sub(half)]))
}

/// An exponential moving average of the probability with two thresholds.
pub(crate) fn hysteresis(r: &Recording, tau_s: f64, high: f64, low: f64) -> Breaks {
    let weight = 1.0 - (-1.0 / (tau_s * r.fps)).exp();
    let (mut average, mut on) = (0.0, false);
    runs(
        r,
        r.logits.iter().map(|logit| {
            average += weight * (probability(*logit) - average);
            on = if on { average > low } else { average > high };
            on
        }),
    )
}

/// A hidden Markov model of two states, by the Viterbi algorithm. `weight` is
/// nats per second and logit, logits are clipped.
pub(crate) fn hmm(r: &Recording, weight: f64, clip: f64) -> Breaks {
    let alpha = weight / r.fps;
    let change = [560.0, 180.0].map(|mean_s: f64| (1.0 / (mean_s * r.fps)).ln());
    let mut value = [0.75_f64.ln(), 0.25_f64.ln()];
    let mut back = Vec::with_capacity(r.logits.len());
    for logit in &r.logits {
        let evidence = alpha * logit.clamp(-clip, clip) / 2.0;
        let from_other = [value[1] + change[1], value[0] + change[0]];
        let changed = [from_other[0] > value[0], from_other[1] > value[1]];
        back.push(changed);
        value = [value[0].max(from_other[0]) - evidence, value[1].max(from_other[1]) + evidence];
    }
    let mut state = usize::from(value[1] > value[0]);
    let mut states = vec![false; r.logits.len()];
    for (i, changed) in back.iter().enumerate().rev() {
        states[i] = state == 1;
        if changed[state] {
            state = 1 - state;
        }
    }
    runs(r, states.into_iter())
}

/// Breaks with short gaps between them joined, then short ones dropped.
pub(crate) fn tidied(breaks: Breaks, least_s: f64, gap_s: f64) -> Breaks {
    let mut joined: Breaks = Vec::new();
    for (start, end) in breaks {
        match joined.last_mut() {
            Some(last) if start - last.1 < gap_s => last.1 = end,
            _ => joined.push((start, end)),
        }
    }
    joined.retain(|b| b.1 - b.0 >= least_s);
    joined
}

/// Boundaries moved to the best cue near them.
pub(crate) fn snapped(r: &Recording, breaks: Breaks, within_s: f64) -> Breaks {
    let near = |time: f64| {
        let scored = r.cues.iter().filter_map(|cue| {
            let at = cue.start.as_secs_f64().midpoint(cue.end.as_secs_f64());
            let strength = match cue.kind {
                CueKind::Black => 4.0,
                CueKind::Silence => 2.0,
                _ => 0.0,
            };
            let off = (at - time).abs();
            (off < within_s).then_some((strength - 2.0 * off / within_s, at))
        });
        scored.max_by(|a, b| a.0.total_cmp(&b.0)).map_or(time, |(_, at)| at)
    };
    let moved = breaks.into_iter().map(|(start, end)| (near(start), near(end)));
    moved.filter(|(start, end)| start < end).collect()
}

/// The segmenter.
pub(crate) fn segmenter(r: &Recording, profile: &Profile) -> Breaks {
    let labels: [Arc<str>; 2] = r.labels.map(Into::into);
    let mut segmenter = Segmenter::new("content", &labels, profile);
    for (i, logit) in r.logits.iter().enumerate() {
        let p = probability(*logit) as f32;
        segmenter.observe(Pts::from_secs_f64(i as f64 / r.fps), false, &[1.0 - p, p]);
    }
    r.cues.iter().for_each(|cue| segmenter.cue(*cue));
    let segments = segmenter.finish(Pts::from_secs_f64(r.duration_s));
    let breaks = segments.iter().filter(|s| *s.label == *r.labels[1]);
    breaks.map(|s| (s.start.as_secs_f64(), s.end.as_secs_f64())).collect()
}

/// The segmenter on the recording as it comes, asked once a second: breaks with
/// the times at which they were first mentioned, and how many were taken back.
pub(crate) fn live(r: &Recording, profile: &Profile, lag_s: u64) -> (Vec<Span>, usize) {
    let labels: [Arc<str>; 2] = ["show".into(), "commercial".into()];
    let lag = Duration::from_secs(lag_s);
    let mut segmenter = LiveSegmenter::new("content", &labels, profile, lag);
    let mut cues = r.cues.clone();
    cues.sort_by_key(|cue| cue.end);
    let (mut cues, mut events) = (cues.into_iter().peekable(), Vec::new());
    for (i, logit) in r.logits.iter().enumerate() {
        let pts = Pts::from_secs_f64(i as f64 / r.fps);
        while let Some(cue) = cues.next_if(|cue| cue.end <= pts) {
            segmenter.cue(cue);
        }
        let p = probability(*logit) as f32;
        segmenter.observe(pts, false, &[1.0 - p, p]);
        if i % r.fps as usize == 0 {
            events.extend(segmenter.advance(pts));
        }
    }
    events.extend(segmenter.finish(Pts::from_secs_f64(r.duration_s)));
    let commercial = |e: &SegmentEvent| &*e.segment.label == "commercial";
    let lines = events.iter().filter(|e| commercial(e)).filter_map(|e| boundary_line(e).ok());
    let text = lines.collect::<Vec<_>>().join("\n");
    let span = |a: &Announced| Span {
        start_s: a.span.start.as_secs_f64(),
        end_s: a.span.end.as_secs_f64(),
        start_said_s: Some(a.start_said.as_secs_f64()),
        end_said_s: Some(a.end_said.as_secs_f64()),
    };
    let spans = announced(&text).unwrap_or_default().iter().map(span).collect();
    let taken_back =
        |e: &&SegmentEvent| commercial(e) && e.edge == Edge::Start && e.state == State::Retracted;
    (spans, events.iter().filter(taken_back).count())
}

/// Compares breaks with the truth.
pub(crate) fn tally(r: &Recording, breaks: &Breaks) -> Tally {
    let spans = |breaks: &Breaks| {
        let spans = breaks.iter().map(|(start, end)| Span::new(*start, *end)).collect();
        timeline(spans, r.duration_s).unwrap_or_default()
    };
    // Snapping can make breaks overlap; then the later one begins later.
    let mut disjoint = breaks.clone();
    for i in 1..disjoint.len() {
        disjoint[i].0 = disjoint[i].0.max(disjoint[i - 1].1);
    }
    disjoint.retain(|b| b.0 < b.1);
    Tally::of(&spans(&r.breaks), &spans(&disjoint), r.duration_s)
}

fn probability(logit: f64) -> f64 {
    1.0 / (1.0 + (-logit).exp())
}

/// The stretches in which it is true, frame by frame.
fn runs(r: &Recording, inside: impl Iterator<Item = bool>) -> Breaks {
    let mut found: Breaks = Vec::new();
    let mut open = false;
    for (i, inside) in inside.enumerate() {
        let (start, end) = (i as f64 / r.fps, (i + 1) as f64 / r.fps);
        match found.last_mut() {
            Some(last) if inside && open => last.1 = end,
            _ if inside => found.push((start, end)),
            _ => {}
        }
        open = inside;
    }
    found
}
