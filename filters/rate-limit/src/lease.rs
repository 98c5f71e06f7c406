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
    /// From the time that it was learned, until.
    refused: Option<(Time, Time)>,
    failed: Option<(Time, Time)>,
    /// A call is under way; nobody waits longer for it.
    flight: Option<(Time, Time)>,
    /// Requests that wait for that call.
    waiting: u32,
    rate: Rate,
    reset: Time,
    /// When the local share is even with its pace (GCRA).
    local: Time,
    /// Ticks look after it.
    pub watched: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Batch {
    tokens: u64,
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
    /// Spendable at this time.
    fn is_alive(self, now: Time) -> bool {
        now >= self.sent && now.since(self.sent) < LEASE_LIFE
    }

    fn add(&mut self, other: Self) {
        *self = match (self.tokens, other.tokens) {
            (0, _) => other,
            (_, 0) => *self,
            _ => Self {
                tokens: self.tokens.saturating_add(other.tokens),
                sent: self.sent.min(other.sent),
            },
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
        if let Some(until) = lasts(self.refused, now) {
            return Standing::Refused { until };
        }
        if lasts(self.failed, now).is_some() {
            return Standing::Failed;
        }
        match lasts(self.flight, now) {
            Some(until) => Standing::InFlight { until },
            None => Standing::Short,
        }
    }

    /// Spends a token, the oldest first; false if none is here.
    pub fn spend(&mut self) -> bool {
        self.aged.spend() || self.fresh.spend()
    }

    /// A request waits for the call that is under way.
    pub fn wait(&mut self) {
        self.waiting = self.waiting.saturating_add(1);
    }

    /// A request asks: for itself, for those who wait, and for what is to be expected.
    pub fn ask(&mut self, now: Time, patience: Duration) -> Want {
        let real = u64::from(std::mem::take(&mut self.waiting)).saturating_add(1);
        let wanted = real.saturating_add(u64::from(self.rate.expected(now, LEAD)));
        self.send(real.max(wanted.min(self.share())), now, patience)
    }

    /// Looks after the lease: gives back, tops up before a request has to wait.
    pub fn tick(&mut self, now: Time, patience: Duration) -> Care {
        self.expire(now);
        if lasts(self.flight, now).is_some() || lasts(self.failed, now).is_some() {
            return Care::Rest;
        }
        let expected = u64::from(self.rate.expected(now, LEAD));
        let low = u64::from(self.rate.expected(now, LOW)).max(1);
        let held = self.held();
        let can_be_had = self.refused.is_none_or(|(from, until)| {
            // Refusals are kept a little longer than the store said, for the tick to come first.
            now < from || now >= until.minus(self.grace())
        });
        if self.is_looked_after() && expected > 0 && held < low && can_be_had {
            let want = expected.saturating_sub(held).clamp(1, self.share());
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
        let in_time = owed.tokens > 0 && now >= owed.sent && age_ms <= GIVE_BACK_HORIZON_MS;
        Want {
            tokens: tokens.min(MAX_TOKENS),
            give_back: in_time.then_some(GiveBack {
                tokens: owed.tokens.min(MAX_TOKENS),
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
            self.failed = Some((now, now.plus(AFTER_FAILURE)));
            return;
        }
        self.failed = None;
        let aged = self.fresh.take();
        self.aged.add(aged);
        self.fresh = Batch {
            // A store that grants more than was wanted is not believed.
            tokens: reply.granted.min(wanted),
            sent,
        };
        self.expire(now);
        self.reset = now.plus(Duration::from_millis(reply.reset_ms));
        self.refused = (reply.retry_after_ms > 0).then(|| {
            let wait = Duration::from_millis(reply.retry_after_ms);
            (now, now.plus(wait).plus(self.grace()))
        });
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

    fn held(&self) -> u64 {
        self.aged.tokens.saturating_add(self.fresh.tokens)
    }

    /// Moves what may not be spent any more to what is to be given back.
    fn expire(&mut self, now: Time) {
        for batch in [&mut self.aged, &mut self.fresh] {
            if batch.tokens > 0 && !batch.is_alive(now) {
                let dead = batch.take();
                if now >= dead.sent {
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

    fn grace(&self) -> Duration {
        if self.is_looked_after() {
            UNTIL_TICK
        } else {
            Duration::ZERO
        }
    }
}
