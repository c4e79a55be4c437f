//! What the web server shows and changes: the streams of a running program, as
//! plain values behind one trait. Implemented by the pipeline, called by the
//! request handlers; must know neither HTTP nor what makes the values.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::feed::{EventFeed, LiveVideo};
use crate::explain::{MethodChoice, UnknownClass};
use crate::overlay::HeatStyle;
use crate::still::Still;

/// The running program as the web server sees it.
///
/// Every method may be called from any thread at any time, also while streams
/// come and go. All but [`snapshot`](Self::snapshot) and [`add`](Self::add)
/// return at once.
pub trait Station: Send + Sync {
    /// Whether requests make sense yet, or no longer.
    fn readiness(&self) -> Readiness;

    /// The streams in the order in which people listed them.
    fn streams(&self) -> Vec<StreamStatus>;

    /// One stream.
    ///
    /// # Errors
    /// [`Refusal::NoStream`].
    fn stream(&self, name: &str) -> Result<StreamStatus, Refusal>;

    /// Changes how a running stream is explained and drawn: all of `patch` or
    /// nothing. Returns the stream as it is afterwards; `explained_class`
    /// already names the new class.
    ///
    /// # Errors
    /// A [`Refusal`] when there is no such stream, head or class, or when the
    /// method is not possible for the head.
    fn change(&self, name: &str, patch: &Patch) -> Result<StreamStatus, Refusal>;

    /// Starts another stream. It need not have a picture when this returns.
    ///
    /// # Errors
    /// A [`Refusal`] when the name is taken, the source cannot be one, or there
    /// are as many streams as there may be.
    fn add(&self, stream: &NewStream) -> Result<StreamStatus, Refusal>;

    /// Ends a stream and its outputs.
    ///
    /// # Errors
    /// [`Refusal::NoStream`].
    fn remove(&self, name: &str) -> Result<(), Refusal>;

    /// What a stream says as it goes: its events and its encoded picture.
    ///
    /// # Errors
    /// [`Refusal::NoStream`].
    fn feeds(&self, name: &str) -> Result<Feeds, Refusal>;

    /// The newest picture, with what is painted over it or without. May wait
    /// for the next frame, at most a second.
    ///
    /// # Errors
    /// A [`Refusal`] when there is no such stream, or no picture yet.
    fn snapshot(&self, name: &str, heat: bool) -> Result<Arc<Still>, Refusal>;

    /// The changes of the shown classes that are still remembered, oldest
    /// first.
    ///
    /// # Errors
    /// [`Refusal::NoStream`].
    fn changes(&self, name: &str) -> Result<Vec<Change>, Refusal>;

    /// The frame of a change, as the bytes of a JPEG file, with heat or without.
    ///
    /// # Errors
    /// [`Refusal::NoStream`] or [`Refusal::NoChange`].
    fn change_still(&self, name: &str, id: u64, heat: bool) -> Result<Arc<[u8]>, Refusal>;

    /// What there is to count and measure.
    fn metrics(&self) -> Metrics;
}

/// Whether the program can answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// The classifier is not warm yet.
    Warming,
    /// Streams are being worked on.
    Ready,
    /// The program is ending.
    Stopping,
}

/// The feeds of one stream. They outlive reconnections of its source.
#[derive(Clone, Debug)]
pub struct Feeds {
    /// The lines of its events.
    pub events: Arc<EventFeed>,
    /// Its annotated picture, encoded.
    pub video: Arc<LiveVideo>,
}

/// What a stream is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// No picture has come yet.
    Starting,
    /// Pictures come.
    Running,
    /// Pictures came, and are waited for again; a slate is shown.
    Reconnecting,
    /// The source ended for good.
    Ended,
    /// Nothing more is tried; the detail says why.
    Failed,
}

/// One stream at this moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StreamStatus {
    /// Its name, unique among the streams.
    pub name: String,
    /// What it is doing.
    pub state: State,
    /// Why, in a sentence for people, without credentials; none while all is
    /// well.
    pub detail: Option<String>,
    /// When it began doing so: milliseconds since 1970 (UTC).
    pub since_unix_ms: u64,
    /// Where the picture comes from, without credentials.
    pub source: String,
    /// Addresses of its RTSP mounts, annotated first.
    pub rtsp: Vec<String>,
    /// Size of the picture, when one has come.
    pub resolution: Option<Resolution>,
    /// Frames that went out per second, measured over the last seconds.
    pub fps: f64,
    /// Stream time of the newest analysed frame, seconds.
    pub pts_s: Option<f64>,
    /// Added latency, decoded frame in to encoded frame out, over the last
    /// minute.
    pub latency_ms: Option<Quantiles>,
    /// Age of the heat when it was last painted.
    pub explanation_age_ms: Option<f64>,
    /// How much further sound is behind the picture than in the source.
    pub av_offset_ms: Option<f64>,
    /// Frames that came in.
    pub frames: u64,
    /// Frames that were analysed.
    pub analysed: u64,
    /// Frames that were not, by cause.
    pub skipped: BTreeMap<String, u64>,
    /// Times the picture came back after it was lost.
    pub reconnects: u64,
    /// Times it was tried to open the source again.
    pub reconnect_attempts: u64,
    /// Name of the model.
    pub model: String,
    /// Execution provider really in use.
    pub provider: String,
    /// The head that is explained.
    pub head: String,
    /// The class that was asked for: a label, `top`, or several with commas.
    pub class: String,
    /// The class whose heat is painted; none before the first analysed frame.
    /// The first, where there are several.
    pub explained_class: Option<String>,
    /// All classes whose heat is painted, each in a colour of its own where
    /// there are several.
    pub explained_classes: Vec<String>,
    /// How maps are computed.
    pub method: String,
    /// The methods that the explained head allows.
    pub methods: Vec<String>,
    /// How heat is shown.
    pub style: String,
    /// The styles there are.
    pub styles: Vec<String>,
    /// Opacity of full heat, 0..1.
    pub opacity: f64,
    /// Frames analysed per second of stream time, at most.
    pub analysis_fps: f64,
    /// What each head says, in the order of the model.
    pub heads: Vec<HeadStatus>,
}

/// Width and height of a picture, pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Resolution {
    /// From left to right.
    pub width: usize,
    /// From top to bottom.
    pub height: usize,
}

/// Three quantiles of a distribution.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Quantiles {
    /// The median.
    pub p50: f64,
    /// 95 of 100 are at most this.
    pub p95: f64,
    /// 99 of 100 are at most this.
    pub p99: f64,
}

/// What one head says.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HeadStatus {
    /// Its name.
    pub name: String,
    /// The class people are shown, steadied in time.
    pub shown: Option<ClassStatus>,
    /// All its classes in the order of the model.
    pub classes: Vec<ClassStatus>,
}

/// One class of a head.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassStatus {
    /// Its label.
    pub label: String,
    /// Its probability in the newest analysed frame, 0..1.
    pub probability: Option<f64>,
}

/// What to change about a stream; what is none stays.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Patch {
    /// Head to explain. Without a class, the class becomes `top`.
    pub head: Option<String>,
    /// Class to explain, or several: as
    /// [`choose_several`](crate::explain::choose_several) takes them, among the
    /// classes of the head; a label that only another head has means that head,
    /// unless a head is named as well.
    pub class: Option<String>,
    /// How maps are computed.
    pub method: Option<MethodChoice>,
    /// How heat is shown.
    pub style: Option<HeatStyle>,
    /// Opacity of full heat, 0..1.
    pub opacity: Option<f64>,
    /// Frames analysed per second of stream time, above 0.
    pub analysis_fps: Option<f64>,
}

/// A stream to be started.
#[derive(Clone, PartialEq)]
pub struct NewStream {
    /// Its name: letters, digits, `-` and `_`, at most 64 of them.
    pub name: String,
    /// A network address. Never a path: no request reaches the file system.
    /// May hold credentials, and is not to be printed.
    pub source: String,
    /// What else is set from the start.
    pub patch: Patch,
    /// Heads that are segmented; none for the model's first.
    pub segment: Vec<String>,
    /// What programmes and breaks are like, by the name of a profile. Never a
    /// file.
    pub profile: Option<String>,
    /// Seconds behind the stream at which boundaries become final, 0 to 300.
    pub lag_s: Option<f64>,
}

impl std::fmt::Debug for NewStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewStream").field("name", &self.name).finish_non_exhaustive()
    }
}

/// How certain a change is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Certainty {
    /// The class that people are shown changed: the head is not segmented.
    Shown,
    /// A segment begins, as it looks now; it may move or be taken back.
    Provisional,
    /// A segment begins here for certain.
    Final,
}

/// A segment of a head began, or, where a head is not segmented, the class it
/// shows became another one. The stretch that began so ends with the head's next
/// change.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// Number of the change in its stream; larger is later.
    pub id: u64,
    /// The head.
    pub head: String,
    /// What there is from here on.
    pub label: String,
    /// Its probability, 0..1: of a segment over all of it, else at that moment.
    pub probability: f64,
    /// What was shown before; none at the start.
    pub previous: Option<String>,
    /// Stream time, seconds.
    pub pts_s: f64,
    /// The moment by the clock: milliseconds since 1970 (UTC).
    pub at_unix_ms: u64,
    /// End of the stretch in stream time; none while it goes on.
    pub end_pts_s: Option<f64>,
    /// What picture and sound suggest a boundary, as the events file names it.
    pub cues: Vec<String>,
    /// The class whose heat the still shows.
    pub explained_class: Option<String>,
    /// What every head said at that moment: its best classes.
    pub heads: Vec<HeadStatus>,
    /// Whether the frame was kept.
    pub still: bool,
    /// How certain it is.
    pub certainty: Certainty,
}

/// Why the station did not do as asked. The text is for people.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// No stream goes by that name.
    #[error("there is no stream `{asked}`{}", suggestion(.nearest.as_deref()))]
    NoStream {
        /// What was asked for.
        asked: String,
        /// The name that looks most like it, if one does.
        nearest: Option<String>,
    },
    /// No head goes by that name.
    #[error("there is no head `{asked}`{}", suggestion(.nearest.as_deref()))]
    NoHead {
        /// What was asked for.
        asked: String,
        /// The name that looks most like it, if one does.
        nearest: Option<String>,
    },
    /// No class goes by that name.
    #[error(transparent)]
    NoClass(#[from] UnknownClass),
    /// The change is not remembered.
    #[error("there is no change {0}; it may have been forgotten")]
    NoChange(u64),
    /// No picture has come yet.
    #[error("no picture has come yet; try again when the stream is running")]
    NoPicture,
    /// What was asked is understood and not possible: the sentence says what
    /// to do.
    #[error("{0}")]
    Impossible(String),
    /// There is a stream of that name already.
    #[error("there is a stream `{0}` already; choose another name, or remove that one first")]
    Exists(String),
    /// There are as many streams as there may be.
    #[error("there are {0} streams already, and no more may be added; remove one first")]
    Full(usize),
    /// The program is ending.
    #[error("the program is stopping")]
    Stopping,
    /// It went wrong; the sentence says what to do.
    #[error("{0}")]
    Failed(String),
}

fn suggestion(nearest: Option<&str>) -> String {
    nearest.map(|name| format!(", did you mean `{name}`?")).unwrap_or_default()
}

/// What there is to count and measure.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics {
    /// What runs.
    pub build: Build,
    /// The streams.
    pub streams: Vec<StreamMetrics>,
}

/// What runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Build {
    /// Version of Heatcast.
    pub version: String,
    /// Version of GStreamer.
    pub gstreamer: String,
    /// Version of ONNX Runtime.
    pub onnxruntime: String,
    /// Name of the model.
    pub model: String,
    /// Execution provider really in use.
    pub provider: String,
}

/// The figures of one stream. Counts never fall while the stream lives.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamMetrics {
    /// Its name.
    pub name: String,
    /// What it is doing.
    pub state: State,
    /// Frames that came in.
    pub frames: u64,
    /// Frames that were analysed.
    pub analysed: u64,
    /// Frames on which the classifier failed.
    pub failed: u64,
    /// Frames that were not analysed, by cause.
    pub skipped: BTreeMap<String, u64>,
    /// Times the picture came back after it was lost.
    pub reconnects: u64,
    /// Times it was tried to open the source again.
    pub reconnect_attempts: u64,
    /// Repairs of the source's clock.
    pub clock_repairs: u64,
    /// Added latency, decoded frame in to encoded frame out, seconds.
    pub latency_s: Histogram,
    /// Time of one run of the classifier, seconds.
    pub inference_s: Histogram,
    /// Age of the heat when it was last painted, seconds.
    pub explanation_age_s: Option<f64>,
    /// Frames that wait, by queue.
    pub queue_depth: BTreeMap<String, u64>,
    /// How much further sound is behind the picture than in the source, seconds.
    pub av_offset_s: Option<f64>,
    /// Clients of the RTSP mounts.
    pub rtsp_clients: u64,
}

/// How often values fell into which range.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// Upper ends of the ranges, rising; a last one without end is understood.
    bounds: &'static [f64],
    /// Values per range: one more than there are bounds.
    counts: Vec<u64>,
    sum: f64,
}

impl Histogram {
    /// Upper ends for times around a frame, seconds.
    pub const SECONDS: &'static [f64] = &[
        0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3, 0.5,
        1.0, 2.0, 5.0,
    ];

    /// An empty histogram of ranges that end at `bounds`, which must rise.
    pub fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, counts: vec![0; bounds.len() + 1], sum: 0.0 }
    }

    /// Counts `value`; what is no number is left out.
    pub fn observe(&mut self, value: f64) {
        if value.is_finite() {
            let range = self.bounds.partition_point(|bound| *bound < value);
            if let Some(count) = self.counts.get_mut(range) {
                *count += 1;
            }
            self.sum += value;
        }
    }

    /// Values counted so far.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Sum of the values counted so far.
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// Upper end of each range with the values that fell into it; the last end
    /// is infinite.
    pub fn ranges(&self) -> impl Iterator<Item = (f64, u64)> {
        let ends = self.bounds.iter().copied().chain([f64::INFINITY]);
        ends.zip(self.counts.iter().copied())
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new(Self::SECONDS)
    }
}
