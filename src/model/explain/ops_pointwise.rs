//! Derivatives of operators that treat every number by itself, and of softmax.

use super::super::graph::{float_attribute, text_attribute};
use super::super::onnx::NodeProto;
use super::backward::{Backward, Parts, Unsupported};
use super::ops_shape::axis_of;

/// The derivative of `node`, when it is one of these operators.
pub(super) fn derive(b: &mut Backward<'_, '_>, node: &NodeProto, g: &str) -> Option<Parts> {
    let slope = match node.op_type() {
        "Add" | "Sub" | "Mul" | "Div" | "Sum" | "Max" | "Min" | "Mean" => {
            return Some(arithmetic(b, node, g));
        }
        "Pow" => return Some(power(b, node, g)),
        "PRelu" => return Some(prelu(b, node, g)),
        "Where" => return Some(choice(b, node, g)),
        "Softmax" | "LogSoftmax" => return Some(softmax(b, node, g)),
        "Neg" => return Some(Ok(vec![(0, b.out.one("Neg", g))])),
        "Clip" => clip(b, node),
        "Gelu" => gelu(b, node),
        _ => slope(b, node)?,
    };
    Some(slope.map(|slope| vec![(0, b.out.mul(g, &slope))]))
}

/// dy/dx of an operator of one input.
fn slope(b: &mut Backward<'_, '_>, node: &NodeProto) -> Option<Result<String, Unsupported>> {
    let known = [
        "Relu",
        "LeakyRelu",
        "ThresholdedRelu",
        "Elu",
        "Celu",
        "Selu",
        "HardSigmoid",
        "HardSwish",
        "Sigmoid",
        "Tanh",
        "Softplus",
        "Softsign",
        "Mish",
        "Swish",
        "Erf",
        "Exp",
        "Log",
        "Sqrt",
        "Reciprocal",
        "Abs",
        "Sin",
        "Cos",
        "Floor",
        "Ceil",
        "Round",
        "Sign",
    ];
    known.contains(&node.op_type()).then(|| {
        let (x, y) = (b.input(node, 0)?, b.value(&node.output[0]));
        Ok(slope_of(b, node, &x, &y))
    })
}

#[expect(clippy::too_many_lines, reason = "one line or two for each operator")]
fn slope_of(b: &mut Backward<'_, '_>, node: &NodeProto, x: &str, y: &str) -> String {
    let attribute = |name, usual| float_attribute(node, name).unwrap_or(usual);
    let out = &mut *b.out;
    let zero = out.float(0.0);
    let one = out.float(1.0);
    match node.op_type() {
        "Relu" => out.mask("Greater", y, &zero),
        "LeakyRelu" => {
            let slope = out.float(attribute("alpha", 0.01));
            let positive = out.two("Greater", x, &zero);
            out.choose(&positive, &one, &slope)
        }
        "ThresholdedRelu" => {
            let threshold = out.float(attribute("alpha", 1.0));
            out.mask("Greater", x, &threshold)
        }
        // alpha (e^x - 1) below zero, whose slope is y + alpha.
        "Elu" => {
            let below = out.plus(y, attribute("alpha", 1.0));
            let positive = out.two("Greater", x, &zero);
            out.choose(&positive, &one, &below)
        }
        "Celu" => {
            let below = out.scale(y, 1.0 / attribute("alpha", 1.0));
            let below = out.plus(&below, 1.0);
            let positive = out.two("Greater", x, &zero);
            out.choose(&positive, &one, &below)
        }
        "Selu" => {
            let (alpha, gamma) = (attribute("alpha", 1.673_263_2), attribute("gamma", 1.050_701));
            let below = out.plus(y, alpha * gamma);
            let above = out.float(gamma);
            let positive = out.two("Greater", x, &zero);
            out.choose(&positive, &above, &below)
        }
        "HardSigmoid" => {
            let inside = out.mask("Greater", y, &zero);
            let under = out.mask("Less", y, &one);
            let inside = out.mul(&inside, &under);
            out.scale(&inside, attribute("alpha", 0.2))
        }
        // x clip(x/6 + 1/2, 0, 1): 0, x/3 + 1/2 or 1.
        "HardSwish" => {
            let (low, high) = (out.float(-3.0), out.float(3.0));
            let middle = out.scale(x, 1.0 / 3.0);
            let middle = out.plus(&middle, 0.5);
            let below = out.two("Less", x, &low);
            let middle = out.choose(&below, &zero, &middle);
            let above = out.two("Greater", x, &high);
            out.choose(&above, &one, &middle)
        }
        "Sigmoid" => {
            let rest = out.two("Sub", &one, y);
            out.mul(y, &rest)
        }
        "Tanh" => {
            let squared = out.mul(y, y);
            out.two("Sub", &one, &squared)
        }
        "Softplus" => out.one("Sigmoid", x),
        "Softsign" => {
            let size = out.one("Abs", x);
            let size = out.plus(&size, 1.0);
            let size = out.mul(&size, &size);
            out.two("Div", &one, &size)
        }
        // x tanh(softplus(x)): t + x (1 - t^2) sigmoid(x).
        "Mish" => {
            let t = out.one("Softplus", x);
            let t = out.one("Tanh", &t);
            let squared = out.mul(&t, &t);
            let rest = out.two("Sub", &one, &squared);
            let sigmoid = out.one("Sigmoid", x);
            let rest = out.mul(&rest, &sigmoid);
            let rest = out.mul(x, &rest);
            out.two("Add", &t, &rest)
        }
        // x s(alpha x): s + alpha x s (1 - s).
        "Swish" => {
            let scaled = out.scale(x, attribute("alpha", 1.0));
            let s = out.one("Sigmoid", &scaled);
            let rest = out.two("Sub", &one, &s);
            let rest = out.mul(&s, &rest);
            let rest = out.mul(&scaled, &rest);
            out.two("Add", &s, &rest)
        }
        "Erf" => {
            let squared = out.mul(x, x);
            let negative = out.one("Neg", &squared);
            let bell = out.one("Exp", &negative);
            out.scale(&bell, std::f32::consts::FRAC_2_SQRT_PI)
        }
        "Exp" => y.to_owned(),
        "Log" => out.two("Div", &one, x),
        "Sqrt" => {
            let half = out.float(0.5);
            out.two("Div", &half, y)
        }
        "Reciprocal" => {
            let squared = out.mul(y, y);
            out.one("Neg", &squared)
        }
        "Abs" => out.one("Sign", x),
        "Sin" => out.one("Cos", x),
        "Cos" => {
            let sine = out.one("Sin", x);
            out.one("Neg", &sine)
        }
        // Steps are level.
        _ => zero,
    }
}

fn clip(b: &mut Backward<'_, '_>, node: &NodeProto) -> Result<String, Unsupported> {
    let x = b.input(node, 0)?;
    let mut inside: Option<String> = None;
    for (n, name, op) in [(1, "min", "Less"), (2, "max", "Greater")] {
        let limit = match node.input.get(n) {
            Some(input) if !input.is_empty() => Some(b.input(node, n)?),
            _ => float_attribute(node, name).map(|v| b.out.float(v)),
        };
        let Some(limit) = limit else { continue };
        // At a limit itself the gradient passes.
        let outside = b.out.two(op, &x, &limit);
        let here = b.out.one("Not", &outside);
        let here = b.out.as_f32(&here);
        inside = Some(match inside {
            Some(other) => b.out.mul(&other, &here),
            None => here,
        });
    }
    Ok(inside.unwrap_or_else(|| b.out.float(1.0)))
}

fn gelu(b: &mut Backward<'_, '_>, node: &NodeProto) -> Result<String, Unsupported> {
    let x = b.input(node, 0)?;
    let out = &mut *b.out;
    let one = out.float(1.0);
    if text_attribute(node, "approximate").is_some_and(|a| a == "tanh") {
        // x/2 (1 + tanh(c (x + d x^3)))
        let (c, d) = (0.797_884_6, 0.044_715);
        let squared = out.mul(&x, &x);
        let bent = out.scale(&squared, d);
        let bent = out.plus(&bent, 1.0);
        let inner = out.mul(&x, &bent);
        let inner = out.scale(&inner, c);
        let t = out.one("Tanh", &inner);
        let level = out.plus(&t, 1.0);
        let t2 = out.mul(&t, &t);
        let rest = out.two("Sub", &one, &t2);
        let steep = out.scale(&squared, 3.0 * d);
        let steep = out.plus(&steep, 1.0);
        let steep = out.scale(&steep, c);
        let rest = out.mul(&rest, &steep);
        let rest = out.mul(&x, &rest);
        let both = out.two("Add", &level, &rest);
        return Ok(out.scale(&both, 0.5));
    }
    // x P(x), P the normal distribution: P + x P'.
    let scaled = out.scale(&x, std::f32::consts::FRAC_1_SQRT_2);
    let erf = out.one("Erf", &scaled);
    let level = out.plus(&erf, 1.0);
    let level = out.scale(&level, 0.5);
    let squared = out.mul(&x, &x);
    let bell = out.scale(&squared, -0.5);
    let bell = out.one("Exp", &bell);
    let bell = out.scale(&bell, 0.398_942_3);
    let rest = out.mul(&x, &bell);
    Ok(out.two("Add", &level, &rest))
}

fn arithmetic(b: &mut Backward<'_, '_>, node: &NodeProto, g: &str) -> Parts {
    let to = b.dims(&node.output[0])?;
    let op = node.op_type();
    let mut parts = Vec::new();
    for n in b.wanted_inputs(node) {
        let grad = match (op, n) {
            ("Add" | "Sum", _) | ("Sub", 0) => g.to_owned(),
            ("Mean", _) => b.out.scale(g, 1.0 / node.input.len() as f32),
            ("Sub", _) => b.out.one("Neg", g),
            ("Mul", _) => {
                let other = b.input(node, 1 - n.min(1))?;
                b.out.mul(g, &other)
            }
            ("Div", 0) => {
                let other = b.input(node, 1)?;
                b.out.two("Div", g, &other)
            }
            ("Div", _) => {
                let (divisor, quotient) = (b.input(node, 1)?, b.value(&node.output[0]));
                let slope = b.out.two("Div", &quotient, &divisor);
                let slope = b.out.one("Neg", &slope);
                b.out.mul(g, &slope)
            }
            // The larger, or smaller, one passes on; of equals, both.
            _ => {
                let (x, y) = (b.input(node, n)?, b.value(&node.output[0]));
                let here = b.out.equal(&x, &y);
                let here = b.out.as_f32(&here);
                b.out.mul(g, &here)
            }
        };
        let from = b.dims(&node.input[n])?;
        parts.push((n, b.unbroadcast(&grad, &from, &to)));
    }
    Ok(parts)
}

fn power(b: &mut Backward<'_, '_>, node: &NodeProto, g: &str) -> Parts {
    if b.wants(node, 1) {
        return Err("its exponent depends on the picture".to_owned());
    }
    let (from, to) = (b.dims(&node.input[0])?, b.dims(&node.output[0])?);
    let (x, exponent) = (b.input(node, 0)?, b.input(node, 1)?);
    let less = b.out.plus(&exponent, -1.0);
    let slope = b.out.two("Pow", &x, &less);
    let slope = b.out.mul(&slope, &exponent);
    let g = b.out.mul(g, &slope);
    Ok(vec![(0, b.unbroadcast(&g, &from, &to))])
}

fn prelu(b: &mut Backward<'_, '_>, node: &NodeProto, g: &str) -> Parts {
    if b.wants(node, 1) {
        return Err("its slope depends on the picture".to_owned());
    }
    let (x, slope) = (b.input(node, 0)?, b.input(node, 1)?);
    let (zero, one) = (b.out.float(0.0), b.out.float(1.0));
    let below = b.out.two("Less", &x, &zero);
    let slope = b.out.choose(&below, &slope, &one);
    Ok(vec![(0, b.out.mul(g, &slope))])
}

fn choice(b: &mut Backward<'_, '_>, node: &NodeProto, g: &str) -> Parts {
    let to = b.dims(&node.output[0])?;
    let zero = b.out.float(0.0);
    let mut parts = Vec::new();
    for n in b.wanted_inputs(node).into_iter().filter(|&n| n > 0) {
        let condition = node.input[0].clone();
        let grad = if n == 1 {
            b.out.choose(&condition, g, &zero)
        } else {
            b.out.choose(&condition, &zero, g)
        };
        let from = b.dims(&node.input[n])?;
        parts.push((n, b.unbroadcast(&grad, &from, &to)));
    }
    Ok(parts)
}

fn softmax(b: &mut Backward<'_, '_>, node: &NodeProto, g: &str) -> Parts {
    let rank = b.dims(&node.input[0])?.len();
    // Before version 13 everything from the axis on was one.
    let older = b.out.opset() < 13;
    let first = axis_of(node, "axis", if older { 1 } else { -1 }, rank)?;
    let axes: Vec<usize> = if older { (first..rank).collect() } else { vec![first] };
    let later: Vec<usize> = axes.iter().map(|a| a + 1).collect();
    let y = b.value(&node.output[0]);
    let r = if node.op_type() == "Softmax" {
        let weighted = b.out.mul(g, &y);
        let total = b.out.sum(&weighted, &later, true);
        let shared = b.out.mul(&total, &y);
        b.out.two("Sub", &weighted, &shared)
    } else {
        let p = b.out.one("Exp", &y);
        let total = b.out.sum(g, &later, true);
        let shared = b.out.mul(&total, &p);
        b.out.two("Sub", g, &shared)
    };
    Ok(vec![(0, r)])
}
