//! Pairs every frame with the annotation that belongs to it, without losing a
//! frame or changing their order. Fed and emptied by the compositor; must not
//! know what a frame is made of, nor who waits for whom.
//!
//! A sampled frame leaves with its own map. A frame between the sampled frames
//! `a` and `b` waits for `b` and leaves with the map linearly interpolated at
//! its own time; when `b` starts a new shot, `a`'s map is held instead, because
//! a heatmap must not announce a cut. The result depends on timestamps only,
//! never on how fast annotations arrive.

mod live;

use std::collections::VecDeque;
use std::sync::Arc;

use crate::annotation::{ActivationMap, Annotation, Explanation, View};
use crate::frame::Pts;

pub use live::LivePairing;

/// A frame with everything that is to be drawn on it.
#[derive(Clone, Debug)]
pub struct Paired<F> {
    /// The frame as it was pushed.
    pub frame: F,
    /// Its stream time.
    pub pts: Pts,
    /// Its own annotation, or that of the last analysed frame before it.
    pub annotation: Option<Arc<Annotation>>,
    /// Heat 0..1 at this very moment, and where it lies in the picture.
    pub heat: Option<(ActivationMap, View)>,
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
    finished: bool,
}

impl<F> Default for Synchronizer<F> {
    fn default() -> Self {
        Self {
            frames: VecDeque::new(),
            sampled: 0,
            annotations: VecDeque::new(),
            last: None,
            finished: false,
        }
    }
}

impl<F> Synchronizer<F> {
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
            Some(next) => between(self.last.as_deref(), next, pts),
            None if self.finished => held(self.last.as_deref()),
            None => return None,
        };
        let Waiting { pts, frame, sampled } = self.frames.pop_front()?;
        self.sampled -= usize::from(sampled);
        Some(Paired { frame, pts, annotation: self.last.clone(), heat })
    }
}

fn held(annotation: Option<&Annotation>) -> Option<(ActivationMap, View)> {
    annotation?.explanation.as_ref().map(|e| (e.map.clone(), e.view))
}

/// The heat at `pts`, between `a` and the next analysed frame `b`.
fn between(a: Option<&Annotation>, b: &Annotation, pts: Pts) -> Option<(ActivationMap, View)> {
    // Before the first analysed frame there is nothing to start from.
    let a = a?;
    let span = b.pts.secs_since(a.pts);
    let (from, to) = (a.explanation.as_ref(), b.explanation.as_ref());
    let mixable = match (from, to) {
        (Some(from), Some(to)) => same_place(from, to),
        _ => true,
    };
    if b.starts_shot || !mixable || span <= 0.0 {
        return held(Some(a));
    }
    let part = (pts.secs_since(a.pts) / span).clamp(0.0, 1.0) as f32;
    // No explanation is no heat, so that heat fades out and in.
    let some = from.or(to)?;
    let mut map = some.map.clone();
    match (from, to) {
        (Some(_), Some(to)) => {
            for (value, to) in map.values.iter_mut().zip(&to.map.values) {
                *value += (to - *value) * part;
            }
        }
        (one, _) => {
            let weight = if one.is_some() { 1.0 - part } else { part };
            map.values.iter_mut().for_each(|v| *v *= weight);
        }
    }
    Some((map, some.view))
}

fn same_place(a: &Explanation, b: &Explanation) -> bool {
    a.head == b.head
        && a.view == b.view
        && (a.map.rows, a.map.cols) == (b.map.rows, b.map.cols)
        && a.map.values.len() == b.map.values.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::annotation::ClassProb;

    const VIEW: View = View { x: 0.0, y: 0.0, width: 16.0, height: 9.0 };

    /// `ms[:heat][flags]`; flags: `!` new shot, `+` other grid, `h` other head,
    /// `v` other view. Without a heat there is no explanation.
    pub(super) fn annotation(text: &str) -> Arc<Annotation> {
        let flags = |c| text.contains(c);
        let digits = text.trim_end_matches(['!', '+', 'h', 'v']);
        let (ms, heat) = digits.split_once(':').map_or((digits, None), |(m, h)| (m, Some(h)));
        let explanation = heat.map(|heat| Explanation {
            head: usize::from(flags('h')),
            class: ClassProb { index: 0, label: "cat".into(), probability: 0.5 },
            map: ActivationMap {
                rows: 1,
                cols: 1 + usize::from(flags('+')),
                values: vec![heat.parse().unwrap(); 1 + usize::from(flags('+'))],
            },
            full_scale: 1.0,
            view: if flags('v') { View { x: 1.0, ..VIEW } } else { VIEW },
        });
        let pts = Pts(ms.parse::<u64>().unwrap() * 1_000_000);
        Arc::new(Annotation { pts, starts_shot: flags('!'), heads: Vec::new(), explanation })
    }

    /// Runs a script: `f40` frame at 40 ms, `s40` sampled frame, `a40:0.5` its
    /// annotation, `end`. After every step, all frames that can leave do, as
    /// `ms=heat(annotation's ms)`.
    fn play(script: &str) -> String {
        let mut sync = Synchronizer::default();
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
                let heat = heat.map_or("-".into(), |(m, _)| format!("{:.2}", m.values[0]));
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
