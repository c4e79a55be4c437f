//! How good a classifier's answers are: accuracy, calibration, and where it
//! goes wrong. Called with the answers to labelled pictures; must not know how
//! they came about.

mod bootstrap;
mod curves;
pub mod faithfulness;
mod labels;
mod report;

use serde::Serialize;

use bootstrap::Groups;
pub use labels::{LabelError, class_of};
pub use report::{Facts, Mistake, html};

/// Bins of the calibration error.
const BINS: usize = 15;

/// The answer to one labelled picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The right class.
    pub truth: usize,
    /// One per class.
    pub probabilities: Vec<f32>,
    /// Video or source the picture is from, where that is known.
    pub group: Option<String>,
}

impl Answer {
    /// The most probable class, the first one of several.
    pub fn predicted(&self) -> usize {
        let best = |best: usize, (i, p): (usize, &f32)| {
            if *p > self.probabilities[best] { i } else { best }
        };
        self.probabilities.iter().enumerate().fold(0, best)
    }

    /// True when the most probable class is the right one.
    pub fn is_right(&self) -> bool {
        self.predicted() == self.truth
    }

    /// How sure the wrong answer was: the lead of the most probable class over
    /// the right one, 0 for right answers.
    pub fn fault(&self) -> f32 {
        let p = |class: usize| self.probabilities.get(class).copied().unwrap_or(0.0);
        p(self.predicted()) - p(self.truth)
    }
}

/// One class in the scores.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassScores {
    /// Its label.
    pub label: String,
    /// Pictures of it.
    pub n: usize,
    /// Part of the pictures taken for it that are of it; none when there are
    /// no such pictures.
    pub precision: Option<f64>,
    /// Part of its pictures that are taken for it; none when there are none.
    pub recall: Option<f64>,
}

/// One group in the scores.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GroupScores {
    /// Its name.
    pub group: String,
    /// Pictures in it.
    pub n: usize,
    /// Part of them whose answer is right.
    pub accuracy: f64,
}

/// What the answers to a set of pictures amount to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Scores {
    /// Pictures.
    pub n: usize,
    /// Part of the answers that are right.
    pub accuracy: f64,
    /// Mean recall of the classes that occur.
    pub balanced_accuracy: f64,
    /// 95 % interval of the balanced accuracy, by resampling the groups (or
    /// the pictures, where there are no groups).
    pub balanced_accuracy_95: [f64; 2],
    /// Area under the receiver operating characteristic; only of two classes
    /// that both occur.
    pub auc: Option<f64>,
    /// Expected calibration error of the best class's probability in 15 bins
    /// of equal width (Guo et al., "On Calibration of Modern Neural Networks",
    /// ICML 2017, <https://arxiv.org/abs/1706.04599>).
    pub ece: f64,
    /// The classes that occur, as truth or as answer, in the head's order.
    pub labels: Vec<String>,
    /// The same classes.
    pub per_class: Vec<ClassScores>,
    /// Pictures by true class (rows) and answer (columns).
    pub confusion: Vec<Vec<usize>>,
    /// Groups, worst first; empty where they are not known.
    pub groups: Vec<GroupScores>,
}

impl Scores {
    /// The scores of `answers` by a head with these labels; none when there
    /// are no answers.
    pub fn of<L: AsRef<str>>(labels: &[L], answers: &[Answer]) -> Option<Self> {
        if answers.is_empty() {
            return None;
        }
        let n = answers.len();
        let mut counts = vec![vec![0usize; labels.len()]; labels.len()];
        for answer in answers {
            *counts.get_mut(answer.truth)?.get_mut(answer.predicted())? += 1;
        }
        let taken_for = |class: usize| counts.iter().map(|row| row[class]).sum::<usize>();
        let of = |class: usize| counts[class].iter().sum::<usize>();
        let classes: Vec<usize> = (0..labels.len()).filter(|&c| of(c) + taken_for(c) > 0).collect();
        let part = |right: usize, all: usize| (all > 0).then(|| right as f64 / all as f64);
        let name = |class: usize| labels[class].as_ref().to_owned();
        let per_class: Vec<_> = classes
            .iter()
            .map(|&c| ClassScores {
                label: name(c),
                n: of(c),
                precision: part(counts[c][c], taken_for(c)),
                recall: part(counts[c][c], of(c)),
            })
            .collect();
        let right = answers.iter().filter(|a| a.is_right()).count();
        Some(Self {
            n,
            accuracy: right as f64 / n as f64,
            balanced_accuracy: balanced(answers.iter(), labels.len()),
            balanced_accuracy_95: interval(answers, labels.len()),
            auc: (labels.len() == 2).then(|| auc(answers)).flatten(),
            ece: calibration_error(answers),
            labels: classes.iter().map(|&c| name(c)).collect(),
            confusion: classes
                .iter()
                .map(|&t| classes.iter().map(|&p| counts[t][p]).collect())
                .collect(),
            per_class,
            groups: group_scores(answers),
        })
    }
}

/// Mean recall of the classes that occur; zero without answers.
pub fn balanced<'a>(answers: impl Iterator<Item = &'a Answer>, classes: usize) -> f64 {
    let mut seen = vec![(0usize, 0usize); classes];
    for answer in answers {
        if let Some((right, all)) = seen.get_mut(answer.truth) {
            *right += usize::from(answer.is_right());
            *all += 1;
        }
    }
    let recalls: Vec<f64> =
        seen.iter().filter(|s| s.1 > 0).map(|&(right, all)| right as f64 / all as f64).collect();
    recalls.iter().sum::<f64>() / recalls.len().max(1) as f64
}

/// The probability that a picture of class 1 gets more of class 1 than one of
/// class 0 does; ties count half.
fn auc(answers: &[Answer]) -> Option<f64> {
    let mut order: Vec<(f32, bool)> =
        answers.iter().map(|a| (a.probabilities[1], a.truth == 1)).collect();
    order.sort_by(|a, b| a.0.total_cmp(&b.0));
    let positive = order.iter().filter(|o| o.1).count();
    let negative = order.len() - positive;
    if positive == 0 || negative == 0 {
        return None;
    }
    // Sum of the ranks of class 1, ties sharing their mean rank.
    let mut sum = 0.0;
    for tied in order.chunk_by(|a, b| a.0 == b.0).scan(0usize, |before, tied| {
        let rank = *before as f64 + (tied.len() as f64 + 1.0) / 2.0;
        *before += tied.len();
        Some(rank * tied.iter().filter(|t| t.1).count() as f64)
    }) {
        sum += tied;
    }
    let (p, n) = (positive as f64, negative as f64);
    Some((sum - p * (p + 1.0) / 2.0) / (p * n))
}

fn calibration_error(answers: &[Answer]) -> f64 {
    let mut bins = [(0usize, 0usize, 0.0f64); BINS];
    for answer in answers {
        let sure = f64::from(answer.probabilities[answer.predicted()]).clamp(0.0, 1.0);
        // Bins are open below: 0.2 belongs to the bin that ends there.
        let bin = ((sure * BINS as f64).ceil() as usize).clamp(1, BINS) - 1;
        let (n, right, sum) = &mut bins[bin];
        (*n, *right, *sum) = (*n + 1, *right + usize::from(answer.is_right()), *sum + sure);
    }
    let gap = |&(_, right, sum): &(usize, usize, f64)| (right as f64 - sum).abs();
    bins.iter().map(gap).sum::<f64>() / answers.len() as f64
}

fn group_scores(answers: &[Answer]) -> Vec<GroupScores> {
    let mut groups = std::collections::BTreeMap::<&str, (usize, usize)>::new();
    for answer in answers {
        if let Some(group) = &answer.group {
            let (right, n) = groups.entry(group).or_default();
            (*right, *n) = (*right + usize::from(answer.is_right()), *n + 1);
        }
    }
    let mut scores: Vec<GroupScores> = groups
        .into_iter()
        .map(|(group, (right, n))| GroupScores {
            group: group.to_owned(),
            n,
            accuracy: right as f64 / n as f64,
        })
        .collect();
    scores.sort_by(|a, b| a.accuracy.total_cmp(&b.accuracy).then(b.n.cmp(&a.n)));
    scores
}

/// Interval of the balanced accuracy by resampling whole groups.
fn interval(answers: &[Answer], classes: usize) -> [f64; 2] {
    let groups = Groups::of(answers.iter().map(|a| a.group.as_deref()));
    groups.interval(|drawn| balanced(drawn.iter().map(|&i| &answers[i]), classes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(truth: usize, probabilities: &[f32], group: &str) -> Answer {
        let group = (!group.is_empty()).then(|| group.to_owned());
        Answer { truth, probabilities: probabilities.to_vec(), group }
    }

    fn near(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-6, "{a} is not {b}");
    }

    /// Ten answers of two classes, with ties and one undecided.
    fn ten() -> Vec<Answer> {
        let p = [0.1, 0.4, 0.35, 0.8, 0.65, 0.65, 0.9, 0.2, 0.5, 0.7];
        let truth = [0, 0, 1, 1, 0, 1, 1, 0, 1, 0];
        let groups = ["a", "a", "a", "b", "b", "b", "c", "c", "c", "c"];
        (0..10).map(|i| answer(truth[i], &[1.0 - p[i], p[i]], groups[i])).collect()
    }

    #[test]
    fn two_classes_score_what_scikit_learn_says() {
        // accuracy_score, balanced_accuracy_score, roc_auc_score (1.9) on p > 0.5.
        let scores = Scores::of(&["no", "yes"], &ten()).unwrap();
        near(scores.accuracy, 0.6);
        near(scores.balanced_accuracy, 0.6);
        near(scores.auc.unwrap(), 0.74);
        assert_eq!(scores.confusion, [[3, 2], [2, 3]]);
        let yes = &scores.per_class[1];
        assert_eq!((yes.label.as_str(), yes.n), ("yes", 5));
        near(yes.precision.unwrap(), 0.6);
        near(yes.recall.unwrap(), 0.6);
        let worst = &scores.groups[0];
        assert_eq!((worst.group.as_str(), worst.n), ("c", 4));
        near(worst.accuracy, 0.5);
        let [low, high] = scores.balanced_accuracy_95;
        assert!(low < 0.6 && 0.6 < high && low >= 0.0 && high <= 1.0, "{low} {high}");
    }

    #[test]
    fn the_calibration_error_is_the_gap_between_being_sure_and_being_right() {
        // 0.9 sure, 8 of 10 right; 0.6 sure, 1 of 2 right.
        let mut answers: Vec<_> =
            (0..10).map(|i| answer(usize::from(i >= 8), &[0.9, 0.1], "")).collect();
        answers.extend((0..2).map(|i| answer(i, &[0.6, 0.4], "")));
        let scores = Scores::of(&["a", "b"], &answers).unwrap();
        near(scores.ece, (10.0 * 0.1 + 2.0 * 0.1) / 12.0);
        assert_eq!(scores.groups, []);
    }

    #[test]
    fn classes_that_do_not_occur_are_in_no_mean_and_in_no_table() {
        let answers = [
            answer(0, &[0.7, 0.1, 0.2, 0.0], ""),
            answer(0, &[0.2, 0.1, 0.7, 0.0], ""),
            answer(2, &[0.1, 0.1, 0.8, 0.0], ""),
        ];
        let scores = Scores::of(&["a", "b", "c", "d"], &answers).unwrap();
        near(scores.balanced_accuracy, 0.75);
        assert_eq!(scores.labels, ["a", "c"]);
        assert_eq!(scores.confusion, [[1, 1], [0, 1]]);
        assert_eq!(scores.auc, None);
        near(scores.per_class[1].precision.unwrap(), 0.5);
        near(f64::from(answers[1].fault()), 0.5);
    }

    #[test]
    fn one_class_alone_has_no_area_and_nothing_has_no_scores() {
        let scores = Scores::of(&["a", "b"], &[answer(1, &[0.4, 0.6], "")]).unwrap();
        assert_eq!((scores.auc, scores.accuracy), (None, 1.0));
        assert_eq!(scores.per_class.len(), 1);
        assert_eq!(Scores::of(&["a"], &[]), None);
    }
}
