//! Values of small integer tensors (axes, shapes, indices) that a network
//! computes from constants and from the shapes of other tensors.

use std::cell::Cell;

use super::super::graph::{Graph, int_attribute};
use super::super::shapes::Shapes;

/// Longer lists are not worked out.
const MOST: usize = 1 << 20;
/// Computations of more steps than this are not worked out.
const STEPS: usize = 4096;
/// Computations nested deeper than this are not worked out: the stack is finite.
const DEPTH: usize = 64;

/// The integers of `tensor` in order, when they can be known beforehand.
pub(super) fn ints(graph: &Graph, shapes: &Shapes, tensor: &str) -> Option<Vec<i64>> {
    value(graph, shapes, tensor, &Cell::new(STEPS), DEPTH)
}

fn value(
    graph: &Graph,
    shapes: &Shapes,
    tensor: &str,
    steps: &Cell<usize>,
    depth: usize,
) -> Option<Vec<i64>> {
    steps.set(steps.get().checked_sub(1)?);
    let depth = depth.checked_sub(1)?;
    if let Some(stored) = graph.constant_ints(tensor) {
        return Some(stored);
    }
    let node = graph.producer(tensor)?;
    let of = |i: usize| {
        value(graph, shapes, node.input.get(i)?, steps, depth).filter(|v| v.len() <= MOST)
    };
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

#[cfg(test)]
mod tests {
    use super::super::super::nets::{info, ints as stored, node};
    use super::super::super::onnx::{GraphProto, ModelProto, NodeProto, OperatorSetIdProto};
    use super::*;
    use prost::Message;

    fn graph(node: Vec<NodeProto>) -> Graph {
        let graph = GraphProto {
            node,
            initializer: vec![stored("two", &[2]), stored("list", &[5, 6, 7])],
            input: vec![info("x", &[1, 3, 6, 8])],
            output: vec![info("y", &[])],
            ..GraphProto::default()
        };
        let opset = OperatorSetIdProto { domain: None, version: Some(17) };
        let (opset_import, graph) = (vec![opset], Some(graph));
        let model = ModelProto { opset_import, graph, ..ModelProto::default() };
        Graph::parse(model.encode_to_vec().into(), std::path::Path::new("t.onnx")).unwrap()
    }

    #[test]
    fn shapes_and_lists_are_worked_out() {
        let graph = graph(vec![
            node("Shape", &["x"], "shape", vec![]),
            node("Gather", &["shape", "two"], "rows", vec![]),
            node("Mul", &["rows", "list"], "product", vec![]),
            node("Concat", &["rows", "product"], "y", vec![]),
        ]);
        let mut shapes = Shapes::default();
        assert_eq!(ints(&graph, &shapes, "y"), None);
        shapes.add("x", vec![1, 3, 6, 8], true);
        assert_eq!(ints(&graph, &shapes, "y"), Some(vec![6, 30, 36, 42]));
    }

    #[test]
    fn long_chains_circles_and_explosions_end() {
        let chain = |op: &str, twice: bool, count: usize| {
            let link = |i: usize| {
                let (from, to) = (format!("t{i}"), format!("t{}", i + 1));
                let inputs = if twice { vec![&*from, &*from] } else { vec![&*from] };
                node(op, &inputs, &to, vec![])
            };
            let mut nodes: Vec<NodeProto> = (1..count).map(link).collect();
            nodes.insert(0, node("Identity", &["list"], "t1", vec![]));
            nodes.push(node("Identity", &["x"], "y", vec![]));
            (graph(nodes), format!("t{count}"))
        };
        for (op, twice, count) in
            [("Identity", false, 50_000), ("Add", true, 60), ("Concat", true, 60)]
        {
            let (graph, last) = chain(op, twice, count);
            assert_eq!(ints(&graph, &Shapes::default(), &last), None, "{op}");
        }
        let (graph, last) = chain("Identity", false, 20);
        assert_eq!(ints(&graph, &Shapes::default(), &last), Some(vec![5, 6, 7]));
    }
}
