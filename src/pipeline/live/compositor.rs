//! The compositor of a live stream: takes every decoded picture, hands some to
//! the analyst, paints what is known at this moment and encodes at once. While
//! the source is away it sends a slate, so that whoever watches stays.
//!
//! Stream time goes on through every outage: it counts from the start of the
//! stream, and a source that comes back continues it.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, never, select};

use super::boundaries::Boundaries;
use super::changes::Album;
use super::chronicle::Scribe;
use super::desk::{Answer, Place};
use super::event_file::EventFile;
use super::sound::SoundLine;
use super::stream::{Controls, Latest, Stream};
use crate::config::Config;
use crate::frame::{Pts, Size};
use crate::media::{
    EncoderSettings, Fragment, Fragmenter, Frame, LiveEncoder, LiveFrame, PictureFormat, Sound,
    time_of_day,
};
use crate::overlay::{Painter, Style, slate};
use crate::pipeline::analyst::Sample;
use crate::sampling::Sampler;
use crate::sync::LivePairing;
use crate::timeline::cues::PictureCues;
use crate::timeline::segmenter::SegmentEvent;
use crate::timeline::{Cue, events};
use crate::web::station::State;

/// Size of the slate of a source that never sent a picture.
const SLATE_SIZE: Size = Size::new(1280, 720);
/// How long a source may take to send its first picture before there is a
/// slate.
const FIRST_PICTURE: Duration = Duration::from_secs(4);
/// Pictures go out this often even where every one is late.
const AT_LEAST: Duration = Duration::from_millis(500);
/// Longest sleep.
const TICK: Duration = Duration::from_millis(50);
/// Nanoseconds between two pictures, at least.
const STEP: u64 = 1_000_000;
/// A picture without heat that nobody takes is encoded for so long.
const CLEAN_LINGERS: Duration = Duration::from_secs(5);

/// Where a stream's pictures, sound and answers come from.
pub(super) struct Inlet {
    pub(super) frames: Receiver<LiveFrame>,
    pub(super) sound: Receiver<Sound>,
    pub(super) answers: Receiver<Answer>,
    /// What the source noticed in sound and stream, with the number of the
    /// opening that its time counts from.
    pub(super) cues: Receiver<(u64, Cue)>,
}

/// Where what is known of a stream goes, beside the picture.
pub(super) struct Records {
    pub(super) events: Option<EventFile>,
    pub(super) boundaries: Boundaries,
    pub(super) scribe: Option<Scribe>,
}

pub(super) struct Compositor {
    stream: Arc<Stream>,
    config: Arc<Config>,
    place: Place,
    album: Album,
    records: Records,
    pairing: LivePairing,
    cues: PictureCues,
    sampler: Sampler,
    controls: (Controls, u64),
    painter: Option<Painter>,
    output: Option<(LiveEncoder, Fragmenter)>,
    clean: Option<(LiveEncoder, Instant)>,
    epoch: Instant,
    /// The opening that pictures come from, and what is added to its times.
    anchor: Option<(u64, i128)>,
    last_pts: Option<Pts>,
    last_frame: Instant,
    /// Where the last picture of the source ends.
    pictures_end: Pts,
    last_sent: Instant,
    slate: Option<Frame>,
    sound: SoundLine,
    next_slate: Instant,
    /// How long painting and encoding took lately.
    effort: Duration,
    rate: Option<f64>,
}

impl Compositor {
    pub(super) fn new(
        stream: Arc<Stream>,
        config: Arc<Config>,
        place: Place,
        album: Album,
        records: Records,
    ) -> Self {
        let now = Instant::now();
        let controls = stream.controls();
        let max_age = Duration::from_millis(config.live.max_explanation_age_ms.into());
        Self {
            sampler: Sampler::new(controls.analysis_fps, usize::MAX),
            controls: (controls, stream.version.load(Relaxed)),
            stream,
            config,
            place,
            album,
            records,
            pairing: LivePairing::new(max_age),
            cues: PictureCues::every(),
            painter: None,
            output: None,
            clean: None,
            epoch: now,
            anchor: None,
            last_pts: None,
            last_frame: now,
            pictures_end: Pts(0),
            last_sent: now,
            slate: None,
            sound: SoundLine::default(),
            next_slate: now,
            effort: Duration::ZERO,
            rate: None,
        }
    }

    /// Works until the stream stops.
    pub(super) fn run(mut self, inlet: &Inlet) {
        let none = never();
        while !self.stream.is_stopping() {
            // A picture that waits goes before everything else.
            let result = match inlet.frames.try_recv() {
                Ok(frame) => self.take(frame, inlet.frames.len()),
                Err(_) => select! {
                    recv(inlet.frames) -> frame => match frame {
                        Ok(frame) => self.take(frame, inlet.frames.len()),
                        Err(_) => break,
                    },
                    recv(inlet.sound) -> sound => {
                        sound.into_iter().for_each(|sound| self.pass_sound(sound));
                        Ok(())
                    }
                    recv(inlet.answers) -> answer => {
                        answer.into_iter().for_each(|answer| self.learn(answer));
                        Ok(())
                    }
                    recv(none) -> nothing => nothing.unwrap_or(Ok(())),
                    default(self.sleep()) => Ok(()),
                },
            };
            while let Ok(sound) = inlet.sound.try_recv() {
                self.pass_sound(sound);
            }
            while let Ok((opening, cue)) = inlet.cues.try_recv() {
                self.notice(opening, cue);
            }
            while let Ok(answer) = inlet.answers.try_recv() {
                self.learn(answer);
            }
            if let Err(error) = result.and_then(|()| self.slate_if_due()) {
                tracing::warn!(
                    "stream {}: {error:#}; the encoder is started anew",
                    self.stream.name
                );
                self.output = None;
                self.stream.video.end();
                std::thread::sleep(TICK);
            }
        }
        self.break_off();
        self.finish_records();
        self.output = None;
        self.stream.video.end();
    }

    /// Ends what is written down about the stream.
    fn finish_records(&mut self) {
        let (stream, end) = (Arc::clone(&self.stream), self.pictures_end);
        if let Some(scribe) = self.records.scribe.take() {
            scribe.finish(end, self.rate);
        }
        let Some(events) = self.records.events.take() else { return };
        let is_over = stream.doing().state == State::Ended;
        let finished = events.finish(&events::End {
            frames: stream.measures.frames.load(Relaxed),
            analysed: stream.measures.analyst.analysed.load(Relaxed),
            duration: end,
            reason: (!is_over).then_some("stopped on request"),
        });
        if let Err(error) = finished {
            tracing::error!("stream {}: the events file has no end: {error:#}", stream.name);
        }
    }

    /// Has the timeline's files written where that is due.
    fn keep_files_up(&mut self, now: Pts) {
        if let Some(scribe) = &mut self.records.scribe {
            scribe.keep_up(now, self.rate);
        }
    }

    /// No more pictures come for now: what was going on ends with the last one.
    fn break_off(&mut self) {
        let cues = self.cues.finish();
        self.records.boundaries.notice(&cues);
        let events = self.records.boundaries.close(self.pictures_end);
        self.tell(&[], &events);
    }

    /// Takes up what the source noticed.
    fn notice(&mut self, opening: u64, cue: Cue) {
        let Some((_, offset)) = self.anchor.filter(|anchor| anchor.0 == opening) else { return };
        let at = |pts: Pts| Pts(u64::try_from(i128::from(pts.0) + offset).unwrap_or(0));
        let cue = Cue { start: at(cue.start), end: at(cue.end), ..cue };
        self.records.boundaries.notice(&[cue]);
    }

    fn sleep(&self) -> Duration {
        if self.slate.is_some() {
            self.next_slate.saturating_duration_since(Instant::now()).min(TICK)
        } else {
            TICK
        }
    }

    /// Takes up what the analyst found out.
    fn learn(&mut self, answer: Answer) {
        let annotation = Arc::clone(&answer.annotation);
        let size = answer.frame.size();
        let lines = events::annotation_lines(&annotation, size).unwrap_or_default();
        let found = self.records.boundaries.take(&annotation);
        if let Some(file) = &mut self.records.events
            && let Err(error) = file.begin(&answer.frame)
        {
            self.give_events_up(&error);
        }
        self.tell(&lines, &found);
        self.keep_files_up(annotation.pts);
        *self.stream.annotation.lock() = Some(Arc::clone(&annotation));
        self.pairing.push_annotation(annotation);
        self.album.note(&self.stream, answer);
    }

    /// Tells whoever listens, the files about the timeline, and the events file.
    fn tell(&mut self, lines: &[String], found: &[SegmentEvent]) {
        let found_lines = found.iter().filter_map(|event| events::boundary_line(event).ok());
        let lines: Vec<String> = lines.iter().cloned().chain(found_lines).collect();
        for line in &lines {
            self.stream.events.push(line);
        }
        self.stream.changes.lock().follow(found);
        if let Some(scribe) = &mut self.records.scribe {
            scribe.take(found);
        }
        let Some(file) = &mut self.records.events else { return };
        if let Err(error) = file.write(&lines) {
            self.give_events_up(&error);
        }
    }

    fn give_events_up(&mut self, error: &anyhow::Error) {
        let name = &self.stream.name;
        tracing::error!(
            "stream {name}: the events file cannot be written: {error:#}; it ends here"
        );
        self.records.events = None;
    }

    fn pass_sound(&mut self, sound: Sound) {
        let (Some((opening, offset)), Some((encoder, _))) = (self.anchor, &self.output) else {
            return;
        };
        let pts = i128::from(sound.pts().0) + offset;
        if let Ok(pts) = u64::try_from(pts)
            && sound.opening == opening
        {
            self.stream.measures.sound_sent(sound.source_ns, Pts(pts));
            if let Some(sound) = self.sound.take(sound.at(Pts(pts))) {
                encoder.push_sound(sound);
            }
        }
    }

    /// The stream time of a picture; none where its source is not the newest.
    fn time(&mut self, live: &LiveFrame) -> Pts {
        let raw = i128::from(live.frame.pts.0);
        let least = self.last_pts.map_or(0, |last| last.0 + STEP);
        let offset = match self.anchor {
            Some((opening, offset)) if opening == live.opening => offset,
            _ => {
                // Where the stream would be if the source had never been away.
                let now = u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX);
                let offset = i128::from(now.max(least)) - raw;
                self.anchor = Some((live.opening, offset));
                let cues = self.cues.finish();
                self.records.boundaries.notice(&cues);
                self.cues = PictureCues::every();
                self.pairing.reset();
                offset
            }
        };
        Pts(u64::try_from(raw + offset).unwrap_or(0).max(least))
    }

    fn take(&mut self, live: LiveFrame, waiting: usize) -> anyhow::Result<()> {
        let stream = Arc::clone(&self.stream);
        stream.measures.frames.fetch_add(1, Relaxed);
        stream.waiting.store(waiting as u64, Relaxed);
        let bound = Duration::from_millis(self.config.live.max_latency_ms.into());
        let late = live.arrived.elapsed() + self.effort > bound;
        if late && self.last_sent.elapsed() < AT_LEAST {
            stream.measures.late.fetch_add(1, Relaxed);
            // One slow picture must not condemn the next ones.
            self.effort = self.effort.mul_f64(0.7);
            return Ok(());
        }
        let (format, is_new) = stream.settle_format(live.frame.format());
        if is_new {
            // A slate may have been sent in another size.
            (self.output, self.clean, self.painter) = (None, None, None);
        }
        if live.frame.size() != format.size() {
            // It was opened before the size was known.
            stream.reopen.store(true, Relaxed);
            return Ok(());
        }
        let pts = self.time(&live);
        let LiveFrame { frame, arrived, opening, source_ns } = live;
        let frame = frame.at(pts);
        self.rate = frame.frame_rate().or(self.rate);
        self.open(&format)?;
        self.follow_controls(&format);

        self.pictures_end = frame.end();
        let end = self.pictures_end;
        let starts_shot = frame.with_picture(|p| self.cues.look(pts, end, p))?.starts_shot;
        let cues = self.cues.take();
        self.records.boundaries.notice(&cues);
        if starts_shot {
            self.pairing.start_shot(pts);
        }
        if self.sampler.wants(pts, starts_shot) {
            self.place.hand_in(Sample { frame: frame.clone(), starts_shot });
        }
        let begun = Instant::now();
        self.serve_clean(&format, &frame)?;
        self.paint(frame, arrived)?;
        stream.measures.picture_sent(source_ns, pts);
        self.effort = self.effort.mul_f64(0.75) + begun.elapsed().mul_f64(0.25);
        self.last_frame = Instant::now();
        self.slate = None;
        stream.note_picture(opening);
        Ok(())
    }

    fn paint(&mut self, frame: Frame, arrived: Instant) -> anyhow::Result<()> {
        let pts = frame.pts;
        let (Some(painter), Some((encoder, _))) = (&mut self.painter, &self.output) else {
            return Ok(());
        };
        let (paired, age) = self.pairing.pair(pts, frame);
        painter.set_aged_annotation(paired.annotation.as_deref(), age);
        let heat = paired.heat;
        let is_painted = !heat.is_empty();
        let clean = paired.frame.clone();
        let painted =
            encoder.push(paired.frame, Some(arrived), |picture| painter.paint(picture, &heat))?;
        *self.stream.latest.lock() = Some(Latest { clean, painted });
        self.stream.measures.set_age(age.filter(|_| is_painted));
        self.sent(pts);
        Ok(())
    }

    fn sent(&mut self, pts: Pts) {
        self.last_pts = Some(pts);
        self.last_sent = Instant::now();
        if let Some((encoder, _)) = &self.output {
            self.sound.fill(pts).into_iter().for_each(|silence| encoder.push_sound(silence));
        }
        self.stream.measures.sent();
    }

    /// Starts what waits for the format of the output.
    fn open(&mut self, format: &PictureFormat) -> anyhow::Result<()> {
        if self.output.is_some() {
            return Ok(());
        }
        let (settings, stream) = (self.encoder_settings(), Arc::clone(&self.stream));
        let encoder = LiveEncoder::start(format, &settings, &self.stream.hub, move |latency| {
            stream.measures.encoded(latency);
        })?;
        let video = Arc::clone(&self.stream.video);
        let fragmenter = Fragmenter::start(&self.stream.hub, move |fragment| match fragment {
            Fragment::Init(bytes) => video.begin(bytes),
            Fragment::Media { bytes, keyframe } => video.push(bytes, keyframe),
        })?;
        self.output = Some((encoder, fragmenter));
        Ok(())
    }

    fn encoder_settings(&self) -> EncoderSettings {
        let live = &self.config.live;
        let rate = self.rate.unwrap_or(25.0);
        let interval = (live.keyframe_interval_s * rate).round().clamp(1.0, 1000.0);
        EncoderSettings {
            preset: live.preset.name().to_owned(),
            crf: live.crf,
            max_bitrate_kbps: live.max_bitrate_kbps,
            keyframe_interval: interval as u32,
        }
    }

    fn follow_controls(&mut self, format: &PictureFormat) {
        let version = self.stream.version.load(Relaxed);
        if version != self.controls.1 {
            let controls = self.stream.controls();
            if controls.analysis_fps.to_bits() != self.controls.0.analysis_fps.to_bits() {
                self.sampler = Sampler::new(controls.analysis_fps, usize::MAX);
            }
            self.controls = (controls, version);
            self.painter = None;
        }
        if self.painter.is_none() {
            let controls = &self.controls.0;
            let style = Style {
                opacity: controls.opacity as f32,
                heat: controls.style,
                ..self.config.overlay.look(controls.choices.len())
            };
            let (colours, aspect) = (format.colorimetry(), format.pixel_aspect());
            self.painter = Some(Painter::new(format.size(), colours, aspect, style));
        }
    }

    /// Encodes the picture without heat, while somebody takes it.
    fn serve_clean(&mut self, format: &PictureFormat, frame: &Frame) -> anyhow::Result<()> {
        if !self.stream.config.clean {
            return Ok(());
        }
        let wanted = !self.stream.clean.is_idle();
        if wanted && self.clean.is_none() {
            let settings = self.encoder_settings();
            let encoder = LiveEncoder::start(format, &settings, &self.stream.clean, |_| {})?;
            self.clean = Some((encoder, Instant::now()));
        }
        let Some((encoder, used)) = &mut self.clean else { return Ok(()) };
        if wanted {
            *used = Instant::now();
        }
        encoder.push(frame.clone(), None, |_| {})?;
        if used.elapsed() > CLEAN_LINGERS {
            self.clean = None;
        }
        Ok(())
    }

    /// Sends a slate when there has been no picture for too long.
    fn slate_if_due(&mut self) -> anyhow::Result<()> {
        let live = &self.config.live;
        let stream = Arc::clone(&self.stream);
        let state = stream.doing().state;
        let patience = match state {
            State::Running | State::Reconnecting => {
                Duration::from_millis(live.slate_after_ms.into())
            }
            State::Starting if stream.doing().detail.is_none() => FIRST_PICTURE,
            // Something is known to be wrong.
            State::Starting | State::Ended | State::Failed => Duration::ZERO,
        };
        let now = Instant::now();
        if self.slate.is_none() && self.last_frame.elapsed() <= patience {
            return Ok(());
        }
        if self.slate.is_some() && now < self.next_slate {
            return Ok(());
        }
        let (width, height) = (live.width_px as usize, live.height_px as usize);
        let size = if width > 0 { Size::new(width, height) } else { SLATE_SIZE };
        let plain = PictureFormat::plain(size, live.slate_fps)?;
        let format = stream.slate_format(plain, width > 0);
        let pause = Duration::from_secs(1) / live.slate_fps;
        let pause_ns = u64::try_from(pause.as_nanos()).unwrap_or(u64::MAX);
        if self.slate.is_none() {
            let title = match state {
                State::Ended => format!("ended at {}", time_of_day(self.last_frame.elapsed())),
                _ => format!("no signal since {}", time_of_day(self.last_frame.elapsed())),
            };
            let (colours, aspect) = (format.colorimetry(), format.pixel_aspect());
            let planes = slate(format.size(), colours, aspect, &title, &stream.name);
            self.slate = Some(Frame::from_planes(&format, &planes, Pts(0), pause_ns)?);
            self.next_slate = now;
            stream.measures.set_age(None);
            self.pairing.reset();
            self.break_off();
            if state == State::Running {
                stream.set_doing(State::Reconnecting, Some("no picture comes".to_owned()));
            }
        }
        self.keep_files_up(self.pictures_end);
        self.next_slate = (self.next_slate + pause).max(now);
        self.open(&format)?;
        let least = self.last_pts.map_or(0, |last| last.0 + STEP);
        let elapsed = u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX);
        // Evenly, as long as that keeps up with the time.
        let even = self.last_pts.map_or(0, |last| last.0 + pause_ns);
        let is_even = even.abs_diff(elapsed) < 4 * pause_ns;
        let pts = Pts(if is_even { even } else { elapsed.max(least) });
        let (Some(slate), Some((encoder, _))) = (&self.slate, &self.output) else { return Ok(()) };
        let frame = slate.clone().at(pts);
        if let Some((clean, _)) = &self.clean {
            clean.push(frame.clone(), None, |_| {})?;
        }
        let painted = encoder.push(frame.clone(), None, |_| {})?;
        *stream.latest.lock() = Some(Latest { clean: frame, painted });
        self.sent(pts);
        Ok(())
    }
}
