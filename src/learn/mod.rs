//! Learns a linear layer from examples: how strongly to hold it back is chosen
//! by cross-validation over groups, how sure it may be is calibrated on answers
//! about pictures it has not seen, and a part that nothing was learnt from
//! tells how good it is.
//!
//! Called with features and classes; must not know where they come from or
//! where the layer goes. The parts can be worked on at the same time: see
//! [`Course::fold`].

mod folds;
mod logistic;

use ndarray::{Array1, Array2, Axis};

pub use folds::FEWEST;
use folds::Folds;
pub use logistic::Linear;
use logistic::{Problem, log_loss};

/// Penalties that are tried, strongest first: each fit begins where the last
/// one ended. For features of mean square length 1.
const PENALTIES: [f64; 11] = [10.0, 1.0, 0.1, 0.03, 0.01, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5];

/// Examples to learn from.
#[derive(Clone, Debug)]
pub struct Samples {
    /// One row of features per sample.
    pub features: Array2<f32>,
    /// Class of each sample.
    pub classes: Vec<usize>,
    /// Group of each sample: those of one video are in one.
    pub groups: Vec<usize>,
    /// Number of classes.
    pub class_count: usize,
}

/// Everything that is needed to learn, prepared.
#[derive(Debug)]
pub struct Course {
    samples: Samples,
    folds: Folds,
    /// Mean of the features, and what they were divided by.
    mean: Array1<f32>,
    scale: f32,
    /// In scaled features: where the penalty pulls to, where the search begins.
    centre: Linear,
}

/// What one part of the cross-validation gives: for each penalty the logits of
/// the samples of the part.
#[derive(Debug)]
pub struct FoldResult {
    samples: Vec<usize>,
    logits: Vec<Array2<f32>>,
}

/// What was learnt.
#[derive(Clone, Debug)]
pub struct Learnt {
    /// The layer, learnt from all samples.
    pub layer: Linear,
    /// What its logits are to be divided by to be probabilities.
    pub temperature: f32,
    /// The penalty that was chosen.
    pub penalty: f64,
    /// Mean loss of the classes in the cross-validation that chose it.
    pub loss: f64,
    /// Samples that the layer behind [`held_out_logits`](Self::held_out_logits)
    /// has not seen, nor anything that was chosen.
    pub held_out: Vec<usize>,
    /// Its logits for them.
    pub held_out_logits: Array2<f32>,
    /// Classes with so few groups that the parts share some.
    pub classes_with_few_groups: Vec<usize>,
}

impl Course {
    /// Prepares to learn from `samples`. The penalty pulls towards `mix` (0..1)
    /// times the layer `known`, when there is one.
    pub fn new(mut samples: Samples, known: Option<&Linear>, mix: f32) -> Self {
        let folds = Folds::deal(&samples.classes, &samples.groups, samples.class_count);
        let (count, width) = samples.features.dim();
        let mean = samples.features.mean_axis(Axis(0)).unwrap_or_else(|| Array1::zeros(width));
        samples.features -= &mean;
        let square: f64 = samples.features.iter().map(|v| f64::from(*v).powi(2)).sum();
        let scale = ((square / count.max(1) as f64).sqrt() as f32).max(1e-12);
        samples.features /= scale;
        let centre = match known {
            Some(known) => {
                let weights = &known.weights * mix;
                let bias = (&known.bias * mix) + &weights.dot(&mean);
                Linear { weights: weights * scale, bias }
            }
            None => Linear::zeros(samples.class_count, width),
        };
        Self { samples, folds, mean, scale, centre }
    }

    /// Parts for [`Course::fold`]; part 0 is held out.
    pub fn folds(&self) -> usize {
        self.folds.count
    }

    /// Learns from all parts but part 0 and part `fold`, with every penalty.
    pub fn fold(&self, fold: usize) -> FoldResult {
        let (seen, samples) = self.split(|f| f != 0 && f != fold, |f| f == fold);
        let features = self.samples.features.select(Axis(0), &samples);
        let layers = self.learn(&seen, &PENALTIES);
        let logits = layers.iter().map(|layer| layer.logits(features.view())).collect();
        FoldResult { samples, logits }
    }

    /// Chooses the penalty by the results of all parts, and learns from all.
    ///
    /// The results are those of every part, in order. Part 0's are the answers
    /// about the part that is held out: they choose nothing.
    pub fn finish(self, results: &[FoldResult]) -> Learnt {
        let (held_out, chosen_by) = match results.split_first() {
            Some((held_out, rest)) => (held_out, rest),
            None => return self.nothing_learnt(),
        };
        let mut best = (f64::INFINITY, 0);
        for index in 0..PENALTIES.len() {
            let loss = self.validation_loss(chosen_by, index);
            if loss < best.0 {
                best = (loss, index);
            }
        }
        let index = best.1;
        let everything: Vec<usize> = (0..self.samples.classes.len()).collect();
        let mut layer = self
            .learn(&everything, &PENALTIES[..=index])
            .pop()
            .unwrap_or_else(|| self.centre.clone());
        let temperature = self.temperature(results, index, false);
        layer.weights /= self.scale;
        layer.bias = &layer.bias - &layer.weights.dot(&self.mean);
        Learnt {
            layer,
            temperature,
            penalty: PENALTIES[index],
            loss: best.0,
            held_out: held_out.samples.clone(),
            held_out_logits: held_out.logits[index].clone(),
            classes_with_few_groups: self.folds.split_classes,
        }
    }

    fn nothing_learnt(self) -> Learnt {
        Learnt {
            layer: Linear::zeros(self.samples.class_count, self.mean.len()),
            temperature: 1.0,
            penalty: PENALTIES[0],
            loss: f64::INFINITY,
            held_out: Vec::new(),
            held_out_logits: Array2::zeros((0, self.samples.class_count)),
            classes_with_few_groups: self.folds.split_classes,
        }
    }

    /// The samples of the parts that are learnt from, and of those that are
    /// asked about.
    fn split(
        &self,
        seen: impl Fn(usize) -> bool,
        asked: impl Fn(usize) -> bool,
    ) -> (Vec<usize>, Vec<usize>) {
        let of = |wanted: &dyn Fn(usize) -> bool| {
            (0..self.folds.of.len()).filter(|&i| wanted(self.folds.of[i])).collect()
        };
        (of(&seen), of(&asked))
    }

    /// A layer for each penalty, learnt from the samples `seen`, classes
    /// counting the same however many samples they have.
    fn learn(&self, seen: &[usize], penalties: &[f64]) -> Vec<Linear> {
        let features = self.samples.features.select(Axis(0), seen);
        let classes: Vec<usize> = seen.iter().map(|&i| self.samples.classes[i]).collect();
        let shares = balanced_shares(&classes, self.samples.class_count);
        let mut layer = self.centre.clone();
        let mut layers = Vec::with_capacity(penalties.len());
        for &lambda in penalties {
            let centre = &self.centre.weights;
            let problem = Problem {
                features: features.view(),
                classes: &classes,
                shares: &shares,
                lambda,
                centre,
            };
            layer = problem.fit(&layer);
            layers.push(layer.clone());
        }
        layers
    }

    /// Mean loss of the classes at the best temperature: what calibration will
    /// mend is no reason against a penalty.
    fn validation_loss(&self, results: &[FoldResult], index: usize) -> f64 {
        let t = self.temperature(results, index, true);
        self.loss_at(results, index, f64::from(t), true)
    }

    fn loss_at(&self, results: &[FoldResult], index: usize, t: f64, balanced: bool) -> f64 {
        let (mut sums, mut counts) =
            (vec![0.0; self.samples.class_count], vec![0usize; self.samples.class_count]);
        for result in results {
            for (row, &i) in result.logits[index].rows().into_iter().zip(&result.samples) {
                let class = self.samples.classes[i];
                sums[class] += log_loss(row.mapv(|v| v / t as f32).view(), class);
                counts[class] += 1;
            }
        }
        if balanced {
            let means = sums.iter().zip(&counts).filter(|(_, n)| **n > 0);
            let means: Vec<f64> = means.map(|(sum, n)| sum / *n as f64).collect();
            means.iter().sum::<f64>() / means.len().max(1) as f64
        } else {
            sums.iter().sum::<f64>() / counts.iter().sum::<usize>().max(1) as f64
        }
    }

    /// The temperature with the least loss, by golden-section search over its
    /// logarithm (Guo et al., "On Calibration of Modern Neural Networks", ICML
    /// 2017, <https://arxiv.org/abs/1706.04599>).
    fn temperature(&self, results: &[FoldResult], index: usize, balanced: bool) -> f32 {
        const GOLDEN: f64 = 0.618_033_988_749_895;
        let loss = |log: f64| self.loss_at(results, index, log.exp(), balanced);
        let (mut low, mut high) = (-7.0f64, 4.0f64);
        let (mut a, mut b) = (high - GOLDEN * (high - low), low + GOLDEN * (high - low));
        let (mut at_a, mut at_b) = (loss(a), loss(b));
        while high - low > 0.01 {
            if at_a <= at_b {
                (high, b, at_b) = (b, a, at_a);
                a = high - GOLDEN * (high - low);
                at_a = loss(a);
            } else {
                (low, a, at_a) = (a, b, at_b);
                b = low + GOLDEN * (high - low);
                at_b = loss(b);
            }
        }
        ((low + high) / 2.0).exp() as f32
    }
}

/// Shares that add up to 1, the same sum for every class that occurs.
fn balanced_shares(classes: &[usize], class_count: usize) -> Vec<f32> {
    let mut counts = vec![0usize; class_count];
    classes.iter().for_each(|&c| counts[c] += 1);
    let present = counts.iter().filter(|n| **n > 0).count().max(1);
    classes.iter().map(|&c| 1.0 / (present * counts[c]) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Noise of a fixed generator, about normal.
    struct Noise(u64);

    impl Noise {
        fn next(&mut self) -> f32 {
            let mut sum = -6.0;
            for _ in 0..12 {
                self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                sum += (self.0 >> 40) as f32 / (1u64 << 24) as f32;
            }
            sum
        }
    }

    /// Thirty groups of ten samples in `width` dimensions; the class shows in
    /// the first dimension, and each group has a place of its own.
    fn samples(width: usize, signal: f32) -> Samples {
        let mut noise = Noise(7);
        let (mut features, mut classes, mut groups) =
            (Array2::zeros((300, width)), Vec::new(), Vec::new());
        let mut place = vec![0.0; width];
        for i in 0..300 {
            let (group, class) = (i / 10, i / 10 % 3);
            if i % 10 == 0 {
                place.iter_mut().for_each(|p| *p = 2.0 * noise.next());
            }
            for (f, value) in features.row_mut(i).iter_mut().enumerate() {
                *value = 5.0 + place[f] + noise.next();
            }
            features[[i, class]] += signal;
            classes.push(class);
            groups.push(group);
        }
        Samples { features, classes, groups, class_count: 3 }
    }

    fn run(course: Course) -> Learnt {
        let results: Vec<_> = (0..course.folds()).map(|f| course.fold(f)).collect();
        course.finish(&results)
    }

    fn accuracy(logits: &Array2<f32>, classes: &[usize]) -> f64 {
        let right = logits
            .rows()
            .into_iter()
            .zip(classes)
            .filter(|(row, class)| row.iter().all(|v| *v <= row[**class]));
        right.count() as f64 / classes.len() as f64
    }

    #[test]
    fn what_separates_is_learnt_and_holds_for_groups_not_seen() {
        let samples = samples(40, 20.0);
        let learnt = run(Course::new(samples.clone(), None, 0.0));
        let classes: Vec<_> = learnt.held_out.iter().map(|&i| samples.classes[i]).collect();
        assert!(accuracy(&learnt.held_out_logits, &classes) > 0.95);
        let all = learnt.layer.logits(samples.features.view());
        assert!(accuracy(&all, &samples.classes) > 0.97);
        assert!((40..=90).contains(&classes.len()), "{}", classes.len());
    }

    #[test]
    fn without_a_signal_it_is_no_better_than_chance_and_says_so_by_its_temperature() {
        let samples = samples(200, 0.0);
        let learnt = run(Course::new(samples.clone(), None, 0.0));
        let classes: Vec<_> = learnt.held_out.iter().map(|&i| samples.classes[i]).collect();
        // Groups can be learnt by heart, so this fails where they are torn.
        assert!(accuracy(&learnt.held_out_logits, &classes) < 0.6);
        let all = learnt.layer.logits(samples.features.view()) / learnt.temperature;
        let sure = all.rows().into_iter().map(|row| {
            let sum: f32 = row.iter().map(|v| v.exp()).sum();
            row.iter().fold(0.0f32, |m, v| m.max(v.exp() / sum))
        });
        let mean = sure.sum::<f32>() / 300.0;
        assert!(mean < 0.65, "{mean} sure of nothing");
    }

    #[test]
    fn a_strong_penalty_leads_back_to_what_was_known_or_a_part_of_it() {
        let samples = samples(40, 20.0);
        let known = run(Course::new(samples.clone(), None, 0.0)).layer;
        let everything: Vec<usize> = (0..300).collect();
        for mix in [1.0, 0.5] {
            let course = Course::new(samples.clone(), Some(&known), mix);
            let held = course.learn(&everything, &[1e6]).pop().unwrap();
            let weights = held.weights / course.scale;
            for (got, known) in weights.iter().zip(&known.weights) {
                assert!((got - mix * known).abs() < 1e-3, "{got} is not {mix} of {known}");
            }
        }
    }
}
