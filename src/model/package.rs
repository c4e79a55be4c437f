//! Model packages that are made from others: a network with its pooled
//! features as an output of its own, and one with another head. The pipeline
//! learns with the first and writes the second.

mod pooled;
#[cfg(test)]
mod tests;

use std::path::Path;

use self::pooled::PooledHead;
use super::Error;
use super::explain::HeadKind;
use super::files::read_file;
use super::graph::Graph;
use super::spec::{Activation, DESCRIPTION, HeadSpec, Model, ModelSpec, NETWORK};
use super::writer::Attr;
use crate::explain::FeatureLayout;

/// Name of the head that gives the features.
const EMBEDDING: &str = "heatcast_embedding";

/// The linear layer of a head: logits are `weights . features`, and a bias
/// that is not stored here.
#[derive(Clone, Debug, PartialEq)]
pub struct KnownWeights {
    /// Number of classes.
    pub classes: usize,
    /// Number of features.
    pub features: usize,
    /// Row by row, one row per class.
    pub values: Vec<f32>,
}

/// A head to be put into a network.
#[derive(Clone, Debug)]
pub struct NewHead {
    /// What it asks and answers; its `output` is chosen when it is put in.
    pub spec: HeadSpec,
    /// Row by row, one row per class.
    pub weights: Vec<f32>,
    /// One per class.
    pub bias: Vec<f32>,
}

impl HeadSpec {
    /// A head of exclusive classes, not calibrated yet.
    pub fn new(name: &str, labels: Vec<String>) -> Self {
        Self {
            name: name.to_owned(),
            output: String::new(),
            activation: Activation::Softmax,
            labels,
            labels_file: None,
            explain_scale: super::spec::DEFAULT_EXPLAIN_SCALE,
            temperature: 1.0,
            smoothing: None,
        }
    }
}

impl Model {
    /// A copy of the model in `folder` whose last head, without an activation,
    /// gives the features that a head called `head` reads or would read: the
    /// average of the feature map over the picture. With it come the weights
    /// of that head, where there is one and they are plain numbers.
    ///
    /// # Errors
    /// [`Error::Network`] when no head has averaged features before it, and
    /// those of reading and writing files.
    pub fn with_embedding(
        &self,
        head: &str,
        folder: &Path,
    ) -> Result<(Self, Option<KnownWeights>), Error> {
        let mut graph = Graph::parse(read_file(&self.onnx)?.into(), &self.onnx)?;
        let (found, own) = self.pooled_features(&graph, head)?;
        let known = own.then(|| known_weights(&graph, &found)).flatten();
        let pooled = pool(&mut graph, &found);
        let name = graph.unused_name(EMBEDDING);
        graph.append().output_f32(&pooled, &name);
        let spec = HeadSpec {
            output: name.clone(),
            activation: Activation::None,
            ..HeadSpec::new(&name, Vec::new())
        };
        let mut copy = self.written(graph, folder)?;
        copy.spec.heads.push(spec);
        Ok((copy, known))
    }

    /// A copy of the model in `folder` with the head `new` in the place of the
    /// one of the same name, or after the others. Only the network is written;
    /// [`Model::write_description`] writes the rest.
    ///
    /// # Errors
    /// As [`Model::with_embedding`].
    pub fn with_head(&self, new: &NewHead, folder: &Path) -> Result<Self, Error> {
        let mut graph = Graph::parse(read_file(&self.onnx)?.into(), &self.onnx)?;
        let (found, _) = self.pooled_features(&graph, &new.spec.name)?;
        let place = self.spec.heads.iter().position(|h| h.name == new.spec.name);
        let old = place.map(|i| self.spec.heads[i].output.clone());
        let pooled = pool(&mut graph, &found);
        let classes = new.bias.len();
        let layer = format!("{}_head", new.spec.name);
        let [weights, bias] =
            ["weight", "bias"].map(|w| graph.unused_name(&format!("{layer}.{w}")));
        let features = new.weights.len() / classes.max(1);
        graph.store_floats(&weights, &[classes, features], &new.weights);
        graph.store_floats(&bias, &[classes], &new.bias);
        let transposed = [("transB", Attr::Int(1))];
        let logits = graph.append().op("Gemm", &[&pooled, &weights, &bias], &transposed);
        // Other heads may share the old one's output; then it stays.
        let shared =
            |output: &str| self.spec.heads.iter().filter(|h| h.output == output).count() > 1;
        if let Some(old) = old.filter(|old| !shared(old)) {
            graph.remove_output(&old, &logits);
        }
        let output = graph.unused_name(&format!("{}_logits", new.spec.name));
        graph.append().output_f32(&logits, &output);
        let spec = HeadSpec { output, ..new.spec.clone() };
        let mut copy = self.written(graph, folder)?;
        match place {
            Some(place) => copy.spec.heads[place] = spec,
            None => copy.spec.heads.push(spec),
        }
        Ok(copy)
    }

    /// Writes `model.toml` beside the network.
    ///
    /// # Errors
    /// [`Error::Write`], and [`Error::Spec`] when it cannot be put in words.
    pub fn write_description(&self) -> Result<(), Error> {
        let path = &self.described_by;
        let text = toml::to_string(&self.spec).map_err(|e| Error::spec(path, e.to_string()))?;
        // What is written must be readable.
        ModelSpec::parse(&text, path)?;
        write(path, text.as_bytes())
    }

    /// The features behind the head `head`, or else behind the first head that
    /// has some; true when they are that head's.
    fn pooled_features(&self, graph: &Graph, head: &str) -> Result<(PooledHead, bool), Error> {
        let heads = &self.spec.heads;
        let own = heads.iter().filter(|h| h.name == head);
        let mut why = None;
        for spec in own.chain(heads.iter().filter(|h| h.name != head)) {
            let logits = match spec.activation {
                Activation::None => spec.output.clone(),
                Activation::Softmax | Activation::Sigmoid => graph.logits_of(&spec.output).0,
            };
            match pooled::find(graph, &logits) {
                Ok(found) => return Ok((found, spec.name == head)),
                Err(reason) => {
                    why.get_or_insert(reason);
                }
            }
        }
        let why = why.map(|w| w.to_string()).unwrap_or_default();
        let reason = format!("a head is learnt on features averaged over the picture, but {why}");
        Err(Error::network(&self.onnx, reason))
    }

    /// Writes the network `graph` of a changed copy.
    fn written(&self, graph: Graph, folder: &Path) -> Result<Self, Error> {
        std::fs::create_dir_all(folder)
            .map_err(|source| Error::Write { path: folder.to_owned(), source })?;
        for file in graph.external_files() {
            let odd = Path::new(&file).components().count() != 1 || file == "..";
            if odd {
                let reason = format!("its weights lie in {file:?}; put that file beside it");
                return Err(Error::network(&self.onnx, reason));
            }
            let to = folder.join(&file);
            std::fs::copy(self.onnx.with_file_name(&file), &to)
                .map_err(|source| Error::Write { path: to, source })?;
        }
        let onnx = folder.join(NETWORK);
        write(&onnx, &graph.encode())?;
        Ok(Self { onnx, described_by: folder.join(DESCRIPTION), spec: self.spec.clone() })
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    std::fs::write(path, bytes).map_err(|source| Error::Write { path: path.to_owned(), source })
}

/// Adds the average of the feature map: `[images, channels]`.
fn pool(graph: &mut Graph, found: &PooledHead) -> String {
    let mut out = graph.append();
    let mut feature = out.as_f32(&found.feature_tensor);
    if found.layout == FeatureLayout::Nhwc {
        feature = out.op("Transpose", &[&feature], &[("perm", Attr::Ints(&[0, 3, 1, 2]))]);
    }
    let pooled = out.op("GlobalAveragePool", &[&feature], &[]);
    out.op("Flatten", &[&pooled], &[("axis", Attr::Int(1))])
}

fn known_weights(graph: &Graph, found: &PooledHead) -> Option<KnownWeights> {
    if found.head_kind != HeadKind::PoolThenLinear {
        return None;
    }
    let weights = found.weights.as_ref()?;
    let mut dims = graph.stored_dims(&weights.tensor)?;
    let stored = graph.stored_floats(&weights.tensor)?;
    // A 1x1 convolution has two more axes, of extent 1.
    if dims.get(2..).is_some_and(|rest| rest.iter().all(|&d| d == 1)) {
        dims.truncate(2);
    }
    let [rows, columns] = dims[..] else { return None };
    if stored.len() != rows * columns {
        return None;
    }
    let (classes, features) =
        if weights.class_axis == 0 { (rows, columns) } else { (columns, rows) };
    let at = |class: usize, feature: usize| {
        if weights.class_axis == 0 { class * columns + feature } else { feature * columns + class }
    };
    let values = (0..classes)
        .flat_map(|class| (0..features).map(move |feature| (class, feature)))
        .map(|(class, feature)| stored[at(class, feature)] * weights.factor)
        .collect();
    Some(KnownWeights { classes, features, values })
}
