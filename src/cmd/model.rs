//! `heatcast model`: which models there are, and what is in one.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use serde_json::{Map, Value, json};

use super::{Failure, Tensors, check, learn, result};
use crate::model::{Classifier, Explain, Finding, Heads, Model, Options, Places};

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
        #[command(flatten)]
        tensors: Tensors,
        /// Order of the feature map's axes: nchw, nhwc or tokens [default: found by itself]
        #[arg(long)]
        layout: Option<String>,
        /// Print it as one JSON object
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
        Verb::Inspect { model, labels, tensors, layout, json } => {
            let layout = layout.as_deref().map(str::parse).transpose();
            let explain = Explain {
                heads: Heads::All,
                feature: tensors.feature.clone(),
                logits: tensors.logits.clone(),
                layout: layout.map_err(|e: String| Failure::usage(anyhow!(e)))?,
                ..Explain::default()
            };
            inspect(model, labels.as_deref(), explain, *json, &places)
        }
        Verb::Check(args) => check::run(args),
        Verb::Learn(args) => learn::run(args, quiet),
    }
}

fn inspect(
    name: &str,
    labels: Option<&Path>,
    explain: Explain,
    json: bool,
    places: &Places,
) -> Result<(), Failure> {
    let model = Model::find_labelled(name, places, labels).map_err(Failure::usage)?;
    let options = Options { explain, ..Options::default() };
    let classifier = Classifier::load(&model, &options).map_err(Failure::usage)?;
    if json {
        result(format_args!("{:#}", as_json(&model, &classifier)));
    } else {
        describe(&model, &classifier);
    }
    Ok(())
}

fn describe(model: &Model, classifier: &Classifier) {
    let input = &model.spec.input;
    result(format_args!("model    {} {}", model.spec.name, model.spec.version));
    result(format_args!("file     {}", model.onnx.display()));
    result(format_args!("sha256   {}", classifier.sha256()));
    let filter = json!(input.resample);
    let filter = filter.as_str().unwrap_or_default();
    result(format_args!("input    {}x{} pixels, {filter}", input.width, input.height));
    for (n, head) in classifier.heads().iter().enumerate() {
        let labels: Vec<&str> = head.labels.iter().take(8).map(|l| &**l).collect();
        let more = if head.labels.len() > labels.len() { ", ..." } else { "" };
        result(format_args!(
            "head     {}: {} classes ({}{more})",
            head.name,
            head.labels.len(),
            labels.join(", ")
        ));
        match (classifier.finding(n), classifier.why_no_map(n)) {
            (Some(found), _) => {
                let Finding { feature_tensor, channels, rows, cols, layout, .. } = found;
                let (methods, layout) = (names_of(found).join(", "), layout.name());
                result(format_args!("heatmap  {methods}"));
                result(format_args!(
                    "         from tensor {feature_tensor} ({channels} channels on {rows}x{cols} places, {layout}, {})",
                    found.head_kind.name()
                ));
            }
            (None, Some(why)) => result(format_args!("heatmap  none: {why}")),
            (None, None) => result(format_args!("heatmap  none")),
        }
    }
    result(format_args!("runtime  ONNX Runtime {}", classifier.runtime_version()));
}

fn names_of(found: &Finding) -> Vec<String> {
    found.methods().iter().map(ToString::to_string).collect()
}

/// Where a head's maps come from, as it is printed.
pub(super) fn finding_json(classifier: &Classifier, head: usize) -> Map<String, Value> {
    let mut out = Map::new();
    if let Some(found) = classifier.finding(head) {
        out.insert("feature_tensor".into(), json!(found.feature_tensor));
        out.insert("logits_tensor".into(), json!(found.logits_tensor));
        out.insert("layout".into(), json!(found.layout.name()));
        out.insert("head_kind".into(), json!(found.head_kind.name()));
        out.insert("feature_shape".into(), json!([found.channels, found.rows, found.cols]));
        out.insert("methods".into(), json!(names_of(found)));
    } else {
        let why = classifier.why_no_map(head).map(ToString::to_string);
        out.insert("methods".into(), json!([]));
        out.insert("why_no_map".into(), json!(why));
    }
    out
}

fn as_json(model: &Model, classifier: &Classifier) -> Value {
    // What is said of the first head stands at the top as well.
    let mut out = finding_json(classifier, 0);
    let heads = classifier.heads().iter().enumerate().map(|(n, head)| {
        let mut of_head = finding_json(classifier, n);
        of_head.insert("name".into(), json!(&*head.name));
        let labels: Vec<&str> = head.labels.iter().map(|l| &**l).collect();
        of_head.insert("labels".into(), json!(labels));
        Value::Object(of_head)
    });
    out.insert("heads".into(), heads.collect());
    let input = &model.spec.input;
    out.insert("model".into(), json!(model.spec.name));
    out.insert("version".into(), json!(model.spec.version));
    out.insert("file".into(), json!(model.onnx.display().to_string()));
    out.insert("sha256".into(), json!(classifier.sha256()));
    let size = json!({ "width": input.width, "height": input.height, "resample": input.resample });
    out.insert("input".into(), size);
    out.insert("runtime".into(), json!(classifier.runtime_version()));
    Value::Object(out)
}
