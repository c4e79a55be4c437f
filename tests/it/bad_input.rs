//! Bad input gives one sentence, the right exit code, and loses nothing.

use std::path::Path;
use std::process::Command;

use crate::common::{Dir, annotate, counter_model, decode, fails, heatcast, json_of, text};

const VIDEO: &str = "videotestsrc num-buffers=250 pattern=snow ! video/x-raw,width=320,height=180,framerate=25/1 ! x264enc speed-preset=ultrafast key-int-max=25 ! h264parse";

fn clip(dir: &Dir, name: &str, mux: &str) -> std::path::PathBuf {
    dir.make(name, &format!("{VIDEO} ! {mux} ! filesink location=FILE"))
}

#[test]
fn what_is_no_recording_is_named_as_what_it_is() {
    let dir = Dir::new();
    let out = dir.path("o.mp4");
    let write = |name: &str, bytes: &[u8]| {
        std::fs::write(dir.path(name), bytes).unwrap();
        dir.path(name)
    };
    fails(annotate(Path::new("/nowhere/x.mp4"), &out, &[]), 2, &["/nowhere/x.mp4", "no such file"]);
    fails(annotate(&dir.path("."), &out, &[]), 1, &["folder"]);
    fails(annotate(&write("empty.mp4", b""), &out, &[]), 1, &["empty"]);
    let prose = "All happy families are alike. ".repeat(100);
    fails(annotate(&write("text.mp4", prose.as_bytes()), &out, &[]), 1, &["text file"]);
    fails(annotate(&write("junk.mp4", &[0x5a; 5000]), &out, &[]), 1, &["junk.mp4"]);
    let sound = dir.make(
        "sound.mp4",
        "audiotestsrc num-buffers=50 ! avenc_aac ! aacparse ! mp4mux ! filesink location=FILE",
    );
    fails(annotate(&sound, &out, &[]), 1, &["no video track"]);
    let whole = std::fs::read(clip(&dir, "whole.mp4", "mp4mux")).unwrap();
    let cut = write("cut.mp4", &whole[..whole.len() / 2]);
    fails(annotate(&cut, &out, &[]), 1, &["cut.mp4"]);
    assert!(!out.exists());
    assert!(dir.names().iter().all(|n| !n.ends_with(".part")), "{:?}", dir.names());
}

#[test]
fn wrong_outputs_are_refused_before_work_starts() {
    let dir = Dir::new();
    let input = clip(&dir, "v.mp4", "mp4mux");
    fails(annotate(&input, &dir.path("o.xyz"), &[]), 2, &["o.xyz", ".mp4, .mkv or .ts"]);
    fails(annotate(&input, &dir.path("no/o.mp4"), &[]), 2, &["no folder", "create it"]);
    fails(annotate(&input, &input, &["--force"]), 2, &["is the input"]);
    fails(annotate(&input, Path::new("/proc/o.mp4"), &[]), 2, &["/proc"]);
}

#[test]
fn wrong_settings_are_named_with_what_would_be_right() {
    let dir = Dir::new();
    let input = clip(&dir, "v.mp4", "mp4mux");
    let set = |set: &str| annotate(&input, &dir.path("o.mp4"), &["--set", set]);
    fails(set("overlay.opacty=0.5"), 2, &["overlay.opacty", "overlay.opacity"]);
    fails(set("overlay.opacity=7"), 2, &["overlay.opacity", "0 (invisible) to 1"]);
    fails(annotate(&input, &dir.path("o.mp4"), &["--class", "n04"]), 2, &["n04"]);
    fails(annotate(&input, &dir.path("o.mp4"), &["--provider", "cuda"]), 2, &["cuda"]);
}

#[test]
fn a_model_that_cannot_be_used_is_explained() {
    let dir = Dir::new();
    let input = clip(&dir, "v.mp4", "mp4mux");
    let with = |model: &Path| {
        let mut command = heatcast(["annotate", "-q", "--model"]);
        command.arg(model).arg(&input).arg("-o").arg(dir.path("o.mp4"));
        command
    };
    fails(with(Path::new("imagenat")), 2, &["imagenat", "imagenet"]);
    let mut method = with(&counter_model());
    method.args(["--method", "gradcan"]);
    fails(method, 2, &["gradcan", "use cam, gradcam"]);
    std::fs::write(dir.path("junk.onnx"), "not a network").unwrap();
    fails(with(&dir.path("junk.onnx")), 2, &["junk.onnx"]);

    let folder = dir.path("short");
    std::fs::create_dir(&folder).unwrap();
    for name in ["model.onnx", "model.toml"] {
        std::fs::copy(counter_model().join(name), folder.join(name)).unwrap();
    }
    std::fs::write(folder.join("labels.txt"), "one\ntwo\n").unwrap();
    fails(with(&folder), 2, &["2 labels", "128"]);
}

#[test]
fn a_missing_runtime_says_how_to_get_it() {
    let dir = Dir::new();
    let input = clip(&dir, "v.mp4", "mp4mux");
    let set = "model.onnxruntime=/nowhere/libonnxruntime.so";
    fails(
        annotate(&input, &dir.path("o.mp4"), &["--set", set]),
        2,
        &["/nowhere/libonnxruntime.so"],
    );
}

#[test]
fn a_transport_stream_cut_mid_packet_gives_what_is_in_it() {
    let dir = Dir::new();
    let whole = std::fs::read(clip(&dir, "w.ts", "mpegtsmux")).unwrap();
    let cut = dir.path("cut.ts");
    std::fs::write(&cut, &whole[whole.len() / 3 + 77..whole.len() * 2 / 3 + 13]).unwrap();
    let summary = json_of(annotate(&cut, &dir.path("o.ts"), &[]));
    let frames = summary["frames_out"].as_u64().unwrap();
    assert!((30..150).contains(&frames), "{frames}");
    assert_eq!(decode(&dir.path("o.ts")).len() as u64, frames);
}

#[test]
fn noise_in_the_bitstream_stops_nothing() {
    let dir = Dir::new();
    let mut bytes = std::fs::read(clip(&dir, "w.ts", "mpegtsmux")).unwrap();
    for i in (20_000..bytes.len()).step_by(9_973) {
        // Leave the packet headers alone: the container is sound, the video is not.
        if i % 188 > 24 {
            bytes[i] ^= 0x55;
        }
    }
    let noisy = dir.path("noisy.ts");
    std::fs::write(&noisy, bytes).unwrap();
    let summary = json_of(annotate(&noisy, &dir.path("o.mp4"), &[]));
    assert!(summary["frames_out"].as_u64().unwrap() > 150, "{summary}");
    assert_eq!(summary["frames_in"], summary["frames_out"]);
}

#[test]
fn broken_sound_does_not_stop_the_video() {
    let dir = Dir::new();
    let input = dir.make(
        "a.mkv",
        &format!(
            "matroskamux name=m ! filesink location=FILE {VIDEO} ! queue ! m. audiotestsrc num-buffers=400 ! lamemp3enc ! mpegaudioparse ! queue ! m."
        ),
    );
    // Damage every MP3 header: the frames stay where they are but mean nothing.
    let mut bytes = std::fs::read(&input).unwrap();
    for i in 0..bytes.len() - 1 {
        if bytes[i] == 0xFF && bytes[i + 1] & 0xFE == 0xFA {
            bytes[i] = 0;
        }
    }
    std::fs::write(&input, bytes).unwrap();
    let summary = json_of(annotate(&input, &dir.path("o.mp4"), &[]));
    assert_eq!(summary["frames_out"], 250, "{summary}");
    assert!(summary["audio"].as_str().unwrap().starts_with("dropped: "), "{summary}");
}

#[test]
fn a_full_disk_keeps_what_was_written_playable() {
    let dir = Dir::new();
    let input = clip(&dir, "v.mp4", "mp4mux");
    for output in ["o.mp4", "o.mkv", "o.ts"] {
        let output = dir.path(output);
        let run = annotate(&input, &output, &["--set", "output.crf=1"]);
        // A limit on file size fails writes as a full disk does. (1 kB blocks.)
        let mut limited = Command::new("bash");
        limited.arg("-c").arg("trap '' XFSZ; ulimit -f 1500; exec \"$@\"").arg("bash");
        limited.arg(run.get_program()).args(run.get_args());
        limited.current_dir(env!("CARGO_MANIFEST_DIR"));
        let out = limited.output().unwrap();
        let said = text(&out.stderr);
        assert_eq!(out.status.code(), Some(1), "{said}");
        assert!(said.contains("cannot be written"), "{said}");
        let frames = decode(&output).len();
        assert!(frames > 5 && frames < 250, "{frames} frames in {}", output.display());
    }
}
