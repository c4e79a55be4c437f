//! Percentile intervals by the bootstrap (Efron and Tibshirani, *An
//! Introduction to the Bootstrap*, 1993), drawing whole groups: pictures of one
//! video are not independent. Used by whatever is averaged over pictures.

use std::collections::BTreeMap;

/// Resamplings of an interval.
const RESAMPLINGS: usize = 1000;

/// Things that are drawn together.
pub(super) struct Groups(Vec<Vec<usize>>);

impl Groups {
    /// Groups of equal names; what has none is a group of its own.
    pub(super) fn of<'a>(names: impl IntoIterator<Item = Option<&'a str>>) -> Self {
        let mut groups = BTreeMap::<String, Vec<usize>>::new();
        for (i, name) in names.into_iter().enumerate() {
            let name = name.map_or_else(|| format!("\0{i}"), str::to_owned);
            groups.entry(name).or_default().push(i);
        }
        Self(groups.into_values().collect())
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The 95 % interval of a `statistic` of the things with these numbers. It
    /// is the same at every call.
    pub(super) fn interval(&self, statistic: impl Fn(&[usize]) -> f64) -> [f64; 2] {
        if self.0.is_empty() {
            return [f64::NAN; 2];
        }
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let mut draw = || {
            // Knuth's MMIX generator; the high bits are the good ones.
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % self.0.len()
        };
        let mut values: Vec<f64> = (0..RESAMPLINGS)
            .map(|_| {
                let drawn: Vec<usize> =
                    self.0.iter().flat_map(|_| self.0[draw()].iter().copied()).collect();
                statistic(&drawn)
            })
            .collect();
        values.sort_by(f64::total_cmp);
        [values[RESAMPLINGS / 40], values[RESAMPLINGS - 1 - RESAMPLINGS / 40]]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_drawn_whole_and_widen_the_interval() {
        let values: Vec<f64> = (0..40).map(|i| f64::from(i / 10)).collect();
        let mean =
            |drawn: &[usize]| drawn.iter().map(|&i| values[i]).sum::<f64>() / drawn.len() as f64;
        let alone = Groups::of(values.iter().map(|_| None));
        let names: Vec<String> = values.iter().map(|v| v.to_string()).collect();
        let together = Groups::of(names.iter().map(|n| Some(n.as_str())));
        assert_eq!((alone.len(), together.len()), (40, 4));
        let ([a, b], [c, d]) = (alone.interval(mean), together.interval(mean));
        assert!(c < a && a < 1.5 && 1.5 < b && b < d, "{a} {b} {c} {d}");
        // The standard error of 40 such values is 0.18.
        assert!((b - a - 4.0 * 0.18).abs() < 0.15, "{a} {b}");
    }
}
