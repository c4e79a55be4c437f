//! Examples as a head is learnt from: each with its class, its group and the
//! features that the network makes of it.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, bail};
use ndarray::{Array1, Array2};

use super::crew;
use super::evaluate::{Worker, workers};
use super::lessons::{self, Lessons, Wanted};
use super::picture_files::read_still;
use super::teach::{Examples, Planned, Teach};
use crate::learn::{FEWEST, Linear, Samples};
use crate::model::{Explain, Heads, KnownWeights, Model, Options};
use crate::names::plain;

/// Pictures that calibrate the heat, at most twice as many.
const CALIBRATION: usize = 100;

/// One example, embedded.
pub(super) struct Embedded {
    pub(super) class: usize,
    pub(super) group: String,
    pub(super) features: Vec<f32>,
    /// Answer of the old head: logits and probabilities.
    pub(super) before: Option<(Vec<f32>, Vec<f32>)>,
    /// The classifier's input, of the few that calibrate the heat.
    pub(super) input: Option<Vec<f32>>,
}

/// Runs the network over all examples.
pub(super) fn embed(
    job: &Teach,
    network: &Model,
    source: &Planned,
    labels: &[String],
    same: Option<usize>,
    report: &mut dyn FnMut(&str, f64),
) -> anyhow::Result<(Vec<Embedded>, Vec<String>, Vec<String>)> {
    let options = Options { explain: Explain::of(Heads::None), ..Options::default() };
    let mut crew = workers(network, &options, job.threads)?;
    let head = network.spec.heads.len() - 1;
    let look = |worker: &mut Worker, input: Vec<f32>, class, group, keep: bool| {
        let output = worker.classifier.run(&input, &[])?;
        let before =
            same.map(|h| (output.heads[h].logits.clone(), output.heads[h].probabilities.clone()));
        let features = output.heads[head].logits.clone();
        anyhow::Ok(Embedded { class, group, features, before, input: keep.then_some(input) })
    };
    match source {
        Planned::Pictures(dataset) => {
            let count = dataset.items.len();
            let every = count.div_ceil(CALIBRATION);
            let class = |label: &str| labels.iter().position(|l| plain(l) == plain(label));
            let work = |worker: &mut Worker, i: usize| {
                let item = &dataset.items[i];
                let still = match read_still(&item.path) {
                    Ok(still) => still,
                    Err(why) => return Ok(Err(why)),
                };
                let input = worker.preprocessor.run_still(&still);
                let group = item.group.clone().unwrap_or_else(|| prefix(&item.path));
                let class = class(&item.label).unwrap_or(0);
                look(worker, input, class, group, i.is_multiple_of(every))
                    .with_context(|| item.path.display().to_string())
                    .map(Ok)
            };
            let mut progress =
                |n: usize| report("looking at the pictures", n as f64 / count as f64);
            let seen = crew::share(&mut crew, 0..count, work, &mut progress)?;
            let (mut examples, mut skipped) = (Vec::new(), Vec::new());
            for example in seen {
                match example {
                    Ok(example) => examples.push(example),
                    Err(why) => skipped.push(why),
                }
            }
            Ok((examples, skipped, dataset.notes.clone()))
        }
        Planned::Recording(breaks) => {
            let Examples::Recording { input, fps, most, program, .. } = &job.examples else {
                bail!("a list of breaks without its recording; this is a bug in Heatcast");
            };
            let wanted = Wanted { breaks, fps: *fps, most: *most, program: *program };
            let mut lessons = Lessons::open(input, wanted)?;
            let every = most.div_ceil(CALIBRATION);
            let work = |worker: &mut Worker, lesson: lessons::Lesson| {
                let preprocessor = &mut worker.preprocessor;
                let input = lesson.frame.with_picture(|picture| preprocessor.run(picture))?;
                // Few frames calibrate with all of them.
                let keep = lesson.number.is_multiple_of(every) || lesson.number < CALIBRATION / 2;
                look(worker, input, lesson.class, format!("stretch {}", lesson.stretch), keep)
            };
            let mut progress =
                |n: usize| report("looking at the recording", n as f64 / *most as f64);
            let examples = crew::share(&mut crew, &mut lessons, work, &mut progress)?;
            lessons.check().with_context(|| input.display().to_string())?;
            let notes = vec![
                "all examples are from one recording: expect less on other days and channels"
                    .to_owned(),
            ];
            Ok((examples, Vec::new(), notes))
        }
    }
}

/// The group of a picture by its name: what is left without the number at the
/// end. Pictures called by a number alone are groups of their own.
fn prefix(path: &Path) -> String {
    let stem = path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    let prefix = stem.trim_end_matches(|c: char| c.is_ascii_digit());
    let prefix = prefix.trim_end_matches(['_', '-', '.', ' ', '(']);
    if prefix.chars().any(char::is_alphabetic) { prefix.to_owned() } else { stem }
}

pub(super) fn check_examples(examples: &[Embedded], labels: &[String]) -> anyhow::Result<()> {
    for (class, label) in labels.iter().enumerate() {
        let n = examples.iter().filter(|e| e.class == class).count();
        if n < FEWEST {
            bail!("only {n} examples of {label:?} can be used; at least {FEWEST} are needed");
        }
    }
    let broken = |e: &&Embedded| e.features.iter().any(|v| !v.is_finite());
    if examples.iter().any(|e| broken(&e)) {
        bail!("the network answers with NaN or infinity; use another model");
    }
    Ok(())
}

pub(super) fn samples(examples: &[Embedded], class_count: usize) -> Samples {
    let width = examples.first().map_or(0, |e| e.features.len());
    let mut features = Array2::zeros((examples.len(), width));
    for (mut row, example) in features.rows_mut().into_iter().zip(examples) {
        row.iter_mut().zip(&example.features).for_each(|(to, from)| *to = *from);
    }
    let mut names = BTreeMap::new();
    let groups = examples
        .iter()
        .map(|e| {
            let next = names.len();
            *names.entry(e.group.as_str()).or_insert(next)
        })
        .collect();
    let classes = examples.iter().map(|e| e.class).collect();
    Samples { features, classes, groups, class_count }
}

/// The layer of the old head in calibrated logits, when its weights and its
/// answers agree. The bias is what its answers have beyond the weights'.
pub(super) fn prior(
    known: &KnownWeights,
    examples: &[Embedded],
    temperature: f32,
) -> Option<Linear> {
    let weights =
        Array2::from_shape_vec((known.classes, known.features), known.values.clone()).ok()?;
    let mut sum = Array1::<f32>::zeros(known.classes);
    let mut range =
        (Array1::from_elem(known.classes, f32::MAX), Array1::from_elem(known.classes, f32::MIN));
    let mut largest = 0.0f32;
    for example in examples {
        let (logits, _) = example.before.as_ref()?;
        if example.features.len() != known.features || logits.len() != known.classes {
            return None;
        }
        let linear = weights.dot(&Array1::from(example.features.clone()));
        let rest = Array1::from(logits.clone()) - linear;
        largest = logits.iter().fold(largest, |m, v| m.max(v.abs()));
        range.0.zip_mut_with(&rest, |a, b| *a = a.min(*b));
        range.1.zip_mut_with(&rest, |a, b| *a = a.max(*b));
        sum += &rest;
    }
    let spread = (&range.1 - &range.0).fold(0.0f32, |m, v| m.max(*v));
    if spread > 0.01 * largest.max(1.0) {
        return None;
    }
    let bias = sum / examples.len() as f32 / temperature;
    Some(Linear { weights: weights / temperature, bias })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_belongs_to_what_its_name_says_without_the_number() {
        for (name, group) in [
            ("a/spot-12_0001.jpg", "spot-12"),
            ("a/frame 3.png", "frame"),
            ("a/0042.jpg", "0042"),
            ("a/evening(7.jpg", "evening"),
            ("a/x.jpg", "x"),
        ] {
            assert_eq!(prefix(Path::new(name)), group);
        }
    }
}
