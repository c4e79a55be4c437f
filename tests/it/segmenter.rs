//! The segmenter on simulated recordings, against simpler methods. The
//! parameters were chosen on other recordings: seeds from 1000 on.

#[path = "../../benches/segmenter/methods.rs"]
mod methods;
#[path = "../../benches/segmenter/simulate.rs"]
mod simulate;

use heatcast::timeline::score::{Scores, Span, Tally};
use heatcast::timeline::segmenter::Profile;

use methods::{Breaks, hmm, hysteresis, live, mean, segmenter, snapped, tally, threshold, tidied};
use simulate::{BRIEF, FEW_CUES, Kind, OWN, POOR_CLASSIFIER, Recording, USUAL, excerpt, recording};

fn scores(recordings: &[Recording], method: impl Fn(&Recording) -> Breaks) -> Scores {
    let mut all = Tally::default();
    recordings.iter().for_each(|r| all.add(&tally(r, &method(r))));
    all.scores()
}

/// F1 of segments at 0.5 and 0.9, of boundaries within a second.
fn figures(s: &Scores) -> [f64; 3] {
    [s.segment_f1.iou_50, s.segment_f1.iou_90, s.boundary_f1.one].map(Option::unwrap)
}

/// Ten recordings of an hour.
fn ten(how: Kind) -> Vec<Recording> {
    (0..10).map(|seed| recording(seed, 3600.0, 5.0, how)).collect()
}

type Method<'a> = &'a dyn Fn(&Recording) -> Breaks;

fn profile() -> Profile {
    Profile::named("default").unwrap()
}

#[test]
fn the_segmenter_beats_threshold_hysteresis_and_hidden_markov_model() {
    for (how, floors) in [
        (USUAL, [0.95, 0.72, 0.78]),
        (FEW_CUES, [0.93, 0.65, 0.65]),
        (POOR_CLASSIFIER, [0.83, 0.48, 0.60]),
    ] {
        let recordings = ten(how);
        let ours = figures(&scores(&recordings, |r| segmenter(r, &profile())));
        for (figure, floor) in ours.iter().zip(floors) {
            assert!(*figure >= floor, "{how:?}: {ours:?} is below {floors:?}");
        }
        let others: [(&str, Method<'_>); 5] = [
            ("threshold", &threshold),
            ("mean", &|r| tidied(mean(r, 31.0), 60.0, 45.0)),
            ("hysteresis", &|r| tidied(hysteresis(r, 4.0, 0.7, 0.3), 45.0, 45.0)),
            ("HMM", &|r| tidied(hmm(r, 0.15, 8.0), 20.0, 30.0)),
            ("HMM, snapped", &|r| snapped(r, tidied(hmm(r, 0.15, 8.0), 20.0, 30.0), 6.0)),
        ];
        for (name, method) in others {
            let theirs = figures(&scores(&recordings, method));
            let beaten = ours.iter().zip(theirs).all(|(a, b)| *a > b);
            assert!(beaten, "{how:?}: {ours:?}, but {name} has {theirs:?}");
        }
    }
}

#[test]
fn every_profile_is_at_least_as_good_as_the_default_on_recordings_of_its_own_kind() {
    for (kind, floors) in OWN.into_iter().zip([
        [0.97, 0.84, 0.84],
        [0.95, 0.70, 0.60],
        [0.92, 0.58, 0.62],
        [0.70, 0.50, 0.64],
    ]) {
        let recordings = ten(kind);
        // Padding moves boundaries on purpose.
        let bare = Profile { padding: profile().padding, ..Profile::named(kind.name).unwrap() };
        let [own, default] = [bare, profile()].map(|p| scores(&recordings, |r| segmenter(r, &p)));
        let sum = |s: &Scores| figures(s).iter().sum::<f64>() + s.frame_accuracy.unwrap();
        let (ours, theirs) = (figures(&own), figures(&default));
        eprintln!("{}: {ours:.3?}, default {theirs:.3?}", kind.name);
        assert!(sum(&own) >= sum(&default), "{}: {ours:?}, default {theirs:?}", kind.name);
        let good = ours.iter().zip(floors).all(|(figure, floor)| *figure >= floor);
        assert!(good, "{}: {ours:?} is below {floors:?}", kind.name);
    }
}

#[test]
fn padding_loses_less_play() {
    let recordings = ten(OWN[3]);
    let padded = Profile::named("sports-action").unwrap();
    let bare = Profile { padding: profile().padding, ..padded.clone() };
    let [padded, bare] = [padded, bare]
        .map(|p| scores(&recordings, |r| segmenter(r, &p)).ads_missed_s_per_h.unwrap());
    assert!(padded < bare, "{padded} s of play lost an hour, {bare} without padding");
}

#[test]
fn files_of_minutes_need_no_profile_of_their_own() {
    for (kind, minutes, floor) in
        [(BRIEF, 2, 0.91), (BRIEF, 4, 0.85), (USUAL, 3, 0.96), (USUAL, 6, 0.97)]
    {
        let seconds = f64::from(minutes) * 60.0;
        let recordings: Vec<_> = (0..60).map(|seed| excerpt(seed, seconds, 1.0, kind)).collect();
        let s = scores(&recordings, |r| segmenter(r, &profile()));
        let accuracy = s.frame_accuracy.unwrap();
        eprintln!("{} {minutes} minutes: {accuracy:.4} {:.3?}", kind.name, figures(&s));
        assert!(accuracy >= floor, "{} {minutes} minutes: {s:?}", kind.name);
    }
}

#[test]
fn the_rate_of_analysis_hardly_matters_on_noisy_recordings() {
    let at = |fps: f64| {
        let recordings: Vec<_> = (0..6).map(|seed| recording(seed, 3600.0, fps, USUAL)).collect();
        scores(&recordings, |r| segmenter(r, &profile()))
    };
    for fps in [2.0, 10.0] {
        let [one, other] = [at(5.0), at(fps)].map(|s| s.frame_accuracy.unwrap());
        assert!((one - other).abs() < 0.01, "{one} at 5 fps, {other} at {fps}");
    }
}

#[test]
fn twelve_hours_are_cut_as_well_as_one() {
    let long = [recording(5, 12.0 * 3600.0, 2.0, USUAL)];
    let s = scores(&long, |r| segmenter(r, &profile()));
    assert!(s.frame_accuracy.unwrap() > 0.97, "{s:?}");
    assert!(s.segments.truth > 40);
}

#[test]
fn half_a_minute_behind_a_stream_breaks_are_nearly_those_of_a_recording() {
    let mut all = Tally::default();
    for seed in 0..3 {
        let r = recording(seed, 3600.0, 5.0, USUAL);
        let (spans, _) = live(&r, &profile(), 30);
        let truth: Vec<Span> = r.breaks.iter().map(|b| Span::new(b.0, b.1)).collect();
        all.add(&Tally::of(&truth, &spans, r.duration_s));
    }
    let s = all.scores();
    assert!(s.frame_accuracy.unwrap() > 0.95, "{s:?}");
    assert!(s.segment_f1.iou_50.unwrap() > 0.7, "{s:?}");
    // Nothing is said before it can be known, nor long after.
    assert!((0.0..60.0).contains(&s.latency_s.start.median.unwrap()), "{s:?}");
}
