//! Notices the first frame of every shot. Asked once per decoded frame, in
//! order, by the pipeline; looks at a thumbnail only, so that it costs next to
//! nothing. Must not know what a new shot resets.
//!
//! A hard cut changes most of the picture at once, much more than the frames
//! before it changed. Without looking ahead that leaves some choices:
//! - A photo flash brightens the same picture: not a new shot. A frame that is
//!   white (or black) all over is a shot of its own, and so is what follows:
//!   nothing it did to the classifier may linger.
//! - Fades, dissolves and wipes change little from frame to frame: not found.
//! - Two cuts on consecutive frames are taken for motion: the second is missed.

use crate::frame::{Picture, Plane, Size};

/// Thumbnail of luma: columns and rows.
const LUMA: (usize, usize) = (64, 36);
/// Thumbnail of each chroma plane: columns and rows.
const CHROMA: (usize, usize) = (32, 18);
const LUMA_CELLS: usize = LUMA.0 * LUMA.1;
const CHROMA_CELLS: usize = CHROMA.0 * CHROMA.1;
/// Bins of a histogram, 32 levels wide.
const BINS: usize = 8;

/// Mean change of luma, in levels of 0..255, below which nothing is a cut.
const MIN_LUMA_CHANGE: f32 = 22.0;
/// Part of the picture (0..1) that must have changed colour or brightness for
/// the histograms alone to prove a cut.
const MIN_HISTOGRAM_CHANGE: f32 = 0.45;
/// Mean change of luma and chroma together, in levels, that the histograms need
/// beside them: a flat picture can change bins by changing one level.
const MIN_CHANGE_FOR_HISTOGRAM: f32 = 12.0;
/// How many times the recent change a cut must be.
const OUTSTANDING: f32 = 2.5;
/// Weight of the newest frame in the recent change (about six frames' memory).
const RECENT_WEIGHT: f32 = 0.3;
/// Correlation of two thumbnails that show the same scene, in another light or
/// with something large moving in. Measured: real cuts below 0.25, a character
/// leaping into the picture 0.63.
const SAME_SCENE: f32 = 0.5;
/// Luma at or below this is black border, which every shot has in common.
const BLACK: u8 = 24;

#[derive(Clone)]
struct Thumbnail {
    luma: [u8; LUMA_CELLS],
    chroma: [[u8; CHROMA_CELLS]; 2],
    /// Share of the cells per bin: luma, U, V.
    histograms: [[f32; BINS]; 3],
}

impl Thumbnail {
    fn of(picture: &Picture<'_>) -> Self {
        let mut luma = [0; LUMA_CELLS];
        fill(&mut luma, LUMA, &picture.planes[0], picture.size);
        let chroma = [1, 2].map(|p| {
            let mut cells = [0; CHROMA_CELLS];
            fill(&mut cells, CHROMA, &picture.planes[p], picture.size.chroma());
            cells
        });
        let histograms = [histogram(&luma), histogram(&chroma[0]), histogram(&chroma[1])];
        Self { luma, chroma, histograms }
    }

    fn change_since(&self, before: &Self) -> Change {
        let luma = mean_difference(&self.luma, &before.luma);
        let chroma: f32 = (0..2).map(|p| mean_difference(&self.chroma[p], &before.chroma[p])).sum();
        let [y, u, v] = [0, 1, 2].map(|p| {
            let pair = self.histograms[p].iter().zip(&before.histograms[p]);
            pair.map(|(a, b)| (a - b).abs()).sum::<f32>() / 2.0
        });
        Change { luma, all: luma + chroma, histogram: (y + u.max(v)) / 2.0 }
    }

    /// Correlation of the luma that is not black in both; zero for flat ones.
    fn likeness(&self, other: &Self) -> f32 {
        let lit = || self.luma.iter().zip(&other.luma).filter(|(a, b)| **a.max(b) > BLACK);
        let count = lit().count().max(1) as f32;
        let (sum_a, sum_b) =
            lit().fold((0.0, 0.0), |(s, t), (a, b)| (s + f32::from(*a), t + f32::from(*b)));
        let (mean_a, mean_b) = (sum_a / count, sum_b / count);
        let (mut aa, mut bb, mut ab) = (0.0, 0.0, 0.0);
        for (a, b) in lit() {
            let (a, b) = (f32::from(*a) - mean_a, f32::from(*b) - mean_b);
            (aa, bb, ab) = (aa + a * a, bb + b * b, ab + a * b);
        }
        // Less than two levels of contrast is noise.
        if aa.min(bb) < 4.0 * count { 0.0 } else { ab / (aa * bb).sqrt() }
    }
}

/// How much one thumbnail differs from another.
#[derive(Clone, Copy, Debug, Default)]
struct Change {
    /// Mean difference of luma, levels of 0..255.
    luma: f32,
    /// The same plus that of U and of V.
    all: f32,
    /// Share of the picture that moved to other bins, 0..1.
    histogram: f32,
}

impl Change {
    fn combine(self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        Self {
            luma: f(self.luma, other.luma),
            all: f(self.all, other.all),
            histogram: f(self.histogram, other.histogram),
        }
    }

    /// True when this is a change of scene among changes of size `usual`.
    fn is_cut(self, usual: Self) -> bool {
        let by_luma = self.luma > MIN_LUMA_CHANGE && self.luma > OUTSTANDING * usual.luma;
        let by_histogram = self.histogram > MIN_HISTOGRAM_CHANGE
            && self.histogram > OUTSTANDING * usual.histogram
            && self.all > MIN_CHANGE_FOR_HISTOGRAM
            && self.all > OUTSTANDING * usual.all;
        by_luma || by_histogram
    }
}

/// What is remembered of a picture to compare it with a later one.
#[derive(Clone)]
pub struct Glance(Box<Thumbnail>);

impl std::fmt::Debug for Glance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Glance").finish_non_exhaustive()
    }
}

impl Glance {
    /// A glance at a picture.
    pub fn of(picture: &Picture<'_>) -> Self {
        Self(Box::new(Thumbnail::of(picture)))
    }

    /// Mean change of luma, in levels of 0..255.
    pub fn difference(&self, other: &Self) -> f32 {
        mean_difference(&self.0.luma, &other.0.luma)
    }

    /// True when `before`, shown up to some seconds earlier, is of another
    /// scene. Says nothing about what happened in between.
    pub fn is_another_scene(&self, before: &Self) -> bool {
        self.0.change_since(&before.0).is_cut(Change::default())
            && self.0.likeness(&before.0) < SAME_SCENE
    }
}

/// Finds the first frame of every shot.
#[derive(Clone, Default)]
pub struct ShotDetector {
    /// The last two frames, newest first.
    last: [Option<Box<Thumbnail>>; 2],
    /// Change of late, without that of the cuts.
    recent: Change,
    /// The change that made the last frame the first of its shot.
    cut: Option<Change>,
}

impl std::fmt::Debug for ShotDetector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ShotDetector").field("recent", &self.recent).finish_non_exhaustive()
    }
}

impl ShotDetector {
    /// True when `picture`, which follows the one given before, is the first of
    /// a new shot. The very first picture is.
    pub fn starts_shot(&mut self, picture: &Picture<'_>) -> bool {
        self.starts_shot_at(&Glance::of(picture))
    }

    /// The same for a picture that was glanced at already.
    pub fn starts_shot_at(&mut self, glance: &Glance) -> bool {
        let now = glance.0.clone();
        let starts = match &self.last {
            [Some(before), earlier] => {
                let change = now.change_since(before);
                let cut = match (self.cut, earlier) {
                    // Right after a cut: motion goes on changing the picture,
                    // a blank frame ends with the picture from before it.
                    (Some(cut), Some(earlier)) => {
                        let returns = now.change_since(earlier).all < cut.all / 2.0;
                        let usual = self.recent.combine(cut, |recent, cut| {
                            if returns { recent } else { recent.max(cut / 2.0) }
                        });
                        change.is_cut(usual)
                    }
                    _ => change.is_cut(self.recent),
                };
                let cut = cut && now.likeness(before) < SAME_SCENE;
                self.cut = cut.then_some(change);
                if !cut {
                    self.recent = self.recent.combine(change, |r, c| r + RECENT_WEIGHT * (c - r));
                }
                cut
            }
            _ => true,
        };
        self.last[1] = self.last[0].replace(now);
        starts
    }
}

/// Mean of four samples per cell, a few rows and columns apart.
fn fill(cells: &mut [u8], (cols, rows): (usize, usize), plane: &Plane<'_>, size: Size) {
    if size.width == 0 || size.height == 0 {
        return;
    }
    // Quarter points of the cells, so that samples are spread evenly.
    let spot = |cell: usize, half: usize, cells: usize, side: usize| {
        ((4 * cell + 1 + 2 * half) * side / (4 * cells)).min(side - 1)
    };
    for row in 0..rows {
        let lines = [0, 1].map(|h| plane.row(spot(row, h, rows, size.height), size.width));
        for col in 0..cols {
            let [a, b] = [0, 1].map(|h| spot(col, h, cols, size.width));
            let sum: u16 = lines.iter().map(|l| u16::from(l[a]) + u16::from(l[b])).sum();
            cells[row * cols + col] = (sum / 4) as u8;
        }
    }
}

/// Shares per bin. A sample counts for the two bins nearest to it, so that a
/// small change moves a small share, also at the border of a bin.
fn histogram(cells: &[u8]) -> [f32; BINS] {
    let mut bins = [0.0; BINS];
    let share = 1.0 / cells.len() as f32;
    for cell in cells {
        let at = f32::from(*cell) * (BINS - 1) as f32 / 255.0;
        let low = (at as usize).min(BINS - 2);
        let part = at - low as f32;
        bins[low] += (1.0 - part) * share;
        bins[low + 1] += part * share;
    }
    bins
}

fn mean_difference(a: &[u8], b: &[u8]) -> f32 {
    let sum: u32 = a.iter().zip(b).map(|(a, b)| u32::from(a.abs_diff(*b))).sum();
    sum as f32 / a.len() as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Colorimetry;

    const SIZE: Size = Size::new(320, 180);

    /// A smooth random picture: value noise of a few scales, different per seed.
    fn scene(seed: u64, x: f64, y: f64) -> f64 {
        let lattice = |i: i64, j: i64| {
            let mut h = seed ^ (i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            h = (h ^ (j as u64).wrapping_mul(0xC2B2_AE3D_27D4_EB4F))
                .wrapping_mul(0xD6E8_FEB8_6659_FD93);
            ((h ^ (h >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 40) as f64 / f64::from(1 << 24)
        };
        [(60.0, 0.7), (17.0, 0.3)]
            .iter()
            .map(|(scale, weight)| {
                let (u, v) = (x / scale, y / scale);
                let (i, j) = (u.floor() as i64, v.floor() as i64);
                let (s, t) = (u - u.floor(), v - v.floor());
                let top = lattice(i, j) * (1.0 - s) + lattice(i + 1, j) * s;
                let low = lattice(i, j + 1) * (1.0 - s) + lattice(i + 1, j + 1) * s;
                weight * (top * (1.0 - t) + low * t)
            })
            .sum::<f64>()
    }

    struct Feed(ShotDetector);

    impl Feed {
        fn show(&mut self, luma: impl Fn(usize, usize) -> f64, chroma: [u8; 2]) -> bool {
            let y: Vec<u8> = (0..SIZE.width * SIZE.height)
                .map(|i| luma(i % SIZE.width, i / SIZE.width).clamp(0.0, 255.0) as u8)
                .collect();
            let c = SIZE.chroma();
            let [u, v] = chroma.map(|v| vec![v; c.width * c.height]);
            self.0.starts_shot(&Picture {
                size: SIZE,
                colorimetry: Colorimetry::BT709,
                pixel_aspect: 1.0,
                planes: [
                    Plane { data: &y, stride: SIZE.width },
                    Plane { data: &u, stride: c.width },
                    Plane { data: &v, stride: c.width },
                ],
            })
        }

        fn scene(&mut self, seed: u64, shift: f64) -> bool {
            self.show(|x, y| 20.0 + 210.0 * scene(seed, x as f64 + shift, y as f64), [128; 2])
        }
    }

    fn feed() -> Feed {
        Feed(ShotDetector::default())
    }

    #[test]
    fn a_cut_between_two_pictures_is_found_on_its_first_frame() {
        for seed in 0..20 {
            let mut feed = feed();
            let shots: Vec<_> =
                (0..20).map(|n| feed.scene(seed + (n / 7) * 100, n as f64)).collect();
            let found: Vec<_> = (0..20).filter(|n| shots[*n]).collect();
            assert_eq!(found, [0, 7, 14], "seed {seed}");
        }
    }

    #[test]
    fn a_change_of_colour_alone_is_a_cut() {
        let mut feed = feed();
        let flat = |_, _| 100.0;
        assert_eq!(
            [[60, 200], [60, 200], [200, 60], [200, 60]].map(|c| feed.show(flat, c)),
            [true, false, true, false]
        );
    }

    #[test]
    fn pans_fades_and_noise_are_not_cuts() {
        let mut slow = feed();
        assert!(slow.scene(1, 0.0));
        assert!(!(1..100).any(|n| slow.scene(1, f64::from(n) * 3.0)), "slow pan");
        // A whip pan speeds up over a few frames; whatever it does at its start,
        // it must not make every frame a shot.
        let mut whip = feed();
        whip.scene(1, 0.0);
        let speed = |n: i32| f64::from((n - 10).clamp(0, 8)) * 8.0;
        let mut at = 0.0;
        let fired = (1..60)
            .filter(|n| {
                at += speed(*n);
                whip.scene(1, at)
            })
            .count();
        assert!(fired <= 1, "{fired} in a whip pan");
        let mut fade = feed();
        fade.scene(1, 0.0);
        for n in 1..=25 {
            let part = f64::from(n) / 25.0;
            let luma = |x: usize, y: usize| {
                let (x, y) = (x as f64, y as f64);
                20.0 + 210.0 * (scene(1, x, y) * (1.0 - part) + scene(9, x, y) * part)
            };
            assert!(!fade.show(luma, [128; 2]), "dissolve frame {n}");
        }
        for n in (0..25).rev() {
            let luma =
                |x: usize, y: usize| 16.0 + f64::from(n) * 8.0 * scene(9, x as f64, y as f64);
            assert!(!fade.show(luma, [128; 2]), "fade to black frame {n}");
        }
        let mut noise = feed();
        noise.show(|_, _| 100.0, [128; 2]);
        for n in 1..50_usize {
            let grain = |x: usize, y: usize| {
                100.0 + (scene(n as u64, x as f64 * 61.0, y as f64 * 61.0) - 0.5) * 120.0
            };
            assert!(!noise.show(grain, [128; 2]), "noise frame {n}");
        }
    }

    #[test]
    fn a_photo_flash_is_not_a_shot_and_a_white_frame_is_one_of_its_own() {
        let mut flash = feed();
        let lit = |gain: f64| {
            move |x: usize, y: usize| gain * (20.0 + 150.0 * scene(3, x as f64, y as f64))
        };
        let gains = [1.0, 1.0, 1.6, 1.3, 1.0, 1.0];
        assert_eq!(
            gains.map(|g| flash.show(lit(g), [128; 2])),
            [true, false, false, false, false, false]
        );
        let mut white = feed();
        for n in 0..6 {
            let starts =
                if n == 3 { white.show(|_, _| 235.0, [128; 2]) } else { white.scene(3, 0.0) };
            assert_eq!(starts, matches!(n, 0 | 3 | 4), "frame {n}");
        }
    }

    #[test]
    fn any_size_of_picture_will_do() {
        for (w, h) in [(1, 1), (3, 2), (63, 35), (0, 0)] {
            let size = Size::new(w, h);
            let data = vec![90; (w + 2) * (h + 2)];
            let plane = Plane { data: &data, stride: w + 1 };
            let picture = Picture {
                size,
                colorimetry: Colorimetry::BT601,
                pixel_aspect: 1.0,
                planes: [plane; 3],
            };
            let mut detector = ShotDetector::default();
            assert!(detector.starts_shot(&picture));
            assert!(!detector.starts_shot(&picture));
        }
    }
}
