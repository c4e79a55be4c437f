//! Parts of a set of samples that share no group: pictures of one video are
//! alike, and a part to be tested on must hold none that were learnt from.

/// Samples a class needs.
pub const FEWEST: usize = 5;
/// Parts made at most.
const MOST_FOLDS: usize = 5;
/// Groups of each class below which pieces of them are groups instead.
const FEWEST_GROUPS: usize = 3;

/// The parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Folds {
    /// Part of each sample.
    pub(super) of: Vec<usize>,
    /// Number of parts, 3 to 5.
    pub(super) count: usize,
    /// Classes with so few groups that pieces of them had to do.
    pub(super) split_classes: Vec<usize>,
}

impl Folds {
    /// Deals whole groups out so that every part has its share of every class.
    ///
    /// A class with fewer than three groups is cut into pieces of neighbouring
    /// samples: those were probably taken one after the other.
    pub(super) fn deal(classes: &[usize], groups: &[usize], class_count: usize) -> Self {
        let mut groups = groups.to_vec();
        let split_classes = cut_large_groups(classes, &mut groups, class_count);
        let distinct = |class: usize| {
            let own = || classes.iter().zip(&groups).filter(|(c, _)| **c == class).map(|(_, g)| g);
            own().collect::<std::collections::BTreeSet<_>>().len()
        };
        let fewest = (0..class_count).map(distinct).filter(|n| *n > 0).min().unwrap_or(0);
        let count = fewest.clamp(FEWEST_GROUPS, MOST_FOLDS);

        let mut sizes = std::collections::BTreeMap::<usize, Vec<f64>>::new();
        let mut totals = vec![0.0f64; class_count];
        for (&class, &group) in classes.iter().zip(&groups) {
            sizes.entry(group).or_insert_with(|| vec![0.0; class_count])[class] += 1.0;
            totals[class] += 1.0;
        }
        for size in sizes.values_mut() {
            size.iter_mut().zip(&totals).for_each(|(s, t)| *s /= t.max(1.0));
        }
        // Large groups first: the small ones then even out what is uneven.
        let mut order: Vec<(usize, Vec<f64>)> = sizes.into_iter().collect();
        let weight = |size: &[f64]| size.iter().sum::<f64>();
        order.sort_by(|a, b| weight(&b.1).total_cmp(&weight(&a.1)).then(a.0.cmp(&b.0)));
        let mut filled = vec![vec![0.0f64; class_count]; count];
        let mut fold_of = std::collections::BTreeMap::new();
        for (group, size) in order {
            let unevenness = |fold: usize| -> f64 {
                let now = filled[fold].iter().zip(&size);
                now.filter(|(_, s)| **s > 0.0).map(|(f, s)| (f + s).powi(2) - f.powi(2)).sum()
            };
            let best = (0..count).min_by(|&a, &b| unevenness(a).total_cmp(&unevenness(b)));
            let best = best.unwrap_or(0);
            filled[best].iter_mut().zip(&size).for_each(|(f, s)| *f += s);
            fold_of.insert(group, best);
        }
        let of = groups.iter().map(|g| fold_of.get(g).copied().unwrap_or(0)).collect();
        Self { of, count, split_classes }
    }
}

/// Renames the groups of classes that have too few of them; returns those
/// classes.
fn cut_large_groups(classes: &[usize], groups: &mut [usize], class_count: usize) -> Vec<usize> {
    let mut fresh = groups.iter().max().map_or(0, |g| g + 1);
    let mut cut = Vec::new();
    for class in 0..class_count {
        let own: Vec<usize> = (0..classes.len()).filter(|&i| classes[i] == class).collect();
        let distinct: std::collections::BTreeSet<_> = own.iter().map(|&i| groups[i]).collect();
        if own.is_empty() || distinct.len() >= FEWEST_GROUPS {
            continue;
        }
        cut.push(class);
        for (n, &i) in own.iter().enumerate() {
            groups[i] = fresh + n * MOST_FOLDS / own.len();
        }
        fresh += MOST_FOLDS;
    }
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_stay_whole_and_every_part_has_every_class() {
        // Forty groups of one to seven samples, most of one class, some mixed.
        let (mut classes, mut groups) = (Vec::new(), Vec::new());
        for group in 0..40 {
            for n in 0..1 + group % 7 {
                classes.push(if group % 9 == 0 { n % 3 } else { group % 3 });
                groups.push(group);
            }
        }
        let folds = Folds::deal(&classes, &groups, 3);
        assert_eq!((folds.count, folds.split_classes.len()), (5, 0));
        for group in 0..40 {
            let own: std::collections::BTreeSet<_> =
                (0..groups.len()).filter(|&i| groups[i] == group).map(|i| folds.of[i]).collect();
            assert_eq!(own.len(), 1, "group {group} is torn apart");
        }
        for fold in 0..5 {
            for class in 0..3 {
                let n = (0..groups.len()).filter(|&i| folds.of[i] == fold && classes[i] == class);
                let (n, all) = (n.count(), classes.iter().filter(|c| **c == class).count());
                assert!(n * 10 >= all && n * 10 <= all * 4, "fold {fold} class {class}: {n}");
            }
        }
    }

    #[test]
    fn a_class_of_one_group_is_cut_into_pieces_of_neighbours() {
        let classes: Vec<usize> = (0..40).map(|i| i / 20).collect();
        let groups: Vec<usize> = (0..40).map(|i| if i < 20 { 0 } else { i }).collect();
        let folds = Folds::deal(&classes, &groups, 2);
        assert_eq!((folds.split_classes.as_slice(), folds.count), (&[0][..], 5));
        let changes = folds.of[..20].windows(2).filter(|w| w[0] != w[1]).count();
        assert!(changes <= 4, "neighbours stay together: {:?}", &folds.of[..20]);
        for fold in 0..5 {
            for class in 0..2 {
                assert!((0..40).any(|i| folds.of[i] == fold && classes[i] == class));
            }
        }
    }
}
