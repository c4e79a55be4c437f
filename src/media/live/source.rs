//! Opens a live source once: from its address to decoded pictures and packets
//! of sound. Whoever opens it watches over it, and opens another one when this
//! one ends, fails or falls silent.
//!
//! ```text
//! rtspsrc ─ depayloader ──────────────┐
//! srtsrc | udpsrc | souphttpsrc |     ├─ queue ─ parser ─ decoder ─ ... ─ appsink
//! filesrc ─ typefind ─ demultiplexer ─┘
//!                                     └─ appsink (sound; see `sound`)
//! ```
//!
//! Branches are built by hand, so that a fault in the sound never reaches the
//! picture.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError};
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_video as gst_video;

use super::super::elements::{best, make, running_time};
use super::super::hearing::Hearing;
use super::super::kind::{describe_io, is_video, kind_of, sentence};
use super::super::source::{link, sink_silently, start};
use super::super::{Error, Frame, patience};
use super::inputs::{live_demuxer, test_pattern, udp, unreachable_because};
use super::sound::{Pumped, Sound, add_sound};
use super::splices;
use super::video::{PictureFormat, add_branch};
use crate::clock::MediaClock;
use crate::config::{SourceKind, SourceUri, Transport};
use crate::sync_cell::Locked;
use crate::timeline::Cue;

/// How long a server may take to answer.
const CONNECT_SECONDS: u32 = 10;
/// What is said of a server that nobody vouches for.
const UNTRUSTED: &str = "its certificate cannot be trusted: nobody known vouches for it, or it has \
                         expired or is for another name; with live.check_certificates = false it \
                         is taken all the same";

/// A decoded picture and when it left the decoder.
#[derive(Clone, Debug)]
pub struct LiveFrame {
    /// The picture; its time counts from the opening of the source.
    pub frame: Frame,
    /// When it left the decoder.
    pub arrived: Instant,
    /// Number of the opening it comes from.
    pub opening: u64,
    /// Its time as the source has it, nanoseconds.
    pub source_ns: i64,
}

/// Where pictures and sound go. The newest win: when the queue is full, the
/// oldest picture in it is dropped and counted.
#[derive(Clone, Debug)]
pub struct Outlet {
    /// Takes pictures.
    pub frames: Sender<LiveFrame>,
    /// The other end of `frames`.
    pub waiting: Receiver<LiveFrame>,
    /// Takes sound.
    pub sound: Sender<Sound>,
    /// Pictures dropped because the queue was full.
    pub dropped: Arc<AtomicU64>,
}

/// How to open a source.
#[derive(Clone, Debug)]
pub struct LiveOptions {
    /// How an RTSP source sends.
    pub transport: Transport,
    /// How late packets may be.
    pub jitter: Duration,
    /// Format that pictures are brought to; that of the first one when unset.
    pub format: Option<PictureFormat>,
    /// False to leave sound out.
    pub with_sound: bool,
    /// False to take servers whose certificate cannot be trusted.
    pub check_certificates: bool,
    /// Number of this opening.
    pub opening: u64,
}

/// What a source reports beside its pictures.
#[derive(Debug, PartialEq, Eq)]
pub enum LiveEvent {
    /// It ended.
    Eos,
    /// It failed; the sentence holds no credentials.
    Failed(String),
}

/// State shared with GStreamer's threads.
pub(super) struct Shared {
    pub(super) options: LiveOptions,
    /// Played by the clock: files, and segments from web servers, which would be
    /// read as fast as they come.
    pub(super) paced: bool,
    pub(super) outlet: Outlet,
    pub(super) clock: Locked<MediaClock>,
    /// Announced splices that nobody has asked for yet.
    pub(super) splices: Locked<Vec<Cue>>,
    /// Of the sound that is passed on.
    pub(super) hearing: Locked<Option<Arc<Hearing>>>,
    pub(super) closed: AtomicBool,
    has_video: AtomicBool,
    has_sound: AtomicBool,
    frames: AtomicU64,
    last_pts: AtomicU64,
    failure: Locked<Option<Error>>,
    pub(super) track: Locked<Option<Pumped>>,
}

impl Shared {
    /// Hands a picture on, in the place of the oldest that waits if need be.
    pub(super) fn deliver(
        &self,
        sample: &gst::Sample,
        info: gst_video::VideoInfo,
        arrived: Instant,
    ) {
        let Some((frame, source_ns)) = self.frame(sample, info) else { return };
        self.frames.fetch_add(1, Relaxed);
        let opening = self.options.opening;
        let mut newest = LiveFrame { frame, arrived, opening, source_ns };
        while !self.closed.load(Relaxed) {
            match self.outlet.frames.try_send(newest) {
                Ok(()) | Err(TrySendError::Disconnected(_)) => return,
                Err(TrySendError::Full(back)) => {
                    newest = back;
                    if self.outlet.waiting.try_recv().is_ok() {
                        self.outlet.dropped.fetch_add(1, Relaxed);
                    }
                }
            }
        }
    }

    /// A picture, and its time as the source has it.
    fn frame(&self, sample: &gst::Sample, info: gst_video::VideoInfo) -> Option<(Frame, i64)> {
        let buffer = sample.buffer_owned()?;
        let duration = buffer.duration().map(gst::ClockTime::nseconds);
        let raw = running_time(sample, buffer.pts()?)?;
        let mut pts = self.clock.lock().map(0, raw, duration.unwrap_or(0))?;
        let last = self.last_pts.load(Relaxed);
        if self.frames.load(Relaxed) > 0 && pts.0 <= last {
            pts.0 = last + 1_000_000;
        }
        self.last_pts.store(pts.0, Relaxed);
        Some((Frame { pts, duration, buffer, info }, raw))
    }
}

/// A live source that is open.
pub struct LiveSource {
    uri: SourceUri,
    pipeline: gst::Pipeline,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for LiveSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LiveSource").field("uri", &self.uri).finish_non_exhaustive()
    }
}

impl LiveSource {
    /// Opens `uri`. Returns before anything is known about it; pictures come
    /// to `outlet`, news to [`poll`](Self::poll).
    ///
    /// # Errors
    /// When the source cannot even be tried.
    pub fn open(uri: &SourceUri, options: LiveOptions, outlet: Outlet) -> Result<Self, Error> {
        let shared = Arc::new(Shared {
            paced: matches!(uri.kind, SourceKind::File(_) | SourceKind::Http),
            options,
            outlet,
            clock: Locked::default(),
            splices: Locked::default(),
            hearing: Locked::default(),
            closed: AtomicBool::new(false),
            has_video: AtomicBool::new(false),
            has_sound: AtomicBool::new(false),
            frames: AtomicU64::new(0),
            last_pts: AtomicU64::new(0),
            failure: Locked::default(),
            track: Locked::default(),
        });
        let pipeline = gst::Pipeline::new();
        let source = Self { uri: uri.clone(), pipeline, shared };
        source.build()?;
        if source.pipeline.set_state(gst::State::Playing).is_err() {
            let why = match source.poll(Duration::ZERO) {
                Some(LiveEvent::Failed(why)) => why,
                _ => format!("{uri}: cannot be opened"),
            };
            return Err(Error::Live(why));
        }
        Ok(source)
    }

    fn build(&self) -> Result<(), Error> {
        let (pipeline, shared) = (&self.pipeline, &self.shared);
        let add = |element: &gst::Element| {
            pipeline.add(element).map_err(|e| Error::pipeline("adding elements", e))
        };
        let first = match &self.uri.kind {
            SourceKind::Rtsp => {
                let rtsp = self.rtsp()?;
                add(&rtsp)?;
                plug_pads(pipeline, &rtsp, shared);
                return Ok(());
            }
            SourceKind::Srt => {
                let srt = make("srtsrc")?;
                srt.set_property("uri", self.uri.secret());
                // Whoever watches over the source opens it again, and knows why; and
                // libsrt may crash when it connects while it closes.
                srt.set_property("auto-reconnect", false);
                let jitter = shared.options.jitter.as_millis();
                srt.set_property("latency", i32::try_from(jitter).unwrap_or(i32::MAX));
                srt
            }
            SourceKind::Udp { host, port } => udp(host, *port, self.uri.interface())?,
            SourceKind::Rtp { host, port } => {
                let udp = udp(host, *port, self.uri.interface())?;
                // RFC 3551, table 5: transport streams are payload type 33.
                let caps = gst::Caps::builder("application/x-rtp")
                    .field("media", "video")
                    .field("clock-rate", 90_000i32)
                    .field("encoding-name", "MP2T")
                    .field("payload", 33i32)
                    .build();
                udp.set_property("caps", &caps);
                let jitter = make("rtpjitterbuffer")?;
                let ms = shared.options.jitter.as_millis();
                jitter.set_property("latency", u32::try_from(ms).unwrap_or(u32::MAX));
                super::super::elements::add_chain(pipeline, &[&udp, &jitter])?;
                let pad = jitter.static_pad("src").ok_or(Error::Map)?;
                return plug(pipeline, &pad, &caps, shared);
            }
            SourceKind::Http => {
                let http = make("souphttpsrc")?;
                http.set_property("location", self.uri.secret());
                http.set_property("timeout", CONNECT_SECONDS);
                http.set_property("is-live", true);
                http.set_property("ssl-strict", shared.options.check_certificates);
                http
            }
            SourceKind::File(path) => {
                let why = |e: &std::io::Error| {
                    Error::Live(format!("{}: {}", path.display(), describe_io(e)))
                };
                std::fs::File::open(path).map_err(|e| why(&e))?;
                let file = make("filesrc")?;
                file.set_property("location", path);
                file
            }
            SourceKind::Test(pattern) => {
                let (test, filter) = test_pattern(pattern)?;
                super::super::elements::add_chain(pipeline, &[&test, &filter])?;
                let pad = filter.static_pad("src").ok_or(Error::Map)?;
                shared.has_video.store(true, Relaxed);
                let caps = gst::Caps::builder("video/x-raw").build();
                return add_branch(pipeline, &pad, &caps, shared);
            }
        };
        add(&first)?;
        let pad = first.static_pad("src").ok_or(Error::Map)?;
        find_type(pipeline, &pad, shared)
    }

    fn rtsp(&self) -> Result<gst::Element, Error> {
        let options = &self.shared.options;
        let rtsp = make("rtspsrc")?;
        rtsp.set_property("location", self.uri.secret());
        let jitter = u32::try_from(options.jitter.as_millis()).unwrap_or(u32::MAX);
        rtsp.set_property("latency", jitter);
        rtsp.set_property("drop-on-latency", true);
        let microseconds = u64::from(CONNECT_SECONDS) * 1_000_000;
        rtsp.set_property("tcp-timeout", microseconds);
        rtsp.set_property("timeout", microseconds);
        rtsp.set_property_from_str(
            "protocols",
            match options.transport {
                Transport::Tcp => "tcp",
                Transport::Udp => "udp-mcast+udp",
            },
        );
        // Asked about certificates that cannot be trusted only.
        let (accepts, failed) = (!options.check_certificates, Arc::downgrade(&self.shared));
        rtsp.connect("accept-certificate", false, move |_| {
            if !accepts && let Some(shared) = failed.upgrade() {
                *shared.failure.lock() = Some(Error::Live(UNTRUSTED.to_owned()));
            }
            Some(accepts.to_value())
        });
        Ok(rtsp)
    }

    /// The next thing the source has to report, waiting at most `timeout`.
    pub fn poll(&self, timeout: Duration) -> Option<LiveEvent> {
        let bus = self.pipeline.bus()?;
        let wanted = [gst::MessageType::Eos, gst::MessageType::Error];
        let message = bus.timed_pop_filtered(patience(timeout), &wanted)?;
        let failed = |why: String| LiveEvent::Failed(self.uri.without_secrets(&why));
        Some(match message.view() {
            gst::MessageView::Error(error) => failed(match self.shared.failure.take() {
                Some(failure) => format!("{}: {failure}", self.uri),
                None => self.explain(error),
            }),
            _ if self.frames() > 0 => LiveEvent::Eos,
            _ if self.has_only_sound() => failed(self.only_sound()),
            _ if !self.shared.has_video.load(Relaxed) => {
                failed(format!("{}: there is no video in it", self.uri))
            }
            _ => failed(format!("{}: it ended before a picture could be decoded", self.uri)),
        })
    }

    /// Pictures that came so far.
    pub fn frames(&self) -> u64 {
        self.shared.frames.load(Relaxed)
    }

    /// What sound and stream said about boundaries since this was last asked:
    /// silence, changes of the sound's channels, and announced splices (SCTE-35).
    /// Times count from the opening of the source; a splice may be yet to come.
    pub fn take_cues(&self) -> Vec<Cue> {
        let mut cues = std::mem::take(&mut *self.shared.splices.lock());
        let hearing = self.shared.hearing.lock().clone();
        cues.extend(hearing.map(|hearing| hearing.take()).unwrap_or_default());
        cues
    }

    /// Repairs of the source's clock so far.
    pub fn clock_repairs(&self) -> usize {
        self.shared.clock.lock().repairs()
    }

    /// True when sound has come, and no track that could be a picture.
    pub fn has_only_sound(&self) -> bool {
        self.shared.has_sound.load(Relaxed) && !self.shared.has_video.load(Relaxed)
    }

    /// The sentence for a source [without a picture](Self::has_only_sound).
    pub fn only_sound(&self) -> String {
        format!("{}: it has sound and no picture; Heatcast annotates video", self.uri)
    }

    /// Plays a file again from its start. False when it cannot be done.
    pub fn rewind(&self) -> bool {
        let flags = gst::SeekFlags::FLUSH | gst::SeekFlags::KEY_UNIT;
        // Sinks that do not wait for a first picture do not reset the time that
        // playing counts from either: without the pause, all would be late.
        self.pipeline.set_state(gst::State::Paused).is_ok()
            && self.pipeline.seek_simple(flags, gst::ClockTime::ZERO).is_ok()
            && {
                self.pipeline.set_start_time(gst::ClockTime::ZERO);
                self.pipeline.set_state(gst::State::Playing).is_ok()
            }
    }

    /// Closes the source. May take a while when a server does not answer.
    pub fn close(&self) {
        self.shared.closed.store(true, Relaxed);
        let track = self.shared.track.take();
        if let Some((track, _)) = &track {
            track.end();
        }
        let hearing = self.shared.hearing.take();
        if let Some(hearing) = hearing {
            hearing.stop();
        }
        let _ = self.pipeline.set_state(gst::State::Null);
        if let Some((_, Some(pump))) = track {
            let _ = pump.join();
        }
    }

    /// Turns an error message of an element into a sentence about the source.
    fn explain(&self, message: &gst::message::Error) -> String {
        let (uri, error) = (&self.uri, message.error());
        let text = error.to_string();
        let debug = message.debug().unwrap_or_default();
        let detail = debug.lines().last().unwrap_or_default().trim();
        let whole = format!("{text} {debug}");
        let says = |word: &str| whole.contains(word);
        let what = if error.matches(gst::ResourceError::NotAuthorized) || says("Unauthorized") {
            "the server wants another user or password (401)".to_owned()
        } else if says("Not Found") || error.matches(gst::ResourceError::NotFound) {
            "the server has no such stream (404); check the path".to_owned()
        } else if self.frames() == 0 && self.uri.kind == SourceKind::Srt {
            format!("no SRT connection ({detail}); check address, mode and passphrase")
        } else if says("certificate") {
            UNTRUSTED.to_owned()
        } else if self.frames() == 0
            && let Some(why) = self.uri.server().and_then(unreachable_because)
        {
            why
        } else if says("imeout") || says("timed out") {
            "the server does not answer; check address and network".to_owned()
        } else {
            sentence(&text, detail)
        };
        if self.frames() > 0 {
            format!("{uri}: broke off: {what}")
        } else {
            format!("{uri}: {what}")
        }
    }
}

impl Drop for LiveSource {
    fn drop(&mut self) {
        self.close();
    }
}

/// Plugs every pad that the element will have.
fn plug_pads(pipeline: &gst::Pipeline, element: &gst::Element, shared: &Arc<Shared>) {
    let (weak, shared) = (pipeline.downgrade(), Arc::clone(shared));
    element.connect_pad_added(move |element, pad| {
        let Some(pipeline) = weak.upgrade() else { return };
        if pad.direction() != gst::PadDirection::Src {
            return;
        }
        let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
        report(element, &shared, plug(&pipeline, pad, &caps, &shared));
    });
}

/// Keeps a failure for [`LiveSource::poll`], and wakes whoever polls.
fn report(element: &gst::Element, shared: &Shared, result: Result<(), Error>) {
    if let Err(error) = result {
        let text = error.to_string();
        *shared.failure.lock() = Some(error);
        gst::element_error!(element, gst::StreamError::Failed, ("{text}"));
    }
}

/// Leads what comes out of `pad` to where it belongs, by what it is.
fn plug(
    pipeline: &gst::Pipeline,
    pad: &gst::Pad,
    caps: &gst::Caps,
    shared: &Arc<Shared>,
) -> Result<(), Error> {
    let name = caps.structure(0).map_or("", |s| s.name().as_str());
    if name == "application/x-rtp" {
        return depay(pipeline, pad, caps, shared);
    }
    if caps.is_any() || caps.is_empty() {
        return find_type(pipeline, pad, shared);
    }
    let is_picture = is_video(caps) || name.starts_with("image/");
    if name.starts_with("audio/") {
        shared.has_sound.store(true, Relaxed);
        if shared.options.with_sound && shared.track.lock().is_none() {
            return add_sound(pipeline, pad, caps, shared);
        }
        return sink_silently(pipeline, pad);
    }
    if !is_picture && let Some(demuxer) = live_demuxer(name, caps)? {
        pipeline.add(&demuxer).map_err(|e| Error::pipeline("adding elements", e))?;
        plug_pads(pipeline, &demuxer, shared);
        link(pad, &demuxer)?;
        return start(&[&demuxer]);
    }
    if is_picture || name.starts_with("video/") {
        if shared.has_video.swap(true, Relaxed) {
            return sink_silently(pipeline, pad);
        }
        splices::watch(pad, shared);
        return add_branch(pipeline, pad, caps, shared);
    }
    if ["text/", "subpicture/", "application/x-teletext", "closedcaption/", "meta/", "private/"]
        .iter()
        .any(|kind| name.starts_with(kind))
    {
        return sink_silently(pipeline, pad);
    }
    if shared.has_video.load(Relaxed) || shared.has_sound.load(Relaxed) {
        // Something beside them that nobody here wants.
        return sink_silently(pipeline, pad);
    }
    Err(Error::Live(format!("it sends {}, which Heatcast cannot read", kind_of(caps))))
}

fn find_type(pipeline: &gst::Pipeline, pad: &gst::Pad, shared: &Arc<Shared>) -> Result<(), Error> {
    let typefind = make("typefind")?;
    let (weak, found) = (pipeline.downgrade(), Arc::clone(shared));
    typefind.connect("have-type", false, move |values| {
        let element = values.first()?.get::<gst::Element>().ok()?;
        let caps = values.get(2)?.get::<gst::Caps>().ok()?;
        let (pipeline, pad) = (weak.upgrade()?, element.static_pad("src")?);
        report(&element, &found, plug(&pipeline, &pad, &caps, &found));
        None
    });
    pipeline.add(&typefind).map_err(|e| Error::pipeline("adding elements", e))?;
    link(pad, &typefind)?;
    start(&[&typefind])
}

fn depay(
    pipeline: &gst::Pipeline,
    pad: &gst::Pad,
    caps: &gst::Caps,
    shared: &Arc<Shared>,
) -> Result<(), Error> {
    let field = |name| caps.structure(0).and_then(|s| s.get::<String>(name).ok());
    let media = field("media").unwrap_or_default();
    let Some(depay) = best(gst::ElementFactoryType::DEPAYLOADER, caps) else {
        if media == "video" {
            let codec = field("encoding-name").unwrap_or_else(|| "an unnamed codec".to_owned());
            return Err(Error::NoDecoder { codec });
        }
        return sink_silently(pipeline, pad);
    };
    pipeline.add(&depay).map_err(|e| Error::pipeline("adding elements", e))?;
    link(pad, &depay)?;
    let src = depay.static_pad("src").ok_or(Error::Map)?;
    // What is unpacked is known with its first packet only; one payload format
    // may hold pictures and sound (MPEG-4, RFC 3640).
    let possible = src.query_caps(None);
    let kind = format!("{media}/");
    let out = possible.iter().filter(|s| s.name().starts_with(&kind)).map(ToOwned::to_owned);
    let out: gst::Caps = out.collect();
    plug(pipeline, &src, if out.is_empty() { &possible } else { &out }, shared)?;
    start(&[&depay])
}
