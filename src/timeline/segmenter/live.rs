//! The segmenter of a stream that goes on: decides a fixed lag behind it, says
//! before that what it believes, and takes back what turns out wrong.

use std::sync::Arc;
use std::time::Duration;

use super::candidates::{Candidate, candidates};
use super::evidence::EvidenceSums;
use super::lattice::{Lattice, Prior, Root, Span};
use super::padding::moved;
use super::{Model, Profile, SlotClock};
use crate::frame::Pts;
use crate::timeline::cue::Cue;
use crate::timeline::segment::Segment;

/// Seconds of a stream before anything is said about it.
const WARM_UP_S: f64 = 2.0;
/// Cues that wait to be looked at, at most: nobody looks where no classifier
/// answers.
const MOST_CUES: usize = 10_000;
/// Nodes that are forgotten together, at least; all others move up then.
const TOGETHER: usize = 64;

/// Which end of a segment an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// Where it begins.
    Start,
    /// Where it ends.
    End,
}

/// How sure an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// As it looks now; may move or be taken back.
    Provisional,
    /// Decided: this edge is never mentioned again.
    Final,
    /// Taken back. Of a start: there is no such segment. Of an end: the segment
    /// goes on.
    Retracted,
}

impl State {
    /// The name in files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Provisional => "provisional",
            Self::Final => "final",
            Self::Retracted => "retracted",
        }
    }
}

/// Something was found out about an edge of a segment.
///
/// A segment is first mentioned with its start. Its edges may be provisional
/// several times, each time elsewhere, and are then final or, as long as they
/// are not, retracted. Every final start is followed by a final end. Segments
/// follow each other without gaps.
#[derive(Clone, Debug, PartialEq)]
pub struct SegmentEvent {
    /// The segment, counted from 1 in the order of first mention.
    pub id: u64,
    /// Which of its ends.
    pub edge: Edge,
    /// How sure.
    pub state: State,
    /// Stream time at which this was found out.
    pub at: Pts,
    /// The segment as it looks now; while its end is open, until `at`. The
    /// margin is that of the moment when its start became final.
    pub segment: Segment,
}

/// A moment at which a segment may end, with what is known of it.
#[derive(Clone, Debug)]
struct Node {
    candidate: Candidate,
    sums: Vec<f64>,
    slot_s: f64,
}

/// A segment that was mentioned.
#[derive(Clone, Debug)]
struct Mentioned {
    id: u64,
    segment: Segment,
    is_start_final: bool,
    /// Whether its end was mentioned.
    has_end: bool,
}

/// A segment of the best timeline at a moment.
#[derive(Clone, Debug)]
struct Believed {
    span: Span,
    start: Pts,
    /// None while it goes on.
    end: Option<Pts>,
}

/// Cuts a live stream into segments of one head.
#[derive(Clone, Debug)]
pub struct LiveSegmenter {
    model: Model,
    lag_s: f64,
    sums: EvidenceSums,
    cues: Vec<Cue>,
    /// Start of the stream.
    first: Option<Pts>,
    lattice: Option<Lattice>,
    /// One for each candidate of the lattice.
    nodes: Vec<Node>,
    /// Nodes that no cue will change any more; at least the root.
    settled: usize,
    /// Whether nodes right behind the root were forgotten.
    thinned: bool,
    /// Segments that are not over for certain, in order.
    mentioned: Vec<Mentioned>,
    next_id: u64,
}

impl LiveSegmenter {
    /// A segmenter for a head with these labels that decides about what is
    /// `lag` behind the stream.
    pub fn new(head: &str, labels: &[Arc<str>], profile: &Profile, lag: Duration) -> Self {
        Self::begin(Model::new(head, labels, profile), lag.as_secs_f64(), 1)
    }

    /// A segmenter that has seen nothing and calls its next segment `next_id`.
    fn begin(model: Model, lag_s: f64, next_id: u64) -> Self {
        Self {
            lag_s,
            sums: model.sums(),
            cues: Vec::new(),
            first: None,
            lattice: None,
            nodes: Vec::new(),
            settled: 1,
            thinned: false,
            mentioned: Vec::new(),
            next_id,
            model,
        }
    }

    /// Takes the answer for an analysed frame, as
    /// [`Segmenter::observe`](super::Segmenter::observe).
    pub fn observe(&mut self, pts: Pts, starts_shot: bool, probabilities: &[f32]) {
        self.first.get_or_insert(pts);
        self.sums.add(pts, starts_shot, probabilities);
    }

    /// Takes a cue, as soon as it is over.
    pub fn cue(&mut self, cue: Cue) {
        if self.cues.len() < MOST_CUES {
            self.cues.push(cue);
        }
    }

    /// The stream has come to `now`: what that changes. Once a second is often
    /// enough. Nothing before the first frame.
    pub fn advance(&mut self, now: Pts) -> Vec<SegmentEvent> {
        self.step(now, false)
    }

    /// The stream is over at `end`: everything that was left open is decided.
    pub fn finish(mut self, end: Pts) -> Vec<SegmentEvent> {
        self.close(end)
    }

    /// The stream breaks off at `end`: everything that was left open is
    /// decided. What comes after it is another timeline; its ids go on.
    pub fn close(&mut self, end: Pts) -> Vec<SegmentEvent> {
        self.sums.finish(end.as_secs_f64());
        let events = self.step(end, true);
        *self = Self::begin(self.model.clone(), self.lag_s, self.next_id);
        events
    }

    fn step(&mut self, now: Pts, over: bool) -> Vec<SegmentEvent> {
        let Some(first) = self.first.filter(|f| *f < now && !self.model.labels.is_empty()) else {
            return Vec::new();
        };
        let time = now.as_secs_f64();
        let mut lattice = match self.lattice.take() {
            Some(lattice) => lattice,
            None => {
                let start = Candidate { time: first.as_secs_f64(), kinds: Vec::new() };
                self.nodes = vec![self.node(start, 0.0)];
                self.rooted(Root::STREAM)
            }
        };
        let slot_s = self.renew_tail(&mut lattice, time);
        let mut events = Vec::new();
        if over || now.secs_since(first) >= WARM_UP_S {
            let here = self.node(Candidate { time, kinds: Vec::new() }, slot_s);
            let evidence = self.model.nats(&here.sums, here.slot_s);
            let (_, spans) = lattice.best_until(time, &evidence);
            let begins = lattice.root().begins;
            let believed = self.believed(&spans, (!begins).then_some(first), now);
            let is_decided = |b: &&Believed| {
                over || self.nodes[b.span.start].candidate.time <= time - self.lag_s
            };
            let decided = believed.iter().take_while(is_decided).count();
            let known = usize::from(self.mentioned.first().is_some_and(|m| m.is_start_final));
            let margins =
                if decided > known { lattice.margins(time, &evidence, &spans) } else { Vec::new() };
            events = self.tell(Moment { now, over, decided, here }, &believed, &margins);
            if let Some(last) = decided.checked_sub(1).filter(|_| !over) {
                lattice = self.reroot(lattice, believed[last].span);
                lattice = self.thin(lattice, time);
            }
        }
        self.settle(&lattice, time);
        self.lattice = Some(lattice);
        events
    }

    /// What is known at a moment.
    fn node(&self, candidate: Candidate, slot_s: f64) -> Node {
        let mut sums = Vec::with_capacity(self.sums.width());
        self.sums.at(candidate.time, &mut sums);
        Node { candidate, sums, slot_s }
    }

    /// A lattice of all nodes, the first of them being the root.
    fn rooted(&self, how: Root) -> Lattice {
        let nats = |node: &Node| self.model.nats(&node.sums, node.slot_s);
        let (root, rest) = (&self.nodes[0], &self.nodes[1..]);
        let priors = self.model.priors.clone();
        let mut lattice = Lattice::new(priors, how, root.candidate.time, &nats(root));
        for node in rest {
            let bonus = node.candidate.bonus(&self.model.profile.cues);
            lattice.push(node.candidate.time, bonus, &nats(node));
        }
        lattice
    }

    /// The lattice from the start of `span` on, whose label is decided.
    fn reroot(&mut self, lattice: Lattice, span: Span) -> Lattice {
        let root = lattice.root();
        if span.start == 0 && root.label.is_some() {
            return lattice;
        }
        if span.start > 0 {
            self.nodes.drain(..span.start);
            self.thinned = false;
        }
        self.settled = self.settled.saturating_sub(span.start).max(1);
        self.rooted(Root { label: Some(span.label), begins: span.start > 0 || root.begins })
    }

    /// The lattice without the nodes within its first segment at which no
    /// boundary will ever be: those after which every segment that could follow
    /// has been long enough for its prior to be flat, or would be too long. So a
    /// programme may last for days.
    fn thin(&mut self, lattice: Lattice, now: f64) -> Lattice {
        let reach = self.model.priors.iter().map(Prior::reach).fold(0.0, f64::max);
        let before = now - self.lag_s - self.tail_s() - reach;
        let old = self.nodes.partition_point(|n| n.candidate.time < before);
        if old < 1 + TOGETHER || old >= self.settled {
            return lattice;
        }
        self.nodes.drain(1..old);
        self.settled -= old - 1;
        self.thinned = true;
        self.rooted(lattice.root())
    }

    /// Seconds behind the stream within which a cue or a slot may still be
    /// found, and change what is there.
    fn tail_s(&self) -> f64 {
        let Profile { candidates: c, slots, evidence, .. } = &self.model.profile;
        let slot = slots.lengths_s.iter().copied().fold(0.0, f64::max) + slots.tolerance_s;
        slot.max(c.cueless_s) + evidence.reach_s + self.around_s()
    }

    /// Seconds around a cue in which others belong to it.
    fn around_s(&self) -> f64 {
        let c = &self.model.profile.candidates;
        2.0 * (c.moment_s + c.merge_s) + 1.0
    }

    /// Replaces the nodes that are not settled by those that are known now.
    /// Gives the seconds of slots up to now.
    fn renew_tail(&mut self, lattice: &mut Lattice, now: f64) -> f64 {
        lattice.truncate(self.settled);
        self.nodes.truncate(self.settled);
        let settings = self.model.profile.candidates;
        let settled_time = lattice.time(self.settled - 1);
        // From a node with a cue, which the grid is counted from and which no
        // cue of the tail belongs to.
        let around_s = self.around_s();
        let is_anchor =
            |n: &Node| !n.candidate.kinds.is_empty() && n.candidate.time < settled_time - around_s;
        let anchor = self.nodes.iter().rposition(is_anchor).unwrap_or(0);
        let from = lattice.time(anchor.max(usize::from(self.thinned)));
        let since = Pts::from_secs_f64(from - around_s);
        self.cues.retain(|cue| cue.end >= since);
        let mut found = candidates(&self.cues, from, now, &settings);
        found.retain(|c| c.time > settled_time + settings.merge_s);
        // Slots may begin among the settled nodes.
        let horizon = settled_time - self.tail_s();
        let before = self.nodes.iter().map(|n| &n.candidate).filter(|c| c.time > horizon);
        let known: Vec<Candidate> = before.chain(&found).cloned().collect();
        let spans = self.model.slots(&known);
        let mut clock = SlotClock::new(&spans);
        let base = self.nodes[self.settled - 1].slot_s - clock.at(settled_time);
        for candidate in found {
            let slot_s = base + clock.at(candidate.time);
            let node = self.node(candidate, slot_s);
            let bonus = node.candidate.bonus(&self.model.profile.cues);
            let nats = self.model.nats(&node.sums, node.slot_s);
            lattice.push(node.candidate.time, bonus, &nats);
            self.nodes.push(node);
        }
        base + clock.at(now)
    }

    /// How many moments, cues and sums are in memory.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.nodes.len() + self.cues.len() + self.sums.kept()
    }

    /// Marks what no cue can change any more, and forgets what led to it.
    fn settle(&mut self, lattice: &Lattice, now: f64) {
        let before = now - self.tail_s();
        let settled = self.nodes.partition_point(|n| n.candidate.time < before);
        self.settled = settled.max(1);
        self.sums.forget_before(lattice.time(self.settled - 1));
    }

    /// The best timeline as people see it: padded, its last segment going on.
    /// `first` is the start of the stream while that is the root.
    fn believed(&self, spans: &[Span], first: Option<Pts>, now: Pts) -> Vec<Believed> {
        let is_padded = |span: &Span| self.model.padded_label == Some(span.label);
        let mut start = match (first, self.mentioned.first()) {
            (Some(first), _) => first,
            (None, Some(mentioned)) => mentioned.segment.start,
            (None, None) => Pts::from_secs_f64(self.nodes[0].candidate.time),
        };
        let mut all = Vec::with_capacity(spans.len());
        for (i, span) in spans.iter().enumerate() {
            let end = spans.get(i + 1).map(|next| {
                let time = Pts::from_secs_f64(self.nodes[next.start].candidate.time);
                let first = first.filter(|_| i == 0);
                moved(time, first, (is_padded(span), is_padded(next)), &self.model.profile.padding)
            });
            // Padding may reach beyond what was seen.
            let end = end.filter(|end| *end < now);
            all.push(Believed { span: *span, start, end });
            match end {
                Some(end) => start = end,
                None => break,
            }
        }
        all
    }

    /// The events that lead from what was mentioned to what is believed.
    fn tell(
        &mut self,
        moment: Moment,
        believed: &[Believed],
        margins: &[f64],
    ) -> Vec<SegmentEvent> {
        let Moment { now, over, decided, ref here } = moment;
        let mut before: Vec<Option<Mentioned>> = self.mentioned.drain(..).map(Some).collect();
        let matches = matches(&before, believed, &self.model.labels, now);
        let mut events = Vec::new();
        let mut told: Vec<Option<Mentioned>> =
            matches.iter().map(|found| found.and_then(|index| before[index].take())).collect();
        let mut say = |mentioned: &Mentioned, edge, state| {
            let segment = mentioned.segment.clone();
            events.push(SegmentEvent { id: mentioned.id, edge, state, at: now, segment });
        };
        for gone in before.iter().flatten() {
            say(gone, Edge::Start, State::Retracted);
        }
        for (i, it) in believed.iter().enumerate() {
            let mut segment = self.model_segment(it, now, here);
            let known = told[i].take();
            let moved = known.as_ref().is_none_or(|m| m.segment.start != it.start);
            let mut mentioned = known.unwrap_or_else(|| {
                self.next_id += 1;
                let segment = segment.clone();
                let id = self.next_id - 1;
                Mentioned { id, segment, is_start_final: false, has_end: false }
            });
            let end_moved = !mentioned.has_end || mentioned.segment.end != segment.end;
            segment.margin = mentioned.segment.margin;
            mentioned.segment = segment;
            if !mentioned.is_start_final {
                if i < decided {
                    mentioned.is_start_final = true;
                    mentioned.segment.margin = margins.get(i).map_or(0.0, |m| *m as f32);
                    say(&mentioned, Edge::Start, State::Final);
                } else if moved {
                    say(&mentioned, Edge::Start, State::Provisional);
                }
            }
            let is_end_final = over || i + 1 < decided;
            match it.end {
                _ if is_end_final => say(&mentioned, Edge::End, State::Final),
                Some(_) if end_moved => say(&mentioned, Edge::End, State::Provisional),
                None if mentioned.has_end => say(&mentioned, Edge::End, State::Retracted),
                _ => {}
            }
            mentioned.has_end = it.end.is_some();
            if !is_end_final {
                self.mentioned.push(mentioned);
            }
        }
        events
    }

    /// A believed segment in the words of the head.
    fn model_segment(&self, it: &Believed, now: Pts, here: &Node) -> Segment {
        let Span { start, end, label } = it.span;
        let from = &self.nodes[start];
        let to = self.nodes.get(end).filter(|_| it.end.is_some());
        let stream_starts = self.first.is_some_and(|f| f == it.start);
        Segment {
            head: self.model.head.clone(),
            label: self.model.labels[label].clone(),
            start: it.start,
            end: it.end.unwrap_or(now),
            confidence: self.model.confidence(label, &from.sums, &to.unwrap_or(here).sums),
            margin: 0.0,
            start_cues: if stream_starts { Vec::new() } else { from.candidate.kinds.clone() },
            end_cues: to.map(|n| n.candidate.kinds.clone()).unwrap_or_default(),
        }
    }
}

/// A look at the stream.
struct Moment {
    now: Pts,
    over: bool,
    /// Believed segments whose start is decided.
    decided: usize,
    here: Node,
}

/// For each believed segment, which of those mentioned it is: the one with the
/// same label that it shares most time with, in order.
fn matches(
    mentioned: &[Option<Mentioned>],
    believed: &[Believed],
    labels: &[Arc<str>],
    now: Pts,
) -> Vec<Option<usize>> {
    let mut next = 0;
    let one = |it: &Believed| {
        let end = it.end.unwrap_or(now);
        let shared = |m: &Mentioned| {
            let until = if m.has_end { m.segment.end } else { now };
            end.min(until).secs_since(it.start.max(m.segment.start))
        };
        let same = |m: &&(usize, &Mentioned)| m.1.segment.label == labels[it.span.label];
        let known = mentioned.iter().enumerate().skip(next);
        let known = known.filter_map(|(i, m)| m.as_ref().map(|m| (i, m)));
        let best = known
            .filter(|m| same(&m) && shared(m.1) > 0.0)
            .max_by(|a, b| shared(a.1).total_cmp(&shared(b.1)));
        let index = best.map(|(i, _)| i);
        if let Some(index) = index {
            next = index + 1;
        }
        index
    };
    believed.iter().map(one).collect()
}
