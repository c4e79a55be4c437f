//! Who may ask: checks every request before a handler sees it, and puts on
//! every answer what keeps a browser from being used against the server.
//!
//! On this machine's own address nobody needs a token, so pages of other sites
//! are the danger: they are kept out by the name they ask under (DNS
//! rebinding), by where the browser says they come from, and by the form of
//! what they send. On any other address the token decides.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Form;
use axum::extract::rejection::FormRejection;
use axum::extract::{Extension, Query, Request, State};
use axum::http::header::{
    ACCEPT, AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, COOKIE, HOST,
    LOCATION, ORIGIN, REFERRER_POLICY, RETRY_AFTER, SET_COOKIE, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Response};
use serde::Deserialize;

use super::answer::Problem;
use super::body::not_json;
use super::page;
use super::routes::App;
use super::server::Peer;
use super::session::Sessions;

/// Name of the cookie that holds a session.
const COOKIE_NAME: &str = "heatcast_session";
/// Seconds that a browser keeps it: as long as the session lives.
const COOKIE_LIFE_S: u32 = 30 * 24 * 3600;
/// What the page may load: only what this server sends, nothing inline.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' blob:; media-src 'self' blob:; connect-src 'self'; form-action 'self'; \
    base-uri 'none'; frame-ancestors 'none'";

/// Decides about requests.
#[derive(Debug)]
pub(super) struct Guard {
    sessions: Option<Sessions>,
    /// Names it may be asked under, in lower case; none: under any.
    hosts: Option<Vec<String>>,
}

impl Guard {
    pub(super) fn new(token: Option<&str>, is_own_address: bool, hosts: &[String]) -> Self {
        let hosts = hosts.iter().map(|host| host.to_lowercase()).collect();
        Self { sessions: token.map(Sessions::new), hosts: is_own_address.then_some(hosts) }
    }

    /// Whether people log in here.
    pub(super) fn has_sessions(&self) -> bool {
        self.sessions.is_some()
    }

    /// The answer to a request that no handler is to see.
    fn refusal(&self, request: &Request, peer: IpAddr) -> Option<Response> {
        let path = request.uri().path();
        let changes = !matches!(*request.method(), Method::GET | Method::HEAD);
        let has_body = changes && *request.method() != Method::DELETE;
        let host = match self.host(request) {
            Ok(host) => host,
            Err(problem) => return Some(problem.into_response()),
        };
        if let Err(problem) = from_here(request, host.as_ref()) {
            return Some(problem.into_response());
        }
        if has_body && path.starts_with("/api/") && !is_json(request.headers()) {
            return Some(not_json().into_response());
        }
        let sessions = self.sessions.as_ref().filter(|_| !is_open_to_all(path))?;
        keep_out(sessions, request, peer)
    }

    /// The name that the request was sent to.
    fn host(&self, request: &Request) -> Result<Option<Authority>, Problem> {
        let named = request.headers().get(HOST).and_then(|host| host.to_str().ok());
        let named: Option<Authority> = named.and_then(|host| host.parse().ok());
        let Some(hosts) = &self.hosts else { return Ok(named) };
        let host = named.as_ref().map(|named| named.host().to_lowercase()).unwrap_or_default();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let is_own = bare.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback());
        if is_own || host == "localhost" || hosts.contains(&host) {
            return Ok(named);
        }
        let error = "this server is asked as localhost or 127.0.0.1; list other names in `hosts`";
        Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, error))
    }
}

/// Refuses what a page of another site has sent.
fn from_here(request: &Request, host: Option<&Authority>) -> Result<(), Problem> {
    let header = |name: HeaderName| request.headers().get(name).map(HeaderValue::as_bytes);
    let site = header(HeaderName::from_static("sec-fetch-site"));
    let mode = header(HeaderName::from_static("sec-fetch-mode"));
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    // A link on another site may lead to the page, and to nothing else.
    let is_link = reads && mode == Some(b"navigate") && !request.uri().path().starts_with("/api/");
    let is_foreign = !matches!(site, None | Some(b"same-origin" | b"none")) && !is_link;
    let origin = header(ORIGIN).map(|origin| {
        let origin = std::str::from_utf8(origin).unwrap_or_default();
        let authority = origin.split_once("://").map(|(_, authority)| authority);
        host.is_some_and(|host| authority.is_some_and(|a| a.eq_ignore_ascii_case(host.as_str())))
    });
    if is_foreign || origin == Some(false) {
        let error = "requests from pages of other sites are refused";
        return Err(Problem::new(StatusCode::FORBIDDEN, error));
    }
    Ok(())
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

/// Whether anybody may ask for it: what says nothing about the streams.
fn is_open_to_all(path: &str) -> bool {
    matches!(path, "/healthz" | "/readyz" | "/login" | "/favicon.svg")
        || path.starts_with("/assets/")
}

/// The answer to who knows neither the token nor a session.
fn keep_out(sessions: &Sessions, request: &Request, peer: IpAddr) -> Option<Response> {
    let headers = request.headers();
    if session_of(headers).is_some_and(|id| sessions.is_open(id)) {
        return None;
    }
    let bearer = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let bearer = bearer.and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
    });
    if let Some(token) = bearer {
        if let Err(refusal) = heard(sessions, peer) {
            return Some(refusal.into_response());
        }
        if sessions.is_token(token) {
            return None;
        }
        sessions.guessed(peer);
    }
    let accepts = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    if bearer.is_none() && *request.method() == Method::GET && accepts.contains("text/html") {
        return Some(see_other("/login"));
    }
    let error = match bearer {
        Some(_) => "the token is not the one this server was started with",
        None => "a token is needed: send it as `Authorization: Bearer TOKEN`",
    };
    let challenge = [(WWW_AUTHENTICATE, "Bearer realm=\"heatcast\"")];
    Some((challenge, Problem::new(StatusCode::UNAUTHORIZED, error)).into_response())
}

fn heard(sessions: &Sessions, peer: IpAddr) -> Result<(), impl IntoResponse + use<>> {
    if !sessions.is_guessing(peer) {
        return Ok(());
    }
    let error = "too many wrong tokens came from this address; wait a minute";
    Err(([(RETRY_AFTER, "60")], Problem::new(StatusCode::TOO_MANY_REQUESTS, error)))
}

fn session_of(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|cookies| cookies.to_str().ok());
    let mut named = cookies.flat_map(|cookies| cookies.split(';')).filter_map(|cookie| {
        let (name, value) = cookie.trim().split_once('=')?;
        (name == COOKIE_NAME).then_some(value)
    });
    named.next()
}

fn see_other(place: &'static str) -> Response {
    (StatusCode::SEE_OTHER, [(LOCATION, place)]).into_response()
}

/// Stands before every handler.
pub(super) async fn stand(
    State(app): State<Arc<App>>,
    Extension(Peer(peer)): Extension<Peer>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = match app.guard.refusal(&request, peer) {
        None => next.run(request).await,
        Some(refusal) => refusal,
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        // Without any, browsers send forms with no origin either.
        (REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// What the login form may be told.
#[derive(Debug, Deserialize)]
pub(super) struct Told {
    /// Present when the last token was wrong.
    wrong: Option<String>,
}

/// What the login form sends.
#[derive(Deserialize)]
pub(super) struct Login {
    token: String,
}

/// The login form.
pub(super) async fn login_form(
    State(app): State<Arc<App>>,
    told: Result<Query<Told>, axum::extract::rejection::QueryRejection>,
) -> Response {
    if !app.guard.has_sessions() {
        return see_other("/");
    }
    let was_wrong = told.is_ok_and(|Query(told)| told.wrong.is_some());
    Html(page::login(was_wrong)).into_response()
}

/// The token from the login form becomes a session.
pub(super) async fn login(
    State(app): State<Arc<App>>,
    Extension(Peer(peer)): Extension<Peer>,
    form: Result<Form<Login>, FormRejection>,
) -> Response {
    let Some(sessions) = &app.guard.sessions else { return see_other("/") };
    let Ok(Form(Login { token })) = form else {
        return Problem::bad("send the form's field `token`").into_response();
    };
    if let Err(refusal) = heard(sessions, peer) {
        return refusal.into_response();
    }
    if !sessions.is_token(token.trim()) {
        sessions.guessed(peer);
        return see_other("/login?wrong=1");
    }
    match sessions.open() {
        Ok(id) => (cookie(&id, COOKIE_LIFE_S), see_other("/")).into_response(),
        Err(e) => {
            let error = format!("the system gave no random number: {e}");
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error).into_response()
        }
    }
}

/// Ends the session.
pub(super) async fn logout(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    if let (Some(sessions), Some(id)) = (&app.guard.sessions, session_of(&headers)) {
        sessions.close(id);
    }
    (cookie("", 0), see_other("/login")).into_response()
}

fn cookie(id: &str, life_s: u32) -> [(HeaderName, String); 1] {
    let cookie = format!("{COOKIE_NAME}={id}; Path=/; HttpOnly; SameSite=Strict; Max-Age={life_s}");
    [(SET_COOKIE, cookie)]
}
