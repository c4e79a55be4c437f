//! What can be asked for, and the answers. Every address is in [`router`]; the
//! description for programs is `docs/reference/openapi.json`, which a test
//! compares with it.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::header::{CONTENT_TYPE, HeaderName, LOCATION};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, watch};

use super::answer::Problem;
use super::feed::Start;
use super::guard::{self, Guard};
use super::station::{Change, Readiness, Station, StreamStatus};
use super::{body, live, metrics, page};
use crate::still::{Format, Still};

/// Bytes of a body.
const BODY_BYTES: usize = 16 << 10;
/// Time for a whole body.
const BODY_TIME: Duration = Duration::from_secs(10);
/// Pictures that are made at once.
const PICTURES: usize = 2;
/// Quality of a JPEG picture, 1 to 100.
const QUALITY: u8 = 85;
/// Pixels of a picture's longer side, at least and at most.
const SIDES: std::ops::RangeInclusive<usize> = 16..=4096;

/// What the handlers share.
pub(super) struct App {
    station: Arc<dyn Station>,
    pub(super) guard: Guard,
    stopping: watch::Receiver<bool>,
    pictures: Semaphore,
}

impl App {
    pub(super) fn new(
        station: Arc<dyn Station>,
        guard: Guard,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        Self { station, guard, stopping, pictures: Semaphore::new(PICTURES) }
    }

    fn readiness(&self) -> Readiness {
        if *self.stopping.borrow() { Readiness::Stopping } else { self.station.readiness() }
    }
}

type Shared = State<Arc<App>>;
type Named = Result<Path<String>, PathRejection>;

/// Every address there is.
pub(super) fn router(app: Arc<App>) -> Router {
    let stream = Router::new()
        .route("/", get(show).patch(change).delete(remove))
        .route("/events", get(events))
        .route("/live", get(video))
        .route("/snapshot.jpg", get(jpeg))
        .route("/snapshot.png", get(png))
        .route("/changes", get(changes))
        .route("/changes/{id}/still.jpg", get(still));
    Router::new()
        .route("/", get(page::index))
        .route("/favicon.svg", get(page::icon))
        .route("/assets/{name}", get(page::asset))
        .route("/login", get(guard::login_form).post(guard::login))
        .route("/logout", post(guard::logout))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(measured))
        .route("/api/v1/about", get(about))
        .route("/api/v1/openapi.json", get(description))
        .route("/api/v1/streams", get(list).post(add))
        .nest("/api/v1/streams/{name}", stream)
        .fallback(async || Problem::new(StatusCode::NOT_FOUND, "there is nothing at this address"))
        .method_not_allowed_fallback(async || {
            let error = "this address knows other methods; the header `Allow` lists them";
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, error)
        })
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .layer(middleware::from_fn_with_state(app.clone(), guard::stand))
        .with_state(app)
}

async fn ready(State(app): Shared) -> Response {
    let (status, text) = match app.readiness() {
        Readiness::Ready => (StatusCode::OK, "ready\n"),
        Readiness::Warming => (StatusCode::SERVICE_UNAVAILABLE, "the model is not warm yet\n"),
        Readiness::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "stopping\n"),
    };
    (status, text).into_response()
}

async fn measured(State(app): Shared) -> Result<Response, Problem> {
    let text = metrics::text(app.station.metrics(), &viewers(&app));
    let text = text.map_err(|e| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, e.to_string()))?;
    Ok(([(CONTENT_TYPE, metrics::CONTENT)], text).into_response())
}

/// How many watch each stream in a browser.
fn viewers(app: &App) -> Vec<(String, usize)> {
    let count = |name: &str| app.station.feeds(name).map_or(0, |feeds| feeds.video.viewers());
    let streams = app.station.streams().into_iter();
    streams.map(|stream| (stream.name.clone(), count(&stream.name))).collect()
}

#[derive(Serialize)]
struct About {
    heatcast: String,
    gstreamer: String,
    onnxruntime: String,
    model: String,
    provider: String,
    /// Whether there is a session that can be left.
    login: bool,
}

async fn about(State(app): Shared) -> impl IntoResponse {
    let build = app.station.metrics().build;
    Json(About {
        heatcast: build.version,
        gstreamer: build.gstreamer,
        onnxruntime: build.onnxruntime,
        model: build.model,
        provider: build.provider,
        login: app.guard.has_sessions(),
    })
}

async fn description() -> impl IntoResponse {
    let text = include_str!("../../docs/reference/openapi.json");
    ([(CONTENT_TYPE, "application/json")], text)
}

async fn list(State(app): Shared) -> Json<Vec<StreamStatus>> {
    Json(app.station.streams())
}

async fn show(State(app): Shared, name: Named) -> Result<Json<StreamStatus>, Problem> {
    Ok(Json(app.station.stream(&named(name)?)?))
}

async fn change(
    State(app): Shared,
    name: Named,
    body: Body,
) -> Result<Json<StreamStatus>, Problem> {
    let patch = body::patch(&read(body).await?)?;
    Ok(Json(app.station.change(&named(name)?, &patch)?))
}

async fn add(State(app): Shared, body: Body) -> Result<Response, Problem> {
    let stream = body::new_stream(&read(body).await?)?;
    let place = format!("/api/v1/streams/{}", stream.name);
    let status = beside(move || Ok(app.station.add(&stream)?)).await?;
    Ok((StatusCode::CREATED, [(LOCATION, place)], Json(status)).into_response())
}

async fn remove(State(app): Shared, name: Named) -> Result<StatusCode, Problem> {
    let name = named(name)?;
    beside(move || Ok(app.station.remove(&name)?)).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Replay {
    /// Lines from before that are sent first.
    replay: Option<usize>,
}

async fn events(
    State(app): Shared,
    name: Named,
    query: Result<Query<Replay>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Query(Replay { replay }) = query.map_err(|e| Problem::bad(e.body_text()))?;
    let feed = app.station.feeds(&named(name)?)?.events;
    // A browser that comes back says what it has seen.
    let seen = headers.get(HeaderName::from_static("last-event-id"));
    let seen = seen.and_then(|id| id.to_str().ok()?.parse().ok());
    let start = seen.map_or(Start::Last(replay.unwrap_or(0)), Start::After);
    Ok(live::events(feed.follow(start), app.stopping.clone()))
}

async fn video(State(app): Shared, name: Named) -> Result<Response, Problem> {
    let video = app.station.feeds(&named(name)?)?.video;
    let none = || {
        let error = "there is no encoded picture at the moment; ask again in a second";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, error)
    };
    let viewer = video.watch().ok_or_else(none)?;
    Ok(live::video(viewer, app.stopping.clone()))
}

#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct Look {
    /// 0 for the picture alone.
    heat: Option<u8>,
    /// Pixels of the longer side, at most.
    size: Option<usize>,
}

impl Look {
    fn heat(self) -> Result<bool, Problem> {
        match self.heat {
            None | Some(1) => Ok(true),
            Some(0) => Ok(false),
            Some(_) => Err(Problem::bad("`heat` must be 0 or 1")),
        }
    }
}

type Looks = Result<Query<Look>, QueryRejection>;

async fn jpeg(state: Shared, name: Named, look: Looks) -> Result<Response, Problem> {
    snapshot(state, name, look, Format::Jpeg).await
}

async fn png(state: Shared, name: Named, look: Looks) -> Result<Response, Problem> {
    snapshot(state, name, look, Format::Png).await
}

async fn snapshot(
    State(app): Shared,
    name: Named,
    look: Looks,
    format: Format,
) -> Result<Response, Problem> {
    let (name, Query(look)) = (named(name)?, look.map_err(|e| Problem::bad(e.body_text()))?);
    let heat = look.heat()?;
    if look.size.is_some_and(|size| !SIDES.contains(&size)) {
        let (least, most) = (SIDES.start(), SIDES.end());
        return Err(Problem::bad(format!("`size` must be {least} to {most} pixels")));
    }
    // Others wait for their turn, so that pictures cannot crowd out the video.
    let turn = app.pictures.acquire().await;
    let station = app.station.clone();
    let bytes = beside(move || {
        let still = station.snapshot(&name, heat)?;
        let smaller = look.size.map(|size| still.shrunk(size));
        encoded(smaller.as_ref().unwrap_or(&still), format)
    });
    let bytes = bytes.await?;
    drop(turn);
    let kind = if format == Format::Png { "image/png" } else { "image/jpeg" };
    Ok(([(CONTENT_TYPE, kind)], bytes).into_response())
}

fn encoded(still: &Still, format: Format) -> Result<Vec<u8>, Problem> {
    let bytes = match format {
        Format::Jpeg => still.to_jpeg(QUALITY),
        other => still.to_bytes(other),
    };
    bytes.map_err(|e| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, format!("the picture {e}")))
}

async fn changes(State(app): Shared, name: Named) -> Result<Json<Vec<Change>>, Problem> {
    Ok(Json(app.station.changes(&named(name)?)?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Heat {
    heat: Option<u8>,
    /// Makes the address of a still another one when its change has moved, for
    /// viewers that remember pictures by their address.
    #[serde(rename = "at")]
    _at: Option<f64>,
}

async fn still(
    State(app): Shared,
    path: Result<Path<(String, u64)>, PathRejection>,
    query: Result<Query<Heat>, QueryRejection>,
) -> Result<Response, Problem> {
    let Path((name, id)) = path.map_err(|e| Problem::bad(e.body_text()))?;
    let Query(Heat { heat, .. }) = query.map_err(|e| Problem::bad(e.body_text()))?;
    let heat = Look { heat, size: None }.heat()?;
    let bytes = Bytes::from_owner(app.station.change_still(&name, id, heat)?);
    Ok(([(CONTENT_TYPE, "image/jpeg")], bytes).into_response())
}

fn named(name: Named) -> Result<String, Problem> {
    name.map(|Path(name)| name).map_err(|e| Problem::bad(e.body_text()))
}

async fn read(body: Body) -> Result<Bytes, Problem> {
    let whole = tokio::time::timeout(BODY_TIME, axum::body::to_bytes(body, BODY_BYTES)).await;
    let late = |_| Problem::new(StatusCode::REQUEST_TIMEOUT, "the body took too long");
    whole.map_err(late)?.map_err(|_| {
        let error = format!("the body is longer than {BODY_BYTES} bytes, or was cut off");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, error)
    })
}

/// Does `work` on another thread, so that others are answered meanwhile.
async fn beside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let failed = |_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the server failed at this");
    tokio::task::spawn_blocking(work).await.map_err(failed)?
}
