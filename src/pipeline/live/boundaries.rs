//! Finds the boundaries of segments while a stream goes on, a fixed time behind
//! it. Fed by the compositor with what the analyst found out; must not know
//! where the lines go.

use std::sync::Arc;
use std::time::Duration;

use super::super::timekeeper::{evidence, segment_labels};
use crate::annotation::Annotation;
use crate::frame::Pts;
use crate::model::Head;
use crate::timeline::events;
use crate::timeline::segmenter::{LiveSegmenter, Profile, SegmentEvent};
use crate::timeline::{Cue, CueKind};

/// How far behind the stream boundaries become final.
const LAG: Duration = Duration::from_secs(30);
/// Seconds of stream time between two looks at the timeline.
const EVERY_S: f64 = 1.0;

/// The segmenter of a stream, for the model's first head.
pub(super) struct Boundaries {
    head: Arc<str>,
    segmenter: LiveSegmenter,
    /// When the timeline was looked at last.
    looked: Option<Pts>,
    /// The newest answer.
    newest: Option<Pts>,
}

impl Boundaries {
    /// For a head, by the profile `default`.
    ///
    /// # Errors
    /// When that profile cannot be read; it is part of the program.
    pub(super) fn new(head: &Head) -> anyhow::Result<Self> {
        let profile = Profile::named("default")?;
        let segmenter = LiveSegmenter::new(&head.name, &segment_labels(head), &profile, LAG);
        Ok(Self { head: Arc::clone(&head.name), segmenter, looked: None, newest: None })
    }

    /// Takes what was said about a frame; the lines about boundaries that are
    /// known from it.
    pub(super) fn take(&mut self, annotation: &Annotation) -> Vec<String> {
        let Annotation { pts, starts_shot, .. } = *annotation;
        // Answers of two classifiers may come out of order.
        if self.newest.is_some_and(|newest| pts <= newest) {
            return Vec::new();
        }
        self.newest = Some(pts);
        if starts_shot {
            self.segmenter.cue(Cue { kind: CueKind::ShotCut, start: pts, end: pts });
        }
        if let Some(answer) = annotation.heads.iter().find(|answer| answer.head == self.head) {
            self.segmenter.observe(pts, starts_shot, &evidence(&answer.probabilities));
        }
        if pts.secs_since(*self.looked.get_or_insert(pts)) < EVERY_S {
            return Vec::new();
        }
        self.looked = Some(pts);
        lines(&self.segmenter.advance(pts))
    }

    /// The stream is over: what was left open ends with its newest answer.
    pub(super) fn finish(self) -> Vec<String> {
        self.newest.map(|end| lines(&self.segmenter.finish(end))).unwrap_or_default()
    }
}

fn lines(events: &[SegmentEvent]) -> Vec<String> {
    events.iter().filter_map(|event| events::boundary_line(event).ok()).collect()
}
