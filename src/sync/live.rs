//! The live counterpart of [`Synchronizer`](super::Synchronizer): a frame never
//! waits. It is drawn with the newest annotation at or before it, and the age
//! of that annotation is part of the answer.
//!
//! Heat never reaches across a shot cut, nor longer than it may: what is too
//! old to be true is not painted. What was said last stays readable.

use std::sync::Arc;
use std::time::Duration;

use super::{Paired, held};
use crate::annotation::Annotation;
use crate::frame::Pts;

/// Pairs live frames with what is known at the moment they leave.
#[derive(Debug)]
pub struct LivePairing {
    max_age: Duration,
    /// Newest first; those of frames that have not come yet, and one before.
    known: Vec<Arc<Annotation>>,
    shot: Pts,
}

impl LivePairing {
    /// A pairing that paints no heat older than `max_age`.
    pub fn new(max_age: Duration) -> Self {
        Self { max_age, known: Vec::new(), shot: Pts(0) }
    }

    /// Adds what became known. An annotation that comes out of order takes its
    /// place by its time.
    pub fn push_annotation(&mut self, annotation: Arc<Annotation>) {
        let at = self.known.partition_point(|known| known.pts > annotation.pts);
        self.known.insert(at, annotation);
    }

    /// Says that a new shot begins at `pts`.
    pub fn start_shot(&mut self, pts: Pts) {
        self.shot = pts;
    }

    /// Forgets everything: what comes now has nothing to do with it.
    pub fn reset(&mut self) {
        self.known.clear();
    }

    /// The frame at `pts` with all that is to be drawn on it, and the age of its
    /// annotation. Frames come in order.
    pub fn pair<F>(&mut self, pts: Pts, frame: F) -> (Paired<F>, Option<Duration>) {
        let at = self.known.partition_point(|known| known.pts > pts);
        self.known.truncate(at + 1);
        let annotation = self.known.get(at).cloned();
        let age = annotation.as_ref().map(|a| Duration::from_nanos(pts.0 - a.pts.0));
        let current = annotation
            .as_deref()
            .filter(|a| a.pts >= self.shot && age.is_some_and(|age| age <= self.max_age));
        let heat = held(current);
        (Paired { frame, pts, annotation, heat }, age)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a script: `f40` frame at 40 ms, `a40` an annotation whose heat is
    /// its time, `c40` a cut. Frames answer `ms=annotation/age`, with `!` where
    /// there is heat.
    fn play(script: &str) -> String {
        let mut pairing = LivePairing::new(Duration::from_millis(500));
        let mut out = Vec::new();
        for step in script.split_whitespace() {
            let ms: u64 = step[1..].parse().unwrap();
            let pts = Pts(ms * 1_000_000);
            match step.as_bytes()[0] {
                b'a' => {
                    pairing.push_annotation(super::super::tests::annotation(&format!("{ms}:1")))
                }
                b'c' => pairing.start_shot(pts),
                _ => {
                    let (Paired { annotation, heat, .. }, age) = pairing.pair(pts, ());
                    let of = annotation.map_or("-".into(), |a| (a.pts.0 / 1_000_000).to_string());
                    let age = age.map_or("-".into(), |age| age.as_millis().to_string());
                    let mark = if !heat.is_empty() { "!" } else { "" };
                    out.push(format!("{ms}={of}/{age}{mark}"));
                }
            }
        }
        out.join(" ")
    }

    #[test]
    fn a_frame_takes_the_newest_annotation_that_is_not_after_it() {
        assert_eq!(
            play("f0 a0 f40 f80 a120 f120 f160"),
            "0=-/- 40=0/40! 80=0/80! 120=120/0! 160=120/40!"
        );
        // An annotation of a frame that is still to come waits for it.
        assert_eq!(play("a0 a120 f40 f160"), "40=0/40! 160=120/40!");
        assert_eq!(play("a120 a0 f40 f130"), "40=0/40! 130=120/10!");
    }

    #[test]
    fn heat_ends_at_a_cut_and_the_words_stay() {
        assert_eq!(play("a0 f40 c80 f80 f120 a80 f160"), "40=0/40! 80=0/80 120=0/120 160=80/80!");
    }

    #[test]
    fn what_is_too_old_is_not_painted() {
        assert_eq!(play("a0 f500 f501"), "500=0/500! 501=0/501");
    }

    #[test]
    fn a_map_is_heat_only_where_there_is_one() {
        let mut pairing = LivePairing::new(Duration::from_secs(1));
        pairing.push_annotation(super::super::tests::annotation("0"));
        let (paired, age) = pairing.pair(Pts(0), ());
        assert!(paired.heat.is_empty());
        assert_eq!(age, Some(Duration::ZERO));
    }
}
