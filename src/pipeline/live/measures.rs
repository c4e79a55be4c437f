//! What is counted and measured of a live stream. Written by its threads, read
//! by whoever shows it; no lock is held longer than a number takes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::frame::Pts;
use crate::pipeline::analyst::AnalystCounters;
use crate::sync_cell::Locked;
use crate::web::station::{Histogram, Quantiles};

/// Quantiles are those of so long.
const WINDOW: Duration = Duration::from_secs(60);
/// Rates are those of so long.
const RATE_WINDOW: Duration = Duration::from_secs(3);
/// Sound that has not been heard for so long has no offset.
const SOUND_FRESH: Duration = Duration::from_secs(2);
/// Nanoseconds; sound and picture of the source that are closer can be compared:
/// beyond, one of them has passed a splice that is still before the other.
const COMPARABLE: u64 = 1_000_000_000;
/// Values kept for quantiles.
const KEPT: usize = 8192;

/// The figures of one stream.
#[derive(Debug, Default)]
pub(super) struct Measures {
    /// Pictures that came in.
    pub(super) frames: AtomicU64,
    /// Pictures that went out, slates among them.
    pub(super) sent: AtomicU64,
    pub(super) analyst: AnalystCounters,
    /// Pictures due for analysis that a newer one replaced.
    pub(super) busy: AtomicU64,
    /// Pictures due for analysis while a method was being loaded.
    pub(super) loading: AtomicU64,
    /// Pictures left out because they would have gone out too late.
    pub(super) late: AtomicU64,
    /// Pictures left out because others waited already.
    pub(super) queue: Arc<AtomicU64>,
    /// Times the picture came back after it was lost.
    pub(super) reconnects: AtomicU64,
    /// Times it was tried to open the source again.
    pub(super) attempts: AtomicU64,
    pub(super) clock_repairs: AtomicU64,
    /// Age of the explanation painted last, nanoseconds, plus one; 0 for none.
    age: AtomicU64,
    latency: Locked<Latency>,
    inference: Locked<Histogram>,
    rate: Locked<VecDeque<Instant>>,
    lip_sync: Locked<LipSync>,
}

#[derive(Debug, Default)]
struct LipSync {
    /// The newest picture: time as the source has it, and what was added to that.
    picture: Option<(i64, i64)>,
    /// How much more was added to the time of sound, nanoseconds, and when.
    offset: Option<(i64, Instant)>,
}

#[derive(Debug, Default)]
struct Latency {
    all: Histogram,
    recent: VecDeque<(Instant, f64)>,
}

impl Measures {
    /// A picture left the encoder so long after the decoder.
    pub(super) fn encoded(&self, latency: Duration) {
        let seconds = latency.as_secs_f64();
        let now = Instant::now();
        let mut kept = self.latency.lock();
        kept.all.observe(seconds);
        kept.recent.push_back((now, seconds));
        while kept.recent.len() > KEPT
            || kept.recent.front().is_some_and(|(at, _)| now - *at > WINDOW)
        {
            kept.recent.pop_front();
        }
    }

    /// A picture was handed to the encoder.
    pub(super) fn sent(&self) {
        self.sent.fetch_add(1, Relaxed);
        let now = Instant::now();
        let mut rate = self.rate.lock();
        rate.push_back(now);
        while rate.front().is_some_and(|at| now - *at > RATE_WINDOW) {
            rate.pop_front();
        }
    }

    /// A picture that the source has at `source_ns` goes out at `pts`.
    pub(super) fn picture_sent(&self, source_ns: i64, pts: Pts) {
        self.lip_sync.lock().picture = Some((source_ns, added(source_ns, pts)));
    }

    /// Sound that the source has at `source_ns` goes out at `pts`.
    pub(super) fn sound_sent(&self, source_ns: i64, pts: Pts) {
        let mut lip_sync = self.lip_sync.lock();
        if let Some((picture_ns, to_picture)) = lip_sync.picture
            && source_ns.abs_diff(picture_ns) < COMPARABLE
        {
            lip_sync.offset = Some((added(source_ns, pts) - to_picture, Instant::now()));
        }
    }

    /// How much further sound is behind the picture than in the source, seconds;
    /// none without sound.
    pub(super) fn av_offset_s(&self) -> Option<f64> {
        let offset = self.lip_sync.lock().offset;
        offset.filter(|(_, at)| at.elapsed() < SOUND_FRESH).map(|(ns, _)| ns as f64 / 1e9)
    }

    pub(super) fn inferred(&self, time: Duration) {
        self.inference.lock().observe(time.as_secs_f64());
    }

    pub(super) fn set_age(&self, age: Option<Duration>) {
        let age = age.map_or(0, |age| u64::try_from(age.as_nanos()).unwrap_or(u64::MAX - 1) + 1);
        self.age.store(age, Relaxed);
    }

    pub(super) fn age_s(&self) -> Option<f64> {
        let age = self.age.load(Relaxed);
        (age > 0).then(|| (age - 1) as f64 / 1e9)
    }

    /// Pictures that go out per second.
    pub(super) fn fps(&self) -> f64 {
        let mut rate = self.rate.lock();
        let now = Instant::now();
        while rate.front().is_some_and(|at| now - *at > RATE_WINDOW) {
            rate.pop_front();
        }
        match (rate.front(), rate.back()) {
            (Some(first), Some(last)) if rate.len() > 1 && last > first => {
                (rate.len() - 1) as f64 / (*last - *first).as_secs_f64()
            }
            _ => 0.0,
        }
    }

    pub(super) fn latency_ms(&self) -> Option<Quantiles> {
        let recent = &self.latency.lock().recent;
        let mut values: Vec<f64> = recent.iter().map(|(_, seconds)| seconds * 1e3).collect();
        values.sort_by(f64::total_cmp);
        // The smallest value that so many of a hundred are at most.
        let quantile = |share: f64| {
            let rank = (share * values.len() as f64).ceil() as usize;
            values.get(rank.max(1) - 1).copied()
        };
        Some(Quantiles { p50: quantile(0.5)?, p95: quantile(0.95)?, p99: quantile(0.99)? })
    }

    pub(super) fn latency(&self) -> Histogram {
        self.latency.lock().all.clone()
    }

    pub(super) fn inference(&self) -> Histogram {
        self.inference.lock().clone()
    }

    pub(super) fn skipped(&self) -> BTreeMap<String, u64> {
        let causes = [
            ("busy", &self.busy),
            ("loading", &self.loading),
            ("late", &self.late),
            ("queue", &*self.queue),
        ];
        causes.into_iter().map(|(cause, count)| (cause.to_owned(), count.load(Relaxed))).collect()
    }
}

/// What was added to a time of the source to get `pts`.
fn added(source_ns: i64, pts: Pts) -> i64 {
    i64::try_from(pts.0).unwrap_or(i64::MAX).saturating_sub(source_ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_occurred() {
        let measures = Measures::default();
        assert_eq!(measures.latency_ms(), None);
        for ms in 1..=100 {
            measures.encoded(Duration::from_millis(ms));
        }
        let Quantiles { p50, p95, p99 } = measures.latency_ms().unwrap();
        assert_eq!([p50, p95, p99].map(f64::round), [50.0, 95.0, 99.0]);
        assert_eq!(measures.latency().count(), 100);
    }

    #[test]
    fn sound_that_is_later_than_in_the_source_has_a_positive_offset() {
        const MS: i64 = 1_000_000;
        let pts = |ms: u64| Pts(ms * 1_000_000);
        let measures = Measures::default();
        measures.sound_sent(100 * MS, pts(5100));
        assert_eq!(measures.av_offset_s(), None);
        measures.picture_sent(200 * MS, pts(5200));
        // That sound of another moment leaves at the same time is no offset.
        measures.sound_sent(-100 * MS, pts(4900));
        assert_eq!(measures.av_offset_s(), Some(0.0));
        measures.sound_sent(200 * MS, pts(5280));
        assert_eq!(measures.av_offset_s(), Some(0.08));
        // The sound is still before a splice that the picture has passed.
        measures.picture_sent(90_000_000 * MS, pts(5240));
        measures.sound_sent(220 * MS, pts(5300));
        assert_eq!(measures.av_offset_s(), Some(0.08));
        measures.sound_sent(90_000_020 * MS, pts(5250));
        assert_eq!(measures.av_offset_s(), Some(-0.01));
    }

    #[test]
    fn no_age_is_not_age_zero() {
        let measures = Measures::default();
        assert_eq!(measures.age_s(), None);
        measures.set_age(Some(Duration::ZERO));
        assert_eq!(measures.age_s(), Some(0.0));
        measures.set_age(None);
        assert_eq!(measures.age_s(), None);
    }
}
