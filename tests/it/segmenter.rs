//! The segmenter on simulated recordings, against simpler methods. The
//! parameters were chosen on other recordings: seeds from 1000 on.

#[path = "../../benches/segmenter/methods.rs"]
mod methods;
#[path = "../../benches/segmenter/simulate.rs"]
mod simulate;

use heatcast::timeline::score::{Scores, Tally};
use heatcast::timeline::segmenter::Profile;

use methods::{Breaks, hmm, hysteresis, mean, segmenter, snapped, tally, threshold, tidied};
use simulate::{Difficulty, FEW_CUES, POOR_CLASSIFIER, Recording, USUAL, recording};

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
fn ten(how: Difficulty) -> Vec<Recording> {
    (0..10).map(|seed| recording(seed, 3600.0, 5.0, how)).collect()
}

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
        let others: [(&str, &dyn Fn(&Recording) -> Breaks); 5] = [
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
