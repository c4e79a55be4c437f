//! How good ways to make segments are on simulated recordings, and what the
//! segmenter costs. Run with `cargo bench --bench segmenter`; `-- profiles` shows only
//! the shipped profiles, each on recordings of its own kind; `-- tune` shows what the
//! parameters were chosen by, `-- tune NAME` those of a profile, on other recordings.
#![allow(clippy::print_stdout, missing_docs, reason = "stdout is for results")]

mod methods;
mod simulate;
mod tune;

use std::sync::Arc;

use cpu_time::ProcessTime;
use heatcast::frame::Pts;
use heatcast::timeline::score::{Span, Tally};
use heatcast::timeline::segmenter::{Profile, Segmenter};

use methods::{Breaks, hmm, hysteresis, live, mean, segmenter, snapped, tally, threshold, tidied};
use simulate::{BRIEF, FEW_CUES, Kind, OWN, POOR_CLASSIFIER, Recording, USUAL, excerpt, recording};

/// Recordings of an hour in each table; their seeds are below those of `tune`.
const HOURS: u64 = 30;
/// Weight and clip of the hidden Markov model, by `tune`.
const HMM: (f64, f64) = (0.15, 8.0);

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if let Some(at) = args.iter().position(|arg| arg == "tune") {
        let name = args[at + 1..].iter().find(|arg| !arg.starts_with('-'));
        return tune::run(name.map_or("default", String::as_str));
    }
    if !args.iter().any(|arg| arg == "profiles") {
        for kind in [USUAL, FEW_CUES, POOR_CLASSIFIER] {
            let recordings = hours(kind);
            head(kind.name, "an hour");
            table(&recordings);
            println!();
        }
        lags();
        cost();
    }
    for kind in OWN {
        let recordings = hours(kind);
        head(kind.name, "an hour");
        let (default, own) = (profile(), named(kind.name));
        row("default", &recordings, |r| segmenter(r, &default));
        row(kind.name, &recordings, |r| segmenter(r, &own));
        if !own.padding.label.is_empty() {
            let bare = Profile { padding: default.padding.clone(), ..own };
            row("  without its padding", &recordings, |r| segmenter(r, &bare));
        }
        println!();
    }
    short();
}

fn hours(kind: Kind) -> Vec<Recording> {
    (0..HOURS).map(|seed| recording(seed, 3600.0, 5.0, kind)).collect()
}

/// Files of minutes: with a break of half a minute or so, and cut out of an hour.
fn short() {
    let default = profile();
    for (kind, minutes) in [(BRIEF, 2), (BRIEF, 4), (USUAL, 3), (USUAL, 6), (USUAL, 10)] {
        let seconds = f64::from(minutes) * 60.0;
        let seeds = 0..10 * HOURS;
        let recordings: Vec<_> = seeds.map(|seed| excerpt(seed, seconds, 1.0, kind)).collect();
        head(kind.name, &format!("{minutes} minutes, ten times as many"));
        row("default", &recordings, |r| segmenter(r, &default));
        println!();
    }
}

fn head(name: &str, length: &str) {
    println!("{name}: {HOURS} recordings of {length}");
    println!(
        "{:30} {:>6} {:>6} {:>6} {:>6} {:>6} {:>7} {:>7} {:>7} {:>7}",
        "method", "acc %", "F1 .5", "F1 .75", "F1 .9", "b 1 s", "median", "p90", "lost", "missed"
    );
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
    for name in ["us", "eu", "news"] {
        let other = named(name);
        row(&format!("  with the profile {name}"), recordings, |r| segmenter(r, &other));
    }
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

/// What a fixed lag costs and gains.
fn lags() {
    println!("usual, live: 10 recordings of an hour, asked once a second");
    println!("lag s   acc %  F1 .5  F1 .9  b 1 s  breaks (true)  taken back  start said  end said");
    for lag_s in [0, 10, 30, 60] {
        let (mut all, mut taken_back) = (Tally::default(), 0);
        for seed in 0..10 {
            let r = recording(seed, 3600.0, 5.0, USUAL);
            let (spans, gone) = live(&r, &profile(), lag_s);
            let truth: Vec<Span> = r.breaks.iter().map(|b| Span::new(b.0, b.1)).collect();
            all.add(&Tally::of(&truth, &spans, r.duration_s));
            taken_back += gone;
        }
        let s = all.scores();
        let number = |v: Option<f64>| v.unwrap_or(f64::NAN);
        println!(
            "{lag_s:5}  {:6.2}  {:5.3}  {:5.3}  {:5.3}  {:6} {:>6}  {taken_back:10}  {:8.1} s  {:6.1} s",
            number(s.frame_accuracy) * 100.0,
            number(s.segment_f1.iou_50),
            number(s.segment_f1.iou_90),
            number(s.boundary_f1.one),
            s.segments.predicted,
            format!("({})", s.segments.truth),
            number(s.latency_s.start.median),
            number(s.latency_s.end.median),
        );
    }
    println!();
}

fn cost() {
    for hours in [1, 12] {
        let recording = recording(1, f64::from(hours) * 3600.0, 5.0, USUAL);
        let started = ProcessTime::now();
        let breaks = segmenter(&recording, &profile()).len();
        let ms = started.elapsed().as_secs_f64() * 1e3;
        println!("{hours:2} h: {breaks} breaks in {ms:.0} ms of processor time");
    }
    // A head with many labels, whose best one is often not sure.
    let labels: Vec<Arc<str>> = (0..24).map(|k| format!("label {k}").into()).collect();
    let mut segmenter = Segmenter::new("sport", &labels, &profile());
    let recording = recording(1, 12.0 * 3600.0, 5.0, USUAL);
    recording.cues.iter().for_each(|cue| segmenter.cue(*cue));
    for i in 0..recording.logits.len() {
        let mut p = [0.02; 24];
        p[i / 1500 % 24] += 0.3;
        p[i / 7 % 24] += 0.22;
        segmenter.observe(Pts::from_secs_f64(i as f64 / recording.fps), false, &p);
    }
    let started = ProcessTime::now();
    let segments = segmenter.finish(Pts::from_secs_f64(recording.duration_s)).len();
    let ms = started.elapsed().as_secs_f64() * 1e3;
    println!("12 h, 24 labels: {segments} segments in {ms:.0} ms of processor time");
}

fn profile() -> Profile {
    named("default")
}

#[expect(clippy::unwrap_used, reason = "they are tested")]
fn named(name: &str) -> Profile {
    Profile::named(name).unwrap()
}
