//! Breaks for HLS (RFC 8216): date ranges with SCTE-35, and the cue tags that
//! packagers and ad inserters know. Must not know a file.
//!
//! Tags of a playlist belong to the media segment that follows them, so the
//! recording is cut, on paper, where breaks begin and end: every part is the
//! recording itself with a media fragment (`rec.ts#t=0.000,240.200`).

use super::Timeline;
use super::otio::url;
use super::scte35::{Splice, hex, splices};
use super::time::{WallTime, millis, seconds};
use crate::frame::Pts;

pub(super) fn write(timeline: &Timeline<'_>) -> String {
    let zero = timeline.about.origin.wall().unwrap_or(WallTime::EPOCH);
    let splices = splices(timeline);
    let end = timeline.duration;
    let inner = splices.iter().map(|s| s.at).filter(|at| Pts(0) < *at && *at < end);
    let edges: Vec<Pts> = [Pts(0)].into_iter().chain(inner).chain([end]).collect();
    let parts = || edges.windows(2).filter_map(<[Pts]>::first_chunk::<2>);
    let longest = parts().map(|[a, b]| millis(*b) - millis(*a)).max().unwrap_or(0);

    let mut text = format!(
        "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-TARGETDURATION:{}\n#EXT-X-MEDIA-SEQUENCE:0\n",
        longest.div_ceil(1000)
    );
    let ended = timeline.settled >= end;
    if ended {
        text.push_str("#EXT-X-PLAYLIST-TYPE:VOD\n");
    }
    text.push_str(&format!("#EXT-X-PROGRAM-DATE-TIME:{zero}\n"));
    let media = url(&timeline.about.media);
    for [from, to] in parts().filter(|[a, b]| millis(*a) < millis(*b)) {
        for splice in splices.iter().filter(|s| s.at == *from) {
            text.push_str(&tags(splice, &splices, zero, &timeline.about.break_label));
        }
        let (a, b) = (millis(*from), millis(*to));
        text.push_str(&format!(
            "#EXTINF:{},\n{media}#t={},{}\n",
            seconds(b - a),
            seconds(a),
            seconds(b)
        ));
    }
    // A break that lasts to the end has no part after it.
    for splice in splices.iter().filter(|s| s.at >= end && end > Pts(0)) {
        text.push_str(&date_range(splice, &splices, zero, &timeline.about.break_label));
    }
    if ended {
        text.push_str("#EXT-X-ENDLIST\n");
    }
    text
}

fn tags(splice: &Splice, all: &[Splice], zero: WallTime, label: &str) -> String {
    let mut text = date_range(splice, all, zero, label);
    match (splice.out, splice.duration) {
        (true, Some(ns)) => {
            text.push_str(&format!("#EXT-X-CUE-OUT:{}\n", seconds(millis(Pts(ns)))))
        }
        (true, None) => text.push_str("#EXT-X-CUE-OUT\n"),
        (false, _) => text.push_str("#EXT-X-CUE-IN\n"),
    }
    text
}

/// Section 4.3.2.7: two tags with one ID are one date range.
fn date_range(splice: &Splice, all: &[Splice], zero: WallTime, label: &str) -> String {
    let same = all.iter().find(|s| s.event_id == splice.event_id && s.out).unwrap_or(splice);
    let start = zero.after(same.at);
    let label: String = label.chars().filter(|c| !matches!(c, '"' | '\n' | '\r')).collect();
    let mut text = format!(
        "#EXT-X-DATERANGE:ID=\"break-{}\",CLASS=\"heatcast.{label}\",START-DATE=\"{start}\"",
        splice.event_id
    );
    let length = |ns: u64| seconds(millis(Pts(ns)));
    if splice.out {
        if let Some(ns) = splice.duration {
            text.push_str(&format!(",PLANNED-DURATION={}", length(ns)));
        }
        text.push_str(&format!(",SCTE35-OUT={}\n", hex(splice)));
    } else {
        text.push_str(&format!(
            ",END-DATE=\"{}\",DURATION={},SCTE35-IN={}\n",
            zero.after(splice.at),
            length(splice.at.0 - same.at.0),
            hex(splice)
        ));
    }
    text
}
