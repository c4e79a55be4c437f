//! What tests of live operation have in common.

use crate::annotation::{Annotation, ClassProb, HeadResult};
use crate::frame::Pts;

/// An analysed frame on which the head `content` says `show`.
pub(super) fn said(seconds: f64, starts_shot: bool) -> Annotation {
    let class = ClassProb { index: 0, label: "show".into(), probability: 0.9 };
    let head = HeadResult {
        head: "content".into(),
        top: vec![class.clone()],
        shown: class,
        probabilities: vec![0.9, 0.1].into(),
    };
    let pts = Pts::from_secs_f64(seconds);
    Annotation { pts, starts_shot, heads: vec![head], explanations: Vec::new() }
}
