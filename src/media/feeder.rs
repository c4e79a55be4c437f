//! Between reading and decoding: holds a group of coded pictures together until
//! it is known which of them are to be decoded. Used by the skimming source.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use gstreamer as gst;
use gstreamer_app as gst_app;

use super::elements::running_time;
use super::gop::{Chooser, Fate, Pick, Unit, is_reference};
use super::skim::Shared;
use crate::frame::Pts;

/// A group is chosen from when it holds so much, even if it goes on.
const GROUP_BYTES: usize = 64 << 20;
/// The same in pictures.
const GROUP_UNITS: usize = 3000;

/// Collects a group of pictures and gives the chosen ones to the decoder.
pub(super) struct Feeder {
    input: gst_app::AppSrc,
    chooser: Chooser,
    format: String,
    group: Vec<gst::Buffer>,
    units: Vec<Unit>,
    bytes: usize,
    /// End of the latest picture.
    end: Pts,
    /// Something was left out since the decoder was last fed.
    gap: bool,
    shared: Arc<Shared>,
}

impl Feeder {
    /// Feeds `input`, the decoder's, with pictures of this media type.
    pub(super) fn new(
        input: gst_app::AppSrc,
        pick: Pick,
        format: String,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            input,
            chooser: Chooser::new(pick),
            format,
            group: Vec::new(),
            units: Vec::new(),
            bytes: 0,
            end: Pts(0),
            gap: false,
            shared,
        }
    }

    pub(super) fn take(
        &mut self,
        sample: &gst::Sample,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        if let Some(caps) = sample.caps()
            && self.input.caps().as_deref() != Some(caps)
        {
            self.flush()?;
            self.input.set_caps(Some(&caps.to_owned()));
        }
        let Some(packet) = sample.buffer() else { return Ok(gst::FlowSuccess::Ok) };
        let mut buffer = packet.copy();
        let length = packet.duration().map_or(0, gst::ClockTime::nseconds);
        let raw = packet.pts().or(packet.dts()).and_then(|pts| running_time(sample, pts));
        let known = raw.and_then(|raw| self.shared.clock.lock().map(0, raw, length));
        // A picture without a time follows the one before.
        let pts = match (raw, known) {
            (_, Some(pts)) => pts,
            (None, None) => self.end,
            (Some(_), None) => return Ok(gst::FlowSuccess::Ok),
        };
        let key = !packet.flags().contains(gst::BufferFlags::DELTA_UNIT);
        if key {
            self.shared.keys.lock().push(pts);
            if !self.units.is_empty() {
                self.flush()?;
            }
        }
        let reference = packet.map_readable().is_ok_and(|data| is_reference(&self.format, &data));
        let meta = buffer.make_mut();
        meta.set_pts(gst::ClockTime::from_nseconds(pts.0));
        meta.set_dts(None);
        self.bytes += buffer.size();
        self.units.push(Unit { pts, key, reference });
        self.group.push(buffer);
        self.end = self.end.max(Pts(pts.0.saturating_add(length)));
        self.shared.coded.fetch_add(1, Relaxed);
        self.shared.reached.fetch_max(self.end.0, Relaxed);
        let full = self.bytes > GROUP_BYTES || self.units.len() >= GROUP_UNITS;
        if full || self.chooser.takes_all() {
            self.flush()?;
        }
        Ok(gst::FlowSuccess::Ok)
    }

    /// Chooses from the group that is held.
    fn flush(&mut self) -> Result<(), gst::FlowError> {
        let fates = self.chooser.choose(&self.units, self.end);
        self.bytes = 0;
        if let Some(wanted) = &self.shared.wanted {
            let chosen = self.units.iter().zip(&fates).filter(|(_, f)| **f == Fate::Wanted);
            wanted.lock().extend(chosen.map(|(unit, _)| unit.pts.0));
        }
        self.units.clear();
        for (mut buffer, fate) in self.group.drain(..).zip(fates) {
            if fate == Fate::Skipped {
                self.gap = true;
                continue;
            }
            if std::mem::take(&mut self.gap) {
                buffer.make_mut().set_flags(gst::BufferFlags::DISCONT);
            }
            self.input.push_buffer(buffer)?;
        }
        Ok(())
    }

    pub(super) fn end(&mut self) {
        // What is refused has failed elsewhere.
        let _ = self.flush();
        let _ = self.input.end_of_stream();
    }
}
