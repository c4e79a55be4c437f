//! Finds cues in pictures and sound. Whoever analyses a stream feeds the
//! detectors with what it decodes, in order; they must not know where that
//! comes from or what a cue is good for.
//!
//! What is black, silent and still is defined as the filters `blackdetect`,
//! `silencedetect` and `freezedetect` of FFmpeg define it, so that anybody can
//! check the cues of a recording; only the shortest length differs.

mod picture;
mod run;
mod sound;

pub use picture::{Glimpse, PictureCues};
pub use run::Run;
pub use sound::{Level, SoundCues, peaks};
