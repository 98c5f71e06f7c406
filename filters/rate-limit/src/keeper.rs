//! What outlives a request: leases, the tier table, how the upstreams fare.

use std::time::Duration;

use policy::{Answer, CalloutError, Effects, Head, Keeper, KeeperCx, Level, Sample, Service, Time};
use wire::limits::{KeyReply, Limit};

use crate::acquire::{self, Asked, Batch, Ended};
use crate::breaker::Breaker;
use crate::config::Config;
use crate::lease::{Care, TICK};
use crate::lease_table::{LeaseTable, Slot};
use crate::load::Load;
use crate::metric::LimitMetric;
use crate::need::{Need, split_key};
use crate::rule::{Rule, RuleLimit};
use crate::tiers::Tiers;

/// Leases that one tick looks after.
const TENDED: usize = 1_024;
/// Calls for tokens that one tick makes.
const CALLS: usize = 4;
/// An answer is waited for a little longer than the gateway does.
const SLACK: Duration = Duration::from_millis(50);
const GAUGES_EVERY: Duration = Duration::from_secs(1);

const TIERS: u32 = 0;
const LOAD: u32 = 1;
const PROBE: u32 = 2;
/// Calls for tokens are numbered from here.
const FIRST_CALL: u32 = 16;

/// The memory of one configuration in one worker.
#[derive(Debug)]
pub struct LimitKeeper {
    pub(crate) leases: LeaseTable,
    pub(crate) breaker: Breaker,
    pub(crate) tiers: Tiers,
    pub(crate) load: Load,
    /// Where keys are written, so that looking one up allocates nothing.
    pub(crate) scratch: Vec<u8>,
    /// Where the needs of a request are noted.
    pub(crate) needs: Vec<Need>,
    /// Calls of ticks that are under way.
    calls: Vec<(u32, Asked)>,
    next_call: u32,
    gauges: Option<Time>,
}

/// How long anybody waits for a call that is under way.
pub(crate) fn patience(proxy: &Service) -> Duration {
    proxy.timeout().saturating_add(SLACK)
}

impl Keeper<Config, LimitMetric> for LimitKeeper {
    fn new(config: &Config, _: Time) -> Self {
        Self {
            leases: LeaseTable::new(config.capacity),
            breaker: Breaker::default(),
            tiers: Tiers::default(),
            load: Load::new(config.upstreams.len()),
            scratch: Vec::new(),
            needs: Vec::new(),
            calls: Vec::new(),
            next_call: FIRST_CALL,
            gauges: None,
        }
    }

    fn tick_every(_: &Config) -> Option<Duration> {
        Some(TICK)
    }

    fn on_tick(&mut self, cx: &mut KeeperCx<'_, Config, LimitMetric>) {
        let (proxy, now) = (&cx.config.proxy, cx.now);
        if self.breaker.is_open() {
            if self.breaker.probe(now)
                && let Some((callout, _)) = Batch::probe().send(proxy, now)
            {
                cx.calls.push((PROBE, callout));
            }
        } else {
            self.tend(cx);
        }
        if cx.config.has_tiers
            && let Some(callout) = self.tiers.pull(proxy, now)
        {
            cx.calls.push((TIERS, callout));
        }
        if let Some(callout) = self.load.report(&cx.config.upstreams, proxy, now) {
            cx.calls.push((LOAD, callout));
        }
        if self
            .gauges
            .is_none_or(|last| now < last || now.since(last) >= GAUGES_EVERY)
        {
            self.gauges = Some(now);
            let keys = u64::try_from(self.leases.len()).unwrap_or(u64::MAX);
            cx.effects.record(LimitMetric::Keys, keys);
            let up = u64::from(!self.breaker.is_open());
            cx.effects.record(LimitMetric::ProxyUp, up);
        }
    }

    fn on_answer(
        &mut self,
        tag: u32,
        answer: Result<Answer<'_>, CalloutError>,
        cx: &mut KeeperCx<'_, Config, LimitMetric>,
    ) {
        match tag {
            TIERS => {
                let pulled = self.tiers.store(answer, cx.now);
                cx.effects
                    .count(LimitMetric::TierPulls { ok: pulled.is_ok() });
                if let Err(reason) = pulled {
                    let line = format!("rate_limit: the tier table was not pulled: {reason}");
                    cx.effects.log(Level::Warn, line);
                }
            }
            LOAD => {
                if !self.load.store(answer) {
                    let line = "rate_limit: the load was not reported";
                    cx.effects.log(Level::Warn, line);
                }
            }
            PROBE => match acquire::read(answer, 1) {
                Ended::Answered(_) | Ended::Undecided(_) => self.proxy_works(cx.effects),
                Ended::Silent(_) => {}
            },
            call => {
                let Some(at) = self.calls.iter().position(|(tag, _)| *tag == call) else {
                    return;
                };
                let (_, asked) = self.calls.swap_remove(at);
                self.settle(&asked, answer, cx.now, cx.effects);
            }
        }
    }
}

impl LimitKeeper {
    /// The limit that a rule sets for a request: the tenant's by its tier (R3), less while the upstream suffers
    /// (R19).
    pub(crate) fn limit_of(
        &self,
        rule: &Rule,
        limit: &RuleLimit,
        request: &Head,
        config: &Config,
    ) -> Limit {
        if !limit.tiers && rule.adaptive.is_none() {
            return limit.limit;
        }
        let tenant = request.first_str(&config.tenant_header);
        let full = tenant
            .filter(|_| limit.tiers)
            .and_then(|tenant| self.tiers.limit(tenant))
            .unwrap_or(limit.limit);
        let Some(upstream) = rule.adaptive.and_then(|index| config.upstreams.get(index)) else {
            return full;
        };
        let tier = self.tiers.tier(tenant).unwrap_or_default();
        full.scaled(self.load.permille(upstream, tier))
    }

    /// Gives back and tops up.
    fn tend(&mut self, cx: &mut KeeperCx<'_, Config, LimitMetric>) {
        let (config, now) = (cx.config, cx.now);
        let patience = patience(&config.proxy);
        let mut batches = vec![Batch::default()];
        let mut given_back = 0_u64;
        self.leases.tend(TENDED, |key, lease| {
            if batches.last().is_none_or(Batch::is_full) {
                if batches.len() >= CALLS {
                    return None;
                }
                batches.push(Batch::default());
            }
            match lease.tick(now, patience) {
                Care::Rest => Some(true),
                Care::Done => Some(false),
                Care::Ask(want) => {
                    given_back = given_back
                        .saturating_add(want.give_back.map_or(0, |give_back| give_back.tokens));
                    let (space, value) = split_key(key)?;
                    let dim = &config.spaces.get(space)?.dim;
                    batches
                        .last_mut()?
                        .add(key, dim, value, lease.limit(), want);
                    Some(true)
                }
            }
        });
        if given_back > 0 {
            cx.effects.samples.push(Sample {
                metric: LimitMetric::GivenBack,
                value: given_back,
            });
        }
        for batch in batches.into_iter().filter(|batch| !batch.is_empty()) {
            let Some((callout, asked)) = batch.send(&config.proxy, now) else {
                continue;
            };
            let tag = self.next_call;
            self.next_call = self.next_call.wrapping_add(1).max(FIRST_CALL);
            self.calls.push((tag, asked));
            cx.calls.push((tag, callout));
            cx.effects.count(LimitMetric::Calls { by: "tick" });
        }
    }

    /// Takes the end of a call for tokens, whoever made it.
    pub(crate) fn settle(
        &mut self,
        asked: &Asked,
        answer: Result<Answer<'_>, CalloutError>,
        now: Time,
        effects: &mut Effects<LimitMetric>,
    ) {
        effects.wake = true;
        match acquire::read(answer, asked.keys.len()) {
            Ended::Answered(replies) => {
                self.proxy_works(effects);
                let mut granted = 0_u64;
                for ((key, wanted), reply) in asked.keys.iter().zip(&replies) {
                    granted = granted.saturating_add(reply.granted.min(*wanted));
                    if let Some(failure) = reply.failure {
                        let reason = failure.code();
                        effects.count(LimitMetric::Failures { reason });
                    }
                    if let Some(lease) = self.leases.find(key) {
                        lease.answered(reply, *wanted, asked.sent, now);
                    }
                }
                effects.samples.push(Sample {
                    metric: LimitMetric::Granted,
                    value: granted,
                });
            }
            Ended::Undecided(failure) => {
                self.proxy_works(effects);
                let reason = failure.code();
                effects.count(LimitMetric::Failures { reason });
                let reply = KeyReply::failed(failure);
                for (key, wanted) in &asked.keys {
                    if let Some(lease) = self.leases.find(key) {
                        lease.answered(&reply, *wanted, asked.sent, now);
                    }
                }
            }
            Ended::Silent(reason) => {
                effects.count(LimitMetric::Failures { reason });
                if !self.breaker.is_open() {
                    effects.record(LimitMetric::ProxyUp, 0);
                    effects.log(
                        Level::Warn,
                        format!("rate_limit: redis-proxy does not answer ({reason})"),
                    );
                }
                self.breaker.failed(now);
                self.abandon(asked);
            }
        }
    }

    /// A request that waited for tokens of these leases does so no longer.
    pub(crate) fn wait_no_longer(&mut self, slots: &[Slot]) {
        for slot in slots {
            if let Some(lease) = self.leases.get_mut(*slot) {
                lease.wait_no_longer();
            }
        }
    }

    /// Nobody is left to take the answer.
    pub(crate) fn abandon(&mut self, asked: &Asked) {
        for (key, _) in &asked.keys {
            if let Some(lease) = self.leases.find(key) {
                lease.unanswered();
            }
        }
    }

    fn proxy_works(&mut self, effects: &mut Effects<LimitMetric>) {
        if self.breaker.is_open() {
            effects.record(LimitMetric::ProxyUp, 1);
            effects.log(Level::Info, "rate_limit: redis-proxy answers again");
        }
        self.breaker.worked();
    }
}
