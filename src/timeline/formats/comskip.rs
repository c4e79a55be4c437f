//! Comskip's list of frames, as Kodi, `SageTV` and scripts read it. Must not
//! know a file.
//!
//! ```text
//! FILE PROCESSING COMPLETE  15001 FRAMES AT  2500
//! -------------------
//! 6005	9005
//! ```
//! The rate is frames per second times a hundred. Readers divide by the rate
//! that stands there, so frames are counted at that one: at 23.976 frames per
//! second, which becomes 2398, times would go wrong by 0.6 s an hour otherwise.

use super::Timeline;
use super::read::{BREAK, Error, Span, lines, span};
use super::time::frames;
use crate::frame::Pts;

/// How the first line begins.
pub(super) const HEADER: &str = "FILE PROCESSING COMPLETE";
/// Most hundredths of frames per second that a line may claim.
const FASTEST: f64 = 100_000_000.0;

pub(super) fn write(timeline: &Timeline<'_>) -> String {
    let rate = (timeline.about.rate() * 100.0).round();
    let frame = |at: Pts| frames(at, rate / 100.0);
    let mut text = format!("{HEADER} {:>6} FRAMES AT {rate:>5}\n", frame(timeline.duration));
    text.push_str("-------------------\n");
    let mut free = 0;
    for b in timeline.breaks() {
        // Two breaks must not share a frame, nor one have none.
        let (start, end) = (frame(b.start).max(free), frame(b.end));
        if start < end {
            text.push_str(&format!("{start}\t{end}\n"));
            free = end + 1;
        }
    }
    text
}

const WANTED: &str = "Comskip has `FILE PROCESSING COMPLETE <n> FRAMES AT <rate x 100>` there";
const PAIR: &str = "Comskip has the first and the last frame of a break there";

pub(super) fn read(text: &str) -> Result<Vec<Span>, Error> {
    let mut lines = lines(text);
    let (n, first) = lines.next().unwrap_or((1, ""));
    let rate = first.strip_prefix(HEADER).and_then(|rest| {
        match rest.split_whitespace().collect::<Vec<_>>()[..] {
            [_, "FRAMES", "AT", rate] => rate.parse::<f64>().ok(),
            _ => None,
        }
    });
    let rate = rate.filter(|r| (1.0..FASTEST).contains(r));
    let rate = rate.ok_or_else(|| Error::line(n, first, WANTED))? / 100.0;
    let mut spans = Vec::new();
    for (n, line) in lines.filter(|(_, l)| !l.starts_with('-')) {
        let fields: Option<Vec<f64>> = line.split_whitespace().map(|f| f.parse().ok()).collect();
        match fields.as_deref() {
            Some([start, end]) if *start >= 0.0 && end.is_finite() => {
                let at = |frame: &f64| Pts::from_secs_f64(frame / rate);
                spans.push(span(n, None, BREAK, at(start), at(end))?);
            }
            _ => return Err(Error::line(n, line, PAIR)),
        }
    }
    Ok(spans)
}
