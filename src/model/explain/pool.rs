//! Recognises average pooling of a whole feature map, however it is written:
//! as one operator, as several means, behind transposing or flattening.

use super::super::graph::{Graph, NO_OPS, int_attribute, ints_attribute, text_attribute};
use super::super::onnx::NodeProto;
use super::super::shapes::Shapes;
use super::Pool;
use super::ints::ints;
use crate::explain::FeatureLayout;

/// What an axis stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Image,
    Channel,
    Place,
    /// Nothing: its extent is 1.
    One,
}

/// The pooled vector behind `feature`, when all its ways lead into one average
/// (or sum) over all positions; `head` are the nodes that count.
pub(super) fn pooling(
    graph: &Graph,
    shapes: &Shapes,
    feature: &str,
    layout: FeatureLayout,
    head: &[usize],
) -> Option<Pool> {
    use Role::{Channel, Image, Place};
    let mut roles = match layout {
        FeatureLayout::Nchw => vec![Image, Channel, Place, Place],
        FeatureLayout::Nhwc => vec![Image, Place, Place, Channel],
        FeatureLayout::Tokens => return None,
    };
    let channel = roles.iter().position(|r| *r == Channel)?;
    let (images, channels) =
        (*shapes.dims(feature)?.first()?, *shapes.dims(feature)?.get(channel)?);
    let (mut tensor, mut scale) = (feature.to_owned(), 1.0f32);
    for _ in 0..head.len() {
        let mut users =
            head.iter().filter_map(|&i| graph.node(i)).filter(|n| n.input.contains(&tensor));
        let (node, None) = (users.next()?, users.next()) else { return None };
        let (from, to) = (shapes.dims(&tensor)?, shapes.dims(node.output.first()?)?);
        match node.op_type() {
            op if NO_OPS.contains(&op) => {}
            "QuantizeLinear" | "DequantizeLinear" => {}
            "Transpose" => {
                let backwards: Vec<i64> = (0..roles.len() as i64).rev().collect();
                let perm = ints_attribute(node, "perm").unwrap_or(&backwards);
                let pick = |&p: &i64| roles.get(usize::try_from(p).ok()?).copied();
                roles = perm.iter().map(pick).collect::<Option<_>>()?;
            }
            "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" => roles = regroup(&roles, from, to)?,
            "ReduceMean" | "ReduceSum" => {
                let axes = reduced_axes(graph, shapes, node, from.len())?;
                let harmless = |&a: &usize| matches!(roles[a], Role::Place | Role::One);
                if !axes.iter().all(harmless) {
                    return None;
                }
                if node.op_type() == "ReduceMean" {
                    scale /= axes.iter().map(|&a| from[a]).product::<usize>() as f32;
                }
                let keep = int_attribute(node, "keepdims").unwrap_or(1) != 0;
                axes.iter().for_each(|&a| roles[a] = Role::One);
                if !keep {
                    let left = (0..roles.len()).filter(|i| !axes.contains(i));
                    roles = left.map(|i| roles[i]).collect();
                }
            }
            "GlobalAveragePool" | "AveragePool" => {
                let over_places =
                    roles.get(2..)?.iter().all(|r| matches!(r, Role::Place | Role::One));
                if roles.get(1) != Some(&Role::Channel) || !over_places {
                    return None;
                }
                scale *= whole_average(node, from, to)?;
                roles[2..].fill(Role::One);
            }
            _ => return None,
        }
        tensor = node.output.first()?.clone();
        let to = shapes.dims(&tensor)?;
        if roles.len() != to.len() {
            return None;
        }
        if roles.iter().zip(to).all(|(r, &d)| *r != Role::Place || d == 1) {
            let whole = to.iter().product::<usize>() == images * channels;
            return whole.then_some(Pool { tensor, scale });
        }
    }
    None
}

/// The axes a `Reduce...` node reduces, from a tensor of `rank` axes.
pub(super) fn reduced_axes(
    graph: &Graph,
    shapes: &Shapes,
    node: &NodeProto,
    rank: usize,
) -> Option<Vec<usize>> {
    let given = match (ints_attribute(node, "axes"), node.input.get(1)) {
        (Some(axes), _) => Some(axes.to_vec()),
        (None, Some(input)) if !input.is_empty() => Some(ints(graph, shapes, input)?),
        _ => None,
    };
    let given = given.filter(|axes| !axes.is_empty());
    let Some(given) = given else {
        let all = int_attribute(node, "noop_with_empty_axes").unwrap_or(0) == 0;
        return Some(if all { (0..rank).collect() } else { Vec::new() });
    };
    let mut axes = given
        .into_iter()
        .map(|a| usize::try_from(if a < 0 { a + rank as i64 } else { a }).ok())
        .collect::<Option<Vec<_>>>()?;
    axes.sort_unstable();
    axes.dedup();
    axes.iter().all(|&a| a < rank).then_some(axes)
}

/// What the sum over all positions is multiplied with by a pooling node whose
/// one window covers everything.
pub(super) fn whole_average(node: &NodeProto, from: &[usize], to: &[usize]) -> Option<f32> {
    let (inner, outer) = (from.get(2..)?, to.get(2..)?);
    if outer.iter().any(|&d| d != 1) {
        return None;
    }
    let count: usize = inner.iter().product();
    if node.op_type() == "GlobalAveragePool" {
        return Some(1.0 / count as f32);
    }
    let kernel = ints_attribute(node, "kernel_shape").filter(|k| k.len() == inner.len())?;
    let none = vec![0; 2 * inner.len()];
    let pads = ints_attribute(node, "pads").unwrap_or(&none);
    if ints_attribute(node, "dilations").is_some_and(|d| d.iter().any(|&d| d != 1))
        || pads.len() != none.len()
        || text_attribute(node, "auto_pad").is_some_and(|p| p != "NOTSET" && p != "VALID")
    {
        return None;
    }
    // One window reaches from -begin to kernel - begin.
    let covers = |(i, &d): (usize, &usize)| {
        pads[i] >= 0 && kernel[i].checked_sub(pads[i]).is_some_and(|reach| reach >= d as i64)
    };
    if !inner.iter().enumerate().all(covers) {
        return None;
    }
    let counts_pads = int_attribute(node, "count_include_pad").unwrap_or(0) != 0;
    let divisor = if counts_pads && pads.iter().any(|&p| p != 0) {
        kernel.iter().map(|&k| k as f32).product()
    } else {
        count as f32
    };
    Some(1.0 / divisor)
}

/// Roles after a change of shape that merges at most places with places.
fn regroup(roles: &[Role], from: &[usize], to: &[usize]) -> Option<Vec<Role>> {
    let mut left = roles.iter().zip(from).filter(|(_, d)| **d != 1);
    let mut out = Vec::with_capacity(to.len());
    for &extent in to {
        if extent == 1 {
            out.push(Role::One);
            continue;
        }
        let (&role, &first) = left.next()?;
        let mut product = first;
        while product < extent {
            let (&more, &d) = left.next()?;
            product = product.checked_mul(d)?;
            if (role, more) != (Role::Place, Role::Place) {
                return None;
            }
        }
        if product != extent {
            return None;
        }
        out.push(role);
    }
    left.next().is_none().then_some(out)
}
