//! What a report shows: pictures from both sides of every boundary with the
//! heat of their label, and where the classifier looked on the whole.

use crossbeam_channel::Receiver;

use super::Watch;
use super::eye::{Eye, Look};
use super::look::Pass;
use crate::frame::Pts;
use crate::media::{Frame, Pick, Places, Skim, SkimOptions};
use crate::still::Still;
use crate::timeline::Segment;
use crate::timeline::cues::PictureCues;
use crate::timeline::report::{BoundaryLook, LabelLook, StillLook};

/// Seconds from a boundary to the pictures that are shown, where there are any
/// that are not black.
const AWAY_S: f64 = 0.4;
/// Seconds from a boundary beyond which no picture is taken.
const FAR_S: f64 = 2.0;
/// Boundaries of which stills are kept, at most.
const MOST: usize = 400;
/// Quality of stills, 1 to 100.
const QUALITY: u8 = 78;

fn jpeg(still: &Still) -> Vec<u8> {
    still.to_jpeg(QUALITY).unwrap_or_default()
}

/// The mean pictures of all labels that were seen.
pub(super) fn of_labels(eye: &Eye) -> Vec<LabelLook> {
    let mut looks = Vec::new();
    for (head, labels) in eye.focus.iter().flatten().enumerate() {
        for (label, focus) in labels.iter().enumerate().filter(|(_, f)| f.pictures > 0) {
            let Some((mean, heat)) = eye.mean_look(focus) else { continue };
            looks.push(LabelLook {
                head,
                label,
                pictures: focus.pictures,
                mean: jpeg(&mean),
                heat: jpeg(&heat),
                fixation: focus.fixation(),
                fixed: focus.is_fixed(),
            });
        }
    }
    looks
}

/// A boundary that is waited for.
struct Edge {
    segment: usize,
    at: Pts,
    /// Question and label before and after.
    question: usize,
    labels: [usize; 2],
}

/// Stills of both sides of every boundary, in order of the segments.
///
/// # Errors
/// When the recording cannot be opened any more.
pub(super) fn at_boundaries(
    pass: &Pass<'_>,
    segments: &[Segment],
    places: Option<&Places>,
    eye: &mut Eye,
    watch: &Watch,
) -> anyhow::Result<Vec<BoundaryLook>> {
    let edges = edges(segments, eye);
    if edges.is_empty() {
        return Ok(Vec::new());
    }
    let s = Pts::from_secs_f64;
    let mut spans: Vec<(Pts, Pts)> = edges
        .iter()
        .map(|e| (s(e.at.as_secs_f64() - FAR_S), s(e.at.as_secs_f64() + FAR_S)))
        .collect();
    spans.sort_unstable();
    let parts = places.map(|places| places.parts(&spans));
    let options = SkimOptions { pick: Pick::Within(spans), parts, ..pass.options.clone() };
    let (skim, frames, _) = Skim::open(pass.path, &options)?;
    let looks = walk(&edges, &frames, eye, watch, pass);
    skim.stop();
    Ok(looks)
}

fn edges(segments: &[Segment], eye: &Eye) -> Vec<Edge> {
    let mut edges = Vec::new();
    for (i, pair) in segments.windows(2).enumerate() {
        let [before, after] = pair else { continue };
        let question = eye.questions.iter().position(|q| q.name == after.head);
        let Some(question) = question.filter(|_| before.head == after.head) else { continue };
        let label = |name: &str| {
            eye.questions[question].labels.iter().position(|l| **l == *name).unwrap_or(0)
        };
        let labels = [label(&before.label), label(&after.label)];
        edges.push(Edge { segment: i + 1, at: after.start, question, labels });
    }
    edges.truncate(MOST);
    edges
}

/// What a black picture is worse than any other.
const BLACK: f64 = 10.0;

/// How well a picture stands for the side (0 before, 1 after) of a boundary it
/// is on: less is better.
fn merit(at: Pts, edge: Pts, side: usize) -> Option<f64> {
    let later = at.as_secs_f64() - edge.as_secs_f64();
    // The picture at the boundary belongs to what comes after it.
    let (here, away) = if side == 1 { (at >= edge, later) } else { (at < edge, -later) };
    (here && away <= FAR_S).then(|| (away - AWAY_S).abs())
}

fn walk(
    edges: &[Edge],
    frames: &Receiver<Frame>,
    eye: &mut Eye,
    watch: &Watch,
    pass: &Pass<'_>,
) -> Vec<BoundaryLook> {
    let mut looks: Vec<BoundaryLook> = edges
        .iter()
        .map(|e| BoundaryLook { segment: e.segment, before: None, after: None })
        .collect();
    // The best frame so far for each side.
    let mut best: Vec<[Option<(f64, Frame)>; 2]> = edges.iter().map(|_| [None, None]).collect();
    let mut cues = PictureCues::every();
    while let Ok(frame) = frames.recv_timeout(pass.patience) {
        if watch.stop.load(std::sync::atomic::Ordering::Relaxed) {
            break;
        }
        let pts = frame.pts;
        let glimpse = frame.with_picture(|p| cues.look(pts, pts, p));
        let black = glimpse.is_ok_and(|g| g.black);
        let _ = cues.take();
        for ((edge, best), look) in edges.iter().zip(&mut best).zip(&mut looks) {
            for (side, kept) in best.iter_mut().enumerate() {
                if let Some(merit) =
                    merit(pts, edge.at, side).map(|m| if black { m + BLACK } else { m })
                    && kept.as_ref().is_none_or(|(least, _)| merit < *least)
                {
                    *kept = Some((merit, frame.clone()));
                }
            }
            // Frames hold the decoder's memory: explained as soon as possible.
            if pts.secs_since(edge.at) > 0.0 {
                settle(&mut best[0], &mut look.before, eye, edge, 0);
            }
            if pts.secs_since(edge.at) > 2.0 * AWAY_S
                && best[1].as_ref().is_some_and(|b| b.0 < BLACK)
                || pts.secs_since(edge.at) >= FAR_S
            {
                settle(&mut best[1], &mut look.after, eye, edge, 1);
            }
        }
    }
    for ((edge, best), look) in edges.iter().zip(&mut best).zip(&mut looks) {
        settle(&mut best[0], &mut look.before, eye, edge, 0);
        settle(&mut best[1], &mut look.after, eye, edge, 1);
    }
    looks
}

fn settle(
    kept: &mut Option<(f64, Frame)>,
    look: &mut Option<StillLook>,
    eye: &mut Eye,
    edge: &Edge,
    side: usize,
) {
    let Some((_, frame)) = kept.take().filter(|_| look.is_none()) else { return };
    let seen = eye.explain(&frame, edge.question, edge.labels[side]);
    *look = seen.map(|Look { picture, heat, probability }| StillLook {
        at_s: frame.pts.as_secs_f64(),
        probability,
        picture: jpeg(&picture),
        heat: heat.as_ref().map(jpeg),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_picture_that_is_shown_is_near_the_boundary_but_not_black() {
        let s = Pts::from_secs_f64;
        let edge = s(10.0);
        let best = |side: usize, black: &dyn Fn(f64) -> bool| {
            let times = (0..100).map(|n| 8.0 + f64::from(n) * 0.04);
            let scored = times.filter_map(|t| {
                let merit = merit(s(t), edge, side)? + if black(t) { BLACK } else { 0.0 };
                Some((merit, t))
            });
            scored.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, t)| (t * 100.0).round() / 100.0)
        };
        assert_eq!(best(0, &|_| false), Some(9.6));
        assert_eq!(best(1, &|_| false), Some(10.4));
        assert_eq!(best(1, &|t| t < 10.99), Some(11.0));
        assert_eq!(merit(edge, edge, 0), None);
    }
}
