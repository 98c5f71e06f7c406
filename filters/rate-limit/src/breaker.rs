//! Whether redis-proxy is there. A dead one costs a request nothing: after a call that got no answer
//! nobody asks until a probe, made by a tick, was answered.

use std::time::Duration;

use policy::Time;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

#[derive(Debug, Default)]
pub(crate) struct Breaker(Option<Open>);

#[derive(Clone, Copy, Debug)]
struct Open {
    /// When it opened or was last probed.
    at: Time,
    /// How long from then until the next probe.
    pause: Duration,
}

impl Breaker {
    pub const fn is_open(&self) -> bool {
        self.0.is_some()
    }

    /// A call got no answer.
    pub fn failed(&mut self, now: Time) {
        if self.0.is_none() {
            self.0 = Some(Open {
                at: now,
                pause: FIRST_PAUSE,
            });
        }
    }

    /// A call got an answer.
    pub fn worked(&mut self) {
        self.0 = None;
    }

    /// Whether to probe now; the next probe is then put off, twice as long as this one was.
    pub fn probe(&mut self, now: Time) -> bool {
        let Some(open) = &mut self.0 else {
            return false;
        };
        let waited = now.since(open.at) >= open.pause || now < open.at;
        if waited {
            *open = Open {
                at: now,
                pause: open.pause.saturating_mul(2).min(LONGEST_PAUSE),
            };
        }
        waited
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn it_probes_ever_more_rarely_until_a_call_works() {
        let mut breaker = Breaker::default();
        let mut now = Time::from_secs(1);
        assert!(!breaker.probe(now));
        breaker.failed(now);
        let mut probes = 0;
        for _ in 0..1_000 {
            now = now.plus(Duration::from_millis(20));
            probes += u32::from(breaker.probe(now));
        }
        // At 100, 300, 700, 1,500 and 3,100 ms, then every 2 s.
        assert!((12..=14).contains(&probes), "{probes}");
        assert!(breaker.is_open());
        breaker.worked();
        assert!(!breaker.is_open());
    }

    #[test]
    fn a_clock_that_steps_back_does_not_silence_it() {
        let mut breaker = Breaker::default();
        breaker.failed(Time::from_secs(1_000));
        assert!(breaker.probe(Time::from_secs(10)));
    }
}
