//! The timeline of a live stream: the files beside it, the events, and what
//! becomes of them when the stream breaks off.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::common::{Dir, annotate_with, counter_model, fails, heatcast, json_of};
use crate::live_server::{Server, settings};
use crate::recordings::{FPS, H264, Part, content_model, splice};

/// A profile for half a minute, in which each second counts for more.
const SHORT: &str = "[evidence]\nweight = 0.3\n[durations.show]\nmedian_s = 12.0\nsigma = 0.8\n\
    min_s = 3.0\n[durations.commercial]\nmedian_s = 12.0\nsigma = 0.6\nmin_s = 3.0\n";

/// Thirty-one seconds of a transport stream: a break between black and silence,
/// announced by SCTE-35.
fn recording(dir: &Dir) -> PathBuf {
    let programme = |from_s| Part::Programme { from_s, frames: 10 * FPS, saturation: 1.0 };
    let black = Part::Black { frames: 12 };
    let advert = Part::Advert { which: 0, frames: 10 * FPS };
    let parts = [programme(0.0), black.clone(), advert, black, programme(3.0)];
    let plain = splice(dir, "plain.ts", &parts, "", H264);
    std::fs::write(dir.path("short.toml"), SHORT).unwrap();
    let announced = dir.path("announced.ts");
    let profile = dir.path("short.toml");
    let more = ["--style", "off", "--hud", "off", "--scte35", "in-file", "--profile"];
    let mut command = annotate_with(&content_model(), &plain, &announced, &more);
    command.arg(profile);
    json_of(command);
    announced
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_live_break_is_in_every_file_with_all_its_cues() {
    let dir = Dir::new();
    let source = recording(&dir);
    let folder = dir.path("out");
    let settings = settings(
        &dir.path("live.toml"),
        &format!(
            // A busy machine must not lose pictures, nor take a pause for an outage.
            "[live]\nmax_latency_ms = 60000\nslate_after_ms = 60000\nstall_timeout_s = 120\n\
             [[stream]]\nname = 'n'\nsource = {source:?}\ntimeline = {folder:?}\nevents = {:?}\n\
             segment = ['content']\nprofile = {:?}\nlag_s = 10\n",
            dir.path("events.jsonl"),
            dir.path("short.toml")
        ),
    );
    // Of an earlier run.
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("n.edl"), "1.000 2.000 3\n").unwrap();
    let server = Server::start_model(&content_model(), [settings], "127.0.0.1:0", &[]);
    server.wait("n", "analysed", |s| s["analysed"].as_u64() > Some(5));
    let file = |ending: &str| std::fs::read_to_string(folder.join(format!("n.{ending}")));
    // Every file is there and valid before there is a break.
    assert_eq!(file("edl").unwrap(), "");
    assert!(file("segments.jsonl").unwrap().starts_with("{\"type\":\"timeline\""));
    server.wait_for("n", "ended");
    let (code, _) = server.end("-TERM");
    assert_eq!(code, Some(0));
    // The middles of the black.
    let edl = file("edl").unwrap();
    let words: Vec<f64> = edl.split_whitespace().map(|w| w.parse().unwrap()).collect();
    let [start, end, 3.0] = words[..] else {
        panic!("{edl:?} {}", file("segments.jsonl").unwrap())
    };
    let segments = lines(&folder.join("n.segments.jsonl"));
    let found = |key: &str| segments[1][key].as_f64().unwrap();
    // The first seconds may be lost while the stream starts.
    let first = found("start_s");
    assert!((7.0..10.4).contains(&(start - first)), "{start} {first}");
    // A lost picture may shorten the black.
    assert!((end - start - 10.48).abs() < 0.3, "{start} {end}");
    let cues: Vec<&str> =
        segments[2]["start_cues"].as_array().unwrap().iter().map(|c| c.as_str().unwrap()).collect();
    for cue in ["black", "silence", "scte35"] {
        assert!(cues.contains(&cue), "{cues:?}");
    }
    let states: Vec<_> = segments[1..].iter().map(|s| s["final"].as_bool().unwrap()).collect();
    assert_eq!(states, [true, true, true]);
    let csv = file("csv").unwrap();
    assert!(csv.contains("content,commercial,20"), "with the date: {csv}");
    // The events are a record from header to end, and every start has its end.
    let events = lines(&dir.path("events.jsonl"));
    assert_eq!(events[0]["type"], "header");
    let last = events.last().unwrap();
    assert_eq!((&last["type"], &last["complete"]), (&"end".into(), &true.into()), "{last}");
    let told = |edge: &str, state: &str| -> Vec<u64> {
        let boundaries = events.iter().filter(|e| e["type"] == "boundary");
        let wanted = boundaries.filter(|e| e["edge"] == edge && e["state"] == state);
        wanted.map(|e| e["id"].as_u64().unwrap()).collect()
    };
    assert_eq!(told("start", "final").len(), 3);
    assert_eq!(told("start", "final"), told("end", "final"));
    assert!(!told("start", "provisional").is_empty());
    // What was there before is still there, under another name.
    let names = std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path());
    let old: Vec<PathBuf> =
        names.filter(|p| p.file_name().unwrap().to_str().unwrap().starts_with("n-20")).collect();
    let [old] = &old[..] else { panic!("{old:?}") };
    assert_eq!(std::fs::read_to_string(old).unwrap(), "1.000 2.000 3\n");
}

#[test]
fn a_source_that_goes_away_ends_its_segments() {
    let dir = Dir::new();
    let pattern = "test:smpte,640x360,25";
    let camera = Server::start([pattern], &["--name", "cam", "--hud", "off"]);
    let at = camera.rtsp[0].clone();
    let folder = dir.path("out");
    let mut more = vec!["--name", "n", "--timeline", folder.to_str().unwrap(), "--lag", "0"];
    more.extend(["--set", "live.stall_timeout_s=2", "--set", "live.slate_after_ms=500"]);
    let server = Server::start([&at], &more);
    server.wait("n", "analysed for a while", |s| s["pts_s"].as_f64() > Some(5.0));
    camera.kill();
    server.wait_for("n", "reconnecting");
    // The segment is over though the stream is not.
    let path = folder.join("n.segments.jsonl");
    let is_over = || {
        let lines = lines(&path);
        lines.len() > 1 && lines[1..].iter().all(|l| l["final"] == true)
    };
    server.wait("n", "told to be over", |_| is_over());
    let settled = lines(&path)[0]["settled_s"].as_f64().unwrap();
    assert!(settled > 5.0, "{settled}");
    assert_eq!(server.end("-INT").0, Some(0));
    assert!(is_over());
}

#[test]
fn what_cannot_be_segmented_is_said_before_anything_starts() {
    let dir = Dir::new();
    let file = dir.path("file");
    std::fs::write(&file, "").unwrap();
    let serve = |args: &[&str]| {
        let mut command = heatcast(["serve", "--rtsp", "127.0.0.1:0", "--web", "127.0.0.1:0"]);
        command.arg("--model").arg(counter_model()).args(args).arg("test:");
        command
    };
    let [file, deep] = [file, dir.path("no/such")].map(|p| p.to_str().unwrap().to_owned());
    for (args, words) in [
        (&["--segment", "content"][..], &["stream `test`", "no head \"content\"", "number"][..]),
        (&["--profile", "usa"], &["stream `test`", "usa"]),
        (&["--lag", "900"], &["stream.lag_s", "0 to 300 seconds"]),
        (&["--timeline", &file], &["stream `test`: timeline", "file"]),
        (&["--timeline", &deep], &["stream `test`: timeline", "create it first"]),
    ] {
        fails(serve(args), 2, words);
    }
}
