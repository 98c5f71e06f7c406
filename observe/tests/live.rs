//! Every panel of every dashboard, at a real Prometheus that scrapes a real Envoy and a real redis-proxy under the demo's
//! traffic.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that cannot go on fails"
)]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use observe::dashboards;
use observe::metrics::{METRICS, Metric, Of};
use observe::prometheus::{Prometheus, Series};
use observe::site::Site;
use observe::traffic;

const TIME: Duration = Duration::from_secs(16);
const PATIENCE: Duration = Duration::from_secs(70);

#[test]
fn every_panel_shows_something() {
    let mut site = Site::start();
    let crowd = traffic::run(&site, TIME);
    // A busy machine may take longer until all of it has been scraped.
    let began = Instant::now();
    let mut silent = questions();
    let mut faults;
    let mut looks = 0_u32;
    loop {
        silent.retain(|question| fault(&site.prometheus, question).is_some());
        faults = Vec::from_iter(silent.iter().filter_map(|it| fault(&site.prometheus, it)));
        faults.extend(series(&site.prometheus));
        faults.extend(exact_names(&site.prometheus));
        if faults.is_empty() || began.elapsed() > PATIENCE {
            break;
        }
        // What is down for a second has nobody notice if everybody is slow: once more.
        looks += 1;
        if looks.is_multiple_of(10) {
            traffic::outages(&site, TIME);
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    drop(crowd);
    let log = site.prometheus.log();
    faults.extend(log.lines().map(|line| format!("Prometheus: {line}")));
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    site.check();
}

/// A panel's question.
struct Question {
    panel: String,
    expr: String,
    /// Whether nothing but zeros is no answer.
    moves: bool,
}

/// Those of every panel of every dashboard.
fn questions() -> Vec<Question> {
    let mut all = Vec::new();
    for dashboard in dashboards::all() {
        for panel in &dashboard.panels {
            all.extend(panel.queries.iter().map(|query| {
                Question {
                    panel: format!("{} / {}", dashboard.name, panel.title),
                    expr: query
                        .expr
                        .replace("$__rate_interval", "20s")
                        .replace("$route", ".*"),
                    moves: panel.quiet.is_none(),
                }
            }));
        }
    }
    assert!(all.len() > 60, "{} questions", all.len());
    all
}

/// What is wrong with the answer: a question brings series, and something else than zeros unless its panel says why not.
fn fault(prometheus: &Prometheus, question: &Question) -> Option<String> {
    let what = format!("{}: {}", question.panel, question.expr);
    let series = match prometheus.query(&question.expr) {
        Err(e) => return Some(format!("{what}: {e}")),
        Ok(series) if series.is_empty() => return Some(format!("{what}: no data")),
        Ok(series) => series,
    };
    let mut values = series.iter().map(Series::last);
    let moves = values.any(|value| value.is_finite() && value > 0.0);
    (question.moves && !moves).then(|| format!("{what}: nothing but zeros"))
}

/// All that is scraped is in the table, with these labels and not more of it than that says; and what is in the table is
/// there.
fn series(prometheus: &Prometheus) -> Vec<String> {
    let ours = "{__name__=~\"(portcullis|redis_proxy|kong)_.*\"}";
    let all = prometheus.query(ours).unwrap();
    let mut faults = Vec::new();
    let mut found: BTreeSet<&str> = BTreeSet::new();
    for series in &all {
        let name = series.label("__name__").unwrap();
        let Some(row) = Metric::of_series(name) else {
            faults.push(format!("{name} is not in observe/src/metrics.rs"));
            continue;
        };
        found.insert(row.name);
        let labels: BTreeSet<&str> = series
            .labels
            .iter()
            .map(|(label, _)| label.as_str())
            .filter(|label| !["__name__", "job", "instance", "le"].contains(label))
            .collect();
        let expected: BTreeSet<&str> = row.labels.iter().copied().collect();
        if labels != expected {
            faults.push(format!("{name} has labels {labels:?}"));
        }
    }
    for row in METRICS {
        let here = match row.of {
            // Not in the shipped chain.
            Of::Filter("upstream_identity") => false,
            Of::EveryFilter | Of::Waiting | Of::Filter(_) => !ABSENT.contains(&row.name),
            Of::RedisProxy => !ABSENT.contains(&row.name),
            Of::FilterInKong(_) | Of::Drift => false,
        };
        if here && !found.contains(row.name) {
            faults.push(format!("{} is nowhere", row.name));
        }
        let count = all
            .iter()
            .filter(|it| it.label("__name__") == Some(row.name))
            .count();
        if count > row.bound.most(1) {
            faults.push(format!("{} has {count} series", row.name));
        }
    }
    faults
}

/// What this run does not bring about.
const ABSENT: [&str; 5] = [
    "portcullis_rate_limit_shadowed",
    "redis_proxy_adaptive_factor",
    "redis_proxy_edge_refused_total",
    "redis_proxy_quota_store_failures_total",
    "redis_proxy_spans_total",
];

/// The two that operators know by name (R6, T3).
fn exact_names(prometheus: &Prometheus) -> Vec<String> {
    let queries = [
        "kong_ratelimit_throttled_total{dimension=\"tenant\",tenant=\"small-bank\",tier=\"p3\"} > 0",
        "kong_ratelimit_throttled_total{dimension=\"ip\"} > 0",
        "kong_tarpit_active_connections > 0",
    ];
    let absent = |query: &&str| prometheus.query(query).is_ok_and(|it| it.is_empty());
    queries
        .into_iter()
        .filter(absent)
        .map(|query| format!("{query}: no data"))
        .collect()
}
