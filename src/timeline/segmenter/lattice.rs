//! The semi-Markov dynamic programme: the best way to cut a stream at
//! candidates and to label what lies between them. Called by the segmenter;
//! knows times, sums and labels by index, must not know cues or names.
//!
//! A timeline is scored by the sum, over its segments, of the evidence for the
//! label within the segment and of the prior of its duration, and over its
//! boundaries, of what speaks for one there. Neighbours differ in label. The
//! prior is flat beyond [`Prior::flat_from`], so that segments which are longer
//! than that need no search: the best of their starts is carried along. So the
//! cost is the number of candidates times the number of those within that time,
//! exactly, also where segments may last for ever.

use super::profile::Duration;

/// Nats for a segment whose start or end lies outside the stream.
const OPEN: f64 = -0.5;
/// Standard deviations above the median from which on the prior is flat.
const FLAT_FROM: f64 = 1.5;
/// No such timeline.
const NEVER: f64 = f64::NEG_INFINITY;
/// A margin when there is no other timeline at all, nats.
const SURE: f64 = 999.0;

/// How long segments of one label last, in nats below the most likely duration.
#[derive(Clone, Copy, Debug)]
pub(super) struct Prior {
    duration: Duration,
    /// Seconds from which on longer is neither better nor worse.
    pub(super) flat_from: f64,
}

impl Prior {
    pub(super) fn new(duration: Duration) -> Self {
        let flat_from = duration.median_s * (duration.sigma * FLAT_FROM).exp();
        Self { duration, flat_from: flat_from.max(duration.min_s) }
    }

    fn allows(&self, seconds: f64) -> bool {
        self.duration.max_s.is_none_or(|max| seconds <= max)
    }

    /// Nats for a whole segment.
    fn whole(&self, seconds: f64) -> f64 {
        if seconds < self.duration.min_s || !self.allows(seconds) {
            return NEVER;
        }
        let z = (seconds / self.duration.median_s).ln() / self.duration.sigma;
        let z = z.clamp(-40.0, FLAT_FROM);
        -0.5 * z * z
    }

    /// Nats for a segment with an end outside the stream.
    fn part(&self, seconds: f64) -> f64 {
        if self.allows(seconds) { OPEN } else { NEVER }
    }

    /// Nats for a segment of `flat_from` or more.
    fn flat(&self) -> f64 {
        self.duration.max_s.map_or_else(|| self.whole(self.flat_from), |_| NEVER)
    }

    /// Seconds after which it does not matter any more where a segment began.
    pub(super) fn reach(&self) -> f64 {
        self.window().max(self.flat_from)
    }

    /// Seconds within which starts have to be looked at one by one.
    fn window(&self) -> f64 {
        self.duration.max_s.unwrap_or(self.flat_from)
    }
}

/// How the first segment begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Root {
    /// Its label, where that is decided.
    pub(super) label: Option<usize>,
    /// Whether it begins right here; else it may have begun before.
    pub(super) begins: bool,
}

impl Root {
    /// The start of a stream of which nothing is known.
    pub(super) const STREAM: Self = Self { label: None, begins: false };

    fn prior(self, prior: Prior, seconds: f64) -> f64 {
        if self.begins { prior.whole(seconds) } else { prior.part(seconds) }
    }
}

/// A segment of the best timeline, by the indices of its boundaries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) label: usize,
}

/// The candidates so far, each with the best timeline that ends there.
#[derive(Clone, Debug)]
pub(super) struct Lattice {
    priors: Vec<Prior>,
    root: Root,
    /// Seconds of stream time; the first is the root.
    times: Vec<f64>,
    /// Nats for a boundary at each.
    bonus: Vec<f64>,
    /// For each: the evidence so far, a number for each label.
    evidence: Vec<f64>,
    /// For each, by label: nats of the best timeline whose last segment ends
    /// here with this label.
    best: Vec<f64>,
    /// Where that segment begins.
    back: Vec<u32>,
    /// For each, by label: nats of the best timeline up to here after which a
    /// segment of this label can begin.
    enter: Vec<f64>,
    /// The label before it.
    from: Vec<u32>,
    /// For each, by label: the best start among those at least `flat_from`
    /// before, less the evidence up to it; and that start.
    far: Vec<Far>,
}

#[derive(Clone, Copy, Debug)]
struct Far {
    value: f64,
    start: u32,
    /// Starts before this one have been looked at.
    seen: u32,
}

impl Lattice {
    /// A lattice that begins at `time` with these sums.
    pub(super) fn new(priors: Vec<Prior>, root: Root, time: f64, evidence: &[f64]) -> Self {
        let n = priors.len();
        let enter = (0..n).map(|k| if root.label.is_none_or(|l| l == k) { 0.0 } else { NEVER });
        Self {
            root,
            times: vec![time],
            bonus: vec![0.0],
            evidence: evidence.to_vec(),
            best: vec![NEVER; n],
            back: vec![0; n],
            enter: enter.collect(),
            from: vec![u32::MAX; n],
            far: vec![Far { value: NEVER, start: 0, seen: 1 }; n],
            priors,
        }
    }

    const fn labels(&self) -> usize {
        self.priors.len()
    }

    pub(super) const fn len(&self) -> usize {
        self.times.len()
    }

    pub(super) const fn root(&self) -> Root {
        self.root
    }

    pub(super) fn time(&self, node: usize) -> f64 {
        self.times[node]
    }

    /// Forgets all but the first `len` candidates.
    pub(super) fn truncate(&mut self, len: usize) {
        let n = self.labels() * len;
        self.times.truncate(len);
        self.bonus.truncate(len);
        self.evidence.truncate(n);
        self.best.truncate(n);
        self.back.truncate(n);
        self.enter.truncate(n);
        self.from.truncate(n);
        self.far.truncate(n);
    }

    /// Adds a candidate, later than all others: nats for a boundary there and
    /// the evidence up to it, a number for each label.
    pub(super) fn push(&mut self, time: f64, bonus: f64, evidence: &[f64]) {
        let n = self.labels();
        let node = self.len();
        self.times.push(time);
        self.bonus.push(bonus);
        self.evidence.extend_from_slice(evidence);
        for k in 0..n {
            let (score, start) = self.best_start(node, k);
            self.best.push(score + bonus);
            self.back.push(start as u32);
        }
        // The best and the second best label to come from.
        let scores = &self.best[node * n..];
        let first = best_of(scores, usize::MAX);
        let second = best_of(scores, first);
        for k in 0..n {
            let label = if k == first { second } else { first };
            self.enter.push(scores.get(label).copied().unwrap_or(NEVER));
            self.from.push(label as u32);
        }
    }

    /// The best start of a segment that ends at `node` with label `k`, and the
    /// nats without those of the boundary.
    fn best_start(&mut self, node: usize, k: usize) -> (f64, usize) {
        let n = self.labels();
        let mut far = self.far[(node - 1) * n + k];
        let value = |start: usize| self.enter[start * n + k] - self.evidence[start * n + k];
        let (nats, start) = self.start_for(node, k, &mut far, value);
        self.far.push(far);
        (nats + self.evidence[node * n + k], start)
    }

    /// The start with the largest sum of `value` and the prior of a segment of
    /// label `k` from there to `node`. Carries the far starts along.
    fn start_for(
        &self,
        node: usize,
        k: usize,
        far: &mut Far,
        value: impl Fn(usize) -> f64,
    ) -> (f64, usize) {
        let (prior, time) = (self.priors[k], self.times[node]);
        while (far.seen as usize) < node && time - self.times[far.seen as usize] > prior.flat_from {
            let candidate = value(far.seen as usize);
            if candidate > far.value {
                (far.value, far.start) = (candidate, far.seen);
            }
            far.seen += 1;
        }
        let length = time - self.times[0];
        let mut best = (value(0) + self.root.prior(prior, length), 0);
        let mut consider = |nats: f64, start: usize| {
            if nats > best.0 {
                best = (nats, start);
            }
        };
        let first = if prior.duration.max_s.is_some() {
            self.times[..node].partition_point(|t| time - t > prior.window()).max(1)
        } else {
            consider(far.value + prior.flat(), far.start as usize);
            far.seen as usize
        };
        for start in first..node {
            consider(value(start) + prior.whole(time - self.times[start]), start);
        }
        best
    }

    /// The best timeline up to `time`, where the stream goes on or ends: nats
    /// and spans. The last span ends at the index [`Self::len`].
    pub(super) fn best_until(&self, time: f64, evidence: &[f64]) -> (f64, Vec<Span>) {
        let n = self.labels();
        let mut best = (NEVER, 0, 0);
        for (k, until) in evidence.iter().enumerate() {
            for start in (0..self.len()).rev() {
                let length = time - self.times[start];
                if !self.priors[k].allows(length) {
                    break;
                }
                let nats = self.enter[start * n + k] + until - self.evidence[start * n + k]
                    + self.priors[k].part(length);
                if nats > best.0 {
                    best = (nats, start, k);
                }
            }
        }
        let (nats, mut start, mut label) = best;
        let mut spans = vec![Span { start, end: self.len(), label }];
        while start > 0 {
            let end = start;
            label = self.from[end * n + label] as usize;
            start = self.back[end * n + label] as usize;
            spans.push(Span { start, end, label });
        }
        spans.reverse();
        (nats, spans)
    }

    /// For each of `spans`, by how many nats the best timeline up to `time` is
    /// better than the best one in which no moment of the span has its label.
    pub(super) fn margins(&self, time: f64, evidence: &[f64], spans: &[Span]) -> Vec<f64> {
        let (nats, _) = self.best_until(time, evidence);
        let rest = Rest::new(self, time, evidence);
        spans.iter().map(|s| (nats - rest.without(*s)).clamp(0.0, SURE)).collect()
    }
}

/// The index of the largest score that is not `but`.
fn best_of(scores: &[f64], but: usize) -> usize {
    let mut best = usize::MAX;
    for (k, score) in scores.iter().enumerate() {
        if k != but && (best == usize::MAX || *score > scores[best]) {
            best = k;
        }
    }
    best
}

/// The best continuations from each candidate to the end.
struct Rest<'a> {
    lattice: &'a Lattice,
    end_time: f64,
    end_evidence: &'a [f64],
    /// By candidate and label: nats after a segment of this label ended here.
    after: Vec<f64>,
    /// By candidate and label: the best of `evidence + bonus + after` of this
    /// and all later candidates.
    later: Vec<f64>,
}

impl<'a> Rest<'a> {
    fn new(lattice: &'a Lattice, end_time: f64, end_evidence: &'a [f64]) -> Self {
        let (n, len) = (lattice.labels(), lattice.len());
        let empty = vec![NEVER; (len + 1) * n];
        let mut rest = Self { lattice, end_time, end_evidence, after: empty.clone(), later: empty };
        for node in (1..len).rev() {
            let begins: Vec<f64> = (0..n).map(|k| rest.begin(node, node + 1, k)).collect();
            let first = best_of(&begins, usize::MAX);
            let second = best_of(&begins, first);
            for k in 0..n {
                let next = if k == first { second } else { first };
                let after = begins.get(next).copied().unwrap_or(NEVER);
                rest.after[node * n + k] = after;
                let here = lattice.evidence[node * n + k] + lattice.bonus[node] + after;
                rest.later[node * n + k] = here.max(rest.later[(node + 1) * n + k]);
            }
        }
        rest
    }

    /// The best continuation with a segment of label `k` that begins at `node`
    /// and ends at candidate `least` or later.
    fn begin(&self, node: usize, least: usize, k: usize) -> f64 {
        let (lattice, n) = (self.lattice, self.lattice.labels());
        let (prior, start) = (lattice.priors[k], lattice.times[node]);
        let open = prior.part(self.end_time - start);
        let mut best = self.end_evidence[k] + open;
        let whole = node > 0 || lattice.root.begins;
        let (window, flat) = if whole { (prior.window(), prior.flat()) } else { (0.0, NEVER) };
        let near = lattice.times[least..].partition_point(|t| t - start <= window) + least;
        for end in least..near {
            let at = end * n + k;
            let nats = lattice.evidence[at] + lattice.bonus[end] + self.after[at];
            best = best.max(nats + prior.whole(lattice.times[end] - start));
        }
        if whole {
            best = best.max(self.later[near.max(least) * n + k] + flat);
        } else if prior.duration.max_s.is_none() {
            best = best.max(self.later[least * n + k] + OPEN);
        } else {
            for end in least..lattice.len() {
                let at = end * n + k;
                let nats = lattice.evidence[at] + lattice.bonus[end] + self.after[at];
                best = best.max(nats + prior.part(lattice.times[end] - start));
            }
        }
        best - lattice.evidence[node * n + k]
    }

    /// Nats of the best timeline in which no moment of `span` has its label.
    fn without(&self, span: Span) -> f64 {
        let (lattice, n) = (self.lattice, self.lattice.labels());
        let least = span.end.min(lattice.len());
        let until = lattice.times.get(span.end).copied().unwrap_or(self.end_time);
        let mut best = NEVER;
        // Timelines with one segment over the whole span: those that begin long
        // before it, those that begin with the stream, all others.
        for k in (0..n).filter(|k| *k != span.label) {
            let prior = lattice.priors[k];
            let far = lattice.far[span.start * n + k];
            let mut near = 1;
            if prior.duration.max_s.is_none() {
                let to_the_end = self.end_evidence[k] + OPEN;
                best =
                    best.max(far.value + to_the_end.max(self.later[least * n + k] + prior.flat()));
                near = (far.seen as usize).min(span.start + 1);
            }
            for start in std::iter::once(0).chain(near..=span.start) {
                if prior.allows(until - lattice.times[start]) {
                    best = best.max(lattice.enter[start * n + k] + self.begin(start, least, k));
                }
            }
        }
        if n > 2 {
            best = best.max(self.with_several(span, least));
        }
        best
    }

    /// [`Self::without`] for timelines with boundaries inside the span, between
    /// two other labels.
    fn with_several(&self, span: Span, least: usize) -> f64 {
        let (lattice, n) = (self.lattice, self.lattice.labels());
        let others = |but: usize| (0..n).filter(move |k| *k != span.label && *k != but);
        let mut fars: Vec<Far> = lattice.far[span.start * n..][..n].to_vec();
        // By candidate from the start of the span on, and by label: as `enter`.
        let mut enter = lattice.enter[span.start * n..][..n].to_vec();
        let mut best = NEVER;
        for node in span.start + 1..least {
            let mut scores = vec![NEVER; n];
            for k in others(n) {
                let value = |start: usize| {
                    let enter = match start.checked_sub(span.start) {
                        None => lattice.enter[start * n + k],
                        Some(inside) => enter[inside * n + k],
                    };
                    enter - lattice.evidence[start * n + k]
                };
                scores[k] = lattice.start_for(node, k, &mut fars[k], value).0
                    + lattice.evidence[node * n + k]
                    + lattice.bonus[node];
            }
            for k in 0..n {
                let before = others(k).map(|o| scores[o]).fold(NEVER, f64::max);
                enter.push(before);
                if k != span.label && before > NEVER {
                    best = best.max(before + self.begin(node, least, k));
                }
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Small numbers that look random.
    fn noise(seed: &mut u64) -> f64 {
        *seed =
            seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*seed >> 40) as f64 / (1u64 << 24) as f64
    }

    struct Small {
        durations: Vec<Duration>,
        root: Root,
        times: Vec<f64>,
        bonus: Vec<f64>,
        /// By candidate and label; the last row is the end of the stream.
        evidence: Vec<Vec<f64>>,
    }

    impl Small {
        fn new(seed: &mut u64, labels: usize, nodes: usize, root: Root) -> Self {
            let duration = |k: usize, seed: &mut u64| Duration {
                median_s: 2.0 + 6.0 * noise(seed),
                sigma: 0.3 + noise(seed),
                min_s: 1.5 * noise(seed),
                max_s: (k > 0 && noise(seed) < 0.5).then_some(6.0 + 10.0 * noise(seed)),
            };
            let durations = (0..labels).map(|k| duration(k, seed)).collect();
            let (mut times, mut evidence) = (vec![0.0], vec![vec![0.0; labels]]);
            for n in 0..nodes {
                times.push(times[n] + 0.5 + 3.0 * noise(seed));
                let next = |e: &f64| e - 2.0 * noise(seed);
                let row = evidence[n].iter().map(next).collect();
                evidence.push(row);
            }
            let bonus = times.iter().map(|_| -2.0 * noise(seed)).collect();
            Self { durations, root, times, bonus, evidence }
        }

        fn end(&self) -> usize {
            self.times.len() - 1
        }

        fn lattice(&self) -> Lattice {
            let priors = self.durations.iter().map(|d| Prior::new(*d)).collect();
            let mut lattice = Lattice::new(priors, self.root, 0.0, &self.evidence[0]);
            for n in 1..self.end() {
                lattice.push(self.times[n], self.bonus[n], &self.evidence[n]);
            }
            lattice
        }

        /// The prior as the documentation has it.
        fn prior(&self, k: usize, from: usize, to: usize) -> f64 {
            let (d, seconds) = (self.durations[k], self.times[to] - self.times[from]);
            if d.max_s.is_some_and(|max| seconds > max) {
                return f64::NEG_INFINITY;
            }
            if to == self.end() || (from == 0 && !self.root.begins) {
                return -0.5;
            }
            if seconds < d.min_s {
                return f64::NEG_INFINITY;
            }
            let z = ((seconds / d.median_s).ln() / d.sigma).min(1.5);
            -z * z / 2.0
        }

        /// The best nats of all timelines that `allowed` lets pass.
        fn best(&self, allowed: &dyn Fn(&[Span]) -> bool) -> f64 {
            let mut best = f64::NEG_INFINITY;
            self.each(&mut Vec::new(), 0.0, &mut |spans, nats| {
                if nats > best && allowed(spans) {
                    best = nats;
                }
            });
            best
        }

        fn each(&self, spans: &mut Vec<Span>, nats: f64, see: &mut dyn FnMut(&[Span], f64)) {
            let start = spans.last().map_or(0, |s| s.end);
            if start == self.end() {
                return see(spans, nats);
            }
            for end in start + 1..=self.end() {
                for label in 0..self.durations.len() {
                    let wrong = spans.is_empty() && self.root.label.is_some_and(|l| l != label);
                    if wrong || spans.last().is_some_and(|s| s.label == label) {
                        continue;
                    }
                    let bonus = if end < self.end() { self.bonus[end] } else { 0.0 };
                    let more = self.evidence[end][label] - self.evidence[start][label]
                        + self.prior(label, start, end)
                        + bonus;
                    if more > f64::NEG_INFINITY {
                        spans.push(Span { start, end, label });
                        self.each(spans, nats + more, see);
                        spans.pop();
                    }
                }
            }
        }
    }

    #[test]
    fn the_best_of_all_timelines_is_found_and_so_are_the_margins() {
        let mut seed = 7;
        let fixed = |begins| Root { label: Some(1), begins };
        for (labels, nodes, root, rounds) in [
            (2, 9, Root::STREAM, 60),
            (2, 9, fixed(true), 30),
            (2, 9, fixed(false), 30),
            (3, 6, Root::STREAM, 60),
            (4, 5, fixed(true), 30),
        ] {
            for _ in 0..rounds {
                let small = Small::new(&mut seed, labels, nodes, root);
                let lattice = small.lattice();
                let end = small.end();
                let (nats, spans) = lattice.best_until(small.times[end], &small.evidence[end]);
                let wanted = small.best(&|_| true);
                assert!((nats - wanted).abs() < 1e-9 || nats == wanted, "{nats} {wanted}");
                if nats == f64::NEG_INFINITY {
                    continue;
                }
                let margins = lattice.margins(small.times[end], &small.evidence[end], &spans);
                for (span, margin) in spans.iter().zip(margins) {
                    let absent = |others: &[Span]| {
                        let hits = |o: &Span| {
                            o.label == span.label && o.start < span.end && o.end > span.start
                        };
                        !others.iter().any(hits)
                    };
                    let wanted = (nats - small.best(&absent)).min(999.0);
                    assert!((margin - wanted).abs() < 1e-9, "{span:?}: {margin} {wanted}");
                }
            }
        }
    }
}
