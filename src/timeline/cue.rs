//! What in picture and sound suggests that one thing ends and another begins.
//! Found while a stream is analysed, weighed by the segmenter; must not know
//! how it was found.

use crate::frame::Pts;

/// What was noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CueKind {
    /// The picture changed from one frame to the next.
    ShotCut,
    /// The picture was black.
    Black,
    /// The sound was silent.
    Silence,
    /// The picture stood still.
    Freeze,
    /// Bars around the picture came or went.
    Aspect,
    /// The number of sound channels changed.
    AudioChannels,
    /// The stream itself says so (SCTE-35).
    Scte35,
}

impl CueKind {
    /// The name in files: lower case, underscores.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ShotCut => "shot_cut",
            Self::Black => "black",
            Self::Silence => "silence",
            Self::Freeze => "freeze",
            Self::Aspect => "aspect",
            Self::AudioChannels => "audio_channels",
            Self::Scte35 => "scte35",
        }
    }
}

/// One thing that was noticed: half open, `start` to `end`; a moment when both
/// are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cue {
    /// What.
    pub kind: CueKind,
    /// From when on.
    pub start: Pts,
    /// Until when; never before `start`.
    pub end: Pts,
}

impl Cue {
    /// A moment.
    pub const fn at(kind: CueKind, at: Pts) -> Self {
        Self { kind, start: at, end: at }
    }
}
