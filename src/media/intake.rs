//! The way of one track's packets into a pipeline of its own, which is built at
//! the first of them: so a fault in the track ends the track alone.

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;

use super::Error;
use super::elements::running_time;
use super::track::correct_caps;
use crate::clock::MediaClock;
use crate::sync_cell::Locked;

/// A running pipeline and where it takes packets.
#[derive(Debug)]
pub(super) struct Chain {
    pipeline: gst::Pipeline,
    input: gst_app::AppSrc,
}

impl Chain {
    /// Starts it; `failed` gets the text of an error in it.
    pub(super) fn start(
        pipeline: gst::Pipeline,
        input: gst_app::AppSrc,
        failed: impl Fn(&str) + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        let chain = Self { pipeline, input };
        chain.pipeline.bus().ok_or(Error::Map)?.set_sync_handler(move |_, message| {
            if let gst::MessageView::Error(e) = message.view() {
                failed(&e.error().to_string());
            }
            gst::BusSyncReply::Drop
        });
        let started = chain.pipeline.set_state(gst::State::Playing);
        started.map_err(|e| Error::pipeline("starting a track", e))?;
        Ok(chain)
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

/// Takes the packets of one track from the demultiplexer.
#[derive(Debug)]
pub(super) struct Intake {
    /// The clock's number for the track.
    lane: usize,
    chain: Locked<Option<Chain>>,
}

impl Intake {
    pub(super) fn new(lane: usize) -> Self {
        Self { lane, chain: Locked::default() }
    }

    /// The packet in stream time; `None` when it lies before the stream's start.
    pub(super) fn timed(
        &self,
        sample: &gst::Sample,
        packet: &gst::BufferRef,
        clock: &Locked<MediaClock>,
    ) -> Option<gst::Buffer> {
        let length = packet.duration().map_or(0, gst::ClockTime::nseconds);
        let raw = packet.pts().and_then(|pts| running_time(sample, pts));
        let pts = match raw {
            Some(raw) => {
                let pts = clock.lock().map(self.lane, raw, length)?;
                Some(gst::ClockTime::from_nseconds(pts.0))
            }
            None => None,
        };
        let mut buffer = packet.copy();
        let meta = buffer.make_mut();
        meta.set_dts(None);
        meta.set_pts(pts);
        Some(buffer)
    }

    /// Hands a packet to the pipeline, which `build` makes for packets of the
    /// sample's kind when there is none yet.
    ///
    /// # Errors
    /// That of `build`.
    pub(super) fn push(
        &self,
        sample: &gst::Sample,
        buffer: gst::Buffer,
        build: impl FnOnce(&gst::Caps) -> Result<Chain, Error>,
    ) -> Result<(), Error> {
        let input = {
            let mut chain = self.chain.lock();
            let ready = match chain.take() {
                Some(ready) => ready,
                None => {
                    let caps = sample.caps_owned().unwrap_or_else(gst::Caps::new_empty);
                    build(&correct_caps(caps, &buffer))?
                }
            };
            chain.insert(ready).input.clone()
        };
        // A refused packet means the pipeline has failed; its bus says why.
        let _ = input.push_buffer(buffer);
        Ok(())
    }

    /// Marks the end of the track. False when it never began.
    pub(super) fn end(&self) -> bool {
        let chain = self.chain.lock();
        if let Some(chain) = &*chain {
            let _ = chain.input.end_of_stream();
        }
        chain.is_some()
    }

    /// Ends at once; a packet that waits is let go.
    pub(super) fn stop(&self) {
        let pipeline = self.chain.lock().as_ref().map(|c| c.pipeline.clone());
        if let Some(pipeline) = pipeline {
            let _ = pipeline.set_state(gst::State::Null);
        }
    }
}
