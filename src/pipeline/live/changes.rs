//! The changes of a stream, with a still of each: what the monitor page lists.
//! Of a head that is segmented they are the boundaries of its segments, of any
//! other those of the shown class. Stills are made on a thread of their own, which
//! nobody waits for.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::desk::Answer;
use super::stream::{Stream, unix_ms};
use crate::annotation::{ActivationMap, Annotation, HeadResult, View};
use crate::frame::{Picture, Size};
use crate::overlay::{Style, heated};
use crate::still::Still;
use crate::timeline::segmenter::{Edge, SegmentEvent, State};
use crate::web::station::{Certainty, Change, ClassStatus, HeadStatus};

/// Changes that are remembered.
const KEPT: usize = 100;
/// Longer side of a still, pixels.
const STILL_PX: usize = 480;
/// JPEG quality of a still.
const QUALITY: u8 = 78;
/// Stills that may wait to be made.
const WAITING: usize = 4;
/// Moments whose stills are kept because a boundary may turn out to be there:
/// for a minute, as they are at least a second apart.
const RECENT: usize = 64;
/// Seconds between two of them, at least, and at most where no shot begins.
const RECENT_S: (f64, f64) = (1.0, 5.0);
/// Seconds that a boundary may be from the moment of its still.
const NEAR_S: f64 = 5.0;

/// The bytes of a JPEG file.
type Jpeg = Arc<[u8]>;

/// What is remembered.
#[derive(Default)]
pub(super) struct Changes {
    next: u64,
    list: VecDeque<Change>,
    /// By change: without heat, with heat.
    stills: HashMap<u64, [Jpeg; 2]>,
    /// What each head showed last.
    shown: HashMap<Arc<str>, Arc<str>>,
    /// Heads whose changes are those of their segments.
    segmented: Vec<Arc<str>>,
    /// The changes at which segments begin, by head and number of the segment.
    begun: HashMap<(Arc<str>, u64), u64>,
    /// Moments at which a boundary may turn out to be, oldest first.
    recent: VecDeque<Moment>,
    /// Stream time of the newest moment, in seconds; its still may be on its way.
    newest_s: Option<f64>,
}

/// What was known and seen at a moment.
struct Moment {
    change: Change,
    stills: [Jpeg; 2],
}

impl Changes {
    /// The changes, oldest first.
    pub(super) fn list(&self) -> Vec<Change> {
        self.list.iter().cloned().collect()
    }

    /// The still of a change; `None` for a change that is not known, or has no
    /// still.
    pub(super) fn still(&self, id: u64, heat: bool) -> Option<Jpeg> {
        self.stills.get(&id).map(|both| Arc::clone(&both[usize::from(heat)]))
    }

    /// Changes where these heads are segmented.
    pub(super) fn of_segments(segmented: Vec<Arc<str>>) -> Self {
        Self { segmented, ..Self::default() }
    }

    /// Whether a boundary may turn out to be at this moment, and its still is to
    /// be made.
    fn may_be_boundary(&mut self, annotation: &Annotation) -> bool {
        let now_s = annotation.pts.as_secs_f64();
        let (least, most) = RECENT_S;
        let since = self.newest_s.map_or(f64::INFINITY, |newest| now_s - newest);
        let wanted = !self.segmented.is_empty()
            && (since >= most || since >= least && annotation.starts_shot);
        if wanted {
            self.newest_s = Some(now_s);
        }
        wanted
    }

    fn remember(&mut self, moment: Moment) {
        self.recent.push_back(moment);
        if self.recent.len() > RECENT {
            self.recent.pop_front();
        }
    }

    /// Takes what was found out about segments.
    pub(super) fn follow(&mut self, events: &[SegmentEvent]) {
        for event in events {
            let SegmentEvent { id, edge, state, segment, .. } = event;
            let key = (Arc::clone(&segment.head), *id);
            match (edge, state, self.begun.get(&key).copied()) {
                (Edge::Start, State::Retracted, known) => {
                    self.begun.remove(&key);
                    self.list.retain(|change| Some(change.id) != known);
                    known.map(|id| self.stills.remove(&id));
                }
                (Edge::Start, _, known) => {
                    let id = known.unwrap_or(self.next);
                    self.next += u64::from(known.is_none());
                    self.begun.insert(key, id);
                    self.begin(id, event);
                }
                (Edge::End, _, Some(id)) => {
                    if let Some(change) = self.list.iter_mut().find(|change| change.id == id) {
                        let end_s = segment.end.as_secs_f64();
                        change.end_pts_s = Some(end_s).filter(|_| *state != State::Retracted);
                        change.probability = segment.confidence.into();
                    }
                    if *state == State::Final {
                        self.begun.remove(&key);
                    }
                }
                (Edge::End, _, None) => {}
            }
        }
        self.forget();
    }

    /// A segment begins, as it looks now, with the change `id`.
    fn begin(&mut self, id: u64, event: &SegmentEvent) {
        let SegmentEvent { segment, state, at, .. } = event;
        let (start_s, head) = (segment.start.as_secs_f64(), &*segment.head);
        // The first moment from the start on shows what begins there.
        let distance = |m: &&Moment| {
            let after = m.change.pts_s - start_s;
            if after >= -0.1 { after.abs() } else { NEAR_S / 2.0 - after }
        };
        let best = self.recent.iter().min_by(|a, b| distance(a).total_cmp(&distance(b)));
        let near = best.filter(|moment| distance(moment) <= NEAR_S);
        let before = self.list.iter().rev().find(|c| c.head == head && c.pts_s < start_s);
        let age_ms = at.secs_since(segment.start).max(0.0) * 1e3;
        let change = Change {
            id,
            head: head.to_owned(),
            label: segment.label.to_string(),
            probability: segment.confidence.into(),
            previous: before.map(|change| change.label.clone()),
            pts_s: start_s,
            at_unix_ms: unix_ms().saturating_sub(age_ms as u64),
            end_pts_s: None,
            cues: segment.start_cues.iter().map(|cue| cue.name().to_owned()).collect(),
            explained_class: near.and_then(|m| m.change.explained_class.clone()),
            heads: near.map(|m| m.change.heads.clone()).unwrap_or_default(),
            still: near.is_some(),
            certainty: match state {
                State::Final => Certainty::Final,
                State::Provisional | State::Retracted => Certainty::Provisional,
            },
        };
        if let Some(stills) = near.map(|m| m.stills.clone()) {
            self.stills.insert(id, stills);
        }
        match self.list.iter_mut().find(|known| known.id == id) {
            Some(known) => *known = Change { end_pts_s: known.end_pts_s, ..change },
            None => self.list.push_back(change),
        }
    }

    fn forget(&mut self) {
        while self.list.len() > KEPT {
            if let Some(old) = self.list.pop_front() {
                self.stills.remove(&old.id);
                self.begun.retain(|_, id| *id != old.id);
            }
        }
    }

    /// Notes which heads show something new, and returns the numbers of these
    /// changes.
    fn note(&mut self, answer: &Answer) -> Vec<u64> {
        let annotation = &answer.annotation;
        let pts_s = annotation.pts.as_secs_f64();
        let mut numbers = Vec::new();
        for head in &annotation.heads {
            let label = &head.shown.label;
            let previous = self.shown.insert(Arc::clone(&head.head), Arc::clone(label));
            if previous.as_ref() == Some(label) || self.segmented.contains(&head.head) {
                continue;
            }
            let name = head.head.to_string();
            if let Some(before) = self.list.iter_mut().rev().find(|c| c.head == name) {
                before.end_pts_s = Some(pts_s);
            }
            let id = self.next;
            self.next += 1;
            numbers.push(id);
            let change = change_of(id, head, annotation);
            self.list.push_back(Change { previous: previous.map(|p| p.to_string()), ..change });
        }
        self.forget();
        numbers
    }

    fn keep(&mut self, numbers: &[u64], stills: &[Jpeg; 2]) {
        for change in self.list.iter_mut().filter(|change| numbers.contains(&change.id)) {
            change.still = true;
            self.stills.insert(change.id, stills.clone());
        }
    }
}

/// The change to what a head shows on an analysed frame.
fn change_of(id: u64, head: &HeadResult, annotation: &Annotation) -> Change {
    Change {
        id,
        head: head.head.to_string(),
        label: head.shown.label.to_string(),
        probability: f64::from(head.shown.probability),
        previous: None,
        pts_s: annotation.pts.as_secs_f64(),
        at_unix_ms: unix_ms(),
        end_pts_s: None,
        cues: if annotation.starts_shot { vec!["shot_cut".to_owned()] } else { Vec::new() },
        explained_class: annotation.explanations.first().map(|e| e.class.label.to_string()),
        heads: annotation.heads.iter().map(best_classes).collect(),
        still: false,
        certainty: Certainty::Shown,
    }
}

fn best_classes(head: &crate::annotation::HeadResult) -> HeadStatus {
    let class = |c: &crate::annotation::ClassProb| ClassStatus {
        label: c.label.to_string(),
        probability: Some(f64::from(c.probability)),
    };
    HeadStatus {
        name: head.head.to_string(),
        shown: Some(class(&head.shown)),
        classes: head.top.iter().map(class).collect(),
    }
}

/// A still to be made.
struct Job {
    stream: Arc<Stream>,
    numbers: Vec<u64>,
    /// The moment, where a boundary may turn out to be there.
    moment: Option<Change>,
    answer: Answer,
}

/// Where changes are noted.
#[derive(Clone)]
pub(super) struct Album {
    jobs: Sender<Job>,
}

impl Album {
    /// An album, and the work of whoever makes its stills.
    pub(super) fn new() -> (Self, impl FnOnce() + Send + 'static) {
        let (jobs, work) = bounded(WAITING);
        (Self { jobs }, move || make_stills(&work))
    }

    /// Notes what is new about an analysed frame.
    pub(super) fn note(&self, stream: &Arc<Stream>, answer: Answer) {
        let mut changes = stream.changes.lock();
        let numbers = changes.note(&answer);
        let annotation = &answer.annotation;
        let is_moment = changes.may_be_boundary(annotation);
        drop(changes);
        let first = annotation.heads.first().filter(|_| is_moment);
        let moment = first.map(|head| change_of(0, head, annotation));
        if !numbers.is_empty() || moment.is_some() {
            let _ = self.jobs.try_send(Job { stream: Arc::clone(stream), numbers, moment, answer });
        }
    }
}

fn make_stills(work: &Receiver<Job>) {
    for Job { stream, numbers, moment, answer } in work {
        let Ok(whole) = answer.frame.with_picture(still_of) else { continue };
        let small = whole.shrunk(STILL_PX);
        let scale = small.size.width as f64 / whole.size.width.max(1) as f64;
        let controls = stream.controls();
        let style = Style { opacity: controls.opacity as f32, ..Style::default() };
        let explanation = answer.annotation.explanations.first();
        let hot = explanation.map(|e| with_heat(&small, &e.heat.map, &e.heat.view, scale, &style));
        let jpeg = |still: &Still| still.to_jpeg(QUALITY).ok().map(Jpeg::from);
        let clean = jpeg(&small);
        let hot = hot.map_or_else(|| clean.clone(), |hot| jpeg(&hot));
        if let (Some(clean), Some(hot)) = (clean, hot) {
            let (mut changes, stills) = (stream.changes.lock(), [clean, hot]);
            changes.keep(&numbers, &stills);
            if let Some(change) = moment {
                changes.remember(Moment { change, stills });
            }
        }
    }
}

fn with_heat(small: &Still, map: &ActivationMap, view: &View, scale: f64, style: &Style) -> Still {
    let view = View {
        x: view.x * scale,
        y: view.y * scale,
        width: view.width * scale,
        height: view.height * scale,
    };
    heated(small, map, &view, style)
}

/// The picture in red, green and blue, with square pixels.
pub(super) fn still_of(picture: &Picture<'_>) -> Still {
    let Size { width, height } = picture.size;
    let chroma = picture.size.chroma();
    let mut rgb = Vec::with_capacity(width * height * 3);
    for y in 0..height {
        let luma = picture.planes[0].row(y, width);
        let u = picture.planes[1].row(y / 2, chroma.width);
        let v = picture.planes[2].row(y / 2, chroma.width);
        for (x, luma) in luma.iter().enumerate() {
            let yuv = [*luma, u[x / 2], v[x / 2]].map(f32::from);
            rgb.extend(picture.colorimetry.yuv_to_rgb(yuv).map(|c| c.round() as u8));
        }
    }
    Still { size: picture.size, rgb }
}

#[cfg(test)]
mod tests {
    use super::super::tests::said;
    use super::*;
    use crate::frame::Pts;
    use crate::timeline::{CueKind, Segment};

    fn event(id: u64, edge: Edge, state: State, start: f64, end: f64) -> SegmentEvent {
        let s = Pts::from_secs_f64;
        let segment = Segment {
            head: "content".into(),
            label: if id.is_multiple_of(2) { "commercial" } else { "show" }.into(),
            start: s(start),
            end: s(end),
            confidence: 0.875,
            margin: 1.0,
            start_cues: vec![CueKind::Black],
            end_cues: Vec::new(),
        };
        SegmentEvent { id, edge, state, at: s(end), segment }
    }

    #[test]
    fn segments_are_changes_with_the_still_of_what_begins() {
        use {Edge::*, State::*};
        let mut changes = Changes::of_segments(vec!["content".into()]);
        // A cut every two seconds; each moment has a still of its own.
        for n in 0..40u8 {
            let annotation = said(2.0 * f64::from(n), true);
            assert!(changes.may_be_boundary(&annotation));
            assert!(!changes.may_be_boundary(&said(2.0 * f64::from(n) + 0.5, true)), "too soon");
            let change = change_of(0, &annotation.heads[0], &annotation);
            let jpeg = || Jpeg::from(vec![n]);
            changes.remember(Moment { change, stills: [jpeg(), jpeg()] });
        }
        changes.follow(&[event(1, Start, Final, 0.0, 50.0), event(1, End, Provisional, 0.0, 40.2)]);
        changes.follow(&[event(2, Start, Provisional, 40.2, 50.0)]);
        let list = changes.list();
        let brief: Vec<_> = list.iter().map(|c| (&*c.label, c.end_pts_s, c.certainty)).collect();
        let show = ("show", Some(40.2), Certainty::Final);
        assert_eq!(brief, [show, ("commercial", None, Certainty::Provisional)]);
        assert_eq!(
            (list[1].previous.as_deref(), &*list[1].cues),
            (Some("show"), &["black".to_owned()][..])
        );
        // The moment after the boundary, at 42 s.
        assert_eq!(changes.still(list[1].id, true).as_deref(), Some(&[21][..]));
        // It begins elsewhere, and is the same change.
        changes.follow(&[event(2, Start, Final, 44.0, 60.0)]);
        let moved = &changes.list()[1];
        assert_eq!((moved.id, moved.pts_s, moved.certainty), (list[1].id, 44.0, Certainty::Final));
        assert_eq!(changes.still(moved.id, false).as_deref(), Some(&[22][..]));
        // What is taken back is gone, with its still.
        changes.follow(&[event(3, Start, Provisional, 60.0, 70.0)]);
        let id = changes.list()[2].id;
        changes.follow(&[event(3, Start, Retracted, 60.0, 75.0)]);
        assert_eq!((changes.list().len(), changes.still(id, true)), (2, None));
        // Shown classes of that head are no changes of their own.
        assert!(changes.begun.len() == 2 && changes.shown.is_empty());
    }

    #[test]
    fn a_long_row_of_segments_is_forgotten_from_its_start() {
        let mut changes = Changes::of_segments(vec!["content".into()]);
        for id in 1..=500 {
            let at = id as f64;
            changes.follow(&[event(id, Edge::Start, State::Final, at, at + 1.0)]);
            changes.follow(&[event(id, Edge::End, State::Final, at, at + 1.0)]);
        }
        assert_eq!((changes.list().len(), changes.begun.len()), (KEPT, 0));
        assert_eq!(changes.list()[0].pts_s, 401.0);
    }
}
