//! Colour maps: from heat to a colour, and from there to what is mixed into
//! the samples of one plane.

use serde::{Deserialize, Serialize};

use crate::frame::Colorimetry;

/// How heat becomes colour.
///
/// The first three are perceptually ordered and safe for colour-blind viewers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Colormap {
    /// Black, violet, orange, pale yellow.
    #[default]
    Inferno,
    /// Violet, teal, yellow.
    Viridis,
    /// A rainbow with even steps: blue, green, yellow, red.
    Turbo,
    /// The classic rainbow, for those used to it.
    Jet,
    /// Black to white.
    Grey,
}

impl Colormap {
    /// R, G, B in 0..255 of `heat`, which is clamped to 0..1.
    pub fn rgb(self, heat: f32) -> [f32; 3] {
        let heat = if heat > 0.0 { heat.min(1.0) } else { 0.0 };
        let table = |gradient: colorous::Gradient| {
            let c = gradient.eval_continuous(f64::from(heat));
            [c.r, c.g, c.b].map(f32::from)
        };
        match self {
            Self::Inferno => table(colorous::INFERNO),
            Self::Viridis => table(colorous::VIRIDIS),
            Self::Turbo => table(colorous::TURBO),
            // Three overlapping trapezia, centred at 3/4, 1/2 and 1/4.
            Self::Jet => [3.0, 2.0, 1.0]
                .map(|centre| 255.0 * (1.5 - (4.0 * heat - centre).abs()).clamp(0.0, 1.0)),
            Self::Grey => [255.0 * heat; 3],
        }
    }

    /// Straight pieces that stand for the curve of paint over heat with an
    /// error below two levels. Jet has sharp bends.
    fn chords(self) -> f32 {
        if self == Self::Jet { 56.0 } else { 18.0 }
    }
}

/// Steps between no heat and full heat in a [`Ramp`].
pub(super) const LEVELS: usize = 2048;

/// Bits of a fixed-point heat below those that choose a level.
const FRACTION_BITS: u32 = 16;

/// Heat, or a difference of heat, as levels in fixed point.
pub(super) fn fixed(heat: f32) -> i32 {
    (heat * ((LEVELS - 1) << FRACTION_BITS) as f32).round() as i32
}

/// What a sample of one plane is mixed with at each level of heat.
///
/// Each entry is `[alpha, paint]`: alpha in 1/65536, and the paint already
/// multiplied by alpha in 1/256 of a sample, plus the half that rounds the sum
/// (see [`super::blend`]). Entry 0 leaves a sample as it is.
#[derive(Debug)]
pub(super) struct Ramp {
    levels: Box<[[u16; 2]; LEVELS]>,
    chords: f32,
}

impl Ramp {
    /// Alpha and paint of `heat`, which is clamped to 0..1.
    pub(super) fn at(&self, heat: f32) -> [u16; 2] {
        self.at_fixed(fixed(heat))
    }

    /// Alpha and paint of a heat from [`fixed`], or a sum of such.
    #[inline(always)]
    pub(super) fn at_fixed(&self, heat: i32) -> [u16; 2] {
        let level =
            (heat.saturating_add(1 << (FRACTION_BITS - 1)) >> FRACTION_BITS).max(0) as usize;
        self.levels[level.min(LEVELS - 1)]
    }

    /// How many steps of `change` of heat each keep within one chord: 1 to
    /// `most`.
    pub(super) fn steps_within(&self, most: usize, change: f32) -> usize {
        // `as` saturates.
        ((1.0 / (self.chords * change)) as usize).clamp(1, most)
    }

    /// The ramps of Y, U and V. Alpha is `opacity * heat`, so heat fades in
    /// with the evidence instead of washing the picture out.
    pub(super) fn planes(colormap: Colormap, opacity: f32, colorimetry: Colorimetry) -> [Self; 3] {
        let opacity = if opacity > 0.0 { opacity.min(1.0) } else { 0.0 };
        let mut planes = [(); 3].map(|()| Box::new([[0u16; 2]; LEVELS]));
        for level in 0..LEVELS {
            let heat = level as f32 / (LEVELS - 1) as f32;
            let yuv = colorimetry.rgb_to_yuv(colormap.rgb(heat));
            for (plane, sample) in planes.iter_mut().zip(yuv) {
                plane[level] = super::blend::mix(sample, opacity * heat);
            }
        }
        planes.map(|levels| Self { levels, chords: colormap.chords() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_maps_start_and_end_where_people_expect() {
        assert_eq!(Colormap::Inferno.rgb(0.0), [0.0, 0.0, 4.0]);
        assert_eq!(Colormap::Viridis.rgb(1.0), [253.0, 231.0, 37.0]);
        assert_eq!(Colormap::Jet.rgb(0.0), [0.0, 0.0, 127.5]);
        assert_eq!(Colormap::Jet.rgb(0.5), [127.5, 255.0, 127.5]);
        assert_eq!(Colormap::Jet.rgb(1.0), [127.5, 0.0, 0.0]);
        assert_eq!(Colormap::Grey.rgb(0.5), [127.5; 3]);
    }

    #[test]
    fn heat_outside_its_range_is_clamped() {
        for map in [Colormap::Inferno, Colormap::Turbo, Colormap::Jet, Colormap::Grey] {
            assert_eq!(map.rgb(7.0), map.rgb(1.0));
            assert_eq!(map.rgb(-7.0), map.rgb(0.0));
            assert_eq!(map.rgb(f32::NAN), map.rgb(0.0));
        }
    }
}
