//! Multinomial logistic regression with an L2 penalty, minimised with L-BFGS
//! (Liu and Nocedal, "On the limited memory BFGS method for large scale
//! optimization", Mathematical Programming 45, 1989).

use std::collections::VecDeque;

use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis};

/// Pairs of steps that L-BFGS remembers.
const MEMORY: usize = 10;
/// Iterations at most; the problems here need 10 to 100.
const ITERATIONS: usize = 200;
/// Relative decrease of the loss below which it is minimised.
const ENOUGH: f64 = 1e-6;
/// Halvings of one step before the search is given up: the loss is in 32-bit
/// floats and cannot tell smaller steps apart.
const HALVINGS: usize = 20;

/// A linear layer: logits are `weights . features + bias`.
#[derive(Clone, Debug, PartialEq)]
pub struct Linear {
    /// One row per class.
    pub weights: Array2<f32>,
    /// One value per class.
    pub bias: Array1<f32>,
}

impl Linear {
    /// A layer that says nothing.
    pub fn zeros(classes: usize, features: usize) -> Self {
        Self { weights: Array2::zeros((classes, features)), bias: Array1::zeros(classes) }
    }

    /// One row of logits per row of features.
    pub fn logits(&self, features: ArrayView2<'_, f32>) -> Array2<f32> {
        features.dot(&self.weights.t()) + &self.bias
    }
}

/// What is to be fitted.
pub(super) struct Problem<'a> {
    /// One row per sample.
    pub(super) features: ArrayView2<'a, f32>,
    /// The class of each sample.
    pub(super) classes: &'a [usize],
    /// How much each sample counts; they add up to 1.
    pub(super) shares: &'a [f32],
    /// Half of this times the squared distance from `centre` is the penalty.
    pub(super) lambda: f64,
    /// The weights that cost nothing.
    pub(super) centre: &'a Array2<f32>,
}

impl Problem<'_> {
    /// The best layer; the search begins at `start`.
    pub(super) fn fit(&self, start: &Linear) -> Linear {
        let (classes, features) = start.weights.dim();
        let flat = |layer: &Linear| -> Array1<f64> {
            layer.weights.iter().chain(&layer.bias).map(|&v| f64::from(v)).collect()
        };
        let layer = |flat: &Array1<f64>| -> Linear {
            let values: Vec<f32> = flat.iter().map(|&v| v as f32).collect();
            let (weights, bias) = values.split_at(classes * features);
            // The lengths are right by construction.
            let weights = Array2::from_shape_vec((classes, features), weights.to_vec());
            Linear {
                weights: weights.unwrap_or_else(|_| Array2::zeros((classes, features))),
                bias: Array1::from(bias.to_vec()),
            }
        };
        let best = minimise(flat(start), |x| {
            let (loss, gradient) = self.loss(&layer(x));
            (loss, flat(&gradient))
        });
        layer(&best)
    }

    /// Loss and its gradient.
    fn loss(&self, layer: &Linear) -> (f64, Linear) {
        let mut errors = layer.logits(self.features);
        let mut loss = 0.0;
        for ((mut row, &class), &share) in
            errors.axis_iter_mut(Axis(0)).zip(self.classes).zip(self.shares)
        {
            loss += f64::from(share) * log_loss(row.view(), class);
            softmax(&mut row);
            row[class] -= 1.0;
            row *= share;
        }
        let away = &layer.weights - self.centre;
        loss += 0.5 * self.lambda * away.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>();
        let mut weights = errors.t().dot(&self.features);
        weights.scaled_add(self.lambda as f32, &away);
        (loss, Linear { weights, bias: errors.sum_axis(Axis(0)) })
    }
}

/// Minus the logarithm of the probability of `class`.
pub(super) fn log_loss(logits: ArrayView1<'_, f32>, class: usize) -> f64 {
    let most = logits.fold(f32::NEG_INFINITY, |a, &b| a.max(b));
    let sum: f64 = logits.iter().map(|&v| f64::from(v - most).exp()).sum();
    sum.ln() - f64::from(logits[class] - most)
}

fn softmax(row: &mut ndarray::ArrayViewMut1<'_, f32>) {
    let most = row.fold(f32::NEG_INFINITY, |a, &b| a.max(b));
    row.mapv_inplace(|v| (v - most).exp());
    let sum = row.sum();
    row.mapv_inplace(|v| v / sum);
}

/// The minimum of a convex function near `x`.
fn minimise(
    mut x: Array1<f64>,
    mut function: impl FnMut(&Array1<f64>) -> (f64, Array1<f64>),
) -> Array1<f64> {
    let (mut value, mut gradient) = function(&x);
    let mut steps: VecDeque<(Array1<f64>, Array1<f64>)> = VecDeque::with_capacity(MEMORY);
    for _ in 0..ITERATIONS {
        let mut direction = direction(&gradient, &steps);
        let mut slope = gradient.dot(&direction);
        if slope >= 0.0 {
            steps.clear();
            direction = -&gradient;
            slope = gradient.dot(&direction);
        }
        if slope == 0.0 || !slope.is_finite() {
            break;
        }
        // The first step knows no curvature: it goes one unit, not further.
        let mut length =
            if steps.is_empty() { 1.0 / gradient.dot(&gradient).sqrt().max(1.0) } else { 1.0 };
        let mut found = None;
        for _ in 0..HALVINGS {
            let next = &x + &(&direction * length);
            let (lower, slopes) = function(&next);
            if lower <= value + 1e-4 * length * slope {
                found = Some((next, lower, slopes));
                break;
            }
            length *= 0.5;
        }
        let Some((next, lower, slopes)) = found else { break };
        let (step, change) = (&next - &x, &slopes - &gradient);
        if step.dot(&change) > 1e-12 * change.dot(&change) {
            if steps.len() == MEMORY {
                steps.pop_front();
            }
            steps.push_back((step, change));
        }
        let gain = (value - lower) / value.abs().max(1e-12);
        (x, value, gradient) = (next, lower, slopes);
        if gain < ENOUGH {
            break;
        }
    }
    x
}

/// Minus the inverse curvature, as far as the remembered steps tell, times the
/// gradient: the two-loop recursion.
fn direction(gradient: &Array1<f64>, steps: &VecDeque<(Array1<f64>, Array1<f64>)>) -> Array1<f64> {
    let mut q = gradient.clone();
    let mut parts = Vec::with_capacity(steps.len());
    for (step, change) in steps.iter().rev() {
        let part = step.dot(&q) / step.dot(change);
        q.scaled_add(-part, change);
        parts.push(part);
    }
    if let Some((step, change)) = steps.back() {
        q *= step.dot(change) / change.dot(change);
    }
    for ((step, change), part) in steps.iter().zip(parts.iter().rev()) {
        let back = change.dot(&q) / step.dot(change);
        q.scaled_add(part - back, step);
    }
    -q
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn the_minimum_is_scikit_learns() {
        // LogisticRegression(C = 1 / (0.05 * 6)) of scikit-learn 1.9; its
        // softmax weights, whose sum over classes is zero as here.
        let features =
            array![[1.0f32, 2.0], [2.0, 1.0], [-1.0, 0.5], [-2.0, -1.0], [0.5, -2.0], [1.5, -1.0]];
        let classes = [0, 0, 1, 1, 2, 2];
        let problem = Problem {
            features: features.view(),
            classes: &classes,
            shares: &[1.0 / 6.0; 6],
            lambda: 0.05,
            centre: &Array2::zeros((3, 2)),
        };
        let layer = problem.fit(&Linear::zeros(3, 2));
        let wanted = array![[0.7278, 1.0539], [-1.2610, 0.1084], [0.5332, -1.1623]];
        for (got, wanted) in layer.weights.iter().zip(wanted.iter()) {
            assert!((got - wanted).abs() < 2e-2, "{layer:?}");
        }
        let best = layer.logits(features.view());
        for (row, class) in best.rows().into_iter().zip(classes) {
            assert!(row.iter().all(|v| *v <= row[class]), "{best}");
        }
    }

    #[test]
    fn a_strong_penalty_leads_back_to_the_centre() {
        let features = array![[1.0f32, 0.0], [0.0, 1.0]];
        let centre = array![[3.0f32, -1.0], [0.0, 2.0]];
        let problem = Problem {
            features: features.view(),
            classes: &[1, 0],
            shares: &[0.5, 0.5],
            lambda: 1e4,
            centre: &centre,
        };
        let layer = problem.fit(&Linear::zeros(2, 2));
        for (got, wanted) in layer.weights.iter().zip(&centre) {
            assert!((got - wanted).abs() < 1e-2, "{layer:?}");
        }
    }

    #[test]
    fn a_hard_valley_is_walked_to_its_end() {
        // A long narrow valley: the scales of the axes differ by 1e4.
        let scales = array![1.0, 1e2, 1e4];
        let lowest = array![3.0, -2.0, 1.0];
        let best = minimise(Array1::zeros(3), |x| {
            let away = x - &lowest;
            ((&scales * &away * &away).sum() * 0.5 + 1.0, &scales * &away)
        });
        assert!((&best - &lowest).iter().all(|v| v.abs() < 1e-2), "{best}");
    }
}
