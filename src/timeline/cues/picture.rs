//! Cues in the picture: black, still, another shot, bars that come or go.

use super::Run;
use crate::frame::{Picture, Plane, Pts};
use crate::shot::{Glance, ShotDetector};
use crate::timeline::{Cue, CueKind};

/// A sample is dark up to this part of the way from black to white.
const DARK: f32 = 0.1;
/// A picture is black when at least this part of its samples is dark.
const BLACK_SHARE: f32 = 0.98;
/// The shortest time a picture stands still to be frozen, in seconds.
const FREEZE_S: f64 = 2.0;
/// Mean change of luma, in levels, up to which a picture stands still.
const STILL: f32 = 0.4;
/// Seconds between two pictures that follow each other.
const CONSECUTIVE_S: f64 = 0.5;
/// Seconds between two pictures of a sampled stream, at most.
const SAMPLED_S: f64 = 15.0;
/// Bars thinner than this part of the picture are none.
const THINNEST: f32 = 0.02;
/// Opposite bars are as thick as each other, within this part of the picture.
const EVEN: f32 = 0.02;
/// Seconds for which new bars must stay.
const STAY_S: f64 = 0.5;
/// Every so many samples of a row or column are looked at for bars.
const STEP: usize = 4;

/// What was seen in one picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Glimpse {
    /// True when the picture shows another scene than the one before; of every
    /// picture of a stream also for the very first one.
    pub starts_shot: bool,
    /// True when it is black.
    pub black: bool,
}

/// How pictures follow each other.
#[derive(Clone, Debug)]
enum Pace {
    /// Every picture of the stream.
    Every(ShotDetector),
    /// One now and then: a change lies anywhere between two.
    Sampled,
}

/// Finds cues in a series of pictures.
#[derive(Clone, Debug)]
pub struct PictureCues {
    pace: Pace,
    black: Run,
    freeze: Run,
    bars: BarsWatch,
    last: Option<(Pts, Glance)>,
    found: Vec<Cue>,
}

impl PictureCues {
    /// For every picture of a stream, in order.
    pub fn every() -> Self {
        Self::new(Pace::Every(ShotDetector::default()), CONSECUTIVE_S)
    }

    /// For pictures taken now and then, in order. What a cue says about time is
    /// as exact as the pictures are close.
    pub fn sampled() -> Self {
        Self::new(Pace::Sampled, SAMPLED_S)
    }

    fn new(pace: Pace, gap_s: f64) -> Self {
        Self {
            pace,
            black: Run::new(CueKind::Black, 0.0, gap_s),
            freeze: Run::new(CueKind::Freeze, FREEZE_S, gap_s),
            bars: BarsWatch::default(),
            last: None,
            found: Vec::new(),
        }
    }

    /// Looks at the next picture, shown from `start` to `end`.
    pub fn look(&mut self, start: Pts, end: Pts, picture: &Picture<'_>) -> Glimpse {
        let dark = dark_level(picture);
        let black = is_black(picture, dark);
        let glance = Glance::of(picture);
        let starts_shot = match (&mut self.pace, &self.last) {
            (Pace::Every(shots), _) => shots.starts_shot_at(&glance),
            (Pace::Sampled, Some((_, before))) => glance.is_another_scene(before),
            (Pace::Sampled, None) => false,
        };
        if starts_shot && self.last.is_some() {
            self.found.push(Cue { kind: CueKind::ShotCut, start, end: start });
        }
        self.found.extend(self.black.push(start, end, black));
        if let Some((before, seen)) = &self.last {
            // A black picture says nothing by standing still.
            let still = !black && glance.difference(seen) <= STILL;
            let since = if still { *before } else { start };
            self.found.extend(self.freeze.push(since, end, still));
        }
        let bars = if black { None } else { Bars::of(picture, dark) };
        self.found.extend(bars.and_then(|bars| self.bars.push(start, bars)));
        self.last = Some((start, glance));
        Glimpse { starts_shot, black }
    }

    /// What is remembered of the picture looked at last.
    pub fn glance(&self) -> Option<&Glance> {
        self.last.as_ref().map(|(_, glance)| glance)
    }

    /// The cues found since this was last asked; one that lasts comes when it
    /// has ended.
    pub fn take(&mut self) -> Vec<Cue> {
        std::mem::take(&mut self.found)
    }

    /// All cues that are left at the end of the stream.
    pub fn finish(&mut self) -> Vec<Cue> {
        self.found.extend(self.black.finish());
        self.found.extend(self.freeze.finish());
        self.take()
    }
}

/// The largest dark sample.
fn dark_level(picture: &Picture<'_>) -> u8 {
    let (black, white) = if picture.colorimetry.full_range { (0.0, 255.0) } else { (16.0, 235.0) };
    (black + DARK * (white - black)) as u8
}

fn is_black(picture: &Picture<'_>, dark: u8) -> bool {
    let (width, height) = (picture.size.width, picture.size.height);
    let samples = width * height;
    // The number of lit samples that is too many.
    let most = (samples as f32 * (1.0 - BLACK_SHARE)) as usize;
    let mut lit = 0;
    for y in 0..height {
        lit += picture.planes[0].row(y, width).iter().filter(|s| **s > dark).count();
        if lit > most {
            return false;
        }
    }
    samples > 0
}

/// Black bars around a picture, as parts of its height and width.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Bars {
    /// Above, and as much below.
    above: f32,
    /// On the left, and as much on the right.
    beside: f32,
}

impl Bars {
    /// The bars of a picture; none when too little of it is lit to tell.
    fn of(picture: &Picture<'_>, dark: u8) -> Option<Self> {
        let (width, height) = (picture.size.width, picture.size.height);
        let plane: &Plane<'_> = &picture.planes[0];
        let row = |y: usize| plane.row(y, width).iter().step_by(STEP).all(|s| *s <= dark);
        let column =
            |x: usize| (0..height).step_by(STEP).all(|y| plane.data[y * plane.stride + x] <= dark);
        let above = bar(height, &row)?;
        let beside = bar(width, &column)?;
        Some(Self { above, beside })
    }

    fn is_like(&self, other: &Self) -> bool {
        (self.above - other.above).abs() <= EVEN && (self.beside - other.beside).abs() <= EVEN
    }
}

/// Thickness of the bars on both sides of an axis of `length` lines. A dark
/// edge on one side only is part of the picture.
fn bar(length: usize, is_dark: &impl Fn(usize) -> bool) -> Option<f32> {
    let first = (0..length).take_while(|i| is_dark(*i)).count();
    if 2 * first > length {
        return None;
    }
    let last = (0..length).rev().take_while(|i| is_dark(*i)).count();
    let [first, last] = [first, last].map(|n| n as f32 / length.max(1) as f32);
    let even = (first - last).abs() <= EVEN && first.min(last) >= THINNEST;
    Some(if even { first.min(last) } else { 0.0 })
}

/// Notices bars that come or go and stay.
#[derive(Clone, Debug, Default)]
struct BarsWatch {
    now: Option<Bars>,
    /// Other bars, and since when.
    new: Option<(Pts, Bars)>,
}

impl BarsWatch {
    fn push(&mut self, pts: Pts, bars: Bars) -> Option<Cue> {
        let Some(now) = self.now else {
            self.now = Some(bars);
            return None;
        };
        if bars.is_like(&now) {
            self.new = None;
            return None;
        }
        match self.new {
            Some((since, new)) if new.is_like(&bars) => {
                if pts.secs_since(since) < STAY_S {
                    return None;
                }
                (self.now, self.new) = (Some(new), None);
                Some(Cue { kind: CueKind::Aspect, start: since, end: since })
            }
            _ => {
                self.new = Some((pts, bars));
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Colorimetry, Size};

    const SIZE: Size = Size::new(160, 90);

    struct Film(PictureCues, Vec<Cue>, u64);

    impl Film {
        fn new() -> Self {
            Self(PictureCues::every(), Vec::new(), 0)
        }

        /// Shows a picture for so many frames of 40 ms; `luma` knows the frame.
        fn show(&mut self, frames: u64, full_range: bool, luma: impl Fn(u64, usize, usize) -> u8) {
            for _ in 0..frames {
                let y: Vec<u8> = (0..SIZE.width * SIZE.height)
                    .map(|i| luma(self.2, i % SIZE.width, i / SIZE.width))
                    .collect();
                let grey = vec![128; SIZE.width * SIZE.height];
                let plane = |data| Plane { data, stride: SIZE.width };
                let picture = Picture {
                    size: SIZE,
                    colorimetry: Colorimetry { full_range, ..Colorimetry::BT709 },
                    pixel_aspect: 1.0,
                    planes: [plane(&y), plane(&grey), plane(&grey)],
                };
                let at = |n: u64| Pts(n * 40_000_000);
                self.0.look(at(self.2), at(self.2 + 1), &picture);
                self.1.extend(self.0.take());
                self.2 += 1;
            }
        }

        /// Kind, first frame and frame after the last.
        fn cues(mut self) -> Vec<(CueKind, u64, u64)> {
            self.1.extend(self.0.finish());
            let frame = |pts: Pts| pts.0 / 40_000_000;
            self.1.iter().map(|c| (c.kind, frame(c.start), frame(c.end))).collect()
        }

        fn of(self, kind: CueKind) -> Vec<(u64, u64)> {
            let cues = self.cues();
            cues.iter().filter(|c| c.0 == kind).map(|c| (c.1, c.2)).collect()
        }
    }

    /// Something that moves.
    fn busy(n: u64, x: usize, y: usize) -> u8 {
        60 + ((x * 3 + y * 5 + n as usize * 7) % 160) as u8
    }

    #[test]
    fn black_goes_by_the_range_of_the_samples_and_forgives_a_channel_logo() {
        for (full_range, black, dark_grey) in [(false, 16, 40), (true, 0, 30)] {
            let mut film = Film::new();
            film.show(5, full_range, busy);
            film.show(3, full_range, |_, _, _| black);
            film.show(5, full_range, busy);
            // Two in a hundred samples may be lit.
            film.show(2, full_range, |_, x, y| if x < 16 && y < 17 { 235 } else { black + 5 });
            film.show(2, full_range, |_, x, y| if x < 16 && y < 20 { 235 } else { black });
            film.show(4, full_range, |_, _, _| dark_grey);
            assert_eq!(film.of(CueKind::Black), [(5, 8), (13, 15)], "full range {full_range}");
        }
    }

    #[test]
    fn a_picture_that_stands_still_for_two_seconds_is_frozen_and_black_is_not() {
        let mut film = Film::new();
        film.show(10, false, busy);
        film.show(60, false, |_, x, y| busy(3, x, y));
        film.show(10, false, busy);
        film.show(40, false, |_, x, y| busy(3, x, y));
        film.show(80, false, |_, _, _| 16);
        assert_eq!(film.of(CueKind::Freeze), [(10, 70)]);
    }

    #[test]
    fn bars_that_come_and_stay_are_a_cue_and_a_dark_edge_is_not() {
        let boxed = |thick: usize| {
            move |n: u64, x: usize, y: usize| {
                if y < thick || y >= SIZE.height - thick { 16 } else { busy(n, x, y) }
            }
        };
        let mut film = Film::new();
        film.show(20, false, busy);
        film.show(20, false, boxed(11));
        film.show(5, false, |_, _, _| 16);
        film.show(20, false, boxed(11));
        film.show(30, false, |n, x, y| if y < 20 { 16 } else { busy(n, x, y) });
        film.show(5, false, boxed(11));
        film.show(20, false, busy);
        assert_eq!(film.of(CueKind::Aspect), [(20, 20), (65, 65)]);
        let mut pillar = Film::new();
        pillar.show(20, false, busy);
        pillar.show(20, false, |n, x, y| if !(20..140).contains(&x) { 16 } else { busy(n, x, y) });
        assert_eq!(pillar.of(CueKind::Aspect), [(20, 20)]);
    }

    #[test]
    fn a_cut_is_found_among_all_pictures_and_among_a_few() {
        let scene = |seed: usize| {
            move |_: u64, x: usize, y: usize| {
                let cell = (x / 20 * 7 + y / 15 * 13 + seed * 31) * 2_654_435_761 % 251;
                (16 + cell * 200 / 251) as u8
            }
        };
        let mut film = Film::new();
        film.show(10, false, scene(1));
        film.show(10, false, scene(2));
        assert_eq!(film.of(CueKind::ShotCut), [(10, 10)]);
        let mut few = Film(PictureCues::sampled(), Vec::new(), 0);
        few.show(3, false, scene(1));
        few.show(3, false, scene(2));
        assert_eq!(few.of(CueKind::ShotCut), [(3, 3)]);
    }
}
