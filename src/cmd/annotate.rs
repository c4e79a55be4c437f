//! `heatcast annotate`: a recording in, an annotated recording out.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use anyhow::{Context, bail};

use super::look::{Layouts, Look};
use super::progress::{Display, clock};
use super::settings::{self, Analysis, set};
use super::timeline_args::TimelineArgs;
use super::{Failure, Tensors, json_result, result, talk};
use crate::config::Config;
use crate::media::Container;
use crate::pipeline::{self, Annotate, StopFlag, Summary, TimelinePlan};

/// Arguments of `heatcast annotate`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The recording
    input: PathBuf,
    /// The annotated recording: .mp4, .mkv or .ts
    #[arg(short, long)]
    output: PathBuf,
    /// Also write what was seen, one JSON object a line
    #[arg(long, value_name = "FILE")]
    events: Option<PathBuf>,
    #[command(flatten)]
    analysis: Analysis,
    /// What is explained: logit, margin (the lead over the other classes) or auto [default: auto]
    #[arg(long)]
    seed: Option<String>,
    /// What full heat stands for: fixed (the same in every frame), frame (the most in
    /// the frame) or running (the most of late) [default: fixed]
    #[arg(long)]
    normalize: Option<String>,
    /// Heat between two analyses: linear or hold [default: linear]
    #[arg(long)]
    interpolation: Option<String>,
    #[command(flatten)]
    tensors: Tensors,
    #[command(flatten)]
    layouts: Layouts,
    #[command(flatten)]
    look: Look,
    /// Programme number, for transport streams with several
    #[arg(long, value_name = "N")]
    program: Option<u32>,
    /// Settings file (see pipelines/reference.toml)
    #[arg(long, value_name = "TOML")]
    config: Option<PathBuf>,
    /// One setting, e.g. --set output.crf=23
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// Overwrite files that exist
    #[arg(long)]
    force: bool,
    /// Print the summary as one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    timeline: TimelineArgs,
}

pub(super) fn run(args: Args, quiet: bool) -> Result<(), Failure> {
    let config = configuration(&args).map_err(Failure::usage)?;
    let timeline = args.timeline.plan(&args.output).map_err(Failure::usage)?;
    check_paths(&args, &timeline).map_err(Failure::usage)?;
    let stop = stop_on_signal().map_err(Failure::run)?;
    let prepared = pipeline::prepare(&config).map_err(Failure::usage)?;
    prepared.check_timeline(&timeline).map_err(Failure::usage)?;
    let job = Annotate {
        input: args.input,
        output: args.output,
        events: args.events,
        timeline,
        program: args.program,
        config,
    };
    let mut display = Display::new(quiet);
    let ended = pipeline::annotate(&job, prepared, &stop, &mut |p| display.update(p));
    display.clear();
    let summary = ended.map_err(Failure::run)?;
    if args.json {
        json_result(&summary)?;
    } else if !quiet {
        describe(&summary);
    }
    verdict(&summary).map_err(Failure::run)
}

/// Defaults, then the file, then `--set`, then the flags that name a setting.
fn configuration(args: &Args) -> anyhow::Result<Config> {
    let own = [
        set("explain.seed", args.seed.as_ref()),
        set("explain.normalize", args.normalize.as_ref()),
        set("explain.interpolation", args.interpolation.as_ref()),
        set("explain.feature", args.tensors.feature.as_ref()),
        set("explain.logits", args.tensors.logits.as_ref()),
    ];
    let mut sets = args.sets.clone();
    sets.extend(args.analysis.settings());
    sets.extend(own.into_iter().flatten());
    sets.extend(args.layouts.settings()?);
    sets.extend(args.look.settings());
    settings::load(args.config.as_deref(), &[], &sets)
}

/// Everything about the files that can be known before work starts.
fn check_paths(args: &Args, timeline: &TimelinePlan) -> anyhow::Result<()> {
    let Args { input, output, .. } = args;
    if !input.exists() {
        bail!("{}: there is no such file; check the name", input.display());
    }
    let container = Container::of(output)?;
    let outputs = [Some(output), args.events.as_ref()];
    for path in outputs.into_iter().flatten() {
        let folder = pipeline::check_parent(path)?;
        if !path.is_dir() && pipeline::same_file(path, input) {
            bail!("{} is the input; name another output", path.display());
        }
        pipeline::check_free(path, args.force)?;
        tempfile_in(folder).with_context(|| format!("cannot write into {}", folder.display()))?;
    }
    if args.events.as_ref().is_some_and(|events| events == output) {
        bail!("{}: the events and the video need two files", output.display());
    }
    let taken: Vec<&Path> = [input, output].into_iter().chain(&args.events).map(|p| &**p).collect();
    timeline.check(Some(container), &taken, args.force)
}

/// Proves that a folder can be written into.
fn tempfile_in(folder: &Path) -> std::io::Result<()> {
    let probe = folder.join(format!(".heatcast-{}.part", std::process::id()));
    std::fs::File::create(&probe)?;
    std::fs::remove_file(&probe)
}

/// The first signal asks for an orderly end, the second one ends at once.
pub(super) fn stop_on_signal() -> anyhow::Result<StopFlag> {
    let stop: StopFlag = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    ctrlc::set_handler(move || {
        if flag.swap(true, SeqCst) {
            std::process::exit(1);
        }
    })
    .context("cannot listen for Ctrl-C")?;
    Ok(stop)
}

fn verdict(summary: &Summary) -> anyhow::Result<()> {
    let Summary { output, duration_s, .. } = summary;
    if let Some(reason) = &summary.reason {
        bail!("{reason}; the first {} are in {output}", clock(*duration_s));
    }
    if let Some(why) = &summary.timeline_failure {
        bail!("{output} is complete, but not what was to be written about its timeline: {why}");
    }
    if summary.classifier_failures > 0 {
        bail!(
            "the classifier failed on {} of {} frames; {output} shows them without explanation",
            summary.classifier_failures,
            summary.frames_analysed
        );
    }
    Ok(())
}

fn describe(summary: &Summary) {
    let Summary { frames_in, frames_out, frames_analysed, wall_s, speed, .. } = summary;
    talk(format_args!(
        "{frames_in} frames in, {frames_out} out, {frames_analysed} analysed: {} of video in {} ({speed:.2}x real time)",
        clock(summary.duration_s),
        clock(*wall_s),
    ));
    for track in &summary.tracks {
        talk(format_args!("{}: {}", track.name, track.fate));
    }
    for left_out in &summary.left_out {
        talk(format_args!("left out: {left_out}"));
    }
    for note in &summary.notes {
        talk(format_args!("note: {note}"));
    }
    if let Some(events) = &summary.events {
        talk(format_args!("events: {events}"));
    }
    if !summary.timeline.is_empty() {
        talk(format_args!("timeline: {}", summary.timeline.join(", ")));
    }
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    result(format_args!(
        "{} ({:.1} MB, from {:.1} MB)",
        summary.output,
        megabytes(summary.output_bytes),
        megabytes(summary.input_bytes)
    ));
}
