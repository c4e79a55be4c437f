//! `heatcast explain`: the map of one class for ready input tensors, to be
//! compared with other programs' maps.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use serde_json::{Value, json};

use super::model::finding_json;
use super::{Failure, Tensors, result};
use crate::explain::{ClassChoice, Method, MethodChoice, choose};
use crate::model::{ClassMap, Classifier, Explain, Heads, Model, Options, Output, Places, Wanted};
use crate::npy::Array;
use crate::preprocess::Layout;

/// Arguments of `heatcast explain`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Input tensor, prepared as the network wants it: a NumPy file of float32,
    /// [N,3,H,W] or [N,H,W,3]
    #[arg(long, value_name = "NPY")]
    tensor: PathBuf,
    /// Model: a name (see `heatcast model list`), a folder or an .onnx file
    #[arg(long, value_name = "NAME|PATH", default_value = "imagenet")]
    model: String,
    /// Which of the model's questions to explain [default: the first]
    #[arg(long)]
    head: Option<String>,
    /// Class to explain: `top`, a label or an index
    #[arg(long, default_value = "top")]
    class: String,
    /// Class to explain, by its index
    #[arg(long, value_name = "K", conflicts_with = "class")]
    class_index: Option<usize>,
    /// How the map is computed: auto, cam, gradcam, gradcam++, layercam or hirescam
    #[arg(long, default_value = "auto")]
    method: String,
    /// What is explained: logit, margin (the lead over the other classes) or auto
    #[arg(long, default_value = "logit")]
    seed: String,
    #[command(flatten)]
    tensors: Tensors,
    /// Write the map before rectification and scaling, [N,rows,columns] float32
    #[arg(long, value_name = "NPY")]
    map: Option<PathBuf>,
    /// Print the findings as one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let input = read(&args.tensor).map_err(Failure::usage)?;
    let mut model = Model::find(&args.model, &Places::from_env()).map_err(Failure::usage)?;
    let input = Pictures::of(input, &mut model)
        .with_context(|| args.tensor.display().to_string())
        .map_err(Failure::usage)?;
    let options = Options { explain: wishes(args)?, ..Options::default() };
    let classifier = Classifier::load(&model, &options).map_err(Failure::usage)?;
    let head = classifier.explained_heads().next().unwrap_or(0);
    let labels = &classifier.heads()[head].labels;
    let class = match args.class_index {
        Some(index) => ClassChoice::Index(index),
        None => choose(labels, &args.class).map_err(Failure::usage)?,
    };
    if let ClassChoice::Index(index) = class
        && index >= labels.len()
    {
        return Err(Failure::usage(anyhow!(
            "there is no class {index}; the classes are 0 to {}",
            labels.len().saturating_sub(1)
        )));
    }
    if let Some(why) = classifier.why_no_map(head) {
        return Err(Failure::run(anyhow!("{}: no map: {why}", model.spec.name)));
    }
    let explained = explain(classifier, head, class, &input).map_err(Failure::run)?;
    if let Some(path) = &args.map {
        let array = explained.maps().map_err(Failure::run)?;
        std::fs::write(path, array.to_bytes())
            .with_context(|| format!("cannot write {}", path.display()))
            .map_err(Failure::run)?;
    }
    if args.json {
        result(format_args!("{:#}", explained.as_json()));
    } else {
        explained.describe();
    }
    Ok(())
}

fn wishes(args: &Args) -> Result<Explain, Failure> {
    let method = MethodChoice::try_from(args.method.clone()).map_err(Failure::usage)?;
    Ok(Explain {
        heads: args.head.clone().map_or(Heads::First, |h| Heads::Named(vec![h])),
        methods: match method {
            MethodChoice::Auto => Vec::new(),
            MethodChoice::One(method) => vec![method],
        },
        seed: args.seed.parse().map_err(|e: String| Failure::usage(anyhow!(e)))?,
        top_k: 1,
        feature: args.tensors.feature.clone(),
        logits: args.tensors.logits.clone(),
        layout: args.tensors.layout()?,
    })
}

fn read(path: &Path) -> anyhow::Result<Array> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Array::parse(&bytes).with_context(|| path.display().to_string())
}

/// Prepared pictures, channel by channel.
struct Pictures(Vec<Vec<f32>>);

impl Pictures {
    /// The pictures in `array`, whose size becomes that of the model's input.
    fn of(mut array: Array, model: &mut Model) -> anyhow::Result<Self> {
        if array.shape.len() == 3 {
            array.shape.insert(0, 1);
        }
        let [count, a, b, c] = array.shape[..] else {
            bail!("it has {} axes; give [N,3,H,W] or [N,H,W,3]", array.shape.len());
        };
        let spec = &mut model.spec.input;
        // A network whose input shape is open says nothing about the order.
        spec.layout = match (spec.layout, a == 3, c == 3) {
            (Layout::Nchw, false, true) => Layout::Nhwc,
            (Layout::Nhwc, true, false) => Layout::Nchw,
            (layout, _, _) => layout,
        };
        let (channels, height, width) = match spec.layout {
            Layout::Nchw => (a, b, c),
            Layout::Nhwc => (c, a, b),
        };
        if channels != 3 || count * height * width == 0 {
            bail!("its shape is {:?}; give [N,3,H,W] or [N,H,W,3]", array.shape);
        }
        (spec.height, spec.width) = (height, width);
        let each = array.values.chunks_exact(3 * height * width);
        Ok(Self(match spec.layout {
            Layout::Nchw => each.map(<[f32]>::to_vec).collect(),
            Layout::Nhwc => each
                .map(|p| (0..3).flat_map(|c| p.iter().skip(c).step_by(3).copied()).collect())
                .collect(),
        }))
    }
}

/// The maps of one class per picture.
struct Explained {
    classifier: Classifier,
    head: usize,
    pictures: Vec<(ClassMap, Output)>,
}

fn explain(
    mut classifier: Classifier,
    head: usize,
    class: ClassChoice,
    input: &Pictures,
) -> anyhow::Result<Explained> {
    let mut pictures = Vec::with_capacity(input.0.len());
    for picture in &input.0 {
        let asked = match class {
            ClassChoice::Index(class) => Some(Wanted { head, class }),
            ClassChoice::Top => None,
        };
        let output = classifier.run(picture, asked.as_slice())?;
        // What was asked for comes first, else the best class.
        let map = output.maps.first().cloned().context("the network gave no map")?;
        pictures.push((map, output));
    }
    Ok(Explained { classifier, head, pictures })
}

impl Explained {
    fn maps(&self) -> anyhow::Result<Array> {
        let (first, _) = self.pictures.first().context("there is no picture")?;
        let shape = vec![self.pictures.len(), first.map.rows, first.map.cols];
        let values = self.pictures.iter().flat_map(|(m, _)| m.map.values.iter().copied());
        Ok(Array { shape, values: values.collect() })
    }

    fn as_json(&self) -> Value {
        let mut out = finding_json(&self.classifier, self.head);
        let head = &self.classifier.heads()[self.head];
        let about = |(map, output): &(ClassMap, Output)| {
            let answer = &output.heads[self.head];
            json!({
                "class": map.class,
                "label": &*head.labels[map.class],
                "logit": answer.logits[map.class],
                "probability": answer.probabilities[map.class],
            })
        };
        let pictures: Vec<Value> = self.pictures.iter().map(about).collect();
        // One picture's logit is a number, several pictures' a list.
        let logits = pictures.iter().map(|p| p["logit"].clone());
        let logit = match pictures.as_slice() {
            [only] => only["logit"].clone(),
            _ => logits.collect(),
        };
        let methods: Vec<String> =
            self.classifier.methods(self.head).iter().map(Method::to_string).collect();
        out.insert("head".into(), json!(&*head.name));
        out.insert("method".into(), json!(methods.first()));
        out.insert("logit".into(), logit);
        out.insert("pictures".into(), json!(pictures));
        Value::Object(out)
    }

    fn describe(&self) {
        if let Some(found) = self.classifier.finding(self.head) {
            result(format_args!(
                "map of {}x{} places from tensor {} ({})",
                found.rows,
                found.cols,
                found.feature_tensor,
                found.head_kind.name()
            ));
        }
        let head = &self.classifier.heads()[self.head];
        for (map, output) in &self.pictures {
            let answer = &output.heads[self.head];
            let [least, most] = [f32::min, f32::max]
                .map(|f| map.map.values.iter().copied().reduce(f).unwrap_or_default());
            result(format_args!(
                "{}: logit {:.3}, probability {:.3}, {} from {least:.4} to {most:.4}",
                head.labels[map.class],
                answer.logits[map.class],
                answer.probabilities[map.class],
                map.method,
            ));
        }
    }
}
