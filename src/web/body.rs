//! What requests carry: JSON objects with known keys, checked one by one so
//! that every refusal says what is wrong with which key. Called by the
//! handlers.

use axum::http::StatusCode;
use serde_json::{Map, Value};

use super::answer::Problem;
use super::station::{NewStream, Patch};
use crate::explain::MethodChoice;
use crate::names::{nearest, plain};
use crate::overlay::HeatStyle;

/// Keys of a change.
const PATCH_KEYS: [&str; 6] = ["class", "head", "method", "style", "opacity", "analysis_fps"];
/// Further keys of a new stream.
const STREAM_KEYS: [&str; 5] = ["name", "source", "segment", "profile", "lag_s"];
/// Sources that a request may name. None of them is a path.
const SCHEMES: [&str; 7] = ["rtsp", "rtsps", "srt", "udp", "rtp", "http", "https"];
/// Names that are not taken, so that addresses stay clear.
const LONGEST_NAME: usize = 64;
/// Characters of a source.
const LONGEST_SOURCE: usize = 2048;

/// Reads the body of a change.
pub(super) fn patch(body: &[u8]) -> Result<Patch, Problem> {
    let object = object(body)?;
    known_keys(&object, &PATCH_KEYS)?;
    let patch = patch_of(&object)?;
    if patch == Patch::default() {
        let keys = PATCH_KEYS.join("`, `");
        return Err(Problem::bad(format!("nothing is to be changed; give one of `{keys}`")));
    }
    Ok(patch)
}

/// Reads the body that asks for a stream.
pub(super) fn new_stream(body: &[u8]) -> Result<NewStream, Problem> {
    let object = object(body)?;
    known_keys(&object, &[&STREAM_KEYS[..], &PATCH_KEYS[..]].concat())?;
    let patch = patch_of(&object)?;
    let needed = |key: &'static str| {
        let given = text(&object, key)?;
        given.ok_or_else(|| Problem::bad(format!("`{key}` is missing")))
    };
    let (name, source) = (needed("name")?, needed("source")?);
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(is_plain) {
        return Err(Problem::bad(format!(
            "`name` must be 1 to {LONGEST_NAME} letters, digits, `-` or `_`"
        )));
    }
    // The address may hold a password, so no refusal repeats it.
    let scheme = source.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    let is_known = scheme.is_some_and(|scheme| SCHEMES.contains(&scheme.as_str()));
    let is_clean = !source.chars().any(|c| c.is_control() || c.is_whitespace());
    let is_pattern = source
        .strip_prefix("test:")
        .is_some_and(|name| name.len() <= LONGEST_NAME && name.chars().all(is_plain));
    let is_address = is_known && is_clean && source.len() <= LONGEST_SOURCE;
    if !is_address && !is_pattern {
        return Err(Problem::bad(format!(
            "`source` must be an address that begins with {}://, or `test:`; files are named on the command line only",
            SCHEMES.join("://, ")
        )));
    }
    Ok(NewStream {
        name,
        source,
        patch,
        segment: texts(&object, "segment")?,
        profile: text(&object, "profile")?,
        lag_s: number(&object, "lag_s", "of seconds from 0 to 300", |v| {
            (0.0..=300.0).contains(&v)
        })?,
    })
}

fn object(body: &[u8]) -> Result<Map<String, Value>, Problem> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(Problem::bad("the body must be a JSON object, as in {\"class\": \"top\"}")),
        Err(e) => Err(Problem::bad(format!("the body is not JSON: {e}"))),
    }
}

fn known_keys(object: &Map<String, Value>, known: &[&str]) -> Result<(), Problem> {
    let Some(unknown) = object.keys().find(|key| !known.contains(&key.as_str())) else {
        return Ok(());
    };
    let likely = nearest(known.iter().map(|key| (*key, *key)), &plain(unknown));
    let hint = match likely {
        Some(likely) => format!("did you mean `{likely}`?"),
        None => format!("the keys are `{}`", known.join("`, `")),
    };
    let error = format!("unknown key `{}`: {hint}", shortened(unknown));
    Err(Problem { nearest: likely.map(str::to_owned), ..Problem::bad(error) })
}

fn patch_of(object: &Map<String, Value>) -> Result<Patch, Problem> {
    let method = text(object, "method")?
        .map(|method| MethodChoice::try_from(method).map_err(|e| Problem::bad(e.to_string())));
    Ok(Patch {
        head: text(object, "head")?,
        class: text(object, "class")?,
        method: method.transpose()?,
        style: style(object)?,
        opacity: number(object, "opacity", "from 0 to 1", |v| (0.0..=1.0).contains(&v))?,
        analysis_fps: number(object, "analysis_fps", "above 0, up to 1000", |v| {
            v > 0.0 && v <= 1000.0
        })?,
    })
}

fn style(object: &Map<String, Value>) -> Result<Option<HeatStyle>, Problem> {
    let Some(name) = text(object, "style")? else { return Ok(None) };
    let read = serde_json::from_value(Value::String(plain(&name)));
    read.map(Some).map_err(|e| Problem::bad(format!("`style`: {e}")))
}

fn text(object: &Map<String, Value>, key: &'static str) -> Result<Option<String>, Problem> {
    match object.get(key) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(other) => Err(wrong(key, "a text", other)),
    }
}

fn texts(object: &Map<String, Value>, key: &'static str) -> Result<Vec<String>, Problem> {
    let Some(value) = object.get(key) else { return Ok(Vec::new()) };
    let list = value.as_array().map(|list| list.iter().map(|v| v.as_str().map(str::to_owned)));
    let texts = list.and_then(Iterator::collect);
    texts.ok_or_else(|| wrong(key, "a list of texts", value))
}

fn number(
    object: &Map<String, Value>,
    key: &'static str,
    range: &str,
    is_in: impl Fn(f64) -> bool,
) -> Result<Option<f64>, Problem> {
    let Some(value) = object.get(key) else { return Ok(None) };
    let number = value.as_f64().filter(|v| is_in(*v));
    number.map(Some).ok_or_else(|| wrong(key, &format!("a number {range}"), value))
}

fn wrong(key: &str, wanted: &str, given: &Value) -> Problem {
    Problem::bad(format!("`{key}` must be {wanted}, not {}", shortened(&given.to_string())))
}

/// Text from outside, as far as it is worth repeating.
fn shortened(text: &str) -> String {
    let mut short: String = text.chars().take(60).collect();
    if short.len() < text.len() {
        short.push_str("...");
    }
    short
}

/// The refusal of a body in another form than JSON.
pub(super) fn not_json() -> Problem {
    let error = "send the body as JSON, with the header `Content-Type: application/json`";
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contract_of_a_change_is_read() {
        let body = br#"{"class": "commercial", "method": "gradcam", "style": "heatmap", "opacity": 0.5, "analysis_fps": 2}"#;
        let patch = patch(body).unwrap();
        assert_eq!(patch.class.as_deref(), Some("commercial"));
        assert_eq!(patch.method, MethodChoice::try_from("gradcam".to_owned()).ok());
        assert_eq!((patch.style, patch.opacity), (Some(HeatStyle::Heatmap), Some(0.5)));
        assert_eq!((patch.head, patch.analysis_fps), (None, Some(2.0)));
    }

    #[test]
    fn every_refusal_says_what_is_wrong_with_which_key() {
        for (body, wanted) in [
            ("", "the body is not JSON"),
            ("[]", "must be a JSON object"),
            ("{}", "nothing is to be changed"),
            (r#"{"clas": "top"}"#, "unknown key `clas`: did you mean `class`?"),
            (r#"{"zzz": "top"}"#, "the keys are `class`"),
            (r#"{"class": 7}"#, "`class` must be a text, not 7"),
            (r#"{"method": "magic"}"#, "there is no method \"magic\""),
            (r#"{"style": "loud"}"#, "unknown variant `loud`"),
            (r#"{"opacity": 1.5}"#, "`opacity` must be a number from 0 to 1, not 1.5"),
            (r#"{"opacity": "0.5"}"#, "`opacity` must be a number from 0 to 1, not \"0.5\""),
            (r#"{"analysis_fps": 0}"#, "`analysis_fps` must be a number above 0"),
            (r#"{"opacity": null}"#, "not null"),
            (r#"{"lag_s": 3}"#, "unknown key `lag_s`"),
        ] {
            let problem = patch(body.as_bytes()).unwrap_err();
            assert!(problem.error.contains(wanted), "{body}: {}", problem.error);
            assert_eq!(problem.status, StatusCode::BAD_REQUEST);
        }
        assert_eq!(patch(br#"{"oppacity":1}"#).unwrap_err().nearest.as_deref(), Some("opacity"));
    }

    #[test]
    fn what_is_segmented_is_said_with_the_stream() {
        let asked = |more: &str| {
            new_stream(format!(r#"{{"name": "a", "source": "test:", {more}}}"#).as_bytes())
        };
        let new = asked(r#""segment": ["content"], "profile": "news", "lag_s": 12.5"#).unwrap();
        assert_eq!(new.segment, ["content"]);
        assert_eq!((new.profile.as_deref(), new.lag_s), (Some("news"), Some(12.5)));
        for (more, wanted) in [
            (r#""segment": "content""#, "`segment` must be a list of texts, not \"content\""),
            (r#""segment": [1]"#, "`segment` must be a list of texts"),
            (r#""lag_s": 301"#, "`lag_s` must be a number of seconds from 0 to 300, not 301"),
            (r#""timeline": "out""#, "unknown key `timeline`"),
            (r#""record": "out""#, "unknown key `record`"),
        ] {
            let error = asked(more).unwrap_err().error;
            assert!(error.contains(wanted), "{more}: {error}");
        }
    }

    #[test]
    fn a_source_is_an_address_and_never_a_path() {
        let asked = |source: &str| {
            new_stream(serde_json::json!({"name": "a", "source": source}).to_string().as_bytes())
        };
        for source in ["rtsp://u:p@cam/1", "HTTPS://x/y.m3u8", "srt://h:1", "test:", "test:ball"] {
            assert_eq!(asked(source).unwrap().source, source);
        }
        for source in [
            "/etc/passwd",
            "file:///etc/passwd",
            "a.mp4",
            "../x",
            "v4l2://",
            "rtsp://a b",
            "data:x",
        ] {
            let error = asked(source).unwrap_err().error;
            assert!(error.contains("must be an address"), "{source}: {error}");
        }
        let refused = asked("ftp://u:secret@host").unwrap_err().error;
        assert!(!refused.contains("secret"), "{refused}");
        for name in ["", "a/b", "..", "a b", &"x".repeat(65)] {
            let body = serde_json::json!({"name": name, "source": "test:"}).to_string();
            assert!(new_stream(body.as_bytes()).unwrap_err().error.contains("`name`"), "{name}");
        }
    }
}
