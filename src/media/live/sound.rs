//! The sound of a live source: the branch that takes its packets out, through
//! the same `track` as in recordings, to the outlet. Called by `source`.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;
use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;

use super::super::elements::codec_name;
use super::super::hearing::Hearing;
use super::super::loudness::SOUND_LANE;
use super::super::source::{link, sink_silently, start};
use super::super::track::Track;
use super::super::{Container, Error};
use super::hub::SoundUnit;
use super::source::Shared;
use crate::frame::Pts;

/// A packet of sound; its time counts from the opening of the source.
#[derive(Clone, Debug)]
pub struct Sound {
    pub(super) unit: SoundUnit,
    /// Number of the opening it comes from.
    pub opening: u64,
    /// Its time as the source has it, nanoseconds.
    pub source_ns: i64,
}

impl Sound {
    /// Its stream time.
    pub fn pts(&self) -> Pts {
        self.unit.pts
    }

    /// The stream time at which it is over.
    pub fn end(&self) -> Pts {
        let length = self.unit.buffer.duration().map_or(0, gst::ClockTime::nseconds);
        Pts(self.unit.pts.0 + length)
    }

    /// True when both have the same form.
    pub fn is_like(&self, other: &Self) -> bool {
        self.unit.caps == other.unit.caps
    }

    /// The same packet at another moment.
    #[must_use]
    pub fn at(mut self, pts: Pts) -> Self {
        self.unit.pts = pts;
        self
    }
}

/// The sound's track and the thread that hands its packets on.
pub(super) type Pumped = (Arc<Track>, Option<JoinHandle<()>>);

/// Takes the sound out, packet by packet, unchanged where players can have it
/// so, else as AAC.
pub(super) fn add_sound(
    pipeline: &gst::Pipeline,
    pad: &gst::Pad,
    caps: &gst::Caps,
    shared: &Arc<Shared>,
) -> Result<(), Error> {
    let Ok(track) = Track::plan(SOUND_LANE, caps, pad, Container::Mp4) else {
        tracing::info!("sound left out: {}", codec_name(caps));
        return sink_silently(pipeline, pad);
    };
    let track = Arc::new(track);
    let hearing = Arc::new(Hearing::new(SOUND_LANE));
    *shared.hearing.lock() = Some(Arc::clone(&hearing));
    let sink = gst_app::AppSink::builder().sync(shared.paced).async_(false).build();
    sink.set_property("enable-last-sample", false);
    let (on_packet, clock) = (Arc::clone(&track), Arc::clone(shared));
    sink.set_callbacks(
        gst_app::AppSinkCallbacks::builder()
            .new_sample(move |sink| {
                let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                on_packet.push(&sample, &clock.clock);
                hearing.push(&sample, &clock.clock);
                Ok(gst::FlowSuccess::Ok)
            })
            .build(),
    );
    let sink = sink.upcast::<gst::Element>();
    pipeline.add(&sink).map_err(|e| Error::pipeline("adding elements", e))?;
    link(pad, &sink)?;
    let (pumped, owner) = (Arc::clone(&track), Arc::downgrade(shared));
    let pump = std::thread::Builder::new()
        .name("sound".to_owned())
        .spawn(move || {
            while let Some(shared) = owner.upgrade().filter(|s| !s.closed.load(Relaxed)) {
                match pumped.next(Duration::from_millis(100)) {
                    Ok(sample) => hand_on(&sample, &shared),
                    Err(true) => break,
                    Err(false) => {}
                }
            }
        })
        .map_err(|e| Error::pipeline("starting a thread", e))?;
    *shared.track.lock() = Some((track, Some(pump)));
    start(&[&sink])
}

fn hand_on(sample: &gst::Sample, shared: &Shared) {
    let (Some(buffer), Some(caps)) = (sample.buffer_owned(), sample.caps_owned()) else { return };
    let Some(pts) = buffer.pts().map(gst::ClockTime::nseconds) else { return };
    let unit = SoundUnit { buffer, caps, pts: Pts(pts) };
    let source_ns = i64::try_from(pts).unwrap_or(i64::MAX) - shared.clock.lock().offset(SOUND_LANE);
    // Nobody takes it before the first picture.
    let sound = Sound { unit, opening: shared.options.opening, source_ns };
    let _ = shared.outlet.sound.try_send(sound);
}
