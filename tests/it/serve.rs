//! Live operation as a viewer, an operator and a failing camera meet it. The
//! sources are test patterns, files made here, and other servers of the same
//! program, which are killed, frozen and started again.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::common::{Dir, Picture, counter_model, decode, fails, heatcast, text};
use crate::live_server::{Server, play, player, settings};

pub(crate) const SMALL: (usize, usize) = (640, 360);
const PATTERN: &str = "test:smpte,640x360,25";

/// Seconds of a still picture with a tone, as an MP4 file.
pub(crate) fn clip(dir: &Dir) -> PathBuf {
    dir.make(
        "clip.mp4",
        "videotestsrc pattern=smpte num-buffers=75 ! video/x-raw,format=I420,width=640,height=360,framerate=25/1 \
         ! x264enc speed-preset=ultrafast key-int-max=25 ! h264parse ! m. \
         audiotestsrc num-buffers=130 samplesperbuffer=1024 ! audio/x-raw,rate=44100,channels=2 \
         ! audioconvert ! avenc_aac ! aacparse ! m. mp4mux name=m ! filesink location=FILE",
    )
}

/// A port that nothing listens on.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The colour bars, away from the panel: the bars of `smpte` from left to
/// right, at the luma of full magenta, red and blue.
pub(crate) fn assert_bars(picture: &Picture, what: &str) {
    for (bar, luma) in [(4, 106.0), (5, 81.0), (6, 41.0)] {
        let x = SMALL.0 * (2 * bar + 1) / 14;
        for y in [20, 100, 180] {
            let found = picture.mean(0, x - 10, y, 20, 20);
            assert!((found - luma).abs() < 8.0, "{what}: bar {bar} at {y} is {found}, not {luma}");
        }
    }
}

/// True for a slate: dark, with a few bright letters in the middle.
fn is_slate(picture: &Picture) -> bool {
    let (width, height) = (picture.width, picture.height);
    let corner = picture.mean(0, 0, 0, width, height / 4);
    let middle = picture.mean(0, width / 4, height / 3, width / 2, height / 3);
    corner < 40.0 && middle > corner + 2.0 && middle < 110.0
}

#[test]
fn a_looped_file_plays_annotated_and_clean_for_several_clients_without_damage() {
    let dir = Dir::new();
    let server =
        Server::start([clip(&dir)], &["--loop", "--clean", "--name", "bars", "--style", "off"]);
    assert_eq!(server.rtsp.len(), 2, "{:?}", server.rtsp);
    // Longer than the file; a second and a third client join in between.
    let second = std::thread::Builder::new()
        .spawn({
            let address = server.rtsp[0].clone();
            move || play(&address, SMALL, 40)
        })
        .unwrap();
    let first = play(&server.rtsp[0], SMALL, 120);
    let second = second.join().unwrap();
    let clean = play(&server.rtsp[1], SMALL, 20);
    for (who, played) in [("first", &first), ("second", &second), ("clean", &clean)] {
        for word in ["corrupt", "error", "concealing"] {
            assert!(!played.complaints.contains(word), "{who}: {}", played.complaints);
        }
        played.pictures.iter().for_each(|picture| assert_bars(picture, who));
    }
    // The panel lies over the first bars, and only where it should.
    let panel = |p: &Picture| p.mean(0, 40, 30, 60, 20);
    let (annotated, bare) = (first.pictures.last().unwrap(), clean.pictures.last().unwrap());
    assert!(panel(annotated) + 40.0 < panel(bare), "{} {}", panel(annotated), panel(bare));
    // Sound goes along.
    let probe = Command::new("timeout")
        .args(["180", "ffprobe", "-v", "error", "-rtsp_transport", "tcp", "-show_entries"])
        .args(["stream=codec_name", "-of", "csv=p=0", &server.rtsp[0]])
        .output()
        .unwrap();
    let codecs = text(&probe.stdout);
    assert!(codecs.contains("h264") && codecs.contains("aac"), "{codecs}");
}

#[test]
fn a_slow_classifier_costs_explanations_and_no_pictures() {
    let slow = ["--set", "live.analysis_delay_ms=500", "--name", "s"];
    let server = Server::start([PATTERN], &slow);
    let before = server.wait("s", "analysed twice", |s| s["analysed"].as_u64() >= Some(2));
    let count = |v: &serde_json::Value, key: &str| v[key].as_u64().unwrap();
    let after = server.wait("s", "100 pictures further", |s| {
        count(s, "frames") >= count(&before, "frames") + 100
    });
    // Four seconds at two a second; a lone slow machine may have had longer.
    let (frames, analysed) = (
        count(&after, "frames") - count(&before, "frames"),
        count(&after, "analysed") - count(&before, "analysed"),
    );
    assert!(analysed * 8 <= frames, "{analysed} of {frames} analysed");
    assert!(after["skipped"]["busy"].as_u64() > Some(0), "{after:#}");
    assert_eq!(after["skipped"]["late"], before["skipped"]["late"], "{after:#}");
    assert!(after["explanation_age_ms"].as_f64() > Some(0.0), "{after:#}");
}

#[test]
fn a_killed_source_gives_a_slate_and_comes_back_in_another_size() {
    let port = free_port();
    let at = format!("127.0.0.1:{port}");
    let camera = Server::start_on([PATTERN], &at, &["--name", "cam", "--hud", "off"]);
    let source = format!("rtsp://{at}/cam");
    let quick = ["--set", "live.retry_first_ms=100", "--set", "live.retry_most_s=0.5"];
    let mut more = vec!["--name", "n", "--hud", "off", "--style", "off"];
    more.extend(["--set", "live.stall_timeout_s=2", "--set", "live.slate_after_ms=500"]);
    more.extend(quick);
    let mut server = Server::start([&source], &more);
    server.wait_for("n", "running");
    assert_bars(&play(&server.rtsp[0], SMALL, 1).pictures[0], "before");

    // One player stays through all of it.
    let mut watching = player(&server.rtsp[0], 1_000_000);
    watching.args(["-f", "null", "-"]);
    let mut watching = watching.spawn().unwrap();

    camera.kill();
    let away = server.wait_for("n", "reconnecting");
    assert!(away["detail"].as_str().is_some_and(|d| !d.is_empty()), "{away:#}");
    server.wait("n", "on a slate", |s| s["explanation_age_ms"].is_null());
    let slates = play(&server.rtsp[0], SMALL, 5).pictures;
    assert!(slates.iter().all(is_slate));

    let camera =
        Server::start_on(["test:smpte,960x720,30"], &at, &["--name", "cam", "--hud", "off"]);
    let back = server.wait_for("n", "running");
    assert_eq!(back["resolution"]["width"], 640, "{back:#}");
    // 4:3 in 16:9: bars at both sides.
    let picture = &play(&server.rtsp[0], SMALL, 1).pictures[0];
    assert!(picture.mean(0, 4, 100, 40, 40) < 24.0 && picture.mean(0, 120, 100, 20, 40) > 60.0);

    // Frozen without a word.
    camera.signal("-STOP");
    server.wait_for("n", "reconnecting");
    server.wait("n", "on a slate", |s| s["explanation_age_ms"].is_null());
    assert!(is_slate(&play(&server.rtsp[0], SMALL, 1).pictures[0]));
    camera.signal("-CONT");
    server.wait_for("n", "running");

    assert!(watching.try_wait().unwrap().is_none(), "the player was sent away");
    watching.kill().unwrap();
    watching.wait().unwrap();
    let log = server.log();
    assert!(log.contains("stream n: reconnecting") && log.contains("stream n: running"), "{log}");
}

#[test]
fn a_reconnect_is_a_return_of_the_picture_and_no_attempt() {
    let at = format!("127.0.0.1:{}", free_port());
    let mut camera = Server::start_on([PATTERN], &at, &["--name", "cam"]);
    let source = format!("rtsp://{at}/cam");
    let quick = ["--set", "live.retry_first_ms=100", "--set", "live.retry_most_s=0.3"];
    let server = Server::start([&source], &[&["--name", "n"], &quick[..]].concat());
    let count = |stream: &serde_json::Value, key: &str| stream[key].as_u64().unwrap();
    for returns in 0..3 {
        let here = server.wait_for("n", "running");
        assert_eq!(count(&here, "reconnects"), returns, "{here:#}");
        camera.kill();
        let tried = count(&here, "reconnect_attempts");
        let away = server.wait("n", "tried three times in vain", |s| {
            count(s, "reconnect_attempts") >= tried + 3
        });
        assert_eq!(away["state"], "reconnecting", "{away:#}");
        assert_eq!(count(&away, "reconnects"), returns, "{away:#}");
        camera = Server::start_on([PATTERN], &at, &["--name", "cam"]);
    }
    server.wait("n", "back for the third time", |s| count(s, "reconnects") == 3);
    let (_, metrics) = server.ask("GET", "/metrics", "");
    let metrics = text(&metrics);
    assert!(metrics.contains("heatcast_reconnects_total{stream=\"n\"} 3\n"), "{metrics}");
}

#[test]
fn a_source_that_is_not_there_yet_is_waited_for() {
    let port = free_port();
    let at = format!("127.0.0.1:{port}");
    let source = format!("rtsp://user:geheim@{at}/cam");
    let more = ["--name", "n", "--hud", "off", "--style", "off", "--set", "live.retry_most_s=0.5"];
    let mut server = Server::start([&source], &more);
    let detail = |s: &serde_json::Value| s["detail"].as_str().unwrap_or_default().to_owned();
    let waiting = server.wait("n", "refused", |s| !detail(s).is_empty());
    assert!(detail(&waiting).contains("connection refused"), "{waiting:#}");
    assert!(is_slate(&play(&server.rtsp[0], (1280, 720), 1).pictures[0]));
    let camera = Server::start_on([PATTERN], &at, &["--name", "cam", "--hud", "off"]);
    server.wait_for("n", "running");
    // Only the slate had another size.
    assert_bars(&play(&server.rtsp[0], SMALL, 1).pictures[0], "at last");
    drop(camera);
    server.wait_for("n", "reconnecting");
    // Nobody ever sees the password.
    let (_, api) = server.ask("GET", "/api/v1/streams", "");
    let (_, metrics) = server.ask("GET", "/metrics", "");
    let all = text(&api) + &text(&metrics) + &server.log();
    assert!(all.contains(&format!("rtsp://{at}/cam")), "{all}");
    assert!(!all.contains("geheim") && !all.contains("user:"), "{all}");
}

#[test]
fn another_class_is_explained_without_a_break() {
    let server = Server::start([PATTERN], &["--name", "n"]);
    server.wait("n", "explained", |s| s["explanation_age_ms"].is_number());
    let before = server.stream("n");
    let classes = before["heads"][0]["classes"].as_array().unwrap();
    let shown = before["explained_class"].as_str().unwrap();
    let other = classes.iter().map(|c| c["label"].as_str().unwrap()).find(|l| *l != shown).unwrap();
    let (status, after) =
        server.patch("n", &format!("{{\"class\": \"{other}\", \"opacity\": 0.8}}"));
    assert_eq!((status, after["explained_class"].as_str()), (200, Some(other)));
    assert_eq!(after["opacity"], 0.8);
    let analysed = after["analysed"].as_u64().unwrap();
    let later = server.wait("n", "analysed again", |s| s["analysed"].as_u64() > Some(analysed + 2));
    assert_eq!(later["explained_class"].as_str(), Some(other));
    for wrong in [r#"{"class": "no such thing"}"#, r#"{"opacity": 2}"#, r#"{"clas": "x"}"#] {
        let (status, _) = server.patch("n", wrong);
        assert!((400..500).contains(&status), "{wrong}: {status}");
    }
    assert_eq!(server.stream("n")["explained_class"].as_str(), Some(other));
}

#[test]
fn several_classes_are_explained_beside_each_other() {
    let two = |stream: &serde_json::Value| {
        let labels = stream["heads"][0]["classes"].as_array().unwrap();
        [0, 1].map(|n| labels[n]["label"].as_str().unwrap().to_owned())
    };
    let server = Server::start([PATTERN], &["--name", "n", "--class", "0,1"]);
    let now = server.wait("n", "explained", |s| s["explanation_age_ms"].is_number());
    assert_eq!(now["explained_classes"], serde_json::json!(two(&now)), "{now:#}");
    let explained = |analysed: u64| {
        server.wait("n", "analysed again", |s| s["analysed"].as_u64() > Some(analysed + 2));
        let (_, picture) = server.ask("GET", "/api/v1/streams/n/snapshot.png", "");
        picture
    };
    assert!(!explained(0).is_empty());
    let (status, one) = server.patch("n", &format!("{{\"class\": \"{}\"}}", two(&now)[1]));
    assert_eq!((status, &one["explained_classes"]), (200, &serde_json::json!([two(&now)[1]])));
    let both = format!("{{\"class\": \"{}\"}}", two(&now).join(","));
    let (status, again) = server.patch("n", &both);
    assert_eq!((status, &again["explained_classes"]), (200, &serde_json::json!(two(&now))));
    assert_eq!(again["explained_class"], two(&now)[0]);
    let (status, body) = server.patch("n", r#"{"class": "0,no such thing"}"#);
    assert_eq!(status, 400, "{body}");
    assert_eq!(server.stream("n")["explained_classes"], serde_json::json!(two(&now)));
}

#[test]
fn a_stream_is_added_with_what_it_is_segmented_by_and_without_a_file() {
    let server = Server::start([PATTERN], &["--name", "one"]);
    let one = server.wait_for("one", "running");
    let head = one["heads"][0]["name"].as_str().unwrap();
    let ask = |more: &str| {
        let body = format!("{{\"name\": \"two\", \"source\": \"test:\", {more}}}");
        let (status, answer) = server.ask("POST", "/api/v1/streams", &body);
        (status, text(&answer))
    };
    for (more, wanted) in [
        (r#""profile": "pipelines/profiles/us.toml""#, "profile"),
        (r#""profile": "nws""#, "news"),
        (r#""segment": ["no such head"]"#, "no such head"),
        (r#""timeline": "out""#, "unknown key `timeline`"),
    ] {
        let (status, answer) = ask(more);
        assert!(status == 400 && answer.contains(wanted), "{more}: {status} {answer}");
    }
    let (status, answer) =
        ask(&format!("\"segment\": [\"{head}\"], \"profile\": \"news\", \"lag_s\": 5"));
    assert_eq!(status, 201, "{answer}");
    server.wait_for("two", "running");
}

#[test]
fn streams_are_added_and_removed_while_others_run() {
    let server = Server::start([PATTERN], &["--name", "one"]);
    server.wait_for("one", "running");
    let source = format!("{{\"name\": \"two\", \"source\": \"{}\"}}", server.rtsp[0]);
    let (status, body) = server.ask("POST", "/api/v1/streams", &source);
    assert_eq!(status, 201, "{}", text(&body));
    let two = server.wait_for("two", "running");
    let address = two["rtsp"][0].as_str().unwrap().to_owned();
    play(&address, SMALL, 3);
    let again = server.ask("POST", "/api/v1/streams", r#"{"name": "two", "source": "test:"}"#);
    assert_eq!(again.0, 409, "{}", text(&again.1));
    let file = server.ask("POST", "/api/v1/streams", r#"{"name": "f", "source": "Cargo.toml"}"#);
    assert!((400..500).contains(&file.0), "{}", text(&file.1));
    let (status, _) = server.ask("DELETE", "/api/v1/streams/two", "");
    assert!((200..300).contains(&status));
    let gone = player(&address, 1).args(["-f", "null", "-"]).output().unwrap();
    assert!(!gone.status.success());
    assert_eq!(server.stream("one")["state"], "running");
}

#[test]
fn a_recording_is_whole_when_the_server_is_told_to_end() {
    let dir = Dir::new();
    let folder = dir.path("rec");
    std::fs::create_dir(&folder).unwrap();
    let file = clip(&dir);
    let toml = format!(
        "[model]\nname = {:?}\n[rtsp]\naddress = '127.0.0.1:0'\n[[stream]]\nname = 'n'\nloop = true\n\
         source = {file:?}\nrecord = {folder:?}\nrecord_segment_s = 2.0\nevents = {:?}\n",
        counter_model(),
        dir.path("events.jsonl")
    );
    let toml = settings(&dir.path("live.toml"), &toml);
    let server = Server::start([toml], &[]);
    let finished = |folder: &PathBuf| {
        let names = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
        let mut names: Vec<_> = names.filter(|p| p.extension().unwrap() == "mp4").collect();
        names.sort();
        names
    };
    server.wait("n", "recorded for a while", |_| finished(&folder).len() >= 2);
    let (code, took) = server.end("-TERM");
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(5), "{took:?}");
    let files = finished(&folder);
    assert!(files.len() >= 3, "{files:?}");
    let left = std::fs::read_dir(&folder).unwrap().count();
    assert_eq!(left, files.len(), "unfinished files");
    let pictures: Vec<_> = files.iter().map(|file| decode(file)).collect();
    for pictures in &pictures[..files.len() - 1] {
        let seconds = pictures.last().unwrap().pts_ns as f64 / 1e9;
        assert!((1.5..4.5).contains(&seconds), "{seconds}");
        assert_bars(&pictures[0], "recording");
    }
    let events = std::fs::read_to_string(dir.path("events.jsonl")).unwrap();
    let lines: Vec<serde_json::Value> =
        events.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        (&lines[0]["type"], &lines[0]["model"]["name"]),
        (&"header".into(), &"counter".into())
    );
    assert_eq!(lines[0]["picture"]["width"], 640);
    let last = lines.last().unwrap();
    assert_eq!((&last["type"], &last["reason"]), (&"end".into(), &"stopped on request".into()));
    assert!(last["frames"].as_u64() > Some(0) && last["duration_s"].as_f64() > Some(1.0), "{last}");
    // Segments that were told of have ended for certain.
    let certain = |edge: &str| -> Vec<u64> {
        let boundaries = lines.iter().filter(|l| l["type"] == "boundary" && l["edge"] == edge);
        boundaries.filter(|l| l["state"] == "final").map(|l| l["id"].as_u64().unwrap()).collect()
    };
    assert!(!certain("start").is_empty());
    assert_eq!(certain("start"), certain("end"));
}

#[test]
fn with_a_token_nobody_plays_without_it() {
    let server = Server::start([PATTERN], &["--name", "n", "--token", "correct-horse-battery"]);
    let address = &server.rtsp[0];
    let tried = |address: &str| {
        let out = player(address, 1).args(["-f", "null", "-"]).output().unwrap();
        (out.status.success(), text(&out.stderr))
    };
    let (plays, said) = tried(address);
    assert!(!plays && said.contains("401"), "{said}");
    let (plays, said) = tried(&address.replace("rtsp://", "rtsp://heatcast:wrong@"));
    assert!(!plays && said.contains("401"), "{said}");
    let (plays, said) =
        tried(&address.replace("rtsp://", "rtsp://heatcast:correct-horse-battery@"));
    assert!(plays, "{said}");
    // A source that asks for a password says so, also where a wrong one was given.
    let wrong = address.replace("rtsp://", "rtsp://heatcast:wrong-password@");
    let viewer = Server::start([address, &wrong], &["--name", "none", "--name", "wrong"]);
    for name in ["none", "wrong"] {
        let status = viewer.wait(name, "refused", |s| s["detail"].is_string());
        let detail = status["detail"].as_str().unwrap();
        assert!(detail.contains("401") && !detail.contains("wrong-password"), "{detail}");
    }
}

#[test]
fn a_source_without_a_picture_says_what_is_wrong_with_it() {
    let dir = Dir::new();
    let sound = dir.make(
        "sound.mp4",
        "audiotestsrc num-buffers=100 ! audioconvert ! avenc_aac ! aacparse ! mp4mux ! filesink location=FILE",
    );
    let words = dir.path("words.mp4");
    std::fs::write(&words, "no video at all, only words\n".repeat(50)).unwrap();
    let server = Server::start([sound, words], &["--name", "sound", "--name", "words"]);
    for (name, wanted) in [("sound", "sound and no picture"), ("words", "no video in it")] {
        let stream = server.wait(name, "explained", |s| s["detail"].is_string());
        let detail = stream["detail"].as_str().unwrap();
        assert!(detail.contains(wanted), "{detail}");
        assert!(is_slate(
            &play(&server.rtsp[usize::from(name == "words")], (1280, 720), 1).pictures[0]
        ));
    }
}

#[test]
fn what_is_wrong_is_said_before_anything_starts() {
    let dir = Dir::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = format!("127.0.0.1:{}", taken.local_addr().unwrap().port());
    let none = "127.0.0.1:0";
    let serve = |args: &[&str]| {
        let mut command = heatcast(["serve", "--model"]);
        command.arg(counter_model()).args(args).env_remove("HEATCAST_TOKEN");
        command
    };
    for (args, words) in [
        (&["--rtsp", &port, "--web", none, "test:"][..], &["rtsp.address", "in use"][..]),
        (&["--rtsp", none, "--web", &port, "test:"], &["web.address", "in use"]),
        (&["--name", "a", "--name", "a", "test:", "test:"], &["two streams are called `a`"]),
        (&["--name", "a b", "test:"], &["letters, digits"]),
        (&["gopher://x/"], &["gopher", "rtsp://"]),
        (&["udp://239.0.0.1"], &["names no port"]),
        (&["no-such.mp4"], &["no file no-such.mp4"]),
        (&["--rtsp", "0.0.0.0:0", "test:"], &["rtsp.address", "token"]),
        (&["--web", "0.0.0.0:0", "--rtsp", none, "test:"], &["web.address", "token"]),
        (&["--rtsp", "nowhere", "test:"], &["rtsp.address", "127.0.0.1:8554"]),
        (&["--set", "live.crf=99", "test:"], &["live.crf"]),
        (&["--class", "xylophone", "--rtsp", none, "--web", none, "test:"], &["xylophone"]),
        (&["--record", "no-such-folder", "--rtsp", none, "--web", none, "test:"], &["create it"]),
    ] {
        fails(serve(args), 2, words);
    }
    let slip = settings(&dir.path("slip.toml"), "[[stream]]\nname = 'a'\nsorce = 'test:'\n");
    fails(serve(&[&slip]), 2, &["line 3", "stream.sorce", "did you mean `stream.source`?"]);
    let secret = settings(&dir.path("secret.toml"), "[web]\ntoken = '${NO_SUCH_VARIABLE}'\n");
    fails(serve(&[&secret]), 2, &["NO_SUCH_VARIABLE"]);
}
