//! Derivatives of operators that move numbers without changing them.

use super::super::graph::{NO_OPS, int_attribute, ints_attribute, text_attribute};
use super::super::onnx::NodeProto;
use super::backward::{Backward, Parts, Unsupported};

/// The derivative of `node`, when it is one of these operators.
pub(super) fn derive(b: &mut Backward<'_, '_>, node: &NodeProto, g: &str) -> Option<Parts> {
    Some(match node.op_type() {
        op if NO_OPS.contains(&op) => Ok(vec![(0, g.to_owned())]),
        // Rounding is passed straight through.
        "QuantizeLinear" | "DequantizeLinear" => Ok(vec![(0, g.to_owned())]),
        "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" => reshape(b, node, g),
        "Transpose" => transpose(b, node, g),
        "Concat" => concat(b, node, g),
        "Slice" => slice(b, node, g),
        "Gather" => gather(b, node, g),
        "Expand" => expand(b, node, g),
        "Pad" => pad(b, node, g),
        _ => return None,
    })
}

/// Attribute `name`, an axis of a tensor of `rank` axes.
pub(super) fn axis_of(
    node: &NodeProto,
    name: &str,
    usual: i64,
    rank: usize,
) -> Result<usize, Unsupported> {
    place(int_attribute(node, name).unwrap_or(usual), rank)
}

fn place(axis: i64, rank: usize) -> Result<usize, Unsupported> {
    let counted = if axis < 0 { axis + rank as i64 } else { axis };
    usize::try_from(counted)
        .ok()
        .filter(|&a| a < rank)
        .ok_or_else(|| format!("axis {axis} does not exist"))
}

fn reshape(b: &mut Backward<'_, '_>, node: &NodeProto, g: &str) -> Parts {
    let dims = b.dims(&node.input[0])?;
    Ok(vec![(0, b.reshaped(g, &dims))])
}

fn expand(b: &mut Backward<'_, '_>, node: &NodeProto, g: &str) -> Parts {
    let (from, to) = (b.dims(&node.input[0])?, b.dims(&node.output[0])?);
    Ok(vec![(0, b.unbroadcast(g, &from, &to))])
}

fn transpose(b: &mut Backward<'_, '_>, node: &NodeProto, g: &str) -> Parts {
    let rank = b.dims(&node.input[0])?.len();
    let perm: Vec<i64> = match ints_attribute(node, "perm") {
        Some(perm) if perm.len() == rank => perm.to_vec(),
        _ => (0..rank as i64).rev().collect(),
    };
    let mut inverse = vec![0; rank + 1];
    for (to, &from) in perm.iter().enumerate() {
        inverse[place(from, rank)? + 1] = to + 1;
    }
    Ok(vec![(0, b.out.transpose(g, &inverse))])
}

fn concat(b: &mut Backward<'_, '_>, node: &NodeProto, g: &str) -> Parts {
    let axis = axis_of(node, "axis", 0, b.dims(&node.output[0])?.len())?;
    let mut parts = Vec::new();
    let mut begin = 0i64;
    for (i, input) in node.input.iter().enumerate() {
        let extent = *b.dims(input)?.get(axis).ok_or("its inputs differ in rank")? as i64;
        if b.wants(node, i) {
            parts.push((i, b.out.slice(g, axis + 1, begin, begin + extent)));
        }
        begin += extent;
    }
    Ok(parts)
}

fn slice(b: &mut Backward<'_, '_>, node: &NodeProto, g: &str) -> Parts {
    let dims = b.dims(&node.input[0])?;
    let setting = |b: &Backward<'_, '_>, n: usize, name: &str| match node.input.get(n) {
        Some(input) if !input.is_empty() => b.ints(input).map(Some),
        _ => Ok(ints_attribute(node, name).map(<[i64]>::to_vec)),
    };
    let starts = setting(b, 1, "starts")?.ok_or("it does not say where it starts")?;
    let ends = setting(b, 2, "ends")?.ok_or("it does not say where it ends")?;
    let axes = setting(b, 3, "axes")?.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = setting(b, 4, "steps")?.unwrap_or_else(|| vec![1; starts.len()]);
    let mut g = g.to_owned();
    for (i, &start) in starts.iter().enumerate() {
        let whole = "its settings are incomplete";
        let axis = place(*axes.get(i).ok_or(whole)?, dims.len())?;
        let (extent, step) = (dims[axis] as i64, *steps.get(i).ok_or(whole)?);
        let counted = |v: i64| if v < 0 { v.saturating_add(extent) } else { v };
        let (from, to) = (counted(start), counted(*ends.get(i).ok_or(whole)?));
        let picked: Vec<i64> = if step > 0 {
            let (from, to) = (from.clamp(0, extent), to.clamp(0, extent));
            (from..to).step_by(usize::try_from(step).unwrap_or(1)).collect()
        } else if step < 0 {
            let (from, to) = (from.clamp(-1, extent - 1), to.clamp(-1, extent - 1));
            let stride = usize::try_from(step.unsigned_abs()).unwrap_or(usize::MAX);
            (to + 1..=from).rev().step_by(stride).collect()
        } else {
            return Err("its step is 0".to_owned());
        };
        g = put_back(b, &g, (axis + 1, dims.len() + 1), &picked, dims[axis])?;
    }
    Ok(vec![(0, g)])
}

fn gather(b: &mut Backward<'_, '_>, node: &NodeProto, g: &str) -> Parts {
    let (data, out) = (b.dims(&node.input[0])?, b.dims(&node.output[0])?);
    if !b.wants(node, 0) || b.wants(node, 1) {
        return Err("its indices depend on the picture".to_owned());
    }
    let axis = axis_of(node, "axis", 0, data.len())?;
    let extent = data[axis];
    let indices = b.ints(&node.input[1])?;
    let counted = indices.iter().map(|&i| if i < 0 { i + extent as i64 } else { i });
    let indices: Vec<i64> = counted.collect();
    // The indices' own axes become one, of their number.
    let mut merged = data.clone();
    merged[axis] = indices.len();
    let same = merged.iter().product::<usize>() == out.iter().product::<usize>();
    if !same {
        return Err("its shape is unusual".to_owned());
    }
    let g = b.reshaped(g, &merged);
    Ok(vec![(0, put_back(b, &g, (axis + 1, data.len() + 1), &indices, extent)?)])
}

/// The gradient of a tensor from which `picked` places of `axis`, which has
/// `extent` places, were taken: zero elsewhere. `rank` is the gradient's.
fn put_back(
    b: &mut Backward<'_, '_>,
    g: &str,
    (axis, rank): (usize, usize),
    picked: &[i64],
    extent: usize,
) -> Result<String, Unsupported> {
    let mut from = vec![picked.len() as i64; extent];
    for (n, &place) in picked.iter().enumerate() {
        let slot = usize::try_from(place).ok().and_then(|p| from.get_mut(p));
        let slot = slot.ok_or("it takes places that do not exist")?;
        if *slot != picked.len() as i64 {
            return Err("it takes the same place twice".to_owned());
        }
        *slot = n as i64;
    }
    if picked.len() == extent && from.iter().enumerate().all(|(i, &n)| n == i as i64) {
        return Ok(g.to_owned());
    }
    let in_a_row = picked.windows(2).all(|w| w[1] == w[0] + 1);
    if let (true, Some(&first)) = (in_a_row, picked.first()) {
        let before = usize::try_from(first).unwrap_or(0);
        let around = (before, extent - before - picked.len());
        return Ok(pad_axis(b, g, axis, rank, around));
    }
    // One zero behind, and everything that was not taken points to it.
    let padded = pad_axis(b, g, axis, rank, (0, 1));
    let from = b.out.ints(&from);
    Ok(b.out.gather(&padded, &from, axis))
}

/// Zeros before and behind along one axis.
fn pad_axis(
    b: &mut Backward<'_, '_>,
    g: &str,
    axis: usize,
    rank: usize,
    around: (usize, usize),
) -> String {
    let (mut before, mut behind) = (vec![0; rank], vec![0; rank]);
    (before[axis], behind[axis]) = (around.0 as i64, around.1 as i64);
    b.out.pad(g, &before, &behind)
}

fn pad(b: &mut Backward<'_, '_>, node: &NodeProto, g: &str) -> Parts {
    if text_attribute(node, "mode").is_some_and(|m| m != "constant") {
        return Err("it does not pad with a constant".to_owned());
    }
    if node.input.get(3).is_some_and(|i| !i.is_empty()) {
        return Err("it pads chosen axes only".to_owned());
    }
    let dims = b.dims(&node.input[0])?;
    let pads = match node.input.get(1) {
        Some(input) if !input.is_empty() => b.ints(input)?,
        _ => ints_attribute(node, "pads").ok_or("it does not say how much")?.to_vec(),
    };
    if pads.len() != 2 * dims.len() || pads.iter().any(|&p| p < 0) {
        return Err("its settings are unusual".to_owned());
    }
    let mut g = g.to_owned();
    for (axis, &extent) in dims.iter().enumerate() {
        let (before, behind) = (pads[axis], pads[axis + dims.len()]);
        if before + behind > 0 {
            g = b.out.slice(&g, axis + 1, before, before + extent as i64);
        }
    }
    Ok(vec![(0, g)])
}
