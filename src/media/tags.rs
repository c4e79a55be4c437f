//! What a container says about a recording and its tracks, for people: titles,
//! languages, who made it. What describes the coding is left to the encoder and
//! the multiplexer of the output.

use std::sync::Arc;

use gstreamer as gst;
use gstreamer::glib::GStr;
use gstreamer::prelude::*;
use gstreamer::tags as t;

use crate::sync_cell::Locked;

/// Said of a recording as a whole.
const OF_RECORDING: [&GStr; 14] = [
    t::Title::TAG_NAME,
    t::Artist::TAG_NAME,
    t::Album::TAG_NAME,
    t::Date::TAG_NAME,
    t::DateTime::TAG_NAME,
    t::Genre::TAG_NAME,
    t::Comment::TAG_NAME,
    t::Description::TAG_NAME,
    t::Keywords::TAG_NAME,
    t::Copyright::TAG_NAME,
    t::License::TAG_NAME,
    t::Organization::TAG_NAME,
    t::Publisher::TAG_NAME,
    t::ShowName::TAG_NAME,
];
/// Said of one track.
const OF_TRACK: [&GStr; 3] =
    [t::LanguageCode::TAG_NAME, t::LanguageName::TAG_NAME, t::Title::TAG_NAME];

/// The tags of a recording and of its video track, as far as they have come.
#[derive(Clone, Debug)]
pub struct Tags {
    pub(super) recording: Arc<Locked<gst::TagList>>,
    pub(super) video: Arc<Locked<gst::TagList>>,
}

impl Default for Tags {
    fn default() -> Self {
        Self { recording: empty(), video: empty() }
    }
}

/// No tags yet.
pub(super) fn empty() -> Arc<Locked<gst::TagList>> {
    Arc::new(Locked::new(gst::TagList::new()))
}

/// Keeps the tags that come to `element`, those of its track and those of the
/// recording.
pub(super) fn collect(
    element: &gst::Element,
    track: &Arc<Locked<gst::TagList>>,
    recording: &Arc<Locked<gst::TagList>>,
) {
    let Some(pad) = element.static_pad("sink") else { return };
    let (track, recording) = (Arc::clone(track), Arc::clone(recording));
    pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
        if let Some(gst::EventView::Tag(event)) = info.event().map(|e| e.view()) {
            let said = event.tag();
            let (kept, names): (_, &[&GStr]) = match said.scope() {
                gst::TagScope::Global => (&recording, &OF_RECORDING),
                _ => (&track, &OF_TRACK),
            };
            let mut kept = kept.lock();
            for name in names {
                for value in said.iter_tag_generic(name) {
                    // Only a value of another type than the tag's is refused.
                    let _ = kept.make_mut().add_value(*name, value, gst::TagMergeMode::Replace);
                }
            }
        }
        gst::PadProbeReturn::Ok
    });
}

/// Says `tags` of the track that `source` feeds, before its first packet.
pub(super) fn say(source: &gst::Element, tags: &Locked<gst::TagList>) {
    let tags = tags.lock().clone();
    if tags.n_tags() > 0 {
        source.send_event(gst::event::Tag::new(tags));
    }
}

/// Says `tags` of the recording; multiplexers without tags take none.
pub(super) fn say_of_recording(mux: &gst::Element, tags: &Locked<gst::TagList>) {
    if let Some(setter) = mux.dynamic_cast_ref::<gst::TagSetter>() {
        setter.merge_tags(&tags.lock(), gst::TagMergeMode::Replace);
    }
}
