//! Scans recordings: no picture comes out, only what is in them and when. Each
//! recording is read by a thread of its own with a classifier of its own.
//!
//! ```text
//! glance (key frames, sound) ─▶ segments ─▶ closer look around their edges ─▶ segments ─▶ stills
//! ```

mod eye;
mod look;
mod rounds;
mod stills;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use crossbeam_channel::{RecvTimeoutError, bounded};

use super::{StopFlag, join, model_of, spawn};
use crate::config::Config;
use crate::frame::Pts;
use crate::media::{self, Pick, SkimOptions};
use crate::model::{Classifier, Heads, Model};
use crate::names;
use crate::timeline::report::{BoundaryLook, LabelLook};
use crate::timeline::segmenter::Profile;
use crate::timeline::{Cue, Segment};
use eye::Eye;
use look::{Pass, Seen, look};

/// How often progress is reported.
const TICK: Duration = Duration::from_millis(100);
/// How often segments may send the scan back for a closer look.
const ROUNDS: usize = 3;

/// Recordings to scan.
#[derive(Clone, Debug)]
pub struct Scan {
    /// The recordings.
    pub inputs: Vec<PathBuf>,
    /// Heads to segment; the model's first when empty.
    pub heads: Vec<String>,
    /// What segments are like.
    pub profile: Profile,
    /// Programme of a transport stream; the first when unset.
    pub program: Option<u32>,
    /// Look at every picture from the start.
    pub every_picture: bool,
    /// Recordings read at the same time.
    pub jobs: usize,
    /// Keep stills and maps, for a report.
    pub evidence: bool,
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
    /// From a stream time on, nanoseconds the recording's own time is ahead;
    /// one entry when it has no leap.
    pub leads: Vec<(Pts, i64)>,
    /// Name and labels of every segmented head.
    pub heads: Vec<(Arc<str>, Vec<Arc<str>>)>,
    /// Stream time in seconds and probabilities of every head, in order.
    pub answers: Vec<(f64, Vec<Vec<f32>>)>,
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
    job: Arc<Scan>,
    model: Model,
    eyes: Vec<Eye>,
}

impl ScanPlan {
    /// Name and version of the model, and the SHA-256 of its network.
    pub fn model(&self) -> (&str, &str) {
        (&self.model.spec.name, &self.model.spec.version)
    }
}

/// Loads a classifier for every thread and finds the heads.
///
/// # Errors
/// When the model or a head cannot be had.
pub fn plan_scan(job: Scan) -> anyhow::Result<ScanPlan> {
    media::init()?;
    let (model, mut options) = model_of(&job.config, Heads::None)?;
    let heads = heads_of(&model, &job.heads)?;
    if job.evidence {
        let named = heads.iter().map(|i| model.spec.heads[*i].name.clone());
        options.explain.heads = Heads::Named(named.collect());
    }
    let full_scale = job.config.explain.full_scale as f32;
    let workers = job.jobs.clamp(1, job.inputs.len().max(1));
    let eye = |_| -> anyhow::Result<Eye> {
        let classifier = Classifier::load(&model, &options)?;
        Ok(Eye::new(classifier, model.spec.input, &heads, full_scale))
    };
    let eyes = (0..workers).map(eye).collect::<Result<_, _>>()?;
    Ok(ScanPlan { job: Arc::new(job), model, eyes })
}

/// Places of the heads that are asked for; of the first one when none is.
fn heads_of(model: &Model, asked: &[String]) -> anyhow::Result<Vec<usize>> {
    let known = &model.spec.heads;
    let mut found = Vec::new();
    for name in asked {
        let wanted = names::plain(name);
        let at = known.iter().position(|h| names::plain(&h.name) == wanted);
        let at = at.with_context(|| {
            let list: Vec<&str> = known.iter().map(|h| h.name.as_str()).collect();
            format!("{} has no head `{name}`; its heads are {}", model.spec.name, list.join(", "))
        })?;
        if !found.contains(&at) {
            found.push(at);
        }
    }
    if known.is_empty() {
        bail!("{} answers no question", model.spec.name);
    }
    if found.is_empty() {
        found.push(0);
    }
    Ok(found)
}

/// Scans every recording; `done` gets each as it is finished, `report` is
/// called now and then.
///
/// # Errors
/// When a thread cannot be started, or `done` refuses.
pub fn scan(
    plan: ScanPlan,
    stop: &StopFlag,
    report: &mut dyn FnMut(ScanProgress),
    done: &mut dyn FnMut(Scanned) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let ScanPlan { job, eyes, .. } = plan;
    let count = job.inputs.len();
    let watches: Arc<Vec<Watch>> = Arc::new(
        (0..count)
            .map(|_| Watch {
                stop: Arc::clone(stop),
                reached: AtomicU64::new(0),
                total: AtomicU64::new(0),
                done: AtomicBool::new(false),
            })
            .collect(),
    );
    let (give, take) = bounded(count.max(1));
    for number in 0..count {
        // There is room for all.
        let _ = give.send(number);
    }
    drop(give);
    let (say, hear) = bounded(eyes.len());
    let mut threads = Vec::new();
    for (n, mut eye) in eyes.into_iter().enumerate() {
        let (take, say) = (take.clone(), say.clone());
        let (job, watches) = (Arc::clone(&job), Arc::clone(&watches));
        let labour = move || {
            for number in take {
                let watch = &watches[number];
                if watch.stop.load(Relaxed) {
                    break;
                }
                let outcome = scan_one(&job, &job.inputs[number], &mut eye, watch);
                watch.done.store(true, Relaxed);
                if say.send(Scanned { number, outcome: outcome.map_err(|e| format!("{e:#}")) }).is_err() {
                    break;
                }
            }
        };
        threads.push(spawn(&format!("scan {}", n + 1), labour)?);
    }
    drop(say);
    let mut finished = 0;
    let mut result = Ok(());
    loop {
        match hear.recv_timeout(TICK) {
            Ok(scanned) => {
                finished += 1;
                if let Err(e) = done(scanned) {
                    stop.store(true, Relaxed);
                    result = Err(e);
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        let part = watches.iter().map(Watch::part).sum::<f64>() / count.max(1) as f64;
        let reached = watches.iter().map(|w| w.reached.load(Relaxed)).sum::<u64>();
        report(ScanProgress { files: [finished, count], part, scanned_s: reached as f64 / 1e9 });
    }
    for thread in threads {
        join(thread)?;
    }
    result
}

fn scan_one(job: &Scan, path: &Path, eye: &mut Eye, watch: &Watch) -> anyhow::Result<Recording> {
    let begun = Instant::now();
    eye.begin(job.evidence);
    let fps = job.config.analysis.fps;
    let patience = Duration::from_secs_f64(job.config.limits.stall_timeout_s);
    let pass = |pick: Pick, sound: bool| Pass {
        path,
        options: SkimOptions { program: job.program, pick, sound },
        fps,
        patience,
    };
    let pick =
        if job.every_picture { Pick::Every } else { Pick::Sparse { apart_s: 1.0 / fps } };
    let mut seen = look(&pass(pick, true), eye, watch)?;
    let mut segments = rounds::segments(&eye.questions, &job.profile, &seen);
    let mut closely = Vec::new();
    if job.every_picture {
        closely.push((Pts(0), Pts(u64::MAX)));
    }
    for _ in 0..ROUNDS {
        if seen.reason.is_some() {
            break;
        }
        let spans = rounds::doubtful(&segments, &seen, &closely);
        if spans.is_empty() {
            break;
        }
        let closer = look(&pass(Pick::Within(spans.clone()), false), eye, watch)?;
        seen.reason = closer.reason.clone();
        rounds::refine(&mut seen, closer, &spans);
        closely.extend(spans);
        segments = rounds::segments(&eye.questions, &job.profile, &seen);
    }
    if seen.answers.is_empty() {
        bail!(nothing_seen(path, &seen));
    }
    let boundaries = if job.evidence && seen.reason.is_none() {
        stills::at_boundaries(&pass(Pick::Every, false), &segments, eye, watch)?
    } else {
        Vec::new()
    };
    let labels = if job.evidence { stills::of_labels(eye) } else { Vec::new() };
    Ok(sum_up(seen, segments, eye, (boundaries, labels), begun))
}

fn nothing_seen(path: &Path, seen: &Seen) -> String {
    let path = path.display();
    match (&seen.failed, &seen.reason) {
        (Some((why, _)), _) => format!("{path}: the classifier failed on every picture: {why}"),
        (_, Some(reason)) => format!("{path}: {reason}; nothing was seen before"),
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
