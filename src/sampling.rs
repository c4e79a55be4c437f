//! Chooses the frames that are analysed. Asked once per frame, in order, by the
//! pipeline; must not know what analysis is or how long it takes.

use crate::frame::Pts;

/// Seconds a frame may be early and still count for a grid point: containers
/// that keep whole milliseconds put every third frame of 30 fps early.
const SLACK: f64 = 0.001;

/// Picks frames on a fixed grid of stream time, and the first frame of every shot.
#[derive(Clone, Debug)]
pub struct Sampler {
    fps: f64,
    max_gap: usize,
    slack: f64,
    /// Time of the first frame, where the grid begins.
    origin: Option<Pts>,
    /// The next grid point due, counted from the origin.
    due: u64,
    /// Frames in a row that were not picked.
    gap: usize,
}

impl Sampler {
    /// A sampler with `fps` grid points per second of stream time. Zero,
    /// negative, infinite and undefined rates mean every frame.
    ///
    /// At most `max_gap_frames` frames in a row are left out: they all wait in
    /// memory for the next analysed one.
    pub fn new(fps: f64, max_gap_frames: usize) -> Self {
        let fps = if fps.is_finite() && fps > 0.0 { fps } else { f64::INFINITY };
        let slack = SLACK.min(0.1 / fps);
        Self { fps, max_gap: max_gap_frames, slack, origin: None, due: 0, gap: 0 }
    }

    /// True when the frame at `pts` is to be analysed.
    pub fn wants(&mut self, pts: Pts, starts_shot: bool) -> bool {
        let elapsed = pts.secs_since(*self.origin.get_or_insert(pts));
        let on_grid = if self.fps.is_finite() {
            // Counted from the origin each time, so that errors never add up.
            let passed = ((elapsed + self.slack) * self.fps).floor() as u64;
            let reached = passed >= self.due;
            if reached {
                self.due = passed + 1;
            }
            reached
        } else {
            true
        };
        let wanted = on_grid || starts_shot || self.gap >= self.max_gap;
        self.gap = if wanted { 0 } else { self.gap + 1 };
        wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picked(fps: f64, times: impl IntoIterator<Item = f64>) -> Vec<usize> {
        let mut sampler = Sampler::new(fps, usize::MAX);
        let wanted = times.into_iter().map(|t| sampler.wants(Pts::from_secs_f64(t), false));
        wanted.enumerate().filter_map(|(i, w)| w.then_some(i)).collect()
    }

    #[test]
    fn a_grid_as_fast_as_the_video_takes_every_frame() {
        for fps in [25.0, 30_000.0 / 1001.0, 50.0, 60_000.0 / 1001.0] {
            let frames = 200_000;
            assert_eq!(picked(fps, (0..frames).map(|n| n as f64 / fps)).len(), frames);
            // Matroska keeps whole milliseconds.
            let rounded = (0..frames).map(|n| (n as f64 / fps * 1000.0).round() / 1000.0);
            assert_eq!(picked(fps, rounded).len(), frames, "{fps}");
        }
        for every in [0.0, -1.0, f64::INFINITY, f64::NAN] {
            assert_eq!(picked(every, [0.0, 0.0, 0.001]).len(), 3);
        }
    }

    #[test]
    fn five_a_second_stays_five_a_second_for_hours() {
        for video in [25.0, 30_000.0 / 1001.0, 24_000.0 / 1001.0] {
            let frames = (video * 7200.0) as usize;
            let n = picked(5.0, (0..frames).map(|n| n as f64 / video)).len();
            assert!((35_999..=36_001).contains(&n), "{video}: {n}");
        }
        assert_eq!(picked(5.0, (0..16).map(|n| 3.0 + f64::from(n) / 25.0)), [0, 5, 10, 15]);
    }

    #[test]
    fn irregular_frames_are_taken_at_or_after_each_grid_point() {
        // Grid 0, .2, .4 ...; a pause skips points, the grid stays where it was.
        let times = [0.0, 0.15, 0.25, 0.3, 0.41, 1.13, 1.19, 1.21, 1.39, 1.5];
        assert_eq!(picked(5.0, times), [0, 2, 4, 5, 7, 9]);
    }

    #[test]
    fn shots_are_always_sampled_and_do_not_move_the_grid() {
        let mut sampler = Sampler::new(5.0, 100);
        let wanted: Vec<_> =
            (0..11).filter(|n| sampler.wants(Pts(n * 40_000_000), *n == 3)).collect();
        assert_eq!(wanted, [0, 3, 5, 10]);
    }

    #[test]
    fn no_more_frames_wait_than_allowed() {
        let mut sampler = Sampler::new(0.001, 3);
        let wanted: Vec<_> =
            (0..10).filter(|n| sampler.wants(Pts(n * 40_000_000), false)).collect();
        assert_eq!(wanted, [0, 4, 8]);
        let mut every = Sampler::new(0.001, 0);
        assert!((0..5).all(|n| every.wants(Pts(n), false)));
    }
}
