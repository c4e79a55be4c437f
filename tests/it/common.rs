//! The harness: a scratch folder, the program, recordings to feed it, and a
//! decoder to look at what came out.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;
use gstreamer_video::prelude::*;

/// A folder of its own for each test, gone afterwards.
pub(crate) struct Dir(tempfile::TempDir);

impl Dir {
    pub(crate) fn new() -> Self {
        gst::init().unwrap();
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Makes a file with a GStreamer pipeline; `FILE` stands for its path.
    pub(crate) fn make(&self, name: &str, pipeline: &str) -> PathBuf {
        let path = self.path(name);
        run_pipeline(&pipeline.replace("FILE", path.to_str().unwrap()));
        path
    }

    /// Names of the files left in the folder.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

pub(crate) fn run_pipeline(description: &str) {
    let pipeline = gst::parse::launch(description).unwrap_or_else(|e| panic!("{description}: {e}"));
    pipeline.set_state(gst::State::Playing).unwrap();
    let bus = pipeline.bus().unwrap();
    let wanted = [gst::MessageType::Eos, gst::MessageType::Error];
    let message = bus.timed_pop_filtered(gst::ClockTime::from_seconds(60), &wanted);
    pipeline.set_state(gst::State::Null).unwrap();
    match message.as_ref().map(|m| m.view()) {
        Some(gst::MessageView::Eos(_)) => {}
        Some(gst::MessageView::Error(e)) => panic!("{description}: {} {:?}", e.error(), e.debug()),
        _ => panic!("{description}: no end"),
    }
}

/// The tiny model whose answer is the number coded in the picture.
pub(crate) fn counter_model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/counter")
}

/// A copy of the model whose evidence lies in white and black spots, which fits
/// pictures in by `resize`.
pub(crate) fn spots_model(dir: &Dir, resize: &str) -> PathBuf {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/spots");
    let to = dir.path(&format!("spots-{resize}"));
    std::fs::create_dir_all(&to).unwrap();
    for name in ["model.onnx", "labels.txt"] {
        std::fs::copy(from.join(name), to.join(name)).unwrap();
    }
    let toml = std::fs::read_to_string(from.join("model.toml")).unwrap();
    let toml = toml.replace("\"stretch\"", &format!("\"{resize}\""));
    std::fs::write(to.join("model.toml"), toml).unwrap();
    to
}

/// The program with these arguments.
pub(crate) fn heatcast<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_heatcast"));
    command.args(args).current_dir(env!("CARGO_MANIFEST_DIR"));
    command
}

/// `heatcast annotate INPUT -o OUTPUT --json` with the tiny model.
pub(crate) fn annotate(input: &Path, output: &Path, more: &[&str]) -> Command {
    annotate_with(&counter_model(), input, output, more)
}

/// The same with another model.
pub(crate) fn annotate_with(model: &Path, input: &Path, output: &Path, more: &[&str]) -> Command {
    let mut command = heatcast(["annotate", "--json", "-q", "--model"]);
    command.arg(model).arg(input).arg("-o").arg(output).args(more);
    command
}

/// Runs a command that must succeed; its standard output as JSON.
pub(crate) fn json_of(mut command: Command) -> serde_json::Value {
    let out = command.output().unwrap();
    assert!(out.status.success(), "{command:?}: {}", text(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap_or_else(|e| panic!("{e}: {}", text(&out.stdout)))
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs a command that must succeed; its standard output.
pub(crate) fn run_to_end(command: &mut Command) -> String {
    let out = command.output().unwrap();
    assert!(out.status.success(), "{command:?}: {}", text(&out.stderr));
    text(&out.stdout)
}

/// Runs a command that must fail with one sentence and no more.
pub(crate) fn fails(mut command: Command, code: i32, words: &[&str]) -> Output {
    let out = command.output().unwrap();
    let said = text(&out.stderr);
    assert_eq!(out.status.code(), Some(code), "{command:?}: {said}");
    for word in words {
        assert!(said.contains(word), "{command:?}: no {word:?} in {said:?}");
    }
    let lines: Vec<_> = said.lines().filter(|l| !l.trim().is_empty()).collect();
    assert_eq!(lines.len(), 1, "more than one sentence: {said:?}");
    assert!(!said.contains("panicked"), "{said}");
    out
}

/// A decoded picture.
pub(crate) struct Picture {
    pub(crate) pts_ns: u64,
    pub(crate) width: usize,
    pub(crate) height: usize,
    planes: [Vec<u8>; 3],
}

impl Picture {
    /// A picture of even size from its planes, one behind the other.
    pub(crate) fn from_i420(width: usize, height: usize, bytes: &[u8]) -> Self {
        let (y, rest) = bytes.split_at(width * height);
        let (u, v) = rest.split_at(width * height / 4);
        Self { pts_ns: 0, width, height, planes: [y, u, v].map(<[u8]>::to_vec) }
    }

    /// Mean of plane `index` over a rectangle given in luma pixels.
    pub(crate) fn mean(&self, index: usize, x: usize, y: usize, w: usize, h: usize) -> f64 {
        let shift = usize::from(index > 0);
        let stride = if index > 0 { self.width.div_ceil(2) } else { self.width };
        let (mut sum, mut n) = (0u64, 0u64);
        for row in y >> shift..(y + h) >> shift {
            for column in x >> shift..(x + w) >> shift {
                sum += u64::from(self.planes[index][row * stride + column]);
                n += 1;
            }
        }
        sum as f64 / n as f64
    }
}

/// Every frame of a file, as an ordinary player decodes it.
pub(crate) fn decode(path: &Path) -> Vec<Picture> {
    let description = format!(
        "filesrc location={} ! decodebin ! videoconvert ! video/x-raw,format=I420 ! appsink name=s sync=false",
        path.display()
    );
    let pipeline = gst::parse::launch(&description).unwrap().downcast::<gst::Pipeline>().unwrap();
    let sink = pipeline.by_name("s").unwrap().downcast::<gst_app::AppSink>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let mut pictures = Vec::new();
    while let Ok(sample) = sink.pull_sample() {
        let info = gst_video::VideoInfo::from_caps(sample.caps().unwrap()).unwrap();
        let buffer = sample.buffer().unwrap();
        let segment = sample.segment().unwrap().downcast_ref::<gst::ClockTime>().unwrap();
        let pts_ns = segment.to_running_time(buffer.pts()).unwrap().nseconds();
        let frame = gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, &info).unwrap();
        let plane = |i: u32| {
            let (w, h) = (frame.comp_width(i) as usize, frame.comp_height(i) as usize);
            let stride = frame.plane_stride()[i as usize] as usize;
            let data = frame.plane_data(i).unwrap();
            (0..h).flat_map(|y| data[y * stride..][..w].to_vec()).collect::<Vec<u8>>()
        };
        pictures.push(Picture {
            pts_ns,
            width: info.width() as usize,
            height: info.height() as usize,
            planes: [plane(0), plane(1), plane(2)],
        });
    }
    pipeline.set_state(gst::State::Null).unwrap();
    pictures
}

/// Pushes I420 pictures into a pipeline with an appsrc named `v`.
pub(crate) fn encode(
    description: &str,
    (width, height): (usize, usize),
    pictures: impl Iterator<Item = (u64, u64, Vec<u8>)>,
) {
    let pipeline = gst::parse::launch(description).unwrap().downcast::<gst::Pipeline>().unwrap();
    let source = pipeline.by_name("v").unwrap().downcast::<gst_app::AppSrc>().unwrap();
    let info =
        gst_video::VideoInfo::builder(gst_video::VideoFormat::I420, width as u32, height as u32)
            .fps(gst::Fraction::new(25, 1))
            .build()
            .unwrap();
    source.set_caps(Some(&info.to_caps().unwrap()));
    source.set_format(gst::Format::Time);
    source.set_block(true);
    pipeline.set_state(gst::State::Playing).unwrap();
    for (pts, duration, data) in pictures {
        let mut buffer = gst::Buffer::from_mut_slice(data);
        let meta = buffer.get_mut().unwrap();
        meta.set_pts(gst::ClockTime::from_nseconds(pts));
        meta.set_duration(gst::ClockTime::from_nseconds(duration));
        source.push_buffer(buffer).unwrap();
    }
    source.end_of_stream().unwrap();
    let wanted = [gst::MessageType::Eos, gst::MessageType::Error];
    let message =
        pipeline.bus().unwrap().timed_pop_filtered(gst::ClockTime::from_seconds(60), &wanted);
    assert!(matches!(message.unwrap().view(), gst::MessageView::Eos(_)), "{description}");
    pipeline.set_state(gst::State::Null).unwrap();
}
