//! Steadies class and heat in time, by stream time and never by frame count,
//! so that the rate of analysis does not change the look. Called by the analyst
//! on every analysed frame, in order.

use crate::annotation::ActivationMap;
use crate::frame::Pts;

/// Weight of a new value after `dt` seconds for an exponential average with
/// time constant `tau` (seconds); one when averaging is off.
fn weight(dt: f64, tau: f64) -> f32 {
    if tau > 0.0 { (1.0 - (-dt / tau).exp()) as f32 } else { 1.0 }
}

/// Decides which class of a head people are shown.
#[derive(Clone, Debug)]
pub struct ClassSteadier {
    tau: f64,
    margin: f32,
    last: Option<Pts>,
    shown: usize,
    smoothed: Vec<f32>,
}

impl Default for ClassSteadier {
    /// Half a second, and a lead of 0.1.
    fn default() -> Self {
        Self::new(0.5, 0.1)
    }
}

impl ClassSteadier {
    /// A steadier that averages probabilities over `tau` seconds (zero: not at
    /// all) and goes to another class only when its average leads by more than
    /// `margin`, or is more than twice that of the shown class.
    pub fn new(tau: f64, margin: f32) -> Self {
        Self { tau, margin, last: None, shown: 0, smoothed: Vec::new() }
    }

    /// The shown class and its smoothed probability after `probabilities` (one
    /// per class) at `pts`; `None` for a head without classes.
    pub fn update(
        &mut self,
        pts: Pts,
        starts_shot: bool,
        probabilities: &[f32],
    ) -> Option<(usize, f32)> {
        let finite = |p: &f32| if p.is_finite() { *p } else { 0.0 };
        let last = self.last.replace(pts);
        match last {
            Some(last) if !starts_shot && probabilities.len() == self.smoothed.len() => {
                let weight = weight(pts.secs_since(last), self.tau);
                for (smoothed, p) in self.smoothed.iter_mut().zip(probabilities) {
                    *smoothed += weight * (finite(p) - *smoothed);
                }
                let best = self.best()?;
                // A lead of `margin` means nothing among a thousand classes of a
                // few per cent each: there, twice the probability will do.
                let lead = self.margin.min(self.smoothed[best] / 2.0);
                if self.smoothed[best] > self.smoothed[self.shown] + lead {
                    self.shown = best;
                }
            }
            _ => {
                self.smoothed.clear();
                self.smoothed.extend(probabilities.iter().map(finite));
                self.shown = self.best()?;
            }
        }
        Some((self.shown, self.smoothed[self.shown]))
    }

    /// The smoothed probability (0..1) of class `index`, if there is such a class.
    pub fn smoothed(&self, index: usize) -> Option<f32> {
        self.smoothed.get(index).copied()
    }

    /// The first of the most probable classes.
    fn best(&self) -> Option<usize> {
        let better = |best: usize, i: usize| {
            if self.smoothed[i] > self.smoothed[best] { i } else { best }
        };
        (0..self.smoothed.len()).reduce(better)
    }
}

/// Turns raw evidence into heat that does not flicker.
#[derive(Clone, Debug)]
pub struct MapSmoother {
    tau: f64,
    fade: f64,
    /// Time, head and class of the last map.
    last: Option<(Pts, (usize, usize))>,
    heat: ActivationMap,
    /// The heat of the class before, and since when it fades.
    fading: Option<(Pts, ActivationMap)>,
}

impl Default for MapSmoother {
    /// A quarter of a second, and a fifth to go from one class to another.
    fn default() -> Self {
        Self::new(0.25, 0.2)
    }
}

impl MapSmoother {
    /// A smoother with time constant `tau`, in which the heat of a class gives
    /// way to that of another within `fade`, both in seconds; zero switches
    /// either off.
    pub fn new(tau: f64, fade: f64) -> Self {
        Self { tau, fade, last: None, heat: ActivationMap::zeros(0, 0), fading: None }
    }

    /// Heat 0..1 after the map `raw` (logit units) of `class` (head and class)
    /// at `pts`, when `full_scale` logits are full heat.
    ///
    /// Only evidence for the class is heat: negative values are none. When the
    /// class is another than before, the old heat fades out while the new one
    /// fades in, from the time of the map before; a new shot fades nothing.
    pub fn smooth(
        &mut self,
        pts: Pts,
        starts_shot: bool,
        class: (usize, usize),
        raw: &ActivationMap,
        full_scale: f32,
    ) -> ActivationMap {
        let usable = full_scale.is_finite() && full_scale > 0.0;
        let heat = |e: f32| {
            let h = e / full_scale;
            if usable && h.is_finite() { h.clamp(0.0, 1.0) } else { 0.0 }
        };
        let same_grid = (raw.rows, raw.cols, raw.values.len())
            == (self.heat.rows, self.heat.cols, self.heat.values.len());
        let before = self.last.replace((pts, class)).filter(|_| !starts_shot && same_grid);
        let weight = match before {
            Some((last, of)) if of == class => weight(pts.secs_since(last), self.tau),
            _ => {
                self.fading = before.map(|(last, _)| (last, self.faded(last)));
                self.heat.clone_from(raw);
                self.heat.values.fill(0.0);
                1.0
            }
        };
        for (smooth, e) in self.heat.values.iter_mut().zip(&raw.values) {
            *smooth += weight * (heat(*e) - *smooth);
        }
        let faded = self.faded(pts);
        self.fading.take_if(|(since, _)| pts.secs_since(*since) >= self.fade);
        faded
    }

    /// The heat at `pts`, with what is left of the heat of the class before.
    fn faded(&self, pts: Pts) -> ActivationMap {
        let mut heat = self.heat.clone();
        if let Some((since, old)) = &self.fading {
            let gone = pts.secs_since(*since);
            let left = if gone < self.fade { (1.0 - gone / self.fade) as f32 } else { 0.0 };
            for (heat, old) in heat.values.iter_mut().zip(&old.values) {
                *heat += left * (old - *heat);
            }
        }
        heat
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Pts {
        Pts::from_secs_f64(seconds)
    }

    fn map(values: &[f32]) -> ActivationMap {
        ActivationMap { rows: 1, cols: values.len(), values: values.to_vec() }
    }

    #[test]
    fn two_classes_that_take_turns_do_not_flicker() {
        let mut steadier = ClassSteadier::default();
        let mut switches = 0;
        let mut shown = None;
        for n in 0..50 {
            let p = if n % 2 == 0 { [0.5, 0.4, 0.1] } else { [0.4, 0.5, 0.1] };
            let now = steadier.update(at(f64::from(n) * 0.2), n == 0, &p).unwrap().0;
            switches += usize::from(shown.replace(now).is_some_and(|s| s != now));
        }
        assert_eq!((shown, switches), (Some(0), 0));
    }

    #[test]
    fn a_clear_change_of_class_is_followed_within_a_second() {
        for rate in [5.0, 25.0] {
            let mut steadier = ClassSteadier::default();
            steadier.update(at(0.0), true, &[0.9, 0.1]);
            let changed = (1..100)
                .map(|n| f64::from(n) / rate)
                .find(|t| steadier.update(at(*t), false, &[0.1, 0.9]).unwrap().0 == 1)
                .unwrap();
            assert!((0.3..1.0).contains(&changed), "{changed} s at {rate} fps");
        }
    }

    #[test]
    fn a_new_shot_forgets_the_old_one_at_once() {
        let mut steadier = ClassSteadier::default();
        steadier.update(at(0.0), true, &[0.9, 0.1]);
        assert_eq!(steadier.update(at(0.04), true, &[0.45, 0.55]), Some((1, 0.55)));
        assert_eq!(steadier.smoothed(0), Some(0.45));
        assert_eq!(steadier.smoothed(2), None);
    }

    #[test]
    fn broken_probabilities_and_empty_heads_are_survived() {
        let mut steadier = ClassSteadier::new(0.0, 0.0);
        assert_eq!(steadier.update(at(0.0), true, &[]), None);
        assert_eq!(steadier.update(at(0.1), false, &[f32::NAN, 0.2]), Some((1, 0.2)));
        assert_eq!(steadier.update(at(0.2), false, &[0.3, f32::INFINITY]), Some((0, 0.3)));
    }

    #[test]
    fn heat_is_evidence_on_a_fixed_scale() {
        let mut smoother = MapSmoother::new(0.0, 0.0);
        let raw = map(&[-4.0, 0.0, 2.0, 4.0, 9.0, f32::NAN, f32::INFINITY]);
        let heat = smoother.smooth(at(0.0), true, (0, 0), &raw, 4.0);
        assert_eq!(heat.values, [0.0, 0.0, 0.5, 1.0, 1.0, 0.0, 0.0]);
        for useless in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            let heat = smoother.smooth(at(0.0), true, (0, 0), &raw, useless);
            assert_eq!(heat.max(), 0.0, "{useless}");
        }
    }

    #[test]
    fn heat_follows_with_its_time_constant_at_any_rate() {
        for rate in [4.0, 16.0, 64.0] {
            let mut smoother = MapSmoother::default();
            smoother.smooth(at(0.0), true, (0, 0), &map(&[0.0]), 1.0);
            let steps = (0.25 * rate) as u32;
            let last = (1..=steps)
                .map(|n| smoother.smooth(at(f64::from(n) / rate), false, (0, 0), &map(&[1.0]), 1.0))
                .last()
                .unwrap();
            assert!((last.values[0] - 0.632).abs() < 0.001, "{} at {rate}", last.values[0]);
        }
    }

    #[test]
    fn another_shot_class_head_or_grid_starts_afresh() {
        let cold = map(&[0.0, 0.0]);
        let hot = map(&[1.0, 1.0]);
        let after = |starts_shot, class, raw: &ActivationMap| {
            let mut smoother = MapSmoother::new(0.25, 0.0);
            smoother.smooth(at(0.0), true, (0, 3), &cold, 1.0);
            smoother.smooth(at(0.01), starts_shot, class, raw, 1.0).max()
        };
        assert!(after(false, (0, 3), &hot) < 0.1);
        assert_eq!(after(true, (0, 3), &hot), 1.0);
        assert_eq!(after(false, (0, 4), &hot), 1.0);
        assert_eq!(after(false, (1, 3), &hot), 1.0);
        let other = ActivationMap { rows: 2, cols: 1, values: vec![1.0, 1.0] };
        assert_eq!(after(false, (0, 3), &other), 1.0);
    }

    #[test]
    fn one_class_gives_way_to_another_within_the_fade_at_any_rate() {
        let (left, right) = (map(&[1.0, 0.0]), map(&[0.0, 1.0]));
        for rate in [5.0, 25.0, 50.0] {
            let mut smoother = MapSmoother::default();
            smoother.smooth(at(1.0), true, (0, 0), &left, 1.0);
            for n in 1..=15 {
                let passed = f64::from(n) / rate;
                let heat = smoother.smooth(at(1.0 + passed), false, (0, 1), &right, 1.0).values;
                let come = (passed / 0.2).min(1.0) as f32;
                assert!((heat[0] - (1.0 - come)).abs() < 1e-3, "{heat:?} after {passed}");
                assert!((heat[1] - come).abs() < 1e-3, "{heat:?} after {passed}");
            }
        }
    }

    #[test]
    fn a_change_within_a_fade_goes_on_from_what_is_seen() {
        let mut smoother = MapSmoother::new(0.0, 0.2);
        let maps = [map(&[1.0, 0.0, 0.0]), map(&[0.0, 1.0, 0.0]), map(&[0.0, 0.0, 1.0])];
        smoother.smooth(at(0.0), true, (0, 0), &maps[0], 1.0);
        smoother.smooth(at(0.1), false, (0, 1), &maps[1], 1.0);
        let heat = smoother.smooth(at(0.2), false, (0, 2), &maps[2], 1.0).values;
        for (found, wanted) in heat.iter().zip([0.25, 0.25, 0.5]) {
            assert!((found - wanted).abs() < 1e-3, "{heat:?}");
        }
        // A cut fades nothing.
        let heat = smoother.smooth(at(0.25), true, (0, 0), &maps[0], 1.0);
        assert_eq!(heat.values, maps[0].values);
        let heat = smoother.smooth(at(0.3), false, (0, 0), &maps[0], 1.0);
        assert_eq!(heat.values, maps[0].values);
    }
}
