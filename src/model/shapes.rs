//! Shapes and element types of a network's tensors, from ONNX Runtime itself:
//! it infers them for a copy of the network without its large weights; only
//! what it cannot infer is measured by one run on an empty picture.

use std::collections::HashMap;

use ort::session::Session;
use ort::value::{TensorElementType, TensorRef, ValueType};
use prost::Message;

use super::explain::NoMap;
use super::graph::{Graph, known_shape, value_info};
use super::onnx::tensor_proto::DataType;
use super::onnx::{ModelProto, TensorProto};

/// Stored tensors up to this size stay in the copy: they may be shapes or axes.
const SMALL_BYTES: usize = 4096;

/// What is known about one tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    /// Extent of each axis.
    pub(super) dims: Vec<usize>,
    /// True for 32-bit floats.
    pub(super) is_f32: bool,
}

/// Shapes of the tensors of a network for one input size.
#[derive(Clone, Debug, Default)]
pub(super) struct Shapes {
    known: HashMap<String, Known>,
}

/// A tensor of more numbers is held by no network that is met: 4 GB.
const MOST_NUMBERS: usize = 1 << 30;

/// Why shapes cannot be had.
#[derive(Debug)]
pub(super) enum Refusal {
    /// ONNX Runtime refuses the network.
    Runtime(ort::Error),
    /// A tensor would fill the memory.
    TooLarge { tensor: String, shape: Vec<usize> },
}

impl From<ort::Error> for Refusal {
    fn from(error: ort::Error) -> Self {
        Self::Runtime(error)
    }
}

impl From<Refusal> for NoMap {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Runtime(error) => Self::Refused { reason: error.to_string() },
            Refusal::TooLarge { tensor, shape } => {
                let numbers = shape.iter().fold(4u64, |n, &d| n.saturating_mul(d as u64));
                Self::TooLarge { tensor, shape, gigabytes: numbers >> 30 }
            }
        }
    }
}

/// Turns the bytes of a network into a session.
pub(super) type Build<'a> = dyn Fn(&[u8]) -> ort::Result<Session> + 'a;

impl Shapes {
    /// Shapes of everything computed from the input `name` of this shape.
    ///
    /// # Errors
    /// When ONNX Runtime refuses the network, or one of its tensors would fill
    /// the memory.
    pub(super) fn find(
        graph: &Graph,
        name: &str,
        dims: [usize; 4],
        build: &Build<'_>,
    ) -> Result<Self, Refusal> {
        let tensors: Vec<&str> = graph.made().collect();
        let mut shapes = Self::default();
        shapes.add(name, dims.to_vec(), true);
        // A network that cannot be loaded without its weights is run instead.
        if let Ok(session) = build(&outline(graph, name, dims, &tensors)) {
            for outlet in session.outputs() {
                let ValueType::Tensor { ty, shape, .. } = outlet.dtype() else { continue };
                let dims: Option<Vec<usize>> =
                    shape.iter().map(|&d| usize::try_from(d).ok()).collect();
                // An empty shape can also mean that nothing is known.
                if let Some(dims) = dims.filter(|d| !d.is_empty()) {
                    shapes.add(outlet.name(), dims, *ty == TensorElementType::Float32);
                }
            }
        }
        let is_huge = |known: &&Known| {
            let count = known.dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
            count.is_none_or(|n| n > MOST_NUMBERS)
        };
        // The first of equals, so that the same is said every time.
        let huge = shapes.known.iter().filter(|(_, known)| is_huge(known)).min_by_key(|(t, _)| *t);
        if let Some((tensor, Known { dims, .. })) = huge {
            return Err(Refusal::TooLarge { tensor: tensor.clone(), shape: dims.clone() });
        }
        let unknown = |t: &&str| graph.depends_on_input(t) && !shapes.known.contains_key(*t);
        let missing: Vec<&str> = tensors.into_iter().filter(unknown).collect();
        if !missing.is_empty() {
            shapes.measure(graph, name, dims, &missing, build)?;
        }
        Ok(shapes)
    }

    fn measure(
        &mut self,
        graph: &Graph,
        name: &str,
        dims: [usize; 4],
        tensors: &[&str],
        build: &Build<'_>,
    ) -> ort::Result<()> {
        let mut model = graph.copy();
        with_outputs(&mut model, tensors);
        let bytes = model.encode_to_vec();
        drop(model);
        let mut session = build(&bytes)?;
        drop(bytes);
        let picture = vec![0.0f32; dims.iter().product()];
        let picture = TensorRef::from_array_view((dims, picture.as_slice()))?;
        for (tensor, value) in &session.run(ort::inputs![name => picture])? {
            if let ValueType::Tensor { ty, shape, .. } = value.dtype() {
                let dims = shape.iter().map(|&d| usize::try_from(d).unwrap_or(0)).collect();
                self.add(tensor, dims, *ty == TensorElementType::Float32);
            }
        }
        Ok(())
    }

    pub(super) fn add(&mut self, tensor: &str, dims: Vec<usize>, is_f32: bool) {
        self.known.insert(tensor.to_owned(), Known { dims, is_f32 });
    }

    /// Extents of `tensor`, when they are known.
    pub(super) fn dims(&self, tensor: &str) -> Option<&[usize]> {
        self.known.get(tensor).map(|k| k.dims.as_slice())
    }

    /// True when `tensor` is known to hold 32-bit floats.
    pub(super) fn is_f32(&self, tensor: &str) -> bool {
        self.known.get(tensor).is_some_and(|k| k.is_f32)
    }
}

/// The network with a fixed input, all of `tensors` as outputs, and inputs in
/// place of large weights: shapes follow from it, results do not.
fn outline(graph: &Graph, name: &str, dims: [usize; 4], tensors: &[&str]) -> Vec<u8> {
    let mut model = graph.copy();
    with_outputs(&mut model, tensors);
    if let Some(graph) = &mut model.graph {
        let (large, small): (Vec<TensorProto>, Vec<TensorProto>) =
            std::mem::take(&mut graph.initializer).into_iter().partition(is_large);
        graph.initializer = small;
        graph.input.retain(|i| i.name() != name && large.iter().all(|t| t.name() != i.name()));
        let fixed = known_shape(dims.map(|d| d as i64));
        graph.input.push(value_info(name, Some(DataType::Float), Some(fixed)));
        for weight in &large {
            let data_type = DataType::try_from(weight.data_type()).ok();
            let shape = known_shape(weight.dims.iter().copied());
            graph.input.push(value_info(weight.name(), data_type, Some(shape)));
        }
    }
    model.encode_to_vec()
}

fn is_large(t: &TensorProto) -> bool {
    let lists = t.float_data.len() + t.int32_data.len() + t.int64_data.len() + t.double_data.len();
    let external = !t.external_data.is_empty();
    external || t.raw_data().len().max(4 * lists) > SMALL_BYTES
}

fn with_outputs(model: &mut ModelProto, tensors: &[&str]) {
    if let Some(graph) = &mut model.graph {
        // Declared shapes may be symbolic, and then hide the inferred ones.
        graph.value_info.clear();
        graph.output = tensors.iter().map(|t| value_info(t, None, None)).collect();
    }
}
