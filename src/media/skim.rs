//! Reads a recording fast: all its compressed data, but only some of its
//! pictures are decoded, and of the sound only its loudness is kept.
//!
//! ```text
//! filesrc - demuxer -+- queue - parser - appsink ─ choice ─ appsrc - decoder - ... - appsink ─▶ frames
//!                    +- appsink ─ loudness ─▶ levels
//! ```
//!
//! Three pipelines, so that each can be ended alone: reading, pictures, sound.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use crossbeam_channel::{Receiver, Sender, bounded};
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;

use super::elements::{
    add_chain, capsfilter, codec_name, demuxer_for, make, packet_source, parser_for,
    video_decoder_for,
};
use super::feeder::Feeder;
use super::gop::Pick;
use super::kind::{container_caps, describe_io, is_video, kind_of, sentence};
use super::loudness::{Loudness, SOUND_LANE};
use super::parts::{PartReader, Parts, Places};
use super::source::{NO_FRAME, link, sink_silently, start};
use super::ts_times::TsTimes;
use super::upright::{Upright, fix, info_of, picture_sink};
use super::{Error, Frame};
use crate::clock::MediaClock;
use crate::frame::Pts;
use crate::sync_cell::Locked;
use crate::timeline::cues::Level;

/// Compressed video that may wait for the choice, in bytes.
const COMPRESSED_BYTES: u32 = 6 << 20;
/// Bytes of chosen pictures that may wait for the decoder.
const CHOSEN_BYTES: u64 = 2 << 20;
/// Frames that may wait for whoever looks at them.
const FRAMES: usize = 8;
/// Packets of sound whose levels may wait.
const LEVELS: usize = 64;
/// Bytes that are read at a time where parts of a file are.
const CHUNK: usize = 64 << 10;
/// Nanoseconds by which a decoder may move a picture.
const SLACK: u64 = 1_000_000;

/// Frames as they are decoded.
pub type Frames = Receiver<Frame>;
/// Levels of the sound as it is decoded.
pub type Levels = Receiver<Vec<Level>>;

/// What to take from a recording.
#[derive(Clone, Debug)]
pub struct SkimOptions {
    /// Programme (service) of a transport stream; the first when unset.
    pub program: Option<u32>,
    /// Which pictures.
    pub pick: Pick,
    /// Whether the sound is listened to.
    pub sound: bool,
    /// Read only these parts of the file; see [`Skim::places`].
    pub parts: Option<Parts>,
}

/// What the streaming threads share.
#[derive(Debug)]
pub(super) struct Shared {
    path: PathBuf,
    pub(super) clock: Locked<MediaClock>,
    ts_times: Option<Arc<TsTimes>>,
    frames: Locked<Option<Sender<Frame>>>,
    levels: Locked<Option<Sender<Vec<Level>>>>,
    loudness: Locked<Option<Arc<Loudness>>>,
    pictures: Locked<Option<gst::Pipeline>>,
    /// Times of the pictures to be handed on; `None` for all.
    pub(super) wanted: Option<Locked<BTreeSet<u64>>>,
    /// Times of the pictures that need no other one.
    pub(super) keys: Locked<Vec<Pts>>,
    failure: Locked<Option<String>>,
    has_video: AtomicBool,
    pub(super) coded: AtomicU64,
    decoded: AtomicU64,
    damaged: AtomicU64,
    pub(super) reached: AtomicU64,
    last_pts: AtomicU64,
}

impl Shared {
    fn fail(&self, why: String) {
        self.failure.lock().get_or_insert(why);
        self.frames.take();
        self.levels.take();
        let loudness = self.loudness.lock().clone();
        if let Some(loudness) = loudness {
            loudness.end();
        }
    }

    /// Turns an element's error into a sentence about the file.
    fn explain(&self, error: &gst::message::Error) -> String {
        let path = self.path.display();
        let text = error.error().to_string();
        let debug = error.debug().unwrap_or_default();
        let detail = sentence(&text, debug.lines().last().unwrap_or_default());
        if self.decoded.load(Relaxed) > 0 {
            return format!("{path}: cannot be read on: {detail}");
        }
        if !self.has_video.load(Relaxed) && self.loudness.lock().is_some() {
            return self.without_video();
        }
        if text.contains("No valid frames") {
            return format!("{path}: {NO_FRAME}");
        }
        format!("{path}: no video could be read: {detail}")
    }

    fn without_video(&self) -> String {
        format!("{}: no video track; there is nothing to look at", self.path.display())
    }
}

/// A recording being skimmed.
#[derive(Debug)]
pub struct Skim {
    reading: gst::Pipeline,
    shared: Arc<Shared>,
}

impl Skim {
    /// Opens `path` and starts. Both queues close at the end, whatever ended
    /// it; [`Skim::failure`] tells. They must be emptied side by side.
    ///
    /// # Errors
    /// When the file cannot be read or is no recording.
    pub fn open(path: &Path, options: &SkimOptions) -> Result<(Self, Frames, Levels), Error> {
        let not = |what: String| Error::NotARecording { path: path.to_owned(), what };
        let meta = std::fs::metadata(path).map_err(|e| not(describe_io(&e)))?;
        if meta.is_dir() {
            return Err(not("is a folder; name the recordings in it".to_owned()));
        }
        if meta.is_file() && meta.len() == 0 {
            return Err(not("is empty; there is nothing to scan".to_owned()));
        }
        std::fs::File::open(path).map_err(|e| not(describe_io(&e)))?;
        let container = container_caps(path)?;
        let parts = options.parts.as_ref();
        let file = match parts {
            Some(parts) => {
                part_source(path, parts, &container).map_err(|e| not(describe_io(&e)))?
            }
            None => {
                let file = make("filesrc")?;
                file.set_property("location", path);
                file
            }
        };
        let bare = is_video(&container);
        let demuxer = if bare {
            None
        } else {
            let unknown = || not(format!("is {}, which Heatcast cannot read", kind_of(&container)));
            Some(demuxer_for(&container).ok_or_else(unknown)?)
        };
        let is_ts =
            demuxer.as_ref().and_then(|d| d.factory()).is_some_and(|f| f.name() == "tsdemux");
        let (frames, frames_out) = bounded(FRAMES);
        let (levels, levels_out) = bounded(LEVELS);
        let shared = Arc::new(Shared {
            path: path.to_owned(),
            clock: Locked::new(parts.map_or_else(MediaClock::default, |_| MediaClock::trusting())),
            ts_times: if is_ts { TsTimes::open(path, parts).ok().map(Arc::new) } else { None },
            frames: Locked::new(Some(frames)),
            levels: Locked::new(options.sound.then_some(levels)),
            loudness: Locked::default(),
            pictures: Locked::default(),
            wanted: (options.pick != Pick::Every).then(Locked::default),
            keys: Locked::default(),
            failure: Locked::default(),
            has_video: AtomicBool::new(false),
            coded: AtomicU64::new(0),
            decoded: AtomicU64::new(0),
            damaged: AtomicU64::new(0),
            reached: AtomicU64::new(0),
            last_pts: AtomicU64::new(0),
        });
        let reading = gst::Pipeline::new();
        watch_reading(&reading, &shared)?;
        let skim = Self { reading: reading.clone(), shared: Arc::clone(&shared) };
        match demuxer {
            None => {
                reading.add(&file).map_err(|e| Error::pipeline("adding elements", e))?;
                let pad = file.static_pad("src").ok_or(Error::Map)?;
                add_pictures(&reading, &pad, &container, &shared, &options.pick)?;
            }
            Some(demuxer) => {
                if let Some(program) = options.program {
                    if !demuxer.has_property("program-number") {
                        return Err(not("holds no programmes; leave --program out".to_owned()));
                    }
                    let number = i32::try_from(program).unwrap_or(i32::MAX);
                    demuxer.set_property("program-number", number);
                }
                add_chain(&reading, &[&file, &demuxer])?;
                connect(&reading, &demuxer, &shared, options.clone());
            }
        }
        let started = reading.set_state(gst::State::Playing);
        started.map_err(|_| {
            let why = shared.failure.take();
            let prefix = format!("{}: ", path.display());
            let why = why.map(|w| w.strip_prefix(&prefix).unwrap_or(&w).to_owned());
            not(why.unwrap_or_else(|| "cannot be opened".to_owned()))
        })?;
        Ok((skim, frames_out, levels_out))
    }

    /// Why it ended early, if it did.
    pub fn failure(&self) -> Option<String> {
        let failure = self.shared.failure.lock().clone();
        if failure.is_some() || self.shared.frames.lock().is_some() {
            return failure;
        }
        let path = self.shared.path.display();
        if !self.shared.has_video.load(Relaxed) {
            Some(self.shared.without_video())
        } else if self.shared.decoded.load(Relaxed) == 0 && self.shared.wanted.is_none() {
            Some(format!("{path}: {NO_FRAME}"))
        } else {
            None
        }
    }

    /// Why the sound is not known, or not all of it.
    pub fn sound_fault(&self) -> Option<String> {
        let loudness = self.shared.loudness.lock().clone();
        loudness.map_or_else(|| Some("there is no sound track".to_owned()), |l| l.fault())
    }

    /// Stream time up to which the compressed video was read: at the end, where
    /// its last picture ends.
    pub fn reached(&self) -> Pts {
        Pts(self.shared.reached.load(Relaxed))
    }

    /// Length of the recording in nanoseconds, when the container says.
    pub fn duration(&self) -> Option<u64> {
        self.reading.query_duration::<gst::ClockTime>().map(gst::ClockTime::nseconds)
    }

    /// Coded pictures read, pictures decoded, and those of them that are damaged.
    pub fn counts(&self) -> [u64; 3] {
        let Shared { coded, decoded, damaged, .. } = &*self.shared;
        [coded, decoded, damaged].map(|n| n.load(Relaxed))
    }

    /// How the recording's own timestamps differ from stream time; see
    /// [`MediaClock::leads`].
    pub fn leads(&self) -> Vec<(Pts, i64)> {
        let own = || self.shared.clock.lock().leads();
        self.shared.ts_times.as_ref().map_or_else(own, |times| times.leads())
    }

    /// Where in the file the pictures are, once all of it was read; `None` where
    /// it is no transport stream or its timestamps leap.
    pub fn places(&self) -> Option<Places> {
        let places = self.shared.ts_times.as_ref()?.places()?;
        Some(Places { keys: self.shared.keys.lock().clone(), ..places })
    }

    /// The splices that the recording announces (SCTE-35), in stream time.
    pub fn splices(&self) -> Vec<Pts> {
        self.shared.ts_times.as_ref().map(|times| times.splices()).unwrap_or_default()
    }

    /// Stops and closes the queues; what was queued can still be read.
    pub fn stop(&self) {
        self.shared.frames.take();
        self.shared.levels.take();
        // First those that let go of what the reading threads wait for.
        let loudness = self.shared.loudness.lock().clone();
        if let Some(loudness) = loudness {
            loudness.stop();
        }
        let pictures = self.shared.pictures.lock().clone();
        if let Some(pictures) = pictures {
            let _ = pictures.set_state(gst::State::Null);
        }
        let _ = self.reading.set_state(gst::State::Null);
    }
}

impl Drop for Skim {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A source of parts of a file.
fn part_source(path: &Path, parts: &Parts, container: &gst::Caps) -> std::io::Result<gst::Element> {
    let mut reader = PartReader::open(path, Some(parts))?;
    let mut space = vec![0; CHUNK];
    let more = move |source: &gst_app::AppSrc, _| match reader.read(&mut space) {
        Ok(got) if got > 0 => {
            let _ = source.push_buffer(gst::Buffer::from_slice(space[..got].to_vec()));
        }
        // What cannot be read was read before.
        _ => {
            let _ = source.end_of_stream();
        }
    };
    let source = gst_app::AppSrc::builder().caps(container).format(gst::Format::Bytes).build();
    source.set_callbacks(gst_app::AppSrcCallbacks::builder().need_data(more).build());
    Ok(source.upcast())
}

/// Notices the end of the file and what goes wrong before it.
fn watch_reading(reading: &gst::Pipeline, shared: &Arc<Shared>) -> Result<(), Error> {
    let shared = Arc::downgrade(shared);
    reading.bus().ok_or(Error::Map)?.set_sync_handler(move |_, message| {
        let Some(shared) = shared.upgrade() else { return gst::BusSyncReply::Drop };
        match message.view() {
            gst::MessageView::Error(e) => shared.fail(shared.explain(e)),
            gst::MessageView::Eos(_) => {
                if !shared.has_video.load(Relaxed) {
                    shared.fail(shared.without_video());
                }
                if shared.loudness.lock().is_none() {
                    shared.levels.take();
                }
            }
            _ => {}
        }
        gst::BusSyncReply::Drop
    });
    Ok(())
}

/// Builds a branch for the first video and the first sound track.
fn connect(
    reading: &gst::Pipeline,
    demuxer: &gst::Element,
    shared: &Arc<Shared>,
    options: SkimOptions,
) {
    let (weak, shared) = (reading.downgrade(), Arc::downgrade(shared));
    demuxer.connect_pad_added(move |demuxer, pad| {
        let (Some(reading), Some(shared)) = (weak.upgrade(), shared.upgrade()) else { return };
        if let Some(times) = &shared.ts_times {
            times.restore(pad);
        }
        let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
        let name = caps.structure(0).map_or("", |s| s.name().as_str());
        let is_picture = name.starts_with("video/") || name.starts_with("image/");
        let built = if is_picture && !shared.has_video.load(Relaxed) {
            add_pictures(&reading, pad, &caps, &shared, &options.pick)
        } else if options.sound && name.starts_with("audio/") && shared.loudness.lock().is_none() {
            add_sound(&reading, pad, &shared)
        } else {
            sink_silently(&reading, pad)
        };
        if let Err(error) = built {
            let text = error.to_string();
            shared.fail(format!("{}: {text}", shared.path.display()));
            gst::element_error!(demuxer, gst::StreamError::Failed, ("{text}"));
        }
    });
}

fn add_sound(reading: &gst::Pipeline, pad: &gst::Pad, shared: &Arc<Shared>) -> Result<(), Error> {
    let Some(levels) = shared.levels.take() else { return sink_silently(reading, pad) };
    let listener = move |heard| levels.send(heard).is_ok();
    let loudness = Arc::new(Loudness::new(SOUND_LANE, Arc::new(listener)));
    *shared.loudness.lock() = Some(Arc::clone(&loudness));
    let sink = gst_app::AppSink::builder().sync(false).async_(false).max_buffers(1).build();
    sink.set_property("enable-last-sample", false);
    let (on_packet, on_eos) = (Arc::clone(&loudness), loudness);
    let shared = Arc::downgrade(shared);
    sink.set_callbacks(
        gst_app::AppSinkCallbacks::builder()
            .new_sample(move |sink| {
                let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                let shared = shared.upgrade().ok_or(gst::FlowError::Eos)?;
                on_packet.push(&sample, &shared.clock);
                Ok(gst::FlowSuccess::Ok)
            })
            .eos(move |_| on_eos.end())
            .build(),
    );
    let sink = sink.upcast::<gst::Element>();
    reading.add(&sink).map_err(|e| Error::pipeline("adding elements", e))?;
    link(pad, &sink)?;
    start(&[&sink])
}

fn add_pictures(
    reading: &gst::Pipeline,
    pad: &gst::Pad,
    caps: &gst::Caps,
    shared: &Arc<Shared>,
    pick: &Pick,
) -> Result<(), Error> {
    shared.has_video.store(true, Relaxed);
    let queue = make("queue")?;
    queue.set_property("max-size-buffers", 0u32);
    queue.set_property("max-size-time", 0u64);
    queue.set_property("max-size-bytes", COMPRESSED_BYTES);
    let parser = parser_for(caps);
    // A decoder that starts in the middle needs the parameter sets there, too.
    if let Some(parser) = parser.as_ref().filter(|p| p.has_property("config-interval")) {
        parser.set_property("config-interval", -1i32);
    }
    let sink = gst_app::AppSink::builder().sync(false).async_(false).max_buffers(1).build();
    sink.set_property("enable-last-sample", false);
    let format = caps.structure(0).map_or_else(String::new, |s| s.name().to_string());
    let feeder = Feeder::new(decoding(caps, shared)?, pick.clone(), format, Arc::clone(shared));
    let feeder = Arc::new(Locked::new(feeder));
    let (on_packet, on_eos) = (Arc::clone(&feeder), feeder);
    sink.set_callbacks(
        gst_app::AppSinkCallbacks::builder()
            .new_sample(move |sink| {
                let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                on_packet.lock().take(&sample)
            })
            .eos(move |_| on_eos.lock().end())
            .build(),
    );
    let sink = sink.upcast::<gst::Element>();
    let mut chain = vec![&queue];
    chain.extend(&parser);
    let form = parsed_form(caps).map(|caps| capsfilter(&caps)).transpose()?;
    chain.extend(form.as_ref().filter(|_| parser.is_some()));
    chain.push(&sink);
    add_chain(reading, &chain)?;
    chain.reverse();
    start(&chain)?;
    link(pad, &queue)
}

/// The form in which coded pictures can be told apart.
fn parsed_form(caps: &gst::Caps) -> Option<gst::Caps> {
    let name = caps.structure(0)?.name().to_string();
    let nal = name == "video/x-h264" || name == "video/x-h265";
    nal.then(|| {
        gst::Caps::builder(name)
            .field("stream-format", "byte-stream")
            .field("alignment", "au")
            .build()
    })
}

/// The decoding half, and where it is fed.
fn decoding(caps: &gst::Caps, shared: &Arc<Shared>) -> Result<gst_app::AppSrc, Error> {
    let input = packet_source(caps, CHOSEN_BYTES);
    let decoder =
        video_decoder_for(caps).ok_or_else(|| Error::NoDecoder { codec: codec_name(caps) })?;
    // Looks at no other picture: here the one before may be seconds away.
    let upright = Upright::new("linear", None)?;
    let sink = picture_sink(false);
    sink.set_callbacks(frame_callbacks(shared, &upright.fixed));
    let (source, sink) = (input.clone().upcast(), sink.upcast());
    let pipeline = gst::Pipeline::new();
    let mut chain = vec![&source, &decoder];
    chain.extend(&upright.chain);
    chain.push(&sink);
    add_chain(&pipeline, &chain)?;
    let weak = Arc::downgrade(shared);
    pipeline.bus().ok_or(Error::Map)?.set_sync_handler(move |_, message| {
        if let (gst::MessageView::Error(e), Some(shared)) = (message.view(), weak.upgrade()) {
            shared.fail(shared.explain(e));
        }
        gst::BusSyncReply::Drop
    });
    pipeline.set_state(gst::State::Playing).map_err(|e| Error::pipeline("starting", e))?;
    *shared.pictures.lock() = Some(pipeline);
    Ok(input)
}

/// Hands frames on that were wanted. The first one fixes size, pixel shape and
/// colours.
fn frame_callbacks(shared: &Arc<Shared>, fixed: &gst::Element) -> gst_app::AppSinkCallbacks {
    let (on_frame, on_eos) = (Arc::downgrade(shared), Arc::downgrade(shared));
    let fixed = fixed.downgrade();
    let mut is_fixed = false;
    gst_app::AppSinkCallbacks::builder()
        .new_sample(move |sink| {
            let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
            let shared = on_frame.upgrade().ok_or(gst::FlowError::Eos)?;
            let info = info_of(&sample)?;
            if !std::mem::replace(&mut is_fixed, true) {
                fix(&fixed, &info);
            }
            let sender = shared.frames.lock().clone().ok_or(gst::FlowError::Eos)?;
            if let Some(frame) = to_frame(&sample, info, &shared) {
                sender.send(frame).map_err(|_| gst::FlowError::Eos)?;
            }
            Ok(gst::FlowSuccess::Ok)
        })
        .eos(move |_| {
            if let Some(shared) = on_eos.upgrade() {
                shared.frames.take();
            }
        })
        .build()
}

/// The frame, when it was wanted and is later than the one before.
fn to_frame(sample: &gst::Sample, info: gst_video::VideoInfo, shared: &Shared) -> Option<Frame> {
    let buffer = sample.buffer_owned()?;
    let pts = buffer.pts()?.nseconds();
    if buffer.flags().contains(gst::BufferFlags::CORRUPTED) {
        shared.damaged.fetch_add(1, Relaxed);
    }
    let before = shared.decoded.fetch_add(1, Relaxed);
    if let Some(wanted) = &shared.wanted {
        let mut wanted = wanted.lock();
        let later = wanted.split_off(&(pts + SLACK));
        let asked = std::mem::replace(&mut *wanted, later);
        if asked.last().is_none_or(|last| last + SLACK < pts) {
            return None;
        }
    }
    if before > 0 && pts <= shared.last_pts.load(Relaxed) {
        return None;
    }
    shared.last_pts.store(pts, Relaxed);
    let duration = buffer.duration().map(gst::ClockTime::nseconds);
    Some(Frame { pts: Pts(pts), duration, buffer, info })
}
