//! How good ways to make segments are on simulated recordings, and what the
//! segmenter costs. Run with `cargo bench --bench segmenter`; `-- tune` shows
//! what the parameters were chosen by, on recordings of their own.
#![allow(clippy::print_stdout, missing_docs, reason = "stdout is for results")]

mod methods;
mod simulate;
mod tune;

use cpu_time::ProcessTime;
use heatcast::timeline::score::Tally;
use heatcast::timeline::segmenter::Profile;

use methods::{Breaks, hmm, hysteresis, mean, segmenter, snapped, tally, threshold, tidied};
use simulate::{FEW_CUES, POOR_CLASSIFIER, Recording, USUAL, recording};

/// Recordings of an hour in each table; their seeds are below those of `tune`.
const HOURS: u64 = 30;
/// Weight and clip of the hidden Markov model, by `tune`.
const HMM: (f64, f64) = (0.15, 8.0);

fn main() {
    if std::env::args().any(|arg| arg == "tune") {
        return tune::run();
    }
    for (name, how) in
        [("usual", USUAL), ("few cues", FEW_CUES), ("poor classifier", POOR_CLASSIFIER)]
    {
        let recordings: Vec<_> = (0..HOURS).map(|seed| recording(seed, 3600.0, 5.0, how)).collect();
        println!("{name}: {HOURS} recordings of an hour");
        println!(
            "{:30} {:>6} {:>6} {:>6} {:>6} {:>6} {:>7} {:>7} {:>7} {:>7}",
            "method",
            "acc %",
            "F1 .5",
            "F1 .75",
            "F1 .9",
            "b 1 s",
            "median",
            "p90",
            "lost",
            "missed"
        );
        table(&recordings);
        println!();
    }
    cost();
}

fn table(recordings: &[Recording]) {
    let without = |slots: bool| {
        let mut profile = profile();
        if !slots {
            profile.slots.lengths_s.clear();
        }
        profile
    };
    let (with_slots, no_slots) = (without(true), without(false));
    row("threshold 0.5", recordings, threshold);
    row("31 s mean", recordings, |r| mean(r, 31.0));
    row("31 s mean, min 60, gap 45", recordings, |r| tidied(mean(r, 31.0), 60.0, 45.0));
    row("  and snapped 6 s", recordings, |r| snapped(r, tidied(mean(r, 31.0), 60.0, 45.0), 6.0));
    row("EMA hysteresis", recordings, |r| tidied(hysteresis(r, 4.0, 0.7, 0.3), 45.0, 45.0));
    row("HMM, min 20, gap 30", recordings, |r| tidied(hmm(r, HMM.0, HMM.1), 20.0, 30.0));
    row("  and snapped 6 s", recordings, |r| {
        snapped(r, tidied(hmm(r, HMM.0, HMM.1), 20.0, 30.0), 6.0)
    });
    row("HSMM on cues", recordings, |r| segmenter(r, &no_slots));
    row("HSMM on cues and slots", recordings, |r| segmenter(r, &with_slots));
}

fn row(name: &str, recordings: &[Recording], method: impl Fn(&Recording) -> Breaks) {
    let mut all = Tally::default();
    recordings.iter().for_each(|r| all.add(&tally(r, &method(r))));
    let s = all.scores();
    let part = |v: Option<f64>| v.map_or("-".to_owned(), |v| format!("{v:.3}"));
    let seconds = |v: Option<f64>| v.map_or("-".to_owned(), |v| format!("{v:.2}"));
    println!(
        "{name:30} {:>6.2} {:>6} {:>6} {:>6} {:>6} {:>7} {:>7} {:>7} {:>7}",
        s.frame_accuracy.unwrap_or(0.0) * 100.0,
        part(s.segment_f1.iou_50),
        part(s.segment_f1.iou_75),
        part(s.segment_f1.iou_90),
        part(s.boundary_f1.one),
        seconds(s.boundary_error_s.median),
        seconds(s.boundary_error_s.p90),
        seconds(s.show_lost_s_per_h),
        seconds(s.ads_missed_s_per_h),
    );
}

fn cost() {
    for hours in [1, 12] {
        let recording = recording(1, f64::from(hours) * 3600.0, 5.0, USUAL);
        let started = ProcessTime::now();
        let breaks = segmenter(&recording, &profile()).len();
        let ms = started.elapsed().as_secs_f64() * 1e3;
        println!("{hours:2} h: {breaks} breaks in {ms:.0} ms of processor time");
    }
}

#[expect(clippy::unwrap_used, reason = "it is tested")]
fn profile() -> Profile {
    Profile::named("default").unwrap()
}
