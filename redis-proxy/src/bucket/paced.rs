//! Two GCRA buckets (R4, R7) that can take tokens back without making room that was not there.
//!
//! A GCRA bucket is one number, the time at which it will be empty; here relative to now, in
//! nanoseconds: its *backlog*. Taking `k` tokens at time `t` maps the time of emptiness `x` to
//! `max(t, x) + cost(k)`. Any sequence of takes composes to a map of the same form, `max(a, x + cost(k))`,
//! where `a` is what the sequence makes of an empty bucket. So the takes of 50 ms are one slot of two
//! numbers, `(a, k)`, for any traffic, and giving back is: lower `k` of the slot it was taken in and
//! apply the slots again. `a` then falls to `last take + cost(k left)` if that is lower: exact for a slot of
//! one call, an upper bound of the truth for others.

use wire::limits::{GIVE_BACK_HORIZON_MS, GIVE_BACK_SLOT_MS, GiveBack, TOLERANCE_MS};

use super::{Decision, Micros, returnable_us, step};

const NS_PER_MS: i64 = 1_000_000;
const HORIZON_NS: i64 = 500 * NS_PER_MS;
const SLOT_NS: i64 = 50 * NS_PER_MS;
const _: () = assert!(
    GIVE_BACK_HORIZON_MS == 500 && GIVE_BACK_SLOT_MS == 50,
    "as above"
);
/// Backlogs are not told apart below this: further back than any take of a slot.
const LONG_EMPTY_NS: i64 = -10_000 * NS_PER_MS;
/// State is kept this long after the bucket is empty, so that tokens can be given back.
const LINGER_MS: u64 = 1_000;

/// One bucket: tokens per period, and how far ahead of an even pace they may be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Tokens per period.
    pub tokens: u64,
    /// The period, nanoseconds.
    pub period_ns: u64,
    /// The capacity as time, nanoseconds; at least one token's worth.
    pub tolerance_ns: i64,
}

impl Pace {
    fn new(tokens: u64, period_ns: u64, tolerance_ns: u64) -> Self {
        let mut pace = Self {
            tokens,
            period_ns,
            tolerance_ns: 0,
        };
        pace.tolerance_ns = clamp(u128::from(tolerance_ns)).max(pace.cost(1));
        pace
    }

    /// Time `k` tokens take at an even pace, rounded up to a nanosecond.
    fn cost(&self, k: u64) -> i64 {
        let total = u128::from(k).saturating_mul(u128::from(self.period_ns));
        clamp(total.div_ceil(u128::from(self.tokens.max(1))))
    }

    /// Tokens that fit above a backlog.
    fn room(&self, backlog: i64) -> u64 {
        let free = self
            .tolerance_ns
            .saturating_sub(backlog.max(0))
            .max(0)
            .unsigned_abs();
        let tokens = u128::from(free).saturating_mul(u128::from(self.tokens));
        let tokens = tokens.checked_div(u128::from(self.period_ns)).unwrap_or(0);
        u64::try_from(tokens).unwrap_or(u64::MAX)
    }

    /// Nanoseconds until one token fits.
    fn wait(&self, backlog: i64) -> i64 {
        backlog
            .max(0)
            .saturating_add(self.cost(1))
            .saturating_sub(self.tolerance_ns)
            .max(0)
    }
}

fn clamp(n: u128) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// A paced limit: sustained and peak bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacedLimit {
    /// Rate and burst.
    pub sustained: Pace,
    /// Highest rate, for any length of time.
    pub peak: Pace,
}

impl PacedLimit {
    /// `burst` in tokens, `peak` in tokens per period.
    #[must_use]
    pub fn new(tokens: u64, period_ms: u64, burst: u64, peak: u64) -> Self {
        let period_ns = period_ms.saturating_mul(NS_PER_MS.unsigned_abs());
        let burst_ns = u128::from(burst).saturating_mul(u128::from(period_ns));
        let burst_ns = burst_ns.checked_div(u128::from(tokens)).unwrap_or(0);
        let burst_ns = u64::try_from(burst_ns).unwrap_or(u64::MAX);
        let tolerance_ns = TOLERANCE_MS.saturating_mul(NS_PER_MS.unsigned_abs());
        Self {
            sustained: Pace::new(tokens, period_ns, burst_ns),
            peak: Pace::new(peak, period_ns, tolerance_ns),
        }
    }

    fn pair<T>(&self, of: impl Fn(&Pace) -> T) -> Pair<T> {
        Pair {
            sustained: of(&self.sustained),
            peak: of(&self.peak),
        }
    }

    /// Same prices, whatever the capacities.
    fn costs_like(&self, other: &Self) -> bool {
        let price = |pace: &Pace| (pace.tokens, pace.period_ns);
        self.pair(price) == other.pair(price)
    }
}

/// One of each bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pair<T> {
    sustained: T,
    peak: T,
}

impl<T: Copy> Pair<T> {
    fn with<U: Copy, V>(self, other: Pair<U>, f: impl Fn(T, U) -> V) -> Pair<V> {
        Pair {
            sustained: f(self.sustained, other.sustained),
            peak: f(self.peak, other.peak),
        }
    }
}

const NEVER: Pair<i64> = Pair {
    sustained: LONG_EMPTY_NS,
    peak: LONG_EMPTY_NS,
};

/// The takes of 50 ms, composed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slot {
    /// Nanoseconds since the first of them.
    first_age: i64,
    /// Nanoseconds since the last of them.
    last_age: i64,
    /// Tokens taken and not given back.
    taken: u64,
    /// What they make of an empty bucket, relative to now.
    alone: Pair<i64>,
}

impl Slot {
    fn age(&mut self, elapsed: i64) {
        self.first_age = self.first_age.saturating_add(elapsed);
        self.last_age = self.last_age.saturating_add(elapsed);
        self.alone = age(self.alone, elapsed);
    }

    fn over(&self, base: Pair<i64>, limit: &PacedLimit) -> Pair<i64> {
        let costs = limit.pair(|pace| pace.cost(self.taken));
        self.alone
            .with(base.with(costs, i64::saturating_add), i64::max)
    }

    /// Drops up to `give_back` tokens, returns what is left to drop.
    fn forget(&mut self, give_back: u64, limit: &PacedLimit) -> u64 {
        let dropped = give_back.min(self.taken);
        self.taken = self.taken.saturating_sub(dropped);
        let bound = limit.pair(|pace| pace.cost(self.taken).saturating_sub(self.last_age));
        self.alone = self
            .alone
            .with(bound, |alone, bound| alone.min(bound).max(LONG_EMPTY_NS));
        give_back.saturating_sub(dropped)
    }
}

fn age(backlog: Pair<i64>, elapsed: i64) -> Pair<i64> {
    let aged = |ns: i64| ns.saturating_sub(elapsed).max(LONG_EMPTY_NS);
    Pair {
        sustained: aged(backlog.sustained),
        peak: aged(backlog.peak),
    }
}

/// State of one key under a paced limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paced {
    at: Micros,
    /// The limit of the last call.
    limit: Option<PacedLimit>,
    /// Backlog left by all takes older than the slots; negative: empty since.
    base: Pair<i64>,
    /// Oldest first; at most a dozen.
    slots: Vec<Slot>,
}

impl Paced {
    /// A key never used before `now`.
    #[must_use]
    pub const fn new(now: Micros) -> Self {
        Self {
            at: now,
            limit: None,
            base: NEVER,
            slots: Vec::new(),
        }
    }

    /// See [`super::Bucket::acquire`].
    pub fn acquire(
        &mut self,
        limit: &PacedLimit,
        now: Micros,
        want: u64,
        give_back: GiveBack,
    ) -> Decision {
        self.advance(now);
        self.settle(limit);
        self.forget(limit, give_back);

        let backlog = self.backlog(limit);
        let room = |backlog: Pair<i64>| {
            limit
                .sustained
                .room(backlog.sustained)
                .min(limit.peak.room(backlog.peak))
        };
        let granted = want.min(room(backlog));
        self.take(granted, limit);

        let backlog = self.backlog(limit);
        let remaining = room(backlog);
        let wait = limit
            .sustained
            .wait(backlog.sustained)
            .max(limit.peak.wait(backlog.peak));
        let reset_ms = ms_up(backlog.sustained.max(backlog.peak));
        Decision {
            granted,
            retry_after_ms: if remaining > 0 { 0 } else { ms_up(wait) },
            remaining,
            reset_ms,
            keep_ms: reset_ms.saturating_add(LINGER_MS),
        }
    }

    fn advance(&mut self, now: Micros) {
        let (at, elapsed_us) = step(self.at, now);
        self.at = at;
        let elapsed = i64::try_from(elapsed_us.saturating_mul(1_000)).unwrap_or(i64::MAX);
        self.base = age(self.base, elapsed);
        for slot in &mut self.slots {
            slot.age(elapsed);
        }
    }

    /// Slots too old to give back from merge into the base; so do all when the rate was changed.
    fn settle(&mut self, limit: &PacedLimit) {
        let priced = self.limit.replace(*limit).unwrap_or(*limit);
        let repriced = !priced.costs_like(limit);
        let base = &mut self.base;
        self.slots.retain(|slot| {
            let keep = !repriced && slot.last_age <= HORIZON_NS;
            if !keep {
                *base = slot.over(*base, &priced);
            }
            keep
        });
    }

    fn forget(&mut self, limit: &PacedLimit, give_back: GiveBack) {
        let Some(oldest_us) = returnable_us(give_back) else {
            return;
        };
        let oldest = i64::try_from(oldest_us.saturating_mul(1_000)).unwrap_or(i64::MAX);
        let mut rest = give_back.tokens;
        for slot in self.slots.iter_mut().filter(|slot| slot.last_age <= oldest) {
            rest = slot.forget(rest, limit);
        }
        self.slots.retain(|slot| slot.taken > 0);
    }

    fn take(&mut self, k: u64, limit: &PacedLimit) {
        if k == 0 {
            return;
        }
        let costs = limit.pair(|pace| pace.cost(k));
        match self.slots.last_mut() {
            Some(slot) if slot.first_age < SLOT_NS => {
                slot.last_age = 0;
                slot.taken = slot.taken.saturating_add(k);
                slot.alone = slot
                    .alone
                    .with(costs, |alone, cost| alone.max(0).saturating_add(cost));
            }
            _ => self.slots.push(Slot {
                first_age: 0,
                last_age: 0,
                taken: k,
                alone: costs,
            }),
        }
    }

    fn backlog(&self, limit: &PacedLimit) -> Pair<i64> {
        self.slots
            .iter()
            .fold(self.base, |base, slot| slot.over(base, limit))
    }
}

fn ms_up(ns: i64) -> u64 {
    ns.max(0).unsigned_abs().div_ceil(NS_PER_MS.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::limits::Limit;

    const NOTHING: GiveBack = GiveBack {
        tokens: 0,
        age_ms: 0,
    };

    fn back(tokens: u64, age_ms: u64) -> GiveBack {
        GiveBack { tokens, age_ms }
    }

    fn paced(limit: &Limit) -> PacedLimit {
        let wire::limits::Shape::Paced { burst, peak } = limit.shape else {
            panic!("paced")
        };
        PacedLimit::new(limit.tokens, limit.period_ms, burst, peak)
    }

    /// Offers `rate` requests a second for `seconds`, one by one, evenly; admitted per second.
    fn offer(limit: &Limit, rate: u64, seconds: u64) -> Vec<u64> {
        let (limit, mut state) = (paced(limit), Paced::new(0));
        let second = |s| {
            (0..rate)
                .map(|i| s * 1_000_000 + i * 1_000_000 / rate)
                .map(|now| state.acquire(&limit, now, 1, NOTHING).granted)
                .sum()
        };
        (0..seconds).map(second).collect()
    }

    #[test]
    fn twice_the_rate_passes_for_ten_seconds_then_once() {
        let admitted = offer(&Limit::paced(1_000, 1_000), 2_000, 15);
        assert!(admitted[..10].iter().all(|&n| n >= 1_999), "{admitted:?}");
        assert!(
            admitted[11..].iter().all(|&n| (999..=1_001).contains(&n)),
            "{admitted:?}"
        );
    }

    #[test]
    fn never_more_than_twice_the_rate() {
        let admitted = offer(&Limit::paced(1_000, 1_000), 10_000, 5);
        assert!(
            (2_199..=2_200).contains(&admitted[0]),
            "rate and tolerance: {admitted:?}"
        );
        assert!(
            admitted[1..].iter().all(|&n| (1_999..=2_001).contains(&n)),
            "{admitted:?}"
        );
    }

    #[test]
    fn a_p3_tenant_at_one_and_a_half_loses_a_third_and_the_default_burst_nothing() {
        let p3: u64 = offer(&Limit::without_burst(1_000, 1_000), 1_500, 5)
            .iter()
            .sum();
        assert!(p3 <= 5_250, "{p3} of 7500 is less than 30 % refused");
        let usual: u64 = offer(&Limit::paced(1_000, 1_000), 1_500, 5).iter().sum();
        assert_eq!(usual, 7_500);
    }

    #[test]
    fn rates_that_do_not_divide_the_second_lose_nothing_to_rounding() {
        for rate in [3, 7, 333, 3_333, 999_983, 3_000_000] {
            let (limit, mut state) = (paced(&Limit::without_burst(rate, 1_000)), Paced::new(0));
            let total: u64 = (0..10_000)
                .map(|ms| {
                    state
                        .acquire(&limit, ms * 1_000, 10_000_000, NOTHING)
                        .granted
                })
                .sum();
            let bound = rate * 10 + rate.div_ceil(10) + 1;
            assert!(
                (rate * 10..=bound).contains(&total),
                "{rate}: {total} of {bound}"
            );
        }
    }

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let (limit, mut state) = (paced(&Limit::without_burst(100, 1_000)), Paced::new(0));
        assert_eq!(state.acquire(&limit, 0, 10, NOTHING).granted, 10);
        assert_eq!(state.acquire(&limit, 0, 10, NOTHING).granted, 0);
        assert_eq!(state.acquire(&limit, 0, 10, back(4, 0)).granted, 4);
        assert_eq!(
            state.acquire(&limit, 0, 10, back(u64::MAX, 500)).granted,
            10
        );
    }

    #[test]
    fn a_token_that_drained_while_it_lay_unspent_is_not_refunded_too() {
        // 5/s with room for 50. Fifty are always out and never spent, new ones every 200 ms; after
        // ten seconds they have drained. Spent all at once now, they must still count.
        let limit = PacedLimit::new(5, 1_000, 50, 10_000);
        let mut state = Paced::new(0);
        let mut out = 0;
        let mut now = 0;
        for _ in 0..60 {
            out = state.acquire(&limit, now, 50, back(out, 200)).granted;
            now += 200_000;
        }
        let more = state.acquire(&limit, now, 1_000, NOTHING).granted;
        assert!(
            out + more <= 50 + 1 + 1,
            "{out} spent at once and {more} more"
        );
    }

    #[test]
    fn a_worker_that_takes_and_returns_does_not_starve_the_others() {
        let (limit, mut state) = (paced(&Limit::without_burst(20, 1_000)), Paced::new(0));
        let (mut served, mut now) = (0, 0);
        for round in 0..200 {
            // one worker takes and returns, another asks at 9/10 of the limit
            let idle = state
                .acquire(&limit, now, 1, back(u64::from(round > 0), 50))
                .granted;
            served += state
                .acquire(&limit, now + 1, u64::from(round % 10 != 0), NOTHING)
                .granted;
            assert!(idle <= 1);
            now += 50_000;
        }
        assert!(served >= 170, "{served} of 180");
    }

    #[test]
    fn a_lowered_rate_recovers_within_the_capacity_it_was_filled_under() {
        let (high, low) = (
            paced(&Limit::paced(1_000, 1_000)),
            paced(&Limit::paced(1, 1_000)),
        );
        let mut state = Paced::new(0);
        for ms in 0..10_000 {
            state.acquire(&high, ms * 1_000, 1_000, NOTHING);
        }
        let refused = state.acquire(&low, 10_000_000, 1, NOTHING);
        assert_eq!(refused.granted, 0);
        assert!(refused.retry_after_ms <= 11_000, "{refused:?}");
    }

    #[test]
    fn the_edges_of_u64_neither_overflow_nor_lock_a_key() {
        let limit = PacedLimit::new(u64::MAX, u64::MAX, u64::MAX, u64::MAX);
        let mut state = Paced::new(u64::MAX);
        for now in [u64::MAX, 0, 1, u64::MAX, u64::MAX - 1, 0] {
            state.acquire(&limit, now, u64::MAX, back(u64::MAX, 0));
            state.acquire(&limit, now, u64::MAX, back(u64::MAX, 500));
        }
        let zero = PacedLimit::new(0, 0, 0, 0);
        Paced::new(0).acquire(&zero, u64::MAX, u64::MAX, NOTHING);
    }
}
