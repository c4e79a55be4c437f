//! Silence in the form of a stream's sound, for the time that there is none:
//! players of a mount that has sound wait for it, or end. Used by the compositor,
//! for every form of sound that mounts have.

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;

use super::super::Error;
use super::super::elements::{add_chain, capsfilter, make};
use super::hub::SoundUnit;
use super::sound::Sound;
use crate::frame::Pts;

/// How long the encoder may take.
const PATIENCE: gst::ClockTime = gst::ClockTime::from_seconds(2);
/// What a packet must have in common with those of the stream.
const COMMON: [&str; 7] =
    ["mpegversion", "layer", "stream-format", "framed", "alignment", "rate", "channels"];

/// Who makes sound of one form.
struct Maker {
    encoder: &'static str,
    parser: &'static str,
    /// The packet that is taken. Those of AAC before it hold the encoder's start;
    /// those of MPEG audio behind the first may continue the one before.
    packet: usize,
}

/// Who makes sound of the form of `caps`; none for a form that mounts have not.
fn maker(caps: &gst::Caps) -> Option<Maker> {
    let s = caps.structure(0)?;
    let number = |field| s.get::<i32>(field).ok();
    let of = |encoder, parser, packet| Some(Maker { encoder, parser, packet });
    match (s.name().as_str(), number("mpegversion"), number("layer")) {
        ("audio/mpeg", Some(4), _) => of("avenc_aac", "aacparse", 4),
        ("audio/mpeg", Some(1), Some(2)) => of("avenc_mp2", "mpegaudioparse", 0),
        ("audio/mpeg", Some(1), Some(3)) => of("lamemp3enc", "mpegaudioparse", 0),
        ("audio/x-ac3", ..) => of("avenc_ac3", "ac3parse", 0),
        ("audio/x-opus", ..) => of("opusenc", "opusparse", 0),
        _ => None,
    }
}

/// A packet of silence that can be sent again and again.
#[derive(Clone, Debug)]
pub struct Silence {
    buffer: gst::Buffer,
    caps: gst::Caps,
    length_ns: u64,
}

impl Silence {
    /// Silence that goes on where `sound` stopped; none where it cannot be made
    /// in that form.
    pub fn like(sound: &Sound) -> Option<Self> {
        Self::of(sound.unit.caps.clone())
    }

    fn of(caps: gst::Caps) -> Option<Self> {
        let sample = encode(&maker(&caps)?, &caps).ok()??;
        // Kind of AAC, rate and channels (ISO/IEC 14496-3, 1.6.2.1): what players
        // were told must hold for the silence too.
        if described(&caps) != described(&sample.caps_owned()?) {
            return None;
        }
        let buffer = sample.buffer()?.copy_deep().ok()?;
        let length_ns = buffer.duration()?.nseconds();
        (length_ns > 0).then_some(Self { buffer, caps, length_ns })
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

/// The packet that `maker` makes of silence, in the form of `caps`.
fn encode(maker: &Maker, caps: &gst::Caps) -> Result<Option<gst::Sample>, Error> {
    let Some(s) = caps.structure(0) else { return Ok(None) };
    let with = |name: &str, fields: &[&str]| {
        let mut wanted = gst::Structure::new_empty(name);
        for &field in fields {
            if let Ok(value) = s.value(field) {
                wanted.set_value(field, value.clone());
            }
        }
        capsfilter(&gst::Caps::from(wanted))
    };
    let tone = make("audiotestsrc")?;
    tone.set_property_from_str("wave", "silence");
    tone.set_property("num-buffers", 32i32);
    let sink = gst_app::AppSink::builder().sync(false).build();
    let chain = [
        tone,
        make("audioconvert")?,
        with("audio/x-raw", &["rate", "channels"])?,
        make(maker.encoder)?,
        make(maker.parser)?,
        with(s.name(), &COMMON)?,
        sink.clone().upcast(),
    ];
    let pipeline = gst::Pipeline::new();
    add_chain(&pipeline, &chain.iter().collect::<Vec<_>>())?;
    let started = pipeline.set_state(gst::State::Playing);
    let packets = || (0..=maker.packet).map_while(|_| sink.try_pull_sample(PATIENCE));
    let sample = started.ok().and_then(|_| packets().nth(maker.packet));
    let _ = pipeline.set_state(gst::State::Null);
    Ok(sample)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The loudest sample of ten packets of silence in a row, each after the
    /// other, as a player has it.
    fn loudest(silence: &Silence, decoder: &str) -> f32 {
        let text = format!(
            "appsrc name=in format=time ! {decoder} ! audioconvert ! \
             audio/x-raw,format=F32LE ! appsink name=out sync=false"
        );
        let pipeline = gst::parse::launch(&text).unwrap().downcast::<gst::Pipeline>().unwrap();
        let input = pipeline.by_name("in").unwrap().downcast::<gst_app::AppSrc>().unwrap();
        let output = pipeline.by_name("out").unwrap().downcast::<gst_app::AppSink>().unwrap();
        input.set_caps(Some(&silence.caps));
        pipeline.set_state(gst::State::Playing).unwrap();
        for n in 0..10 {
            let mut buffer = silence.at(Pts(n * silence.length_ns)).unit.buffer;
            buffer.make_mut().set_pts(gst::ClockTime::from_nseconds(n * silence.length_ns));
            input.push_buffer(buffer).unwrap();
        }
        input.end_of_stream().unwrap();
        let mut samples = Vec::new();
        while let Some(sample) = output.try_pull_sample(gst::ClockTime::from_seconds(20)) {
            let map = sample.buffer().unwrap().map_readable().unwrap();
            let floats = map.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
            samples.extend(floats.map(f32::abs));
        }
        pipeline.set_state(gst::State::Null).unwrap();
        assert!(samples.len() > 1000, "{decoder}: {} samples", samples.len());
        samples.into_iter().fold(0.0, f32::max)
    }

    #[test]
    fn there_is_silence_in_every_form_of_sound_that_mounts_have() {
        gst::init().unwrap();
        for (caps, ms, decoder) in [
            (
                "audio/mpeg,mpegversion=4,stream-format=raw,framed=true,rate=48000",
                21.333,
                "avdec_aac",
            ),
            ("audio/mpeg,mpegversion=1,layer=2,framed=true,rate=48000", 24.0, "avdec_mp2float"),
            ("audio/mpeg,mpegversion=1,layer=3,framed=true,rate=44100", 26.122, "avdec_mp3"),
            ("audio/x-ac3,framed=true,alignment=frame,rate=48000", 32.0, "avdec_ac3"),
            ("audio/x-opus,channel-mapping-family=0,rate=48000", 20.0, "opusdec"),
        ] {
            let caps: gst::Caps = format!("{caps},channels=2").parse().unwrap();
            // With the description that goes with it.
            let made = encode(&maker(&caps).unwrap(), &caps).unwrap().unwrap();
            let caps = made.caps_owned().unwrap();
            let silence = Silence::of(caps.clone()).unwrap_or_else(|| panic!("none for {caps}"));
            let found = silence.length_ns() as f64 / 1e6;
            assert!((found - ms).abs() < 0.01, "{caps}: {found} ms");
            assert!(loudest(&silence, decoder) < 1e-3, "{caps}");
        }
        let raw: gst::Caps = "audio/x-raw,rate=48000,channels=2".parse().unwrap();
        assert!(Silence::of(raw).is_none());
    }
}
