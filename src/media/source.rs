//! Opens a recording and decodes its video to upright, progressive I420 frames:
//!
//! ```text
//! filesrc - demuxer -+- queue - parser - decoder - videoconvert - deinterlace - videoflip - videoscale - appsink
//!                    +- appsink (one per other track, see `track`)
//! ```
//!
//! The branch is built by hand, pad by pad, so that a fault in one track never
//! reaches another one.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;

use super::elements::{
    add_chain, codec_name, demuxer_for, make, parser_for, running_time, video_decoder_for,
};
use super::hearing::Hearing;
use super::kind::{container_caps, describe_io, is_video, kind_of, sentence};
use super::track::Track;
use super::ts_times::TsTimes;
use super::upright::{Upright, fix, info_of, picture_sink};
use super::{Container, Error, Frame, Tags, patience, tags};
use crate::clock::MediaClock;
use crate::frame::Size;
use crate::sync_cell::Locked;
use crate::timeline::{Cue, CueKind};

/// Compressed video that may wait for the decoder. Sound that a file stores
/// late is found as long as it comes within this many bytes of video.
const COMPRESSED_BYTES: u32 = 6 << 20;
/// Decoded frames that may wait for the compositor.
const DECODED_FRAMES: usize = 1;

pub(super) const NO_FRAME: &str =
    "no frame could be decoded; the video is damaged or holds no complete picture to start from";

/// What to take from a recording.
#[derive(Clone, Debug)]
pub struct SourceOptions {
    /// Programme (service) of a transport stream; the first when unset.
    pub program: Option<u32>,
    /// The container the tracks will go to: it decides what can be copied.
    pub container: Container,
    /// True to leave every other track out: nobody will read them.
    pub video_only: bool,
    /// Whether the first sound track is listened to, for [`Source::cues`].
    pub listen: bool,
}

/// What a source reports beside its frames.
#[derive(Debug)]
pub enum SourceEvent {
    /// The end, as it should be.
    Eos,
    /// The recording cannot be read on.
    Failed(String),
}

/// State shared with GStreamer's streaming threads.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) clock: Locked<MediaClock>,
    /// Set when the compressed video queue ran full: whatever track has shown
    /// nothing by now is not worth waiting for.
    pub(super) video_is_ahead: AtomicBool,
    frames: Locked<Option<Sender<Frame>>>,
    tracks: Locked<Vec<Arc<Track>>>,
    tags: Tags,
    /// Of the first sound track, where it is listened to.
    hearing: Locked<Option<Arc<Hearing>>>,
    has_video: AtomicBool,
    left_out: Locked<Vec<String>>,
    failure: Locked<Option<Error>>,
    decoded: AtomicU64,
    damaged: AtomicU64,
    /// Size of the first frame.
    picture_size: OnceLock<Size>,
    changed_format: AtomicBool,
    last_pts: AtomicU64,
}

/// A recording being decoded.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    pipeline: gst::Pipeline,
    shared: Arc<Shared>,
    ts_times: Option<Arc<TsTimes>>,
}

impl Source {
    /// Opens `path` and starts decoding into the returned queue. The queue
    /// closes at the end of the video, whatever ended it; [`Source::poll`]
    /// tells which.
    ///
    /// # Errors
    /// When the file cannot be read or is no recording.
    pub fn open(path: &Path, options: &SourceOptions) -> Result<(Self, Receiver<Frame>), Error> {
        let not = |what: String| Error::NotARecording { path: path.to_owned(), what };
        let meta = std::fs::metadata(path).map_err(|e| not(describe_io(&e)))?;
        if meta.is_dir() {
            return Err(not("is a folder; name one recording in it".to_owned()));
        }
        if meta.is_file() && meta.len() == 0 {
            return Err(not("is empty; there is nothing to annotate".to_owned()));
        }
        std::fs::File::open(path).map_err(|e| not(describe_io(&e)))?;
        let container = container_caps(path)?;

        let (sender, receiver) = bounded(DECODED_FRAMES);
        let shared = Arc::new(Shared {
            clock: Locked::default(),
            video_is_ahead: AtomicBool::new(false),
            frames: Locked::new(Some(sender)),
            tracks: Locked::default(),
            tags: Tags::default(),
            hearing: Locked::default(),
            has_video: AtomicBool::new(false),
            left_out: Locked::default(),
            failure: Locked::default(),
            decoded: AtomicU64::new(0),
            damaged: AtomicU64::new(0),
            picture_size: OnceLock::new(),
            changed_format: AtomicBool::new(false),
            last_pts: AtomicU64::new(0),
        });
        let pipeline = gst::Pipeline::new();
        let filesrc = make("filesrc")?;
        filesrc.set_property("location", path);
        let mut ts_times = None;
        if is_video(&container) {
            // A bare elementary stream: there is nothing to demultiplex.
            pipeline.add(&filesrc).map_err(|e| Error::pipeline("adding elements", e))?;
            let pad = filesrc.static_pad("src").ok_or(Error::Map)?;
            add_video_branch(&pipeline, &pad, &container, &shared)?;
        } else {
            let demuxer = demuxer_for(&container).ok_or_else(|| {
                not(format!("is {}, which Heatcast cannot read", kind_of(&container)))
            })?;
            if let Some(program) = options.program {
                if !demuxer.has_property("program-number") {
                    return Err(not("holds no programmes; leave --program out".to_owned()));
                }
                let number = i32::try_from(program).unwrap_or(i32::MAX);
                demuxer.set_property("program-number", number);
            }
            add_chain(&pipeline, &[&filesrc, &demuxer])?;
            let is_ts = demuxer.factory().is_some_and(|f| f.name() == "tsdemux");
            ts_times = if is_ts { TsTimes::open(path, None).ok().map(Arc::new) } else { None };
            connect_demuxer(&pipeline, &demuxer, &shared, options.clone(), ts_times.clone());
        }
        let source = Self { path: path.to_owned(), pipeline, shared, ts_times };
        source.pipeline.set_state(gst::State::Playing).map_err(|_| {
            let why = match source.poll(Duration::ZERO) {
                Some(SourceEvent::Failed(why)) => Some(why),
                _ => None,
            };
            not(why.unwrap_or_else(|| "cannot be opened".to_owned()))
        })?;
        Ok((source, receiver))
    }

    /// The next thing the source has to report, waiting at most `timeout`.
    pub fn poll(&self, timeout: Duration) -> Option<SourceEvent> {
        let timeout = patience(timeout);
        let bus = self.pipeline.bus()?;
        let wanted = [gst::MessageType::Eos, gst::MessageType::Error];
        let message = bus.timed_pop_filtered(timeout, &wanted)?;
        let event = match message.view() {
            gst::MessageView::Error(e) => SourceEvent::Failed(
                self.shared.failure.take().map_or_else(|| self.explain(e), |f| f.to_string()),
            ),
            _ if !self.shared.has_video.load(Relaxed) => SourceEvent::Failed(format!(
                "{}: no video track; Heatcast annotates video",
                self.path.display()
            )),
            _ if self.frames_decoded() == 0 => {
                SourceEvent::Failed(format!("{}: {NO_FRAME}", self.path.display()))
            }
            _ => SourceEvent::Eos,
        };
        Some(event)
    }

    /// Turns an error message of an element into a sentence about the file.
    fn explain(&self, error: &gst::message::Error) -> String {
        let path = self.path.display();
        let text = error.error().to_string();
        let debug = error.debug().unwrap_or_default();
        let detail = debug.lines().last().unwrap_or_default().trim();
        if self.frames_decoded() > 0 {
            return format!("{path}: cannot be read on: {}", sentence(&text, detail));
        }
        if text.contains("No valid frames") {
            return format!("{path}: {NO_FRAME}");
        }
        if !self.shared.has_video.load(Relaxed) && !self.shared.tracks.lock().is_empty() {
            return format!("{path}: no video track; Heatcast annotates video");
        }
        format!("{path}: no video could be read: {}", sentence(&text, detail))
    }

    /// Every other track found so far.
    pub fn tracks(&self) -> Vec<Arc<Track>> {
        self.shared.tracks.lock().clone()
    }

    /// What the container says of the recording, as far as it has been read.
    pub fn tags(&self) -> Tags {
        self.shared.tags.clone()
    }

    /// Tracks that will not reach the output, each with the reason.
    pub fn left_out(&self) -> Vec<String> {
        self.shared.left_out.lock().clone()
    }

    /// Waits until the track has a packet or will not have one soon.
    pub fn wait_for(&self, track: &Track) {
        track.wait_for_first_packet(|| self.shared.video_is_ahead.load(Relaxed));
    }

    /// True when the demultiplexer is far ahead of the output: a silent track
    /// must not hold the output up any longer.
    pub fn video_is_ahead(&self) -> bool {
        self.shared.video_is_ahead.load(Relaxed)
    }

    /// What sound and stream say about boundaries, once the recording was read:
    /// silence, changes of the sound's channels, and announced splices (SCTE-35).
    /// Waits until all was heard, as long as `patience`.
    pub fn cues(&self, patience: Duration) -> Vec<Cue> {
        let hearing = self.shared.hearing.lock().clone();
        let mut cues = hearing.map(|hearing| hearing.finish(patience)).unwrap_or_default();
        let splices = self.ts_times.as_ref().map(|times| times.splices()).unwrap_or_default();
        cues.extend(splices.into_iter().map(|at| Cue::at(CueKind::Scte35, at)));
        cues
    }

    /// Length of the recording in nanoseconds, when the container says.
    pub fn duration(&self) -> Option<u64> {
        self.pipeline.query_duration::<gst::ClockTime>().map(gst::ClockTime::nseconds)
    }

    /// Frames decoded so far.
    pub fn frames_decoded(&self) -> u64 {
        self.shared.decoded.load(Relaxed)
    }

    /// Frames the decoder marked as damaged so far.
    pub fn frames_damaged(&self) -> u64 {
        self.shared.damaged.load(Relaxed)
    }

    /// Leaps of the timestamps repaired so far.
    pub fn clock_repairs(&self) -> usize {
        self.shared.clock.lock().repairs()
    }

    /// Size of the first frame, in pixels.
    pub fn picture_size(&self) -> Option<Size> {
        self.shared.picture_size.get().copied()
    }

    /// True when the picture size or shape changed mid-stream (the frames were
    /// scaled to the first one's).
    pub fn changed_format(&self) -> bool {
        self.shared.changed_format.load(Relaxed)
    }

    /// Stops decoding and closes all queues; what was queued can still be read.
    pub fn stop(&self) {
        self.shared.frames.take();
        for track in self.tracks() {
            track.end();
        }
        let hearing = self.shared.hearing.lock().clone();
        if let Some(hearing) = hearing {
            hearing.stop();
        }
        // Setting the state waits for the streaming threads: those that wait in
        // a queue of ours go on because the receivers are being drained.
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Builds a branch for every track the demultiplexer finds.
fn connect_demuxer(
    pipeline: &gst::Pipeline,
    demuxer: &gst::Element,
    shared: &Arc<Shared>,
    options: SourceOptions,
    ts_times: Option<Arc<TsTimes>>,
) {
    let (weak, shared) = (pipeline.downgrade(), Arc::clone(shared));
    demuxer.connect_pad_added(move |demuxer, pad| {
        if let Some(times) = &ts_times {
            times.restore(pad);
        }
        let Some(pipeline) = weak.upgrade() else { return };
        let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
        let name = caps.structure(0).map_or("", |s| s.name().as_str());
        let built = if name.starts_with("video/") || name.starts_with("image/") {
            if shared.has_video.swap(true, Relaxed) {
                let what = format!("a further video track ({})", codec_name(&caps));
                shared.left_out.lock().push(what);
                sink_silently(&pipeline, pad)
            } else {
                add_video_branch(&pipeline, pad, &caps, &shared)
            }
        } else if options.video_only {
            sink_silently(&pipeline, pad)
        } else {
            add_track(&pipeline, pad, &caps, &shared, &options)
        };
        if let Err(error) = built {
            let text = error.to_string();
            *shared.failure.lock() = Some(error);
            // The message wakes the supervisor, which asks for the failure.
            gst::element_error!(demuxer, gst::StreamError::Failed, ("{text}"));
        }
    });
}

pub(super) fn link(pad: &gst::Pad, element: &gst::Element) -> Result<(), Error> {
    let sink = element.static_pad("sink").ok_or(Error::Map)?;
    pad.link(&sink).map(|_| ()).map_err(|e| Error::pipeline("linking a track", e))
}

pub(super) fn start(elements: &[&gst::Element]) -> Result<(), Error> {
    for element in elements {
        element.sync_state_with_parent().map_err(|e| Error::pipeline("starting a track", e))?;
    }
    Ok(())
}

pub(super) fn sink_silently(pipeline: &gst::Pipeline, pad: &gst::Pad) -> Result<(), Error> {
    let sink = make("fakesink")?;
    sink.set_property("sync", false);
    sink.set_property("async", false);
    pipeline.add(&sink).map_err(|e| Error::pipeline("adding elements", e))?;
    link(pad, &sink)?;
    start(&[&sink])
}

fn add_track(
    pipeline: &gst::Pipeline,
    pad: &gst::Pad,
    caps: &gst::Caps,
    shared: &Arc<Shared>,
    options: &SourceOptions,
) -> Result<(), Error> {
    let mut tracks = shared.tracks.lock();
    let lane = tracks.len() + 1;
    let track = match Track::plan(lane, caps, pad, options.container) {
        Ok(track) => Arc::new(track),
        Err(reason) => {
            drop(tracks);
            shared.left_out.lock().push(reason);
            return sink_silently(pipeline, pad);
        }
    };
    tracks.push(Arc::clone(&track));
    drop(tracks);
    let mut heard = shared.hearing.lock();
    let listens = options.listen && track.is_audio && heard.is_none();
    let hearing = listens.then(|| Arc::new(Hearing::new(lane)));
    if hearing.is_some() {
        heard.clone_from(&hearing);
    }
    drop(heard);
    let sink = gst_app::AppSink::builder().sync(false).async_(false).build();
    sink.set_property("enable-last-sample", false);
    tags::collect(sink.upcast_ref(), &track.tags, &shared.tags.recording);
    let (on_packet, on_eos) = (Arc::clone(&track), track);
    let ends = hearing.clone();
    let shared = Arc::clone(shared);
    sink.set_callbacks(
        gst_app::AppSinkCallbacks::builder()
            .new_sample(move |sink| {
                let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                on_packet.push(&sample, &shared.clock);
                if let Some(hearing) = &hearing {
                    hearing.push(&sample, &shared.clock);
                }
                Ok(gst::FlowSuccess::Ok)
            })
            .eos(move |_| {
                on_eos.end();
                if let Some(hearing) = &ends {
                    hearing.end();
                }
            })
            .build(),
    );
    let sink = sink.upcast::<gst::Element>();
    pipeline.add(&sink).map_err(|e| Error::pipeline("adding elements", e))?;
    link(pad, &sink)?;
    start(&[&sink])
}

fn add_video_branch(
    pipeline: &gst::Pipeline,
    pad: &gst::Pad,
    caps: &gst::Caps,
    shared: &Arc<Shared>,
) -> Result<(), Error> {
    shared.has_video.store(true, Relaxed);
    let queue = make("queue")?;
    queue.set_property("max-size-buffers", 0u32);
    queue.set_property("max-size-time", 0u64);
    queue.set_property("max-size-bytes", COMPRESSED_BYTES);
    tags::collect(&queue, &shared.tags.video, &shared.tags.recording);
    let ahead = Arc::clone(shared);
    queue.connect("overrun", false, move |_| {
        ahead.video_is_ahead.store(true, Relaxed);
        None
    });
    let decoder =
        video_decoder_for(caps).ok_or_else(|| Error::NoDecoder { codec: codec_name(caps) })?;
    // Motion-adaptive, and unlike `yadif` of GStreamer 1.22 it keeps every frame's time.
    let upright = Upright::new("greedyh", None)?;
    watch_size(&upright.scale, shared);
    let sink = picture_sink(false);
    sink.set_callbacks(frame_callbacks(shared, &upright.fixed));
    let sink = sink.upcast::<gst::Element>();

    let mut chain = vec![&queue];
    let parser = parser_for(caps);
    chain.extend(&parser);
    chain.push(&decoder);
    chain.extend(&upright.chain);
    chain.push(&sink);
    add_chain(pipeline, &chain)?;
    chain.reverse();
    start(&chain)?;
    link(pad, &queue)
}

/// Notes when the decoded size changes mid-stream.
fn watch_size(scale: &gst::Element, shared: &Arc<Shared>) {
    let Some(pad) = scale.static_pad("sink") else { return };
    let shared = Arc::clone(shared);
    let first = Locked::new(None::<gst_video::VideoInfo>);
    pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, probe| {
        if let Some(gst::EventView::Caps(event)) = probe.event().map(|e| e.view())
            && let Ok(info) = gst_video::VideoInfo::from_caps(event.caps())
        {
            let mut first = first.lock();
            let size = |i: &gst_video::VideoInfo| (i.width(), i.height(), i.par());
            // Before the first frame the size may still settle (rotation does).
            if shared.picture_size.get().is_none() {
                *first = Some(info);
            } else if first.as_ref().is_some_and(|f| size(f) != size(&info)) {
                shared.changed_format.store(true, Relaxed);
            }
        }
        gst::PadProbeReturn::Ok
    });
}

/// Turns decoded buffers into frames on the bounded queue. The first frame
/// fixes size, pixel shape and colours for the whole run.
fn frame_callbacks(shared: &Arc<Shared>, fixed: &gst::Element) -> gst_app::AppSinkCallbacks {
    let (on_frame, on_eos) = (Arc::clone(shared), Arc::clone(shared));
    let fixed = fixed.downgrade();
    let mut first: Option<gst_video::VideoInfo> = None;
    gst_app::AppSinkCallbacks::builder()
        .new_sample(move |sink| {
            let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
            let info = info_of(&sample)?;
            if first.is_none() {
                fix(&fixed, &info);
                let size = Size::new(info.width() as usize, info.height() as usize);
                let _ = on_frame.picture_size.set(size);
                first = Some(info.clone());
            }
            let sender = on_frame.frames.lock().clone().ok_or(gst::FlowError::Eos)?;
            match to_frame(&sample, info, &on_frame) {
                Some(frame) => {
                    on_frame.decoded.fetch_add(1, Relaxed);
                    sender.send(frame).map_err(|_| gst::FlowError::Eos)?;
                }
                None => tracing::trace!("frame before the start of the stream"),
            }
            Ok(gst::FlowSuccess::Ok)
        })
        .eos(move |_| {
            on_eos.frames.take();
        })
        .build()
}

fn to_frame(sample: &gst::Sample, info: gst_video::VideoInfo, shared: &Shared) -> Option<Frame> {
    let buffer = sample.buffer_owned()?;
    let raw = running_time(sample, buffer.pts()?)?;
    let duration = buffer.duration().map(gst::ClockTime::nseconds);
    if buffer.flags().contains(gst::BufferFlags::CORRUPTED) {
        shared.damaged.fetch_add(1, Relaxed);
    }
    let mut pts = shared.clock.lock().map(0, raw, duration.unwrap_or(0))?;
    // Broken streams repeat timestamps; containers want each frame its own.
    let last = shared.last_pts.load(Relaxed);
    if shared.decoded.load(Relaxed) > 0 && pts.0 <= last {
        pts.0 = last + 1_000_000;
    }
    shared.last_pts.store(pts.0, Relaxed);
    Some(Frame { pts, duration, buffer, info })
}
