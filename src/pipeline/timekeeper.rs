//! Finds the segments of a recording while it is annotated, and has them
//! written when it has ended. Fed by the compositor; must not know what the
//! files look like.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};

use super::timeline_files::{TimelineFiles, TimelinePlan};
use crate::annotation::Annotation;
use crate::frame::Pts;
use crate::media::{Container, Frame};
use crate::model::Head;
use crate::names;
use crate::timeline::segmenter::{Profile, Segmenter};
use crate::timeline::{Cue, Segment};

/// The segmenters of a run, one for each head that is segmented.
#[derive(Debug)]
pub(super) struct Timekeeper {
    plan: TimelinePlan,
    tracks: Vec<Track>,
    frame_rate: Option<f64>,
    /// Stream time of the first picture.
    first: Pts,
}

#[derive(Debug)]
struct Track {
    head: Arc<str>,
    segmenter: Segmenter,
}

impl Timekeeper {
    /// For a plan and the heads of a model.
    ///
    /// # Errors
    /// When a head, the profile, or the label of the breaks is unknown.
    pub(super) fn new(plan: TimelinePlan, heads: &[Head]) -> anyhow::Result<Self> {
        let profile = profile(&plan.profile)?;
        let chosen = chosen(&plan.heads, heads)?;
        if plan.needs_breaks {
            check_break(&plan, &chosen)?;
        }
        let track = |head: &&Head| {
            let segmenter = Segmenter::new(&head.name, &segment_labels(head), &profile);
            Track { head: Arc::clone(&head.name), segmenter }
        };
        let tracks = chosen.iter().map(track).collect();
        Ok(Self { plan, tracks, frame_rate: None, first: Pts(0) })
    }

    /// The first frame is there.
    pub(super) fn begin(&mut self, first: &Frame) {
        self.first = first.pts;
        self.frame_rate = first.frame_rate();
    }

    /// Takes what was noticed in picture and sound, in any order.
    pub(super) fn notice(&mut self, cues: &[Cue]) {
        for track in &mut self.tracks {
            cues.iter().for_each(|cue| track.segmenter.cue(*cue));
        }
    }

    /// Takes what was said about a frame.
    pub(super) fn take(&mut self, annotation: &Annotation) {
        let Annotation { pts, starts_shot, .. } = *annotation;
        for track in &mut self.tracks {
            let answer = annotation.heads.iter().find(|h| h.head == track.head);
            if let Some(answer) = answer {
                track.segmenter.observe(pts, starts_shot, &evidence(&answer.probabilities));
            }
        }
    }

    /// Writes the files about a recording that ended at `end`, and what goes
    /// into `output`. Gives back the names of the files.
    ///
    /// # Errors
    /// When something cannot be written.
    pub(super) fn finish(
        self,
        end: Pts,
        output: &Path,
        container: Container,
    ) -> (Vec<String>, anyhow::Result<()>) {
        let mut segments: Vec<Segment> = Vec::new();
        for track in self.tracks {
            segments.extend(track.segmenter.finish(end));
        }
        // In order of their start; at the same time, in the order of the heads.
        segments.sort_by_key(|s| s.start);
        let mut files = TimelineFiles::new(self.plan, self.frame_rate);
        let beside = files.write(&segments, end, end);
        let inside = files.finish_output(output, container, &segments, end, self.first);
        (files.paths(), beside.and(inside))
    }
}

/// What segments of a head may be called: its labels, and of a head with only
/// one the absence of that.
pub(super) fn segment_labels(head: &Head) -> Vec<Arc<str>> {
    let mut labels = head.labels.clone();
    if let [only] = &head.labels[..] {
        labels.push(format!("not {only}").into());
    }
    labels
}

/// The probabilities of [`segment_labels`], from those of the head's labels.
pub(super) fn evidence(probabilities: &[f32]) -> Cow<'_, [f32]> {
    match *probabilities {
        [p] => Cow::Owned(vec![p, 1.0 - p]),
        ref all => Cow::Borrowed(all),
    }
}

pub(super) fn profile(name: &str) -> anyhow::Result<Profile> {
    if Path::new(name).extension().is_none_or(|e| e != "toml") {
        return Ok(Profile::named(name)?);
    }
    let text =
        std::fs::read_to_string(name).with_context(|| format!("cannot read the profile {name}"))?;
    Profile::parse(&text).with_context(|| name.to_owned())
}

/// The heads to be segmented, in the order they were named.
pub(super) fn chosen<'a>(named: &[String], heads: &'a [Head]) -> anyhow::Result<Vec<&'a Head>> {
    if named.is_empty() {
        return Ok(heads.first().into_iter().collect());
    }
    let mut chosen: Vec<&Head> = Vec::new();
    for asked in named {
        let found = heads.iter().find(|h| names::plain(&h.name) == names::plain(asked));
        let Some(head) = found else {
            let known: Vec<&str> = heads.iter().map(|h| &*h.name).collect();
            bail!("segment: the model has no head {asked:?}, but {}", known.join(", "));
        };
        if chosen.iter().any(|c| c.name == head.name) {
            bail!("segment names the head {:?} twice", &*head.name);
        }
        chosen.push(head);
    }
    Ok(chosen)
}

/// A list of breaks that never holds one is a mistake.
pub(super) fn check_break(plan: &TimelinePlan, heads: &[&Head]) -> anyhow::Result<()> {
    let wanted = names::plain(&plan.about.break_label);
    let labels = || heads.iter().flat_map(|h| &h.labels).map(|l| (names::plain(l), l));
    if labels().any(|(label, _)| label == wanted) {
        return Ok(());
    }
    let names: Vec<&str> = heads.iter().map(|h| &*h.name).collect();
    let hint = names::nearest(labels(), &wanted)
        .map_or_else(String::new, |near| format!(" (did you mean {near:?}?)"));
    bail!(
        "no label of {} is called {:?}{hint}; say with --break which one is the break, or with --segment which head has it",
        names.join(", "),
        plan.about.break_label
    )
}
