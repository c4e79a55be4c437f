//! What is written down about a stream, apart from the picture, and read back:
//! events as they come, segments, and timelines in the formats of `formats`.
//! Called by the pipeline; must not know where the lines go.

pub mod cue;
pub mod events;
pub mod formats;
pub mod score;
pub mod segment;
pub mod segmenter;

pub use cue::{Cue, CueKind};
pub use formats::Timeline;
pub use segment::Segment;
