//! The inner loops: mixing paint into rows of samples.
//!
//! All arithmetic is in 16-bit lanes that the compiler turns into the eight
//! lanes of plain x86-64. A sample is widened to 8.8 fixed point, alpha is a
//! fraction of 65536 and paint is premultiplied 8.8, so that
//! `out = (s - s * alpha + paint) >> 8`. Paint carries the half that rounds the
//! result. With alpha 0 and paint [`NEUTRAL`] a sample comes out bit-identical.
//!
//! Sums wrap: a step down is a wrapped step up, and the sum itself stays in
//! range as long as paint was premultiplied with the alpha beside it.

/// Paint that changes nothing: only the rounding half.
pub(super) const NEUTRAL: u16 = 128;

/// `[alpha, paint]` that mixes `sample` (0..255) in with `alpha` (0..1).
pub(super) fn mix(sample: f32, alpha: f32) -> [u16; 2] {
    // `as` saturates, so a rounding error at the ends cannot wrap around.
    let paint = (sample * alpha * 256.0).round() as u16;
    [(alpha * 65535.0).round() as u16, paint.saturating_add(NEUTRAL)]
}

fn blended(sample: u8, alpha: u16, paint: u16) -> u8 {
    let wide = u16::from(sample) << 8;
    let cut = ((u32::from(wide) * u32::from(alpha)) >> 16) as u16;
    ((wide - cut).wrapping_add(paint) >> 8) as u8
}

/// Alpha and paint of one row of samples, and what to add for the next row.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub(super) alpha: Vec<u16>,
    pub(super) paint: Vec<u16>,
    pub(super) alpha_step: Vec<u16>,
    pub(super) paint_step: Vec<u16>,
}

impl Rows {
    /// Makes room for rows of `width` samples.
    pub(super) fn reserve(&mut self, width: usize) {
        for lane in
            [&mut self.alpha, &mut self.paint, &mut self.alpha_step, &mut self.paint_step]
        {
            lane.resize(width, 0);
        }
    }

    /// Writes `src` mixed with columns `from..` of this row to `dst`, then goes
    /// on to the next row.
    pub(super) fn blend_and_step(&mut self, from: usize, dst: &mut [u8], src: &[u8]) {
        let n = dst.len();
        step_row(
            dst,
            &src[..n],
            &mut self.alpha[from..][..n],
            &mut self.paint[from..][..n],
            &self.alpha_step[from..][..n],
            &self.paint_step[from..][..n],
        );
    }
}

/// One row of [`Rows::blend_and_step`]; a function of its own so that the
/// compiler knows that the slices do not overlap.
#[inline(never)]
fn step_row(
    dst: &mut [u8],
    src: &[u8],
    alpha: &mut [u16],
    paint: &mut [u16],
    alpha_step: &[u16],
    paint_step: &[u16],
) {
    let lanes = alpha.iter_mut().zip(alpha_step).zip(paint.iter_mut().zip(paint_step));
    for ((d, s), ((a, da), (p, dp))) in dst.iter_mut().zip(src).zip(lanes) {
        *d = blended(*s, *a, *p);
        *a = a.wrapping_add(*da);
        *p = p.wrapping_add(*dp);
    }
}

/// Mixes paint into a row where it stands.
pub(super) fn blend_in_place(row: &mut [u8], alpha: &[u16], paint: &[u16]) {
    for (s, (a, p)) in row.iter_mut().zip(alpha.iter().zip(paint)) {
        *s = blended(*s, *a, *p);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixing_is_exact_to_half_a_level_for_every_sample_and_alpha() {
        for sample in 0..=255u8 {
            for colour in [0.0, 16.0, 127.3, 235.0, 255.0] {
                for alpha in [0.0, 0.001, 0.3, 0.45, 0.999, 1.0] {
                    let [a, p] = mix(colour, alpha);
                    let want = f32::from(sample) * (1.0 - alpha) + colour * alpha;
                    let got = f32::from(blended(sample, a, p));
                    assert!((got - want).abs() < 0.52, "{sample} {colour} {alpha}: {got} {want}");
                }
            }
            assert_eq!(blended(sample, 0, NEUTRAL), sample);
        }
    }
}
