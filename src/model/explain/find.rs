//! Looks for the feature map that explains a head's logits.
//!
//! A cut point is a tensor through which every way from the picture to the
//! logits leads. One sweep over the nodes in running order finds them all: it
//! keeps the set of tensors that are still needed, and wherever the set has
//! one member, that is a cut point. The feature map is the last cut point with
//! rows and columns, before pooling.

use std::collections::{HashMap, HashSet};

use super::super::graph::{Graph, NO_OPS, float_attribute, int_attribute, ints_attribute, reads};
use super::super::onnx::NodeProto;
use super::super::shapes::Shapes;
use super::pool::{pooling, reduced_axes};
use super::{Finding, HeadKind, NoMap};
use crate::explain::FeatureLayout;

/// A feature map of more numbers than this is not believed.
const MOST_NUMBERS: usize = 1 << 27;
/// More logits than this are not believed.
const MOST_LOGITS: usize = 1 << 20;
/// Tokens in front of those of the picture, at most.
const MOST_EXTRA_TOKENS: usize = 8;

/// What a person knows better than the search.
#[derive(Clone, Debug, Default)]
pub(in crate::model) struct Wishes<'a> {
    /// Tensor to take as the feature map.
    pub(in crate::model) feature: Option<&'a str>,
    /// Order of its axes.
    pub(in crate::model) layout: Option<FeatureLayout>,
}

/// Looks for the feature map behind the tensor `logits` of a network that is
/// fed `images` pictures at a time.
pub(in crate::model) fn find(
    graph: &Graph,
    shapes: &Shapes,
    logits: &str,
    images: usize,
    wishes: &Wishes<'_>,
) -> Result<Finding, NoMap> {
    if graph.opset() < 9 {
        return Err(NoMap::Opset { opset: graph.opset() });
    }
    let search = Search { graph, shapes, logits };
    let count = search.logit_count(images)?;
    let cuts = search.cut_points();
    let feature = match wishes.feature {
        Some(named) => named.to_owned(),
        None => search.last_map(&cuts)?,
    };
    let head = search.nodes_between(&feature);
    if head.is_empty() || feature == logits {
        let reason = format!("it does not lie between the picture and the logits {logits}");
        return Err(NoMap::NotAFeatureMap { tensor: feature, reason });
    }
    let layout = match wishes.layout {
        Some(layout) => layout,
        None => search.layout(&feature, &head)?,
    };
    let grid = search.grid(&feature, layout, images, &cuts)?;
    let pool = pooling(graph, shapes, &feature, layout, &head);
    if pool.is_none() && wishes.feature.is_none() {
        search.refuse_tokens(&feature, &grid, &cuts)?;
    }
    let (head_kind, head) = match &pool {
        None => (HeadKind::General, head),
        Some(pool) => {
            let behind = search.nodes_between(&pool.tensor);
            (search.kind_behind(&pool.tensor, &behind), behind)
        }
    };
    let rounding = |&i: &usize| graph.node(i).is_some_and(|n| n.op_type() == "QuantizeLinear");
    let linear = matches!(head_kind, HeadKind::PoolThenLinear | HeadKind::ClassMaps);
    Ok(Finding {
        adds_up: linear && cuts.contains(&feature.as_str()),
        feature_tensor: feature,
        logits_tensor: logits.to_owned(),
        layout,
        head_kind,
        channels: grid.channels,
        rows: grid.rows,
        cols: grid.cols,
        logits: count,
        images,
        skip: grid.skip,
        rounds: head.iter().any(rounding),
        head,
        pool,
    })
}

/// Extents of a feature map.
struct Grid {
    channels: usize,
    rows: usize,
    cols: usize,
    skip: usize,
}

struct Search<'a> {
    graph: &'a Graph,
    shapes: &'a Shapes,
    logits: &'a str,
}

impl<'a> Search<'a> {
    fn dims(&self, tensor: &str) -> &'a [usize] {
        self.shapes.dims(tensor).unwrap_or_default()
    }

    /// Logits per picture, once the tensor is known to hold nothing else.
    fn logit_count(&self, images: usize) -> Result<usize, NoMap> {
        let dims = self.dims(self.logits);
        let odd = || NoMap::NotLogits {
            tensor: self.logits.to_owned(),
            shape: dims.to_vec(),
            candidate: self.other_logits(images).map(str::to_owned),
        };
        let rest = match dims {
            [first, rest @ ..] if *first == images && !rest.is_empty() => rest,
            [_] if images == 1 => dims,
            _ => return Err(odd()),
        };
        let wide = rest.iter().filter(|&&d| d != 1).count();
        let count = rest.iter().try_fold(1usize, |a, &d| a.checked_mul(d)).unwrap_or(0);
        if wide > 1 || count == 0 || count > MOST_LOGITS { Err(odd()) } else { Ok(count) }
    }

    /// The last tensor with a list of numbers for each picture.
    fn other_logits(&self, images: usize) -> Option<&'a str> {
        let made = self.graph.in_order().rev().flat_map(|(_, node)| &node.output);
        let lists = made.filter(|t| {
            let dims = self.shapes.dims(t).unwrap_or_default();
            matches!(dims, [n, classes] if *n == images && (2..=MOST_LOGITS).contains(classes))
                && *t != self.logits
                && self.graph.depends_on_input(t)
        });
        lists.map(String::as_str).next()
    }

    /// Nodes the logits are made by, in running order.
    fn behind_logits(&self) -> Vec<(usize, &'a NodeProto)> {
        let mut needed = HashSet::from([self.logits]);
        let mut nodes = Vec::new();
        for (i, node) in self.graph.in_order().rev() {
            if node.output.iter().any(|o| needed.contains(o.as_str())) {
                needed.extend(reads(node));
                nodes.push((i, node));
            }
        }
        nodes.reverse();
        nodes
    }

    /// Cut points from the picture to the logits, in running order.
    fn cut_points(&self) -> Vec<&'a str> {
        let nodes = self.behind_logits();
        let varying = |node: &'a NodeProto| -> HashSet<&'a str> {
            let all = reads(node).into_iter();
            all.filter(|t| self.graph.depends_on_input(t)).collect()
        };
        let mut uses: HashMap<&str, usize> = HashMap::new();
        for (_, node) in &nodes {
            for tensor in varying(node) {
                *uses.entry(tensor).or_default() += 1;
            }
        }
        let is_input = |t: &&str| self.graph.producer(t).is_none();
        let mut live: HashSet<&str> = uses.keys().copied().filter(is_input).collect();
        let mut cuts = Vec::new();
        for (_, node) in &nodes {
            for tensor in varying(node) {
                if let Some(left) = uses.get_mut(tensor) {
                    *left = left.saturating_sub(1);
                    if *left == 0 {
                        live.remove(tensor);
                    }
                }
            }
            for output in node.output.iter().map(String::as_str) {
                let used = uses.get(output).is_some_and(|&n| n > 0) || output == self.logits;
                if used && self.graph.depends_on_input(output) {
                    live.insert(output);
                }
            }
            if live.len() == 1
                && let Some(only) = live.iter().next().copied()
                && node.output.iter().any(|o| o == only)
            {
                cuts.push(only);
            }
        }
        cuts
    }

    /// True for tensors that can have rows and columns.
    fn is_map(&self, tensor: &str) -> bool {
        match self.dims(tensor) {
            [_, rest @ ..] if rest.len() == 3 => rest.iter().filter(|&&d| d > 1).count() >= 2,
            _ => false,
        }
    }

    /// The last map among the cut points, before pooling.
    fn last_map(&self, cuts: &[&str]) -> Result<String, NoMap> {
        let Some(mut at) = cuts.iter().rposition(|t| self.is_map(t)) else {
            let mut nodes = self.behind_logits().into_iter().rev();
            let candidate = nodes.find_map(|(_, n)| n.output.iter().find(|o| self.is_map(o)));
            return Err(NoMap::NoFeatureMap {
                logits: self.logits.to_owned(),
                candidate: candidate.cloned(),
            });
        };
        // Powers and the like belong to generalised-mean pooling.
        let mut in_mean = false;
        while let Some(node) = self.graph.producer(cuts[at]) {
            let op = node.op_type();
            let power = matches!(op, "Pow" | "Exp" | "Log" | "Sqrt" | "Reciprocal");
            let floor = in_mean && op == "Clip" && self.is_small_floor(node);
            let same = NO_OPS.contains(&op) || op == "Transpose" || is_unit_pool(node);
            if !(power || floor || same) {
                break;
            }
            let before = node.input.iter().find_map(|i| cuts.iter().position(|c| c == i));
            match before.filter(|&b| b < at && self.is_map(cuts[b])) {
                Some(before) => at = before,
                None => break,
            }
            in_mean |= power;
        }
        Ok(cuts[at].to_owned())
    }

    /// True for a `Clip` that only keeps a mean away from zero. Behind anything
    /// but an activation it may be one itself: exporters merge ReLUs into it.
    fn is_small_floor(&self, node: &NodeProto) -> bool {
        let before = node.input.first().and_then(|i| self.graph.producer(i));
        if !before.is_some_and(|n| is_activation(n.op_type())) {
            return false;
        }
        let limit = |n: usize, name: &str| match node.input.get(n).filter(|i| !i.is_empty()) {
            Some(input) => self.graph.constant_float(input),
            None => float_attribute(node, name),
        };
        limit(1, "min").is_some_and(|m| m.abs() < 0.01) && limit(2, "max").is_none_or(|m| m > 1e3)
    }

    /// Nodes on ways from `tensor` to the logits, in running order.
    fn nodes_between(&self, tensor: &str) -> Vec<usize> {
        let mut reached = HashSet::from([tensor]);
        let mut on_the_way = Vec::new();
        for (i, node) in self.behind_logits() {
            let measures = matches!(node.op_type(), "Shape" | "Size");
            if !measures && reads(node).iter().any(|t| reached.contains(t)) {
                reached.extend(node.output.iter().map(String::as_str).filter(|o| !o.is_empty()));
                on_the_way.push(i);
            }
        }
        if !reached.contains(self.logits) {
            return Vec::new();
        }
        let mut needed = HashSet::from([self.logits]);
        let mut nodes = Vec::new();
        for &i in on_the_way.iter().rev() {
            let Some(node) = self.graph.node(i) else { continue };
            if node.output.iter().any(|o| needed.contains(o.as_str())) {
                needed.extend(reads(node).into_iter().filter(|t| reached.contains(t)));
                nodes.push(i);
            }
        }
        nodes.reverse();
        nodes
    }

    /// Order of the axes of `feature`: from the pooling behind it, else from
    /// the operators that made it, else from those that read it.
    fn layout(&self, feature: &str, head: &[usize]) -> Result<FeatureLayout, NoMap> {
        let dims = self.dims(feature);
        if dims.len() == 3 {
            return Ok(FeatureLayout::Tokens);
        }
        let (nchw, nhwc) = (FeatureLayout::Nchw, FeatureLayout::Nhwc);
        let pooled = |l| pooling(self.graph, self.shapes, feature, l, head).is_some();
        let axis = match (pooled(nchw), pooled(nhwc)) {
            (true, false) => Some(1),
            (false, true) => Some(3),
            _ => {
                self.channel_axis_before(feature).or_else(|| self.channel_axis_after(feature, head))
            }
        };
        match axis {
            Some(1) => Ok(nchw),
            Some(3) => Ok(nhwc),
            _ => Err(NoMap::Layout { tensor: feature.to_owned(), shape: dims.to_vec() }),
        }
    }

    fn channel_axis_before(&self, feature: &str) -> Option<usize> {
        // Axis of the upstream tensor for each axis of the feature map.
        let mut axes: Vec<usize> = (0..4).collect();
        let mut tensor = feature;
        for _ in 0..1000 {
            let node = self.graph.producer(tensor)?;
            match node.op_type() {
                "Transpose" => {
                    let perm = ints_attribute(node, "perm").filter(|p| p.len() == 4)?;
                    let through = |&a: &usize| usize::try_from(*perm.get(a)?).ok();
                    axes = axes.iter().map(through).collect::<Option<_>>()?;
                    tensor = node.input.first()?;
                }
                op if is_channels_first(op) => return axes.iter().position(|&a| a == 1),
                "LayerNormalization" => return axes.iter().position(|&a| a == 3),
                "MatMul" if !self.graph.depends_on_input(node.input.get(1)?) => {
                    return axes.iter().position(|&a| a == 3);
                }
                "Reshape" | "MatMul" => return None,
                _ => {
                    let usable =
                        |t: &&String| self.graph.depends_on_input(t) && self.dims(t).len() == 4;
                    tensor = node.input.iter().find(usable)?;
                }
            }
        }
        None
    }

    fn channel_axis_after(&self, feature: &str, head: &[usize]) -> Option<usize> {
        // Axis of the feature map for each axis of the downstream tensor.
        let mut axes: Vec<usize> = (0..4).collect();
        let mut tensor = feature;
        for node in head.iter().filter_map(|&i| self.graph.node(i)) {
            if !node.input.iter().any(|i| i == tensor) {
                continue;
            }
            match node.op_type() {
                "Transpose" => {
                    let perm = ints_attribute(node, "perm").filter(|p| p.len() == 4)?;
                    let pick = |&p: &i64| axes.get(usize::try_from(p).ok()?).copied();
                    axes = perm.iter().map(pick).collect::<Option<_>>()?;
                }
                op if is_channels_first(op) => return axes.get(1).copied(),
                "LayerNormalization" | "MatMul" => return axes.get(3).copied(),
                op if op.starts_with("Reduce") => {
                    let reduced = reduced_axes(self.graph, self.shapes, node, 4)?;
                    let mut left = (1..4).filter(|a| !reduced.contains(a));
                    return match (left.next(), left.next()) {
                        (Some(only), None) => axes.get(only).copied(),
                        _ => None,
                    };
                }
                _ if self.dims(node.output.first()?).len() != 4 => return None,
                _ => {}
            }
            tensor = node.output.first()?;
        }
        None
    }

    fn grid(
        &self,
        feature: &str,
        layout: FeatureLayout,
        images: usize,
        cuts: &[&str],
    ) -> Result<Grid, NoMap> {
        let dims = self.dims(feature);
        let odd = |reason: String| NoMap::NotAFeatureMap { tensor: feature.to_owned(), reason };
        let numbers = dims.iter().try_fold(1usize, |a, &d| a.checked_mul(d));
        if dims.contains(&0) || numbers.is_none_or(|n| n > MOST_NUMBERS) {
            return Err(odd(format!("its shape {dims:?} is empty or too large")));
        }
        let grid = match (layout, dims) {
            (FeatureLayout::Nchw, &[n, channels, rows, cols]) if n == images => {
                Grid { channels, rows, cols, skip: 0 }
            }
            (FeatureLayout::Nhwc, &[n, rows, cols, channels]) if n == images => {
                Grid { channels, rows, cols, skip: 0 }
            }
            (FeatureLayout::Tokens, &[n, tokens, channels]) if n == images => {
                let (rows, cols) = self.token_grid(tokens, cuts).ok_or_else(|| {
                    odd(format!("its {tokens} tokens do not form rows and columns"))
                })?;
                Grid { channels, rows, cols, skip: tokens - rows * cols }
            }
            _ => {
                let axes = layout.name();
                return Err(odd(format!(
                    "its shape is {dims:?}, which is not {axes} for {images} picture(s)"
                )));
            }
        };
        if grid.rows * grid.cols < 2 {
            return Err(odd(format!("its shape {dims:?} has only one position")));
        }
        Ok(grid)
    }

    /// Rows and columns of so many tokens: those of the last map, or a square.
    fn token_grid(&self, tokens: usize, cuts: &[&str]) -> Option<(usize, usize)> {
        let fits = |n: usize| n <= tokens && tokens - n <= MOST_EXTRA_TOKENS;
        let patches = cuts.iter().rev().filter(|t| self.is_map(t)).find_map(|t| {
            let d = self.dims(t);
            [(d[2], d[3]), (d[1], d[2])].into_iter().find(|&(r, c)| fits(r.saturating_mul(c)))
        });
        let side = tokens.isqrt();
        patches.or(Some((side, side))).filter(|&(r, c)| r > 1 && fits(r * c))
    }

    /// A map that was cut into tokens is not what the logits are made from.
    fn refuse_tokens(&self, feature: &str, grid: &Grid, cuts: &[&str]) -> Result<(), NoMap> {
        let places = grid.rows * grid.cols;
        let from = cuts.iter().position(|t| *t == feature).map_or(0, |i| i + 1);
        let behind = cuts.get(from..).unwrap_or_default();
        // A flattened map is still a map.
        let renamed = |t: &&&str| {
            self.graph.producer(t).is_some_and(|n| {
                matches!(n.op_type(), "Reshape" | "Transpose" | "Flatten" | "Squeeze" | "Unsqueeze")
            })
        };
        let is_tokens = |t: &&&str| {
            let d = self.dims(t);
            d.len() == 3 && d[2] > 1 && d[1] >= places && d[1] - places <= MOST_EXTRA_TOKENS
        };
        let tokens: Vec<&str> =
            behind.iter().skip_while(renamed).filter(is_tokens).copied().collect();
        let Some(&last) = tokens.last() else { return Ok(()) };
        // Behind the last attention only the class token counts.
        let attends = |t: &&&str| {
            let between = self.nodes_between(t);
            between.iter().filter_map(|&i| self.graph.node(i)).any(|n| n.op_type() == "Softmax")
        };
        let before = tokens.iter().rev().take(64).find(attends).copied().unwrap_or(last);
        // What attention really sees is normalised.
        let normalised = self.graph.in_order().map(|(_, n)| n).find(|n| {
            n.op_type() == "LayerNormalization" && n.input.first().is_some_and(|i| i == before)
        });
        let best = normalised.and_then(|n| n.output.first()).map_or(before, String::as_str);
        Err(NoMap::Tokens { tensor: best.to_owned(), shape: self.dims(best).to_vec() })
    }

    /// What the nodes `head` do to the pooled vector.
    fn kind_behind(&self, pooled: &str, head: &[usize]) -> HeadKind {
        let mut reached = HashSet::from([pooled]);
        let mut layers = false;
        for node in head.iter().filter_map(|&i| self.graph.node(i)) {
            let data: Vec<usize> = (0..node.input.len())
                .filter(|&i| reached.contains(node.input[i].as_str()))
                .collect();
            let constant = (0..node.input.len()).filter(|i| !data.contains(i));
            let fixed = constant.clone().all(|i| !self.graph.depends_on_input(&node.input[i]));
            let layer = match node.op_type() {
                op if NO_OPS.contains(&op) => false,
                "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" | "Transpose" => false,
                // One exporter writes strided views as choices of constant places.
                "Gather" | "Slice" => false,
                "QuantizeLinear" | "DequantizeLinear" | "Add" | "Sub" => false,
                "Gemm" | "MatMul" | "Conv" | "Mul" | "Div" | "BatchNormalization" | "Neg" => true,
                _ => return HeadKind::PoolThenLayers,
            };
            let divides = node.op_type() == "Div" && data != [0];
            if data.len() != 1 || !fixed || divides {
                return HeadKind::PoolThenLayers;
            }
            layers |= layer;
            reached.extend(node.output.iter().map(String::as_str));
        }
        if layers { HeadKind::PoolThenLinear } else { HeadKind::ClassMaps }
    }
}

fn is_activation(op: &str) -> bool {
    matches!(
        op,
        "Relu"
            | "LeakyRelu"
            | "PRelu"
            | "Elu"
            | "Selu"
            | "Celu"
            | "Clip"
            | "HardSwish"
            | "Mul"
            | "Sigmoid"
            | "HardSigmoid"
            | "Gelu"
            | "Mish"
            | "Swish"
            | "Softplus"
            | "Tanh"
    )
}

/// Operators whose second axis is that of the channels.
fn is_channels_first(op: &str) -> bool {
    matches!(
        op,
        "Conv"
            | "ConvTranspose"
            | "MaxPool"
            | "AveragePool"
            | "LpPool"
            | "BatchNormalization"
            | "InstanceNormalization"
            | "GroupNormalization"
            | "GlobalAveragePool"
            | "GlobalMaxPool"
            | "DepthToSpace"
            | "PRelu"
            | "QLinearConv"
    )
}

/// A pooling that leaves everything as it is: exporters write adaptive pooling
/// to the same size so.
fn is_unit_pool(node: &NodeProto) -> bool {
    let ones = |name| ints_attribute(node, name).is_none_or(|v| v.iter().all(|&x| x == 1));
    let no_pads = ints_attribute(node, "pads").is_none_or(|v| v.iter().all(|&x| x == 0));
    node.op_type() == "AveragePool"
        && ints_attribute(node, "kernel_shape").is_some()
        && ones("kernel_shape")
        && ones("strides")
        && no_pads
        && int_attribute(node, "ceil_mode").unwrap_or(0) == 0
}
