//! How long a client waits (T1).

use std::time::Duration;

/// One second, doubled for each visit before, and never longer than the longest.
pub(crate) fn after(visits: u32, longest: Duration) -> Duration {
    let seconds = 1_u64.checked_shl(visits).unwrap_or(u64::MAX);
    Duration::from_secs(seconds).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn doubles_up_to_the_longest() {
        let longest = Duration::from_secs(30);
        let delays: Vec<u64> = (0..7).map(|n| after(n, longest).as_secs()).collect();
        assert_eq!(delays, [1, 2, 4, 8, 16, 30, 30]);
        for visits in [63, 64, 65, u32::MAX] {
            assert_eq!(after(visits, longest), longest, "{visits}");
        }
    }
}
