//! The flags about timelines, the same wherever segments are found.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};

use crate::pipeline::TimelinePlan;
use crate::timeline::formats::{About, Action, Format, Origin};

/// What stands for the output itself in place of a file's name.
const INSIDE: &str = "in-file";

/// Which files about the timeline to write, and what to say in them.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Timeline")]
pub(super) struct TimelineArgs {
    /// Write every format into this folder
    #[arg(long, value_name = "DIR")]
    timeline: Option<PathBuf>,
    /// Edit decision list for Kodi and MPlayer
    #[arg(long, value_name = "FILE")]
    edl: Option<PathBuf>,
    /// Breaks as Comskip lists them
    #[arg(long, value_name = "FILE")]
    comskip: Option<PathBuf>,
    /// Chapters for ffmpeg, or `in-file` for chapters in the output
    #[arg(long, value_name = "FILE|in-file")]
    chapters: Vec<PathBuf>,
    /// WebVTT metadata track
    #[arg(long, value_name = "FILE")]
    vtt: Option<PathBuf>,
    /// Segments, one JSON object a line
    #[arg(long, value_name = "FILE", visible_alias = "jsonl")]
    segments: Option<PathBuf>,
    /// As-run table
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// OpenTimelineIO, for editing programs
    #[arg(long, value_name = "FILE")]
    otio: Option<PathBuf>,
    /// SCTE-35 sections with their times, or `in-file` for SCTE-35 in the output
    #[arg(long, value_name = "FILE|in-file")]
    scte35: Vec<PathBuf>,
    /// HLS playlist with date ranges and cue tags
    #[arg(long, value_name = "FILE")]
    hls: Option<PathBuf>,
    /// Heads to segment, separated by commas [default: the model's first]
    #[arg(long, value_name = "HEADS", value_delimiter = ',')]
    segment: Vec<String>,
    /// What programmes and breaks are like [default: default]
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// Label of the segments that are breaks [default: commercial]
    #[arg(long = "break", value_name = "LABEL")]
    break_label: Option<String>,
    /// What an edit decision list asks for: break, cut or mute [default: break]
    #[arg(long, value_name = "ACTION")]
    edl_action: Option<String>,
    /// Timecode of the start, HH:MM:SS:FF (; before FF drops frames)
    #[arg(long, value_name = "TIMECODE", conflicts_with = "start_time")]
    start_timecode: Option<String>,
    /// Date and time of the start, e.g. 2026-11-24T20:00:00+01:00
    #[arg(long, value_name = "TIME")]
    start_time: Option<String>,
    /// When a broadcast day begins, HH:MM [default: 06:00]
    #[arg(long, value_name = "TIME")]
    broadcast_day: Option<String>,
}

impl TimelineArgs {
    /// What is to be written about `media`, a recording that the files lie
    /// beside; with `--timeline`, under its name.
    ///
    /// # Errors
    /// When a flag's value makes no sense, or is not used.
    pub(super) fn plan(&self, media: &Path) -> anyhow::Result<TimelinePlan> {
        let plan = self.plan_if_any(media)?;
        if plan.is_empty()
            && let Some(flag) = self.idle()
        {
            bail!(
                "{flag} changes nothing without a file about the timeline; add --timeline DIR or one of its formats"
            );
        }
        Ok(plan)
    }

    /// The same where segments are of use without a file.
    ///
    /// # Errors
    /// When a flag's value makes no sense.
    pub(super) fn plan_if_any(&self, media: &Path) -> anyhow::Result<TimelinePlan> {
        let mut plan = TimelinePlan {
            heads: self.segment.clone(),
            profile: self.profile.clone().unwrap_or_else(|| "default".to_owned()),
            about: self.about(media)?,
            ..TimelinePlan::default()
        };
        for (format, path) in self.named() {
            plan.needs_breaks |=
                matches!(format, Format::Edl | Format::Comskip | Format::Scte35 | Format::Hls);
            match (format, path.to_str()) {
                (Format::Chapters, Some(INSIDE)) => plan.chapters_inside = true,
                (Format::Scte35, Some(INSIDE)) => plan.scte35_inside = true,
                _ => plan.files.push((format, path.clone())),
            }
        }
        if let Some(folder) = &self.timeline {
            plan.fill_folder(folder, &media.file_stem().unwrap_or_default().to_string_lossy());
        }
        Ok(plan)
    }

    /// A flag that names one file, which one recording alone can have.
    pub(super) fn names_one_file(&self) -> bool {
        self.named().next().is_some()
    }

    fn named(&self) -> impl Iterator<Item = (Format, &PathBuf)> {
        [
            (Format::Edl, self.edl.as_slice()),
            (Format::Comskip, self.comskip.as_slice()),
            (Format::Chapters, &self.chapters),
            (Format::WebVtt, self.vtt.as_slice()),
            (Format::Segments, self.segments.as_slice()),
            (Format::AsRun, self.csv.as_slice()),
            (Format::Otio, self.otio.as_slice()),
            (Format::Scte35, &self.scte35),
            (Format::Hls, self.hls.as_slice()),
        ]
        .into_iter()
        .flat_map(|(format, paths)| paths.iter().map(move |path| (format, path)))
    }

    /// A flag that is given, and means nothing alone.
    fn idle(&self) -> Option<&'static str> {
        [
            (!self.segment.is_empty(), "--segment"),
            (self.profile.is_some(), "--profile"),
            (self.break_label.is_some(), "--break"),
            (self.edl_action.is_some(), "--edl-action"),
            (self.start_timecode.is_some(), "--start-timecode"),
            (self.start_time.is_some(), "--start-time"),
            (self.broadcast_day.is_some(), "--broadcast-day"),
        ]
        .into_iter()
        .find_map(|(given, flag)| given.then_some(flag))
    }

    fn about(&self, media: &Path) -> anyhow::Result<About> {
        let usual = About::default();
        let said = |flag: &'static str| move |e: String| anyhow!("{flag}: {e}");
        let action = self.edl_action.as_deref().map(str::parse::<Action>).transpose();
        let origin = match (&self.start_timecode, &self.start_time) {
            (Some(timecode), _) => {
                Origin::Timecode(timecode.parse().map_err(said("--start-timecode"))?)
            }
            (None, Some(time)) => Origin::Wall(time.parse().map_err(said("--start-time"))?),
            (None, None) => Origin::Unknown,
        };
        let name = media.file_name().unwrap_or(media.as_os_str());
        Ok(About {
            media: name.to_string_lossy().into_owned(),
            break_label: self.break_label.clone().unwrap_or(usual.break_label),
            action: action.map_err(said("--edl-action"))?.unwrap_or_default(),
            origin,
            day_start_s: match &self.broadcast_day {
                Some(time) => seconds_of_day(time).with_context(|| {
                    format!("--broadcast-day: {time:?} is no time of day; write it as HH:MM")
                })?,
                None => usual.day_start_s,
            },
            frame_rate: None,
        })
    }
}

fn seconds_of_day(text: &str) -> Option<u32> {
    let (hour, minute) = text.split_once(':')?;
    let number = |t: &str, below| t.parse::<u32>().ok().filter(|n| t.len() == 2 && *n < below);
    Some(number(hour, 24)? * 3600 + number(minute, 60)? * 60)
}
