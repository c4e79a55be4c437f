//! Where a classifier looks in the long run: the mean heat of every class over
//! a recording, and how much of it keeps to one place. Fed with maps by
//! whoever analyses the recording; must not know how they are painted.

use crate::annotation::ActivationMap;

/// The part of the picture that counts as a small area.
const SMALL: f64 = 0.1;
/// Heat in one small area from this part of all heat on is a fixation.
const FIXED: f32 = 0.5;
/// Pictures that are needed to tell.
const ENOUGH: u64 = 20;
/// Mean heat at the hottest place below which nothing is looked at.
const FAINT: f32 = 0.1;

/// The mean of what was seen in pictures of one class.
#[derive(Clone, Debug, Default)]
pub struct Focus {
    /// Pictures of the class.
    pub pictures: u64,
    rows: usize,
    cols: usize,
    heat: Vec<f64>,
    colours: Vec<f64>,
}

impl Focus {
    /// Adds a picture's heat (0..1) and its `colours`, any series of numbers
    /// that is as long for every picture.
    pub fn add(&mut self, heat: &ActivationMap, colours: &[f32]) {
        if self.pictures == 0 {
            (self.rows, self.cols) = (heat.rows, heat.cols);
            self.heat = vec![0.0; heat.rows * heat.cols];
            self.colours = vec![0.0; colours.len()];
        }
        let fits = heat.values.len() == self.heat.len() && colours.len() == self.colours.len();
        if !fits || heat.values.iter().any(|v| !v.is_finite()) {
            return;
        }
        self.pictures += 1;
        self.heat.iter_mut().zip(&heat.values).for_each(|(sum, v)| *sum += f64::from(*v));
        self.colours.iter_mut().zip(colours).for_each(|(sum, v)| *sum += f64::from(*v));
    }

    /// The mean heat, 0..1.
    pub fn mean_heat(&self) -> ActivationMap {
        let n = self.pictures.max(1) as f64;
        let values = self.heat.iter().map(|v| (v / n) as f32).collect();
        ActivationMap { rows: self.rows, cols: self.cols, values }
    }

    /// The mean of the colours.
    pub fn mean_colours(&self) -> Vec<f32> {
        let n = self.pictures.max(1) as f64;
        self.colours.iter().map(|v| (v / n) as f32).collect()
    }

    /// The part of all heat, 0..1, that falls on the hottest tenth of the
    /// picture. A tenth when heat is everywhere alike or wanders, near 1 when it
    /// always stays in the same small place.
    pub fn fixation(&self) -> f32 {
        let total: f64 = self.heat.iter().sum();
        if total <= 0.0 {
            return 0.0;
        }
        let mut cells = self.heat.clone();
        cells.sort_by(|a, b| b.total_cmp(a));
        // The last cell counts in part, so that the grid's size does not matter.
        let mut area = SMALL * cells.len() as f64;
        let mut hot = 0.0;
        for cell in cells {
            let part = area.clamp(0.0, 1.0);
            hot += cell * part;
            area -= part;
        }
        (hot / total) as f32
    }

    /// True when the classifier keeps looking at one small place, such as a
    /// channel logo, whatever the picture shows.
    pub fn is_fixed(&self) -> bool {
        self.pictures >= ENOUGH && self.mean_heat().max() >= FAINT && self.fixation() >= FIXED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Heat on one cell of 7 x 12 for each picture.
    fn focus(pictures: u64, hot: impl Fn(u64) -> usize, heat: f32) -> Focus {
        let mut focus = Focus::default();
        for n in 0..pictures {
            let mut map = ActivationMap::zeros(7, 12);
            for (i, value) in map.values.iter_mut().enumerate() {
                *value = if i == hot(n) % 84 { heat } else { heat / 200.0 };
            }
            focus.add(&map, &[n as f32]);
        }
        focus
    }

    #[test]
    fn heat_that_stays_on_a_logo_is_a_fixation_and_wandering_heat_is_not() {
        let logo = focus(40, |_| 11, 0.8);
        assert!(logo.fixation() > 0.7 && logo.is_fixed(), "{}", logo.fixation());
        let wanders = focus(84, |n| n as usize * 37, 0.8);
        assert!((wanders.fixation() - 0.1).abs() < 0.02, "{}", wanders.fixation());
        assert!(!wanders.is_fixed());
        // Half of the time is not always.
        let mixed = focus(168, |n| if n % 3 == 0 { 11 } else { n as usize * 37 }, 0.8);
        assert!(!mixed.is_fixed(), "{}", mixed.fixation());
    }

    #[test]
    fn a_few_pictures_or_faint_heat_prove_nothing() {
        assert!(!focus(10, |_| 11, 0.8).is_fixed());
        assert!(!focus(40, |_| 11, 0.05).is_fixed());
        assert_eq!(Focus::default().fixation(), 0.0);
    }

    #[test]
    fn an_even_map_has_a_tenth_on_a_tenth_whatever_the_grid() {
        for (rows, cols) in [(7, 12), (3, 3), (1, 1), (14, 24)] {
            let mut focus = Focus::default();
            focus.add(&ActivationMap { rows, cols, values: vec![0.4; rows * cols] }, &[1.0, 3.0]);
            assert!((focus.fixation() - 0.1).abs() < 1e-5, "{rows} x {cols}");
            assert_eq!(focus.mean_colours(), [1.0, 3.0]);
        }
    }
}
