//! The sound of a stream's output. Where there should be some and none comes,
//! while the source is away or has lost it, silence takes its place: players
//! wait for the sound of a mount that has sound, or end.

use crate::frame::Pts;
use crate::media::{Silence, Sound};

/// Nanoseconds; sound that is further behind the picture is taken for missing.
const MISSING: u64 = 500_000_000;
/// Nanoseconds; what is missing for longer is not made up for.
const MOST: u64 = 10_000_000_000;

/// Follows the sound of one stream.
#[derive(Default)]
pub(super) struct SoundLine {
    newest: Option<Sound>,
    /// Stream time up to which there is sound.
    end: u64,
    /// Stream time up to which silence was sent.
    silent_until: u64,
    /// Silence like the newest sound; none where it cannot be made.
    silence: Option<Option<Silence>>,
}

impl SoundLine {
    /// The sound that is to be sent; none where silence took its place already.
    pub(super) fn take(&mut self, sound: Sound) -> Option<Sound> {
        if sound.pts().0 < self.silent_until {
            return None;
        }
        if self.newest.as_ref().is_none_or(|newest| !newest.is_like(&sound)) {
            self.silence = None;
        }
        self.end = sound.end().0;
        self.newest = Some(sound.clone());
        Some(sound)
    }

    /// The silence that is to be sent beside a picture at `pts`.
    pub(super) fn fill(&mut self, pts: Pts) -> Vec<Sound> {
        let due = pts.0.saturating_sub(MISSING);
        let Some(newest) = self.newest.as_ref().filter(|_| self.end < due) else {
            return Vec::new();
        };
        let silence = self.silence.get_or_insert_with(|| Silence::like(newest));
        let Some(silence) = silence else { return Vec::new() };
        let mut packets = Vec::new();
        self.end = self.end.max(due.saturating_sub(MOST));
        while self.end < due {
            packets.push(silence.at(Pts(self.end)));
            self.end += silence.length_ns();
        }
        self.silent_until = self.end;
        packets
    }
}
