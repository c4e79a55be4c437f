//! One decoded picture with its place in the stream. Cheap to hand between
//! threads: the pixels stay where the decoder put them.

use gstreamer as gst;
use gstreamer_video as gst_video;
use gstreamer_video::prelude::*;

use super::Error;
use crate::frame::{Colorimetry, Picture, Plane, Pts, Size};

/// A decoded I420 frame.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Stream time.
    pub pts: Pts,
    /// Nanoseconds the frame is shown, when the stream says.
    pub duration: Option<u64>,
    pub(super) buffer: gst::Buffer,
    pub(super) info: gst_video::VideoInfo,
}

impl Frame {
    /// Size in pixels.
    pub fn size(&self) -> Size {
        Size::new(self.info.width() as usize, self.info.height() as usize)
    }

    /// Bytes of pixel memory the frame holds.
    pub fn bytes(&self) -> usize {
        self.info.size()
    }

    /// Colour description of the samples.
    pub fn colorimetry(&self) -> Colorimetry {
        colorimetry_of(&self.info)
    }

    /// Width of a pixel divided by its height.
    pub fn pixel_aspect(&self) -> f64 {
        let par = self.info.par();
        f64::from(par.numer()) / f64::from(par.denom())
    }

    /// Frames per second, when the rate is constant and known.
    pub fn frame_rate(&self) -> Option<f64> {
        let fps = self.info.fps();
        (fps.numer() > 0).then(|| f64::from(fps.numer()) / f64::from(fps.denom()))
    }

    /// Where it ends: by its duration, or by the usual one where it says none
    /// that can be.
    pub fn end(&self) -> Pts {
        let usual = self.frame_rate().map_or(40_000_000, |fps| (1e9 / fps) as u64);
        Pts(self.pts.0 + self.duration.filter(|d| *d < 10 * usual).unwrap_or(usual))
    }

    /// Lends the pixels to `look`.
    ///
    /// # Errors
    /// When the memory cannot be mapped.
    pub fn with_picture<R>(&self, look: impl FnOnce(&Picture<'_>) -> R) -> Result<R, Error> {
        let mapped = gst_video::VideoFrameRef::from_buffer_ref_readable(&self.buffer, &self.info)
            .map_err(|_| Error::Map)?;
        let plane = |i: u32| -> Result<Plane<'_>, Error> {
            Ok(Plane {
                data: mapped.plane_data(i).map_err(|_| Error::Map)?,
                stride: usize::try_from(mapped.plane_stride()[i as usize])
                    .map_err(|_| Error::Map)?,
            })
        };
        Ok(look(&Picture {
            size: self.size(),
            colorimetry: self.colorimetry(),
            pixel_aspect: self.pixel_aspect(),
            planes: [plane(0)?, plane(1)?, plane(2)?],
        }))
    }
}

/// Colour description as the product's own type. What a stream leaves unsaid
/// GStreamer has already guessed from the picture size.
pub(super) fn colorimetry_of(info: &gst_video::VideoInfo) -> Colorimetry {
    let c = info.colorimetry();
    let base = match c.matrix() {
        gst_video::VideoColorMatrix::Bt709 => Colorimetry::BT709,
        gst_video::VideoColorMatrix::Bt2020 => Colorimetry::BT2020,
        gst_video::VideoColorMatrix::Bt601 | gst_video::VideoColorMatrix::Fcc => Colorimetry::BT601,
        _ if info.height() >= 720 => Colorimetry::BT709,
        _ => Colorimetry::BT601,
    };
    Colorimetry { full_range: c.range() == gst_video::VideoColorRange::Range0_255, ..base }
}
