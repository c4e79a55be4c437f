//! Live operation: streams that come and go, one analyst for all of them, and
//! whoever looks at them.
//!
//! ```text
//! per stream                                        once
//! watcher ─ opens ─▶ source ─ frames ─▶ compositor ─ newest ─▶ desk ─▶ analyst
//!                       └──── sound ──▶     ▲  │                           │
//!                                           └──┼────────── answers ────────┘
//!                                              ▼
//!                         encoder ─▶ hub ─▶ RTSP mounts, page, recording
//! ```
//!
//! Nothing waits for the analyst, nor for a viewer. A stream ends by its stop
//! flag: the watcher closes the source, the compositor the encoder.

mod backoff;
mod boundaries;
mod changes;
mod chronicle;
mod compositor;
mod desk;
mod event_file;
mod measures;
mod sound;
mod station;
mod stream;
#[cfg(test)]
mod tests;
mod watcher;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use crossbeam_channel::bounded;

use self::boundaries::Boundaries;
use self::changes::Album;
use self::chronicle::{Scribe, origin_now, set_aside, timeline_plan};
use self::compositor::{Compositor, Inlet, Records};
use self::desk::{Desk, DeskAnalyst, Load};
use self::event_file::EventFile;
use self::stream::{Controls, Stream};
use super::event_log::About;
use super::{StopFlag, few_enough, load_classifier, spawn};
use crate::config::{Config, SourceKind, SourceUri, StreamConfig};
use crate::explain::{ClassChoice, Method, choose_several};
use crate::media::{self, Mount, Outlet, RecordSettings, Recorder, RtspServer};
use crate::model::{Classifier, Head, Heads, Model};
use crate::names::{nearest, plain};
use crate::sync_cell::Locked;
use crate::web::station::Refusal;
use crate::web::{self, Station};

/// Decoded pictures that may wait for the compositor.
const FRAMES: usize = 3;
/// Packets of sound that may wait.
const SOUND: usize = 256;
/// Answers that may wait.
const ANSWERS: usize = 4;
/// Cues of a source that may wait.
const CUES: usize = 256;
/// Streams at a time.
const MOST_STREAMS: usize = 32;
/// How long all may take to end.
const END: Duration = Duration::from_millis(4500);

/// Everything that was made sure of before anything starts.
pub struct LivePlan {
    config: Config,
    rtsp: Option<SocketAddr>,
    web: Option<SocketAddr>,
    model: Model,
    classifier: Classifier,
    /// How each stream is explained at first.
    controls: Vec<Controls>,
}

impl std::fmt::Debug for LivePlan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LivePlan").field("rtsp", &self.rtsp).field("web", &self.web).finish()
    }
}

/// Checks everything about live operation that can be known beforehand, and
/// loads the model.
///
/// # Errors
/// A sentence about the first thing that is wrong.
pub fn plan_live(config: Config) -> anyhow::Result<LivePlan> {
    config.check_streams().map_err(|why| anyhow!(why))?;
    let rtsp = address("rtsp.address", &config.rtsp.address)?;
    let web = address("web.address", &config.web.address)?;
    for (key, address) in [("rtsp.address", rtsp), ("web.address", web)] {
        if address.is_some_and(|a| !a.ip().is_loopback()) && config.web.token.is_empty() {
            bail!(
                "{key} can be reached from other machines, so a token is needed: \
                 set --token or web.token, or use 127.0.0.1"
            );
        }
    }
    if let (Some(rtsp), Some(web)) = (rtsp, web)
        && rtsp == web
        && rtsp.port() != 0
    {
        bail!("rtsp.address and web.address are both {rtsp}; choose two ports");
    }
    for (key, address) in [("rtsp.address", rtsp), ("web.address", web)] {
        if let Some(address) = address.filter(|a| a.port() != 0) {
            check_port(key, address)?;
        }
    }
    for stream in &config.stream {
        check_stream(stream)?;
    }
    let (model, classifier) = load_classifier(&config, Heads::All, config.explain.method)?;
    let controls = config.stream.iter().map(|stream| {
        let controls = first_controls(&config, classifier.heads(), stream);
        controls.with_context(|| format!("stream `{}`", stream.name))
    });
    let controls = controls.collect::<anyhow::Result<_>>()?;
    for stream in &config.stream {
        Boundaries::new(stream, classifier.heads())
            .with_context(|| format!("stream `{}`", stream.name))?;
    }
    Ok(LivePlan { config, rtsp, web, model, classifier, controls })
}

/// How a stream is explained at first.
fn first_controls(
    config: &Config,
    heads: &[Head],
    stream: &StreamConfig,
) -> Result<Controls, Refusal> {
    let or = |own: &str, common: &str| if own.is_empty() { common } else { own }.to_owned();
    let head = or(&stream.head, &config.model.head);
    let class = or(&stream.class, &config.explain.class);
    let head = if head.is_empty() { 0 } else { head_named(heads, &head)? };
    let choices = classes_of(&heads[head], &class)?;
    let own_fps = stream.analysis_fps;
    Ok(Controls {
        head,
        class,
        choices,
        method: config.explain.method,
        style: config.overlay.style,
        opacity: config.overlay.opacity,
        analysis_fps: if own_fps > 0.0 { own_fps } else { config.analysis.fps },
    })
}

/// The classes of a head that `text` names.
fn classes_of(head: &Head, text: &str) -> Result<Vec<ClassChoice>, Refusal> {
    few_enough(choose_several(&head.labels, text)?)
        .map_err(|why| Refusal::Impossible(format!("the class {why}")))
}

/// The head of this name.
fn head_named(heads: &[Head], asked: &str) -> Result<usize, Refusal> {
    let wanted = plain(asked);
    heads.iter().position(|head| plain(&head.name) == wanted).ok_or_else(|| {
        let names = heads.iter().map(|head| (plain(&head.name), head.name.to_string()));
        Refusal::NoHead { asked: asked.to_owned(), nearest: nearest(names, &wanted) }
    })
}

fn address(key: &str, text: &str) -> anyhow::Result<Option<SocketAddr>> {
    if text.is_empty() {
        return Ok(None);
    }
    let with_host = text.replacen("localhost:", "127.0.0.1:", 1);
    let address = with_host.parse();
    address
        .map(Some)
        .with_context(|| format!("{key} is {text:?}; give address and port, as in 127.0.0.1:8554"))
}

fn check_port(key: &str, address: SocketAddr) -> anyhow::Result<()> {
    use std::io::ErrorKind;
    let Err(error) = std::net::TcpListener::bind(address) else { return Ok(()) };
    match error.kind() {
        ErrorKind::AddrInUse => {
            bail!("{key}: port {} is in use; choose another, or stop what uses it", address.port())
        }
        ErrorKind::PermissionDenied => {
            bail!("{key}: port {} needs privileges; choose one above 1023", address.port())
        }
        ErrorKind::AddrNotAvailable => bail!("{key}: this machine has no address {}", address.ip()),
        _ => bail!("{key}: {address} cannot be listened on: {error}"),
    }
}

fn check_stream(stream: &StreamConfig) -> anyhow::Result<()> {
    let name = &stream.name;
    let uri: SourceUri = stream.source.parse().map_err(|why: String| anyhow!(why))?;
    if let SourceKind::File(path) = &uri.kind {
        if !path.is_file() {
            bail!("stream `{name}`: there is no file {}; check the name", path.display());
        }
    } else if stream.r#loop {
        bail!("stream `{name}`: only files can be looped");
    }
    if !stream.record.is_empty() && !Path::new(&stream.record).is_dir() {
        bail!("stream `{name}`: there is no folder {} to record into; create it", stream.record);
    }
    if !stream.record.is_empty() {
        let probe = Path::new(&stream.record).join(format!(".heatcast-{}", std::process::id()));
        std::fs::File::create(&probe)
            .and_then(|_| std::fs::remove_file(&probe))
            .with_context(|| format!("stream `{name}`: cannot write into {}", stream.record))?;
    }
    if !stream.timeline.is_empty() {
        let folder = Path::new(&stream.timeline);
        check_folder(folder).with_context(|| format!("stream `{name}`: timeline"))?;
    }
    if !stream.events.is_empty() {
        super::check_parent(Path::new(&stream.events))
            .with_context(|| format!("stream `{name}`: events"))?;
    }
    Ok(())
}

/// Makes a folder if need be, and makes sure that it can be written into.
fn check_folder(folder: &Path) -> anyhow::Result<()> {
    if !folder.is_dir() {
        super::check_parent(folder)?;
        std::fs::create_dir(folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    }
    let probe = folder.join(format!(".heatcast-{}", std::process::id()));
    std::fs::File::create(&probe)
        .and_then(|_| std::fs::remove_file(&probe))
        .with_context(|| format!("cannot write into {}", folder.display()))
}

/// A stream with its threads and outputs.
struct Running {
    stream: Arc<Stream>,
    mounts: Vec<(String, Mount)>,
    recorder: Option<Recorder>,
    threads: Vec<JoinHandle<()>>,
}

impl Running {
    /// Ends the stream; what it wrote is finished. True when all of it ended in
    /// time.
    fn end(mut self, until: Instant) -> bool {
        self.stream.stop.store(true, Relaxed);
        self.mounts.clear();
        let is_late = |thread: &JoinHandle<()>| !thread.is_finished() && Instant::now() < until;
        for thread in self.threads.drain(..) {
            while is_late(&thread) {
                std::thread::sleep(Duration::from_millis(5));
            }
            if thread.is_finished() {
                let _ = thread.join();
            }
        }
        // Finishes its file.
        self.recorder = None;
        Instant::now() < until
    }
}

/// Live operation under way.
pub(super) struct Live {
    config: Arc<Config>,
    model: Arc<Model>,
    heads: Vec<Head>,
    /// Methods that each head allows.
    methods: Vec<Vec<Method>>,
    sha256: String,
    runtime: String,
    provider: String,
    desk: Arc<Desk>,
    album: Album,
    rtsp: Locked<Option<RtspServer>>,
    running: Locked<Vec<Running>>,
    stopping: Arc<AtomicBool>,
    helpers: Locked<Vec<JoinHandle<()>>>,
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Live").field("streams", &self.running.lock().len()).finish_non_exhaustive()
    }
}

/// Where live operation can be reached.
#[derive(Clone, Debug)]
pub struct Reachable {
    /// The monitor page.
    pub web: Option<String>,
    /// The mounts.
    pub rtsp: Vec<String>,
}

/// Serves streams until `stop` says so; `started` is told where.
///
/// # Errors
/// When the addresses cannot be listened on.
pub fn serve(
    plan: LivePlan,
    stop: &StopFlag,
    started: &mut dyn FnMut(&Reachable),
) -> anyhow::Result<()> {
    media::init()?;
    let LivePlan { config, rtsp, web, model, classifier, controls } = plan;
    let config = Arc::new(config);
    let live = Live::start(&config, model, classifier, rtsp)?;
    for (stream, controls) in config.stream.iter().zip(controls) {
        live.launch(stream.clone(), controls)?;
    }
    let token = Some(config.web.token.clone()).filter(|token| !token.is_empty());
    let server = web
        .map(|address| {
            let settings = web::Settings { address, token, hosts: config.web.hosts.clone() };
            web::Server::start(&settings, Arc::clone(&live) as Arc<dyn Station>)
        })
        .transpose()?;
    started(&Reachable {
        web: server.as_ref().map(|server| format!("http://{}/", server.address())),
        rtsp: live
            .running
            .lock()
            .iter()
            .flat_map(|r| r.mounts.iter().map(|m| m.0.clone()))
            .collect(),
    });
    while !stop.load(Relaxed) {
        std::thread::sleep(Duration::from_millis(50));
    }
    tracing::info!("stopping");
    let in_time = live.end();
    if let Some(server) = server {
        server.stop();
    }
    if in_time {
        Ok(())
    } else {
        bail!("a stream did not end in time; its recording ends in .part")
    }
}

impl Live {
    fn start(
        config: &Arc<Config>,
        model: Model,
        classifier: Classifier,
        rtsp: Option<SocketAddr>,
    ) -> anyhow::Result<Arc<Self>> {
        let (desk, bell) = Desk::new();
        let (album, stills) = Album::new();
        let model = Arc::new(model);
        let token = Some(config.web.token.as_str()).filter(|token| !token.is_empty());
        let rtsp = rtsp.map(|address| RtspServer::start(address, token)).transpose()?;
        let methods = (0..classifier.heads().len()).map(|head| methods_of(&classifier, head));
        let live = Arc::new(Self {
            config: Arc::clone(config),
            model: Arc::clone(&model),
            heads: classifier.heads().to_vec(),
            methods: methods.collect(),
            sha256: classifier.sha256().to_owned(),
            runtime: classifier.runtime_version().to_owned(),
            provider: classifier.provider().to_owned(),
            desk: Arc::clone(&desk),
            album,
            rtsp: Locked::new(rtsp),
            running: Locked::default(),
            stopping: Arc::default(),
            helpers: Locked::default(),
        });
        let settings = Arc::clone(config);
        let load: Load = Arc::new(move |method| {
            load_classifier(&settings, Heads::All, method).map(|(_, classifier)| classifier)
        });
        let analyst = DeskAnalyst::new(&desk, Arc::clone(config), model, classifier, load);
        let stop = Arc::clone(&live.stopping);
        let mut helpers = live.helpers.lock();
        helpers.push(spawn("analyst", move || analyst.run(&bell, &|| stop.load(Relaxed)))?);
        // Ends with the last of its clients, which nobody waits for.
        drop(spawn("stills", stills)?);
        drop(helpers);
        Ok(live)
    }

    /// Starts a stream whose name is free.
    fn launch(&self, config: StreamConfig, controls: Controls) -> anyhow::Result<Arc<Stream>> {
        let uri: SourceUri = config.source.parse().map_err(|why: String| anyhow!(why))?;
        let events = Some(&config.events).filter(|path| !path.is_empty());
        let events =
            events.map(|path| EventFile::open(Path::new(path), self.about(&uri))).transpose()?;
        let boundaries = Boundaries::new(&config, &self.heads)?;
        let plan = timeline_plan(&config, origin_now());
        plan.as_ref().map_or(Ok(()), |plan| set_aside(plan, &config.name))?;
        let stream = Arc::new(Stream::new(uri, config, controls, boundaries.heads()));
        let (frames, from_source) = bounded(FRAMES);
        let (sound, sound_from_source) = bounded(SOUND);
        let (answers, from_analyst) = bounded(ANSWERS);
        let (cues, noticed) = bounded(CUES);
        let outlet = Outlet {
            frames,
            waiting: from_source.clone(),
            sound,
            dropped: Arc::clone(&stream.measures.queue),
        };
        let inlet = Inlet {
            frames: from_source,
            sound: sound_from_source,
            answers: from_analyst,
            cues: noticed,
        };
        let place = self.desk.sit(&stream, answers);
        let (album, common) = (self.album.clone(), Arc::clone(&self.config));
        let mut threads = Vec::new();
        let scribe = plan
            .map(|plan| {
                let (scribe, work) = Scribe::new(&stream.name, boundaries.heads(), plan);
                threads.push(spawn("timeline", work)?);
                anyhow::Ok(scribe)
            })
            .transpose()?;
        let records = Records { events, boundaries, scribe };
        let (own, config) = (Arc::clone(&stream), Arc::clone(&common));
        let compositor = Compositor::new(own, config, place, album, records);
        let watched = Arc::clone(&stream);
        threads.push(spawn("compositor", move || compositor.run(&inlet))?);
        threads.push(spawn("watcher", move || {
            watcher::watch(&watched, &common.live, &outlet, &cues);
        })?);
        let recorder = Some(&stream.config.record).filter(|folder| !folder.is_empty());
        let recorder = recorder
            .map(|folder| {
                let settings = RecordSettings {
                    folder: PathBuf::from(folder),
                    name: stream.name.clone(),
                    format: stream.config.record_format,
                    length: Duration::from_secs_f64(stream.config.record_segment_s),
                };
                Recorder::start(&stream.hub, settings)
            })
            .transpose()?;
        let mounts = self.mounts(&stream);
        let running = Running { stream: Arc::clone(&stream), mounts, recorder, threads };
        self.running.lock().push(running);
        Ok(stream)
    }

    /// What the record of a stream says about the run.
    fn about(&self, uri: &SourceUri) -> About {
        About {
            input: uri.to_string(),
            model_name: self.model.spec.name.clone(),
            model_version: self.model.spec.version.clone(),
            model_sha256: self.sha256.clone(),
            onnxruntime: self.runtime.clone(),
            provider: self.provider.clone(),
            settings: Config::clone(&self.config),
        }
    }

    fn mounts(&self, stream: &Stream) -> Vec<(String, Mount)> {
        let server = self.rtsp.lock();
        let Some(server) = &*server else { return Vec::new() };
        let mut mounts = Vec::new();
        let mut mount = |path: String, hub| {
            let address = format!("rtsp://{}/{path}", server.address());
            mounts.push((address, server.mount(&path, hub)));
        };
        mount(stream.name.clone(), &stream.hub);
        if stream.config.clean {
            mount(format!("{}/clean", stream.name), &stream.clean);
        }
        mounts
    }

    /// Ends everything. False when something did not end in time.
    fn end(&self) -> bool {
        let until = Instant::now() + END;
        self.stopping.store(true, Relaxed);
        let running: Vec<Running> = self.running.lock().drain(..).collect();
        for stream in &running {
            stream.stream.stop.store(true, Relaxed);
        }
        // Each may have a file to finish: all of them at once.
        let ending: Vec<_> =
            running.into_iter().map(|stream| spawn("ending", move || stream.end(until))).collect();
        let mut in_time = true;
        for thread in ending.into_iter().flatten() {
            while !thread.is_finished() && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(5));
            }
            in_time &= thread.is_finished() && thread.join().unwrap_or(false);
        }
        if let Some(mut server) = self.rtsp.take() {
            server.stop();
        }
        for helper in self.helpers.lock().drain(..) {
            if helper.is_finished() || Instant::now() < until {
                let _ = helper.join();
            }
        }
        in_time
    }
}

/// The methods that a head's maps can be computed by.
fn methods_of(classifier: &Classifier, head: usize) -> Vec<Method> {
    classifier.finding(head).map(crate::model::Finding::methods).unwrap_or_default()
}
