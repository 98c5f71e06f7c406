//! What `/metrics` shows. Label values a client can choose are bounded.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64},
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use wire::{
    limits::{Failure, KeyReply, KeyRequest},
    load::UpstreamFactors,
};

use crate::{
    edge::metrics::EdgeMetrics,
    fingerprints::{Heavy, Taken},
    quota::metrics::QuotaMetrics,
    store::Health,
};

/// Dimensions told apart; the rest count as `other`.
const MAX_DIMS: usize = 32;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Keys {
    dimension: Arc<String>,
    outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
enum Outcome {
    #[expect(non_camel_case_types, reason = "as it is shown")]
    granted,
    #[expect(non_camel_case_types, reason = "as it is shown")]
    short,
    #[expect(non_camel_case_types, reason = "as it is shown")]
    refused,
    #[expect(non_camel_case_types, reason = "as it is shown")]
    failed,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Fate {
    result: SpanFate,
}

/// What became of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum SpanFate {
    /// The collector has taken it.
    #[expect(non_camel_case_types, reason = "as it is shown")]
    sent,
    /// The collector has not, or nobody knows.
    #[expect(non_camel_case_types, reason = "as it is shown")]
    lost,
    /// There was no room for it.
    #[expect(non_camel_case_types, reason = "as it is shown")]
    dropped,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Dimension {
    dimension: Arc<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Code {
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Country {
    country: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClientLabel {
    kind: &'static str,
    value: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UpstreamTier {
    upstream: String,
    tier: String,
}

/// All metrics of the process.
pub struct Metrics {
    registry: Registry,
    keys: Family<Keys, Counter>,
    granted: Family<Dimension, Counter>,
    given_back: Family<Dimension, Counter>,
    failures: Family<Code, Counter>,
    seconds: Histogram,
    /// Times the tier table was read again and taken.
    pub reloads: Counter,
    /// Times it was read again and refused.
    pub reload_failures: Counter,
    ready: Gauge,
    open_breakers: Gauge,
    embedded_keys: Gauge,
    adaptive: Family<UpstreamTier, Gauge<f64, AtomicU64>>,
    samples: Counter,
    samples_dropped: Counter,
    samples_malformed: Counter,
    countries: Family<Country, Counter>,
    clients: Family<ClientLabel, Gauge>,
    spans: Family<Fate, Counter>,
    /// The label of each dimension that is told apart.
    dims: Mutex<HashMap<String, Arc<String>>>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All zero.
    #[must_use]
    pub fn new() -> Self {
        let buckets = [
            0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
        ];
        let mut metrics = Self {
            registry: Registry::with_prefix("redis_proxy"),
            keys: Family::default(),
            granted: Family::default(),
            given_back: Family::default(),
            failures: Family::default(),
            seconds: Histogram::new(buckets),
            reloads: Counter::default(),
            reload_failures: Counter::default(),
            ready: Gauge::default(),
            open_breakers: Gauge::default(),
            embedded_keys: Gauge::default(),
            adaptive: Family::default(),
            samples: Counter::default(),
            samples_dropped: Counter::default(),
            samples_malformed: Counter::default(),
            countries: Family::default(),
            clients: Family::default(),
            spans: Family::default(),
            dims: Mutex::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        for failure in Failure::ALL {
            let code = failure.code();
            let _ = self.failures.get_or_create(&Code { code });
        }
        let r = &mut self.registry;
        r.register(
            "acquire_keys",
            "Keys decided, by what became of them",
            self.keys.clone(),
        );
        r.register("granted_tokens", "Tokens granted", self.granted.clone());
        r.register(
            "given_back_tokens",
            "Tokens given back",
            self.given_back.clone(),
        );
        r.register(
            "store_failures",
            "Keys the store could not decide",
            self.failures.clone(),
        );
        r.register(
            "acquire_seconds",
            "Time the store took for a batch",
            self.seconds.clone(),
        );
        r.register(
            "tier_reloads",
            "Tier tables read again and taken",
            self.reloads.clone(),
        );
        r.register(
            "tier_reload_failures",
            "Tier tables read again and refused",
            self.reload_failures.clone(),
        );
        r.register(
            "store_ready",
            "1 if the store can decide keys",
            self.ready.clone(),
        );
        r.register(
            "store_open_breakers",
            "Breakers held open",
            self.open_breakers.clone(),
        );
        r.register(
            "embedded_keys",
            "Keys held in memory",
            self.embedded_keys.clone(),
        );
        r.register(
            "adaptive_factor",
            "Effective share of the limits of a tier at an upstream",
            self.adaptive.clone(),
        );
        r.register(
            "samples",
            "Samples of requests that the filters reported",
            self.samples.clone(),
        );
        r.register(
            "samples_dropped",
            "Samples that the filters had no room for",
            self.samples_dropped.clone(),
        );
        r.register(
            "samples_malformed",
            "Values in samples that are none of their kind, and are not counted",
            self.samples_malformed.clone(),
        );
        r.register(
            "country_requests",
            "Requests that samples stand for, by the client's country",
            self.countries.clone(),
        );
        r.register(
            "top_client_requests",
            "Requests of the last hour that samples stand for, of the heaviest clients of each kind",
            self.clients.clone(),
        );
        r.register(
            "spans",
            "Spans of traces, by what became of them",
            self.spans.clone(),
        );
    }

    /// Spans, and what became of them.
    pub fn spans(&self, result: SpanFate, spans: usize) {
        let spans = u64::try_from(spans).unwrap_or(u64::MAX);
        self.spans.get_or_create(&Fate { result }).inc_by(spans);
    }

    /// A batch of samples, and how many the filter had dropped before.
    pub fn samples(&self, taken: &Taken, dropped: u64) {
        self.samples.inc_by(taken.samples);
        for (country, requests) in &taken.countries {
            let country = country.to_string();
            self.countries
                .get_or_create(&Country { country })
                .inc_by(*requests);
        }
        self.samples_malformed.inc_by(taken.malformed);
        self.samples_dropped.inc_by(dropped);
    }

    /// Shows the lists and the quotas, too.
    pub fn show(&mut self, edge: &EdgeMetrics, quotas: &QuotaMetrics) {
        edge.register(&mut self.registry);
        quotas.register(&mut self.registry);
    }

    /// One decided key.
    pub fn key(&self, asked: &KeyRequest, reply: &KeyReply) {
        let dimension = self.dimension(&asked.dim);
        let outcome = match (reply.failure, reply.granted) {
            (Some(failure), _) => {
                self.failures
                    .get_or_create(&Code {
                        code: failure.code(),
                    })
                    .inc();
                Outcome::failed
            }
            (None, 0) if asked.want > 0 => Outcome::refused,
            (None, granted) if granted < asked.want => Outcome::short,
            (None, _) => Outcome::granted,
        };
        let label = Dimension {
            dimension: Arc::clone(&dimension),
        };
        self.keys.get_or_create(&Keys { dimension, outcome }).inc();
        self.granted.get_or_create(&label).inc_by(reply.granted);
        if let Some(back) = asked.give_back {
            self.given_back.get_or_create(&label).inc_by(back.tokens);
        }
    }

    /// One answered batch.
    pub fn batch(&self, took: Duration) {
        self.seconds.observe(took.as_secs_f64());
    }

    fn dimension(&self, dim: &str) -> Arc<String> {
        let mut dims = self.dims.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = dims.get(dim) {
            return Arc::clone(known);
        }
        if dims.len() >= MAX_DIMS {
            return Arc::new("other".to_owned());
        }
        let label = Arc::new(dim.to_owned());
        dims.insert(dim.to_owned(), Arc::clone(&label));
        label
    }

    /// Everything, in the OpenMetrics text format.
    #[must_use]
    pub fn render(&self, health: Health, factors: &[UpstreamFactors], clients: &[Heavy]) -> String {
        self.ready.set(i64::from(health.ready));
        self.open_breakers
            .set(i64::try_from(health.open_breakers).unwrap_or(i64::MAX));
        self.embedded_keys
            .set(i64::try_from(health.keys).unwrap_or(i64::MAX));
        self.clients.clear();
        for client in clients {
            let label = ClientLabel {
                kind: client.kind,
                value: client.value.clone(),
            };
            let requests = i64::try_from(client.requests).unwrap_or(i64::MAX);
            self.clients.get_or_create(&label).set(requests);
        }
        self.adaptive.clear();
        for upstream in factors {
            for factor in &upstream.tiers {
                let label = UpstreamTier {
                    upstream: upstream.upstream.clone(),
                    tier: factor.tier.clone(),
                };
                let share = f64::from(factor.permille) / 1_000.0;
                self.adaptive.get_or_create(&label).set(share);
            }
        }
        let mut text = String::new();
        if encode(&mut text, &self.registry).is_err() {
            text.clear();
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::limits::Limit;

    #[test]
    fn keys_are_counted_by_outcome_and_dimensions_are_bounded() {
        let metrics = Metrics::new();
        for i in 0..100 {
            let asked = KeyRequest {
                dim: format!("d{i}"),
                value: "x".into(),
                limit: Limit::window(5, 60_000),
                want: 1,
                give_back: None,
            };
            metrics.key(
                &asked,
                &KeyReply {
                    granted: 1,
                    ..KeyReply::default()
                },
            );
            metrics.key(&asked, &KeyReply::failed(Failure::StoreTimeout));
        }
        let text = metrics.render(Health::default(), &[], &[]);
        assert!(text.contains(r#"redis_proxy_store_failures_total{code="store_timeout"} 100"#));
        assert!(
            text.contains(
                r#"redis_proxy_acquire_keys_total{dimension="other",outcome="granted"} 68"#
            )
        );
    }
}
