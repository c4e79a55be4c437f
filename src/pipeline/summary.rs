//! What a run amounted to, for people and for `--json`.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use serde::Serialize;

use super::analyst::AnalystCounters;
use super::{Annotate, size_of};
use crate::frame::{Pts, Size};
use crate::media::{Container, Source, TrackFate};

/// One track beside the video.
#[derive(Clone, Debug, Serialize)]
pub struct TrackReport {
    /// What it is: `AAC (eng)`.
    pub name: String,
    /// `copied`, `transcoded`, or `dropped: why`.
    pub fate: String,
}

/// The result of a run; `--json` prints exactly these fields.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// The recording.
    pub input: String,
    /// The annotated recording.
    pub output: String,
    /// The events file.
    pub events: Option<String>,
    /// The files about the timeline.
    pub timeline: Vec<String>,
    /// Why some of what was to be written about the timeline is missing.
    pub timeline_failure: Option<String>,
    /// Frames decoded.
    pub frames_in: u64,
    /// Frames written.
    pub frames_out: u64,
    /// Frames the classifier saw.
    pub frames_analysed: u64,
    /// Frames the decoder marked as damaged; they were written all the same.
    pub frames_damaged: u64,
    /// Analysed frames on which the classifier failed.
    pub classifier_failures: u64,
    /// Stream time from the start to the end of the last frame, seconds.
    pub duration_s: f64,
    /// Time the run took, seconds.
    pub wall_s: f64,
    /// Processor time of loading the classifier, preparing pictures and running
    /// it, seconds (further threads of `model.threads` not counted).
    pub analysis_cpu_s: f64,
    /// Stream time annotated per time taken.
    pub speed: f64,
    /// The first sound track: `copied`, `transcoded`, `none` or `dropped: why`.
    pub audio: String,
    /// Every track beside the video that was tried.
    pub tracks: Vec<TrackReport>,
    /// What is not in the output, and why.
    pub left_out: Vec<String>,
    /// What else people should know.
    pub notes: Vec<String>,
    /// Size of the input, bytes.
    pub input_bytes: u64,
    /// Size of the output, bytes.
    pub output_bytes: u64,
    /// True when the whole input was annotated.
    pub complete: bool,
    /// Why the run ended early.
    pub reason: Option<String>,
    /// True when a person ended it.
    pub interrupted: bool,
}

/// Widest picture that common hardware decoders of H.264 take, in pixels.
const PLAYABLE_ACROSS: usize = 4096;

/// What a summary is made from.
pub(super) struct Facts<'a> {
    pub(super) job: &'a Annotate,
    pub(super) container: Container,
    pub(super) source: &'a Source,
    pub(super) counters: &'a AnalystCounters,
    pub(super) frames: u64,
    pub(super) encoded: u64,
    pub(super) duration: Pts,
    pub(super) wall: Duration,
    pub(super) output_size: Option<Size>,
    pub(super) reason: Option<String>,
    pub(super) interrupted: bool,
    pub(super) classifier_failure: Option<String>,
    pub(super) timeline: Vec<String>,
    pub(super) timeline_failure: Option<String>,
}

pub(super) fn sum_up(facts: Facts<'_>) -> Summary {
    let Facts { job, source, counters, .. } = facts;
    let with_audio = job.config.output.audio == crate::config::Audio::Auto;
    let tracks: Vec<_> = source
        .tracks()
        .iter()
        .map(|track| {
            let fate = match track.fate() {
                _ if track.is_audio && !with_audio => "dropped: not asked for".to_owned(),
                TrackFate::Copied => "copied".to_owned(),
                TrackFate::Transcoded => "transcoded".to_owned(),
                TrackFate::Dropped(why) => format!("dropped: {why}"),
            };
            (track.is_audio, TrackReport { name: track.name.clone(), fate })
        })
        .collect();
    let audio = tracks
        .iter()
        .find(|(is_audio, _)| *is_audio)
        .map_or_else(|| "none".to_owned(), |(_, track)| track.fate.clone());
    let notes = notes(&facts);
    let to_us = |seconds: f64| (seconds * 1e6).round() / 1e6;
    let (duration_s, wall_s) =
        (to_us(facts.duration.as_secs_f64()), to_us(facts.wall.as_secs_f64()));
    Summary {
        input: job.input.display().to_string(),
        output: job.output.display().to_string(),
        events: job.events.as_ref().map(|p| p.display().to_string()),
        timeline: facts.timeline,
        timeline_failure: facts.timeline_failure,
        frames_in: if facts.interrupted { facts.frames } else { source.frames_decoded() },
        frames_out: facts.encoded,
        frames_analysed: counters.analysed.load(Relaxed),
        frames_damaged: source.frames_damaged(),
        classifier_failures: counters.failed.load(Relaxed),
        duration_s,
        wall_s,
        analysis_cpu_s: counters.cpu_us.load(Relaxed) as f64 / 1e6,
        speed: to_us(duration_s / wall_s.max(1e-9)),
        audio,
        tracks: tracks.into_iter().map(|(_, track)| track).collect(),
        left_out: source.left_out(),
        notes,
        input_bytes: size_of(&job.input),
        output_bytes: size_of(&job.output),
        complete: facts.reason.is_none(),
        reason: facts.reason,
        interrupted: facts.interrupted,
    }
}

fn notes(facts: &Facts<'_>) -> Vec<String> {
    let mut notes = Vec::new();
    let source = facts.source;
    if source.frames_damaged() > 0 {
        notes.push(format!(
            "{} of {} frames are damaged in the input; they were annotated as the decoder showed them",
            source.frames_damaged(),
            source.frames_decoded()
        ));
    }
    if source.clock_repairs() > 0 {
        notes.push(format!(
            "the input's timestamps leapt {} times; the output goes on without a gap",
            source.clock_repairs()
        ));
    }
    if source.changed_format() {
        notes
            .push("the picture size changed on the way; the output keeps the first one".to_owned());
    }
    let side_by_side = facts.job.config.overlay.layout == crate::config::Layout::Side;
    if let (Some(whole), Some(first)) = (facts.output_size, source.picture_size()) {
        let size = Size { width: whole.width / if side_by_side { 2 } else { 1 }, ..whole };
        if size != first {
            notes.push(format!(
                "{}x{} became {}x{}: H.264 in {} needs even sizes (the last row and column are repeated)",
                first.width,
                first.height,
                size.width,
                size.height,
                facts.container.name()
            ));
        }
        if side_by_side && whole.width > PLAYABLE_ACROSS {
            notes.push(format!(
                "{}x{} is wider than the {PLAYABLE_ACROSS} pixels that hardware decoders of H.264 play; play it in software (VLC, mpv), or scale the input down first",
                whole.width, whole.height
            ));
        }
    }
    if let Some(why) = &facts.classifier_failure {
        let failed = facts.counters.failed.load(Relaxed);
        notes.push(format!("the classifier failed on {failed} frames: {why}"));
    }
    notes
}
