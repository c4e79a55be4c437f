//! Splices that a live transport stream announces (SCTE-35). The demultiplexer
//! reads them and puts them into running time; here they become cues. Must not
//! know what a splice is good for.

use std::sync::Arc;

use gstreamer as gst;
use gstreamer::prelude::*;

use super::source::Shared;
use crate::frame::Pts;
use crate::timeline::{Cue, CueKind};

/// The property by which a demultiplexer tells of splices.
const TELLS: &str = "send-scte35-events";

/// Has a demultiplexer tell of splices, where it can.
pub(super) fn ask_for(demuxer: &gst::Element) {
    if demuxer.has_property(TELLS) {
        demuxer.set_property(TELLS, true);
    }
}

/// Takes the splices that are told of beside the picture that leaves `pad`.
pub(super) fn watch(pad: &gst::Pad, shared: &Arc<Shared>) {
    let shared = Arc::downgrade(shared);
    pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, probe| {
        if let (Some(event), Some(shared)) = (probe.event(), shared.upgrade())
            && let Some(structure) = event.structure().filter(|s| s.name() == "scte-sit")
        {
            for at in moments(structure) {
                shared.announce(at);
            }
        }
        gst::PadProbeReturn::Ok
    });
}

/// The running times of the splices that one announcement is about, nanoseconds.
fn moments(announcement: &gst::StructureRef) -> Vec<i64> {
    let Ok(map) = announcement.get::<gst::Structure>("running-time-map") else {
        return Vec::new();
    };
    // The map holds durations as well.
    let times = map.fields().filter(|name| name.ends_with("splice-time"));
    times.filter_map(|name| i64::try_from(map.get::<u64>(name).ok()?).ok()).collect()
}

impl Shared {
    /// A splice will be at this running time.
    fn announce(&self, raw: i64) {
        let lead = self.clock.lock().leads().last().map_or(0, |(_, lead)| *lead);
        if let Ok(at) = u64::try_from(raw - lead) {
            self.splices.lock().push(Cue::at(CueKind::Scte35, Pts(at)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announcement_tells_of_moments_and_not_of_durations() {
        gst::init().unwrap();
        let map = gst::Structure::builder("running-time-map")
            .field("event-7-splice-time", 30_480_000_000u64)
            .field("event-7-break-duration", 20_000_000_000u64)
            .field("splice-time", 5u64)
            .build();
        let told = gst::Structure::builder("scte-sit").field("running-time-map", map).build();
        assert_eq!(moments(&told), [30_480_000_000, 5]);
        assert!(moments(&gst::Structure::new_empty("scte-sit")).is_empty());
    }
}
