//! Pictures for the tests: numbers that the counter model reads.

use std::path::Path;

use image::{Rgb, RgbImage};

/// The number `n` as the counter model reads it: mid-grey, with the bits as
/// eight cells along the bottom quarter.
pub(crate) fn number(n: u8, width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let cell = x * 8 / width;
        let grey = match (y >= height * 3 / 4, cell) {
            (true, 0..7) => 255 * (n >> (6 - cell) & 1),
            _ => 128,
        };
        Rgb([grey; 3])
    })
}

/// Writes such a picture, with its folder.
pub(crate) fn write_number(path: &Path, n: u8) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    number(n, 128, 72).save(path).unwrap();
}

/// The same as the planes of a video frame.
pub(crate) fn number_in_i420(n: u8, width: u32, height: u32) -> Vec<u8> {
    let luma = number(n, width, height);
    // Limited range: 16 is black, 235 is white.
    let mut planes: Vec<u8> =
        luma.pixels().map(|p| (16.0 + f64::from(p.0[0]) * 219.0 / 255.0).round() as u8).collect();
    planes.extend(vec![128; (width * height / 2) as usize]);
    planes
}
