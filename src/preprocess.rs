//! Turns a picture into the numbers a classifier reads, and says where in the
//! picture those numbers came from.
//!
//! Called by the analyst on sampled frames, and by whoever paints a map back
//! into the picture ([`view`]). The planes are resized before they become RGB:
//! that is three small resizes instead of a full-size conversion. This file
//! must not know what the classifier does with the numbers, nor who decoded
//! the picture.

use fast_image_resize::images::{CroppedImage, Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use serde::{Deserialize, Serialize};

use crate::annotation::View;
use crate::frame::{Picture, Plane, Size};
use crate::still::{Resample, Still};

/// Order of the axes in the classifier's input tensor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// Batch, channel, row, column.
    #[default]
    Nchw,
    /// Batch, row, column, channel.
    Nhwc,
}

/// Order of the colour channels in the classifier's input tensor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChannelOrder {
    /// Red first.
    #[default]
    Rgb,
    /// Blue first.
    Bgr,
}

/// How a picture of any shape becomes an input of the classifier's shape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resize {
    /// The whole picture, squeezed to the input's shape.
    #[default]
    Stretch,
    /// The largest centred part of the picture that has the input's shape.
    Crop,
    /// The whole picture in its own shape, padded with the mean colour.
    Letterbox,
}

/// What a classifier wants to be fed; the `[input]` section of `model.toml`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputSpec {
    /// Columns of the input.
    pub width: usize,
    /// Rows of the input.
    pub height: usize,
    /// Order of the axes.
    #[serde(default)]
    pub layout: Layout,
    /// Order of the channels.
    #[serde(default)]
    pub color: ChannelOrder,
    /// How pictures of another shape are fitted in.
    #[serde(default)]
    pub resize: Resize,
    /// Subtracted from each channel, on the 0..255 scale, in channel order.
    #[serde(default)]
    pub mean: [f32; 3],
    /// Divides each channel after that, on the 0..255 scale, in channel order.
    #[serde(default = "unit")]
    pub std: [f32; 3],
    /// For [`Resize::Stretch`] and [`Resize::Crop`]: how much of that part is
    /// taken each way, around its centre, 0..1 (7/8 where pictures are resized to 256 and cropped to 224).
    #[serde(default = "all", skip_serializing_if = "is_all")]
    pub crop_fraction: f64,
    /// The filter by which pictures are resized.
    #[serde(default, skip_serializing_if = "is_usual")]
    pub resample: Resample,
}

fn is_usual(filter: &Resample) -> bool {
    *filter == Resample::default()
}

fn all() -> f64 {
    1.0
}

fn is_all(fraction: &f64) -> bool {
    *fraction == 1.0
}

fn unit() -> [f32; 3] {
    [1.0; 3]
}

impl InputSpec {
    /// An RGB, NCHW input of `width` x `height` values in 0..255.
    pub const fn new(width: usize, height: usize) -> Self {
        Self {
            width,
            height,
            layout: Layout::Nchw,
            color: ChannelOrder::Rgb,
            resize: Resize::Stretch,
            mean: [0.0; 3],
            std: [1.0; 3],
            crop_fraction: 1.0,
            resample: Resample::Bilinear,
        }
    }

    /// What makes this specification unusable, if anything does.
    pub fn fault(&self) -> Option<&'static str> {
        const SIDE: std::ops::RangeInclusive<usize> = 1..=16_384;
        if !SIDE.contains(&self.width) || !SIDE.contains(&self.height) {
            Some("input width and height must be 1 to 16384 pixels")
        } else if self.mean.iter().any(|m| !m.is_finite()) {
            Some("input mean must be three finite numbers (0 to 255 scale)")
        } else if self.std.iter().any(|s| !s.is_finite() || *s <= 0.0) {
            Some("input std must be three numbers above zero (0 to 255 scale)")
        } else {
            None
        }
    }
}

/// Where the picture meets the input: `view` in luma pixels of the picture is
/// what the whole input shows, `inner` is the part of the input that is picture.
struct Geometry {
    view: View,
    inner: (usize, usize, Size),
}

fn geometry(spec: &InputSpec, size: Size, pixel_aspect: f64) -> Geometry {
    let aspect = if pixel_aspect.is_finite() && pixel_aspect > 0.0 { pixel_aspect } else { 1.0 };
    let (pw, ph) = (size.width as f64, size.height as f64);
    let (iw, ih) = (spec.width as f64, spec.height as f64);
    let input = (0, 0, Size::new(spec.width, spec.height));
    let part = if spec.crop_fraction > 0.0 { spec.crop_fraction.min(1.0) } else { 1.0 };
    let middle = |width: f64, height: f64| {
        let (width, height) = (width * part, height * part);
        let view = View { x: (pw - width) / 2.0, y: (ph - height) / 2.0, width, height };
        Geometry { view, inner: input }
    };
    match spec.resize {
        Resize::Stretch => middle(pw, ph),
        Resize::Crop => middle((ph * iw / ih / aspect).min(pw), (pw * aspect * ih / iw).min(ph)),
        Resize::Letterbox => {
            let scale = (iw / (pw * aspect)).min(ih / ph);
            let fit = |side: f64, most: usize| ((side * scale).round() as usize).clamp(1, most);
            let inner = Size::new(fit(pw * aspect, spec.width), fit(ph, spec.height));
            let (left, top) = ((spec.width - inner.width) / 2, (spec.height - inner.height) / 2);
            // Whole pixels of padding make the two scales differ a little; the
            // view follows the pixels, so that maps land where they belong.
            let (sx, sy) = (pw / inner.width as f64, ph / inner.height as f64);
            let view = View {
                x: -(left as f64) * sx,
                y: -(top as f64) * sy,
                width: iw * sx,
                height: ih * sy,
            };
            Geometry { view, inner: (left, top, inner) }
        }
    }
}

impl Geometry {
    /// The part of a picture of `size` that is seen, in luma pixels.
    fn source(&self, spec: &InputSpec, size: Size) -> View {
        match spec.resize {
            Resize::Stretch | Resize::Crop => self.view,
            Resize::Letterbox => {
                View { x: 0.0, y: 0.0, width: size.width as f64, height: size.height as f64 }
            }
        }
    }
}

/// Fills the inner part of a tensor with the normalised colours of its pixels,
/// which `colour` gives as R, G, B by their number.
fn fill(
    tensor: &mut [f32],
    spec: &InputSpec,
    (left, top, inner): (usize, usize, Size),
    colour: impl Fn(usize) -> [f32; 3],
) {
    let area = spec.width * spec.height;
    let scale = spec.std.map(|s| if s.is_normal() { 1.0 / s } else { 1.0 });
    for y in 0..inner.height {
        for x in 0..inner.width {
            let mut colour = colour(y * inner.width + x);
            if spec.color == ChannelOrder::Bgr {
                colour.swap(0, 2);
            }
            let at = (top + y) * spec.width + left + x;
            for c in 0..3 {
                tensor[c * area + at] = (colour[c] - spec.mean[c]) * scale[c];
            }
        }
    }
}

/// The rectangle of a picture of `size`, in luma pixels, that the whole input
/// of the classifier shows. `pixel_aspect` as in [`Picture::pixel_aspect`].
pub fn view(spec: &InputSpec, size: Size, pixel_aspect: f64) -> View {
    geometry(spec, size, pixel_aspect).view
}

/// Feeds one classifier; keeps its buffers from frame to frame.
pub struct Preprocessor {
    spec: InputSpec,
    resizer: Resizer,
    /// Y, U and V at the size of the inner part of the input.
    small: [Vec<u8>; 3],
    /// A plane without its padding, when it cannot be read in place.
    packed: Vec<u8>,
}

impl std::fmt::Debug for Preprocessor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Preprocessor").field("spec", &self.spec).finish_non_exhaustive()
    }
}

impl Preprocessor {
    /// A preprocessor for the classifier that wants `spec`.
    pub fn new(spec: &InputSpec) -> Self {
        let small = [Vec::new(), Vec::new(), Vec::new()];
        Self { spec: *spec, resizer: Resizer::new(), small, packed: Vec::new() }
    }

    /// The input for `picture`: `3 * height * width` values, channel by channel
    /// and row by row (NCHW, whatever [`InputSpec::layout`] says).
    ///
    /// Resizing is one of the antialiased filters of Pillow and torchvision.
    pub fn run(&mut self, picture: &Picture<'_>) -> Vec<f32> {
        let spec = self.spec;
        let area = spec.width * spec.height;
        // Zero is the mean colour after normalisation: the letterbox padding.
        let mut tensor = vec![0.0; 3 * area];
        if area == 0 || picture.size.width == 0 || picture.size.height == 0 {
            return tensor;
        }
        let geometry = geometry(&spec, picture.size, picture.pixel_aspect);
        self.shrink(picture, geometry.source(&spec, picture.size), geometry.inner.2);
        fill(&mut tensor, &spec, geometry.inner, |i| {
            picture.colorimetry.yuv_to_rgb([0, 1, 2].map(|p| f32::from(self.small[p][i])))
        });
        tensor
    }

    /// The input for a still picture: the same rule and the same filter, on R,
    /// G and B instead of Y, U and V.
    pub fn run_still(&self, still: &Still) -> Vec<f32> {
        let spec = self.spec;
        let mut tensor = vec![0.0; 3 * spec.width * spec.height];
        if tensor.is_empty() || still.rgb.is_empty() {
            return tensor;
        }
        let geometry = geometry(&spec, still.size, 1.0);
        let small =
            still.resized(geometry.source(&spec, still.size), geometry.inner.2, spec.resample);
        let pixels = small.as_chunks::<3>().0;
        fill(&mut tensor, &spec, geometry.inner, |i| pixels[i].map(f32::from));
        tensor
    }

    /// Resizes the part `source` (luma pixels) of every plane to `inner`.
    fn shrink(&mut self, picture: &Picture<'_>, source: View, inner: Size) {
        for (p, plane) in picture.planes.iter().enumerate() {
            // Chroma is measured in halves of luma pixels, also in odd sizes
            // where its last sample lies half outside the picture.
            let (size, unit) =
                if p == 0 { (picture.size, 1.0) } else { (picture.size.chroma(), 0.5) };
            let part = [source.x, source.y, source.width, source.height].map(|v| v * unit);
            let small = std::mem::take(&mut self.small[p]);
            self.small[p] = self.resize_plane(plane, size, part, inner, small);
        }
    }

    fn resize_plane(
        &mut self,
        plane: &Plane<'_>,
        size: Size,
        [x, y, width, height]: [f64; 4],
        inner: Size,
        mut small: Vec<u8>,
    ) -> Vec<u8> {
        small.clear();
        small.resize(inner.width * inner.height, 128);
        let (width, height) =
            (width.min(size.width as f64 - x), height.min(size.height as f64 - y));
        let filter = match self.spec.resample {
            Resample::Bilinear => FilterType::Bilinear,
            Resample::Bicubic => FilterType::CatmullRom,
            Resample::Lanczos => FilterType::Lanczos3,
        };
        let options = ResizeOptions::new()
            .resize_alg(ResizeAlg::Convolution(filter))
            .crop(x, y, width, height);
        let in_place = plane.data.len() >= plane.stride * size.height;
        let (data, stride) = if in_place {
            (plane.data, plane.stride)
        } else {
            // The last row ends before its padding.
            self.packed.clear();
            for row in 0..size.height {
                self.packed.extend_from_slice(plane.row(row, size.width));
            }
            (self.packed.as_slice(), size.width)
        };
        let [w, h, stride] = [size.width, size.height, stride].map(|n| n as u32);
        let target = Image::from_slice_u8(
            inner.width as u32,
            inner.height as u32,
            &mut small,
            PixelType::U8,
        );
        let resized = match (ImageRef::new(stride, h, data, PixelType::U8), target) {
            (Ok(padded), Ok(mut target)) => CroppedImage::new(&padded, 0, 0, w, h)
                .is_ok_and(|plane| self.resizer.resize(&plane, &mut target, &options).is_ok()),
            _ => false,
        };
        debug_assert!(resized, "{size:?} stride {stride} to {inner:?}");
        small
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Colorimetry;

    /// Owns the samples of a picture, with `pad` stray bytes after each row.
    struct Owned {
        size: Size,
        aspect: f64,
        colorimetry: Colorimetry,
        planes: [(Vec<u8>, usize); 3],
    }

    impl Owned {
        fn new(size: Size, pad: usize, mut yuv: impl FnMut(usize, usize, usize) -> u8) -> Self {
            let planes = [0, 1, 2].map(|p| {
                let size = if p == 0 { size } else { size.chroma() };
                let stride = size.width + pad;
                // The last row has no padding: the shortest legal buffer when pad > 1.
                let mut data = vec![255; stride * (size.height - 1) + size.width];
                for y in 0..size.height {
                    for x in 0..size.width {
                        data[y * stride + x] = yuv(p, x, y);
                    }
                }
                (data, stride)
            });
            Self { size, aspect: 1.0, colorimetry: Colorimetry::BT709, planes }
        }

        fn picture(&self) -> Picture<'_> {
            Picture {
                size: self.size,
                colorimetry: self.colorimetry,
                pixel_aspect: self.aspect,
                planes: [0, 1, 2]
                    .map(|p| Plane { data: &self.planes[p].0, stride: self.planes[p].1 }),
            }
        }
    }

    fn run(spec: &InputSpec, picture: &Owned) -> Vec<f32> {
        Preprocessor::new(spec).run(&picture.picture())
    }

    #[test]
    fn a_flat_colour_stays_that_colour_whatever_the_size_and_padding() {
        let sizes = [(1, 1), (2, 3), (7, 5), (33, 17), (640, 360), (1919, 1079)];
        for (n, (w, h)) in sizes.into_iter().enumerate() {
            for resize in [Resize::Stretch, Resize::Crop, Resize::Letterbox] {
                let yuv = [[81, 90, 240], [145, 54, 34], [16, 128, 128]][n % 3];
                let picture = Owned::new(Size::new(w, h), n * 3, |p, _, _| yuv[p]);
                let mut spec = InputSpec { resize, std: [255.0; 3], ..InputSpec::new(24, 16) };
                spec.mean = [-255.0; 3];
                let tensor = run(&spec, &picture);
                let wanted = Colorimetry::BT709.yuv_to_rgb(yuv.map(f32::from));
                for c in 0..3 {
                    for v in &tensor[c * 384..][..384] {
                        let wanted = (wanted[c] + 255.0) / 255.0;
                        let padding = resize == Resize::Letterbox && *v == 0.0;
                        assert!(
                            padding || (v - wanted).abs() < 1.0 / 255.0,
                            "{w}x{h} {v} {wanted}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn blue_comes_first_for_bgr_and_mean_and_std_follow_the_channels() {
        let blue = Colorimetry::BT709.rgb_to_yuv([0.0, 0.0, 255.0]).map(|v| v.round() as u8);
        let picture = Owned::new(Size::new(8, 8), 0, |p, _, _| blue[p]);
        let mut spec = InputSpec::new(2, 2);
        spec.color = ChannelOrder::Bgr;
        (spec.mean, spec.std) = ([55.0, 0.0, 0.0], [2.0, 1.0, 1.0]);
        let tensor = run(&spec, &picture);
        assert!((tensor[0] - 100.0).abs() < 1.0 && tensor[8].abs() < 2.0, "{tensor:?}");
    }

    /// Pillow's antialiased bilinear filter along one axis, in plain f64.
    fn triangle(line: &[f64], from: f64, extent: f64, out: usize) -> Vec<f64> {
        let scale = extent / out as f64;
        let radius = scale.max(1.0);
        (0..out)
            .map(|o| {
                let centre = from + (o as f64 + 0.5) * scale;
                let weights = (0..line.len())
                    .map(|i| (1.0 - ((i as f64 + 0.5 - centre) / radius).abs()).max(0.0));
                let total: f64 = weights.clone().sum();
                weights.zip(line).map(|(w, v)| w * v).sum::<f64>() / total
            })
            .collect()
    }

    fn oracle(data: &[u8], size: Size, part: [f64; 4], out: Size) -> Vec<f64> {
        let [x, y, w, h] = part;
        let rows: Vec<_> = (0..size.height)
            .map(|r| {
                let line: Vec<_> =
                    data[r * size.width..][..size.width].iter().map(|v| f64::from(*v)).collect();
                triangle(&line, x, w, out.width)
            })
            .collect();
        let columns: Vec<_> = (0..out.width)
            .map(|c| {
                let line: Vec<_> = rows.iter().map(|r| r[c]).collect();
                triangle(&line, y, h, out.height)
            })
            .collect();
        (0..out.width * out.height).map(|i| columns[i % out.width][i / out.width]).collect()
    }

    #[test]
    fn resizing_matches_the_reference_filter_up_and_down() {
        let full = Colorimetry { full_range: true, ..Colorimetry::BT709 };
        for (w, h) in [(5, 3), (31, 57), (200, 99), (641, 359)] {
            let size = Size::new(w, h);
            // A gradient with texture: flat gradients hide a wrong kernel width.
            let luma =
                |x: usize, y: usize| (x * 150 / w + y * 60 / h + (x * 7 + y * 13) % 40) as u8;
            let mut picture = Owned::new(size, 0, |p, x, y| if p == 0 { luma(x, y) } else { 128 });
            picture.colorimetry = full;
            for resize in [Resize::Stretch, Resize::Crop] {
                let spec = InputSpec { resize, ..InputSpec::new(24, 20) };
                let v = view(&spec, size, 1.0);
                let part = [v.x, v.y, v.width, v.height];
                let wanted = oracle(&picture.planes[0].0, size, part, Size::new(24, 20));
                let tensor = run(&spec, &picture);
                for (i, wanted) in wanted.iter().enumerate() {
                    // Two passes, each rounded to eight bits.
                    let off = (f64::from(tensor[i]) - wanted).abs();
                    assert!(off < 1.2, "{w}x{h} {resize:?} {i}: {} {wanted}", tensor[i]);
                }
            }
        }
    }

    #[test]
    fn crop_sees_only_the_middle_and_letterbox_sees_everything() {
        // Green left and right, grey in the middle square.
        let picture = Owned::new(Size::new(400, 200), 0, |p, x, _| {
            let middle = if p == 0 { 100..300 } else { 50..150 };
            if middle.contains(&x) { 128 } else { [150, 44, 21][p] }
        });
        let mut spec = InputSpec::new(20, 20);
        spec.resize = Resize::Crop;
        let red = |t: &[f32], x: usize, y: usize| t[y * 20 + x];
        let cropped = run(&spec, &picture);
        assert!((1..19).all(|x| (red(&cropped, x, 10) - 130.4).abs() < 1.0), "{cropped:?}");
        spec.resize = Resize::Letterbox;
        spec.mean = [10.0; 3];
        let boxed = run(&spec, &picture);
        assert_eq!((red(&boxed, 10, 4), red(&boxed, 10, 15)), (0.0, 0.0), "padding is the mean");
        assert!(red(&boxed, 10, 5) > 100.0 && red(&boxed, 10, 14) > 100.0);
        assert!(red(&boxed, 1, 10) < 0.0, "the green sides are inside");
    }

    #[test]
    fn a_still_gives_the_numbers_that_the_same_picture_in_a_video_gives() {
        // A gradient with texture, grey so that chroma's half resolution does
        // not show.
        let luma = |x: usize, y: usize| (20 + x * 2 + y + (x * 7 + y * 13) % 40) as u8;
        let mut picture =
            Owned::new(Size::new(64, 48), 0, |p, x, y| if p == 0 { luma(x, y) } else { 128 });
        picture.colorimetry = Colorimetry { full_range: true, ..Colorimetry::BT601 };
        let rgb = (0..64 * 48).flat_map(|i| [luma(i % 64, i / 64); 3]).collect();
        let still = Still { size: Size::new(64, 48), rgb };
        let mut seen = Vec::new();
        for resample in [Resample::Bilinear, Resample::Bicubic, Resample::Lanczos] {
            for resize in [Resize::Stretch, Resize::Crop, Resize::Letterbox] {
                let mut spec = InputSpec { resize, resample, ..InputSpec::new(24, 20) };
                (spec.mean, spec.std, spec.crop_fraction) = ([127.0; 3], [2.0, 1.0, 1.0], 0.875);
                let (a, b) = (run(&spec, &picture), Preprocessor::new(&spec).run_still(&still));
                let worst = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(worst < 1.01, "{resize:?} {resample:?}: {worst} levels");
                assert!(!seen.contains(&a), "{resize:?} {resample:?} is like another");
                seen.push(a);
            }
        }
    }

    #[test]
    fn views_are_the_rectangles_the_input_shows() {
        let mut spec = InputSpec::new(224, 224);
        let hd = Size::new(1920, 1080);
        assert_eq!(view(&spec, hd, 1.0), View { x: 0.0, y: 0.0, width: 1920.0, height: 1080.0 });
        spec.resize = Resize::Crop;
        assert_eq!(view(&spec, hd, 1.0), View { x: 420.0, y: 0.0, width: 1080.0, height: 1080.0 });
        spec.crop_fraction = 0.875;
        let inner = View { x: 487.5, y: 67.5, width: 945.0, height: 945.0 };
        assert_eq!(view(&spec, hd, 1.0), inner);
        spec.crop_fraction = 1.0;
        // Anamorphic 16:9 in 720 x 576: a square on screen is narrower in pixels.
        let pal = view(&spec, Size::new(720, 576), 64.0 / 45.0);
        assert!((pal.width - 405.0).abs() < 1e-9 && (pal.x - 157.5).abs() < 1e-9);
        spec.resize = Resize::Letterbox;
        let v = view(&spec, hd, 1.0);
        assert_eq!((v.x, v.width), (0.0, 1920.0));
        assert!((v.y + v.height / 2.0 - 540.0).abs() < 1e-9 && (v.height - 1920.0).abs() < 1e-9);
        let tall = view(&spec, Size::new(100, 400), 1.0);
        assert!((tall.x + 150.0).abs() < 1e-9 && (tall.width - 400.0).abs() < 1e-9);
    }

    #[test]
    fn nonsense_specifications_are_named() {
        assert_eq!(InputSpec::new(1, 1).fault(), None);
        assert!(InputSpec::new(0, 5).fault().unwrap().contains("width"));
        let flat = InputSpec { std: [1.0, 0.0, 1.0], ..InputSpec::new(4, 4) };
        assert!(flat.fault().unwrap().contains("std"));
        let spec: InputSpec = toml::from_str("width = 3\nheight = 2\ncolor = 'bgr'").unwrap();
        assert_eq!(spec, InputSpec { color: ChannelOrder::Bgr, ..InputSpec::new(3, 2) });
        assert!(toml::from_str::<InputSpec>("width = 3\nheight = 2\ncolour = 'bgr'").is_err());
    }
}
