//! The web server over real sockets, on streams that are only played back:
//! what is asked for and what is answered.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use heatcast::still::Still;
use heatcast::web::station::{Readiness, State};
use heatcast::web::{Server, Settings, Station};
use serde_json::{Value, json};

use crate::fake_station::{Clip, FakeStation};

pub(crate) const STREAM: &str = "/api/v1/streams/studio";
pub(crate) const JSON: &str = "Content-Type: application/json\r\n";

pub(crate) struct Rig {
    pub(crate) station: Arc<FakeStation>,
    pub(crate) server: Server,
}

/// A server for one stream, `studio`, that has been analysed once.
pub(crate) fn rig(token: Option<&str>, clip: Clip) -> Rig {
    let station = FakeStation::new(&["studio"], clip);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let settings = Settings { address, token: token.map(str::to_owned), hosts: Vec::new() };
    let server = Server::start(&settings, station.clone()).unwrap();
    Rig { station, server }
}

pub(crate) fn quiet_rig() -> Rig {
    let rig = rig(None, Clip::default());
    rig.station.step(0);
    rig
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn error(&self) -> String {
        self.json()["error"].as_str().unwrap().to_owned()
    }
}

pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    socket
}

/// Sends a request as it stands and reads the answer's head.
pub(crate) fn send(socket: &mut TcpStream, request: &str) -> Answer {
    socket.write_all(request.as_bytes()).unwrap();
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        assert_eq!(socket.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&head));
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let fields = lines.filter_map(|line| line.split_once(": "));
    let headers = fields.map(|(k, v)| (k.to_lowercase(), v.to_owned())).collect();
    Answer { status, headers, body: Vec::new() }
}

pub(crate) fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &str,
    body: &str,
) -> Answer {
    let host =
        if headers.contains("Host:") { String::new() } else { format!("Host: {address}\r\n") };
    let length =
        if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let text = format!(
        "{method} {path} HTTP/1.1\r\n{host}Connection: close\r\n{length}{headers}\r\n{body}"
    );
    let mut socket = connect(address);
    let mut answer = send(&mut socket, &text);
    let mut rest = Vec::new();
    socket.read_to_end(&mut rest).unwrap();
    answer.body = match answer.headers.get("transfer-encoding") {
        Some(_) => chunks(&rest).concat(),
        None => rest,
    };
    answer
}

pub(crate) fn get(rig: &Rig, path: &str) -> Answer {
    request(rig.server.address(), "GET", path, "", "")
}

pub(crate) fn patch(rig: &Rig, body: &str) -> Answer {
    request(rig.server.address(), "PATCH", STREAM, JSON, body)
}

/// The parts of a body that is sent in chunks, as far as they are whole.
fn chunks(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    while let Some(end) = bytes.windows(2).position(|end| end == b"\r\n") {
        let length =
            usize::from_str_radix(std::str::from_utf8(&bytes[..end]).unwrap(), 16).unwrap();
        let Some(chunk) = bytes.get(end + 2..end + 2 + length).filter(|c| !c.is_empty()) else {
            break;
        };
        found.push(chunk.to_vec());
        bytes = bytes.get(end + 4 + length..).unwrap_or_default();
    }
    found
}

/// Reads on until `enough` is true of all that came.
fn read_until(socket: &mut TcpStream, enough: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut came = Vec::new();
    let mut buffer = [0; 4096];
    while !enough(&came) {
        let n = socket.read(&mut buffer).unwrap();
        assert_ne!(n, 0, "ended early: {}", String::from_utf8_lossy(&came));
        came.extend_from_slice(&buffer[..n]);
    }
    came
}

fn description() -> Value {
    serde_json::from_str(include_str!("../../docs/reference/openapi.json")).unwrap()
}

/// Whether `value` is what `schema` says: as much of JSON Schema as is used.
fn check(root: &Value, schema: &Value, value: &Value, place: &str) {
    if let Some(name) = schema["$ref"].as_str() {
        let pointer = name.strip_prefix('#').unwrap();
        return check(root, root.pointer(pointer).unwrap(), value, place);
    }
    if let Some(kinds) = schema["oneOf"].as_array() {
        let other = kinds.iter().find(|kind| kind["type"] != "null").unwrap();
        return if value.is_null() {
            assert_eq!(kinds.len(), 2)
        } else {
            check(root, other, value, place)
        };
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let allowed = match &schema["type"] {
        Value::String(one) => vec![one.as_str()],
        several => several.as_array().unwrap().iter().filter_map(Value::as_str).collect(),
    };
    let fits = allowed.contains(&kind) || kind == "integer" && allowed.contains(&"number");
    assert!(fits, "{place} is {kind}, not {allowed:?}");
    if let Some(values) = schema["enum"].as_array() {
        assert!(values.contains(value), "{place}: {value}");
    }
    for (i, item) in value.as_array().into_iter().flatten().enumerate() {
        check(root, &schema["items"], item, &format!("{place}[{i}]"));
    }
    let Some(object) = value.as_object() else { return };
    let Some(known) = schema["properties"].as_object() else { return };
    for key in schema["required"].as_array().unwrap() {
        assert!(object.contains_key(key.as_str().unwrap()), "{place} lacks {key}");
    }
    for (key, value) in object {
        let schema = known.get(key).unwrap_or_else(|| panic!("{place}.{key} is not described"));
        check(root, schema, value, &format!("{place}.{key}"));
    }
}

#[test]
fn every_described_request_is_answered_as_described() {
    let rig = rig(None, Clip::bundled());
    rig.station.step(0);
    let root = description();
    for (path, methods) in root["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            // What ends a stream comes below; what never ends, in other tests.
            if method == "delete" || path.ends_with("/events") || path.ends_with("/live") {
                continue;
            }
            let address = path.replace("{name}", "studio").replace("{id}", "0");
            let body = match method.as_str() {
                "patch" => {
                    r#"{"class":"commercial","method":"gradcam","style":"heatmap","opacity":0.5}"#
                }
                "post" => r#"{"name":"second","source":"rtsp://u:hidden@camera/2","class":"show"}"#,
                _ => "",
            };
            let headers = if body.is_empty() { "" } else { JSON };
            let answer =
                request(rig.server.address(), &method.to_uppercase(), &address, headers, body);
            let what =
                format!("{method} {address}: {} {}", answer.status, answer.headers["content-type"]);
            assert!((200..300).contains(&answer.status), "{what}");
            let described = &operation["responses"][answer.status.to_string()]["content"];
            let (kind, content) = described.as_object().unwrap().iter().next().unwrap();
            assert!(
                answer.headers["content-type"].starts_with(kind.as_str()),
                "{what}, not {kind}"
            );
            if kind == "application/json" {
                check(&root, &content["schema"], &answer.json(), &address);
            }
            assert!(!answer.text().contains("hidden"), "{what}");
        }
    }
    let gone = request(rig.server.address(), "DELETE", "/api/v1/streams/second", "", "");
    assert_eq!(gone.status, 204);
    assert_eq!(get(&rig, "/api/v1/streams/second").status, 404);
}

#[test]
fn every_address_of_the_api_is_described() {
    let routes = include_str!("../../src/web/routes.rs");
    let mut found = BTreeSet::new();
    let mut prefix = "/api/v1/streams/{name}";
    for line in routes.lines() {
        // Within the router of one stream, addresses are relative.
        if line.contains("Router::new()") && !line.contains("let stream") {
            prefix = "";
        }
        if let Some(path) = line.trim().strip_prefix(".route(\"").and_then(|r| r.split('"').next())
        {
            found.insert(format!("{prefix}{path}").trim_end_matches('/').to_owned());
        }
    }
    let for_people = ["", "/favicon.svg", "/assets/{name}", "/login", "/logout"];
    found.retain(|path| !for_people.contains(&path.as_str()));
    let root = description();
    let described: BTreeSet<_> = root["paths"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(found, described);
    assert!(found.len() > 10);
}

#[test]
fn a_change_is_seen_at_once_and_a_wrong_one_changes_nothing() {
    let rig = quiet_rig();
    let answer =
        patch(&rig, r#"{"class":"commercial","method":"gradcam","style":"heatmap","opacity":0.5}"#);
    assert_eq!(answer.status, 200);
    let wanted = json!({"explained_class": "commercial", "class": "commercial", "method": "gradcam", "opacity": 0.5});
    let seen = |stream: &Value| {
        wanted.as_object().unwrap().iter().all(|(key, value)| &stream[key] == value)
    };
    assert!(seen(&answer.json()) && seen(&get(&rig, STREAM).json()));
    for (body, status, words) in [
        (r#"{"clas":"show"}"#, 400, "did you mean `class`?"),
        (r#"{"class":"comercial","opacity":0.9}"#, 400, "did you mean `commercial`?"),
        (r#"{"head":"sprot"}"#, 400, "did you mean `sport`?"),
        (r#"{"opacity":2}"#, 400, "from 0 to 1"),
        ("{", 400, "not JSON"),
        (&format!(r#"{{"class":"{}"}}"#, "x".repeat(20_000)), 413, "16384 bytes"),
    ] {
        let answer = patch(&rig, body);
        assert_eq!(answer.status, status, "{}", answer.text());
        assert!(answer.error().contains(words), "{}", answer.error());
    }
    assert!(seen(&get(&rig, STREAM).json()));
    let nearest = patch(&rig, r#"{"oppacity":1}"#).json()["nearest"].clone();
    assert_eq!(nearest, "opacity");
    let form = request(rig.server.address(), "PATCH", STREAM, "Content-Type: text/plain\r\n", "{}");
    assert_eq!(form.status, 415);
    let stranger = request(
        rig.server.address(),
        "PATCH",
        "/api/v1/streams/studo",
        JSON,
        r#"{"class":"show"}"#,
    );
    assert_eq!((stranger.status, &stranger.json()["nearest"]), (404, &json!("studio")));
    let other = patch(&rig, r#"{"head":"sport"}"#).json();
    assert_eq!((&other["head"], &other["class"]), (&json!("sport"), &json!("top")));
}

#[test]
fn streams_are_added_from_addresses_and_not_from_files() {
    let rig = quiet_rig();
    let add = |body: Value| {
        request(rig.server.address(), "POST", "/api/v1/streams", JSON, &body.to_string())
    };
    let added = add(json!({"name": "gate", "source": "rtsp://me:hidden@camera/1", "opacity": 0.2}));
    assert_eq!((added.status, added.headers["location"].as_str()), (201, "/api/v1/streams/gate"));
    assert_eq!(added.json()["opacity"], 0.2);
    for (body, status, words) in [
        (json!({"name": "gate", "source": "test:"}), 409, "already"),
        (
            json!({"name": "x", "source": "/etc/passwd"}),
            400,
            "files are named on the command line only",
        ),
        (json!({"name": "../x", "source": "test:"}), 400, "letters, digits"),
        (json!({"name": "x"}), 400, "`source` is missing"),
        (json!({"name": "x", "source": "test:", "opcity": 1}), 400, "did you mean `opacity`?"),
    ] {
        let answer = add(body);
        assert_eq!(answer.status, status);
        assert!(answer.error().contains(words), "{}", answer.error());
    }
    for path in ["/api/v1/streams", "/metrics", "/api/v1/streams/gate"] {
        assert!(!get(&rig, path).text().contains("hidden"), "{path}");
    }
}

#[test]
fn the_picture_is_sent_with_heat_and_without_and_smaller() {
    let rig = rig(None, Clip::bundled());
    rig.station.step(0);
    let picture = |query: &str| {
        let answer = get(&rig, &format!("{STREAM}/snapshot.{query}"));
        assert_eq!(answer.status, 200, "{}", answer.text());
        Still::decode(&answer.body).unwrap()
    };
    let [with, without] = ["png?heat=1", "png?heat=0"].map(picture);
    assert_eq!((with.size.width, with.size.height), (640, 360));
    assert_ne!(with, without);
    assert_eq!(picture("png"), with);
    let small = picture("jpg?size=320");
    assert_eq!((small.size.width, small.size.height), (320, 180));
    for query in ["jpg?size=0", "jpg?size=99999", "jpg?heat=2", "jpg?colour=red", "png?size=x"] {
        assert_eq!(get(&rig, &format!("{STREAM}/snapshot.{query}")).status, 400, "{query}");
    }
    // The class moves the heat.
    patch(&rig, r#"{"class":"commercial"}"#);
    let commercial = picture("png");
    patch(&rig, r#"{"class":"show"}"#);
    assert_ne!(picture("png"), commercial);
    let changes = get(&rig, &format!("{STREAM}/changes")).json();
    let id = &changes[0]["id"];
    let still = get(&rig, &format!("{STREAM}/changes/{id}/still.jpg?heat=0"));
    assert_eq!(Still::decode(&still.body).unwrap().size, with.size);
    assert_eq!(get(&rig, &format!("{STREAM}/changes/999/still.jpg")).status, 404);
}

#[test]
fn every_viewer_begins_with_a_key_frame_and_all_get_the_same() {
    let rig = rig(None, Clip::bundled());
    for n in 0..30 {
        rig.station.step(n);
    }
    let ask = format!("GET {STREAM}/live HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let mut sockets = [0, 1].map(|_| connect(rig.server.address()));
    for socket in &mut sockets {
        let head = send(socket, &ask);
        assert_eq!((head.status, head.headers["content-type"].as_str()), (200, "video/mp4"));
    }
    for n in 30..40 {
        rig.station.step(n);
    }
    // The initialisation segment, and the frames from number 24 on.
    let whole = |bytes: &[u8]| chunks(bytes).len() > 16;
    let [first, second] = sockets.map(|mut socket| chunks(&read_until(&mut socket, whole)));
    assert_eq!(&first[0][4..8], b"ftyp");
    assert!(first[1..].iter().all(|fragment| &fragment[4..8] == b"moof"));
    let time = |fragment: &[u8]| {
        let at = fragment.windows(4).position(|name| name == b"tfdt").unwrap() + 8;
        u64::from_be_bytes(fragment[at..at + 8].try_into().unwrap())
    };
    let step = time(&first[2]) - time(&first[1]);
    let frames: Vec<_> = first[1..17].iter().map(|fragment| time(fragment) / step).collect();
    assert_eq!(frames, (24..40).collect::<Vec<_>>());
    assert_eq!(first[..17], second[..17]);
}

#[test]
fn a_new_encode_sends_viewers_away_to_come_back() {
    let rig = rig(None, Clip::bundled());
    rig.station.step(0);
    let video = rig.station.feeds("studio").unwrap().video;
    let mut socket = connect(rig.server.address());
    send(
        &mut socket,
        &format!("GET {STREAM}/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"),
    );
    video.begin(b"\0\0\0\x08ftyp".to_vec());
    let mut rest = Vec::new();
    socket.read_to_end(&mut rest).unwrap();
    assert!(rest.ends_with(b"0\r\n\r\n"));
    video.end();
    let none = get(&rig, &format!("{STREAM}/live"));
    assert_eq!(none.status, 503);
}

#[test]
fn events_are_the_lines_of_the_events_file_and_go_on_where_they_broke() {
    let rig = quiet_rig();
    let follow = |query: &str, headers: &str| {
        let mut socket = connect(rig.server.address());
        let head = send(
            &mut socket,
            &format!("GET {STREAM}/events{query} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n"),
        );
        assert_eq!(
            (head.status, head.headers["content-type"].as_str()),
            (200, "text/event-stream")
        );
        socket
    };
    let heads = 4;
    let events = |socket: &mut TcpStream, count: usize| {
        let text = |bytes: &[u8]| String::from_utf8(chunks(bytes).concat()).unwrap();
        let bytes = read_until(socket, |bytes| text(bytes).matches("\n\n").count() >= count);
        let text = text(&bytes);
        let field = |name: &str| {
            let values = text.lines().filter_map(|line| line.strip_prefix(name).map(str::trim));
            values.map(str::to_owned).collect::<Vec<_>>()
        };
        (field("id:"), field("data:"))
    };
    let mut now = follow("", "");
    let mut replayed = follow("?replay=100", "");
    rig.station.step(5);
    let (ids, lines) = events(&mut now, heads);
    assert_eq!(ids, ["4", "5", "6", "7"]);
    let line: Value = serde_json::from_str(&lines[0]).unwrap();
    assert_eq!((&line["type"], &line["head"]), (&json!("analysis"), &json!("content")));
    assert_eq!(line["explained"]["label"], get(&rig, STREAM).json()["explained_class"]);
    let (ids, all) = events(&mut replayed, 2 * heads);
    assert_eq!((ids[0].as_str(), &all[heads..]), ("0", &lines[..]));
    let mut resumed = follow("?replay=100", "Last-Event-ID: 5\r\n");
    assert_eq!(events(&mut resumed, 2).0, ["6", "7"]);
    assert_eq!(get(&rig, &format!("{STREAM}/events?replay=x")).status, 400);
}

#[test]
fn the_figures_are_as_described_and_can_be_read() {
    let rig = quiet_rig();
    rig.station.set_state("studio", State::Reconnecting);
    let answer = get(&rig, "/metrics");
    assert!(answer.headers["content-type"].starts_with("application/openmetrics-text"));
    let text = answer.text();
    assert!(text.ends_with("# EOF\n"), "{text}");
    for line in [
        "heatcast_build_info{version=\"0.1.0\",gstreamer=\"1.22.0\",onnxruntime=\"1.24.2\",model=\"broadcast\",provider=\"cpu\"} 1",
        "heatcast_frames_total{stream=\"studio\"} 5",
        "heatcast_skipped_total{stream=\"studio\",cause=\"busy\"} 3",
        "heatcast_state{stream=\"studio\",state=\"reconnecting\"} 1",
        "heatcast_state{stream=\"studio\",state=\"running\"} 0",
        "heatcast_explanation_age_seconds{stream=\"studio\"} 0.14",
        "heatcast_latency_seconds_bucket{le=\"0.02\",stream=\"studio\"} 0",
        "heatcast_latency_seconds_bucket{le=\"0.03\",stream=\"studio\"} 1",
        "heatcast_latency_seconds_bucket{le=\"+Inf\",stream=\"studio\"} 2",
        "heatcast_latency_seconds_count{stream=\"studio\"} 2",
        "heatcast_web_viewers{stream=\"studio\"} 0",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    }
    let described = include_str!("../../docs/reference/api.md");
    let families = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    for family in families {
        assert!(described.contains(&format!("`{family}")), "{family} is not described");
    }
}

#[test]
fn readiness_follows_the_model_and_the_end() {
    let rig = quiet_rig();
    assert_eq!(get(&rig, "/readyz").status, 200);
    for state in [Readiness::Warming, Readiness::Stopping] {
        *rig.station.readiness.lock() = state;
        assert_eq!((get(&rig, "/readyz").status, get(&rig, "/healthz").status), (503, 200));
    }
}

#[test]
fn stopping_ends_what_is_followed_and_frees_the_port() {
    let rig = rig(None, Clip::bundled());
    rig.station.step(0);
    let address = rig.server.address();
    let mut followers = ["live", "events"].map(|what| {
        let mut socket = connect(address);
        send(&mut socket, &format!("GET {STREAM}/{what} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        socket
    });
    rig.server.stop();
    for socket in &mut followers {
        let mut rest = Vec::new();
        socket.read_to_end(&mut rest).unwrap();
        assert!(rest.ends_with(b"0\r\n\r\n"), "cut off instead of ended");
    }
    assert!(std::net::TcpListener::bind(address).is_ok());
}
