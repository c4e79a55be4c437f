//! Encodes the painted pictures of a live stream, once for everybody:
//!
//! ```text
//! appsrc (I420) - x264enc - h264parse - appsink ─▶ hub
//! ```
//!
//! One encoder thread: slices of one picture in several threads make network
//! abstraction units that some players take for damage, and frame threads hold
//! pictures back.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;

use super::super::elements::{add_chain, capsfilter, make, running_time};
use super::super::output::{even_info, painted, picture_pool};
use super::super::{Error, Frame, keep_verdicts_only};
use super::hub::{Hub, SoundUnit, Unit};
use super::sound::Sound;
use super::video::PictureFormat;
use crate::frame::{PictureMut, Pts};
use crate::sync_cell::Locked;

/// Pictures in the encoder whose arrival is remembered.
const ARRIVALS: usize = 64;

/// How a live picture is encoded.
#[derive(Clone, Debug)]
pub struct EncoderSettings {
    /// An x264 preset.
    pub preset: String,
    /// Constant quality, 0 (lossless) to 51.
    pub crf: u32,
    /// Bit rate, at most, kilobits per second.
    pub max_bitrate_kbps: u32,
    /// Pictures between key frames, at most.
    pub keyframe_interval: u32,
}

/// When which picture came in.
type Arrivals = Arc<Locked<VecDeque<(u64, Instant)>>>;

/// A running encoder.
pub struct LiveEncoder {
    pipeline: gst::Pipeline,
    input: gst_app::AppSrc,
    pool: gst::BufferPool,
    info: gst_video::VideoInfo,
    hub: Arc<Hub>,
    arrivals: Arrivals,
}

impl std::fmt::Debug for LiveEncoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LiveEncoder").field("hub", &self.hub).finish_non_exhaustive()
    }
}

impl LiveEncoder {
    /// Starts an encoder for pictures of `format` that fills `hub` and tells
    /// `encoded` how long each picture took since it arrived.
    ///
    /// # Errors
    /// When an element is missing or refuses the format.
    pub fn start(
        format: &PictureFormat,
        settings: &EncoderSettings,
        hub: &Arc<Hub>,
        encoded: impl Fn(Duration) + Send + 'static,
    ) -> Result<Self, Error> {
        let info = even_info(&format.0, 1)?;
        let caps = info.to_caps().map_err(|e| Error::pipeline("describing the picture", e))?;
        let pool = picture_pool(&info)?;
        let input = gst_app::AppSrc::builder()
            .caps(&caps)
            .format(gst::Format::Time)
            .is_live(true)
            .max_buffers(1)
            .max_bytes(0)
            .block(true)
            .build();
        let encode = x264(settings)?;
        let parse = make("h264parse")?;
        parse.set_property("config-interval", -1i32);
        let units = gst::Caps::builder("video/x-h264")
            .field("stream-format", "byte-stream")
            .field("alignment", "au")
            .build();
        let filter = capsfilter(&units)?;
        let sink = gst_app::AppSink::builder().sync(false).async_(false).build();
        sink.set_property("enable-last-sample", false);
        let arrivals = Arrivals::default();
        let (known, target) = (Arc::clone(&arrivals), Arc::clone(hub));
        let pad = encode.static_pad("src").ok_or(Error::Map)?;
        let number = hub.set_encoder(&pad);
        sink.set_callbacks(
            gst_app::AppSinkCallbacks::builder()
                .new_sample(move |sink| {
                    let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                    let Some(buffer) = sample.buffer_owned() else {
                        return Ok(gst::FlowSuccess::Ok);
                    };
                    // The encoder starts its times at a thousand hours, and says so
                    // in the segment.
                    let pts = buffer.pts().and_then(|pts| running_time(&sample, pts));
                    let pts = pts.and_then(|pts| u64::try_from(pts).ok()).unwrap_or(0);
                    let arrived = {
                        let mut known = known.lock();
                        let at = known.iter().position(|(n, _)| *n == pts);
                        at.and_then(|at| known.drain(..=at).next_back())
                    };
                    let keyframe = !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT);
                    target.picture(&Unit { buffer, pts: Pts(pts), keyframe, encoder: number });
                    if let Some((_, arrived)) = arrived {
                        encoded(arrived.elapsed());
                    }
                    Ok(gst::FlowSuccess::Ok)
                })
                .build(),
        );
        let pipeline = gst::Pipeline::new();
        keep_verdicts_only(&pipeline);
        let source = input.clone().upcast::<gst::Element>();
        let sink = sink.upcast::<gst::Element>();
        add_chain(&pipeline, &[&source, &encode, &parse, &filter, &sink])?;
        pipeline
            .set_state(gst::State::Playing)
            .map_err(|e| Error::pipeline("starting the encoder", e))?;
        Ok(Self { pipeline, input, pool, info, hub: Arc::clone(hub), arrivals })
    }

    /// Paints over `frame` and encodes it, waiting while the picture before it
    /// is being encoded. `arrived` is when it came in, unless it is a slate.
    /// Returns the painted picture.
    ///
    /// # Errors
    /// When the encoder has failed.
    pub fn push(
        &self,
        frame: Frame,
        arrived: Option<Instant>,
        paint: impl FnOnce(&mut PictureMut<'_>),
    ) -> Result<Frame, Error> {
        let (pts, duration) = (frame.pts, frame.duration);
        let buffer = painted(frame, &self.pool, &self.info, 1, paint)?;
        if let Some(arrived) = arrived {
            let mut arrivals = self.arrivals.lock();
            arrivals.push_back((pts.0, arrived));
            if arrivals.len() > ARRIVALS {
                arrivals.pop_front();
            }
        }
        let copy = buffer.clone();
        self.input.push_buffer(buffer).map_err(|e| Error::pipeline("encoding", self.why(e)))?;
        Ok(Frame { pts, duration, buffer: copy, info: self.info.clone() })
    }

    /// Hands sound to the hub, beside the pictures.
    pub fn push_sound(&self, sound: Sound) {
        let SoundUnit { mut buffer, caps, pts } = sound.unit;
        let target = buffer.make_mut();
        target.set_pts(gst::ClockTime::from_nseconds(pts.0));
        target.set_dts(None);
        self.hub.sound(&SoundUnit { buffer, caps, pts });
    }

    fn why(&self, error: gst::FlowError) -> String {
        let message = self.pipeline.bus().and_then(|b| b.pop_filtered(&[gst::MessageType::Error]));
        match message.as_ref().map(|m| m.view()) {
            Some(gst::MessageView::Error(e)) => e.error().to_string(),
            _ => error.to_string(),
        }
    }
}

impl Drop for LiveEncoder {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
        let _ = self.pool.set_active(false);
    }
}

fn x264(settings: &EncoderSettings) -> Result<gst::Element, Error> {
    let element = make("x264enc")?;
    element.set_property_from_str("tune", "zerolatency");
    element.set_property_from_str("speed-preset", &settings.preset);
    element.set_property("threads", 1u32);
    element.set_property("sliced-threads", false);
    element.set_property("bframes", 0u32);
    element.set_property("rc-lookahead", 0i32);
    // Constant quality up to the bit rate, which a buffer of half a second caps.
    element.set_property_from_str("pass", "qual");
    element.set_property("quantizer", settings.crf);
    element.set_property("bitrate", settings.max_bitrate_kbps);
    element.set_property("vbv-buf-capacity", 500u32);
    element.set_property("key-int-max", settings.keyframe_interval);
    Ok(element)
}
