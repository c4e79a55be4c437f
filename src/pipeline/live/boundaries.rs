//! Finds the boundaries of segments while a stream goes on, a fixed time behind
//! it. Fed by the compositor with what the analyst found out and with cues; must
//! not know where the events go.

use std::sync::Arc;
use std::time::Duration;

use super::super::timekeeper::{chosen, evidence, profile, segment_labels};
use crate::annotation::Annotation;
use crate::config::StreamConfig;
use crate::frame::Pts;
use crate::model::Head;
use crate::timeline::Cue;
use crate::timeline::segmenter::{LiveSegmenter, SegmentEvent};

/// Seconds of stream time between two looks at the timeline.
const EVERY_S: f64 = 1.0;

/// The segmenters of a stream, one for each head that is segmented.
pub(super) struct Boundaries {
    tracks: Vec<(Arc<str>, LiveSegmenter)>,
    /// When the timeline was looked at last.
    looked: Option<Pts>,
    /// The newest answer, or where the stream broke off.
    newest: Option<Pts>,
}

impl Boundaries {
    /// As a stream's settings say, for the heads of a model.
    ///
    /// # Errors
    /// When a head or the profile is unknown.
    pub(super) fn new(config: &StreamConfig, heads: &[Head]) -> anyhow::Result<Self> {
        let profile = profile(&config.profile)?;
        let lag = Duration::from_secs_f64(config.lag_s);
        let track = |head: &&Head| {
            let segmenter = LiveSegmenter::new(&head.name, &segment_labels(head), &profile, lag);
            (Arc::clone(&head.name), segmenter)
        };
        let tracks = chosen(&config.segment, heads)?.iter().map(track).collect();
        Ok(Self { tracks, looked: None, newest: None })
    }

    /// The heads that are segmented.
    pub(super) fn heads(&self) -> Vec<Arc<str>> {
        self.tracks.iter().map(|(head, _)| Arc::clone(head)).collect()
    }

    /// Takes what was noticed in picture and sound, in any order.
    pub(super) fn notice(&mut self, cues: &[Cue]) {
        for (_, segmenter) in &mut self.tracks {
            cues.iter().for_each(|cue| segmenter.cue(*cue));
        }
    }

    /// Takes what was said about a frame; what is known about boundaries from
    /// it.
    pub(super) fn take(&mut self, annotation: &Annotation) -> Vec<SegmentEvent> {
        let Annotation { pts, starts_shot, .. } = *annotation;
        // Answers of two classifiers may come out of order.
        if self.newest.is_some_and(|newest| pts <= newest) {
            return Vec::new();
        }
        self.newest = Some(pts);
        for (head, segmenter) in &mut self.tracks {
            if let Some(answer) = annotation.heads.iter().find(|answer| answer.head == *head) {
                segmenter.observe(pts, starts_shot, &evidence(&answer.probabilities));
            }
        }
        if pts.secs_since(*self.looked.get_or_insert(pts)) < EVERY_S {
            return Vec::new();
        }
        self.looked = Some(pts);
        self.tracks.iter_mut().flat_map(|(_, segmenter)| segmenter.advance(pts)).collect()
    }

    /// The pictures broke off at `end`, or the stream is over: what was left
    /// open ends there. Answers from before come too late.
    pub(super) fn close(&mut self, end: Pts) -> Vec<SegmentEvent> {
        self.newest = self.newest.max(Some(end));
        self.looked = None;
        self.tracks.iter_mut().flat_map(|(_, segmenter)| segmenter.close(end)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::said;
    use super::*;
    use crate::timeline::segmenter::{Edge, State};

    #[test]
    fn what_is_open_when_pictures_break_off_ends_there_and_late_answers_do_not_count() {
        let labels = ["show", "commercial"].map(Arc::from);
        let lag = Duration::from_secs(10);
        let segmenter = LiveSegmenter::new("content", &labels, &profile("default").unwrap(), lag);
        let tracks = vec![("content".into(), segmenter)];
        let mut boundaries = Boundaries { tracks, looked: None, newest: None };
        let mut events: Vec<_> =
            (0..60).flat_map(|n| boundaries.take(&said(n.into(), false))).collect();
        events.extend(boundaries.close(Pts::from_secs_f64(59.5)));
        // An answer that was on its way.
        assert!(boundaries.take(&said(59.2, false)).is_empty());
        events.extend((100..160).flat_map(|n| boundaries.take(&said(n.into(), false))));
        events.extend(boundaries.close(Pts::from_secs_f64(160.0)));
        let final_ends = events.iter().filter(|e| (e.edge, e.state) == (Edge::End, State::Final));
        let found: Vec<_> = final_ends
            .map(|e| (e.id, e.segment.start.as_secs_f64(), e.segment.end.as_secs_f64()))
            .collect();
        assert_eq!(found, [(1, 0.0, 59.5), (2, 100.0, 160.0)]);
    }
}
