//! Reads where the commercial breaks of a recording are: the edit decision
//! lists of MPlayer, Kodi and Comskip, and the events of this program. Called
//! before a recording is learnt from; must not know a file.

use serde::Deserialize;

/// A commercial break, in seconds of stream time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Break {
    /// Where it begins.
    pub start_s: f64,
    /// Where it ends.
    pub end_s: f64,
}

/// Why a text is no edit decision list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A line that cannot be read.
    #[error(
        "line {line} is {text:?}; an edit decision list has `START END ACTION` there, in seconds"
    )]
    Line {
        /// Counted from one.
        line: usize,
        /// What it holds.
        text: String,
    },
    /// Times in frames mean nothing without a frame rate.
    #[error("line {0} counts frames (#); write the list in seconds")]
    Frames(usize),
    /// A break that ends before it begins.
    #[error("line {0} ends before it begins")]
    Backwards(usize),
    /// There is no break in it.
    #[error("holds no commercial break (action 0 or 3)")]
    NoBreak,
    /// A line of an events file that cannot be read.
    #[error("line {line} is not an event of Heatcast: {reason}")]
    Event {
        /// Counted from one.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// Events without a break.
    #[error(
        "holds no event that shows `commercial`; annotate with --events and a model that knows it"
    )]
    NoCommercial,
}

/// The breaks in `text`: an edit decision list, or the lines of an events file.
///
/// # Errors
/// As [`parse_edl`] and [`parse_events`].
pub fn parse(text: &str) -> Result<Vec<Break>, Error> {
    if text.trim_start_matches('\u{feff}').trim_start().starts_with('{') {
        parse_events(text)
    } else {
        parse_edl(text)
    }
}

/// The part of an event that is read here.
#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    pts_s: f64,
    shown: Option<Shown>,
}

#[derive(Deserialize)]
struct Shown {
    label: String,
}

/// The stretches of an events file in which a head with the class `commercial`
/// shows it: from the first analysed frame of each to the first one after it.
///
/// # Errors
/// [`Error::Event`] for the first line that is no event, and
/// [`Error::NoCommercial`].
pub fn parse_events(text: &str) -> Result<Vec<Break>, Error> {
    let mut breaks: Vec<Break> = Vec::new();
    let (mut open, mut last) = (false, 0.0);
    for (n, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let event: Event = serde_json::from_str(line)
            .map_err(|e| Error::Event { line: n + 1, reason: e.to_string() })?;
        let Some(shown) = event.shown.filter(|_| event.kind == "analysis") else { continue };
        let in_break = match shown.label.as_str() {
            "commercial" => true,
            "show" => false,
            // Another head's answer.
            _ => continue,
        };
        if event.pts_s < last {
            let reason =
                format!("its time, {} s, is before the {last} s of another above it", event.pts_s);
            return Err(Error::Event { line: n + 1, reason });
        }
        last = event.pts_s;
        match breaks.last_mut().filter(|_| open) {
            Some(current) => current.end_s = last,
            None if in_break => breaks.push(Break { start_s: last, end_s: last }),
            None => {}
        }
        open = in_break;
    }
    // The last analysed frame stands for all that follows.
    if let Some(current) = breaks.last_mut().filter(|b| open && b.end_s <= last) {
        current.end_s = f64::MAX;
    }
    if breaks.is_empty() { Err(Error::NoCommercial) } else { Ok(breaks) }
}

/// The breaks of the edit decision list `text`, in order, overlaps joined.
///
/// A line is `START END ACTION`, times as seconds or as `H:MM:SS.sss`. Action
/// 3 is a commercial break; Comskip writes 0, a cut. Other actions and lines
/// that begin with `##` are skipped. (The grammar is that of Kodi's
/// `EdlFileParser`.)
///
/// # Errors
/// [`Error`] for the first line that cannot be read, and when no break is left.
pub fn parse_edl(text: &str) -> Result<Vec<Break>, Error> {
    let mut breaks = Vec::new();
    for (n, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let (n, line) = (n + 1, line.trim());
        if line.is_empty() || line.starts_with("##") {
            continue;
        }
        let fault = || Error::Line { line: n, text: line.chars().take(60).collect() };
        let fields: Vec<&str> = line.split_whitespace().collect();
        if fields.iter().take(2).any(|f| f.starts_with('#')) {
            return Err(Error::Frames(n));
        }
        match fields[..] {
            // A scene marker: a time and the action 2.
            [time, action] if seconds(time).is_some() && action == "2" => {}
            [start, end, action] => {
                let (Some(start_s), Some(end_s)) = (seconds(start), seconds(end)) else {
                    return Err(fault());
                };
                let action: u32 = action.parse().map_err(|_| fault())?;
                if !matches!(action, 0 | 3) {
                    continue;
                }
                if end_s <= start_s {
                    return Err(Error::Backwards(n));
                }
                breaks.push(Break { start_s, end_s });
            }
            _ => return Err(fault()),
        }
    }
    breaks.sort_by(|a, b| a.start_s.total_cmp(&b.start_s));
    let mut joined: Vec<Break> = Vec::with_capacity(breaks.len());
    for next in breaks {
        match joined.last_mut().filter(|last| next.start_s <= last.end_s) {
            Some(last) => last.end_s = last.end_s.max(next.end_s),
            None => joined.push(next),
        }
    }
    if joined.is_empty() { Err(Error::NoBreak) } else { Ok(joined) }
}

/// `12.5` or `0:01:02.5` in seconds.
fn seconds(text: &str) -> Option<f64> {
    let mut total = 0.0;
    for part in text.split(':') {
        if part.is_empty() || !part.chars().all(|c| c.is_ascii_digit() || c == '.') {
            return None;
        }
        total = total * 60.0 + part.parse::<f64>().ok()?;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_kodi_and_comskip_are_read() {
        let text = "## written by hand\r\n5.3   7.1    0\n0:01:00.5 00:02:00 3\n10 12 1\n15 2\n\n\
                    119.0\t130.25\t3\n";
        let found = parse_edl(text).unwrap();
        let wanted = [(5.3, 7.1), (60.5, 130.25)];
        assert_eq!(found, wanted.map(|(start_s, end_s)| Break { start_s, end_s }));
    }

    #[test]
    fn events_are_breaks_from_the_first_commercial_to_the_next_show() {
        let event = |pts: f64, head: &str, label: &str| {
            format!(
                r#"{{"type":"analysis","pts_s":{pts},"head":"{head}","label":"x","shown":{{"label":"{label}","probability":0.9}}}}"#
            )
        };
        let text = [
            r#"{"type":"header","schema":1}"#.to_owned(),
            event(0.0, "content", "show"),
            event(0.5, "content", "commercial"),
            event(0.5, "sport", "tennis"),
            event(1.0, "content", "commercial"),
            event(1.5, "content", "show"),
            event(2.0, "content", "commercial"),
            event(2.5, "content", "commercial"),
        ]
        .join("\n");
        let wanted = [(0.5, 1.5), (2.0, f64::MAX)];
        let found = parse(&text).unwrap();
        assert_eq!(found, wanted.map(|(start_s, end_s)| Break { start_s, end_s }));
        let none = parse(&event(0.0, "content", "show")).unwrap_err().to_string();
        assert!(none.contains("no event that shows `commercial`"), "{none}");
        let bad = parse("{\"type\":\"header\"}\n{oops").unwrap_err().to_string();
        assert!(bad.contains("line 2 is not an event"), "{bad}");
        let back = [event(3.0, "content", "commercial"), event(2.5, "content", "show")].join("\n");
        let said = parse(&back).unwrap_err().to_string();
        assert!(said.contains("line 2") && said.contains("2.5 s, is before the 3 s"), "{said}");
    }

    #[test]
    fn what_cannot_be_read_is_named_with_its_line() {
        for (text, says) in [
            ("1 2 3\nhello\n", "line 2 is \"hello\""),
            ("#12 #40 3", "line 1 counts frames"),
            ("9 5 0", "line 1 ends before"),
            ("1 2 x", "line 1 is"),
            ("-1 2 3", "line 1 is"),
            ("1 2 1\n", "holds no commercial break"),
            ("", "holds no commercial break"),
        ] {
            let said = parse_edl(text).unwrap_err().to_string();
            assert!(said.contains(says), "{text}: {said}");
        }
    }
}
