//! Encodes painted frames and multiplexes them with the other tracks:
//!
//! ```text
//! appsrc (I420) - x264enc - h264parse -+- mp4mux | matroskamux | mpegtsmux - filesink
//! appsrc (one per other track) --------+
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;
use gstreamer_video::prelude::*;

use super::elements::{add_chain, make, packet_source};
use super::track::Track;
use super::{Error, Frame, Tags, captions, patience, tags};
use crate::frame::{PictureMut, PlaneMut, Size};

/// Painted frames that may wait for the encoder.
const PAINTED_FRAMES: u64 = 1;
/// Ticks per second of the video track in MP4. Divides evenly by milliseconds,
/// by 90 kHz ticks and by the NTSC rates, so no timestamp is rounded.
const MP4_TIMESCALE: u32 = 360_000;
/// Bytes of packets that may wait in front of the multiplexer, per track.
const TRACK_BYTES: u64 = 1 << 20;
/// Nanoseconds a track may lag behind the picture before the multiplexer is
/// told not to wait for it.
const LAG: u64 = 1_000_000_000;

/// A file format that annotated recordings are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    /// ISO base media file, `.mp4`.
    Mp4,
    /// Matroska, `.mkv`.
    Mkv,
    /// MPEG transport stream, `.ts`.
    Ts,
}

impl Container {
    /// Chooses by the extension of `path`.
    ///
    /// # Errors
    /// When the extension names none.
    pub fn of(path: &Path) -> Result<Self, Error> {
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("");
        match extension.to_ascii_lowercase().as_str() {
            "mp4" | "m4v" => Ok(Self::Mp4),
            "mkv" => Ok(Self::Mkv),
            "ts" | "m2ts" | "mts" => Ok(Self::Ts),
            _ => Err(Error::UnknownContainer { path: path.to_owned() }),
        }
    }

    /// Name for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mp4 => "MP4",
            Self::Mkv => "Matroska",
            Self::Ts => "MPEG-TS",
        }
    }

    const fn factory(self) -> &'static str {
        match self {
            Self::Mp4 => "mp4mux",
            Self::Mkv => "matroskamux",
            Self::Ts => "mpegtsmux",
        }
    }

    /// Everything the multiplexer takes beside video.
    pub(super) fn sink_caps(self) -> gst::Caps {
        let mut all = gst::Caps::new_empty();
        if let Some(factory) = gst::ElementFactory::find(self.factory()) {
            for template in factory.static_pad_templates() {
                if template.direction() == gst::PadDirection::Sink {
                    all.merge(template.caps());
                }
            }
        }
        all
    }
}

/// How the picture is encoded.
#[derive(Clone, Debug)]
pub struct Encoder {
    /// An x264 preset: `ultrafast` ... `veryslow`.
    pub preset: String,
    /// Constant quality, 0 (lossless) to 51; lower is better.
    pub crf: u32,
    /// Frames between keyframes, at most.
    pub keyframe_interval: u32,
    /// Write the frame as it came, to the left of the painted one.
    pub side_by_side: bool,
}

/// Widest picture that x264 encodes, in pixels.
const MOST_ACROSS: u32 = 16_384;

/// What an output reports.
#[derive(Debug)]
pub enum OutputEvent {
    /// Everything is written.
    Done,
    /// Writing failed.
    Failed(String),
}

#[derive(Debug, Default)]
struct Counters {
    encoded: AtomicU64,
    /// Stream time of the newest picture given to the encoder, nanoseconds.
    video_pts: AtomicU64,
    closed: AtomicBool,
}

/// An output being written.
#[derive(Debug)]
pub struct Output {
    pipeline: gst::Pipeline,
    video: gst_app::AppSrc,
    pool: gst::BufferPool,
    info: gst_video::VideoInfo,
    /// Pictures side by side in one of the output.
    pictures: u32,
    counters: Arc<Counters>,
    pumps: Vec<JoinHandle<()>>,
}

impl Output {
    /// Starts writing to `path`, with the picture format of `first`, those of
    /// `tracks` that have something to say, and what was `said` of them.
    ///
    /// # Errors
    /// When an element is missing or the file cannot be created.
    pub fn start(
        path: &Path,
        container: Container,
        encoder: &Encoder,
        first: &Frame,
        tracks: &[Arc<Track>],
        said: &Tags,
        is_ahead: impl Fn() -> bool + Clone + Send + 'static,
    ) -> Result<Self, Error> {
        let pictures = if encoder.side_by_side { 2 } else { 1 };
        let info = even_info(&first.info, pictures)?;
        if info.width() > MOST_ACROSS {
            return Err(Error::TooWide { width: info.width(), most: MOST_ACROSS });
        }
        let caps = info.to_caps().map_err(|e| Error::pipeline("describing the picture", e))?;
        let pool = picture_pool(&info)?;

        let pipeline = gst::Pipeline::new();
        let video = gst_app::AppSrc::builder()
            .caps(&caps)
            .format(gst::Format::Time)
            .max_buffers(PAINTED_FRAMES)
            .max_bytes(0)
            .block(true)
            .build();
        let encode = x264(encoder)?;
        let parse = make("h264parse")?;
        let mux = muxer(container)?;
        let sink = make("filesink")?;
        sink.set_property("location", PathBuf::from(path));
        sink.set_property("async", false);
        let source = video.clone().upcast::<gst::Element>();
        add_chain(&pipeline, &[&source, &encode, &parse])?;
        add_chain(&pipeline, &[&mux, &sink])?;
        parse.link(&mux).map_err(|e| Error::pipeline("linking the video to the file", e))?;
        let counters = Arc::new(Counters::default());
        count_encoded(&parse, container, &counters);

        tags::say(&source, &said.video);
        if container == Container::Mp4 {
            // matroskamux 1.22 puts every text of more than one word in quotes.
            tags::say_of_recording(&mux, &said.recording);
        }
        let mut inputs = Vec::new();
        for track in tracks {
            let Some(caps) = track.first_caps() else { continue };
            let input = packet_source(&caps, TRACK_BYTES);
            let element = input.clone().upcast::<gst::Element>();
            pipeline.add(&element).map_err(|e| Error::pipeline("adding elements", e))?;
            link_to_mux(&element, &mux, &caps)?;
            tags::say(&element, &track.tags);
            inputs.push((Arc::clone(track), input));
        }
        pipeline
            .set_state(gst::State::Playing)
            .map_err(|_| Error::pipeline("opening the output", open_failure(&pipeline)))?;
        let mut output =
            Self { pipeline, video, pool, info, pictures, counters, pumps: Vec::new() };
        for (track, input) in inputs {
            let (counters, is_ahead) = (Arc::clone(&output.counters), is_ahead.clone());
            let pump = std::thread::Builder::new()
                .name("track".to_owned())
                .spawn(move || pump(&track, &input, &counters, is_ahead))
                .map_err(|e| Error::pipeline("starting a thread", e))?;
            output.pumps.push(pump);
        }
        Ok(output)
    }

    /// Size of the pictures written: the input's, made even, and as wide as two
    /// where they stand side by side.
    pub fn size(&self) -> Size {
        size_of(&self.info)
    }

    /// Paints over `frame` and queues it for the encoder, waiting while the
    /// queue is full. Captions and other metadata go along.
    ///
    /// The picture is painted where the decoder put it, unless somebody else
    /// (most often the decoder, for prediction) still reads it: then, and where
    /// the output's size is not the frame's, a copy is painted. Of two pictures
    /// side by side the right one is painted.
    ///
    /// # Errors
    /// When the encoder has stopped; [`OutputHandle::poll`] tells why.
    pub fn push(&self, frame: Frame, paint: impl FnOnce(&mut PictureMut<'_>)) -> Result<(), Error> {
        let pts = frame.pts;
        let buffer = painted(frame, &self.pool, &self.info, self.pictures, paint)?;
        self.counters.video_pts.fetch_max(pts.0, Relaxed);
        self.video.push_buffer(buffer).map(|_| ()).map_err(|e| Error::pipeline("encoding", e))
    }

    /// No more frames: lets the encoder finish. [`OutputEvent::Done`] follows.
    pub fn finish(&self) {
        let _ = self.video.end_of_stream();
    }

    /// A view of the output for whoever watches over the run.
    pub fn handle(&self) -> OutputHandle {
        OutputHandle { pipeline: self.pipeline.clone(), counters: Arc::clone(&self.counters) }
    }

    /// Closes the file.
    pub fn close(&mut self) {
        self.counters.closed.store(true, Relaxed);
        let _ = self.pipeline.set_state(gst::State::Null);
        for pump in self.pumps.drain(..) {
            let _ = pump.join();
        }
        let _ = self.pool.set_active(false);
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.close();
    }
}

/// Watches an [`Output`] from another thread.
#[derive(Clone, Debug)]
pub struct OutputHandle {
    pipeline: gst::Pipeline,
    counters: Arc<Counters>,
}

impl OutputHandle {
    /// The next thing the output has to report, waiting at most `timeout`.
    pub fn poll(&self, timeout: Duration) -> Option<OutputEvent> {
        let timeout = patience(timeout);
        let wanted = [gst::MessageType::Eos, gst::MessageType::Error];
        match self.pipeline.bus()?.timed_pop_filtered(timeout, &wanted)?.view() {
            gst::MessageView::Error(e) => Some(OutputEvent::Failed(describe(e))),
            _ => Some(OutputEvent::Done),
        }
    }

    /// Frames that left the encoder so far.
    pub fn frames_encoded(&self) -> u64 {
        self.counters.encoded.load(Relaxed)
    }

    /// Stops writing at once; whoever waits for the encoder goes on.
    pub fn abort(&self) {
        self.counters.closed.store(true, Relaxed);
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

/// The buffer of `frame` once it is painted over, with the frame's times: where
/// it stands, or else in memory of `pool`, whose pictures `info` describes. Of
/// several `pictures` side by side in there, the last is painted over.
pub(super) fn painted(
    frame: Frame,
    pool: &gst::BufferPool,
    info: &gst_video::VideoInfo,
    pictures: u32,
    paint: impl FnOnce(&mut PictureMut<'_>),
) -> Result<gst::Buffer, Error> {
    let Frame { pts, duration, mut buffer, info: own } = frame;
    let size = size_of(&own);
    let free = buffer.get_mut().is_some_and(|b| b.is_all_memory_writable());
    if free && size == size_of(info) {
        with_picture_mut(buffer.make_mut(), &own, paint)?;
    } else {
        let source = Frame { pts, duration, buffer, info: own };
        buffer = pool.acquire_buffer(None).map_err(|e| Error::pipeline("allocating a frame", e))?;
        let target = buffer.make_mut();
        captions::carry(&source.buffer, target);
        source.with_picture(|source| {
            with_picture_mut(target, info, |whole| {
                let width = whole.size.width / pictures as usize;
                let last = whole.size.width - width;
                for left in (0..last).step_by(width) {
                    let mut original = whole.columns(left, width);
                    original.copy_from(source);
                    original.repeat_edges(size);
                }
                let mut painted = whole.columns(last, width);
                painted.copy_from(source);
                let full = std::mem::replace(&mut painted.size, size);
                paint(&mut painted);
                painted.size = full;
                painted.repeat_edges(size);
            })
        })??;
    }
    let target = buffer.make_mut();
    captions::fit(target);
    target.unset_flags(!gst::BufferFlags::TAG_MEMORY);
    target.set_dts(None);
    target.set_pts(gst::ClockTime::from_nseconds(pts.0));
    target.set_duration(duration.map(gst::ClockTime::from_nseconds));
    Ok(buffer)
}

/// Memory for pictures as `info` describes them.
pub(super) fn picture_pool(info: &gst_video::VideoInfo) -> Result<gst::BufferPool, Error> {
    let caps = info.to_caps().map_err(|e| Error::pipeline("describing the picture", e))?;
    let pool = gst::BufferPool::new();
    let mut config = pool.config();
    let bytes = u32::try_from(info.size()).unwrap_or(u32::MAX);
    config.set_params(Some(&caps), bytes, 0, 0);
    pool.set_config(config).map_err(|e| Error::pipeline("allocating frames", e))?;
    pool.set_active(true).map_err(|e| Error::pipeline("allocating frames", e))?;
    Ok(pool)
}

fn size_of(info: &gst_video::VideoInfo) -> Size {
    Size::new(info.width() as usize, info.height() as usize)
}

/// Lends the pixels of `buffer`, to be changed.
pub(super) fn with_picture_mut(
    buffer: &mut gst::BufferRef,
    info: &gst_video::VideoInfo,
    change: impl FnOnce(&mut PictureMut<'_>),
) -> Result<(), Error> {
    let mut mapped =
        gst_video::VideoFrameRef::from_buffer_ref_writable(buffer, info).map_err(|_| Error::Map)?;
    let strides: [i32; 3] = *mapped.plane_stride().first_chunk().ok_or(Error::Map)?;
    let [y, u, v, _] = mapped.planes_data_mut();
    let plane = |data, stride: i32| PlaneMut { data, stride: stride.unsigned_abs() as usize };
    change(&mut PictureMut {
        size: size_of(info),
        planes: [plane(y, strides[0]), plane(u, strides[1]), plane(v, strides[2])],
    });
    Ok(())
}

/// The picture format of the output. 4:2:0 H.264 has whole chroma samples only,
/// so odd sizes grow by one column or row. So many `pictures` stand side by side.
pub(super) fn even_info(
    info: &gst_video::VideoInfo,
    pictures: u32,
) -> Result<gst_video::VideoInfo, Error> {
    let even = |n: u32| n.next_multiple_of(2).max(16);
    gst_video::VideoInfo::builder(
        gst_video::VideoFormat::I420,
        even(info.width()) * pictures,
        even(info.height()),
    )
    .par(info.par())
    .fps(info.fps())
    .colorimetry(&info.colorimetry())
    .chroma_site(info.chroma_site())
    .build()
    .map_err(|e| Error::pipeline("describing the picture", e))
}

fn x264(encoder: &Encoder) -> Result<gst::Element, Error> {
    let element = make("x264enc")?;
    element.set_property_from_str("speed-preset", &encoder.preset);
    element.set_property_from_str("pass", "qual");
    element.set_property("quantizer", encoder.crf);
    element.set_property("key-int-max", encoder.keyframe_interval);
    // The element caps the bit rate at 2 Mbit/s unless told that there is no
    // buffer to keep full: quality is to be constant, whatever it takes.
    element.set_property("vbv-buf-capacity", 0u32);
    Ok(element)
}

pub(super) fn muxer(container: Container) -> Result<gst::Element, Error> {
    let mux = make(container.factory())?;
    match container {
        Container::Mp4 => {
            // Playable up to the last fragment if the machine dies; made an
            // ordinary MP4 at the end.
            mux.set_property("fragment-duration", 2000u32);
            mux.set_property_from_str("fragment-mode", "first-moov-then-finalise");
        }
        Container::Mkv | Container::Ts => {}
    }
    Ok(mux)
}

/// Links an appsrc to the kind of multiplexer pad made for its caps. (The
/// generic link takes the first pad that does not refuse, which may be video.)
pub(super) fn link_to_mux(
    source: &gst::Element,
    mux: &gst::Element,
    caps: &gst::Caps,
) -> Result<(), Error> {
    let template = mux
        .pad_template_list()
        .into_iter()
        .find(|t| t.direction() == gst::PadDirection::Sink && t.caps().can_intersect(caps));
    let sink = template.and_then(|t| mux.request_pad(&t, None, None));
    let (Some(sink), Some(pad)) = (sink, source.static_pad("src")) else {
        return Err(Error::pipeline("linking a track to the file", "no pad takes it"));
    };
    pad.link(&sink).map(|_| ()).map_err(|e| Error::pipeline("linking a track to the file", e))
}

fn count_encoded(parse: &gst::Element, container: Container, counters: &Arc<Counters>) {
    let Some(pad) = parse.static_pad("src") else { return };
    if container == Container::Mp4
        && let Some(sink) = pad.peer()
    {
        sink.set_property("trak-timescale", MP4_TIMESCALE);
    }
    let counters = Arc::clone(counters);
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
        counters.encoded.fetch_add(1, Relaxed);
        gst::PadProbeReturn::Ok
    });
}

/// Moves the packets of one track to the multiplexer.
fn pump(track: &Track, input: &gst_app::AppSrc, counters: &Counters, is_ahead: impl Fn() -> bool) {
    let mut reached = 0;
    while !counters.closed.load(Relaxed) {
        match track.next(Duration::from_millis(100)) {
            Ok(sample) => {
                let (Some(mut buffer), caps) = (sample.buffer_owned(), sample.caps_owned()) else {
                    continue;
                };
                if input.caps() != caps {
                    input.set_caps(caps.as_ref());
                }
                // Some parsers leave the odd packet without a time: it follows
                // on the one before.
                let pts = buffer.pts().map_or(reached, gst::ClockTime::nseconds);
                buffer.make_mut().set_pts(gst::ClockTime::from_nseconds(pts));
                reached = pts + buffer.duration().map_or(0, gst::ClockTime::nseconds);
                if input.push_buffer(buffer).is_err() {
                    break;
                }
            }
            Err(true) => break,
            Err(false) => {
                // The multiplexer waits for every track; one that is silent
                // while the picture is held up must say so.
                let video = counters.video_pts.load(Relaxed);
                if is_ahead() && video > reached + LAG {
                    let (from, length) = (reached, video - LAG - reached);
                    let gap = gst::event::Gap::builder(gst::ClockTime::from_nseconds(from))
                        .duration(gst::ClockTime::from_nseconds(length))
                        .build();
                    input.send_event(gap);
                    reached = video - LAG;
                }
            }
        }
    }
    let _ = input.end_of_stream();
}

fn open_failure(pipeline: &gst::Pipeline) -> String {
    let message = pipeline.bus().and_then(|b| b.pop_filtered(&[gst::MessageType::Error]));
    match message.as_ref().map(|m| m.view()) {
        Some(gst::MessageView::Error(e)) => describe(e),
        _ => "the file cannot be created".to_owned(),
    }
}

fn describe(error: &gst::message::Error) -> String {
    if error.error().matches(gst::ResourceError::NoSpaceLeft) {
        return "the disk is full; free some space or write somewhere else".to_owned();
    }
    let detail = error.debug().unwrap_or_default();
    let system = detail.lines().find(|l| l.contains("system error"));
    let text = error.error().to_string();
    system.map_or_else(|| text.trim_end_matches('.').to_owned(), |l| format!("{text} ({l})"))
}
