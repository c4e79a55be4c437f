//! The methods' formulas over a feature map and the gradient at it.
//!
//! Behind average pooling the gradient is the same everywhere, so that vectors
//! `[K, N, C]` take the place of maps `[K, N, C, rows, columns]`. Maps come out
//! as `[N, K, rows, columns]`.

use super::super::writer::Appender;
use super::backward::Backward;
use super::{Finding, Pool};
use crate::explain::{FeatureLayout, Method};

/// Feature map and gradient, ready for the formulas.
pub(super) struct Evidence {
    /// `[N, C, Z]`, Z being the number of positions.
    features: String,
    gradient: Gradient,
    images: usize,
    rows: usize,
    cols: usize,
}

enum Gradient {
    /// Of the pooled vector: `[K, N, C]`. Positions get it times `scale`;
    /// `sums [N, C]` are the features' sums.
    Pooled { vector: String, scale: f32, sums: String },
    /// Of every position: `[K, N, C, Z]`.
    Full(String),
}

impl Evidence {
    /// From the gradient of the pooled vector.
    pub(super) fn pooled(b: &mut Backward<'_, '_>, found: &Finding, pool: &Pool, g: &str) -> Self {
        let vector = [-1, found.images as i64, found.channels as i64];
        let gradient = b.out.reshape(g, &vector);
        let pooled = b.value(&pool.tensor);
        let sums = b.out.reshape(&pooled, &vector[1..]);
        let sums = b.out.scale(&sums, 1.0 / pool.scale);
        let gradient = Gradient::Pooled { vector: gradient, scale: pool.scale, sums };
        Self::new(b, found, gradient)
    }

    /// From the gradient of the feature map.
    pub(super) fn full(b: &mut Backward<'_, '_>, found: &Finding, g: &str) -> Self {
        let g = channels_first(b.out, found, g, 1);
        Self::new(b, found, Gradient::Full(g))
    }

    fn new(b: &mut Backward<'_, '_>, found: &Finding, gradient: Gradient) -> Self {
        let feature = b.value(&found.feature_tensor);
        let features = channels_first(b.out, found, &feature, 0);
        let Finding { images, rows, cols, .. } = *found;
        Self { features, gradient, images, rows, cols }
    }

    /// The map of `method`.
    pub(super) fn map(&self, out: &mut Appender<'_>, method: Method) -> String {
        let positions = self.rows * self.cols;
        match &self.gradient {
            Gradient::Pooled { vector, scale, sums } => {
                let weights = match method {
                    Method::Cam => {
                        let mean = scale * positions as f32;
                        out.scale(vector, if (mean - 1.0).abs() < 1e-5 { 1.0 } else { mean })
                    }
                    Method::GradCam | Method::HiResCam => out.scale(vector, *scale),
                    Method::LayerCam => {
                        let positive = out.one("Relu", vector);
                        out.scale(&positive, *scale)
                    }
                    Method::GradCamPlusPlus { eps } => {
                        let g = out.scale(vector, *scale);
                        let weights = plus_plus(out, &g, sums, eps);
                        out.scale(&weights, positions as f32)
                    }
                };
                self.weighted(out, &weights)
            }
            Gradient::Full(g) => match method {
                Method::Cam | Method::HiResCam => self.product(out, g),
                Method::LayerCam => {
                    let positive = out.one("Relu", g);
                    self.product(out, &positive)
                }
                Method::GradCam => {
                    let weights = out.mean(g, &[3], false);
                    self.weighted(out, &weights)
                }
                Method::GradCamPlusPlus { eps } => {
                    let sums = out.sum(&self.features, &[2], true);
                    let weights = plus_plus(out, g, &sums, eps);
                    let weights = out.sum(&weights, &[3], false);
                    self.weighted(out, &weights)
                }
            },
        }
    }

    /// `sum_k w_k A_k` with weights `[K, N, C]`.
    fn weighted(&self, out: &mut Appender<'_>, weights: &str) -> String {
        let weights = out.transpose(weights, &[1, 0, 2]);
        let map = out.two("MatMul", &weights, &self.features);
        self.shaped(out, &map)
    }

    /// `sum_k G_k A_k` with a gradient `[K, N, C, Z]`.
    fn product(&self, out: &mut Appender<'_>, g: &str) -> String {
        let product = out.mul(g, &self.features);
        let map = out.sum(&product, &[2], false);
        let map = out.transpose(&map, &[1, 0, 2]);
        self.shaped(out, &map)
    }

    fn shaped(&self, out: &mut Appender<'_>, map: &str) -> String {
        out.reshape(map, &[self.images as i64, -1, self.rows as i64, self.cols as i64])
    }
}

/// `relu(G) alpha`, to be summed over positions; `sums` are those of the
/// features. Dividing numerator and denominator of alpha by G^2 makes the
/// formula indifferent to the scale of G, as long as `eps` is zero.
fn plus_plus(out: &mut Appender<'_>, g: &str, sums: &str, eps: f32) -> String {
    let pull = out.mul(sums, g);
    let zero = out.float(0.0);
    let (numerator, denominator) = if eps == 0.0 {
        (out.one("Relu", g), out.plus(&pull, 2.0))
    } else {
        let squared = out.mul(g, g);
        let twice = out.scale(&squared, 2.0);
        let cubed = out.mul(&squared, &pull);
        let both = out.two("Add", &twice, &cubed);
        let positive = out.one("Relu", g);
        (out.mul(&positive, &squared), out.plus(&both, eps))
    };
    let nothing = out.equal(&denominator, &zero);
    let one = out.float(1.0);
    let safe = out.choose(&nothing, &one, &denominator);
    let weights = out.two("Div", &numerator, &safe);
    out.choose(&nothing, &zero, &weights)
}

/// A feature map, or its gradient with one more axis in front, as `[..., N, C,
/// Z]`.
fn channels_first(out: &mut Appender<'_>, found: &Finding, tensor: &str, lead: usize) -> String {
    let perm = |order: &[usize]| -> Vec<usize> {
        (0..lead).chain(order.iter().map(|i| i + lead)).collect()
    };
    let tensor = match found.layout {
        FeatureLayout::Nchw => tensor.to_owned(),
        FeatureLayout::Nhwc => out.transpose(tensor, &perm(&[0, 3, 1, 2])),
        FeatureLayout::Tokens => {
            let last = found.skip + found.positions();
            let picture = if found.skip > 0 {
                out.slice(tensor, lead + 1, found.skip as i64, last as i64)
            } else {
                tensor.to_owned()
            };
            out.transpose(&picture, &perm(&[0, 2, 1]))
        }
    };
    let (n, c, z) = (found.images as i64, found.channels as i64, found.positions() as i64);
    let shape = [-1, n, c, z];
    out.reshape(&tensor, &shape[1 - lead..])
}
