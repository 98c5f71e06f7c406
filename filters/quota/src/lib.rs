//! Is there any quota left? Alerts or refuses when a tenant has used up what it may (Q2, Q3).
//!
//! What is used is counted elsewhere, told to redis-proxy by events, and asked of it by ticks: a request of a tenant
//! that is known costs no hop. The order of events: the first rule that matches is taken, the tenant is looked up in
//! memory, and only where the rule says so does a request wait for redis-proxy. See `README.md` for the
//! options and the codes of all refusals.

#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unwrap_used
    )
)]

mod config;
mod keeper;
mod lookup;
mod metric;
mod reply;
mod tenants;

use std::rc::Rc;

use policy::path::canonical;
use policy::{Cx, Event, Fact, Fault, Head, Phases, Policy, Time, Verdict};
use wire::quota::{Quota as Record, is_tenant};

pub use config::{Config, Mode, Raw};
pub use keeper::QuotaKeeper;
pub use metric::{Found, QuotaMetric};

use crate::config::{OnUnknown, Otherwise, Rule};
use crate::keeper::patience;
use crate::tenants::Standing;

/// A request waits no longer than so many timeouts, whoever asks.
const MAX_TIMEOUTS: u32 = 2;

/// The filter: one value per request.
#[derive(Debug)]
pub struct Quota {
    waits_for: Option<WaitsFor>,
    /// The gateway cannot hold a request without a callout of its own.
    must_ask: bool,
    /// It has asked, and been answered or not.
    has_asked: bool,
    /// When it first waited.
    waits_since: Option<Time>,
    /// What the response is to say.
    shown: Option<Rc<Record>>,
}

/// Why the request is held.
#[derive(Debug)]
enum WaitsFor {
    /// Its own question, about this tenant.
    Own(Rc<str>),
    /// Somebody else's.
    Other,
}

impl Policy for Quota {
    const NAME: &'static str = "quota";
    const PHASES: Phases = Phases::CALLOUTS.with(Phases::TICK).with(Phases::RESPONSE);
    type Config = Config;
    type Keeper = QuotaKeeper;
    type Metric = QuotaMetric;
    const WAITS: bool = true;
    const CODES: &'static [&'static str] = reply::CODES;

    fn new() -> Self {
        Self {
            waits_for: None,
            must_ask: false,
            has_asked: false,
            waits_since: None,
            shown: None,
        }
    }

    fn series(_: &Config) -> Vec<QuotaMetric> {
        QuotaMetric::all()
    }

    fn on_request(&mut self, event: Event<'_>, cx: &mut Cx<'_, Self>) -> Result<Verdict, Fault> {
        if cx.now == Time::EPOCH {
            return Err(Fault::Gateway("the time"));
        }
        match (event, self.waits_for.take()) {
            (Event::Headers, _) | (Event::Woke, Some(WaitsFor::Other)) => {}
            (Event::Answer(answer), Some(WaitsFor::Own(tenant))) => {
                cx.keeper.settle(&[tenant], answer, cx.now, cx.effects);
            }
            // The gateway cannot hold the request for somebody else's question.
            (Event::Answer(_), Some(WaitsFor::Other)) => self.must_ask = true,
            (Event::Woke | Event::Answer(_) | Event::Body(_), _) => {
                return Err(Fault::Unexpected("nothing was asked for"));
            }
        }
        let Some(Ok(path)) = cx.request.path_and_query().map(canonical) else {
            return Ok(Verdict::Deny(reply::ambiguous_path()));
        };
        let (request, host) = (cx.request, cx.host);
        let rule = cx.config.rules.iter().find(|rule| {
            rule.matches
                .matches(&path, request, || host.fact(Fact::Route))
        });
        match rule {
            Some(rule) if rule.mode != Mode::Off => Ok(self.decide(rule, cx)),
            _ => Ok(Verdict::Allow),
        }
    }

    fn watches_response(&self) -> bool {
        self.shown.is_some()
    }

    fn on_response(&mut self, _: &Head, cx: &mut Cx<'_, Self>) {
        if let Some(quota) = self.shown.take() {
            for (name, value) in reply::fields(&quota) {
                cx.effects.set_header(name, value);
            }
            if quota.is_used_up() {
                let (name, value) = reply::EXCEEDED;
                cx.effects.set_header(name, value);
            }
        }
    }

    fn on_done(&mut self, cx: &mut Cx<'_, Self>) {
        // Its client hung up. Those who wait for its question have to ask for themselves.
        if let Some(WaitsFor::Own(tenant)) = self.waits_for.take() {
            cx.keeper.tenants.unanswered(&[tenant]);
            cx.effects.wake = true;
        }
    }
}

impl Quota {
    fn decide(&mut self, rule: &Rule, cx: &mut Cx<'_, Self>) -> Verdict {
        let config = cx.config;
        let tenant = cx.request.first_str(&config.tenant_header);
        let Some(tenant) = tenant.map(str::trim).filter(|name| is_tenant(name)) else {
            cx.effects.count(QuotaMetric::Requests(Found::NoTenant));
            return otherwise(rule.without_quota, reply::missing);
        };
        let (freshness, max_age) = (config.freshness, config.max_age);
        let tenants = &mut cx.keeper.tenants;
        match tenants.standing(tenant, freshness, max_age, cx.now) {
            Standing::Told(Some(quota)) => self.judge(quota, rule, cx),
            Standing::Told(None) => {
                cx.effects.count(QuotaMetric::Requests(Found::NoQuota));
                otherwise(rule.without_quota, reply::missing)
            }
            Standing::Asked(until) => self.unknown(tenant, Some(until), rule, cx),
            Standing::Unknown => self.unknown(tenant, None, rule, cx),
        }
    }

    fn judge(&mut self, quota: Rc<Record>, rule: &Rule, cx: &mut Cx<'_, Self>) -> Verdict {
        // From its reset on a record says nothing: what has been used since nobody has told yet.
        if cx.now >= Time::from_nanos(quota.reset_at_ms.saturating_mul(1_000_000)) {
            cx.effects.count(QuotaMetric::Requests(Found::Expired));
            return Verdict::Allow;
        }
        let says = cx.config.headers;
        let used_up = quota.is_used_up();
        if says {
            self.shown = Some(Rc::clone(&quota));
        }
        if !used_up {
            cx.effects.count(QuotaMetric::Requests(Found::Within));
            return Verdict::Allow;
        }
        cx.effects.count(QuotaMetric::Requests(Found::Exceeded));
        let mode = rule.mode;
        cx.effects.count(QuotaMetric::Exceeded { mode });
        if mode == Mode::Enforce {
            Verdict::Deny(reply::exceeded(&quota, says, cx.now))
        } else {
            Verdict::Allow
        }
    }

    /// Nothing is known that is recent enough; perhaps somebody has asked.
    fn unknown(
        &mut self,
        tenant: &str,
        flight: Option<Time>,
        rule: &Rule,
        cx: &mut Cx<'_, Self>,
    ) -> Verdict {
        match rule.on_unknown {
            OnUnknown::Wait => {
                if let Some(verdict) = self.wait(tenant, flight, cx) {
                    return verdict;
                }
                cx.effects.count(QuotaMetric::Requests(Found::Unknown));
                otherwise(rule.on_failure, reply::unavailable)
            }
            OnUnknown::Allow => {
                cx.effects.count(QuotaMetric::Requests(Found::Unknown));
                Verdict::Allow
            }
            OnUnknown::Deny => {
                cx.effects.count(QuotaMetric::Requests(Found::Unknown));
                Verdict::Deny(reply::unavailable())
            }
        }
    }

    /// Asks, or waits for whoever has; `None` if it makes no sense any more.
    fn wait(
        &mut self,
        tenant: &str,
        flight: Option<Time>,
        cx: &mut Cx<'_, Self>,
    ) -> Option<Verdict> {
        let (proxy, now) = (&cx.config.proxy, cx.now);
        let longest = patience(proxy).saturating_mul(MAX_TIMEOUTS);
        let is_tired = |since: Time| now < since || now.since(since) >= longest;
        if self.has_asked || cx.keeper.is_silent() || self.waits_since.is_some_and(is_tired) {
            return None;
        }
        if self.waits_since.is_none() {
            self.waits_since = Some(now);
            cx.effects.count(QuotaMetric::Hops);
        }
        if let Some(until) = flight
            && !self.must_ask
        {
            self.waits_for = Some(WaitsFor::Other);
            return Some(Verdict::Await { until });
        }
        let tenants = [Rc::from(tenant)];
        let callout = lookup::ask(&tenants, proxy)?;
        cx.keeper.tenants.asked(&tenants, now.plus(patience(proxy)));
        cx.effects.count(QuotaMetric::Lookups { by: "request" });
        self.has_asked = true;
        let [tenant] = tenants;
        self.waits_for = Some(WaitsFor::Own(tenant));
        Some(Verdict::Call(callout))
    }
}

fn otherwise(chosen: Otherwise, refusal: fn() -> policy::Reply) -> Verdict {
    match chosen {
        Otherwise::Allow => Verdict::Allow,
        Otherwise::Deny => Verdict::Deny(refusal()),
    }
}

#[cfg(all(target_arch = "wasm32", target_os = "wasi", feature = "module"))]
host::main!(Quota, callouts, tick, response);
