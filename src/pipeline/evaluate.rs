//! Runs a classifier over labelled pictures and scores its answers.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};

use super::boxes::Boxes;
use super::crew;
use super::faithful::{Subject, figures};
use super::picture_files::read_still;
use crate::annotation::ActivationMap;
use crate::dataset::{Dataset, Item, Selection};
use crate::eval::faithfulness::{Faithfulness, Look};
use crate::eval::{Answer, Mistake, Scores, class_of};
use crate::explain::Methods;
use crate::model::{ClassMap, Classifier, Explain, Head, Heads, Model, Options, Places, Wanted};
use crate::overlay::{SHEET_OPACITY, Style, heated};
use crate::preprocess::{Preprocessor, view};
use crate::still::Still;

/// Longer side of the pictures in a report, in pixels.
const SHEET_PX: usize = 360;
/// Quality of the pictures in a report, 1 to 100.
const SHEET_QUALITY: u8 = 82;

/// A classifier to be evaluated on labelled pictures.
#[derive(Clone, Debug)]
pub struct Evaluate {
    /// Folder or table of pictures.
    pub dataset: PathBuf,
    /// Which rows of a table.
    pub selection: Selection,
    /// Name or path of the model.
    pub model: String,
    /// File of class names, for models without.
    pub labels: Option<PathBuf>,
    /// The head; may be left out where there is only one.
    pub head: Option<String>,
    /// Pictures looked at at the same time.
    pub threads: usize,
    /// Most wrong answers that are kept with their pictures.
    pub mistakes: usize,
    /// Also measure how faithful the maps are.
    pub faithfulness: Option<Measure>,
}

/// How the maps are measured.
#[derive(Clone, Debug, Default)]
pub struct Measure {
    /// Which maps.
    pub methods: Methods,
    /// Most pictures that are measured; evenly spread over the data set.
    pub sample: usize,
    /// Table of the objects in the pictures.
    pub boxes: Option<PathBuf>,
}

/// What came out.
#[derive(Debug)]
pub struct Evaluation {
    /// Name of the model.
    pub model: String,
    /// Version of its weights.
    pub version: String,
    /// SHA-256 of its file.
    pub sha256: String,
    /// Name of the head.
    pub head: String,
    /// The scores.
    pub scores: Scores,
    /// Files that were skipped, each with the reason.
    pub skipped: Vec<String>,
    /// What else people should know.
    pub notes: Vec<String>,
    /// The wrong answers that were surest, worst first.
    pub mistakes: Vec<Mistake>,
    /// Why there is no heat, where there is none.
    pub no_heat: Option<String>,
    /// How faithful the maps are, where that was measured.
    pub faithfulness: Option<Faithfulness>,
}

/// A data set and a classifier that fit each other.
pub struct EvaluationPlan {
    job: Evaluate,
    model: Model,
    head: usize,
    dataset: Dataset,
    /// The class of each picture.
    truths: Vec<usize>,
    boxes: Boxes,
    workers: Vec<Worker>,
}

/// A classifier with what feeds it.
pub(super) struct Worker {
    pub(super) classifier: Classifier,
    pub(super) preprocessor: Preprocessor,
}

/// Classifiers for so many threads.
pub(super) fn workers(
    model: &Model,
    options: &Options,
    threads: usize,
) -> anyhow::Result<Vec<Worker>> {
    (0..threads.max(1))
        .map(|_| {
            let classifier = Classifier::load(model, options)?;
            Ok(Worker { classifier, preprocessor: Preprocessor::new(&model.spec.input) })
        })
        .collect()
}

/// Loads the model, finds the pictures and their classes.
///
/// # Errors
/// When either cannot be had or they do not fit.
pub fn plan_evaluation(job: Evaluate) -> anyhow::Result<EvaluationPlan> {
    let model = Model::find_labelled(&job.model, &Places::from_env(), job.labels.as_deref())?;
    let heads = &model.spec.heads;
    if job.head.is_none() && heads.len() > 1 {
        let names: Vec<_> = heads.iter().map(|h| h.name.as_str()).collect();
        bail!(
            "{} has {} heads; choose the one to evaluate with --head: {}",
            model.spec.name,
            heads.len(),
            names.join(", ")
        );
    }
    let dataset = Dataset::open(&job.dataset, &job.selection)?;
    let measure = job.faithfulness.as_ref();
    let methods = measure.map(|m| m.methods.clone()).unwrap_or_default();
    let explain = Explain { methods, ..Explain::of(Heads::of(job.head.clone())) };
    let options = Options { explain, ..Options::default() };
    let workers = workers(&model, &options, job.threads)?;
    let (head, labels) = {
        let classifier = &workers[0].classifier;
        let head = classifier.explained_head();
        (head, classifier.heads()[head].labels.clone())
    };
    let name = &model.spec.heads[head].name;
    let truth = |label: &str| {
        class_of(&labels, label, name).with_context(|| job.dataset.display().to_string())
    };
    let truths = dataset.items.iter().map(|i| truth(&i.label)).collect::<Result<_, _>>()?;
    if let (Some(_), Some(why)) = (measure, workers[0].classifier.why_no_map(head)) {
        bail!("{}: no map, so --faithfulness has nothing to measure: {why}", model.spec.name);
    }
    let boxes = match measure.and_then(|m| m.boxes.as_ref()) {
        Some(table) => Boxes::open(table, &labels, name)?,
        None => Boxes::default(),
    };
    Ok(EvaluationPlan { job, model, head, dataset, truths, boxes, workers })
}

/// What the classifier said about one picture, and its evidence.
type Said = Result<(Vec<f32>, Option<ActivationMap>), String>;

/// Looks at every picture, calling `report` with the number done of how many.
///
/// # Errors
/// When no picture can be read, or the classifier fails.
pub fn evaluate(
    plan: EvaluationPlan,
    report: &mut dyn FnMut(usize, usize),
) -> anyhow::Result<Evaluation> {
    let EvaluationPlan { job, model, head, dataset, truths, boxes, mut workers } = plan;
    let count = dataset.items.len();
    let look = |worker: &mut Worker, i: usize| -> anyhow::Result<Said> {
        let path = &dataset.items[i].path;
        let still = match read_still(path) {
            Ok(still) => still,
            Err(why) => return Ok(Err(why)),
        };
        let input = worker.preprocessor.run_still(&still);
        let output =
            worker.classifier.run(&input, &[]).with_context(|| path.display().to_string())?;
        let said = &output.heads[head];
        let best = said.ranked().first().copied().unwrap_or(0);
        let map = output.map(Wanted { head, class: best }).map(ClassMap::in_logit_units);
        Ok(Ok((said.probabilities.clone(), map)))
    };
    let said = crew::share(&mut workers, 0..count, look, &mut |done| report(done, count))?;
    let measured = match &job.faithfulness {
        Some(measure) => {
            let task = Measuring { model: &model, head, dataset: &dataset, boxes: &boxes };
            task.faithfulness(&mut workers, measure.sample, report)?
        }
        None => None,
    };
    let classifier = &workers[0].classifier;
    let description = &classifier.heads()[head];
    let labels = class_names(description);
    let (mut answers, mut seen, mut skipped) = (Vec::new(), Vec::new(), Vec::new());
    for (i, said) in said.into_iter().enumerate() {
        match said {
            Ok((mut probabilities, map)) => {
                if let [p] = probabilities[..] {
                    probabilities.push(1.0 - p);
                }
                let group = dataset.items[i].group.clone();
                answers.push(Answer { truth: truths[i], probabilities, group });
                seen.push((i, map));
            }
            Err(why) => skipped.push(why),
        }
    }
    let scores = Scores::of(&labels, &answers).ok_or_else(|| {
        let first = skipped.first().cloned().unwrap_or_default();
        anyhow!("none of the {count} pictures can be read; the first one: {first}")
    })?;
    let mut notes = dataset.notes.clone();
    if let [only] = dataset.labels().into_keys().collect::<Vec<_>>()[..] {
        notes.push(format!(
            "all pictures are of one class, {only:?}: nothing is known about the others"
        ));
    }
    // Names in the report are relative to the folder, or to the table's.
    let base = if job.dataset.is_dir() {
        job.dataset.clone()
    } else {
        job.dataset.parent().map(Path::to_path_buf).unwrap_or_default()
    };
    let mistakes = worst(&answers, job.mistakes)
        .into_iter()
        .filter_map(|a| {
            let (item, map) = &seen[a];
            let picture = &dataset.items[*item].path;
            mistake(picture, &base, &answers[a], &labels, map.as_ref(), &model, description)
        })
        .collect();
    Ok(Evaluation {
        model: model.spec.name.clone(),
        version: model.spec.version.clone(),
        sha256: classifier.sha256().to_owned(),
        head: description.name.to_string(),
        scores,
        skipped,
        notes,
        mistakes,
        no_heat: classifier.why_no_map(head).map(ToString::to_string),
        faithfulness: measured,
    })
}

/// What is the same for every picture whose maps are measured.
struct Measuring<'a> {
    model: &'a Model,
    head: usize,
    dataset: &'a Dataset,
    boxes: &'a Boxes,
}

impl Measuring<'_> {
    /// Measures the maps of the predicted class of at most `sample` pictures.
    fn faithfulness(
        &self,
        workers: &mut [Worker],
        sample: usize,
        report: &mut dyn FnMut(usize, usize),
    ) -> anyhow::Result<Option<Faithfulness>> {
        let all = self.dataset.items.len();
        let count = sample.min(all);
        let chosen = (0..count).map(|n| n * all / count.max(1));
        let looks = crew::share(workers, chosen, |w, i| self.look(w, i), &mut |done| {
            report(done, count);
        })?;
        let looks: Vec<Look> = looks.into_iter().flatten().collect();
        Ok(Faithfulness::of(&looks))
    }

    /// None for a picture that cannot be read, which is told elsewhere.
    fn look(&self, worker: &mut Worker, number: usize) -> anyhow::Result<Option<Look>> {
        let Item { path, group, .. } = &self.dataset.items[number];
        let Ok(still) = read_still(path) else { return Ok(None) };
        let input = worker.preprocessor.run_still(&still);
        let said =
            worker.classifier.run(&input, &[]).with_context(|| path.display().to_string())?;
        let class = said.heads[self.head].ranked().first().copied().unwrap_or(0);
        let spec = &self.model.spec.input;
        let subject = Subject {
            path,
            input: &input,
            said: &said,
            wanted: Wanted { head: self.head, class },
            view: view(spec, still.size, 1.0),
            number,
        };
        let by = figures(worker, spec, self.boxes, &subject)
            .with_context(|| path.display().to_string())?;
        Ok((!by.is_empty()).then(|| Look { group: group.clone(), by }))
    }
}

/// A head's labels; one class alone gets `other` beside it.
fn class_names(head: &Head) -> Vec<String> {
    let mut names: Vec<String> = head.labels.iter().map(|l| l.to_string()).collect();
    if names.len() == 1 {
        names.push("other".to_owned());
    }
    names
}

/// The wrong answers that were surest.
fn worst(answers: &[Answer], most: usize) -> Vec<usize> {
    let mut wrong: Vec<usize> = (0..answers.len()).filter(|&i| !answers[i].is_right()).collect();
    wrong.sort_by(|&a, &b| answers[b].fault().total_cmp(&answers[a].fault()).then(a.cmp(&b)));
    wrong.truncate(most);
    wrong
}

fn mistake(
    path: &Path,
    base: &Path,
    answer: &Answer,
    labels: &[String],
    map: Option<&ActivationMap>,
    model: &Model,
    head: &Head,
) -> Option<Mistake> {
    let still = read_still(path).ok()?;
    let taken_for = answer.predicted();
    let small = still.shrunk(SHEET_PX);
    let jpeg = |still: &Still| still.to_jpeg(SHEET_QUALITY).ok();
    let heat = map.map(|map| {
        let map = map.heat(head.explain_scale);
        let view = view(&model.spec.input, small.size, 1.0);
        let style = Style { opacity: SHEET_OPACITY, ..Style::default() };
        heated(&small, &map, &view, &style)
    });
    Some(Mistake {
        name: path.strip_prefix(base).unwrap_or(path).display().to_string(),
        truth: labels[answer.truth].clone(),
        taken_for: labels[taken_for].clone(),
        p_truth: answer.probabilities[answer.truth],
        p_taken_for: answer.probabilities[taken_for],
        picture: jpeg(&small)?,
        heat: heat.as_ref().and_then(jpeg),
    })
}
