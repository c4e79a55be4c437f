//! Scans recordings: no picture comes out, only what is in them and when. Each
//! recording is read by a thread of its own with a classifier of its own.
//!
//! ```text
//! glance (key frames, sound) ─▶ segments ─▶ closer look around their edges ─▶ segments ─▶ stills
//! ```

mod eye;
mod hold;
mod look;
mod rounds;
mod stills;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::bail;
use crossbeam_channel::{RecvTimeoutError, bounded};

use super::timekeeper::{check_break, chosen, profile};
use super::timeline_files::{TimelineFiles, TimelinePlan};
use super::{StopFlag, join, model_of, spawn, write_whole};
use crate::config::Config;
use crate::explain::MethodChoice;
use crate::frame::Pts;
use crate::media::{self, Parts, Pick, SkimOptions};
use crate::model::{Classifier, Heads, Model};
use crate::timeline::formats::{About, Format};
use crate::timeline::report::{self, BoundaryLook, Download, LabelLook, Page};
use crate::timeline::segmenter::Profile;
use crate::timeline::{Cue, Segment, Timeline};
use eye::Eye;
use look::{Pass, Seen, look};

/// How often progress is reported.
const TICK: Duration = Duration::from_millis(100);
/// How often segments may send the scan back for a closer look.
const ROUNDS: usize = 3;

/// What is written about one recording.
#[derive(Clone, Debug, Default)]
pub struct ScanOutputs {
    /// Cut lists and the like.
    pub timeline: TimelinePlan,
    /// The page with the evidence.
    pub report: Option<PathBuf>,
}

/// Recordings to scan.
#[derive(Clone, Debug)]
pub struct Scan {
    /// The recordings, and what is written about each. Heads and profile are
    /// those of the first one's timeline.
    pub inputs: Vec<(PathBuf, ScanOutputs)>,
    /// Programme of a transport stream; the first when unset.
    pub program: Option<u32>,
    /// Look at every picture from the start.
    pub every_picture: bool,
    /// Recordings read at the same time.
    pub jobs: usize,
    /// Everything else; `analysis.fps` is the rate of the first look.
    pub config: Config,
}

/// How far a scan has come.
#[derive(Clone, Copy, Debug)]
pub struct ScanProgress {
    /// Recordings that are done, and all of them.
    pub files: [usize; 2],
    /// How much of everything is done, 0..1.
    pub part: f64,
    /// Seconds of recordings read.
    pub scanned_s: f64,
}

/// What became of one recording.
#[derive(Debug)]
pub struct Scanned {
    /// Its place among the inputs.
    pub number: usize,
    /// What was found, or the sentence that says why nothing was.
    pub outcome: Result<Recording, String>,
}

/// What was found in a recording.
#[derive(Debug)]
pub struct Recording {
    /// The segments of every head, in order, one head after the other.
    pub segments: Vec<Segment>,
    /// The cues, in order.
    pub cues: Vec<Cue>,
    /// Where the last picture ends.
    pub duration: Pts,
    /// Files written.
    pub files: Vec<String>,
    /// From a stream time on, nanoseconds the recording's own time is ahead;
    /// one entry when it has no leap.
    pub leads: Vec<(Pts, i64)>,
    /// Name and labels of every segmented head.
    pub heads: Vec<(Arc<str>, Vec<Arc<str>>)>,
    /// Stream time in seconds and probabilities of every head, in order.
    pub answers: Vec<(f64, Arc<[Vec<f32>]>)>,
    /// What was seen at the boundaries; empty unless asked for.
    pub boundaries: Vec<BoundaryLook>,
    /// Where the classifier looked, for every label; empty unless asked for.
    pub labels: Vec<LabelLook>,
    /// Why a head has no heat.
    pub no_heat: Vec<String>,
    /// Coded pictures in the recording, decoded ones and classified ones.
    pub pictures: [u64; 3],
    /// Time taken, seconds.
    pub wall_s: f64,
    /// Processor time of the classifier, seconds.
    pub classifier_cpu_s: f64,
    /// What people should know.
    pub notes: Vec<String>,
    /// Why the recording was not read to its end.
    pub reason: Option<String>,
}

impl Recording {
    /// The recording's own time at a stream time, seconds; the same unless its
    /// timestamps leap.
    pub fn file_time_s(&self, pts: Pts) -> f64 {
        let first = self.leads.first().map_or(0, |(_, lead)| *lead);
        let lead = self.leads.iter().rfind(|(start, _)| *start <= pts).map_or(first, |l| l.1);
        pts.as_secs_f64() + (lead - first) as f64 / 1e9
    }
}

/// What the threads of a scan share about one recording.
#[derive(Debug)]
struct Watch {
    stop: StopFlag,
    /// Stream time reached and its end if known, nanoseconds.
    reached: AtomicU64,
    total: AtomicU64,
    done: AtomicBool,
}

impl Watch {
    fn new(stop: &StopFlag) -> Self {
        Self {
            stop: Arc::clone(stop),
            reached: AtomicU64::new(0),
            total: AtomicU64::new(0),
            done: AtomicBool::new(false),
        }
    }

    fn part(&self) -> f64 {
        let (reached, total) = (self.reached.load(Relaxed), self.total.load(Relaxed));
        match (self.done.load(Relaxed), total) {
            (true, _) => 1.0,
            (false, 0) => 0.0,
            (false, total) => (reached as f64 / total as f64).clamp(0.0, 0.99),
        }
    }
}

/// A scan with everything loaded that can be refused.
pub struct ScanPlan {
    shared: Arc<Shared>,
    eyes: Vec<Eye>,
}

/// What all threads of a scan need to know.
struct Shared {
    job: Scan,
    model: Model,
    profile: Profile,
    profile_name: String,
    stop: StopFlag,
    watches: Vec<Watch>,
}

impl ScanPlan {
    /// Name and version of the model.
    pub fn model(&self) -> (&str, &str) {
        let spec = &self.shared.model.spec;
        (&spec.name, &spec.version)
    }
}

/// Loads a classifier for every thread and finds heads and profile; `stop` will
/// end the scan.
///
/// # Errors
/// When one of them cannot be had, or does not fit.
pub fn plan_scan(job: Scan, stop: &StopFlag) -> anyhow::Result<ScanPlan> {
    media::init()?;
    let Some((_, ScanOutputs { timeline, .. })) = job.inputs.first() else {
        bail!("there is nothing to scan");
    };
    let (model, mut options) = model_of(&job.config, Heads::None, MethodChoice::Auto)?;
    let profile_name = timeline.profile.clone();
    let profile = profile(&profile_name)?;
    let first = Classifier::load(&model, &options)?;
    let wanted = chosen(&timeline.heads, first.heads())?;
    if timeline.needs_breaks {
        check_break(timeline, &wanted)?;
    }
    let place = |name: &str| first.heads().iter().position(|h| *h.name == *name);
    let heads: Vec<usize> = wanted.iter().filter_map(|h| place(&h.name)).collect();
    let explained = job.inputs.iter().any(|(_, outputs)| outputs.report.is_some());
    if explained {
        let named = wanted.iter().map(|h| h.name.to_string());
        options.explain.heads = Heads::Named(named.collect());
    }
    let full_scale = job.config.explain.full_scale as f32;
    let workers = job.jobs.clamp(1, job.inputs.len());
    let mut loaded = (!explained).then_some(first);
    let eye = |_| -> anyhow::Result<Eye> {
        let classifier = match loaded.take() {
            Some(classifier) => classifier,
            None => Classifier::load(&model, &options)?,
        };
        Ok(Eye::new(classifier, model.spec.input, &heads, full_scale))
    };
    let eyes = (0..workers).map(eye).collect::<Result<_, _>>()?;
    let watches = job.inputs.iter().map(|_| Watch::new(stop)).collect();
    let stop = Arc::clone(stop);
    Ok(ScanPlan {
        shared: Arc::new(Shared { job, model, profile, profile_name, stop, watches }),
        eyes,
    })
}

/// Scans every recording; `done` gets each as it is finished, `report` is
/// called now and then.
///
/// # Errors
/// When a thread cannot be started.
pub fn scan(
    plan: ScanPlan,
    report: &mut dyn FnMut(ScanProgress),
    done: &mut dyn FnMut(Scanned),
) -> anyhow::Result<()> {
    let ScanPlan { shared, eyes } = plan;
    let count = shared.job.inputs.len();
    let (give, take) = bounded(count);
    for number in 0..count {
        // There is room for all.
        let _ = give.send(number);
    }
    drop(give);
    let (say, hear) = bounded(eyes.len());
    let mut threads = Vec::new();
    for (n, mut eye) in eyes.into_iter().enumerate() {
        let (take, say, shared) = (take.clone(), say.clone(), Arc::clone(&shared));
        let labour = move || {
            for number in take {
                if shared.stop.load(Relaxed) {
                    break;
                }
                let outcome = scan_one(&shared, number, &mut eye).map_err(|e| format!("{e:#}"));
                shared.watches[number].done.store(true, Relaxed);
                if say.send(Scanned { number, outcome }).is_err() {
                    break;
                }
            }
        };
        threads.push(spawn(&format!("scan {}", n + 1), labour)?);
    }
    drop(say);
    let mut finished = 0;
    loop {
        match hear.recv_timeout(TICK) {
            Ok(scanned) => {
                finished += 1;
                done(scanned);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        let watches = &shared.watches;
        let part = watches.iter().map(Watch::part).sum::<f64>() / count as f64;
        let reached = watches.iter().map(|w| w.reached.load(Relaxed)).sum::<u64>();
        report(ScanProgress { files: [finished, count], part, scanned_s: reached as f64 / 1e9 });
    }
    threads.into_iter().try_for_each(join)
}

fn scan_one(shared: &Shared, number: usize, eye: &mut Eye) -> anyhow::Result<Recording> {
    let begun = Instant::now();
    let Shared { job, profile, .. } = shared;
    let ((path, outputs), watch) = (&job.inputs[number], &shared.watches[number]);
    let evidence = outputs.report.is_some();
    eye.begin(evidence);
    let fps = job.config.analysis.fps;
    // As long as a picture may speak for what comes after it.
    let hold_s = if job.every_picture { 0.0 } else { profile.evidence.reach_s };
    let patience = Duration::from_secs_f64(job.config.limits.stall_timeout_s);
    let pass = |pick: Pick, sound: bool, parts: Option<Parts>| Pass {
        path,
        options: SkimOptions { program: job.program, pick, sound, parts },
        fps,
        hold_s,
        patience,
    };
    let pick = if job.every_picture { Pick::Every } else { Pick::Sparse { apart_s: 1.0 / fps } };
    let mut seen = look(&pass(pick, true, None), eye, watch)?;
    let mut segments = rounds::segments(&eye.questions, profile, &seen);
    let mut closely = Vec::new();
    if job.every_picture {
        closely.push((Pts(0), Pts(u64::MAX)));
    }
    for _ in 0..ROUNDS {
        let spans = rounds::doubtful(&segments, &seen, &closely);
        if seen.reason.is_some() || spans.is_empty() {
            break;
        }
        let stretches: Vec<_> =
            spans.iter().map(|(from, to)| [from, to].map(|pts| pts.as_secs_f64())).collect();
        tracing::debug!("after {:.2?} a closer look at {stretches:.2?}", begun.elapsed());
        let parts = seen.places.as_ref().map(|places| places.parts(&spans));
        let closer = look(&pass(Pick::Within(spans.clone()), false, parts), eye, watch)?;
        seen.reason = closer.reason.clone();
        rounds::refine(&mut seen, closer, &spans);
        closely.extend(spans);
        segments = rounds::segments(&eye.questions, profile, &seen);
    }
    if seen.answers.is_empty() {
        bail!(nothing_seen(path, &seen));
    }
    let boundaries = if evidence && seen.reason.is_none() {
        let pass = pass(Pick::Every, false, None);
        stills::at_boundaries(&pass, &segments, seen.places.as_ref(), eye, watch)?
    } else {
        Vec::new()
    };
    let labels = if evidence { stills::of_labels(eye) } else { Vec::new() };
    let frame_rate = seen.frame_rate;
    let mut recording = sum_up(seen, segments, eye, (boundaries, labels), begun);
    write(shared, number, &mut recording, frame_rate)?;
    Ok(recording)
}

/// Writes what was asked for about a recording.
fn write(
    shared: &Shared,
    number: usize,
    recording: &mut Recording,
    frame_rate: Option<f64>,
) -> anyhow::Result<()> {
    let (path, outputs) = &shared.job.inputs[number];
    let mut segments = recording.segments.clone();
    // At the same time, in the order of the heads.
    segments.sort_by_key(|s| s.start);
    let duration = recording.duration;
    // What comes after the end that was reached may move the last boundary.
    let settled = match recording.reason {
        Some(_) => segments.last().map_or(Pts(0), |s| s.start),
        None => duration,
    };
    let mut files = TimelineFiles::new(outputs.timeline.clone(), frame_rate);
    files.write(&segments, duration, settled)?;
    recording.files = files.paths();
    let Some(page) = &outputs.report else { return Ok(()) };
    let about = About { frame_rate, ..outputs.timeline.about.clone() };
    let timeline = Timeline { segments: &segments, duration, settled, about: &about };
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let downloads: Vec<Download> = Format::ALL
        .into_iter()
        .map(|format| Download {
            name: format!("{stem}.{}", format.extension()),
            text: format.write(&timeline),
        })
        .collect();
    let spec = &shared.model.spec;
    let html = report::html(&Page {
        recording: &path.file_name().unwrap_or_default().to_string_lossy(),
        model: &format!("{} {}", spec.name, spec.version),
        profile: &shared.profile_name,
        duration_s: duration.as_secs_f64(),
        speed: duration.as_secs_f64() / recording.wall_s.max(1e-9),
        heads: &recording.heads,
        segments: &recording.segments,
        cues: &recording.cues,
        answers: &recording.answers,
        boundaries: &recording.boundaries,
        labels: &recording.labels,
        no_heat: &recording.no_heat,
        notes: &recording.notes,
        downloads: &downloads,
    });
    write_whole(page, html)?;
    recording.files.push(page.display().to_string());
    Ok(())
}

fn nothing_seen(path: &Path, seen: &Seen) -> String {
    let path = path.display();
    match (&seen.failed, &seen.reason) {
        (Some((why, _)), _) => format!("{path}: the classifier failed on every picture: {why}"),
        (_, Some(reason)) => format!("{reason}; nothing was seen before"),
        _ => format!("{path}: no picture could be decoded; the video is damaged or empty"),
    }
}

fn sum_up(
    mut seen: Seen,
    segments: Vec<Segment>,
    eye: &Eye,
    (boundaries, labels): (Vec<BoundaryLook>, Vec<LabelLook>),
    begun: Instant,
) -> Recording {
    let mut notes = Vec::new();
    if let Some(why) = &seen.sound_fault {
        notes.push(format!("{why}: silence could not help to find boundaries"));
    }
    if seen.leads.len() > 1 {
        let leaps = seen.leads.len() - 1;
        let times = if leaps == 1 { "once".to_owned() } else { format!("{leaps} times") };
        notes.push(format!(
            "the recording's timestamps leap {times}; times here go on without a gap"
        ));
    }
    let [coded, decoded, damaged] = seen.counts;
    if damaged > 0 {
        notes.push(format!("{damaged} of {decoded} decoded pictures are damaged"));
    }
    if let Some((why, pictures)) = &seen.failed {
        notes.push(format!("the classifier failed on {pictures} pictures: {why}"));
    }
    let mut cues = std::mem::take(&mut seen.picture_cues);
    cues.append(&mut seen.sound_cues);
    cues.sort_by_key(|cue| (cue.start, cue.kind));
    let heat = (0..eye.questions.len()).filter_map(|q| eye.why_no_heat(q));
    Recording {
        segments,
        cues,
        duration: seen.end,
        files: Vec::new(),
        leads: seen.leads,
        heads: eye.questions.iter().map(|q| (q.name.clone(), q.labels.clone())).collect(),
        answers: seen.answers.into_iter().map(|a| (a.pts.as_secs_f64(), a.heads)).collect(),
        boundaries,
        labels,
        no_heat: heat.collect(),
        pictures: [coded, decoded, eye.classified],
        wall_s: begun.elapsed().as_secs_f64(),
        classifier_cpu_s: eye.cpu.as_secs_f64(),
        notes,
        reason: seen.reason,
    }
}
