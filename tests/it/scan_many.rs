//! `heatcast scan` in use: several recordings, some of them broken, stopped on the way
//! and gone on with; what transport streams bring along.

use std::io::{BufReader, BufWriter};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use heatcast::finish::transport::insert;
use heatcast::frame::Pts;
use heatcast::timeline::formats::Splice;
use serde_json::Value;

use crate::common::{Dir, text};
use crate::recordings::{FPS, H264, Part, splice};
use crate::scan::{agrees_with_ffmpeg, breaks, cues, programme, scan, scanned, short};

/// The segments file of a recording: its first line.
fn header(folder: &Path, stem: &str) -> Value {
    let lines = std::fs::read_to_string(folder.join(format!("{stem}.segments.jsonl"))).unwrap();
    serde_json::from_str(lines.lines().next().unwrap()).unwrap()
}

fn settled(header: &Value) -> bool {
    header["settled_s"].as_f64().unwrap() >= header["duration_s"].as_f64().unwrap()
}

#[test]
fn a_scan_that_is_stopped_keeps_what_is_done_and_goes_on_with_the_rest() {
    let dir = Dir::new();
    let folder = dir.path("out");
    let few = splice(&dir, "a.ts", &[programme(0.0, 4)], "", H264);
    // Long enough to be interrupted.
    let long = dir.path("b.ts");
    let looped = Command::new("ffmpeg")
        .args(["-v", "error", "-stream_loop", "99", "-i"])
        .arg(splice(&dir, "part.ts", &short()[..2], "", H264))
        .args(["-c", "copy"])
        .arg(&long)
        .status();
    assert!(looped.unwrap().success());
    let last = dir.path("c.ts");
    std::fs::copy(&few, &last).unwrap();
    let inputs = [&few, &long, &last];
    let more = ["--jobs", "1", "--timeline", folder.to_str().unwrap()];
    let mut command = scan(&inputs, &[&more[..], &["--every-picture"]].concat());
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let first = folder.join("a.segments.jsonl");
    for _ in 0..2400 {
        if first.exists() {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let interrupt = format!("kill -INT {}", child.id());
    assert!(Command::new("bash").args(["-c", &interrupt]).status().unwrap().success());
    let out = child.wait_with_output().unwrap();
    let said = text(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{said}");
    for name in ["b.ts", "c.ts"] {
        let line = said.lines().find(|l| l.contains(name)).unwrap_or_else(|| panic!("{said}"));
        assert!(line.contains("stopped on request"), "{said}");
    }
    assert!(settled(&header(&folder, "a")), "what was done is whole");
    // Of the one that was being read either nothing or all that is known was written.
    let names = || -> Vec<String> {
        let entries = std::fs::read_dir(&folder).unwrap();
        entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    };
    assert!(names().iter().all(|n| !n.ends_with(".part")), "{:?}", names());
    if folder.join("b.segments.jsonl").exists() {
        assert!(!settled(&header(&folder, "b")));
    }
    assert!(!folder.join("c.segments.jsonl").exists());
    // The rest is done; what is done is not done again.
    let before = std::fs::metadata(&first).unwrap().modified().unwrap();
    let out = scan(&inputs, &more).output().unwrap();
    assert!(out.status.success(), "{}", text(&out.stderr));
    assert!(!text(&out.stdout).contains("a.edl"), "{}", text(&out.stdout));
    assert_eq!(std::fs::metadata(&first).unwrap().modified().unwrap(), before);
    assert!(settled(&header(&folder, "b")) && settled(&header(&folder, "c")));
}

#[test]
fn broken_recordings_among_many_cost_only_themselves() {
    let dir = Dir::new();
    let folder = dir.path("out");
    let good = splice(&dir, "good.ts", &[programme(0.0, 2)], "", H264);
    let whole = splice(&dir, "whole.mp4", &[programme(1.0, 2)], "", "-c:v libx264 -c:a aac");
    let bytes = std::fs::read(&whole).unwrap();
    std::fs::remove_file(&whole).unwrap();
    // The table of contents is at the end of the file.
    std::fs::write(dir.path("cut.mp4"), &bytes[..bytes.len() / 2]).unwrap();
    std::fs::write(dir.path("empty.ts"), b"").unwrap();
    let noise: Vec<u8> = (0..99_999u64).map(|n| (n * n / 7) as u8).collect();
    std::fs::write(dir.path("noise.ts"), noise).unwrap();
    // The second half is missing: what there is can be read.
    let half = std::fs::read(&good).unwrap();
    std::fs::write(dir.path("half.ts"), &half[..half.len() / 2]).unwrap();
    let patterns = [dir.path("*.ts"), dir.path("*.mp4")];
    let mut command = scan(&patterns, &["--jobs", "2", "--timeline", folder.to_str().unwrap()]);
    let out = command.output().unwrap();
    let said = text(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{said}");
    for name in ["cut.mp4", "empty.ts", "noise.ts"] {
        assert_eq!(said.lines().filter(|l| l.contains(name)).count(), 1, "{name}: {said}");
        let stem = name.split('.').next().unwrap();
        assert!(!folder.join(format!("{stem}.edl")).exists(), "{name}");
    }
    assert!(said.contains("3 of 5 recordings") && !said.contains("panicked"), "{said}");
    for stem in ["good", "half"] {
        assert!(settled(&header(&folder, stem)), "{stem}");
        assert!(folder.join(format!("{stem}.edl")).exists(), "{stem}");
    }
}

#[test]
fn splices_that_a_transport_stream_announces_are_cues_at_their_pictures() {
    let dir = Dir::new();
    let plain = splice(&dir, "plain.ts", &short(), "", H264);
    let marked = dir.path("marked.ts");
    let at = |seconds: f64| Pts::from_secs_f64(seconds);
    let announced = [
        Splice { at: at(32.0), event_id: 7, out: true, duration: Some(at(28.0).0) },
        Splice { at: at(60.0), event_id: 7, out: false, duration: None },
    ];
    let from = BufReader::new(std::fs::File::open(&plain).unwrap());
    let to = BufWriter::new(std::fs::File::create(&marked).unwrap());
    insert(from, to, &announced, Pts(0)).unwrap();
    assert_eq!(cues(&scanned(&plain, &[]), "scte35"), []);
    let recording = scanned(&marked, &[]);
    let found = cues(&recording, "scte35");
    let [out, back] = found[..] else { panic!("{found:?}") };
    assert!((out.0 - 32.0).abs() < 0.05 && (back.0 - 60.0).abs() < 0.05, "{found:?}");
    let [(start, end)] = breaks(&recording)[..] else { panic!("{recording}") };
    assert!((start - 32.0).abs() < 0.05 && (end - 60.0).abs() < 0.05, "{recording}");
    let segments = recording["segments"].as_array().unwrap();
    let found = segments.iter().find(|s| s["label"] == "commercial").unwrap();
    for side in ["start_cues", "end_cues"] {
        assert!(found[side].to_string().contains("scte35"), "{found}");
    }
}

#[test]
fn silence_in_mpeg_audio_of_a_transport_stream_is_where_ffmpeg_finds_it() {
    let dir = Dir::new();
    let parts = [
        programme(0.0, 4),
        Part::Black { frames: 15 },
        programme(4.0, 4),
        Part::Black { frames: 40 },
        Part::Advert { which: 0, frames: 3 * FPS },
    ];
    let input = splice(&dir, "a.ts", &parts, "", "-c:v mpeg2video -q:v 3 -g 12 -bf 2 -c:a mp2");
    let recording = scanned(&input, &["--every-picture"]);
    assert_eq!(agrees_with_ffmpeg(&input, &recording), [2, 2], "{recording}");
    assert_eq!(recording["notes"].as_array().unwrap().len(), 0, "{recording}");
}
