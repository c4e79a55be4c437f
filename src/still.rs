//! A still picture: read from the bytes of a JPEG, PNG or WebP file, made
//! small for a classifier, and turned into the planes that are painted on.
//!
//! Called by whoever looks at pictures instead of video; must not know where
//! the bytes come from.

use std::io::Cursor;

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::codecs::webp::WebPEncoder;
use image::metadata::Orientation;
use image::{
    DynamicImage, ExtendedColorType, ImageDecoder, ImageEncoder, ImageError, ImageReader, Limits,
};

use serde::{Deserialize, Serialize};

use crate::annotation::View;
use crate::frame::{Colorimetry, PictureMut, PlaneMut, Size};

/// Pixels of the largest picture that is read: 300 MB once decoded.
const MOST_PIXELS: u64 = 100_000_000;
/// Bytes a decoder may use beside the picture itself.
const MOST_MEMORY: u64 = 512 << 20;
/// Quality of a JPEG file that is to look like the picture, 1 to 100.
const FINE: u8 = 92;
/// Bits behind the binary point of the resizing filter's weights.
const PRECISION: u32 = 22;

/// Colours of the planes a still is turned into: nothing is lost but half of
/// the chroma's resolution.
const COLOURS: Colorimetry = Colorimetry { full_range: true, ..Colorimetry::BT601 };

/// Why the bytes are no picture.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// There are none.
    #[error("is empty")]
    Empty,
    /// They are something else.
    #[error("is no JPEG, PNG or WebP picture")]
    Unknown,
    /// They look like a picture but cannot be decoded.
    #[error("is damaged or cut off: {0}")]
    Damaged(String),
    /// The picture has no pixels.
    #[error("has no pixels ({0} x {1})")]
    NoPixels(u32, u32),
    /// The picture is larger than anything a classifier needs.
    #[error("is too large: {0} x {1} pixels; make it smaller than 100 million pixels")]
    TooLarge(u32, u32),
    /// The format cannot hold it.
    #[error("cannot be written in this format: {0}")]
    Unwritable(String),
    /// Decoding it takes more memory than any picture is worth.
    #[error("takes more than 512 MB of memory to decode; make it smaller")]
    Memory,
}

/// What a picture is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// With losses too small to see, and chroma at full resolution.
    Jpeg,
    /// Without loss.
    Png,
    /// Without loss.
    WebP,
}

impl Format {
    /// The format of files whose names end in `extension`, in any case.
    pub fn of_extension(extension: &str) -> Option<Self> {
        match extension.to_lowercase().as_str() {
            "jpg" | "jpeg" => Some(Self::Jpeg),
            "png" => Some(Self::Png),
            "webp" => Some(Self::WebP),
            _ => None,
        }
    }
}

/// The filter that makes a picture smaller or larger, by the name that Pillow and
/// torchvision give it. All are antialiased.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resample {
    /// A triangle as wide as two pixels of the result.
    #[default]
    Bilinear,
    /// Keys's cubic with a = -0.5, four pixels wide.
    Bicubic,
    /// A sinc in the window of a wider one, six pixels wide.
    Lanczos,
}

impl Resample {
    /// Pixels of the result that the filter reaches to each side.
    const fn support(self) -> f64 {
        match self {
            Self::Bilinear => 1.0,
            Self::Bicubic => 2.0,
            Self::Lanczos => 3.0,
        }
    }

    /// The filter's weight at `x` pixels of the result from its middle.
    fn weight(self, x: f64) -> f64 {
        const A: f64 = -0.5;
        let sinc = |x: f64| {
            let x = x * std::f64::consts::PI;
            if x == 0.0 { 1.0 } else { x.sin() / x }
        };
        match (self, x.abs()) {
            (_, x) if x >= self.support() => 0.0,
            (Self::Bilinear, x) => 1.0 - x,
            (Self::Bicubic, x) if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
            (Self::Bicubic, x) => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
            (Self::Lanczos, x) => sinc(x) * sinc(x / 3.0),
        }
    }
}

/// An upright picture of 8-bit R, G and B.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Still {
    /// Size in pixels.
    pub size: Size,
    /// R, G, B of each pixel, row by row.
    pub rgb: Vec<u8>,
}

impl Still {
    /// Decodes the bytes of a JPEG, PNG or WebP file.
    ///
    /// Every mode becomes RGB: grey is repeated, CMYK converted, 16 bits are
    /// rounded to 8. What is transparent shows black, as keyed graphics do
    /// over an empty picture. The picture is turned as its EXIF data say.
    /// Colour profiles are not applied; nor are they in video.
    ///
    /// # Errors
    /// [`Error`] says what the bytes are instead.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.is_empty() {
            return Err(Error::Empty);
        }
        let mut reader = ImageReader::new(Cursor::new(bytes))
            .with_guessed_format()
            .map_err(|e| Error::Damaged(e.to_string()))?;
        if reader.format().is_none() {
            return Err(Error::Unknown);
        }
        let mut limits = Limits::default();
        limits.max_alloc = Some(MOST_MEMORY);
        reader.limits(limits);
        let mut decoder = reader.into_decoder().map_err(|e| fault(&e))?;
        let (width, height) = decoder.dimensions();
        if width == 0 || height == 0 {
            return Err(Error::NoPixels(width, height));
        }
        if u64::from(width) * u64::from(height) > MOST_PIXELS {
            return Err(Error::TooLarge(width, height));
        }
        // Samples of 16 bits take twice the room.
        if decoder.total_bytes() > MOST_MEMORY {
            return Err(Error::Memory);
        }
        let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
        let mut picture = DynamicImage::from_decoder(decoder).map_err(|e| fault(&e))?;
        picture.apply_orientation(orientation);
        let size = Size::new(picture.width() as usize, picture.height() as usize);
        let rgb = if picture.color().has_alpha() {
            let over_black =
                |v: u8, alpha: u8| ((u16::from(v) * u16::from(alpha) + 127) / 255).min(255) as u8;
            let rgba = picture.into_rgba8().into_raw();
            let pixels = rgba.as_chunks::<4>().0.iter();
            pixels.flat_map(|[r, g, b, a]| [*r, *g, *b].map(|v| over_black(v, *a))).collect()
        } else {
            picture.into_rgb8().into_raw()
        };
        Ok(Self { size, rgb })
    }

    /// The part `part` of the picture, in pixels, made `out` pixels large: R,
    /// G, B of each pixel.
    ///
    /// Bit for bit the antialiased filters of Pillow up to version 12,
    /// `Image.resize(out, by, box=part)`: first along rows, then along columns,
    /// each rounded to 8 bits. (Pillow 13 begins with the columns where that is
    /// quicker, which changes some samples by one.)
    pub fn resized(&self, part: View, out: Size, by: Resample) -> Vec<u8> {
        let Size { width, height } = self.size;
        let across = Filter::new(width, part.x, part.width, out.width, by);
        let down = Filter::new(height, part.y, part.height, out.height, by);
        let rows = down.taps.first().map_or(0, |t| t.first)
            ..down.taps.iter().map(|t| t.first + t.weights.len()).max().unwrap_or(0);
        let mut middle = vec![0; out.width * rows.len() * 3];
        for (row, to) in rows.clone().zip(middle.chunks_exact_mut((out.width * 3).max(1))) {
            let from = &self.rgb[row * width * 3..][..width * 3];
            for (tap, to) in across.taps.iter().zip(to.as_chunks_mut::<3>().0) {
                *to = tap.apply(|i, c| from[i * 3 + c]);
            }
        }
        let mut result = vec![0; out.width * out.height * 3];
        let lines = result.chunks_exact_mut((out.width * 3).max(1));
        for (tap, to) in down.taps.iter().zip(lines) {
            for (x, to) in to.as_chunks_mut::<3>().0.iter_mut().enumerate() {
                *to = tap.apply(|i, c| middle[((i - rows.start) * out.width + x) * 3 + c]);
            }
        }
        result
    }

    /// The picture at most `longest` pixels wide or high.
    pub fn shrunk(&self, longest: usize) -> Self {
        if self.size.width.max(self.size.height) <= longest {
            return self.clone();
        }
        self.fitted(longest)
    }

    /// The picture made smaller or larger, so that its longer side has
    /// `longest` pixels.
    pub fn fitted(&self, longest: usize) -> Self {
        let Size { width, height } = self.size;
        let most = width.max(height).max(1);
        let side = |s: usize| (s * longest / most).max(1);
        let size = Size::new(side(width), side(height));
        let whole = View { x: 0.0, y: 0.0, width: width as f64, height: height as f64 };
        Self { size, rgb: self.resized(whole, size, Resample::Bilinear) }
    }

    /// This picture with `right`, which has the same height, to its right.
    pub fn beside(&self, right: &Self) -> Self {
        let [own, other] = [self, right].map(|s| s.rgb.chunks_exact((s.size.width * 3).max(1)));
        let rgb = own.zip(other).flat_map(|(a, b)| a.iter().chain(b)).copied().collect();
        Self { size: Size::new(self.size.width + right.size.width, self.size.height), rgb }
    }

    /// The bytes of a JPEG file of this `quality`, 1 to 100.
    ///
    /// # Errors
    /// [`Error::Unwritable`] when it has more than 65535 pixels either way.
    pub fn to_jpeg(&self, quality: u8) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        self.encode(JpegEncoder::new_with_quality(&mut bytes, quality))?;
        Ok(bytes)
    }

    /// The bytes of a picture file.
    ///
    /// # Errors
    /// [`Error::Unwritable`] when the format cannot hold it: JPEG has at most 65535
    /// pixels each way, WebP 16383.
    pub fn to_bytes(&self, format: Format) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        match format {
            Format::Jpeg => return self.to_jpeg(FINE),
            Format::Png => self.encode(PngEncoder::new(&mut bytes))?,
            Format::WebP => self.encode(WebPEncoder::new_lossless(&mut bytes))?,
        }
        Ok(bytes)
    }

    fn encode(&self, encoder: impl ImageEncoder) -> Result<(), Error> {
        let side = |s: usize| u32::try_from(s).unwrap_or(u32::MAX);
        let (width, height) = (side(self.size.width), side(self.size.height));
        encoder
            .write_image(&self.rgb, width, height, ExtendedColorType::Rgb8)
            .map_err(|e| Error::Unwritable(plain(&e)))
    }

    /// What `paint` makes of the picture's planes. A pixel whose samples it
    /// leaves alone stays as it is.
    pub fn painted(&self, paint: impl FnOnce(&mut PictureMut<'_>, Colorimetry)) -> Self {
        let before = self.planes();
        let mut planes = before.clone();
        let strides = [self.size.width, self.size.chroma().width, self.size.chroma().width];
        let [y, u, v] = &mut planes;
        let mut target = PictureMut {
            size: self.size,
            planes: [
                PlaneMut { data: y, stride: strides[0] },
                PlaneMut { data: u, stride: strides[1] },
                PlaneMut { data: v, stride: strides[2] },
            ],
        };
        paint(&mut target, COLOURS);
        let width = self.size.width.max(1);
        let pixel = |(i, own): (usize, &[u8; 3])| {
            let c = i / width / 2 * strides[1] + i % width / 2;
            let at = |planes: &[Vec<u8>; 3]| [planes[0][i], planes[1][c], planes[2][c]];
            let painted = at(&planes);
            if painted == at(&before) {
                return *own;
            }
            COLOURS.yuv_to_rgb(painted.map(f32::from)).map(|v| v.round() as u8)
        };
        let rgb = self.rgb.as_chunks::<3>().0.iter().enumerate().flat_map(pixel).collect();
        Self { size: self.size, rgb }
    }

    /// Y, U and V, the latter two of half the size each way.
    fn planes(&self) -> [Vec<u8>; 3] {
        let Size { width, height } = self.size;
        let chroma = self.size.chroma();
        let mut luma = Vec::with_capacity(width * height);
        let mut sums = vec![[0.0f32; 3]; chroma.width * chroma.height];
        for (i, rgb) in self.rgb.as_chunks::<3>().0.iter().enumerate() {
            let [y, u, v] = COLOURS.rgb_to_yuv(rgb.map(f32::from));
            luma.push(y.round() as u8);
            let sum = &mut sums[i / width / 2 * chroma.width + i % width / 2];
            *sum = [sum[0] + u, sum[1] + v, sum[2] + 1.0];
        }
        let half = |c: usize| sums.iter().map(|s| (s[c] / s[2].max(1.0)).round() as u8).collect();
        [luma, half(0), half(1)]
    }
}

fn fault(error: &ImageError) -> Error {
    match error {
        ImageError::Unsupported(_) => Error::Unknown,
        ImageError::Limits(_) => Error::Memory,
        other => Error::Damaged(plain(other)),
    }
}

/// An error's text on one line.
fn plain(error: &ImageError) -> String {
    error.to_string().trim().replace('\n', " ")
}

/// The weights of every result along one axis.
struct Filter {
    taps: Vec<Tap>,
}

/// One result: the weights of the samples from `first` on.
struct Tap {
    first: usize,
    weights: Vec<i64>,
}

impl Filter {
    fn new(size: usize, from: f64, extent: f64, out: usize, by: Resample) -> Self {
        let scale = extent / out.max(1) as f64;
        let stretch = scale.max(1.0);
        let radius = by.support() * stretch;
        let taps = (0..out).map(|o| {
            let centre = from + (o as f64 + 0.5) * scale;
            let first = ((centre - radius + 0.5).max(0.0) as usize).min(size.saturating_sub(1));
            let end = ((centre + radius + 0.5).max(0.0) as usize).clamp(first + 1, size.max(1));
            let weight = |i: usize| by.weight((i as f64 - centre + 0.5) / stretch);
            let total: f64 = (first..end).map(weight).sum();
            let fixed = |i: usize| {
                let share = if total > 0.0 { weight(i) / total } else { 1.0 };
                (share * f64::from(1 << PRECISION)).round() as i64
            };
            Tap { first, weights: (first..end).map(fixed).collect() }
        });
        Self { taps: taps.collect() }
    }
}

impl Tap {
    #[inline]
    fn apply(&self, sample: impl Fn(usize, usize) -> u8) -> [u8; 3] {
        let mut sums = [1i64 << (PRECISION - 1); 3];
        for (i, weight) in self.weights.iter().enumerate() {
            for (c, sum) in sums.iter_mut().enumerate() {
                *sum += weight * i64::from(sample(self.first + i, c));
            }
        }
        sums.map(|sum| (sum >> PRECISION).clamp(0, 255) as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(picture: &DynamicImage, format: image::ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    /// Red on the left, blue on the right.
    fn two_sides(width: u32, height: u32) -> image::RgbImage {
        image::RgbImage::from_fn(width, height, |x, _| {
            image::Rgb(if x < width / 2 { [200, 0, 0] } else { [0, 0, 200] })
        })
    }

    #[test]
    fn every_mode_becomes_rgb() {
        let rgb = DynamicImage::ImageRgb8(two_sides(8, 4));
        let png = image::ImageFormat::Png;
        for (picture, left) in [
            (rgb.clone(), [200, 0, 0]),
            (DynamicImage::ImageRgb16(rgb.to_rgb16()), [200, 0, 0]),
            (
                DynamicImage::ImageLuma8(image::GrayImage::from_pixel(8, 4, image::Luma([7]))),
                [7; 3],
            ),
            (
                DynamicImage::ImageLuma16(image::ImageBuffer::from_pixel(
                    8,
                    4,
                    image::Luma([0x0707]),
                )),
                [7; 3],
            ),
            (
                DynamicImage::ImageRgba8(image::RgbaImage::from_pixel(
                    8,
                    4,
                    image::Rgba([200, 100, 50, 128]),
                )),
                [100, 50, 25],
            ),
            (
                DynamicImage::ImageLumaA8(image::ImageBuffer::from_pixel(
                    8,
                    4,
                    image::LumaA([90, 0]),
                )),
                [0; 3],
            ),
        ] {
            let still = Still::decode(&encoded(&picture, png)).unwrap();
            assert_eq!(still.size, Size::new(8, 4));
            assert_eq!(still.rgb[..3], left, "{:?}", picture.color());
        }
        let webp = Still::decode(&encoded(&rgb, image::ImageFormat::WebP)).unwrap();
        assert_eq!(webp.rgb, two_sides(8, 4).into_raw());
    }

    #[test]
    fn a_cmyk_jpeg_has_the_colours_it_shows() {
        // Pillow's Image.new("CMYK", (16, 16), (0, 255, 255, 0)): pure red.
        let still = Still::decode(include_bytes!("../tests/fixtures/pictures/cmyk.jpg")).unwrap();
        let [r, g, b] = [0, 1, 2].map(|c| i32::from(still.rgb[(8 * 16 + 8) * 3 + c]));
        assert!(r > 240 && g < 15 && b < 15, "{r} {g} {b}");
    }

    #[test]
    fn a_picture_that_lies_on_its_side_is_turned_upright() {
        // EXIF orientation 6: the first row of the file is the right side.
        let jpeg = encoded(&DynamicImage::ImageRgb8(two_sides(32, 16)), image::ImageFormat::Jpeg);
        let exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
        let length = u16::try_from(exif.len() + 2).unwrap().to_be_bytes();
        let turned = [&jpeg[..2], &[0xff, 0xe1], &length, exif, &jpeg[2..]].concat();
        let still = Still::decode(&turned).unwrap();
        assert_eq!(still.size, Size::new(16, 32));
        let red = |x: usize, y: usize| still.rgb[(y * 16 + x) * 3];
        assert!(red(8, 4) > 150 && red(8, 28) < 80, "the left side is now on top");
    }

    #[test]
    fn what_is_no_picture_is_told_apart() {
        let good = encoded(&DynamicImage::ImageRgb8(two_sides(64, 64)), image::ImageFormat::Png);
        assert_eq!(Still::decode(b""), Err(Error::Empty));
        assert_eq!(Still::decode(b"All happy families"), Err(Error::Unknown));
        assert!(matches!(Still::decode(&good[..good.len() / 2]), Err(Error::Damaged(_))));
        let mut huge = good.clone();
        // Width and height stand at the start of the header chunk; its
        // checksum is not looked at before they are.
        huge[16..24].copy_from_slice(&[0, 0, 0x80, 0, 0, 0, 0x80, 0]);
        let crc = crc(&huge[12..29]).to_be_bytes();
        huge[29..33].copy_from_slice(&crc);
        let error = Still::decode(&huge).unwrap_err();
        assert!(matches!(error, Error::TooLarge(32768, 32768) | Error::Memory), "{error}");
    }

    /// CRC-32 as PNG has it.
    fn crc(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0u32, |crc, b| {
            (0..8).fold(crc ^ u32::from(*b), |c, _| {
                if c & 1 == 1 { 0xedb8_8320 ^ (c >> 1) } else { c >> 1 }
            })
        })
    }

    #[test]
    fn resizing_is_pillows_bit_for_bit() {
        // Made by tests/fixtures/make_pictures.py with Pillow 11.3.
        let noise = Still::decode(include_bytes!("../tests/fixtures/pictures/noise.png")).unwrap();
        macro_rules! made {
            ($($name:literal)*) => {
                [$(($name, &include_bytes!(concat!("../tests/fixtures/pictures/", $name, ".rgb"))[..])),*]
            };
        }
        let whole = (0.0, 0.0, 61.0, 43.0);
        let cases = [(whole, (24, 14)), (whole, (70, 50)), ((9.0, 0.5, 42.0, 42.0), (16, 16))];
        let by = [Resample::Bilinear, Resample::Bicubic, Resample::Lanczos];
        let made = made!(
            "whole" "up" "part"
            "whole-bicubic" "up-bicubic" "part-bicubic"
            "whole-lanczos" "up-lanczos" "part-lanczos"
        );
        for (i, (name, wanted)) in made.into_iter().enumerate() {
            let ((x, y, width, height), out) = cases[i % 3];
            let part = View { x, y, width, height };
            let got = noise.resized(part, Size::new(out.0, out.1), by[i / 3]);
            assert_eq!(got.len(), wanted.len(), "{name}");
            let off = got.iter().zip(wanted).filter(|(a, b)| a != b).count();
            assert_eq!(off, 0, "{name}: {off} samples differ");
        }
    }

    #[test]
    fn painting_changes_what_is_painted_and_nothing_else() {
        let png = encoded(&DynamicImage::ImageRgb8(two_sides(33, 17)), image::ImageFormat::Png);
        let still = Still::decode(&png).unwrap();
        assert_eq!(still.painted(|_, _| {}), still);
        // The left half in white; the colours' border shares its chroma.
        let white = still.painted(|picture, _| {
            for y in 0..17 {
                picture.planes[0].row_mut(y, 33)[..10].fill(255);
            }
            for y in 0..9 {
                picture.planes[1].row_mut(y, 17)[..5].fill(128);
                picture.planes[2].row_mut(y, 17)[..5].fill(128);
            }
        });
        for (i, (new, old)) in white.rgb.chunks(3).zip(still.rgb.chunks(3)).enumerate() {
            let wanted = if i % 33 < 10 { &[255; 3] } else { old };
            assert_eq!(new, wanted, "{i}");
        }
    }

    #[test]
    fn pictures_are_made_larger_and_smaller_and_keep_their_shape() {
        let still = Still { size: Size::new(32, 16), rgb: two_sides(32, 16).into_raw() };
        assert_eq!(still.shrunk(16).size, Size::new(16, 8));
        assert_eq!(still.shrunk(64), still);
        let large = still.fitted(64);
        assert_eq!((large.size, &large.rgb[..3]), (Size::new(64, 32), &[200, 0, 0][..]));
        assert_eq!(
            Still { size: Size::new(1, 9), rgb: vec![7; 27] }.fitted(3).size,
            Size::new(1, 3)
        );
    }

    #[test]
    fn what_is_written_can_be_read_again() {
        let still = Still { size: Size::new(32, 16), rgb: two_sides(32, 16).into_raw() };
        for (name, exact) in [("PNG", true), ("webp", true), ("jpeg", false), ("jpg", false)] {
            let bytes = still.to_bytes(Format::of_extension(name).unwrap()).unwrap();
            let kind = image::guess_format(&bytes).unwrap();
            assert!(kind.extensions_str().contains(&name.to_lowercase().as_str()), "{name}");
            let read = Still::decode(&bytes).unwrap();
            assert_eq!(read.size, still.size);
            let off = read.rgb.iter().zip(&still.rgb).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
            assert!(off <= if exact { 0 } else { 30 }, "{name}: {off}");
        }
        assert_eq!(Format::of_extension("tiff"), None);
    }
}
