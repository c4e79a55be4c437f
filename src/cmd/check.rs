//! `heatcast model check`: does a model work, and what does it make of one
//! picture.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use serde::Serialize;

use super::{Failure, json_result, result};
use crate::model::{Classifier, Explain, Head, HeadOutput, Heads, Model, Options, Places};
use crate::npy::Array;
use crate::pipeline::read_still;
use crate::preprocess::{InputSpec, Layout, Preprocessor};

/// Classes shown of each head.
const TOP: usize = 5;

/// Arguments of `heatcast model check`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A name, a folder or an .onnx file
    model: String,
    /// Class names, one a line, for a model without
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// A picture to try it on
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// Write the picture as the network sees it: a NumPy file of 32-bit floats
    #[arg(long, value_name = "NPY", requires = "image")]
    tensor: Option<PathBuf>,
    /// Print what was found as one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report<'a> {
    model: &'a str,
    version: &'a str,
    sha256: &'a str,
    heads: Vec<HeadReport<'a>>,
    tensor: Option<TensorReport>,
    notes: Vec<String>,
}

#[derive(Serialize)]
struct HeadReport<'a> {
    name: &'a str,
    classes: usize,
    top: Vec<Class<'a>>,
}

#[derive(Serialize)]
struct Class<'a> {
    label: &'a str,
    probability: f32,
    logit: f32,
}

#[derive(Serialize)]
struct TensorReport {
    shape: [usize; 4],
    channels: Vec<Channel>,
}

/// One channel of the network's input.
#[derive(Serialize)]
struct Channel {
    min: f32,
    max: f32,
    mean: f64,
    std: f64,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let places = Places::from_env();
    let labels = args.labels.as_deref();
    let model = Model::find_labelled(&args.model, &places, labels).map_err(Failure::usage)?;
    let options = Options { explain: Explain::of(Heads::All), ..Options::default() };
    let mut classifier = Classifier::load(&model, &options).map_err(Failure::usage)?;
    let input = &model.spec.input;
    let seen = match &args.image {
        Some(image) => Some(see(image, input, &mut classifier).map_err(Failure::run)?),
        None => None,
    };
    if let (Some(path), Some((tensor, _))) = (&args.tensor, &seen) {
        write_npy(path, input, tensor).map_err(Failure::run)?;
    }
    let mut notes: Vec<String> = classifier.heads().iter().flat_map(shared_labels).collect();
    let explained: Vec<usize> = classifier.explained_heads().collect();
    notes.extend(explained.iter().filter_map(|&head| {
        let why = classifier.why_no_map(head)?;
        Some(format!("no heatmap of {}: {why}", classifier.heads()[head].name))
    }));
    let heads = classifier.heads().iter().enumerate().map(|(i, head)| HeadReport {
        name: &head.name,
        classes: head.labels.len(),
        top: seen.as_ref().map(|(_, said)| top(head, &said[i])).unwrap_or_default(),
    });
    let report = Report {
        model: &model.spec.name,
        version: &model.spec.version,
        sha256: classifier.sha256(),
        heads: heads.collect(),
        tensor: seen.as_ref().map(|(tensor, _)| statistics(input, tensor)),
        notes,
    };
    if args.json {
        json_result(&report)?;
    } else {
        print(&report);
    }
    Ok(())
}

/// The picture as the network sees it, and what each head says.
fn see(
    image: &Path,
    input: &InputSpec,
    classifier: &mut Classifier,
) -> anyhow::Result<(Vec<f32>, Vec<HeadOutput>)> {
    let still = read_still(image).map_err(|why| anyhow!(why))?;
    let tensor = Preprocessor::new(input).run_still(&still);
    let output = classifier.run(&tensor, &[]).with_context(|| image.display().to_string())?;
    Ok((tensor, output.heads))
}

fn top<'a>(head: &'a Head, out: &HeadOutput) -> Vec<Class<'a>> {
    let class = |i: usize| Class {
        label: &head.labels[i],
        probability: out.probabilities[i],
        logit: out.logits[i],
    };
    out.ranked().into_iter().take(TOP).map(class).collect()
}

/// Pairs of classes that people cannot tell apart by name.
fn shared_labels(head: &Head) -> Vec<String> {
    let mut seen = std::collections::HashMap::new();
    let mut notes = Vec::new();
    for (i, label) in head.labels.iter().enumerate() {
        if let Some(other) = seen.insert(label, i) {
            notes.push(format!(
                "head {:?}: classes {other} and {i} are both called {label:?}",
                head.name
            ));
        }
    }
    notes
}

fn statistics(input: &InputSpec, tensor: &[f32]) -> TensorReport {
    let channel = |values: &[f32]| {
        let n = values.len().max(1) as f64;
        let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
        let square = values.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / n;
        Channel {
            min: values.iter().copied().fold(f32::INFINITY, f32::min),
            max: values.iter().copied().fold(f32::NEG_INFINITY, f32::max),
            mean,
            std: square.sqrt(),
        }
    };
    let area = (input.width * input.height).max(1);
    TensorReport { shape: shape(input), channels: tensor.chunks(area).map(channel).collect() }
}

fn shape(input: &InputSpec) -> [usize; 4] {
    match input.layout {
        Layout::Nchw => [1, 3, input.height, input.width],
        Layout::Nhwc => [1, input.height, input.width, 3],
    }
}

/// Writes the tensor in the network's layout, in version 1.0 of the format
/// (<https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>).
fn write_npy(path: &Path, input: &InputSpec, tensor: &[f32]) -> anyhow::Result<()> {
    let area = input.width * input.height;
    let values = match input.layout {
        Layout::Nchw => tensor.to_vec(),
        Layout::Nhwc => (0..area).flat_map(|i| [0, 1, 2].map(|c| tensor[c * area + i])).collect(),
    };
    let bytes = Array { shape: shape(input).to_vec(), values }.to_bytes();
    std::fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

fn print(report: &Report<'_>) {
    result(format_args!("model    {} {}", report.model, report.version));
    result(format_args!("sha256   {}", report.sha256));
    for head in &report.heads {
        result(format_args!("head     {}: {} classes", head.name, head.classes));
        for class in &head.top {
            let Class { label, probability, logit } = class;
            result(format_args!("  {probability:>7.4}  {label} (logit {logit:.3})"));
        }
    }
    if let Some(tensor) = &report.tensor {
        result(format_args!("tensor   {:?}", tensor.shape));
        for (i, Channel { min, max, mean, std }) in tensor.channels.iter().enumerate() {
            result(format_args!(
                "  channel {i}: min {min:.4}, max {max:.4}, mean {mean:.5}, std {std:.5}"
            ));
        }
    }
    for note in &report.notes {
        result(format_args!("note     {note}"));
    }
    result(format_args!("the model works"));
}
