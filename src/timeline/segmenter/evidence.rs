//! What the classifier said, summed over stream time. Filled frame by frame;
//! asked for sums up to any moment; must not know why.
//!
//! Every frame speaks for the time halfway to its neighbours, for no more than
//! the reach on either side and never across a shot cut. So the sums depend on
//! stream time alone, not on how many frames were looked at.

use crate::frame::Pts;

/// Sums are kept at least this far apart, seconds, so that memory does not grow
/// with the frame rate: 18,000 of them an hour. Between them they are
/// interpolated.
const STEP_S: f64 = 0.2;
/// Probabilities are kept this far from 0, so that logarithms are finite.
const LEAST: f32 = 1e-6;

/// Sums over stream time for each label.
#[derive(Clone, Debug)]
pub(super) struct EvidenceSums {
    labels: usize,
    clip: f64,
    reach_s: f64,
    /// The frame whose end is not known yet.
    open: Option<OpenFrame>,
    /// Whether the latest sums may still move on.
    movable: bool,
    /// Moments for which sums are kept, rising.
    times: Vec<f64>,
    /// For each of them: seconds spoken for, then logits times seconds for each
    /// label, then probability times seconds for each label.
    sums: Vec<f64>,
}

#[derive(Clone, Debug)]
struct OpenFrame {
    time: f64,
    /// From when on it speaks.
    from: f64,
    /// What a second of it adds to the sums.
    rates: Vec<f64>,
}

impl EvidenceSums {
    pub(super) fn new(labels: usize, clip: f64, reach_s: f64) -> Self {
        Self {
            labels,
            clip,
            reach_s,
            open: None,
            movable: false,
            times: Vec::new(),
            sums: Vec::new(),
        }
    }

    /// Numbers that belong to a moment.
    pub(super) const fn width(&self) -> usize {
        1 + 2 * self.labels
    }

    /// Stream time of the latest frame, in seconds.
    pub(super) fn latest(&self) -> Option<f64> {
        self.open.as_ref().map(|f| f.time)
    }

    /// Adds a frame: a probability for each label. Frames that are not later
    /// than the one before say nothing, nor do those without an answer.
    pub(super) fn add(&mut self, pts: Pts, starts_shot: bool, probabilities: &[f32]) {
        let time = pts.as_secs_f64();
        if self.latest().is_some_and(|latest| time <= latest)
            || probabilities.len() != self.labels
            || probabilities.iter().any(|p| !p.is_finite())
        {
            return;
        }
        let rates = self.rates(probabilities);
        let from = match self.open.take() {
            None => time - self.reach_s,
            Some(before) => {
                let between = if starts_shot { time } else { before.time.midpoint(time) };
                self.close(&before, between.min(before.time + self.reach_s), starts_shot);
                between.max(time - self.reach_s)
            }
        };
        self.open = Some(OpenFrame { time, from: from.max(0.0), rates });
    }

    /// No more frames come before `end`: the latest speaks until then.
    pub(super) fn finish(&mut self, end: f64) {
        if let Some(last) = self.open.take() {
            self.close(&last, end.min(last.time + self.reach_s), true);
        }
    }

    /// Logarithms below the best label's, clipped: their differences are those
    /// of the logits. What all labels have in common decides nothing.
    fn rates(&self, probabilities: &[f32]) -> Vec<f64> {
        let log = |p: f32| f64::from(p.clamp(LEAST, 1.0)).ln();
        let best = probabilities.iter().copied().map(log).fold(f64::NEG_INFINITY, f64::max);
        let mut rates = vec![1.0];
        rates.extend(probabilities.iter().map(|p| (log(*p) - best).max(-self.clip)));
        rates.extend(probabilities.iter().map(|p| f64::from(p.clamp(0.0, 1.0))));
        rates
    }

    /// The frame speaks until `until`; `exact` when sums must be kept there.
    fn close(&mut self, frame: &OpenFrame, until: f64, exact: bool) {
        let (width, seconds) = (self.width(), (until - frame.from).max(0.0));
        match self.times.last() {
            None => {
                self.times.push(frame.from);
                self.sums.resize(width, 0.0);
            }
            // Nobody spoke in between.
            Some(&last) if frame.from > last + 1e-9 => self.keep(frame.from, &vec![0.0; width]),
            Some(_) => {}
        }
        let added: Vec<f64> = frame.rates.iter().map(|rate| rate * seconds).collect();
        let n = self.times.len();
        // The latest sums may move on while they are near the ones before.
        if n >= 2 && !exact && until - self.times[n - 2] < STEP_S && self.movable {
            self.times[n - 1] = until;
            let at = self.sums.len() - width;
            self.sums[at..].iter_mut().zip(&added).for_each(|(sum, a)| *sum += a);
        } else {
            self.keep(until, &added);
        }
        self.movable = !exact;
    }

    fn keep(&mut self, time: f64, added: &[f64]) {
        let at = self.sums.len() - added.len();
        for (i, a) in added.iter().enumerate() {
            self.sums.push(self.sums[at + i] + a);
        }
        self.times.push(time);
    }

    /// Writes the sums from the start of the stream to `time` into `into`.
    pub(super) fn at(&self, time: f64, into: &mut Vec<f64>) {
        let width = self.width();
        let after = self.times.partition_point(|t| *t <= time);
        let row = |i: usize| &self.sums[i * width..(i + 1) * width];
        match (after, self.times.len()) {
            (_, 0) => into.extend(std::iter::repeat_n(0.0, width)),
            (0, _) => into.extend_from_slice(row(0)),
            (n, len) if n == len => into.extend_from_slice(row(n - 1)),
            (n, _) => {
                let part = (time - self.times[n - 1]) / (self.times[n] - self.times[n - 1]);
                into.extend(row(n - 1).iter().zip(row(n)).map(|(a, b)| a + part * (b - a)));
            }
        }
    }

    /// Moments for which sums are in memory.
    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        self.times.len()
    }

    /// Forgets the sums that are only needed before `time`.
    pub(super) fn forget_before(&mut self, time: f64) {
        let first = self.times.partition_point(|t| *t <= time).saturating_sub(1);
        // Rarely, so that moving the rest costs next to nothing.
        if first > 1000 {
            self.times.drain(..first);
            self.sums.drain(..first * self.width());
        }
    }
}
