//! Reads back what the writers beside it, other programs and people write.
//! Called before a list is learnt from or scored; must not know a file.

use std::sync::Arc;

use super::{as_run, chapters, comskip, edl, json, webvtt};
use crate::frame::Pts;
use crate::names;

/// What lists that hold nothing but breaks call them.
pub const BREAK: &str = "commercial";
/// The end of a stretch that lasts until the stream does.
pub const OPEN_END: Pts = Pts(u64::MAX);
/// Stretches may overlap by the rounding of the coarsest format, a frame.
const ROUNDING_NS: u64 = 50_000_000;

/// A stretch of a stream with a label, as a file states it: half open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The question that the label answers, where the file says.
    pub head: Option<Arc<str>>,
    /// The label; [`BREAK`] in formats that hold nothing but breaks.
    pub label: Arc<str>,
    /// Where it begins.
    pub start: Pts,
    /// Where it ends; `u64::MAX` where it lasts to the end of the stream.
    pub end: Pts,
}

/// Why a text cannot be read as a timeline.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Error {
    /// A line that is not what the format has there.
    #[error("line {line} is {text:?}; {wanted}")]
    Line {
        /// Counted from one.
        line: usize,
        /// What it holds, shortened.
        text: String,
        /// What belongs there.
        wanted: &'static str,
    },
    /// Times in frames mean nothing without a frame rate.
    #[error("line {0} counts frames (#); write the list in seconds")]
    Frames(usize),
    /// A stretch that does not end after it begins.
    #[error("line {0} ends before it begins")]
    Backwards(usize),
    /// A line of JSON that cannot be read.
    #[error("line {line} is neither an event nor a segment of Heatcast: {reason}")]
    Json {
        /// Counted from one.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// Something about the whole text.
    #[error("{0}")]
    Whole(String),
    /// Two stretches that cannot both be true.
    #[error(
        "at {at_s:.3} s it is both {first:?} and {second:?}; stretches of one head must not overlap"
    )]
    Contradiction {
        /// Where, in seconds.
        at_s: f64,
        /// Label of the earlier stretch.
        first: Arc<str>,
        /// Label of the later one.
        second: Arc<str>,
    },
    /// There is no break in it.
    #[error("holds no commercial break: {0}")]
    NoBreak(&'static str),
}

impl Error {
    pub(super) fn line(line: usize, text: &str, wanted: &'static str) -> Self {
        Self::Line { line, text: text.chars().take(60).collect(), wanted }
    }
}

/// Which format a text is in: by how it begins, else by the name of its file.
enum Kind {
    Json,
    Chapters,
    WebVtt,
    Comskip,
    Table,
    Edl,
}

fn kind_of(text: &str, name: &str) -> Kind {
    let first = text.lines().map(str::trim).find(|l| !l.is_empty()).unwrap_or_default();
    let columns = || first.split(',').any(|c| matches!(c.trim_matches('"'), "start_s" | "start"));
    let named = |extension: &str| name.to_ascii_lowercase().ends_with(extension);
    match first {
        _ if first.starts_with('{') => Kind::Json,
        _ if first.starts_with(";FFMETADATA") => Kind::Chapters,
        _ if first.starts_with("WEBVTT") => Kind::WebVtt,
        _ if first.starts_with(comskip::HEADER) => Kind::Comskip,
        _ if first.contains(',') && columns() => Kind::Table,
        // Not what they should begin with: their readers say so.
        _ if named(".ffmeta") => Kind::Chapters,
        _ if named(".vtt") => Kind::WebVtt,
        _ if named(".csv") => Kind::Table,
        _ if named(".jsonl") || named(".json") => Kind::Json,
        _ if named(".txt") && first.starts_with("FILE ") => Kind::Comskip,
        _ => Kind::Edl,
    }
}

/// The stretches that `text` holds, in order of their start: an edit decision
/// list, Comskip's list of frames, chapters for ffmpeg, `WebVTT`, a table,
/// segments or events as JSON Lines. `name` is that of the file, if any; it
/// decides where the text itself does not.
///
/// Lists of breaks name only those; everything between is something else. A
/// text without any is no error.
///
/// # Errors
/// [`Error`] for the first thing that cannot be read, or cannot be true.
pub fn read(text: &str, name: &str) -> Result<Vec<Span>, Error> {
    in_order(stated(text, name)?)
}

/// What [`read`] gives, as it is written: in the order of the text, stretches
/// that overlap left as they are.
///
/// # Errors
/// [`Error`] for the first thing that cannot be read.
pub fn stated(text: &str, name: &str) -> Result<Vec<Span>, Error> {
    let text = text.trim_start_matches('\u{feff}');
    match kind_of(text, name) {
        Kind::Json => json::read(text),
        Kind::Chapters => chapters::read(text),
        Kind::WebVtt => webvtt::read(text),
        Kind::Comskip => comskip::read(text),
        Kind::Table => as_run::read(text),
        Kind::Edl => edl::read(text),
    }
}

/// The duration of the recording, where the text says it: segments and events.
pub fn duration(text: &str) -> Option<Pts> {
    let text = text.trim_start_matches('\u{feff}');
    if text.trim_start().starts_with('{') { json::duration(text) } else { None }
}

/// Sorts stretches; joins those of one label that overlap.
fn in_order(mut spans: Vec<Span>) -> Result<Vec<Span>, Error> {
    spans.sort_by(|a, b| (&a.head, a.start, a.end).cmp(&(&b.head, b.start, b.end)));
    let mut joined: Vec<Span> = Vec::with_capacity(spans.len());
    for next in spans {
        let before = joined.last_mut().filter(|l| l.head == next.head && next.start < l.end);
        match before {
            Some(last) if last.label == next.label => last.end = last.end.max(next.end),
            Some(last) if last.end.0 - next.start.0 > ROUNDING_NS => {
                return Err(Error::Contradiction {
                    at_s: next.start.as_secs_f64(),
                    first: Arc::clone(&last.label),
                    second: next.label,
                });
            }
            _ => joined.push(next),
        }
    }
    joined.sort_by(|a, b| (a.start, &a.head).cmp(&(b.start, &b.head)));
    Ok(joined)
}

/// The breaks among `spans`: those with the label `label`, touching ones joined.
///
/// # Errors
/// [`Error::NoBreak`] when there is none.
pub fn breaks(spans: &[Span], label: &str) -> Result<Vec<super::Break>, Error> {
    let label = names::plain(label);
    let mut found: Vec<super::Break> = Vec::new();
    for span in spans.iter().filter(|s| names::plain(&s.label) == label) {
        match found.last_mut().filter(|last| span.start <= last.end) {
            Some(last) => last.end = last.end.max(span.end),
            None => found.push(super::Break { start: span.start, end: span.end }),
        }
    }
    if found.is_empty() {
        return Err(Error::NoBreak(
            "no line with action 0 or 3 of an edit decision list, and nothing labelled `commercial`",
        ));
    }
    Ok(found)
}

/// The lines of a text with their numbers, trimmed, without empty ones.
pub(super) fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(n, l)| (n + 1, l.trim())).filter(|(_, l)| !l.is_empty())
}

/// A stretch, unless it ends before it begins.
pub(super) fn span(
    line: usize,
    head: Option<Arc<str>>,
    label: &str,
    start: Pts,
    end: Pts,
) -> Result<Span, Error> {
    if end <= start {
        return Err(Error::Backwards(line));
    }
    Ok(Span { head, label: label.into(), start, end })
}
