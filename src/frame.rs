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

impl PictureMut<'_> {
    /// Takes over the samples of `source`, as far as both reach.
    pub fn copy_from(&mut self, source: &Picture<'_>) {
        let sizes = shared_sizes(self.size, source.size);
        for ((to, from), size) in self.planes.iter_mut().zip(&source.planes).zip(sizes) {
            for y in 0..size.height {
                to.row_mut(y, size.width).copy_from_slice(from.row(y, size.width));
            }
        }
    }

    /// The columns from `left` on, `width` of them; `left` is even.
    pub fn columns(&mut self, left: usize, width: usize) -> PictureMut<'_> {
        let size = Size { width, ..self.size };
        let mut i = 0;
        let planes = self.planes.each_mut().map(|plane| {
            let left = if i == 0 { left } else { left / 2 };
            i += 1;
            PlaneMut { data: plane.data.get_mut(left..).unwrap_or_default(), stride: plane.stride }
        });
        PictureMut { size, planes }
    }

    /// Repeats the last column and row of the part of `size` up to the edges.
    pub fn repeat_edges(&mut self, size: Size) {
        let full = [self.size, self.size.chroma(), self.size.chroma()];
        let sizes = shared_sizes(self.size, size);
        for ((plane, full), size) in self.planes.iter_mut().zip(full).zip(sizes) {
            if size.width == 0 || size.height == 0 {
                continue;
            }
            for y in (0..size.height).filter(|_| full.width > size.width) {
                let (part, rest) = plane.row_mut(y, full.width).split_at_mut(size.width);
                rest.fill(part.last().copied().unwrap_or(0));
            }
            let last = (size.height - 1) * plane.stride;
            for y in size.height..full.height {
                plane.data.copy_within(last..last + full.width, y * plane.stride);
            }
        }
    }
}

/// The part that two pictures have in common, per plane.
fn shared_sizes(a: Size, b: Size) -> [Size; 3] {
    let luma = Size::new(a.width.min(b.width), a.height.min(b.height));
    [luma, luma.chroma(), luma.chroma()]
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

    /// The samples of an I420 picture whose value tells plane, column and row.
    fn samples(size: Size) -> [Vec<u8>; 3] {
        let planes = [size, size.chroma(), size.chroma()];
        [0, 1, 2].map(|p| {
            let w = planes[p].width;
            (0..w * planes[p].height).map(|i| (p * 80 + i % w * 7 + i / w * 3) as u8).collect()
        })
    }

    #[test]
    fn an_odd_picture_fills_an_even_one() {
        let (odd, even) = (Size::new(7, 5), Size::new(16, 16));
        let source = samples(odd);
        let strides = [odd.width, odd.chroma().width, odd.chroma().width];
        let picture = Picture {
            size: odd,
            colorimetry: Colorimetry::BT709,
            pixel_aspect: 1.0,
            planes: [0, 1, 2].map(|p| Plane { data: &source[p], stride: strides[p] }),
        };
        let mut target = [vec![0; 20 * 16], vec![0; 9 * 8], vec![0; 9 * 8]];
        let [y, u, v] = &mut target;
        let mut whole = PictureMut {
            size: even,
            planes: [(y, 20), (u, 9), (v, 9)].map(|(data, stride)| PlaneMut { data, stride }),
        };
        whole.copy_from(&picture);
        whole.repeat_edges(odd);
        for (p, (full, stride)) in
            [(even, 20), (even.chroma(), 9), (even.chroma(), 9)].into_iter().enumerate()
        {
            let part = if p == 0 { odd } else { odd.chroma() };
            for y in 0..full.height {
                for x in 0..full.width {
                    let near = y.min(part.height - 1) * part.width + x.min(part.width - 1);
                    assert_eq!(target[p][y * stride + x], source[p][near], "plane {p}, {x},{y}");
                }
            }
        }
    }
}
