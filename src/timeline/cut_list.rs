//! Reads where the commercial breaks of a recording are: the edit decision
//! lists of MPlayer, Kodi and Comskip. Called before a recording is learnt
//! from; must not know a file.

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
