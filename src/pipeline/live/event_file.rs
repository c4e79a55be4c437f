//! The events file of a live stream: appended to as the stream goes on. Each run
//! is a record of its own, from its header to its end. Used by the compositor.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::Context;

use super::super::event_log::About;
use crate::media::Frame;
use crate::timeline::events;

/// An events file that is open.
pub(super) struct EventFile {
    file: File,
    about: About,
    /// Whether the header is written; it needs a picture.
    is_begun: bool,
}

impl EventFile {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// When that cannot be done.
    pub(super) fn open(path: &Path, about: About) -> anyhow::Result<Self> {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
        let file =
            file.with_context(|| format!("cannot write the events file {}", path.display()))?;
        Ok(Self { file, about, is_begun: false })
    }

    /// Writes the header before the first lines, which are about `frame`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn begin(&mut self, frame: &Frame) -> anyhow::Result<()> {
        if !self.is_begun {
            self.append(&[self.about.header_line(frame)?])?;
            self.is_begun = true;
        }
        Ok(())
    }

    /// Appends lines; nothing before the header.
    ///
    /// # Errors
    /// When they cannot be written.
    pub(super) fn write(&mut self, lines: &[String]) -> anyhow::Result<()> {
        if self.is_begun { self.append(lines) } else { Ok(()) }
    }

    /// Writes the last line of the record, where there is a first one.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn finish(mut self, end: &events::End<'_>) -> anyhow::Result<()> {
        self.write(&[events::end_line(end)?])
    }

    fn append(&mut self, lines: &[String]) -> anyhow::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        // At once, so that no reader sees half a line.
        Ok(self.file.write_all((lines.join("\n") + "\n").as_bytes())?)
    }
}
