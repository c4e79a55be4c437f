//! Values of small integer tensors (axes, shapes, indices) that a network
//! computes from constants and from the shapes of other tensors.

use std::cell::Cell;

use super::super::graph::{Graph, int_attribute};
use super::super::shapes::Shapes;

/// Longer lists are not worked out.
const MOST: usize = 1 << 20;
/// Computations of more steps than this are not worked out.
const STEPS: usize = 4096;

/// The integers of `tensor` in order, when they can be known beforehand.
pub(super) fn ints(graph: &Graph, shapes: &Shapes, tensor: &str) -> Option<Vec<i64>> {
    value(graph, shapes, tensor, &Cell::new(STEPS))
}

fn value(graph: &Graph, shapes: &Shapes, tensor: &str, steps: &Cell<usize>) -> Option<Vec<i64>> {
    steps.set(steps.get().checked_sub(1)?);
    if let Some(stored) = graph.constant_ints(tensor) {
        return Some(stored);
    }
    let node = graph.producer(tensor)?;
    // A circle ends with the steps; so does the stack, which they bound.
    let of = |i: usize| value(graph, shapes, node.input.get(i)?, steps).filter(|v| v.len() <= MOST);
    match node.op_type() {
        "Identity" | "Cast" | "Reshape" | "Squeeze" | "Unsqueeze" => of(0),
        "Shape" => {
            let of = node.input.first()?;
            let dims = shapes.dims(of).map(<[usize]>::to_vec).or_else(|| graph.stored_dims(of))?;
            let rank = dims.len() as i64;
            let place = |v: i64| if v < 0 { (v + rank).max(0) } else { v.min(rank) } as usize;
            let begin = place(int_attribute(node, "start").unwrap_or(0));
            let end = place(int_attribute(node, "end").unwrap_or(rank));
            dims.get(begin..end)?.iter().map(|&d| i64::try_from(d).ok()).collect()
        }
        "Gather" => {
            let data = of(0)?;
            let pick = |i: i64| {
                let i = if i < 0 { i + data.len() as i64 } else { i };
                data.get(usize::try_from(i).ok()?).copied()
            };
            of(1)?.into_iter().map(pick).collect()
        }
        "Concat" => {
            let parts: Option<Vec<Vec<i64>>> = (0..node.input.len()).map(of).collect();
            Some(parts?.concat())
        }
        "Slice" => {
            let data = of(0)?;
            let (begin, end) = (*of(1)?.first()?, *of(2)?.first()?);
            let step = if node.input.len() > 4 { *of(4)?.first()? } else { 1 };
            (step == 1).then_some(())?;
            let count = data.len() as i64;
            let place = |v: i64| if v < 0 { (v + count).max(0) } else { v.min(count) } as usize;
            Some(data.get(place(begin)..place(end))?.to_vec())
        }
        op @ ("Add" | "Sub" | "Mul" | "Div") => {
            let (a, b) = (of(0)?, of(1)?);
            let count = a.len().max(b.len());
            let at = |v: &[i64], i: usize| if v.len() == 1 { v.first() } else { v.get(i) }.copied();
            let each = |i| {
                let (a, b) = (at(&a, i)?, at(&b, i)?);
                match op {
                    "Add" => a.checked_add(b),
                    "Sub" => a.checked_sub(b),
                    "Mul" => a.checked_mul(b),
                    _ => a.checked_div(b),
                }
            };
            (0..count).map(each).collect()
        }
        "Range" => {
            let (from, to, step) = (*of(0)?.first()?, *of(1)?.first()?, *of(2)?.first()?);
            let step = usize::try_from(step).ok().filter(|&s| s > 0)?;
            let count = to.checked_sub(from)?;
            (count <= MOST as i64).then(|| (from..to).step_by(step).collect())
        }
        "ConstantOfShape" => {
            let count = of(0)?.into_iter().try_fold(1i64, i64::checked_mul)?;
            let count = usize::try_from(count).ok().filter(|&c| c <= MOST)?;
            let value = node.attribute.first().and_then(|a| a.t.as_ref());
            let value = match value {
                Some(t) => super::super::graph::ints_of(t)?.first().copied()?,
                None => 0,
            };
            Some(vec![value; count])
        }
        _ => None,
    }
}
