//! What a picture is, apart from any media library: stream time, the three
//! planes of an I420 picture, and the numbers that turn RGB into its colours.
//!
//! Everything that looks at or paints pixels (`preprocess`, `overlay`, the shot
//! detector) takes the borrowed views of this file; only `media` knows where
//! the memory behind them comes from.

use std::time::Duration;

/// Stream time in nanoseconds since the first moment of the stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pts(pub u64);

impl Pts {
    /// The stream time `seconds` after the start; negative times become zero.
    pub fn from_secs_f64(seconds: f64) -> Self {
        Self((seconds.max(0.0) * 1e9).round() as u64)
    }

    /// Seconds since the start of the stream.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// Seconds from `earlier` to `self`; zero when `earlier` is later.
    pub fn secs_since(self, earlier: Self) -> f64 {
        self.0.saturating_sub(earlier.0) as f64 / 1e9
    }
}

impl std::ops::Add<Duration> for Pts {
    type Output = Self;

    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// Size of a picture in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Size {
    /// Pixels from left to right.
    pub width: usize,
    /// Pixels from top to bottom.
    pub height: usize,
}

impl Size {
    /// A size of `width` x `height` pixels.
    pub const fn new(width: usize, height: usize) -> Self {
        Self { width, height }
    }

    /// Size of the chroma planes of an I420 picture of this size (rounded up).
    pub const fn chroma(self) -> Self {
        Self { width: self.width.div_ceil(2), height: self.height.div_ceil(2) }
    }
}

/// How the Y, U and V of a picture relate to R, G and B.
///
/// Coefficients as in ITU-R BT.601, BT.709 and BT.2020 (non-constant
/// luminance); limited range is 16..235 for luma and 16..240 for chroma.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Colorimetry {
    /// Weight of red in luma.
    pub kr: f32,
    /// Weight of blue in luma.
    pub kb: f32,
    /// True when the samples use all of 0..255.
    pub full_range: bool,
}

impl Colorimetry {
    /// Standard definition, limited range.
    pub const BT601: Self = Self { kr: 0.299, kb: 0.114, full_range: false };
    /// High definition, limited range.
    pub const BT709: Self = Self { kr: 0.2126, kb: 0.0722, full_range: false };
    /// Ultra high definition, limited range.
    pub const BT2020: Self = Self { kr: 0.2627, kb: 0.0593, full_range: false };

    /// Converts R, G, B in 0..255 to Y, U, V as stored in 8 bits (not rounded).
    pub fn rgb_to_yuv(self, [r, g, b]: [f32; 3]) -> [f32; 3] {
        let y = self.kr * r + (1.0 - self.kr - self.kb) * g + self.kb * b;
        let (pb, pr) = ((b - y) / (2.0 * (1.0 - self.kb)), (r - y) / (2.0 * (1.0 - self.kr)));
        if self.full_range {
            [y, 128.0 + pb, 128.0 + pr]
        } else {
            [16.0 + y * 219.0 / 255.0, 128.0 + pb * 224.0 / 255.0, 128.0 + pr * 224.0 / 255.0]
        }
    }

    /// Converts stored Y, U, V to R, G, B, clamped to 0..255 (not rounded).
    pub fn yuv_to_rgb(self, [y, u, v]: [f32; 3]) -> [f32; 3] {
        let (y, pb, pr) = if self.full_range {
            (y, u - 128.0, v - 128.0)
        } else {
            ((y - 16.0) * 255.0 / 219.0, (u - 128.0) * 255.0 / 224.0, (v - 128.0) * 255.0 / 224.0)
        };
        let r = y + 2.0 * (1.0 - self.kr) * pr;
        let b = y + 2.0 * (1.0 - self.kb) * pb;
        let g = (y - self.kr * r - self.kb * b) / (1.0 - self.kr - self.kb);
        [r.clamp(0.0, 255.0), g.clamp(0.0, 255.0), b.clamp(0.0, 255.0)]
    }
}

/// One plane of 8-bit samples; rows are `stride` bytes apart.
#[derive(Clone, Copy, Debug)]
pub struct Plane<'a> {
    /// The samples, at least `stride * (height - 1) + width` of them.
    pub data: &'a [u8],
    /// Bytes from the start of one row to the start of the next.
    pub stride: usize,
}

impl<'a> Plane<'a> {
    /// The first `width` samples of row `y`.
    pub fn row(&self, y: usize, width: usize) -> &'a [u8] {
        &self.data[y * self.stride..][..width]
    }
}

/// One writable plane of 8-bit samples.
#[derive(Debug)]
pub struct PlaneMut<'a> {
    /// The samples, at least `stride * (height - 1) + width` of them.
    pub data: &'a mut [u8],
    /// Bytes from the start of one row to the start of the next.
    pub stride: usize,
}

impl PlaneMut<'_> {
    /// The first `width` samples of row `y`.
    pub fn row_mut(&mut self, y: usize, width: usize) -> &mut [u8] {
        &mut self.data[y * self.stride..][..width]
    }
}

/// A borrowed I420 picture: full-size Y, then U and V of half the size each way.
#[derive(Clone, Copy, Debug)]
pub struct Picture<'a> {
    /// Size of the luma plane.
    pub size: Size,
    /// Colour description.
    pub colorimetry: Colorimetry,
    /// Width of a pixel divided by its height (1 for square pixels).
    pub pixel_aspect: f64,
    /// Y, U, V.
    pub planes: [Plane<'a>; 3],
}

/// A writable I420 picture; same layout as [`Picture`].
#[derive(Debug)]
pub struct PictureMut<'a> {
    /// Size of the luma plane.
    pub size: Size,
    /// Y, U, V.
    pub planes: [PlaneMut<'a>; 3],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_survive_the_way_to_yuv_and_back() {
        for c in [Colorimetry::BT601, Colorimetry::BT709, Colorimetry::BT2020] {
            for full_range in [false, true] {
                let c = Colorimetry { full_range, ..c };
                for rgb in [[0.0, 0.0, 0.0], [255.0, 255.0, 255.0], [250.0, 10.0, 90.0]] {
                    let back = c.yuv_to_rgb(c.rgb_to_yuv(rgb));
                    for (a, b) in rgb.iter().zip(back) {
                        assert!((a - b).abs() < 0.01, "{c:?} {rgb:?} {back:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn limited_range_white_and_red_are_the_standard_values() {
        let white = Colorimetry::BT709.rgb_to_yuv([255.0; 3]);
        assert_eq!(white.map(f32::round), [235.0, 128.0, 128.0]);
        let red = Colorimetry::BT601.rgb_to_yuv([255.0, 0.0, 0.0]);
        assert_eq!(red.map(f32::round), [81.0, 90.0, 240.0]);
    }

    #[test]
    fn chroma_of_an_odd_picture_covers_the_last_column() {
        assert_eq!(Size::new(637, 269).chroma(), Size::new(319, 135));
    }
}
