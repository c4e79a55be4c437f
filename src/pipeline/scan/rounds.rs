//! What a scan looks at, and how often. First it glances over the whole
//! recording; then it looks at every picture around what may be boundaries,
//! until none is left that was not looked at closely.

use std::sync::Arc;

use super::eye::Question;
use super::look::{Answer, Seen};
use crate::frame::Pts;
use crate::timeline::segmenter::{Profile, Segmenter};
use crate::timeline::{Cue, CueKind, Segment};

/// A recording of at most so many seconds is looked at closely throughout.
const SHORT_S: f64 = 60.0;
/// Seconds around a moment that are looked at, beside the distance of the
/// pictures in the first pass.
const AROUND_S: f64 = 2.0;
/// The part of a recording that is looked at closely for what is no boundary
/// yet, but could be one.
const SPARE: f64 = 0.05;

/// The segments of every question.
pub(super) fn segments(questions: &[Question], profile: &Profile, seen: &Seen) -> Vec<Segment> {
    let mut all = Vec::new();
    for (i, question) in questions.iter().enumerate() {
        let mut segmenter = Segmenter::new(&question.name, &question.labels, profile);
        for answer in &seen.answers {
            segmenter.observe(answer.pts, answer.starts_shot, &answer.heads[i]);
        }
        for cue in seen.picture_cues.iter().chain(&seen.sound_cues) {
            segmenter.cue(*cue);
        }
        all.extend(segmenter.finish(seen.end));
    }
    all
}

/// Stretches that should be looked at closely next: in order, apart from each
/// other and from those in `done`.
pub(super) fn doubtful(segments: &[Segment], seen: &Seen, done: &[(Pts, Pts)]) -> Vec<(Pts, Pts)> {
    let end_s = seen.end.as_secs_f64();
    if end_s <= SHORT_S {
        return if done.is_empty() { vec![(Pts(0), Pts(u64::MAX))] } else { Vec::new() };
    }
    let s = Pts::from_secs_f64;
    let is_done = |pts: Pts| done.iter().any(|(from, to)| pts >= *from && pts < *to);
    let around = |pts: Pts| {
        // The pictures on both sides tell how exact the first pass was.
        let next = seen.answers.partition_point(|a| a.pts <= pts);
        let near = |i: Option<usize>| i.and_then(|i| seen.answers.get(i)).map(|a| a.pts);
        let from = near(next.checked_sub(1)).unwrap_or(pts).min(pts).as_secs_f64();
        let to = near(Some(next)).unwrap_or(pts).max(pts).as_secs_f64();
        // A cut that was noticed in a picture lies before it.
        let before = near(next.checked_sub(2)).map_or(from, Pts::as_secs_f64);
        let reach = 4.0 * AROUND_S;
        let at = pts.as_secs_f64();
        (s(before.max(at - reach) - AROUND_S), s(to.min(at + reach) + AROUND_S))
    };
    let inner = |pts: &Pts| pts.as_secs_f64() > 0.5 && pts.as_secs_f64() < end_s - 0.5;
    let boundaries = segments.iter().map(|segment| segment.start).filter(inner);
    let mut spans: Vec<_> = boundaries.filter(|pts| !is_done(*pts)).map(around).collect();
    if done.is_empty() {
        // Silence where the picture changes may be an edge of a break.
        let mut spare_s = SPARE * end_s;
        let changes = |cue: &&Cue| {
            let (from, to) = (cue.start.as_secs_f64() - 1.0, cue.end.as_secs_f64() + 2.5);
            seen.picture_cues.iter().any(|c| {
                matches!(c.kind, CueKind::ShotCut | CueKind::Black)
                    && (from..to).contains(&c.start.as_secs_f64())
            })
        };
        let silences = seen.sound_cues.iter().filter(|c| c.kind == CueKind::Silence);
        for cue in silences.filter(changes) {
            let middle = Pts(cue.start.0.midpoint(cue.end.0));
            let span = around(middle);
            spare_s -= span.1.secs_since(span.0);
            if spare_s < 0.0 {
                break;
            }
            spans.push(span);
        }
    }
    joined(spans)
}

/// Spans in order, those that touch joined.
fn joined(mut spans: Vec<(Pts, Pts)>) -> Vec<(Pts, Pts)> {
    spans.sort_unstable();
    let mut joined: Vec<(Pts, Pts)> = Vec::new();
    for (from, to) in spans {
        match joined.last_mut() {
            Some(last) if from.secs_since(last.1) < 1.0 => last.1 = last.1.max(to),
            _ => joined.push((from, to)),
        }
    }
    joined
}

/// Puts what was seen closely in `spans` in the place of what was glanced at.
pub(super) fn refine(seen: &mut Seen, closer: Seen, spans: &[(Pts, Pts)]) {
    let inside = |pts: Pts| spans.iter().any(|(from, to)| pts >= *from && pts < *to);
    seen.picture_cues.retain(|cue| !inside(cue.start));
    seen.picture_cues.extend(closer.picture_cues);
    seen.picture_cues.sort_by_key(|cue| (cue.start, cue.kind));
    let first = seen.answers.first().map(|a| a.pts);
    let known = |a: &Answer| first.is_none_or(|first| a.pts >= first);
    seen.answers.extend(closer.answers.into_iter().filter(known));
    // Of two answers about one picture the one that knows of its shot counts.
    seen.answers.sort_by_key(|a| (a.pts, !a.starts_shot, a.held));
    seen.answers.dedup_by_key(|a| a.pts);
    // What was said about a shot does not hold for the next one.
    let mut shot: Option<Arc<[Vec<f32>]>> = None;
    for answer in &mut seen.answers {
        match &shot {
            _ if !answer.held => shot = answer.starts_shot.then(|| Arc::clone(&answer.heads)),
            Some(heads) => answer.heads = Arc::clone(heads),
            None => {}
        }
    }
    seen.counts[1] += closer.counts[1];
    seen.failed = seen.failed.take().or(closer.failed);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(seconds: f64) -> Pts {
        Pts::from_secs_f64(seconds)
    }

    fn cue(kind: CueKind, at: f64) -> Cue {
        Cue { kind, start: s(at), end: s(at + 0.1) }
    }

    fn answer(at: f64, starts_shot: bool) -> Answer {
        Answer { pts: s(at), starts_shot, held: false, heads: [vec![0.9, 0.1]].into() }
    }

    /// Glanced at once a second for ten minutes.
    fn glanced() -> Seen {
        Seen {
            answers: (0..600).map(|n| answer(f64::from(n), false)).collect(),
            end: s(600.0),
            ..Seen::default()
        }
    }

    fn segment(start: f64, end: f64) -> Segment {
        Segment {
            head: "content".into(),
            label: "show".into(),
            start: s(start),
            end: s(end),
            confidence: 1.0,
            margin: 1.0,
            start_cues: Vec::new(),
            end_cues: Vec::new(),
        }
    }

    #[test]
    fn only_what_is_around_boundaries_is_looked_at_and_only_once() {
        let seen = glanced();
        let found = [segment(0.0, 100.3), segment(100.3, 101.9), segment(101.9, 600.0)];
        let spans = doubtful(&found, &seen, &[]);
        let [(from, to)] = spans[..] else { panic!("{spans:?}") };
        assert!(from <= s(98.0) && from >= s(95.0), "{from:?}");
        assert!(to >= s(103.0) && to <= s(106.0), "{to:?}");
        assert_eq!(doubtful(&found, &seen, &spans), []);
        let moved = [segment(0.0, 100.3), segment(100.3, 300.5), segment(300.5, 600.0)];
        assert_eq!(doubtful(&moved, &seen, &spans).len(), 1);
    }

    #[test]
    fn silence_at_a_change_is_looked_at_too_within_bounds() {
        let mut seen = glanced();
        for n in 0..200 {
            let at = f64::from(n) * 3.0;
            seen.sound_cues.push(cue(CueKind::Silence, at));
            seen.picture_cues.push(cue(CueKind::ShotCut, at + 0.5));
        }
        seen.sound_cues.push(cue(CueKind::Silence, 301.7));
        let spans = doubtful(&[segment(0.0, 600.0)], &seen, &[]);
        let length: f64 = spans.iter().map(|(from, to)| to.secs_since(*from)).sum();
        assert!(length > 10.0 && length <= 31.0, "{length}");
    }

    #[test]
    fn a_short_recording_is_looked_at_throughout_once() {
        let mut seen = glanced();
        seen.end = s(30.0);
        let spans = doubtful(&[], &seen, &[]);
        assert_eq!(spans, [(Pts(0), Pts(u64::MAX))]);
        assert_eq!(doubtful(&[segment(0.0, 3.0), segment(3.0, 30.0)], &seen, &spans), []);
    }

    #[test]
    fn an_answer_does_not_hold_beyond_a_cut_that_a_closer_look_found() {
        let of = |at: f64, starts_shot: bool, held: bool, p: f32| Answer {
            held,
            heads: [vec![p, 1.0 - p]].into(),
            ..answer(at, starts_shot)
        };
        let mut seen = Seen {
            answers: vec![
                of(0.0, false, false, 0.9),
                of(1.0, false, true, 0.9),
                of(2.0, false, true, 0.9),
                of(3.0, false, false, 0.4),
                of(4.0, false, true, 0.4),
            ],
            ..Seen::default()
        };
        let closer = Seen { answers: vec![of(1.48, true, false, 0.2)], ..Seen::default() };
        refine(&mut seen, closer, &[(s(0.5), s(2.5))]);
        let said: Vec<f32> = seen.answers.iter().map(|a| a.heads[0][0]).collect();
        assert_eq!(said, [0.9, 0.9, 0.2, 0.2, 0.4, 0.4]);
    }

    #[test]
    fn a_closer_look_takes_the_place_of_the_glance() {
        let mut seen = glanced();
        seen.picture_cues = vec![cue(CueKind::ShotCut, 50.0), cue(CueKind::ShotCut, 100.0)];
        let closer = Seen {
            answers: vec![answer(99.48, true), answer(100.0, false)],
            picture_cues: vec![cue(CueKind::ShotCut, 99.48)],
            ..Seen::default()
        };
        refine(&mut seen, closer, &[(s(98.0), s(103.0))]);
        let cuts: Vec<f64> = seen.picture_cues.iter().map(|c| c.start.as_secs_f64()).collect();
        assert_eq!(cuts, [50.0, 99.48]);
        assert_eq!(seen.answers.len(), 601);
        assert!(seen.answers.windows(2).all(|w| w[0].pts < w[1].pts));
    }
}
