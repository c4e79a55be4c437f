//! The compositor: takes every decoded frame, sends some to the analyst, waits
//! for the annotation each frame needs, paints it and hands it to the encoder.
//!
//! Frames leave in the order they came and none is dropped. At most
//! [`OUTSTANDING`] analysed frames are waited for at a time, so that memory
//! holds two analysis intervals of frames and no more.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use crossbeam_channel::{Receiver, Sender, never, select};

use super::analyst::Sample;
use super::event_log::EventLog;
use super::timekeeper::Timekeeper;
use crate::annotation::Annotation;
use crate::config::Config;
use crate::media::{Container, Encoder, Error, Frame, Output, OutputHandle, Source};
use crate::overlay::Painter;
use crate::sampling::Sampler;
use crate::sync::{Paired, Synchronizer};
use crate::timeline::cues::PictureCues;

/// Analysed frames whose annotation may be awaited at a time: one being
/// analysed while the next interval fills.
pub(super) const OUTSTANDING: usize = 1;
/// Bytes of frames that may wait between two analysed ones. Large pictures at a
/// low analysis rate are analysed sooner rather than held longer.
const INTERVAL_BYTES: usize = 128 << 20;

/// What the compositor needs to know about its job.
pub(super) struct Job {
    pub(super) source: Arc<Source>,
    pub(super) container: Container,
    /// Where to write; renamed by the supervisor when complete.
    pub(super) path: PathBuf,
    pub(super) config: Config,
    /// Classes explained at the same time.
    pub(super) classes: usize,
    pub(super) events: Option<EventLog>,
    pub(super) timekeeper: Option<Timekeeper>,
}

/// What the supervisor watches while the compositor works.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// Set once the first frame has opened the output.
    pub(super) output: OnceLock<OutputHandle>,
    pub(super) painted: AtomicU64,
    /// Stream time reached, nanoseconds, end of the newest painted frame.
    pub(super) reached: AtomicU64,
}

impl Watch {
    /// Frames that left the encoder so far.
    pub(super) fn encoded(&self) -> u64 {
        self.output.get().map_or(0, OutputHandle::frames_encoded)
    }
}

/// How the compositor ended.
pub(super) struct Composed {
    /// Absent when no frame came.
    pub(super) output: Option<Output>,
    pub(super) events: Option<EventLog>,
    pub(super) timekeeper: Option<Timekeeper>,
    pub(super) result: anyhow::Result<()>,
}

pub(super) struct Compositor {
    job: Job,
    watch: Arc<Watch>,
    samples: Option<Sender<Sample>>,
    annotations: Receiver<Arc<Annotation>>,
    sync: Synchronizer<Frame>,
    cues: PictureCues,
    sampler: Option<Sampler>,
    painter: Option<Painter>,
    painted: Option<Arc<Annotation>>,
    output: Option<Output>,
}

impl Compositor {
    pub(super) fn new(
        job: Job,
        watch: Arc<Watch>,
        samples: Sender<Sample>,
        annotations: Receiver<Arc<Annotation>>,
    ) -> Self {
        Self {
            sync: Synchronizer::new(job.config.explain.interpolation),
            job,
            watch,
            samples: Some(samples),
            annotations,
            cues: PictureCues::every(),
            sampler: None,
            painter: None,
            painted: None,
            output: None,
        }
    }

    /// Works until the frames end or something fails.
    pub(super) fn run(mut self, frames: Receiver<Frame>) -> Composed {
        let result = self.compose(frames);
        if let Some(output) = &self.output {
            output.finish();
        }
        let Job { events, mut timekeeper, .. } = self.job;
        if let Some(timekeeper) = &mut timekeeper {
            timekeeper.notice(&self.cues.finish());
        }
        Composed { output: self.output, events, timekeeper, result }
    }

    fn compose(&mut self, frames: Receiver<Frame>) -> anyhow::Result<()> {
        let (no_frames, no_annotations) = (never(), never());
        let (mut frames, mut annotations) = (Some(frames), Some(self.annotations.clone()));
        while frames.is_some() || annotations.is_some() {
            let room = self.sync.outstanding() < OUTSTANDING;
            let from_source = frames.as_ref().filter(|_| room).unwrap_or(&no_frames);
            let from_analyst = annotations.as_ref().unwrap_or(&no_annotations);
            select! {
                recv(from_source) -> frame => match frame {
                    Ok(frame) => self.take(frame)?,
                    Err(_) => {
                        frames = None;
                        self.samples = None;
                    }
                },
                recv(from_analyst) -> annotation => match annotation {
                    Ok(annotation) => {
                        if let Some(events) = &mut self.job.events {
                            events.write(&annotation)?;
                        }
                        if let Some(timekeeper) = &mut self.job.timekeeper {
                            timekeeper.take(&annotation);
                        }
                        self.sync.push_annotation(annotation);
                    }
                    Err(_) => {
                        annotations = None;
                        self.sync.finish();
                    }
                },
            }
            while let Some(paired) = self.sync.pop() {
                self.paint(paired)?;
            }
        }
        Ok(())
    }

    /// Looks at a frame and queues it, for the analyst too when it is due.
    fn take(&mut self, frame: Frame) -> anyhow::Result<()> {
        if self.output.is_none() {
            self.open(&frame)?;
        }
        let (start, end) = (frame.pts, frame.end());
        let starts_shot = frame.with_picture(|p| self.cues.look(start, end, p))?.starts_shot;
        let cues = self.cues.take();
        if let Some(timekeeper) = &mut self.job.timekeeper {
            timekeeper.notice(&cues);
        }
        let sampled =
            self.sampler.as_mut().is_some_and(|sampler| sampler.wants(frame.pts, starts_shot));
        let sampled = sampled
            && self.samples.as_ref().is_some_and(|samples| {
                samples.send(Sample { frame: frame.clone(), starts_shot }).is_ok()
            });
        self.sync.push_frame(frame.pts, frame, sampled);
        Ok(())
    }

    /// Everything that waits for the first frame: its format decides.
    fn open(&mut self, first: &Frame) -> anyhow::Result<()> {
        let Job { source, config, container, path, .. } = &self.job;
        let with_audio = config.output.audio == crate::config::Audio::Auto;
        let tracks: Vec<_> =
            source.tracks().into_iter().filter(|t| with_audio || !t.is_audio).collect();
        for track in &tracks {
            source.wait_for(track);
        }
        let encoder = encoder(config, first);
        let ahead = Arc::clone(source);
        let output =
            Output::start(path, *container, &encoder, first, &tracks, &source.tags(), move || {
                ahead.video_is_ahead()
            })?;
        let _ = self.watch.output.set(output.handle());
        self.output = Some(output);
        let style = config.overlay.look(self.job.classes);
        self.painter =
            Some(Painter::new(first.size(), first.colorimetry(), first.pixel_aspect(), style));
        let gap = (INTERVAL_BYTES / first.bytes().max(1)).max(1);
        self.sampler = Some(Sampler::new(config.analysis.fps, gap));
        if let Some(events) = &mut self.job.events {
            events.write_header(first)?;
        }
        if let Some(timekeeper) = &mut self.job.timekeeper {
            timekeeper.begin(first);
        }
        Ok(())
    }

    fn paint(&mut self, paired: Paired<Frame>) -> Result<(), Error> {
        let (Some(painter), Some(output)) = (&mut self.painter, &self.output) else {
            return Ok(());
        };
        let news = match (&self.painted, &paired.annotation) {
            (Some(old), Some(new)) => !Arc::ptr_eq(old, new),
            (old, new) => old.is_some() != new.is_some(),
        };
        if news {
            painter.set_annotation(paired.annotation.as_deref());
            self.painted.clone_from(&paired.annotation);
        }
        let end = paired.pts.0 + paired.frame.duration.unwrap_or(0);
        output.push(paired.frame, |picture| painter.paint(picture, &paired.heat))?;
        self.watch.painted.fetch_add(1, Relaxed);
        self.watch.reached.fetch_max(end, Relaxed);
        Ok(())
    }
}

fn encoder(config: &Config, first: &Frame) -> Encoder {
    let rate = first.frame_rate().unwrap_or(25.0);
    let interval = (config.output.keyframe_interval_s * rate).round().clamp(1.0, 1000.0);
    Encoder {
        preset: config.output.preset.name().to_owned(),
        crf: config.output.crf,
        keyframe_interval: interval as u32,
        side_by_side: config.overlay.layout == crate::config::Layout::Side,
    }
}
