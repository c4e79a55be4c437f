//! Tests of the segmenter on recordings whose segments are known.

use std::sync::Arc;
use std::time::Duration;

use super::profile::{self, Profile};
use super::*;

mod live;

const LABELS: [&str; 2] = ["show", "commercial"];

fn labels(names: &[&str]) -> Vec<Arc<str>> {
    names.iter().map(|n| Arc::from(*n)).collect()
}

fn cue(kind: CueKind, start: f64, end: f64) -> Cue {
    Cue { kind, start: Pts::from_secs_f64(start), end: Pts::from_secs_f64(end) }
}

/// Black and silence around each of `times`, and a cut within.
fn separators(times: &[f64]) -> Vec<Cue> {
    let three = |t: &f64| {
        [
            cue(CueKind::Black, t - 0.1, t + 0.1),
            cue(CueKind::Silence, t - 0.2, t + 0.2),
            cue(CueKind::ShotCut, t - 0.1, t - 0.1),
        ]
    };
    times.iter().flat_map(three).collect()
}

/// A recording that shows commercials in `breaks`.
struct Footage {
    seconds: f64,
    breaks: Vec<(f64, f64)>,
    /// Probability of the right label.
    sure: f32,
    cues: Vec<Cue>,
    gap: Option<(f64, f64)>,
}

impl Footage {
    /// A quarter of an hour and a half with two breaks of three spots each.
    fn usual() -> Self {
        let breaks = vec![(300.0, 390.0), (900.0, 990.0)];
        let spots = |(start, end): &(f64, f64)| [*start, start + 30.0, start + 60.0, *end];
        let mut cues = separators(&breaks.iter().flat_map(spots).collect::<Vec<_>>());
        // Cuts that mean nothing.
        cues.extend((1..300).map(|n| f64::from(n) * 4.7).map(|t| cue(CueKind::ShotCut, t, t)));
        Self { seconds: 1400.0, breaks, sure: 0.9, cues, gap: None }
    }

    fn frames(&self, times: impl IntoIterator<Item = f64>) -> Vec<(f64, [f32; 2])> {
        let gap = self.gap.unwrap_or((-1.0, -1.0));
        let seen = times.into_iter().filter(|t| *t < gap.0 || *t >= gap.1);
        let answer = |t: f64| {
            let inside = self.breaks.iter().any(|b| t >= b.0 && t < b.1);
            let p = if inside { self.sure } else { 1.0 - self.sure };
            (t, [1.0 - p, p])
        };
        seen.map(answer).collect()
    }

    fn at(&self, fps: f64) -> Vec<(f64, [f32; 2])> {
        self.frames((0..(self.seconds * fps) as usize).map(|n| n as f64 / fps))
    }

    fn segments(&self, frames: &[(f64, [f32; 2])], profile: &Profile) -> Vec<Segment> {
        let mut segmenter = Segmenter::new("content", &labels(&LABELS), profile);
        self.cues.iter().for_each(|c| segmenter.cue(*c));
        for (time, answer) in frames {
            segmenter.observe(Pts::from_secs_f64(*time), false, answer);
        }
        segmenter.finish(Pts::from_secs_f64(self.seconds))
    }
}

fn default() -> Profile {
    Profile::named("default").unwrap()
}

fn outline(segments: &[Segment]) -> Vec<(String, f64, f64)> {
    let one = |s: &Segment| (s.label.to_string(), s.start.as_secs_f64(), s.end.as_secs_f64());
    segments.iter().map(one).collect()
}

#[track_caller]
fn check(segments: &[Segment], wanted: &[(&str, f64, f64)]) {
    let found = outline(segments);
    let near = found.len() == wanted.len()
        && found
            .iter()
            .zip(wanted)
            .all(|(f, w)| f.0 == w.0 && (f.1 - w.1).abs() < 0.01 && (f.2 - w.2).abs() < 0.01);
    assert!(near, "{found:?}\nwanted {wanted:?}");
}

const USUAL: [(&str, f64, f64); 5] = [
    ("show", 0.0, 300.0),
    ("commercial", 300.0, 390.0),
    ("show", 390.0, 900.0),
    ("commercial", 900.0, 990.0),
    ("show", 990.0, 1400.0),
];

/// A minute of programme, a lone spot of half a minute between hard cuts, another
/// minute, and cuts that mean nothing.
fn splice() -> Footage {
    let mut cues: Vec<Cue> = [60.0, 90.0].iter().map(|t| cue(CueKind::ShotCut, *t, *t)).collect();
    cues.extend((1..22).map(|n| f64::from(n) * 6.7).map(|t| cue(CueKind::ShotCut, t, t)));
    Footage { seconds: 150.0, breaks: vec![(60.0, 90.0)], sure: 0.9, cues, gap: None }
}

#[test]
fn a_lone_spot_is_a_break_in_a_file_of_minutes_but_not_in_an_evening() {
    let found = |footage: &Footage| -> Vec<(f64, f64)> {
        let segments = footage.segments(&footage.at(1.0), &default());
        let breaks = segments.iter().filter(|s| &*s.label == "commercial");
        breaks.map(|s| (s.start.as_secs_f64(), s.end.as_secs_f64())).collect()
    };
    assert_eq!(found(&splice()), [(60.0, 90.0)]);
    assert_eq!(found(&Footage { breaks: Vec::new(), ..splice() }), []);
    // In an hour it is a trailer.
    assert_eq!(found(&Footage { seconds: 3600.0, ..splice() }), []);
}

#[test]
fn only_what_is_shorter_than_two_segments_is_scaled_and_padding_still_fits() {
    let names = labels(&LABELS);
    assert_eq!(in_small(&default(), &names, 730.0), default());
    assert_eq!(in_small(&default(), &names, 36_000.0), default());
    let small = in_small(&default(), &names, 365.0).duration("commercial");
    assert_eq!((small.median_s, small.min_s, small.max_s), (85.0, 12.5, Some(420.0)));
    let least = in_small(&default(), &names, 0.01);
    assert_eq!(least, in_small(&default(), &names, 73.0));
    let sport = Profile::named("sports-action").unwrap();
    let small = in_small(&sport, &labels(&["action", "non_action"]), 5.0);
    let padding = small.padding.before_s + small.padding.after_s;
    assert!(padding > 0.0 && padding < small.duration("non_action").min_s, "{small:?}");
}

#[test]
fn breaks_are_found_to_the_cue_with_reasons_and_confidence() {
    let footage = Footage::usual();
    let segments = footage.segments(&footage.at(5.0), &default());
    check(&segments, &USUAL);
    for (i, s) in segments.iter().enumerate() {
        assert!((s.confidence - 0.9).abs() < 0.01, "{s:?}");
        assert!(s.margin > 1.0, "{s:?}");
        let kinds = [CueKind::ShotCut, CueKind::Black, CueKind::Silence];
        assert_eq!(s.start_cues, if i > 0 { &kinds[..] } else { &[] }, "{s:?}");
        assert_eq!(s.end_cues, if i < 4 { &kinds[..] } else { &[] }, "{s:?}");
        assert_eq!(&*s.head, "content");
    }
    assert!(segments[1].margin < 50.0 && segments[0].margin < 100.0);
    // Commercials do not last as long as this programme, so there is no doubt.
    assert_eq!(segments[2].margin, 999.0);
}

#[test]
fn the_frame_rate_does_not_matter_nor_does_jitter() {
    let footage = Footage::usual();
    let wanted = footage.segments(&footage.at(5.0), &default());
    for fps in [0.5, 2.0, 25.0, 59.94] {
        let found = footage.segments(&footage.at(fps), &default());
        assert_eq!(outline(&found), outline(&wanted), "{fps}");
        for (f, w) in found.iter().zip(&wanted) {
            assert!((f.confidence - w.confidence).abs() < 0.02, "{fps}: {f:?} {w:?}");
            assert!((f.margin - w.margin).abs() < 0.05 * w.margin, "{fps}: {f:?} {w:?}");
        }
    }
    // Intervals of 0.02 to 0.6 s, and every frame of one break twice as dense.
    let mut time = 0.0;
    let jittered = std::iter::from_fn(|| {
        let step = 0.02 + 0.58 * (time * 7919.0_f64).sin().abs();
        time += if (900.0..990.0).contains(&time) { step / 2.0 } else { step };
        (time < footage.seconds).then_some(time)
    });
    let frames = footage.frames(std::iter::once(0.0).chain(jittered));
    assert_eq!(outline(&footage.segments(&frames, &default())), outline(&wanted));
}

#[test]
fn a_gap_says_nothing_and_what_surrounds_it_decides() {
    // Lost in the middle of the first break, and in the programme.
    for gap in [(320.0, 370.0), (500.0, 800.0)] {
        let footage = Footage { gap: Some(gap), ..Footage::usual() };
        check(&footage.segments(&footage.at(5.0), &default()), &USUAL);
    }
    // A break that was not received at all is not made up.
    let cues = Footage::usual().cues.into_iter().filter(|c| c.start.0 < 250_000_000_000);
    let lost = Footage { gap: Some((250.0, 700.0)), cues: cues.collect(), ..Footage::usual() };
    let found = outline(&lost.segments(&lost.at(5.0), &default()));
    assert!(found.iter().all(|s| s.0 == "show" || s.1 > 850.0), "{found:?}");
}

#[test]
fn frames_without_an_answer_and_out_of_order_change_nothing() {
    let footage = Footage::usual();
    let mut frames = footage.at(5.0);
    for (i, frame) in frames.iter_mut().enumerate() {
        match i % 10 {
            3 => frame.1 = [f32::NAN, 0.5],
            7 => frame.0 = (frame.0 - 100.0).max(0.0),
            _ => {}
        }
    }
    check(&footage.segments(&frames, &default()), &USUAL);
}

#[test]
fn all_programme_stays_programme_for_hours() {
    let seconds = 6.0 * 3600.0;
    let cut = |n: u32| f64::from(n) * 5.3;
    let mut cues: Vec<Cue> = (1..4000).map(|n| cue(CueKind::ShotCut, cut(n), cut(n))).collect();
    // A silence each two minutes, and some black.
    cues.extend((1..170).map(|n| f64::from(n) * 121.7).map(|t| cue(CueKind::Silence, t, t + 0.4)));
    cues.extend((1..20).map(|n| f64::from(n) * 1003.3).map(|t| cue(CueKind::Black, t, t + 0.4)));
    let footage = Footage { seconds, breaks: Vec::new(), sure: 0.7, cues, gap: None };
    check(&footage.segments(&footage.at(1.0), &default()), &[("show", 0.0, seconds)]);
}

#[test]
fn without_cues_boundaries_lie_on_the_grid() {
    let footage = Footage { cues: Vec::new(), sure: 0.97, ..Footage::usual() };
    let segments = footage.segments(&footage.at(5.0), &default());
    check(&segments, &USUAL);
    assert!(segments.iter().all(|s| s.start_cues.is_empty() && s.end_cues.is_empty()));
}

#[test]
fn cues_alone_find_a_row_of_spots() {
    let times: Vec<f64> = (0..=6).map(|n| 600.0 + f64::from(n) * 30.0).collect();
    let cues = separators(&times);
    let footage = Footage { seconds: 1800.0, breaks: Vec::new(), sure: 0.5, cues, gap: None };
    let segments = footage.segments(&footage.at(5.0), &default());
    check(
        &segments,
        &[("show", 0.0, 600.0), ("commercial", 600.0, 780.0), ("show", 780.0, 1800.0)],
    );
    assert!(segments.iter().all(|s| (s.confidence - 0.5).abs() < 1e-6));
}

#[test]
fn a_second_of_stream_is_one_segment_and_none_without_a_frame() {
    for (sure, label) in [(0.9, "show"), (0.1, "commercial")] {
        let footage =
            Footage { seconds: 1.0, breaks: Vec::new(), sure, cues: Vec::new(), gap: None };
        for frames in [footage.at(25.0), footage.frames([0.0])] {
            let segments = footage.segments(&frames, &default());
            check(&segments, &[(label, 0.0, 1.0)]);
            assert!((segments[0].confidence - 0.9).abs() < 1e-3);
            assert!(segments[0].margin.is_finite());
        }
        assert_eq!(footage.segments(&[], &default()), []);
    }
    let one = Segmenter::new("content", &labels(&LABELS), &default());
    assert_eq!(one.finish(Pts(0)), []);
}

#[test]
fn a_stream_may_begin_and_end_within_a_break() {
    let mut footage = Footage::usual();
    footage.breaks = vec![(0.0, 12.0), (1385.0, 1400.0)];
    footage.cues = separators(&[12.0, 1385.0]);
    footage.sure = 0.98;
    check(
        &footage.segments(&footage.at(5.0), &default()),
        &[("commercial", 0.0, 12.0), ("show", 12.0, 1385.0), ("commercial", 1385.0, 1400.0)],
    );
}

#[test]
fn boundaries_lie_where_the_cues_agree() {
    let settings = profile::Candidates::default();
    let times = |cues: &[Cue], end: f64| -> Vec<(f64, usize)> {
        let found = candidates::candidates(cues, 0.0, end, &settings);
        found.iter().map(|c| ((c.time * 1e3).round() / 1e3, c.kinds.len())).collect()
    };
    use CueKind::*;
    // Black from 10.0 to 10.4, silence from 10.2 to 11: the middle of both.
    let both = [cue(Black, 10.0, 10.4), cue(Silence, 10.2, 11.0), cue(ShotCut, 10.0, 10.0)];
    assert_eq!(times(&both, 20.0), [(10.3, 3)]);
    // Cuts within a silence: the one nearest to its middle has it.
    let cuts = [cue(ShotCut, 9.0, 9.0), cue(Silence, 9.0, 10.0), cue(ShotCut, 9.6, 9.6)];
    assert_eq!(times(&cuts, 20.0), [(9.0, 1), (9.6, 2)]);
    // Long silence is a state with two ends.
    assert_eq!(times(&[cue(Silence, 5.0, 15.0)], 20.0), [(5.0, 1), (15.0, 1)]);
    // Cuts in a row are one moment only within the tolerance.
    let flicker: Vec<Cue> =
        (0..5).map(|n| 10.0 + f64::from(n) * 0.2).map(|t| cue(ShotCut, t, t)).collect();
    assert_eq!(times(&flicker, 20.0), [(10.0, 1), (10.4, 1), (10.8, 1)]);
    // What is at the very ends of the stream is no boundary.
    assert_eq!(times(&[cue(ShotCut, 0.1, 0.1), cue(Black, 19.8, 20.0)], 20.0), []);
    // The grid begins after the last cue, and only in long stretches.
    let grid = times(&[cue(ShotCut, 12.0, 12.0)], 45.0);
    assert_eq!(grid, [(12.0, 1), (17.0, 0), (22.0, 0), (27.0, 0), (32.0, 0), (37.0, 0), (42.0, 0)]);
}

#[test]
fn spots_are_pairs_of_separators_as_far_apart_as_spots_last() {
    let slots = profile::Slots::default();
    let spans = |times: &[f64]| {
        let found =
            candidates::candidates(&separators(times), 0.0, 500.0, &profile::Candidates::default());
        candidates::slot_spans(&found, &slots)
            .into_iter()
            .map(|(a, b)| (a.round(), b.round()))
            .collect::<Vec<_>>()
    };
    assert_eq!(spans(&[100.0, 130.2, 150.0]), [(100.0, 150.0)]);
    assert_eq!(spans(&[100.0, 115.0, 200.0, 230.0]), [(100.0, 115.0), (200.0, 230.0)]);
    assert_eq!(spans(&[100.0, 137.0]), []);
}

#[test]
fn many_labels_each_have_their_own_durations() {
    let names = ["tennis", "soccer", "boxing"];
    let text = "[durations.boxing]\nmedian_s = 20\nsigma = 0.4\nmin_s = 10\nmax_s = 40";
    let mut segmenter = Segmenter::new("sport", &labels(&names), &Profile::parse(text).unwrap());
    let truth = [("tennis", 200.0), ("boxing", 230.0), ("soccer", 500.0), ("tennis", 700.0)];
    for n in 0..3500 {
        let time = f64::from(n) / 5.0;
        let name = truth.iter().find(|t| time < t.1).unwrap().0;
        let p = |label: &&str| if **label == *name { 0.97 } else { 0.015 };
        let p: Vec<f32> = names.iter().map(p).collect();
        segmenter.observe(Pts::from_secs_f64(time), false, &p);
    }
    let segments = segmenter.finish(Pts::from_secs_f64(700.0));
    check(
        &segments,
        &[
            ("tennis", 0.0, 200.0),
            ("boxing", 200.0, 230.0),
            ("soccer", 230.0, 500.0),
            ("tennis", 500.0, 700.0),
        ],
    );
    assert!(segments.iter().all(|s| s.margin > 0.0), "{segments:?}");
}

#[test]
fn padding_favours_play() {
    let profile = Profile::named("sports-action").unwrap();
    let padding = profile.padding.clone();
    assert!(padding.before_s > 0.0 && padding.after_s > 0.0 && padding.label == "action");
    let mut segmenter = Segmenter::new("action", &labels(&["action", "non_action"]), &profile);
    for n in 0..500 {
        let time = f64::from(n) / 5.0;
        let p = if (20.0..40.0).contains(&time) || time >= 98.8 { 0.95 } else { 0.05 };
        segmenter.observe(Pts::from_secs_f64(time), false, &[p, 1.0 - p]);
    }
    for t in [20.0, 40.0, 98.8] {
        segmenter.cue(cue(CueKind::ShotCut, t, t));
    }
    let found = outline(&segmenter.finish(Pts::from_secs_f64(100.0)));
    let wanted = (20.0 - padding.before_s, 40.0 + padding.after_s);
    assert_eq!(found[1], ("action".to_owned(), wanted.0, wanted.1), "{found:?}");
    assert!(found.windows(2).all(|pair| pair[0].2 == pair[1].1), "{found:?}");
    assert_eq!((found[0].1, found.last().unwrap().2), (0.0, 100.0));
}

// Live.
