//! Every metric: name, type, labels, how many series at most, meaning.

use std::fmt::Write as _;

/// One name.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    pub name: &'static str,
    pub kind: Kind,
    pub labels: &'static [&'static str],
    pub of: Of,
    pub bound: Bound,
    pub meaning: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// Who shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// Every filter, in a gateway.
    EveryFilter,
    /// Filters whose requests may wait for a service, in a gateway.
    Waiting,
    /// This filter, in a gateway.
    Filter(&'static str),
    /// This filter, in Kong alone.
    FilterInKong(&'static str),
    /// redis-proxy's `/metrics`.
    RedisProxy,
    /// `portcullis drift --metrics-file`, through node_exporter's textfile collector.
    Drift,
}

/// Series of the name, of one gateway or one redis-proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// So many, all of them there from the start.
    Exactly(usize),
    /// So many for each provider in the filter's configuration.
    PerProvider(usize),
    /// So many at most.
    AtMost(usize),
    /// So many at most, which are these.
    AtMostThese(usize, &'static str),
}

use Bound::{AtMost, AtMostThese, Exactly, PerProvider};
use Kind::{Counter, Gauge, Histogram};
use Of::{Drift, EveryFilter, Filter, FilterInKong, RedisProxy, Waiting};

/// Short for a table that is read by people.
const fn row(
    name: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
    of: Of,
    bound: Bound,
    meaning: &'static str,
) -> Metric {
    Metric {
        name,
        kind,
        labels,
        of,
        bound,
        meaning,
    }
}

const AUTH: Of = Filter("auth");
const DENY: Of = Filter("fingerprint_deny");
const LIMIT: Of = Filter("rate_limit");
const QUOTA: Of = Filter("quota");
const TARPIT: Of = Filter("tarpit");

/// Series with a tenant: dimensions and tiers are the operator's, and so are tenants, since one that the tier table does
/// not name is `other`. A filter defines no series beyond 4,096.
const PER_TENANT: Bound = AtMostThese(4_096, "dimension × tenants in the tier table");

/// All of them, in the order of the table.
#[rustfmt::skip]
pub const METRICS: &[Metric] = &[
    row("portcullis_requests", Counter, &["filter", "outcome", "code"], EveryFilter, AtMostThese(150, "filters × their codes"),
        "Requests, by how they fared with each filter: `allowed`, `denied`, `shadowed` (would have been denied), `faulted` (undecided through a fault of its own)"),
    row("portcullis_wait_milliseconds", Histogram, &["filter"], Waiting, AtMostThese(3, "`auth`, `rate_limit`, `quota`"),
        "How long requests waited for a service, their own question or another's; those that did not wait are not in it. Kong's clock has milliseconds"),
    row("kong_ratelimit_throttled_total", Counter, &["dimension", "tenant", "tier"], LIMIT, PER_TENANT,
        "Requests refused by a limit (R6). A tenant that the tier table does not name is `other`"),
    row("kong_tarpit_active_connections", Gauge, &[], TARPIT, Exactly(1),
        "Requests held right now, the sum over all workers (T3)"),
    row("kong_tarpit_active_connections_added", Counter, &[], FilterInKong("tarpit"), Exactly(1),
        "What that sum is made of, in Kong alone: requests that began to be held"),
    row("kong_tarpit_active_connections_taken", Counter, &[], FilterInKong("tarpit"), Exactly(1),
        "… and those that ended"),
    row("portcullis_auth_signature_checks", Counter, &["provider", "result"], AUTH, PerProvider(2),
        "Signatures checked: `valid`, `invalid`"),
    row("portcullis_auth_token_cache", Counter, &["result"], AUTH, Exactly(2),
        "Look-ups among verified tokens: `hit`, `miss`"),
    row("portcullis_auth_jwks_fetches", Counter, &["provider", "result"], AUTH, PerProvider(2),
        "Fetches of a key set that ended: `ok`, `failed`"),
    row("portcullis_auth_jwks_keys", Gauge, &["provider"], AUTH, PerProvider(1),
        "Usable keys of a provider, of the worker that fetched last"),
    row("portcullis_auth_key_cache", Counter, &["result"], AUTH, Exactly(2),
        "Look-ups among remembered API keys: `hit`, `miss`"),
    row("portcullis_auth_key_lookups", Counter, &["result"], AUTH, Exactly(4),
        "Questions to the resolver of API keys that ended: `active`, `inactive`, `failed`, `stale` (older than a revocation)"),
    row("portcullis_auth_keys_revoked", Counter, &[], AUTH, Exactly(1),
        "Remembered API keys that were forgotten because they were revoked"),
    row("portcullis_auth_revocation_polls", Counter, &["result"], AUTH, AtMost(20),
        "Questions for the list of revoked keys that ended: `ok`, or why not"),
    row("portcullis_fingerprint_deny_matches", Counter, &["match", "mode"], DENY, Exactly(16),
        "Objections by what was objected to: `ip`, `cidr`, `ja3`, `ja4`, `country`, `asn`, `network`, `user_agent`; and whether its rule denies or is in shadow mode (D9)"),
    row("portcullis_fingerprint_deny_list_entries", Gauge, &[], DENY, Exactly(1),
        "Entries of the deny list in the worker that looked last"),
    row("portcullis_fingerprint_deny_list_version", Gauge, &[], DENY, Exactly(1),
        "Version of the list that serves"),
    row("portcullis_fingerprint_deny_list_age_seconds", Gauge, &[], DENY, Exactly(1),
        "Since the list was last known to be the newest. Above 10: nothing that is pushed takes effect"),
    row("portcullis_fingerprint_deny_list_polls", Counter, &["result"], DENY, Exactly(2),
        "Questions for the list that were answered: `unchanged`, `changed`"),
    row("portcullis_fingerprint_deny_list_failures", Counter, &["reason"], DENY, AtMost(20),
        "Questions for the list that nobody answered"),
    row("portcullis_fingerprint_deny_list_bad_pages", Counter, &["reason"], DENY, AtMost(20),
        "Pages of the list that could not be used; it stayed as it was"),
    row("portcullis_fingerprint_deny_list_ignored", Counter, &[], DENY, Exactly(1),
        "Entries for which a worker had no room"),
    row("portcullis_fingerprint_deny_samples", Counter, &["result"], DENY, Exactly(4),
        "Sampled requests: `taken`, `sent`, `dropped` for want of room, `lost` with a call that failed (D8)"),
    row("portcullis_rate_limit_shadowed", Counter, &["dimension", "tenant", "tier"], LIMIT, PER_TENANT,
        "Requests that a limit in shadow mode would have refused (R18)"),
    row("portcullis_rate_limit_refusals", Counter, &["by"], LIMIT, Exactly(2),
        "Refusals by who decided: `local`, out of memory; `store`, after a question"),
    row("portcullis_rate_limit_hops", Counter, &[], LIMIT, Exactly(1),
        "Requests that waited for redis-proxy"),
    row("portcullis_rate_limit_calls", Counter, &["by"], LIMIT, Exactly(2),
        "Calls for tokens, made by a `request` or by a `tick`"),
    row("portcullis_rate_limit_granted", Counter, &[], LIMIT, Exactly(1),
        "Tokens that the store granted"),
    row("portcullis_rate_limit_given_back", Counter, &[], LIMIT, Exactly(1),
        "Tokens given back unspent"),
    row("portcullis_rate_limit_failures", Counter, &["reason"], LIMIT, AtMost(20),
        "Calls without an answer, and keys that the store could not decide"),
    row("portcullis_rate_limit_degraded", Counter, &["mode"], LIMIT, Exactly(3),
        "Requests decided without knowing the limit: `allow`, `deny`, `local` (R10)"),
    row("portcullis_rate_limit_tier_pulls", Counter, &["result"], LIMIT, Exactly(2),
        "Pulls of the tier table that ended: `ok`, `failed`"),
    row("portcullis_rate_limit_keys", Gauge, &[], LIMIT, Exactly(1),
        "Keys that a worker remembers, of the one that looked last"),
    row("portcullis_rate_limit_proxy_up", Gauge, &[], LIMIT, Exactly(1),
        "1 while redis-proxy answers, else 0"),
    row("portcullis_tarpit_held", Counter, &["match"], TARPIT, Exactly(4),
        "Requests that were held, by the kind of their entry: `ip`, `cidr`, `ja3`, `ja4`"),
    row("portcullis_tarpit_refused", Counter, &["match"], TARPIT, Exactly(4),
        "Requests refused because as many were held as may be (T4)"),
    row("portcullis_tarpit_unheld", Counter, &["reason"], TARPIT, AtMost(10),
        "Requests refused because the gateway could not hold them, or not as long as they should"),
    row("portcullis_tarpit_hung_up", Counter, &[], TARPIT, Exactly(1),
        "Clients that hung up before their answer"),
    row("portcullis_tarpit_list_polls", Counter, &["result"], TARPIT, AtMost(20),
        "Questions for the tarpit's list that ended: `ok`, or why not"),
    row("portcullis_tarpit_list_entries", Gauge, &[], TARPIT, Exactly(1),
        "Entries of the list in the worker that looked last"),
    row("portcullis_quota_requests", Counter, &["result"], QUOTA, Exactly(6),
        "Requests by what is known of the quota of their tenant: `within`, `exceeded`, `expired`, `no_quota`, `no_tenant`, `unknown`"),
    row("portcullis_quota_exceeded", Counter, &["mode"], QUOTA, Exactly(2),
        "Requests of tenants whose quota is used up: `alert`, passed; `enforce`, refused (Q2, Q3)"),
    row("portcullis_quota_hops", Counter, &[], QUOTA, Exactly(1), "Requests that waited for redis-proxy"),
    row("portcullis_quota_lookups", Counter, &["by"], QUOTA, Exactly(2), "Questions to redis-proxy, asked by a `request` or by a `tick`"),
    row("portcullis_quota_failures", Counter, &["reason"], QUOTA, AtMost(20), "Questions without an answer"),
    row("portcullis_quota_tenants", Gauge, &[], QUOTA, Exactly(1), "Tenants that a worker remembers, of the one that looked last"),
    row("portcullis_quota_proxy_up", Gauge, &[], QUOTA, Exactly(1), "1 while redis-proxy answers questions for quotas, else 0"),
    row("portcullis_upstream_identity_failures", Counter, &["reason"], Filter("upstream_identity"), AtMost(10),
        "Responses of upstreams that were not believed, and connections to them that failed (U1)"),
    row("portcullis_upstream_identity_events", Counter, &["result"], Filter("upstream_identity"), Exactly(3),
        "Failures for which an event was asked: `sent`, `dropped` for want of room, `lost` because redis-proxy did not want it"),
    row("redis_proxy_acquire_keys_total", Counter, &["dimension", "outcome"], RedisProxy, AtMostThese(132, "32 dimensions and `other` × outcomes"),
        "Keys decided, by what became of them: `granted`, `short`, `refused`, `failed`"),
    row("redis_proxy_granted_tokens_total", Counter, &["dimension"], RedisProxy, AtMost(33), "Tokens granted"),
    row("redis_proxy_given_back_tokens_total", Counter, &["dimension"], RedisProxy, AtMost(33), "Tokens given back"),
    row("redis_proxy_store_failures_total", Counter, &["code"], RedisProxy, AtMost(10), "Keys the store could not decide"),
    row("redis_proxy_acquire_seconds", Histogram, &[], RedisProxy, Exactly(1), "Time the store took for a batch; buckets from 100 µs to 100 ms"),
    row("redis_proxy_tier_reloads_total", Counter, &[], RedisProxy, Exactly(1), "Tier tables read again and taken"),
    row("redis_proxy_tier_reload_failures_total", Counter, &[], RedisProxy, Exactly(1), "Tier tables read again and refused"),
    row("redis_proxy_store_ready", Gauge, &[], RedisProxy, Exactly(1), "1 if the store can decide keys"),
    row("redis_proxy_store_open_breakers", Gauge, &[], RedisProxy, Exactly(1), "Breakers held open"),
    row("redis_proxy_embedded_keys", Gauge, &[], RedisProxy, Exactly(1), "Keys held in memory"),
    row("redis_proxy_adaptive_factor", Gauge, &["upstream", "tier"], RedisProxy, AtMostThese(1_000, "upstreams that gateways report × tiers"),
        "Effective share of the limits of a tier at an upstream (R19)"),
    row("redis_proxy_samples_total", Counter, &[], RedisProxy, Exactly(1), "Samples of requests that the filters reported"),
    row("redis_proxy_samples_dropped_total", Counter, &[], RedisProxy, Exactly(1), "Samples that the filters had no room for"),
    row("redis_proxy_samples_malformed_total", Counter, &[], RedisProxy, Exactly(1), "Values in samples that are none of their kind, and are not counted"),
    row("redis_proxy_country_requests_total", Counter, &["country"], RedisProxy, AtMost(1_296), "Requests that samples stand for, by the client's country"),
    row("redis_proxy_top_client_requests", Gauge, &["kind", "value"], RedisProxy, AtMostThese(400, "4 kinds × `fingerprints.metrics_top`, at a time; 0 unless it is set"),
        "Requests of the last hour that samples stand for, of the heaviest clients of each kind: `ja3`, `ja4`, `ip`, `ip_4xx`"),
    row("redis_proxy_spans_total", Counter, &["result"], RedisProxy, Exactly(3),
        "Spans of traces: `sent`, `lost` because the collector did not take them, `dropped` for want of room (O2)"),
    row("redis_proxy_edge_changes_total", Counter, &["list", "action"], RedisProxy, AtMost(12), "Changes of the lists made through this process"),
    row("redis_proxy_edge_refused_total", Counter, &["code"], RedisProxy, AtMost(65), "Attempts to change a list that were refused"),
    row("redis_proxy_edge_store_failures_total", Counter, &["code"], RedisProxy, AtMost(10), "Operations that the store of the lists did not do"),
    row("redis_proxy_edge_members", Gauge, &["list"], RedisProxy, AtMost(3), "Members of the list as the workers are served it"),
    row("redis_proxy_edge_version", Gauge, &["list"], RedisProxy, AtMost(3), "Version of the list as the workers are served it"),
    row("redis_proxy_edge_age_seconds", Gauge, &["list"], RedisProxy, AtMost(3), "Time since the store was last heard of the list"),
    row("redis_proxy_edge_follow_failures_total", Counter, &["list"], RedisProxy, AtMost(3), "Times the store did not say what changed"),
    row("redis_proxy_edge_store_durable", Gauge, &[], RedisProxy, Exactly(1), "1: what is acknowledged survives kill -9 of the store; 0: it does not; -1: not known"),
    row("redis_proxy_edge_events_waiting", Gauge, &["list"], RedisProxy, AtMost(3), "Events that wait for NATS"),
    row("redis_proxy_edge_events_published_total", Counter, &["type"], RedisProxy, AtMost(8), "Events that JetStream acknowledged"),
    row("redis_proxy_edge_publish_failures_total", Counter, &[], RedisProxy, Exactly(1), "Times events could not be published"),
    row("redis_proxy_edge_nats_connected", Gauge, &[], RedisProxy, Exactly(1), "1 while there is a connection to NATS"),
    row("redis_proxy_quota_events_total", Counter, &["result"], RedisProxy, AtMost(4), "Events that were taken, by what they did: applied, duplicate, stale, conflict"),
    row("redis_proxy_quota_dead_events_total", Counter, &["reason"], RedisProxy, AtMost(10), "Events that went to the dead-letter subject"),
    row("redis_proxy_quota_dead_failures_total", Counter, &[], RedisProxy, Exactly(1), "Times an event could not be sent to the dead-letter subject; it is tried again"),
    row("redis_proxy_quota_interruptions_total", Counter, &[], RedisProxy, Exactly(1), "Times events could not be taken: NATS or the store failed"),
    row("redis_proxy_quota_lag_seconds", Gauge, &[], RedisProxy, Exactly(1), "Age of the oldest event of the last batch when it was stored, or while it waits to be"),
    row("redis_proxy_quota_events_waiting", Gauge, &[], RedisProxy, Exactly(1), "Events in the stream that nobody has been sent yet, as of the last one"),
    row("redis_proxy_quota_nats_connected", Gauge, &[], RedisProxy, Exactly(1), "1 while there is a connection to NATS"),
    row("redis_proxy_quota_lookups_total", Counter, &["result"], RedisProxy, AtMost(2), "Tenants that workers asked for: known, unknown"),
    row("redis_proxy_quota_store_failures_total", Counter, &["code"], RedisProxy, AtMost(10), "Operations that the store of quotas did not do"),
    row("portcullis_config_drift", Gauge, &["gateway"], Drift, AtMost(1), "1 while the running gateway differs from Git, else 0"),
    row("portcullis_config_drift_differences", Gauge, &["gateway"], Drift, AtMost(1), "In how many places"),
    row("portcullis_config_drift_checked_timestamp_seconds", Gauge, &["gateway"], Drift, AtMost(1), "When that could last be told, seconds since 1970"),
];

impl Metric {
    /// What Kong calls it, before Prometheus takes the prefix off ([`crate::scrape`]).
    #[must_use]
    pub fn in_kong(&self) -> Option<String> {
        let filter = match self.of {
            EveryFilter | Waiting => "<filter>",
            Filter(filter) | FilterInKong(filter) => filter,
            RedisProxy | Drift => return None,
        };
        Some(format!("pw_{filter}_{}", self.name))
    }

    /// The metric that shows this series; those of a histogram have a suffix.
    #[must_use]
    pub fn of_series(series: &str) -> Option<&'static Self> {
        METRICS.iter().find(|metric| {
            let rest = series.strip_prefix(metric.name);
            rest == Some("")
                || metric.kind == Histogram && matches!(rest, Some("_bucket" | "_sum" | "_count"))
        })
    }
}

impl Kind {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Counter => "counter",
            Gauge => "gauge",
            Histogram => "histogram",
        }
    }
}

impl Bound {
    fn show(self) -> String {
        match self {
            Exactly(n) => n.to_string(),
            PerProvider(n) => format!("{n} × providers"),
            AtMost(n) => format!("≤ {n}"),
            AtMostThese(n, what) => format!("≤ {n}: {what}"),
        }
    }

    /// Most series, with so many providers.
    #[must_use]
    pub const fn most(self, providers: usize) -> usize {
        match self {
            Exactly(n) | AtMost(n) | AtMostThese(n, _) => n,
            PerProvider(n) => n * providers,
        }
    }
}

/// The table in `README.md`.
#[must_use]
pub fn table() -> String {
    let mut out = String::from(
        "| name in Envoy, and in Prometheus | name in Kong | type | labels | series | meaning |\n|---|---|---|---|---|---|\n",
    );
    for metric in METRICS {
        let labels: Vec<String> = metric.labels.iter().map(|l| format!("`{l}`")).collect();
        let in_kong = match metric.of {
            RedisProxy => "redis-proxy's own".to_owned(),
            Drift => "`portcullis drift`'s own".to_owned(),
            _ => format!("`{}`", metric.in_kong().unwrap_or_default()),
        };
        let name = match metric.of {
            FilterInKong(_) => format!("— (`{}`)", metric.name),
            _ => format!("`{}`", metric.name),
        };
        writeln!(
            out,
            "| {name} | {in_kong} | {} | {} | {} | {} |",
            metric.kind.as_str(),
            labels.join(", "),
            metric.bound.show(),
            metric.meaning
        )
        .unwrap();
    }
    out
}
