//! Class activation maps, written into the network itself.
//!
//! For a network that ends in average pooling and one linear layer the logit
//! of class c is `S_c = mean_ij M_c(i,j) + b_c` with the class activation map
//! `M_c(i,j) = sum_k W[c,k] A_k(i,j)` (Zhou et al., "Learning Deep Features for
//! Discriminative Localization", CVPR 2016, <https://arxiv.org/abs/1512.04150>),
//! so a map is evidence in logit units. [`find`] recognises such a network from
//! its logits backwards; [`append`] adds the handful of nodes that compute the
//! maps of the classes asked for and of the best ones, in the same pass.

use super::graph::{Appender, Attr, Graph, NO_OPS, float_attribute, int_attribute, ints_attribute};
use super::onnx::NodeProto;

/// Input: the classes to explain, 64-bit integers `[K]`.
pub(super) const CLASSES: &str = "cam_classes";
/// Output: maps `[K + top_k, images, rows, columns]`, 32-bit floats.
pub(super) const MAPS: &str = "cam_maps";
/// Output: the class of each map, 64-bit integers `[K + top_k]`.
pub(super) const INDICES: &str = "cam_indices";

/// Order of the axes of a feature map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FeatureLayout {
    /// Image, channel, row, column.
    Nchw,
    /// Image, row, column, channel.
    Nhwc,
}

/// How the end of a network turns its feature map into logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeadKind {
    /// Average pooling, then one linear layer.
    PoolThenLinear,
    /// Average pooling of maps that are already one per class.
    ClassMaps,
}

/// Why a network has no class activation map.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoMap {
    /// The options say that no map is wanted.
    #[error("maps are switched off")]
    SwitchedOff,
    /// The way back from the logits meets an operator that is neither one
    /// linear layer nor average pooling.
    #[error(
        "between the feature map and the logits there is {op} ({tensor}); a class activation map needs average pooling and at most one linear layer there"
    )]
    Operator {
        /// Type of the ONNX node.
        op: String,
        /// The tensor it makes.
        tensor: String,
    },
    /// The linear layer's weights are computed from the picture or have an
    /// unusual form.
    #[error("the weights of {tensor} are not a constant matrix")]
    Weights {
        /// The tensor the layer makes.
        tensor: String,
    },
    /// The pooling averages something that is not a picture, such as tokens.
    #[error("{tensor} does not average over the rows and columns of a feature map")]
    NotSpatial {
        /// The tensor the pooling makes.
        tensor: String,
    },
    /// A tensor of the network bears a name the maps need.
    #[error("the network already has a tensor called {name}; use the original model")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// The operator set is too old for the nodes that would be added.
    #[error("operator set {opset} is too old (9 or later is needed); convert the model")]
    Opset {
        /// Version of the network.
        opset: i64,
    },
    /// The maps were computed but do not add up to the logits.
    #[error(
        "the maps do not add up to the logits (off by {percent} % in a trial run), so they would not explain them"
    )]
    DoesNotAddUp {
        /// Deviation in per cent of the logits' change.
        percent: u32,
    },
    /// ONNX Runtime refused the extended network.
    #[error("ONNX Runtime refused the network with maps: {reason}")]
    Refused {
        /// What it said.
        reason: String,
    },
}

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

/// What [`find`] found out about the end of a network.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Finding {
    /// Feature map `[images, channels, rows, columns]` or in the other order.
    pub(super) feature_tensor: String,
    /// Logits `[images, classes]`, possibly with axes of extent 1.
    pub(super) logits_tensor: String,
    /// Order of the feature map's axes.
    pub(super) layout: FeatureLayout,
    /// Kind of head.
    pub(super) head_kind: HeadKind,
    /// The linear layer; none for [`HeadKind::ClassMaps`].
    pub(super) weights: Option<Weights>,
}

impl Finding {
    /// Number of classes, where the stored weights tell.
    pub(super) fn classes(&self, graph: &Graph) -> Option<usize> {
        let w = self.weights.as_ref()?;
        graph.stored_dims(&w.tensor)?.get(usize::try_from(w.class_axis).ok()?).copied()
    }
}

/// Looks for the feature map and the weights behind `logits`.
pub(super) fn find(graph: &Graph, logits: &str) -> Result<Finding, NoMap> {
    if graph.opset() < 9 {
        return Err(NoMap::Opset { opset: graph.opset() });
    }
    if let Some(name) = [CLASSES, MAPS, INDICES].into_iter().find(|n| graph.has_tensor(n)) {
        return Err(NoMap::NameTaken { name: name.to_owned() });
    }
    let (mut tensor, mut weights) = (logits.to_owned(), None);
    // A damaged file can hold a circle: no more steps than there are nodes.
    for _ in 0..graph.len() {
        let Some(node) = graph.producer(&tensor) else {
            return Err(NoMap::Operator { op: "the input itself".to_owned(), tensor });
        };
        if let Some((feature_tensor, layout)) = pooled(graph, node, &tensor)? {
            let head_kind =
                if weights.is_some() { HeadKind::PoolThenLinear } else { HeadKind::ClassMaps };
            let logits_tensor = logits.to_owned();
            return Ok(Finding { feature_tensor, logits_tensor, layout, head_kind, weights });
        }
        tensor = match node.op_type() {
            "Gemm" | "MatMul" | "Conv" if weights.is_none() => {
                weights = Some(linear(graph, node, &tensor)?);
                first_input(node)
            }
            "Add" if weights.is_none() => without_bias(graph, node, &tensor)?,
            op if keeps_values(op, node) => first_input(node),
            op => return Err(NoMap::Operator { op: op.to_owned(), tensor }),
        };
    }
    Err(NoMap::Operator { op: "a circle".to_owned(), tensor })
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
fn without_bias(graph: &Graph, node: &NodeProto, tensor: &str) -> Result<String, NoMap> {
    let mut varying = node.input.iter().filter(|i| graph.depends_on_input(i));
    match (varying.next(), varying.next()) {
        (Some(only), None) => Ok(only.clone()),
        _ => Err(NoMap::Operator { op: "Add".to_owned(), tensor: tensor.to_owned() }),
    }
}

fn linear(graph: &Graph, node: &NodeProto, tensor: &str) -> Result<Weights, NoMap> {
    let odd = || NoMap::Weights { tensor: tensor.to_owned() };
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
) -> Result<Option<(String, FeatureLayout)>, NoMap> {
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
                _ => return Err(NoMap::NotSpatial { tensor: tensor.to_owned() }),
            }
        }
        _ => return Ok(None),
    };
    Ok(Some((first_input(node), layout)))
}

/// Appends the maps of [`CLASSES`] and of the `top_k` best classes of image 0.
pub(super) fn append(out: &mut Appender<'_>, found: &Finding, top_k: usize) {
    out.input_ints(CLASSES);
    let classes = if top_k == 0 {
        CLASSES.to_owned()
    } else {
        let best = best_classes(out, &found.logits_tensor, top_k);
        out.op("Concat", &[CLASSES, &best], &[("axis", Attr::Int(0))])
    };
    let feature = out.as_f32(&found.feature_tensor);
    let feature = match found.layout {
        FeatureLayout::Nchw => feature,
        FeatureLayout::Nhwc => {
            out.op("Transpose", &[&feature], &[("perm", Attr::Ints(&[0, 3, 1, 2]))])
        }
    };
    let maps = match &found.weights {
        None => {
            let maps = out.op("Gather", &[&feature, &classes], &[("axis", Attr::Int(1))]);
            out.op("Transpose", &[&maps], &[("perm", Attr::Ints(&[1, 0, 2, 3]))])
        }
        Some(weights) => weighted_sum(out, &feature, weights, &classes),
    };
    out.output_f32(&maps, MAPS);
    out.output_ints(&classes, INDICES);
}

/// The `top_k` largest logits of image 0, as class numbers `[top_k]`.
fn best_classes(out: &mut Appender<'_>, logits: &str, top_k: usize) -> String {
    let top_k = i64::try_from(top_k).unwrap_or(i64::MAX);
    let zero = out.int(0);
    let first = out.op("Gather", &[logits, &zero], &[("axis", Attr::Int(0))]);
    let flat = out.ints(&[-1]);
    let first = out.op("Reshape", &[&first, &flat], &[]);
    let first = out.as_f32(&first);
    let outputs = if out.opset() < 10 {
        out.ops("TopK", &[&first], &[("k", Attr::Int(top_k)), ("axis", Attr::Int(0))], 2)
    } else {
        let k = out.ints(&[top_k]);
        out.ops("TopK", &[&first, &k], &[("axis", Attr::Int(0))], 2)
    };
    outputs.into_iter().nth(1).unwrap_or_default()
}

/// `sum_k W[c,k] A_k` as `[classes, images, rows, columns]`.
fn weighted_sum(out: &mut Appender<'_>, feature: &str, weights: &Weights, classes: &str) -> String {
    let axis = Attr::Int(weights.class_axis);
    let rows = out.op("Gather", &[&weights.tensor, classes], &[("axis", axis)]);
    let mut rows = out.as_f32(&rows);
    if weights.class_axis == 1 {
        rows = out.op("Transpose", &[&rows], &[("perm", Attr::Ints(&[1, 0]))]);
    }
    // A 1x1 convolution stores [classes, channels, 1, 1].
    let matrix = out.ints(&[0, -1]);
    let mut rows = out.op("Reshape", &[&rows, &matrix], &[]);
    if weights.factor != 1.0 {
        let factor = out.float(weights.factor);
        rows = out.op("Mul", &[&rows, &factor], &[]);
    }
    let flat = out.ints(&[0, 0, -1]);
    let positions = out.op("Reshape", &[feature, &flat], &[]);
    let maps = out.op("MatMul", &[&rows, &positions], &[]);
    let maps = out.op("Transpose", &[&maps], &[("perm", Attr::Ints(&[1, 0, 2]))]);
    let shape = out.op("Shape", &[feature], &[]);
    let spatial = out.ints(&[2, 3]);
    let spatial = out.op("Gather", &[&shape, &spatial], &[("axis", Attr::Int(0))]);
    let leading = out.ints(&[0, 0]);
    let shape = out.op("Concat", &[&leading, &spatial], &[("axis", Attr::Int(0))]);
    out.op("Reshape", &[&maps, &shape], &[])
}
