//! The only place that names GStreamer: opening a recording, decoding it to
//! I420 frames, encoding frames to a file, passing the other tracks through.
//!
//! `pipeline` drives it; nothing here knows classifiers, maps or labels.

mod captions;
mod elements;
mod feeder;
mod frame;
mod gop;
mod hearing;
mod intake;
mod kind;
mod live;
mod loudness;
mod output;
mod parts;
mod skim;
mod source;
mod tags;
mod track;
mod ts_times;
mod upright;

use std::path::PathBuf;
use std::time::Duration;

pub use elements::{Requirement, requirements, version};
pub use frame::Frame;
pub use gop::Pick;
pub use live::*;
pub use output::{Container, Encoder, Output, OutputEvent, OutputHandle};
pub use parts::{Parts, Places};
pub use skim::{Frames, Levels, Skim, SkimOptions};
pub use source::{Source, SourceEvent, SourceOptions};
pub use tags::Tags;
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
    /// A live source cannot be had, or not any more.
    #[error("{0}")]
    Live(String),
    /// An address cannot be served on.
    #[error("{address}: {why}")]
    Address {
        /// The address.
        address: String,
        /// What is wrong, and what to do.
        why: String,
    },
    /// A picture's memory could not be reached.
    #[error("the memory of a frame could not be mapped")]
    Map,
    /// The encoder takes no pictures of this width.
    #[error(
        "the output would be {width} pixels wide, and H.264 ends at {most}; write the painted picture alone, or scale the input down first"
    )]
    TooWide {
        /// Pixels from left to right.
        width: u32,
        /// The most there may be.
        most: u32,
    },
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

/// The time of day, where this machine stands, so long ago: `14:03:22`.
pub fn time_of_day(ago: Duration) -> String {
    let seconds = i64::try_from(ago.as_secs()).unwrap_or(0);
    let then = gstreamer::glib::DateTime::now_local()
        .and_then(|now| now.add_seconds(-(seconds as f64)))
        .and_then(|then| then.format("%H:%M:%S"));
    then.map_or_else(|_| "an unknown time".to_owned(), String::from)
}

/// A moment where this machine stands, for the names of files: `20261128-140322`.
pub fn date_and_time(at: std::time::SystemTime) -> String {
    let since = at.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let seconds = i64::try_from(since.as_secs()).unwrap_or(0);
    let then = gstreamer::glib::DateTime::from_unix_local(seconds)
        .and_then(|then| then.format("%Y%m%d-%H%M%S"));
    then.map_or_else(|_| seconds.to_string(), String::from)
}

/// Makes a pipeline keep only the messages that its bus is asked for: the end
/// and failures. Nobody reads the others, and in a pipeline that runs for days
/// they would pile up.
fn keep_verdicts_only(pipeline: &gstreamer::Pipeline) {
    use gstreamer::{BusSyncReply, MessageView, prelude::*};
    let Some(bus) = pipeline.bus() else { return };
    bus.set_sync_handler(|_, message| match message.view() {
        MessageView::Error(_) | MessageView::Eos(_) => BusSyncReply::Pass,
        _ => BusSyncReply::Drop,
    });
}

/// A time to wait on a bus. Never zero: for that, the bindings return before
/// they have looked.
fn patience(timeout: Duration) -> gstreamer::ClockTime {
    let ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX).max(1);
    gstreamer::ClockTime::from_mseconds(ms)
}
