//! A track beside the video (sound, subtitles, teletext): copied to the output
//! as it is where the container can hold it, else, for sound, converted to AAC.
//!
//! Each track runs in a pipeline of its own, `appsrc - parser [- decoder - AAC
//! encoder] - appsink`, so that a broken one ends alone: the video goes on and
//! the summary says why.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;

use super::elements::{add_chain, audio_decoder_for, codec_name, make, packet_source, parser_for};
use super::intake::{Chain, Intake};
use super::{Container, Error, tags};
use crate::clock::MediaClock;
use crate::sync_cell::Locked;

/// Packets that may wait for the multiplexer. Sound runs ahead of the picture
/// by what the classifier and the encoder hold back: seconds, not minutes.
const READY_PACKETS: usize = 8192;
/// Bytes that may wait for the parser.
const WAITING_BYTES: u64 = 32 << 20;
/// Bit rate of converted sound, per second.
const AAC_BITS: i32 = 192_000;

/// Samples that the AAC encoder puts before the first, without saying so in its
/// times.
const AAC_PRIMING: u64 = 1024;

/// What became of a track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrackFate {
    /// Reached the output unchanged.
    Copied,
    /// Reached the output converted to AAC.
    Transcoded,
    /// Did not reach the output, or only in part.
    Dropped(String),
}

/// One track on its way from the demultiplexer to the multiplexer.
#[derive(Debug)]
pub struct Track {
    intake: Intake,
    /// What it is, for people: `AAC (eng)`.
    pub name: String,
    /// True for sound.
    pub is_audio: bool,
    container: Container,
    /// Its language and title.
    pub(super) tags: Arc<Locked<gst::TagList>>,
    ended: Locked<bool>,
    ready: Receiver<gst::Sample>,
    first: Locked<Option<gst::Sample>>,
    state: Arc<State>,
}

/// What the chain's own threads write.
#[derive(Debug, Default)]
struct State {
    /// Gone once no further packet will be ready.
    sender: Locked<Option<Sender<gst::Sample>>>,
    fault: Locked<Option<String>>,
    converted: AtomicBool,
    /// Some of the data lay before the start of the stream.
    early: AtomicBool,
}

impl State {
    fn fail(&self, why: &str) {
        self.fault.lock().get_or_insert_with(|| why.to_owned());
        self.sender.take();
    }
}

impl Track {
    /// Decides whether a track can be copied or must be converted.
    ///
    /// # Errors
    /// The reason why it must be left out.
    pub(super) fn plan(
        lane: usize,
        caps: &gst::Caps,
        pad: &gst::Pad,
        container: Container,
    ) -> Result<Self, String> {
        let media = caps.structure(0).map_or("", |s| s.name().as_str()).to_owned();
        let is_audio = media.starts_with("audio/");
        let name = name_of(caps, pad);
        if !is_audio && carriage(caps, container) == Carriage::Convert {
            return Err(format!("{name}: {} files cannot hold it", container.name()));
        }
        let (sender, receiver) = bounded(READY_PACKETS);
        Ok(Self {
            intake: Intake::new(lane),
            name,
            is_audio,
            container,
            tags: tags::empty(),
            ended: Locked::new(false),
            ready: receiver,
            first: Locked::default(),
            state: Arc::new(State { sender: Locked::new(Some(sender)), ..State::default() }),
        })
    }

    /// Takes a packet from the demultiplexer. Never fails: a fault is kept for
    /// [`Track::fate`] and the rest of the track is discarded.
    pub(super) fn push(&self, sample: &gst::Sample, clock: &Locked<MediaClock>) {
        let Some(packet) = sample.buffer() else { return };
        let Some(buffer) = self.intake.timed(sample, packet, clock) else {
            return self.state.early.store(true, Relaxed);
        };
        if self.state.fault.lock().is_some() || *self.ended.lock() {
            return;
        }
        if let Err(error) = self.intake.push(sample, buffer, |caps| self.build(caps)) {
            self.state.fail(&error.to_string());
        }
    }

    /// Marks the end of the track.
    pub(super) fn end(&self) {
        *self.ended.lock() = true;
        if !self.intake.end() {
            self.state.sender.take();
        }
    }

    fn build(&self, caps: &gst::Caps) -> Result<Chain, Error> {
        let carriage = carriage(caps, self.container);
        let wanted = match carriage {
            Carriage::Copy => self.container.sink_caps().intersect(&essence(caps)),
            Carriage::Convert => self.container.sink_caps().intersect(&aac()),
        };
        let input = packet_source(caps, WAITING_BYTES);
        let output = gst_app::AppSink::builder().caps(&wanted).sync(false).async_(false).build();
        let pipeline = gst::Pipeline::new();
        let mut chain: Vec<gst::Element> = vec![input.clone().upcast()];
        chain.extend(parser_for(caps));
        if carriage == Carriage::Convert {
            self.state.converted.store(true, Relaxed);
            if caps.structure(0).is_none_or(|s| s.name() != "audio/x-raw") {
                let codec = codec_name(caps);
                chain.push(audio_decoder_for(caps).ok_or(Error::NoDecoder { codec })?);
            }
            let encoder = make("avenc_aac")?;
            encoder.set_property("bitrate", AAC_BITS);
            chain.extend([make("audioconvert")?, make("audioresample")?, encoder]);
            chain.push(make("aacparse")?);
        }
        chain.push(output.clone().upcast());
        add_chain(&pipeline, &chain.iter().collect::<Vec<_>>())?;

        let (on_packet, on_eos) = (Arc::clone(&self.state), Arc::clone(&self.state));
        output.set_callbacks(
            gst_app::AppSinkCallbacks::builder()
                .new_sample(move |sink| {
                    let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                    let sample = match carriage {
                        Carriage::Copy => Some(sample),
                        Carriage::Convert => without_priming(sample),
                    };
                    // A packet of nothing but priming is not missed.
                    let Some(sample) = sample else { return Ok(gst::FlowSuccess::Ok) };
                    let sender = on_packet.sender.lock().clone().ok_or(gst::FlowError::Eos)?;
                    sender.send(sample).map_err(|_| gst::FlowError::Eos)?;
                    Ok(gst::FlowSuccess::Ok)
                })
                .eos(move |_| {
                    on_eos.sender.take();
                })
                .build(),
        );
        let on_error = Arc::clone(&self.state);
        Chain::start(pipeline, input, move |why| on_error.fail(why))
    }

    /// Waits for the first packet that is ready for the multiplexer, the end of
    /// the track, or until `give_up` says so.
    pub(super) fn wait_for_first_packet(&self, give_up: impl Fn() -> bool) {
        let mut first = self.first.lock();
        while first.is_none() {
            match self.ready.recv_timeout(Duration::from_millis(20)) {
                Ok(sample) => *first = Some(sample),
                Err(RecvTimeoutError::Disconnected) => {
                    let early = self.state.early.load(Relaxed);
                    return self.state.fail(if early {
                        "it ends before the video starts"
                    } else {
                        "it is declared but holds no data"
                    });
                }
                Err(RecvTimeoutError::Timeout) if give_up() => {
                    return self.state.fail("it holds no data near the start");
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Media type of the packets, known once the first one has come.
    pub(super) fn first_caps(&self) -> Option<gst::Caps> {
        self.first.lock().as_ref().and_then(|s| s.caps_owned())
    }

    /// The next packet. `Err(true)` at the end, `Err(false)` after `timeout`.
    pub(super) fn next(&self, timeout: Duration) -> Result<gst::Sample, bool> {
        if let Some(first) = self.first.take() {
            return Ok(first);
        }
        self.ready.recv_timeout(timeout).map_err(|e| e == RecvTimeoutError::Disconnected)
    }

    /// What became of the track.
    pub fn fate(&self) -> TrackFate {
        match (&*self.state.fault.lock(), self.state.converted.load(Relaxed)) {
            (Some(why), _) => TrackFate::Dropped(why.trim_end_matches('.').to_owned()),
            (None, true) => TrackFate::Transcoded,
            (None, false) => TrackFate::Copied,
        }
    }
}

/// How a track can reach a container.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Carriage {
    Copy,
    Convert,
}

fn carriage(caps: &gst::Caps, container: Container) -> Carriage {
    if container.sink_caps().can_intersect(&essence(caps)) {
        Carriage::Copy
    } else {
        Carriage::Convert
    }
}

fn aac() -> gst::Caps {
    gst::Caps::builder("audio/mpeg").field("mpegversion", 4i32).build()
}

/// A packet of the AAC encoder at the time of the sound in it; none where that
/// lies before the start of the stream.
fn without_priming(mut sample: gst::Sample) -> Option<gst::Sample> {
    let rate = sample.caps()?.structure(0)?.get::<i32>("rate").ok()?;
    let mut buffer = sample.buffer_owned()?;
    let priming = AAC_PRIMING * 1_000_000_000 / u64::try_from(rate).ok().filter(|r| *r > 0)?;
    let pts = buffer.pts()?.checked_sub(gst::ClockTime::from_nseconds(priming))?;
    let target = buffer.make_mut();
    target.set_pts(pts);
    target.set_dts(None);
    sample.make_mut().set_buffer(Some(&buffer));
    Some(sample)
}

/// What identifies a format, without what a parser can convert.
fn essence(caps: &gst::Caps) -> gst::Caps {
    let Some(s) = caps.structure(0) else { return gst::Caps::new_empty() };
    let mut core = gst::Structure::new_empty(s.name());
    for field in ["mpegversion", "layer", "format", "layout"] {
        if let Ok(value) = s.value(field) {
            core.set_value(field, value.clone());
        }
    }
    gst::Caps::from(core)
}

/// Some broadcasters' tables call AAC or AC-3 an MPEG audio layer. They are told
/// apart by the sync word: an ADTS header has layer 0, which MPEG audio has not
/// (ISO/IEC 13818-7, 6.2); AC-3 starts with 0x0B77 (ETSI TS 102 366, 4.4.1).
pub(super) fn correct_caps(caps: gst::Caps, packet: &gst::BufferRef) -> gst::Caps {
    let claims_mpeg_audio = caps.structure(0).is_some_and(|s| {
        s.name() == "audio/mpeg" && s.get::<i32>("mpegversion").is_ok_and(|v| v == 1)
    });
    let Ok(data) = packet.map_readable() else { return caps };
    match data.as_slice() {
        [0xFF, second, ..] if claims_mpeg_audio && second & 0xF6 == 0xF0 => {
            gst::Caps::builder("audio/mpeg")
                .field("mpegversion", 4i32)
                .field("stream-format", "adts")
                .build()
        }
        [0x0B, 0x77, ..] if claims_mpeg_audio => gst::Caps::builder("audio/x-ac3").build(),
        data if claims_mpeg_audio => with_layer(caps, data),
        _ => caps,
    }
}

/// Transport streams do not say which layer MPEG audio is, and decoders are for
/// one: the header says it (ISO/IEC 11172-3, 2.4.2.3).
fn with_layer(mut caps: gst::Caps, data: &[u8]) -> gst::Caps {
    let named = caps.structure(0).is_some_and(|s| s.has_field("layer"));
    let header = data.windows(2).find(|w| w[0] == 0xFF && w[1] & 0xE0 == 0xE0 && w[1] & 0x06 != 0);
    if let (Some(header), false) = (header, named) {
        let layer = 4 - i32::from(header[1] >> 1 & 3);
        if let Some(structure) = caps.make_mut().structure_mut(0) {
            structure.set("layer", layer);
        }
    }
    caps
}

fn name_of(caps: &gst::Caps, pad: &gst::Pad) -> String {
    let codec = codec_name(caps);
    let language = pad
        .sticky_event::<gst::event::Tag>(0)
        .and_then(|e| e.tag().get::<gst::tags::LanguageCode>().map(|l| l.get().to_owned()));
    match language {
        Some(language) => format!("{codec} ({language})"),
        None => codec,
    }
}
