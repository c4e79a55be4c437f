//! Who the web server answers, and what it keeps out: over real sockets, on
//! streams that are only played back.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};

use heatcast::web::{Error, Server, Settings};

use crate::fake_station::{Clip, FakeStation};
use crate::web::{JSON, STREAM, connect, get, quiet_rig, request, rig};

const TOKEN: &str = "correct-horse-battery";

#[test]
fn pages_of_other_sites_can_neither_read_nor_change() {
    let rig = quiet_rig();
    let address = rig.server.address();
    let body = r#"{"class":"commercial"}"#;
    let own = format!("Origin: http://{address}\r\nSec-Fetch-Site: same-origin\r\n{JSON}");
    assert_eq!(request(address, "PATCH", STREAM, &own, body).status, 200);
    for headers in [
        "Origin: http://evil.example\r\n".to_owned(),
        "Origin: null\r\n".to_owned(),
        format!("Origin: http://{}:1\r\n", address.ip()),
        "Sec-Fetch-Site: cross-site\r\n".to_owned(),
        "Sec-Fetch-Site: same-site\r\n".to_owned(),
    ] {
        let headers = format!("{headers}{JSON}");
        for (method, path) in
            [("PATCH", STREAM), ("DELETE", STREAM), ("POST", "/api/v1/streams"), ("GET", STREAM)]
        {
            assert_eq!(
                request(address, method, path, &headers, body).status,
                403,
                "{method} {headers}"
            );
        }
    }
    // A link to the page works, a link into the API does not.
    let link = "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\n";
    assert_eq!(request(address, "GET", "/", link, "").status, 200);
    assert_eq!(request(address, "GET", STREAM, link, "").status, 403);
    // A name that an attacker lets point here.
    for host in
        ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "192.0.2.1", ""]
    {
        let answer = request(address, "GET", STREAM, &format!("Host: {host}\r\n"), "");
        assert_eq!(answer.status, 421, "{host}: {}", answer.text());
    }
    for host in ["localhost", "LOCALHOST:99", "127.0.0.1", "[::1]:8080"] {
        assert_eq!(
            request(address, "GET", STREAM, &format!("Host: {host}\r\n"), "").status,
            200,
            "{host}"
        );
    }
}

#[test]
fn a_proxy_may_ask_under_the_names_that_are_listed() {
    let station = FakeStation::new(&["studio"], Clip::default());
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let settings = Settings { address, token: None, hosts: vec!["Monitor.example".into()] };
    let server = Server::start(&settings, station).unwrap();
    let ask = |host: &str| {
        request(server.address(), "GET", STREAM, &format!("Host: {host}\r\n"), "").status
    };
    assert_eq!((ask("monitor.example"), ask("other.example")), (200, 421));
}

#[test]
fn without_a_token_only_this_machine_is_served() {
    let station = FakeStation::new(&[], Clip::default());
    let start = |address: &str, token: Option<&str>| {
        let settings = Settings {
            address: address.parse().unwrap(),
            token: token.map(str::to_owned),
            hosts: Vec::new(),
        };
        Server::start(&settings, station.clone()).map(|server| server.address())
    };
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let error = start(address, None).unwrap_err();
        assert!(matches!(error, Error::NeedsToken(_)), "{address}: {error}");
    }
    assert!(start("0.0.0.0:0", Some(TOKEN)).is_ok());
    for token in ["", "two words", "caf\u{e9}"] {
        assert!(matches!(start("127.0.0.1:0", Some(token)), Err(Error::Token)), "{token}");
    }
    let taken = start("127.0.0.1:0", None);
    assert!(taken.is_ok());
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let error = start(&holder.local_addr().unwrap().to_string(), None).unwrap_err().to_string();
    assert!(error.contains("choose another address or port"), "{error}");
}

#[test]
fn a_token_opens_everything_and_nothing_gives_it_away() {
    let rig = rig(Some(TOKEN), Clip::default());
    rig.station.step(0);
    let address = rig.server.address();
    let ask = |path: &str, headers: &str| request(address, "GET", path, headers, "");
    let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
    for path in [STREAM, "/metrics", "/", "/api/v1/about", "/nothing"] {
        let refused = ask(path, "");
        assert_eq!(refused.status, 401, "{path}");
        assert_eq!(refused.headers["www-authenticate"], "Bearer realm=\"heatcast\"");
        assert!(ask(path, &bearer).status != 401, "{path}");
        let answer = ask(path, &bearer);
        assert!(!answer.text().contains(TOKEN) && !format!("{:?}", answer.headers).contains(TOKEN));
    }
    for path in ["/healthz", "/readyz", "/login", "/assets/login.css"] {
        assert_eq!(ask(path, "").status, 200, "{path}");
    }
    for wrong in ["Bearer ", "Bearer wrong", "Basic Y29ycmVjdA==", TOKEN] {
        assert_eq!(ask(STREAM, &format!("Authorization: {wrong}\r\n")).status, 401, "{wrong}");
    }
    // People are led to the form.
    let led = ask("/", "Accept: text/html\r\n");
    assert_eq!((led.status, led.headers["location"].as_str()), (303, "/login"));
}

#[test]
fn the_login_form_opens_a_session_and_log_out_ends_it() {
    let rig = rig(Some(TOKEN), Clip::default());
    let address = rig.server.address();
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let post =
        |path: &str, headers: &str, body: &str| request(address, "POST", path, headers, body);
    let wrong = post("/login", form, "token=wrong");
    assert_eq!(wrong.headers["location"], "/login?wrong=1");
    assert!(!wrong.headers.contains_key("set-cookie"));
    assert!(get(&rig, "/login?wrong=1").text().contains("not the token"));
    let foreign = format!("Origin: http://evil.example\r\n{form}");
    assert_eq!(post("/login", &foreign, &format!("token={TOKEN}")).status, 403);
    let right = post("/login", form, &format!("token={TOKEN}"));
    assert_eq!((right.status, right.headers["location"].as_str()), (303, "/"));
    let cookie = &right.headers["set-cookie"];
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    assert!(!cookie.contains(TOKEN), "{cookie}");
    let session = format!("Cookie: a=b; {}\r\n", cookie.split(';').next().unwrap());
    let stream = || request(address, "GET", STREAM, &session, "").status;
    assert_eq!(stream(), 200);
    let out = request(address, "POST", "/logout", &session, "");
    assert!(out.headers["set-cookie"].contains("Max-Age=0"));
    assert_eq!(stream(), 401);
}

#[test]
fn who_guesses_tokens_is_told_to_wait() {
    let rig = rig(Some(TOKEN), Clip::default());
    let ask = |token: &str| {
        let header = format!("Authorization: Bearer {token}\r\n");
        request(rig.server.address(), "GET", STREAM, &header, "")
    };
    let answers: Vec<_> = (0..25).map(|n| ask(&format!("guess-{n}")).status).collect();
    assert_eq!((answers[0], answers[24]), (401, 429));
    let right = ask(TOKEN);
    assert_eq!((right.status, right.headers["retry-after"].as_str()), (429, "60"));
}

#[test]
fn no_address_leads_to_a_file() {
    let rig = quiet_rig();
    for path in [
        "/assets/../Cargo.toml",
        "/assets/../../Cargo.toml",
        "/assets/%2e%2e%2fCargo.toml",
        "/assets/..%2f..%2f..%2fetc%2fpasswd",
        "/assets//etc/passwd",
        "/../../../../etc/passwd",
        "/Cargo.toml",
        "/api/v1/streams/..%2f..%2fCargo.toml",
        "/api/v1/streams/%00/snapshot.png",
        "/api/v1/streams/studio/changes/..%2f0/still.jpg",
    ] {
        let answer = get(&rig, path);
        assert!(matches!(answer.status, 400 | 404), "{path}: {}", answer.status);
        let text = answer.text();
        assert!(!text.contains("[package]") && !text.contains("root:"), "{path}");
    }
}

#[test]
fn every_answer_forbids_what_the_page_does_not_need() {
    let rig = quiet_rig();
    for path in ["/", "/assets/app.js", STREAM, "/nothing", "/metrics", "/api/v1/streams/none"] {
        let headers = get(&rig, path).headers;
        let policy = &headers["content-security-policy"];
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"));
        assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
        assert_eq!(headers["x-content-type-options"], "nosniff", "{path}");
        assert_eq!(headers["cross-origin-resource-policy"], "same-origin", "{path}");
        // With less, the login form of a browser would carry no origin.
        assert_eq!(headers["referrer-policy"], "same-origin", "{path}");
        assert!(!headers.contains_key("access-control-allow-origin"), "{path}");
    }
    let script = get(&rig, "/assets/app.js");
    let known = format!("If-None-Match: {}\r\n", script.headers["etag"]);
    let again = request(rig.server.address(), "GET", "/assets/app.js", &known, "");
    assert_eq!((again.status, again.body.len()), (304, 0));
    let wrong = request(rig.server.address(), "PUT", STREAM, JSON, "{}");
    assert_eq!(wrong.status, 405);
    assert!(wrong.headers["allow"].contains("PATCH"), "{:?}", wrong.headers);
}

#[test]
fn who_sends_slowly_or_too_often_is_sent_away_and_others_are_served() {
    let rig = quiet_rig();
    let address = rig.server.address();
    // Begun and never finished: a head, a body, and nothing at all.
    let mut slow = [
        "GET / HTTP/1.1\r\nHost: localh".to_owned(),
        format!("PATCH {STREAM} HTTP/1.1\r\nHost: localhost\r\n{JSON}Content-Length: 50\r\n\r\n{{"),
        String::new(),
    ]
    .map(|text| {
        let mut socket = connect(address);
        socket.write_all(text.as_bytes()).unwrap();
        socket
    });
    // As many as one may have; the next one is not heard.
    let crowd: Vec<_> = (0..93).map(|_| connect(address)).collect();
    let mut next = connect(address);
    let _ = next.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(!matches!(next.read(&mut [0]), Ok(1)), "one too many was answered");
    drop(crowd);
    let answered = |_: &i32| {
        let mut socket = connect(address);
        let _ = socket.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
        matches!(socket.read(&mut [0]), Ok(1))
    };
    assert!((0..1000).any(|n| answered(&n)), "nobody is served any more");
    for socket in &mut slow {
        let mut rest = Vec::new();
        let _ = socket.read_to_end(&mut rest);
        let text = String::from_utf8_lossy(&rest);
        assert!(rest.is_empty() || text.starts_with("HTTP/1.1 408"), "{text}");
    }
    let huge = format!("X: {}\r\n", "y".repeat(40_000));
    assert_eq!(request(address, "GET", STREAM, &huge, "").status, 431);
}
