//! What other people's programs make of the timeline files: ffprobe, and the
//! Python readers of `tests/foreign` (`make test` installs them).

use std::path::{Path, PathBuf};
use std::process::Command;

use heatcast::finish;
use heatcast::frame::Pts;
use heatcast::media::Container;
use heatcast::pipeline::{TimelineFiles, TimelinePlan};
use heatcast::timeline::formats::{About, Chapter, Format};
use heatcast::timeline::{CueKind, Segment};
use serde_json::{Value, json};

use crate::common::{Dir, run_pipeline, text};

/// Labels and ends of the segments of a clip of twelve seconds.
const PARTS: [(&str, f64); 4] =
    [("show", 4.2), ("commercial", 8.04), ("show & tell; = #1", 10.0), ("commercial", 12.0)];

fn at(seconds: f64) -> Pts {
    Pts::from_secs_f64(seconds)
}

fn segments() -> Vec<Segment> {
    let mut start = 0.0;
    PARTS
        .iter()
        .map(|(label, end)| {
            let segment = Segment {
                head: "content".into(),
                label: (*label).into(),
                start: at(start),
                end: at(*end),
                confidence: 0.75,
                margin: 3.5,
                start_cues: vec![CueKind::Black],
                end_cues: Vec::new(),
            };
            start = *end;
            segment
        })
        .collect()
}

/// Writes everything about [`segments`] into a folder, as `rec`.
fn write_all(dir: &Dir, inside: Option<&Path>) -> Result<(), String> {
    let files = Format::ALL.map(|f| (f, dir.path(&format!("rec.{}", f.extension()))));
    let container = inside.map(|path| Container::of(path).unwrap());
    let plan = TimelinePlan {
        files: files.to_vec(),
        chapters_inside: matches!(container, Some(Container::Mp4 | Container::Mkv)),
        scte35_inside: container == Some(Container::Ts),
        about: About {
            media: "rec 1.ts".to_owned(),
            origin: heatcast::timeline::formats::Origin::Wall(
                "2026-11-24T20:00:00+01:00".parse().unwrap(),
            ),
            ..About::default()
        },
        ..TimelinePlan::default()
    };
    let mut written = TimelineFiles::new(plan, Some(25.0));
    written.write(&segments(), at(12.0), at(12.0)).unwrap();
    let (Some(path), Some(container)) = (inside, container) else { return Ok(()) };
    written
        .finish_output(path, container, &segments(), at(12.0), Pts(0))
        .map_err(|e| format!("{e:#}"))
}

/// A clip of 300 frames with B-frames and sound, as `annotate` writes it.
fn clip(dir: &Dir, name: &str, mux: &str) -> PathBuf {
    let path = dir.path(name);
    run_pipeline(&format!(
        "{mux} name=m ! filesink location={} \
         videotestsrc num-buffers=300 ! video/x-raw,width=160,height=90,framerate=25/1 ! \
         x264enc speed-preset=veryfast key-int-max=25 ! h264parse ! queue ! m. \
         audiotestsrc num-buffers=517 samplesperbuffer=1024 ! audio/x-raw,rate=44100 ! \
         avenc_aac ! aacparse ! queue ! m.",
        path.display()
    ));
    path
}

fn said(program: &str, args: &[&str], path: &Path) -> String {
    let out = Command::new(program).args(args).arg(path).output().unwrap();
    assert!(out.status.success(), "{program}: {}", text(&out.stderr));
    assert_eq!(text(&out.stderr), "", "{program} complains about {}", path.display());
    text(&out.stdout)
}

/// Start, end and title of the chapters that ffprobe sees.
pub(crate) fn chapters(path: &Path) -> Vec<(f64, f64, String)> {
    let shown = said("ffprobe", &["-v", "error", "-show_chapters", "-of", "json"], path);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let seconds = |v: &Value| v.as_str().unwrap().parse::<f64>().unwrap();
    shown["chapters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| {
            let title = c["tags"]["title"].as_str().unwrap_or_default().to_owned();
            (seconds(&c["start_time"]), seconds(&c["end_time"]), title)
        })
        .collect()
}

/// Times, sizes and checksums of the packets of sound and picture.
fn packets(path: &Path) -> String {
    let shown = Command::new("ffmpeg")
        .args(["-v", "error", "-i"])
        .arg(path)
        .args(["-map", "0:v", "-map", "0:a", "-c", "copy", "-f", "framemd5", "-"])
        .output()
        .unwrap();
    assert_eq!(text(&shown.stderr), "", "ffmpeg complains about {}", path.display());
    text(&shown.stdout)
}

fn expected() -> Vec<(f64, f64, String)> {
    let starts = [0.0].into_iter().chain(PARTS.map(|(_, end)| end));
    starts.zip(PARTS).map(|(start, (label, end))| (start, end, label.to_owned())).collect()
}

#[test]
fn ffmpeg_reads_the_chapters_file() {
    let dir = Dir::new();
    write_all(&dir, None).unwrap();
    let path = dir.path("rec.ffmeta");
    assert_eq!(chapters(&path), expected());
}

#[test]
fn chapters_inside_are_seen_and_change_no_packet() {
    for (name, mux) in [
        ("a.mp4", "mp4mux fragment-duration=2000 fragment-mode=first-moov-then-finalise"),
        ("b.mp4", "mp4mux"),
        ("c.mp4", "mp4mux faststart=true"),
        ("a.mkv", "matroskamux"),
    ] {
        let dir = Dir::new();
        let path = clip(&dir, name, mux);
        let before = packets(&path);
        assert!(before.lines().count() > 700, "{name}");
        assert_eq!(chapters(&path), []);
        write_all(&dir, Some(&path)).unwrap();
        assert_eq!(chapters(&path), expected(), "{name}");
        assert_eq!(packets(&path), before, "{name}");
        assert_eq!(crate::common::decode(&path).len(), 300, "{name}");
        let streams = said(
            "ffprobe",
            &["-v", "error", "-show_entries", "stream=codec_type,nb_frames", "-of", "csv"],
            &path,
        );
        assert!(streams.contains("video") && streams.contains("audio"), "{streams}");
        // The clip is gone from the folder only if something went wrong.
        let names = dir.names();
        assert!(names.iter().all(|n| !n.contains(".part")), "{names:?}");
    }
}

#[test]
fn what_is_no_finished_file_is_left_as_it_is() {
    let dir = Dir::new();
    let chapter = [Chapter { start: at(0.0), end: at(1.0), title: "x".to_owned() }];
    let whole = ["mp4mux", "matroskamux"]
        .map(|mux| std::fs::read(clip(&dir, &format!("{mux}.mp4"), mux)).unwrap());
    for bytes in whole {
        // Cut anywhere in its structure, or not what it says it is.
        for cut in (0..600).chain((600..bytes.len()).step_by(997)) {
            let mut part = std::io::Cursor::new(&bytes[..cut]);
            assert!(finish::mp4::chapters(&mut part, &chapter).is_err(), "{cut}");
            assert!(finish::matroska::chapters(&mut part, &chapter).is_err(), "{cut}");
        }
        for i in 0..2000.min(bytes.len()) {
            let mut damaged = bytes.clone();
            damaged[i] ^= 0x41;
            let mut damaged = std::io::Cursor::new(damaged);
            let _ = finish::mp4::chapters(&mut damaged, &chapter);
            let _ = finish::matroska::chapters(&mut damaged, &chapter);
        }
    }
    // A transport stream with rubbish in it is not copied half.
    let path = dir.path("junk.ts");
    std::fs::write(&path, vec![0x47; 1000]).unwrap();
    let why = write_all(&dir, Some(&path)).unwrap_err();
    assert!(why.contains("no SCTE-35 inside"), "{why}");
    assert_eq!(std::fs::read(&path).unwrap().len(), 1000);
}

#[test]
fn splices_inside_change_no_other_packet() {
    let dir = Dir::new();
    let path = clip(&dir, "rec.ts", "mpegtsmux");
    let before = packets(&path);
    write_all(&dir, Some(&path)).unwrap();
    assert_eq!(packets(&path), before);
    let streams = said(
        "ffprobe",
        &["-v", "error", "-show_entries", "stream=codec_name,codec_tag", "-of", "csv"],
        &path,
    );
    assert!(streams.contains("scte_35") || streams.contains("0x0086"), "{streams}");
}

/// The Python that has the readers; none unless somebody installed them.
fn python() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join("target/foreign/bin/python");
    if python.exists() {
        return Some(python);
    }
    assert!(
        std::env::var_os("HEATCAST_FOREIGN").is_none(),
        "HEATCAST_FOREIGN is set, but target/foreign is missing; run `make foreign`"
    );
    eprintln!("skipped: the foreign readers are not installed; run `make foreign`");
    None
}

#[test]
fn foreign_readers_see_what_was_written() {
    let Some(python) = python() else { return };
    let dir = Dir::new();
    let path = clip(&dir, "rec.ts", "mpegtsmux");
    write_all(&dir, Some(&path)).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/foreign/read.py");
    let seen = said(python.to_str().unwrap(), &[script], path.parent().unwrap());
    let seen: Value = serde_json::from_str(&seen).unwrap_or_else(|e| panic!("{e}: {seen}"));

    let cues: Vec<Value> = ["00:00:00.000", "00:00:04.200", "00:00:08.040", "00:00:10.000"]
        .into_iter()
        .zip(["00:00:04.200", "00:00:08.040", "00:00:10.000", "00:00:12.000"])
        .zip(PARTS)
        .map(|((start, end), (label, _))| json!([start, end, "content", label, 0.75]))
        .collect();
    assert_eq!(seen["webvtt"], Value::Array(cues));

    let clips = expected().into_iter().map(|(a, b, label)| json!([a, b, label, "rec%201.ts"]));
    let markers =
        [json!([4.2, 8.04, "marker", "commercial"]), json!([10.0, 12.0, "marker", "commercial"])];
    assert_eq!(seen["otio"], Value::Array(clips.chain(markers).collect()));

    let insert = "Splice Insert";
    assert_eq!(
        seen["scte35"],
        json!([
            [4.2, insert, 4201, true, 4.2, 3.84, false],
            [8.04, insert, 4201, false, 8.04, null, null],
            [10.0, insert, 10001, true, 10.0, 2.0, false],
            [12.0, insert, 10001, false, 12.0, null, null],
        ])
    );

    let date = |s: &str| format!("2026-11-24T19:00:{s}+00:00");
    assert_eq!(
        seen["hls"],
        json!([
            ["rec%201.ts#t=0.000,4.200", 4.2, false, false, date("00"), []],
            [
                "rec%201.ts#t=4.200,8.040",
                3.84,
                true,
                false,
                date("04.200000"),
                [["break-4201", 3.84, null, true, false]]
            ],
            [
                "rec%201.ts#t=8.040,10.000",
                1.96,
                false,
                true,
                date("08.040000"),
                [["break-4201", null, 3.84, false, true]]
            ],
            [
                "rec%201.ts#t=10.000,12.000",
                2.0,
                true,
                false,
                date("10"),
                [["break-10001", 2.0, null, true, false]]
            ],
        ])
    );

    // In the stream, times follow its own clock, and come seconds before.
    let splices = seen["ts"].as_array().unwrap();
    assert_eq!(splices.len(), 4, "{splices:?}");
    let number = |v: &Value| v.as_f64().unwrap();
    let zero = number(&splices[0][1]) - 4.2;
    for (splice, (out, time)) in
        splices.iter().zip([(true, 4.2), (false, 8.04), (true, 10.0), (false, 12.0)])
    {
        assert_eq!(splice[0], out);
        assert!((number(&splice[1]) - zero - time).abs() < 1e-4, "{splice}");
        let notice = time - (number(&splice[2]) - zero);
        assert!((3.5..4.6).contains(&notice), "{splice}: {notice} s before");
    }
    let first = said(
        "ffprobe",
        &[
            "-v",
            "error",
            "-select_streams",
            "v",
            "-show_entries",
            "stream=start_time",
            "-of",
            "csv=p=0",
        ],
        &path,
    );
    let first: f64 = first.trim().lines().next().unwrap().trim_matches(',').parse().unwrap();
    assert!((first - zero).abs() < 0.001, "stream time begins at {zero}, the picture at {first}");
}
