//! Segments as JSON Lines, a contract described in `docs/reference/timeline.md`,
//! and what an events file says about stretches. Must not know a file.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Timeline;
use super::boundaries::announced;
use super::read::{Error, OPEN_END, Span, lines, span};
use crate::frame::Pts;

/// Version of the contract; grows when a reader has to change.
const SCHEMA: u32 = 1;

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Line<'a> {
    Timeline {
        schema: u32,
        media: &'a str,
        duration_s: f64,
        settled_s: f64,
    },
    Segment {
        head: &'a str,
        label: &'a str,
        start_s: f64,
        end_s: f64,
        confidence: Option<f64>,
        margin: Option<f64>,
        start_cues: Vec<&'static str>,
        end_cues: Vec<&'static str>,
        #[serde(rename = "final")]
        settled: bool,
    },
}

pub(super) fn write(timeline: &Timeline<'_>) -> String {
    let mut text = line(&Line::Timeline {
        schema: SCHEMA,
        media: &timeline.about.media,
        duration_s: timeline.duration.as_secs_f64(),
        settled_s: timeline.settled.as_secs_f64(),
    });
    text.push('\n');
    for s in timeline.segments {
        text.push_str(&line(&Line::Segment {
            head: &s.head,
            label: &s.label,
            start_s: s.start.as_secs_f64(),
            end_s: s.end.as_secs_f64(),
            confidence: rounded(s.confidence),
            margin: rounded(s.margin),
            start_cues: s.start_cues.iter().map(|c| c.name()).collect(),
            end_cues: s.end_cues.iter().map(|c| c.name()).collect(),
            settled: !timeline.is_open(s.end),
        }));
        text.push('\n');
    }
    text
}

/// One line of JSON. Text, numbers and lists can always be written.
pub(super) fn line(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// To six decimals; nothing where JSON has no such number.
pub(super) fn rounded(value: f32) -> Option<f64> {
    value.is_finite().then(|| (f64::from(value) * 1e6).round() / 1e6)
}

/// A line, of either kind of file.
#[derive(Deserialize)]
struct Known {
    #[serde(rename = "type")]
    kind: Option<String>,
    head: Option<String>,
    label: Option<String>,
    start_s: Option<f64>,
    end_s: Option<f64>,
    pts_s: Option<f64>,
    shown: Option<Shown>,
    duration_s: Option<f64>,
}

#[derive(Deserialize)]
struct Shown {
    label: String,
}

/// Segments; of an events file, the stretches in which a head shows one class:
/// from the first analysed frame that does to the first that does not.
pub(super) fn read(text: &str) -> Result<Vec<Span>, Error> {
    let mut spans: Vec<Span> = Vec::new();
    // The stretch that each head is in, by its place in `spans`.
    let mut open: HashMap<Option<Arc<str>>, usize> = HashMap::new();
    let mut end = OPEN_END;
    for (n, line) in lines(text) {
        let known: Known = serde_json::from_str(line)
            .map_err(|e| Error::Json { line: n, reason: e.to_string() })?;
        let fault = |what: &str| Error::Json { line: n, reason: what.to_owned() };
        let at = |s: f64| Some(Pts::from_secs_f64(s)).filter(|_| s >= 0.0 && s.is_finite());
        let head: Option<Arc<str>> = known.head.map(Into::into);
        match known.kind.as_deref() {
            // Other programs' lines need no type.
            Some("segment") | None => {
                let label = known.label.ok_or_else(|| fault("it has no `label`"))?;
                let start =
                    known.start_s.and_then(at).ok_or_else(|| fault("it has no `start_s`"))?;
                let end = known.end_s.and_then(at).ok_or_else(|| fault("it has no `end_s`"))?;
                spans.push(span(n, head, &label, start, end)?);
            }
            Some("analysis") => {
                let Some(shown) = known.shown else { continue };
                let at = known.pts_s.and_then(at).ok_or_else(|| fault("it has no `pts_s`"))?;
                let last = open.get(&head).and_then(|i| spans.get_mut(*i));
                match last {
                    Some(last) if *last.label == *shown.label => last.end = OPEN_END,
                    last => {
                        if let Some(last) = last {
                            last.end = at;
                        }
                        open.insert(head.clone(), spans.len());
                        let label = shown.label.into();
                        spans.push(Span { head, label, start: at, end: OPEN_END });
                    }
                }
            }
            // A live stream: its decisions, not every frame.
            Some("boundary") => {
                return Ok(announced(text)?.into_iter().map(|a| a.span).collect());
            }
            Some("end") => end = known.duration_s.and_then(at).unwrap_or(OPEN_END),
            _ => {}
        }
    }
    // The last analysed frame stands for all that follows.
    for i in open.into_values() {
        if let Some(last) = spans.get_mut(i) {
            last.end = end.max(Pts(last.start.0.saturating_add(1)));
        }
    }
    Ok(spans)
}

/// The duration that a line of either kind of file states.
pub(super) fn duration(text: &str) -> Option<Pts> {
    let known = text.lines().filter_map(|line| serde_json::from_str::<Known>(line).ok());
    let said = known.filter(|k| matches!(k.kind.as_deref(), Some("timeline" | "end")));
    let said = said.filter_map(|k| k.duration_s).filter(|s| s.is_finite() && *s > 0.0);
    said.last().map(Pts::from_secs_f64)
}
