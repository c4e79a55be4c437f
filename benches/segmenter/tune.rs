//! What the parameters of the profiles were chosen by: recordings that no table
//! and no test uses.

use heatcast::timeline::score::Tally;
use heatcast::timeline::segmenter::Profile;

use crate::methods::{Breaks, hmm, hysteresis, mean, segmenter, tally, tidied};
use crate::simulate::{FEW_CUES, OWN, POOR_CLASSIFIER, Recording, USUAL, recording};

/// The first seed; those of tables and tests are below.
const FIRST: u64 = 1000;

/// Improves the profile of this name, one parameter after the other.
pub(crate) fn run(name: &str) {
    let own = OWN.into_iter().find(|kind| kind.name == name);
    let kinds: &[_] = match own {
        Some(kind) => &[(kind, 24)],
        None => &[(USUAL, 12), (FEW_CUES, 6), (POOR_CLASSIFIER, 6)],
    };
    let (mut recordings, mut seed) = (Vec::new(), FIRST);
    for (kind, hours) in kinds {
        for _ in 0..*hours {
            recordings.push(recording(seed, 3600.0, 5.0, *kind));
            seed += 1;
        }
    }
    let mut profile = crate::named(name);
    if own.is_none() {
        baselines(&recordings);
    } else {
        // Padding moves boundaries on purpose.
        profile.padding = crate::profile().padding;
        let default = crate::profile();
        show("default", &recordings, |r| segmenter(r, &default));
    }
    let mut best = show("as it is", &recordings, |r| segmenter(r, &profile));
    // One parameter after the other, until none gets better.
    for round in 1.. {
        let before = best;
        for (name, values, set) in KNOBS {
            for value in *values {
                let mut tried = profile.clone();
                set(&mut tried, *value);
                if tried == profile {
                    continue;
                }
                let score = show(&format!("{name} {value}"), &recordings, |r| segmenter(r, &tried));
                if score > best + 0.002 {
                    (best, profile) = (score, tried);
                    println!("  better: {name} = {value}");
                }
            }
        }
        println!("round {round}: {best:.4}");
        if best - before < 0.004 {
            break;
        }
    }
    println!("{profile:#?}");
}

type Knob = (&'static str, &'static [f64], fn(&mut Profile, f64));

const KNOBS: &[Knob] = &[
    ("evidence.weight", &[0.02, 0.03, 0.04, 0.05, 0.07, 0.1, 0.2, 0.3, 0.4, 0.6], |p, v| {
        p.evidence.weight = v
    }),
    ("evidence.clip", &[3.0, 4.0, 6.0], |p, v| p.evidence.clip = v),
    ("cues.boundary", &[-4.0, -3.0, -2.5, -2.0, -1.5, -1.0], |p, v| p.cues.boundary = v),
    ("cues.shot_cut", &[0.4, 0.8, 1.2, 1.6], |p, v| p.cues.shot_cut = v),
    ("cues.silence", &[0.4, 0.8, 1.2, 1.6, 2.0], |p, v| p.cues.silence = v),
    ("cues.black", &[0.2, 0.5, 0.8, 1.2, 1.6], |p, v| p.cues.black = v),
    ("slots.logits", &[0.0, 0.5, 1.0, 1.5, 2.0], |p, v| p.slots.logits = v),
    ("slots.tolerance_s", &[0.2, 0.25, 0.35, 0.5], |p, v| p.slots.tolerance_s = v),
];

fn baselines(recordings: &[Recording]) {
    for window in [15.0, 31.0, 61.0] {
        for least in [30.0, 60.0] {
            show(&format!("mean {window} min {least}"), recordings, |r| {
                tidied(mean(r, window), least, 45.0)
            });
        }
    }
    for tau in [4.0, 8.0, 15.0] {
        for (high, low) in [(0.7, 0.3), (0.6, 0.4)] {
            show(&format!("EMA {tau} {high} {low}"), recordings, |r| {
                tidied(hysteresis(r, tau, high, low), 45.0, 45.0)
            });
        }
    }
    for clip in [2.0, 3.0, 4.0, 8.0] {
        for weight in [0.1, 0.15, 0.2, 0.3, 0.4] {
            show(&format!("HMM {weight} clip {clip}"), recordings, |r| {
                tidied(hmm(r, weight, clip), 20.0, 30.0)
            });
        }
    }
}

/// Prints and gives what is optimised: F1 of segments at 0.5 and 0.9, of
/// boundaries at a second, and accuracy.
fn show(name: &str, recordings: &[Recording], method: impl Fn(&Recording) -> Breaks) -> f64 {
    let mut all = Tally::default();
    recordings.iter().for_each(|r| all.add(&tally(r, &method(r))));
    let s = all.scores();
    let parts = [s.segment_f1.iou_50, s.segment_f1.iou_90, s.boundary_f1.one, s.frame_accuracy];
    let [a, b, c, d] = parts.map(|v| v.unwrap_or(0.0));
    println!("{:.4}  F1 {a:.3} {b:.3}  boundary {c:.3}  accuracy {d:.4}  {name}", a + b + c + d);
    a + b + c + d
}
