//! A `WebVTT` metadata track: one cue per segment, its payload a JSON object.
//! Must not know a file.

use serde::{Deserialize, Serialize};

use super::Timeline;
use super::json::{self, rounded};
use super::read::{Error, Span, lines, span};
use super::time::{clock, millis, parse};

#[derive(Serialize)]
struct Payload<'a> {
    head: &'a str,
    label: &'a str,
    confidence: Option<f64>,
    start_cues: Vec<&'static str>,
    end_cues: Vec<&'static str>,
}

pub(super) fn write(timeline: &Timeline<'_>) -> String {
    let mut text = "WEBVTT\n".to_owned();
    for (i, s) in timeline.segments.iter().enumerate() {
        let payload = Payload {
            head: &s.head,
            label: &s.label,
            confidence: rounded(s.confidence),
            start_cues: s.start_cues.iter().map(|c| c.name()).collect(),
            end_cues: s.end_cues.iter().map(|c| c.name()).collect(),
        };
        // No browser takes these for markup, and `-->` must not occur.
        let payload = json::line(&payload)
            .replace('&', "\\u0026")
            .replace('<', "\\u003c")
            .replace('>', "\\u003e");
        let (start, end) = (millis(s.start), millis(s.end));
        if start < end {
            text.push_str(&format!(
                "\n{}\n{} --> {}\n{payload}\n",
                i + 1,
                clock(start),
                clock(end)
            ));
        }
    }
    text
}

/// The part of a payload that is read back.
#[derive(Deserialize)]
struct Known {
    head: Option<String>,
    label: String,
}

const TIMES: &str = "WebVTT has `HH:MM:SS.mmm --> HH:MM:SS.mmm` there";
const FIRST: &str = "a WebVTT file begins with `WEBVTT`";

/// Cues whose payload is an object of ours, or the label itself.
pub(super) fn read(text: &str) -> Result<Vec<Span>, Error> {
    let (n, first) = lines(text).next().unwrap_or((1, ""));
    if !first.starts_with("WEBVTT") {
        return Err(Error::line(n, first, FIRST));
    }
    let mut spans = Vec::new();
    let mut rest = text.lines().enumerate().map(|(n, l)| (n + 1, l.trim()));
    while let Some((n, line)) = rest.next() {
        let Some((start, end)) = line.split_once("-->") else { continue };
        let end = end.split_whitespace().next().unwrap_or_default();
        let fault = || Error::line(n, line, TIMES);
        let start = parse(start.trim()).ok_or_else(fault)?;
        let end = parse(end).ok_or_else(fault)?;
        let payload: Vec<&str> =
            rest.by_ref().map(|(_, l)| l).take_while(|l| !l.is_empty()).collect();
        let payload = payload.join("\n");
        spans.push(match serde_json::from_str::<Known>(&payload) {
            Ok(Known { head, label }) => span(n, head.map(Into::into), &label, start, end)?,
            Err(_) => span(n, None, &payload, start, end)?,
        });
    }
    Ok(spans)
}
