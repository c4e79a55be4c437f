//! `heatcast scan`: what is in recordings and when, without a picture out.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::Serialize;

use super::annotate::stop_on_signal;
use super::progress::{Count, clock};
use super::settings::{self, ModelChoice, set};
use super::timeline_args::TimelineArgs;
use super::{Failure, json_result, result, talk};
use crate::config::Config;
use crate::frame::Pts;
use crate::pipeline::{self, Recording, Scan, ScanOutputs, Scanned, TimelinePlan};
use crate::timeline::formats::Format;
use crate::timeline::{CueKind, Segment};

/// Pictures classified per second in the first look, unless settings say otherwise.
const GLANCES_PER_S: f64 = 1.0;
/// More threads of a classifier are given only when they are asked for.
const MOST_THREADS: usize = 4;

/// Arguments of `heatcast scan`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The recordings: files, or patterns such as 'news/*.ts'
    #[arg(required = true)]
    inputs: Vec<String>,
    /// Write an HTML page that shows what was found and why; a folder for several
    #[arg(long, value_name = "HTML")]
    report: Option<PathBuf>,
    #[command(flatten)]
    model: ModelChoice,
    /// Pictures looked at per second on the whole [default: 1]
    #[arg(long, value_name = "N")]
    analysis_fps: Option<f64>,
    /// Decode every picture: slower, and finds every cue
    #[arg(long)]
    every_picture: bool,
    /// Recordings scanned at the same time [default: half of the processors]
    #[arg(short, long, value_name = "N")]
    jobs: Option<usize>,
    /// Threads of each classifier [default: what processors are left, 4 at most]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Programme number, for transport streams with several
    #[arg(long, value_name = "N")]
    program: Option<u32>,
    /// Settings file (see pipelines/reference.toml)
    #[arg(long, value_name = "TOML")]
    config: Option<PathBuf>,
    /// One setting, e.g. --set limits.stall_timeout_s=60
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// Scan again what was scanned, and overwrite files that exist
    #[arg(long)]
    force: bool,
    /// Print everything as one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    timeline: TimelineArgs,
}

/// The contract of `--json`.
#[derive(Serialize)]
struct Report {
    model: String,
    version: String,
    recordings: Vec<RecordingReport>,
}

#[derive(Serialize)]
struct RecordingReport {
    input: String,
    /// Why there is nothing else, or not all.
    error: Option<String>,
    complete: bool,
    duration_s: f64,
    segments: Vec<SegmentReport>,
    cues: Vec<CueReport>,
    pictures: u64,
    pictures_decoded: u64,
    pictures_classified: u64,
    wall_s: f64,
    speed: f64,
    classifier_cpu_s: f64,
    notes: Vec<String>,
    files: Vec<String>,
}

#[derive(Serialize)]
struct SegmentReport {
    head: String,
    label: String,
    start_s: f64,
    end_s: f64,
    /// On the recording's own clock.
    file_start_s: f64,
    file_end_s: f64,
    confidence: f32,
    margin: f32,
    start_cues: Vec<&'static str>,
    end_cues: Vec<&'static str>,
}

#[derive(Serialize)]
struct CueReport {
    kind: &'static str,
    start_s: f64,
    end_s: f64,
}

pub(super) fn run(args: &Args, quiet: bool) -> Result<(), Failure> {
    let inputs = inputs(&args.inputs).map_err(Failure::usage)?;
    let (job, scanned_before) = job(args, inputs).map_err(Failure::usage)?;
    if !quiet {
        for path in &scanned_before {
            talk(format_args!("{}: scanned before; --force scans it again", path.display()));
        }
    }
    let inputs: Vec<PathBuf> = job.inputs.iter().map(|(path, _)| path.clone()).collect();
    if inputs.is_empty() {
        return Ok(());
    }
    let stop = stop_on_signal().map_err(Failure::run)?;
    let plan = pipeline::plan_scan(job, &stop).map_err(Failure::usage)?;
    let (model, version) = plan.model();
    let (model, version) = (model.to_owned(), version.to_owned());
    let mut display = Count::new("recordings", quiet);
    let begun = std::time::Instant::now();
    let mut found: Vec<Option<Scanned>> = inputs.iter().map(|_| None).collect();
    let ended = pipeline::scan(
        plan,
        &mut |p| {
            let speed = p.scanned_s / begun.elapsed().as_secs_f64().max(1e-3);
            let [done, of] = p.files;
            let files = if of > 1 { format!("{done} of {of} recordings  ") } else { String::new() };
            display.part(&format!("{files}{speed:.0}x real time"), p.part);
        },
        &mut |scanned| {
            let number = scanned.number;
            found[number] = Some(scanned);
        },
    );
    display.clear();
    ended.map_err(Failure::run)?;
    if args.json {
        let of = |(input, scanned): (&PathBuf, &Option<Scanned>)| report(input, scanned.as_ref());
        let recordings = inputs.iter().zip(&found).map(of).collect();
        json_result(&Report { model, version, recordings })?;
    } else {
        for (input, scanned) in inputs.iter().zip(&found) {
            if let Some(Ok(recording)) = scanned.as_ref().map(|s| &s.outcome) {
                print(input, recording, quiet);
            }
        }
        if inputs.len() > 1 {
            summary(&inputs, &found);
        }
    }
    verdict(&inputs, &found).map_err(Failure::run)
}

/// The files that are meant: names of files, and patterns.
fn inputs(given: &[String]) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for text in given {
        let path = PathBuf::from(text);
        if path.exists() {
            found.push(path);
        } else if text.contains(['*', '?', '[']) {
            let matches = glob::glob(text).with_context(|| format!("{text}: not a pattern"))?;
            let before = found.len();
            found.extend(matches.filter_map(Result::ok).filter(|p| p.is_file()));
            if found.len() == before {
                bail!("{text}: no file matches this pattern");
            }
        } else {
            bail!("{}: there is no such file; check the name", path.display());
        }
    }
    let mut seen = std::collections::HashSet::new();
    found.retain(|path| seen.insert(path.clone()));
    Ok(found)
}

/// The job, without the inputs that were scanned before, and those.
fn job(args: &Args, inputs: Vec<PathBuf>) -> anyhow::Result<(Scan, Vec<PathBuf>)> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let jobs = match args.jobs {
        Some(n) if (1..=256).contains(&n) => n,
        Some(n) => bail!("--jobs is {n}, but must be 1 to 256"),
        // Decoding and classifying one recording keep two busy.
        None => processors.div_ceil(2),
    };
    let threads = (processors / jobs.min(inputs.len()).max(1)).clamp(1, MOST_THREADS);
    let config = configuration(args, threads)?;
    if inputs.len() > 1 && args.timeline.names_one_file() {
        bail!("{} recordings need more than one file; use --timeline DIR", inputs.len());
    }
    let several = inputs.len() > 1;
    let (mut wanted, mut before) = (Vec::new(), Vec::new());
    let mut taken: Vec<PathBuf> = inputs.clone();
    for path in inputs {
        let timeline = args.timeline.plan_if_any(&path)?;
        let report = args.report.as_deref().map(|r| report_of(r, &path, several)).transpose()?;
        let state = state(&path, &timeline, report.as_deref());
        if state == State::Done && !args.force {
            before.push(path);
            continue;
        }
        let force = args.force || state == State::Begun;
        let others: Vec<&Path> = taken.iter().map(PathBuf::as_path).collect();
        timeline.check(None, &others, force)?;
        if let Some(report) = &report {
            pipeline::check_parent(report)?;
            pipeline::check_free(report, force)?;
            if taken.contains(report) {
                bail!("{} is named twice; give every file its own name", report.display());
            }
        }
        taken.extend(timeline.files.iter().map(|(_, file)| file.clone()).chain(report.clone()));
        wanted.push((path, ScanOutputs { timeline, report }));
    }
    let Args { program, every_picture, .. } = *args;
    Ok((Scan { inputs: wanted, program, every_picture, jobs, config }, before))
}

/// The page about a recording: the file that was named, or one in a folder.
fn report_of(named: &Path, input: &Path, several: bool) -> anyhow::Result<PathBuf> {
    if named.is_dir() {
        let stem = input.file_stem().unwrap_or_default().to_string_lossy();
        return Ok(named.join(format!("{stem}.html")));
    }
    if several {
        bail!("{}: one page shows one recording; name a folder that exists", named.display());
    }
    Ok(named.to_owned())
}

/// How far the results of an earlier scan go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Nothing,
    /// It was stopped on the way.
    Begun,
    Done,
}

/// Tells by the segments file, which says whether the scan came to its end.
fn state(input: &Path, timeline: &TimelinePlan, report: Option<&Path>) -> State {
    let files = || timeline.files.iter().map(|(_, file)| file.as_path()).chain(report);
    let segments = timeline.files.iter().find(|(format, _)| *format == Format::Segments);
    let Some(text) = segments.and_then(|(_, file)| std::fs::read_to_string(file).ok()) else {
        return State::Nothing;
    };
    let first = text.lines().next().and_then(|line| serde_json::from_str(line).ok());
    let header: serde_json::Value = first.unwrap_or_default();
    let (settled, duration) = (header["settled_s"].as_f64(), header["duration_s"].as_f64());
    let changed = |path: &Path| std::fs::metadata(path).and_then(|m| m.modified()).ok();
    let fresh = files().all(|file| changed(file).is_some_and(|t| Some(t) >= changed(input)));
    match (settled, duration) {
        (Some(settled), Some(duration)) if fresh && settled >= duration => State::Done,
        (Some(_), Some(_)) => State::Begun,
        _ => State::Nothing,
    }
}

fn configuration(args: &Args, threads: usize) -> anyhow::Result<Config> {
    // A scan looks less often than a video is annotated, and encodes nothing.
    let defaults = [format!("analysis.fps={GLANCES_PER_S:?}"), format!("model.threads={threads}")];
    let own = [
        set("model.threads", args.threads),
        set("analysis.fps", args.analysis_fps.map(|n| format!("{n:?}"))),
    ];
    let mut sets = args.sets.clone();
    sets.extend(args.model.settings());
    sets.extend(own.into_iter().flatten());
    settings::load(args.config.as_deref(), &defaults, &sets)
}

fn report(input: &Path, scanned: Option<&Scanned>) -> RecordingReport {
    let input = input.display().to_string();
    let nothing = |error: &str| RecordingReport {
        input: input.clone(),
        error: Some(error.to_owned()),
        complete: false,
        duration_s: 0.0,
        segments: Vec::new(),
        cues: Vec::new(),
        pictures: 0,
        pictures_decoded: 0,
        pictures_classified: 0,
        wall_s: 0.0,
        speed: 0.0,
        classifier_cpu_s: 0.0,
        notes: Vec::new(),
        files: Vec::new(),
    };
    let recording = match scanned.map(|s| &s.outcome) {
        None => return nothing("stopped on request"),
        Some(Err(why)) => return nothing(why),
        Some(Ok(recording)) => recording,
    };
    let segment = |s: &Segment| SegmentReport {
        head: s.head.to_string(),
        label: s.label.to_string(),
        start_s: s.start.as_secs_f64(),
        end_s: s.end.as_secs_f64(),
        file_start_s: recording.file_time_s(s.start),
        file_end_s: recording.file_time_s(s.end),
        confidence: s.confidence,
        margin: s.margin,
        start_cues: s.start_cues.iter().map(|c| c.name()).collect(),
        end_cues: s.end_cues.iter().map(|c| c.name()).collect(),
    };
    let [pictures, pictures_decoded, pictures_classified] = recording.pictures;
    let duration_s = recording.duration.as_secs_f64();
    RecordingReport {
        input,
        error: recording.reason.clone(),
        complete: recording.reason.is_none(),
        duration_s,
        segments: recording.segments.iter().map(segment).collect(),
        cues: recording
            .cues
            .iter()
            // Shot cuts are too many.
            .filter(|c| c.kind != CueKind::ShotCut)
            .map(|c| CueReport {
                kind: c.kind.name(),
                start_s: c.start.as_secs_f64(),
                end_s: c.end.as_secs_f64(),
            })
            .collect(),
        pictures,
        pictures_decoded,
        pictures_classified,
        wall_s: recording.wall_s,
        speed: duration_s / recording.wall_s.max(1e-9),
        classifier_cpu_s: recording.classifier_cpu_s,
        notes: recording.notes.clone(),
        files: recording.files.clone(),
    }
}

/// Stream time as people read it, to the millisecond: `1:02:03.040`.
fn time(pts: Pts) -> String {
    let ms = (pts.as_secs_f64() * 1e3).round() as u64;
    format!("{}:{:02}:{:02}.{:03}", ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60, ms % 1000)
}

fn print(input: &Path, recording: &Recording, quiet: bool) {
    let duration_s = recording.duration.as_secs_f64();
    let speed = duration_s / recording.wall_s.max(1e-9);
    result(format_args!(
        "{}  {} in {} ({speed:.0}x real time)",
        input.display(),
        clock(duration_s),
        clock(recording.wall_s),
    ));
    if !quiet {
        for note in &recording.notes {
            talk(format_args!("note: {}: {note}", input.display()));
        }
    }
    if !recording.files.is_empty() {
        for file in &recording.files {
            result(format_args!("  {file}"));
        }
        return;
    }
    let labels = recording.segments.iter().map(|s| s.label.chars().count());
    let width = labels.max().unwrap_or(0).max(5);
    let several = recording.heads.len() > 1;
    for (head, _) in &recording.heads {
        if several {
            result(format_args!("{head}"));
        }
        result(format_args!(
            "{:>13}  {:>13}  {:>9}  {:width$}  confidence  margin  what was noticed at its start",
            "start", "end", "length", "label"
        ));
        for s in recording.segments.iter().filter(|s| s.head == *head) {
            let cues: Vec<&str> = s.start_cues.iter().copied().map(CueKind::name).collect();
            let margin =
                if s.margin.is_finite() { format!("{:.1}", s.margin) } else { "-".to_owned() };
            let row = format!(
                "{:>13}  {:>13}  {:>9.3}  {:width$}  {:>10.3}  {margin:>6}  {}",
                time(s.start),
                time(s.end),
                s.end.secs_since(s.start),
                s.label,
                s.confidence,
                cues.join(" ")
            );
            result(format_args!("{}", row.trim_end()));
        }
    }
}

/// One line for each recording, and one for all.
fn summary(inputs: &[PathBuf], found: &[Option<Scanned>]) {
    let width = inputs.iter().map(|i| i.display().to_string().chars().count()).max().unwrap_or(0);
    result(format_args!("\n{:width$}  {:>8}  segments  speed", "recording", "length"));
    let mut total = (0.0, 0, 0);
    for (input, scanned) in inputs.iter().zip(found) {
        let name = input.display().to_string();
        match scanned.as_ref().map(|s| &s.outcome) {
            Some(Ok(r)) => {
                let length_s = r.duration.as_secs_f64();
                let speed = length_s / r.wall_s.max(1e-9);
                let n = r.segments.len();
                total = (total.0 + length_s, total.1 + n, total.2 + 1);
                let state = if r.reason.is_some() { "  not to the end" } else { "" };
                result(format_args!(
                    "{name:width$}  {:>8}  {n:>8}  {speed:>4.0}x{state}",
                    clock(length_s)
                ));
            }
            Some(Err(_)) => result(format_args!("{name:width$}  {:>8}  {:>8}  failed", "-", "-")),
            None => result(format_args!("{name:width$}  {:>8}  {:>8}  not scanned", "-", "-")),
        }
    }
    let all = format!("{} of {}", total.2, inputs.len());
    result(format_args!("{all:width$}  {:>8}  {:>8}", clock(total.0), total.1));
}

/// Fails with one sentence when anything is missing.
fn verdict(inputs: &[PathBuf], found: &[Option<Scanned>]) -> anyhow::Result<()> {
    let mut wrong = Vec::new();
    for (input, scanned) in inputs.iter().zip(found) {
        match scanned.as_ref().map(|s| &s.outcome) {
            None => wrong.push(format!("{}: stopped on request", input.display())),
            Some(Err(why)) => wrong.push(why.clone()),
            Some(Ok(Recording { reason: Some(why), duration, .. })) => {
                let known = clock(duration.as_secs_f64());
                wrong.push(format!("{why}; the segments of the first {known} are known"));
            }
            Some(Ok(_)) => {}
        }
    }
    match &wrong[..] {
        [] => Ok(()),
        [only] => bail!("{only}"),
        several => {
            for why in several {
                talk(format_args!("{why}"));
            }
            bail!("{} of {} recordings were not scanned to the end", several.len(), inputs.len())
        }
    }
}
