//! The only place that names GStreamer: opening a recording, decoding it to
//! I420 frames, encoding frames to a file, passing the other tracks through.
//!
//! `pipeline` drives it; nothing here knows classifiers, maps or labels.

mod elements;
mod feeder;
mod frame;
mod gop;
mod loudness;
mod output;
mod skim;
mod source;
mod track;
mod ts_times;

use std::path::PathBuf;
use std::time::Duration;

pub use elements::{Requirement, requirements, version};
pub use frame::Frame;
pub use gop::Pick;
pub use output::{Container, Encoder, Output, OutputEvent, OutputHandle};
pub use skim::{Frames, Levels, Skim, SkimOptions};
pub use source::{Source, SourceEvent, SourceOptions};
pub use track::{Track, TrackFate};

/// What can go wrong between a file and its frames, or frames and their file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// GStreamer itself did not start.
    #[error("GStreamer does not start: {0}; run `heatcast doctor`")]
    Init(gstreamer::glib::Error),
    /// An element that the job needs is not installed.
    #[error("GStreamer element `{element}` is missing: install the package {package}")]
    MissingElement {
        /// Name of the element.
        element: String,
        /// Debian package that holds it.
        package: &'static str,
    },
    /// The file is not a recording.
    #[error("{}: {what}", path.display())]
    NotARecording {
        /// The file.
        path: PathBuf,
        /// What it is instead, and what to do.
        what: String,
    },
    /// The recording holds video that nothing installed can decode.
    #[error(
        "no decoder for {codec} is installed: install gstreamer1.0-libav and gstreamer1.0-plugins-bad, or convert the input first"
    )]
    NoDecoder {
        /// Media type as GStreamer names it.
        codec: String,
    },
    /// A pipeline refused a change of state or a link.
    #[error("{what}: {why}")]
    Pipeline {
        /// What was being done.
        what: &'static str,
        /// What GStreamer said.
        why: String,
    },
    /// A picture's memory could not be reached.
    #[error("the memory of a frame could not be mapped")]
    Map,
    /// The output's extension names no container that is written here.
    #[error("{}: unknown output type; name it .mp4, .mkv or .ts", path.display())]
    UnknownContainer {
        /// The output as it was given.
        path: PathBuf,
    },
}

impl Error {
    fn pipeline(what: &'static str, why: impl std::fmt::Display) -> Self {
        Self::Pipeline { what, why: why.to_string() }
    }
}

/// Starts GStreamer; every other call of this module needs it done once.
///
/// # Errors
/// When the installation is broken.
pub fn init() -> Result<(), Error> {
    gstreamer::init().map_err(Error::Init)
}

/// A time to wait on a bus. Never zero: for that, the bindings return before
/// they have looked.
fn patience(timeout: Duration) -> gstreamer::ClockTime {
    let ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX).max(1);
    gstreamer::ClockTime::from_mseconds(ms)
}
