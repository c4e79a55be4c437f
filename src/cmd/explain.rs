//! `heatcast explain`: the arguments, and the map of one class for ready input
//! tensors, to be compared with other programs' maps. Pictures are the business
//! of `explain_pictures`.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use serde_json::{Value, json};

use super::faithful::Faithful;
use super::look::{Layouts, Look};
use super::model::finding_json;
use super::{Failure, Tensors, result};
use crate::config::{self, Config};
use crate::explain::{ClassChoice, Method, MethodChoice, Methods, Seed, choose, choose_index};
use crate::model::{ClassMap, Classifier, Explain, Heads, Model, Options, Output, Places, Wanted};
use crate::npy::Array;
use crate::preprocess::Layout;

/// Arguments of `heatcast explain`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Pictures: JPEG, PNG or WebP files, folders, or patterns such as 'shots/*.jpg'
    #[arg(value_name = "IMAGE", required_unless_present = "tensor", conflicts_with = "tensor")]
    pub(super) images: Vec<PathBuf>,
    /// The explained picture (.png, .jpg or .webp); for several pictures a folder
    #[arg(short, long, conflicts_with = "tensor")]
    pub(super) output: Option<PathBuf>,
    /// Instead of pictures an input tensor, prepared as the network wants it: a
    /// NumPy file of float32, [N,3,H,W] or [N,H,W,3]
    #[arg(long, value_name = "NPY", conflicts_with_all = ["faithfulness", "style", "opacity", "colormap", "hud"])]
    tensor: Option<PathBuf>,
    /// Model: a name (see `heatcast model list`), a folder or an .onnx file
    #[arg(long, value_name = "NAME|PATH")]
    pub(super) model: Option<String>,
    /// Class names, one a line, for a model without
    #[arg(long, value_name = "FILE")]
    pub(super) labels: Option<PathBuf>,
    /// Which of the model's questions to explain [default: the first]
    #[arg(long)]
    pub(super) head: Option<String>,
    /// Class to explain: `top`, a label or an index; for pictures also several, separated by commas
    #[arg(long, default_value = "top")]
    pub(super) class: String,
    /// Class to explain, by its index
    #[arg(long, value_name = "K", conflicts_with = "class")]
    pub(super) class_index: Option<usize>,
    /// How the map is computed: auto, cam, gradcam, gradcam++, layercam or
    /// hirescam; for pictures also several, separated by commas, or all
    #[arg(long, default_value = "auto")]
    pub(super) method: String,
    /// What is explained: logit, margin (the lead over the other classes) or auto
    /// [default: auto for pictures, logit for tensors]
    #[arg(long)]
    pub(super) seed: Option<String>,
    #[command(flatten)]
    pub(super) tensors: Tensors,
    #[command(flatten)]
    pub(super) layouts: Layouts,
    /// A contact sheet: a row for each class, a column for each method
    #[arg(long, conflicts_with = "tensor")]
    pub(super) grid: bool,
    #[command(flatten)]
    pub(super) look: Look,
    #[command(flatten)]
    pub(super) faithful: Faithful,
    /// Write the map before rectification and scaling, [N,rows,columns] float32
    #[arg(long, value_name = "NPY")]
    pub(super) map: Option<PathBuf>,
    /// Pictures looked at at the same time [default: one for each processor]
    #[arg(long, conflicts_with = "tensor")]
    pub(super) threads: Option<usize>,
    /// Overwrite files that exist
    #[arg(long, conflicts_with = "tensor")]
    pub(super) force: bool,
    /// Print the findings as one JSON object
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) fn run(args: &Args, quiet: bool) -> Result<(), Failure> {
    match &args.tensor {
        Some(tensor) => run_tensor(args, tensor),
        None => super::explain_pictures::run(args, quiet),
    }
}

fn run_tensor(args: &Args, tensor: &Path) -> Result<(), Failure> {
    let input = read(tensor).map_err(Failure::usage)?;
    let name = args.model.as_deref().unwrap_or("imagenet");
    let mut model = Model::find_labelled(name, &Places::from_env(), args.labels.as_deref())
        .map_err(Failure::usage)?;
    let input = Pictures::of(input, &mut model)
        .with_context(|| tensor.display().to_string())
        .map_err(Failure::usage)?;
    let method = MethodChoice::try_from(args.method.clone()).map_err(Failure::usage)?;
    let config = Config::load(None, &args.layouts.settings().map_err(Failure::usage)?);
    let config = config.map_err(Failure::usage)?;
    if config.overlay.layout == config::Layout::Side {
        return Err(Failure::usage(anyhow!(
            "--layout side: a tensor is no picture and nothing is painted; leave it out"
        )));
    }
    let wishes = wishes(args, &config, method.methods(), Seed::Logit)?;
    let options = Options { explain: wishes, ..Options::default() };
    let classifier = Classifier::load(&model, &options).map_err(Failure::usage)?;
    let head = classifier.explained_head();
    let labels = &classifier.heads()[head].labels;
    let class = match args.class_index {
        Some(index) => choose_index(index, labels.len()).map_err(Failure::usage)?,
        None => choose(labels, &args.class).map_err(Failure::usage)?,
    };
    if let Some(why) = classifier.why_no_map(head) {
        return Err(Failure::run(anyhow!("{}: no map: {why}", model.spec.name)));
    }
    let explained = explain(classifier, head, class, &input).map_err(Failure::run)?;
    if let Some(path) = &args.map {
        let maps = explained.pictures.iter().map(|(map, _)| &map.map);
        let array = Array::of_maps(maps).context("there is no picture").map_err(Failure::run)?;
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

/// What is explained, apart from the class.
pub(super) fn wishes(
    args: &Args,
    config: &Config,
    methods: Methods,
    seed: Seed,
) -> Result<Explain, Failure> {
    let asked = args.seed.as_deref().map(str::parse).transpose();
    Ok(Explain {
        heads: Heads::of(args.head.clone()),
        methods,
        seed: asked.map_err(|e: String| Failure::usage(anyhow!(e)))?.unwrap_or(seed),
        top_k: 1,
        feature: args.tensors.feature.clone(),
        logits: args.tensors.logits.clone(),
        layout: config.explain.layout.parse().ok(),
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
