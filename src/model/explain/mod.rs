//! Activation maps, written into the network itself as ordinary ONNX
//! operators. [`find()`] looks for the feature map behind the logits;
//! [`append`] adds the derivative of the head that lies between them and the
//! methods' formulas, so that one pass gives probabilities and maps of the
//! classes asked for. See `docs/design/explanations.md`.
//!
//! Called by the classifier when it loads; knows the ONNX format, but not ONNX
//! Runtime.

mod append;
mod backward;
mod find;
mod formula;
mod ints;
mod ops_linear;
mod ops_pointwise;
mod ops_pool;
mod ops_shape;
mod pool;
#[cfg(test)]
mod tests;

pub(super) use append::{Request, append, classes_name, indices_name, map_name};
pub(super) use find::{Wishes, find};

use crate::explain::{FeatureLayout, Method};

/// How the end of a network turns its feature map into logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeadKind {
    /// Average pooling, then one linear layer.
    PoolThenLinear,
    /// Average pooling of maps that are already one per class.
    ClassMaps,
    /// Average pooling, then layers that are not linear together.
    PoolThenLayers,
    /// Anything else, as flattening and fully connected layers.
    General,
}

impl HeadKind {
    /// The name used in results.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PoolThenLinear => "pool_linear",
            Self::ClassMaps => "class_maps",
            Self::PoolThenLayers => "pool_layers",
            Self::General => "general",
        }
    }
}

/// Where the maps of a head come from.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Name of the feature map's tensor.
    pub feature_tensor: String,
    /// Name of the tensor with the logits.
    pub logits_tensor: String,
    /// Order of the feature map's axes.
    pub layout: FeatureLayout,
    /// How the logits are made from the feature map.
    pub head_kind: HeadKind,
    /// Channels of the feature map.
    pub channels: usize,
    /// Rows of the feature map.
    pub rows: usize,
    /// Columns of the feature map.
    pub cols: usize,
    /// Number of logits for one picture.
    pub logits: usize,
    /// Pictures in one pass.
    pub(super) images: usize,
    /// Tokens before those of the picture.
    pub(super) skip: usize,
    /// Nodes from the feature map, or from the pooled vector, to the logits.
    head: Vec<usize>,
    pool: Option<Pool>,
    /// True when there is rounding to 8 bits behind the feature map.
    pub(super) rounds: bool,
    /// True when the maps' means must follow the logits.
    pub(super) adds_up: bool,
}

/// Average pooling of the whole feature map.
#[derive(Clone, Debug, PartialEq)]
struct Pool {
    /// The pooled vector.
    tensor: String,
    /// The vector is the sum over all positions times this.
    scale: f32,
}

impl Finding {
    /// The methods this head allows.
    pub fn methods(&self) -> Vec<Method> {
        let fits = |m: &Method| *m != Method::Cam || self.has_cam();
        Method::ALL.into_iter().filter(fits).collect()
    }

    pub(super) fn has_cam(&self) -> bool {
        matches!(self.head_kind, HeadKind::PoolThenLinear | HeadKind::ClassMaps)
    }

    fn positions(&self) -> usize {
        self.rows * self.cols
    }
}

/// Why a head has no activation map.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoMap {
    /// The options say that no map is wanted.
    #[error("maps are switched off")]
    SwitchedOff,
    /// An operator that cannot be differentiated lies in the way.
    #[error(
        "between the feature map {feature} and the logits there is the operator {op} (node {node:?}): {reason}; name a feature map behind it with --feature"
    )]
    Operator {
        /// Type of the ONNX node.
        op: String,
        /// Its name, or the tensor it makes.
        node: String,
        /// What is wrong with it.
        reason: String,
        /// The feature map it was differentiated for.
        feature: String,
    },
    /// The tensor does not hold one number for each class.
    #[error(
        "tensor {tensor} of shape {shape:?} does not hold one logit for each class, as the output of a detector or a segmentation network; {}", logits_hint(candidate.as_deref())
    )]
    NotLogits {
        /// The tensor.
        tensor: String,
        /// Its shape.
        shape: Vec<usize>,
        /// A tensor that could be chosen.
        candidate: Option<String>,
    },
    /// No feature map lies before the logits.
    #[error(
        "no tensor with rows and columns lies on every way from the picture to the logits {logits}; {}", hint(candidate.as_deref())
    )]
    NoFeatureMap {
        /// The logits.
        logits: String,
        /// A tensor that could be chosen.
        candidate: Option<String>,
    },
    /// Tokens lie between the last map and the logits, as in transformers.
    #[error(
        "the network works on tokens, as transformers do; to explain its last tokens use `--feature {tensor} --layout tokens` with gradcam (their shape is {shape:?})"
    )]
    Tokens {
        /// The last tensor of tokens.
        tensor: String,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// The feature map that was named cannot be one.
    #[error("tensor {tensor} cannot be the feature map: {reason}")]
    NotAFeatureMap {
        /// The tensor.
        tensor: String,
        /// Why not.
        reason: String,
    },
    /// The axes of the feature map cannot be told apart.
    #[error(
        "the axes of the feature map {tensor} of shape {shape:?} are not clear; say --layout nchw or --layout nhwc"
    )]
    Layout {
        /// The tensor.
        tensor: String,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// The method does not fit the head.
    #[error(
        "cam needs average pooling and one linear layer between the feature map {feature} and the logits, and there is more; use the method gradcam, gradcam++, layercam or hirescam"
    )]
    NeedsLinear {
        /// The feature map.
        feature: String,
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
    /// A tensor that no machine holds.
    #[error(
        "its tensor {tensor} of shape {shape:?} would take {gigabytes} GB of memory; the model is damaged or meant for other machines"
    )]
    TooLarge {
        /// The tensor.
        tensor: String,
        /// Its shape.
        shape: Vec<usize>,
        /// What it takes as 32-bit numbers.
        gigabytes: u64,
    },
    /// The maps were computed but do not add up to the logits.
    #[error(
        "the maps do not add up to the logits (off by {percent} % in a trial run), so they would not explain them"
    )]
    DoesNotAddUp {
        /// Deviation in per cent of the logits' change.
        percent: u32,
    },
    /// The maps of a trial run held NaN or infinity.
    #[error("the maps of a trial run are not finite; the weights are damaged or overflow")]
    NotFinite,
    /// ONNX Runtime refused the extended network.
    #[error("ONNX Runtime refused the network with maps: {reason}")]
    Refused {
        /// What it said.
        reason: String,
    },
}

fn logits_hint(candidate: Option<&str>) -> String {
    match candidate {
        Some(t) => format!("{t} could be chosen: --logits {t}"),
        None => "no other tensor does either, so it is no classifier of pictures".to_owned(),
    }
}

fn hint(candidate: Option<&str>) -> String {
    match candidate {
        Some(t) => format!("{t} could be chosen: --feature {t}"),
        None => "name one with --feature".to_owned(),
    }
}
