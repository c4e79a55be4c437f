//! The derivative of a head, node by node from the logits back, appended as
//! ordinary operators (reverse-mode differentiation).
//!
//! The gradient of a tensor has the classes as an additional first axis: `[K,
//! ...]`, so broadcasting applies the derivative of one pass to all classes.
//! All other extents are known beforehand. Close to the logits the gradient is
//! one-hot; that is kept implicit as long as possible, so that the last linear
//! layer becomes a choice of rows instead of a product.

use std::collections::{HashMap, HashSet};

use super::super::graph::NO_OPS;
use super::super::onnx::NodeProto;
use super::super::onnx::tensor_proto::DataType;
use super::super::shapes::Shapes;
use super::super::writer::{Appender, Attr};
use super::{NoMap, ops_linear, ops_pointwise, ops_pool, ops_shape};

/// Gradient of one tensor.
#[derive(Clone, Debug)]
pub(super) enum Grad {
    /// One-hot at the explained classes, along the one axis that is wide.
    Classes,
    /// A tensor `[K, shape of the tensor]`.
    Tensor(String),
}

/// Why an operator cannot be differentiated.
pub(super) type Unsupported = String;

/// What an operator's derivative gives: for each of its inputs that counts, its
/// number and its gradient.
pub(super) type Parts = Result<Vec<(usize, String)>, Unsupported>;

/// The derivative while it is being written.
pub(super) struct Backward<'a, 'g> {
    pub(super) out: &'a mut Appender<'g>,
    pub(super) shapes: &'a Shapes,
    /// Pictures in one pass.
    pub(super) images: usize,
    /// Class numbers, 64-bit integers `[K]`.
    classes: String,
    /// Tensors whose gradient is wanted.
    wanted: HashSet<String>,
    grads: HashMap<String, Grad>,
    as_f32: HashMap<String, String>,
}

impl<'a, 'g> Backward<'a, 'g> {
    pub(super) fn new(
        out: &'a mut Appender<'g>,
        shapes: &'a Shapes,
        images: usize,
        classes: &str,
    ) -> Self {
        Self {
            out,
            shapes,
            images,
            classes: classes.to_owned(),
            wanted: HashSet::new(),
            grads: HashMap::new(),
            as_f32: HashMap::new(),
        }
    }

    /// Gradient `[K, ...]` of `target`, when that of `logits` is `seed` and
    /// `head` are the nodes between them in running order.
    pub(super) fn run(
        &mut self,
        head: &[NodeProto],
        target: &str,
        logits: &str,
        seed: Grad,
    ) -> Result<String, NoMap> {
        self.wanted.insert(target.to_owned());
        self.wanted.extend(head.iter().flat_map(|n| n.output.iter().cloned()));
        self.grads.insert(logits.to_owned(), seed);
        for node in head.iter().rev() {
            self.step(node).map_err(|reason| {
                let name = if node.name().is_empty() {
                    node.output.first().cloned().unwrap_or_default()
                } else {
                    node.name().to_owned()
                };
                NoMap::Operator {
                    op: node.op_type().to_owned(),
                    node: name,
                    reason,
                    feature: target.to_owned(),
                }
            })?;
        }
        let grad = self.grads.get(target).cloned().unwrap_or(Grad::Classes);
        self.dense(&grad, target)
            .map_err(|reason| NoMap::NotAFeatureMap { tensor: target.to_owned(), reason })
    }

    fn step(&mut self, node: &NodeProto) -> Result<(), Unsupported> {
        if node.op_type() == "Split" {
            return self.split(node);
        }
        let output = node.output.first().ok_or("it has no output")?;
        if node.output.iter().skip(1).any(|o| self.grads.contains_key(o)) {
            return Err("more than its first output is used".to_owned());
        }
        let Some(grad) = self.grads.get(output).cloned() else { return Ok(()) };
        let parts = match &grad {
            Grad::Classes => match self.through_classes(node)? {
                Some((input, grad)) => return self.add(&node.input[input].clone(), grad),
                None => {
                    let dense = self.dense(&grad, output)?;
                    self.derive(node, &dense)?
                }
            },
            Grad::Tensor(g) => self.derive(node, g)?,
        };
        for (input, grad) in parts {
            self.add(&node.input[input].clone(), Grad::Tensor(grad))?;
        }
        Ok(())
    }

    /// Takes a one-hot gradient through `node` without writing it out, where
    /// that is possible.
    fn through_classes(&mut self, node: &NodeProto) -> Result<Option<(usize, Grad)>, Unsupported> {
        let data: Vec<usize> = self.wanted_inputs(node);
        let [input] = data[..] else { return Ok(None) };
        let (from, to) = (self.dims(&node.input[input])?, self.dims(&node.output[0])?);
        let as_wide = from.iter().product::<usize>() == to.iter().product::<usize>();
        match node.op_type() {
            op if NO_OPS.contains(&op)
                || matches!(op, "QuantizeLinear" | "DequantizeLinear")
                || matches!(op, "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze")
                || (matches!(op, "Add" | "Sub") && input == 0 && from == to) =>
            {
                Ok(as_wide.then_some((input, Grad::Classes)))
            }
            "Add" if from == to => Ok(Some((input, Grad::Classes))),
            "Gemm" | "MatMul" | "Conv" if input == 0 => {
                let classes = self.classes.clone();
                Ok(ops_linear::rows(self, node, &classes)?.map(|g| (0, Grad::Tensor(g))))
            }
            _ => Ok(None),
        }
    }

    /// Adds to the gradient of `tensor`, when that is wanted.
    fn add(&mut self, tensor: &str, grad: Grad) -> Result<(), Unsupported> {
        if !self.wanted.contains(tensor) {
            return Ok(());
        }
        let grad = match self.grads.get(tensor).cloned() {
            None => grad,
            Some(before) => {
                let (a, b) = (self.dense(&before, tensor)?, self.dense(&grad, tensor)?);
                Grad::Tensor(self.out.two("Add", &a, &b))
            }
        };
        self.grads.insert(tensor.to_owned(), grad);
        Ok(())
    }

    /// The gradient as a tensor `[K, shape of tensor]`.
    fn dense(&mut self, grad: &Grad, tensor: &str) -> Result<String, Unsupported> {
        let classes = self.classes.clone();
        match grad {
            Grad::Tensor(g) => Ok(g.clone()),
            Grad::Classes => {
                let dims = self.dims(tensor)?;
                let count = dims.iter().product::<usize>() / self.images.max(1);
                let rows = self.out.one_hot(&classes, count);
                self.for_each_image(&rows, &dims)
            }
        }
    }

    /// `rows [K, ...]`, what every picture has alike, as `[K, dims...]`.
    pub(super) fn for_each_image(
        &mut self,
        rows: &str,
        dims: &[usize],
    ) -> Result<String, Unsupported> {
        if self.images == 1 {
            return Ok(self.reshaped(rows, dims));
        }
        if dims.first() != Some(&self.images) {
            return Err("the pictures are not along its first axis".to_owned());
        }
        let mut one = led_by_classes(dims);
        one[1] = 1;
        let rows = self.out.reshape(rows, &one);
        let mut all = led_by_classes(dims);
        all[0] = 1;
        Ok(self.out.expand(&rows, &all))
    }

    fn split(&mut self, node: &NodeProto) -> Result<(), Unsupported> {
        if node.output.iter().all(|o| !self.grads.contains_key(o)) {
            return Ok(());
        }
        let mut parts = Vec::with_capacity(node.output.len());
        for output in &node.output {
            parts.push(match self.grads.get(output).cloned() {
                Some(grad) => self.dense(&grad, output)?,
                None => {
                    let dims = led_by_classes(&self.dims(output)?);
                    self.zeros(&dims)
                }
            });
        }
        let axis = ops_shape::axis_of(node, "axis", 0, self.dims(&node.input[0])?.len())?;
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let grad = self.out.op("Concat", &parts, &[("axis", Attr::Int(axis as i64 + 1))]);
        self.add(&node.input[0].clone(), Grad::Tensor(grad))
    }

    /// Zeros `[K, dims...]`; `dims` starts with a place for K.
    pub(super) fn zeros(&mut self, dims: &[i64]) -> String {
        let count = self.out.one("Shape", &self.classes.clone());
        let rest = self.out.ints(dims.get(1..).unwrap_or_default());
        let shape = self.out.op("Concat", &[&count, &rest], &[("axis", Attr::Int(0))]);
        self.out.one("ConstantOfShape", &shape)
    }

    fn derive(&mut self, node: &NodeProto, g: &str) -> Parts {
        if let Some(i) = node.input.iter().position(|i| self.wanted.contains(i)) {
            // Every derivative needs these two; asked here once.
            self.dims(&node.input[i])?;
            self.dims(&node.output[0])?;
        }
        ops_shape::derive(self, node, g)
            .or_else(|| ops_linear::derive(self, node, g))
            .or_else(|| ops_pool::derive(self, node, g))
            .or_else(|| ops_pointwise::derive(self, node, g))
            .unwrap_or_else(|| Err("it has no derivative here".to_owned()))
    }

    /// Numbers of the inputs whose gradient is wanted.
    pub(super) fn wanted_inputs(&self, node: &NodeProto) -> Vec<usize> {
        (0..node.input.len()).filter(|&i| self.wanted.contains(&node.input[i])).collect()
    }

    /// True when the gradient of input number `n` is wanted.
    pub(super) fn wants(&self, node: &NodeProto, n: usize) -> bool {
        node.input.get(n).is_some_and(|i| self.wanted.contains(i))
    }

    /// Extents of a tensor of the network.
    pub(super) fn dims(&self, tensor: &str) -> Result<Vec<usize>, Unsupported> {
        let known = self.shapes.dims(tensor).map(<[usize]>::to_vec);
        known
            .or_else(|| self.out.graph().stored_dims(tensor))
            .ok_or_else(|| format!("the shape of tensor {tensor} is not known"))
    }

    /// Integers that a tensor of the network always holds.
    pub(super) fn ints(&self, tensor: &str) -> Result<Vec<i64>, Unsupported> {
        super::ints::ints(self.out.graph(), self.shapes, tensor)
            .ok_or_else(|| format!("the values of tensor {tensor} are not known beforehand"))
    }

    /// True when a tensor of the network is known to hold 32-bit floats.
    pub(super) fn is_f32(&self, tensor: &str) -> bool {
        let float = DataType::Float as i32;
        let stored = self.out.graph().stored(tensor);
        self.shapes.is_f32(tensor) || stored.is_some_and(|t| t.data_type() == float)
    }

    /// A tensor of the network as 32-bit floats.
    pub(super) fn value(&mut self, tensor: &str) -> String {
        if self.is_f32(tensor) {
            return tensor.to_owned();
        }
        if let Some(cast) = self.as_f32.get(tensor) {
            return cast.clone();
        }
        let cast = self.out.as_f32(tensor);
        self.as_f32.insert(tensor.to_owned(), cast.clone());
        cast
    }

    /// Input number `n` of `node` as 32-bit floats.
    pub(super) fn input(&mut self, node: &NodeProto, n: usize) -> Result<String, Unsupported> {
        let tensor = node.input.get(n).filter(|i| !i.is_empty());
        let tensor = tensor.ok_or_else(|| format!("it has no input number {n}"))?.clone();
        Ok(self.value(&tensor))
    }

    /// The gradient in the shape `dims`, which holds as many numbers.
    pub(super) fn reshaped(&mut self, g: &str, dims: &[usize]) -> String {
        self.out.reshape(g, &led_by_classes(dims))
    }

    /// The gradient of a tensor of shape `from` that was broadcast to `to`.
    pub(super) fn unbroadcast(&mut self, g: &str, from: &[usize], to: &[usize]) -> String {
        let missing = to.len().saturating_sub(from.len());
        let stretched =
            |&axis: &usize| to[axis] != 1 && (axis < missing || from[axis - missing] == 1);
        let axes: Vec<usize> = (0..to.len()).filter(stretched).map(|a| a + 1).collect();
        let g = if axes.is_empty() { g.to_owned() } else { self.out.sum(g, &axes, true) };
        if missing == 0 { g } else { self.reshaped(&g, from) }
    }
}

/// `dims` with an axis of any extent before.
pub(super) fn led_by_classes(dims: &[usize]) -> Vec<i64> {
    std::iter::once(-1).chain(dims.iter().map(|&d| d as i64)).collect()
}
