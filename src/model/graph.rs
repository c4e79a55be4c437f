//! A view of an ONNX network: who makes a tensor, what changes with the
//! picture, in which order nodes run, which tensor holds the logits. Read by
//! the explanations and the classifier; [`Appender`] writes.

mod edit;

use std::collections::{HashMap, HashSet};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use prost::Message;
use prost::bytes::Bytes;

use super::Error;
use super::onnx::tensor_proto::{DataLocation, DataType};
use super::onnx::{
    AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, TypeProto, ValueInfoProto,
    tensor_shape_proto, type_proto,
};
use super::writer::Appender;

/// Operators that leave the values of a tensor as they are.
pub(super) const NO_OPS: [&str; 3] = ["Identity", "Cast", "Dropout"];
/// Operators between an activation and the output that move no class.
const RESHAPING: [&str; 6] =
    ["Reshape", "Flatten", "Squeeze", "Unsqueeze", "QuantizeLinear", "DequantizeLinear"];

/// An activation found behind the logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FinalActivation {
    /// `Softmax` or `LogSoftmax`.
    Softmax,
    /// `Sigmoid`.
    Sigmoid,
}

/// Name, element type and axes of an input or output of the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Port {
    /// Name of the tensor.
    pub(super) name: String,
    /// Element type as ONNX numbers it.
    pub(super) elem_type: i32,
    /// Extent of each axis, `None` where it is free; empty when undeclared.
    pub(super) dims: Vec<Option<usize>>,
}

impl Port {
    /// True when the elements are 32-bit floats.
    pub(super) fn is_f32(&self) -> bool {
        self.elem_type == DataType::Float as i32
    }
}

/// A parsed network with the look-ups that graph searches need.
pub(super) struct Graph {
    model: ModelProto,
    pub(super) graph: GraphProto,
    producer: HashMap<String, usize>,
    initializer: HashMap<String, usize>,
    dependent: HashSet<String>,
    /// Nodes in an order in which they can run; those in a circle are left out.
    order: Vec<usize>,
    /// Names of the nodes.
    names: HashSet<String>,
    /// Nodes named so far by appending.
    pub(super) appended: usize,
    opset: i64,
}

impl Graph {
    /// Reads a network from the bytes of the ONNX file `path`.
    ///
    /// # Errors
    /// [`Error::NotOnnx`] when the bytes are not a complete ONNX model with at
    /// least one input, node and output.
    pub(super) fn parse(bytes: Bytes, path: &Path) -> Result<Self, Error> {
        if bytes.is_empty() {
            return Err(Error::not_onnx(path, "the file is empty"));
        }
        if bytes.starts_with(b"version https://git-lfs") {
            return Err(Error::not_onnx(
                path,
                "it is a Git LFS pointer, not the file itself (run `git lfs pull`)",
            ));
        }
        if !super::bounds::is_bounded(&bytes) {
            return Err(Error::not_onnx(path, "it holds more parts than any network"));
        }
        let mut model = ModelProto::decode(bytes).map_err(|e| {
            Error::not_onnx(path, format!("it is damaged, cut off or another kind of file ({e})"))
        })?;
        let graph = model.graph.take().unwrap_or_default();
        if graph.node.is_empty() || graph.output.is_empty() {
            return Err(Error::not_onnx(path, "it holds no network"));
        }
        let opset = model
            .opset_import
            .iter()
            .filter(|o| matches!(o.domain(), "" | "ai.onnx"))
            .map(|o| o.version())
            .max()
            .ok_or_else(|| Error::not_onnx(path, "it names no ONNX operator set"))?;
        let mut view = Self {
            model,
            graph,
            producer: HashMap::new(),
            initializer: HashMap::new(),
            dependent: HashSet::new(),
            order: Vec::new(),
            names: HashSet::new(),
            appended: 0,
            opset,
        };
        view.index();
        Ok(view)
    }

    fn index(&mut self) {
        let g = &self.graph;
        self.initializer =
            g.initializer.iter().enumerate().map(|(i, t)| (t.name().to_owned(), i)).collect();
        for (i, node) in g.node.iter().enumerate() {
            for output in node.output.iter().filter(|o| !o.is_empty()) {
                self.producer.insert(output.clone(), i);
            }
        }
        self.names = g.node.iter().map(|n| n.name().to_owned()).collect();
        self.order = running_order(&g.node, &self.producer);
        let mut dependent: HashSet<String> = g
            .input
            .iter()
            .map(|i| i.name().to_owned())
            .filter(|n| !self.initializer.contains_key(n))
            .collect();
        for node in self.order.iter().map(|&i| &g.node[i]) {
            // The size of a picture is not its content.
            let measures = matches!(node.op_type(), "Shape" | "Size");
            if !measures && reads(node).iter().any(|i| dependent.contains(*i)) {
                dependent.extend(node.output.iter().filter(|o| !o.is_empty()).cloned());
            }
        }
        self.dependent = dependent;
    }

    /// Version of the default operator set.
    pub(super) fn opset(&self) -> i64 {
        self.opset
    }

    /// Node number `index`.
    pub(super) fn node(&self, index: usize) -> Option<&NodeProto> {
        self.graph.node.get(index)
    }

    /// The nodes in an order in which they can run, with their numbers.
    pub(super) fn in_order(&self) -> impl DoubleEndedIterator<Item = (usize, &NodeProto)> {
        self.order.iter().filter_map(|&i| Some((i, self.graph.node.get(i)?)))
    }

    /// The inputs somebody has to feed.
    pub(super) fn inputs(&self) -> Vec<Port> {
        self.graph
            .input
            .iter()
            .filter(|i| !self.initializer.contains_key(i.name()))
            .map(port)
            .collect()
    }

    /// The outputs.
    pub(super) fn outputs(&self) -> Vec<Port> {
        self.graph.output.iter().map(port).collect()
    }

    /// The node that makes `tensor`; none for inputs and stored weights.
    pub(super) fn producer(&self, tensor: &str) -> Option<&NodeProto> {
        self.producer.get(tensor).and_then(|&i| self.graph.node.get(i))
    }

    /// Number of the node that makes `tensor`.
    pub(super) fn producer_index(&self, tensor: &str) -> Option<usize> {
        self.producer.get(tensor).copied()
    }

    /// True when something new must not bear this name.
    pub(super) fn is_taken(&self, name: &str) -> bool {
        self.has_tensor(name) || self.has_tensor(&format!("{name}_0")) || self.names.contains(name)
    }

    /// True when `tensor` changes with the picture.
    pub(super) fn depends_on_input(&self, tensor: &str) -> bool {
        self.dependent.contains(tensor)
    }

    /// True when a tensor of this name exists.
    pub(super) fn has_tensor(&self, name: &str) -> bool {
        self.dependent.contains(name)
            || self.producer.contains_key(name)
            || self.initializer.contains_key(name)
    }

    /// Names of the tensors that nodes make.
    pub(super) fn made(&self) -> impl Iterator<Item = &str> {
        let outputs = self.in_order().flat_map(|(_, n)| n.output.iter());
        outputs.map(String::as_str).filter(|t| !t.is_empty())
    }

    /// A weight stored in the file.
    pub(super) fn stored(&self, tensor: &str) -> Option<&TensorProto> {
        self.graph.initializer.get(*self.initializer.get(tensor)?)
    }

    /// Axes of a stored weight or of a `Constant` node's tensor.
    pub(super) fn stored_dims(&self, tensor: &str) -> Option<Vec<usize>> {
        let t = self.stored(tensor).or_else(|| {
            let node = self.producer(tensor).filter(|n| n.op_type() == "Constant")?;
            node.attribute.first()?.t.as_ref()
        })?;
        t.dims.iter().map(|&d| usize::try_from(d).ok()).collect()
    }

    /// A constant list of integers (axes, shapes), from a stored tensor or a
    /// `Constant` node.
    pub(super) fn constant_ints(&self, tensor: &str) -> Option<Vec<i64>> {
        if let Some(t) = self.stored(tensor) {
            return ints_of(t);
        }
        let node = self.producer(tensor).filter(|n| n.op_type() == "Constant")?;
        let a = node.attribute.first()?;
        match a.name() {
            "value" => ints_of(a.t.as_ref()?),
            "value_ints" => Some(a.ints.clone()),
            "value_int" => Some(vec![a.i()]),
            _ => None,
        }
    }

    /// A single constant float, from a stored tensor or a `Constant` node.
    pub(super) fn constant_float(&self, tensor: &str) -> Option<f32> {
        if let Some(t) = self.stored(tensor) {
            return float_of(t);
        }
        let node = self.producer(tensor).filter(|n| n.op_type() == "Constant")?;
        let a = node.attribute.first()?;
        match a.name() {
            "value" => float_of(a.t.as_ref()?),
            "value_float" => a.f,
            _ => None,
        }
    }

    /// Walks back from `output` over operators that only rename, reshape or
    /// round it, to one activation: the logits are what comes before that.
    /// Without an activation there, the output itself holds the logits.
    pub(super) fn logits_of(&self, output: &str) -> (String, Option<FinalActivation>) {
        let mut tensor = output;
        // A damaged file can hold a circle.
        for _ in 0..self.graph.node.len() {
            let Some(node) = self.producer(tensor) else { break };
            let Some(input) = node.input.first().filter(|i| self.depends_on_input(i)) else {
                break;
            };
            let found = match node.op_type() {
                "Softmax" | "LogSoftmax" => FinalActivation::Softmax,
                "Sigmoid" => FinalActivation::Sigmoid,
                op if NO_OPS.contains(&op) || RESHAPING.contains(&op) => {
                    tensor = input;
                    continue;
                }
                _ => break,
            };
            return (self.unrenamed(input), Some(found));
        }
        (self.unrenamed(output), None)
    }

    /// The tensor that `tensor` is a mere copy of.
    fn unrenamed(&self, tensor: &str) -> String {
        let mut tensor = tensor;
        for _ in 0..self.graph.node.len() {
            let copied = self.producer(tensor).filter(|n| NO_OPS.contains(&n.op_type()));
            let Some(input) =
                copied.and_then(|n| n.input.first()).filter(|i| self.depends_on_input(i))
            else {
                break;
            };
            tensor = input;
        }
        tensor.to_owned()
    }

    /// Takes small lists of integers that are kept beside the file, in
    /// `folder`, into the network: they may be axes, shapes or indices. What
    /// cannot be read is left for ONNX Runtime to complain about.
    pub(super) fn take_in_integers(&mut self, folder: &Path) {
        for tensor in &mut self.graph.initializer {
            let integers = [DataType::Int64 as i32, DataType::Int32 as i32];
            if !tensor.external_data.is_empty()
                && integers.contains(&tensor.data_type())
                && let Some(bytes) = external_bytes(tensor, folder)
            {
                tensor.raw_data = Some(bytes.into());
                tensor.external_data.clear();
                tensor.data_location = Some(DataLocation::Default as i32);
            }
        }
    }

    /// A writer that adds nodes at the end of the network.
    pub(super) fn append(&mut self) -> Appender<'_> {
        Appender::new(self)
    }

    /// The ONNX file's bytes.
    pub(super) fn encode(self) -> Vec<u8> {
        ModelProto { graph: Some(self.graph), ..self.model }.encode_to_vec()
    }

    /// A second graph to be edited; weights are shared, not copied.
    pub(super) fn copy(&self) -> ModelProto {
        ModelProto { graph: Some(self.graph.clone()), ..self.model.clone() }
    }
}

/// Integer attribute `name` of `node`.
pub(super) fn int_attribute(node: &NodeProto, name: &str) -> Option<i64> {
    node.attribute.iter().find(|a| a.name() == name).map(AttributeProto::i)
}

/// Float attribute `name` of `node`.
pub(super) fn float_attribute(node: &NodeProto, name: &str) -> Option<f32> {
    node.attribute.iter().find(|a| a.name() == name).map(AttributeProto::f)
}

/// Integer list attribute `name` of `node`.
pub(super) fn ints_attribute<'a>(node: &'a NodeProto, name: &str) -> Option<&'a [i64]> {
    node.attribute.iter().find(|a| a.name() == name).map(|a| a.ints.as_slice())
}

/// Text attribute `name` of `node`.
pub(super) fn text_attribute<'a>(node: &'a NodeProto, name: &str) -> Option<&'a str> {
    let a = node.attribute.iter().find(|a| a.name() == name)?;
    std::str::from_utf8(a.s.as_ref()?).ok()
}

/// The tensors a node reads, also from within its sub-graphs.
pub(super) fn reads(node: &NodeProto) -> Vec<&str> {
    let mut names: Vec<&str> =
        node.input.iter().map(String::as_str).filter(|i| !i.is_empty()).collect();
    for attribute in &node.attribute {
        for graph in attribute.g.iter().chain(&attribute.graphs) {
            names.extend(graph.node.iter().flat_map(reads));
            names.extend(graph.output.iter().map(ValueInfoProto::name));
        }
    }
    names
}

fn running_order(nodes: &[NodeProto], producer: &HashMap<String, usize>) -> Vec<usize> {
    let mut waits = vec![0usize; nodes.len()];
    let mut feeds: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    for (i, node) in nodes.iter().enumerate() {
        let makers: HashSet<usize> =
            reads(node).iter().filter_map(|t| producer.get(*t).copied()).collect();
        waits[i] = makers.len();
        for maker in makers {
            feeds[maker].push(i);
        }
    }
    // The smallest number first keeps the file's own order wherever it is good.
    let mut ready: std::collections::BTreeSet<usize> =
        (0..nodes.len()).filter(|&i| waits[i] == 0).collect();
    let mut order = Vec::with_capacity(nodes.len());
    while let Some(next) = ready.pop_first() {
        order.push(next);
        for &fed in &feeds[next] {
            waits[fed] -= 1;
            if waits[fed] == 0 {
                ready.insert(fed);
            }
        }
    }
    order
}

/// Up to 64 KiB of a tensor that is kept in a file of `folder`.
fn external_bytes(tensor: &TensorProto, folder: &Path) -> Option<Vec<u8>> {
    let entry = |key: &str| tensor.external_data.iter().find(|e| e.key() == key);
    let number = |key: &str| entry(key).map(|e| e.value().parse::<u64>().ok());
    let location = Path::new(entry("location")?.value());
    // Never outside the folder.
    let plain = |c: std::path::Component<'_>| matches!(c, std::path::Component::Normal(_));
    let length = number("length")??;
    if !location.components().all(plain) || length > 65_536 {
        return None;
    }
    let mut file = std::fs::File::open(folder.join(location)).ok()?;
    file.seek(SeekFrom::Start(number("offset").unwrap_or(Some(0))?)).ok()?;
    let mut bytes = vec![0; usize::try_from(length).ok()?];
    file.read_exact(&mut bytes).ok()?;
    Some(bytes)
}

fn float_of(t: &TensorProto) -> Option<f32> {
    if t.data_location() != DataLocation::Default || t.dims.iter().any(|&d| d != 1) {
        return None;
    }
    let raw = t.raw_data();
    match DataType::try_from(t.data_type()).ok()? {
        DataType::Float if raw.is_empty() => t.float_data.first().copied(),
        DataType::Float => Some(f32::from_le_bytes(*raw.first_chunk()?)),
        DataType::Double if raw.is_empty() => t.double_data.first().map(|&v| v as f32),
        DataType::Double => Some(f64::from_le_bytes(*raw.first_chunk()?) as f32),
        _ => None,
    }
}

/// The integers of a stored tensor.
pub(super) fn ints_of(t: &TensorProto) -> Option<Vec<i64>> {
    if t.data_location() != DataLocation::Default {
        return None;
    }
    let raw = t.raw_data();
    match DataType::try_from(t.data_type()).ok()? {
        DataType::Int64 if raw.is_empty() => Some(t.int64_data.clone()),
        DataType::Int64 => {
            Some(raw.as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b)).collect())
        }
        DataType::Int32 if raw.is_empty() => {
            Some(t.int32_data.iter().map(|&v| i64::from(v)).collect())
        }
        DataType::Int32 => {
            Some(raw.as_chunks::<4>().0.iter().map(|b| i64::from(i32::from_le_bytes(*b))).collect())
        }
        _ => None,
    }
}

fn port(info: &ValueInfoProto) -> Port {
    let tensor = match info.r#type.as_ref().and_then(|t| t.value.as_ref()) {
        Some(type_proto::Value::TensorType(t)) => t.clone(),
        _ => type_proto::Tensor::default(),
    };
    let dims = tensor.shape.as_ref().map(|s| s.dim.as_slice()).unwrap_or_default();
    let extent = |d: &tensor_shape_proto::Dimension| match d.value {
        Some(tensor_shape_proto::dimension::Value::DimValue(v)) => {
            usize::try_from(v).ok().filter(|&v| v > 0)
        }
        _ => None,
    };
    Port {
        name: info.name().to_owned(),
        elem_type: tensor.elem_type(),
        dims: dims.iter().map(extent).collect(),
    }
}

/// Declares a tensor; without a type, ONNX Runtime works it out.
pub(super) fn value_info(
    name: &str,
    data_type: Option<DataType>,
    shape: Option<super::onnx::TensorShapeProto>,
) -> ValueInfoProto {
    let r#type = data_type.map(|t| {
        let tensor = type_proto::Tensor { elem_type: Some(t as i32), shape };
        TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..TypeProto::default() }
    });
    ValueInfoProto { name: Some(name.to_owned()), r#type, ..ValueInfoProto::default() }
}

/// A shape of known extents.
pub(super) fn known_shape(dims: impl IntoIterator<Item = i64>) -> super::onnx::TensorShapeProto {
    let dim = |d| tensor_shape_proto::Dimension {
        value: Some(tensor_shape_proto::dimension::Value::DimValue(d)),
        ..Default::default()
    };
    super::onnx::TensorShapeProto { dim: dims.into_iter().map(dim).collect() }
}
