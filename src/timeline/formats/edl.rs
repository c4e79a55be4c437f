//! The edit decision list of `MPlayer`, as Kodi reads it (its `EdlFileParser`):
//! `START END ACTION`, in seconds. Must not know a file.

use super::read::{BREAK, Error, Span, lines, span};
use super::time::{millis, parse, seconds};
use super::{Break, Timeline};

/// What a player is asked to do with a break.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Action {
    /// 0: leave it out. The only skip that `MPlayer` knows.
    Cut,
    /// 1: be silent.
    Mute,
    /// 3: show it as a commercial break, skip it where people ask for that.
    #[default]
    Break,
}

impl std::str::FromStr for Action {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "cut" | "0" => Ok(Self::Cut),
            "mute" | "1" => Ok(Self::Mute),
            "break" | "3" => Ok(Self::Break),
            _ => Err(format!("{text:?} is no action of an edit decision list: break, cut or mute")),
        }
    }
}

/// One line per break. Kodi refuses a break that begins where the one before
/// ends, so those that touch once rounded are joined.
pub(super) fn write(timeline: &Timeline<'_>) -> String {
    let action = match timeline.about.action {
        Action::Cut => 0,
        Action::Mute => 1,
        Action::Break => 3,
    };
    let line = |(start, end): (u64, u64)| format!("{} {} {action}\n", seconds(start), seconds(end));
    apart(&timeline.breaks()).into_iter().map(line).collect()
}

/// Breaks in milliseconds, with at least one between two of them.
fn apart(breaks: &[Break]) -> Vec<(u64, u64)> {
    let mut apart: Vec<(u64, u64)> = Vec::with_capacity(breaks.len());
    for (start, end) in breaks.iter().map(|b| (millis(b.start), millis(b.end))) {
        match apart.last_mut().filter(|last| start <= last.1) {
            Some(last) => last.1 = last.1.max(end),
            None if start < end => apart.push((start, end)),
            None => {}
        }
    }
    apart
}

const WANTED: &str = "an edit decision list has `START END ACTION` there, in seconds";

/// The breaks: lines with the action 3, or 0 as Comskip writes them. Other
/// actions and comments (`##`) are skipped.
pub(super) fn read(text: &str) -> Result<Vec<Span>, Error> {
    let mut spans = Vec::new();
    for (n, line) in lines(text).filter(|(_, l)| !l.starts_with("##")) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        if fields.iter().take(2).any(|f| f.starts_with('#')) {
            return Err(Error::Frames(n));
        }
        let fault = || Error::line(n, line, WANTED);
        match fields[..] {
            // A scene marker: a time and the action 2.
            [time, "2"] if parse(time).is_some() => {}
            [start, end, action] => {
                let (start, end) = (parse(start).ok_or_else(fault)?, parse(end).ok_or_else(fault)?);
                let action: u32 = action.parse().map_err(|_| fault())?;
                if matches!(action, 0 | 3) {
                    spans.push(span(n, None, BREAK, start, end)?);
                }
            }
            _ => return Err(fault()),
        }
    }
    Ok(spans)
}
