//! Several classes at once, styles, and the original beside the painted picture.

use std::path::Path;
use std::process::Command;

use crate::common::{
    Dir, Picture, annotate, annotate_with, decode, encode, fails, json_of, spots_model, text,
};

const WIDTH: usize = 320;
const HEIGHT: usize = 160;
/// A white and a black spot on grey: left, top, width and height.
const BRIGHT: [usize; 4] = [40, 40, 80, 80];
const DARK: [usize; 4] = [200, 40, 80, 80];

fn record(path: &Path) {
    let inside = |i: usize, [x, y, w, h]: [usize; 4]| {
        (x..x + w).contains(&(i % WIDTH)) && (y..y + h).contains(&(i / WIDTH))
    };
    let sample = |i| {
        if inside(i, BRIGHT) {
            235
        } else if inside(i, DARK) {
            16
        } else {
            126
        }
    };
    let mut data: Vec<u8> = (0..WIDTH * HEIGHT).map(sample).collect();
    data.extend(vec![128; WIDTH * HEIGHT / 2]);
    let description = format!(
        "appsrc name=v ! x264enc pass=quant quantizer=6 ! h264parse ! matroskamux ! filesink location={}",
        path.display()
    );
    encode(
        &description,
        (WIDTH, HEIGHT),
        (0..6).map(|i| (i * 40_000_000, 40_000_000, data.clone())),
    );
}

/// The second frame of the annotated recording, and the events.
fn painted(dir: &Dir, more: &[&str]) -> (Picture, String) {
    let (input, output, events) = (dir.path("in.mkv"), dir.path("out.mkv"), dir.path("e.jsonl"));
    record(&input);
    let mut all = vec!["--hud", "off", "--set", "output.crf=4", "--force", "--events"];
    all.push(events.to_str().unwrap());
    all.extend(more);
    json_of(annotate_with(&spots_model(dir, "stretch"), &input, &output, &all));
    (decode(&output).swap_remove(1), std::fs::read_to_string(events).unwrap())
}

fn chroma(picture: &Picture, [x, y, w, h]: [usize; 4]) -> [f64; 2] {
    [1, 2].map(|plane| picture.mean(plane, x + w / 4, y + h / 4, w / 2, h / 2) - 128.0)
}

#[test]
fn two_classes_have_their_own_heat_in_their_own_colours() {
    let dir = Dir::new();
    let (both, events) = painted(&dir, &["--class", "bright,dark"]);
    // Orange: little blue, much red. Blue: the other way round.
    let ([bright_u, bright_v], [dark_u, dark_v]) = (chroma(&both, BRIGHT), chroma(&both, DARK));
    assert!(bright_u < -10.0 && bright_v > 10.0, "{bright_u} {bright_v}");
    assert!(dark_u > 10.0 && dark_v < -10.0, "{dark_u} {dark_v}");
    let line: serde_json::Value = serde_json::from_str(events.lines().nth(1).unwrap()).unwrap();
    assert_eq!(line["explained"]["label"], "bright");
    assert_eq!(line["also_explained"][0]["label"], "dark");
    let x = |of: &serde_json::Value| of["centroid"][0].as_f64().unwrap();
    assert!((x(&line["explained"]) - 0.25).abs() < 0.05);
    assert!((x(&line["also_explained"][0]) - 0.75).abs() < 0.05);
    // One of them alone heats its own place only.
    let (one, _) = painted(&dir, &["--class", "dark", "--colormap", "blue"]);
    assert!(chroma(&one, DARK)[0] > 10.0);
    assert!(chroma(&one, BRIGHT)[0].abs() < 2.0);
}

#[test]
fn there_are_as_many_classes_at_once_as_there_are_colours() {
    let dir = Dir::new();
    let (input, output) = (dir.path("in.mkv"), dir.path("o.mkv"));
    record(&input);
    let many = "n001,n002,n003,n004,n005";
    fails(annotate(&input, &output, &["--class", many]), 2, &["names 5 classes", "only 4"]);
    json_of(annotate(&input, &output, &["--class", &many[..19]]));
}

#[test]
fn every_style_treats_the_place_without_evidence_in_its_own_way() {
    let dir = Dir::new();
    let corner = [300, 140, 16, 16];
    let (plain, _) = painted(&dir, &["--style", "off"]);
    let luma = |p: &Picture, [x, y, w, h]: [usize; 4]| p.mean(0, x, y, w, h);
    let middle = [60, 60, 40, 40];
    for (style, darkens, edge_stays) in [
        ("heatmap", false, true),
        ("shade", true, true),
        ("blur", false, false),
        ("contour", false, true),
    ] {
        let (out, _) = painted(&dir, &["--style", style, "--class", "bright"]);
        let change = luma(&out, corner) - luma(&plain, corner);
        assert_eq!(change < -20.0, darkens, "{style}: the corner changed by {change}");
        // The black spot has no evidence for `bright`: its edge is sharp, or blurred.
        let step = |p: &Picture| luma(p, [196, 60, 4, 40]) - luma(p, [200, 60, 4, 40]);
        let kept = step(&out) / step(&plain);
        assert_eq!(kept > 0.9 || darkens, edge_stays, "{style}: {kept} of the edge is left");
        if matches!(style, "shade" | "blur") {
            let change = luma(&out, middle) - luma(&plain, middle);
            assert!(change.abs() < 3.0, "{style}: the spot changed by {change}");
        }
    }
}

#[test]
fn the_original_stands_to_the_left() {
    let dir = Dir::new();
    let (plain, _) = painted(&dir, &["--style", "off"]);
    let (both, _) =
        painted(&dir, &["--class", "bright", "--layout", "side", "--colormap", "orange"]);
    assert_eq!((both.width, both.height), (2 * WIDTH, HEIGHT));
    let [x, y, w, h] = BRIGHT;
    for plane in 0..3 {
        let (a, b) = (plain.mean(plane, x, y, w, h), both.mean(plane, x, y, w, h));
        assert!((a - b).abs() < 1.0, "plane {plane} of the original: {a} became {b}");
    }
    assert!(chroma(&both, [x + WIDTH, y, w, h])[0] < -10.0, "the right one has heat");

    let odd = dir.make(
        "odd.mkv",
        "videotestsrc num-buffers=3 ! video/x-raw,format=Y444,width=317,height=169,framerate=25/1,pixel-aspect-ratio=4/3 ! x264enc ! h264parse ! matroskamux ! filesink location=FILE",
    );
    let model = spots_model(&dir, "stretch");
    let summary = json_of(annotate_with(&model, &odd, &dir.path("odd.mp4"), &["--layout", "side"]));
    assert_eq!(summary["frames_out"], 3);
    let probe = Command::new("ffprobe")
        .args(["-v", "error", "-select_streams", "v", "-of", "csv=p=0:s=x"])
        .args(["-show_entries", "stream=width,height,sample_aspect_ratio"])
        .arg(dir.path("odd.mp4"))
        .output()
        .unwrap();
    // Matroska has the shape of the picture in whole pixels: 422 instead of 422.7.
    assert_eq!(text(&probe.stdout).trim(), "636x170x422:317");
}
