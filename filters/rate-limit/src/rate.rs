//! How often a key is asked for, as one number that forgets.

use std::time::Duration;

use policy::Time;

/// An exponentially fading estimate of requests per second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    per_second: f32,
    at: Time,
}

/// What is older than this hardly counts.
const MEMORY_SECONDS: f32 = 0.1;

impl Rate {
    pub const fn new(now: Time) -> Self {
        Self {
            per_second: 0.0,
            at: now,
        }
    }

    /// One more request. A clock that steps back fades nothing.
    pub fn count(&mut self, now: Time) {
        self.per_second = self.faded(now) + 1.0 / MEMORY_SECONDS;
        self.at = now;
    }

    /// Requests to expect within the next `time`, rounded down; a lone request promises none.
    pub fn expected(&self, now: Time, time: Duration) -> u32 {
        // A request that has just come counts as one per memory, whatever came before it.
        let rate = self.faded(now) - 1.0 / MEMORY_SECONDS;
        // Converting saturates: neither a negative number nor a huge one wraps.
        (rate * time.as_secs_f32()) as u32
    }

    fn faded(&self, now: Time) -> f32 {
        let age = now.since(self.at).as_secs_f32();
        self.per_second * (-age / MEMORY_SECONDS).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const LEAD: Duration = Duration::from_millis(50);

    fn after(requests: u64, apart_us: u64) -> (Rate, Time) {
        let mut now = Time::from_secs(1);
        let mut rate = Rate::new(now);
        for _ in 0..requests {
            now = now.plus(Duration::from_micros(apart_us));
            rate.count(now);
        }
        (rate, now)
    }

    #[test]
    fn an_even_stream_is_expected_to_go_on() {
        let (rate, now) = after(5_000, 1_000);
        assert!((47..=50).contains(&rate.expected(now, LEAD)), "{rate:?}");
    }

    #[test]
    fn a_lone_request_promises_nothing() {
        let (rate, now) = after(1, 0);
        assert_eq!(rate.expected(now, LEAD), 0);
    }

    #[test]
    fn it_forgets() {
        let (rate, now) = after(5_000, 1_000);
        assert_eq!(rate.expected(now.plus(Duration::from_millis(500)), LEAD), 0);
    }

    #[test]
    fn a_clock_that_steps_back_does_no_harm() {
        let (mut rate, now) = after(100, 1_000);
        rate.count(now.minus(Duration::from_secs(3_600)));
        assert!(rate.expected(now, LEAD) < 1_000);
    }
}
