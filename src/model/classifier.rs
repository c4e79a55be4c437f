//! A loaded classifier: one pass over a picture gives the logits and
//! probabilities of every head and the activation maps of the explained ones.

use std::path::Path;
use std::sync::Arc;

use ort::session::builder::GraphOptimizationLevel;
use prost::bytes::Bytes;
use sha2::{Digest, Sha256};

use super::Error;
use super::explain::{self, Finding, NoMap, Request, Wishes};
use super::graph::Graph;
use super::library::{self, Runtime};
use super::net::{Mapped, Net, Raw, logits_name, session};
use super::options::{Head, HeadOutput, Heads, Options, Output, Wanted};
use super::shapes::Shapes;
use super::spec::{Activation, HeadSpec, Model, read_file};
use crate::annotation::ActivationMap;
use crate::explain::{Method, Methods, Seed};
use crate::names::{nearest, plain};
use crate::preprocess::{InputSpec, Layout};

/// The maps of a trial run may miss the change of the logits by this part, and
/// by more where the head rounds to 8 bits: a wrong axis misses all of it.
const TRIAL_TOLERANCE: [f32; 2] = [0.1, 0.5];
/// So many classes are compared in the trial run.
const TRIAL_CLASSES: usize = 16;
/// Networks for more pictures at a time are not run.
const MOST_IMAGES: usize = 64;
/// Nor those that want more numbers in one pass: 1 GB.
const MOST_INPUT: usize = 1 << 28;

/// A network in ONNX Runtime, ready to run.
pub struct Classifier {
    net: Net,
    heads: Vec<Head>,
    /// For every head that was to be explained: where its maps come from.
    found: Vec<(usize, Result<Finding, NoMap>)>,
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
    /// Loads `model` and runs it on made-up pictures: the first real pass is
    /// then as fast as the others, the labels are known to fit the outputs,
    /// and maps that must add up to the logits are known to do so.
    ///
    /// A head without an activation map loads all the same;
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
        let explained = explained_heads(model, &options.explain.heads)?;
        let bytes = Bytes::from(read_file(path)?);
        let sha256 = Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
        let mut graph = Graph::parse(bytes, path)?;
        graph.take_in_integers(path.parent().unwrap_or(Path::new("")));
        let (input_name, images) = check_input(&graph, &model.spec.input, path)?;
        for tensor in [&options.explain.feature, &options.explain.logits].into_iter().flatten() {
            check_tensor(&graph, tensor, path)?;
        }
        let named = options.explain.logits.as_deref();
        let named = explained.first().copied().zip(named);
        let outputs = logit_tensors(&graph, model, named)?;
        let runtime = library::load(options.library.as_deref())?;
        let named = named.map(|(head, _)| head);
        let plan = Plan { model, options, input_name, images, outputs, named, runtime: &runtime };
        let (mut net, found) = plan.carry_out(graph, &explained)?;
        let first = net.run(&trial_picture(&net, 0), &[])?;
        let heads = model
            .spec
            .heads
            .iter()
            .zip(&first.logits)
            .enumerate()
            .map(|(n, (spec, logits))| {
                // Labels of an undescribed network were counted on its output.
                let other = plan.named == Some(n) && model.described_by == model.onnx;
                head(spec, logits.len(), model, other)
            })
            .collect::<Result<Vec<_>, _>>()?;
        let classifier = Self { net, heads, found, sha256, runtime };
        let outputs = classifier.answers(first.logits);
        classifier.check_finite(&outputs)?;
        tracing::debug!(onnx = %path.display(), found = ?classifier.found, "classifier loaded");
        Ok(classifier)
    }

    /// Runs the network on one picture: 32-bit floats, channel by channel, row
    /// by row (also for networks that want the channels last), normalised as
    /// the model's input settings say. Maps are computed for the classes
    /// `wanted` and for the best ones of every explained head.
    ///
    /// # Errors
    /// [`Error::InputLength`], [`Error::NoSuchClass`], [`Error::NotExplained`],
    /// [`Error::Inference`], and [`Error::NotFinite`] when a logit is NaN or
    /// infinite.
    pub fn run(&mut self, input: &[f32], wanted: &[Wanted]) -> Result<Output, Error> {
        let expected = self.net.size();
        if input.len() != expected {
            let shape = format!("3 x {} x {}", self.net.height, self.net.width);
            return Err(Error::InputLength { expected, shape, got: input.len() });
        }
        for wanted in wanted {
            self.check_wanted(wanted)?;
        }
        let raw = self.net.run(input, wanted)?;
        let heads = self.answers(raw.logits);
        self.check_finite(&heads)?;
        Ok(Output { heads, maps: raw.maps })
    }

    fn check_wanted(&self, &Wanted { head, class }: &Wanted) -> Result<(), Error> {
        let explained = self.found.iter().any(|(h, _)| *h == head);
        let Some(known) = self.heads.get(head).filter(|_| explained) else {
            let heads = self.found.iter().filter_map(|(h, _)| self.heads.get(*h));
            return Err(Error::NotExplained {
                head,
                heads: heads.map(|h| h.name.to_string()).collect(),
            });
        };
        let classes = known.labels.len();
        if class < classes {
            return Ok(());
        }
        Err(Error::NoSuchClass { head: known.name.to_string(), class, classes })
    }

    fn answers(&self, logits: Vec<Vec<f32>>) -> Vec<HeadOutput> {
        let answer = |(head, mut logits): (&Head, Vec<f32>)| {
            if let (&[only], 2) = (logits.as_slice(), head.labels.len()) {
                // One logit for the second of two classes, against the first.
                logits = vec![-only, only];
            }
            let probabilities = head.activation.probabilities(&logits, head.temperature);
            HeadOutput { logits, probabilities }
        };
        self.heads.iter().zip(logits).map(answer).collect()
    }

    fn check_finite(&self, heads: &[HeadOutput]) -> Result<(), Error> {
        for (head, HeadOutput { logits, .. }) in self.heads.iter().zip(heads) {
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

    /// Indices in [`heads`](Self::heads) of the heads that were to be explained.
    pub fn explained_heads(&self) -> impl Iterator<Item = usize> {
        self.found.iter().map(|(head, _)| *head)
    }

    /// The first of them; 0 where there is none.
    pub fn explained_head(&self) -> usize {
        self.explained_heads().next().unwrap_or(0)
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

    /// Where the maps of a head come from; none when it has no map or was not
    /// to be explained.
    pub fn finding(&self, head: usize) -> Option<&Finding> {
        self.found.iter().find(|(h, _)| *h == head)?.1.as_ref().ok()
    }

    /// Why a head has no activation map; none when it has one.
    pub fn why_no_map(&self, head: usize) -> Option<&NoMap> {
        match self.found.iter().find(|(h, _)| *h == head) {
            Some((_, found)) => found.as_ref().err(),
            None => Some(&NoMap::SwitchedOff),
        }
    }

    /// The methods a head's maps are computed by.
    pub fn methods(&self, head: usize) -> &[Method] {
        let mapped = self.net.mapped.iter().find(|m| m.head == head);
        mapped.map(|m| m.methods.as_slice()).unwrap_or_default()
    }

    /// Numbers in one picture: 3 x height x width.
    pub fn input_len(&self) -> usize {
        self.net.size()
    }
}

/// Everything that goes into building a session.
struct Plan<'a> {
    model: &'a Model,
    options: &'a Options,
    input_name: String,
    /// Pictures in one pass.
    images: usize,
    /// Logits tensor of each head.
    outputs: Vec<String>,
    /// The head whose logits were named.
    named: Option<usize>,
    runtime: &'a Runtime,
}

/// Where the maps of each head come from.
type Found = Vec<(usize, Result<Finding, NoMap>)>;

impl Plan<'_> {
    /// The network with the maps of the `explained` heads, tried out; without
    /// those that cannot be had.
    fn carry_out(&self, mut graph: Graph, explained: &[usize]) -> Result<(Net, Found), Error> {
        let mut found = self.find(&graph, explained);
        if let Err(refused @ NoMap::TooLarge { .. }) = found {
            // It would not be smaller without maps.
            return Err(Error::network(&self.model.onnx, refused.to_string()));
        }
        let mapped = match &mut found {
            Ok((shapes, found)) => self.append(&mut graph, shapes, found),
            Err(_) => Vec::new(),
        };
        let mut found = found.map(|(_, found)| found).unwrap_or_else(|refused| {
            explained.iter().map(|&head| (head, Err(refused.clone()))).collect()
        });
        if mapped.is_empty() {
            return Ok((self.build(graph, mapped)?, found));
        }
        let tried = self.build(graph, mapped).and_then(|mut net| {
            self.try_out(&mut net, &mut found)?;
            Ok(net)
        });
        let reason = match tried {
            Ok(net) if !net.mapped.is_empty() => return Ok((net, found)),
            Ok(_) => None,
            Err(error) => Some(error.to_string()),
        };
        for (_, found) in &mut found {
            if let (Ok(_), Some(reason)) = (&found, &reason) {
                *found = Err(NoMap::Refused { reason: reason.clone() });
            }
        }
        // The parsed file was given up for the session's sake: read it again.
        let path = &self.model.onnx;
        let graph = Graph::parse(read_file(path)?.into(), path)?;
        Ok((self.build(graph, Vec::new())?, found))
    }

    fn find(&self, graph: &Graph, explained: &[usize]) -> Result<(Shapes, Found), NoMap> {
        if explained.is_empty() {
            return Ok((Shapes::default(), Vec::new()));
        }
        let InputSpec { width, height, layout, .. } = self.model.spec.input;
        let dims = match layout {
            Layout::Nchw => [self.images, 3, height, width],
            Layout::Nhwc => [self.images, height, width, 3],
        };
        let outline = |bytes: &[u8]| {
            session(self.runtime, &self.model.onnx, 1, GraphOptimizationLevel::Disable, bytes)
        };
        let shapes = Shapes::find(graph, &self.input_name, dims, &outline).map_err(NoMap::from)?;
        let explain = &self.options.explain;
        let wishes = Wishes { feature: explain.feature.as_deref(), layout: explain.layout };
        let of = |&head: &usize| {
            let logits = &self.outputs[head];
            (head, explain::find(graph, &shapes, logits, self.images, &wishes))
        };
        let found = explained.iter().map(of).collect();
        Ok((shapes, found))
    }

    /// Appends the maps of every finding; what cannot be appended becomes its
    /// reason.
    fn append(&self, graph: &mut Graph, shapes: &Shapes, found: &mut Found) -> Vec<Mapped> {
        let explain = &self.options.explain;
        let mut mapped = Vec::new();
        let mut out = graph.append();
        for (head, found) in found {
            let Ok(finding) = &*found else { continue };
            let spec = &self.model.spec.heads[*head];
            let two_sided = is_two_sided(spec, finding.logits);
            let margin = self.is_margin(spec, finding);
            let methods = match &explain.methods {
                Methods::Auto if finding.has_cam() => vec![Method::Cam],
                Methods::Auto => vec![Method::GradCam],
                Methods::All => finding.methods(),
                Methods::These(given) => given.clone(),
            };
            let request = Request {
                head: *head,
                found: finding,
                methods: &methods,
                top_k: explain.top_k.min(finding.logits.max(usize::from(two_sided) * 2)),
                margin: margin.then_some(spec.temperature),
                two_sided,
            };
            let extent = out.extent();
            let done = if methods.contains(&Method::Cam) && !finding.has_cam() {
                Err(NoMap::NeedsLinear { feature: finding.feature_tensor.clone() })
            } else {
                explain::append(&mut out, shapes, &request)
            };
            match done {
                Ok(()) => mapped.push(Mapped { head: *head, methods }),
                Err(reason) => {
                    out.undo(extent);
                    *found = Err(reason);
                }
            }
        }
        mapped
    }

    fn is_margin(&self, spec: &HeadSpec, found: &Finding) -> bool {
        match self.options.explain.seed {
            Seed::Logit => false,
            Seed::Margin => found.logits > 1,
            Seed::Auto => spec.activation == Activation::Softmax && found.logits == 2,
        }
    }

    /// Runs the maps on two made-up pictures and drops those that are wrong.
    fn try_out(&self, net: &mut Net, found: &mut Found) -> Result<(), Error> {
        let classes = |finding: &Finding, spec: &HeadSpec| {
            if is_two_sided(spec, finding.logits) { 2 } else { finding.logits.min(TRIAL_CLASSES) }
        };
        let mut trial = Vec::new();
        for (head, found) in found.iter() {
            let Ok(found) = found else { continue };
            let count = classes(found, &self.model.spec.heads[*head]);
            trial.extend((0..count).map(|class| Wanted { head: *head, class }));
        }
        let a = net.run(&trial_picture(net, 1), &trial)?;
        let b = net.run(&trial_picture(net, 2), &trial)?;
        for (head, found) in found {
            let Ok(finding) = &*found else { continue };
            let maps = a.maps.iter().chain(&b.maps).filter(|m| m.head == *head);
            let finite = maps.clone().all(|m| m.map.values.iter().all(|v| v.is_finite()));
            // The margin's weights differ from picture to picture.
            let comparable = !self.is_margin(&self.model.spec.heads[*head], finding);
            let deviation =
                if finding.adds_up && comparable { deviation(&a, &b, *head) } else { 0.0 };
            let logits_finite = a.logits.iter().chain(&b.logits).flatten().all(|v| v.is_finite());
            if !finite && logits_finite {
                *found = Err(NoMap::NotFinite);
            } else if deviation > TRIAL_TOLERANCE[usize::from(finding.rounds)] {
                let percent = (deviation * 100.0).round() as u32;
                *found = Err(NoMap::DoesNotAddUp { percent });
            } else {
                continue;
            }
            net.mapped.retain(|m| m.head != *head);
        }
        Ok(())
    }

    /// A session of `graph`, which gives the logits of every head and the maps
    /// of the `mapped` ones.
    fn build(&self, mut graph: Graph, mapped: Vec<Mapped>) -> Result<Net, Error> {
        let path = self.model.onnx.clone();
        let mut out = graph.append();
        for (i, tensor) in self.outputs.iter().enumerate() {
            let tensor = out.as_f32(tensor);
            out.output_f32(&tensor, &logits_name(i));
        }
        // Takes the parsed file with it, so that it is gone when ONNX Runtime
        // makes its own copy.
        let bytes = graph.encode();
        let level = GraphOptimizationLevel::All;
        let session =
            session(self.runtime, &path, self.options.threads, level, &bytes).map_err(|e| {
                Error::Inference { action: "load", path: path.clone(), reason: e.to_string() }
            })?;
        let input = &self.model.spec.input;
        Ok(Net {
            session,
            path,
            input_name: self.input_name.clone(),
            width: input.width,
            height: input.height,
            layout: input.layout,
            images: self.images,
            heads: self.outputs.len(),
            mapped,
            scratch: Vec::new(),
        })
    }
}

/// True when the one logit of a head stands for the second of two classes.
fn is_two_sided(spec: &HeadSpec, logits: usize) -> bool {
    logits == 1 && spec.labels.len() == 2 && spec.activation == Activation::Sigmoid
}

fn explained_heads(model: &Model, wanted: &Heads) -> Result<Vec<usize>, Error> {
    let heads = &model.spec.heads;
    let of_name = |name: &String| {
        heads.iter().position(|h| h.name == *name).ok_or_else(|| Error::NoSuchHead {
            name: name.clone(),
            heads: heads.iter().map(|h| h.name.clone()).collect(),
        })
    };
    match wanted {
        Heads::None => Ok(Vec::new()),
        Heads::First => Ok(vec![0]),
        Heads::All => Ok((0..heads.len()).collect()),
        Heads::Named(names) => {
            let mut found = names.iter().map(of_name).collect::<Result<Vec<_>, _>>()?;
            found.sort_unstable();
            found.dedup();
            Ok(found)
        }
    }
}

/// A tensor that was named must exist and show something of the picture.
fn check_tensor(graph: &Graph, name: &str, path: &Path) -> Result<(), Error> {
    if graph.depends_on_input(name) {
        return Ok(());
    }
    let tensors = graph.made().filter(|t| graph.depends_on_input(t));
    let nearest = nearest(tensors.map(|t| (plain(t), t)), &plain(name));
    Err(Error::NoSuchTensor {
        path: path.to_path_buf(),
        name: name.to_owned(),
        nearest: nearest.map(str::to_owned),
    })
}

/// The name of the one input, once it is known to take the described picture,
/// and the number of pictures it takes in one pass.
fn check_input(graph: &Graph, spec: &InputSpec, path: &Path) -> Result<(String, usize), Error> {
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
        return Ok((input.name.clone(), 1));
    }
    let images = input.dims[0].unwrap_or(1);
    let numbers = images.saturating_mul(3 * spec.width * spec.height);
    if images > MOST_IMAGES || numbers > MOST_INPUT {
        let (width, height) = (spec.width, spec.height);
        let reason = format!(
            "it wants {images} pictures of {width} x {height} pixels in one pass, which is too much; export it for one smaller picture"
        );
        return Err(Error::network(path, reason));
    }
    let (wanted, order) = match spec.layout {
        Layout::Nchw => ([images, 3, spec.height, spec.width], "nchw"),
        Layout::Nhwc => ([images, spec.height, spec.width, 3], "nhwc"),
    };
    let fits = input.dims.len() == 4
        && input.dims.iter().zip(wanted).all(|(d, w)| d.is_none_or(|d| d == w));
    if fits {
        return Ok((input.name.clone(), images));
    }
    let axes: Vec<_> =
        input.dims.iter().map(|d| d.map_or("any".to_owned(), |d| d.to_string())).collect();
    let reason = format!(
        "its input {:?} is [{}] but the model's description makes it {wanted:?} ({order}); correct width, height or layout, or export the model with a float32 input of that shape",
        input.name,
        axes.join(", ")
    );
    Err(Error::network(path, reason))
}

/// The tensor with the logits of each head.
fn logit_tensors(
    graph: &Graph,
    model: &Model,
    named: Option<(usize, &str)>,
) -> Result<Vec<String>, Error> {
    let outputs = graph.outputs();
    let tensor = |(n, head): (usize, &HeadSpec)| {
        if let Some((_, name)) = named.filter(|(of, _)| *of == n) {
            return Ok(name.to_owned());
        }
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
    model.spec.heads.iter().enumerate().map(tensor).collect()
}

fn head(spec: &HeadSpec, classes: usize, model: &Model, count: bool) -> Result<Head, Error> {
    let labels: Vec<Arc<str>> = if spec.labels.is_empty() || count {
        (0..classes).map(|c| format!("class {c}").into()).collect()
    } else {
        spec.labels.iter().map(|l| l.as_str().into()).collect()
    };
    let fits = labels.len() == classes || is_two_sided(spec, classes);
    if !fits || classes == 0 {
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
    let logit = |raw: &Raw, class: usize| match raw.logits[head][..] {
        // Two classes with one logit.
        [only] if class == 0 && raw.maps.iter().any(|m| m.head == head && m.class == 1) => -only,
        [only] => only,
        ref all => all.get(class).copied().unwrap_or(f32::NAN),
    };
    let linear = |m: &Method| matches!(m, Method::Cam | Method::GradCam | Method::HiResCam);
    let (mut miss, mut largest) = (0.0f32, 1e-5f32);
    for before in a.maps.iter().filter(|m| m.head == head && linear(&m.method)) {
        let same = |m: &&super::options::ClassMap| {
            (m.head, m.class, m.method) == (head, before.class, before.method)
        };
        let Some(after) = b.maps.iter().find(same) else { continue };
        let from_logits = logit(b, before.class) - logit(a, before.class);
        let from_maps = mean(&after.in_logit_units()) - mean(&before.in_logit_units());
        miss = miss.max((from_logits - from_maps).abs());
        largest = largest.max(from_logits.abs()).max(from_maps.abs());
    }
    miss / largest
}
