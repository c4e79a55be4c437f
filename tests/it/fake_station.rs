//! Streams that are played back instead of analysed: for tests of the web
//! server, and for looking at the monitor page without a model
//! (`cargo run --example monitor`).

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use heatcast::annotation::{
    ActivationMap, Annotation, ClassProb, Explanation, HeadResult, Heat, View,
};
use heatcast::explain::{ClassChoice, choose};
use heatcast::frame::{Pts, Size};
use heatcast::names::nearest;
use heatcast::still::Still;
use heatcast::sync_cell::Locked;
use heatcast::timeline::events::annotation_lines;
use heatcast::web::Station;
use heatcast::web::feed::{EventFeed, LiveVideo};
use heatcast::web::station::{
    Build, Certainty, Change, ClassStatus, Feeds, HeadStatus, Metrics, NewStream, Patch, Quantiles,
    Readiness, Refusal, Resolution, State, StreamMetrics, StreamStatus,
};

const FPS: f64 = 24.0;
const SIZE: Size = Size::new(640, 360);
const SPORTS: [&str; 12] = [
    "none",
    "football",
    "basketball",
    "ice hockey",
    "tennis",
    "golf",
    "swimming",
    "athletics",
    "cycling",
    "motor racing",
    "boxing",
    "skiing",
];

fn heads() -> Vec<(&'static str, Vec<&'static str>)> {
    vec![
        ("content", vec!["show", "commercial"]),
        ("action", vec!["action", "non_action"]),
        ("sport", SPORTS.to_vec()),
        ("animation", vec!["animated", "live_action"]),
    ]
}

/// Eight seconds of the bundled clip: as fragments of an encode, and as pictures.
#[derive(Default)]
pub(crate) struct Clip {
    init: Vec<u8>,
    /// One per frame, with whether it is a key frame.
    fragments: Vec<(Vec<u8>, bool)>,
    /// Two a second.
    stills: Vec<Arc<Still>>,
}

impl Clip {
    /// Encodes the clip anew, with a key frame every second.
    pub(crate) fn bundled() -> Self {
        let clip = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/clips/bbb.mp4");
        let ffmpeg = |arguments: &str| {
            let arguments = arguments.split(' ');
            let out = Command::new("ffmpeg")
                .args(["-nostdin", "-loglevel", "error", "-threads", "1", "-t", "8", "-i", clip])
                .args(arguments)
                .output()
                .unwrap();
            assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
            out.stdout
        };
        let mp4 = ffmpeg(
            "-an -vf scale=640:360 -c:v libx264 -preset ultrafast -tune zerolatency -crf 26 \
             -g 24 -keyint_min 24 -sc_threshold 0 -pix_fmt yuv420p \
             -movflags empty_moov+default_base_moof+frag_every_frame -f mp4 pipe:1",
        );
        let rgb = ffmpeg("-vf fps=2,scale=640:360 -pix_fmt rgb24 -f rawvideo pipe:1");
        let mut clip = Self::default();
        let mut rest = &mp4[..];
        while let Some(length) = rest.first_chunk::<4>() {
            let (one, others) = rest.split_at(u32::from_be_bytes(*length) as usize);
            match &one[4..8] {
                b"ftyp" | b"moov" => clip.init.extend_from_slice(one),
                b"moof" => {
                    let keyframe = clip.fragments.len() % FPS as usize == 0;
                    clip.fragments.push((one.to_vec(), keyframe));
                }
                b"mdat" => clip.fragments.last_mut().unwrap().0.extend_from_slice(one),
                _ => {}
            }
            rest = others;
        }
        let pictures = rgb.chunks_exact(SIZE.width * SIZE.height * 3);
        clip.stills =
            pictures.map(|rgb| Arc::new(Still { size: SIZE, rgb: rgb.to_vec() })).collect();
        clip
    }

    /// Frame number `n` of the clip in a loop, with a time that goes on.
    fn fragment(&self, n: usize) -> (Vec<u8>, bool) {
        let (mut bytes, keyframe) = self.fragments[n % self.fragments.len()].clone();
        // `tfdt`: version 1 and flags, then 64 bits of time.
        let at = bytes.windows(4).position(|name| name == b"tfdt").unwrap() + 8;
        let time = |bytes: &[u8]| u64::from_be_bytes(bytes[..8].try_into().unwrap());
        let step = time(&self.fragments[1].0[at..]) - time(&self.fragments[0].0[at..]);
        bytes[at..at + 8].copy_from_slice(&(step * n as u64).to_be_bytes());
        (bytes, keyframe)
    }
}

struct FakeStream {
    name: String,
    source: String,
    state: State,
    head: usize,
    class: ClassChoice,
    method: String,
    style: String,
    opacity: f64,
    analysis_fps: f64,
    pts: f64,
    analysed: u64,
    begun: u64,
    feeds: Feeds,
    heads: Vec<HeadResult>,
    changes: Vec<(Change, [Arc<[u8]>; 2])>,
}

/// Streams that play the clip.
pub(crate) struct FakeStation {
    clip: Arc<Clip>,
    streams: Locked<Vec<FakeStream>>,
    pub(crate) readiness: Locked<Readiness>,
}

/// The thread that plays; ends when dropped.
pub(crate) struct Playing {
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Playing {
    fn drop(&mut self) {
        self.ends.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl FakeStation {
    pub(crate) fn new(names: &[&str], clip: Clip) -> Arc<Self> {
        let station = Self {
            clip: Arc::new(clip),
            streams: Locked::default(),
            readiness: Locked::new(Readiness::Ready),
        };
        for name in names {
            let source = "rtsp://camera.example/1".to_owned();
            let stream = NewStream {
                name: (*name).into(),
                source,
                patch: Patch::default(),
                segment: Vec::new(),
                profile: None,
                lag_s: None,
            };
            station.add(&stream).unwrap();
        }
        Arc::new(station)
    }

    /// Plays in real time: pictures, answers, and changes.
    pub(crate) fn play(self: &Arc<Self>) -> Playing {
        let ends = Arc::new(AtomicBool::new(false));
        let (station, end) = (self.clone(), ends.clone());
        let play = move || {
            let begun = Instant::now();
            for n in 0.. {
                let due = Duration::from_secs_f64(n as f64 / FPS);
                if end.load(Relaxed) {
                    break;
                }
                std::thread::sleep(due.saturating_sub(begun.elapsed()));
                station.step(n);
            }
        };
        let thread = std::thread::Builder::new().name("fake-streams".into()).spawn(play).unwrap();
        Playing { ends, thread: Some(thread) }
    }

    /// One frame of every running stream; every fifth is analysed.
    pub(crate) fn step(&self, n: usize) {
        for stream in self.streams.lock().iter_mut().filter(|s| s.state == State::Running) {
            if !self.clip.fragments.is_empty() {
                let (bytes, keyframe) = self.clip.fragment(n);
                stream.feeds.video.push(bytes, keyframe);
            }
            if n.is_multiple_of(5) {
                self.analyse(stream, n as f64 / FPS);
            }
        }
    }

    fn analyse(&self, stream: &mut FakeStream, pts: f64) {
        stream.pts = pts;
        stream.analysed += 1;
        let before: Vec<_> = stream.heads.iter().map(|head| head.shown.label.clone()).collect();
        stream.heads = heads().iter().enumerate().map(|(i, head)| answer(i, head, pts)).collect();
        let explained = stream.explained().map(|index| {
            let head = &stream.heads[stream.head];
            let found = head.top.iter().find(|class| class.index == index);
            found.cloned().unwrap_or(ClassProb { index, ..head.shown.clone() })
        });
        let annotation = Annotation {
            pts: Pts::from_secs_f64(pts),
            starts_shot: stream.analysed % 20 == 1,
            heads: stream.heads.clone(),
            explanations: explained
                .into_iter()
                .map(|class| self.explanation(stream, class))
                .collect(),
        };
        for line in annotation_lines(&annotation, SIZE).unwrap() {
            stream.feeds.events.push(&line);
        }
        let now = stream.heads.iter().map(|head| head.shown.label.clone());
        let changed = now.enumerate().filter(|(i, label)| before.get(*i) != Some(label));
        for (i, _) in changed.collect::<Vec<_>>() {
            self.remember(stream, i, before.get(i).map(|label| label.to_string()));
        }
    }

    fn explanation(&self, stream: &FakeStream, class: ClassProb) -> Explanation {
        let map = ActivationMap { rows: 1, cols: 2, values: vec![0.2, 0.9] };
        let view = View { x: 0.0, y: 0.0, width: 640.0, height: 360.0 };
        Explanation {
            head: stream.head,
            class,
            asked: stream.class != ClassChoice::Top,
            heat: Heat { layer: 0, map, view },
            full_scale: 6.0,
        }
    }

    fn remember(&self, stream: &mut FakeStream, head: usize, previous: Option<String>) {
        let name = stream.heads[head].head.to_string();
        let open = stream.changes.iter_mut().rev().find(|(change, _)| change.head == name);
        if let Some((change, _)) = open {
            change.end_pts_s = Some(stream.pts);
            if change.certainty == Certainty::Provisional {
                change.certainty = Certainty::Final;
            }
        }
        let [plain, hot] = [false, true].map(|heat| self.picture(stream, heat));
        let (Some(plain), Some(hot)) = (plain, hot) else { return };
        let shown = stream.heads[head].shown.clone();
        let change = Change {
            id: stream.changes.len() as u64,
            head: name,
            label: shown.label.to_string(),
            probability: shown.probability.into(),
            previous,
            pts_s: stream.pts,
            at_unix_ms: unix_ms(),
            end_pts_s: None,
            cues: vec!["shot_cut".into(), "black".into()],
            explained_class: stream.explained().map(|i| heads()[stream.head].1[i].to_owned()),
            heads: stream.head_statuses(),
            still: true,
            // The first head is segmented; its newest boundary may still move.
            certainty: if head == 0 { Certainty::Provisional } else { Certainty::Shown },
        };
        let jpeg = |still: Arc<Still>| Arc::from(still.to_jpeg(80).unwrap());
        stream.changes.push((change, [jpeg(plain), jpeg(hot)]));
    }

    /// The picture, with a warm spot whose place tells the class, or without.
    fn picture(&self, stream: &FakeStream, heat: bool) -> Option<Arc<Still>> {
        let stills = &self.clip.stills;
        let still = stills.get((stream.pts * 2.0) as usize % stills.len().max(1))?;
        let Some(class) = stream.explained().filter(|_| heat && stream.style != "off") else {
            return Some(still.clone());
        };
        let mut warm = Still::clone(still);
        let (cx, cy) = (120.0 + 90.0 * (class % 5) as f64, 130.0 + 60.0 * stream.head as f64 / 2.0);
        for (i, rgb) in warm.rgb.chunks_exact_mut(3).enumerate() {
            let (x, y) = ((i % SIZE.width) as f64 - cx, (i / SIZE.width) as f64 - cy);
            let a = stream.opacity * (1.0 - (x * x + y * y).sqrt() / 110.0).max(0.0);
            for (value, hot) in rgb.iter_mut().zip([249.0, 142.0, 9.0]) {
                *value = (f64::from(*value) * (1.0 - a) + hot * a) as u8;
            }
        }
        Some(Arc::new(warm))
    }

    /// Lets the source of a stream go away or come back.
    pub(crate) fn set_state(&self, name: &str, state: State) {
        if let Some(stream) = self.streams.lock().iter_mut().find(|s| s.name == name) {
            stream.state = state;
            stream.begun = unix_ms();
        }
    }

    fn with<T>(
        &self,
        name: &str,
        work: impl FnOnce(&mut FakeStream) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let mut streams = self.streams.lock();
        if let Some(stream) = streams.iter_mut().find(|stream| stream.name == name) {
            return work(stream);
        }
        let names = streams.iter().map(|s| (s.name.as_str(), s.name.clone()));
        Err(Refusal::NoStream { asked: name.into(), nearest: nearest(names, name) })
    }
}

/// Probabilities that come and go, each head at its own pace.
fn answer(i: usize, (name, labels): &(&str, Vec<&str>), pts: f64) -> HeadResult {
    let scores: Vec<f64> = (0..labels.len())
        .map(|k| (3.0 * (pts / (4.0 + 2.0 * i as f64) + 2.1 * k as f64 + i as f64).sin()).exp())
        .collect();
    let sum: f64 = scores.iter().sum();
    let mut all: Vec<_> = labels.iter().zip(&scores).enumerate().collect();
    all.sort_by(|a, b| b.1.1.total_cmp(a.1.1));
    let class = |(index, (label, score)): &(usize, (&&str, &f64))| ClassProb {
        index: *index,
        label: Arc::from(**label),
        probability: (**score / sum) as f32,
    };
    let top: Vec<_> = all.iter().map(class).collect();
    let probabilities = scores.iter().map(|score| (score / sum) as f32).collect();
    HeadResult { head: (*name).into(), shown: top[0].clone(), top, probabilities }
}

fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

impl FakeStream {
    fn explained(&self) -> Option<usize> {
        match self.class {
            ClassChoice::Index(index) => Some(index),
            ClassChoice::Top => self.heads.get(self.head).map(|head| head.shown.index),
        }
    }

    fn head_statuses(&self) -> Vec<HeadStatus> {
        let of = |(i, (name, labels)): (usize, &(&str, Vec<&str>))| {
            let said = self.heads.get(i);
            let probability = |index| {
                let class = said?.top.iter().find(|class| class.index == index)?;
                Some(class.probability.into())
            };
            let class = |(index, label): (usize, &&str)| ClassStatus {
                label: (*label).into(),
                probability: probability(index),
            };
            HeadStatus {
                name: (*name).into(),
                shown: said.map(|said| ClassStatus {
                    label: said.shown.label.to_string(),
                    probability: Some(said.shown.probability.into()),
                }),
                classes: labels.iter().enumerate().map(class).collect(),
            }
        };
        heads().iter().enumerate().map(of).collect()
    }

    fn status(&self) -> StreamStatus {
        let runs = self.state == State::Running;
        let labels = heads()[self.head].1.clone();
        StreamStatus {
            name: self.name.clone(),
            state: self.state,
            detail: (!runs).then(|| "no signal: the camera does not answer".into()),
            since_unix_ms: self.begun,
            source: self.source.clone(),
            rtsp: vec![format!("rtsp://127.0.0.1:8554/{}", self.name)],
            resolution: Some(Resolution { width: SIZE.width, height: SIZE.height }),
            fps: if runs { FPS } else { 0.0 },
            pts_s: Some(self.pts),
            latency_ms: Some(Quantiles { p50: 21.4, p95: 38.9, p99: 52.0 }),
            explanation_age_ms: Some(140.0),
            av_offset_ms: Some(-8.0),
            frames: self.analysed * 5,
            analysed: self.analysed,
            skipped: BTreeMap::from([("busy".into(), 3), ("not_sampled".into(), self.analysed)]),
            reconnects: 0,
            reconnect_attempts: 0,
            model: "broadcast".into(),
            provider: "cpu".into(),
            head: heads()[self.head].0.into(),
            class: match self.class {
                ClassChoice::Top => "top".into(),
                ClassChoice::Index(index) => labels[index].into(),
            },
            explained_class: self.explained().map(|index| labels[index].into()),
            explained_classes: self
                .explained()
                .map(|index| labels[index].into())
                .into_iter()
                .collect(),
            method: self.method.clone(),
            methods: ["cam", "gradcam", "gradcam++", "layercam", "hirescam"]
                .map(String::from)
                .into(),
            style: self.style.clone(),
            styles: ["heatmap", "shade", "blur", "contour", "off"].map(String::from).into(),
            opacity: self.opacity,
            analysis_fps: self.analysis_fps,
            heads: self.head_statuses(),
        }
    }

    fn change(&mut self, patch: &Patch) -> Result<(), Refusal> {
        let mut head = self.head;
        if let Some(name) = &patch.head {
            let names = heads().into_iter().map(|(name, _)| name).collect::<Vec<_>>();
            head = names.iter().position(|known| known == name).ok_or_else(|| Refusal::NoHead {
                asked: name.clone(),
                nearest: nearest(names.iter().map(|n| (*n, (*n).to_owned())), name),
            })?;
        }
        let mut class = if head == self.head { self.class } else { ClassChoice::Top };
        if let Some(text) = &patch.class {
            class = choose(&heads()[head].1, text)?;
        }
        (self.head, self.class) = (head, class);
        if let Some(method) = patch.method {
            self.method = method.into();
        }
        if let Some(style) = patch.style {
            self.style = serde_json::to_value(style).unwrap().as_str().unwrap().into();
        }
        self.opacity = patch.opacity.unwrap_or(self.opacity);
        self.analysis_fps = patch.analysis_fps.unwrap_or(self.analysis_fps);
        Ok(())
    }
}

impl Station for FakeStation {
    fn readiness(&self) -> Readiness {
        *self.readiness.lock()
    }

    fn streams(&self) -> Vec<StreamStatus> {
        self.streams.lock().iter().map(FakeStream::status).collect()
    }

    fn stream(&self, name: &str) -> Result<StreamStatus, Refusal> {
        self.with(name, |stream| Ok(stream.status()))
    }

    fn change(&self, name: &str, patch: &Patch) -> Result<StreamStatus, Refusal> {
        self.with(name, |stream| {
            stream.change(patch)?;
            Ok(stream.status())
        })
    }

    fn add(&self, new: &NewStream) -> Result<StreamStatus, Refusal> {
        let mut streams = self.streams.lock();
        if streams.iter().any(|stream| stream.name == new.name) {
            return Err(Refusal::Exists(new.name.clone()));
        }
        let video = Arc::new(LiveVideo::default());
        if !self.clip.init.is_empty() {
            video.begin(self.clip.init.clone());
        }
        let mut stream = FakeStream {
            name: new.name.clone(),
            source: new.source.rsplit_once('@').map_or(new.source.clone(), |(_, host)| host.into()),
            state: State::Running,
            head: 0,
            class: ClassChoice::Top,
            method: "cam".into(),
            style: "heatmap".into(),
            opacity: 0.45,
            analysis_fps: 5.0,
            pts: 0.0,
            analysed: 0,
            begun: unix_ms(),
            feeds: Feeds { events: Arc::new(EventFeed::default()), video },
            heads: Vec::new(),
            changes: Vec::new(),
        };
        stream.change(&new.patch)?;
        let status = stream.status();
        streams.push(stream);
        Ok(status)
    }

    fn remove(&self, name: &str) -> Result<(), Refusal> {
        self.with(name, |_| Ok(()))?;
        self.streams.lock().retain(|stream| stream.name != name);
        Ok(())
    }

    fn feeds(&self, name: &str) -> Result<Feeds, Refusal> {
        self.with(name, |stream| Ok(stream.feeds.clone()))
    }

    fn snapshot(&self, name: &str, heat: bool) -> Result<Arc<Still>, Refusal> {
        self.with(name, |stream| self.picture(stream, heat).ok_or(Refusal::NoPicture))
    }

    fn changes(&self, name: &str) -> Result<Vec<Change>, Refusal> {
        self.with(name, |stream| {
            Ok(stream.changes.iter().map(|(change, _)| change.clone()).collect())
        })
    }

    fn change_still(&self, name: &str, id: u64, heat: bool) -> Result<Arc<[u8]>, Refusal> {
        self.with(name, |stream| {
            let found = stream.changes.get(id as usize).ok_or(Refusal::NoChange(id))?;
            Ok(found.1[usize::from(heat)].clone())
        })
    }

    fn metrics(&self) -> Metrics {
        let figures = |stream: &FakeStream| {
            let mut metrics = StreamMetrics {
                name: stream.name.clone(),
                state: stream.state,
                frames: stream.analysed * 5,
                analysed: stream.analysed,
                failed: 0,
                skipped: stream.status().skipped,
                reconnects: 0,
                reconnect_attempts: 0,
                clock_repairs: 0,
                latency_s: Default::default(),
                inference_s: Default::default(),
                explanation_age_s: Some(0.14),
                queue_depth: BTreeMap::from([("samples".into(), 1)]),
                av_offset_s: Some(-0.008),
                rtsp_clients: 0,
            };
            metrics.latency_s.observe(0.021);
            metrics.latency_s.observe(9.0);
            metrics
        };
        Metrics {
            build: Build {
                version: env!("CARGO_PKG_VERSION").into(),
                gstreamer: "1.22.0".into(),
                onnxruntime: "1.24.2".into(),
                model: "broadcast".into(),
                provider: "cpu".into(),
            },
            streams: self.streams.lock().iter().map(figures).collect(),
        }
    }
}
