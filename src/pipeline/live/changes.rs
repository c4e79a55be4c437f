//! The changes of what a stream shows, with a still of each: what the monitor
//! page lists. Stills are made on a thread of their own, which nobody waits for.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::desk::Answer;
use super::stream::{Stream, unix_ms};
use crate::annotation::{ActivationMap, View};
use crate::frame::{Picture, Size};
use crate::overlay::{Style, heated};
use crate::still::Still;
use crate::web::station::{Change, ClassStatus, HeadStatus};

/// Changes that are remembered.
const KEPT: usize = 200;
/// Longer side of a still, pixels.
const STILL_PX: usize = 640;
/// JPEG quality of a still.
const QUALITY: u8 = 82;
/// Stills that may wait to be made.
const WAITING: usize = 4;

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

    /// Notes which heads show something new, and returns the numbers of these
    /// changes.
    fn note(&mut self, answer: &Answer) -> Vec<u64> {
        let annotation = &answer.annotation;
        let pts_s = annotation.pts.as_secs_f64();
        let mut numbers = Vec::new();
        for head in &annotation.heads {
            let label = &head.shown.label;
            let previous = self.shown.insert(Arc::clone(&head.head), Arc::clone(label));
            if previous.as_ref() == Some(label) {
                continue;
            }
            let name = head.head.to_string();
            if let Some(before) = self.list.iter_mut().rev().find(|c| c.head == name) {
                before.end_pts_s = Some(pts_s);
            }
            let id = self.next;
            self.next += 1;
            numbers.push(id);
            self.list.push_back(Change {
                id,
                head: name,
                label: label.to_string(),
                probability: f64::from(head.shown.probability),
                previous: previous.map(|p| p.to_string()),
                pts_s,
                at_unix_ms: unix_ms(),
                end_pts_s: None,
                cues: if annotation.starts_shot { vec!["cut".to_owned()] } else { Vec::new() },
                explained_class: annotation.explanations.first().map(|e| e.class.label.to_string()),
                heads: annotation.heads.iter().map(best_classes).collect(),
                still: false,
            });
        }
        while self.list.len() > KEPT {
            if let Some(old) = self.list.pop_front() {
                self.stills.remove(&old.id);
            }
        }
        numbers
    }

    fn keep(&mut self, numbers: &[u64], stills: &[Jpeg; 2]) {
        for change in self.list.iter_mut().filter(|change| numbers.contains(&change.id)) {
            change.still = true;
            self.stills.insert(change.id, stills.clone());
        }
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
        let numbers = stream.changes.lock().note(&answer);
        if !numbers.is_empty() {
            let _ = self.jobs.try_send(Job { stream: Arc::clone(stream), numbers, answer });
        }
    }
}

fn make_stills(work: &Receiver<Job>) {
    for Job { stream, numbers, answer } in work {
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
            stream.changes.lock().keep(&numbers, &[clean, hot]);
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
