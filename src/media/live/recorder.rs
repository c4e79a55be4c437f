//! Records what a hub hands out: files of a fixed length, each beginning with a
//! key frame and playable by itself. Nothing is encoded for them.
//!
//! A file is called `NAME-20261124-140322.mp4`, and ends in `.part` until it is
//! finished. When a file cannot be written, recording says so once, and tries
//! again with the next one.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;

use super::super::elements::{add_chain, make, packet_source};
use super::super::output::{link_to_mux, muxer};
use super::super::{Container, Error, patience};
use super::hub::{Hub, SoundUnit, Tap, Unit};
use crate::config::RecordFormat;
use crate::frame::Pts;

/// Pictures and packets of sound that may wait for the disk: some seconds.
const MOST_WAITING: usize = 600;
/// Bytes that may wait for the multiplexer.
const TRACK_BYTES: u64 = 64 << 20;
/// How long the end of a file may take.
const FINISH: Duration = Duration::from_secs(3);
/// Pause after a failure.
const RETRY: Duration = Duration::from_secs(10);
/// Sound that is silent is not waited for longer than this, nanoseconds.
const LAG: u64 = 1_000_000_000;

/// What is recorded where.
#[derive(Clone, Debug)]
pub struct RecordSettings {
    /// Folder of the files.
    pub folder: PathBuf,
    /// How their names begin.
    pub name: String,
    /// Their format.
    pub format: RecordFormat,
    /// Their length.
    pub length: Duration,
}

enum Item {
    Picture(Unit),
    Sound(SoundUnit),
}

/// A recording that goes on until it is dropped.
pub struct Recorder {
    hub: Arc<Hub>,
    number: u64,
    thread: Option<JoinHandle<()>>,
    missed: Arc<AtomicU64>,
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder").finish_non_exhaustive()
    }
}

impl Recorder {
    /// Starts recording what `hub` hands out.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(hub: &Arc<Hub>, settings: RecordSettings) -> Result<Self, Error> {
        let (sender, receiver) = bounded(MOST_WAITING);
        let missed = Arc::new(AtomicU64::new(0));
        let feed = Arc::clone(hub);
        let thread = std::thread::Builder::new()
            .name("recorder".to_owned())
            .spawn(move || Writer { hub: feed, settings, failed: None }.run(&receiver))
            .map_err(|e| Error::pipeline("starting a thread", e))?;
        let number = hub.add(Arc::new(Input { sender, missed: Arc::clone(&missed) }));
        Ok(Self { hub: Arc::clone(hub), number, thread: Some(thread), missed })
    }

    /// Pictures that were not recorded because the disk was too slow.
    pub fn missed(&self) -> u64 {
        self.missed.load(Relaxed)
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        // The hub held the sending end: the writer finishes its file and ends.
        self.hub.remove(self.number);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Input {
    sender: Sender<Item>,
    missed: Arc<AtomicU64>,
}

impl Tap for Input {
    fn picture(&self, unit: &Unit, hub: &Hub) {
        if self.sender.try_send(Item::Picture(unit.clone())).is_err() {
            self.missed.fetch_add(1, Relaxed);
            hub.ask_for_keyframe();
        }
    }

    fn sound(&self, unit: &SoundUnit) {
        let _ = self.sender.try_send(Item::Sound(unit.clone()));
    }
}

struct Writer {
    hub: Arc<Hub>,
    settings: RecordSettings,
    /// When writing failed last.
    failed: Option<Instant>,
}

impl Writer {
    fn run(mut self, items: &Receiver<Item>) {
        let mut file: Option<Segment> = None;
        let mut missed_one = false;
        loop {
            match items.recv_timeout(Duration::from_millis(500)) {
                Ok(Item::Picture(unit)) => {
                    let length = self.settings.length.as_nanos();
                    let is_full = |f: &Segment| u128::from(unit.pts.0 - f.begin.0) >= length;
                    if unit.keyframe && file.as_ref().is_some_and(is_full) {
                        self.close(file.take());
                    }
                    if file.is_none() && unit.keyframe && self.may_try() {
                        file = self.open(&unit);
                    }
                    missed_one |= items.len() + 1 >= MOST_WAITING;
                    if missed_one && !unit.keyframe {
                        continue;
                    }
                    missed_one = false;
                    let written = file.as_mut().is_none_or(|f| f.picture(&unit));
                    if !written {
                        let why = file.as_ref().map(Segment::why).unwrap_or_default();
                        self.fail(&why);
                        self.close(file.take());
                    }
                }
                Ok(Item::Sound(unit)) => {
                    if let Some(file) = &mut file {
                        file.sound(&unit);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.close(file.take());
    }

    fn may_try(&self) -> bool {
        self.failed.is_none_or(|at| at.elapsed() > RETRY)
    }

    fn open(&mut self, first: &Unit) -> Option<Segment> {
        let opened = Segment::open(&self.settings, first, self.hub.sound_caps());
        match opened {
            Ok(file) => {
                if self.failed.take().is_some() {
                    tracing::info!("recording goes on");
                }
                Some(file)
            }
            Err(error) => {
                self.fail(&error.to_string());
                None
            }
        }
    }

    fn fail(&mut self, why: &str) {
        if self.failed.replace(Instant::now()).is_none() {
            let folder = self.settings.folder.display();
            tracing::error!(
                "recording into {folder} failed: {why}; the stream goes on, and recording is tried again"
            );
        }
    }

    /// Finishes a file and gives it its name.
    fn close(&self, file: Option<Segment>) {
        let Some(file) = file else { return };
        let (part, path) = (file.part.clone(), file.path.clone());
        file.finish();
        if let Err(error) = std::fs::rename(&part, &path) {
            tracing::warn!("cannot name the recording {}: {error}", path.display());
        }
    }
}

/// One file.
struct Segment {
    pipeline: gst::Pipeline,
    picture: gst_app::AppSrc,
    sound: Option<gst_app::AppSrc>,
    begin: Pts,
    /// End of the sound so far, nanoseconds since the beginning.
    sound_end: u64,
    part: PathBuf,
    path: PathBuf,
}

impl Segment {
    fn open(
        settings: &RecordSettings,
        first: &Unit,
        sound: Option<gst::Caps>,
    ) -> Result<Self, Error> {
        let path = free_name(settings);
        let mut part = path.clone().into_os_string();
        part.push(".part");
        let part = PathBuf::from(part);
        let container = match settings.format {
            RecordFormat::Mp4 => Container::Mp4,
            RecordFormat::Mkv => Container::Mkv,
            RecordFormat::Ts => Container::Ts,
        };
        let units = gst::Caps::builder("video/x-h264")
            .field("stream-format", "byte-stream")
            .field("alignment", "au")
            .build();
        let source = |caps: &gst::Caps| {
            let source = packet_source(caps, TRACK_BYTES);
            source.set_block(false);
            source
        };
        let picture = source(&units);
        let parse = make("h264parse")?;
        let mux = muxer(container)?;
        let sink = make("filesink")?;
        sink.set_property("location", &part);
        sink.set_property("async", false);
        let pipeline = gst::Pipeline::new();
        add_chain(&pipeline, &[picture.upcast_ref(), &parse])?;
        add_chain(&pipeline, &[&mux, &sink])?;
        parse.link(&mux).map_err(|e| Error::pipeline("linking the picture to the file", e))?;
        let sound = match sound.filter(|caps| container.sink_caps().can_intersect(caps)) {
            Some(caps) => {
                let input = source(&caps);
                let element = input.upcast_ref::<gst::Element>();
                pipeline.add(element).map_err(|e| Error::pipeline("adding elements", e))?;
                link_to_mux(element, &mux, &caps)?;
                Some(input)
            }
            None => None,
        };
        if pipeline.set_state(gst::State::Playing).is_err() {
            let why = failure(&pipeline).unwrap_or_else(|| "the file cannot be created".to_owned());
            let _ = pipeline.set_state(gst::State::Null);
            return Err(Error::Live(format!("{}: {why}", path.display())));
        }
        let begin = first.pts;
        Ok(Self { pipeline, picture, sound, begin, sound_end: 0, part, path })
    }

    fn time(&self, pts: Pts) -> u64 {
        pts.0.saturating_sub(self.begin.0)
    }

    /// False when the file cannot be written.
    fn picture(&mut self, unit: &Unit) -> bool {
        let time = self.time(unit.pts);
        let mut buffer = unit.buffer.clone();
        let target = buffer.make_mut();
        target.set_pts(gst::ClockTime::from_nseconds(time));
        target.set_dts(gst::ClockTime::from_nseconds(time));
        if let Some(sound) = &self.sound
            && time > self.sound_end + LAG
        {
            // The multiplexer waits for every track: tell it not to.
            let from = gst::ClockTime::from_nseconds(self.sound_end);
            let length = gst::ClockTime::from_nseconds(time - LAG - self.sound_end);
            sound.send_event(gst::event::Gap::builder(from).duration(length).build());
            self.sound_end = time - LAG;
        }
        self.picture.push_buffer(buffer).is_ok()
    }

    fn sound(&mut self, unit: &SoundUnit) {
        let Some(source) = &self.sound else { return };
        if unit.pts < self.begin || source.caps().as_ref() != Some(&unit.caps) {
            return;
        }
        let time = self.time(unit.pts);
        let mut buffer = unit.buffer.clone();
        buffer.make_mut().set_pts(gst::ClockTime::from_nseconds(time));
        self.sound_end = time + buffer.duration().map_or(0, gst::ClockTime::nseconds);
        let _ = source.push_buffer(buffer);
    }

    fn why(&self) -> String {
        failure(&self.pipeline).unwrap_or_else(|| "the file cannot be written".to_owned())
    }

    fn finish(self) {
        let _ = self.picture.end_of_stream();
        if let Some(sound) = &self.sound {
            let _ = sound.end_of_stream();
        }
        let wanted = [gst::MessageType::Eos, gst::MessageType::Error];
        if let Some(bus) = self.pipeline.bus() {
            let _ = bus.timed_pop_filtered(patience(FINISH), &wanted);
        }
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

fn failure(pipeline: &gst::Pipeline) -> Option<String> {
    let message = pipeline.bus()?.pop_filtered(&[gst::MessageType::Error])?;
    match message.view() {
        gst::MessageView::Error(e) => Some(e.error().to_string()),
        _ => None,
    }
}

/// A name that no file has: when it began, and a number where need be.
fn free_name(settings: &RecordSettings) -> PathBuf {
    let now = gst::glib::DateTime::now_local().and_then(|now| now.format("%Y%m%d-%H%M%S"));
    let when = now.map_or_else(|_| "undated".to_owned(), String::from);
    let (name, extension) = (&settings.name, settings.format.extension());
    let path = |number: usize| {
        let number = if number == 0 { String::new() } else { format!("-{number}") };
        settings.folder.join(format!("{name}-{when}{number}.{extension}"))
    };
    let is_free = |path: &PathBuf| !path.exists() && !part_of(path).exists();
    (0..1000).map(path).find(is_free).unwrap_or_else(|| path(1000))
}

fn part_of(path: &Path) -> PathBuf {
    let mut part = path.to_owned().into_os_string();
    part.push(".part");
    PathBuf::from(part)
}
