//! Tokens of one key, taken from the store ahead of need (R17).
//!
//! Pure: what happened and the time go in, what to do comes out. A token is spent at most
//! [`LEASE_LIFE`] after the call that took it was *sent*, on this worker's clock, and given back
//! otherwise. A clock that steps back leaves the age of tokens unknown: they are dropped, which errs on
//! the strict side.

use std::time::Duration;

use policy::Time;
use wire::limits::{
    GIVE_BACK_HORIZON_MS, GiveBack, KeyReply, LEASE_LIFE_MS, Limit, MAX_TOKENS, Shape, TOLERANCE_MS,
};

use crate::rate::Rate;

/// Longest life of an unspent token.
pub(crate) const LEASE_LIFE: Duration = Duration::from_millis(LEASE_LIFE_MS);
/// How often leases are looked after.
pub(crate) const TICK: Duration = Duration::from_millis(20);
/// A lease is to last so long.
const LEAD: Duration = Duration::from_millis(50);
/// A lease that would not last so long is topped up: a tick and a call.
const LOW: Duration = Duration::from_millis(30);
/// Where ticks look after a lease, a refusal is kept so long for the tick to ask first.
const UNTIL_TICK: Duration = Duration::from_millis(50);
/// A key that the store could not decide is asked for again after this.
const AFTER_FAILURE: Duration = Duration::from_millis(100);
/// A key that runs short may be so for this long before it counts as over its limit: until then what a moment
/// will bring is waited for (R7: a bunch of requests on a cold start is no excess).
const SPELL: Duration = Duration::from_millis(100);
/// A spell without tokens has ended when there were some for so long.
const RELIEF: Duration = Duration::from_secs(1);
/// Length of the peak bucket.
const TOLERANCE: Duration = Duration::from_millis(TOLERANCE_MS);
/// Parts of the peak bucket (100 ms of the limit) that one worker may hold at once: a quarter.
const SHARE: u64 = 4;

/// What one worker knows of one key.
#[derive(Clone, Debug)]
pub(crate) struct Lease {
    limit: Limit,
    /// Unspent tokens of the last call that brought any.
    fresh: Batch,
    /// Those of the calls before.
    aged: Batch,
    /// Expired, and not given back yet.
    owed: Batch,
    /// From the time that it was learned, until the store will have a token again.
    refused: Option<(Time, Time)>,
    /// When the store could not tell.
    failed: Option<Time>,
    /// A call is under way; nobody waits longer for it.
    flight: Option<(Time, Time)>,
    /// Requests that wait, besides the one that made the call.
    waiting: u32,
    /// When tokens first and last ran out, in the latest spell without.
    short: (Time, Time),
    rate: Rate,
    reset: Time,
    /// When the local share is even with its pace (GCRA).
    local: Time,
    /// Ticks look after it.
    pub watched: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Batch {
    tokens: u32,
    /// From then until the call was sent that took the latest of them.
    span_ns: u32,
    /// When the call was sent that took the oldest of them.
    sent: Time,
}

/// Whether a request may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// A token is here.
    Ready,
    /// None can be had until then.
    Refused { until: Time },
    /// None can be had until then, which is worth waiting for.
    Soon { until: Time },
    /// Somebody asks for one; wait at most until then.
    InFlight { until: Time },
    /// The store could not tell, a moment ago.
    Failed,
    /// Ask.
    Short,
}

/// What to ask the store for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Want {
    pub tokens: u64,
    pub give_back: Option<GiveBack>,
}

/// What a tick has to do for a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Care {
    /// Ask the store.
    Ask(Want),
    /// Nothing now.
    Rest,
    /// Nothing until the key is used again.
    Done,
}

impl Batch {
    /// A store that grants more than was wanted is not believed.
    fn new(granted: u64, wanted: u64, sent: Time) -> Self {
        Self {
            tokens: u32::try_from(granted.min(wanted)).unwrap_or(u32::MAX),
            span_ns: 0,
            sent,
        }
    }

    fn latest(self) -> Time {
        self.sent.plus(Duration::from_nanos(self.span_ns.into()))
    }

    /// Spendable at this time.
    fn is_alive(self, now: Time) -> bool {
        now >= self.latest() && now.since(self.sent) < LEASE_LIFE
    }

    fn add(&mut self, other: Self) {
        *self = match (self.tokens, other.tokens) {
            (0, _) => other,
            (_, 0) => *self,
            _ => {
                let sent = self.sent.min(other.sent);
                let span = self.latest().max(other.latest()).since(sent);
                Self {
                    tokens: self.tokens.saturating_add(other.tokens),
                    span_ns: u32::try_from(span.as_nanos()).unwrap_or(u32::MAX),
                    sent,
                }
            }
        };
    }

    fn take(&mut self) -> Self {
        std::mem::take(self)
    }

    fn spend(&mut self) -> bool {
        match self.tokens.checked_sub(1) {
            Some(rest) => {
                self.tokens = rest;
                true
            }
            None => false,
        }
    }
}

/// Whether `now` is within `[from, until)`; a clock that stepped back to before `from` ends it.
fn lasts(span: Option<(Time, Time)>, now: Time) -> Option<Time> {
    let (from, until) = span?;
    (from <= now && now < until).then_some(until)
}

impl Lease {
    pub fn new(limit: Limit, now: Time) -> Self {
        Self {
            limit,
            fresh: Batch::default(),
            aged: Batch::default(),
            owed: Batch::default(),
            refused: None,
            failed: None,
            flight: None,
            waiting: 0,
            short: (Time::EPOCH, Time::EPOCH),
            rate: Rate::new(now),
            reset: now,
            local: now,
            watched: false,
        }
    }

    pub const fn limit(&self) -> Limit {
        self.limit
    }

    /// The limit of the key has changed, or not. What the store said under another one is forgotten, but
    /// for the tokens, which are counted already.
    pub fn set_limit(&mut self, limit: Limit) {
        if self.limit != limit {
            self.limit = limit;
            self.refused = None;
        }
    }

    /// A request needs a token.
    pub fn arrive(&mut self, now: Time) {
        self.rate.count(now);
    }

    pub fn standing(&mut self, now: Time) -> Standing {
        self.expire(now);
        if self.held() > 0 {
            return Standing::Ready;
        }
        let patient = self.is_patient(now);
        if !patient && let Some(until) = self.refused_until(now) {
            return Standing::Refused { until };
        }
        if self.has_failed(now) {
            return Standing::Failed;
        }
        if let Some(until) = lasts(self.flight, now) {
            return Standing::InFlight { until };
        }
        match lasts(self.refused, now) {
            Some(until) => Standing::Soon { until },
            None => Standing::Short,
        }
    }

    /// Spends a token, the oldest first; false if none is here.
    pub fn spend(&mut self) -> bool {
        self.aged.spend() || self.fresh.spend()
    }

    /// A request begins to wait.
    pub fn wait(&mut self) {
        self.waiting = self.waiting.saturating_add(1);
    }

    /// A request waits no longer, whatever woke it; it may begin again.
    pub fn wait_no_longer(&mut self) {
        self.waiting = self.waiting.saturating_sub(1);
    }

    /// A request asks: for itself, for those who wait, and for what is to be expected.
    pub fn ask(&mut self, now: Time, patience: Duration) -> Want {
        let real = u64::from(self.waiting).saturating_add(1);
        let wanted = real.saturating_add(u64::from(self.rate.expected(now, LEAD)));
        self.send(real.max(wanted.min(self.share())), now, patience)
    }

    /// Looks after the lease: gives back, tops up before a request has to wait.
    pub fn tick(&mut self, now: Time, patience: Duration) -> Care {
        self.expire(now);
        if lasts(self.flight, now).is_some() || self.has_failed(now) {
            return Care::Rest;
        }
        let expected = u64::from(self.rate.expected(now, LEAD));
        let low = u64::from(self.rate.expected(now, LOW)).max(1);
        let held = self.held();
        let can_be_had = lasts(self.refused, now).is_none();
        if self.is_looked_after() && expected > 0 && held < low && can_be_had {
            let want = expected.saturating_sub(held).clamp(1, self.share());
            let want = want.max(self.waiting.into());
            return Care::Ask(self.send(want, now, patience));
        }
        if self.owed.tokens > 0 {
            return Care::Ask(self.send(0, now, patience));
        }
        if held > 0 || (self.is_looked_after() && expected > 0) {
            Care::Rest
        } else {
            Care::Done
        }
    }

    fn send(&mut self, tokens: u64, now: Time, patience: Duration) -> Want {
        if tokens > 0 {
            self.flight = Some((now, now.plus(patience)));
        }
        let owed = self.owed.take();
        let age_ms =
            u64::try_from(now.since(owed.sent).as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        let in_time = owed.tokens > 0 && now >= owed.latest() && age_ms <= GIVE_BACK_HORIZON_MS;
        Want {
            tokens: tokens.min(MAX_TOKENS),
            give_back: in_time.then_some(GiveBack {
                tokens: u64::from(owed.tokens).min(MAX_TOKENS),
                age_ms,
            }),
        }
    }

    /// The store has answered a call for so many tokens that was sent then.
    pub fn answered(&mut self, reply: &KeyReply, wanted: u64, sent: Time, now: Time) {
        if wanted > 0 {
            self.flight = None;
        }
        if reply.failure.is_some() {
            self.failed = Some(now);
            return;
        }
        self.failed = None;
        let aged = self.fresh.take();
        self.aged.add(aged);
        self.fresh = Batch::new(reply.granted, wanted, sent);
        self.expire(now);
        self.reset = now.plus(Duration::from_millis(reply.reset_ms));
        self.refused = None;
        if reply.retry_after_ms > 0 {
            let wait = Duration::from_millis(reply.retry_after_ms);
            self.run_short(wait, now);
            self.refused = Some((now, now.plus(wait)));
        }
    }

    /// The call never came to an answer.
    pub fn unanswered(&mut self) {
        self.flight = None;
    }

    /// When the key is as if never used.
    pub const fn reset(&self) -> Time {
        self.reset
    }

    /// Lets a request pass on the worker's own share of the limit (R10 `local`), evenly paced; or says when
    /// it can.
    pub fn spend_local(&mut self, percent: u32, now: Time) -> Result<(), Time> {
        let period = u128::from(self.limit.period_ms).saturating_mul(100_000_000);
        let tokens = u128::from(self.limit.tokens)
            .saturating_mul(u128::from(percent))
            .max(1);
        let cost = Duration::from_nanos(u64::try_from(period.div_ceil(tokens)).unwrap_or(u64::MAX));
        let ahead = match self.limit.shape {
            Shape::Paced { .. } => Duration::from_millis(TOLERANCE_MS).max(cost),
            Shape::Window {} => cost,
        };
        // A time further ahead than any spending explains is a clock that stepped back.
        let even = if self.local > now.plus(ahead) {
            now
        } else {
            self.local.max(now)
        };
        let after = even.plus(cost);
        if after > now.plus(ahead) {
            return Err(after.minus(ahead));
        }
        self.local = after;
        Ok(())
    }

    fn has_failed(&self, now: Time) -> bool {
        let until = |failed: Time| failed.plus(AFTER_FAILURE);
        lasts(self.failed.map(|at| (at, until(at))), now).is_some()
    }

    /// The store has no token for this long.
    fn run_short(&mut self, wait: Duration, now: Time) {
        let (first, last) = self.short;
        let goes_on = last <= now && now.since(last) < RELIEF;
        let first = if goes_on { first } else { now };
        // A long wait ends all patience.
        let first = if wait > SPELL {
            first.minus(SPELL)
        } else {
            first
        };
        self.short = (first, now);
    }

    /// Whether the key has run short only now, no more wait for it than may hope, and this worker alone does not
    /// see more than the limit lets pass anywhere.
    fn is_patient(&self, now: Time) -> bool {
        let (first, _) = self.short;
        let most = self.share().saturating_mul(SHARE);
        self.is_looked_after()
            && first <= now
            && now.since(first) < SPELL
            && u64::from(self.waiting) < self.share()
            && u64::from(self.rate.expected(now, TOLERANCE)) <= most
    }

    fn held(&self) -> u64 {
        u64::from(self.aged.tokens).saturating_add(self.fresh.tokens.into())
    }

    /// Moves what may not be spent any more to what is to be given back.
    fn expire(&mut self, now: Time) {
        for batch in [&mut self.aged, &mut self.fresh] {
            if batch.tokens > 0 && !batch.is_alive(now) {
                let dead = batch.take();
                if now >= dead.latest() {
                    self.owed.add(dead);
                }
            }
        }
    }

    /// Most tokens to hold ahead of need.
    fn share(&self) -> u64 {
        let peak = match self.limit.shape {
            Shape::Paced { peak, .. } => peak,
            Shape::Window {} => self.limit.tokens,
        };
        let in_tolerance = u128::from(peak)
            .saturating_mul(u128::from(TOLERANCE_MS))
            .checked_div(u128::from(self.limit.period_ms.saturating_mul(SHARE)))
            .unwrap_or(0);
        u64::try_from(in_tolerance).unwrap_or(u64::MAX).max(1)
    }

    /// Whether more than one token at a time makes sense; below, every admitted request asks.
    fn is_looked_after(&self) -> bool {
        self.share() > 1
    }

    /// Refusals are remembered a little longer than the store said, for the tick to ask first.
    fn refused_until(&self, now: Time) -> Option<Time> {
        let grace = if self.is_looked_after() {
            UNTIL_TICK
        } else {
            Duration::ZERO
        };
        let (learned, until) = self.refused?;
        lasts(Some((learned, until.plus(grace))), now)
    }
}

#[cfg(test)]
mod tests {
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    const PATIENCE: Duration = Duration::from_millis(110);
    const START: Time = Time::from_secs(1_000);

    fn reply(granted: u64, retry_after_ms: u64) -> KeyReply {
        KeyReply {
            granted,
            retry_after_ms,
            remaining: 0,
            reset_ms: 1_000,
            limit: 5,
            failure: None,
        }
    }

    fn after(millis: u64) -> Time {
        START.plus(Duration::from_millis(millis))
    }

    #[test]
    fn a_small_limit_is_asked_for_one_token_at_a_time() {
        let mut lease = Lease::new(Limit::window(5, 60_000), START);
        for _ in 0..100 {
            lease.arrive(START);
        }
        assert_eq!(lease.standing(START), Standing::Short);
        assert_eq!(lease.ask(START, PATIENCE).tokens, 1);
        assert!(matches!(lease.standing(START), Standing::InFlight { .. }));
    }

    #[test]
    fn those_who_wait_are_asked_for_too() {
        let mut lease = Lease::new(Limit::window(5, 60_000), START);
        lease.ask(START, PATIENCE);
        lease.wait();
        lease.wait();
        // Something else woke them.
        lease.wait_no_longer();
        lease.wait();
        lease.answered(&reply(1, 0), 1, START, after(1));
        assert!(lease.spend());
        // One asks, for the other too, which waits again.
        lease.wait_no_longer();
        assert_eq!(lease.ask(after(1), PATIENCE).tokens, 2);
        lease.wait_no_longer();
        lease.wait();
        lease.answered(&reply(2, 0), 2, after(1), after(2));
        lease.wait_no_longer();
        assert!(lease.spend() && lease.spend());
        assert_eq!(lease.ask(after(2), PATIENCE).tokens, 1);
    }

    #[test]
    fn a_refusal_is_remembered_to_the_millisecond() {
        let mut lease = Lease::new(Limit::window(5, 60_000), START);
        lease.ask(START, PATIENCE);
        lease.answered(&reply(0, 4_000), 1, START, START);
        assert_eq!(
            lease.standing(after(3_999)),
            Standing::Refused {
                until: after(4_000)
            }
        );
        assert_eq!(lease.standing(after(4_000)), Standing::Short);
        // A clock that stepped back knows nothing of it.
        assert_eq!(
            lease.standing(START.minus(Duration::from_secs(1))),
            Standing::Short
        );
    }

    /// A lease that gets `per_second` requests for 200 ms, and then no token for a millisecond.
    fn short(per_second: u64) -> Lease {
        let mut lease = Lease::new(Limit::paced(1_000, 1_000), START);
        for request in 0..per_second / 5 {
            let sent = after(request * 1_000 / per_second);
            lease.arrive(sent);
        }
        lease.answered(&reply(0, 1), 1, after(200), after(200));
        lease
    }

    #[test]
    fn a_key_that_runs_short_for_a_moment_is_waited_for() {
        let mut lease = short(500);
        let soon = Standing::Soon { until: after(201) };
        assert_eq!(lease.standing(after(200)), soon);
        assert_eq!(lease.standing(after(201)), Standing::Short);
    }

    #[test]
    fn a_key_that_stays_short_is_over_its_limit() {
        let mut lease = short(500);
        for millis in (220..=380).step_by(20) {
            lease.answered(&reply(1, 1), 1, after(millis), after(millis));
            assert!(lease.spend());
        }
        // Until the tick asks again.
        let refused = Standing::Refused { until: after(431) };
        assert_eq!(lease.standing(after(380)), refused);
        assert_eq!(lease.standing(after(430)), refused);
        // A second without a shortage, and it may be a moment again.
        lease.answered(&reply(0, 1), 1, after(1_380), after(1_380));
        assert!(matches!(
            lease.standing(after(1_380)),
            Standing::Soon { .. }
        ));
    }

    #[test]
    fn nobody_waits_where_one_worker_alone_sees_too_much_or_too_many_wait() {
        let now = after(200);
        assert!(matches!(
            short(5_000).standing(now),
            Standing::Refused { .. }
        ));
        let mut lease = short(500);
        for _ in 0..50 {
            assert!(matches!(lease.standing(now), Standing::Soon { .. }));
            lease.wait();
        }
        assert!(matches!(lease.standing(now), Standing::Refused { .. }));
    }

    #[test]
    fn an_unspent_token_is_given_back_and_not_spent() {
        let mut lease = Lease::new(Limit::window(5, 60_000), START);
        lease.ask(START, PATIENCE);
        lease.answered(&reply(1, 0), 1, START, after(10));
        assert_eq!(lease.standing(after(199)), Standing::Ready);
        assert_eq!(lease.standing(after(200)), Standing::Short);
        assert!(!lease.spend());
        let give_back = GiveBack {
            tokens: 1,
            age_ms: 205,
        };
        assert_eq!(
            lease.tick(after(205), PATIENCE),
            Care::Ask(Want {
                tokens: 0,
                give_back: Some(give_back)
            })
        );
        assert_eq!(lease.tick(after(220), PATIENCE), Care::Done);
    }

    #[test]
    fn a_clock_that_steps_back_takes_tokens_of_unknown_age() {
        let mut lease = Lease::new(Limit::paced(1_000, 1_000), START);
        for sent in [0, 60, 120] {
            lease.answered(&reply(5, 0), 5, after(sent), after(sent));
        }
        assert_eq!(lease.standing(after(130)), Standing::Ready);
        // Two of the calls have not been made yet.
        assert_eq!(lease.standing(after(30)), Standing::Short);
        assert!(!lease.spend());
        assert_eq!(lease.tick(after(130), PATIENCE), Care::Done);
    }

    #[test]
    fn a_busy_lease_is_topped_up_before_it_is_empty() {
        let mut lease = Lease::new(Limit::paced(1_000, 1_000), START);
        let mut now = START;
        for _ in 0..500 {
            now = now.plus(Duration::from_millis(1));
            lease.arrive(now);
        }
        let Want { tokens, .. } = lease.ask(now, PATIENCE);
        assert!((40..=50).contains(&tokens), "{tokens}");
        lease.answered(&reply(10, 0), tokens, now, now);
        let Care::Ask(more) = lease.tick(now, PATIENCE) else {
            panic!("not topped up")
        };
        assert!((30..=40).contains(&more.tokens), "{more:?}");
        assert_eq!(lease.tick(now, PATIENCE), Care::Rest);
        assert_eq!(lease.standing(now), Standing::Ready);
    }

    #[test]
    fn a_store_that_grants_more_than_was_wanted_is_not_believed() {
        let mut lease = Lease::new(Limit::window(5, 60_000), START);
        lease.ask(START, PATIENCE);
        lease.answered(&reply(1_000, 0), 1, START, START);
        assert!(lease.spend());
        assert!(!lease.spend());
    }

    #[test]
    fn an_undecided_key_is_left_alone_for_a_moment() {
        let mut lease = Lease::new(Limit::window(5, 60_000), START);
        lease.ask(START, PATIENCE);
        let failed = KeyReply::failed(wire::limits::Failure::StoreOpen);
        lease.answered(&failed, 1, START, START);
        assert_eq!(lease.standing(after(99)), Standing::Failed);
        assert_eq!(lease.standing(after(100)), Standing::Short);
    }

    #[test]
    fn the_local_share_is_evenly_paced() {
        let mut lease = Lease::new(Limit::window(600, 60_000), START);
        let mut passed = 0;
        for millis in 0..10_000 {
            passed += u64::from(lease.spend_local(10, after(millis)).is_ok());
        }
        assert_eq!(passed, 10);
        let early = after(5_000);
        assert!(
            lease.spend_local(10, early).is_ok(),
            "a clock that stepped back ends no service"
        );
        let until = lease.spend_local(10, early).unwrap_err();
        assert_eq!(until, after(6_000));
    }
}

/// Any order of events, against a model that keeps every token by itself.
#[cfg(test)]
#[cfg(not(target_arch = "wasm32"))]
mod model {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Request,
        /// The oldest call under way is answered: so much of it granted, so long a refusal.
        Answer {
            percent: u64,
            retry_after_ms: u64,
        },
        /// It never is.
        Lose,
        Undecided,
        Tick,
        Pass(u64),
        Back(u64),
        Limit(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            8 => Just(Step::Request),
            6 => (0_u64..=120, prop_oneof![Just(0_u64), 0_u64..2_000])
                .prop_map(|(percent, retry_after_ms)| Step::Answer { percent, retry_after_ms }),
            1 => Just(Step::Lose),
            1 => Just(Step::Undecided),
            4 => Just(Step::Tick),
            6 => (0_u64..150).prop_map(Step::Pass),
            1 => (0_u64..100_000).prop_map(Step::Pass),
            1 => prop_oneof![0_u64..300, 0_u64..100_000].prop_map(Step::Back),
            1 => (1_u64..10_000).prop_map(Step::Limit),
        ]
    }

    /// Tokens by the time at which the call was sent that took them, and calls under way.
    #[derive(Default)]
    struct Model {
        tokens: Vec<Time>,
        calls: Vec<(u64, Time)>,
        given_back: u64,
        granted: u64,
        spent: u64,
    }

    impl Model {
        /// Spends one that is young enough; there must be one.
        fn spend(&mut self, now: Time) {
            let young = |sent: &Time| *sent <= now && now.since(*sent) < LEASE_LIFE;
            let oldest = (0..self.tokens.len())
                .filter(|at| young(&self.tokens[*at]))
                .min_by_key(|at| self.tokens[*at]);
            let at = oldest.expect("a token was spent that nobody had, or that was too old");
            self.tokens.swap_remove(at);
            self.spent += 1;
        }

        /// Gives back tokens not older than was said; there must be that many.
        fn give_back(&mut self, give_back: GiveBack, now: Time) {
            let said = Duration::from_millis(give_back.age_ms);
            assert!(give_back.age_ms <= GIVE_BACK_HORIZON_MS);
            for _ in 0..give_back.tokens {
                let oldest = (0..self.tokens.len())
                    .filter(|at| now.since(self.tokens[*at]) <= said)
                    .min_by_key(|at| self.tokens[*at]);
                let at =
                    oldest.expect("a token was given back that nobody had, or older than said");
                self.tokens.swap_remove(at);
                self.given_back += 1;
            }
        }

        fn sent(&mut self, want: Want, now: Time) {
            if let Some(give_back) = want.give_back {
                self.give_back(give_back, now);
            }
            if want.tokens > 0 {
                self.calls.push((want.tokens, now));
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn no_token_is_spent_twice_too_late_or_out_of_thin_air(
            steps in prop::collection::vec(step(), 1..200),
            tokens in 1_u64..5_000,
        ) {
            let patience = Duration::from_millis(110);
            let mut now = Time::from_secs(1_000_000);
            let mut lease = Lease::new(Limit::paced(tokens, 1_000), now);
            let mut model = Model::default();
            for step in steps {
                match step {
                    Step::Request => {
                        lease.arrive(now);
                        match lease.standing(now) {
                            Standing::Ready => {
                                prop_assert!(lease.spend());
                                model.spend(now);
                            }
                            Standing::Short => {
                                let want = lease.ask(now, patience);
                                prop_assert!(want.tokens > 0);
                                model.sent(want, now);
                            }
                            Standing::InFlight { until } | Standing::Soon { until } => {
                                prop_assert!(until > now);
                                lease.wait();
                            }
                            Standing::Refused { until } => prop_assert!(until > now),
                            Standing::Failed => {}
                        }
                    }
                    Step::Answer { percent, retry_after_ms } if !model.calls.is_empty() => {
                        let (wanted, sent) = model.calls.remove(0);
                        let granted = wanted * percent / 100;
                        let reply = KeyReply { granted, retry_after_ms, ..KeyReply::default() };
                        lease.answered(&reply, wanted, sent, now);
                        let believed = granted.min(wanted);
                        model.granted += believed;
                        model.tokens.extend((0..believed).map(|_| sent));
                    }
                    Step::Undecided if !model.calls.is_empty() => {
                        let (wanted, sent) = model.calls.remove(0);
                        let failed = KeyReply::failed(wire::limits::Failure::StoreTimeout);
                        lease.answered(&failed, wanted, sent, now);
                    }
                    Step::Lose if !model.calls.is_empty() => {
                        model.calls.remove(0);
                        lease.unanswered();
                    }
                    Step::Tick => {
                        if let Care::Ask(want) = lease.tick(now, patience) {
                            model.sent(want, now);
                        }
                    }
                    Step::Pass(millis) => now = now.plus(Duration::from_millis(millis)),
                    Step::Back(millis) => now = now.minus(Duration::from_millis(millis)),
                    Step::Limit(tokens) => lease.set_limit(Limit::paced(tokens, 1_000)),
                    Step::Answer { .. } | Step::Undecided | Step::Lose => {}
                }
                prop_assert!(model.spent + model.given_back <= model.granted);
            }
        }

        #[test]
        fn whatever_happened_a_request_is_served_again_within_ten_seconds(
            steps in prop::collection::vec(step(), 1..100),
        ) {
            let patience = Duration::from_millis(110);
            let mut now = Time::from_secs(1_000_000);
            let mut latest = now;
            let mut lease = Lease::new(Limit::paced(100, 1_000), now);
            for step in steps {
                match step {
                    Step::Request => {
                        lease.arrive(now);
                        if lease.standing(now) == Standing::Short {
                            lease.ask(now, patience);
                        }
                    }
                    Step::Answer { percent, retry_after_ms } => {
                        let reply = KeyReply { granted: percent, retry_after_ms, ..KeyReply::default() };
                        lease.answered(&reply, 100, now, now);
                    }
                    Step::Tick => {
                        lease.tick(now, patience);
                    }
                    Step::Pass(millis) => {
                        now = now.plus(Duration::from_millis(millis));
                        latest = latest.max(now);
                    }
                    Step::Back(millis) => now = now.minus(Duration::from_millis(millis)),
                    _ => {}
                }
            }
            // Longer than any refusal, on a clock that is right again.
            now = latest.plus(Duration::from_secs(10));
            prop_assert_eq!(lease.standing(now), Standing::Short);
            lease.ask(now, patience);
            lease.answered(&KeyReply { granted: 1, ..KeyReply::default() }, 1, now, now);
            prop_assert_eq!(lease.standing(now), Standing::Ready);
        }
    }
}
