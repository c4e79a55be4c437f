//! The classifier of a scan, with what it said in the long run.

use std::sync::Arc;

use super::super::timekeeper::{evidence, segment_labels};
use crate::annotation::ActivationMap;
use crate::explain::Focus;
use crate::media::Frame;
use crate::model::{Classifier, Wanted};
use crate::preprocess::{InputSpec, Preprocessor, view};
use crate::still::Still;

use crate::frame::{Picture, Size};
use crate::overlay::{SHEET_OPACITY, Style, heated};

/// Longer side of the mean picture, in pixels.
const MEAN_PX: usize = 160;
/// Longer side of a still, in pixels.
const STILL_PX: usize = 320;

/// A head that is segmented.
#[derive(Clone, Debug)]
pub(super) struct Question {
    /// Its place among the model's heads.
    pub(super) index: usize,
    pub(super) name: Arc<str>,
    /// Its labels; a head of one label has its absence beside it.
    pub(super) labels: Vec<Arc<str>>,
    full_scale: f32,
}

/// A still with what the classifier said about it.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) picture: Still,
    pub(super) heat: Option<Still>,
    pub(super) probability: f32,
}

/// A classifier that looks at one recording.
pub(super) struct Eye {
    classifier: Classifier,
    preprocessor: Preprocessor,
    input: InputSpec,
    pub(super) questions: Vec<Question>,
    /// What was looked at, for each question and label; only when asked for.
    pub(super) focus: Option<Vec<Vec<Focus>>>,
    /// For each question what was said last of a picture that counts, and its
    /// heat; only with `focus`.
    heat: Vec<Option<(usize, ActivationMap)>>,
    /// Size of the mean pictures.
    mean: Option<(Size, Preprocessor)>,
    /// Processor time spent on classifying.
    pub(super) cpu: std::time::Duration,
    pub(super) classified: u64,
}

impl Eye {
    pub(super) fn new(
        classifier: Classifier,
        input: InputSpec,
        heads: &[usize],
        full_scale: f32,
    ) -> Self {
        let question = |&index: &usize| {
            let head = &classifier.heads()[index];
            let labels = segment_labels(head);
            let full_scale = if full_scale > 0.0 { full_scale } else { head.explain_scale };
            Question { index, name: head.name.clone(), labels, full_scale }
        };
        let questions = heads.iter().map(question).collect();
        Self {
            questions,
            preprocessor: Preprocessor::new(&input),
            classifier,
            input,
            focus: None,
            heat: Vec::new(),
            mean: None,
            cpu: std::time::Duration::ZERO,
            classified: 0,
        }
    }

    /// Forgets the recording before; `focus` tells whether attention is summed up.
    pub(super) fn begin(&mut self, focus: bool) {
        let empty = || self.questions.iter().map(|q| vec![Focus::default(); q.labels.len()]);
        self.focus = focus.then(|| empty().collect());
        self.heat.clear();
        self.mean = None;
        self.cpu = std::time::Duration::ZERO;
        self.classified = 0;
    }

    /// Probabilities of each question's labels; with `counts`, the picture
    /// counts for the attention.
    pub(super) fn classify(
        &mut self,
        frame: &Frame,
        counts: bool,
    ) -> Result<Vec<Vec<f32>>, String> {
        let begun = cpu_time::ThreadTime::now();
        let input = frame.with_picture(|p| self.preprocessor.run(p)).map_err(|e| e.to_string())?;
        let output = self.classifier.run(&input, &[]).map_err(|e| e.to_string())?;
        let answers: Vec<Vec<f32>> = self
            .questions
            .iter()
            .map(|q| evidence(&output.heads[q.index].probabilities).into_owned())
            .collect();
        if counts && self.focus.is_some() {
            let heat = |q: &Question| {
                let class = output.heads[q.index].ranked().first().copied()?;
                let map = output.map(Wanted { head: q.index, class })?;
                Some((class, map.in_logit_units().heat(q.full_scale)))
            };
            self.heat = self.questions.iter().map(heat).collect();
        }
        self.hold(frame, counts);
        self.classified += 1;
        self.cpu += begun.elapsed();
        Ok(answers)
    }

    /// What was said last holds for this picture, too; with `counts`, it counts
    /// for the attention.
    pub(super) fn hold(&mut self, frame: &Frame, counts: bool) {
        let Some(focus) = self.focus.as_mut().filter(|_| counts) else { return };
        let (_, shrinker) = self.mean.get_or_insert_with(|| {
            let size = fitted(frame.size(), frame.pixel_aspect(), MEAN_PX);
            (size, Preprocessor::new(&InputSpec::new(size.width, size.height)))
        });
        let Ok(colours) = frame.with_picture(|p| shrinker.run(p)) else { return };
        for (heat, focus) in self.heat.iter().zip(focus) {
            if let Some((class, heat)) = heat {
                focus[*class].add(heat, &colours);
            }
        }
    }

    /// A still of a frame with the heat of label `label` of a question.
    pub(super) fn explain(&mut self, frame: &Frame, question: usize, label: usize) -> Option<Look> {
        let begun = cpu_time::ThreadTime::now();
        let q = &self.questions[question];
        // The absence of a lone label has no map of its own.
        let class = label.min(self.classifier.heads()[q.index].labels.len() - 1);
        let wanted = Wanted { head: q.index, class };
        let explained = self.classifier.why_no_map(q.index).is_none();
        let input = frame.with_picture(|p| self.preprocessor.run(p)).ok()?;
        let asked: &[Wanted] = if explained { &[wanted] } else { &[] };
        let output = self.classifier.run(&input, asked).ok()?;
        let probability =
            evidence(&output.heads[q.index].probabilities).get(label).copied().unwrap_or(0.0);
        let picture = frame.with_picture(|p| still(p, STILL_PX)).ok()?;
        let heat = output
            .map(wanted)
            .map(|map| paint(&self.input, &picture, &map.in_logit_units().heat(q.full_scale)));
        self.cpu += begun.elapsed();
        Some(Look { picture, heat, probability })
    }

    /// The mean picture of a label, and the same with its mean heat. The heat
    /// is stretched to full: the mean is fainter than any picture's.
    pub(super) fn mean_look(&self, focus: &Focus) -> Option<(Still, Still)> {
        let (size, _) = self.mean.as_ref()?;
        let colours = focus.mean_colours();
        let area = size.width * size.height;
        if colours.len() != 3 * area {
            return None;
        }
        let rgb = (0..area).flat_map(|i| [0, 1, 2].map(|c| colours[c * area + i] as u8)).collect();
        let picture = Still { size: *size, rgb };
        let heat = focus.mean_heat();
        let most = heat.max();
        let heat = if most > 0.0 { heat.heat(most) } else { heat };
        let painted = paint(&self.input, &picture, &heat);
        Some((picture, painted))
    }

    /// Why a question has no heat, if so.
    pub(super) fn why_no_heat(&self, question: usize) -> Option<String> {
        self.classifier.why_no_map(self.questions[question].index).map(ToString::to_string)
    }
}

/// The size of square pixels with the longer side `longest`.
fn fitted(size: Size, pixel_aspect: f64, longest: usize) -> Size {
    let (width, height) = (size.width as f64 * pixel_aspect, size.height as f64);
    let scale = longest as f64 / width.max(height).max(1.0);
    let side = |s: f64| ((s * scale).round() as usize).max(2);
    Size::new(side(width), side(height))
}

/// A small still of a picture, with square pixels.
fn still(picture: &Picture<'_>, longest: usize) -> Still {
    let size = fitted(picture.size, picture.pixel_aspect, longest);
    let tensor = Preprocessor::new(&InputSpec::new(size.width, size.height)).run(picture);
    let area = size.width * size.height;
    let rgb = (0..area).flat_map(|i| [0, 1, 2].map(|c| tensor[c * area + i].round() as u8));
    Still { size, rgb: rgb.collect() }
}

fn paint(input: &InputSpec, picture: &Still, heat: &ActivationMap) -> Still {
    let view = view(input, picture.size, 1.0);
    let style = Style { opacity: SHEET_OPACITY, ..Style::default() };
    heated(picture, heat, &view, &style)
}
