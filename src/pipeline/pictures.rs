//! Explains still pictures: paints each, or makes a contact sheet of it, and
//! says what was found.

use std::path::PathBuf;

use anyhow::{Context, bail};

use super::analyst::{class_prob, top_classes};
use super::boxes::Boxes;
use super::crew;
use super::evaluate::{Worker, workers};
use super::faithful::{Subject, figures};
use super::outputs::{check_free, check_parent, write_whole};
use super::picture_files::{self, Targets, format_of, read_still};
use crate::annotation::{ActivationMap, Annotation, ClassProb, Explanation, HeadResult, Heat};
use crate::config::Layout;
use crate::eval::faithfulness::Look;
use crate::explain::{Area, ClassChoice, Method, attended_area, choose_index, choose_several};
use crate::frame::{Pts, Size};
use crate::model::{Activation, Classifier, Explain, Model, Options, Output, Places, Wanted};
use crate::npy::Array;
use crate::overlay::{Cell, Painter, Style, contact_sheet, heated};
use crate::preprocess::{InputSpec, view};
use crate::still::Still;

/// Longer side of the pictures of a contact sheet, in pixels.
const CELL_PX: usize = 480;
/// Classes on a contact sheet at most, so that every format can hold it.
const MOST_CLASSES: usize = 24;
/// Heat below this cannot be seen.
const LEAST_HEAT: f32 = 0.02;

/// Pictures to explain.
#[derive(Clone, Debug)]
pub struct ExplainPictures {
    /// Files, folders and patterns.
    pub images: Vec<PathBuf>,
    /// The result: a file for one picture, a folder for several.
    pub output: Option<PathBuf>,
    /// NumPy file for the maps as they come from the network.
    pub map: Option<PathBuf>,
    /// Overwrite what exists.
    pub force: bool,
    /// Name or path of the model.
    pub model: String,
    /// File of class names, for models without.
    pub labels: Option<PathBuf>,
    /// Which head, by which methods.
    pub explain: Explain,
    /// Which classes, in words.
    pub class: String,
    /// The class by its index, instead.
    pub class_index: Option<usize>,
    /// How heat and panel look.
    pub style: Style,
    /// What goes beside the painted picture, and beside each row of a contact sheet.
    pub layout: Layout,
    /// Opacity of full heat on a contact sheet.
    pub sheet_opacity: f32,
    /// A contact sheet even of a single map.
    pub grid: bool,
    /// Measure how faithful the maps are.
    pub faithfulness: bool,
    /// Table of the objects in the pictures.
    pub boxes: Option<PathBuf>,
    /// Pictures looked at at the same time.
    pub threads: usize,
}

/// What is known about one picture.
#[derive(Clone, Debug)]
pub struct ExplainedPicture {
    /// The picture.
    pub input: PathBuf,
    /// Where it was painted.
    pub output: Option<PathBuf>,
    /// Its size.
    pub size: Size,
    /// The most probable classes, best first.
    pub top: Vec<ClassProb>,
    /// Class by class, each by every method.
    pub maps: Vec<ExplainedMap>,
    /// How faithful they are, class by class, where that was measured.
    pub looks: Vec<Look>,
}

/// The evidence for one class by one method.
#[derive(Clone, Debug)]
pub struct ExplainedMap {
    /// The class with its probability.
    pub class: ClassProb,
    /// Its logit.
    pub logit: f32,
    /// How the map was computed.
    pub method: Method,
    /// The map as the method's formula has it.
    pub raw: ActivationMap,
    /// The heat that is painted, 0..1.
    pub heat: ActivationMap,
    /// Where most of the heat is, if there is any.
    pub area: Option<Area>,
}

/// Pictures and a classifier, ready to go.
pub struct PicturesPlan {
    job: ExplainPictures,
    model: Model,
    head: usize,
    classes: Vec<ClassChoice>,
    pictures: Vec<PathBuf>,
    targets: Targets,
    missing: Vec<String>,
    boxes: Boxes,
    workers: Vec<Worker>,
}

impl PicturesPlan {
    /// The classifier, and the head that is explained.
    pub fn classifier(&self) -> (Option<&Classifier>, usize) {
        (self.workers.first().map(|w| &w.classifier), self.head)
    }
}

/// Finds the pictures and the classes, loads the model.
///
/// # Errors
/// When nothing can be done: no picture, no model, no such class, an output
/// that is in the way.
pub fn plan_pictures(job: ExplainPictures) -> anyhow::Result<PicturesPlan> {
    let found = picture_files::find(&job.images);
    if found.pictures.is_empty() {
        bail!("{}", found.missing.join("; "));
    }
    let targets = match &job.output {
        Some(output) => picture_files::targets(&found, output, job.force)?,
        None => Targets { files: vec![None; found.pictures.len()], folder: None },
    };
    if let Some(map) = &job.map {
        check_parent(map)?;
        check_free(map, job.force)?;
    }
    let model = Model::find_labelled(&job.model, &Places::from_env(), job.labels.as_deref())?;
    let threads = job.threads.min(found.pictures.len());
    let options = Options { explain: job.explain.clone(), ..Options::default() };
    let workers = workers(&model, &options, threads)?;
    let classifier = &workers.first().context("there is no thread to work")?.classifier;
    let head = classifier.explained_head();
    let labels = &classifier.heads()[head].labels;
    let classes = match job.class_index {
        Some(index) => vec![choose_index(index, labels.len())?],
        None => choose_several(labels, &job.class)?,
    };
    if classes.len() > MOST_CLASSES {
        bail!("{} classes are too many at once; name at most {MOST_CLASSES}", classes.len());
    }
    let boxes = match &job.boxes {
        Some(table) => Boxes::open(table, labels, &classifier.heads()[head].name)?,
        None => Boxes::default(),
    };
    let (pictures, missing) = (found.pictures, found.missing);
    Ok(PicturesPlan { job, model, head, classes, pictures, targets, missing, boxes, workers })
}

/// Explains every picture, calling `report` with the number done of how many.
/// Gives what was found in those that could be explained, and a sentence about
/// each of the others.
///
/// # Errors
/// When the head has no map, or the maps or the folder cannot be written.
pub fn explain_pictures(
    plan: PicturesPlan,
    report: &mut dyn FnMut(usize, usize),
) -> anyhow::Result<(Vec<ExplainedPicture>, Vec<String>)> {
    let PicturesPlan { job, model, head, classes, pictures, targets, missing, boxes, mut workers } =
        plan;
    if let Some(why) = workers.first().and_then(|w| w.classifier.why_no_map(head)) {
        bail!("{}: no map: {why}", model.spec.name);
    }
    if let Some(folder) = &targets.folder {
        std::fs::create_dir(folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    }
    let count = pictures.len();
    let studio = Studio { job: &job, model: &model, head, classes: &classes, boxes: &boxes };
    let work = |worker: &mut Worker, (number, (input, output))| {
        Ok(studio.explain(worker, number, input, output))
    };
    let jobs = pictures.into_iter().zip(targets.files).enumerate();
    let done = crew::share(&mut workers, jobs, work, &mut |n| report(n, count))?;
    let (mut explained, mut failed) = (Vec::new(), missing);
    for picture in done {
        match picture {
            Ok(picture) => explained.push(picture),
            Err(why) => failed.push(why),
        }
    }
    if let Some(path) = job.map.filter(|_| !explained.is_empty()) {
        let maps = explained.iter().flat_map(|p| &p.maps).map(|m| &m.raw);
        write_whole(&path, Array::of_maps(maps).context("there is no map")?.to_bytes())?;
    }
    Ok((explained, failed))
}

/// What is the same for every picture.
struct Studio<'a> {
    job: &'a ExplainPictures,
    model: &'a Model,
    head: usize,
    classes: &'a [ClassChoice],
    boxes: &'a Boxes,
}

impl Studio<'_> {
    fn explain(
        &self,
        worker: &mut Worker,
        number: usize,
        input: PathBuf,
        output: Option<PathBuf>,
    ) -> Result<ExplainedPicture, String> {
        let still = read_still(&input)?;
        let tensor = worker.preprocessor.run_still(&still);
        let head = self.head;
        let wanted = |choice: &ClassChoice| match choice {
            ClassChoice::Index(class) => Some(Wanted { head, class: *class }),
            ClassChoice::Top => None,
        };
        let wanted: Vec<Wanted> = self.classes.iter().filter_map(wanted).collect();
        let classifier = &mut worker.classifier;
        let said = classifier
            .run(&tensor, &wanted)
            .map_err(|e| format!("{} cannot be explained: {e}", input.display()))?;
        let maps = self.maps(classifier, &said, still.size);
        if maps.is_empty() {
            return Err(format!("{} cannot be explained: there is no map", input.display()));
        }
        let mut looks = Vec::new();
        if self.job.faithfulness {
            let mut classes: Vec<usize> = maps.iter().map(|m| m.class.index).collect();
            classes.dedup();
            for class in classes {
                let subject = Subject {
                    path: &input,
                    input: &tensor,
                    said: &said,
                    wanted: Wanted { head, class },
                    view: view(self.spec(), still.size, 1.0),
                    number,
                };
                let by = figures(worker, self.spec(), self.boxes, &subject)
                    .map_err(|e| format!("{} cannot be measured: {e}", input.display()))?;
                // Classes of one picture are not independent.
                looks.push(Look { group: Some(input.display().to_string()), by });
            }
        }
        let classifier = &worker.classifier;
        let top = top_classes(&classifier.heads()[head], &said.heads[head]);
        let picture = ExplainedPicture { size: still.size, top, maps, looks, input, output };
        if let Some(path) = &picture.output {
            let drawn = if self.job.grid || picture.maps.len() > 1 {
                self.sheet(classifier, &picture, &still)
            } else {
                self.painted(classifier, &said, &picture, &still)
            };
            let format = format_of(path).map_err(|e| e.to_string())?;
            let bytes = drawn
                .to_bytes(format)
                .map_err(|e| format!("{}: the result {e}", path.display()))?;
            write_whole(path, bytes).map_err(|e| format!("{e:#}"))?;
        }
        Ok(picture)
    }

    /// The maps that were asked for, class by class.
    fn maps(&self, classifier: &Classifier, said: &Output, size: Size) -> Vec<ExplainedMap> {
        let (head, answer) = (&classifier.heads()[self.head], &said.heads[self.head]);
        let best = top_classes(head, answer).first().map(|c| c.index);
        let mut classes: Vec<usize> = Vec::new();
        for choice in self.classes {
            let class = match choice {
                ClassChoice::Index(class) => Some(*class),
                ClassChoice::Top => best,
            };
            classes.extend(class.filter(|c| !classes.contains(c)));
        }
        let of_class = |class: usize| {
            let found = said.maps.iter().filter(move |m| (m.head, m.class) == (self.head, class));
            found.map(move |found| {
                let heat = found.in_logit_units().heat(head.explain_scale);
                ExplainedMap {
                    class: class_prob(head, answer, class),
                    logit: answer.logits[class],
                    method: found.method,
                    raw: found.map.clone(),
                    area: attended_area(&heat, &view(self.spec(), size, 1.0), size),
                    heat,
                }
            })
        };
        classes.into_iter().flat_map(of_class).collect()
    }

    fn spec(&self) -> &InputSpec {
        &self.model.spec.input
    }

    /// The picture with heat and panel.
    fn painted(
        &self,
        classifier: &Classifier,
        said: &Output,
        picture: &ExplainedPicture,
        still: &Still,
    ) -> Still {
        let Some(map) = picture.maps.first() else { return still.clone() };
        let view = view(self.spec(), still.size, 1.0);
        let heads = classifier.heads().iter().zip(&said.heads).filter_map(|(head, answer)| {
            let top = top_classes(head, answer);
            let shown = top.first()?.clone();
            let probabilities = answer.probabilities.as_slice().into();
            Some(HeadResult { head: head.name.clone(), top, shown, probabilities })
        });
        let heat = Heat { layer: 0, map: map.heat.clone(), view };
        let annotation = Annotation {
            pts: Pts(0),
            starts_shot: true,
            heads: heads.collect(),
            explanations: vec![Explanation {
                head: self.head,
                class: map.class.clone(),
                asked: self.classes.first() != Some(&ClassChoice::Top),
                heat: heat.clone(),
                full_scale: classifier.heads()[self.head].explain_scale,
            }],
        };
        let painted = still.painted(|target, colours| {
            let mut painter = Painter::new(target.size, colours, 1.0, self.job.style.clone());
            painter.set_annotation(Some(&annotation));
            painter.paint(target, std::slice::from_ref(&heat));
        });
        match self.job.layout {
            Layout::Over => painted,
            Layout::Side => still.beside(&painted),
        }
    }

    /// A row for each class, a column for each method; where that is wished, the
    /// original before them.
    fn sheet(&self, classifier: &Classifier, picture: &ExplainedPicture, still: &Still) -> Still {
        let small = still.fitted(CELL_PX);
        let view = view(self.spec(), small.size, 1.0);
        let opacity = self.job.sheet_opacity;
        let style = Style { opacity, ..self.job.style.clone() };
        let head = &classifier.heads()[self.head];
        let cell = |map: &ExplainedMap| {
            let picture = heated(&small, &map.heat, &view, &style);
            let chance = match head.activation {
                Activation::None => format!("{:.2}", map.class.probability),
                _ => percent(map.class.probability),
            };
            let none = if map.heat.max() < LEAST_HEAT { ", no evidence" } else { "" };
            let detail = format!("{chance}, {}{none}", map.method);
            Cell { picture, label: map.class.label.to_string(), detail }
        };
        let methods = classifier.methods(self.head).len().max(1);
        let original = (self.job.layout == Layout::Side).then(|| Cell {
            picture: small.clone(),
            label: "original".to_owned(),
            detail: String::new(),
        });
        let row = |maps: &[ExplainedMap]| {
            original.iter().cloned().chain(maps.iter().map(cell)).collect::<Vec<_>>()
        };
        let rows: Vec<Vec<Cell>> = picture.maps.chunks(methods).map(row).collect();
        let spec = &self.model.spec;
        let title = format!(
            "{} {}, {}; full heat: {:.1} logits",
            spec.name, spec.version, head.name, head.explain_scale
        );
        contact_sheet(&title, &rows)
    }
}

/// A probability in per cent, with decimals where it is small.
fn percent(probability: f32) -> String {
    let percent = f64::from(probability) * 100.0;
    let decimals = if percent >= 9.95 {
        0
    } else if percent >= 0.095 {
        1
    } else {
        3
    };
    format!("{percent:.decimals$}%")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_probabilities_are_told_apart() {
        for (probability, text) in
            [(1.0, "100%"), (0.125, "12%"), (0.0312, "3.1%"), (0.0004, "0.040%"), (0.0, "0.000%")]
        {
            assert_eq!(percent(probability), text);
        }
    }
}
