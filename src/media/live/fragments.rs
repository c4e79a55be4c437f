//! Turns what a hub hands out into fragmented MP4 for web pages: an
//! initialisation segment, then one fragment for each picture.
//!
//! ```text
//! hub ─▶ appsrc - h264parse - mp4mux - appsink ─▶ fragments
//! ```

use std::sync::Arc;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;

use super::super::elements::{add_chain, capsfilter, make};
use super::super::{Error, keep_verdicts_only};
use super::hub::{Hub, SoundUnit, Tap, Unit};
use crate::frame::Pts;
use crate::sync_cell::Locked;

/// Pictures that may wait for the multiplexer, which needs microseconds each.
const MOST_WAITING: u64 = 50;

/// A piece of fragmented MP4.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fragment {
    /// The initialisation segment: `ftyp` and `moov`.
    Init(Vec<u8>),
    /// A `moof` with its `mdat`.
    Media {
        /// The bytes.
        bytes: Vec<u8>,
        /// True when decoding can begin here.
        keyframe: bool,
    },
}

/// Makes fragments until it is dropped.
pub struct Fragmenter {
    pipeline: gst::Pipeline,
    hub: Arc<Hub>,
    number: u64,
}

impl std::fmt::Debug for Fragmenter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fragmenter").finish_non_exhaustive()
    }
}

impl Fragmenter {
    /// Hands every fragment of `hub`'s pictures to `take`.
    ///
    /// # Errors
    /// When an element is missing.
    pub fn start(
        hub: &Arc<Hub>,
        mut take: impl FnMut(Fragment) + Send + 'static,
    ) -> Result<Self, Error> {
        let units = gst::Caps::builder("video/x-h264")
            .field("stream-format", "byte-stream")
            .field("alignment", "au")
            .build();
        let input = gst_app::AppSrc::builder()
            .caps(&units)
            .format(gst::Format::Time)
            .max_bytes(0)
            .max_buffers(2 * MOST_WAITING)
            .block(false)
            .build();
        let parse = make("h264parse")?;
        let avc = gst::Caps::builder("video/x-h264")
            .field("stream-format", "avc")
            .field("alignment", "au")
            .build();
        let mux = make("mp4mux")?;
        // One millisecond: every picture becomes a fragment.
        mux.set_property("fragment-duration", 1u32);
        mux.set_property("streamable", true);
        let sink = gst_app::AppSink::builder().sync(false).async_(false).build();
        sink.set_property("enable-last-sample", false);
        let mut boxes = Boxes::default();
        sink.set_callbacks(
            gst_app::AppSinkCallbacks::builder()
                .new_sample(move |sink| {
                    let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                    if let Some(bytes) = sample.buffer().and_then(|b| b.map_readable().ok()) {
                        boxes.push(&bytes, &mut take);
                    }
                    Ok(gst::FlowSuccess::Ok)
                })
                .build(),
        );
        let pipeline = gst::Pipeline::new();
        keep_verdicts_only(&pipeline);
        let (source, sink) = (input.clone().upcast(), sink.upcast());
        add_chain(&pipeline, &[&source, &parse, &capsfilter(&avc)?, &mux, &sink])?;
        pipeline
            .set_state(gst::State::Playing)
            .map_err(|e| Error::pipeline("starting the multiplexer", e))?;
        let number = hub.add(Arc::new(Input { input, first: Locked::default() }));
        Ok(Self { pipeline, hub: Arc::clone(hub), number })
    }
}

impl Drop for Fragmenter {
    fn drop(&mut self) {
        self.hub.remove(self.number);
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

struct Input {
    input: gst_app::AppSrc,
    /// Time of the key frame that began it; none while one is waited for.
    first: Locked<Option<Pts>>,
}

impl Tap for Input {
    fn picture(&self, unit: &Unit, hub: &Hub) {
        let mut first = self.first.lock();
        let is_full = self.input.current_level_buffers() > MOST_WAITING;
        let begin = match *first {
            Some(begin) if !is_full => begin,
            // Times go on from where they were, so that players see a gap.
            _ if unit.keyframe && !is_full => *first.get_or_insert(unit.pts),
            Some(_) => return,
            None => return hub.ask_for_keyframe(),
        };
        let mut buffer = unit.buffer.clone();
        let target = buffer.make_mut();
        let time = gst::ClockTime::from_nseconds(unit.pts.0.saturating_sub(begin.0));
        target.set_pts(time);
        target.set_dts(time);
        let _ = self.input.push_buffer(buffer);
    }

    fn sound(&self, _: &SoundUnit) {}
}

/// Puts the multiplexer's buffers together to whole boxes (ISO/IEC 14496-12).
#[derive(Default)]
struct Boxes {
    bytes: Vec<u8>,
    /// Length of the whole boxes at the start of `bytes`.
    whole: usize,
}

impl Boxes {
    fn push(&mut self, bytes: &[u8], take: &mut impl FnMut(Fragment)) {
        self.bytes.extend_from_slice(bytes);
        while let Some((kind, size)) = box_at(&self.bytes[self.whole..]) {
            let end = self.whole + size;
            if end > self.bytes.len() {
                return;
            }
            let content = self.whole + 8;
            self.whole = end;
            match &kind {
                b"moov" => take(Fragment::Init(self.cut())),
                b"mdat" => {
                    let keyframe = holds_keyframe(&self.bytes[content..end]);
                    let bytes = self.cut();
                    take(Fragment::Media { bytes, keyframe });
                }
                _ => {}
            }
        }
    }

    fn cut(&mut self) -> Vec<u8> {
        let rest = self.bytes.split_off(self.whole);
        self.whole = 0;
        std::mem::replace(&mut self.bytes, rest)
    }
}

fn box_at(bytes: &[u8]) -> Option<([u8; 4], usize)> {
    let size = u32::from_be_bytes(*bytes.first_chunk()?) as usize;
    let kind = *bytes.get(4..)?.first_chunk()?;
    // Sizes of 64 bits or "to the end" are not for fragments of one picture.
    (size >= 8).then_some((kind, size))
}

/// True when a picture in units with lengths before them is an IDR picture
/// (ISO/IEC 14496-10, table 7-1).
fn holds_keyframe(mut units: &[u8]) -> bool {
    while let Some((length, rest)) = units.split_first_chunk::<4>() {
        if rest.first().is_some_and(|header| header & 0x1F == 5) {
            return true;
        }
        let length = u32::from_be_bytes(*length) as usize;
        units = rest.get(length..).unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn atom(kind: &str, content: &[u8]) -> Vec<u8> {
        let size = u32::try_from(8 + content.len()).unwrap();
        [&size.to_be_bytes()[..], kind.as_bytes(), content].concat()
    }

    #[test]
    fn buffers_cut_anywhere_become_whole_fragments() {
        let idr = [0, 0, 0, 2, 0x09, 0x10, 0, 0, 0, 3, 0x65, 1, 2];
        let other = [0, 0, 0, 2, 0x41, 7];
        let init = [atom("ftyp", b"iso5"), atom("moov", b"....")].concat();
        let first = [atom("moof", b"1"), atom("mdat", &idr)].concat();
        let second = [atom("moof", b"2"), atom("mdat", &other)].concat();
        let all = [init.clone(), first.clone(), second.clone()].concat();
        for step in [1, 3, 8, 13, 1000] {
            let mut boxes = Boxes::default();
            let mut found = Vec::new();
            for part in all.chunks(step) {
                boxes.push(part, &mut |fragment| found.push(fragment));
            }
            let wanted = [
                Fragment::Init(init.clone()),
                Fragment::Media { bytes: first.clone(), keyframe: true },
                Fragment::Media { bytes: second.clone(), keyframe: false },
            ];
            assert_eq!(found, wanted, "{step}");
        }
    }
}
