//! Hands encoded pictures and sound to everybody who takes them. Filled by the
//! encoder's and the source's threads; must not know who takes them, and never
//! waits: a tap that is not ready misses something, and goes on at a key frame.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_video as gst_video;

use crate::frame::Pts;
use crate::sync_cell::Locked;

/// Key frames are asked for no closer than this.
const KEYFRAME_PAUSE: Duration = Duration::from_millis(300);
/// Sound that has not been heard for so long is not announced to newcomers.
const SOUND_FRESH: Duration = Duration::from_secs(2);

/// Sound comes so soon after the first picture, or not at all.
const SOUND_COMES: Duration = Duration::from_secs(1);

/// One encoded picture: an H.264 access unit as a byte stream.
#[derive(Clone, Debug)]
pub(super) struct Unit {
    pub(super) buffer: gst::Buffer,
    pub(super) pts: Pts,
    /// Decoding can begin here.
    pub(super) keyframe: bool,
    /// Number of the encoder: pictures of another one may have another size.
    pub(super) encoder: u64,
}

/// One packet of sound.
#[derive(Clone, Debug)]
pub(super) struct SoundUnit {
    pub(super) buffer: gst::Buffer,
    pub(super) caps: gst::Caps,
    pub(super) pts: Pts,
}

/// Somebody who takes what is encoded. Called on the encoder's thread: must
/// return at once.
pub(super) trait Tap: Send + Sync {
    fn picture(&self, unit: &Unit, hub: &Hub);
    fn sound(&self, unit: &SoundUnit);
}

type Taps = Vec<(u64, Arc<dyn Tap>)>;

/// What is encoded, and everybody who takes it.
#[derive(Default)]
pub struct Hub {
    taps: Locked<Taps>,
    next: AtomicU64,
    /// Where key frames are asked for.
    encoder: Locked<Option<gst::glib::WeakRef<gst::Pad>>>,
    /// Encoders so far.
    encoders: AtomicU64,
    asked: Locked<Option<Instant>>,
    sound: Locked<Option<(gst::Caps, Instant)>>,
    /// When the first picture came.
    begun: Locked<Option<Instant>>,
    /// No sound will ever come.
    is_mute: bool,
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").field("taps", &self.taps.lock().len()).finish_non_exhaustive()
    }
}

impl Hub {
    /// A hub that gets no sound.
    pub fn mute() -> Self {
        Self { is_mute: true, ..Self::default() }
    }

    /// Adds a tap; its number takes it away again.
    pub(super) fn add(&self, tap: Arc<dyn Tap>) -> u64 {
        let number = self.next.fetch_add(1, Relaxed);
        self.taps.lock().push((number, tap));
        self.ask_for_keyframe();
        number
    }

    pub(super) fn remove(&self, number: u64) {
        self.taps.lock().retain(|(n, _)| *n != number);
    }

    /// True when nobody takes anything.
    pub fn is_idle(&self) -> bool {
        self.taps.lock().is_empty()
    }

    fn taps(&self) -> Taps {
        self.taps.lock().clone()
    }

    /// Notes which encoder fills the hub from now on; returns its number.
    pub(super) fn set_encoder(&self, pad: &gst::Pad) -> u64 {
        *self.encoder.lock() = Some(pad.downgrade());
        self.encoders.fetch_add(1, Relaxed)
    }

    /// Asks the encoder for a key frame, unless that was done a moment ago.
    pub(super) fn ask_for_keyframe(&self) {
        {
            let mut asked = self.asked.lock();
            if asked.is_some_and(|at| at.elapsed() < KEYFRAME_PAUSE) {
                return;
            }
            *asked = Some(Instant::now());
        }
        let pad = self.encoder.lock().as_ref().and_then(gst::glib::WeakRef::upgrade);
        if let Some(pad) = pad {
            let event = gst_video::UpstreamForceKeyUnitEvent::builder().all_headers(true).build();
            pad.send_event(event);
        }
    }

    pub(super) fn picture(&self, unit: &Unit) {
        self.begun.lock().get_or_insert_with(Instant::now);
        for (_, tap) in self.taps() {
            tap.picture(unit, self);
        }
    }

    pub(super) fn sound(&self, unit: &SoundUnit) {
        *self.sound.lock() = Some((unit.caps.clone(), Instant::now()));
        for (_, tap) in self.taps() {
            tap.sound(unit);
        }
    }

    /// Media type of the sound, when there is some at the moment.
    pub(super) fn sound_caps(&self) -> Option<gst::Caps> {
        let sound = self.sound.lock();
        sound.as_ref().filter(|(_, at)| at.elapsed() < SOUND_FRESH).map(|(caps, _)| caps.clone())
    }

    /// True once it is certain whether there is sound.
    pub(super) fn knows_its_sound(&self) -> bool {
        let has_begun = || self.begun.lock().is_some_and(|at| at.elapsed() > SOUND_COMES);
        self.is_mute || self.sound_caps().is_some() || has_begun()
    }
}
