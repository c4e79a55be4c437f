//! How long to wait before a source is opened again: twice as long from one
//! attempt to the next, up to a limit, with a random part, so that many streams
//! do not come back in step.

use std::time::Duration;

/// The waits of one source.
#[derive(Debug)]
pub(super) struct Backoff {
    first: Duration,
    most: Duration,
    next: Duration,
    /// State of a xorshift generator (Marsaglia 2003); never zero.
    random: u64,
}

impl Backoff {
    pub(super) fn new(first: Duration, most: Duration, seed: u64) -> Self {
        Self { first: first.min(most), most, next: first.min(most), random: seed | 1 }
    }

    /// The source was there: the next wait is the first again.
    pub(super) fn reset(&mut self) {
        self.next = self.first;
    }

    /// The next wait: half of it certain, half of it chance.
    pub(super) fn wait(&mut self) -> Duration {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let chance = (self.random >> 11) as f64 / (1u64 << 53) as f64;
        let wait = self.next.mul_f64(0.5 + 0.5 * chance);
        self.next = (self.next * 2).min(self.most);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_limit_and_start_again_after_success() {
        let (first, most) = (Duration::from_millis(500), Duration::from_secs(15));
        let mut backoff = Backoff::new(first, most, 7);
        for full in [500, 1000, 2000, 4000, 8000, 15_000, 15_000] {
            let wait = backoff.wait().as_millis();
            assert!((full / 2..=full).contains(&wait), "{wait} of {full}");
        }
        backoff.reset();
        assert!(backoff.wait() <= first);
    }

    #[test]
    fn streams_do_not_come_back_in_step() {
        let waits = |seed| {
            let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(9), seed);
            [backoff.wait(), backoff.wait()]
        };
        assert_ne!(waits(1), waits(2 << 20));
    }
}
