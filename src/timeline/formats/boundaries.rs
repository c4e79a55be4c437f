//! The segments of a live stream in its events file: what was decided in the
//! end, and when it was first said. Must not know a file.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use super::read::{Error, Span, lines, span};
use crate::frame::Pts;

/// A segment with the stream times at which its edges were announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced {
    /// The segment.
    pub span: Span,
    /// When its start was first mentioned.
    pub start_said: Pts,
    /// When its end was first mentioned, and not taken back after.
    pub end_said: Pts,
}

/// A line about an edge; `docs/reference/events.md` describes it.
#[derive(Deserialize)]
struct Line {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    at_s: f64,
    #[serde(default)]
    id: u64,
    #[serde(default)]
    edge: String,
    #[serde(default)]
    state: String,
    head: Option<String>,
    #[serde(default)]
    label: String,
    #[serde(default)]
    start_s: f64,
    #[serde(default)]
    end_s: f64,
}

#[derive(Clone, Copy, Default)]
struct Said {
    start: Option<Pts>,
    end: Option<Pts>,
}

/// The segments of an events file whose end is final, in the order of that.
///
/// # Errors
/// For the first line that is no JSON, and the first segment that ends before
/// it begins.
pub fn announced(text: &str) -> Result<Vec<Announced>, Error> {
    let (mut found, mut said) = (Vec::new(), BTreeMap::<(Option<String>, u64), Said>::new());
    for (n, text) in lines(text.trim_start_matches('\u{feff}')) {
        if !text.contains("\"boundary\"") {
            continue;
        }
        let line: Line = serde_json::from_str(text)
            .map_err(|e| Error::Json { line: n, reason: e.to_string() })?;
        if line.kind != "boundary" {
            continue;
        }
        let at = Pts::from_secs_f64(line.at_s);
        let it = said.entry((line.head.clone(), line.id)).or_default();
        match (line.edge.as_str(), line.state.as_str()) {
            ("start", "retracted") => *it = Said::default(),
            ("end", "retracted") => it.end = None,
            ("end", state) => {
                let end_said = *it.end.get_or_insert(at);
                if state == "final" {
                    let head: Option<Arc<str>> = line.head.map(Into::into);
                    let (start, end) = (line.start_s, line.end_s);
                    let (start, end) = (Pts::from_secs_f64(start), Pts::from_secs_f64(end));
                    let span = span(n, head, &line.label, start, end)?;
                    let start_said = it.start.unwrap_or(at);
                    found.push(Announced { span, start_said, end_said });
                }
            }
            _ => {
                it.start.get_or_insert(at);
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announcements_are_first_mentions_that_were_not_taken_back() {
        let doc = include_str!("../../../docs/reference/events.md");
        let example: Vec<&str> =
            doc.lines().filter(|l| l.starts_with("{\"type\":\"boundary\"")).collect();
        let more = |id: u32, edge: &str, state: &str, at: u32| {
            format!(
                r#"{{"type":"boundary","at_s":{at},"id":{id},"edge":"{edge}","state":"{state}","head":"content","label":"show","start_s":420.2,"end_s":{at}}}"#
            )
        };
        let text = [
            &example.join("\n"),
            r#"{"type":"analysis","pts_s":1.0,"label":"boundary"}"#,
            &more(3, "start", "provisional", 425),
            &more(3, "start", "retracted", 430),
            &more(4, "start", "provisional", 440),
            &more(4, "end", "provisional", 500),
            &more(4, "end", "retracted", 510),
            &more(4, "end", "provisional", 600),
            &more(4, "end", "final", 630),
        ]
        .join("\n");
        let found = announced(&text).unwrap();
        let seconds = |a: &Announced| {
            [a.span.start, a.span.end, a.start_said, a.end_said].map(Pts::as_secs_f64)
        };
        assert_eq!(found.len(), 2);
        assert_eq!(seconds(&found[0]), [300.2, 420.2, 312.0, 450.4]);
        assert_eq!(&*found[0].span.label, "commercial");
        assert_eq!(seconds(&found[1]), [420.2, 630.0, 440.0, 600.0]);
        // A reader of any format gets the same segments.
        let read = super::super::read(&text, "events.jsonl").unwrap();
        assert_eq!(read, found.iter().map(|a| a.span.clone()).collect::<Vec<_>>());
    }
}
