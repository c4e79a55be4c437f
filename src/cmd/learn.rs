//! `heatcast model learn`: teaches a model a head with labelled pictures, or
//! with a recording whose breaks are known.

use std::path::PathBuf;
use std::time::Instant;

use serde::Serialize;

use super::eval::{Rows, threads};
use super::progress::Count;
use super::{Failure, json_result, remarks, result};
use crate::config::Config;
use crate::eval::Scores;
use crate::pipeline::{self, Examples, Taught, Teach};

/// Arguments of `heatcast model learn`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The question: a head of the model to replace, or a new one
    #[arg(long)]
    head: String,
    /// Labelled pictures: a folder with one folder for each class, or a CSV table
    #[arg(long, value_name = "DIR", required_unless_present = "from_recording")]
    from: Option<PathBuf>,
    #[command(flatten)]
    rows: Rows,
    /// A recording; frames inside its breaks are `commercial`, others `show`
    #[arg(long, value_name = "FILE", conflicts_with = "from", requires = "cuts")]
    from_recording: Option<PathBuf>,
    /// The breaks of the recording: an edit decision list (Kodi, Comskip) or events
    #[arg(long, value_name = "FILE", requires = "from_recording")]
    cuts: Option<PathBuf>,
    /// Frames taken per second of the recording, at most
    #[arg(long, value_name = "N", default_value_t = 2.0)]
    fps: f64,
    /// Frames taken of the recording, at most
    #[arg(long, value_name = "N", default_value_t = 2000)]
    frames: usize,
    /// Programme number, for transport streams with several
    #[arg(long, value_name = "N")]
    program: Option<u32>,
    /// The model folder to write
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Model to start from: a name, a folder or an .onnx file
    #[arg(long, value_name = "NAME|PATH")]
    model: Option<String>,
    /// How much to hold on to what the head knows, 0 to 1 [default: 1 or 0, whichever does better]
    #[arg(long, value_name = "N")]
    mix: Option<f32>,
    /// Pictures looked at at the same time [default: one for each processor]
    #[arg(long)]
    threads: Option<usize>,
    /// Replace a folder that exists
    #[arg(long)]
    force: bool,
    /// Print what came out as one JSON object
    #[arg(long)]
    json: bool,
}

/// The object of `--json`.
#[derive(Serialize)]
struct Report<'a> {
    output: String,
    head: &'a str,
    replaced: bool,
    classes: Vec<ClassReport<'a>>,
    skipped: usize,
    before: Option<&'a Scores>,
    after: &'a Scores,
    penalty: f64,
    mix: f32,
    temperature: f32,
    explain_scale: f32,
    notes: &'a [String],
    wall_s: f64,
}

#[derive(Serialize)]
struct ClassReport<'a> {
    label: &'a str,
    n: usize,
}

pub(super) fn run(args: &Args, quiet: bool) -> Result<(), Failure> {
    let begun = Instant::now();
    let examples = match (&args.from, &args.from_recording, &args.cuts) {
        (_, Some(input), Some(cuts)) => Examples::Recording {
            input: input.clone(),
            cuts: cuts.clone(),
            fps: args.fps,
            most: args.frames,
            program: args.program,
        },
        (from, ..) => Examples::Pictures {
            dataset: from.clone().unwrap_or_default(),
            selection: args.rows.clone().into(),
        },
    };
    let job = Teach {
        examples,
        model: args.model.clone().unwrap_or_else(|| Config::default().model.name),
        head: args.head.clone(),
        output: args.output.clone(),
        mix: args.mix,
        threads: threads(args.threads).map_err(Failure::usage)?,
        force: args.force,
    };
    let plan = pipeline::plan_teaching(job).map_err(Failure::usage)?;
    let mut display = Count::new("", quiet);
    let ended = pipeline::teach(plan, &mut |what, part| display.part(what, part));
    display.clear();
    let taught = ended.map_err(Failure::run)?;
    if !quiet {
        remarks(&taught.notes, &taught.skipped);
    }
    if args.json {
        let classes = taught.classes.iter().map(|(label, n)| ClassReport { label, n: *n });
        let report = Report {
            output: args.output.display().to_string(),
            head: &args.head,
            replaced: taught.replaced,
            classes: classes.collect(),
            skipped: taught.skipped.len(),
            before: taught.before.as_ref(),
            after: &taught.after,
            penalty: taught.penalty,
            mix: taught.mix,
            temperature: taught.temperature,
            explain_scale: taught.explain_scale,
            notes: &taught.notes,
            wall_s: begun.elapsed().as_secs_f64(),
        };
        json_result(&report)?;
    } else {
        print(args, &taught, begun.elapsed().as_secs_f64());
    }
    Ok(())
}

fn print(args: &Args, taught: &Taught, wall_s: f64) {
    let classes: Vec<String> = taught.classes.iter().map(|(l, n)| format!("{l} {n}")).collect();
    let what = if taught.replaced { "replaced" } else { "new" };
    result(format_args!("head      {} ({what}): {}", args.head, classes.join(", ")));
    let score = |s: &Scores| {
        let [low, high] = s.balanced_accuracy_95;
        format!("balanced accuracy {:.3} (95 %: {low:.3} to {high:.3})", s.balanced_accuracy)
    };
    let n = taught.after.n;
    result(format_args!("held out  {n} pictures that nothing was learnt from"));
    match &taught.before {
        Some(before) => result(format_args!("before    {}", score(before))),
        None => result(format_args!("before    no head with these classes")),
    }
    result(format_args!("after     {}", score(&taught.after)));
    result(format_args!(
        "{} written in {wall_s:.0} s; use it with --model {}",
        args.output.display(),
        args.output.display()
    ));
}
