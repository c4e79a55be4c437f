//! Recordings spliced from programme and adverts, with exact truth: the clip
//! that comes with the project as programme, generated pictures as adverts, and
//! a model made for them (`tests/fixtures/content`).

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::{Dir, text};

/// Frames per second of every recording.
pub(crate) const FPS: u32 = 25;
/// Adverts, as FFmpeg's sources. The third one looks like programme to the model.
const ADVERTS: [&str; 5] = [
    "testsrc2=s=320x180:r=25",
    "mandelbrot=s=320x180:r=25:start_scale=2:end_scale=0.1",
    "gradients=s=320x180:r=25:seed=4:speed=0.05",
    "smptehdbars=s=320x180:r=25,hue=h=t*40",
    "testsrc=s=320x180:r=25",
];

/// The tiny model that takes colourful pictures for commercials.
pub(crate) fn content_model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/content")
}

/// A part of a recording.
#[derive(Clone, Debug)]
pub(crate) enum Part {
    /// The project's clip from a second on, for so many frames; with too much
    /// colour it looks like an advert.
    Programme { from_s: f64, frames: u32, saturation: f64 },
    /// One of the generated adverts.
    Advert { which: usize, frames: u32 },
    /// Black and silent.
    Black { frames: u32 },
    /// A file from a second on, read with these options of FFmpeg;
    /// with its own sound or a tone.
    Footage { file: PathBuf, options: String, from_s: f64, frames: u32, sound: bool },
}

impl Part {
    pub(crate) fn frames(&self) -> u32 {
        match self {
            Self::Programme { frames, .. }
            | Self::Advert { frames, .. }
            | Self::Black { frames }
            | Self::Footage { frames, .. } => *frames,
        }
    }
}

/// Seeded numbers (splitmix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % n
    }
}

/// Programme with breaks of several adverts, some edges hard cuts and some
/// black and silent, and the true breaks in seconds.
pub(crate) fn evening(seed: u64) -> (Vec<Part>, Vec<(f64, f64)>) {
    let mut random = Random(seed);
    let (mut parts, mut breaks) = (Vec::new(), Vec::new());
    let at =
        |parts: &[Part]| f64::from(parts.iter().map(Part::frames).sum::<u32>()) / f64::from(FPS);
    let programme = |parts: &mut Vec<Part>, random: &mut Random, scenes: u64| {
        for scene in 0..scenes {
            // Some scenes look like adverts for a few seconds.
            let gaudy = scene % 5 == 3;
            let frames = if gaudy { 150 } else { 200 + random.below(200) as u32 };
            let from_s = random.below(7) as f64;
            parts.push(Part::Programme {
                from_s,
                frames,
                saturation: if gaudy { 3.0 } else { 1.0 },
            });
        }
    };
    // Half of the edges are black; the boundary is in the middle of the black.
    let edge = |parts: &mut Vec<Part>, black: bool| {
        if black {
            parts.push(Part::Black { frames: 12 });
            at(parts) - 6.0 / f64::from(FPS)
        } else {
            at(parts)
        }
    };
    programme(&mut parts, &mut random, 8);
    for n in 0..2 {
        let start = edge(&mut parts, n == 0);
        let count = 4 + random.below(2) as usize;
        // The one that looks like programme comes neither first nor last.
        let first = random.below(2) as usize;
        for i in 0..count {
            let seconds = [10, 15, 20, 15][random.below(4) as usize];
            parts.push(Part::Advert { which: (first + i) % ADVERTS.len(), frames: seconds * FPS });
            if i + 1 < count && i % 2 == 0 {
                parts.push(Part::Black { frames: 8 });
            }
        }
        let end = edge(&mut parts, n == 1);
        breaks.push((start, end));
        programme(&mut parts, &mut random, 7);
    }
    (parts, breaks)
}

/// Encodes `parts` into a file; `encoder` as FFmpeg's arguments, `filter` at the
/// end of the picture's chain.
pub(crate) fn splice(
    dir: &Dir,
    name: &str,
    parts: &[Part],
    filter: &str,
    encoder: &str,
) -> PathBuf {
    splice_at((320, 180), dir, name, parts, filter, encoder)
}

/// The same, with pictures of this size.
pub(crate) fn splice_at(
    (width, height): (u32, u32),
    dir: &Dir,
    name: &str,
    parts: &[Part],
    filter: &str,
    encoder: &str,
) -> PathBuf {
    let clip = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/clips/bbb.mp4");
    let path = dir.path(name);
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-y"]);
    let (mut graph, mut ends) = (String::new(), String::new());
    for (i, part) in parts.iter().enumerate() {
        let frames = part.frames();
        let mut more = String::new();
        let mut tone = format!("sine=f={}:r=48000", 200 + 50 * (i % 9));
        let mut fit = format!("scale={width}:{height}");
        match part {
            Part::Programme { from_s, saturation, .. } => {
                command.args(["-stream_loop", "-1", "-ss", &from_s.to_string(), "-i"]).arg(&clip);
                more = format!(",eq=saturation={saturation}");
            }
            Part::Advert { which, .. } => {
                command.args(["-f", "lavfi", "-i", ADVERTS[*which]]);
            }
            Part::Black { .. } => {
                command.args(["-f", "lavfi", "-i", "color=black:s=320x180:r=25"]);
                tone = "anullsrc=r=48000:cl=mono".to_owned();
            }
            Part::Footage { file, options, from_s, sound, .. } => {
                command.args(options.split_whitespace());
                command.args(["-ss", &from_s.to_string(), "-i"]).arg(file);
                // As large as it must be; what is too much moves slowly past.
                fit = format!(
                    "yadif=deint=interlaced,scale={0}:{1}:force_original_aspect_ratio=increase,\
                     crop={width}:{height}:(iw-ow)/2+(iw-ow)/2*sin(t):(ih-oh)/2",
                    width + 32,
                    height + 18
                );
                if *sound {
                    tone = format!("[{i}:a]aresample=48000,asetpts=N/SR/TB,apad");
                }
            }
        }
        graph += &format!(
            "[{i}:v]fps={FPS},{fit},setsar=1{more},format=yuv420p,trim=end_frame={frames},setpts=PTS-STARTPTS[v{i}];\
             {tone},aformat=sample_fmts=fltp:channel_layouts=mono,atrim=end_sample={}[a{i}];",
            u64::from(frames) * 48_000 / u64::from(FPS)
        );
        ends += &format!("[v{i}][a{i}]");
    }
    let last = if filter.is_empty() { "null" } else { filter };
    graph += &format!("{ends}concat=n={}:v=1:a=1[c][a];[c]{last}[v]", parts.len());
    command.args(["-filter_complex", &graph, "-map", "[v]", "-map", "[a]"]);
    command.args(encoder.split(' ')).arg(&path);
    let made = command.output().unwrap();
    assert!(made.status.success(), "{name}: {}", text(&made.stderr));
    path
}

/// H.264 with a key frame every two seconds, as broadcasts have them.
pub(crate) const H264: &str = "-c:v libx264 -preset ultrafast -bf 2 -g 50 -sc_threshold 0 -c:a mp2";
