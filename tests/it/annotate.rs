//! What comes out of `heatcast annotate`: formats, sound, events, files.

use std::process::{Command, Stdio};
use std::time::Duration;

use crate::common::{Dir, annotate, counter_model, decode, heatcast, json_of, text};

const PICTURE: &str =
    "videotestsrc num-buffers=50 pattern=ball ! video/x-raw,width=320,height=180,framerate=25/1";
const SOUND: &str =
    "audiotestsrc num-buffers=86 samplesperbuffer=1024 ! audio/x-raw,rate=44100,channels=2";

fn h264() -> String {
    format!("{PICTURE} ! x264enc speed-preset=ultrafast ! h264parse")
}

#[test]
fn every_codec_comes_out_with_all_its_frames() {
    let cases = [
        ("h264.mp4", "-c:v libx264 -preset ultrafast -bf 2"),
        ("h264-10.mkv", "-c:v libx264 -preset ultrafast -pix_fmt yuv420p10le"),
        ("h264-444.mkv", "-c:v libx264 -preset ultrafast -pix_fmt yuv444p"),
        ("hevc.ts", "-c:v libx265 -preset ultrafast -x265-params log-level=error"),
        (
            "hevc-10.mp4",
            "-c:v libx265 -preset ultrafast -x265-params log-level=error -pix_fmt yuv420p10le",
        ),
        ("mpeg2.ts", "-c:v mpeg2video -q:v 3"),
        ("mpeg2.mpg", "-c:v mpeg2video -q:v 3"),
        ("mpeg4.avi", "-c:v mpeg4 -q:v 3"),
        ("vp9.webm", "-c:v libvpx-vp9 -deadline realtime -cpu-used 8"),
        ("av1.mkv", "-c:v libaom-av1 -cpu-used 8 -usage realtime"),
        ("prores.mov", "-c:v prores_ks"),
        ("mjpeg.avi", "-c:v mjpeg -q:v 3"),
    ];
    for (name, encoder) in cases {
        let dir = Dir::new();
        let input = dir.path(name);
        let test_picture = "testsrc2=size=320x180:rate=25:duration=2";
        let made = Command::new("ffmpeg")
            .args(["-v", "error", "-f", "lavfi", "-i", test_picture])
            .args(encoder.split(' '))
            .arg(&input)
            .output()
            .unwrap();
        assert!(made.status.success(), "{name}: {}", text(&made.stderr));
        let summary = json_of(annotate(&input, &dir.path("out.mp4"), &[]));
        let (given, got) = (decode(&input), decode(&dir.path("out.mp4")));
        assert_eq!(summary["frames_out"], 50, "{name}: {summary}");
        assert_eq!((given.len(), got.len()), (50, 50), "{name}");
        for (before, after) in given.iter().zip(&got) {
            // Some of these containers round to milliseconds themselves.
            let drift = before.pts_ns.abs_diff(after.pts_ns);
            assert!(drift <= 1_000_000, "{name}: {} became {}", before.pts_ns, after.pts_ns);
        }
    }
}

#[test]
fn shape_and_rotation_are_kept() {
    let dir = Dir::new();
    let odd = dir.make(
        "odd.mkv",
        "videotestsrc num-buffers=5 ! video/x-raw,format=Y444,width=317,height=169,framerate=25/1 ! x264enc ! h264parse ! matroskamux ! filesink location=FILE",
    );
    json_of(annotate(&odd, &dir.path("odd.mp4"), &[]));
    let out = &decode(&dir.path("odd.mp4"))[0];
    assert_eq!((out.width, out.height), (318, 170));

    let wide = dir.make(
        "wide.mkv",
        "videotestsrc num-buffers=5 ! video/x-raw,width=720,height=576,framerate=25/1,pixel-aspect-ratio=64/45 ! x264enc ! h264parse ! matroskamux ! filesink location=FILE",
    );
    json_of(annotate(&wide, &dir.path("wide.mp4"), &[]));
    let probe = ffprobe(&dir.path("wide.mp4"), "stream=width,height,sample_aspect_ratio");
    assert_eq!(probe, "720|576|64:45");

    let turned = dir.make(
        "turned.mp4",
        "videotestsrc num-buffers=5 ! video/x-raw,width=320,height=180,framerate=25/1 ! x264enc ! h264parse ! mp4mux ! filesink location=FILE",
    );
    rotate_90(&turned);
    json_of(annotate(&turned, &dir.path("turned2.mp4"), &[]));
    let out = &decode(&dir.path("turned2.mp4"))[0];
    assert_eq!((out.width, out.height), (180, 320), "the picture must be upright");
}

#[test]
fn transport_streams_keep_their_times_where_clock_references_are_sparse() {
    let dir = Dir::new();
    let input = dir.path("sparse.ts");
    let made = Command::new("ffmpeg")
        .args(["-v", "error", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25:duration=6"])
        .args(["-f", "lavfi", "-i", "sine=duration=6", "-c:v", "libx264", "-preset", "ultrafast"])
        .args(["-bf", "2", "-g", "50", "-c:a", "aac", "-pcr_period", "2500"])
        .arg(&input)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", text(&made.stderr));
    let output = dir.path("out.ts");
    let summary = json_of(annotate(&input, &output, &[]));
    assert_eq!((&summary["frames_out"], &summary["audio"]), (&150.into(), &"copied".into()));
    let times = |path: &std::path::Path, stream: &str| -> Vec<f64> {
        let out = Command::new("ffprobe")
            .args(["-v", "error", "-select_streams", stream, "-of", "csv=p=0"])
            .args(["-show_entries", "packet=pts_time"])
            .arg(path)
            .output()
            .unwrap();
        let said = text(&out.stdout);
        let mut times: Vec<f64> =
            said.lines().filter_map(|l| l.trim_matches(',').parse().ok()).collect();
        times.sort_by(f64::total_cmp);
        times
    };
    let (video, sound) = (times(&output, "v"), times(&output, "a"));
    let (video_in, sound_in) = (times(&input, "v"), times(&input, "a"));
    assert_eq!(video.len(), video_in.len());
    for (before, after) in video_in.iter().zip(&video) {
        let drift = (after - video[0]) - (before - video_in[0]);
        assert!(drift.abs() < 0.001, "{before} became {after}");
    }
    let offset = (sound[0] - video[0]) - (sound_in[0] - video_in[0]);
    assert!(offset.abs() < 0.001, "sound moved by {offset} s against the picture");
}

/// Sets the display matrix of an MP4's track header (ISO/IEC 14496-12, 8.3.2)
/// to a quarter turn, as cameras do.
fn rotate_90(path: &std::path::Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let tkhd = bytes.windows(4).position(|w| w == b"tkhd").unwrap();
    let matrix: [i32; 9] = [0, 1 << 16, 0, -1 << 16, 0, 0, 180 << 16, 0, 1 << 30];
    for (i, value) in matrix.iter().enumerate() {
        bytes[tkhd + 44 + 4 * i..][..4].copy_from_slice(&value.to_be_bytes());
    }
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn interlaced_video_comes_out_progressive_with_its_frames_and_times() {
    let dir = Dir::new();
    let input = dir.make(
        "i.mkv",
        "videotestsrc num-buffers=100 pattern=ball ! video/x-raw,width=320,height=192,framerate=50/1 ! interlace field-pattern=1:1 top-field-first=true ! x264enc interlaced=true speed-preset=ultrafast ! h264parse ! matroskamux ! filesink location=FILE",
    );
    // Top field first; newer GStreamers also tell Matroska that lines are interleaved.
    let order = ffprobe(&input, "stream=field_order");
    assert!(["tt", "tb"].contains(&&*order), "{order}");
    let summary = json_of(annotate(&input, &dir.path("o.mkv"), &[]));
    assert_eq!((&summary["frames_in"], &summary["frames_out"]), (&50.into(), &50.into()));
    assert_eq!(ffprobe(&dir.path("o.mkv"), "stream=field_order"), "progressive");
    let times: Vec<_> = decode(&dir.path("o.mkv")).iter().map(|p| p.pts_ns / 1_000_000).collect();
    let expected: Vec<u64> = (0..50).map(|i| i * 40).collect();
    assert_eq!(times, expected);
}

fn ffprobe(path: &std::path::Path, entries: &str) -> String {
    let out = Command::new("ffprobe")
        .args(["-v", "error", "-show_entries", entries, "-of", "compact=nk=1:p=0"])
        .arg(path)
        .output()
        .unwrap();
    text(&out.stdout).lines().next().unwrap_or_default().to_owned()
}

#[test]
fn sound_is_copied_where_the_container_takes_it_and_converted_where_not() {
    let cases = [
        ("aac.mp4", "avenc_aac ! aacparse", "mp4mux", "out.mkv", "copied"),
        ("aac.ts", "avenc_aac ! aacparse", "mpegtsmux", "out.mp4", "copied"),
        ("ac3.ts", "avenc_ac3 ! ac3parse", "mpegtsmux", "out.mp4", "copied"),
        (
            "pcm.mkv",
            "audioconvert ! audio/x-raw,format=S16LE",
            "matroskamux",
            "out.mp4",
            "transcoded",
        ),
        ("flac.mkv", "flacenc ! flacparse", "matroskamux", "out.ts", "transcoded"),
    ];
    for (name, codec, mux, output, fate) in cases {
        let dir = Dir::new();
        let video = h264();
        let input = dir.make(
            name,
            &format!("{mux} name=m ! filesink location=FILE {video} ! queue ! m. {SOUND} ! {codec} ! queue ! m."),
        );
        let summary = json_of(annotate(&input, &dir.path(output), &[]));
        assert_eq!(summary["audio"], fate, "{name} to {output}");
        assert_eq!(summary["frames_out"], 50, "{name} to {output}");
        let seconds = |path: &std::path::Path| -> f64 {
            let out = Command::new("ffprobe")
                .args(["-v", "error", "-select_streams", "a", "-show_entries", "packet=pts_time"])
                .args(["-of", "csv=p=0"])
                .arg(path)
                .output()
                .unwrap();
            let times: Vec<f64> = text(&out.stdout)
                .lines()
                .filter_map(|l| l.trim_matches(',').parse().ok())
                .collect();
            times.last().unwrap() - times.first().unwrap()
        };
        let (before, after) = (seconds(&input), seconds(&dir.path(output)));
        assert!((before - after).abs() < 0.1, "{name} to {output}: {before} s became {after} s");
    }
}

#[test]
fn a_video_without_sound_says_none() {
    let dir = Dir::new();
    let input = dir.make("v.mp4", &format!("{} ! mp4mux ! filesink location=FILE", h264()));
    assert_eq!(json_of(annotate(&input, &dir.path("o.mp4"), &[]))["audio"], "none");
}

#[test]
fn the_same_input_gives_the_same_events_twice() {
    let dir = Dir::new();
    let clip = "assets/clips/bbb.mp4";
    let mut texts = Vec::new();
    for round in ["a", "b"] {
        let (output, events) = (dir.path(&format!("{round}.mp4")), dir.path(round));
        let mut command =
            heatcast(["annotate", clip, "--json", "-q", "--set", "output.preset=ultrafast"]);
        command.arg("-o").arg(output).arg("--events").arg(&events);
        json_of(command);
        texts.push(std::fs::read_to_string(events).unwrap());
    }
    assert_eq!(texts[0], texts[1]);
    let lines: Vec<serde_json::Value> =
        texts[0].lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines[0]["type"], "header");
    assert_eq!(lines[0]["model"]["sha256"].as_str().unwrap().len(), 64);
    assert_eq!(lines.last().unwrap()["complete"], true);
    // Five analyses a second of 21 seconds, and one more at each shot cut.
    let of_first_head = lines.iter().filter(|l| l["head"] == "content").count();
    assert!((105..140).contains(&of_first_head), "{of_first_head}");
    assert_eq!(lines.len(), 4 * of_first_head + 2, "every head answers about every frame");
    let hot = lines.iter().filter(|l| l["explained"]["box"].is_array()).count();
    assert!(hot > 50, "the heat has a place in {hot} lines");
}

#[test]
fn an_output_is_not_overwritten_unless_forced_and_nothing_else_is_left() {
    let dir = Dir::new();
    let input = dir.make("v.mp4", &format!("{} ! mp4mux ! filesink location=FILE", h264()));
    let output = dir.path("o.mp4");
    std::fs::write(&output, "precious").unwrap();
    crate::common::fails(annotate(&input, &output, &[]), 2, &["exists", "--force"]);
    assert_eq!(std::fs::read_to_string(&output).unwrap(), "precious");
    json_of(annotate(&input, &output, &["--force"]));
    assert_eq!(decode(&output).len(), 50);
    assert_eq!(dir.names(), ["o.mp4", "v.mp4"]);
}

#[test]
fn ctrl_c_leaves_a_playable_file_and_complete_events() {
    let dir = Dir::new();
    let long = "videotestsrc num-buffers=3000 ! video/x-raw,width=640,height=360,framerate=25/1 ! x264enc speed-preset=ultrafast ! h264parse ! mp4mux ! filesink location=FILE";
    let input = dir.make("long.mp4", long);
    let (output, events) = (dir.path("o.mp4"), dir.path("e.jsonl"));
    let child = annotate(&input, &output, &["--set", "output.preset=slow", "--events"])
        .arg(&events)
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // Once the unfinished file has grown, frames are being written.
    let part = dir.path("o.mp4.part");
    for _ in 0..600 {
        if std::fs::metadata(&part).is_ok_and(|m| m.len() > 20_000) {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    // The shell's own `kill`: small systems lack the program.
    let interrupt = format!("kill -INT {}", child.id());
    assert!(Command::new("bash").args(["-c", &interrupt]).status().unwrap().success());
    let out = child.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(1), "{}", text(&out.stderr));
    assert!(text(&out.stderr).contains("stopped on request"), "{}", text(&out.stderr));
    let frames = decode(&output).len();
    assert!(frames > 10 && frames < 3000, "{frames} frames");
    let last = std::fs::read_to_string(&events).unwrap().lines().last().unwrap().to_owned();
    let end: serde_json::Value = serde_json::from_str(&last).unwrap();
    assert_eq!((&end["complete"], &end["frames"]), (&false.into(), &frames.into()));
}

#[test]
fn heat_shows_in_the_picture_only_where_there_is_evidence() {
    let dir = Dir::new();
    let input = dir.make("v.mkv", &format!("{} ! matroskamux ! filesink location=FILE", h264()));
    let run = |name: &str, style: &str| {
        let more = ["--style", style, "--hud", "off", "--set", "output.crf=0"];
        json_of(annotate(&input, &dir.path(name), &more));
        decode(&dir.path(name))
    };
    // No row of bits in this picture: no evidence, so no heat.
    let (with, without) = (run("on.mkv", "heatmap"), run("off.mkv", "off"));
    for (a, b) in with.iter().zip(&without) {
        assert_eq!(a.mean(0, 0, 0, 320, 180), b.mean(0, 0, 0, 320, 180));
    }
}

#[test]
fn doctor_and_model_list_find_what_is_there() {
    let out = heatcast(["doctor"]).output().unwrap();
    assert!(out.status.success(), "{}{}", text(&out.stdout), text(&out.stderr));
    assert!(text(&out.stdout).contains("ONNX Runtime"));
    let out = heatcast(["model", "list"]).output().unwrap();
    assert!(text(&out.stdout).lines().any(|l| l == "imagenet"));
    let mut inspect = heatcast(["model", "inspect"]);
    let out = inspect.arg(counter_model()).output().unwrap();
    assert!(text(&out.stdout).contains("128 classes"), "{}", text(&out.stderr));
}
