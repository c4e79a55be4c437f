//! The analyst: turns a sampled frame into an annotation. Runs on a thread of
//! its own; sees frames in order and keeps what must be steady in time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crossbeam_channel::{Receiver, Sender};

use crate::annotation::{Annotation, ClassProb, Explanation, HeadResult};
use crate::config::Config;
use crate::explain::{ClassChoice, ClassSteadier, MapSmoother};
use crate::frame::Pts;
use crate::media::Frame;
use crate::model::{Classifier, Head, HeadOutput, Wanted};
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

/// A classifier with its memory of the stream.
pub(super) struct Analyst {
    classifier: Classifier,
    input: InputSpec,
    preprocessor: Preprocessor,
    /// Index of the head that is explained.
    head: usize,
    choice: ClassChoice,
    steadiers: Vec<ClassSteadier>,
    smoother: MapSmoother,
    full_scale: f32,
    /// The class explained last.
    explained: Option<usize>,
    last_failure: Option<String>,
}

impl Analyst {
    pub(super) fn new(
        classifier: Classifier,
        input: InputSpec,
        (head, choice): (usize, ClassChoice),
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
        let own_scale = classifier.heads()[head].explain_scale;
        let full_scale =
            if explain.full_scale > 0.0 { explain.full_scale as f32 } else { own_scale };
        Self {
            steadiers: classifier.heads().iter().map(steadier).collect(),
            smoother: MapSmoother::new(f64::from(explain.map_smoothing_ms) / 1e3),
            preprocessor: Preprocessor::new(&input),
            classifier,
            input,
            head,
            choice,
            full_scale,
            explained: None,
            last_failure: None,
        }
    }

    /// Works until the samples end. Returns the last failure, if any.
    pub(super) fn run(
        mut self,
        samples: &Receiver<Sample>,
        annotations: &Sender<Arc<Annotation>>,
        counters: &AnalystCounters,
    ) -> Option<String> {
        for sample in samples {
            let begun = cpu_time::ThreadTime::now();
            let annotation = self.annotate(&sample).unwrap_or_else(|why| {
                counters.failed.fetch_add(1, Relaxed);
                if self.last_failure.is_none() {
                    tracing::warn!("the classifier failed: {why}; the video goes on without");
                }
                self.last_failure = Some(why);
                Annotation {
                    pts: sample.frame.pts,
                    starts_shot: sample.starts_shot,
                    heads: Vec::new(),
                    explanation: None,
                }
            });
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

    fn annotate(&mut self, sample: &Sample) -> Result<Annotation, String> {
        let Sample { frame, starts_shot } = sample;
        let input = frame
            .with_picture(|picture| self.preprocessor.run(picture))
            .map_err(|e| e.to_string())?;
        let asked = match self.choice {
            ClassChoice::Index(index) => Some(index),
            ClassChoice::Top => self.explained,
        };
        let explained_head = self.head;
        let of_head = |class| Wanted { head: explained_head, class };
        let asked = asked.map(of_head);
        let output = self.classifier.run(&input, asked.as_slice()).map_err(|e| e.to_string())?;
        let heads: Vec<HeadResult> = self
            .classifier
            .heads()
            .iter()
            .zip(&output.heads)
            .zip(&mut self.steadiers)
            .filter_map(|((head, out), steadier)| {
                head_result(head, out, steadier, frame.pts, *starts_shot)
            })
            .collect();

        let wanted = match self.choice {
            ClassChoice::Index(index) => Some(index),
            ClassChoice::Top => heads.get(explained_head).map(|h| h.shown.index),
        };
        // Maps come for the class explained so far and for the best classes of
        // this frame. A class that leads on average but not now keeps the map
        // waiting for the next frame.
        let map = [wanted.map(of_head), asked].into_iter().flatten();
        let map = map.filter_map(|w| output.map(w)).next();
        let explanation = map.map(|found| {
            let head = &self.classifier.heads()[explained_head];
            let key = (explained_head, found.class);
            let raw = found.in_logit_units();
            Explanation {
                head: explained_head,
                class: class_prob(head, &output.heads[explained_head], found.class),
                map: self.smoother.smooth(frame.pts, *starts_shot, key, &raw, self.full_scale),
                full_scale: self.full_scale,
                view: view(&self.input, frame.size(), frame.pixel_aspect()),
            }
        });
        self.explained = wanted.or(self.explained);
        Ok(Annotation { pts: frame.pts, starts_shot: *starts_shot, heads, explanation })
    }
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
