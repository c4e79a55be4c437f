//! Cues in the sound of a recording or a live source, found while its tracks are
//! handed on. Fed with the packets of one track; must not know what becomes of
//! the track beside it.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};
use gstreamer as gst;

use super::loudness::Loudness;
use crate::clock::MediaClock;
use crate::sync_cell::Locked;
use crate::timeline::Cue;
use crate::timeline::cues::SoundCues;

/// A track that is listened to.
#[derive(Debug)]
pub(super) struct Hearing {
    loudness: Loudness,
    found: Arc<Locked<Found>>,
    /// Closed once no more will be heard.
    over: Receiver<()>,
}

#[derive(Debug, Default)]
struct Found {
    sound: SoundCues,
    cues: Vec<Cue>,
}

impl Hearing {
    /// Listens to the track that the clock knows by `lane`.
    pub(super) fn new(lane: usize) -> Self {
        let found = Arc::new(Locked::new(Found::default()));
        let (going, over) = bounded::<()>(0);
        let heard = Arc::clone(&found);
        let listener = move |levels: Vec<_>| {
            // Never waits, so the demultiplexer does not either.
            let _ = &going;
            let Found { sound, cues } = &mut *heard.lock();
            levels.iter().for_each(|level| cues.extend(sound.listen(level)));
            true
        };
        Self { loudness: Loudness::new(lane, Arc::new(listener)), found, over }
    }

    /// Takes a packet from the demultiplexer; never fails.
    pub(super) fn push(&self, sample: &gst::Sample, clock: &Locked<MediaClock>) {
        self.loudness.push(sample, clock);
    }

    /// Marks the end of the track.
    pub(super) fn end(&self) {
        self.loudness.end();
    }

    /// Ends at once.
    pub(super) fn stop(&self) {
        self.loudness.stop();
    }

    /// The cues found since this was last asked; one that lasts comes when it
    /// has ended.
    pub(super) fn take(&self) -> Vec<Cue> {
        std::mem::take(&mut self.found.lock().cues)
    }

    /// The cues that are left once all was heard, for which it waits as long as
    /// `patience`.
    pub(super) fn finish(&self, patience: Duration) -> Vec<Cue> {
        // Nothing is ever sent: this ends with the listener.
        let _ = self.over.recv_timeout(patience);
        let Found { sound, cues } = &mut *self.found.lock();
        cues.extend(sound.finish());
        std::mem::take(cues)
    }
}
