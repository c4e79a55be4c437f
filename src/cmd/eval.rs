//! `heatcast eval`: how good a model is on labelled pictures.

use std::path::{Path, PathBuf};

use anyhow::{anyhow, bail};
use serde::Serialize;

use super::faithful::{self, Faithful};
use super::progress::Count;
use super::{Failure, json_result, remarks, result, talk};
use crate::config::Config;
use crate::dataset::Selection;
use crate::eval::faithfulness::Faithfulness;
use crate::eval::{Facts, Scores, html};
use crate::explain::UnknownMethods;
use crate::pipeline::{self, Evaluate, Evaluation, Measure};

/// Rows of the table of groups that are printed.
const GROUPS: usize = 12;
/// Classes up to which the confusion matrix is printed.
const MATRIX: usize = 12;

/// Arguments of `heatcast eval`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Labelled pictures: a folder with one folder for each class, or a CSV table
    dataset: PathBuf,
    /// Which of the model's questions to evaluate; needed where there are several
    #[arg(long)]
    head: Option<String>,
    /// Model: a name (see `heatcast model list`), a folder or an .onnx file
    #[arg(long, value_name = "NAME|PATH")]
    model: Option<String>,
    /// Class names, one a line, for a model without
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    #[command(flatten)]
    rows: Rows,
    /// Write an HTML page with the scores and the worst mistakes
    #[arg(long, value_name = "HTML")]
    report: Option<PathBuf>,
    /// Mistakes shown in the report
    #[arg(long, value_name = "N", default_value_t = 40)]
    mistakes: usize,
    #[command(flatten)]
    faithful: Faithful,
    /// Maps that are measured: auto, all, or methods separated by commas
    #[arg(long, default_value = "all", requires = "faithfulness")]
    method: String,
    /// Pictures that are measured, evenly spread over the data set
    #[arg(long, value_name = "N", default_value_t = 100, requires = "faithfulness")]
    sample: usize,
    /// Pictures looked at at the same time [default: one for each processor]
    #[arg(long)]
    threads: Option<usize>,
    /// Overwrite a report that exists
    #[arg(long)]
    force: bool,
    /// Print the scores as one JSON object
    #[arg(long)]
    json: bool,
}

/// Which rows of a table are meant.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Rows {
    /// Table of the pictures; paths in it are relative to the data set
    #[arg(long, value_name = "CSV")]
    manifest: Option<PathBuf>,
    /// Only rows of the table with this `task`
    #[arg(long)]
    task: Option<String>,
    /// Only rows of the table with this `split`
    #[arg(long)]
    split: Option<String>,
}

impl From<Rows> for Selection {
    fn from(rows: Rows) -> Self {
        Self { manifest: rows.manifest, task: rows.task, split: rows.split }
    }
}

/// As many threads as asked for, else one for each processor.
pub(super) fn threads(asked: Option<usize>) -> anyhow::Result<usize> {
    match asked {
        Some(n) if (1..=256).contains(&n) => Ok(n),
        Some(n) => bail!("--threads is {n}, but must be 1 to 256"),
        None => Ok(std::thread::available_parallelism().map_or(1, usize::from)),
    }
}

/// The contract of `--json`.
#[derive(Serialize)]
struct Report<'a> {
    dataset: String,
    model: ModelReport<'a>,
    head: &'a str,
    #[serde(flatten)]
    scores: &'a Scores,
    skipped: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    faithfulness: Option<&'a Faithfulness>,
}

#[derive(Serialize)]
struct ModelReport<'a> {
    name: &'a str,
    version: &'a str,
    sha256: &'a str,
}

pub(super) fn run(args: Args, quiet: bool) -> Result<(), Failure> {
    if let Some(report) = &args.report {
        pipeline::check_free(report, args.force).map_err(Failure::usage)?;
        pipeline::check_parent(report).map_err(Failure::usage)?;
    }
    let measures = args.faithful.faithfulness;
    if measures && args.sample == 0 {
        return Err(Failure::usage(anyhow!("--sample is 0, but must be at least 1")));
    }
    let methods = args.method.parse().map_err(|e: UnknownMethods| Failure::usage(e))?;
    let measure = Measure { methods, sample: args.sample, boxes: args.faithful.boxes.clone() };
    let job = Evaluate {
        dataset: args.dataset.clone(),
        selection: args.rows.clone().into(),
        model: args.model.clone().unwrap_or_else(|| Config::default().model.name),
        labels: args.labels.clone(),
        head: args.head.clone(),
        threads: threads(args.threads).map_err(Failure::usage)?,
        mistakes: if args.report.is_some() { args.mistakes } else { 0 },
        faithfulness: measures.then_some(measure),
    };
    let plan = pipeline::plan_evaluation(job).map_err(Failure::usage)?;
    let mut display = Count::new("pictures", quiet);
    let ended = pipeline::evaluate(plan, &mut |done, of| display.update(done, of));
    display.clear();
    let evaluation = ended.map_err(Failure::run)?;
    let dataset = args.dataset.display().to_string();
    if let Some(path) = &args.report {
        write_report(path, &dataset, &evaluation).map_err(Failure::run)?;
    }
    if !quiet {
        remarks(&evaluation.notes, &evaluation.skipped);
    }
    if args.json {
        let Evaluation { model, version, sha256, head, scores, skipped, faithfulness, .. } =
            &evaluation;
        let faithfulness = faithfulness.as_ref();
        let model = ModelReport { name: model, version, sha256 };
        let skipped = skipped.len();
        let report = Report { dataset, model, head, scores, skipped, faithfulness };
        json_result(&report)?;
    } else {
        print(&evaluation);
        evaluation.faithfulness.iter().for_each(faithful::print);
    }
    if let Some(path) = args.report.filter(|_| !quiet) {
        talk(format_args!("report: {}", path.display()));
    }
    Ok(())
}

fn write_report(path: &Path, dataset: &str, evaluation: &Evaluation) -> anyhow::Result<()> {
    let Evaluation { model, version, head, scores, skipped, mistakes, .. } = evaluation;
    let no_heat = evaluation.no_heat.as_deref();
    let faithfulness = evaluation.faithfulness.as_ref();
    let model = format!("{model} {version}");
    let facts = Facts { dataset, model: &model, head, skipped, no_heat, faithfulness };
    pipeline::write_whole(path, html(&facts, scores, mistakes))
}

fn print(evaluation: &Evaluation) {
    let Evaluation { model, version, head, scores, skipped, .. } = evaluation;
    let skipped = match skipped.len() {
        0 => String::new(),
        n => format!(" ({n} skipped)"),
    };
    result(format_args!("model              {model} {version}, head {head}"));
    result(format_args!("pictures           {}{skipped}", scores.n));
    let [low, high] = scores.balanced_accuracy_95;
    let balanced = scores.balanced_accuracy;
    result(format_args!("balanced accuracy  {balanced:.3} (95 %: {low:.3} to {high:.3})"));
    result(format_args!("accuracy           {:.3}", scores.accuracy));
    if let Some(auc) = scores.auc {
        result(format_args!("area under ROC     {auc:.3}"));
    }
    result(format_args!("calibration error  {:.3}", scores.ece));
    let width = scores.labels.iter().map(|l| l.chars().count()).max().unwrap_or(0).max(5);
    result(format_args!("\n{:width$}  pictures  recall  precision", "class"));
    let figure = |v: Option<f64>| v.map_or("-".to_owned(), |v| format!("{v:.3}"));
    for class in &scores.per_class {
        let (recall, precision) = (figure(class.recall), figure(class.precision));
        result(format_args!("{:width$}  {:>8}  {recall:>6}  {precision:>9}", class.label, class.n));
    }
    if (2..=MATRIX).contains(&scores.labels.len()) {
        result(format_args!("\nconfusion: true class down, answer across"));
        let cell = scores.labels.iter().map(|l| l.chars().count()).max().unwrap_or(0).max(6);
        let row = |name: &str, cells: Vec<String>| {
            let cells: String = cells.iter().map(|c| format!("  {c:>cell$}")).collect();
            result(format_args!("{name:width$}{cells}"));
        };
        row("", scores.labels.clone());
        for (label, counts) in scores.labels.iter().zip(&scores.confusion) {
            row(label, counts.iter().map(ToString::to_string).collect());
        }
    }
    if !scores.groups.is_empty() {
        let shown = scores.groups.len().min(GROUPS);
        result(format_args!(
            "\n{} groups, the {shown} with the lowest accuracy:",
            scores.groups.len()
        ));
        for group in &scores.groups[..shown] {
            result(format_args!("{:.3}  {:>5}  {}", group.accuracy, group.n, group.group));
        }
    }
}
