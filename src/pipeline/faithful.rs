//! Asks a classifier again and again what it makes of a picture without the
//! places its maps point at. Called for pictures that are evaluated or
//! explained; the arithmetic is that of `eval::faithfulness`.

use std::path::Path;

use super::boxes::Boxes;
use super::evaluate::Worker;
use crate::annotation::View;
use crate::eval::faithfulness::{Figures, Rect, Stimulus, measure};
use crate::model::{self, Activation, Head, HeadOutput, Output, Wanted};
use crate::preprocess::InputSpec;

/// A picture to be measured.
pub(super) struct Subject<'a> {
    pub(super) path: &'a Path,
    /// As it was given to the classifier, and what that said.
    pub(super) input: &'a [f32],
    pub(super) said: &'a Output,
    pub(super) wanted: Wanted,
    /// What of the picture the input shows.
    pub(super) view: View,
    /// Its place in the run; chooses the map of chance.
    pub(super) number: usize,
}

/// The figures of every map of the wanted class, by name.
pub(super) fn figures(
    worker: &mut Worker,
    spec: &InputSpec,
    boxes: &Boxes,
    subject: &Subject<'_>,
) -> Result<Vec<(String, Figures)>, model::Error> {
    let Wanted { head, class } = subject.wanted;
    let maps = subject.said.maps.iter().filter(|m| (m.head, m.class) == (head, class));
    let maps: Vec<_> = maps.map(|m| (m.method.to_string(), &m.map)).collect();
    let boxes: Vec<Rect> = boxes
        .of(subject.path, class)
        .into_iter()
        .map(|at| Rect::in_input(at, &subject.view, spec))
        .collect();
    let classifier = &mut worker.classifier;
    let asked = classifier.heads()[head].clone();
    let stimulus = Stimulus {
        input: subject.input,
        spec,
        confidence: confidence(&asked, &subject.said.heads[head], class),
        boxes: &boxes,
        seed: subject.number as u64,
    };
    measure(&stimulus, &maps, &mut |input: &[f32]| {
        let said = classifier.run(input, &[])?;
        Ok(confidence(&asked, &said.heads[head], class))
    })
}

/// Confidence in a class, 0..1: its probability, for heads without an
/// activation the softmax of their outputs (or the sigmoid of the only one).
fn confidence(head: &Head, answer: &HeadOutput, class: usize) -> f64 {
    let of = |probabilities: &[f32]| probabilities.get(class).copied().map_or(0.0, f64::from);
    match (head.activation, answer.logits.len()) {
        (Activation::None, 1) => {
            of(&Activation::Sigmoid.probabilities(&answer.logits, head.temperature))
        }
        (Activation::None, _) => {
            of(&Activation::Softmax.probabilities(&answer.logits, head.temperature))
        }
        _ => of(&answer.probabilities),
    }
}
