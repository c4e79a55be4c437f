//! How much heat flickers with Heatcast's defaults, beside the usual way: every
//! frame by itself, its most probable class, its map stretched to its own
//! largest value.
//!
//! Flicker is the mean change of heat from one frame to the next, divided by the
//! mean heat; steps across a shot cut do not count. Run with
//! `cargo bench --bench flicker`; `HEATCAST_FOOTAGE=folder` measures your own
//! recordings instead of the bundled clip, `HEATCAST_BENCH_MODEL=name` one model
//! instead of both that are shipped. Wanted: a fourth of the usual way.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "stdout is for results")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use heatcast::annotation::{ActivationMap, Annotation, ClassProb, Explanation, Heat};
use heatcast::config::Config;
use heatcast::explain::{ClassSteadier, MapSmoother, Normalizer};
use heatcast::frame::Pts;
use heatcast::media::{self, Container, Frame, Source, SourceOptions};
use heatcast::model::{Classifier, Explain, Heads, Model, Options, Output, Places, Wanted};
use heatcast::preprocess::{InputSpec, Preprocessor, view};
use heatcast::sampling::Sampler;
use heatcast::shot::ShotDetector;
use heatcast::sync::Synchronizer;

/// Frames looked at per clip, at most.
const FRAMES: usize = 500;

fn main() {
    media::init().unwrap();
    let clips = clips();
    let models = match std::env::var("HEATCAST_BENCH_MODEL") {
        Ok(name) => vec![name],
        Err(_) => vec!["broadcast".to_owned(), "imagenet".to_owned()],
    };
    for name in models {
        let mut all = [Flicker::default(); 2];
        println!("{name:<34} frames  cuts  usual way  heatcast  ratio");
        for clip in &clips {
            let Some((frames, cuts, found)) = measure(&name, clip) else {
                println!("{}: not a recording", clip.display());
                continue;
            };
            let title = clip.file_stem().unwrap().to_string_lossy().into_owned();
            row(&title, &format!("{frames:6} {cuts:5}"), found);
            all.iter_mut().zip(found).for_each(|(all, one)| all.add(one));
        }
        row("overall", "            ", all);
    }
}

fn row(title: &str, counts: &str, [usual, ours]: [Flicker; 2]) {
    let (usual, ours) = (usual.value(), ours.value());
    let ratio = if ours > 0.0 { usual / ours } else { f64::INFINITY };
    println!("  {title:<32.32} {counts}  {usual:9.3} {ours:9.3} {ratio:6.1}");
}

fn clips() -> Vec<PathBuf> {
    let Some(folder) = std::env::var_os("HEATCAST_FOOTAGE") else {
        return vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/clips/bbb.mp4")];
    };
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|f| Container::of(f).is_ok() || f.extension().is_some_and(|e| e == "webm"));
    files.sort();
    files
}

/// Sums over the frames of a recording.
#[derive(Clone, Copy, Default)]
struct Flicker {
    change: f64,
    steps: f64,
    heat: f64,
    frames: f64,
}

impl Flicker {
    /// Of the heat of each frame, with true for the first of a shot.
    fn of<'a>(frames: impl Iterator<Item = (bool, &'a [f32])>) -> Self {
        let mut sums = Self::default();
        let mut last: &[f32] = &[];
        for (cut, heat) in frames {
            let mean = |sum: f32| f64::from(sum) / heat.len() as f64;
            sums.heat += mean(heat.iter().sum());
            sums.frames += 1.0;
            if !cut && last.len() == heat.len() {
                sums.change += mean(heat.iter().zip(last).map(|(a, b)| (a - b).abs()).sum());
                sums.steps += 1.0;
            }
            last = heat;
        }
        sums
    }

    fn add(&mut self, other: Self) {
        self.change += other.change;
        self.steps += other.steps;
        self.heat += other.heat;
        self.frames += other.frames;
    }

    fn value(self) -> f64 {
        (self.change / self.steps.max(1.0)) / (self.heat / self.frames.max(1.0)).max(1e-9)
    }
}

/// Frames, cuts, and the flicker of both ways.
fn measure(model: &str, clip: &Path) -> Option<(usize, usize, [Flicker; 2])> {
    let model = Model::find(model, &Places::from_env()).unwrap();
    let explain = Explain::of(Heads::First);
    let mut classifier =
        Classifier::load(&model, &Options { explain, ..Options::default() }).unwrap();
    let options =
        SourceOptions { program: None, container: Container::Mkv, video_only: true, listen: false };
    let (source, frames) = Source::open(clip, &options).ok()?;
    let mut ours = Ours::new(&classifier, model.spec.input);
    let mut preprocessor = Preprocessor::new(&model.spec.input);
    let mut detector = ShotDetector::default();
    let (mut cuts, mut usual) = (Vec::new(), Vec::new());
    for frame in frames.iter().take(FRAMES) {
        let cut = frame.with_picture(|p| detector.starts_shot(p)).unwrap();
        let input = frame.with_picture(|p| preprocessor.run(p)).unwrap();
        let said = classifier.run(&input, &[]).unwrap();
        let best = Wanted { head: 0, class: said.heads[0].ranked()[0] };
        usual.push(said.map(best).unwrap().map.normalised().values);
        cuts.push(cut);
        ours.take(&frame, cut, &input, &said, &mut classifier);
    }
    // Whoever waits to hand over a frame goes on, and can be stopped.
    drop(frames);
    source.stop();
    let heats = ours.finish();
    assert_eq!(heats.len(), usual.len());
    let of =
        |heats: &[Vec<f32>]| Flicker::of(cuts.iter().copied().zip(heats.iter().map(Vec::as_slice)));
    let count = cuts.iter().skip(1).filter(|cut| **cut).count();
    Some((cuts.len(), count, [of(&usual), of(&heats)]))
}

/// Heatcast's defaults: five analyses a second, steadied class, fixed scale,
/// smoothing, interpolation.
struct Ours {
    sampler: Sampler,
    steadier: ClassSteadier,
    normalizer: Normalizer,
    smoother: MapSmoother,
    sync: Synchronizer<()>,
    input: InputSpec,
    class: Option<usize>,
    heats: Vec<Vec<f32>>,
}

impl Ours {
    fn new(classifier: &Classifier, input: InputSpec) -> Self {
        let Config { explain, analysis, .. } = Config::default();
        let seconds = |ms: u32| f64::from(ms) / 1e3;
        let head = &classifier.heads()[0];
        let own = head.smoothing.unwrap_or_default();
        let margin = own.margin.unwrap_or(explain.class_switch_margin) as f32;
        let tau = own.seconds.unwrap_or(seconds(explain.class_smoothing_ms));
        let (map, fade) = (seconds(explain.map_smoothing_ms), seconds(explain.crossfade_ms));
        Self {
            sampler: Sampler::new(analysis.fps, usize::MAX),
            steadier: ClassSteadier::new(tau, margin),
            normalizer: Normalizer::new(explain.normalize, head.explain_scale),
            smoother: MapSmoother::new(map, fade),
            sync: Synchronizer::new(explain.interpolation),
            input,
            class: None,
            heats: Vec::new(),
        }
    }

    fn take(
        &mut self,
        frame: &Frame,
        cut: bool,
        input: &[f32],
        said: &Output,
        classifier: &mut Classifier,
    ) {
        let sampled = self.sampler.wants(frame.pts, cut);
        self.sync.push_frame(frame.pts, (), sampled);
        if sampled {
            let asked = self.class.map(|class| Wanted { head: 0, class });
            let with = classifier.run(input, asked.as_slice()).unwrap();
            let probabilities = &said.heads[0].probabilities;
            let shown = self.steadier.update(frame.pts, cut, probabilities).map(|(class, _)| class);
            let wanted = |class: usize| with.map(Wanted { head: 0, class });
            let found = shown.and_then(wanted).or_else(|| self.class.and_then(wanted));
            self.class = shown;
            let explanations = found.map(|found| {
                let raw = found.in_logit_units();
                self.explanation(frame, cut, found.class, &raw)
            });
            self.sync.push_annotation(Arc::new(Annotation {
                pts: frame.pts,
                starts_shot: cut,
                heads: Vec::new(),
                explanations: explanations.into_iter().collect(),
            }));
        }
        self.collect();
    }

    fn explanation(
        &mut self,
        frame: &Frame,
        cut: bool,
        class: usize,
        raw: &ActivationMap,
    ) -> Explanation {
        let pts: Pts = frame.pts;
        let full_scale = self.normalizer.scale(pts, cut, [raw]);
        let map = self.smoother.smooth(pts, cut, (0, class), raw, full_scale);
        let view = view(&self.input, frame.size(), frame.pixel_aspect());
        Explanation {
            head: 0,
            class: ClassProb { index: class, label: "".into(), probability: 0.0 },
            asked: false,
            heat: Heat { layer: 0, map, view },
            full_scale,
        }
    }

    fn collect(&mut self) {
        while let Some(paired) = self.sync.pop() {
            self.heats.extend(paired.heat.into_iter().map(|heat| heat.map.values).next());
        }
    }

    fn finish(mut self) -> Vec<Vec<f32>> {
        self.sync.finish();
        self.collect();
        self.heats
    }
}
