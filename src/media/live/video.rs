//! The picture of a live stream: its fixed format, pictures made from planes,
//! and the branch that decodes a source's video into that format.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;

use super::super::elements::{add_chain, codec_name, make, parser_for, video_decoder_for};
use super::super::source::{link, start};
use super::super::upright::{Upright, fix, info_of, picture_sink};
use super::super::{Error, Frame};
use super::source::Shared;
use crate::frame::{Colorimetry, Pts, Size};
use crate::sync_cell::Locked;

/// Compressed video that may wait for the decoder.
const COMPRESSED_BYTES: u32 = 6 << 20;
/// Decoded pictures whose arrival is remembered.
const ARRIVALS: usize = 128;

/// Size, pixel shape, colours and rate of pictures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PictureFormat(pub(in crate::media) gst_video::VideoInfo);

impl PictureFormat {
    /// Square pixels in the colours that are usual for the size.
    ///
    /// # Errors
    /// When there are no pictures of that size.
    pub fn plain(size: Size, fps: u32) -> Result<Self, Error> {
        let pixels = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let fps = gst::Fraction::new(i32::try_from(fps).unwrap_or(25), 1);
        let (width, height) = (pixels(size.width), pixels(size.height));
        gst_video::VideoInfo::builder(gst_video::VideoFormat::I420, width, height)
            .fps(fps)
            .build()
            .map(Self)
            .map_err(|e| Error::pipeline("describing the picture", e))
    }

    /// Size in pixels.
    pub fn size(&self) -> Size {
        Size::new(self.0.width() as usize, self.0.height() as usize)
    }

    /// Colour description.
    pub fn colorimetry(&self) -> Colorimetry {
        super::super::frame::colorimetry_of(&self.0)
    }

    /// Width of a pixel divided by its height.
    pub fn pixel_aspect(&self) -> f64 {
        let par = self.0.par();
        f64::from(par.numer()) / f64::from(par.denom())
    }
}

impl Frame {
    /// A frame at `pts` from the planes of an I420 picture, rows behind each
    /// other without gaps.
    ///
    /// # Errors
    /// When the planes do not fit the format.
    pub fn from_planes(
        format: &PictureFormat,
        planes: &[Vec<u8>; 3],
        pts: Pts,
        duration: u64,
    ) -> Result<Self, Error> {
        let mut buffer =
            gst::Buffer::with_size(format.0.size()).map_err(|e| Error::pipeline("a picture", e))?;
        super::super::output::with_picture_mut(buffer.make_mut(), &format.0, |picture| {
            let sizes = [picture.size, picture.size.chroma(), picture.size.chroma()];
            for ((to, from), size) in picture.planes.iter_mut().zip(planes).zip(sizes) {
                for (y, row) in from.chunks_exact(size.width.max(1)).take(size.height).enumerate() {
                    to.row_mut(y, size.width).copy_from_slice(row);
                }
            }
        })?;
        Ok(Self { pts, duration: Some(duration), buffer, info: format.0.clone() })
    }

    /// The format of the picture.
    pub fn format(&self) -> PictureFormat {
        PictureFormat(self.info.clone())
    }

    /// The same picture at another moment.
    #[must_use]
    pub fn at(mut self, pts: Pts) -> Self {
        self.pts = pts;
        self
    }
}

/// Decodes the video of `pad` into pictures for the outlet.
pub(super) fn add_branch(
    pipeline: &gst::Pipeline,
    pad: &gst::Pad,
    caps: &gst::Caps,
    shared: &Arc<Shared>,
) -> Result<(), Error> {
    let queue = make("queue")?;
    queue.set_property("max-size-buffers", 0u32);
    queue.set_property("max-size-time", 0u64);
    queue.set_property("max-size-bytes", COMPRESSED_BYTES);
    let mut chain = vec![queue.clone()];
    let is_raw = caps.structure(0).is_some_and(|s| s.name() == "video/x-raw");
    let mut last_coded = queue.clone();
    if !is_raw {
        chain.extend(parser_for(caps));
        let decoder =
            video_decoder_for(caps).ok_or_else(|| Error::NoDecoder { codec: codec_name(caps) })?;
        // Frame threads would hold one picture back for each.
        for (name, value) in [("thread-type", "slice"), ("max-threads", "1")] {
            if decoder.has_property(name) {
                decoder.set_property_from_str(name, value);
            }
        }
        last_coded = decoder.clone();
        chain.push(decoder);
    }
    let arrivals = note_arrivals(&last_coded);
    let format = shared.options.format.as_ref().map(|format| &format.0);
    let upright = Upright::new("greedyh", format)?;
    upright.scale.set_property("add-borders", true);
    chain.extend(upright.chain);
    let sink = picture_sink(shared.paced);
    sink.set_callbacks(callbacks(shared, &upright.fixed, arrivals));
    chain.push(sink.upcast());
    let chain: Vec<&gst::Element> = chain.iter().collect();
    add_chain(pipeline, &chain)?;
    start(&chain.iter().rev().copied().collect::<Vec<_>>())?;
    link(pad, &queue)
}

/// When which picture left the decoder.
type Arrivals = Arc<Locked<VecDeque<(gst::ClockTime, Instant)>>>;

fn note_arrivals(decoder: &gst::Element) -> Arrivals {
    let arrivals = Arrivals::default();
    let noted = Arc::clone(&arrivals);
    if let Some(pad) = decoder.static_pad("src") {
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, probe| {
            if let Some(pts) = probe.buffer().and_then(|b| b.pts()) {
                let mut noted = noted.lock();
                noted.push_back((pts, Instant::now()));
                if noted.len() > ARRIVALS {
                    noted.pop_front();
                }
            }
            gst::PadProbeReturn::Ok
        });
    }
    arrivals
}

/// Turns decoded buffers into frames. Without a format given, the first frame
/// fixes it.
fn callbacks(
    shared: &Arc<Shared>,
    fixed: &gst::Element,
    arrivals: Arrivals,
) -> gst_app::AppSinkCallbacks {
    let shared = Arc::clone(shared);
    let fixed = fixed.downgrade();
    let mut is_fixed = shared.options.format.is_some();
    let paced = shared.paced;
    gst_app::AppSinkCallbacks::builder()
        .new_sample(move |sink| {
            let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
            let info = info_of(&sample)?;
            if !std::mem::replace(&mut is_fixed, true) {
                fix(&fixed, &info);
            }
            let pts = sample.buffer().and_then(|b| b.pts());
            let mut arrived = pts.and_then(|pts| {
                let mut arrivals = arrivals.lock();
                let at = arrivals.iter().position(|(known, _)| *known == pts)?;
                let (_, arrived) = arrivals.drain(..=at).next_back()?;
                Some(arrived)
            });
            if paced {
                // It was decoded early, and waited for its time.
                arrived = None;
            }
            shared.deliver(&sample, info, arrived.unwrap_or_else(Instant::now));
            Ok(gst::FlowSuccess::Ok)
        })
        .build()
}
