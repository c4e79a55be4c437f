//! The as-run table: what was on when, by the clock of the channel. Must not
//! know a file.

use super::Timeline;
use super::json::rounded;
use super::read::{Error, Span, span};
use super::time::{Origin, clock, millis, parse, seconds};
use crate::timeline::CueKind;
use crate::timeline::segment::Segment;

const COLUMNS: [&str; 13] = [
    "head",
    "label",
    "date",
    "start",
    "end",
    "duration",
    "start_s",
    "end_s",
    "duration_s",
    "confidence",
    "margin",
    "start_cues",
    "end_cues",
];

pub(super) fn write(timeline: &Timeline<'_>) -> String {
    let mut table = csv::Writer::from_writer(Vec::new());
    // Memory takes whatever is written.
    let _ = table.write_record(COLUMNS);
    let lasting = |s: &&Segment| millis(s.start) < millis(s.end);
    for s in timeline.segments.iter().filter(lasting) {
        let _ = table.write_record(row(timeline, s));
    }
    String::from_utf8(table.into_inner().unwrap_or_default()).unwrap_or_default()
}

fn row(timeline: &Timeline<'_>, s: &Segment) -> [String; 13] {
    let about = timeline.about;
    let (start, end) = (millis(s.start), millis(s.end));
    let length = end.saturating_sub(start);
    let (date, from, to) = match about.origin {
        Origin::Unknown => (String::new(), clock(start), clock(end)),
        Origin::Timecode(first) => {
            let rate = about.rate();
            (String::new(), first.after(s.start, rate), first.after(s.end, rate))
        }
        Origin::Wall(wall) => {
            // Both by the day on which it began: the end may lie beyond it.
            let (from, to) = (wall.after(s.start), wall.after(s.end));
            let day = from.broadcast_day(about.day_start_s);
            (day.to_string(), clock(from.millis_of(day)), clock(to.millis_of(day)))
        }
    };
    let number = |v: f32| rounded(v).map_or_else(String::new, |v| v.to_string());
    [
        s.head.to_string(),
        s.label.to_string(),
        date,
        from,
        to,
        clock(length),
        seconds(start),
        seconds(end),
        seconds(length),
        number(s.confidence),
        number(s.margin),
        cues(&s.start_cues),
        cues(&s.end_cues),
    ]
}

fn cues(cues: &[CueKind]) -> String {
    cues.iter().map(|c| c.name()).collect::<Vec<_>>().join(" ")
}

const TIME: &str = "the table has seconds or H:MM:SS.sss in the columns of start and end";

/// A table with the columns `label` and `start_s`, `end_s` (or `start`, `end`).
pub(super) fn read(text: &str) -> Result<Vec<Span>, Error> {
    let mut table = csv::ReaderBuilder::new().flexible(true).from_reader(text.as_bytes());
    let fault = |e: &csv::Error| Error::Whole(format!("it is no table: {e}"));
    let columns = table.headers().map_err(|e| fault(&e))?.clone();
    let column = |names: [&str; 2]| {
        names.iter().find_map(|name| columns.iter().position(|c| c.trim() == *name))
    };
    let (Some(label), Some(start), Some(end)) =
        (column(["label", "label"]), column(["start_s", "start"]), column(["end_s", "end"]))
    else {
        return Err(Error::Whole(
            "the table needs the columns `label`, `start_s` and `end_s`".to_owned(),
        ));
    };
    let head = column(["head", "head"]);
    let mut spans = Vec::new();
    for record in table.records() {
        let record = record.map_err(|e| fault(&e))?;
        let n = record.position().map_or(0, |p| usize::try_from(p.line()).unwrap_or(0));
        let field = |i: usize| record.get(i).unwrap_or_default().trim();
        let time = |i: usize| parse(field(i)).ok_or_else(|| Error::line(n, field(i), TIME));
        let head = head.map(field).filter(|h| !h.is_empty()).map(Into::into);
        spans.push(span(n, head, field(label), time(start)?, time(end)?)?);
    }
    Ok(spans)
}
