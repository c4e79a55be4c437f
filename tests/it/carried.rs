//! What goes along with the picture: captions, languages, titles.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use crate::common::{Dir, annotate, json_of, run_to_end};

/// Runs ffmpeg or ffprobe; its output.
fn run(program: &str, arguments: &[&str]) -> String {
    run_to_end(Command::new(program).args(["-v", "error"]).args(arguments))
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A byte of CEA-608 with its odd parity.
fn odd(byte: u8) -> u8 {
    byte | if byte.count_ones().is_multiple_of(2) { 0x80 } else { 0 }
}

/// A message of ATSC A/53 part 4 with one pair of bytes for a field (0 or 1) and
/// as much padding as broadcasters put in, as a NAL unit of H.264.
fn caption(field: u8, pair: [u8; 2]) -> Vec<u8> {
    let [first, second] = pair.map(odd);
    let data = [
        &[0xB5, 0x00, 0x31][..],
        b"GA94\x03",
        &[0x54, 0xFF, 0xFC | field, first, second],
        &[0xFA, 0, 0].repeat(19),
        &[0xFF],
    ]
    .concat();
    let header = [0, 0, 0, 1, 0x06, 0x04, u8::try_from(data.len()).unwrap()];
    [&header[..], &data, &[0x80]].concat()
}

/// H.264 of 100 pictures that says `HELLO WORLD` in the captions of field 1.
/// Every picture has a second message, as encoders write one for each field.
fn captioned(dir: &Dir) -> std::path::PathBuf {
    let bare = dir.path("bare.h264");
    let picture = "testsrc2=size=320x180:rate=25:duration=4";
    let coding = ["-c:v", "libx264", "-preset", "ultrafast", "-x264-params", "bframes=0:slices=1"];
    let arguments = [&["-f", "lavfi", "-i", picture], &coding[..], &[path(&bare)]].concat();
    run("ffmpeg", &arguments);
    // Roll up two rows, a new line, the text; later another line.
    let mut said: Vec<[u8; 2]> = [[0x14, 0x25]; 2].into_iter().chain([[0x14, 0x2D]; 2]).collect();
    said.extend([*b"HE", *b"LL", *b"O ", *b"WO", *b"RL", *b"D."]);
    said.extend([[0, 0]; 20]);
    said.extend([[0x14, 0x2D]; 2]);
    said.extend([*b"BY", *b"E.", [0, 0], [0, 0]]);
    // Only the next line ends the one before.
    said.extend([[0x14, 0x2D]; 2]);
    let mut said = said.into_iter();
    let mut coded = Vec::new();
    let bytes = std::fs::read(&bare).unwrap();
    let mut rest = &bytes[..];
    while let Some(next) = (4..=rest.len()).find(|&n| {
        n == rest.len() || rest[n..].starts_with(&[0, 0, 1]) || rest[n..].starts_with(&[0, 0, 0, 1])
    }) {
        let (unit, after) = rest.split_at(next);
        let kind = unit[unit.iter().position(|b| *b == 1).unwrap() + 1] & 0x1F;
        if matches!(kind, 1 | 5) {
            coded.extend(caption(0, said.next().unwrap_or_default()));
            coded.extend(caption(1, [0, 0]));
        }
        coded.extend(unit);
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    let whole = dir.path("whole.h264");
    std::fs::write(&whole, coded).unwrap();
    let input = dir.path("captioned.mp4");
    run("ffmpeg", &["-r", "25", "-i", path(&whole), "-c", "copy", path(&input)]);
    input
}

/// What a decoder of captions reads, with its times.
fn captions(recording: &Path) -> String {
    let source = format!("movie={}[out+subcc]", path(recording));
    run("ffmpeg", &["-f", "lavfi", "-i", &source, "-map", "s", "-f", "srt", "-"])
}

#[test]
fn captions_stay_with_their_pictures() {
    let dir = Dir::new();
    let input = captioned(&dir);
    let before = captions(&input);
    assert!(before.contains("HELLO WORLD.") && before.contains("BYE."), "{before}");
    for name in ["out.mp4", "out.mkv", "out.ts"] {
        let output = dir.path(name);
        json_of(annotate(&input, &output, &[]));
        assert_eq!(captions(&output), before, "{name}");
    }
}

#[test]
fn languages_and_titles_reach_the_output() {
    let dir = Dir::new();
    let input = dir.path("in.mkv");
    let mut made = vec!["-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25:duration=2"];
    made.extend(["-f", "lavfi", "-i", "sine=f=300:d=2", "-f", "lavfi", "-i", "sine=f=500:d=2"]);
    made.extend(["-map", "0", "-map", "1", "-map", "2", "-c:v", "libx264", "-c:a", "aac"]);
    made.extend(["-metadata", "title=Evening News", "-metadata", "artist=Channel One"]);
    made.extend(["-metadata:s:a:0", "language=deu", "-metadata:s:a:1", "language=fra"]);
    made.extend(["-metadata:s:a:1", "title=Commentary", path(&input)]);
    run("ffmpeg", &made);
    for name in ["out.mp4", "out.mkv", "out.ts"] {
        let output = dir.path(name);
        let summary = json_of(annotate(&input, &output, &[]));
        assert_eq!(summary["audio"], "copied", "{name}");
        let probed = run(
            "ffprobe",
            &[
                "-show_entries",
                "stream=codec_type:stream_tags:format_tags",
                "-of",
                "json",
                path(&output),
            ],
        );
        let said: serde_json::Value = serde_json::from_str(&probed).unwrap();
        let mut languages = String::new();
        for stream in said["streams"].as_array().unwrap() {
            if stream["codec_type"] == "audio" {
                let language = stream["tags"]["language"].as_str().unwrap_or("none");
                // ISO 639-2 has two codes for German and French.
                let language = language.replace("ger", "deu").replace("fre", "fra");
                write!(languages, "{language} ").unwrap();
            }
        }
        assert_eq!(languages, "deu fra ", "{name}: {probed}");
        if name == "out.mp4" {
            assert_eq!(said["format"]["tags"]["title"], "Evening News", "{name}: {probed}");
        }
        if name == "out.mkv" {
            assert_eq!(said["streams"][2]["tags"]["TITLE"], "Commentary", "{probed}");
        }
    }
}
