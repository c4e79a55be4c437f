//! A view of an ONNX network: who makes a tensor, who is constant, which
//! tensor holds the logits; and a writer that appends nodes to it.

mod edit;

use std::collections::{HashMap, HashSet};
use std::path::Path;

use prost::Message;
use prost::bytes::Bytes;

use super::Error;
use super::onnx::attribute_proto::AttributeType;
use super::onnx::tensor_proto::DataType;
use super::onnx::{
    AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, TypeProto, ValueInfoProto,
    tensor_shape_proto, type_proto,
};

/// Operators that leave the values of a tensor as they are.
pub(super) const NO_OPS: [&str; 3] = ["Identity", "Cast", "Dropout"];

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
    graph: GraphProto,
    producer: HashMap<String, usize>,
    initializer: HashMap<String, usize>,
    dependent: HashSet<String>,
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
        let mut dependent: HashSet<String> = g
            .input
            .iter()
            .map(|i| i.name().to_owned())
            .filter(|n| !self.initializer.contains_key(n))
            .collect();
        for node in &g.node {
            if node.input.iter().any(|i| dependent.contains(i)) {
                dependent.extend(node.output.iter().cloned());
            }
        }
        self.dependent = dependent;
    }

    /// Version of the default operator set.
    pub(super) fn opset(&self) -> i64 {
        self.opset
    }

    /// Number of nodes.
    pub(super) fn len(&self) -> usize {
        self.graph.node.len()
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

    /// Axes of a stored weight.
    pub(super) fn stored_dims(&self, tensor: &str) -> Option<Vec<usize>> {
        let t = self.graph.initializer.get(*self.initializer.get(tensor)?)?;
        t.dims.iter().map(|&d| usize::try_from(d).ok()).collect()
    }

    /// A constant list of integers (axes, shapes), from a stored tensor or a
    /// `Constant` node.
    pub(super) fn constant_ints(&self, tensor: &str) -> Option<Vec<i64>> {
        if let Some(&i) = self.initializer.get(tensor) {
            return ints_of(self.graph.initializer.get(i)?);
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

    /// Walks back from `output` over operators that change nothing and at most
    /// one activation: the logits are what comes before it.
    pub(super) fn logits_of(&self, output: &str) -> (String, Option<FinalActivation>) {
        let (mut tensor, mut activation) = (output, None);
        // A damaged file can hold a circle.
        for _ in 0..self.graph.node.len() {
            let Some(node) = self.producer(tensor) else { break };
            let found = match node.op_type() {
                op if NO_OPS.contains(&op) => activation,
                "Softmax" | "LogSoftmax" if activation.is_none() => Some(FinalActivation::Softmax),
                "Sigmoid" if activation.is_none() => Some(FinalActivation::Sigmoid),
                _ => break,
            };
            let Some(input) = node.input.first().filter(|i| self.depends_on_input(i)) else {
                break;
            };
            (tensor, activation) = (input, found);
        }
        (tensor.to_owned(), activation)
    }

    /// A writer that adds nodes at the end of the network.
    pub(super) fn append(&mut self) -> Appender<'_> {
        Appender { graph: self, count: 0 }
    }

    /// The ONNX file's bytes.
    pub(super) fn encode(self) -> Vec<u8> {
        ModelProto { graph: Some(self.graph), ..self.model }.encode_to_vec()
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

fn ints_of(t: &TensorProto) -> Option<Vec<i64>> {
    if t.data_location() != super::onnx::tensor_proto::DataLocation::Default {
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

/// An attribute of a node to be appended.
pub(super) enum Attr<'a> {
    /// One integer.
    Int(i64),
    /// A list of integers.
    Ints(&'a [i64]),
}

/// Adds nodes, one input and outputs to a [`Graph`]. Constants become
/// `Constant` nodes, which every version of the format allows.
pub(super) struct Appender<'a> {
    graph: &'a mut Graph,
    count: usize,
}

impl Appender<'_> {
    /// Version of the network's operator set.
    pub(super) fn opset(&self) -> i64 {
        self.graph.opset
    }

    /// Adds a node with one output and returns the output's name.
    pub(super) fn op(&mut self, op: &str, inputs: &[&str], attrs: &[(&str, Attr<'_>)]) -> String {
        self.ops(op, inputs, attrs, 1).pop().unwrap_or_default()
    }

    /// Adds a node with `outputs` outputs and returns their names.
    pub(super) fn ops(
        &mut self,
        op: &str,
        inputs: &[&str],
        attrs: &[(&str, Attr<'_>)],
        outputs: usize,
    ) -> Vec<String> {
        let name = self.fresh(op);
        let names: Vec<String> = (0..outputs).map(|i| format!("{name}_{i}")).collect();
        self.push(NodeProto {
            name: Some(name),
            op_type: Some(op.to_owned()),
            input: inputs.iter().map(|&i| i.to_owned()).collect(),
            output: names.clone(),
            attribute: attrs.iter().map(|(n, a)| attribute(n, a)).collect(),
            ..NodeProto::default()
        });
        names
    }

    /// A list of 64-bit integers.
    pub(super) fn ints(&mut self, values: &[i64]) -> String {
        self.constant(TensorProto {
            dims: vec![i64::try_from(values.len()).unwrap_or(i64::MAX)],
            data_type: Some(DataType::Int64 as i32),
            int64_data: values.to_vec(),
            ..TensorProto::default()
        })
    }

    /// A single 64-bit integer, without axes.
    pub(super) fn int(&mut self, value: i64) -> String {
        self.constant(TensorProto {
            data_type: Some(DataType::Int64 as i32),
            int64_data: vec![value],
            ..TensorProto::default()
        })
    }

    /// A single 32-bit float, without axes.
    pub(super) fn float(&mut self, value: f32) -> String {
        self.constant(TensorProto {
            data_type: Some(DataType::Float as i32),
            float_data: vec![value],
            ..TensorProto::default()
        })
    }

    /// `tensor` as 32-bit floats; costs nothing when it already is.
    pub(super) fn as_f32(&mut self, tensor: &str) -> String {
        self.op("Cast", &[tensor], &[("to", Attr::Int(i64::from(DataType::Float as i32)))])
    }

    /// Declares a one-dimensional 64-bit integer input of any length.
    pub(super) fn input_ints(&mut self, name: &str) {
        let dim = tensor_shape_proto::Dimension {
            value: Some(tensor_shape_proto::dimension::Value::DimParam(format!("{name}_count"))),
            ..Default::default()
        };
        let shape = super::onnx::TensorShapeProto { dim: vec![dim] };
        self.graph.graph.input.push(value_info(name, DataType::Int64, Some(shape)));
    }

    /// Makes the 32-bit float `tensor` an output called `name`.
    pub(super) fn output_f32(&mut self, tensor: &str, name: &str) {
        self.output(tensor, name, DataType::Float);
    }

    /// Makes the 64-bit integer `tensor` an output called `name`.
    pub(super) fn output_ints(&mut self, tensor: &str, name: &str) {
        self.output(tensor, name, DataType::Int64);
    }

    fn output(&mut self, tensor: &str, name: &str, data_type: DataType) {
        let node = self.fresh("Identity");
        self.push(NodeProto {
            name: Some(node),
            op_type: Some("Identity".to_owned()),
            input: vec![tensor.to_owned()],
            output: vec![name.to_owned()],
            ..NodeProto::default()
        });
        self.graph.graph.output.push(value_info(name, data_type, None));
    }

    fn constant(&mut self, tensor: TensorProto) -> String {
        let name = self.fresh("Constant");
        let value = AttributeProto {
            name: Some("value".to_owned()),
            r#type: Some(AttributeType::Tensor as i32),
            t: Some(tensor),
            ..AttributeProto::default()
        };
        self.push(NodeProto {
            name: Some(name.clone()),
            op_type: Some("Constant".to_owned()),
            output: vec![name.clone()],
            attribute: vec![value],
            ..NodeProto::default()
        });
        name
    }

    fn push(&mut self, node: NodeProto) {
        self.graph.graph.node.push(node);
    }

    fn fresh(&mut self, op: &str) -> String {
        loop {
            self.count += 1;
            let name = format!("heatcast_{}_{}", op.to_lowercase(), self.count);
            let taken = self.graph.has_tensor(&format!("{name}_0")) || self.graph.has_tensor(&name);
            if !taken && self.graph.graph.node.iter().all(|n| n.name() != name) {
                return name;
            }
        }
    }
}

fn attribute(name: &str, value: &Attr<'_>) -> AttributeProto {
    let mut a = AttributeProto { name: Some(name.to_owned()), ..AttributeProto::default() };
    match *value {
        Attr::Int(i) => (a.r#type, a.i) = (Some(AttributeType::Int as i32), Some(i)),
        Attr::Ints(v) => (a.r#type, a.ints) = (Some(AttributeType::Ints as i32), v.to_vec()),
    }
    a
}

fn value_info(
    name: &str,
    data_type: DataType,
    shape: Option<super::onnx::TensorShapeProto>,
) -> ValueInfoProto {
    let tensor = type_proto::Tensor { elem_type: Some(data_type as i32), shape };
    let value = Some(type_proto::Value::TensorType(tensor));
    ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(TypeProto { value, ..TypeProto::default() }),
        ..ValueInfoProto::default()
    }
}
