//! A circuit breaker: after so many failures in a row the store is not asked any more.
//!
//! Closed: calls go through. Open: they do not, at the cost of one atomic load. Half-open is not a
//! state requests see: one background probe at a time tries the store, so no request pays for finding
//! out, and the breaker closes without traffic.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

/// One breaker.
#[derive(Debug)]
pub struct Breaker {
    failures: AtomicU32,
    threshold: u32,
}

impl Breaker {
    /// Opens after `threshold` failures in a row; 0 counts as 1.
    #[must_use]
    pub fn new(threshold: u32) -> Self {
        Self {
            failures: AtomicU32::new(0),
            threshold: threshold.max(1),
        }
    }

    /// Whether calls are held back.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.failures.load(Ordering::Relaxed) >= self.threshold
    }

    /// A call went well. Does not close an open breaker: that is for [`Breaker::close`].
    pub fn success(&self) {
        let _ = self
            .failures
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |failures| {
                (failures > 0 && failures < self.threshold).then_some(0)
            });
    }

    /// A call failed. True if this one opened the breaker.
    pub fn failure(&self) -> bool {
        let before = self
            .failures
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |failures| {
                Some(failures.saturating_add(1).min(self.threshold))
            });
        before.is_ok_and(|before| before.checked_add(1) == Some(self.threshold))
    }

    /// Opens at once: there is no connection to fail on.
    pub fn open(&self) {
        self.failures.store(self.threshold, Ordering::Relaxed);
    }

    /// A probe went well.
    pub fn close(&self) {
        self.failures.store(0, Ordering::Relaxed);
    }
}

/// Pauses between probes: 50 ms, doubling to 1 s.
#[derive(Clone, Copy, Debug)]
pub struct Backoff(Duration);

impl Backoff {
    const FIRST: Duration = Duration::from_millis(50);
    const LONGEST: Duration = Duration::from_secs(1);

    /// The shortest pause comes next.
    #[must_use]
    pub const fn new() -> Self {
        Self(Self::FIRST)
    }

    /// The pause to make now; the next is twice as long.
    pub fn pause(&mut self) -> Duration {
        let pause = self.0;
        self.0 = pause.saturating_mul(2).min(Self::LONGEST);
        pause
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_after_failures_in_a_row_and_only_a_probe_closes_it() {
        let breaker = Breaker::new(3);
        assert!(!breaker.failure());
        assert!(!breaker.failure());
        breaker.success();
        assert!(!breaker.failure());
        assert!(!breaker.failure());
        assert!(!breaker.is_open());
        assert!(breaker.failure(), "the third in a row");
        assert!(breaker.is_open());
        assert!(!breaker.failure(), "opened already");
        breaker.success();
        assert!(breaker.is_open(), "a late answer proves nothing");
        breaker.close();
        assert!(!breaker.is_open());
    }

    #[test]
    fn failures_without_end_do_not_wrap() {
        let breaker = Breaker::new(u32::MAX);
        breaker.open();
        assert!(!breaker.failure());
        assert!(breaker.is_open());
    }

    #[test]
    fn pauses_double_up_to_a_second() {
        let mut backoff = Backoff::new();
        let pauses: Vec<_> = (0..7).map(|_| backoff.pause().as_millis()).collect();
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1_000, 1_000]);
    }
}
