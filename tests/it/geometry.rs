//! Heat lies where its object is in the picture that people see: however the
//! picture was fitted into the classifier's input, turned, or stretched.

use std::path::{Path, PathBuf};

use crate::common::{Dir, Picture, annotate_with, decode, encode, json_of, spots_model};

const WIDTH: usize = 320;
const HEIGHT: usize = 160;
/// Part of the heat that must lie on the object. The map's cells are 10 to 20
/// pixels wide, and heat between their centres is interpolated, so some of it
/// lies around the object.
const FLOOR: f64 = 0.7;

/// Left, top, width and height in pixels.
type Area = [f64; 4];

/// Grey, with a white object.
fn picture(size: (usize, usize), [x, y, w, h]: Area) -> Vec<u8> {
    let inside = |at: usize, from: f64, extent: f64| {
        let at = at as f64 + 0.5;
        at > from && at < from + extent
    };
    let sample = |i: usize| {
        let object = inside(i % size.0, x, w) && inside(i / size.0, y, h);
        if object { 235 } else { 120 }
    };
    let mut data: Vec<u8> = (0..size.0 * size.1).map(sample).collect();
    data.extend(vec![128; size.0 * size.1 / 2]);
    data
}

fn record(path: &Path, object: Area, caps: &str) {
    let mux = if path.extension().is_some_and(|e| e == "mp4") { "mp4mux" } else { "matroskamux" };
    let description = format!(
        "appsrc name=v ! capssetter caps=video/x-raw{caps} ! x264enc pass=quant quantizer=6 ! h264parse ! {mux} ! filesink location={}",
        path.display()
    );
    let frames = (0..3).map(|i| (i * 40_000_000, 40_000_000, picture((WIDTH, HEIGHT), object)));
    encode(&description, (WIDTH, HEIGHT), frames);
}

/// Colour that heat adds to each chroma sample. The recording is grey, so that
/// this is nothing but heat.
fn heat(before: &Picture, after: &Picture) -> Vec<(f64, f64, f64)> {
    let mut found = Vec::new();
    for y in (0..before.height).step_by(2) {
        for x in (0..before.width).step_by(2) {
            let change = |plane| after.mean(plane, x, y, 2, 2) - before.mean(plane, x, y, 2, 2);
            let energy = change(1).abs() + change(2).abs();
            // Less than that is the encoder's.
            if energy > 4.0 {
                found.push((x as f64 + 1.0, y as f64 + 1.0, energy));
            }
        }
    }
    found
}

fn share(heat: &[(f64, f64, f64)], [x, y, w, h]: Area) -> f64 {
    let inside =
        |(px, py, _): &&(f64, f64, f64)| (x..x + w).contains(px) && (y..y + h).contains(py);
    let all: f64 = heat.iter().map(|h| h.2).sum();
    heat.iter().filter(inside).map(|h| h.2).sum::<f64>() / all
}

/// Where an object would have to be for a map that lies over `truth` to paint
/// it at `object` when laid over `wrong`.
fn as_if([x, y, w, h]: Area, truth: Area, wrong: Area) -> Area {
    let across = truth[2] / wrong[2];
    let down = truth[3] / wrong[3];
    [truth[0] + (x - wrong[0]) * across, truth[1] + (y - wrong[1]) * down, w * across, h * down]
}

/// Annotates `input` and returns the heat of its second frame.
fn painted(dir: &Dir, input: &Path, resize: &str) -> (Vec<(f64, f64, f64)>, Picture) {
    let model = spots_model(dir, resize);
    let run = |style: &str| {
        let output = dir.path(&format!("{style}.mkv"));
        let more = [
            "--style",
            style,
            "--class",
            "bright",
            "--hud",
            "off",
            "--colormap",
            "orange",
            "--opacity",
            "0.9",
            "--set",
            "output.crf=4",
            "--force",
        ];
        json_of(annotate_with(&model, input, &output, &more));
        decode(&output).swap_remove(1)
    };
    let (plain, hot) = (run("off"), run("heatmap"));
    (heat(&plain, &hot), hot)
}

#[test]
fn heat_lies_on_the_object_however_the_picture_was_fitted_in() {
    let whole = [0.0, 0.0, 320.0, 160.0];
    let middle = [80.0, 0.0, 160.0, 160.0];
    let padded = [0.0, -80.0, 320.0, 320.0];
    let object = [90.0, 10.0, 40.0, 40.0];
    // What is seen, where the map lies, and where a mistake would lay it.
    let cases = [
        ("stretch", "", object, whole, middle),
        ("crop", "", object, middle, whole),
        ("letterbox", "", object, padded, whole),
        // Pixels twice as wide as high: a square part is half as many of them.
        (
            "crop",
            ",pixel-aspect-ratio=2/1",
            [122.0, 10.0, 20.0, 40.0],
            [120.0, 0.0, 80.0, 160.0],
            middle,
        ),
        (
            "letterbox",
            ",pixel-aspect-ratio=2/1",
            [90.0, 0.0, 40.0, 40.0],
            [0.0, -240.0, 320.0, 640.0],
            padded,
        ),
        ("stretch", ",pixel-aspect-ratio=2/1", object, whole, middle),
    ];
    for (resize, caps, object, truth, mistake) in cases {
        let dir = Dir::new();
        let input = dir.path("in.mkv");
        record(&input, object, caps);
        let (heat, picture) = painted(&dir, &input, resize);
        assert_eq!((picture.width, picture.height), (WIDTH, HEIGHT));
        let found = share(&heat, object);
        assert!(found >= FLOOR, "{resize}{caps}: {found:.2} of the heat is on the object");
        let wrong = share(&heat, as_if(object, truth, mistake));
        assert!(wrong < FLOOR / 2.0, "{resize}{caps}: a wrong place would pass with {wrong:.2}");
    }
}

#[test]
fn heat_turns_with_the_picture() {
    let stored = [30.0, 10.0, 60.0, 40.0];
    let [x, y, w, h] = stored;
    let (width, height) = (WIDTH as f64, HEIGHT as f64);
    for (degrees, upright) in [
        (90, [height - y - h, x, h, w]),
        (180, [width - x - w, height - y - h, w, h]),
        (270, [y, width - x - w, h, w]),
    ] {
        let dir = Dir::new();
        let input = dir.path("in.mp4");
        record(&input, stored, "");
        turn(&input, degrees);
        for resize in ["stretch", "letterbox"] {
            let (heat, picture) = painted(&dir, &input, resize);
            let turned = (picture.width, picture.height) == (HEIGHT, WIDTH);
            assert_eq!(turned, degrees != 180, "{degrees}: {} wide", picture.width);
            let found = share(&heat, upright);
            assert!(found >= FLOOR, "{degrees} {resize}: {found:.2} of the heat is on the object");
            assert!(
                picture.mean(0, upright[0] as usize + 4, upright[1] as usize + 4, 20, 20) > 100.0
            );
            let wrong = share(&heat, stored);
            assert!(wrong < FLOOR / 2.0, "{degrees} {resize}: unturned would pass with {wrong:.2}");
        }
    }
}

/// Says in the file that players are to turn its picture clockwise.
fn turn(path: &PathBuf, degrees: u32) {
    let one = 1 << 16;
    let (width, height) = ((WIDTH as i32) << 16, (HEIGHT as i32) << 16);
    let matrix: [i32; 9] = match degrees {
        90 => [0, one, 0, -one, 0, 0, height, 0, 1 << 30],
        180 => [-one, 0, 0, 0, -one, 0, width, height, 1 << 30],
        _ => [0, -one, 0, one, 0, 0, 0, width, 1 << 30],
    };
    let mut bytes = std::fs::read(path).unwrap();
    let header = bytes.windows(4).position(|w| w == b"tkhd").unwrap();
    for (i, value) in matrix.iter().enumerate() {
        bytes[header + 44 + 4 * i..][..4].copy_from_slice(&value.to_be_bytes());
    }
    std::fs::write(path, bytes).unwrap();
}
