//! Chapters: of the head that was segmented first, since chapters cannot
//! overlap; and their text form, ffmpeg's `FFMETADATA1`. Must not know a file.

use super::Timeline;
use super::read::{Error, OPEN_END, Span, span};
use super::time::millis;
use crate::frame::Pts;

/// A chapter, half open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chapter {
    /// Where it begins.
    pub start: Pts,
    /// Where it ends.
    pub end: Pts,
    /// What players show.
    pub title: String,
}

/// The chapters of a timeline: the segments of its first head.
pub fn chapters(timeline: &Timeline<'_>) -> Vec<Chapter> {
    let first = timeline.segments.first().map(|s| &s.head);
    timeline
        .segments
        .iter()
        .filter(|s| Some(&s.head) == first && millis(s.start) < millis(s.end))
        .map(|s| Chapter { start: s.start, end: s.end, title: s.label.to_string() })
        .collect()
}

const FIRST: &str = ";FFMETADATA1";

pub(super) fn write(timeline: &Timeline<'_>) -> String {
    let mut text = format!("{FIRST}\n");
    for chapter in chapters(timeline) {
        text.push_str(&format!(
            "\n[CHAPTER]\nTIMEBASE=1/1000\nSTART={}\nEND={}\ntitle={}\n",
            millis(chapter.start),
            millis(chapter.end),
            escaped(&chapter.title),
        ));
    }
    text
}

/// `=`, `;`, `#`, `\` and line breaks follow a backslash.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '=' | ';' | '#' | '\\' | '\n') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// A chapter being read.
struct Part {
    line: usize,
    base: (u64, u64),
    start: Option<u64>,
    end: Option<u64>,
    title: String,
}

const WANTED: &str = "chapters for ffmpeg have `;FFMETADATA1`, `[CHAPTER]` or `key=value` there";
const NUMBER: &str = "chapters for ffmpeg have a whole number there";

pub(super) fn read(text: &str) -> Result<Vec<Span>, Error> {
    let mut parts: Vec<Part> = Vec::new();
    let mut in_chapter = false;
    let mut begun = false;
    for (n, line) in logical_lines(text) {
        let fault = || Error::line(n, &line, WANTED);
        if !begun {
            if !line.starts_with(";FFMETADATA") {
                return Err(fault());
            }
            begun = true;
            continue;
        }
        if line.starts_with([';', '#']) || line.trim().is_empty() {
            continue;
        }
        if let Some(section) = line.strip_prefix('[') {
            in_chapter = section.trim_end().eq_ignore_ascii_case("CHAPTER]");
            if in_chapter {
                // Nanoseconds unless it is said otherwise.
                let base = (1, 1_000_000_000);
                parts.push(Part { line: n, base, start: None, end: None, title: String::new() });
            }
            continue;
        }
        let (key, value) = split(&line).ok_or_else(fault)?;
        let Some(part) = parts.last_mut().filter(|_| in_chapter) else { continue };
        let number = || value.trim().parse::<u64>().map_err(|_| Error::line(n, &line, NUMBER));
        match key.as_str() {
            "TIMEBASE" => {
                let base = value.split_once('/').and_then(|(a, b)| {
                    Some((a.trim().parse::<u64>().ok()?, b.trim().parse::<u64>().ok()?))
                });
                part.base = base.filter(|(a, b)| *a > 0 && *b > 0).ok_or_else(fault)?;
            }
            "START" => part.start = Some(number()?),
            "END" => part.end = Some(number()?),
            "title" => part.title = value,
            _ => {}
        }
    }
    let at = |n: u64, (num, den): (u64, u64)| {
        let ns = u128::from(n) * 1_000_000_000 * u128::from(num) / u128::from(den);
        Pts(u64::try_from(ns).unwrap_or(u64::MAX))
    };
    let starts: Vec<Pts> = parts.iter().map(|p| at(p.start.unwrap_or(0), p.base)).collect();
    let following = starts.iter().skip(1).copied().chain([OPEN_END]);
    parts
        .iter()
        .zip(&starts)
        .zip(following)
        .map(|((part, start), next)| {
            let end = part.end.map_or(next, |end| at(end, part.base));
            span(part.line, None, &part.title, *start, end)
        })
        .collect()
}

/// Lines with their numbers; a backslash before its end joins a line and the next.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = Vec::new();
    let mut open = false;
    for (n, line) in text.lines().enumerate() {
        match found.last_mut().filter(|_| open) {
            Some((_, last)) => {
                last.push('\n');
                last.push_str(line);
            }
            None => found.push((n + 1, line.to_owned())),
        }
        open = line.chars().rev().take_while(|c| *c == '\\').count() % 2 == 1;
    }
    found
}

/// Key and value, without their backslashes.
fn split(line: &str) -> Option<(String, String)> {
    let (mut key, mut rest) = (None, String::new());
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => rest.extend(chars.next()),
            '=' if key.is_none() => key = Some(std::mem::take(&mut rest)),
            _ => rest.push(c),
        }
    }
    Some((key?, rest))
}
