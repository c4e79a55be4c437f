//! What is written down about a timeline, for players, editors and scripts, and
//! read back: one file per format. Called by the pipeline's sink and by whoever
//! scores or learns from a list; must not know a file or a clock.
//!
//! Every interval is half open: `start` belongs to it, `end` does not. Times
//! are stream time, in seconds where the format allows it.

mod as_run;
mod boundaries;
mod chapters;
mod comskip;
mod edl;
mod hls;
mod json;
mod otio;
mod read;
mod scte35;
mod time;
mod webvtt;

use super::segment::Segment;
use crate::frame::Pts;
use crate::names;
pub use boundaries::{Announced, announced};
pub use chapters::{Chapter, chapters};
pub use edl::Action;
pub use read::{BREAK, Error, OPEN_END, Span, breaks, duration, read, stated};
pub use scte35::{Splice, splices};
pub use time::{Origin, Timecode, WallTime};

/// Frames per second where a format needs a rate and the stream has none.
const USUAL_RATE: f64 = 25.0;

/// What the formats say beside the segments.
#[derive(Clone, Debug, PartialEq)]
pub struct About {
    /// The recording, as a file beside its timeline would be found.
    pub media: String,
    /// Label of the segments that are breaks.
    pub break_label: String,
    /// What an edit decision list asks players to do with a break.
    pub action: Action,
    /// What the clock of the channel showed when stream time began.
    pub origin: Origin,
    /// Time of day at which a broadcast day begins, in seconds.
    pub day_start_s: u32,
    /// Frames per second, when the rate is constant and known.
    pub frame_rate: Option<f64>,
}

impl Default for About {
    fn default() -> Self {
        Self {
            media: String::new(),
            break_label: BREAK.to_owned(),
            action: Action::default(),
            origin: Origin::default(),
            day_start_s: 6 * 3600,
            frame_rate: None,
        }
    }
}

impl About {
    fn rate(&self) -> f64 {
        self.frame_rate.filter(|r| r.is_finite() && *r >= 1.0).unwrap_or(USUAL_RATE)
    }
}

/// The segments of a stream, as far as it is known.
#[derive(Clone, Copy, Debug)]
pub struct Timeline<'a> {
    /// In order of their start; those of one head do not overlap.
    pub segments: &'a [Segment],
    /// Where the stream ends, as far as it has come.
    pub duration: Pts,
    /// Nothing before this changes any more; `duration` once the stream ended.
    pub settled: Pts,
    /// The rest.
    pub about: &'a About,
}

/// A break: segments of the break's label, joined where they touch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Break {
    /// Where it begins.
    pub start: Pts,
    /// Where it ends.
    pub end: Pts,
}

impl Timeline<'_> {
    /// The breaks, in order, apart from each other.
    pub fn breaks(&self) -> Vec<Break> {
        let label = names::plain(&self.about.break_label);
        let mut found: Vec<Break> = self
            .segments
            .iter()
            .filter(|s| s.start < s.end && names::plain(&s.label) == label)
            .map(|s| Break { start: s.start, end: s.end })
            .collect();
        found.sort_by_key(|b| b.start);
        let mut joined: Vec<Break> = Vec::with_capacity(found.len());
        for next in found {
            match joined.last_mut().filter(|last| next.start <= last.end) {
                Some(last) => last.end = last.end.max(next.end),
                None => joined.push(next),
            }
        }
        joined
    }

    /// Whether what ends at `end` may still change.
    fn is_open(&self, end: Pts) -> bool {
        end > self.settled
    }

    /// The heads of the segments, in order of their first one.
    fn heads(&self) -> Vec<&str> {
        let mut heads: Vec<&str> = Vec::new();
        for segment in self.segments {
            if !heads.contains(&&*segment.head) {
                heads.push(&segment.head);
            }
        }
        heads
    }
}

/// A format that a timeline is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// Edit decision list of `MPlayer` and Kodi.
    Edl,
    /// Comskip's list of frames.
    Comskip,
    /// Chapters as metadata for ffmpeg.
    Chapters,
    /// `WebVTT` metadata track.
    WebVtt,
    /// JSON Lines.
    Segments,
    /// Table with times of day.
    AsRun,
    /// `OpenTimelineIO`.
    Otio,
    /// SCTE-35 splice information, with times.
    Scte35,
    /// HLS playlist with date ranges and cue tags.
    Hls,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Edl,
        Self::Comskip,
        Self::Chapters,
        Self::WebVtt,
        Self::Segments,
        Self::AsRun,
        Self::Otio,
        Self::Scte35,
        Self::Hls,
    ];

    /// How the name of a file in this format ends, without the first dot.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Edl => "edl",
            Self::Comskip => "txt",
            Self::Chapters => "ffmeta",
            Self::WebVtt => "vtt",
            Self::Segments => "segments.jsonl",
            Self::AsRun => "csv",
            Self::Otio => "otio",
            Self::Scte35 => "scte35.csv",
            Self::Hls => "m3u8",
        }
    }

    /// The text of a file: valid, and never a word too many, without segments
    /// too.
    pub fn write(self, timeline: &Timeline<'_>) -> String {
        match self {
            Self::Edl => edl::write(timeline),
            Self::Comskip => comskip::write(timeline),
            Self::Chapters => chapters::write(timeline),
            Self::WebVtt => webvtt::write(timeline),
            Self::Segments => json::write(timeline),
            Self::AsRun => as_run::write(timeline),
            Self::Otio => otio::write(timeline),
            Self::Scte35 => scte35::write(timeline),
            Self::Hls => hls::write(timeline),
        }
    }
}

#[cfg(test)]
mod tests;
