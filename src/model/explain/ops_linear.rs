//! Derivatives of matrix products, convolutions and normalisations.

use super::super::graph::{float_attribute, int_attribute, ints_attribute, text_attribute};
use super::super::onnx::NodeProto;
use super::super::writer::Attr;
use super::backward::{Backward, Parts, Unsupported};
use super::ops_shape::axis_of;

/// The derivative of `node`, when it is one of these operators.
pub(super) fn derive(b: &mut Backward<'_, '_>, node: &NodeProto, g: &str) -> Option<Parts> {
    Some(match node.op_type() {
        "Gemm" => gemm(b, node, g),
        "MatMul" => matmul(b, node, g),
        "Conv" => conv(b, node, g),
        "BatchNormalization" => batch_norm(b, node, g),
        "LayerNormalization" => {
            let axis = b.dims(&node.input[0]).and_then(|d| {
                let first = axis_of(node, "axis", -1, d.len())?;
                Ok((first..d.len()).collect::<Vec<_>>())
            });
            axis.and_then(|axes| normalised(b, node, g, &axes, false))
        }
        "InstanceNormalization" => {
            let axes = b.dims(&node.input[0]).map(|d| (2..d.len()).collect::<Vec<_>>());
            axes.and_then(|axes| normalised(b, node, g, &axes, true))
        }
        "LpNormalization" => unit_length(b, node, g),
        _ => return None,
    })
}

fn flag(node: &NodeProto, name: &str) -> bool {
    int_attribute(node, name).unwrap_or(0) != 0
}

/// The gradient of the input of a linear layer whose output has a one-hot
/// gradient: rows of its weights. None where the layer is not that simple.
pub(super) fn rows(
    b: &mut Backward<'_, '_>,
    node: &NodeProto,
    classes: &str,
) -> Result<Option<String>, Unsupported> {
    let Some(weights) = node.input.get(1).filter(|_| !b.wants(node, 1)) else { return Ok(None) };
    if b.out.graph().depends_on_input(weights) || b.wants(node, 2) {
        return Ok(None);
    }
    let (from, to) = (b.dims(&node.input[0])?, b.dims(&node.output[0])?);
    let stored = b.dims(weights)?;
    let images = b.images;
    let each: usize = to.iter().product::<usize>() / images;
    let (class_axis, factor) = match node.op_type() {
        "Gemm" if !flag(node, "transA") && stored.len() == 2 => {
            let axis = usize::from(!flag(node, "transB"));
            (axis, float_attribute(node, "alpha").unwrap_or(1.0))
        }
        "MatMul" if stored.len() == 2 && from.len() >= 2 => (1, 1.0),
        "Conv" if is_pointwise(node, &stored) && places(&from) == 1 && places(&to) == 1 => (0, 1.0),
        _ => return Ok(None),
    };
    let width = stored[1 - class_axis];
    let vectors = stored.get(2..).unwrap_or_default().iter().all(|&d| d == 1);
    let fits = stored[class_axis] == each && width * images == from.iter().product::<usize>();
    if !fits || !vectors {
        return Ok(None);
    }
    let weights = weights.clone();
    let rows = b.out.gather(&weights, classes, class_axis);
    // Only the chosen rows are converted, where conversion is needed.
    let mut rows = if b.is_f32(&weights) { rows } else { b.out.as_f32(&rows) };
    if class_axis == 1 {
        rows = b.out.transpose(&rows, &[1, 0]);
    }
    let rows = b.out.scale(&rows, factor);
    Ok(Some(b.for_each_image(&rows, &from)?))
}

fn places(dims: &[usize]) -> usize {
    dims.iter().skip(2).product()
}

fn is_pointwise(node: &NodeProto, weights: &[usize]) -> bool {
    let ones = |name| ints_attribute(node, name).is_none_or(|v| v.iter().all(|&x| x == 1));
    int_attribute(node, "group").unwrap_or(1) == 1
        && places(weights) == 1
        && ones("strides")
        && ints_attribute(node, "pads").is_none_or(|v| v.iter().all(|&x| x == 0))
}

/// `g [K, ..., n]` times the transposed of the stored matrix `w [m, n]`, or
/// times `w [n, m]` itself, as `[-1, m]`. Nothing large is transposed.
fn times(b: &mut Backward<'_, '_>, g: &str, width: usize, w: &str, transposed: bool) -> String {
    let flat = b.out.reshape(g, &[-1, width as i64]);
    if !transposed {
        return b.out.two("MatMul", &flat, w);
    }
    let none = b.out.float(0.0);
    b.out.op("Gemm", &[&flat, w, &none], &[("transB", Attr::Int(1))])
}

fn gemm(b: &mut Backward<'_, '_>, node: &NodeProto, g: &str) -> Parts {
    if flag(node, "transA") || b.wants(node, 1) {
        return Err("its form is unusual".to_owned());
    }
    let (from, to) = (b.dims(&node.input[0])?, b.dims(&node.output[0])?);
    let mut parts = Vec::new();
    if b.wants(node, 0) {
        let weights = b.input(node, 1)?;
        let width = to.last().copied().unwrap_or(1);
        let r = times(b, g, width, &weights, !flag(node, "transB"));
        let r = b.out.scale(&r, float_attribute(node, "alpha").unwrap_or(1.0));
        parts.push((0, b.reshaped(&r, &from)));
    }
    if b.wants(node, 2) {
        let addend = b.dims(&node.input[2])?;
        let r = b.unbroadcast(g, &addend, &to);
        parts.push((2, b.out.scale(&r, float_attribute(node, "beta").unwrap_or(1.0))));
    }
    Ok(parts)
}

fn matmul(b: &mut Backward<'_, '_>, node: &NodeProto, g: &str) -> Parts {
    let (left, right) = (b.dims(&node.input[0])?, b.dims(&node.input[1])?);
    let to = b.dims(&node.output[0])?;
    if left.len() < 2 || right.len() < 2 {
        return Err("it multiplies with a vector".to_owned());
    }
    let swapped = |rank: usize| {
        let mut perm: Vec<usize> = (0..rank).collect();
        perm.swap(rank - 1, rank - 2);
        perm
    };
    let mut parts = Vec::new();
    if b.wants(node, 0) {
        let other = b.input(node, 1)?;
        let r = if right.len() == 2 && !b.wants(node, 1) {
            let r = times(b, g, right[1], &other, true);
            b.reshaped(&r, &left)
        } else {
            let other = b.out.transpose(&other, &swapped(right.len()));
            let r = b.out.two("MatMul", g, &other);
            let mut whole = to.clone();
            whole[to.len() - 1] = left[left.len() - 1];
            b.unbroadcast(&r, &left, &whole)
        };
        parts.push((0, r));
    }
    if b.wants(node, 1) {
        let other = b.input(node, 0)?;
        let other = b.out.transpose(&other, &swapped(left.len()));
        let r = b.out.two("MatMul", &other, g);
        let mut whole = to.clone();
        whole[to.len() - 2] = right[right.len() - 2];
        parts.push((1, b.unbroadcast(&r, &right, &whole)));
    }
    Ok(parts)
}

/// The windows of a convolution or pooling over rows and columns.
pub(super) struct Windows {
    pub(super) kernel: Vec<i64>,
    pub(super) strides: Vec<i64>,
    pub(super) dilations: Vec<i64>,
    /// Before each axis, then behind each.
    pub(super) pads: Vec<i64>,
}

impl Windows {
    /// Reads the attributes of `node`, which makes `to` out of `from`.
    pub(super) fn of(
        node: &NodeProto,
        from: &[usize],
        to: &[usize],
        kernel: Option<&[usize]>,
    ) -> Result<Self, Unsupported> {
        let n = from.len().saturating_sub(2);
        let list = |name: &str, usual: i64, len: usize| match ints_attribute(node, name) {
            Some(v) if v.len() == len => v.to_vec(),
            _ => vec![usual; len],
        };
        let kernel = match (ints_attribute(node, "kernel_shape"), kernel) {
            (Some(k), _) if k.len() == n => k.to_vec(),
            (_, Some(k)) if k.len() == n => k.iter().map(|&k| k as i64).collect(),
            _ => return Err("it does not say the size of its window".to_owned()),
        };
        let (strides, dilations) = (list("strides", 1, n), list("dilations", 1, n));
        let mut pads = list("pads", 0, 2 * n);
        let auto = text_attribute(node, "auto_pad").unwrap_or("NOTSET").to_owned();
        if auto.starts_with("SAME") {
            for i in 0..n {
                let reach =
                    (to[i + 2] as i64 - 1) * strides[i] + dilations[i] * (kernel[i] - 1) + 1;
                let total = (reach - from[i + 2] as i64).max(0);
                let small = total / 2;
                (pads[i], pads[i + n]) = if auto == "SAME_LOWER" {
                    (total - small, small)
                } else {
                    (small, total - small)
                };
            }
        }
        let sane =
            kernel.iter().chain(&strides).chain(&dilations).all(|&v| (1..=1 << 20).contains(&v))
                && pads.iter().all(|&v| (0..=1 << 20).contains(&v));
        if sane {
            Ok(Self { kernel, strides, dilations, pads })
        } else {
            Err("its window is unusual".into())
        }
    }

    /// Adds up what each window got over the places it covers: `g [images,
    /// channels, rows, columns]` with the convolution's `weights`.
    pub(super) fn spread(
        &self,
        b: &mut Backward<'_, '_>,
        g: &str,
        weights: &str,
        group: i64,
        (from, to): (&[usize], &[usize]),
    ) -> Result<String, Unsupported> {
        let n = self.kernel.len();
        // Rows and columns behind the last window.
        let mut left = Vec::with_capacity(n);
        let mut pads = self.pads.clone();
        for i in 0..n {
            let reach = (to[i + 2] as i64 - 1) * self.strides[i]
                + self.dilations[i] * (self.kernel[i] - 1)
                + 1
                - self.pads[i];
            // Windows may reach beyond the padding (rounding up).
            let spare = from[i + 2] as i64 - reach;
            pads[i + n] = (-spare).max(0);
            left.push(spare.max(0));
        }
        if left.iter().zip(&self.strides).any(|(left, stride)| left >= stride) {
            return Err("its windows leave too much out".to_owned());
        }
        let attrs = [
            ("kernel_shape", Attr::Ints(&self.kernel)),
            ("strides", Attr::Ints(&self.strides)),
            ("dilations", Attr::Ints(&self.dilations)),
            ("pads", Attr::Ints(&pads)),
            ("output_padding", Attr::Ints(&left)),
            ("group", Attr::Int(group)),
        ];
        Ok(b.out.op("ConvTranspose", &[g, weights], &attrs))
    }
}

fn conv(b: &mut Backward<'_, '_>, node: &NodeProto, g: &str) -> Parts {
    if b.wants(node, 1) || b.wants(node, 2) {
        return Err("its weights depend on the picture".to_owned());
    }
    let (from, to) = (b.dims(&node.input[0])?, b.dims(&node.output[0])?);
    let weights = node.input.get(1).ok_or("it has no weights")?;
    let stored = b.dims(weights)?;
    let w = b.input(node, 1)?;
    if from.len() < 3 || to.len() != from.len() || stored.len() != from.len() {
        return Err("its shape is unusual".to_owned());
    }
    if is_pointwise(node, &stored) && places(&from) == 1 && places(&to) == 1 {
        let w = b.out.reshape(&w, &[stored[0] as i64, stored[1] as i64]);
        let r = times(b, g, stored[0], &w, false);
        return Ok(vec![(0, b.reshaped(&r, &from))]);
    }
    let windows = Windows::of(node, &from, &to, stored.get(2..))?;
    let flat = b.reshaped(g, &to[1..]);
    let group = int_attribute(node, "group").unwrap_or(1);
    let r = windows.spread(b, &flat, &w, group, (&from, &to))?;
    Ok(vec![(0, b.reshaped(&r, &from))])
}

fn batch_norm(b: &mut Backward<'_, '_>, node: &NodeProto, g: &str) -> Parts {
    if flag(node, "training_mode") || (1..5).any(|n| b.wants(node, n)) {
        return Err("it normalises with the picture's own statistics".to_owned());
    }
    let rank = b.dims(&node.input[0])?.len();
    let (scale, variance) = (b.input(node, 1)?, b.input(node, 4)?);
    let epsilon = float_attribute(node, "epsilon").unwrap_or(1e-5);
    let variance = b.out.plus(&variance, epsilon);
    let deviation = b.out.one("Sqrt", &variance);
    let mut factor = b.out.two("Div", &scale, &deviation);
    if rank > 2 {
        let mut shape = vec![1; rank - 1];
        shape[0] = -1;
        factor = b.out.reshape(&factor, &shape);
    }
    Ok(vec![(0, b.out.mul(g, &factor))])
}

/// Normalisation of mean and variance over `axes`, then a scale, which belongs
/// to the channels or else to the normalised axes.
fn normalised(
    b: &mut Backward<'_, '_>,
    node: &NodeProto,
    g: &str,
    axes: &[usize],
    per_channel: bool,
) -> Parts {
    if b.wants(node, 1) || b.wants(node, 2) {
        return Err("its scale depends on the picture".to_owned());
    }
    let rank = b.dims(&node.input[0])?.len();
    let x = b.input(node, 0)?;
    let mut scale = b.input(node, 1)?;
    if per_channel {
        let mut shape = vec![1; rank - 1];
        shape[0] = -1;
        scale = b.out.reshape(&scale, &shape);
    }
    let mean = b.out.mean(&x, axes, true);
    let centred = b.out.two("Sub", &x, &mean);
    let squared = b.out.mul(&centred, &centred);
    let variance = b.out.mean(&squared, axes, true);
    let variance = b.out.plus(&variance, float_attribute(node, "epsilon").unwrap_or(1e-5));
    let deviation = b.out.one("Sqrt", &variance);
    let unit = b.out.two("Div", &centred, &deviation);
    // (g - mean(g) - unit * mean(g * unit)) / deviation
    let g = b.out.mul(g, &scale);
    let later: Vec<usize> = axes.iter().map(|a| a + 1).collect();
    let mean = b.out.mean(&g, &later, true);
    let along = b.out.mul(&g, &unit);
    let along = b.out.mean(&along, &later, true);
    let along = b.out.mul(&unit, &along);
    let r = b.out.two("Sub", &g, &mean);
    let r = b.out.two("Sub", &r, &along);
    Ok(vec![(0, b.out.two("Div", &r, &deviation))])
}

fn unit_length(b: &mut Backward<'_, '_>, node: &NodeProto, g: &str) -> Parts {
    if int_attribute(node, "p").unwrap_or(2) != 2 {
        return Err("it divides by another length than the Euclidean one".to_owned());
    }
    let axis = axis_of(node, "axis", -1, b.dims(&node.input[0])?.len())?;
    let (x, y) = (b.input(node, 0)?, b.value(&node.output[0]));
    let squared = b.out.mul(&x, &x);
    let length = b.out.sum(&squared, &[axis], true);
    let length = b.out.one("Sqrt", &length);
    let along = b.out.mul(g, &y);
    let along = b.out.sum(&along, &[axis + 1], true);
    let along = b.out.mul(&along, &y);
    let r = b.out.two("Sub", g, &along);
    Ok(vec![(0, b.out.two("Div", &r, &length))])
}
