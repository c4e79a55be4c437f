//! What many viewers follow at once: event lines, and the pieces of an encoded
//! picture. The pipeline puts in and never waits; whoever does not keep up
//! misses something. Must not know HTTP, nor what a line says.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::broadcast::{self, error::RecvError};

use crate::sync_cell::Locked;

/// Event lines that wait for a reader who is behind.
const LINES_WAITING: usize = 512;
/// Event lines that are remembered for readers who come later: five minutes of
/// four heads at five frames a second.
const LINES_KEPT: usize = 6000;
/// Bytes of event lines that are remembered.
const LINE_BYTES_KEPT: usize = 4 << 20;
/// Pieces of the picture that wait for a viewer who is behind: two seconds at
/// 30 frames a second.
const PIECES_WAITING: usize = 64;
/// Bytes since the last key frame that are kept for viewers who come later.
const BYTES_KEPT: usize = 8 << 20;

/// A line with its number; numbers rise by one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its number.
    pub id: u64,
    /// The line, without its line feed: the same JSON as in the events file.
    pub text: Arc<str>,
}

/// The event lines of a stream.
#[derive(Debug)]
pub struct EventFeed {
    kept: Locked<Kept>,
    sender: broadcast::Sender<Line>,
}

#[derive(Debug, Default)]
struct Kept {
    next: u64,
    bytes: usize,
    lines: VecDeque<Line>,
}

impl Default for EventFeed {
    fn default() -> Self {
        Self { kept: Locked::default(), sender: broadcast::Sender::new(LINES_WAITING) }
    }
}

impl EventFeed {
    /// Hands a line to everybody who follows. Never waits.
    pub fn push(&self, line: &str) {
        let mut kept = self.kept.lock();
        let line = Line { id: kept.next, text: line.into() };
        kept.next += 1;
        kept.bytes += line.text.len();
        kept.lines.push_back(line.clone());
        while kept.lines.len() > LINES_KEPT || kept.bytes > LINE_BYTES_KEPT {
            let Some(oldest) = kept.lines.pop_front() else { break };
            kept.bytes -= oldest.text.len();
        }
        // Nobody may be there to hear it. Sent under the lock, so that a reader
        // who comes now gets every line once.
        let _ = self.sender.send(line);
    }

    /// The remembered lines as `start` says, and what comes then.
    pub fn follow(&self, start: Start) -> EventReader {
        let kept = self.kept.lock();
        let past = kept.lines.iter().skip(match start {
            // A number from before a restart may be larger than any of ours.
            Start::After(seen) if seen < kept.next => {
                kept.lines.iter().take_while(|line| line.id <= seen).count()
            }
            Start::After(_) => 0,
            Start::Last(lines) => kept.lines.len().saturating_sub(lines),
        });
        EventReader { past: past.cloned().collect(), receiver: self.sender.subscribe() }
    }
}

/// Where a reader of events begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// After the line of this number.
    After(u64),
    /// With so many lines of those that are remembered.
    Last(usize),
}

/// A place in an [`EventFeed`].
#[derive(Debug)]
pub struct EventReader {
    past: VecDeque<Line>,
    receiver: broadcast::Receiver<Line>,
}

impl EventReader {
    /// The next line; lines are missing where the reader was too slow. None
    /// when the stream is gone.
    pub async fn next(&mut self) -> Option<Line> {
        if let Some(line) = self.past.pop_front() {
            return Some(line);
        }
        loop {
            match self.receiver.recv().await {
                Ok(line) => return Some(line),
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

/// The encoded picture of a stream as fragmented MP4: one encode for all
/// viewers.
#[derive(Debug)]
pub struct LiveVideo {
    current: Locked<Current>,
    sender: broadcast::Sender<Piece>,
}

#[derive(Debug, Default)]
struct Current {
    /// Number of the encode.
    encode: u64,
    /// `ftyp` and `moov` of the encode that goes on, if one does.
    init: Option<Bytes>,
    /// Fragments since the last key frame.
    since_keyframe: Vec<Bytes>,
    bytes: usize,
}

#[derive(Clone, Debug)]
struct Piece {
    encode: u64,
    /// A fragment and whether decoding can begin with it; none when the encode
    /// has ended.
    fragment: Option<(Bytes, bool)>,
}

impl Default for LiveVideo {
    fn default() -> Self {
        Self { current: Locked::default(), sender: broadcast::Sender::new(PIECES_WAITING) }
    }
}

impl LiveVideo {
    /// Begins an encode with its initialisation segment (`ftyp`, `moov`). Who
    /// follows an earlier one is sent away, and comes back for this one.
    pub fn begin(&self, init: Vec<u8>) {
        let mut current = self.current.lock();
        self.replace(&mut current, Some(init.into()));
    }

    /// Hands on one fragment: a `moof` with its whole `mdat`. `keyframe` is true
    /// when decoding can begin with it. Never waits.
    pub fn push(&self, fragment: Vec<u8>, keyframe: bool) {
        let bytes = Bytes::from(fragment);
        let mut current = self.current.lock();
        if keyframe {
            current.since_keyframe.clear();
            current.bytes = 0;
        }
        if keyframe || !current.since_keyframe.is_empty() {
            current.bytes += bytes.len();
            current.since_keyframe.push(bytes.clone());
        }
        if current.bytes > BYTES_KEPT {
            // Viewers who come now wait for the next key frame.
            current.since_keyframe = Vec::new();
            current.bytes = 0;
        }
        let fragment = Some((bytes, keyframe));
        let _ = self.sender.send(Piece { encode: current.encode, fragment });
    }

    /// Ends the encode; who follows it is sent away.
    pub fn end(&self) {
        self.replace(&mut self.current.lock(), None);
    }

    fn replace(&self, current: &mut Current, init: Option<Bytes>) {
        let encode = current.encode;
        let _ = self.sender.send(Piece { encode, fragment: None });
        *current = Current { encode: encode + 1, init, ..Current::default() };
    }

    /// How many are watching.
    pub fn viewers(&self) -> usize {
        self.sender.receiver_count()
    }

    /// The picture from the last key frame on; none between two encodes.
    pub fn watch(&self) -> Option<Viewer> {
        let current = self.current.lock();
        let init = current.init.clone()?;
        let past: VecDeque<_> = [init].into_iter().chain(current.since_keyframe.clone()).collect();
        let waits = current.since_keyframe.is_empty();
        let encode = current.encode;
        Some(Viewer { encode, past, receiver: self.sender.subscribe(), waits })
    }
}

/// A place in a [`LiveVideo`].
#[derive(Debug)]
pub struct Viewer {
    encode: u64,
    past: VecDeque<Bytes>,
    receiver: broadcast::Receiver<Piece>,
    /// Nothing can be decoded before the next key frame.
    waits: bool,
}

impl Viewer {
    /// The next bytes, waiting for them. Who is too slow goes on at the next key
    /// frame. None when the encode has ended.
    pub async fn next(&mut self) -> Option<Bytes> {
        if let Some(bytes) = self.past.pop_front() {
            return Some(bytes);
        }
        loop {
            match self.receiver.recv().await {
                // Who was too slow may have missed the end.
                Ok(piece) if piece.encode != self.encode => return None,
                Ok(Piece { fragment: Some((bytes, keyframe)), .. }) => {
                    if keyframe || !self.waits {
                        self.waits = false;
                        return Some(bytes);
                    }
                }
                Ok(Piece { fragment: None, .. }) | Err(RecvError::Closed) => return None,
                // Goes on with the newest, not with the oldest that is left.
                Err(RecvError::Lagged(_)) => {
                    self.waits = true;
                    self.receiver = self.receiver.resubscribe();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs what never has to wait.
    fn now<T>(work: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(work)
    }

    /// A picture of which every tenth fragment, from 0, is a key frame.
    fn push(video: &LiveVideo, numbers: std::ops::Range<u8>) {
        numbers.for_each(|n| video.push(vec![n], n % 10 == 0));
    }

    fn next(viewer: &mut Viewer) -> Option<u8> {
        now(viewer.next()).map(|bytes| bytes[0])
    }

    #[test]
    fn a_viewer_gets_the_start_then_everything_since_the_last_key_frame() {
        let video = LiveVideo::default();
        assert!(video.watch().is_none());
        video.begin(vec![255]);
        push(&video, 0..25);
        let mut viewer = video.watch().unwrap();
        push(&video, 25..27);
        let came: Vec<_> = (0..8).map(|_| next(&mut viewer).unwrap()).collect();
        assert_eq!(came, [255, 20, 21, 22, 23, 24, 25, 26]);
        assert_eq!(video.viewers(), 1);
        drop(viewer);
        assert_eq!(video.viewers(), 0);
    }

    #[test]
    fn a_viewer_who_comes_before_any_key_frame_waits_for_one() {
        let video = LiveVideo::default();
        video.begin(vec![255]);
        push(&video, 5..8);
        let mut viewer = video.watch().unwrap();
        push(&video, 8..12);
        assert_eq!([0; 3].map(|_| next(&mut viewer).unwrap()), [255, 10, 11]);
    }

    #[test]
    fn who_is_too_slow_goes_on_at_the_next_key_frame_and_others_lose_nothing() {
        let video = LiveVideo::default();
        video.begin(vec![255]);
        push(&video, 0..1);
        let mut slow = video.watch().unwrap();
        let mut quick = video.watch().unwrap();
        assert_eq!([0; 2].map(|_| next(&mut slow).unwrap()), [255, 0]);
        let mut seen = vec![next(&mut quick).unwrap(), next(&mut quick).unwrap()];
        for n in 1..95 {
            push(&video, n..n + 1);
            seen.push(next(&mut quick).unwrap());
        }
        assert_eq!(seen[1..], (0..95).collect::<Vec<_>>());
        // First it notices what it missed, then the next ones come.
        let (behind, ()) = now(async {
            tokio::join!(slow.next(), async {
                video.push(vec![98], false);
                video.push(vec![100], true);
            })
        });
        // Nothing that was missed is made up for, and nothing broken is shown.
        assert_eq!(behind.unwrap()[0], 100);
    }

    #[test]
    fn who_missed_the_end_of_an_encode_is_not_given_the_next() {
        let video = LiveVideo::default();
        video.begin(vec![255]);
        push(&video, 0..1);
        let mut viewer = video.watch().unwrap();
        assert_eq!([0; 2].map(|_| next(&mut viewer).unwrap()), [255, 0]);
        video.begin(vec![254]);
        assert_eq!(next(&mut viewer), None);
        let mut late = video.watch().unwrap();
        assert_eq!(next(&mut late), Some(254));
        video.begin(vec![253]);
        (0..200).for_each(|n| video.push(vec![n], n % 10 == 0));
        let (behind, ()) =
            now(async { tokio::join!(late.next(), async { video.push(vec![0], true) }) });
        assert_eq!(behind, None);
    }

    #[test]
    fn a_picture_without_key_frames_is_not_kept() {
        let video = LiveVideo::default();
        video.begin(vec![255]);
        video.push(vec![0; BYTES_KEPT], true);
        video.push(vec![1], false);
        let mut viewer = video.watch().unwrap();
        video.push(vec![2], true);
        assert_eq!([0; 2].map(|_| next(&mut viewer).unwrap()), [255, 2]);
    }

    #[test]
    fn events_are_remembered_up_to_a_bound() {
        let feed = EventFeed::default();
        (0..LINES_KEPT + 10).for_each(|n| feed.push(&format!("line {n}")));
        let first = |start| now(feed.follow(start).next()).unwrap().id;
        assert_eq!(first(Start::Last(usize::MAX)), 10);
        assert_eq!(first(Start::Last(3)), LINES_KEPT as u64 + 7);
        assert_eq!(first(Start::After(20)), 21);
        // A number from before a restart.
        assert_eq!(first(Start::After(1 << 40)), 10);
        feed.push(&"x".repeat(LINE_BYTES_KEPT));
        assert!(feed.kept.lock().lines.len() == 1);
    }

    #[test]
    fn who_is_too_slow_for_the_events_misses_some_and_goes_on() {
        let feed = EventFeed::default();
        let mut reader = feed.follow(Start::Last(0));
        (0..LINES_WAITING * 2).for_each(|n| feed.push(&n.to_string()));
        let first = now(reader.next()).unwrap();
        assert_eq!(first.id as usize, LINES_WAITING);
        drop(feed);
        let mut last = first;
        while let Some(line) = now(reader.next()) {
            last = line;
        }
        assert_eq!(last.id as usize, LINES_WAITING * 2 - 1);
    }
}
