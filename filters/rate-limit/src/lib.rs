//! How often may they? Limits that hold over any number of gateways (R1–R19).
//!
//! A worker takes tokens from redis-proxy ahead of need and spends them without a hop; what the store
//! refused it remembers. The order of events: rules are matched, keys are looked up, a known refusal ends it,
//! the body is read if a limit counts by it, missing tokens are asked for, and only a request that has
//! a token of every limit spends any. See `README.md` for the options and the codes of all refusals.

#![cfg_attr(test, allow(clippy::arithmetic_side_effects, clippy::string_slice))]

mod acquire;
mod body;
mod breaker;
mod config;
mod dimension;
mod keeper;
mod lease;
mod lease_table;
mod limit_text;
mod load;
mod metric;
mod need;
mod rate;
mod reply;
mod rule;
mod tiers;

use std::time::Duration;

use policy::path::canonical;
use policy::{Cx, Event, Fault, Head, Level, Phases, Policy, Reply, Time, Verdict};

pub use config::{Config, Raw};
pub use keeper::LimitKeeper;
pub use metric::{LimitMetric, Whose};

use crate::acquire::{Asked, Batch};
use crate::keeper::patience;
use crate::lease::Standing;
use crate::lease_table::Slot;
use crate::need::{BodyValues, Need};
use crate::reply::Exhausted;
use crate::rule::{OnFailure, Rule, RuleLimit};

/// A request asks for no more rounds of tokens than this: others may spend what it waited for.
const MAX_ASKS: u8 = 4;
/// A request waits for redis-proxy no longer than so many timeouts, whoever asks.
const MAX_TIMEOUTS: u32 = 4;

/// The filter: one value per request.
#[derive(Debug)]
pub struct RateLimit {
    waits_for: Option<WaitsFor>,
    /// The gateway cannot hold a request without a callout of its own.
    must_ask: bool,
    asks: u8,
    /// When it first waited.
    waits_since: Option<Time>,
    /// Values of the body, once it was read.
    bodies: Option<BodyValues>,
    /// The upstream to watch, and since when.
    watches: Option<(usize, Time)>,
}

/// Why the request is held.
#[derive(Debug)]
enum WaitsFor {
    /// Its own call.
    Own(Asked),
    /// Somebody else's, or for tokens to be had again: counted by these leases.
    Other(Vec<Slot>),
}

impl Policy for RateLimit {
    const NAME: &'static str = "rate_limit";
    const PHASES: Phases = Phases::CALLOUTS
        .with(Phases::TICK)
        .with(Phases::REQUEST_BODY)
        .with(Phases::RESPONSE_STATUS);
    type Config = Config;
    type Keeper = LimitKeeper;
    type Metric = LimitMetric;
    const WAITS: bool = true;
    const CODES: &'static [&'static str] = reply::CODES;

    fn new() -> Self {
        Self {
            waits_for: None,
            must_ask: false,
            asks: 0,
            waits_since: None,
            bodies: None,
            watches: None,
        }
    }

    fn series(_: &Config) -> Vec<LimitMetric> {
        LimitMetric::from_the_start()
    }

    fn on_request(&mut self, event: Event<'_>, cx: &mut Cx<'_, Self>) -> Result<Verdict, Fault> {
        if cx.now == Time::EPOCH {
            return Err(Fault::Gateway("the time"));
        }
        let first = matches!(event, Event::Headers);
        match (event, self.waits_for.take()) {
            (Event::Headers, _) => {}
            (Event::Body(body), _) => self.bodies = Some(need::read_body(body, cx.config)),
            (Event::Answer(answer), Some(WaitsFor::Own(asked))) => {
                cx.keeper.settle(&asked, answer, cx.now, cx.effects);
            }
            (Event::Answer(_), Some(WaitsFor::Other(slots))) => {
                // The gateway cannot hold the request without a call of its own.
                self.must_ask = true;
                cx.keeper.wait_no_longer(&slots);
            }
            (Event::Woke, Some(WaitsFor::Other(slots))) => cx.keeper.wait_no_longer(&slots),
            (Event::Woke, _) => {}
            (Event::Answer(_), None) => return Err(Fault::Unexpected("an answer")),
        }
        let Some(Ok(path)) = cx.request.path_and_query().map(canonical) else {
            return Ok(Verdict::Deny(reply::ambiguous_path()));
        };
        let mut needs = std::mem::take(&mut cx.keeper.needs);
        needs.clear();
        let verdict = self.decide(&path, first, &mut needs, cx);
        cx.keeper.needs = needs;
        verdict
    }

    fn reads_body(config: &Config) -> bool {
        config.reads_body()
    }

    fn watches_response(&self) -> bool {
        self.watches.is_some()
    }

    fn on_response(&mut self, response: &Head, cx: &mut Cx<'_, Self>) {
        if let Some((upstream, since)) = self.watches.take() {
            let took = cx.now.since(since);
            cx.keeper.load.note(upstream, response.status(), took);
        }
    }

    fn on_done(&mut self, cx: &mut Cx<'_, Self>) {
        // Its client hung up, if it still waits.
        match self.waits_for.take() {
            Some(WaitsFor::Own(asked)) => {
                // Those who wait for its call have to ask for themselves.
                cx.keeper.abandon(&asked);
                cx.effects.wake = true;
            }
            Some(WaitsFor::Other(slots)) => cx.keeper.wait_no_longer(&slots),
            None => {}
        }
    }
}

impl RateLimit {
    /// Decides from the start, on what is known by now. Spends nothing until it is final.
    fn decide(
        &mut self,
        path: &str,
        first: bool,
        needs: &mut Vec<Need>,
        cx: &mut Cx<'_, Self>,
    ) -> Result<Verdict, Fault> {
        let gathered = need::gather(path, self.bodies.as_ref(), first, needs, cx)?;
        let blind = cx.keeper.breaker.is_open() || self.is_tired(cx);
        for need in needs.iter_mut() {
            if let Some(lease) = cx.keeper.leases.get_mut(need.slot) {
                need.standing = match lease.standing(cx.now) {
                    Standing::Short | Standing::InFlight { .. } if blind => Standing::Failed,
                    Standing::Soon { until } if blind => Standing::Refused { until },
                    standing => standing,
                };
            }
        }
        if let Some((need, until)) = strictest(needs, cx.config, false) {
            return refuse(need, until, self.waits_since.is_some(), cx);
        }
        if gathered.missing {
            return Ok(Verdict::Deny(reply::missing()));
        }
        if let Some(at_most) = gathered.body {
            return Ok(Verdict::ReadBody { at_most });
        }
        if let Some(verdict) = self.obtain(needs, cx)? {
            return Ok(verdict);
        }
        if let Some(reply) = fall_back(needs, cx)? {
            return Ok(Verdict::Deny(reply));
        }
        if let Some((need, _)) = strictest(needs, cx.config, true) {
            note_shadow(need, cx);
        }
        for need in needs.iter().filter(|need| need.standing == Standing::Ready) {
            if let Some(lease) = cx.keeper.leases.get_mut(need.slot) {
                lease.spend();
            }
        }
        self.watches = gathered.adaptive.map(|upstream| (upstream, cx.now));
        Ok(Verdict::Allow)
    }

    /// Whether the request has waited for long enough.
    fn is_tired(&self, cx: &Cx<'_, Self>) -> bool {
        let longest = cx.config.proxy.timeout().saturating_mul(MAX_TIMEOUTS);
        self.asks >= MAX_ASKS
            || self
                .waits_since
                .is_some_and(|since| cx.now.since(since) >= longest)
    }

    /// Asks for the tokens that are missing, or waits for those who do. `None` if nothing is missing.
    fn obtain(&mut self, needs: &[Need], cx: &mut Cx<'_, Self>) -> Result<Option<Verdict>, Fault> {
        let (config, now) = (cx.config, cx.now);
        let keeper = &mut *cx.keeper;
        let mut batch = Batch::default();
        let mut awaited: Option<Time> = None;
        for need in needs {
            match need.standing {
                Standing::Short => {}
                Standing::InFlight { .. } | Standing::Soon { .. } if self.must_ask => {}
                Standing::InFlight { until } | Standing::Soon { until } => {
                    awaited = Some(awaited.map_or(until, |other| other.min(until)));
                    continue;
                }
                _ => continue,
            }
            let Some((_, limit)) = need.of(config) else {
                return Err(Fault::Unexpected("a need without a rule"));
            };
            let Some(space) = config.spaces.get(usize::from(limit.space)) else {
                return Err(Fault::Unexpected("a limit without a dimension"));
            };
            let Some(lease) = keeper.leases.get_mut(need.slot) else {
                return Err(Fault::Unexpected("a need without a lease"));
            };
            let want = lease.ask(now, patience(&config.proxy));
            let allowed = lease.limit();
            keeper.leases.watch(need.slot);
            if let Some(key) = keeper.leases.key(need.slot)
                && let Some((_, value)) = need::split_key(key)
            {
                batch.add(key, &space.dim, value, allowed, want);
            }
        }
        if self.waits_since.is_none() && (awaited.is_some() || !batch.is_empty()) {
            self.waits_since = Some(now);
            cx.effects.count(LimitMetric::Hops);
        }
        if let Some((callout, asked)) = batch.send(&config.proxy, now) {
            cx.effects.count(LimitMetric::Calls { by: "request" });
            self.asks = self.asks.saturating_add(1);
            self.waits_for = Some(WaitsFor::Own(asked));
            return Ok(Some(Verdict::Call(callout)));
        }
        let Some(until) = awaited else {
            return Ok(None);
        };
        let waits = |need: &&Need| {
            matches!(
                need.standing,
                Standing::InFlight { .. } | Standing::Soon { .. }
            )
        };
        let slots: Vec<Slot> = needs.iter().filter(waits).map(|need| need.slot).collect();
        for slot in &slots {
            if let Some(lease) = keeper.leases.get_mut(*slot) {
                lease.wait();
            }
        }
        self.waits_for = Some(WaitsFor::Other(slots));
        Ok(Some(Verdict::Await { until }))
    }
}

/// The refusal that lasts longest, of rules that are in shadow mode or of those that are not.
fn strictest(needs: &[Need], config: &Config, shadow: bool) -> Option<(Need, Time)> {
    needs
        .iter()
        .filter(|need| {
            need.of(config)
                .is_some_and(|(rule, _)| rule.shadow == shadow)
        })
        .filter_map(|need| match need.standing {
            Standing::Refused { until } => Some((*need, until)),
            _ => None,
        })
        .max_by_key(|(_, until)| *until)
}

fn refuse(
    need: Need,
    until: Time,
    asked: bool,
    cx: &mut Cx<'_, RateLimit>,
) -> Result<Verdict, Fault> {
    let Some((rule, limit)) = need.of(cx.config) else {
        return Err(Fault::Unexpected("a need without a rule"));
    };
    let by = if asked { "store" } else { "local" };
    cx.effects.count(LimitMetric::Refusals { by });
    let whose = whose(limit, cx);
    cx.effects.count(LimitMetric::Throttled(whose));
    Ok(Verdict::Deny(exhausted(need, rule, limit, until, cx)))
}

fn exhausted(
    need: Need,
    rule: &Rule,
    limit: &RuleLimit,
    until: Time,
    cx: &mut Cx<'_, RateLimit>,
) -> Reply {
    let now = cx.now;
    let (allowed, reset) = match cx.keeper.leases.get_mut(need.slot) {
        Some(lease) => (lease.limit(), lease.reset().since(now)),
        None => (limit.limit, Duration::ZERO),
    };
    let dim = cx.config.spaces.get(usize::from(limit.space));
    reply::exhausted(Exhausted {
        status: rule.reject_status,
        dim: dim.map_or("", |space| &space.dim),
        limit: allowed,
        retry_after: until.since(now),
        reset,
    })
}

/// What becomes of the request where a limit cannot be known (R10); `None` if it may pass.
fn fall_back(needs: &[Need], cx: &mut Cx<'_, RateLimit>) -> Result<Option<Reply>, Fault> {
    let method = cx.request.method();
    let mut degraded = None;
    let failed = |need: &&Need| need.standing == Standing::Failed;
    for need in needs.iter().filter(failed) {
        let Some((rule, _)) = need.of(cx.config) else {
            return Err(Fault::Unexpected("a need without a rule"));
        };
        let mode = rule.on_failure.for_method(method);
        if mode == OnFailure::Deny && !rule.shadow {
            cx.effects.count(LimitMetric::Degraded { mode: "deny" });
            return Ok(Some(reply::unavailable()));
        }
        degraded.get_or_insert("allow");
    }
    for need in needs.iter().filter(failed) {
        let Some((rule, limit)) = need.of(cx.config) else {
            continue;
        };
        let OnFailure::Local { percent } = rule.on_failure else {
            continue;
        };
        degraded = Some("local");
        let Some(lease) = cx.keeper.leases.get_mut(need.slot) else {
            continue;
        };
        match lease.spend_local(percent, cx.now) {
            Err(_) if rule.shadow => note_shadow(*need, cx),
            Err(until) => {
                cx.effects.count(LimitMetric::Degraded { mode: "local" });
                let whose = whose(limit, cx);
                cx.effects.count(LimitMetric::Throttled(whose));
                return Ok(Some(exhausted(*need, rule, limit, until, cx)));
            }
            Ok(()) => {}
        }
    }
    if let Some(mode) = degraded {
        cx.effects.count(LimitMetric::Degraded { mode });
    }
    Ok(None)
}

fn note_shadow(need: Need, cx: &mut Cx<'_, RateLimit>) {
    let Some((_, limit)) = need.of(cx.config) else {
        return;
    };
    let whose = whose(limit, cx);
    let line = format!("rate_limit: would deny dimension={}", whose.dimension);
    cx.effects.log(Level::Info, line);
    cx.effects.count(LimitMetric::Shadowed(whose));
}

/// The labels of R6. Only tenants that the tier table names are named.
fn whose(limit: &RuleLimit, cx: &Cx<'_, RateLimit>) -> Whose {
    let tiers = &cx.keeper.tiers;
    let tenant = cx
        .request
        .first_str(&cx.config.tenant_header)
        .filter(|name| !name.is_empty());
    let dimension = cx.config.spaces.get(usize::from(limit.space));
    Whose {
        dimension: dimension.map_or_else(|| "".into(), |space| space.label.clone()),
        tenant: match tenant {
            Some(name) if tiers.knows(name) => name.into(),
            Some(_) => "other".into(),
            None => "".into(),
        },
        tier: tiers.tier(tenant).unwrap_or_default().into(),
    }
}

#[cfg(all(target_arch = "wasm32", target_os = "wasi", feature = "module"))]
host::main!(RateLimit, callouts, tick, request_body, response_status);
