//! `heatcast scan`: breaks found in recordings with a known truth, what is
//! written about them, and what is said when nothing can be found.

use std::path::{Path, PathBuf};
use std::process::Command;

use heatcast::timeline::score::{Span, Tally, timeline};
use serde_json::Value;

use crate::common::{Dir, fails, heatcast, json_of, text};
use crate::recordings::{FPS, H264, Part, content_model, evening, splice};

pub(crate) fn scan<S: AsRef<std::ffi::OsStr>>(inputs: &[S], more: &[&str]) -> Command {
    let mut command = heatcast(["scan", "-q", "--model"]);
    command.arg(content_model()).args(inputs).args(more);
    command
}

/// The only recording of a scan, as JSON.
pub(crate) fn scanned(input: &Path, more: &[&str]) -> Value {
    let mut report = json_of(scan(&[input], &[&["--json"], more].concat()));
    report["recordings"][0].take()
}

pub(crate) fn breaks(recording: &Value) -> Vec<(f64, f64)> {
    let segments = recording["segments"].as_array().unwrap();
    let commercial = segments.iter().filter(|s| s["label"] == "commercial");
    commercial.map(|s| (s["start_s"].as_f64().unwrap(), s["end_s"].as_f64().unwrap())).collect()
}

pub(crate) fn programme(from_s: f64, seconds: u32) -> Part {
    Part::Programme { from_s, frames: seconds * FPS, saturation: 1.0 }
}

/// Eighty seconds: a break from 32 to 60 s, both edges hard cuts.
pub(crate) fn short() -> Vec<Part> {
    vec![
        programme(0.0, 12),
        programme(5.0, 10),
        programme(1.0, 10),
        Part::Advert { which: 0, frames: 10 * FPS },
        Part::Advert { which: 1, frames: 18 * FPS },
        programme(3.0, 10),
        programme(0.0, 10),
    ]
}

#[test]
fn breaks_between_real_programme_are_found_to_the_frame() {
    let dir = Dir::new();
    for seed in [1, 2] {
        let (parts, truth) = evening(seed);
        let input = splice(&dir, &format!("{seed}.ts"), &parts, "", H264);
        let recording = scanned(&input, &[]);
        let found = breaks(&recording);
        let spans = |b: &[(f64, f64)]| b.iter().map(|(s, e)| Span::new(*s, *e)).collect();
        let end_s = recording["duration_s"].as_f64().unwrap();
        let frames: u32 = parts.iter().map(Part::frames).sum();
        assert!((end_s - f64::from(frames) / f64::from(FPS)).abs() < 0.05, "{end_s}");
        let [truth, predicted] =
            [spans(&truth), spans(&found)].map(|s| timeline(s, end_s).unwrap());
        let scores = Tally::of(&truth, &predicted, end_s).scores();
        let scores = serde_json::to_value(&scores).unwrap();
        eprintln!("seed {seed}: {found:?} {scores}");
        assert!(scores["frame_accuracy"].as_f64().unwrap() > 0.99, "{truth:?} {found:?}");
        assert_eq!(scores["segment_f1"]["0.9"], 1.0, "{truth:?} {found:?}");
        assert_eq!(scores["boundary_f1"]["0.5"], 1.0, "{truth:?} {found:?}");
        let p90 = scores["boundary_error_s"]["p90"].as_f64().unwrap();
        assert!(p90 <= 0.08, "{truth:?} {found:?}");
        // Far from everything was decoded.
        let [all, some] = ["pictures", "pictures_decoded"].map(|k| recording[k].as_u64().unwrap());
        assert!(all >= u64::from(frames) - 5 && some < all / 2, "{some} of {all}");
    }
}

#[test]
fn a_transport_stream_that_is_read_in_parts_gives_what_a_file_that_is_read_whole_gives() {
    let dir = Dir::new();
    let (parts, _) = evening(3);
    for (name, codec) in [("h264", H264), ("mpeg2", "-c:v mpeg2video -q:v 5 -g 12 -bf 2 -c:a mp2")]
    {
        let stream = splice(&dir, &format!("{name}.ts"), &parts, "", codec);
        let whole = dir.path(&format!("{name}.mkv"));
        let mut copy = Command::new("ffmpeg");
        copy.args(["-v", "error", "-y", "-i"]).arg(&stream).args(["-c", "copy"]).arg(&whole);
        assert!(copy.status().unwrap().success());
        let [a, b] = [&stream, &whole].map(|input| scanned(input, &[]));
        let (found, wanted) = (breaks(&a), breaks(&b));
        assert_eq!(found.len(), wanted.len(), "{name}: {found:?} {wanted:?}");
        // Matroska rounds to milliseconds.
        let off = |x: &(f64, f64), y: &(f64, f64)| (x.0 - y.0).abs().max((x.1 - y.1).abs());
        let near = found.iter().zip(&wanted).all(|(x, y)| off(x, y) < 0.002);
        assert!(near, "{name}: {found:?} {wanted:?}");
        let decoded = [&a, &b].map(|r| r["pictures_decoded"].as_u64().unwrap());
        assert!(decoded[0].abs_diff(decoded[1]) < 30, "{name}: {decoded:?}");
    }
}

/// `(start, end)` of what a filter of FFmpeg reports.
fn detected(input: &Path, filter: [&str; 2], keys: [&str; 2]) -> Vec<(f64, f64)> {
    let out = Command::new("ffmpeg")
        .args(["-hide_banner", "-nostats", "-i"])
        .arg(input)
        .args([filter[0], filter[1], "-f", "null", "-"])
        .output()
        .unwrap();
    let said = text(&out.stderr);
    let numbers = |key: &str| -> Vec<f64> {
        let after = said.split(key).skip(1);
        let word = |s: &str| s.trim_start().split([' ', '\n', '\r']).next().unwrap().to_owned();
        after.filter_map(|s| word(s).parse().ok()).collect()
    };
    numbers(keys[0]).into_iter().zip(numbers(keys[1])).collect()
}

pub(crate) fn cues(recording: &Value, kind: &str) -> Vec<(f64, f64)> {
    let cues = recording["cues"].as_array().unwrap().iter().filter(|c| c["kind"] == kind);
    cues.map(|c| (c["start_s"].as_f64().unwrap(), c["end_s"].as_f64().unwrap())).collect()
}

/// FFmpeg's black and silence, and what a scan says, differ by a frame at most.
pub(crate) fn agrees_with_ffmpeg(input: &Path, recording: &Value) -> [usize; 2] {
    let black = "blackdetect=d=0.03:pic_th=0.98:pix_th=0.10";
    let quiet = "silencedetect=n=-50dB:d=0.2";
    let pairs = [
        (detected(input, ["-vf", black], ["black_start:", "black_end:"]), cues(recording, "black")),
        (
            detected(input, ["-af", quiet], ["silence_start:", "silence_end:"]),
            cues(recording, "silence"),
        ),
    ];
    for (theirs, ours) in &pairs {
        assert_eq!(theirs.len(), ours.len(), "{}: {theirs:?} {ours:?}", input.display());
        for (a, b) in theirs.iter().zip(ours) {
            let off = (a.0 - b.0).abs().max((a.1 - b.1).abs());
            assert!(off <= 0.042, "{}: {a:?} {b:?}", input.display());
        }
    }
    pairs.map(|(theirs, _)| theirs.len())
}

#[test]
fn black_and_silence_are_where_ffmpeg_finds_them() {
    let dir = Dir::new();
    let black = |frames| Part::Black { frames };
    let parts = [
        programme(0.0, 4),
        black(1),
        programme(4.0, 4),
        black(7),
        Part::Advert { which: 0, frames: 80 },
        black(60),
        programme(2.0, 5),
    ];
    let input = splice(&dir, "a.mkv", &parts, "", "-c:v libx264 -preset ultrafast -c:a flac");
    let recording = scanned(&input, &["--every-picture"]);
    assert_eq!(agrees_with_ffmpeg(&input, &recording), [3, 2], "{recording}");
}

#[test]
fn times_go_on_through_a_wrap_and_a_leap_of_the_clock() {
    let dir = Dir::new();
    let plain = splice(&dir, "plain.ts", &short(), "", H264);
    let truth = breaks(&scanned(&plain, &[]));
    let [(start, end)] = truth[..] else { panic!("{truth:?}") };
    assert!((start - 32.0).abs() < 0.05 && (end - 60.0).abs() < 0.05, "{truth:?}");
    let shifted = |name: &str, input: &Path, more: &[&str]| {
        let path = dir.path(name);
        let made = Command::new("ffmpeg")
            .args(["-v", "error", "-y", "-i"])
            .arg(input)
            .args(["-c", "copy"])
            .args(more)
            .arg(&path)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", text(&made.stderr));
        path
    };
    // The clock of 33 bits starts again after 95443.7 s, here in the break.
    let wraps = shifted("wraps.ts", &plain, &["-output_ts_offset", "95400"]);
    let recording = scanned(&wraps, &[]);
    let found = breaks(&recording);
    let near = |a: (f64, f64), b: (f64, f64)| (a.0 - b.0).abs() < 0.05 && (a.1 - b.1).abs() < 0.05;
    assert!(found.len() == 1 && near(found[0], (start, end)), "{found:?}");
    // A splice: the second half is an hour later by its own clock.
    let first = shifted("first.ts", &plain, &["-t", "44"]);
    let second = shifted("second.ts", &plain, &["-ss", "44", "-output_ts_offset", "3600"]);
    let spliced = dir.path("spliced.ts");
    let bytes = [std::fs::read(first).unwrap(), std::fs::read(second).unwrap()].concat();
    std::fs::write(&spliced, bytes).unwrap();
    let recording = scanned(&spliced, &[]);
    let found = breaks(&recording);
    let [(from, to)] = found[..] else { panic!("{found:?}") };
    // Where ffmpeg cut the stream is a matter of its own.
    assert!((from - start).abs() < 0.05 && (to - end).abs() < 2.5, "{found:?}");
    let segments = recording["segments"].as_array().unwrap();
    let of_break = segments.iter().find(|s| s["label"] == "commercial").unwrap();
    let own = |key: &str| of_break[key].as_f64().unwrap();
    assert!((own("file_start_s") - from).abs() < 0.01, "{of_break}");
    let leap = own("file_end_s") - to;
    assert!((leap - 3556.0).abs() < 10.0, "{of_break}");
    assert!(recording["notes"].to_string().contains("leap"), "{recording}");
}

#[test]
fn results_are_written_once_and_the_rest_is_scanned_later() {
    let dir = Dir::new();
    let folder = dir.path("out");
    let input = splice(&dir, "a.mp4", &short(), "", "-c:v libx264 -preset ultrafast -c:a aac");
    std::fs::create_dir(dir.path("pages")).unwrap();
    let pages = dir.path("pages");
    let more = ["--timeline", folder.to_str().unwrap(), "--report", pages.to_str().unwrap()];
    let pattern = dir.path("*.mp4");
    let run = |more: &[&str]| {
        let out = scan(&[&pattern], more).output().unwrap();
        assert!(out.status.success(), "{}", text(&out.stderr));
        text(&out.stdout)
    };
    assert!(run(&more).contains("a.edl"));
    let edl = std::fs::read_to_string(folder.join("a.edl")).unwrap();
    let words: Vec<f64> = edl.split_whitespace().map(|w| w.parse().unwrap()).collect();
    assert!(
        (words[0] - 32.0).abs() < 0.05 && (words[1] - 60.0).abs() < 0.05 && words[2] == 3.0,
        "{edl}"
    );
    let page = std::fs::read_to_string(pages.join("a.html")).unwrap();
    assert!(page.contains("data:image/jpeg") && !page.contains("<script"), "{}", page.len());
    assert_eq!(page.matches("class=\"still\"").count(), 4, "both sides of two boundaries");
    assert!(!page.contains("class=\"warn\""), "the whole picture counts");
    // Nothing is done twice, but what is new is done.
    let written = |name: &str| std::fs::metadata(folder.join(name)).unwrap().modified().unwrap();
    let before = written("a.edl");
    assert_eq!(run(&more), "");
    std::fs::copy(&input, dir.path("b.mp4")).unwrap();
    let said = run(&more);
    assert!(said.contains("b.edl") && !said.contains("a.edl"), "{said}");
    assert_eq!(written("a.edl"), before);
    run(&[&more[..], &["--force"]].concat());
    assert!(written("a.edl") > before);
    // A scan that was stopped on the way is not done.
    let lines = std::fs::read_to_string(folder.join("a.segments.jsonl")).unwrap();
    let stopped = lines.replacen("\"settled_s\":", "\"settled_s\":1.0,\"was\":", 1);
    std::fs::write(folder.join("a.segments.jsonl"), stopped).unwrap();
    assert!(run(&more).contains("a.edl"));
}

#[test]
fn a_classifier_that_looks_at_a_logo_is_found_out() {
    let dir = Dir::new();
    // A green logo in the corner throughout.
    let logo = "drawbox=x=270:y=0:w=50:h=36:color=green:t=fill";
    let input = splice(&dir, "logo.mp4", &short(), logo, "-c:v libx264 -preset ultrafast -c:a aac");
    let page = dir.path("page.html");
    let path = page.to_str().unwrap();
    let mut command = scan(&[&input], &["--report", path, "--segment", "corner"]);
    let out = command.output().unwrap();
    assert!(out.status.success(), "{}", text(&out.stderr));
    let html = std::fs::read_to_string(&page).unwrap();
    assert!(html.contains("class=\"warn\"") && html.contains("one small place"), "no warning");
}

#[test]
fn one_bad_recording_does_not_stop_the_others() {
    let dir = Dir::new();
    let good = splice(&dir, "good.mkv", &[programme(0.0, 1)], "", H264);
    std::fs::write(dir.path("bad.mkv"), "All happy families are alike. ".repeat(100)).unwrap();
    let out = scan(&[dir.path("*.mkv")], &["--json", "--jobs", "2"]).output().unwrap();
    let said = text(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{said}");
    assert!(said.contains("bad.mkv") && said.contains("text file"), "{said}");
    let report: Value = serde_json::from_slice(&out.stdout).unwrap();
    let [bad, fine] = &report["recordings"].as_array().unwrap()[..] else { panic!("{report}") };
    assert!(bad["error"].is_string() && fine["error"].is_null(), "{report}");
    // A recording of a second has one segment.
    assert_eq!(fine["input"], good.to_str().unwrap());
    assert_eq!(fine["segments"].as_array().unwrap().len(), 1, "{fine}");
}

#[test]
fn what_cannot_be_scanned_gets_one_sentence() {
    let dir = Dir::new();
    let write = |name: &str, bytes: &[u8]| {
        std::fs::write(dir.path(name), bytes).unwrap();
        dir.path(name)
    };
    let one = |path: &PathBuf| scan(std::slice::from_ref(path), &[]);
    fails(one(&dir.path("none.ts")), 2, &["none.ts", "no such file"]);
    fails(one(&dir.path("*.xyz")), 2, &["*.xyz", "no file matches"]);
    fails(one(&write("empty.ts", b"")), 1, &["empty.ts", "is empty"]);
    fails(one(&write("text.ts", "Nothing to see here. ".repeat(99).as_bytes())), 1, &["text file"]);
    fails(one(&dir.path(".")), 1, &["is a folder"]);
    let sound = dir.make(
        "sound.mp4",
        "audiotestsrc num-buffers=50 ! avenc_aac ! aacparse ! mp4mux ! filesink location=FILE",
    );
    fails(one(&sound), 1, &["sound.mp4", "no video track"]);
    let silent = dir.make(
        "silent.mkv",
        "videotestsrc num-buffers=50 pattern=ball ! video/x-raw,width=320,height=180,framerate=25/1 ! x264enc speed-preset=ultrafast ! h264parse ! matroskamux ! filesink location=FILE",
    );
    let recording = scanned(&silent, &[]);
    assert!(recording["notes"].to_string().contains("no sound track"), "{recording}");
    let two = [&silent, &sound];
    let edl = dir.path("x.edl");
    fails(scan(&two, &["--edl", edl.to_str().unwrap()]), 2, &["--timeline DIR"]);
    fails(scan(&two, &["--report", edl.to_str().unwrap()]), 2, &["one page shows one recording"]);
    fails(scan(&[&silent], &["--segment", "colour"]), 2, &["colour", "content, corner"]);
    fails(scan(&[&silent], &["--profile", "martian"]), 2, &["martian"]);
    fails(scan(&[&silent], &["--jobs", "0"]), 2, &["--jobs"]);
    std::fs::write(&edl, "mine").unwrap();
    fails(scan(&[&silent], &["--edl", edl.to_str().unwrap()]), 2, &["exists", "--force"]);
    assert_eq!(std::fs::read_to_string(&edl).unwrap(), "mine");
}

#[test]
fn a_damaged_transport_stream_is_scanned_as_far_as_it_goes() {
    let dir = Dir::new();
    let whole = splice(&dir, "whole.ts", &short(), "", H264);
    let mut bytes = std::fs::read(&whole).unwrap();
    // Noise over one packet in a hundred.
    for at in (0..bytes.len() - 188).step_by(18_800) {
        bytes[at + 40..at + 90].fill(0xA5);
    }
    let damaged = dir.path("damaged.ts");
    std::fs::write(&damaged, bytes).unwrap();
    let found = breaks(&scanned(&damaged, &[]));
    let [(start, end)] = found[..] else { panic!("{found:?}") };
    // Noise is colourful: what follows the break may be taken for part of it.
    assert!((start - 32.0).abs() < 0.5 && (end - 60.0).abs() < 10.5, "{found:?}");
}

#[test]
fn the_cues_of_real_footage_are_those_of_ffmpeg() {
    let Some(folder) = std::env::var_os("HEATCAST_FOOTAGE").map(PathBuf::from) else {
        eprintln!("skipped: HEATCAST_FOOTAGE is not set");
        return;
    };
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    let mut compared = 0;
    for file in files {
        let out = scan(&[&file], &["--json", "--every-picture"]).output().unwrap();
        let Ok(report) = serde_json::from_slice::<Value>(&out.stdout) else { continue };
        let recording = &report["recordings"][0];
        let sees = |kind: &str| !cues(recording, kind).is_empty();
        if recording["complete"] == true && (sees("black") || sees("silence")) {
            let black = "blackdetect=d=0.03:pic_th=0.98:pix_th=0.10";
            let theirs = detected(&file, ["-vf", black], ["black_start:", "black_end:"]);
            let quiet = "silencedetect=n=-50dB:d=0.2";
            let silent = detected(&file, ["-af", quiet], ["silence_start:", "silence_end:"]);
            eprintln!(
                "{}\n  black   {:?}\n  ffmpeg  {theirs:?}\n  silence {:?}\n  ffmpeg  {silent:?}",
                file.display(),
                cues(recording, "black"),
                cues(recording, "silence"),
            );
            compared += 1;
        }
    }
    assert!(compared > 0);
}
