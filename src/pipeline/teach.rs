//! Teaches a model a head: embeds examples with its network, learns a linear
//! layer, writes a model folder with it and makes sure that it does what it
//! should.

use std::path::PathBuf;

use anyhow::{Context, anyhow, bail};
use ndarray::Array2;

use super::card::card;
use super::crew;
use super::examples::{Embedded, check_examples, embed, prior, samples};
use super::lessons;
use crate::dataset::{Dataset, Selection};
use crate::eval::{Answer, Scores};
use crate::learn::{Course, FEWEST, Learnt, Linear};
use crate::model::{
    Activation, Classifier, Explain, HeadSpec, Heads, Model, NewHead, Options, Places,
};
use crate::names::plain;
use crate::timeline::formats::{self, Break};

/// Part of the loss in cross-validation at which another way is taken.
const CLEARLY_BETTER: f64 = 0.95;
/// Rank of the map's value that paints full heat, among the positive ones.
const FULL_HEAT: f64 = 0.995;
/// The written network may answer this much (relative to the largest logit)
/// otherwise than what was learnt: rounding.
const TOLERANCE: f32 = 1e-3;

/// Where the examples come from.
#[derive(Clone, Debug)]
pub enum Examples {
    /// Labelled pictures.
    Pictures {
        /// Folder or table.
        dataset: PathBuf,
        /// Which rows of a table.
        selection: Selection,
    },
    /// A recording and the list of its breaks.
    Recording {
        /// The recording.
        input: PathBuf,
        /// Edit decision list.
        cuts: PathBuf,
        /// Frames per second, at most.
        fps: f64,
        /// Frames, at most.
        most: usize,
        /// Programme of a transport stream.
        program: Option<u32>,
    },
}

/// A head to be taught.
#[derive(Clone, Debug)]
pub struct Teach {
    /// Where the examples come from.
    pub examples: Examples,
    /// Name or path of the model to start from.
    pub model: String,
    /// Name of the head, new or not.
    pub head: String,
    /// Folder to write.
    pub output: PathBuf,
    /// How much of the head's weights to hold on to, 0..1; when unset, all or
    /// nothing, whichever does better.
    pub mix: Option<f32>,
    /// Pictures looked at at the same time.
    pub threads: usize,
    /// True to replace a folder that exists.
    pub force: bool,
}

/// What came out.
#[derive(Debug)]
pub struct Taught {
    /// Classes with the number of their examples.
    pub classes: Vec<(String, usize)>,
    /// Scores of the old head on the part that nothing was learnt from, when
    /// there was one with these classes.
    pub before: Option<Scores>,
    /// Scores of the new layer on that part.
    pub after: Scores,
    /// The L2 penalty that was chosen.
    pub penalty: f64,
    /// What the logits are divided by.
    pub temperature: f32,
    /// Logit units that paint full heat.
    pub explain_scale: f32,
    /// How much of the old head's weights was held on to.
    pub mix: f32,
    /// True when there was a head of that name before.
    pub replaced: bool,
    /// Files that were skipped, each with the reason.
    pub skipped: Vec<String>,
    /// What else people should know.
    pub notes: Vec<String>,
}

/// A model and examples that fit each other.
pub struct TeachingPlan {
    job: Teach,
    model: Model,
    source: Planned,
    labels: Vec<String>,
    /// The head of that name with the same classes, by its index.
    same: Option<usize>,
    /// Unfinished folder; removed when dropped.
    part: PartFolder,
}

/// Where the examples are, once that was looked at.
pub(super) enum Planned {
    Pictures(Dataset),
    Recording(Vec<Break>),
}

struct PartFolder(PathBuf);

impl Drop for PartFolder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Finds the model and the examples, and everything that can be refused before
/// work starts.
///
/// # Errors
/// When something cannot be had or does not fit.
pub fn plan_teaching(job: Teach) -> anyhow::Result<TeachingPlan> {
    if job.output.exists() && !job.force {
        bail!("{} exists; use --force to replace it", job.output.display());
    }
    if job.head.trim().is_empty() {
        bail!("--head is empty; give the head a name");
    }
    if let Some(mix) = job.mix.filter(|m| !(0.0..=1.0).contains(m)) {
        bail!("--mix is {mix}, but must be 0 (only the examples) to 1 (as much as they allow)");
    }
    let model = Model::find(&job.model, &Places::from_env())?;
    let unnamed = |h: &&HeadSpec| h.labels.is_empty() && h.name != job.head;
    if let Some(head) = model.spec.heads.iter().find(unnamed) {
        bail!(
            "head {:?} of {} has no class names; give it some in a model.toml first",
            head.name,
            model.spec.name
        );
    }
    let (source, names) = match &job.examples {
        Examples::Pictures { dataset: path, selection } => {
            let dataset = Dataset::open(path, selection)?;
            let shown = path.display();
            if let Some((a, b)) = dataset.clash() {
                bail!(
                    "{shown}: classes {a:?} and {b:?} have the same name but for case; rename one"
                );
            }
            let labels = dataset.labels();
            if let [(only, _)] = labels.iter().collect::<Vec<_>>()[..] {
                bail!(
                    "{shown}: all pictures are of one class, {only:?}; at least two are needed to tell apart"
                );
            }
            if let Some((label, n)) = labels.iter().find(|(_, n)| **n < FEWEST) {
                bail!("{shown}: class {label:?} has {n} pictures; at least {FEWEST} are needed");
            }
            let names = labels.into_keys().map(str::to_owned).collect();
            (Planned::Pictures(dataset), names)
        }
        Examples::Recording { input, cuts, fps, most, .. } => {
            if !input.exists() {
                bail!("{}: there is no such file; check the name", input.display());
            }
            if !(*fps > 0.0 && *fps <= 1000.0) {
                bail!("--fps is {fps}, but must be above 0, up to 1000");
            }
            if *most < 4 * FEWEST {
                bail!("--frames is {most}, but must be at least {}", 4 * FEWEST);
            }
            let text = std::fs::read_to_string(cuts)
                .with_context(|| format!("cannot read the list {}", cuts.display()))?;
            let breaks = formats::read(&text, &cuts.to_string_lossy())
                .and_then(|spans| formats::breaks(&spans, formats::BREAK))
                .with_context(|| cuts.display().to_string())?;
            (Planned::Recording(breaks), lessons::LABELS.map(str::to_owned).to_vec())
        }
    };
    let (labels, same) = class_order(&model, &job.head, names);
    if same.is_none() && job.mix.is_some_and(|m| m > 0.0) {
        bail!(
            "--mix holds on to a head of the same name and classes, and {} has no head {:?} with {}; leave --mix out",
            model.spec.name,
            job.head,
            labels.join(", ")
        );
    }
    let name = job.output.file_name().context("the output must be the name of a folder")?;
    let part = job.output.with_file_name(format!(".{}.part", name.to_string_lossy()));
    let _ = std::fs::remove_dir_all(&part);
    std::fs::create_dir_all(&part)
        .with_context(|| format!("cannot create the folder {}", job.output.display()))?;
    Ok(TeachingPlan { job, model, source, labels, same, part: PartFolder(part) })
}

/// The classes in the order of the head that has the same ones, else by name.
fn class_order(model: &Model, head: &str, names: Vec<String>) -> (Vec<String>, Option<usize>) {
    let sorted = |labels: &[String]| {
        let mut labels: Vec<_> = labels.iter().map(|l| plain(l)).collect();
        labels.sort();
        labels
    };
    let heads = &model.spec.heads;
    match heads.iter().position(|h| h.name == head && sorted(&h.labels) == sorted(&names)) {
        Some(index) => (heads[index].labels.clone(), Some(index)),
        None => (names, None),
    }
}

/// Learns and writes the model folder, calling `report` with what is being
/// done and how far it has come, 0..1.
///
/// # Errors
/// When the examples cannot be read, are too few, or the result is not sound.
pub fn teach(plan: TeachingPlan, report: &mut dyn FnMut(&str, f64)) -> anyhow::Result<Taught> {
    let TeachingPlan { job, model, source, labels, same, part } = plan;
    let embedding = part.0.join("embedding");
    let (network, known) = model.with_embedding(&job.head, &embedding)?;
    let (examples, skipped, mut notes) = embed(&job, &network, &source, &labels, same, report)?;
    let _ = std::fs::remove_dir_all(&embedding);
    check_examples(&examples, &labels)?;

    let prior = same
        .zip(known)
        .and_then(|(head, known)| prior(&known, &examples, model.spec.heads[head].temperature));
    if same.is_some() && prior.is_none() && job.mix.is_some_and(|m| m > 0.0) {
        bail!("the weights of head {:?} are not plain numbers; leave --mix out", job.head);
    }
    let (learnt, mix) = learn(&job, &examples, labels.len(), prior.as_ref(), report)?;
    for &class in &learnt.classes_with_few_groups {
        notes.push(format!(
            "the examples of {:?} come from one or two sources, so the part they are tested on is from the same: expect less on others",
            labels[class]
        ));
    }

    let old = same.map(|i| &model.spec.heads[i]);
    let mut spec = HeadSpec::new(&job.head, labels.clone());
    spec.temperature = learnt.temperature;
    spec.smoothing = old.and_then(|h| h.smoothing);
    let new = NewHead {
        spec,
        weights: learnt.layer.weights.iter().copied().collect(),
        bias: learnt.layer.bias.to_vec(),
    };
    let mut taught = model.with_head(&new, &part.0)?;
    if let Some(name) = job.output.file_name() {
        taught.spec.name = name.to_string_lossy().into_owned();
    }
    report("checking", 0.0);
    let explain_scale = check_and_calibrate(&taught, &job.head, &learnt.layer, &examples)?;
    if let Some(head) = taught.spec.heads.iter_mut().find(|h| h.name == job.head) {
        head.explain_scale = explain_scale;
    }
    taught.write_description()?;
    let result = summary(&labels, &examples, &learnt, mix, explain_scale, skipped, notes)?;
    let replaced = model.spec.heads.iter().any(|h| h.name == job.head);
    let result = Taught { replaced, ..result };
    let card = card(&job, &model, &result);
    std::fs::write(part.0.join("README.md"), card).context("cannot write the model card")?;
    if job.force && job.output.exists() {
        std::fs::remove_dir_all(&job.output)
            .with_context(|| format!("cannot replace {}", job.output.display()))?;
    }
    std::fs::rename(&part.0, &job.output)
        .with_context(|| format!("cannot name the folder {}", job.output.display()))?;
    Ok(result)
}

/// Learns a layer; whether to hold on to the `prior` is chosen by
/// cross-validation unless the job says.
fn learn(
    job: &Teach,
    examples: &[Embedded],
    classes: usize,
    prior: Option<&Linear>,
    report: &mut dyn FnMut(&str, f64),
) -> anyhow::Result<(Learnt, f32)> {
    let mixes = match (prior, job.mix) {
        (None, _) => vec![0.0],
        (Some(_), Some(mix)) => vec![mix],
        (Some(_), None) => vec![1.0, 0.0],
    };
    let mut best: Option<(Learnt, f32)> = None;
    for mix in mixes {
        let course = Course::new(samples(examples, classes), prior, mix);
        let folds = course.folds();
        let results = crew::share(
            &mut vec![(); job.threads.clamp(1, folds)],
            0..folds,
            |(), fold| Ok(course.fold(fold)),
            &mut |n| report("learning", (n - 1) as f64 / folds as f64),
        )?;
        let learnt = course.finish(&results);
        // What is known is given up only for something clearly better.
        if best.as_ref().is_none_or(|(kept, _)| learnt.loss < CLEARLY_BETTER * kept.loss) {
            best = Some((learnt, mix));
        }
    }
    best.ok_or_else(|| anyhow!("nothing was learnt; this is a bug in Heatcast"))
}

/// Loads what was written, compares its answers with what was learnt, and
/// measures how strong its maps are.
fn check_and_calibrate(
    model: &Model,
    head: &str,
    layer: &Linear,
    examples: &[Embedded],
) -> anyhow::Result<f32> {
    let explain = Explain::of(Heads::of(Some(head.to_owned())));
    let options = Options { explain, ..Options::default() };
    let mut classifier = Classifier::load(model, &options)?;
    let explained = classifier.explained_head();
    if let Some(why) = classifier.why_no_map(explained) {
        bail!("the taught head has no heatmap: {why}; this is a bug in Heatcast");
    }
    let mut positive = Vec::new();
    for example in examples {
        let Some(input) = &example.input else { continue };
        let output = classifier.run(input, &[])?;
        let features =
            Array2::from_shape_vec((1, example.features.len()), example.features.clone())?;
        let wanted = layer.logits(features.view());
        let largest = wanted.iter().fold(1.0f32, |m, v| m.max(v.abs()));
        let off = output.heads[explained].logits.iter().zip(&wanted).map(|(a, b)| (a - b).abs());
        if off.fold(0.0, f32::max) > TOLERANCE * largest {
            bail!(
                "the written network does not answer as what was learnt; this is a bug in Heatcast"
            );
        }
        if let Some(map) = output.maps.first() {
            positive.extend(map.in_logit_units().values.into_iter().filter(|v| *v > 0.0));
        }
    }
    positive.sort_by(f32::total_cmp);
    let rank = (positive.len() as f64 * FULL_HEAT) as usize;
    let scale = positive.get(rank.min(positive.len().saturating_sub(1))).copied();
    Ok(scale.unwrap_or(1.0).max(1e-3))
}

fn summary(
    labels: &[String],
    examples: &[Embedded],
    learnt: &Learnt,
    mix: f32,
    explain_scale: f32,
    skipped: Vec<String>,
    notes: Vec<String>,
) -> anyhow::Result<Taught> {
    let softmax = |logits: &[f32]| Activation::Softmax.probabilities(logits, learnt.temperature);
    let answer = |i: usize, probabilities: Vec<f32>| Answer {
        truth: examples[i].class,
        probabilities,
        group: Some(examples[i].group.clone()),
    };
    let rows = learnt.held_out_logits.rows();
    let after: Vec<Answer> = learnt
        .held_out
        .iter()
        .zip(rows)
        .map(|(&i, row)| answer(i, softmax(&row.to_vec())))
        .collect();
    let before: Option<Vec<Answer>> = learnt
        .held_out
        .iter()
        .map(|&i| Some(answer(i, examples[i].before.as_ref()?.1.clone())))
        .collect();
    let count = |class: usize| examples.iter().filter(|e| e.class == class).count();
    Ok(Taught {
        classes: labels.iter().enumerate().map(|(c, l)| (l.clone(), count(c))).collect(),
        before: before.and_then(|b| Scores::of(labels, &b)),
        after: Scores::of(labels, &after).ok_or_else(|| anyhow!("nothing was held out"))?,
        penalty: learnt.penalty,
        temperature: learnt.temperature,
        explain_scale,
        mix,
        replaced: false,
        skipped,
        notes,
    })
}
