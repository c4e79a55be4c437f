//! The events file: what the classifier saw, one JSON object a line, written
//! under a temporary name until the run has ended.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::outputs::temporary;
use crate::annotation::Annotation;
use crate::config::Config;
use crate::frame::Size;
use crate::media::Frame;
use crate::timeline::events;

/// What the header says about the run.
#[derive(Debug)]
pub(super) struct About {
    pub(super) input: String,
    pub(super) model_name: String,
    pub(super) model_version: String,
    pub(super) model_sha256: String,
    pub(super) onnxruntime: String,
    pub(super) provider: String,
    pub(super) settings: Config,
}

impl About {
    /// The first line of a record whose first picture is `first`.
    pub(super) fn header_line(&self, first: &Frame) -> anyhow::Result<String> {
        let Size { width, height } = first.size();
        let gstreamer = crate::media::version();
        let header = events::Header {
            heatcast: env!("CARGO_PKG_VERSION"),
            input: &self.input,
            model: events::Model {
                name: &self.model_name,
                version: &self.model_version,
                sha256: &self.model_sha256,
            },
            onnxruntime: &self.onnxruntime,
            gstreamer: &gstreamer,
            provider: &self.provider,
            picture: events::PictureShape { width, height, pixel_aspect: first.pixel_aspect() },
            settings: &self.settings,
        };
        Ok(events::header_line(&header)?)
    }
}

/// An events file being written.
#[derive(Debug)]
pub(super) struct EventLog {
    path: PathBuf,
    file: BufWriter<File>,
    about: About,
    size: Size,
}

impl EventLog {
    pub(super) fn create(path: &Path, about: About) -> anyhow::Result<Self> {
        let file = File::create(temporary(path))
            .with_context(|| format!("cannot write the events file {}", path.display()))?;
        let file = BufWriter::new(file);
        Ok(Self { path: path.to_owned(), file, about, size: Size::new(0, 0) })
    }

    pub(super) fn write_header(&mut self, first: &Frame) -> anyhow::Result<()> {
        self.size = first.size();
        let line = self.about.header_line(first)?;
        self.line(&line)
    }

    pub(super) fn write(&mut self, annotation: &Annotation) -> anyhow::Result<()> {
        for line in events::annotation_lines(annotation, self.size)? {
            self.line(&line)?;
        }
        Ok(())
    }

    /// Writes the last line and gives the file its name.
    pub(super) fn finish(mut self, end: &events::End<'_>) -> anyhow::Result<()> {
        let line = events::end_line(end)?;
        self.line(&line)?;
        self.file.flush().with_context(|| self.what())?;
        std::fs::rename(temporary(&self.path), &self.path).with_context(|| self.what())
    }

    /// Forgets the file.
    pub(super) fn discard(self) {
        let _ = std::fs::remove_file(temporary(&self.path));
    }

    fn line(&mut self, line: &str) -> anyhow::Result<()> {
        writeln!(self.file, "{line}").with_context(|| self.what())
    }

    fn what(&self) -> String {
        format!("cannot write the events file {}", self.path.display())
    }
}
