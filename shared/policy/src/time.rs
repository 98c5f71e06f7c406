//! Time, as the gateway tells it. Never read from a global clock.

use std::time::Duration;

/// Nanoseconds since the Unix epoch. Arithmetic saturates; a clock that steps back yields zero
/// durations, never a negative one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

const NANOS_PER_SECOND: u64 = 1_000_000_000;

impl Time {
    /// The Unix epoch.
    pub const EPOCH: Self = Self(0);
    /// Later than any other time.
    pub const NEVER: Self = Self(u64::MAX);

    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(NANOS_PER_SECOND))
    }

    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Whole seconds since the epoch.
    #[must_use]
    pub const fn as_secs(self) -> u64 {
        self.0 / NANOS_PER_SECOND
    }

    /// Seconds since the epoch with their fraction, as a NumericDate has it (RFC 7519 section 2).
    #[must_use]
    pub fn as_secs_f64(self) -> f64 {
        Duration::from_nanos(self.0).as_secs_f64()
    }

    #[must_use]
    pub fn plus(self, d: Duration) -> Self {
        Self(self.0.saturating_add(nanos(d)))
    }

    #[must_use]
    pub fn minus(self, d: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(d)))
    }

    /// How long ago `earlier` was; zero if it has not come yet.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

fn nanos(d: Duration) -> u64 {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn saturates_at_both_ends() {
        assert_eq!(Time::EPOCH.minus(Duration::from_secs(1)), Time::EPOCH);
        assert_eq!(Time::NEVER.plus(Duration::MAX), Time::NEVER);
        assert_eq!(Time::from_secs(u64::MAX), Time::NEVER);
    }

    #[test]
    fn a_clock_that_steps_back_gives_zero() {
        assert_eq!(Time::from_secs(1).since(Time::from_secs(2)), Duration::ZERO);
    }
}
