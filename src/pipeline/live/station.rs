//! Live operation as the web server sees it. No lock is held while something
//! is encoded, and none that a stream's threads wait for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::boundaries::Boundaries;
use super::changes::still_of;
use super::stream::{Controls, Stream};
use super::{Live, MOST_STREAMS, Running, classes_of, first_controls, head_named};
use crate::annotation::Annotation;
use crate::config::{SourceUri, StreamConfig, is_stream_name};
use crate::explain::{ClassChoice, MethodChoice};
use crate::model::Head;
use crate::names::{nearest, plain};
use crate::overlay::HeatStyle;
use crate::still::Still;
use crate::timeline::segmenter::Profile;
use crate::web::station::{
    Build, Change, ClassStatus, Feeds, HeadStatus, Metrics, NewStream, Patch, Readiness, Refusal,
    Resolution, Station, StreamMetrics, StreamStatus,
};

/// How long a snapshot waits for a picture.
const PICTURE_WAIT: Duration = Duration::from_secs(1);
/// How long the removal of a stream may take.
const REMOVAL: Duration = Duration::from_secs(4);

impl Live {
    fn find(&self, name: &str) -> Result<Arc<Stream>, Refusal> {
        let running = self.running.lock();
        let found = running.iter().find(|r| r.stream.name == name);
        found.map(|r| Arc::clone(&r.stream)).ok_or_else(|| {
            let names = running.iter().map(|r| (plain(&r.stream.name), r.stream.name.clone()));
            Refusal::NoStream { asked: name.to_owned(), nearest: nearest(names, &plain(name)) }
        })
    }

    /// The controls after a change; nothing is changed yet.
    fn patched(&self, mut controls: Controls, patch: &Patch) -> Result<Controls, Refusal> {
        if let Some(head) = &patch.head {
            controls.head = head_named(&self.heads, head)?;
            (controls.class, controls.choices) = ("top".to_owned(), vec![ClassChoice::Top]);
        }
        if let Some(class) = &patch.class {
            let of = |head: usize| classes_of(&self.heads[head], class);
            let own = of(controls.head);
            let found = match own {
                Err(_) if patch.head.is_none() && class.trim().parse::<usize>().is_err() => {
                    let other = (0..self.heads.len()).find_map(|h| Some((h, of(h).ok()?)));
                    other.map_or_else(|| own.map(|choices| (controls.head, choices)), Ok)
                }
                own => own.map(|choices| (controls.head, choices)),
            };
            (controls.head, controls.choices) = found?;
            controls.class.clone_from(class);
        }
        if let Some(method) = patch.method {
            controls.method = method;
        }
        let head = &self.heads[controls.head];
        if let MethodChoice::One(method) = controls.method {
            let kind = |m: &crate::explain::Method| std::mem::discriminant(m);
            let possible = &self.methods[controls.head];
            if !possible.iter().any(|m| kind(m) == kind(&method)) {
                let names: Vec<_> = possible.iter().map(ToString::to_string).collect();
                return Err(Refusal::Impossible(format!(
                    "the head {} cannot be explained by {method}; possible: {}",
                    head.name,
                    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
                )));
            }
        }
        controls.style = patch.style.unwrap_or(controls.style);
        if let Some(opacity) = patch.opacity {
            if !(0.0..=1.0).contains(&opacity) {
                return Err(Refusal::Impossible(format!(
                    "the opacity is {opacity}, but must be 0 to 1"
                )));
            }
            controls.opacity = opacity;
        }
        if let Some(fps) = patch.analysis_fps {
            if !(fps > 0.0 && fps <= 1000.0) {
                return Err(Refusal::Impossible(format!(
                    "the rate of analysis is {fps}, but must be above 0, up to 1000 per second"
                )));
            }
            controls.analysis_fps = fps;
        }
        Ok(controls)
    }

    fn status(&self, running: &Running) -> StreamStatus {
        let stream = &running.stream;
        let (controls, doing) = (stream.controls(), stream.doing());
        let annotation = stream.annotation.lock().clone();
        let measures = &stream.measures;
        let head = &self.heads[controls.head];
        let explained_classes = explained_classes(&controls, head, annotation.as_deref());
        let size = stream.format().map(|format| format.size());
        let methods = &self.methods[controls.head];
        StreamStatus {
            name: stream.name.clone(),
            state: doing.state,
            detail: doing.detail,
            since_unix_ms: doing.since_unix_ms,
            source: stream.uri.to_string(),
            rtsp: running.mounts.iter().map(|(address, _)| address.clone()).collect(),
            resolution: size.map(|s| Resolution { width: s.width, height: s.height }),
            fps: measures.fps(),
            pts_s: annotation.as_ref().map(|a| a.pts.as_secs_f64()),
            latency_ms: measures.latency_ms(),
            explanation_age_ms: measures.age_s().map(|age| age * 1e3),
            av_offset_ms: measures.av_offset_s().map(|offset| offset * 1e3),
            frames: measures.frames.load(Relaxed),
            analysed: measures.analyst.analysed.load(Relaxed),
            skipped: measures.skipped(),
            reconnects: measures.reconnects.load(Relaxed),
            reconnect_attempts: measures.attempts.load(Relaxed),
            model: self.model.spec.name.clone(),
            provider: self.provider.clone(),
            head: head.name.to_string(),
            class: controls.class,
            explained_class: explained_classes.first().cloned(),
            explained_classes,
            method: String::from(controls.method),
            methods: methods.iter().map(ToString::to_string).collect(),
            style: style_name(controls.style),
            styles: HeatStyle::ALL.map(style_name).to_vec(),
            opacity: controls.opacity,
            analysis_fps: controls.analysis_fps,
            heads: self.head_statuses(annotation.as_deref()),
        }
    }

    fn head_statuses(&self, annotation: Option<&Annotation>) -> Vec<HeadStatus> {
        let head = |(index, head): (usize, &Head)| {
            let result = annotation.and_then(|a| a.heads.get(index));
            let of = |label: &str, probability: Option<f32>| ClassStatus {
                label: label.to_owned(),
                probability: probability.map(f64::from),
            };
            let known = |class: usize| result?.probabilities.get(class).copied();
            HeadStatus {
                name: head.name.to_string(),
                shown: result.map(|r| of(&r.shown.label, Some(r.shown.probability))),
                classes: head.labels.iter().enumerate().map(|(i, l)| of(l, known(i))).collect(),
            }
        };
        self.heads.iter().enumerate().map(head).collect()
    }

    fn status_of(&self, name: &str) -> Result<StreamStatus, Refusal> {
        self.find(name)?;
        let running = self.running.lock();
        let found = running.iter().find(|r| r.stream.name == name);
        found.map(|r| self.status(r)).ok_or(Refusal::Stopping)
    }
}

/// The classes whose heat is painted, or will be as soon as it is there.
fn explained_classes(
    controls: &Controls,
    head: &Head,
    annotation: Option<&Annotation>,
) -> Vec<String> {
    let shown = || annotation?.heads.get(controls.head).map(|h| Arc::clone(&h.shown.label));
    let followed = || {
        let explanations = annotation.into_iter().flat_map(|a| &a.explanations);
        let mut own = explanations.filter(|e| e.head == controls.head && !e.asked);
        own.next().map(|e| Arc::clone(&e.class.label)).or_else(shown)
    };
    let label = |choice: &ClassChoice| match choice {
        ClassChoice::Index(index) => head.labels.get(*index).map(Arc::clone),
        ClassChoice::Top => followed(),
    };
    let mut classes: Vec<String> = Vec::new();
    for label in controls.choices.iter().filter_map(label) {
        if !classes.contains(&label.to_string()) {
            classes.push(label.to_string());
        }
    }
    classes
}

/// The style as settings name it.
fn style_name(style: HeatStyle) -> String {
    let text = serde_json::to_string(&style).unwrap_or_default();
    text.trim_matches('"').to_owned()
}

impl Station for Live {
    fn readiness(&self) -> Readiness {
        // The model is warm before anything is served.
        if self.stopping.load(Relaxed) { Readiness::Stopping } else { Readiness::Ready }
    }

    fn streams(&self) -> Vec<StreamStatus> {
        self.running.lock().iter().map(|running| self.status(running)).collect()
    }

    fn stream(&self, name: &str) -> Result<StreamStatus, Refusal> {
        self.status_of(name)
    }

    fn change(&self, name: &str, patch: &Patch) -> Result<StreamStatus, Refusal> {
        let stream = self.find(name)?;
        stream.set_controls(self.patched(stream.controls(), patch)?);
        self.status_of(name)
    }

    fn add(&self, new: &NewStream) -> Result<StreamStatus, Refusal> {
        if self.stopping.load(Relaxed) {
            return Err(Refusal::Stopping);
        }
        let impossible = |why: String| Refusal::Impossible(why);
        if !is_stream_name(&new.name) {
            return Err(impossible(format!(
                "{:?} is no name for a stream: use up to 64 letters, digits, `-` or `_`",
                new.name
            )));
        }
        let uri: SourceUri = new.source.parse().map_err(impossible)?;
        if !uri.is_network() {
            return Err(impossible(
                "a source added here must be a network address; files are named in the settings"
                    .to_owned(),
            ));
        }
        {
            let running = self.running.lock();
            if running.iter().any(|r| r.stream.name == new.name) {
                return Err(Refusal::Exists(new.name.clone()));
            }
            if running.len() >= MOST_STREAMS {
                return Err(Refusal::Full(running.len()));
            }
        }
        let usual = StreamConfig::default();
        let config = StreamConfig {
            name: new.name.clone(),
            source: new.source.clone(),
            segment: new.segment.clone(),
            profile: new.profile.clone().unwrap_or(usual.profile),
            lag_s: new.lag_s.unwrap_or(usual.lag_s),
            ..usual
        };
        // Only by name: a profile may also be a file.
        Profile::named(&config.profile).map_err(|error| impossible(error.to_string()))?;
        Boundaries::new(&config, &self.heads).map_err(|error| impossible(error.to_string()))?;
        let controls = {
            let first = first_controls(&self.config, &self.heads, &config)?;
            self.patched(first, &new.patch)?
        };
        self.launch(config, controls).map_err(|error| {
            Refusal::Failed(
                uri.without_secrets(&format!("the stream cannot be started: {error:#}")),
            )
        })?;
        self.status_of(&new.name)
    }

    fn remove(&self, name: &str) -> Result<(), Refusal> {
        self.find(name)?;
        let removed = {
            let mut running = self.running.lock();
            let at = running.iter().position(|r| r.stream.name == name);
            at.map(|at| running.remove(at))
        };
        if let Some(running) = removed {
            running.stream.stop.store(true, Relaxed);
            // Its files are finished beside.
            let ending = std::thread::Builder::new().name("ending".to_owned());
            let _ = ending.spawn(move || running.end(Instant::now() + REMOVAL));
        }
        Ok(())
    }

    fn feeds(&self, name: &str) -> Result<Feeds, Refusal> {
        let stream = self.find(name)?;
        Ok(Feeds { events: Arc::clone(&stream.events), video: Arc::clone(&stream.video) })
    }

    fn snapshot(&self, name: &str, heat: bool) -> Result<Arc<Still>, Refusal> {
        let stream = self.find(name)?;
        let until = Instant::now() + PICTURE_WAIT;
        let latest = loop {
            if let Some(latest) = stream.latest.lock().clone() {
                break latest;
            }
            if Instant::now() > until {
                return Err(Refusal::NoPicture);
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        let frame = if heat { latest.painted } else { latest.clean };
        let still = frame.with_picture(still_of).map_err(|e| Refusal::Failed(e.to_string()))?;
        Ok(Arc::new(still))
    }

    fn changes(&self, name: &str) -> Result<Vec<Change>, Refusal> {
        Ok(self.find(name)?.changes.lock().list())
    }

    fn change_still(&self, name: &str, id: u64, heat: bool) -> Result<Arc<[u8]>, Refusal> {
        let stream = self.find(name)?;
        let still = stream.changes.lock().still(id, heat);
        still.ok_or(Refusal::NoChange(id))
    }

    fn metrics(&self) -> Metrics {
        let build = Build {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            gstreamer: crate::media::version(),
            onnxruntime: self.runtime.clone(),
            model: self.model.spec.name.clone(),
            provider: self.provider.clone(),
        };
        let running = self.running.lock();
        let streams = running.iter().map(|running| {
            let (stream, measures) = (&running.stream, &running.stream.measures);
            StreamMetrics {
                name: stream.name.clone(),
                state: stream.doing().state,
                frames: measures.frames.load(Relaxed),
                analysed: measures.analyst.analysed.load(Relaxed),
                failed: measures.analyst.failed.load(Relaxed),
                skipped: measures.skipped(),
                reconnects: measures.reconnects.load(Relaxed),
                reconnect_attempts: measures.attempts.load(Relaxed),
                clock_repairs: measures.clock_repairs.load(Relaxed),
                latency_s: measures.latency(),
                inference_s: measures.inference(),
                explanation_age_s: measures.age_s(),
                queue_depth: BTreeMap::from([("frames".to_owned(), stream.waiting.load(Relaxed))]),
                av_offset_s: measures.av_offset_s(),
                rtsp_clients: running.mounts.iter().map(|(_, mount)| mount.clients()).sum(),
            }
        });
        Metrics { build, streams: streams.collect() }
    }
}
