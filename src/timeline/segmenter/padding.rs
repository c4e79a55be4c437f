//! Moves boundaries so that segments of one label lose nothing of what they
//! show: play in sports. Called by the segmenter; must not know how it decided.
//!
//! A profile's padding is less than its shortest neighbour, so that a padded
//! segment swallows none. At the ends of a stream segments may be shorter: half
//! of the first one is left, and the last one may vanish.

use super::profile::Padding;
use crate::frame::Pts;
use crate::timeline::segment::Segment;

/// Where the boundary at `time` goes. `padded` says whether the segments before
/// and after it have the padded label; `first` is the start of the segment
/// before it, where that is the first of the stream.
pub(super) fn moved(time: Pts, first: Option<Pts>, padded: (bool, bool), padding: &Padding) -> Pts {
    let at = time.as_secs_f64();
    match padded {
        (false, true) => {
            let room = first.map_or(at, |start| time.secs_since(start) / 2.0);
            Pts::from_secs_f64(at - padding.before_s.min(room))
        }
        (true, false) => Pts::from_secs_f64(at + padding.after_s),
        _ => time,
    }
}

/// Pads the segments of a recording.
pub(super) fn pad(segments: &mut Vec<Segment>, padding: &Padding) {
    let (Some(start), Some(end)) =
        (segments.first().map(|s| s.start), segments.last().map(|s| s.end))
    else {
        return;
    };
    let is_padded = |s: &Segment| !padding.label.is_empty() && *s.label == *padding.label;
    let boundary = |(i, pair): (usize, &[Segment])| {
        let padded = (is_padded(&pair[0]), is_padded(&pair[1]));
        moved(pair[1].start, (i == 0).then_some(start), padded, padding).min(end)
    };
    let boundaries: Vec<Pts> = segments.windows(2).enumerate().map(boundary).collect();
    for (i, time) in boundaries.into_iter().enumerate() {
        segments[i].end = time;
        segments[i + 1].start = time;
    }
    segments.retain(|s| s.start < s.end);
}
