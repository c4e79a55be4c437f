//! `heatcast model`: which models there are, and what is in one.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use serde::Serialize;

use super::{Failure, check, learn, result};
use crate::model::{Classifier, Model, ModelSpec, Options, Places};

/// Arguments of `heatcast model`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// List the models that are found by name
    List,
    /// Load a model and show its input, heads and where its heatmap comes from
    Inspect {
        /// A name, a folder or an .onnx file
        model: String,
        /// Class names, one a line, for a model without
        #[arg(long, value_name = "FILE")]
        labels: Option<PathBuf>,
        /// Print what was found as one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Try a model out, on a picture if one is given
    Check(check::Args),
    /// Teach a model a head with your own pictures or recordings
    Learn(Box<learn::Args>),
}

pub(super) fn run(args: &Args, quiet: bool) -> Result<(), Failure> {
    let places = Places::from_env();
    match &args.verb {
        Verb::List => {
            let names = places.names();
            if names.is_empty() {
                return Err(Failure::usage(anyhow!(
                    "no model found; run from the project's folder or set HEATCAST_MODELS"
                )));
            }
            for name in names {
                result(format_args!("{name}"));
            }
            Ok(())
        }
        Verb::Inspect { model, labels, json } => inspect(model, labels.as_deref(), *json, &places),
        Verb::Check(args) => check::run(args),
        Verb::Learn(args) => learn::run(args, quiet),
    }
}

/// The object of `inspect --json`.
#[derive(Serialize)]
struct Found<'a> {
    file: String,
    sha256: &'a str,
    /// The description in effect, wherever it came from.
    #[serde(flatten)]
    spec: &'a ModelSpec,
    feature_tensor: Option<&'a str>,
    no_heatmap: Option<String>,
    onnxruntime: &'a str,
}

fn inspect(name: &str, labels: Option<&Path>, json: bool, places: &Places) -> Result<(), Failure> {
    let model = Model::find_labelled(name, places, labels).map_err(Failure::usage)?;
    let classifier = Classifier::load(&model, &Options::default()).map_err(Failure::usage)?;
    if json {
        let found = Found {
            file: model.onnx.display().to_string(),
            sha256: classifier.sha256(),
            spec: &model.spec,
            feature_tensor: classifier.feature_tensor(),
            no_heatmap: classifier.why_no_map().map(ToString::to_string),
            onnxruntime: classifier.runtime_version(),
        };
        let text = serde_json::to_string_pretty(&found).map_err(Failure::run)?;
        result(format_args!("{text}"));
        return Ok(());
    }
    let input = &model.spec.input;
    result(format_args!("model    {} {}", model.spec.name, model.spec.version));
    result(format_args!("file     {}", model.onnx.display()));
    result(format_args!("sha256   {}", classifier.sha256()));
    result(format_args!("input    {}x{} pixels", input.width, input.height));
    for head in classifier.heads() {
        let labels: Vec<&str> = head.labels.iter().take(8).map(|l| &**l).collect();
        let more = if head.labels.len() > labels.len() { ", ..." } else { "" };
        result(format_args!(
            "head     {}: {} classes ({}{more})",
            head.name,
            head.labels.len(),
            labels.join(", ")
        ));
    }
    match (classifier.feature_tensor(), classifier.why_no_map()) {
        (Some(tensor), None) => result(format_args!("heatmap  cam, from tensor {tensor}")),
        (_, Some(why)) => result(format_args!("heatmap  none: {why}")),
        (None, None) => result(format_args!("heatmap  none")),
    }
    result(format_args!("runtime  ONNX Runtime {}", classifier.runtime_version()));
    Ok(())
}
