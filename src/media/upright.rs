//! What stands behind every video decoder: pictures become upright, progressive
//! I420, and all of them get the format that was given or that the first one has.
//!
//! ```text
//! decoder - videoconvert - deinterlace - videoflip - videoscale - videoconvert - appsink
//! ```

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;

use super::Error;
use super::elements::{capsfilter, make};

/// The elements between a decoder and the sink of its pictures.
pub(super) struct Upright {
    /// All of them, in order.
    pub(super) chain: Vec<gst::Element>,
    /// The one that meets changes of size.
    pub(super) scale: gst::Element,
    /// The one that holds the format.
    pub(super) fixed: gst::Element,
}

impl Upright {
    /// Interlaced pictures are deinterlaced by `method`; without a `format` they
    /// keep their own.
    pub(super) fn new(method: &str, format: Option<&gst_video::VideoInfo>) -> Result<Self, Error> {
        let i420 = gst_video::VideoCapsBuilder::new().format(gst_video::VideoFormat::I420).build();
        let deinterlace = make("deinterlace")?;
        deinterlace.set_property_from_str("fields", "top");
        deinterlace.set_property_from_str("method", method);
        let flip = make("videoflip")?;
        flip.set_property_from_str("video-direction", "auto");
        let scale = make("videoscale")?;
        let fixed = capsfilter(&format.map_or_else(|| progressive_i420().build(), caps_of))?;
        let chain = vec![
            make("videoconvert")?,
            capsfilter(&i420)?,
            deinterlace,
            flip,
            scale.clone(),
            make("videoconvert")?,
            fixed.clone(),
        ];
        Ok(Self { chain, scale, fixed })
    }
}

/// Gives all further pictures that pass `filter` the format of this one.
pub(super) fn fix(filter: &gst::glib::WeakRef<gst::Element>, info: &gst_video::VideoInfo) {
    if let Some(filter) = filter.upgrade() {
        filter.set_property("caps", caps_of(info));
    }
}

/// A sink that hands pictures on one at a time.
pub(super) fn picture_sink(paced: bool) -> gst_app::AppSink {
    let sink = gst_app::AppSink::builder().sync(paced).async_(false).max_buffers(1).build();
    sink.set_property("enable-last-sample", false);
    sink
}

/// The format of the pictures in a sample.
pub(super) fn info_of(sample: &gst::Sample) -> Result<gst_video::VideoInfo, gst::FlowError> {
    let caps = sample.caps().ok_or(gst::FlowError::NotNegotiated)?;
    gst_video::VideoInfo::from_caps(caps).map_err(|_| gst::FlowError::NotNegotiated)
}

/// Interlaced pictures that slipped past the deinterlacer must not get on.
fn progressive_i420() -> gst_video::VideoCapsBuilder<gst::caps::NoFeature> {
    gst_video::VideoCapsBuilder::new()
        .format(gst_video::VideoFormat::I420)
        .field("interlace-mode", "progressive")
}

fn caps_of(info: &gst_video::VideoInfo) -> gst::Caps {
    progressive_i420()
        .width(i32::try_from(info.width()).unwrap_or(i32::MAX))
        .height(i32::try_from(info.height()).unwrap_or(i32::MAX))
        .pixel_aspect_ratio(info.par())
        .field("colorimetry", info.colorimetry().to_string())
        .build()
}
