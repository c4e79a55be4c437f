//! A loaded classifier: one pass over a picture gives the logits and
//! probabilities of every head and the class activation maps of one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ort::session::{Session, builder::GraphOptimizationLevel};
use ort::value::TensorRef;
use prost::bytes::Bytes;
use sha2::{Digest, Sha256};

use super::Error;
use super::cam::{self, Finding, HeadKind, NoMap};
use super::graph::Graph;
use super::library::{self, Runtime};
use super::spec::{Activation, HeadSmoothing, HeadSpec, Model, read_file};
use crate::annotation::ActivationMap;
use crate::preprocess::{InputSpec, Layout};

/// The maps of a trial run may miss the change of the logits by this part:
/// room for 8-bit weights, none for a wrong axis.
const TRIAL_TOLERANCE: f32 = 0.1;
/// So many classes are compared in the trial run.
const TRIAL_CLASSES: usize = 16;

/// How a classifier is to be run.
#[derive(Clone, Debug)]
pub struct Options {
    /// ONNX Runtime's shared library; found by itself when absent.
    pub library: Option<PathBuf>,
    /// Threads used within one pass.
    pub threads: usize,
    /// Execution provider: `auto` or `cpu`.
    pub provider: String,
    /// Name of the head whose classes are explained; the first when absent.
    pub head: Option<String>,
    /// So many of the best classes are explained in every pass, in addition to
    /// those asked for.
    pub top_k: usize,
    /// False leaves the network as it is: probabilities only.
    pub maps: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            library: None,
            threads: 1,
            provider: "auto".to_owned(),
            head: None,
            top_k: 1,
            maps: true,
        }
    }
}

/// A head of a loaded classifier.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    /// Name as shown to people.
    pub name: Arc<str>,
    /// Names of the classes.
    pub labels: Vec<Arc<str>>,
    /// How logits become probabilities.
    pub activation: Activation,
    /// The logits are divided by this before the activation.
    pub temperature: f32,
    /// Logit units that paint full heat.
    pub explain_scale: f32,
    /// Steadying in time, where this head wants its own.
    pub smoothing: Option<HeadSmoothing>,
}

/// The answer of one head to one picture.
#[derive(Clone, Debug, PartialEq)]
pub struct HeadOutput {
    /// One per class, before activation and temperature.
    pub logits: Vec<f32>,
    /// One per class; 0..1 unless the activation is `none`.
    pub probabilities: Vec<f32>,
}

/// The answer to one picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// One per head, in the order of [`Classifier::heads`].
    pub heads: Vec<HeadOutput>,
    /// Class and map in logit units, without rectification or bias: the
    /// classes asked for, then the best ones, each class once. Empty when the
    /// network [has no map](Classifier::why_no_map).
    pub maps: Vec<(usize, ActivationMap)>,
}

/// A network in ONNX Runtime, ready to run.
pub struct Classifier {
    net: Net,
    heads: Vec<Head>,
    explained: usize,
    found: Result<Finding, NoMap>,
    sha256: String,
    runtime: Runtime,
}

impl std::fmt::Debug for Classifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut out = f.debug_struct("Classifier");
        out.field("onnx", &self.net.path).field("heads", &self.heads).field("found", &self.found);
        out.finish_non_exhaustive()
    }
}

impl Classifier {
    /// Loads `model` and runs it twice on made-up pictures: the first real pass
    /// is then as fast as the others, the labels are known to fit the outputs,
    /// and the maps are known to add up to the logits.
    ///
    /// A network without a class activation map loads all the same;
    /// [`why_no_map`](Self::why_no_map) says why.
    ///
    /// # Errors
    /// Every variant of [`Error`] but [`Error::NotFound`] and
    /// [`Error::InputLength`].
    pub fn load(model: &Model, options: &Options) -> Result<Self, Error> {
        if !matches!(options.provider.as_str(), "auto" | "cpu") {
            return Err(Error::Provider { name: options.provider.clone() });
        }
        let path = model.onnx.as_path();
        let explained = explained_head(model, options)?;
        let bytes = Bytes::from(read_file(path)?);
        let sha256 = Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
        let graph = Graph::parse(bytes.clone(), path)?;
        let input_name = check_input(&graph, &model.spec.input, path)?;
        let outputs = logit_tensors(&graph, model)?;
        let runtime = library::load(options.library.as_deref())?;
        let plan = Plan { model, options, input_name, outputs, explained, runtime: &runtime };
        let (mut net, found) = plan.with_maps(graph).map(|(net, found)| (net, Ok(found))).or_else(
            |reason| -> Result<_, Error> {
                let net = plan.build(Graph::parse(bytes, path)?, None)?;
                Ok((net, Err(reason)))
            },
        )?;
        let first = net.run(&trial_picture(&net, 0), &[])?;
        let heads = model
            .spec
            .heads
            .iter()
            .zip(&first.logits)
            .map(|(spec, logits)| head(spec, logits.len(), model))
            .collect::<Result<Vec<_>, _>>()?;
        let classifier = Self { net, heads, explained, found, sha256, runtime };
        classifier.check_finite(&first.logits)?;
        tracing::debug!(onnx = %path.display(), found = ?classifier.found, "classifier loaded");
        Ok(classifier)
    }

    /// Runs the network on one picture: 32-bit floats, channel by channel, row
    /// by row (also for networks that want the channels last), normalised as
    /// the model's input settings say. Maps are computed for `classes` of the
    /// explained head and for its best classes.
    ///
    /// # Errors
    /// [`Error::InputLength`], [`Error::NoSuchClass`], [`Error::Inference`],
    /// and [`Error::NotFinite`] when a logit is NaN or infinite.
    pub fn run(&mut self, input: &[f32], classes: &[usize]) -> Result<Output, Error> {
        let expected = self.net.size();
        if input.len() != expected {
            let shape = format!("3 x {} x {}", self.net.height, self.net.width);
            return Err(Error::InputLength { expected, shape, got: input.len() });
        }
        let head = &self.heads[self.explained];
        let count = head.labels.len();
        if let Some(&class) = classes.iter().find(|&&c| c >= count) {
            return Err(Error::NoSuchClass { head: head.name.to_string(), class, classes: count });
        }
        let raw = self.net.run(input, classes)?;
        self.check_finite(&raw.logits)?;
        let heads = self
            .heads
            .iter()
            .zip(raw.logits)
            .map(|(head, logits)| HeadOutput { probabilities: head.probabilities(&logits), logits })
            .collect();
        let mut maps: Vec<(usize, ActivationMap)> = Vec::with_capacity(raw.maps.len());
        for (class, map) in raw.maps {
            if maps.iter().all(|(c, _)| *c != class) {
                maps.push((class, map));
            }
        }
        Ok(Output { heads, maps })
    }

    fn check_finite(&self, logits: &[Vec<f32>]) -> Result<(), Error> {
        for (head, logits) in self.heads.iter().zip(logits) {
            if let Some(class) = logits.iter().position(|v| !v.is_finite()) {
                let (path, value) = (self.net.path.clone(), logits[class]);
                return Err(Error::NotFinite { path, head: head.name.to_string(), class, value });
            }
        }
        Ok(())
    }

    /// The heads, in the order of the model's description.
    pub fn heads(&self) -> &[Head] {
        &self.heads
    }

    /// Index in [`heads`](Self::heads) of the head whose classes are explained.
    pub fn explained_head(&self) -> usize {
        self.explained
    }

    /// The execution provider really in use.
    pub fn provider(&self) -> &'static str {
        "cpu"
    }

    /// SHA-256 of the ONNX file, in lower-case hexadecimal digits.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Version of ONNX Runtime.
    pub fn runtime_version(&self) -> &str {
        &self.runtime.version
    }

    /// The shared library of ONNX Runtime that was loaded.
    pub fn runtime_path(&self) -> &Path {
        &self.runtime.path
    }

    /// Why the network has no class activation map; none when it has one.
    pub fn why_no_map(&self) -> Option<&NoMap> {
        self.found.as_ref().err()
    }

    /// The kind of head that was recognised, when there is a map.
    pub fn head_kind(&self) -> Option<HeadKind> {
        self.found.as_ref().ok().map(|f| f.head_kind)
    }

    /// Numbers in one picture: 3 x height x width.
    pub fn input_len(&self) -> usize {
        self.net.size()
    }

    /// Name of the tensor the map is made from, when there is a map.
    pub fn feature_tensor(&self) -> Option<&str> {
        self.found.as_ref().ok().map(|f| f.feature_tensor.as_str())
    }
}

impl Head {
    fn probabilities(&self, logits: &[f32]) -> Vec<f32> {
        let scaled = logits.iter().map(|v| v / self.temperature);
        match self.activation {
            Activation::None => logits.to_vec(),
            Activation::Sigmoid => scaled.map(|v| 1.0 / (1.0 + (-v).exp())).collect(),
            Activation::Softmax => {
                let max = scaled.clone().fold(f32::NEG_INFINITY, f32::max);
                let powers: Vec<f32> = scaled.map(|v| (v - max).exp()).collect();
                let sum: f32 = powers.iter().sum();
                powers.into_iter().map(|p| p / sum).collect()
            }
        }
    }
}

/// A session and what is needed to feed it.
struct Net {
    session: Session,
    path: PathBuf,
    input_name: String,
    width: usize,
    height: usize,
    layout: Layout,
    has_maps: bool,
    top_k: usize,
    heads: usize,
    /// The picture with its channels last.
    scratch: Vec<f32>,
}

/// What one pass gives, unchecked.
struct Raw {
    logits: Vec<Vec<f32>>,
    maps: Vec<(usize, ActivationMap)>,
}

impl Net {
    /// Numbers in one picture.
    fn size(&self) -> usize {
        3 * self.width * self.height
    }

    fn run(&mut self, input: &[f32], classes: &[usize]) -> Result<Raw, Error> {
        let path = self.path.clone();
        self.try_run(input, classes).map_err(|e| Error::Inference {
            action: "run",
            path,
            reason: e.to_string(),
        })
    }

    fn try_run(&mut self, input: &[f32], classes: &[usize]) -> ort::Result<Raw> {
        let (w, h) = (self.width, self.height);
        let picture = match self.layout {
            Layout::Nchw => TensorRef::from_array_view(([1, 3, h, w], input))?,
            Layout::Nhwc => {
                channels_last(input, &mut self.scratch);
                TensorRef::from_array_view(([1, h, w, 3], self.scratch.as_slice()))?
            }
        };
        let mut classes: Vec<i64> = classes.iter().filter_map(|&c| i64::try_from(c).ok()).collect();
        let wants_maps = self.has_maps && (!classes.is_empty() || self.top_k > 0);
        if !wants_maps {
            // Some kernels refuse an empty list.
            classes.push(0);
        }
        let name = self.input_name.as_str();
        let outputs = if self.has_maps {
            let wanted = TensorRef::from_array_view(([classes.len()], classes.as_slice()))?;
            self.session.run(ort::inputs![name => picture, cam::CLASSES => wanted])?
        } else {
            self.session.run(ort::inputs![name => picture])?
        };
        let logits = (0..self.heads)
            .map(|i| Ok(outputs[logits_name(i).as_str()].try_extract_tensor::<f32>()?.1.to_vec()))
            .collect::<ort::Result<_>>()?;
        let mut maps = Vec::new();
        if wants_maps {
            let (shape, values) = outputs[cam::MAPS].try_extract_tensor::<f32>()?;
            let (_, indices) = outputs[cam::INDICES].try_extract_tensor::<i64>()?;
            let [_, _, rows, cols] = shape[..] else {
                return Err(ort::Error::new("the feature map does not have rows and columns"));
            };
            let (rows, cols) = (rows.max(0) as usize, cols.max(0) as usize);
            let each = values.chunks_exact((rows * cols).max(1));
            for (&class, values) in indices.iter().zip(each) {
                let class = usize::try_from(class).unwrap_or(0);
                maps.push((class, ActivationMap { rows, cols, values: values.to_vec() }));
            }
        }
        Ok(Raw { logits, maps })
    }
}

fn channels_last(input: &[f32], out: &mut Vec<f32>) {
    let (red, rest) = input.split_at(input.len() / 3);
    let (green, blue) = rest.split_at(red.len());
    out.clear();
    out.extend(red.iter().zip(green).zip(blue).flat_map(|((r, g), b)| [*r, *g, *b]));
}

fn logits_name(head: usize) -> String {
    format!("cam_logits_{head}")
}

/// Everything that goes into building a session.
struct Plan<'a> {
    model: &'a Model,
    options: &'a Options,
    input_name: String,
    /// Logits tensor of each head.
    outputs: Vec<String>,
    explained: usize,
    runtime: &'a Runtime,
}

impl Plan<'_> {
    /// The network with maps, tried out.
    fn with_maps(&self, graph: Graph) -> Result<(Net, Finding), NoMap> {
        let refused = |e: Error| NoMap::Refused { reason: e.to_string() };
        if !self.options.maps {
            return Err(NoMap::SwitchedOff);
        }
        let found = cam::find(&graph, &self.outputs[self.explained])?;
        let labels = self.model.spec.heads[self.explained].labels.len();
        let classes = found.classes(&graph).unwrap_or(labels).max(1);
        let mut net = self.build(graph, Some((&found, classes))).map_err(refused)?;
        let trial: Vec<usize> = (0..classes.min(TRIAL_CLASSES)).collect();
        let a = net.run(&trial_picture(&net, 1), &trial).map_err(refused)?;
        let b = net.run(&trial_picture(&net, 2), &trial).map_err(refused)?;
        let deviation = deviation(&a, &b, self.explained);
        if deviation > TRIAL_TOLERANCE {
            return Err(NoMap::DoesNotAddUp { percent: (deviation * 100.0).round() as u32 });
        }
        Ok((net, found))
    }

    /// A session whose outputs are the logits of every head and, for `found`,
    /// the maps of a head of so many classes.
    fn build(&self, mut graph: Graph, found: Option<(&Finding, usize)>) -> Result<Net, Error> {
        let path = self.model.onnx.clone();
        let mut out = graph.append();
        for (i, tensor) in self.outputs.iter().enumerate() {
            let tensor = out.as_f32(tensor);
            out.output_f32(&tensor, &logits_name(i));
        }
        if let Some((found, classes)) = found {
            cam::append(&mut out, found, self.options.top_k.min(classes));
        }
        let bytes = graph.encode();
        let session = self.session(&bytes).map_err(|e| Error::Inference {
            action: "load",
            path: path.clone(),
            reason: e.to_string(),
        })?;
        let input = &self.model.spec.input;
        Ok(Net {
            session,
            path,
            input_name: self.input_name.clone(),
            width: input.width,
            height: input.height,
            layout: input.layout,
            has_maps: found.is_some(),
            top_k: self.options.top_k,
            heads: self.outputs.len(),
            scratch: Vec::new(),
        })
    }

    fn session(&self, bytes: &[u8]) -> ort::Result<Session> {
        // Weights kept outside the file are looked for beside it.
        let folder = self.model.onnx.parent().filter(|p| !p.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new(".")).to_string_lossy().into_owned();
        Session::builder(&self.runtime.environment)?
            // Errors come back from the calls; they are not logged as well.
            .with_log_level(ort::logging::LogLevel::Fatal)?
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_intra_threads(self.options.threads.max(1))?
            .with_inter_threads(1)?
            .with_intra_op_spinning(false)?
            .with_config_entry("session.model_external_initializers_file_folder_path", folder)?
            .commit_from_memory(bytes)
    }
}

fn explained_head(model: &Model, options: &Options) -> Result<usize, Error> {
    let Some(name) = &options.head else { return Ok(0) };
    let heads = &model.spec.heads;
    heads.iter().position(|h| h.name == *name).ok_or_else(|| Error::NoSuchHead {
        name: name.clone(),
        heads: heads.iter().map(|h| h.name.clone()).collect(),
    })
}

/// The name of the one input, once it is known to take the described picture.
fn check_input(graph: &Graph, spec: &InputSpec, path: &Path) -> Result<String, Error> {
    let inputs = graph.inputs();
    let [input] = inputs.as_slice() else {
        let names: Vec<_> = inputs.iter().map(|i| i.name.as_str()).collect();
        let reason =
            format!("it has {} inputs ({}) instead of one picture", inputs.len(), names.join(", "));
        return Err(Error::network(path, reason));
    };
    if !input.is_f32() {
        let reason = format!(
            "its input {:?} is not of 32-bit floats; export the model with a float input",
            input.name
        );
        return Err(Error::network(path, reason));
    }
    if input.dims.is_empty() {
        return Ok(input.name.clone());
    }
    let (wanted, order) = match spec.layout {
        Layout::Nchw => ([1, 3, spec.height, spec.width], "nchw"),
        Layout::Nhwc => ([1, spec.height, spec.width, 3], "nhwc"),
    };
    let fits = input.dims.len() == 4
        && input.dims.iter().zip(wanted).all(|(d, w)| d.is_none_or(|d| d == w));
    if fits {
        return Ok(input.name.clone());
    }
    let axes: Vec<_> =
        input.dims.iter().map(|d| d.map_or("any".to_owned(), |d| d.to_string())).collect();
    let reason = format!(
        "its input {:?} is [{}] but the model's description makes it {wanted:?} ({order}); correct width, height or layout, or export the model for one picture at a time",
        input.name,
        axes.join(", ")
    );
    Err(Error::network(path, reason))
}

/// The tensor with the logits of each head.
fn logit_tensors(graph: &Graph, model: &Model) -> Result<Vec<String>, Error> {
    let outputs = graph.outputs();
    let tensor = |head: &HeadSpec| {
        if outputs.iter().all(|o| o.name != head.output) {
            let names: Vec<_> = outputs.iter().map(|o| o.name.as_str()).collect();
            let reason = format!(
                "head {:?} reads output {:?}, which the network does not have; its outputs are {}",
                head.name,
                head.output,
                names.join(", ")
            );
            return Err(Error::spec(&model.described_by, reason));
        }
        Ok(match head.activation {
            Activation::None => head.output.clone(),
            Activation::Softmax | Activation::Sigmoid => graph.logits_of(&head.output).0,
        })
    };
    model.spec.heads.iter().map(tensor).collect()
}

fn head(spec: &HeadSpec, classes: usize, model: &Model) -> Result<Head, Error> {
    let labels: Vec<Arc<str>> = if spec.labels.is_empty() {
        (0..classes).map(|c| format!("class {c}").into()).collect()
    } else {
        spec.labels.iter().map(|l| l.as_str().into()).collect()
    };
    if labels.len() != classes || classes == 0 {
        let reason = format!(
            "head {:?} has {} labels but output {:?} has {classes} classes; list every class once, in the order of training",
            spec.name,
            labels.len(),
            spec.output
        );
        return Err(Error::spec(&model.described_by, reason));
    }
    Ok(Head {
        name: spec.name.as_str().into(),
        labels,
        activation: spec.activation,
        temperature: spec.temperature,
        explain_scale: spec.explain_scale,
        smoothing: spec.smoothing,
    })
}

/// A made-up picture of values between -1 and 1; each `seed` gives another.
fn trial_picture(net: &Net, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    let slope = seed as f32 - 1.0;
    let width = net.width;
    (0..net.size())
        .map(|i| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let noise = (state >> 8) as f32 / 8_388_608.0 - 1.0;
            let ramp = (i % width) as f32 / width as f32 * 2.0 - 1.0;
            0.5 * noise + 0.5 * slope * ramp
        })
        .collect()
}

/// How far the change of the maps' means is from the change of the logits,
/// relative to the larger change. The bias is in neither.
fn deviation(a: &Raw, b: &Raw, head: usize) -> f32 {
    let mean = |m: &ActivationMap| m.values.iter().sum::<f32>() / m.values.len().max(1) as f32;
    let (mut miss, mut largest) = (0.0f32, 1e-5f32);
    for ((class, before), (other, after)) in a.maps.iter().zip(&b.maps) {
        let (Some(from), Some(to)) = (a.logits[head].get(*class), b.logits[head].get(*class))
        else {
            return 1.0;
        };
        if class == other {
            let (logit, map) = (to - from, mean(after) - mean(before));
            miss = miss.max((logit - map).abs());
            largest = largest.max(logit.abs()).max(map.abs());
        }
    }
    miss / largest
}
