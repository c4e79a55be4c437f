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

use std::ops::Range;

use crate::frame::PlaneMut;

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

/// Alpha and paint of one line of samples, what to add for the next line, and
/// the key row that the steps lead to.
#[derive(Debug, Default)]
pub(super) struct Rows {
    alpha: Vec<u16>,
    paint: Vec<u16>,
    alpha_step: Vec<u16>,
    paint_step: Vec<u16>,
    pub(super) next_alpha: Vec<u16>,
    pub(super) next_paint: Vec<u16>,
}

impl Rows {
    /// Makes room for rows of `width` samples.
    pub(super) fn reserve(&mut self, width: usize) {
        for lane in [
            &mut self.alpha,
            &mut self.paint,
            &mut self.alpha_step,
            &mut self.paint_step,
            &mut self.next_alpha,
            &mut self.next_paint,
        ] {
            lane.resize(width, 0);
        }
    }

    /// Makes all of `columns` of the key row the same.
    pub(super) fn fill(&mut self, columns: Range<usize>, [alpha, paint]: [u16; 2]) {
        self.next_alpha[columns.clone()].fill(alpha);
        self.next_paint[columns].fill(paint);
    }

    /// Sets `columns` of the key row one by one.
    pub(super) fn set(&mut self, columns: Range<usize>, value: impl Fn(usize) -> [u16; 2]) {
        let alpha = self.next_alpha[columns.clone()].iter_mut();
        let paint = self.next_paint[columns.clone()].iter_mut();
        for (x, (alpha, paint)) in columns.zip(alpha.zip(paint)) {
            [*alpha, *paint] = value(x);
        }
    }

    /// Jumps to the key row.
    pub(super) fn settle(&mut self, columns: Range<usize>) {
        self.alpha[columns.clone()].copy_from_slice(&self.next_alpha[columns.clone()]);
        self.paint[columns.clone()].copy_from_slice(&self.next_paint[columns]);
    }

    /// Sets the steps to zero.
    pub(super) fn hold_still(&mut self, columns: Range<usize>) {
        self.alpha_step[columns.clone()].fill(0);
        self.paint_step[columns].fill(0);
    }

    /// Sets the steps so that `steps` of them lead to the key row.
    pub(super) fn aim(&mut self, columns: Range<usize>, steps: usize) {
        let c = columns;
        aim_lane(
            &mut self.alpha_step[c.clone()],
            &self.alpha[c.clone()],
            &self.next_alpha[c.clone()],
            steps,
        );
        aim_lane(
            &mut self.paint_step[c.clone()],
            &self.paint[c.clone()],
            &self.next_paint[c],
            steps,
        );
    }

    /// Mixes the current line into `columns` of `count` (one or two) rows of
    /// `plane` from `row` on; then goes on to the next line.
    pub(super) fn blend_and_step(
        &mut self,
        columns: Range<usize>,
        row: usize,
        count: usize,
        plane: &mut PlaneMut<'_>,
    ) {
        let c = columns;
        let (alpha, paint) = (&mut self.alpha[c.clone()], &mut self.paint[c.clone()]);
        let alpha_step = &self.alpha_step[c.clone()];
        let paint_step = &self.paint_step[c.clone()];
        if count == 2 {
            let (upper, lower) = plane.data[row * plane.stride..].split_at_mut(plane.stride);
            let (upper, lower) = (&mut upper[c.clone()], &mut lower[c]);
            step_two_rows(upper, lower, alpha, alpha_step, paint, paint_step);
        } else {
            let samples = &mut plane.row_mut(row, c.end)[c.start..];
            step_row(samples, alpha, alpha_step, paint, paint_step);
        }
    }
}

/// Steps of one lane; they are rounded towards zero so that they never go
/// beyond `next`, where alpha would wrap around.
#[inline(never)]
fn aim_lane(step: &mut [u16], now: &[u16], next: &[u16], steps: usize) {
    let share = (1 << 14) / i32::try_from(steps).unwrap_or(i32::MAX).max(1);
    for (step, (now, next)) in step.iter_mut().zip(now.iter().zip(next)) {
        *step = ((i32::from(*next) - i32::from(*now)) * share / (1 << 14)) as u16;
    }
}

/// Fills `lane` in even steps from `from` on, to arrive at `to` just after it.
/// Steps are rounded towards zero as in [`aim_lane`].
#[inline(always)]
pub(super) fn ramp_lane(lane: &mut [u16], from: u16, to: u16) {
    let difference = i32::from(to) - i32::from(from);
    // A fixed length lets the compiler lay it out in lanes.
    if let Ok(lane) = <&mut [u16; 16]>::try_from(&mut *lane) {
        let step = (difference / 16) as u16;
        *lane = std::array::from_fn(|i| from.wrapping_add(step.wrapping_mul(i as u16)));
    } else if let Ok(lane) = <&mut [u16; 8]>::try_from(&mut *lane) {
        let step = (difference / 8) as u16;
        *lane = std::array::from_fn(|i| from.wrapping_add(step.wrapping_mul(i as u16)));
    } else if let Ok(lane) = <&mut [u16; 4]>::try_from(&mut *lane) {
        let step = (difference / 4) as u16;
        *lane = std::array::from_fn(|i| from.wrapping_add(step.wrapping_mul(i as u16)));
    } else {
        let step = (difference / i32::try_from(lane.len()).unwrap_or(1).max(1)) as u16;
        let mut value = from;
        for v in lane {
            *v = value;
            value = value.wrapping_add(step);
        }
    }
}

/// One row of [`Rows::blend_and_step`]. A function of its own with one
/// parameter per slice, so that the compiler knows that they do not overlap.
#[inline(never)]
fn step_row(
    samples: &mut [u8],
    alpha: &mut [u16],
    alpha_step: &[u16],
    paint: &mut [u16],
    paint_step: &[u16],
) {
    let lanes = alpha.iter_mut().zip(alpha_step).zip(paint.iter_mut().zip(paint_step));
    for (s, ((a, da), (p, dp))) in samples.iter_mut().zip(lanes) {
        *s = blended(*s, *a, *p);
        *a = a.wrapping_add(*da);
        *p = p.wrapping_add(*dp);
    }
}

/// Two rows with the same paint; see [`step_row`].
#[inline(never)]
fn step_two_rows(
    upper: &mut [u8],
    lower: &mut [u8],
    alpha: &mut [u16],
    alpha_step: &[u16],
    paint: &mut [u16],
    paint_step: &[u16],
) {
    let lanes = alpha.iter_mut().zip(alpha_step).zip(paint.iter_mut().zip(paint_step));
    for ((u, l), ((a, da), (p, dp))) in upper.iter_mut().zip(lower).zip(lanes) {
        *u = blended(*u, *a, *p);
        *l = blended(*l, *a, *p);
        *a = a.wrapping_add(*da);
        *p = p.wrapping_add(*dp);
    }
}

/// Mixes the same into all of `samples`.
pub(super) fn blend_flat(samples: &mut [u8], [alpha, paint]: [u16; 2]) {
    for s in samples {
        *s = blended(*s, alpha, paint);
    }
}

/// Mixes the same into one sample.
pub(super) fn blend_one(sample: &mut u8, [alpha, paint]: [u16; 2]) {
    *sample = blended(*sample, alpha, paint);
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
