//! Frames of a recording whose breaks are known, as examples: those inside a
//! break are commercials, the others are show.

use std::path::Path;
use std::time::Duration;

use anyhow::bail;
use crossbeam_channel::{Receiver, RecvTimeoutError};

use crate::frame::Pts;
use crate::media::{Container, Frame, Source, SourceEvent, SourceOptions};
use crate::sampling::Sampler;
use crate::shot::ShotDetector;
use crate::timeline::formats::Break;

/// Class of the frames outside the breaks, and of those inside.
pub(super) const LABELS: [&str; 2] = ["show", "commercial"];
/// Frames nearer than this to the edge of a break are left out, in seconds:
/// lists made by hand or by program are about that exact.
const EDGE_S: f64 = 1.0;
/// Frames are kept together from one shot cut to the first one after so many
/// seconds: shots of one scene are alike.
const STRETCH_S: f64 = 30.0;
/// Time without a frame after which a recording is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// An example.
pub(super) struct Lesson {
    pub(super) frame: Frame,
    /// Index in [`LABELS`].
    pub(super) class: usize,
    /// The stretch of the recording it is from.
    pub(super) stretch: usize,
    /// Counted from zero.
    pub(super) number: usize,
}

/// What part of a recording to take.
#[derive(Clone, Debug)]
pub(super) struct Wanted<'a> {
    pub(super) breaks: &'a [Break],
    /// Frames per second of each class, at most.
    pub(super) fps: f64,
    /// Frames at most; each class may have half.
    pub(super) most: usize,
    pub(super) program: Option<u32>,
}

/// The examples of one recording, as it is decoded.
pub(super) struct Lessons<'a> {
    source: Source,
    frames: Receiver<Frame>,
    breaks: &'a [Break],
    fps: f64,
    most: usize,
    /// One per class, once the length is known.
    samplers: Option<[Sampler; 2]>,
    taken: [usize; 2],
    detector: ShotDetector,
    /// Class, start and number of the current stretch.
    stretch: (usize, Pts, usize),
    /// How the recording ended, when not as it should.
    pub(super) fault: Option<String>,
}

impl<'a> Lessons<'a> {
    pub(super) fn open(path: &Path, wanted: Wanted<'a>) -> anyhow::Result<Self> {
        crate::media::init()?;
        let container = Container::Mkv;
        let options =
            SourceOptions { program: wanted.program, container, video_only: true, listen: false };
        let (source, frames) = Source::open(path, &options)?;
        Ok(Self {
            source,
            frames,
            breaks: wanted.breaks,
            fps: wanted.fps,
            most: wanted.most,
            samplers: None,
            taken: [0; 2],
            detector: ShotDetector::default(),
            stretch: (usize::MAX, Pts::default(), 0),
            fault: None,
        })
    }

    /// What a wrong list looks like, once the recording has been read.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        if let Some(fault) = &self.fault {
            bail!("{fault}");
        }
        if let Some(class) = self.taken.iter().position(|n| *n == 0) {
            let what = ["outside", "inside"][class];
            bail!("no frame lies {what} the breaks of the list; is it the list of this recording?");
        }
        Ok(())
    }

    /// The class at a stream time, unless an edge is near.
    fn class_at(&self, at: Pts) -> Option<usize> {
        let near = |edge: Pts| edge.0 > 0 && at.secs_since(edge).max(edge.secs_since(at)) < EDGE_S;
        if self.breaks.iter().any(|b| near(b.start) || near(b.end)) {
            return None;
        }
        Some(usize::from(self.breaks.iter().any(|b| at >= b.start && at < b.end)))
    }

    /// Samplers that spread half of the frames over each class.
    fn samplers(&self) -> [Sampler; 2] {
        let total = self.source.duration().map(|ns| Pts(ns).as_secs_f64());
        let inside = |end: f64| -> f64 {
            let end = Pts::from_secs_f64(end);
            self.breaks.iter().map(|b| b.end.min(end).secs_since(b.start)).sum()
        };
        let seconds = total.map(|total| [total - inside(total), inside(total)]);
        [0, 1].map(|class| {
            let fitting = seconds.map_or(self.fps, |s| self.most as f64 / 2.0 / s[class].max(1.0));
            Sampler::new(self.fps.min(fitting), usize::MAX)
        })
    }

    fn next_frame(&mut self) -> Option<Frame> {
        match self.frames.recv_timeout(PATIENCE) {
            Ok(frame) => return Some(frame),
            Err(RecvTimeoutError::Timeout) => {
                self.fault = Some(format!("no frame came for {} seconds", PATIENCE.as_secs()));
            }
            // The queue closes before the message of what closed it arrives.
            Err(RecvTimeoutError::Disconnected) => match self.source.poll(Duration::from_secs(5)) {
                Some(SourceEvent::Failed(why)) => self.fault = Some(why),
                Some(SourceEvent::Eos) => {}
                None => self.fault = Some("the recording ended without saying why".to_owned()),
            },
        }
        None
    }
}

impl Iterator for &mut Lessons<'_> {
    type Item = Lesson;

    fn next(&mut self) -> Option<Lesson> {
        loop {
            let frame = self.next_frame()?;
            let cut = match frame.with_picture(|p| self.detector.starts_shot(p)) {
                Ok(cut) => cut,
                Err(error) => {
                    self.fault = Some(error.to_string());
                    return None;
                }
            };
            let Some(class) = self.class_at(frame.pts) else { continue };
            let (last, since, number) = self.stretch;
            if class != last || (cut && frame.pts.secs_since(since) >= STRETCH_S) {
                self.stretch = (class, frame.pts, number + 1);
            }
            if self.samplers.is_none() {
                self.samplers = Some(self.samplers());
            }
            let wanted = self.samplers.as_mut().is_some_and(|s| s[class].wants(frame.pts, false));
            if wanted && self.taken[class] < self.most.div_ceil(2) {
                let number = self.taken.iter().sum();
                self.taken[class] += 1;
                return Some(Lesson { frame, class, stretch: self.stretch.2, number });
            }
        }
    }
}
