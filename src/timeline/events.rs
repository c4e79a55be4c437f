//! The JSON Lines record of a run: a contract, described in
//! `docs/reference/events.md`. Called by the pipeline; must not know a file, a
//! clock or the settings it quotes.
//!
//! The same run gives the same bytes: the order of keys is fixed, numbers are
//! rounded to fixed decimals and nothing of the moment of writing goes in. The
//! types of the rest of the crate are copied into the ones of this file, so
//! that a change inside does not change the contract.

use serde::Serialize;

use crate::annotation::{Annotation, ClassProb, Explanation, HeadResult, Heat};
use crate::explain::attended_area;
use crate::frame::{Pts, Size};
use crate::timeline::segmenter::{Edge, SegmentEvent};

/// Version of the contract; grows when a reader has to change.
pub const SCHEMA: u32 = 1;

/// Classes listed per head, at most.
const TOP: usize = 5;

/// What was run on what; the first line of the record.
///
/// `S` is whatever the settings are; they are quoted whole.
#[derive(Clone, Debug, Serialize)]
pub struct Header<'a, S> {
    /// Version of Heatcast.
    pub heatcast: &'a str,
    /// The input as it was named, without credentials.
    pub input: &'a str,
    /// The classifier.
    pub model: Model<'a>,
    /// Version of ONNX Runtime.
    pub onnxruntime: &'a str,
    /// Version of GStreamer.
    pub gstreamer: &'a str,
    /// Execution provider really in use.
    pub provider: &'a str,
    /// Shape of the picture.
    pub picture: PictureShape,
    /// Effective settings.
    pub settings: S,
}

/// The classifier of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Model<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its version.
    pub version: &'a str,
    /// SHA-256 of the model file, in hexadecimal.
    pub sha256: &'a str,
}

/// The shape of the pictures of a run.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct PictureShape {
    /// Luma pixels from left to right.
    pub width: usize,
    /// Luma pixels from top to bottom.
    pub height: usize,
    /// Width of a pixel divided by its height.
    pub pixel_aspect: f64,
}

/// How a run ended; the last line of the record.
#[derive(Clone, Debug)]
pub struct End<'a> {
    /// Frames that went through.
    pub frames: u64,
    /// Frames among them that were analysed.
    pub analysed: u64,
    /// Stream time from the start to the end of the last frame.
    pub duration: Pts,
    /// Why the run stopped before the end of the input; `None` when it did not.
    pub reason: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Line<'a, S> {
    Header {
        schema: u32,
        #[serde(flatten)]
        header: &'a Header<'a, S>,
    },
    Analysis {
        pts_s: f64,
        head: &'a str,
        label: &'a str,
        probability: f64,
        top: Vec<Class<'a>>,
        shown: Class<'a>,
        starts_shot: bool,
        explained: Option<Explained<'a>>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        also_explained: Vec<Explained<'a>>,
    },
    Failure {
        pts_s: f64,
        starts_shot: bool,
    },
    Boundary {
        at_s: f64,
        id: u64,
        edge: &'static str,
        state: &'static str,
        head: &'a str,
        label: &'a str,
        start_s: f64,
        end_s: f64,
        confidence: f64,
        margin: f64,
        cues: Vec<&'static str>,
    },
    End {
        frames: u64,
        analysed: u64,
        duration_s: f64,
        complete: bool,
        reason: Option<&'a str>,
    },
}

/// Any line but the header.
type PlainLine<'a> = Line<'a, ()>;

#[derive(Serialize)]
struct Class<'a> {
    label: &'a str,
    probability: f64,
}

#[derive(Serialize)]
struct Explained<'a> {
    label: &'a str,
    probability: f64,
    peak: f64,
    centroid: Option<[f64; 2]>,
    #[serde(rename = "box")]
    bbox: Option<[f64; 4]>,
}

impl<'a> From<&'a ClassProb> for Class<'a> {
    fn from(class: &'a ClassProb) -> Self {
        Self { label: &class.label, probability: rounded(f64::from(class.probability), 6) }
    }
}

/// The first line of a record, without its line feed.
///
/// # Errors
///
/// When the settings cannot be written as JSON.
pub fn header_line<S: Serialize>(header: &Header<'_, S>) -> Result<String, serde_json::Error> {
    serde_json::to_string(&Line::Header { schema: SCHEMA, header })
}

/// The lines about one analysed frame of a picture of `size`, without line
/// feeds: one per head, or a single one when the classifier failed.
///
/// # Errors
///
/// None that can be provoked: a label is always text.
pub fn annotation_lines(
    annotation: &Annotation,
    size: Size,
) -> Result<Vec<String>, serde_json::Error> {
    let pts_s = annotation.pts.as_secs_f64();
    let starts_shot = annotation.starts_shot;
    if annotation.heads.is_empty() {
        return Ok(vec![serde_json::to_string(&PlainLine::Failure { pts_s, starts_shot })?]);
    }
    let line = |(index, head): (usize, &HeadResult)| {
        let mut explained = annotation
            .explanations
            .iter()
            .filter(|e| e.head == index)
            .map(|e| explained_by(e, size));
        let best = head.top.first().unwrap_or(&head.shown);
        serde_json::to_string(&PlainLine::Analysis {
            pts_s,
            head: &head.head,
            label: &best.label,
            probability: Class::from(best).probability,
            top: head.top.iter().take(TOP).map(Class::from).collect(),
            shown: Class::from(&head.shown),
            starts_shot,
            explained: explained.next(),
            also_explained: explained.collect(),
        })
    };
    annotation.heads.iter().enumerate().map(line).collect()
}

/// The line about an edge of a segment of a live stream, without its line feed.
///
/// # Errors
/// None that can be provoked.
pub fn boundary_line(event: &SegmentEvent) -> Result<String, serde_json::Error> {
    let SegmentEvent { id, edge, state, at, segment: s } = event;
    let (edge, cues) = match edge {
        Edge::Start => ("start", &s.start_cues),
        Edge::End => ("end", &s.end_cues),
    };
    serde_json::to_string(&PlainLine::Boundary {
        at_s: at.as_secs_f64(),
        id: *id,
        edge,
        state: state.name(),
        head: &s.head,
        label: &s.label,
        start_s: s.start.as_secs_f64(),
        end_s: s.end.as_secs_f64(),
        confidence: rounded(s.confidence.into(), 6),
        margin: rounded(s.margin.into(), 6),
        cues: cues.iter().map(|c| c.name()).collect(),
    })
}

/// The last line of a record, without its line feed.
///
/// # Errors
///
/// None that can be provoked.
pub fn end_line(end: &End<'_>) -> Result<String, serde_json::Error> {
    serde_json::to_string(&PlainLine::End {
        frames: end.frames,
        analysed: end.analysed,
        duration_s: end.duration.as_secs_f64(),
        complete: end.reason.is_none(),
        reason: end.reason,
    })
}

fn explained_by(explanation: &Explanation, size: Size) -> Explained<'_> {
    let Class { label, probability } = Class::from(&explanation.class);
    let Heat { map, view, .. } = &explanation.heat;
    let area = attended_area(map, view, size);
    Explained {
        label,
        probability,
        peak: rounded(f64::from(map.max()), 6),
        centroid: area.map(|a| a.centroid.map(|v| rounded(v, 4))),
        bbox: area.map(|a| a.bbox.map(|v| rounded(v, 4))),
    }
}

/// `value` to so many decimals; numbers that JSON cannot hold become zero.
fn rounded(value: f64, decimals: i32) -> f64 {
    let unit = 10_f64.powi(decimals);
    if value.is_finite() { (value * unit).round() / unit } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::annotation::{ActivationMap, View};
    use crate::config::Config;
    use crate::timeline::segmenter::State;
    use crate::timeline::{CueKind, Segment};

    const DOC: &str = include_str!("../../docs/reference/events.md");
    const SIZE: Size = Size::new(1920, 1080);

    fn class(label: &str, probability: f32) -> ClassProb {
        ClassProb { index: 0, label: label.into(), probability }
    }

    fn head(name: &str, top: &[(&str, f32)], shown: (&str, f32)) -> HeadResult {
        HeadResult {
            head: name.into(),
            top: top.iter().map(|(label, p)| class(label, *p)).collect(),
            shown: class(shown.0, shown.1),
            probabilities: top.iter().map(|(_, p)| *p).collect(),
        }
    }

    /// The frame of the documentation's example.
    fn example() -> Annotation {
        let mut map = ActivationMap::zeros(2, 4);
        (map.values[1], map.values[2]) = (0.8125, 0.5);
        Annotation {
            pts: Pts(1_234_567_890),
            starts_shot: true,
            heads: vec![
                head(
                    "object",
                    &[("tabby", 0.930_000_1), ("tiger cat", 0.05), ("Egyptian cat", 0.01)],
                    ("tabby", 0.93),
                ),
                head("content", &[("show", 0.75), ("commercial", 0.25)], ("show", 2.0 / 3.0)),
            ],
            explanations: vec![Explanation {
                head: 0,
                class: class("tabby", 0.93),
                asked: false,
                heat: Heat {
                    layer: 0,
                    map,
                    view: View { x: 0.0, y: 0.0, width: 1920.0, height: 1080.0 },
                },
                full_scale: 12.0,
            }],
        }
    }

    /// Two classes of one head explained at the same time.
    fn two_classes() -> Annotation {
        let mut annotation = example();
        annotation.heads.remove(0);
        annotation.starts_shot = false;
        let mut other = annotation.explanations[0].clone();
        let first = &mut annotation.explanations[0];
        first.class = class("show", 0.75);
        other.class = class("commercial", 0.25);
        other.heat.layer = 1;
        other.heat.map.values.fill(0.0);
        annotation.explanations.push(other);
        annotation
    }

    fn header(settings: &Config) -> Header<'_, &Config> {
        Header {
            heatcast: "0.1.0",
            input: "cats.mp4",
            model: Model { name: "imagenet", version: "1", sha256: "5feceb66ffc86f38" },
            onnxruntime: "1.24.2",
            gstreamer: "1.22.0",
            provider: "cpu",
            picture: PictureShape { width: 1920, height: 1080, pixel_aspect: 1.0 },
            settings,
        }
    }

    /// A break that was believed to begin 0.3 s later first.
    fn boundaries() -> [SegmentEvent; 3] {
        let event = |edge, state, at, start, end| SegmentEvent {
            id: 2,
            edge,
            state,
            at: Pts::from_secs_f64(at),
            segment: Segment {
                head: "content".into(),
                label: "commercial".into(),
                start: Pts::from_secs_f64(start),
                end: Pts::from_secs_f64(end),
                confidence: 0.875,
                margin: 4.5,
                start_cues: vec![CueKind::ShotCut, CueKind::Black],
                end_cues: Vec::new(),
            },
        };
        [
            event(Edge::Start, State::Provisional, 312.0, 300.5, 312.0),
            event(Edge::Start, State::Final, 330.5, 300.2, 330.5),
            event(Edge::End, State::Final, 450.4, 300.2, 420.2),
        ]
    }

    #[test]
    fn the_documented_lines_are_the_written_ones() {
        let examples: Vec<_> = DOC.lines().filter(|l| l.starts_with("{\"type\"")).collect();
        let mut settings = Config::default();
        settings.model.name = "imagenet".to_owned();
        let mut written = vec![header_line(&header(&settings)).unwrap()];
        written.extend(annotation_lines(&example(), SIZE).unwrap());
        written.extend(annotation_lines(&two_classes(), SIZE).unwrap());
        let failed = Annotation {
            pts: Pts(1_400_000_000),
            starts_shot: false,
            heads: Vec::new(),
            explanations: Vec::new(),
        };
        written.extend(annotation_lines(&failed, SIZE).unwrap());
        written.extend(boundaries().iter().map(|event| boundary_line(event).unwrap()));
        let mut end =
            End { frames: 250, analysed: 50, duration: Pts(10_000_000_000), reason: None };
        written.push(end_line(&end).unwrap());
        end.reason = Some("interrupted");
        written.push(end_line(&end).unwrap());
        assert_eq!(examples, written, "\n{}", written.join("\n"));
        // Every key is explained in the text as well.
        fn keys(value: &serde_json::Value, found: &mut Vec<String>) {
            match value {
                serde_json::Value::Object(map) => {
                    for (key, value) in map {
                        found.push(key.clone());
                        if key != "settings" {
                            keys(value, found);
                        }
                    }
                }
                serde_json::Value::Array(values) => values.iter().for_each(|v| keys(v, found)),
                _ => {}
            }
        }
        let mut found = Vec::new();
        for line in &written {
            keys(&serde_json::from_str(line).unwrap(), &mut found);
        }
        for key in found {
            assert!(DOC.contains(&format!("`{key}`")), "{key} is not described");
        }
    }

    #[test]
    fn times_keep_every_nanosecond() {
        let mut annotation = example();
        for (ns, text) in [
            (0, "0.0"),
            (1, "1e-9"),
            (33_366_667, "0.033366667"),
            (86_400_000_000_001, "86400.000000001"),
            (999_999_999_999_999, "999999.999999999"),
        ] {
            annotation.pts = Pts(ns);
            let line = &annotation_lines(&annotation, SIZE).unwrap()[0];
            assert!(line.contains(&format!("\"pts_s\":{text},")), "{line}");
        }
    }

    #[test]
    fn what_json_cannot_hold_never_gets_in() {
        let mut annotation = example();
        annotation.heads[0].top[0].probability = f32::NAN;
        annotation.heads[0].top[1].label = Arc::from("a \"quoted\"\nlabel");
        annotation.explanations[0].heat.map.values.fill(f32::NAN);
        for line in annotation_lines(&annotation, SIZE).unwrap() {
            assert!(!line.contains('\n'));
            serde_json::from_str::<serde_json::Value>(&line).unwrap();
        }
    }

    #[test]
    fn the_best_class_leads_and_five_are_listed() {
        let labels = ["a", "b", "c", "d", "e", "f"];
        let top: Vec<_> = labels.iter().map(|l| (*l, 0.1)).collect();
        let annotation = Annotation { heads: vec![head("h", &top, ("b", 0.2))], ..example() };
        let line = &annotation_lines(&annotation, SIZE).unwrap()[0];
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(value["top"].as_array().unwrap().len(), 5);
        assert_eq!((&value["label"], &value["shown"]["label"]), (&"a".into(), &"b".into()));
    }
}
