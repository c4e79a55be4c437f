//! The media clock: turns the timestamps of several tracks of one recording
//! into one stream time that never leaps.
//!
//! Broadcast recordings are spliced: at a splice every track's timestamps jump
//! by the same unknown amount, each at its own moment. An *epoch* is a stretch
//! between two splices; it has one offset, shared by all tracks, so that sound
//! and picture stay together across the splice.

use crate::frame::Pts;

/// Nanoseconds; a leap forward beyond this is a splice, not a pause. Pauses of
/// a few seconds are real in captures with lost signal.
const MAX_FORWARD: i64 = 10_000_000_000;
/// Nanoseconds; a leap back beyond this is a splice, not reordering.
const MAX_BACK: i64 = 1_000_000_000;

#[derive(Clone, Copy, Debug)]
struct Epoch {
    /// First raw time seen in this epoch.
    raw: i64,
    /// Added to a raw time to get stream time.
    offset: i64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Lane {
    epoch: usize,
    /// Raw time where the next buffer of this track is expected.
    expected: Option<i64>,
}

/// Stream time for all tracks of one recording.
#[derive(Debug)]
pub struct MediaClock {
    epochs: Vec<Epoch>,
    lanes: Vec<Lane>,
    /// Takes no leap for a splice.
    trusts: bool,
}

impl Default for MediaClock {
    fn default() -> Self {
        Self { epochs: vec![Epoch { raw: 0, offset: 0 }], lanes: Vec::new(), trusts: false }
    }
}

impl MediaClock {
    /// A clock for parts of a recording that is known to have no splice: leaps
    /// are what was left out.
    pub fn trusting() -> Self {
        Self { trusts: true, ..Self::default() }
    }

    /// Stream time of a buffer of track `lane` (any small number) with raw
    /// running time `raw` and `duration`, both in nanoseconds.
    ///
    /// `None` for a buffer that lies before the start of the stream.
    pub fn map(&mut self, lane: usize, raw: i64, duration: u64) -> Option<Pts> {
        if self.lanes.len() <= lane {
            self.lanes.resize(lane + 1, Lane::default());
        }
        let Lane { mut epoch, expected } = self.lanes[lane];
        if let Some(expected) = expected.filter(|e| !self.trusts && is_splice(raw - e)) {
            // Another track may have crossed this splice already. Epochs before
            // are over, even if they began at the same raw time, as in a loop.
            let known = (epoch + 1..self.epochs.len())
                .rev()
                .find(|&i| !is_splice(raw - self.epochs[i].raw));
            epoch = known.unwrap_or_else(|| {
                let offset = expected + self.epochs[epoch].offset - raw;
                self.epochs.push(Epoch { raw, offset });
                self.epochs.len() - 1
            });
        }
        let length = i64::try_from(duration).unwrap_or(0);
        let expected = match expected {
            Some(e) if epoch == self.lanes[lane].epoch => e.max(raw + length),
            _ => raw + length,
        };
        self.lanes[lane] = Lane { epoch, expected: Some(expected) };
        u64::try_from(raw + self.epochs[epoch].offset).ok().map(Pts)
    }

    /// What was added to the newest raw time of track `lane`, nanoseconds.
    pub fn offset(&self, lane: usize) -> i64 {
        let epoch = self.lanes.get(lane).map_or(0, |lane| lane.epoch);
        self.epochs.get(epoch).map_or(0, |epoch| epoch.offset)
    }

    /// Where the repaired splices lie: from a stream time on, how many
    /// nanoseconds the raw time is ahead of the stream time. The first entry
    /// stands for the start.
    pub fn leads(&self) -> Vec<(Pts, i64)> {
        let lead = |e: &Epoch| {
            let start = u64::try_from(e.raw.saturating_add(e.offset)).unwrap_or(0);
            (Pts(start), -e.offset)
        };
        let mut leads: Vec<_> = self.epochs.iter().map(lead).collect();
        leads.sort_by_key(|(start, _)| *start);
        leads
    }

    /// How many splices were repaired so far.
    pub fn repairs(&self) -> usize {
        self.epochs.len() - 1
    }
}

fn is_splice(leap: i64) -> bool {
    !(-MAX_BACK..=MAX_FORWARD).contains(&leap)
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000_000;
    const FRAME: u64 = 40_000_000;

    #[test]
    fn what_was_left_out_on_purpose_is_no_splice() {
        let mut clock = MediaClock::trusting();
        for raw in [0, S, 500 * S, 501 * S] {
            assert_eq!(clock.map(0, raw, FRAME), Some(Pts(raw as u64)));
        }
        assert_eq!((clock.repairs(), clock.leads()), (0, vec![(Pts(0), 0)]));
    }

    #[test]
    fn pauses_and_reordering_are_left_alone() {
        let mut clock = MediaClock::default();
        for raw in [0, S / 25, S / 10, 4 * S, 3 * S + S / 2, 12 * S] {
            assert_eq!(clock.map(0, raw, FRAME), Some(Pts(raw as u64)));
        }
        assert_eq!(clock.repairs(), 0);
    }

    #[test]
    fn sound_and_picture_cross_a_splice_together() {
        let mut clock = MediaClock::default();
        let day = 90_000 * S;
        clock.map(0, 8 * S - 40_000_000, FRAME);
        clock.map(1, 8 * S - 200_000_000, FRAME);
        // The picture crosses first; its next frame follows on at once.
        assert_eq!(clock.map(0, day, FRAME), Some(Pts(8 * S as u64)));
        // Old sound still in flight keeps its time, new sound matches the picture.
        assert_eq!(clock.map(1, 8 * S - 100_000_000, FRAME), Some(Pts(7_900_000_000)));
        assert_eq!(clock.map(1, day + 20_000_000, FRAME), Some(Pts(8_020_000_000)));
        assert_eq!(clock.repairs(), 1);
    }

    #[test]
    fn raw_times_can_be_told_from_stream_times() {
        let mut clock = MediaClock::default();
        clock.map(0, 8 * S, FRAME);
        clock.map(0, 90_000 * S, FRAME);
        clock.map(0, 90_010 * S, FRAME);
        let leads = clock.leads();
        let raw = |pts: Pts| {
            let (_, lead) = leads.iter().rfind(|(start, _)| *start <= pts).unwrap();
            pts.0 as i64 + lead
        };
        assert_eq!(raw(Pts(8 * S as u64)), 8 * S);
        assert_eq!(raw(Pts(8 * S as u64 + FRAME)), 90_000 * S);
        assert_eq!(raw(Pts(18 * S as u64 + FRAME)), 90_010 * S);
    }

    #[test]
    fn a_jump_back_goes_on_forward() {
        let mut clock = MediaClock::default();
        clock.map(0, 100 * S, FRAME);
        let next = clock.map(0, 5 * S, FRAME).unwrap();
        assert_eq!(next, Pts(100 * S as u64 + FRAME));
    }

    #[test]
    fn a_recording_that_starts_again_and_again_goes_on_forward() {
        let mut clock = MediaClock::default();
        let mut last = None;
        for _ in 0..4 {
            for frame in 0..500 {
                let raw = frame * 40_000_000;
                let sound = clock.map(1, raw, FRAME);
                let picture = clock.map(0, raw, FRAME);
                assert_eq!(sound, picture);
                assert!(picture > last, "{picture:?} after {last:?}");
                last = picture;
            }
        }
        assert_eq!(last, Some(Pts(1999 * FRAME)));
        assert_eq!(clock.repairs(), 3);
    }

    #[test]
    fn what_lies_before_the_start_has_no_stream_time() {
        assert_eq!(MediaClock::default().map(0, -5, FRAME), None);
    }
}
