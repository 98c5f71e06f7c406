//! Waiting for something to become true.

use std::time::{Duration, Instant};

/// Looks every 20 ms.
///
/// # Panics
/// When it does not hold in time.
pub fn until(what: &str, within: Duration, mut holds: impl FnMut() -> bool) -> Duration {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < within, "not within {within:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
    started.elapsed()
}
