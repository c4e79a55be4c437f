//! Runs a job: starts the threads, connects the queues, watches over them and
//! ends them. The only place that sees every part.
//!
//! ```text
//! source ─frames─▶ compositor ─samples─▶ analyst
//!                      ▲  │                 │
//!                      └──┼───annotations───┘
//!                         ▼
//!                      output
//! ```
//!
//! Shutdown is closing queues: the source closes the frames, the compositor
//! drains and closes the samples, the analyst closes the annotations, the
//! compositor ends the output.

mod analyst;
mod boxes;
mod card;
mod compositor;
mod crew;
mod evaluate;
mod event_log;
mod examples;
mod faithful;
mod lessons;
mod live;
mod outputs;
mod picture_files;
mod pictures;
mod scan;
mod scoring;
mod summary;
mod teach;
mod timekeeper;
mod timeline_files;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use crossbeam_channel::bounded;

use crate::config::Config;
use crate::explain::{ClassChoice, MethodChoice, choose_several};
use crate::frame::Pts;
use crate::media::{self, Container, OutputEvent, Source, SourceEvent, SourceOptions};
use crate::model::{Classifier, Explain, Heads, Model, Options, Places};
use crate::overlay::Colormap;
use crate::timeline::events;
use analyst::{Analyst, AnalystCounters};
use compositor::{Composed, Compositor, Job, OUTSTANDING, Watch};
pub use evaluate::{Evaluate, Evaluation, EvaluationPlan, Measure, evaluate, plan_evaluation};
use event_log::{About, EventLog};
pub use live::{LivePlan, Reachable, plan_live, serve};
use outputs::temporary;
pub use outputs::{check_free, check_parent, same_file, write_whole};
pub use picture_files::read_still;
pub use pictures::{
    ExplainPictures, ExplainedMap, ExplainedPicture, PicturesPlan, explain_pictures, plan_pictures,
};
pub use scan::{Recording, Scan, ScanOutputs, ScanPlan, ScanProgress, Scanned, plan_scan, scan};
pub use scoring::{Score, ScoreInputs, ScorePlan, Scored, ScoredFile, plan_score};
pub use summary::{Summary, TrackReport};
pub use teach::{Examples, Taught, Teach, TeachingPlan, plan_teaching, teach};
use timekeeper::Timekeeper;
pub use timeline_files::{TimelineFiles, TimelinePlan};

/// How often the supervisor looks around.
const TICK: Duration = Duration::from_millis(20);
/// How long a part may take to stop once told to.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Asks a running job to stop; what was written is finished properly.
pub type StopFlag = Arc<AtomicBool>;

/// A recording to annotate.
#[derive(Clone, Debug)]
pub struct Annotate {
    /// The recording.
    pub input: PathBuf,
    /// The annotated recording; its extension chooses the container.
    pub output: PathBuf,
    /// Where to write the events, if anywhere.
    pub events: Option<PathBuf>,
    /// What to write about the timeline.
    pub timeline: TimelinePlan,
    /// Programme of a transport stream; the first when unset.
    pub program: Option<u32>,
    /// Everything else.
    pub config: Config,
}

/// How far a job has come.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Frames painted.
    pub frames: u64,
    /// Stream time reached.
    pub reached: Pts,
    /// Length of the recording, when known.
    pub total: Option<Pts>,
}

/// A classifier ready for a job, and which classes it explains.
pub struct Prepared {
    classifier: Classifier,
    model: Model,
    /// Index of the head that is explained.
    explained: usize,
    choices: Vec<ClassChoice>,
    /// Processor time that loading took.
    load_cpu: Duration,
}

/// Loads the model a configuration names and finds the classes to explain.
///
/// # Errors
/// When the model, the library or a class cannot be had, or there are more
/// classes than can be told apart.
pub fn prepare(config: &Config) -> anyhow::Result<Prepared> {
    let begun = cpu_time::ThreadTime::now();
    let heads = Heads::of(Some(config.model.head.clone()).filter(|head| !head.is_empty()));
    let (model, classifier) = load_classifier(config, heads, config.explain.method)?;
    let explained = classifier.explained_head();
    if let Some(why) = classifier.why_no_map(explained) {
        tracing::warn!("{}: no heatmap: {why}", model.spec.name);
    }
    let choices = classes(&classifier.heads()[explained].labels, &config.explain.class)?;
    Ok(Prepared { classifier, model, explained, choices, load_cpu: begun.elapsed() })
}

/// The classes among `labels` that `text` names, no more than can be told apart.
fn classes(labels: &[Arc<str>], text: &str) -> anyhow::Result<Vec<ClassChoice>> {
    few_enough(choose_several(labels, text)?).map_err(|why| anyhow!("explain.class {why}"))
}

/// The same classes, if they can be told apart.
///
/// # Errors
/// Half a sentence about how many they are.
fn few_enough(choices: Vec<ClassChoice>) -> Result<Vec<ClassChoice>, String> {
    let (count, most) = (choices.len(), Colormap::HUES.len());
    if count > most {
        return Err(format!(
            "names {count} classes, but only {most} at the same time can be told apart by their colours; name fewer"
        ));
    }
    Ok(choices)
}

/// Loads the model a configuration names, to explain `heads` by `method`.
fn load_classifier(
    config: &Config,
    heads: Heads,
    method: MethodChoice,
) -> anyhow::Result<(Model, Classifier)> {
    let (model, options) = model_of(config, heads, method)?;
    let classifier = Classifier::load(&model, &options)?;
    Ok((model, classifier))
}

/// The model a configuration names, and how it is to be run to explain `heads`
/// by `method`.
fn model_of(
    config: &Config,
    heads: Heads,
    method: MethodChoice,
) -> anyhow::Result<(Model, Options)> {
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let labels = given(&config.model.labels).map(PathBuf::from);
    let model = Model::find_labelled(&config.model.name, &Places::from_env(), labels.as_deref())?;
    let options = Options {
        library: given(&config.model.onnxruntime).map(PathBuf::from),
        threads: config.model.threads,
        provider: config.model.provider.clone(),
        explain: Explain {
            heads,
            methods: method.methods(),
            seed: config.explain.seed,
            top_k: 1,
            feature: given(&config.explain.feature),
            logits: given(&config.explain.logits),
            layout: config.explain.layout.parse().ok(),
        },
    };
    Ok((model, options))
}

impl Prepared {
    /// Makes sure that the model can answer what a timeline is asked for.
    ///
    /// # Errors
    /// When a head, the profile, or the label of the breaks is unknown.
    pub fn check_timeline(&self, plan: &TimelinePlan) -> anyhow::Result<()> {
        self.timekeeper(plan).map(|_| ())
    }

    fn timekeeper(&self, plan: &TimelinePlan) -> anyhow::Result<Option<Timekeeper>> {
        let wanted = (!plan.is_empty()).then(|| plan.clone());
        wanted.map(|plan| Timekeeper::new(plan, self.classifier.heads())).transpose()
    }
}

/// Annotates a recording from end to end, calling `report` now and then.
///
/// Whatever ends the run, frames already painted end up in a playable file
/// under the output's own name; [`Summary::reason`] says what ended it early.
///
/// # Errors
/// When nothing could be written at all.
pub fn annotate(
    job: &Annotate,
    prepared: Prepared,
    stop: &StopFlag,
    report: &mut dyn FnMut(Progress),
) -> anyhow::Result<Summary> {
    let begun = Instant::now();
    media::init()?;
    let container = Container::of(&job.output)?;
    let about = about(job, &prepared);
    let timekeeper = prepared.timekeeper(&job.timeline)?;
    let listen = timekeeper.is_some();
    let options = SourceOptions { program: job.program, container, video_only: false, listen };
    let (source, frames) = Source::open(&job.input, &options)?;
    let source = Arc::new(source);
    let events = job.events.as_ref().map(|path| EventLog::create(path, about)).transpose()?;

    let (samples, from_compositor) = bounded(OUTSTANDING);
    let (annotations, from_analyst) = bounded(OUTSTANDING + 1);
    let counters = Arc::new(AnalystCounters::default());
    let load_us = u64::try_from(prepared.load_cpu.as_micros()).unwrap_or(u64::MAX);
    counters.cpu_us.store(load_us, Relaxed);
    let explained = (prepared.explained, prepared.choices.as_slice());
    let mut classifier = prepared.classifier;
    let analyst = Analyst::new(&classifier, prepared.model.spec.input, explained, &job.config);
    let counted = Arc::clone(&counters);
    let analyst = spawn("analyst", move || {
        analyst.run(&mut classifier, &from_compositor, &annotations, &counted)
    })?;
    let watch = Arc::new(Watch::default());
    let compositor = Compositor::new(
        Job {
            source: Arc::clone(&source),
            container,
            path: temporary(&job.output),
            config: job.config.clone(),
            classes: prepared.choices.len(),
            events,
            timekeeper,
        },
        Arc::clone(&watch),
        samples,
        from_analyst,
    );
    let compositor = spawn("compositor", move || compositor.run(frames))?;

    let supervisor = Supervisor {
        source: Arc::clone(&source),
        watch,
        counters: Arc::clone(&counters),
        stop: Arc::clone(stop),
        patience: Duration::from_secs_f64(job.config.limits.stall_timeout_s),
        last: (0, Instant::now()),
        stalls: 0,
        reason: None,
        interrupted: false,
    };
    let ended = supervisor.run(compositor, report)?;
    let classifier_failure = join(analyst)?;
    finish(job, container, &source, &counters, ended, classifier_failure, begun)
}

fn about(job: &Annotate, prepared: &Prepared) -> About {
    About {
        input: job.input.display().to_string(),
        model_name: prepared.model.spec.name.clone(),
        model_version: prepared.model.spec.version.clone(),
        model_sha256: prepared.classifier.sha256().to_owned(),
        onnxruntime: prepared.classifier.runtime_version().to_owned(),
        provider: prepared.classifier.provider().to_owned(),
        settings: job.config.clone(),
    }
}

fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> anyhow::Result<JoinHandle<T>> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .with_context(|| format!("cannot start the {name} thread"))
}

fn join<T>(thread: JoinHandle<T>) -> anyhow::Result<T> {
    let name = thread.thread().name().unwrap_or("worker").to_owned();
    thread.join().map_err(|_| anyhow::anyhow!("the {name} broke down; this is a bug in Heatcast"))
}

/// Watches over a running job from the calling thread.
struct Supervisor {
    source: Arc<Source>,
    watch: Arc<Watch>,
    counters: Arc<AnalystCounters>,
    stop: StopFlag,
    patience: Duration,
    /// Sum of all progress, and when it last grew.
    last: (u64, Instant),
    stalls: u32,
    reason: Option<String>,
    interrupted: bool,
}

/// How a run ended.
struct Ended {
    composed: Composed,
    frames: u64,
    duration: Pts,
    encoded: u64,
    reason: Option<String>,
    interrupted: bool,
}

impl Supervisor {
    fn run(
        mut self,
        compositor: JoinHandle<Composed>,
        report: &mut dyn FnMut(Progress),
    ) -> anyhow::Result<Ended> {
        let mut written = false;
        while !(compositor.is_finished() && (written || self.watch.output.get().is_none())) {
            match self.source.poll(TICK) {
                Some(SourceEvent::Failed(why)) => self.end(why)?,
                Some(SourceEvent::Eos) | None => {}
            }
            if self.stop.load(Relaxed) && !self.interrupted {
                self.interrupted = true;
                self.end("stopped on request".to_owned())?;
            }
            if let Some(output) = self.watch.output.get() {
                match output.poll(if compositor.is_finished() { TICK } else { Duration::ZERO }) {
                    Some(OutputEvent::Done) => written = true,
                    Some(OutputEvent::Failed(why)) => {
                        written = true;
                        output.abort();
                        self.end(format!("the output cannot be written: {why}"))?;
                    }
                    None => {}
                }
            }
            if self.is_stalled() {
                written |= self.give_up_on_a_part()?;
            }
            report(Progress {
                frames: self.watch.painted.load(Relaxed),
                reached: Pts(self.watch.reached.load(Relaxed)),
                total: self.source.duration().map(Pts),
            });
        }
        let mut composed = join(compositor)?;
        let encoded = self.watch.encoded();
        if let Some(output) = &mut composed.output {
            output.close();
        }
        Ok(Ended {
            composed,
            frames: self.watch.painted.load(Relaxed),
            duration: Pts(self.watch.reached.load(Relaxed)),
            encoded,
            reason: self.reason,
            interrupted: self.interrupted,
        })
    }

    /// Ends the input; the first reason counts.
    fn end(&mut self, reason: String) -> anyhow::Result<()> {
        self.reason.get_or_insert(reason);
        let source = Arc::clone(&self.source);
        // A wedged element must not wedge the supervisor.
        let stopping = spawn("stop", move || source.stop())?;
        let deadline = Instant::now() + STOP_TIMEOUT;
        while !stopping.is_finished() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Ends what does not move: first the input, then the output, then the run.
    /// True when the output was ended.
    fn give_up_on_a_part(&mut self) -> anyhow::Result<bool> {
        let waited = self.last.1.elapsed().as_secs_f64();
        self.last.1 = Instant::now();
        self.patience = self.patience.min(STOP_TIMEOUT);
        self.stalls += 1;
        match (self.stalls, self.watch.output.get()) {
            (1, _) => self.end(format!("nothing moved for {waited:.0} seconds"))?,
            (2, Some(output)) => {
                output.abort();
                return Ok(true);
            }
            _ => bail!(
                "{}; what was written so far is in the file ending in .part",
                self.reason.as_deref().unwrap_or("the run cannot be ended")
            ),
        }
        Ok(false)
    }

    fn is_stalled(&mut self) -> bool {
        let sum = self.source.frames_decoded()
            + self.watch.painted.load(Relaxed)
            + self.counters.analysed.load(Relaxed)
            + self.watch.encoded();
        if sum != self.last.0 {
            self.last = (sum, Instant::now());
        }
        self.last.1.elapsed() > self.patience
    }
}

/// Names the files, or removes them when there is nothing in them, and sums up.
fn finish(
    job: &Annotate,
    container: Container,
    source: &Source,
    counters: &AnalystCounters,
    ended: Ended,
    classifier_failure: Option<String>,
    begun: Instant,
) -> anyhow::Result<Summary> {
    let Ended { composed, frames, duration, encoded, reason, interrupted } = ended;
    let reason = reason.or_else(|| composed.result.err().map(|e| format!("{e:#}")));
    let part = temporary(&job.output);
    if encoded == 0 {
        if let Some(events) = composed.events {
            events.discard();
        }
        let _ = std::fs::remove_file(&part);
        bail!(reason.unwrap_or_else(|| format!("{}: no frame came", job.input.display())));
    }
    let (timeline, timeline_result) = match composed.timekeeper {
        Some(mut timekeeper) => {
            timekeeper.notice(&source.cues(STOP_TIMEOUT));
            timekeeper.finish(duration, &part, container)
        }
        None => (Vec::new(), Ok(())),
    };
    std::fs::rename(&part, &job.output)
        .with_context(|| format!("cannot name the output {}", job.output.display()))?;
    let analysed = counters.analysed.load(Relaxed);
    if let Some(log) = composed.events {
        log.finish(&events::End { frames, analysed, duration, reason: reason.as_deref() })?;
    }
    Ok(summary::sum_up(summary::Facts {
        job,
        container,
        source,
        counters,
        frames,
        encoded,
        duration,
        wall: begun.elapsed(),
        output_size: composed.output.as_ref().map(media::Output::size),
        reason,
        interrupted,
        classifier_failure,
        timeline,
        timeline_failure: timeline_result.err().map(|e| format!("{e:#}")),
    }))
}

/// Bytes of a file, zero when it cannot be asked.
fn size_of(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |m| m.len())
}
