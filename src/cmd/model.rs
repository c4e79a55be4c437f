//! `heatcast model`: which models there are, and what is in one.

use anyhow::anyhow;

use super::{Failure, result};
use crate::model::{Classifier, Model, Options, Places};

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
    },
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
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
        Verb::Inspect { model } => inspect(model, &places),
    }
}

fn inspect(name: &str, places: &Places) -> Result<(), Failure> {
    let model = Model::find(name, places).map_err(Failure::usage)?;
    let classifier = Classifier::load(&model, &Options::default()).map_err(Failure::usage)?;
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
