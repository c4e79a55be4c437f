//! Cues in the sound: silence, and a change of the number of channels.

use super::Run;
use crate::frame::Pts;
use crate::timeline::{Cue, CueKind};

/// Sound is silent below this peak, full scale being 1: -50 dBFS.
const SILENT: f32 = 0.003_162_3;
/// The shortest silence, in seconds.
const LEAST_S: f64 = 0.2;
/// Seconds without any sound about which nothing is known.
const GAP_S: f64 = 0.1;

/// How loud a short stretch of sound is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Level {
    /// Where it begins.
    pub start: Pts,
    /// Where it ends.
    pub end: Pts,
    /// The largest sample of any channel, 1 being full scale.
    pub peak: f32,
    /// How many channels there are.
    pub channels: u32,
}

/// The largest sample of every stretch of `window` frames; `samples` are
/// interleaved. Each comes with its first frame and its number of frames.
pub fn peaks(
    samples: &[f32],
    channels: usize,
    window: usize,
) -> impl Iterator<Item = (usize, usize, f32)> {
    let (channels, window) = (channels.max(1), window.max(1));
    samples.chunks(window * channels).enumerate().map(move |(i, chunk)| {
        // Without their signs the bits of numbers are in order, and NaN, which
        // broken streams hold, is above all: it is not silence.
        let loudest = chunk.iter().map(|s| s.abs().to_bits()).max().unwrap_or(0);
        (i * window, chunk.len() / channels, f32::from_bits(loudest))
    })
}

/// Finds silence and changes of the number of channels.
#[derive(Clone, Debug)]
pub struct SoundCues {
    silence: Run,
    channels: Option<u32>,
}

impl Default for SoundCues {
    fn default() -> Self {
        Self { silence: Run::new(CueKind::Silence, LEAST_S, GAP_S), channels: None }
    }
}

impl SoundCues {
    /// Listens to the next stretch; at most two cues come of it.
    pub fn listen(&mut self, level: &Level) -> impl Iterator<Item = Cue> + use<> {
        let silence = self.silence.push(level.start, level.end, level.peak < SILENT);
        let before = self.channels.replace(level.channels);
        let moment = Cue { kind: CueKind::AudioChannels, start: level.start, end: level.start };
        let changed = before.is_some_and(|before| before != level.channels).then_some(moment);
        silence.into_iter().chain(changed)
    }

    /// The silence the sound ends with.
    pub fn finish(&mut self) -> Option<Cue> {
        self.silence.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tone of 48 kHz in stereo with the right channel at `right` (0..1).
    fn cues(seconds: f64, amplitude: impl Fn(f64) -> f64) -> Vec<Cue> {
        let rate = 48_000;
        let frames = (seconds * f64::from(rate)) as usize;
        let samples: Vec<f32> = (0..frames)
            .flat_map(|i| {
                let t = i as f64 / f64::from(rate);
                let tone = (t * 2.0 * std::f64::consts::PI * 440.0).sin() * amplitude(t);
                [0.0, tone as f32]
            })
            .collect();
        let mut sound = SoundCues::default();
        let at = |frame: usize| Pts::from_secs_f64(frame as f64 / f64::from(rate));
        let mut found: Vec<_> = peaks(&samples, 2, 480)
            .flat_map(|(first, frames, peak)| {
                let (start, end) = (at(first), at(first + frames));
                sound.listen(&Level { start, end, peak, channels: 2 })
            })
            .collect();
        found.extend(sound.finish());
        found
    }

    #[test]
    fn a_pause_of_a_quarter_second_is_silence_and_a_quiet_tone_is_not() {
        let found = cues(2.0, |t| if (1.0..1.25).contains(&t) { 0.0 } else { 0.2 });
        let [cue] = found[..] else { panic!("{found:?}") };
        assert_eq!(cue.kind, CueKind::Silence);
        assert!((cue.start.as_secs_f64() - 1.0).abs() < 0.011, "{cue:?}");
        assert!((cue.end.as_secs_f64() - 1.25).abs() < 0.011, "{cue:?}");
        assert_eq!(cues(2.0, |_| 0.01), []);
        assert_eq!(cues(2.0, |t| if (1.0..1.15).contains(&t) { 0.0 } else { 0.2 }), []);
        assert_eq!(cues(1.0, |_| 0.001).len(), 1, "silent throughout");
    }

    #[test]
    fn the_change_from_stereo_to_surround_is_a_cue() {
        let mut sound = SoundCues::default();
        let mut heard = |at: u64, channels| {
            let (start, end) = (Pts(at), Pts(at + 1));
            sound.listen(&Level { start, end, peak: 0.5, channels }).collect::<Vec<_>>()
        };
        assert_eq!(heard(0, 2), []);
        assert_eq!(heard(1, 2), []);
        let moment = Cue { kind: CueKind::AudioChannels, start: Pts(2), end: Pts(2) };
        assert_eq!(heard(2, 6), [moment]);
        assert_eq!(heard(3, 6), []);
    }

    #[test]
    fn broken_samples_are_not_silent() {
        let samples = [0.0, -f32::NAN, 0.5, 0.0, -0.0, 0.0, 0.1, -0.7, 0.2];
        let loud: Vec<_> = peaks(&samples, 1, 3).map(|p| p.2).collect();
        assert!(loud[0].is_nan() && loud[1..] == [0.0, 0.7], "{loud:?}");
    }
}
