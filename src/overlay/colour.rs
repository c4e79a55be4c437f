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
    /// One hue, from dark to light; the four of them can be told apart by
    /// colour-blind people too.
    Orange,
    /// One hue, from dark to light.
    Blue,
    /// One hue, from dark to light.
    Green,
    /// One hue, from dark to light.
    Purple,
}

impl Colormap {
    /// The colours of classes that are shown at the same time, in the order in
    /// which they are used.
    pub const HUES: [Self; 4] = [Self::Orange, Self::Blue, Self::Green, Self::Purple];

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
            Self::Orange => three([80, 24, 0], [240, 112, 0], [255, 208, 120], heat),
            Self::Blue => three([0, 24, 96], [24, 128, 248], [152, 216, 255], heat),
            Self::Green => three([0, 64, 40], [96, 208, 136], [208, 255, 224], heat),
            Self::Purple => three([48, 0, 48], [168, 16, 136], [216, 96, 192], heat),
        }
    }

    /// Straight pieces that stand for the curve of paint over heat with an
    /// error below two levels. Jet has sharp bends.
    fn chords(self) -> f32 {
        if self == Self::Jet { 56.0 } else { 18.0 }
    }
}

/// From `dark` through `full` at 0.7 to `light`.
fn three(dark: [u8; 3], full: [u8; 3], light: [u8; 3], heat: f32) -> [f32; 3] {
    const BEND: f32 = 0.7;
    let (from, to, t) = if heat < BEND {
        (dark, full, heat / BEND)
    } else {
        (full, light, (heat - BEND) / (1.0 - BEND))
    };
    std::array::from_fn(|i| f32::from(from[i]) + (f32::from(to[i]) - f32::from(from[i])) * t)
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

    /// What a heat of zero does to samples; nothing but for shades.
    pub(super) fn without_heat(&self) -> Option<[u16; 2]> {
        (self.levels[0][0] > 0).then_some(self.levels[0])
    }

    /// The ramps of Y, U and V for colours over the picture. Alpha is `opacity *
    /// heat`, so heat fades in with the evidence instead of washing the picture
    /// out.
    pub(super) fn colours(colormap: Colormap, opacity: f32, colorimetry: Colorimetry) -> [Self; 3] {
        let paint = |heat| (colormap.rgb(heat), opacity * heat);
        Self::planes(colormap.chords(), colorimetry, paint)
    }

    /// The ramps of Y, U and V that darken the picture by `strength` where there
    /// is no heat.
    pub(super) fn shades(strength: f32, colorimetry: Colorimetry) -> [Self; 3] {
        Self::planes(18.0, colorimetry, |heat| ([0.0; 3], strength * (1.0 - heat)))
    }

    /// Ramps of R, G, B (0..255) and alpha (0..1) by heat.
    fn planes(
        chords: f32,
        colorimetry: Colorimetry,
        paint: impl Fn(f32) -> ([f32; 3], f32),
    ) -> [Self; 3] {
        let mut planes = [(); 3].map(|()| Box::new([[0u16; 2]; LEVELS]));
        for level in 0..LEVELS {
            let (rgb, alpha) = paint(level as f32 / (LEVELS - 1) as f32);
            for (plane, sample) in planes.iter_mut().zip(colorimetry.rgb_to_yuv(rgb)) {
                plane[level] = super::blend::mix(sample, alpha);
            }
        }
        planes.map(|levels| Self { levels, chords })
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
        for map in [Colormap::Inferno, Colormap::Turbo, Colormap::Jet, Colormap::Blue] {
            assert_eq!(map.rgb(7.0), map.rgb(1.0));
            assert_eq!(map.rgb(-7.0), map.rgb(0.0));
            assert_eq!(map.rgb(f32::NAN), map.rgb(0.0));
        }
    }

    #[test]
    fn hues_can_be_told_apart_by_everybody_and_grow_with_heat() {
        // What protanopes, deuteranopes and tritanopes see of a colour: linear
        // light by the matrices of Machado et al. 2009, severity 1.
        const SEEN: [[[f32; 3]; 3]; 4] = [
            [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
            [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
            [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
            [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
        ];
        let linear = |v: f32| (v / 255.0).powf(2.2);
        for seen in SEEN {
            let look = |map: Colormap| {
                let rgb = map.rgb(0.8).map(linear);
                let mixed = seen.map(|row| row.iter().zip(rgb).map(|(m, v)| m * v).sum::<f32>());
                mixed.map(|v| v.clamp(0.0, 1.0).powf(1.0 / 2.2) * 255.0)
            };
            for (i, a) in Colormap::HUES.into_iter().enumerate() {
                for b in Colormap::HUES.into_iter().skip(i + 1) {
                    let (x, y) = (look(a), look(b));
                    let apart = x.iter().zip(y).map(|(x, y)| (x - y).powi(2)).sum::<f32>().sqrt();
                    assert!(apart > 45.0, "{a:?} {b:?}: {apart}");
                }
            }
        }
        for map in Colormap::HUES {
            let luma = |heat| Colorimetry::BT709.rgb_to_yuv(map.rgb(heat))[0];
            assert!((0..10).all(|n| luma(n as f32 / 10.0) < luma((n + 1) as f32 / 10.0)));
        }
    }
}
