//! The monitor page and the login form: files that are part of the program.
//! Must not know the streams; the page asks the API for them.

use axum::extract::Path;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use sha2::{Digest, Sha256};

use super::answer::Problem;

const INDEX: &str = include_str!("page/index.html");
const LOGIN: &str = include_str!("page/login.html");
const ICON: &str = include_str!("page/favicon.svg");
/// What the login form says after a wrong token, and where.
const WRONG: (&str, &str) = ("<!-- message -->", "<p role=\"alert\">That is not the token.</p>");

const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLES: &str = "text/css; charset=utf-8";

/// Name, kind and content of every file that the page loads.
const ASSETS: [(&str, &str, &str); 12] = [
    ("style.css", STYLES, include_str!("page/style.css")),
    ("login.css", STYLES, include_str!("page/login.css")),
    ("app.js", SCRIPT, include_str!("page/app.js")),
    ("api.js", SCRIPT, include_str!("page/api.js")),
    ("changes.js", SCRIPT, include_str!("page/changes.js")),
    ("charts.js", SCRIPT, include_str!("page/charts.js")),
    ("controls.js", SCRIPT, include_str!("page/controls.js")),
    ("dom.js", SCRIPT, include_str!("page/dom.js")),
    ("health.js", SCRIPT, include_str!("page/health.js")),
    ("heads.js", SCRIPT, include_str!("page/heads.js")),
    ("video.js", SCRIPT, include_str!("page/video.js")),
    ("wall.js", SCRIPT, include_str!("page/wall.js")),
];

pub(super) async fn index() -> Html<&'static str> {
    Html(INDEX)
}

pub(super) fn login(was_wrong: bool) -> String {
    let (place, message) = WRONG;
    if was_wrong { LOGIN.replace(place, message) } else { LOGIN.to_owned() }
}

pub(super) async fn icon(headers: HeaderMap) -> Response {
    file(&headers, "image/svg+xml", ICON)
}

pub(super) async fn asset(
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let found = ASSETS.iter().find(|(known, ..)| *known == name);
    let none = || Problem::new(StatusCode::NOT_FOUND, "the page has no such file");
    let (_, kind, content) = found.ok_or_else(none)?;
    Ok(file(&headers, kind, content))
}

/// A file, or that the browser has it already.
fn file(headers: &HeaderMap, kind: &'static str, content: &'static str) -> Response {
    let digest = Sha256::digest(content);
    let tag: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let tag = format!("\"{tag}\"");
    let about = [(ETAG, tag.clone()), (CACHE_CONTROL, "no-cache".to_owned())];
    let has = headers.get(IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes());
    if has {
        return (StatusCode::NOT_MODIFIED, about).into_response();
    }
    (about, [(CONTENT_TYPE, kind)], content).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_only_files_that_there_are() {
        for text in [INDEX, LOGIN].into_iter().chain(ASSETS.map(|(_, _, text)| text)) {
            for marker in ["/assets/", "from \"./"] {
                for rest in text.split(marker).skip(1) {
                    let name = rest.split(['"', '\'', ')']).next().unwrap();
                    assert!(ASSETS.iter().any(|(known, ..)| *known == name), "{name}");
                }
            }
        }
        assert!(LOGIN.contains(WRONG.0) && login(true).contains("not the token"));
    }

    #[test]
    fn nothing_of_the_page_comes_from_elsewhere_or_stands_inline() {
        for (name, text) in [("index.html", INDEX), ("login.html", LOGIN)]
            .into_iter()
            .chain(ASSETS.map(|(name, _, text)| (name, text)))
        {
            let outside: Vec<_> = text
                .split("://")
                .skip(1)
                .filter(|rest| !rest.starts_with("www.w3.org/2000/svg"))
                .collect();
            assert!(outside.is_empty(), "{name} names another site");
            assert!(!text.contains(" style=\"") && !text.contains("<style"), "{name}");
            assert!(!text.contains("innerHTML") && !text.contains("eval("), "{name}");
        }
    }
}
