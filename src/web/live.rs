//! What a client follows for as long as it likes: events as server-sent events
//! and the picture as fragmented MP4. Both end when the server stops.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use tokio::sync::watch;

use super::feed::{EventReader, Line, Viewer};

/// Silence after which a comment is sent, so that proxies keep the connection.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Event lines as they come.
pub(super) fn events(reader: EventReader, stopping: watch::Receiver<bool>) -> Response {
    let lines = unfold((reader, stopping), async |(mut reader, mut stopping)| {
        let line = tokio::select! {
            line = reader.next() => line,
            _ = stopping.wait_for(|stop| *stop) => None,
        };
        let Line { id, text } = line?;
        let event = Event::default().id(id.to_string()).data(text);
        Some((Ok::<_, Infallible>(event), (reader, stopping)))
    });
    let beats = KeepAlive::new().interval(HEARTBEAT);
    Sse::new(lines).keep_alive(beats).into_response()
}

/// The encoded picture as it comes.
pub(super) fn video(viewer: Viewer, stopping: watch::Receiver<bool>) -> Response {
    let pieces = unfold((viewer, stopping), async |(mut viewer, mut stopping)| {
        let piece = tokio::select! {
            piece = viewer.next() => piece,
            _ = stopping.wait_for(|stop| *stop) => None,
        };
        Some((Ok::<_, Infallible>(piece?), (viewer, stopping)))
    });
    ([(CONTENT_TYPE, "video/mp4")], Body::from_stream(pieces)).into_response()
}
