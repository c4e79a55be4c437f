//! How evidence in logit units becomes heat of 0 to 1: by which scale. Called
//! by the analyst on every analysed frame, in order; must not know where the
//! evidence comes from.

use serde::{Deserialize, Serialize};

use crate::annotation::ActivationMap;
use crate::frame::Pts;

/// What full heat stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Normalize {
    /// The same evidence in every frame.
    #[default]
    Fixed,
    /// The largest evidence in the frame.
    Frame,
    /// The largest evidence of late: it rises at once, falls slowly and starts
    /// afresh at every shot.
    Running,
}

/// The other scales never go below this part of the fixed one: less evidence
/// is noise, and is not to glow.
const LEAST: f32 = 0.2;

/// Seconds in which the running scale falls to 1/e.
const FALL_S: f64 = 10.0;

/// Chooses the scale of every frame.
#[derive(Clone, Debug)]
pub struct Normalizer {
    mode: Normalize,
    full_scale: f32,
    last: Option<(Pts, f32)>,
}

impl Normalizer {
    /// Scales by `mode`; `full_scale` is the fixed scale in logit units.
    pub fn new(mode: Normalize, full_scale: f32) -> Self {
        Self { mode, full_scale, last: None }
    }

    /// Logit units that are full heat in the frame at `pts`, whose explained
    /// classes have these `maps`: one scale for all of them, so that they can
    /// be compared.
    pub fn scale<'a>(
        &mut self,
        pts: Pts,
        starts_shot: bool,
        maps: impl IntoIterator<Item = &'a ActivationMap>,
    ) -> f32 {
        if self.mode == Normalize::Fixed {
            return self.full_scale;
        }
        let values = maps.into_iter().flat_map(|map| &map.values);
        let peak = values.copied().filter(|v| v.is_finite()).fold(0.0, f32::max);
        let scale = match self.last {
            Some((last, scale)) if self.mode == Normalize::Running && !starts_shot => {
                peak.max(scale * (-pts.secs_since(last) / FALL_S).exp() as f32)
            }
            _ => peak,
        };
        let scale = scale.max(LEAST * self.full_scale);
        self.last = Some((pts, scale));
        scale
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(values: &[f32]) -> ActivationMap {
        ActivationMap { rows: 1, cols: values.len(), values: values.to_vec() }
    }

    /// The scales of frames at these seconds, `true` for the first of a shot,
    /// with this largest evidence; full scale is 10.
    fn scales(mode: Normalize, frames: &[(f64, bool, f32)]) -> Vec<f32> {
        let mut normalizer = Normalizer::new(mode, 10.0);
        let scale = |&(at, cut, peak): &(f64, bool, f32)| {
            normalizer.scale(Pts::from_secs_f64(at), cut, [&map(&[-30.0, peak])])
        };
        frames.iter().map(scale).collect()
    }

    #[test]
    fn the_fixed_scale_knows_no_frames() {
        let frames = [(0.0, true, 50.0), (0.2, false, 0.1)];
        assert_eq!(scales(Normalize::Fixed, &frames), [10.0, 10.0]);
    }

    #[test]
    fn the_scale_of_the_frame_is_its_largest_evidence() {
        let frames = [(0.0, true, 50.0), (0.2, false, 4.0), (0.4, false, 8.0)];
        assert_eq!(scales(Normalize::Frame, &frames), [50.0, 4.0, 8.0]);
    }

    #[test]
    fn the_running_scale_rises_at_once_falls_by_stream_time_and_forgets_at_cuts() {
        let frames = [
            (0.0, true, 8.0),
            (0.2, false, 40.0),
            (5.2, false, 4.0),
            (10.2, false, 4.0),
            (10.4, true, 4.0),
        ];
        let found = scales(Normalize::Running, &frames);
        let wanted = [8.0, 40.0, 40.0 * (-0.5f32).exp(), 40.0 * (-1.0f32).exp(), 4.0];
        for (found, wanted) in found.iter().zip(wanted) {
            assert!((found - wanted).abs() < 1e-3, "{found} {wanted}");
        }
        // As many frames as one likes in between change nothing.
        let often: Vec<_> = (1..50)
            .map(|n| (f64::from(n) / 10.0, n == 1, 40.0 / f32::from(n as u8).powi(9)))
            .collect();
        let last = scales(Normalize::Running, &often)[48];
        assert!((last - 40.0 * (-0.48f32).exp()).abs() < 1e-2, "{last}");
    }

    #[test]
    fn noise_and_evidence_against_never_become_full_heat() {
        for mode in [Normalize::Frame, Normalize::Running] {
            for peak in [0.3, 0.0, -7.0, f32::NAN, f32::INFINITY] {
                let scale = scales(mode, &[(0.0, true, peak)])[0];
                assert_eq!(scale, 2.0, "{peak}");
            }
        }
    }
}
