//! One pass over a recording: which pictures were chosen, what the classifier
//! said about them, and the cues in picture and sound. Runs on the thread of
//! the scan; decoding runs beside it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, never, select};

use super::hold::Hold;
use super::{Eye, Watch};
use crate::frame::Pts;
use crate::media::{Frame, Pick, Places, Skim, SkimOptions};
use crate::sampling::Sampler;
use crate::timeline::cues::{Glimpse, PictureCues, SoundCues};
use crate::timeline::{Cue, CueKind};

/// How often the stop flag is looked at while nothing comes.
const TICK: Duration = Duration::from_millis(50);
/// Pictures further apart than this do not follow each other, in seconds.
const GAP_S: f64 = 0.5;

/// What the classifier said about one picture.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) pts: Pts,
    /// The picture is known to be the first of its shot.
    pub(super) starts_shot: bool,
    /// It was said about another picture, which looks like this one.
    pub(super) held: bool,
    /// Probabilities of each segmented head.
    pub(super) heads: Arc<[Vec<f32>]>,
}

/// What one pass brought.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) answers: Vec<Answer>,
    pub(super) picture_cues: Vec<Cue>,
    /// Cues in the sound, and those the stream itself announces.
    pub(super) sound_cues: Vec<Cue>,
    /// Where the last picture ends.
    pub(super) end: Pts,
    /// From a stream time on, how far the recording's own time is ahead.
    pub(super) leads: Vec<(Pts, i64)>,
    /// Coded pictures, decoded ones, damaged ones.
    pub(super) counts: [u64; 3],
    /// Frames per second, when the rate is constant and known.
    pub(super) frame_rate: Option<f64>,
    /// Where in the file the pictures are, if it can be read in parts.
    pub(super) places: Option<Places>,
    /// Why the sound is not known.
    pub(super) sound_fault: Option<String>,
    /// Why the pass ended early.
    pub(super) reason: Option<String>,
    /// Why the classifier failed, and on how many pictures.
    pub(super) failed: Option<(String, u64)>,
}

/// What a pass is for.
pub(super) struct Pass<'a> {
    pub(super) path: &'a Path,
    pub(super) options: SkimOptions,
    /// Pictures answered for per second, beside the first of every shot.
    pub(super) fps: f64,
    /// Seconds for which an answer holds while the picture stays alike.
    pub(super) hold_s: f64,
    pub(super) patience: Duration,
}

/// Goes through a recording once.
///
/// # Errors
/// When it cannot be opened, or no picture came for a reason that is no fault
/// of the choice.
pub(super) fn look(pass: &Pass<'_>, eye: &mut Eye, watch: &Watch) -> anyhow::Result<Seen> {
    let (skim, frames, levels) = Skim::open(pass.path, &pass.options)?;
    let mut looker = Looker::new(pass, eye);
    let (no_frames, no_levels) = (never(), never());
    let (mut frames, mut levels) = (Some(frames), Some(levels));
    let mut last = (0, Instant::now());
    while frames.is_some() || levels.is_some() {
        let from_pictures = frames.as_ref().unwrap_or(&no_frames);
        let from_sound = levels.as_ref().unwrap_or(&no_levels);
        let mut idle = false;
        select! {
            recv(from_pictures) -> frame => match frame {
                Ok(frame) => looker.take(&frame)?,
                Err(_) => frames = None,
            },
            recv(from_sound) -> heard => match heard {
                Ok(heard) => for level in heard {
                    looker.seen.sound_cues.extend(looker.sound.listen(&level));
                },
                Err(_) => levels = None,
            },
            default(TICK) => idle = true,
        }
        let reached = skim.reached();
        watch.reached.store(reached.0, Relaxed);
        if let Some(total) = skim.duration().filter(|_| watch.total.load(Relaxed) == 0) {
            watch.total.store(total, Relaxed);
        }
        if watch.stop.load(Relaxed) {
            looker.seen.reason = Some(format!("{}: stopped on request", pass.path.display()));
            break;
        }
        let [coded, decoded, _] = skim.counts();
        if !idle || coded + decoded != last.0 {
            last = (coded + decoded, Instant::now());
        } else if last.1.elapsed() > pass.patience {
            let waited = last.1.elapsed().as_secs_f64();
            looker.seen.reason =
                Some(format!("{}: nothing moved for {waited:.0} seconds", pass.path.display()));
            break;
        }
    }
    let mut seen = looker.finish();
    seen.end = seen.end.max(skim.reached());
    let failure = if seen.reason.is_none() { skim.failure() } else { None };
    if let Some(why) = failure {
        if seen.answers.is_empty() {
            anyhow::bail!(why);
        }
        seen.reason = Some(why);
    }
    if pass.options.sound {
        let inside = skim.splices().into_iter().filter(|at| at.0 > 0 && *at < seen.end);
        seen.sound_cues.extend(inside.map(|at| Cue { kind: CueKind::Scte35, start: at, end: at }));
    }
    seen.leads = skim.leads();
    // In parts there is nothing new to learn.
    seen.places = if pass.options.parts.is_none() { skim.places() } else { None };
    seen.counts = skim.counts();
    seen.sound_fault = if pass.options.sound { skim.sound_fault() } else { None };
    // Whatever waits to be taken is let go.
    drop((frames, levels));
    if let Some((stop, thread)) = end_beside(skim) {
        // A wedged element must not wedge the scan.
        if stop.recv_timeout(pass.patience) != Err(RecvTimeoutError::Timeout) {
            let _ = thread.join();
        }
    }
    Ok(seen)
}

/// Ends a source on a thread of its own; the receiver tells when it has ended.
fn end_beside(
    skim: Skim,
) -> Option<(crossbeam_channel::Receiver<()>, std::thread::JoinHandle<()>)> {
    let (done, ended) = crossbeam_channel::bounded(1);
    let work = move || {
        drop(skim);
        let _ = done.send(());
    };
    super::super::spawn("stop", work).ok().map(|thread| (ended, thread))
}

/// Which pictures need an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asks {
    /// Every one: they were chosen far apart.
    All,
    /// Some a second, and the first of every shot.
    Some,
    /// The first of every shot: the others were glanced at.
    Shots,
}

struct Looker<'a> {
    eye: &'a mut Eye,
    asks: Asks,
    sampler: Sampler,
    hold: Hold,
    pictures: PictureCues,
    sound: SoundCues,
    /// Where the picture before ended.
    before: Option<Pts>,
    seen: Seen,
}

impl<'a> Looker<'a> {
    fn new(pass: &Pass<'_>, eye: &'a mut Eye) -> Self {
        let asks = match pass.options.pick {
            Pick::Sparse { .. } => Asks::All,
            Pick::Every => Asks::Some,
            Pick::Within(_) => Asks::Shots,
        };
        let sampled = asks == Asks::All;
        Self {
            eye,
            asks,
            sampler: Sampler::new(pass.fps, usize::MAX),
            hold: Hold::new(pass.hold_s),
            pictures: if sampled { PictureCues::sampled() } else { PictureCues::every() },
            sound: SoundCues::default(),
            before: None,
            seen: Seen::default(),
        }
    }

    fn take(&mut self, frame: &Frame) -> anyhow::Result<()> {
        let (start, end) = (frame.pts, frame.end());
        let follows = self.before.is_some_and(|before| start.secs_since(before) <= GAP_S);
        if self.asks != Asks::All && !follows {
            self.seen.picture_cues.extend(self.pictures.finish());
            self.pictures = PictureCues::every();
            self.hold.end();
        }
        self.before = Some(end);
        self.seen.frame_rate = self.seen.frame_rate.or(frame.frame_rate());
        self.seen.end = self.seen.end.max(end);
        let glimpse = frame.with_picture(|p| self.pictures.look(start, end, p))?;
        self.seen.picture_cues.extend(self.pictures.take());
        // Between two sampled pictures a shot begins somewhere, and what came
        // before the first of several that follow each other is not known.
        let starts_shot = glimpse.starts_shot && self.asks != Asks::All && follows;
        // Black says nothing about what comes after it.
        if glimpse.starts_shot && !glimpse.black {
            self.hold.end();
        }
        let due = match self.asks {
            Asks::All => true,
            Asks::Some => self.sampler.wants(start, starts_shot),
            Asks::Shots => starts_shot && !glimpse.black,
        };
        if due {
            self.answer(frame, Glimpse { starts_shot, ..glimpse });
        }
        Ok(())
    }

    /// Asks the classifier about a picture, unless what it said last still holds.
    fn answer(&mut self, frame: &Frame, Glimpse { starts_shot, black }: Glimpse) {
        let (pts, Some(glance)) = (frame.pts, self.pictures.glance()) else { return };
        // What is looked at twice counts once.
        let counts = self.asks != Asks::Shots;
        let answers = &mut self.seen.answers;
        if let Some(last) = answers.last().filter(|_| self.hold.covers(pts, glance, black)) {
            let heads = Arc::clone(&last.heads);
            answers.push(Answer { pts, starts_shot, held: true, heads });
            self.eye.hold(frame, counts);
            return;
        }
        match self.eye.classify(frame, counts) {
            Ok(heads) => {
                let heads: Arc<[_]> = heads.into();
                // Of what was left out in between, each picture has the nearer answer.
                let since = self.hold.begin(pts, glance);
                for answer in answers.iter_mut().rev().take_while(|a| a.held && a.pts > since) {
                    answer.heads = Arc::clone(&heads);
                }
                answers.push(Answer { pts, starts_shot, held: false, heads });
            }
            Err(why) => self.seen.failed.get_or_insert((why, 0)).1 += 1,
        }
    }

    fn finish(mut self) -> Seen {
        self.seen.picture_cues.extend(self.pictures.finish());
        self.seen.sound_cues.extend(self.sound.finish());
        self.seen
    }
}
