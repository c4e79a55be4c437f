//! A stretch of a stream with one label: what the segmenter makes and the
//! writers write.

use std::sync::Arc;

use super::cue::CueKind;
use crate::frame::Pts;

/// A stretch of a stream with one label, half open: `start` belongs to it, `end`
/// does not.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment {
    /// The question that was put to the model.
    pub head: Arc<str>,
    /// The answer.
    pub label: Arc<str>,
    /// Where it begins.
    pub start: Pts,
    /// Where it ends.
    pub end: Pts,
    /// Mean probability of the label over the segment, 0..1.
    pub confidence: f32,
    /// How much worse the best timeline without this segment is, in nats.
    pub margin: f32,
    /// What was noticed at the start; empty at the start of the stream.
    pub start_cues: Vec<CueKind>,
    /// What was noticed at the end; empty at the end of the stream.
    pub end_cues: Vec<CueKind>,
}
