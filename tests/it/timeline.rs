//! Timeline files of `heatcast annotate`: right, beside the output and inside
//! it, and refused with a sentence where they make no sense.

use std::path::{Path, PathBuf};

use crate::common::{Dir, annotate, annotate_with, decode, encode, fails, heatcast, json_of, text};
use crate::foreign::chapters;
use crate::pictures::number_in_i420;
use crate::recordings::{FPS, H264, Part, content_model, splice};

const MS: u64 = 1_000_000;
/// A profile for parts of four seconds.
const BRISK: &str =
    "[evidence]\nweight = 1.0\n[durations.other]\nmedian_s = 4.0\nsigma = 1.0\nmin_s = 1.0\n";

/// Twelve seconds: the number 0, from 4 to 8 s the number 127, then 0 again.
fn recording(dir: &Dir) -> PathBuf {
    let path = dir.path("rec.mkv");
    let number = |i: u64| if (100..200).contains(&i) { 127 } else { 0 };
    let pictures = (0..300).map(|i| (i * 40 * MS, 40 * MS, number_in_i420(number(i), 160, 80)));
    let sink = format!(
        "appsrc name=v ! x264enc speed-preset=ultrafast ! h264parse ! matroskamux ! filesink location={}",
        path.display()
    );
    encode(&sink, (160, 80), pictures);
    std::fs::write(dir.path("brisk.toml"), BRISK).unwrap();
    path
}

fn brisk(dir: &Dir, input: &Path, output: &Path, more: &[&str]) -> std::process::Command {
    let mut command = annotate(input, output, more);
    command.args(["--break", "n127", "--profile"]).arg(dir.path("brisk.toml"));
    command
}

#[test]
fn a_break_is_in_every_file_and_inside_the_output() {
    let dir = Dir::new();
    let input = recording(&dir);
    for (name, inside) in [("a.mp4", "--chapters"), ("a.mkv", "--chapters"), ("a.ts", "--scte35")] {
        let output = dir.path(name);
        let folder = dir.path(&format!("of-{name}"));
        let more = ["--timeline", folder.to_str().unwrap(), inside, "in-file"];
        let summary = json_of(brisk(&dir, &input, &output, &more));
        assert_eq!(summary["timeline"].as_array().unwrap().len(), 9, "{summary}");
        assert!(summary["timeline_failure"].is_null() && summary["frames_out"] == 300, "{summary}");
        let file =
            |ending: &str| std::fs::read_to_string(folder.join(format!("a.{ending}"))).unwrap();
        assert_eq!(file("edl"), "4.000 8.000 3\n", "{}", file("segments.jsonl"));
        assert!(file("txt").contains("\n100\t200\n"), "{}", file("txt"));
        assert!(file("csv").contains("number,n127,,00:00:04.000,00:00:08.000"), "{}", file("csv"));
        // The pictures on both sides stand still.
        let segments = file("segments.jsonl");
        assert!(segments.contains("\"start_cues\":[\"shot_cut\",\"freeze\"]"), "{segments}");
        assert_eq!(decode(&output).len(), 300);
        if inside == "--chapters" {
            let found = chapters(&output);
            let titles: Vec<_> = found.iter().map(|c| (c.0.round(), &*c.2)).collect();
            assert_eq!(titles, [(0.0, "n000"), (4.0, "n127"), (8.0, "n000")], "{name}");
        } else {
            let bytes = std::fs::read(&output).unwrap();
            assert!(bytes.windows(4).any(|w| w == b"CUEI"), "{name}");
        }
    }
    let names = dir.names();
    assert!(names.iter().all(|n| !n.contains(".part")), "{names:?}");
}

/// A profile for a recording of a minute.
const SHORT: &str = "[evidence]\nweight = 0.1\n[durations.show]\nmedian_s = 60.0\nsigma = 0.8\n\
    min_s = 10.0\n[durations.commercial]\nmedian_s = 50.0\nsigma = 0.6\nmin_s = 8.0\n";

#[test]
fn annotate_and_scan_find_the_same_breaks_between_black_and_silence() {
    let dir = Dir::new();
    let programme = |from_s, frames| Part::Programme { from_s, frames, saturation: 1.0 };
    let black = Part::Black { frames: 12 };
    let parts = [
        programme(0.0, 10 * FPS),
        programme(5.0, 10 * FPS),
        black.clone(),
        Part::Advert { which: 0, frames: 10 * FPS },
        Part::Advert { which: 1, frames: 14 * FPS },
        black,
        programme(3.0, 10 * FPS),
        programme(0.0, 10 * FPS),
    ];
    let input = splice(&dir, "rec.ts", &parts, "", H264);
    let profile = dir.path("short.toml");
    std::fs::write(&profile, SHORT).unwrap();
    let listed = |mut command: std::process::Command, name: &str| {
        let [edl, segments] = ["edl", "jsonl"].map(|e| dir.path(&format!("{name}.{e}")));
        command.arg("--profile").arg(&profile);
        command.arg("--edl").arg(&edl).arg("--segments").arg(&segments);
        let out = command.output().unwrap();
        assert!(out.status.success(), "{}", text(&out.stderr));
        [edl, segments].map(|path| std::fs::read_to_string(path).unwrap())
    };
    let mut scan = heatcast(["scan", "-q", "--model"]);
    scan.arg(content_model()).arg(&input);
    let [scanned, _] = listed(scan, "scan");
    let annotate = annotate_with(&content_model(), &input, &dir.path("o.ts"), &[]);
    let [annotated, segments] = listed(annotate, "annotate");
    // In the middle of the black: 20 s and 44.48 s, and half of 0.48 s each.
    let words: Vec<f64> = annotated.split_whitespace().map(|w| w.parse().unwrap()).collect();
    let [start, end, 3.0] = words[..] else { panic!("{annotated:?}") };
    assert!((start - 20.24).abs() < 0.03 && (end - 44.72).abs() < 0.03, "{annotated:?}");
    assert_eq!(annotated, scanned);
    assert!(segments.contains("\"start_cues\":[\"shot_cut\",\"black\",\"silence\"]"), "{segments}");
}

#[test]
fn a_list_without_breaks_is_empty_and_there() {
    let dir = Dir::new();
    let input = recording(&dir);
    let list = dir.path("none.edl");
    let mut command = annotate(&input, &dir.path("o.mp4"), &["--break", "n005", "--edl"]);
    command.arg(&list);
    json_of(command);
    assert_eq!(std::fs::read_to_string(list).unwrap(), "");
}

#[test]
fn what_makes_no_sense_is_refused_before_work_starts() {
    let dir = Dir::new();
    let input = recording(&dir);
    let edl = dir.path("x.edl");
    let edl = edl.to_str().unwrap();
    let refused = |output: &str, more: &[&str], words: &[&str]| {
        fails(annotate(&input, &dir.path(output), more), 2, words);
    };
    refused("o.mp4", &["--edl", edl], &["no label of number", "\"commercial\"", "--break"]);
    refused("o.mp4", &["--edl", edl, "--break", "n128"], &["did you mean \"n12"]);
    refused("o.mp4", &["--vtt", edl, "--segment", "content"], &["no head \"content\"", "number"]);
    refused("o.mp4", &["--vtt", edl, "--profile", "usa"], &["usa", "us"]);
    refused("o.mp4", &["--vtt", edl, "--profile", "no.toml"], &["no.toml"]);
    refused("o.ts", &["--chapters", "in-file"], &["transport streams have no chapters", ".mkv"]);
    refused("o.mp4", &["--scte35", "in-file", "--break", "n1"], &["MP4 has no place", ".ts"]);
    refused("o.mp4", &["--segment", "number"], &["--segment changes nothing", "--timeline"]);
    refused("o.mp4", &["--vtt", edl, "--csv", edl], &["named twice"]);
    refused("o.mp4", &["--vtt", edl, "--start-time", "noon"], &["--start-time", "\"noon\""]);
    refused(
        "o.mp4",
        &["--vtt", edl, "--start-timecode", "1"],
        &["--start-timecode", "HH:MM:SS:FF"],
    );
    refused("o.mp4", &["--vtt", edl, "--broadcast-day", "6"], &["--broadcast-day", "HH:MM"]);
    refused(
        "o.mp4",
        &["--vtt", edl, "--edl-action", "skip"],
        &["--edl-action", "break, cut or mute"],
    );
    std::fs::write(edl, "precious").unwrap();
    refused("o.mp4", &["--vtt", edl], &["exists", "--force"]);
    assert_eq!(dir.names(), ["brisk.toml", "rec.mkv", "x.edl"]);
}
