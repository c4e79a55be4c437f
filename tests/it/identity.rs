//! Every frame carries the explanation that belongs to it. The video codes its
//! frame number in pixels; the model answers with that number and heats one
//! place in proportion to it; the number is read back from the painted heat.

use std::collections::BTreeMap;
use std::path::Path;

use heatcast::frame::Colorimetry;
use heatcast::overlay::Colormap;

use crate::common::{Dir, Picture, annotate, decode, encode, json_of};

const WIDTH: usize = 320;
const HEIGHT: usize = 160;
const GREY: u8 = 126;
const OPACITY: f64 = 0.9;
const MS: u64 = 1_000_000;

/// Grey, with the bits of `number` as eight cells along the bottom quarter.
fn picture_of(number: u8) -> Vec<u8> {
    let mut luma = vec![GREY; WIDTH * HEIGHT];
    for y in HEIGHT * 3 / 4..HEIGHT {
        for x in 0..WIDTH * 7 / 8 {
            let bit = number >> (6 - x * 8 / WIDTH) & 1;
            luma[y * WIDTH + x] = if bit == 1 { 235 } else { 16 };
        }
    }
    luma.extend(vec![128; WIDTH * HEIGHT / 2]);
    luma
}

fn record(path: &Path, encoder: &str, frames: &[(u64, u8)]) {
    let description = format!("appsrc name=v ! {encoder} ! filesink location={}", path.display());
    let pictures = frames.iter().enumerate().map(|(i, &(pts, number))| {
        let next = frames.get(i + 1).map_or(pts + 40 * MS, |f| f.0);
        (pts, next - pts, picture_of(number))
    });
    encode(&description, (WIDTH, HEIGHT), pictures);
}

/// The number whose heat best explains the colour of the heated place.
fn read_heat(picture: &Picture) -> f64 {
    let seen: Vec<f64> = (0..3).map(|i| picture.mean(i, 8, 8, 40, 40)).collect();
    let mut best = (f64::MAX, 0.0);
    for step in 0..=508 {
        let heat = f64::from(step) / 508.0;
        let colour = Colorimetry::BT601.rgb_to_yuv(Colormap::Turbo.rgb(heat as f32));
        let ground = [f64::from(GREY), 128.0, 128.0];
        let error: f64 = (0..3)
            .map(|i| {
                let painted = ground[i] + OPACITY * heat * (f64::from(colour[i]) - ground[i]);
                (painted - seen[i]).powi(2)
            })
            .sum();
        if error < best.0 {
            best = (error, heat * 128.0 - 1.0);
        }
    }
    best.1
}

const PLAIN: &[&str] = &[
    "--hud",
    "off",
    "--opacity",
    "0.9",
    "--colormap",
    "turbo",
    "--set",
    "output.crf=4",
    "--set",
    "explain.map_smoothing_ms=0",
    "--set",
    "explain.crossfade_ms=0",
    "--set",
    "explain.class_smoothing_ms=0",
    "--set",
    "explain.class_switch_margin=0",
];

/// What the events file says: stream time in nanoseconds to number and cut.
fn events_of(path: &Path) -> BTreeMap<u64, (f64, bool)> {
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text.lines().map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap());
    lines
        .filter(|l| l["type"] == "analysis")
        .map(|l| {
            let pts = (l["pts_s"].as_f64().unwrap() * 1e9).round() as u64;
            let number = l["label"].as_str().unwrap()[1..].parse().unwrap();
            (pts, (number, l["starts_shot"].as_bool().unwrap()))
        })
        .collect()
}

/// Annotates `frames` and checks count, times, events and painted heat of each.
fn check(name: &str, encoder: &str, frames: &[(u64, u8)], analysis_fps: &str) {
    let dir = Dir::new();
    let (input, events) = (dir.path(name), dir.path("e.jsonl"));
    let output = dir.path("out.mkv").with_extension(input.extension().unwrap());
    record(&input, encoder, frames);
    let mut more = PLAIN.to_vec();
    more.extend(["--events", events.to_str().unwrap(), "--analysis-fps", analysis_fps]);
    let summary = json_of(annotate(&input, &output, &more));
    assert_eq!(summary["frames_in"], frames.len());
    assert_eq!(summary["frames_out"], frames.len());

    let (given, got) = (decode(&input), decode(&output));
    assert_eq!(got.len(), frames.len());
    let seen = events_of(&events);
    assert_eq!(summary["frames_analysed"], seen.len());
    for ((before, after), &(_, number)) in given.iter().zip(&got).zip(frames) {
        assert!(before.pts_ns.abs_diff(after.pts_ns) < MS, "{} {}", before.pts_ns, after.pts_ns);
        let at = before.pts_ns;
        let own = seen.iter().find(|(pts, _)| pts.abs_diff(at) < MS / 2);
        let expected = match own {
            Some((_, &(answer, _))) => {
                assert_eq!(answer, f64::from(number), "answer about another frame at {at}");
                answer
            }
            None => between(&seen, at),
        };
        let painted = read_heat(after);
        assert!((painted - expected).abs() < 2.0, "{name} at {at}: {painted} for {expected}");
    }
}

/// Linear between the analysed neighbours, held before a cut and at the end.
fn between(seen: &BTreeMap<u64, (f64, bool)>, at: u64) -> f64 {
    let (from, &(a, _)) = seen.range(..at).next_back().unwrap();
    match seen.range(at..).next() {
        Some((to, &(b, false))) => a + (b - a) * (at - from) as f64 / (to - from) as f64,
        _ => a,
    }
}

fn shuffled(pts: impl Fn(u64) -> u64) -> Vec<(u64, u8)> {
    (0..128).map(|i| (pts(i), (i * 37 % 128) as u8)).collect()
}

const B_FRAMES: &str =
    "x264enc pass=quant quantizer=6 bframes=3 b-adapt=false key-int-max=24 ! h264parse";

#[test]
fn every_analysed_frame_is_painted_with_its_own_map() {
    check("a.mp4", &format!("{B_FRAMES} ! mp4mux"), &shuffled(|i| i * 40 * MS), "1000");
}

#[test]
fn also_at_a_variable_frame_rate() {
    let gaps = [40, 20, 120, 33, 7, 60];
    let pts = |i: u64| (0..i).map(|k| gaps[k as usize % gaps.len()]).sum::<u64>() * MS;
    check("v.mkv", &format!("{B_FRAMES} ! matroskamux"), &shuffled(pts), "1000");
}

#[test]
fn also_through_a_transport_stream() {
    check("t.ts", &format!("{B_FRAMES} ! mpegtsmux"), &shuffled(|i| i * 40 * MS), "1000");
}

#[test]
fn frames_between_analyses_get_the_map_in_between() {
    let frames: Vec<_> = (0..128).map(|i| (i * 40 * MS, i as u8)).collect();
    check("b.mp4", &format!("{B_FRAMES} ! mp4mux"), &frames, "5");
}
