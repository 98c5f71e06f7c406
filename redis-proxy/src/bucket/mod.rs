//! The arithmetic of a limit: state and time in, decision out. No I/O, no clock, no floats.
//!
//! What it must guarantee is written in [`wire::limits`]. The embedded store runs this code; Redis runs
//! `scripts/*.lua`, which do the same integer steps in doubles and stay below 2^53 for every limit that
//! [`wire::limits::Limit::check`] lets through.

pub mod paced;
pub mod window;

use wire::limits::{CLOCK_WAIT_MS, GIVE_BACK_HORIZON_MS, GiveBack, KeyReply, Limit, Shape};

use paced::{Paced, PacedLimit};
use window::{Window, WindowLimit};

/// Microseconds since 1970 on the store's clock.
pub type Micros = u64;

/// Longest step that is told from a longer one, microseconds: 62 days, above every period.
const LONGEST_STEP_US: u64 = 5_400_000_000_000;
const CLOCK_WAIT_US: u64 = CLOCK_WAIT_MS.saturating_mul(1_000);

/// How far the clock moved, and where it now stands: forward as it says; back by up to
/// [`CLOCK_WAIT_MS`] not at all; back by more to its new place, with no time passed.
fn step(last: Micros, now: Micros) -> (Micros, u64) {
    match now.checked_sub(last) {
        Some(elapsed) => (now, elapsed.min(LONGEST_STEP_US)),
        None if last.saturating_sub(now) <= CLOCK_WAIT_US => (last, 0),
        None => (now, 0),
    }
}

/// Age of the oldest take that may be meant, microseconds; `None`: nothing is given back in time.
fn returnable_us(give_back: GiveBack) -> Option<u64> {
    let in_time = give_back.tokens > 0 && give_back.age_ms <= GIVE_BACK_HORIZON_MS;
    in_time.then(|| give_back.age_ms.saturating_mul(1_000))
}

/// A limit made ready for the arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Two GCRA buckets.
    Paced(PacedLimit),
    /// An exact count.
    Window(WindowLimit),
}

impl Rule {
    /// The limit must have passed [`Limit::check`].
    #[must_use]
    pub fn new(limit: &Limit) -> Self {
        match limit.shape {
            Shape::Paced { burst, peak } => {
                Self::Paced(PacedLimit::new(limit.tokens, limit.period_ms, burst, peak))
            }
            Shape::Window {} => Self::Window(WindowLimit::new(limit.tokens, limit.period_ms)),
        }
    }
}

/// What is known of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bucket {
    /// Two GCRA buckets.
    Paced(Paced),
    /// An exact count.
    Window(Window),
}

/// What became of one key, and for how long its state still matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// Tokens granted.
    pub granted: u64,
    /// Milliseconds until a further token can be had; 0 if now.
    pub retry_after_ms: u64,
    /// Whole tokens that can still be had now.
    pub remaining: u64,
    /// Milliseconds until the key is as if never used.
    pub reset_ms: u64,
    /// Milliseconds after which the state may be forgotten.
    pub keep_ms: u64,
}

impl Decision {
    /// The decision as a worker reads it.
    #[must_use]
    pub fn reply(self, limit: &Limit) -> KeyReply {
        KeyReply {
            granted: self.granted,
            retry_after_ms: self.retry_after_ms,
            remaining: self.remaining,
            reset_ms: self.reset_ms,
            limit: limit.tokens,
            failure: None,
        }
    }
}

impl Bucket {
    /// A key never used before `now`.
    #[must_use]
    pub fn new(rule: &Rule, now: Micros) -> Self {
        match rule {
            Rule::Paced(_) => Self::Paced(Paced::new(now)),
            Rule::Window(_) => Self::Window(Window::new(now)),
        }
    }

    /// Takes back `give_back`, grants at most `want`. State of the other shape counts as none:
    /// key names tell the shapes apart, so only a damaged file could hold one.
    pub fn acquire(
        &mut self,
        rule: &Rule,
        now: Micros,
        want: u64,
        give_back: GiveBack,
    ) -> Decision {
        match (&mut *self, rule) {
            (Self::Paced(state), Rule::Paced(limit)) => state.acquire(limit, now, want, give_back),
            (Self::Window(state), Rule::Window(limit)) => {
                state.acquire(limit, now, want, give_back)
            }
            (Self::Paced(_) | Self::Window(_), _) => {
                *self = Self::new(rule, now);
                match (&mut *self, rule) {
                    (Self::Paced(state), Rule::Paced(limit)) => {
                        state.acquire(limit, now, want, give_back)
                    }
                    (Self::Window(state), Rule::Window(limit)) => {
                        state.acquire(limit, now, want, give_back)
                    }
                    _ => Decision::default(),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_backward_steps_are_waited_out_and_large_ones_taken() {
        assert_eq!(step(10, 15), (15, 5));
        assert_eq!(step(2_000_000, 1_000_000), (2_000_000, 0));
        assert_eq!(step(2_000_001, 1_000_000), (1_000_000, 0));
        assert_eq!(step(0, u64::MAX), (u64::MAX, LONGEST_STEP_US));
        assert_eq!(step(u64::MAX, 0), (0, 0));
    }
}
