//! The bucket arithmetic against a slow, obvious model.
//!
//! The model knows what no store can: which tokens will be spent. It keeps every take in a list and adds
//! up over all windows. `net` counts what was not given back by now, dated when it was taken; `gross` everything ever
//! taken. A bucket that gives `net` its due and no more must grant between what fits over
//! `gross` and what fits over `net`; without giving back that is one number.

use proptest::prelude::*;
use redis_proxy::bucket::{Bucket, Rule};
use wire::limits::{GiveBack, Limit, Shape};

#[derive(Clone, Debug)]
enum Step {
    /// The clock moves, microseconds.
    Clock(i64),
    /// A worker asks.
    Take { worker: usize, want: u64 },
    /// A worker spends all it holds.
    Spend { worker: usize },
    /// A worker gives back what it holds, and asks.
    Return { worker: usize, want: u64 },
}

fn steps(jump: bool) -> impl Strategy<Value = Vec<Step>> {
    let wants = prop_oneof![Just(0u64), Just(1), 1..20u64, Just(10_000_000)];
    let clock = prop_oneof![
        6 => 0..60_000i64,
        3 => 0..400_000i64,
        1 => 0..20_000_000i64,
        u32::from(jump) => -1_000_000..0i64,
        u32::from(jump) => -90_000_000_000..0i64,
    ];
    let step = prop_oneof![
        4 => clock.prop_map(Step::Clock),
        4 => (0..4usize, wants.clone()).prop_map(|(worker, want)| Step::Take { worker, want }),
        2 => (0..4usize).prop_map(|worker| Step::Spend { worker }),
        3 => (0..4usize, wants).prop_map(|(worker, want)| Step::Return { worker, want }),
    ];
    prop::collection::vec(step, 1..150)
}

fn paced() -> impl Strategy<Value = Limit> {
    let rates = prop_oneof![1..30u64, 1..5_000u64, Just(999_983u64)];
    let periods = prop_oneof![Just(1_000u64), 100..3_000u64];
    (rates, periods, 0..3u64, 1..4u64, any::<bool>()).prop_map(|(n, ms, burst, peak, plain)| {
        let plain_limit = Limit::paced(n, ms);
        if plain {
            return plain_limit;
        }
        let shape = Shape::Paced {
            burst: burst * n,
            peak: peak * n,
        };
        Limit {
            shape,
            ..plain_limit
        }
    })
}

fn windowed() -> impl Strategy<Value = Limit> {
    (prop_oneof![1..20u64, 1..500u64], 500..5_000u64).prop_map(|(n, ms)| Limit::window(n, ms))
}

#[derive(Clone, Copy, Debug)]
struct Taken {
    /// Store time that has passed since the start, microseconds, at the take and at the return.
    at: u64,
    tokens: u64,
    returned: u64,
}

/// Runs the steps; the clock of the store and the time that passed on it are kept apart.
struct Run {
    bucket: Bucket,
    limit: Limit,
    clock: u64,
    highest: u64,
    elapsed: u64,
    taken: Vec<Taken>,
    /// Per worker: indices into `taken` with what is left of them.
    held: [Vec<(usize, u64)>; 4],
}

impl Run {
    fn new(limit: Limit) -> Self {
        let clock = 1_700_000_000_000_000;
        let bucket = Bucket::new(&Rule::new(&limit), clock);
        let held = Default::default();
        Self {
            bucket,
            limit,
            clock,
            highest: clock,
            elapsed: 0,
            taken: vec![],
            held,
        }
    }

    fn move_clock(&mut self, by: i64) {
        self.clock = self.clock.saturating_add_signed(by);
        // what a store sees: small steps back are waited out, large ones taken
        if self.clock >= self.highest {
            self.elapsed += self.clock - self.highest;
            self.highest = self.clock;
        } else if self.highest - self.clock > 1_000_000 {
            self.highest = self.clock;
        }
        // a store learns of the time when it is asked
        self.ask(0, GiveBack::default());
    }

    fn ask(&mut self, want: u64, give_back: GiveBack) -> u64 {
        let rule = Rule::new(&self.limit);
        self.bucket
            .acquire(&rule, self.clock, want, give_back)
            .granted
    }

    fn take(&mut self, worker: usize, want: u64, give_back: GiveBack) -> u64 {
        let granted = self.ask(want, give_back);
        assert!(granted <= want);
        if granted > 0 {
            self.held[worker].push((self.taken.len(), granted));
            self.taken.push(Taken {
                at: self.elapsed,
                tokens: granted,
                returned: 0,
            });
        }
        granted
    }

    /// What a worker holds, as it gives it back. Too old to be taken back: it stays spent.
    fn give_back(&mut self, worker: usize) -> GiveBack {
        let held = std::mem::take(&mut self.held[worker]);
        let oldest = held.iter().map(|&(index, _)| self.taken[index].at).min();
        let Some(oldest) = oldest else {
            return GiveBack::default();
        };
        let age_ms = (self.elapsed - oldest).div_ceil(1_000);
        let tokens = held.iter().map(|&(_, tokens)| tokens).sum();
        if age_ms <= 500 {
            for (index, tokens) in held {
                self.taken[index].returned += tokens;
            }
        }
        GiveBack { tokens, age_ms }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Clock(by) => self.move_clock(by),
            Step::Take { worker, want } => {
                self.take(worker, want, GiveBack::default());
            }
            Step::Spend { worker } => self.held[worker].clear(),
            Step::Return { worker, want } => {
                let back = self.give_back(worker);
                self.take(worker, want, back);
            }
        }
    }

    /// Tokens not given back, over every window that begins and ends with a take.
    fn windows(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let net = |t: &Taken| t.tokens - t.returned;
        self.taken.iter().enumerate().flat_map(move |(i, first)| {
            self.taken[i..].iter().scan(0, move |sum, last| {
                *sum += net(last);
                Some((last.at - first.at, *sum))
            })
        })
    }
}

/// The most a paced limit may let through in a window, in whole tokens: design.md "Leases".
fn bound(limit: &Limit, window_us: u64) -> u64 {
    let Shape::Paced { burst, peak } = limit.shape else {
        panic!("paced")
    };
    let over = |tokens: u64, more: u128| {
        let per = u128::from(limit.period_ms) * 1_000;
        let even = u128::from(tokens) * u128::from(window_us) + more;
        // at least one token fits into any bucket
        (even.div_ceil(per)).max((u128::from(tokens) * u128::from(window_us)) / per + 1)
    };
    let sustained = over(
        limit.tokens,
        u128::from(burst) * u128::from(limit.period_ms) * 1_000,
    );
    let peaked = over(peak, u128::from(peak) * 100_000);
    u64::try_from(sustained.min(peaked)).unwrap()
}

/// Whole tokens that fit on top of `takes` (tokens, age in microseconds), by adding up, in
/// nanoseconds; `slack` is what rounding may have added.
fn fits(limit: &Limit, takes: &[(u64, u64)], slack: u128) -> u64 {
    let Shape::Paced { burst, peak } = limit.shape else {
        panic!("paced")
    };
    let period = u128::from(limit.period_ms) * 1_000_000;
    let one = |tokens: u64, capacity: u128| {
        let cost = |k: u64| u128::from(k) * period / u128::from(tokens);
        let capacity = capacity.max((period).div_ceil(u128::from(tokens)));
        let mut sum = 0;
        let mut level = 0u128;
        for &(k, age) in takes.iter().rev() {
            sum += k;
            level = level.max((cost(sum) + slack).saturating_sub(u128::from(age) * 1_000));
        }
        capacity.saturating_sub(level) * u128::from(tokens) / period
    };
    let sustained = one(
        limit.tokens,
        u128::from(burst) * period / u128::from(limit.tokens),
    );
    u64::try_from(sustained.min(one(peak, 100_000_000))).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn a_paced_limit_is_never_exceeded_over_any_window(limit in paced(), steps in steps(true)) {
        let mut run = Run::new(limit);
        steps.iter().for_each(|step| run.step(step));
        for (window, tokens) in run.windows() {
            let most = bound(&limit, window);
            prop_assert!(tokens <= most, "{tokens} in {window} us, at most {most}");
        }
    }

    #[test]
    fn a_paced_limit_grants_what_fits_and_no_more(limit in paced(), steps in steps(false)) {
        let mut run = Run::new(limit);
        for step in &steps {
            let (worker, want, back) = match *step {
                Step::Take { worker, want } => (worker, want, GiveBack::default()),
                Step::Return { worker, want } => (worker, want, run.give_back(worker)),
                _ => {
                    run.step(step);
                    continue;
                }
            };
            let age = |t: &Taken| run.elapsed - t.at;
            let all: Vec<_> = run.taken.iter().map(|t| (t.tokens, age(t))).collect();
            let net: Vec<_> = run.taken.iter().map(|t| (t.tokens - t.returned, age(t))).collect();
            let calls = run.taken.len() as u128;
            let least = fits(&limit, &all, 2 + 2 * calls).min(want);
            let most = fits(&limit, &net, 0).min(want);
            let granted = run.take(worker, want, back);
            prop_assert!((least..=most).contains(&granted), "{least} <= {granted} <= {most}");
        }
    }

    #[test]
    fn a_windowed_limit_is_exact_over_any_window(limit in windowed(), steps in steps(true)) {
        let mut run = Run::new(limit);
        steps.iter().for_each(|step| run.step(step));
        for (window, tokens) in run.windows() {
            // a token lives 200 ms, so this is one period where requests are admitted
            if window < limit.period_ms * 1_000 + 200_000 {
                prop_assert!(tokens <= limit.tokens, "{tokens} in {window} us");
            }
        }
    }

    #[test]
    fn a_windowed_limit_grants_all_that_is_free(limit in windowed(), steps in steps(false)) {
        let mut run = Run::new(limit);
        let hold = limit.period_ms * 1_000 + 200_000;
        let slot = if limit.tokens > 64 { (limit.period_ms * 1_000).div_ceil(64) } else { 0 };
        for step in &steps {
            let Step::Take { worker, want } = *step else {
                run.step(step);
                continue;
            };
            let held = |still: u64| {
                let taken = run.taken.iter().filter(|t| run.elapsed - t.at < still);
                limit.tokens - taken.map(|t| t.tokens - t.returned).sum::<u64>().min(limit.tokens)
            };
            let (least, most) = (held(hold + slot).min(want), held(hold).min(want));
            let granted = run.take(worker, want, GiveBack::default());
            // given back tokens may have been dated later than they were: at most a horizon
            let least = if run.taken.iter().any(|t| t.returned > 0) { 0 } else { least };
            prop_assert!((least..=most).contains(&granted), "{least} <= {granted} <= {most}");
        }
    }

    #[test]
    fn every_key_recovers_whatever_happened(
        limits in (prop_oneof![paced(), windowed()], paced()),
        steps in prop_oneof![steps(true)],
        swaps in prop::collection::vec(any::<bool>(), 150),
    ) {
        let (first, mut other) = limits;
        // the other limit of the same key: same period and shape, other numbers
        if let (Shape::Paced { .. }, Shape::Paced { .. }) = (first.shape, other.shape) {
            other.period_ms = first.period_ms;
        } else {
            other = Limit { tokens: first.tokens * 3, ..first };
        }
        let mut run = Run::new(first);
        for (step, swap) in steps.iter().zip(swaps) {
            if swap {
                std::mem::swap(&mut run.limit, &mut other);
            }
            run.step(step);
        }
        let rule = Rule::new(&run.limit);
        let fresh = Bucket::new(&rule, run.clock).acquire(&rule, run.clock, 0, GiveBack::default());
        let told = run.bucket.acquire(&rule, run.clock, 0, GiveBack::default());
        // a clock that stepped back a little is waited out
        let wait = told.reset_ms * 1_000 + 1_000_000;
        let then = run.bucket.acquire(&rule, run.clock + wait, 0, GiveBack::default());
        prop_assert_eq!((then.remaining, then.reset_ms), (fresh.remaining, 0));
        prop_assert_eq!(told.remaining == 0, told.retry_after_ms > 0);
    }

    #[test]
    fn retry_after_is_neither_early_nor_late(
        limit in prop_oneof![paced(), windowed()],
        steps in steps(false),
    ) {
        let mut run = Run::new(limit);
        steps.iter().for_each(|step| run.step(step));
        let rule = Rule::new(&limit);
        run.bucket.acquire(&rule, run.clock, u64::MAX, GiveBack::default());
        let told = run.bucket.acquire(&rule, run.clock, 1, GiveBack::default());
        prop_assert_eq!(told.granted, 0);
        prop_assert!(told.retry_after_ms > 0);
        let at = |us: u64| run.bucket.clone().acquire(&rule, run.clock + us, 1, GiveBack::default());
        prop_assert_eq!(at(told.retry_after_ms * 1_000).granted, 1);
        prop_assert_eq!(at((told.retry_after_ms - 1) * 1_000).granted, 0);
    }

    #[test]
    fn limits_that_alternate_share_in_proportion(
        limits in (1..2_000u64, 1..2_000u64),
        steps in steps(false),
        swaps in prop::collection::vec(any::<bool>(), 150),
    ) {
        // Σ granted / rate ≤ T + capacity, in microseconds; no giving back, so all takes count
        let mut run = Run::new(Limit::paced(limits.0, 1_000));
        let mut other = Limit::paced(limits.1, 1_000);
        let mut spent = Vec::new();
        for (step, swap) in steps.iter().zip(swaps) {
            if swap {
                std::mem::swap(&mut run.limit, &mut other);
            }
            match *step {
                Step::Take { worker, want } | Step::Return { worker, want } => {
                    let k = run.take(worker, want, GiveBack::default());
                    spent.push((run.elapsed, k as f64 * 1e6 / run.limit.tokens as f64));
                }
                _ => run.step(step),
            }
        }
        for (i, (start, _)) in spent.iter().enumerate() {
            let mut sum = 0.0;
            for (at, time) in &spent[i..] {
                sum += time;
                let most = (at - start) as f64 + 10_000_000.0;
                prop_assert!(sum <= most + 1.0, "{sum} of {most}");
            }
        }
    }

    #[test]
    fn nothing_overflows_at_any_edge(
        tokens: u64, period: u64, burst: u64, peak: u64, window: bool,
        calls in prop::collection::vec((any::<u64>(), any::<u64>(), any::<u64>(), 0..600u64), 1..20),
    ) {
        let shape = if window { Shape::Window {} } else { Shape::Paced { burst, peak } };
        let rule = Rule::new(&Limit { tokens, period_ms: period, shape });
        let mut bucket = Bucket::new(&rule, 0);
        for (now, want, tokens, age_ms) in calls {
            bucket.acquire(&rule, now, want, GiveBack { tokens, age_ms });
        }
    }
}
