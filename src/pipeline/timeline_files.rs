//! The files about a timeline: what is asked for, whether it may be written,
//! and writing it, as often as segments change. Used by whatever finds segments;
//! must not know how they are found.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::{BufReader, BufWriter};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::outputs::{check_free, check_parent, same_file, temporary, write_whole};
use crate::finish;
use crate::frame::Pts;
use crate::media::Container;
use crate::timeline::formats::{About, Format, Timeline, chapters, splices};
use crate::timeline::segment::Segment;

/// What is to be written about a timeline.
#[derive(Clone, Debug, Default)]
pub struct TimelinePlan {
    /// Files beside the recording.
    pub files: Vec<(Format, PathBuf)>,
    /// Folder of those files that have no place of their own; made if need be.
    pub folder: Option<PathBuf>,
    /// Whether the output gets chapters inside.
    pub chapters_inside: bool,
    /// Whether the output gets SCTE-35 inside.
    pub scte35_inside: bool,
    /// Heads to be segmented, the one that makes chapters first; empty for the
    /// model's first.
    pub heads: Vec<String>,
    /// Name of the segmenter's profile.
    pub profile: String,
    /// Whether something was asked for by name that tells of breaks only.
    pub needs_breaks: bool,
    /// What the formats say beside the segments.
    pub about: About,
}

impl TimelinePlan {
    /// Whether there is anything to write.
    pub const fn is_empty(&self) -> bool {
        self.files.is_empty() && !self.chapters_inside && !self.scte35_inside
    }

    /// Has every format written into a folder, under the name `stem`.
    pub fn fill_folder(&mut self, folder: &Path, stem: &str) {
        self.folder = Some(folder.to_owned());
        let path = |format: Format| folder.join(format!("{stem}.{}", format.extension()));
        self.files.extend(Format::ALL.map(|format| (format, path(format))));
    }

    /// Makes sure that the files may be written, and that an output of this
    /// kind can hold what goes inside; `taken` are other files of the run.
    ///
    /// # Errors
    /// With what stands in the way.
    pub fn check(
        &self,
        container: Option<Container>,
        taken: &[&Path],
        force: bool,
    ) -> anyhow::Result<()> {
        let mut seen: Vec<&Path> = taken.to_vec();
        if let Some(folder) = self.folder.as_deref().filter(|f| !f.is_dir()) {
            if folder.exists() {
                bail!("{} is a file; --timeline needs a folder", folder.display());
            }
            check_parent(folder)?;
        }
        for (_, path) in &self.files {
            if self.folder.is_none() || path.parent() != self.folder.as_deref() {
                check_parent(path)?;
            }
            if seen.iter().any(|other| *other == path || same_file(other, path)) {
                bail!("{} is named twice; give every file its own name", path.display());
            }
            check_free(path, force)?;
            seen.push(path);
        }
        match container {
            Some(Container::Ts) if self.chapters_inside => bail!(
                "MPEG transport streams have no chapters; name the output .mp4 or .mkv, or a file for --chapters"
            ),
            Some(other) if self.scte35_inside && other != Container::Ts => bail!(
                "{} has no place for SCTE-35; name the output .ts, or a file for --scte35",
                other.name()
            ),
            None if self.chapters_inside || self.scte35_inside => {
                bail!("there is no output for `in-file`; name a file")
            }
            _ => Ok(()),
        }
    }
}

/// Writes the files of a plan, each whole or not at all.
#[derive(Debug)]
pub struct TimelineFiles {
    plan: TimelinePlan,
    /// What each file holds.
    written: HashMap<PathBuf, String>,
}

impl TimelineFiles {
    /// Files for a recording with this frame rate, where it is constant.
    pub fn new(mut plan: TimelinePlan, frame_rate: Option<f64>) -> Self {
        plan.about.frame_rate = frame_rate;
        Self { plan, written: HashMap::new() }
    }

    /// The frame rate is this one from now on.
    pub const fn set_frame_rate(&mut self, frame_rate: Option<f64>) {
        self.plan.about.frame_rate = frame_rate;
    }

    /// Writes every file whose text has changed. Nothing before `settled`
    /// changes any more; `duration` once the stream has ended.
    ///
    /// # Errors
    /// When a file cannot be written; the others are.
    pub fn write(
        &mut self,
        segments: &[Segment],
        duration: Pts,
        settled: Pts,
    ) -> anyhow::Result<()> {
        let timeline = Timeline { segments, duration, settled, about: &self.plan.about };
        if let Some(folder) = &self.plan.folder {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        }
        let mut result = Ok(());
        for (format, path) in &self.plan.files {
            let text = format.write(&timeline);
            if self.written.get(path) == Some(&text) {
                continue;
            }
            match write_whole(path, &text) {
                Ok(()) => drop(self.written.insert(path.clone(), text)),
                Err(e) => result = Err(e),
            }
        }
        result
    }

    /// Puts what goes inside into `output`, which is complete and whose first
    /// picture is at `first`.
    ///
    /// # Errors
    /// When it cannot; the output is as it was then.
    pub fn finish_output(
        &self,
        output: &Path,
        container: Container,
        segments: &[Segment],
        duration: Pts,
        first: Pts,
    ) -> anyhow::Result<()> {
        let about = &self.plan.about;
        let timeline = Timeline { segments, duration, settled: duration, about };
        if self.plan.chapters_inside {
            let chapters = chapters(&timeline);
            let mut file = OpenOptions::new().read(true).write(true).open(output)?;
            let patches = match container {
                _ if chapters.is_empty() => Ok(Vec::new()),
                Container::Mp4 => finish::mp4::chapters(&mut file, &chapters),
                Container::Mkv => finish::matroska::chapters(&mut file, &chapters),
                Container::Ts => Ok(Vec::new()),
            };
            finish::apply(&mut file, &patches.context("no chapters inside")?)
                .context("no chapters inside")?;
        }
        if self.plan.scte35_inside {
            let new = temporary(output);
            let insert = || -> anyhow::Result<()> {
                let from = BufReader::with_capacity(1 << 20, std::fs::File::open(output)?);
                let to = BufWriter::with_capacity(1 << 20, std::fs::File::create(&new)?);
                finish::transport::insert(from, to, &splices(&timeline), first)?;
                Ok(std::fs::rename(&new, output)?)
            };
            insert()
                .inspect_err(|_| {
                    let _ = std::fs::remove_file(&new);
                })
                .context("no SCTE-35 inside")?;
        }
        Ok(())
    }

    /// The files written, by name.
    pub fn paths(&self) -> Vec<String> {
        let files = self.plan.files.iter();
        files
            .filter(|(_, path)| self.written.contains_key(path))
            .map(|(_, path)| path.display().to_string())
            .collect()
    }
}
