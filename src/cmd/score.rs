//! `heatcast score`: how well timelines agree with the truth.

use std::path::PathBuf;

use serde::Serialize;

use super::{Failure, json_result, remarks, result};
use crate::pipeline::{self, Scored};
use crate::timeline::score::Scores;

/// Arguments of `heatcast score`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The truth: a timeline file, a folder of them, or a quoted pattern
    truth: PathBuf,
    /// What is scored: likewise; files are matched by name
    predicted: PathBuf,
    /// Label of the segments that are scored [default: commercial]
    #[arg(long)]
    label: Option<String>,
    /// Only segments of this head; needed where several have the label
    #[arg(long)]
    head: Option<String>,
    /// Duration of every recording [default: the longer that the files tell]
    #[arg(long, value_name = "SECONDS")]
    duration: Option<f64>,
    /// Print the scores as one JSON object
    #[arg(long)]
    json: bool,
}

/// The contract of `--json`.
#[derive(Serialize)]
struct Report<'a> {
    truth: String,
    predicted: String,
    label: &'a str,
    #[serde(flatten)]
    scores: &'a Scores,
    per_file: Vec<File<'a>>,
    notes: &'a [String],
}

#[derive(Serialize)]
struct File<'a> {
    name: &'a str,
    duration_from: &'a str,
    #[serde(flatten)]
    scores: &'a Scores,
}

pub(super) fn run(args: Args, quiet: bool) -> Result<(), Failure> {
    let job = pipeline::Score {
        truth: args.truth.clone(),
        predicted: args.predicted.clone(),
        head: args.head,
        label: args.label,
        duration_s: args.duration,
    };
    let plan = pipeline::plan_score(job).map_err(Failure::usage)?;
    let scored = pipeline::score(plan).map_err(Failure::run)?;
    if !quiet {
        remarks(&scored.notes, &[]);
    }
    if !args.json {
        print(&scored);
        return Ok(());
    }
    json_result(&Report {
        truth: args.truth.display().to_string(),
        predicted: args.predicted.display().to_string(),
        label: &scored.label,
        scores: &scored.pooled,
        per_file: scored
            .files
            .iter()
            .map(|f| File { name: &f.name, duration_from: f.duration_from, scores: &f.scores })
            .collect(),
        notes: &scored.notes,
    })
}

/// A fraction, or a dash where there is none.
fn part(value: Option<f64>) -> String {
    value.map_or("-".to_owned(), |v| format!("{v:.3}"))
}

/// Seconds, or a dash where there are none.
fn seconds(value: Option<f64>) -> String {
    value.map_or("-".to_owned(), |v| format!("{v:.2}"))
}

fn print(scored: &Scored) {
    let Scored { label, pooled: s, files, .. } = scored;
    let (lost, missed) = (s.show_lost_s_per_h, s.ads_missed_s_per_h);
    let base = &s.all_show;
    let (f1, near, off) = (&s.segment_f1, &s.boundary_f1, &s.boundary_error_s);
    let recordings = if s.files == 1 { "recording" } else { "recordings" };
    result(format_args!(
        "compared           {} {recordings}, {:.1} minutes, label {label}",
        s.files,
        s.duration_s / 60.0
    ));
    result(format_args!(
        "frame accuracy     {} (without any {label}: {})",
        part(s.frame_accuracy),
        part(base.frame_accuracy)
    ));
    result(format_args!(
        "MCC                {}   precision {}, recall {} of the time",
        part(s.mcc),
        part(s.precision),
        part(s.recall)
    ));
    result(format_args!(
        "segment F1         {} at IoU 0.5, {} at 0.75, {} at 0.9   ({} true, {} predicted)",
        part(f1.iou_50),
        part(f1.iou_75),
        part(f1.iou_90),
        s.segments.truth,
        s.segments.predicted
    ));
    result(format_args!(
        "boundary F1        {} within 0.5 s, {} within 1 s, {} within 2 s   ({} true, {} predicted)",
        part(near.half),
        part(near.one),
        part(near.two),
        s.boundaries.truth,
        s.boundaries.predicted
    ));
    result(format_args!(
        "boundary error     median {} s, 90 % within {} s, bias {} s (starts {}, ends {})",
        seconds(off.median),
        seconds(off.p90),
        seconds(off.bias),
        seconds(off.start_bias),
        seconds(off.end_bias)
    ));
    result(format_args!("wrongly {label:<12}{} s/h", seconds(lost)));
    result(format_args!(
        "missed {label:<12} {} s/h (of {} s/h)",
        seconds(missed),
        seconds(base.ads_missed_s_per_h)
    ));
    if s.latency_s.start.n + s.latency_s.end.n > 0 {
        let said = |d: &crate::timeline::score::Delay| {
            format!("median {} s, 90 % within {} s", seconds(d.median), seconds(d.p90))
        };
        result(format_args!("starts announced   {}", said(&s.latency_s.start)));
        result(format_args!("ends announced     {}", said(&s.latency_s.end)));
    }
    if files.len() > 1 {
        print_files(scored);
    }
}

fn print_files(scored: &Scored) {
    let names = scored.files.iter().map(|f| f.name.chars().count());
    let width = names.max().unwrap_or(0).max(9);
    result(format_args!(
        "\n{:width$}  minutes  accuracy    MCC  F1 .5  F1 .9  +-1 s  median    p90    lost  missed",
        "recording"
    ));
    for file in &scored.files {
        let s = &file.scores;
        result(format_args!(
            "{:width$}  {:>7.1}  {:>8}  {:>5}  {:>5}  {:>5}  {:>5}  {:>6}  {:>5}  {:>6}  {:>6}",
            file.name,
            s.duration_s / 60.0,
            part(s.frame_accuracy),
            part(s.mcc),
            part(s.segment_f1.iou_50),
            part(s.segment_f1.iou_90),
            part(s.boundary_f1.one),
            seconds(s.boundary_error_s.median),
            seconds(s.boundary_error_s.p90),
            seconds(s.show_lost_s_per_h),
            seconds(s.ads_missed_s_per_h),
        ));
    }
}
