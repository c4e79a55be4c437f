//! Puts a transport stream's own times back on the demultiplexer's buffers.
//!
//! `tsdemux` of GStreamer 1.22 derives its timestamps from the clock references
//! (PCR) and goes wrong by seconds where these are further apart than half a
//! second, as in many HLS segments. The times in the PES headers are right, so
//! they are read beside it from the same file.

use std::path::Path;
use std::sync::Arc;

use gstreamer as gst;
use gstreamer::prelude::*;

use super::parts::{PartReader, Parts, Places};
use crate::clock::MediaClock;
use crate::frame::Pts;
use crate::mpegts::{PesTimes, unwrap};
use crate::sync_cell::Locked;

/// Bytes of a buffer by which its PES packet is recognised.
const START: usize = 32;
/// How far the first packet of a track is looked for.
const FIRST_LIMIT: usize = 4 << 20;
/// 90 kHz ticks within which picture and sound of one programme start.
const TOGETHER: i64 = 10 * 90_000;
/// Nanoseconds; taken for the length of a packet whose successor is not known.
const USUAL_LENGTH: i64 = 40_000_000;

/// The times of one file, for all its tracks.
#[derive(Debug)]
pub(super) struct TsTimes(Locked<State>);

#[derive(Debug)]
struct State {
    times: PesTimes<PartReader>,
    clock: MediaClock,
    /// 90 kHz ticks when the first picture or sound is presented; stream time
    /// counts from it.
    base: Option<i64>,
    lanes: Vec<Lane>,
    /// Stream time of announced splices.
    splices: Vec<Pts>,
    /// Where the pictures are.
    places: Places,
}

#[derive(Clone, Copy, Debug)]
struct Lane {
    pid: u16,
    is_video: bool,
    /// Picture or sound.
    is_av: bool,
    /// Unwrapped 90 kHz ticks of the newest packet.
    ticks: Option<i64>,
    /// Nanoseconds from the packet before to it.
    length: i64,
}

impl TsTimes {
    /// For all of the file, or for `parts` of one that has no splice.
    pub(super) fn open(path: &Path, parts: Option<&Parts>) -> std::io::Result<Self> {
        let state = State {
            times: PesTimes::new(PartReader::open(path, parts)?),
            clock: parts.map_or_else(MediaClock::default, |_| MediaClock::trusting()),
            base: parts.map(|parts| parts.base),
            lanes: Vec::new(),
            splices: Vec::new(),
            places: Places::default(),
        };
        Ok(Self(Locked::new(state)))
    }

    /// Where the pictures are that were found so far; `None` when there is a
    /// splice: then a part cannot be understood by itself.
    pub(super) fn places(&self) -> Option<Places> {
        let state = self.0.lock();
        let whole = state.clock.repairs() == 0;
        state.base.filter(|_| whole).map(|base| Places { base, ..state.places.clone() })
    }

    /// As [`MediaClock::leads`], for the recording's own timestamps.
    pub(super) fn leads(&self) -> Vec<(Pts, i64)> {
        self.0.lock().clock.leads()
    }

    /// The splices that the stream announced so far (SCTE-35), in stream time.
    pub(super) fn splices(&self) -> Vec<Pts> {
        self.0.lock().splices.clone()
    }

    /// Corrects everything that leaves through `pad`, whose name ends in its
    /// PID in hexadecimal.
    pub(super) fn restore(self: &Arc<Self>, pad: &gst::Pad) {
        let name = pad.name();
        let Some(pid) = name.rsplit('_').next().and_then(|p| u16::from_str_radix(p, 16).ok())
        else {
            return;
        };
        let lane = {
            let mut state = self.0.lock();
            let is_video = name.starts_with("video");
            let is_av = is_video || name.starts_with("audio");
            state.lanes.push(Lane { pid, is_video, is_av, ticks: None, length: USUAL_LENGTH });
            state.lanes.len() - 1
        };
        let times = Arc::clone(self);
        let mask = gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM;
        pad.add_probe(mask, move |_, probe| {
            match &mut probe.data {
                Some(gst::PadProbeData::Buffer(buffer)) => times.0.lock().correct(lane, buffer),
                Some(gst::PadProbeData::Event(event))
                    if event.type_() == gst::EventType::Segment =>
                {
                    // Corrected times count from zero.
                    let segment = gst::FormattedSegment::<gst::ClockTime>::new();
                    *event = gst::event::Segment::builder(&segment).seqnum(event.seqnum()).build();
                }
                _ => {}
            }
            gst::PadProbeReturn::Ok
        });
    }
}

impl State {
    fn correct(&mut self, lane: usize, buffer: &mut gst::Buffer) {
        let times = self.times_of(lane, buffer);
        let meta = buffer.make_mut();
        meta.set_pts(times.map(|(pts, _)| pts));
        meta.set_dts(times.map(|(_, dts)| dts));
    }

    /// PTS and DTS in stream time; `None` where the stream gives none.
    fn times_of(
        &mut self,
        lane: usize,
        buffer: &gst::BufferRef,
    ) -> Option<(gst::ClockTime, gst::ClockTime)> {
        let base = self.base()?;
        let Lane { pid, ticks: last, length, .. } = self.lanes[lane];
        let found = {
            let data = buffer.map_readable().ok()?;
            self.times.find(pid, &data[..data.len().min(START)])?
        };
        let pts = unwrap(found.pts.or(found.dts)?, last.unwrap_or(base));
        let dts = found.dts.map_or(pts, |dts| unwrap(dts, pts));
        let step = last.map_or(0, |last| nanoseconds(pts - last));
        let length = if (1..1_000_000_000).contains(&step) { step } else { length };
        self.lanes[lane] = Lane { ticks: Some(pts), length, ..self.lanes[lane] };
        let shown = self.clock.map(lane, nanoseconds(pts - base), length.unsigned_abs())?;
        if self.lanes[lane].is_video {
            self.note_splices(pid, pts, base);
            self.places.note(shown, self.times.reached());
        }
        let decoded = shown.0.saturating_sub(nanoseconds(pts - dts).unsigned_abs());
        let time = gst::ClockTime::from_nseconds;
        Some((time(shown.0), time(decoded)))
    }

    /// Puts what the stream announced into stream time, by the clock of now;
    /// what is spliced at once is spliced at the newest picture.
    fn note_splices(&mut self, pid: u16, now: i64, base: i64) {
        for splice in self.times.splices(pid) {
            let ticks = splice.pts.map_or(now, |pts| unwrap(pts, now));
            let raw = nanoseconds(ticks - base);
            let lead = self.clock.leads().last().map_or(0, |(_, lead)| *lead);
            let Ok(pts) = u64::try_from(raw - lead) else { continue };
            // Announcements are repeated.
            if !self.splices.contains(&Pts(pts)) {
                self.splices.push(Pts(pts));
            }
        }
    }

    /// The earliest time of sound and picture, once the first packet has come.
    /// Subtitles may run on a clock of their own, as may a stray sound track.
    fn base(&mut self) -> Option<i64> {
        if self.base.is_none() {
            let Self { times, lanes, .. } = self;
            let firsts = lanes.iter().filter(|l| l.is_av).filter_map(|lane| {
                let ticks = times.first(lane.pid, FIRST_LIMIT)?;
                Some((lane.is_video, i64::try_from(ticks).ok()?))
            });
            let firsts: Vec<_> = firsts.collect();
            let (_, main) = firsts.iter().find(|(is_video, _)| *is_video).or(firsts.first())?;
            let near = firsts.iter().map(|(_, ticks)| unwrap(ticks.unsigned_abs(), *main));
            self.base = near.filter(|ticks| (main - ticks).abs() < TOGETHER).min();
        }
        self.base
    }
}

/// Nanoseconds of a number of 90 kHz ticks.
fn nanoseconds(ticks: i64) -> i64 {
    ticks * 100_000 / 9
}
