//! Joins moments at which something holds into one cue. Used by the detectors
//! of black, silence and still pictures; must not know what holds.

use crate::frame::Pts;
use crate::timeline::{Cue, CueKind};

/// Seconds between the end of one moment and the start of the next that are
/// rounding, not a gap.
const ROUNDING_S: f64 = 0.1;

/// A detector of stretches in which something holds.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    kind: CueKind,
    /// Shorter runs are no cue, in seconds.
    least_s: f64,
    /// A longer gap between two moments ends a run, in seconds.
    gap_s: f64,
    open: Option<(Pts, Pts)>,
}

impl Run {
    /// Runs of at least `least_s` seconds make cues of this kind; nothing is
    /// known about gaps longer than `gap_s` seconds.
    pub const fn new(kind: CueKind, least_s: f64, gap_s: f64) -> Self {
        Self { kind, least_s, gap_s, open: None }
    }

    /// Tells whether it holds from `start` to `end`. A cue comes when it has
    /// ended.
    pub fn push(&mut self, start: Pts, end: Pts, holds: bool) -> Option<Cue> {
        let gap = self.open.is_some_and(|(_, until)| start.secs_since(until) > self.gap_s);
        let ended = if gap || !holds { self.end(start) } else { None };
        if holds {
            match &mut self.open {
                Some((_, until)) => *until = end.max(*until),
                None => self.open = Some((start, end.max(start))),
            }
        }
        ended
    }

    /// The cue that is still open when the stream ends.
    pub fn finish(&mut self) -> Option<Cue> {
        self.end(Pts(u64::MAX))
    }

    fn end(&mut self, next: Pts) -> Option<Cue> {
        let (start, until) = self.open.take()?;
        // What follows at once says exactly where the run ended.
        let end = if next.secs_since(until) < ROUNDING_S { next.max(start) } else { until };
        (end.secs_since(start) >= self.least_s).then_some(Cue { kind: self.kind, start, end })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(seconds: f64) -> Pts {
        Pts::from_secs_f64(seconds)
    }

    /// Moments of 40 ms each; `#` holds, `.` does not, a blank is missing.
    fn runs(script: &str, least_s: f64) -> Vec<(f64, f64)> {
        let mut run = Run::new(CueKind::Black, least_s, 0.2);
        let moments = script.chars().enumerate().filter(|(_, c)| *c != ' ');
        let mut found: Vec<_> = moments
            .filter_map(|(i, c)| {
                let at = i as f64 * 0.04;
                run.push(s(at), s(at + 0.04), c == '#')
            })
            .collect();
        found.extend(run.finish());
        let ms = |pts: Pts| (pts.as_secs_f64() * 1e3).round() / 1e3;
        found.iter().map(|c| (ms(c.start), ms(c.end))).collect()
    }

    #[test]
    fn a_run_is_as_long_as_what_holds() {
        assert_eq!(runs("..###..", 0.0), [(0.08, 0.2)]);
        assert_eq!(runs("#.#", 0.0), [(0.0, 0.04), (0.08, 0.12)]);
        assert_eq!(runs("..##", 0.0), [(0.08, 0.16)]);
        assert_eq!(runs("....", 0.0), []);
        assert_eq!(runs("..#.###..", 0.1), [(0.16, 0.28)]);
    }

    #[test]
    fn missing_moments_do_not_tear_a_run_but_a_long_gap_does() {
        assert_eq!(runs("##  ##.", 0.0), [(0.0, 0.24)]);
        assert_eq!(runs("##         ##.", 0.0), [(0.0, 0.08), (0.44, 0.52)]);
    }
}
