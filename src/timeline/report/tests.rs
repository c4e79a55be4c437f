//! What the page must and must not hold.

use super::*;
use crate::frame::Pts;

fn segment(label: &str, start: f64, end: f64) -> Segment {
    Segment {
        head: "content".into(),
        label: label.into(),
        start: Pts::from_secs_f64(start),
        end: Pts::from_secs_f64(end),
        confidence: 0.97,
        margin: 12.34,
        start_cues: vec![CueKind::Black, CueKind::AudioChannels],
        end_cues: Vec::new(),
    }
}

/// A page, of a recording without anything when `length_s` is 0.
fn page(fixed: bool, length_s: f64) -> String {
    let nothing = length_s == 0.0;
    let heads: Vec<(Arc<str>, Vec<Arc<str>>)> =
        vec![("content".into(), vec!["show".into(), "<b>ad & promo".into()])];
    let segments = [
        segment("show", 0.0, 600.5),
        segment("<b>ad & promo", 600.5, 780.25),
        segment("show", 780.25, 1800.0),
    ];
    let look = |p| StillLook {
        at_s: 600.1,
        probability: p,
        picture: vec![1, 2, 3],
        heat: Some(vec![4, 5, 6]),
    };
    let boundary = BoundaryLook { segment: 1, before: Some(look(0.81)), after: None };
    let label = LabelLook {
        head: 0,
        label: 1,
        pictures: 179,
        mean: vec![7],
        heat: vec![8],
        fixation: 0.62,
        fixed,
    };
    let cue =
        |kind, at| Cue { kind, start: Pts::from_secs_f64(at), end: Pts::from_secs_f64(at + 0.4) };
    let cues = [cue(CueKind::Black, 600.3), cue(CueKind::ShotCut, 3.0)];
    let answers: Vec<_> = (0..1800)
        .map(|n| {
            (f64::from(n), [vec![0.9, if (600..780).contains(&n) { 1.0 } else { 0.1 }]].into())
        })
        .collect();
    let downloads =
        [Download { name: "a\"b.edl".to_owned(), text: "600.500 780.250 3\n".to_owned() }];
    html(&Page {
        recording: "<script>alert('1')</script>.ts",
        model: "m 1",
        profile: "default",
        duration_s: length_s,
        speed: 62.0,
        heads: &heads,
        segments: if nothing { &[] } else { &segments },
        cues: if nothing { &[] } else { &cues },
        answers: if nothing { &[] } else { &answers },
        boundaries: if nothing { &[] } else { std::slice::from_ref(&boundary) },
        labels: if nothing { &[] } else { std::slice::from_ref(&label) },
        no_heat: &[],
        notes: &["there is no <sound> track".to_owned()],
        downloads: &downloads,
    })
}

#[test]
fn the_page_stands_alone_and_takes_no_markup_from_names() {
    let page = page(false, 1800.0);
    for banned in ["<script", "http", "<b>ad", "<sound>", "//"] {
        // Base64 of the data may hold slashes, nothing else.
        let without_data =
            page.split("base64,").map(|rest| rest.split_once('"').map_or(rest, |r| r.1));
        let text = without_data.collect::<String>();
        assert!(!text.contains(banned), "{banned}");
    }
    for wanted in ["&lt;script&gt;", "ad &amp; promo", "a&quot;b.edl", "&lt;sound&gt;"] {
        assert!(page.contains(wanted), "no {wanted}");
    }
}

#[test]
fn every_segment_comes_with_its_reasons() {
    let page = page(false, 1800.0);
    for wanted in [
        "0:10:00.500",
        "0:13:00.250",
        "97 %",
        "12.3",
        "black, audio channels",
        "data:image/jpeg;base64,AQID",
        "data:image/jpeg;base64,BAUG",
        "81 %",
        "179 pictures",
        "no picture",
        &STANDARD.encode("600.500 780.250 3\n"),
    ] {
        assert!(page.contains(wanted), "no {wanted}");
    }
    assert_eq!(page.matches("<rect").count(), 3 + 1, "segments and one black cue");
    assert!(page.contains("0:02:59 · 10 %") || page.contains("0:03:00 · 10 %"));
}

#[test]
fn attention_that_keeps_to_one_place_is_warned_of() {
    assert!(!page(false, 1800.0).contains("class=\"warn\""));
    let page = page(true, 1800.0);
    assert!(page.contains("class=\"warn\"") && page.contains("62 % of all heat"));
}

#[test]
fn a_recording_without_anything_still_has_a_page() {
    let page = page(false, 0.0);
    assert!(page.contains("0:00:00") && page.ends_with("</body></html>\n"));
    assert!(!page.contains("NaN") && !page.contains("inf"));
}
