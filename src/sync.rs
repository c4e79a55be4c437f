//! Pairs every frame with the annotation that belongs to it, without losing a
//! frame or changing their order. Fed and emptied by the compositor; must not
//! know what a frame is made of, nor who waits for whom.
//!
//! A sampled frame leaves with its own maps. A frame between the sampled frames
//! `a` and `b` waits for `b` and leaves with the maps linearly interpolated at
//! its own time, layer by layer; when `b` starts a new shot, `a`'s maps are held
//! instead, because a heatmap must not announce a cut. With
//! [`Interpolation::Hold`] they are always held, and no frame waits for `b`. The
//! result depends on timestamps only, never on how fast annotations arrive.

mod live;

use std::collections::VecDeque;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::annotation::{Annotation, Heat};
use crate::frame::Pts;

pub use live::LivePairing;

/// What heat a frame between two analysed ones gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Interpolation {
    /// In between, by its time.
    #[default]
    Linear,
    /// That of the analysed frame before it.
    Hold,
}

/// A frame with everything that is to be drawn on it.
#[derive(Clone, Debug)]
pub struct Paired<F> {
    /// The frame as it was pushed.
    pub frame: F,
    /// Its stream time.
    pub pts: Pts,
    /// Its own annotation, or that of the last analysed frame before it.
    pub annotation: Option<Arc<Annotation>>,
    /// Heat at this very moment, layer by layer.
    pub heat: Vec<Heat>,
}

#[derive(Debug)]
struct Waiting<F> {
    pts: Pts,
    frame: F,
    sampled: bool,
}

/// Holds frames until the annotation they need is there.
#[derive(Debug)]
pub struct Synchronizer<F> {
    frames: VecDeque<Waiting<F>>,
    /// Sampled frames among them.
    sampled: usize,
    /// Annotations of frames that still wait, oldest first.
    annotations: VecDeque<Arc<Annotation>>,
    /// The annotation of the last analysed frame that left.
    last: Option<Arc<Annotation>>,
    interpolation: Interpolation,
    finished: bool,
}

impl<F> Default for Synchronizer<F> {
    fn default() -> Self {
        Self::new(Interpolation::default())
    }
}

impl<F> Synchronizer<F> {
    /// A synchronizer without frames.
    pub fn new(interpolation: Interpolation) -> Self {
        Self {
            frames: VecDeque::new(),
            sampled: 0,
            annotations: VecDeque::new(),
            last: None,
            interpolation,
            finished: false,
        }
    }

    /// Adds the next frame of the stream; `sampled` when it is being analysed.
    pub fn push_frame(&mut self, pts: Pts, frame: F, sampled: bool) {
        self.sampled += usize::from(sampled);
        self.frames.push_back(Waiting { pts, frame, sampled });
    }

    /// Adds the annotation of a sampled frame, in the order of the frames. A
    /// frame whose analysis was lost is drawn like one that was not sampled.
    pub fn push_annotation(&mut self, annotation: Arc<Annotation>) {
        self.annotations.push_back(annotation);
    }

    /// Says that no annotation will come any more: what waits leaves with what
    /// there is.
    pub fn finish(&mut self) {
        self.finished = true;
    }

    /// Frames that wait.
    pub fn held(&self) -> usize {
        self.frames.len()
    }

    /// Sampled frames that wait and whose annotation has not come yet.
    pub fn outstanding(&self) -> usize {
        self.sampled.saturating_sub(self.annotations.len())
    }

    /// The oldest frame, once all that is to be drawn on it is known.
    pub fn pop(&mut self) -> Option<Paired<F>> {
        let (pts, sampled) = self.frames.front().map(|f| (f.pts, f.sampled))?;
        // Late annotations of frames that left without them still hold.
        while self.annotations.front().is_some_and(|a| a.pts < pts) {
            self.last = self.annotations.pop_front();
        }
        let heat = match self.annotations.front() {
            Some(own) if sampled && own.pts == pts => {
                self.last = self.annotations.pop_front();
                held(self.last.as_deref())
            }
            _ if !sampled && self.interpolation == Interpolation::Hold => {
                held(self.last.as_deref())
            }
            Some(next) => between(self.last.as_deref(), next, pts),
            None if self.finished => held(self.last.as_deref()),
            None => return None,
        };
        let Waiting { pts, frame, sampled } = self.frames.pop_front()?;
        self.sampled -= usize::from(sampled);
        Some(Paired { frame, pts, annotation: self.last.clone(), heat })
    }
}

fn held(annotation: Option<&Annotation>) -> Vec<Heat> {
    let explanations = annotation.into_iter().flat_map(|a| &a.explanations);
    explanations.map(|e| e.heat.clone()).collect()
}

/// The heat at `pts`, between `a` and the next analysed frame `b`.
fn between(a: Option<&Annotation>, b: &Annotation, pts: Pts) -> Vec<Heat> {
    // Before the first analysed frame there is nothing to start from.
    let Some(a) = a else { return Vec::new() };
    let span = b.pts.secs_since(a.pts);
    let mut heats = held(Some(a));
    let to = || b.explanations.iter();
    let heads = |a: &Annotation| a.explanations.first().map(|e| e.head);
    let other_head = matches!((heads(a), heads(b)), (Some(from), Some(to)) if from != to);
    if b.starts_shot || other_head || span <= 0.0 {
        return heats;
    }
    let part = (pts.secs_since(a.pts) / span).clamp(0.0, 1.0) as f32;
    // No explanation is no heat, so that heat fades out and in.
    for heat in &mut heats {
        let to = to().map(|e| &e.heat).find(|to| to.layer == heat.layer);
        // Maps that cannot be mixed are held.
        let mixable = to.is_none_or(|to| same_place(heat, to));
        let values = heat.map.values.iter_mut();
        match to.filter(|_| mixable) {
            Some(to) => {
                values.zip(&to.map.values).for_each(|(value, to)| *value += (to - *value) * part);
            }
            None if mixable => values.for_each(|value| *value *= 1.0 - part),
            None => {}
        }
    }
    for new in to().map(|e| &e.heat) {
        if heats.iter().all(|heat| heat.layer != new.layer) {
            let mut new = new.clone();
            new.map.values.iter_mut().for_each(|value| *value *= part);
            heats.push(new);
        }
    }
    heats.sort_by_key(|heat| heat.layer);
    heats
}

fn same_place(a: &Heat, b: &Heat) -> bool {
    a.view == b.view
        && (a.map.rows, a.map.cols) == (b.map.rows, b.map.cols)
        && a.map.values.len() == b.map.values.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::annotation::{ActivationMap, ClassProb, Explanation, View};

    const VIEW: View = View { x: 0.0, y: 0.0, width: 16.0, height: 9.0 };

    /// `ms[:heat[,heat]][flags]`, a heat for each layer, or nothing; flags: `!`
    /// new shot, `+` other grid, `h` other head, `v` other view.
    pub(super) fn annotation(text: &str) -> Arc<Annotation> {
        let flags = |c| text.contains(c);
        let digits = text.trim_end_matches(['!', '+', 'h', 'v']);
        let (ms, heat) = digits.split_once(':').map_or((digits, None), |(m, h)| (m, Some(h)));
        let explanation = |(layer, heat): (usize, &str)| Explanation {
            head: usize::from(flags('h')),
            class: ClassProb { index: 0, label: "cat".into(), probability: 0.5 },
            asked: true,
            heat: Heat {
                layer,
                map: ActivationMap {
                    rows: 1,
                    cols: 1 + usize::from(flags('+')),
                    values: vec![heat.parse().unwrap(); 1 + usize::from(flags('+'))],
                },
                view: if flags('v') { View { x: 1.0, ..VIEW } } else { VIEW },
            },
            full_scale: 1.0,
        };
        let heats = heat.into_iter().flat_map(|heat| heat.split(',')).enumerate();
        let explanations = heats.filter(|(_, heat)| !heat.is_empty()).map(explanation).collect();
        let pts = Pts(ms.parse::<u64>().unwrap() * 1_000_000);
        Arc::new(Annotation { pts, starts_shot: flags('!'), heads: Vec::new(), explanations })
    }

    /// Runs a script: `f40` frame at 40 ms, `s40` sampled frame, `a40:0.5` its
    /// annotation, `end`. After every step, all frames that can leave do, as
    /// `ms=heat(annotation's ms)`.
    fn play(script: &str) -> String {
        play_with(Interpolation::Linear, script)
    }

    fn play_with(interpolation: Interpolation, script: &str) -> String {
        let mut sync = Synchronizer::new(interpolation);
        let mut steps = Vec::new();
        for step in script.split_whitespace() {
            let mut out = Vec::new();
            let ms = || step[1..].parse::<u64>().unwrap();
            match step.as_bytes()[0] {
                b'f' | b's' => {
                    sync.push_frame(Pts(ms() * 1_000_000), ms(), step.starts_with('s'));
                }
                b'a' => sync.push_annotation(annotation(&step[1..])),
                _ => sync.finish(),
            }
            while let Some(Paired { frame, pts, annotation, heat }) = sync.pop() {
                assert_eq!(pts.0, frame * 1_000_000);
                let layers = heat.iter().map(|h| h.layer).max().map_or(0, |most| most + 1);
                let layer = |n| heat.iter().find(|h| h.layer == n);
                let text = |n| layer(n).map(|h| format!("{:.2}", h.map.values[0]));
                let heats: Vec<_> = (0..layers).map(|n| text(n).unwrap_or_default()).collect();
                let heat = if heats.is_empty() { "-".to_owned() } else { heats.join(",") };
                let of = annotation.map_or("-".into(), |a| (a.pts.0 / 1_000_000).to_string());
                out.push(format!("{frame}={heat}({of})"));
            }
            steps.push(out.join(" "));
        }
        if sync.held() > 0 {
            steps.push(format!("held {}", sync.held()));
        }
        // A mark per step tells when a frame left, not only that it did.
        steps.join("|").trim_end_matches('|').to_owned()
    }

    fn check(script: &str, wanted: &str) {
        assert_eq!(play(script), wanted, "{script}");
    }

    #[test]
    fn a_sampled_frame_leaves_with_its_own_map_and_only_then() {
        check("s0 a0:0.5", "|0=0.50(0)");
        check("s0", "|held 1");
        check("a0:0.5 s0", "|0=0.50(0)");
    }

    #[test]
    fn frames_between_are_interpolated_at_their_own_time() {
        check(
            "s0 f40 f80 a0:0 s120 a120:0.6 end",
            "|||0=0.00(0)||40=0.20(0) 80=0.40(0) 120=0.60(120)",
        );
        // Variable frame rate: time counts, not the number of frames.
        check("s0 a0:0 f10 f90 s100 a100:1", "|0=0.00(0)||||10=0.10(0) 90=0.90(0) 100=1.00(100)");
    }

    #[test]
    fn nothing_reaches_across_a_cut() {
        check(
            "s0 a0:0.2 f40 f80 s120 a120:1!",
            "|0=0.20(0)||||40=0.20(0) 80=0.20(0) 120=1.00(120)",
        );
    }

    #[test]
    fn the_end_holds_the_last_map() {
        check("s0 a0:0.5 f40 f80 end", "|0=0.50(0)|||40=0.50(0) 80=0.50(0)");
        check("s0 f40 end", "||0=-(-) 40=-(-)");
        // An annotation known at the end is still used for what is before it.
        check("s0 f50 s100 a0:0 end", "|||0=0.00(0)|50=0.00(0) 100=0.00(0)");
    }

    #[test]
    fn no_explanation_is_no_heat() {
        check("s0 a0:0.8 f50 s100 a100", "|0=0.80(0)|||50=0.40(0) 100=-(100)");
        check("s0 a0 f50 s100 a100:0.8", "|0=-(0)|||50=0.40(0) 100=0.80(100)");
        check("s0 a0 f50 s100 a100", "|0=-(0)|||50=-(0) 100=-(100)");
        check("s0 a0 f50 s100 a100:1!", "|0=-(0)|||50=-(0) 100=1.00(100)");
    }

    #[test]
    fn every_layer_fades_by_itself() {
        check(
            "s0 a0:0.8,0 f50 s100 a100:0.4,1",
            "|0=0.80,0.00(0)|||50=0.60,0.50(0) 100=0.40,1.00(100)",
        );
        // The shown class became one that has a layer of its own.
        check(
            "s0 a0:0.8,0.2 f50 s100 a100:,0.4",
            "|0=0.80,0.20(0)|||50=0.40,0.30(0) 100=,0.40(100)",
        );
        check("s0 a0:,0.2 f50 s100 a100:0.8", "|0=,0.20(0)|||50=0.40,0.10(0) 100=0.80(100)");
    }

    #[test]
    fn held_heat_waits_for_nothing_after_the_frame() {
        let held = |script| play_with(Interpolation::Hold, script);
        assert_eq!(
            held("s0 f40 a0:0.2 f80 s120 f160 a120:0.6"),
            "||0=0.20(0) 40=0.20(0)|80=0.20(0)|||120=0.60(120) 160=0.60(120)"
        );
        assert_eq!(held("f0 s40 a40:0.2"), "0=-(-)||40=0.20(40)");
    }

    #[test]
    fn maps_that_cannot_be_mixed_are_held() {
        for flag in ["+", "h", "v"] {
            check(
                &format!("s0 a0:0.2 f50 s100 a100:1{flag}"),
                "|0=0.20(0)|||50=0.20(0) 100=1.00(100)",
            );
        }
    }

    #[test]
    fn a_lost_annotation_blocks_nothing() {
        check("s0 s100 s200 a0:0 a200:1", "|||0=0.00(0)|100=0.50(0) 200=1.00(200)");
    }

    #[test]
    fn frames_that_share_a_time_keep_their_own_annotations_and_order() {
        check("s0 s0 f0 a0:0.1 a0:0.9 end", "|||0=0.10(0)|0=0.90(0)|0=0.90(0)");
    }

    #[test]
    fn the_speed_of_the_analyst_changes_nothing() {
        let frames = ["s0", "f33", "f67", "s100", "f133", "s140", "s200", "f240", "f280", "s300"];
        let answers = ["a0:0.1", "a100:0.9", "a140", "a200:0.7!", "a300:0.3+"];
        let result = |script: &str| {
            let out = play(script).replace('|', " ");
            out.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        let wanted = result(&[&frames[..], &answers[..], &["end"]].concat().join(" "));
        assert_eq!(wanted.len(), frames.len());
        for lag in 0..12 {
            // Every answer comes `lag` frames after its question.
            let mut script = Vec::new();
            let mut asked = VecDeque::new();
            for (n, frame) in frames.iter().enumerate() {
                script.push(*frame);
                if frame.starts_with('s') {
                    asked.push_back(n + lag);
                }
                while asked.front().is_some_and(|due| *due <= n) {
                    asked.pop_front();
                    let given = script.iter().filter(|s| s.starts_with('a')).count();
                    script.push(answers[given]);
                }
            }
            let given = script.iter().filter(|s| s.starts_with('a')).count();
            script.extend_from_slice(&answers[given..]);
            script.push("end");
            assert_eq!(result(&script.join(" ")), wanted, "lag {lag}");
        }
    }

    #[test]
    fn the_backlog_can_be_counted() {
        let mut sync = Synchronizer::default();
        for (ms, sampled) in [(0, true), (40, false), (80, true)] {
            sync.push_frame(Pts(ms * 1_000_000), (), sampled);
        }
        assert_eq!((sync.held(), sync.outstanding()), (3, 2));
        sync.push_annotation(annotation("0:1"));
        assert_eq!((sync.held(), sync.outstanding()), (3, 1));
        assert!(sync.pop().is_some() && sync.pop().is_none());
        assert_eq!((sync.held(), sync.outstanding()), (2, 1));
    }
}
