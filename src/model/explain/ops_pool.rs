//! Derivatives of operators that summarise: pooling and reductions.

use super::super::graph::int_attribute;
use super::super::onnx::NodeProto;
use super::super::writer::Attr;
use super::backward::{Backward, Parts, led_by_classes};
use super::ops_linear::Windows;
use super::pool::{reduced_axes, whole_average};

/// The derivative of `node`, when it is one of these operators.
pub(super) fn derive(b: &mut Backward<'_, '_>, node: &NodeProto, g: &str) -> Option<Parts> {
    Some(match node.op_type() {
        "GlobalAveragePool" | "AveragePool" => average(b, node, g),
        "GlobalMaxPool" => largest(b, node, g, None),
        "MaxPool" => max_pool(b, node, g),
        "ReduceMean" | "ReduceSum" | "ReduceMax" | "ReduceMin" | "ReduceL2" | "ReduceSumSquare"
        | "ReduceLogSumExp" => reduce(b, node, g),
        _ => return None,
    })
}

fn stretched(b: &mut Backward<'_, '_>, g: &str, dims: &[usize]) -> String {
    let mut shape = led_by_classes(dims);
    shape[0] = 1;
    b.out.expand(g, &shape)
}

fn average(b: &mut Backward<'_, '_>, node: &NodeProto, g: &str) -> Parts {
    let (from, to) = (b.dims(&node.input[0])?, b.dims(&node.output[0])?);
    if from.len() < 3 || from.len() != to.len() {
        return Err("its shape is unusual".to_owned());
    }
    if let Some(scale) = whole_average(node, &from, &to) {
        let g = b.out.scale(g, scale);
        return Ok(vec![(0, stretched(b, &g, &from))]);
    }
    let windows = Windows::of(node, &from, &to, None)?;
    let counts_pads = int_attribute(node, "count_include_pad").unwrap_or(0) != 0;
    // What each window divides by is known: the places of it that count.
    let axis = |i: usize| -> Vec<f32> {
        let (extent, n) = (from[i + 2] as i64, windows.kernel.len());
        let (first, end) = if counts_pads {
            (-windows.pads[i], extent + windows.pads[i + n])
        } else {
            (0, extent)
        };
        let covered = |o: usize| {
            let begin = o as i64 * windows.strides[i] - windows.pads[i];
            let places = (0..windows.kernel[i]).map(|k| begin + k * windows.dilations[i]);
            places.filter(|p| (first..end).contains(p)).count().max(1) as f32
        };
        (0..to[i + 2]).map(covered).collect()
    };
    let mut factors = vec![1.0f32];
    for i in 0..windows.kernel.len() {
        let counts = axis(i);
        factors = factors.iter().flat_map(|f| counts.iter().map(move |c| f / c)).collect();
    }
    let factors = b.out.floats(&to[2..], factors);
    let g = b.out.mul(g, &factors);
    let channels = from[1];
    let one: Vec<usize> =
        [channels, 1].into_iter().chain(windows.kernel.iter().map(|&k| k as usize)).collect();
    let numbers = one.iter().try_fold(1usize, |a, &d| a.checked_mul(d)).filter(|&n| n < 1 << 24);
    let numbers = numbers.ok_or("its window is too large")?;
    let ones = b.out.floats(&one, vec![1.0; numbers]);
    let flat = b.reshaped(&g, &to[1..]);
    let r = windows.spread(b, &flat, &ones, channels as i64, (&from, &to))?;
    Ok(vec![(0, b.reshaped(&r, &from))])
}

/// The gradient of a maximum or minimum goes to where it was taken, in equal
/// parts to equals. `axes` are all but the first two when absent.
fn largest(b: &mut Backward<'_, '_>, node: &NodeProto, g: &str, axes: Option<&[usize]>) -> Parts {
    let from = b.dims(&node.input[0])?;
    let all: Vec<usize> = (2..from.len()).collect();
    let axes = axes.unwrap_or(&all);
    let kept: Vec<usize> =
        from.iter().enumerate().map(|(i, &d)| if axes.contains(&i) { 1 } else { d }).collect();
    let (x, y) = (b.input(node, 0)?, b.value(&node.output[0]));
    let one: Vec<i64> = kept.iter().map(|&d| d as i64).collect();
    let y = b.out.reshape(&y, &one);
    let here = b.out.equal(&x, &y);
    let here = b.out.as_f32(&here);
    let count = b.out.sum(&here, axes, true);
    let share = b.out.two("Div", &here, &count);
    let g = b.reshaped(g, &kept);
    Ok(vec![(0, b.out.mul(&g, &share))])
}

fn reduce(b: &mut Backward<'_, '_>, node: &NodeProto, g: &str) -> Parts {
    let from = b.dims(&node.input[0])?;
    let axes = reduced_axes(b.out.graph(), b.shapes, node, from.len());
    let axes = axes.ok_or("its axes are not known beforehand")?;
    let kept: Vec<usize> =
        from.iter().enumerate().map(|(i, &d)| if axes.contains(&i) { 1 } else { d }).collect();
    let one: Vec<i64> = kept.iter().map(|&d| d as i64).collect();
    match node.op_type() {
        "ReduceMax" | "ReduceMin" => return largest(b, node, g, Some(&axes)),
        "ReduceSum" | "ReduceMean" => {
            let count: usize = axes.iter().map(|&a| from[a]).product();
            let mean = node.op_type() == "ReduceMean";
            let g = b.out.scale(g, if mean { 1.0 / count as f32 } else { 1.0 });
            let g = b.reshaped(&g, &kept);
            return Ok(vec![(0, stretched(b, &g, &from))]);
        }
        _ => {}
    }
    let g = b.reshaped(g, &kept);
    let (x, y) = (b.input(node, 0)?, b.value(&node.output[0]));
    let y = b.out.reshape(&y, &one);
    let slope = match node.op_type() {
        "ReduceL2" => b.out.two("Div", &x, &y),
        "ReduceSumSquare" => b.out.scale(&x, 2.0),
        _ => {
            let below = b.out.two("Sub", &x, &y);
            b.out.one("Exp", &below)
        }
    };
    Ok(vec![(0, b.out.mul(&g, &slope))])
}

/// The gradient goes to the place each window took its maximum from, which the
/// operator tells with its second output.
fn max_pool(b: &mut Backward<'_, '_>, node: &NodeProto, g: &str) -> Parts {
    let (from, to) = (b.dims(&node.input[0])?, b.dims(&node.output[0])?);
    if from.len() < 3 || to.len() != from.len() {
        return Err("its shape is unusual".to_owned());
    }
    if int_attribute(node, "storage_order").unwrap_or(0) != 0 {
        return Err("it counts places column by column".to_owned());
    }
    let windows = Windows::of(node, &from, &to, None)?;
    let taken = b.out.further_output(&node.output[0], 1).ok_or("its node is not there")?;
    // Scattering cannot add in older operator sets: windows that overlap take
    // turns, so that each turn writes every place at most once.
    let turns: Vec<usize> = (0..windows.kernel.len())
        .map(|i| {
            let span = windows.dilations[i] * (windows.kernel[i] - 1) + 1;
            usize::try_from((span + windows.strides[i] - 1) / windows.strides[i]).unwrap_or(1)
        })
        .collect();
    let numbers = from.iter().product::<usize>();
    let total: usize = turns.iter().product();
    if total > 64 {
        return Err("its windows overlap too much".to_owned());
    }
    let mut sum: Option<String> = None;
    for turn in 0..total {
        let (mut part, mut places) = (g.to_owned(), taken.clone());
        let mut count = to.iter().take(2).product::<usize>();
        let mut rest = turn;
        for (i, &turns) in turns.iter().enumerate() {
            let picked: Vec<i64> =
                (rest % turns..to[i + 2]).step_by(turns).map(|p| p as i64).collect();
            rest /= turns;
            count *= picked.len();
            if turns > 1 && !picked.is_empty() {
                let picked = b.out.ints(&picked);
                part = b.out.gather(&part, &picked, i + 3);
                places = b.out.gather(&places, &picked, i + 2);
            }
        }
        if count == 0 {
            continue;
        }
        let part = b.out.reshape(&part, &[-1, count as i64]);
        let places = b.out.reshape(&places, &[1, count as i64]);
        // As many rows of places as there are classes.
        let rows = b.out.one("Shape", &part);
        let places = b.out.two("Expand", &places, &rows);
        let zeros = b.zeros(&[-1, numbers as i64]);
        let scatter = if b.out.opset() >= 11 { "ScatterElements" } else { "Scatter" };
        let spread = b.out.op(scatter, &[&zeros, &places, &part], &[("axis", Attr::Int(1))]);
        sum = Some(match sum {
            Some(before) => b.out.two("Add", &before, &spread),
            None => spread,
        });
    }
    let sum = sum.ok_or("it has no windows")?;
    Ok(vec![(0, b.reshaped(&sum, &from))])
}
