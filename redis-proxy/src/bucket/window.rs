//! An exact count over a sliding window (R11–R13): the store remembers when tokens were taken.

use wire::limits::{GiveBack, LEASE_LIFE_MS, WINDOW_SLOTS};

use super::{Decision, Micros, returnable_us, step};

/// A windowed limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowLimit {
    /// Tokens in any window.
    pub tokens: u64,
    /// A token comes back this long after it was taken, microseconds: the period and the life of a lease.
    pub hold_us: u64,
    /// Takes within this time share a slot, microseconds; 1: only those of the same instant.
    pub slot_us: u64,
}

impl WindowLimit {
    /// `tokens` in any window of `period_ms`.
    #[must_use]
    pub fn new(tokens: u64, period_ms: u64) -> Self {
        let period_us = period_ms.saturating_mul(1_000);
        Self {
            tokens,
            hold_us: period_us.saturating_add(LEASE_LIFE_MS.saturating_mul(1_000)),
            slot_us: if tokens > WINDOW_SLOTS {
                period_us.div_ceil(WINDOW_SLOTS)
            } else {
                1
            },
        }
    }
}

/// Tokens taken close together, all dated like the last of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Microseconds since the first was taken.
    pub first_age: u64,
    /// Microseconds since the last was taken.
    pub last_age: u64,
    /// How many.
    pub taken: u64,
}

/// State of one key under a windowed limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    at: Micros,
    /// Oldest first.
    slots: Vec<Slot>,
}

impl Window {
    /// A key never used before `now`.
    #[must_use]
    pub const fn new(now: Micros) -> Self {
        Self {
            at: now,
            slots: Vec::new(),
        }
    }

    /// State read from a file: its time and its slots, oldest first.
    #[must_use]
    pub const fn restore(at: Micros, slots: Vec<Slot>) -> Self {
        Self { at, slots }
    }

    /// The time of the last call.
    #[must_use]
    pub const fn at(&self) -> Micros {
        self.at
    }

    /// What is remembered, oldest first.
    #[must_use]
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// See [`super::Bucket::acquire`].
    pub fn acquire(
        &mut self,
        limit: &WindowLimit,
        now: Micros,
        want: u64,
        give_back: GiveBack,
    ) -> Decision {
        self.advance(limit, now);
        self.forget(give_back);
        let free = limit.tokens.saturating_sub(self.used());
        let granted = want.min(free);
        self.take(limit, granted);

        let used = self.used();
        let reset_ms = self
            .slots
            .last()
            .map_or(0, |slot| ms_up(limit.hold_us.saturating_sub(slot.last_age)));
        Decision {
            granted,
            retry_after_ms: self.retry_after_ms(limit, used),
            remaining: limit.tokens.saturating_sub(used),
            reset_ms,
            keep_ms: reset_ms,
        }
    }

    fn advance(&mut self, limit: &WindowLimit, now: Micros) {
        let (at, elapsed) = step(self.at, now);
        self.at = at;
        self.slots.retain_mut(|slot| {
            slot.first_age = slot.first_age.saturating_add(elapsed);
            slot.last_age = slot.last_age.saturating_add(elapsed);
            slot.last_age < limit.hold_us
        });
    }

    fn forget(&mut self, give_back: GiveBack) {
        let Some(oldest) = returnable_us(give_back) else {
            return;
        };
        let mut rest = give_back.tokens;
        self.slots.retain_mut(|slot| {
            if slot.last_age <= oldest {
                let dropped = rest.min(slot.taken);
                slot.taken = slot.taken.saturating_sub(dropped);
                rest = rest.saturating_sub(dropped);
            }
            slot.taken > 0
        });
    }

    fn take(&mut self, limit: &WindowLimit, k: u64) {
        if k == 0 {
            return;
        }
        match self.slots.last_mut() {
            Some(slot) if slot.first_age < limit.slot_us => {
                slot.last_age = 0;
                slot.taken = slot.taken.saturating_add(k);
            }
            _ => self.slots.push(Slot {
                first_age: 0,
                last_age: 0,
                taken: k,
            }),
        }
    }

    fn used(&self) -> u64 {
        self.slots
            .iter()
            .fold(0, |sum, slot| sum.saturating_add(slot.taken))
    }

    /// Until enough of the oldest have come back for one to be free.
    fn retry_after_ms(&self, limit: &WindowLimit, used: u64) -> u64 {
        let mut left = used;
        for slot in &self.slots {
            if left < limit.tokens {
                break;
            }
            left = left.saturating_sub(slot.taken);
            if left < limit.tokens {
                return ms_up(limit.hold_us.saturating_sub(slot.last_age));
            }
        }
        0
    }
}

fn ms_up(us: u64) -> u64 {
    us.div_ceil(1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;
    const NOTHING: GiveBack = GiveBack {
        tokens: 0,
        age_ms: 0,
    };

    fn back(tokens: u64, age_ms: u64) -> GiveBack {
        GiveBack { tokens, age_ms }
    }

    #[test]
    fn five_a_minute_lets_five_pass_and_refuses_the_sixth_until_the_first_is_a_minute_old() {
        let (limit, mut state) = (WindowLimit::new(5, 60_000), Window::new(0));
        for i in 0..5 {
            assert_eq!(state.acquire(&limit, i * SECOND, 1, NOTHING).granted, 1);
        }
        let sixth = state.acquire(&limit, 5 * SECOND, 1, NOTHING);
        assert_eq!((sixth.granted, sixth.remaining), (0, 0));
        assert_eq!(sixth.retry_after_ms, 55_200);
        assert_eq!(state.acquire(&limit, 60_200_000 - 1, 1, NOTHING).granted, 0);
        assert_eq!(state.acquire(&limit, 60_200_000, 1, NOTHING).granted, 1);
        assert_eq!(state.acquire(&limit, 60_200_000, 1, NOTHING).granted, 0);
        assert_eq!(state.acquire(&limit, 61_200_000, 1, NOTHING).granted, 1);
    }

    #[test]
    fn refusals_cost_nothing() {
        let (limit, mut state) = (WindowLimit::new(5, 60_000), Window::new(0));
        assert_eq!(state.acquire(&limit, 0, 9, NOTHING).granted, 5);
        for i in 0..60 {
            assert_eq!(state.acquire(&limit, i * SECOND, 1, NOTHING).granted, 0);
        }
        assert_eq!(state.acquire(&limit, 61 * SECOND, 9, NOTHING).granted, 5);
    }

    #[test]
    fn what_is_given_back_can_be_taken_again_but_not_late() {
        let (limit, mut state) = (WindowLimit::new(5, 60_000), Window::new(0));
        assert_eq!(state.acquire(&limit, 0, 5, NOTHING).granted, 5);
        assert_eq!(state.acquire(&limit, 200_000, 5, back(2, 200)).granted, 2);
        assert_eq!(
            state
                .acquire(&limit, 10 * SECOND, 5, back(5, 10_000))
                .granted,
            0
        );
    }

    #[test]
    fn what_stays_after_giving_back_is_dated_no_earlier_than_what_was_spent() {
        // one token taken at 0, one at 0.2 s, one at 0.3 s; the second is given back
        for (claimed_ms, then) in [(100, 60_200_000), (300, 60_400_000)] {
            let (limit, mut state) = (WindowLimit::new(2, 60_000), Window::new(0));
            state.acquire(&limit, 0, 1, NOTHING);
            state.acquire(&limit, 200_000, 1, NOTHING);
            assert_eq!(
                state
                    .acquire(&limit, 300_000, 1, back(1, claimed_ms))
                    .granted,
                1
            );
            assert_eq!(state.acquire(&limit, then - 1, 1, NOTHING).granted, 0);
            assert_eq!(state.acquire(&limit, then, 1, NOTHING).granted, 1);
        }
    }

    #[test]
    fn large_counts_stay_exact_with_bounded_memory() {
        let (limit, mut state) = (WindowLimit::new(1_000, 300_000), Window::new(0));
        let mut takes = Vec::new();
        for i in 0..20_000_u64 {
            let now = i * 50_000;
            if state.acquire(&limit, now, 1, NOTHING).granted == 1 {
                takes.push(now);
            }
            assert!(state.slots().len() <= 80, "{}", state.slots().len());
        }
        for (i, &start) in takes.iter().enumerate() {
            let within = takes[i..]
                .iter()
                .take_while(|&&t| t < start + 300 * SECOND)
                .count();
            assert!(within <= 1_000, "{within} from {start}");
        }
        let expected = 1_000 * 1_000 / 305;
        assert!(takes.len() >= expected, "{} of {expected}", takes.len());
    }

    #[test]
    fn tokens_that_share_a_slot_all_wait_for_the_last_of_them() {
        let (limit, mut state) = (WindowLimit::new(100, 64_000), Window::new(0));
        assert_eq!(state.acquire(&limit, 0, 1, NOTHING).granted, 1);
        assert_eq!(state.acquire(&limit, 900_000, 99, NOTHING).granted, 99);
        assert_eq!(state.slots().len(), 1);
        assert_eq!(
            state.acquire(&limit, 65_100_000 - 1, 100, NOTHING).granted,
            0
        );
        assert_eq!(state.acquire(&limit, 65_100_000, 100, NOTHING).granted, 100);
    }

    #[test]
    fn a_lowered_count_waits_for_enough_to_come_back() {
        let mut state = Window::new(0);
        for i in 0..5 {
            state.acquire(&WindowLimit::new(5, 60_000), i * SECOND, 1, NOTHING);
        }
        let refused = state.acquire(&WindowLimit::new(2, 60_000), 5 * SECOND, 1, NOTHING);
        assert_eq!((refused.granted, refused.retry_after_ms), (0, 58_200));
    }

    #[test]
    fn the_edges_of_u64_neither_overflow_nor_lock_a_key() {
        let (limit, mut state) = (WindowLimit::new(u64::MAX, u64::MAX), Window::new(u64::MAX));
        for now in [u64::MAX, 0, 1, u64::MAX] {
            state.acquire(&limit, now, u64::MAX, back(u64::MAX, u64::MAX));
            state.acquire(&limit, now, u64::MAX, back(u64::MAX, 0));
        }
    }
}
