//! Decodes the first sound track of a recording, only to tell how loud it is:
//!
//! ```text
//! appsrc - parser - decoder - audioconvert - appsink (F32LE, as many channels as there are)
//! ```
//!
//! It runs in a pipeline of its own, so that a fault in the sound ends the
//! sound alone.

use std::sync::Arc;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;

use super::Error;
use super::elements::{
    add_chain, audio_decoder_for, capsfilter, codec_name, make, packet_source, parser_for,
};
use super::intake::{Chain, Intake};
use crate::clock::MediaClock;
use crate::frame::Pts;
use crate::sync_cell::Locked;
use crate::timeline::cues::{Level, peaks};

/// Bytes of packets that may wait for the decoder.
const WAITING_BYTES: u64 = 4 << 20;
/// Stretches of sound per second that are told apart.
const WINDOWS_PER_S: usize = 100;

/// The clock's number for the sound where only one track of it is taken;
/// pictures have 0.
pub(super) const SOUND_LANE: usize = 1;

/// Takes levels, and says whether more are wanted. Dropped when no more come.
pub(super) type Listener = Arc<dyn Fn(Vec<Level>) -> bool + Send + Sync>;

/// A sound track on its way to numbers.
#[derive(Debug)]
pub(super) struct Loudness {
    intake: Intake,
    state: Arc<State>,
}

struct State {
    listener: Locked<Option<Listener>>,
    fault: Locked<Option<String>>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("fault", &self.fault).finish_non_exhaustive()
    }
}

impl State {
    fn fail(&self, why: &str) {
        self.fault.lock().get_or_insert_with(|| why.trim_end_matches('.').to_owned());
        self.listener.take();
    }
}

impl Loudness {
    /// Hears the track that the clock knows by `lane`.
    pub(super) fn new(lane: usize, listener: Listener) -> Self {
        let state = State { listener: Locked::new(Some(listener)), fault: Locked::default() };
        Self { intake: Intake::new(lane), state: Arc::new(state) }
    }

    /// Why it can no longer be heard, if so.
    pub(super) fn fault(&self) -> Option<String> {
        self.state.fault.lock().clone()
    }

    /// Takes a packet from the demultiplexer; never fails.
    pub(super) fn push(&self, sample: &gst::Sample, clock: &Locked<MediaClock>) {
        let Some(packet) = sample.buffer() else { return };
        if self.state.listener.lock().is_none() {
            return;
        }
        // Nothing is heard of what lies before the start of the stream.
        let Some(buffer) = self.intake.timed(sample, packet, clock) else { return };
        let build = |caps: &gst::Caps| build(&self.state, caps);
        if let Err(error) = self.intake.push(sample, buffer, build) {
            self.state.fail(&error.to_string());
        }
    }

    /// Marks the end of the track.
    pub(super) fn end(&self) {
        if !self.intake.end() {
            self.state.listener.take();
        }
    }

    /// Ends at once; a packet that waits is let go.
    pub(super) fn stop(&self) {
        self.state.listener.take();
        self.intake.stop();
    }
}

fn build(state: &Arc<State>, caps: &gst::Caps) -> Result<Chain, Error> {
    let input = packet_source(caps, WAITING_BYTES);
    let mut chain: Vec<gst::Element> = vec![input.clone().upcast()];
    if caps.structure(0).is_none_or(|s| s.name() != "audio/x-raw") {
        let codec = codec_name(caps);
        chain.extend(parser_for(caps));
        chain.push(audio_decoder_for(caps).ok_or(Error::NoDecoder { codec })?);
    }
    let samples = gst::Caps::builder("audio/x-raw")
        .field("format", "F32LE")
        .field("layout", "interleaved")
        .build();
    let output = gst_app::AppSink::builder().sync(false).async_(false).max_buffers(8).build();
    chain.extend([make("audioconvert")?, capsfilter(&samples)?, output.clone().upcast()]);
    let pipeline = gst::Pipeline::new();
    add_chain(&pipeline, &chain.iter().collect::<Vec<_>>())?;
    let (on_sound, on_eos) = (Arc::clone(state), Arc::clone(state));
    output.set_callbacks(
        gst_app::AppSinkCallbacks::builder()
            .new_sample(move |sink| {
                let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                let listener = on_sound.listener.lock().clone().ok_or(gst::FlowError::Eos)?;
                let goes_on = listener(levels_of(&sample).unwrap_or_default());
                goes_on.then_some(gst::FlowSuccess::Ok).ok_or(gst::FlowError::Eos)
            })
            .eos(move |_| {
                on_eos.listener.take();
            })
            .build(),
    );
    let on_error = Arc::clone(state);
    Chain::start(pipeline, input, move |why| on_error.fail(why))
}

fn levels_of(sample: &gst::Sample) -> Option<Vec<Level>> {
    let (buffer, caps) = (sample.buffer()?, sample.caps()?.structure(0)?);
    let rate = usize::try_from(caps.get::<i32>("rate").ok()?).ok().filter(|r| *r > 0)?;
    let channels = u32::try_from(caps.get::<i32>("channels").ok()?).ok()?;
    let start = buffer.pts()?.nseconds();
    let data = buffer.map_readable().ok()?;
    let samples: Vec<f32> =
        data.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    let at = |frame: usize| Pts(start + frame as u64 * 1_000_000_000 / rate as u64);
    let window = (rate / WINDOWS_PER_S).max(1);
    let levels = peaks(&samples, channels as usize, window).map(|(first, frames, peak)| Level {
        start: at(first),
        end: at(first + frames),
        peak,
        channels,
    });
    Some(levels.collect())
}
