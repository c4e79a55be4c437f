//! Silence in the form of a stream's sound, for the time that there is none:
//! players of a mount that has sound wait for it, or end. Used by the
//! compositor; only for AAC, the form that nearly all live sound has here.

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;

use super::super::Error;
use super::super::elements::{add_chain, make};
use super::super::source::capsfilter;
use super::hub::SoundUnit;
use super::sound::Sound;
use crate::frame::Pts;

/// Samples in a packet of AAC.
const SAMPLES: u64 = 1024;
/// The packet that is taken: those before hold the encoder's start.
const SETTLED: usize = 4;
/// How long the encoder may take.
const PATIENCE: gst::ClockTime = gst::ClockTime::from_seconds(2);

/// A packet of silence that can be sent again and again.
#[derive(Clone, Debug)]
pub struct Silence {
    buffer: gst::Buffer,
    caps: gst::Caps,
    length_ns: u64,
}

impl Silence {
    /// Silence that goes on where `sound` stopped; none where it is no AAC of a
    /// usual kind.
    pub fn like(sound: &Sound) -> Option<Self> {
        let caps = sound.unit.caps.clone();
        let s = caps.structure(0)?;
        let is_aac = s.name() == "audio/mpeg" && s.get::<i32>("mpegversion") == Ok(4);
        let (rate, channels) = (s.get::<i32>("rate").ok()?, s.get::<i32>("channels").ok()?);
        let format = s.get::<String>("stream-format").ok()?;
        if !is_aac || rate <= 0 {
            return None;
        }
        let (buffer, made) = encode(rate, channels, &format).ok()??;
        // Kind of AAC, rate and channels (ISO/IEC 14496-3, 1.6.2.1): what players
        // were told must hold for the silence too.
        if described(&caps) != described(&made) {
            return None;
        }
        let length_ns = SAMPLES * 1_000_000_000 / u64::try_from(rate).ok()?;
        Some(Self { buffer, caps, length_ns })
    }

    /// Nanoseconds that a packet lasts.
    pub fn length_ns(&self) -> u64 {
        self.length_ns
    }

    /// The packet for a moment.
    pub fn at(&self, pts: Pts) -> Sound {
        let unit = SoundUnit { buffer: self.buffer.clone(), caps: self.caps.clone(), pts };
        Sound { unit, opening: 0, source_ns: 0 }
    }
}

/// The first two bytes of the description of AAC, where it has one.
fn described(caps: &gst::Caps) -> Option<Vec<u8>> {
    let data = caps.structure(0)?.get::<gst::Buffer>("codec_data").ok()?;
    let data = data.map_readable().ok()?;
    data.get(..2).map(<[u8]>::to_vec)
}

fn encode(
    rate: i32,
    channels: i32,
    format: &str,
) -> Result<Option<(gst::Buffer, gst::Caps)>, Error> {
    let tone = make("audiotestsrc")?;
    tone.set_property_from_str("wave", "silence");
    tone.set_property("num-buffers", 32i32);
    let raw = gst::Caps::builder("audio/x-raw").field("rate", rate).field("channels", channels);
    let aac = gst::Caps::builder("audio/mpeg").field("mpegversion", 4i32);
    let aac = aac.field("stream-format", format).field("framed", true);
    let sink = gst_app::AppSink::builder().sync(false).build();
    let chain = [
        tone,
        capsfilter(&raw.build())?,
        make("audioconvert")?,
        make("avenc_aac")?,
        make("aacparse")?,
        capsfilter(&aac.build())?,
        sink.clone().upcast(),
    ];
    let pipeline = gst::Pipeline::new();
    add_chain(&pipeline, &chain.iter().collect::<Vec<_>>())?;
    let started = pipeline.set_state(gst::State::Playing);
    let sample = started
        .ok()
        .and_then(|_| (0..=SETTLED).map_while(|_| sink.try_pull_sample(PATIENCE)).nth(SETTLED));
    let _ = pipeline.set_state(gst::State::Null);
    Ok(sample.and_then(|sample| {
        let mut buffer = sample.buffer()?.copy_deep().ok()?;
        let length =
            gst::ClockTime::from_nseconds(SAMPLES * 1_000_000_000 / u64::try_from(rate).ok()?);
        buffer.make_mut().set_duration(length);
        Some((buffer, sample.caps_owned()?))
    }))
}
