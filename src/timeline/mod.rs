//! What is written down about a stream, apart from the picture, and read back:
//! one file per format. Called by the pipeline as annotations come; must not
//! know where the lines go.

pub mod cue;
pub mod cues;
pub mod cut_list;
pub mod events;
pub mod score;
pub mod segment;
pub mod segmenter;

pub use cue::{Cue, CueKind};
pub use segment::Segment;
