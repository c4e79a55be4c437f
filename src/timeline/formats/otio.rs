//! `OpenTimelineIO`, for editing programs: a track per head, a clip per segment,
//! a marker per break. Schemas as of `OpenTimelineIO` 0.18. Must not know a file.

use serde_json::{Value, json};

use super::Timeline;
use super::json::rounded;
use super::time::{Origin, frames};
use crate::frame::Pts;

pub(super) fn write(timeline: &Timeline<'_>) -> String {
    let rate = timeline.about.rate();
    let time = |n: u64| json!({"OTIO_SCHEMA": "RationalTime.1", "rate": rate, "value": n as f64});
    let range = |from: Pts, to: Pts| {
        let (from, to) = (frames(from, rate), frames(to, rate));
        json!({
            "OTIO_SCHEMA": "TimeRange.1",
            "start_time": time(from),
            "duration": time(to.saturating_sub(from)),
        })
    };
    let media = json!({
        "OTIO_SCHEMA": "ExternalReference.1",
        "target_url": url(&timeline.about.media),
        "available_range": range(Pts(0), timeline.duration),
        "metadata": {},
        "name": "",
        "available_image_bounds": null,
    });
    let marker = |start: Pts, end: Pts| {
        json!({
            "OTIO_SCHEMA": "Marker.2",
            "name": timeline.about.break_label,
            "color": "RED",
            "comment": "",
            "marked_range": range(start, end),
            "metadata": {},
        })
    };
    let tracks = timeline.heads().into_iter().map(|head| {
        let mut children: Vec<Value> = Vec::new();
        let mut reached = Pts(0);
        for s in timeline.segments.iter().filter(|s| &*s.head == head) {
            let empty = frames(s.start, rate).saturating_sub(frames(reached, rate));
            if empty > 0 {
                children.push(gap(&time(0), &time(empty)));
            }
            reached = s.end;
            children.push(json!({
                "OTIO_SCHEMA": "Clip.2",
                "name": &*s.label,
                "source_range": range(s.start, s.end),
                "media_references": {"DEFAULT_MEDIA": media},
                "active_media_reference_key": "DEFAULT_MEDIA",
                "enabled": true,
                "effects": [],
                "markers": [],
                "metadata": {"heatcast": {
                    "label": &*s.label,
                    "confidence": rounded(s.confidence),
                    "margin": rounded(s.margin),
                    "start_cues": s.start_cues.iter().map(|c| c.name()).collect::<Vec<_>>(),
                    "end_cues": s.end_cues.iter().map(|c| c.name()).collect::<Vec<_>>(),
                }},
            }));
        }
        json!({
            "OTIO_SCHEMA": "Track.1",
            "name": head,
            "kind": "Video",
            "children": children,
            "source_range": null,
            "enabled": true,
            "effects": [],
            "markers": [],
            "metadata": {},
        })
    });
    let start = match timeline.about.origin {
        Origin::Timecode(first) => time(first.frame_number(rate)),
        _ => Value::Null,
    };
    let markers: Vec<_> = timeline.breaks().iter().map(|b| marker(b.start, b.end)).collect();
    let whole = json!({
        "OTIO_SCHEMA": "Timeline.1",
        "name": timeline.about.media,
        "global_start_time": start,
        "metadata": {},
        "tracks": {
            "OTIO_SCHEMA": "Stack.1",
            "name": "tracks",
            "children": tracks.collect::<Vec<_>>(),
            "source_range": null,
            "enabled": true,
            "effects": [],
            "markers": markers,
            "metadata": {},
        },
    });
    format!("{whole:#}\n")
}

fn gap(start: &Value, duration: &Value) -> Value {
    json!({
        "OTIO_SCHEMA": "Gap.1",
        "name": "",
        "source_range": {
            "OTIO_SCHEMA": "TimeRange.1",
            "start_time": start,
            "duration": duration,
        },
        "enabled": true,
        "effects": [],
        "markers": [],
        "metadata": {},
    })
}

/// A file's name as an URL: `file://` where it is absolute, else relative.
pub(super) fn url(path: &str) -> String {
    let mut out = if path.starts_with('/') { "file://".to_owned() } else { String::new() };
    for byte in path.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
