//! The analyst: turns a sampled frame into an annotation. Runs on a thread of
//! its own; sees frames in order and keeps what must be steady in time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crossbeam_channel::{Receiver, Sender};

use crate::annotation::{Annotation, ClassProb, Explanation, HeadResult, Heat};
use crate::config::Config;
use crate::explain::{ClassChoice, ClassSteadier, MapSmoother, Normalizer};
use crate::frame::Pts;
use crate::media::Frame;
use crate::model::{ClassMap, Classifier, Head, HeadOutput, Output, Wanted};
use crate::preprocess::{InputSpec, Preprocessor, view};

/// Classes kept per head and frame.
const TOP: usize = 5;

/// A frame to be analysed.
#[derive(Debug)]
pub(super) struct Sample {
    pub(super) frame: Frame,
    pub(super) starts_shot: bool,
}

/// What the analyst counts, read by the supervisor.
#[derive(Debug, Default)]
pub(super) struct AnalystCounters {
    pub(super) analysed: AtomicU64,
    pub(super) failed: AtomicU64,
    /// Processor time of the analyst's thread (preparing pictures, running the
    /// classifier), in microseconds.
    pub(super) cpu_us: AtomicU64,
}

/// What is kept in mind of a stream from one analysed frame to the next.
pub(super) struct Analyst {
    input: InputSpec,
    preprocessor: Preprocessor,
    /// Index of the head that is explained.
    head: usize,
    layers: Vec<Layer>,
    steadiers: Vec<ClassSteadier>,
    normalizer: Normalizer,
    last_failure: Option<String>,
}

/// One of the classes that are explained at the same time.
struct Layer {
    choice: ClassChoice,
    /// The class to explain, once it is known.
    class: Option<usize>,
    smoother: MapSmoother,
}

impl Analyst {
    pub(super) fn new(
        classifier: &Classifier,
        input: InputSpec,
        (head, choices): (usize, &[ClassChoice]),
        config: &Config,
    ) -> Self {
        let explain = &config.explain;
        let tau = f64::from(explain.class_smoothing_ms) / 1e3;
        // A head that wants its own steadying knows its labels best.
        let steadier = |head: &Head| {
            let own = head.smoothing.unwrap_or_default();
            let margin = own.margin.unwrap_or(explain.class_switch_margin);
            ClassSteadier::new(own.seconds.unwrap_or(tau), margin as f32)
        };
        let mut analyst = Self {
            steadiers: classifier.heads().iter().map(steadier).collect(),
            preprocessor: Preprocessor::new(&input),
            input,
            head,
            layers: Vec::new(),
            normalizer: Normalizer::new(explain.normalize, 1.0),
            last_failure: None,
        };
        analyst.explain(classifier, (head, choices), config);
        analyst
    }

    /// Explains other classes from now on; what is known about the stream stays,
    /// so that the heat of one class fades into that of the next.
    pub(super) fn explain(
        &mut self,
        classifier: &Classifier,
        (head, choices): (usize, &[ClassChoice]),
        config: &Config,
    ) {
        let explain = &config.explain;
        let seconds = |ms: u32| f64::from(ms) / 1e3;
        let fresh =
            MapSmoother::new(seconds(explain.map_smoothing_ms), seconds(explain.crossfade_ms));
        let mut smoothers: Vec<_> = self.layers.drain(..).map(|layer| layer.smoother).collect();
        smoothers.resize(choices.len(), fresh);
        let layer = |(&choice, smoother): (&ClassChoice, MapSmoother)| {
            let class = match choice {
                ClassChoice::Index(class) => Some(class),
                ClassChoice::Top => None,
            };
            Layer { choice, class, smoother }
        };
        self.head = head;
        self.layers = choices.iter().zip(smoothers).map(layer).collect();
        self.normalizer = Normalizer::new(explain.normalize, full_scale(classifier, head, config));
    }

    /// Works until the samples end. Returns the last failure, if any.
    pub(super) fn run(
        mut self,
        classifier: &mut Classifier,
        samples: &Receiver<Sample>,
        annotations: &Sender<Arc<Annotation>>,
        counters: &AnalystCounters,
    ) -> Option<String> {
        for sample in samples {
            let begun = cpu_time::ThreadTime::now();
            let annotation = self.annotate_or_note(classifier, &sample, counters);
            let spent = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
            counters.cpu_us.fetch_add(spent, Relaxed);
            counters.analysed.fetch_add(1, Relaxed);
            // Whoever paints the frame can then do so where it stands.
            drop(sample);
            if annotations.send(Arc::new(annotation)).is_err() {
                break;
            }
        }
        self.last_failure
    }

    /// The annotation of a sample; an empty one where the classifier fails.
    pub(super) fn annotate_or_note(
        &mut self,
        classifier: &mut Classifier,
        sample: &Sample,
        counters: &AnalystCounters,
    ) -> Annotation {
        self.annotate(classifier, sample).unwrap_or_else(|why| {
            counters.failed.fetch_add(1, Relaxed);
            if self.last_failure.is_none() {
                tracing::warn!("the classifier failed: {why}; the video goes on without");
            }
            self.last_failure = Some(why);
            Annotation {
                pts: sample.frame.pts,
                starts_shot: sample.starts_shot,
                heads: Vec::new(),
                explanations: Vec::new(),
            }
        })
    }

    fn annotate(
        &mut self,
        classifier: &mut Classifier,
        sample: &Sample,
    ) -> Result<Annotation, String> {
        let Sample { frame, starts_shot } = sample;
        let input = frame
            .with_picture(|picture| self.preprocessor.run(picture))
            .map_err(|e| e.to_string())?;
        let asked: Vec<Wanted> = self.wanted().collect();
        let output = classifier.run(&input, &asked).map_err(|e| e.to_string())?;
        let heads: Vec<HeadResult> = classifier
            .heads()
            .iter()
            .zip(&output.heads)
            .zip(&mut self.steadiers)
            .filter_map(|((head, out), steadier)| {
                head_result(head, out, steadier, frame.pts, *starts_shot)
            })
            .collect();

        let shown = heads.get(self.head).map(|h| h.shown.index);
        let explanations = self.explanations(classifier, sample, &output, shown);
        Ok(Annotation { pts: frame.pts, starts_shot: *starts_shot, heads, explanations })
    }

    /// The classes whose maps are asked for.
    fn wanted(&self) -> impl Iterator<Item = Wanted> {
        self.layers.iter().filter_map(|l| l.class).map(|class| Wanted { head: self.head, class })
    }

    /// Explains the class of every layer; `shown` is the one of `top`.
    fn explanations(
        &mut self,
        classifier: &Classifier,
        Sample { frame, starts_shot }: &Sample,
        output: &Output,
        shown: Option<usize>,
    ) -> Vec<Explanation> {
        let map = |class| output.map(Wanted { head: self.head, class });
        let is_asked = |class: usize| {
            self.layers.iter().any(|layer| layer.choice == ClassChoice::Index(class))
        };
        // Maps come for the classes explained so far and for the best class of
        // this frame. A class that leads on average but not now keeps the map
        // waiting for the next frame.
        let of_layer = |layer: &Layer| match layer.choice {
            ClassChoice::Index(class) => map(class),
            // A class that has a layer of its own keeps it.
            ClassChoice::Top if shown.is_some_and(is_asked) => None,
            ClassChoice::Top => [shown, layer.class].into_iter().flatten().filter_map(map).next(),
        };
        let found: Vec<Option<&ClassMap>> = self.layers.iter().map(of_layer).collect();
        let raw: Vec<_> = found.iter().map(|f| f.map(ClassMap::in_logit_units)).collect();
        let full_scale = self.normalizer.scale(frame.pts, *starts_shot, raw.iter().flatten());
        let head = &classifier.heads()[self.head];
        let view = view(&self.input, frame.size(), frame.pixel_aspect());
        let mut explanations = Vec::new();
        let layers = self.layers.iter_mut().zip(found.iter().zip(&raw)).enumerate();
        for (n, (layer, maps)) in layers {
            if layer.choice == ClassChoice::Top {
                layer.class = shown.or(layer.class);
            }
            let (Some(found), Some(raw)) = maps else { continue };
            let key = (self.head, found.class);
            let map = layer.smoother.smooth(frame.pts, *starts_shot, key, raw, full_scale);
            explanations.push(Explanation {
                head: self.head,
                class: class_prob(head, &output.heads[self.head], found.class),
                asked: layer.choice != ClassChoice::Top,
                heat: Heat { layer: n, map, view },
                full_scale,
            });
        }
        explanations
    }
}

/// Logit units of full heat.
fn full_scale(classifier: &Classifier, head: usize, config: &Config) -> f32 {
    let own = classifier.heads().get(head).map_or(1.0, |head| head.explain_scale);
    if config.explain.full_scale > 0.0 { config.explain.full_scale as f32 } else { own }
}

pub(super) fn class_prob(head: &Head, out: &HeadOutput, index: usize) -> ClassProb {
    ClassProb { index, label: head.labels[index].clone(), probability: out.probabilities[index] }
}

/// The most probable classes, best first.
pub(super) fn top_classes(head: &Head, out: &HeadOutput) -> Vec<ClassProb> {
    out.ranked().into_iter().take(TOP).map(|i| class_prob(head, out, i)).collect()
}

fn head_result(
    head: &Head,
    out: &HeadOutput,
    steadier: &mut ClassSteadier,
    pts: Pts,
    starts_shot: bool,
) -> Option<HeadResult> {
    let (shown, smoothed) = steadier.update(pts, starts_shot, &out.probabilities)?;
    let top = top_classes(head, out);
    let shown = ClassProb { probability: smoothed, ..class_prob(head, out, shown) };
    let probabilities = out.probabilities.as_slice().into();
    Some(HeadResult { head: head.name.clone(), top, shown, probabilities })
}
