//! What has been said about the segments of a stream, as far as it still holds,
//! and the files about it. Fed by the compositor; the files are written on
//! a thread of their own, so that a slow disk holds no picture up.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use crossbeam_channel::{Receiver, Sender, bounded};

use super::super::timeline_files::{TimelineFiles, TimelinePlan};
use crate::config::StreamConfig;
use crate::frame::Pts;
use crate::media;
use crate::timeline::formats::{About, Origin};
use crate::timeline::segmenter::{Edge, SegmentEvent, State};
use crate::timeline::{Segment, formats};

/// Segments that are remembered and written, at most. What ended first is
/// forgotten first.
const KEPT: usize = 2000;
/// Seconds of stream time after which files are written again though nothing
/// was found out: they say how far the stream has come.
const EVERY_S: f64 = 10.0;
/// How long the last state may wait for files being written.
const LAST: Duration = Duration::from_secs(3);

/// A segment as it looks now.
#[derive(Clone, Debug)]
struct Entry {
    id: u64,
    segment: Segment,
    /// What was said about its end; none while it goes on.
    end: Option<State>,
}

impl Entry {
    fn is_over(&self) -> bool {
        self.end == Some(State::Final)
    }
}

/// The segments of a stream, in the order of first mention.
#[derive(Debug, Default)]
struct Chronicle {
    entries: VecDeque<Entry>,
}

impl Chronicle {
    /// Takes what was found out.
    fn take(&mut self, events: &[SegmentEvent]) {
        for event in events {
            let is_it = |e: &Entry| e.id == event.id && e.segment.head == event.segment.head;
            let known = self.entries.iter().rposition(is_it);
            if (event.edge, event.state) == (Edge::Start, State::Retracted) {
                known.map(|at| self.entries.remove(at));
                continue;
            }
            let at = known.unwrap_or_else(|| {
                let segment = event.segment.clone();
                self.entries.push_back(Entry { id: event.id, segment, end: None });
                self.entries.len() - 1
            });
            let entry = &mut self.entries[at];
            entry.segment = event.segment.clone();
            if event.edge == Edge::End {
                entry.end = Some(event.state).filter(|state| *state != State::Retracted);
            }
        }
        while self.entries.len() > KEPT {
            let over = self.entries.iter().position(Entry::is_over).unwrap_or(0);
            self.entries.remove(over);
        }
    }

    /// The segments in order of their start, those that go on until `now`.
    fn segments(&self, now: Pts) -> Vec<Segment> {
        let until = |e: &Entry| Segment {
            end: if e.end.is_some() { e.segment.end } else { now.max(e.segment.start) },
            ..e.segment.clone()
        };
        let mut segments: Vec<Segment> = self.entries.iter().map(until).collect();
        segments.sort_by_key(|s| s.start);
        segments
    }

    /// Nothing before this changes any more, as seen at `now`.
    fn settled(&self, now: Pts, heads: &[Arc<str>]) -> Pts {
        let of_head = |head: &Arc<str>| {
            let own = || self.entries.iter().filter(|e| e.segment.head == *head);
            let open = own().filter(|e| !e.is_over()).map(|e| e.segment.start).min();
            open.or(own().map(|e| e.segment.end).max()).unwrap_or_default()
        };
        heads.iter().map(of_head).min().unwrap_or_default().min(now)
    }
}

/// What the files say next.
struct Snapshot {
    segments: Vec<Segment>,
    duration: Pts,
    settled: Pts,
    frame_rate: Option<f64>,
}

/// Keeps the files about a stream up to date.
pub(super) struct Scribe {
    heads: Vec<Arc<str>>,
    chronicle: Chronicle,
    states: Sender<Snapshot>,
    /// When the files were written last.
    written: Option<Pts>,
    is_due: bool,
}

impl Scribe {
    /// For the heads that are segmented; the work is for a thread, and ends
    /// with the scribe.
    pub(super) fn new(
        name: &str,
        heads: Vec<Arc<str>>,
        plan: TimelinePlan,
    ) -> (Self, impl FnOnce() + Send + 'static) {
        let (states, work) = bounded(1);
        let name = name.to_owned();
        let chronicle = Chronicle::default();
        let scribe = Self { heads, chronicle, states, written: None, is_due: true };
        (scribe, move || write(&name, TimelineFiles::new(plan, None), &work))
    }

    /// Takes what was found out.
    pub(super) fn take(&mut self, events: &[SegmentEvent]) {
        self.chronicle.take(events);
        self.is_due |= !events.is_empty();
    }

    /// Has the files written where that is due. Never waits: when the last
    /// state is still being written, this one's turn comes later.
    pub(super) fn keep_up(&mut self, now: Pts, frame_rate: Option<f64>) {
        let is_old = self.written.is_none_or(|at| now.secs_since(at) >= EVERY_S);
        if !(self.is_due || is_old) || self.states.is_full() {
            return;
        }
        let settled = self.chronicle.settled(now, &self.heads);
        let segments = self.chronicle.segments(now);
        let _ = self.states.try_send(Snapshot { segments, duration: now, settled, frame_rate });
        (self.written, self.is_due) = (Some(now), false);
    }

    /// Has the files written for the last time: the stream ended at `end`.
    pub(super) fn finish(self, end: Pts, frame_rate: Option<f64>) {
        let segments = self.chronicle.segments(end);
        let last = Snapshot { segments, duration: end, settled: end, frame_rate };
        if self.states.send_timeout(last, LAST).is_err() {
            tracing::error!("the timeline's files are not of the end: the disk is too slow");
        }
    }
}

fn write(name: &str, mut files: TimelineFiles, work: &Receiver<Snapshot>) {
    // One complaint for each kind of trouble.
    let mut said = String::new();
    // They are there, and empty, before anything is known.
    let nothing =
        Snapshot { segments: Vec::new(), duration: Pts(0), settled: Pts(0), frame_rate: None };
    for Snapshot { segments, duration, settled, frame_rate } in std::iter::once(nothing).chain(work)
    {
        files.set_frame_rate(frame_rate);
        match files.write(&segments, duration, settled) {
            Ok(()) => said.clear(),
            Err(error) => {
                let why = format!("{error:#}");
                if why != said {
                    tracing::error!(
                        "stream {name}: {why}; the stream goes on, and it is tried again"
                    );
                    said = why;
                }
            }
        }
    }
}

/// The files that a stream's settings ask for; none without a folder.
pub(super) fn timeline_plan(config: &StreamConfig, origin: Origin) -> Option<TimelinePlan> {
    if config.timeline.is_empty() {
        return None;
    }
    let about = About {
        media: config.name.clone(),
        break_label: config.r#break.clone(),
        origin,
        ..About::default()
    };
    let mut plan = TimelinePlan { about, ..TimelinePlan::default() };
    plan.fill_folder(Path::new(&config.timeline), &config.name);
    Some(plan)
}

/// Gives the files of an earlier run a name with the time at which they were
/// last written, so that they stay.
///
/// # Errors
/// When that cannot be done.
pub(super) fn set_aside(plan: &TimelinePlan, name: &str) -> anyhow::Result<()> {
    let there: Vec<&PathBuf> = plan.files.iter().map(|f| &f.1).filter(|p| p.exists()).collect();
    let newest = there.iter().filter_map(|path| path.metadata().ok()?.modified().ok()).max();
    let when = newest.map(media::date_and_time).unwrap_or_default();
    for path in there {
        let own = path.file_name().unwrap_or_default().to_string_lossy();
        let ending = own.strip_prefix(name).unwrap_or_default();
        std::fs::rename(path, path.with_file_name(format!("{name}-{when}{ending}")))
            .with_context(|| format!("cannot rename {}, of an earlier run", path.display()))?;
    }
    Ok(())
}

/// The clock now, as the origin of a timeline.
pub(super) fn origin_now() -> Origin {
    formats::WallTime::from_unix_ms(super::stream::unix_ms()).map_or(Origin::Unknown, Origin::Wall)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: u64, edge: Edge, state: State, start: f64, end: f64) -> SegmentEvent {
        let s = Pts::from_secs_f64;
        let label = if id.is_multiple_of(2) { "commercial" } else { "show" };
        SegmentEvent {
            id,
            edge,
            state,
            at: s(end),
            segment: Segment {
                head: "content".into(),
                label: label.into(),
                start: s(start),
                end: s(end),
                confidence: 0.9,
                margin: 1.0,
                start_cues: Vec::new(),
                end_cues: Vec::new(),
            },
        }
    }

    fn outline(chronicle: &Chronicle, now: f64) -> Vec<(String, f64, f64)> {
        let segments = chronicle.segments(Pts::from_secs_f64(now));
        let one = |s: &Segment| (s.label.to_string(), s.start.as_secs_f64(), s.end.as_secs_f64());
        segments.iter().map(one).collect()
    }

    #[test]
    fn the_chronicle_is_what_still_holds() {
        use {Edge::*, State::*};
        let heads = ["content".into()];
        let mut chronicle = Chronicle::default();
        let settled = |c: &Chronicle| c.settled(Pts::from_secs_f64(99.0), &heads).as_secs_f64();
        assert_eq!(settled(&chronicle), 0.0);
        chronicle.take(&[event(1, Start, Final, 0.0, 30.0), event(1, End, Provisional, 0.0, 40.0)]);
        chronicle.take(&[event(2, Start, Provisional, 40.0, 50.0)]);
        let show = |end| ("show".to_owned(), 0.0, end);
        assert_eq!(outline(&chronicle, 50.0), [show(40.0), ("commercial".into(), 40.0, 50.0)]);
        // It was no break after all.
        chronicle
            .take(&[event(2, Start, Retracted, 40.0, 60.0), event(1, End, Retracted, 0.0, 60.0)]);
        assert_eq!((outline(&chronicle, 70.0), settled(&chronicle)), (vec![show(70.0)], 0.0));
        chronicle.take(&[event(1, End, Final, 0.0, 80.0), event(3, Start, Final, 80.0, 90.0)]);
        assert_eq!(settled(&chronicle), 80.0);
        chronicle.take(&[event(3, End, Final, 80.0, 95.0)]);
        assert_eq!((outline(&chronicle, 99.0).len(), settled(&chronicle)), (2, 95.0));
    }

    #[test]
    fn the_oldest_segments_are_forgotten() {
        let mut chronicle = Chronicle::default();
        for id in 1..=3 * KEPT as u64 {
            let at = id as f64;
            let edge = |edge| event(id, edge, State::Final, at, at + 1.0);
            chronicle.take(&[edge(Edge::Start), edge(Edge::End)]);
        }
        let ids: Vec<u64> = chronicle.entries.iter().map(|e| e.id).collect();
        assert_eq!((ids.len(), ids[0]), (KEPT, 2 * KEPT as u64 + 1));
    }
}
