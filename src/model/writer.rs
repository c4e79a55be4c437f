//! Appends nodes to a [`Graph`], in the forms its operator set knows (9 to 21
//! and later). Used by the explanations; knows operators, but no methods.
//!
//! Constants become `Constant` nodes, which every version of the format
//! allows.

use super::graph::{Graph, value_info};
use super::onnx::attribute_proto::AttributeType;
use super::onnx::tensor_proto::DataType;
use super::onnx::{AttributeProto, NodeProto, TensorProto, TensorShapeProto, tensor_shape_proto};

/// An attribute of a node to be appended.
pub(super) enum Attr<'a> {
    /// One integer.
    Int(i64),
    /// A list of integers.
    Ints(&'a [i64]),
}

/// Adds nodes, inputs and outputs to a [`Graph`].
pub(super) struct Appender<'a> {
    graph: &'a mut Graph,
}

impl<'a> Appender<'a> {
    pub(super) fn new(graph: &'a mut Graph) -> Self {
        Self { graph }
    }

    /// The network as it was before the appending began, and what was added.
    pub(super) fn graph(&self) -> &Graph {
        self.graph
    }

    /// Version of the network's operator set.
    pub(super) fn opset(&self) -> i64 {
        self.graph.opset()
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

    /// A single 32-bit float, without axes.
    pub(super) fn float(&mut self, value: f32) -> String {
        self.floats(&[], vec![value])
    }

    /// A tensor of 32-bit floats.
    pub(super) fn floats(&mut self, dims: &[usize], values: Vec<f32>) -> String {
        self.constant(TensorProto {
            dims: dims.iter().map(|&d| i64::try_from(d).unwrap_or(i64::MAX)).collect(),
            data_type: Some(DataType::Float as i32),
            float_data: values,
            ..TensorProto::default()
        })
    }

    /// `tensor` as 32-bit floats; costs nothing when it already is.
    pub(super) fn as_f32(&mut self, tensor: &str) -> String {
        self.op("Cast", &[tensor], &[("to", Attr::Int(i64::from(DataType::Float as i32)))])
    }

    /// `tensor` in another shape; one extent may be -1.
    pub(super) fn reshape(&mut self, tensor: &str, shape: &[i64]) -> String {
        let shape = self.ints(shape);
        self.op("Reshape", &[tensor, &shape], &[])
    }

    /// `tensor` with its axes in another order; itself when that is the same.
    pub(super) fn transpose(&mut self, tensor: &str, perm: &[usize]) -> String {
        if perm.iter().enumerate().all(|(i, &p)| i == p) {
            return tensor.to_owned();
        }
        let perm: Vec<i64> = perm.iter().map(|&p| p as i64).collect();
        self.op("Transpose", &[tensor], &[("perm", Attr::Ints(&perm))])
    }

    /// `tensor` stretched to `shape`; extents of 1 in `shape` stay as they are.
    pub(super) fn expand(&mut self, tensor: &str, shape: &[i64]) -> String {
        let shape = self.ints(shape);
        self.op("Expand", &[tensor, &shape], &[])
    }

    /// Picks `indices` along `axis`.
    pub(super) fn gather(&mut self, tensor: &str, indices: &str, axis: usize) -> String {
        self.op("Gather", &[tensor, indices], &[("axis", Attr::Int(axis as i64))])
    }

    /// Sum over `axes`, which stay with extent 1 when `keep`.
    pub(super) fn sum(&mut self, tensor: &str, axes: &[usize], keep: bool) -> String {
        self.reduce("ReduceSum", 13, tensor, axes, keep)
    }

    /// Mean over `axes`, which stay with extent 1 when `keep`.
    pub(super) fn mean(&mut self, tensor: &str, axes: &[usize], keep: bool) -> String {
        self.reduce("ReduceMean", 18, tensor, axes, keep)
    }

    fn reduce(&mut self, op: &str, since: i64, x: &str, axes: &[usize], keep: bool) -> String {
        let axes: Vec<i64> = axes.iter().map(|&a| a as i64).collect();
        let keep = ("keepdims", Attr::Int(i64::from(keep)));
        if self.opset() >= since {
            let axes = self.ints(&axes);
            self.op(op, &[x, &axes], &[keep])
        } else {
            self.op(op, &[x], &[("axes", Attr::Ints(&axes)), keep])
        }
    }

    /// Zeros around `tensor`: so many before and after, for each axis.
    pub(super) fn pad(&mut self, tensor: &str, before: &[i64], after: &[i64]) -> String {
        let pads = [before, after].concat();
        if pads.iter().all(|&p| p == 0) {
            tensor.to_owned()
        } else if self.opset() >= 11 {
            let pads = self.ints(&pads);
            self.op("Pad", &[tensor, &pads], &[])
        } else {
            self.op("Pad", &[tensor], &[("pads", Attr::Ints(&pads))])
        }
    }

    /// `begin..end` of `axis`.
    pub(super) fn slice(&mut self, tensor: &str, axis: usize, begin: i64, end: i64) -> String {
        if self.opset() >= 10 {
            let (b, e, a) = (self.ints(&[begin]), self.ints(&[end]), self.ints(&[axis as i64]));
            self.op("Slice", &[tensor, &b, &e, &a], &[])
        } else {
            let attrs = [
                ("starts", Attr::Ints(&[begin])),
                ("ends", Attr::Ints(&[end])),
                ("axes", Attr::Ints(&[axis as i64])),
            ];
            self.op("Slice", &[tensor], &attrs)
        }
    }

    /// One of the operators of two inputs and no settings, as `Mul`.
    pub(super) fn two(&mut self, op: &str, a: &str, b: &str) -> String {
        self.op(op, &[a, b], &[])
    }

    /// One of the operators of one input and no settings, as `Neg`.
    pub(super) fn one(&mut self, op: &str, a: &str) -> String {
        self.op(op, &[a], &[])
    }

    /// `a * b`.
    pub(super) fn mul(&mut self, a: &str, b: &str) -> String {
        self.two("Mul", a, b)
    }

    /// `a * factor`; `a` itself for 1.
    pub(super) fn scale(&mut self, a: &str, factor: f32) -> String {
        if factor == 1.0 {
            return a.to_owned();
        }
        let factor = self.float(factor);
        self.mul(a, &factor)
    }

    /// `a + addend`.
    pub(super) fn plus(&mut self, a: &str, addend: f32) -> String {
        let addend = self.float(addend);
        self.two("Add", a, &addend)
    }

    /// True where two tensors of 32-bit floats are equal.
    pub(super) fn equal(&mut self, a: &str, b: &str) -> String {
        if self.opset() >= 11 {
            return self.two("Equal", a, b);
        }
        let (greater, less) = (self.two("Greater", a, b), self.two("Less", a, b));
        let unequal = self.two("Or", &greater, &less);
        self.one("Not", &unequal)
    }

    /// 1 where `a op b` holds (`Greater`, `Less`), else 0.
    pub(super) fn mask(&mut self, op: &str, a: &str, b: &str) -> String {
        let holds = self.two(op, a, b);
        self.as_f32(&holds)
    }

    /// `then` where `condition`, else `otherwise`.
    pub(super) fn choose(&mut self, condition: &str, then: &str, otherwise: &str) -> String {
        self.op("Where", &[condition, then, otherwise], &[])
    }

    /// Rows of zeros with a one at each of `classes`: `[K, count]`.
    pub(super) fn one_hot(&mut self, classes: &str, count: usize) -> String {
        let depth = self.ints(&[count as i64]);
        let values = self.floats(&[2], vec![0.0, 1.0]);
        self.op("OneHot", &[classes, &depth, &values], &[("axis", Attr::Int(-1))])
    }

    /// Takes back everything that was appended since the graph had so many
    /// nodes, inputs and outputs.
    pub(super) fn undo(&mut self, (nodes, inputs, outputs): (usize, usize, usize)) {
        let graph = &mut self.graph.graph;
        graph.node.truncate(nodes);
        graph.input.truncate(inputs);
        graph.output.truncate(outputs);
    }

    /// Numbers of nodes, inputs and outputs, for [`undo`](Self::undo).
    pub(super) fn extent(&self) -> (usize, usize, usize) {
        let graph = &self.graph.graph;
        (graph.node.len(), graph.input.len(), graph.output.len())
    }

    /// The name of the `n`-th output of the node that makes `tensor`, which is
    /// added to it where it lacks one.
    pub(super) fn further_output(&mut self, tensor: &str, n: usize) -> Option<String> {
        let fresh = self.fresh("also");
        let index = self.graph.producer_index(tensor)?;
        let outputs = &mut self.graph.graph.node.get_mut(index)?.output;
        if outputs.len() <= n {
            outputs.resize(n + 1, String::new());
        }
        if outputs[n].is_empty() {
            outputs[n] = fresh;
        }
        Some(outputs[n].clone())
    }

    /// Declares a one-dimensional 64-bit integer input of any length.
    pub(super) fn input_ints(&mut self, name: &str) {
        let dim = tensor_shape_proto::Dimension {
            value: Some(tensor_shape_proto::dimension::Value::DimParam(format!("{name}_count"))),
            ..Default::default()
        };
        let shape = TensorShapeProto { dim: vec![dim] };
        self.graph.graph.input.push(value_info(name, Some(DataType::Int64), Some(shape)));
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
        self.graph.graph.output.push(value_info(name, Some(data_type), None));
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

    /// A name that nothing in the network bears.
    fn fresh(&mut self, op: &str) -> String {
        loop {
            self.graph.appended += 1;
            let name = format!("heatcast_{}_{}", op.to_lowercase(), self.graph.appended);
            if !self.graph.is_taken(&name) {
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
