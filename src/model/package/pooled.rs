//! The averaged features behind a head, and the head's own weights, read from
//! the network without running it: what teaching needs to know. Explanations
//! find more kinds of heads, by running the network (`explain/find.rs`).

use super::super::explain::HeadKind;
use super::super::graph::{Graph, NO_OPS, float_attribute, int_attribute, ints_attribute};
use super::super::onnx::NodeProto;
use crate::explain::FeatureLayout;

/// Where the linear layer keeps its weights.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Weights {
    /// Tensor `[classes, channels, ...]` or `[channels, classes]`.
    pub(super) tensor: String,
    /// Axis of the classes in it.
    pub(super) class_axis: i64,
    /// The layer multiplies by this as well.
    pub(super) factor: f32,
}

/// A head of average pooling and at most one linear layer.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PooledHead {
    /// Feature map `[images, channels, rows, columns]` or in the other order.
    pub(super) feature_tensor: String,
    /// Order of the feature map's axes.
    pub(super) layout: FeatureLayout,
    /// Kind of head.
    pub(super) head_kind: HeadKind,
    /// The linear layer; none for [`HeadKind::ClassMaps`].
    pub(super) weights: Option<Weights>,
}

/// Why there is no such head.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotPooled {
    /// Something else lies in the way.
    #[error("{op} ({tensor}) is neither average pooling nor the only linear layer behind it")]
    Operator { op: String, tensor: String },
    /// The weights are computed, or have an unusual form.
    #[error("the weights of {tensor} are not a constant matrix")]
    Weights { tensor: String },
    /// What is averaged is not a picture.
    #[error("{tensor} does not average over the rows and columns of a feature map")]
    NotSpatial { tensor: String },
}

/// Looks for the feature map and the weights behind `logits`.
pub(super) fn find(graph: &Graph, logits: &str) -> Result<PooledHead, NotPooled> {
    let (mut tensor, mut weights) = (logits.to_owned(), None);
    // A damaged file can hold a circle: no more steps than there are nodes.
    for _ in 0..graph.in_order().count() {
        let Some(node) = graph.producer(&tensor) else {
            return Err(NotPooled::Operator { op: "the input itself".to_owned(), tensor });
        };
        if let Some((feature_tensor, layout)) = pooled(graph, node, &tensor)? {
            let head_kind =
                if weights.is_some() { HeadKind::PoolThenLinear } else { HeadKind::ClassMaps };
            return Ok(PooledHead { feature_tensor, layout, head_kind, weights });
        }
        tensor = match node.op_type() {
            "Gemm" | "MatMul" | "Conv" if weights.is_none() => {
                weights = Some(linear(graph, node, &tensor)?);
                first_input(node)
            }
            "Add" if weights.is_none() => without_bias(graph, node, &tensor)?,
            op if keeps_values(op, node) => first_input(node),
            op => return Err(NotPooled::Operator { op: op.to_owned(), tensor }),
        };
    }
    Err(NotPooled::Operator { op: "a circle".to_owned(), tensor })
}

fn first_input(node: &NodeProto) -> String {
    node.input.first().cloned().unwrap_or_default()
}

/// True for operators that only rename the axes of a pooled vector, or round
/// its values to 8 bits and back.
fn keeps_values(op: &str, node: &NodeProto) -> bool {
    let first_axis_stays = || ints_attribute(node, "perm").is_some_and(|p| p.first() == Some(&0));
    NO_OPS.contains(&op)
        || matches!(op, "Flatten" | "Reshape" | "Squeeze" | "Unsqueeze")
        || matches!(op, "QuantizeLinear" | "DequantizeLinear")
        || (op == "Transpose" && first_axis_stays())
}

/// The other side of the addition of a constant.
fn without_bias(graph: &Graph, node: &NodeProto, tensor: &str) -> Result<String, NotPooled> {
    let mut varying = node.input.iter().filter(|i| graph.depends_on_input(i));
    match (varying.next(), varying.next()) {
        (Some(only), None) => Ok(only.clone()),
        _ => Err(NotPooled::Operator { op: "Add".to_owned(), tensor: tensor.to_owned() }),
    }
}

fn linear(graph: &Graph, node: &NodeProto, tensor: &str) -> Result<Weights, NotPooled> {
    let odd = || NotPooled::Weights { tensor: tensor.to_owned() };
    let name = node.input.get(1).filter(|w| !graph.depends_on_input(w)).ok_or_else(odd)?.clone();
    let rank = graph.stored_dims(&name).map(|d| d.len());
    let flag = |attr| int_attribute(node, attr).unwrap_or(0);
    let (class_axis, factor, usual) = match node.op_type() {
        "Gemm" => {
            let alpha = float_attribute(node, "alpha").unwrap_or(1.0);
            (
                i64::from(flag("transB") == 0),
                alpha,
                flag("transA") == 0 && rank.is_none_or(|r| r == 2),
            )
        }
        "Conv" => {
            let one = |attr| ints_attribute(node, attr).is_none_or(|v| v.iter().all(|&x| x == 1));
            let stored = graph.stored_dims(&name);
            let kernel = stored.is_none_or(|d| d.len() == 4 && d[2..] == [1, 1]);
            let group = int_attribute(node, "group").unwrap_or(1) == 1;
            (0, 1.0, group && kernel && one("kernel_shape"))
        }
        _ => (1, 1.0, rank.is_none_or(|r| r == 2)),
    };
    if usual { Ok(Weights { tensor: name, class_axis, factor }) } else { Err(odd()) }
}

/// The feature map below an average pooling; `Ok(None)` for other operators.
/// That an `AveragePool` really covers the whole map is for the trial run.
fn pooled(
    graph: &Graph,
    node: &NodeProto,
    tensor: &str,
) -> Result<Option<(String, FeatureLayout)>, NotPooled> {
    let layout = match node.op_type() {
        "GlobalAveragePool" | "AveragePool" => FeatureLayout::Nchw,
        "ReduceMean" => {
            let attribute = ints_attribute(node, "axes").map(<[i64]>::to_vec);
            let input = || node.input.get(1).and_then(|a| graph.constant_ints(a));
            let mut axes: Vec<i64> = attribute.or_else(input).unwrap_or_default();
            axes.iter_mut().filter(|a| **a < 0).for_each(|a| *a += 4);
            axes.sort_unstable();
            match axes[..] {
                [2, 3] => FeatureLayout::Nchw,
                [1, 2] => FeatureLayout::Nhwc,
                _ => return Err(NotPooled::NotSpatial { tensor: tensor.to_owned() }),
            }
        }
        _ => return Ok(None),
    };
    Ok(Some((first_input(node), layout)))
}
