//! Puts the maps of one head into the network: the classes asked for and the
//! best ones, the seed of the gradient, derivative and formulas.

use super::super::onnx::NodeProto;
use super::super::shapes::Shapes;
use super::super::writer::{Appender, Attr};
use super::backward::{Backward, Grad};
use super::formula::Evidence;
use super::{Finding, NoMap};
use crate::explain::Method;

/// Input: the classes of head number `head` to explain, 64-bit integers `[K]`.
pub(in crate::model) fn classes_name(head: usize) -> String {
    format!("cam_classes_{head}")
}

/// Output: the class of each map, 64-bit integers `[K + top_k]`.
pub(in crate::model) fn indices_name(head: usize) -> String {
    format!("cam_indices_{head}")
}

/// Output: maps of method number `method`, 32-bit floats `[N, K + top_k, rows,
/// columns]`.
pub(in crate::model) fn map_name(head: usize, method: usize) -> String {
    format!("cam_map_{head}_{method}")
}

/// The maps wanted of one head.
pub(in crate::model) struct Request<'a> {
    /// Number of the head.
    pub(in crate::model) head: usize,
    /// Where its maps come from.
    pub(in crate::model) found: &'a Finding,
    /// How they are computed.
    pub(in crate::model) methods: &'a [Method],
    /// So many of the best classes are explained without asking.
    pub(in crate::model) top_k: usize,
    /// True when the gradient is that of the class's margin; the logits are
    /// divided by the number before they are compared.
    pub(in crate::model) margin: Option<f32>,
    /// True when the one logit stands for two classes, the second against the
    /// first.
    pub(in crate::model) two_sided: bool,
}

/// Appends the maps of one head.
///
/// # Errors
/// [`NoMap::Operator`] and [`NoMap::NameTaken`]; the network may then hold
/// nodes that nothing reads, see [`Appender::undo`].
pub(in crate::model) fn append(
    out: &mut Appender<'_>,
    shapes: &Shapes,
    request: &Request<'_>,
) -> Result<(), NoMap> {
    let Request { head, found, methods, .. } = *request;
    let maps = (0..methods.len()).map(|m| map_name(head, m));
    let mut names = maps.chain([classes_name(head), indices_name(head)]);
    if let Some(name) = names.find(|n| out.graph().has_tensor(n)) {
        return Err(NoMap::NameTaken { name });
    }
    let asked = classes_name(head);
    out.input_ints(&asked);
    let classes = if request.top_k == 0 {
        asked
    } else {
        let best = best_classes(out, request);
        out.op("Concat", &[&asked, &best], &[("axis", Attr::Int(0))])
    };
    let seed = seed(out, shapes, request, &classes)?;
    let nodes: Vec<NodeProto> =
        found.head.iter().filter_map(|&i| out.graph().node(i).cloned()).collect();
    let target = found.pool.as_ref().map_or(&found.feature_tensor, |p| &p.tensor);
    let mut backward = Backward::new(out, shapes, found.images, &classes);
    let gradient =
        backward.run(&nodes, target, &found.logits_tensor, seed).map_err(|e| match e {
            // People know the feature map, not what was pooled from it.
            NoMap::Operator { op, node, reason, .. } => {
                NoMap::Operator { op, node, reason, feature: found.feature_tensor.clone() }
            }
            other => other,
        })?;
    let evidence = match &found.pool {
        Some(pool) => Evidence::pooled(&mut backward, found, pool, &gradient),
        None => Evidence::full(&mut backward, found, &gradient),
    };
    for (m, &method) in methods.iter().enumerate() {
        let map = evidence.map(out, method);
        out.output_f32(&map, &map_name(head, m));
    }
    out.output_ints(&classes, &indices_name(head));
    Ok(())
}

/// The `top_k` largest logits of picture 0, as class numbers `[top_k]`.
fn best_classes(out: &mut Appender<'_>, request: &Request<'_>) -> String {
    let found = request.found;
    let logits = out.as_f32(&found.logits_tensor);
    let all = out.reshape(&logits, &[found.images as i64, -1]);
    let mut first = out.slice(&all, 0, 0, 1);
    let mut count = found.logits;
    if request.two_sided {
        let against = out.one("Neg", &first);
        first = out.op("Concat", &[&against, &first], &[("axis", Attr::Int(1))]);
        count = 2;
    }
    let first = out.reshape(&first, &[-1]);
    let top_k = request.top_k.min(count) as i64;
    let outputs = if out.opset() < 10 {
        out.ops("TopK", &[&first], &[("k", Attr::Int(top_k)), ("axis", Attr::Int(0))], 2)
    } else {
        let k = out.ints(&[top_k]);
        out.ops("TopK", &[&first, &k], &[("axis", Attr::Int(0))], 2)
    };
    outputs.into_iter().nth(1).unwrap_or_default()
}

/// Gradient of the explained quantity with respect to the logits.
fn seed(
    out: &mut Appender<'_>,
    shapes: &Shapes,
    request: &Request<'_>,
    classes: &str,
) -> Result<Grad, NoMap> {
    let found = request.found;
    let dims = shapes.dims(&found.logits_tensor).unwrap_or_default();
    let whole: Vec<i64> = std::iter::once(-1).chain(dims.iter().map(|&d| d as i64)).collect();
    if request.two_sided {
        let rows = out.one_hot(classes, 2);
        let signs = out.floats(&[2, 1], vec![-1.0, 1.0]);
        let rows = out.two("MatMul", &rows, &signs);
        let one: Vec<i64> = std::iter::once(-1).chain(dims.iter().map(|_| 1)).collect();
        let rows = out.reshape(&rows, &one);
        let mut all = whole;
        all[0] = 1;
        return Ok(Grad::Tensor(out.expand(&rows, &all)));
    }
    let Some(temperature) = request.margin.filter(|_| found.logits > 1) else {
        return Ok(Grad::Classes);
    };
    let (images, count) = (found.images as i64, found.logits as i64);
    let chosen = out.one_hot(classes, found.logits);
    let chosen = out.reshape(&chosen, &[-1, 1, count]);
    let logits = out.as_f32(&found.logits_tensor);
    let logits = out.reshape(&logits, &[1, images, count]);
    let logits = out.scale(&logits, 1.0 / temperature);
    // The class itself gets no share among the others.
    let (half, least) = (out.float(0.5), out.float(f32::MIN));
    let own = out.two("Greater", &chosen, &half);
    let others = out.choose(&own, &least, &logits);
    let shares = out.op("Softmax", &[&others], &[("axis", Attr::Int(2))]);
    let margin = out.two("Sub", &chosen, &shares);
    Ok(Grad::Tensor(out.reshape(&margin, &whole)))
}
