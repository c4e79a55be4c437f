//! The drawings of the page: a ribbon of segments with the cues below, and the
//! probabilities over time.

use std::fmt::Write;
use std::sync::Arc;

use super::{Page, clock, colour, escape, exact, percent};
use crate::timeline::{CueKind, Segment};

/// Units across every drawing.
const WIDTH: f64 = 1100.0;
/// Points of a curve; more than there are pixels across tell nothing.
const POINTS: usize = 550;
/// Labels drawn as curves, at most.
const CURVES: usize = 6;
/// Distances of the marks on the time axis, seconds.
const MARKS_S: [f64; 12] =
    [1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0, 14_400.0];
/// Rows of cues and what is in them. Shot cuts are too many to be drawn.
const ROWS: [(&str, &[CueKind]); 3] = [
    ("black", &[CueKind::Black]),
    ("silence", &[CueKind::Silence]),
    ("other", &[CueKind::Freeze, CueKind::Aspect, CueKind::AudioChannels, CueKind::Scte35]),
];

fn x(page: &Page<'_>, seconds: f64) -> f64 {
    (seconds / page.duration_s.max(1e-9)).clamp(0.0, 1.0) * WIDTH
}

pub(super) fn ribbon(
    out: &mut String,
    page: &Page<'_>,
    labels: &[Arc<str>],
    segments: &[(usize, &Segment)],
) -> std::fmt::Result {
    let rows = ROWS.iter().filter(|(_, kinds)| page.cues.iter().any(|c| kinds.contains(&c.kind)));
    let rows: Vec<_> = rows.collect();
    let height = 66.0 + rows.len() as f64 * 13.0;
    write!(out, "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"segments\">")?;
    for (i, s) in segments {
        let (from, to) = (x(page, s.start.as_secs_f64()), x(page, s.end.as_secs_f64()));
        let place = labels.iter().position(|l| *l == s.label).unwrap_or(0);
        let width = (to - from).max(0.5);
        write!(
            out,
            "<a href=\"#s{i}\"><rect x=\"{from:.1}\" y=\"0\" width=\"{width:.1}\" height=\"40\" \
             fill=\"{}\" stroke=\"var(--paper)\"><title>{} to {}: {}, confidence {}</title></rect></a>",
            colour(place),
            exact(s.start.as_secs_f64()),
            exact(s.end.as_secs_f64()),
            escape(&s.label),
            percent(s.confidence)
        )?;
    }
    for (row, (name, kinds)) in rows.iter().enumerate() {
        let y = 44.0 + row as f64 * 13.0;
        for cue in page.cues.iter().filter(|c| kinds.contains(&c.kind)) {
            let (start, end) = (cue.start.as_secs_f64(), cue.end.as_secs_f64());
            let width = (x(page, end) - x(page, start)).max(1.0);
            write!(
                out,
                "<rect x=\"{:.1}\" y=\"{y}\" width=\"{width:.1}\" height=\"10\" fill=\"currentColor\">\
                 <title>{} at {}, {:.2} s</title></rect>",
                x(page, start),
                cue.kind.name().replace('_', " "),
                exact(start),
                end - start
            )?;
        }
        write!(
            out,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{name}</text>",
            WIDTH - 2.0,
            y + 9.0
        )?;
    }
    axis(out, page, height - 18.0)?;
    out.push_str("</svg>\n");
    Ok(())
}

fn axis(out: &mut String, page: &Page<'_>, y: f64) -> std::fmt::Result {
    let step = MARKS_S.into_iter().find(|s| page.duration_s / s <= 12.0).unwrap_or(28_800.0);
    let mut at = 0.0;
    while at <= page.duration_s {
        let left = x(page, at);
        let anchor = if at == 0.0 { "start" } else { "middle" };
        write!(
            out,
            "<line x1=\"{left:.1}\" y1=\"{y}\" x2=\"{left:.1}\" y2=\"{}\" stroke=\"var(--soft)\"/>",
            y + 4.0
        )?;
        write!(
            out,
            "<text x=\"{left:.1}\" y=\"{}\" text-anchor=\"{anchor}\">{}</text>",
            y + 15.0,
            clock(at)
        )?;
        at += step;
    }
    Ok(())
}

/// Probabilities over time: one curve for each label that is used; of two
/// labels the second says all.
pub(super) fn strip(
    out: &mut String,
    page: &Page<'_>,
    head: usize,
    used: &[usize],
) -> std::fmt::Result {
    let labels = &page.heads[head].1;
    let curves: Vec<usize> = match labels.len() {
        2 => vec![1],
        _ => used.iter().copied().take(CURVES).collect(),
    };
    let names: Vec<String> = curves.iter().map(|i| escape(&labels[*i])).collect();
    writeln!(out, "<h3>Probability of {}</h3>", names.join(", "))?;
    let (top, bottom) = (6.0, 106.0);
    let height = bottom + 20.0;
    write!(
        out,
        "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"probabilities\">"
    )?;
    for (part, name) in [(0.0, "0"), (0.5, ".5"), (1.0, "1")] {
        let y = bottom - part * (bottom - top);
        write!(
            out,
            "<line x1=\"0\" y1=\"{y}\" x2=\"{WIDTH}\" y2=\"{y}\" stroke=\"var(--line)\"/>\
             <text x=\"2\" y=\"{}\">{name}</text>",
            y - 2.0
        )?;
    }
    for label in curves {
        let points = means(page, head, label);
        let mut path = String::new();
        for (seconds, p) in &points {
            let y = bottom - f64::from(*p) * (bottom - top);
            write!(path, "{:.1},{y:.1} ", x(page, *seconds))?;
        }
        write!(
            out,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"1.4\"/>",
            path.trim_end(),
            colour(label)
        )?;
    }
    axis(out, page, bottom)?;
    out.push_str("</svg>\n");
    Ok(())
}

/// The mean probability in every stretch of the drawing that has any.
fn means(page: &Page<'_>, head: usize, label: usize) -> Vec<(f64, f32)> {
    let mut sums = vec![(0.0, 0.0, 0.0_f64); POINTS];
    for (seconds, heads) in page.answers {
        let Some(p) = heads.get(head).and_then(|h| h.get(label)) else { continue };
        let at = (seconds / page.duration_s.max(1e-9) * POINTS as f64) as usize;
        let sum = &mut sums[at.min(POINTS - 1)];
        *sum = (sum.0 + seconds, sum.1 + f64::from(*p), sum.2 + 1.0);
    }
    let filled = sums.into_iter().filter(|(.., n)| *n > 0.0);
    filled.map(|(seconds, p, n)| (seconds / n, (p / n) as f32)).collect()
}
