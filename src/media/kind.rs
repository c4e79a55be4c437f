//! What a file is, by its content, and what people call it. Used by whatever
//! opens one; must not know what is done with it.

use std::path::Path;

use gstreamer as gst;
use gstreamer::prelude::*;

use super::Error;
use super::elements::{add_chain, make};

pub(super) fn describe_io(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file; check the name".to_owned(),
        std::io::ErrorKind::PermissionDenied => "may not be read; check its permissions".to_owned(),
        _ => format!("cannot be read: {error}"),
    }
}

/// One sentence from an element's error text and its debug detail.
pub(super) fn sentence(text: &str, detail: &str) -> String {
    let text = text.trim().trim_end_matches('.');
    let detail = detail.trim().trim_end_matches('.');
    if detail.is_empty() || detail.contains(text) || detail.contains(".c(") {
        text.to_owned()
    } else {
        format!("{text} ({detail})")
    }
}

pub(super) fn is_video(caps: &gst::Caps) -> bool {
    caps.structure(0).is_some_and(|s| {
        let name = s.name();
        // MPEG system streams share the media type of MPEG video.
        let system = s.get::<bool>("systemstream").unwrap_or(false);
        !system
            && matches!(
                name.as_str(),
                "video/x-h264" | "video/x-h265" | "video/mpeg" | "video/x-av1"
            )
    })
}

/// What people call a type of file.
pub(super) fn kind_of(caps: &gst::Caps) -> String {
    let name = caps.structure(0).map_or("unknown", |s| s.name().as_str());
    match name.split_once('/') {
        Some(("text", _)) => format!("a text file ({name})"),
        Some(("image", _)) => format!("a picture ({name}), not a recording"),
        Some(("audio", _)) => format!("sound only ({name})"),
        _ => format!("a file of type {name}"),
    }
}

/// The type of the file by its content.
pub(super) fn container_caps(path: &Path) -> Result<gst::Caps, Error> {
    let pipeline = gst::Pipeline::new();
    let filesrc = make("filesrc")?;
    filesrc.set_property("location", path);
    let typefind = make("typefind")?;
    let sink = make("fakesink")?;
    add_chain(&pipeline, &[&filesrc, &typefind, &sink])?;
    let bus = pipeline.bus().ok_or(Error::Map)?;
    let _ = pipeline.set_state(gst::State::Paused);
    let wanted = [gst::MessageType::AsyncDone, gst::MessageType::Error, gst::MessageType::Eos];
    let _ = bus.timed_pop_filtered(gst::ClockTime::from_seconds(20), &wanted);
    let caps = typefind.property::<Option<gst::Caps>>("caps");
    let _ = pipeline.set_state(gst::State::Null);
    let not = |what: String| Error::NotARecording { path: path.to_owned(), what };
    let caps =
        caps.ok_or_else(|| not("is of no known type; is it really a recording?".to_owned()))?;
    let name = caps.structure(0).map_or("", |s| s.name().as_str());
    if name.starts_with("text/") || name.starts_with("image/") {
        return Err(not(format!("is {}", kind_of(&caps))));
    }
    Ok(caps)
}
