//! A real Prometheus scrapes a real Kong as `ops/prometheus` says: filters' metrics have the names that they have in Envoy, and
//! what gateways count alike the names that dashboards ask for.

use std::time::{Duration, Instant};

use kong_test::Source;
use observe::metrics::{METRICS, Metric, Of};
use observe::prometheus::Prometheus;
use testkit::http_server::wall_clock;
use wire::lists::ListName;

use crate::shipped::Shipped;

/// Names that operators know (R6, T3), of each filter, and of Kong's own metrics by their common names.
const QUERIES: [&str; 15] = [
    "kong_ratelimit_throttled_total{dimension=\"ip\",tenant!=\"\",tier!=\"\",module=\"rate_limit\"} > 0",
    "kong_tarpit_active_connections{module=\"tarpit\"} > 0",
    "portcullis_requests{filter=\"auth\",outcome=\"denied\",code=\"credentials_missing\",module=\"auth\"} > 0",
    "portcullis_requests{filter=\"fingerprint_deny\",outcome=\"denied\",code=\"EDGE_DENIED\"} > 0",
    "portcullis_fingerprint_deny_matches{match=\"user_agent\",mode=\"deny\"} > 0",
    "portcullis_rate_limit_proxy_up == 1",
    "portcullis_wait_milliseconds_count{filter=\"rate_limit\",module=\"rate_limit\"} > 0",
    "portcullis_wait_milliseconds_bucket{filter=\"rate_limit\",le!=\"+Inf\"} > 0",
    "edge:denied:per_minute > 0",
    "edge:requests:rate1m{gateway=\"kong\",class=\"4xx\"} > 0",
    "edge:route_requests:rate1m{gateway=\"kong\",route=\"rt-orders-v1-api\",class=\"4xx\"} > 0",
    "edge:request_milliseconds:quantile{gateway=\"kong\",quantile=\"0.99\"} > 0",
    "edge:gateway_milliseconds:mean{gateway=\"kong\"} > 0",
    "edge:connections{gateway=\"kong\"} > 0",
    "edge:memory_bytes{gateway=\"kong\"} > 0",
];
const WITHIN: Duration = Duration::from_secs(40);

/// For `Source::Local` only: what is shipped is for an installed Kong.
pub fn prometheus_reads_the_names_of_the_filters(source: Source) -> Result<(), String> {
    let Source::Local(kong) = source else {
        return Err("only where Kong is installed".into());
    };
    let services = [
        ("10.0.0.7:8080", "auth_service"),
        ("proxy: { upstream: \"10.0.0.9:8970", "redis_proxy"),
        ("10.0.0.9:8970", "list_service"),
    ];
    let mut kong = Shipped::start_with(&kong, "kong.yml", &services);
    kong.until("a list", |it| {
        it.curl("/health", &[]).head.starts_with("HTTP/2 200")
    });
    let prometheus = Prometheus::start(&[("kong", kong.status)])?;
    let held = "127.0.0.66";
    kong.services
        .lists
        .add_text(ListName::Tarpit, &format!("ip {held}"), wall_clock())?;

    let began = Instant::now();
    let mut missing = QUERIES.to_vec();
    while !missing.is_empty() && began.elapsed() < WITHIN {
        kong.curl("/v1/orders", &[]);
        let bot = ["--user-agent", "sqlmap/1.7", "--data", "{}"];
        kong.curl("/v1/auth/login", &bot);
        let person = [
            "--user-agent",
            "Mozilla/5.0",
            "--data",
            "{\"account\":\"jane\"}",
        ];
        for _ in 0..3 {
            kong.curl("/v1/auth/login", &person);
        }
        // Held, and away before its time is over.
        kong.curl("/v1/orders", &["--interface", held, "--max-time", "2"]);
        missing.retain(|query| prometheus.query(query).is_ok_and(|found| found.is_empty()));
    }
    let mut faults: Vec<String> = missing.into_iter().map(str::to_owned).collect();
    faults.extend(names(&prometheus)?);
    if faults.is_empty() {
        Ok(())
    } else {
        Err(faults.join("\n"))
    }
}

/// Names that the table of metrics does not have, or that it has and Kong does not show.
fn names(prometheus: &Prometheus) -> Result<Vec<String>, String> {
    let ours = "{__name__=~\"pw_.*|portcullis_.*|kong_(ratelimit|tarpit)_.*\"}";
    let mut faults = Vec::new();
    let mut found = Vec::new();
    for series in prometheus.query(ours)? {
        let name = series.label("__name__").unwrap_or_default().to_owned();
        if Metric::of_series(&name).is_none() {
            faults.push(format!("{name} is not in observe/src/metrics.rs"));
        }
        found.push(name);
    }
    for row in METRICS {
        let here = match row.of {
            Of::EveryFilter | Of::FilterInKong(_) => true,
            // Its buckets are asked for above.
            Of::Waiting => false,
            // Not in the shipped chain.
            Of::Filter(filter) => filter != "upstream_identity",
            Of::RedisProxy | Of::Drift => false,
        };
        // Counted with a limit in shadow mode, and there is none.
        let absent = row.name == "portcullis_rate_limit_shadowed";
        if here && !absent && !found.iter().any(|name| name == row.name) {
            faults.push(format!("{} is nowhere", row.name));
        }
    }
    Ok(faults)
}
