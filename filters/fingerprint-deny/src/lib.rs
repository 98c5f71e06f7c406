//! Who is not let in? Clients on the deny list, by address, network, JA3 or JA4, and those that the rules of a route
//! turn away: by country, ASN, network or user agent (D1–D9).
//!
//! The list is here, in the worker: deciding costs no hop. The order of events: the list is looked at, then each rule
//! that matches. Every refusal looks the same to the client, whatever the reason. Every Nth request is sampled, however
//! it fared. See `README.md` for the options.

#![cfg_attr(test, allow(clippy::arithmetic_side_effects, clippy::string_slice))]

mod bots;
mod config;
mod hint;
mod keeper;
mod metric;
mod reply;
mod rule;
mod sampler;

use policy::path::canonical;
use policy::{Cx, Event, Fact, Fault, Head, Phases, Policy, Time, Verdict};
use watchlist::Client;
use wire::lists::{Ja4, Kind, Member};
use wire::samples::Sample;

pub use config::{Config, Raw};
pub use keeper::DenyKeeper;
pub use metric::DenyMetric;

use crate::config::{Identity, OnMissingList};
use crate::hint::Hints;
use crate::metric::Reason;

/// The filter: one value per request.
#[derive(Debug)]
pub struct FingerprintDeny {
    /// What is known of a request that is sampled, and since when.
    sample: Option<(Box<Sample>, Time)>,
}

impl Policy for FingerprintDeny {
    const NAME: &'static str = "fingerprint_deny";
    const PHASES: Phases = Phases::CALLOUTS.with(Phases::TICK).with(Phases::RESPONSE);
    type Config = Config;
    type Keeper = DenyKeeper;
    type Metric = DenyMetric;
    const CODES: &'static [&'static str] = reply::CODES;

    fn new() -> Self {
        Self { sample: None }
    }

    fn series(_: &Config) -> Vec<DenyMetric> {
        DenyMetric::all()
    }

    fn on_request(&mut self, event: Event<'_>, cx: &mut Cx<'_, Self>) -> Result<Verdict, Fault> {
        if !matches!(event, Event::Headers) {
            return Err(Fault::Unexpected("nothing was asked for"));
        }
        if cx.now == Time::EPOCH {
            return Err(Fault::Gateway("the time"));
        }
        let client = cx.config.clients.identify(cx.request, cx.host)?;
        let mut fingerprints = Fingerprints::default();
        if cx.keeper.sampler.is_next(cx.config.sampling.every) {
            self.sample = Some((Box::new(fingerprints.sample(&client, cx)), cx.now));
        }
        let verdict = decide(&client, &mut fingerprints, cx);
        if let Verdict::Deny(reply) = &verdict
            && let Some((sample, _)) = &mut self.sample
        {
            sample.status_code = reply.status;
        }
        Ok(verdict)
    }

    fn watches_response(&self) -> bool {
        self.sample.is_some()
    }

    fn on_response(&mut self, response: &Head, cx: &mut Cx<'_, Self>) {
        if let Some((mut sample, since)) = self.sample.take() {
            sample.status_code = response.status().unwrap_or_default();
            sample.latency_ms = millis(cx.now.since(since));
            if let Identity::Response = cx.config.sampling.identity {
                sample.consumer_id = sampler::text(response, &cx.config.sampling.consumer_header);
                sample.tenant_id = sampler::text(response, &cx.config.sampling.tenant_header);
            }
            sampler::take(*sample, cx);
        }
    }

    /// Refused here, or gone before there was an answer.
    fn on_done(&mut self, cx: &mut Cx<'_, Self>) {
        if let Some((mut sample, since)) = self.sample.take() {
            sample.latency_ms = millis(cx.now.since(since));
            sampler::take(*sample, cx);
        }
    }
}

fn millis(took: std::time::Duration) -> u32 {
    u32::try_from(took.as_millis()).unwrap_or(u32::MAX)
}

fn decide(
    client: &Client,
    fingerprints: &mut Fingerprints,
    cx: &mut Cx<'_, FingerprintDeny>,
) -> Verdict {
    let config = cx.config;
    if config.lists.is_some() {
        if !cx.keeper.deny.is_complete() && config.on_missing_list == OnMissingList::Deny {
            return Verdict::Deny(reply::list_missing());
        }
        if let Some(kind) = listed(client, fingerprints, cx) {
            cx.effects.count(DenyMetric::Matches {
                reason: Reason::Listed(kind),
                shadow: false,
            });
            return Verdict::Deny(reply::denied());
        }
    }
    if config.rules.is_empty() {
        return Verdict::Allow;
    }
    let Some(Ok(path)) = cx.request.path_and_query().map(canonical) else {
        return Verdict::Deny(reply::ambiguous_path());
    };
    let hints = Hints::new(client, &config.hints, cx.request);
    for rule in &config.rules {
        let matches = rule
            .matches
            .matches(&path, cx.request, || cx.host.fact(Fact::Route));
        if !matches {
            continue;
        }
        if let Some(reason) = rule.objection(client, &hints, cx.request, &mut cx.keeper.scratch) {
            cx.effects.count(DenyMetric::Matches {
                reason,
                shadow: rule.shadow,
            });
            if !rule.shadow {
                return Verdict::Deny(reply::denied());
            }
        }
    }
    Verdict::Allow
}

/// The kind of the entry that the client is on the deny list by.
fn listed(
    client: &Client,
    fingerprints: &mut Fingerprints,
    cx: &Cx<'_, FingerprintDeny>,
) -> Option<Kind> {
    let list = &cx.keeper.deny;
    if let Some(found) = list.by_address(client.address, cx.now) {
        return Some(found.kind());
    }
    if list.has(Kind::Ja4)
        && let Some(ja4) = fingerprints.ja4(client, cx)
        && let Some(found) = list.by_ja4(ja4, cx.now)
    {
        return Some(found.kind());
    }
    if list.has(Kind::Ja3)
        && let Some(ja3) = fingerprints.ja3(client, cx)
        && let Some(found) = list.by_ja3(ja3, cx.now)
    {
        return Some(found.kind());
    }
    None
}

/// The client's fingerprints, asked for at most once and only if anybody wants to know.
#[derive(Default)]
struct Fingerprints {
    ja3: Option<Option<[u8; 16]>>,
    ja4: Option<Option<Ja4>>,
}

impl Fingerprints {
    fn ja3(&mut self, client: &Client, cx: &Cx<'_, FingerprintDeny>) -> Option<[u8; 16]> {
        let ask = || cx.config.clients.ja3(client, cx.request, cx.host);
        *self.ja3.get_or_insert_with(ask)
    }

    fn ja4(&mut self, client: &Client, cx: &Cx<'_, FingerprintDeny>) -> Option<Ja4> {
        let ask = || cx.config.clients.ja4(client, cx.request, cx.host);
        *self.ja4.get_or_insert_with(ask)
    }

    /// What is known of a request before it is decided on.
    fn sample(&mut self, client: &Client, cx: &Cx<'_, FingerprintDeny>) -> Sample {
        let sampling = &cx.config.sampling;
        let of_request = |header: &str| match sampling.identity {
            Identity::Request => sampler::text(cx.request, header),
            Identity::Response | Identity::None => None,
        };
        Sample {
            at_ms: 0,
            ja3_hash: self
                .ja3(client, cx)
                .map(|hash| Member::Ja3(hash).to_string()),
            ja4: self.ja4(client, cx).map(|ja4| ja4.as_str().to_owned()),
            ip: client.address.to_string(),
            consumer_id: of_request(&sampling.consumer_header),
            tenant_id: of_request(&sampling.tenant_header),
            country: Hints::new(client, &cx.config.hints, cx.request)
                .country
                .map(|country| country.to_string()),
            route: cx
                .host
                .fact(Fact::Route)
                .and_then(|name| sampler::cut(&name)),
            status_code: 0,
            latency_ms: 0,
        }
    }
}

#[cfg(all(target_arch = "wasm32", target_os = "wasi", feature = "module"))]
host::main!(FingerprintDeny, callouts, tick, response);
