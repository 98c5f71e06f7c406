//! When an entry ends, in four bytes.

use std::time::Duration;

use policy::Time;

/// The grain of ends: an entry ends at most so much too late, never too early.
const GRAIN_MS: u128 = 100;

/// Tenths of a second since the list was made, for the next thirteen years. Without alignment, so that an entry
/// has no padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp([u8; 4]);

/// The time that stamps count from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin(pub Time);

impl Origin {
    /// The first stamp that is not before this time.
    pub fn end(self, at: Time) -> Stamp {
        let grains = at.since(self.0).as_millis().div_ceil(GRAIN_MS);
        Stamp(u32::try_from(grains).unwrap_or(u32::MAX).to_le_bytes())
    }

    /// How many grains have passed.
    pub fn elapsed(self, now: Time) -> u32 {
        let grains = now
            .since(self.0)
            .as_millis()
            .checked_div(GRAIN_MS)
            .unwrap_or(0);
        u32::try_from(grains).unwrap_or(u32::MAX)
    }

    /// The time that a stamp stands for.
    pub fn time(self, stamp: Stamp) -> Time {
        let grains = u64::from(stamp.grains());
        self.0
            .plus(Duration::from_millis(grains.saturating_mul(100)))
    }
}

impl Stamp {
    /// Whether the entry has ended after so many grains.
    pub fn is_over(self, elapsed: u32) -> bool {
        self.grains() <= elapsed
    }

    const fn grains(self) -> u32 {
        u32::from_le_bytes(self.0)
    }
}

#[cfg(test)]
mod tests {
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[test]
    fn an_entry_ends_within_a_grain_after_its_time_and_never_before() {
        let origin = Origin(Time::from_secs(1_000));
        let at = |ms| Time::from_secs(1_000).plus(Duration::from_millis(ms));
        for end in [0, 1, 99, 100, 101, 86_400_000] {
            let stamp = origin.end(at(end));
            let over = |ms| stamp.is_over(origin.elapsed(at(ms)));
            assert!(over(end + 100), "{end}");
            assert!(end == 0 || !over(end - 1), "{end}");
            assert!(origin.time(stamp) >= at(end));
        }
        assert!(!origin.end(Time::NEVER).is_over(u32::MAX - 1));
    }
}
