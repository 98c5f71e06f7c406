//! `GET /v1/sleep?ms=…`: an answer that comes late (T1).
//!
//! For gateways in which a request can be held by nothing but a callout that has not ended yet. A shorter answer
//! than asked for is agreed: whoever wants to sleep longer than [`MAX_SLEEP`] asks again.

use std::time::Duration;

/// Where to ask.
pub const SLEEP_PATH: &str = "/v1/sleep";
/// The longest sleep of one question.
pub const MAX_SLEEP: Duration = Duration::from_secs(60);

/// The path and query that ask for a sleep of this time, rounded up to a millisecond, or for the longest one.
#[must_use]
pub fn path(time: Duration) -> String {
    let millis = time.min(MAX_SLEEP).as_nanos().div_ceil(1_000_000).max(1);
    format!("{SLEEP_PATH}?ms={millis}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rounded_up_and_bounded() {
        for (time, millis) in [
            (Duration::ZERO, 1),
            (Duration::from_nanos(1), 1),
            (Duration::from_nanos(1_000_001), 2),
            (Duration::from_secs(30), 30_000),
            (Duration::from_secs(61), 60_000),
        ] {
            assert_eq!(path(time), format!("/v1/sleep?ms={millis}"));
        }
    }
}
