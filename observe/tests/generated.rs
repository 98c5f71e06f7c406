//! What this crate writes is what lies in the repository, and what it says of metrics is what the code counts.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that cannot go on fails"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use observe::metrics::{Bound, Kind, METRICS, Metric, Of};
use observe::{alerts, dashboards, metrics, recording, scrape};
use policy::{Filter, Metric as _};
use portcullis::Portcullis;
use serde_json::Value;
use testkit::meta::assert_is;
use testkit::workspace;
use upstream_identity::UpstreamIdentity;

const BEGIN: &str = "<!-- metrics: generated from observe/src/metrics.rs, `UPDATE=1 cargo test --package observe` rewrites -->";
const END: &str = "<!-- end of metrics -->";

#[test]
fn the_table_in_the_readme() {
    let path = workspace::root().join("README.md");
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("its place in README.md");
    let (_, after) = rest.split_once(END).expect("its end in README.md");
    assert_is(
        &path,
        &format!("{before}{BEGIN}\n{}{END}{after}", metrics::table()),
    );
}

#[test]
fn dashboards_and_rules() {
    let ops = workspace::root().join("ops");
    for (name, text) in [
        ("recording.yml", recording::file()),
        ("alerts.yml", alerts::file()),
        ("alerts_test.yml", alerts::tests()),
        ("prometheus.yml", scrape::file()),
        ("blackbox.yml", scrape::blackbox()),
    ] {
        assert_is(&ops.join("prometheus").join(name), &text);
    }
    let mut expected = BTreeSet::new();
    for dashboard in dashboards::all() {
        let name = format!("{}.json", dashboard.name);
        assert_is(&ops.join("grafana").join(&name), &dashboard.in_grafana());
        let drawn = format!("docs/dashboards/{}.svg", dashboard.name);
        assert!(
            workspace::root().join(&drawn).is_file(),
            "make dashboards draws {drawn}"
        );
        expected.insert(name);
    }
    let found = fs::read_dir(ops.join("grafana")).unwrap();
    let found: BTreeSet<String> = found
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    assert_eq!(
        found, expected,
        "ops/grafana holds what is generated, and nothing else"
    );
}

/// Of every filter in the chain, with one provider.
const CHAIN: &str = "ops/envoy/one-vm.yaml";

/// The chain's configuration as it is shipped.
fn shipped() -> String {
    let text = fs::read_to_string(workspace::root().join(CHAIN)).unwrap();
    let (_, rest) = text.split_once("value: |\n").expect("a configuration");
    let indent = rest.len() - rest.trim_start().len();
    let lines = rest.lines().take_while(|line| {
        line.trim().is_empty() || line.len() - line.trim_start().len() >= indent
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Of the filter that is no link of the chain.
const IDENTITY: &str = r#"{ "routes": [ { "spiffe_ids": [ "spiffe://prod.example/orders" ] } ] }"#;

/// Counts what a filter defines with this configuration, by name.
fn count<F: Filter>(config: &str, counts: &mut BTreeMap<&'static str, usize>) {
    let config = F::load(config.as_bytes())
        .unwrap_or_else(|errors| panic!("{:?}", errors.lines(F::NAME).collect::<Vec<_>>()));
    let series = F::series(&config);
    let mut add = |name: &str, kind, labels: Vec<&str>| {
        let row = METRICS.iter().find(|row| row.name == name);
        let row = row.unwrap_or_else(|| panic!("{name} is not in observe/src/metrics.rs"));
        assert_eq!(row.kind, kind, "{name}");
        assert_eq!(row.labels, labels, "{name}");
        *counts.entry(row.name).or_default() += 1;
    };
    for metric in &series.metrics {
        let kind = match metric.kind() {
            policy::Kind::Counter => Kind::Counter,
            policy::Kind::Gauge | policy::Kind::Sum => Kind::Gauge,
        };
        let labels = metric.labels();
        let labels = labels.iter().map(|(label, _)| *label).collect();
        add(metric.name(), kind, labels);
    }
    for _ in &series.waits {
        add(
            "portcullis_wait_milliseconds",
            Kind::Histogram,
            vec!["filter"],
        );
    }
    for _ in &series.outcomes {
        let labels = vec!["filter", "outcome", "code"];
        add("portcullis_requests", Kind::Counter, labels);
    }
}

/// Names of the table are those of the code, with these types and labels, and not more series than it says.
#[test]
fn the_table_is_what_the_filters_count() {
    let mut counts = BTreeMap::new();
    count::<Portcullis>(&shipped(), &mut counts);
    count::<UpstreamIdentity>(IDENTITY, &mut counts);
    for row in METRICS {
        let found = counts.get(row.name).copied().unwrap_or_default();
        match (row.of, row.bound) {
            (Of::RedisProxy | Of::Drift | Of::FilterInKong(_), _) => {
                assert_eq!(found, 0, "{}", row.name)
            }
            // Their labels are known when they first move: tests/live.rs sees them.
            _ if row.labels.contains(&"tenant") => assert_eq!(found, 0, "{}", row.name),
            (_, Bound::Exactly(_) | Bound::PerProvider(_)) => {
                assert_eq!(found, row.bound.most(1), "{}", row.name);
            }
            (_, bound) => assert!(
                (1..=bound.most(1)).contains(&found),
                "{}: {found} series",
                row.name
            ),
        }
    }
}

/// Filters that the chain has no place for would be missing above.
#[test]
fn every_filter_is_looked_at() {
    let chain: BTreeSet<String> = [
        "auth",
        "edge-headers",
        "fingerprint-deny",
        "portcullis",
        "quota",
        "rate-limit",
        "tarpit",
        "upstream-identity",
    ]
    .map(str::to_owned)
    .into();
    let filters = fs::read_dir(workspace::root().join("filters")).unwrap();
    let filters: BTreeSet<String> = filters
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("Cargo.toml").is_file())
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    assert_eq!(filters, chain);
    let prefixes = scrape::FILTERS.map(|name| name.replace('_', "-"));
    assert_eq!(filters, prefixes.into());
}

/// Where a metric of redis-proxy is registered, its name and its meaning stand together.
#[test]
fn the_table_is_what_redis_proxy_registers() {
    let mut found = BTreeMap::new();
    registered(&workspace::root().join("redis-proxy/src"), &mut found);
    let expected: BTreeMap<String, String> = METRICS
        .iter()
        .filter(|row| row.of == Of::RedisProxy)
        .map(|row| {
            let name = row.name.strip_prefix("redis_proxy_").unwrap();
            let name = name.strip_suffix("_total").unwrap_or(name);
            // What the table says beside what /metrics does.
            let meaning = row.meaning.split([':', ';']).next().unwrap();
            (
                name.to_owned(),
                meaning.split(" (R").next().unwrap().to_owned(),
            )
        })
        .collect();
    for (name, help) in &found {
        let meaning = expected.get(name);
        let meaning = meaning.unwrap_or_else(|| panic!("{name} is not in observe/src/metrics.rs"));
        assert!(
            help.starts_with(meaning.as_str()),
            "{name}: {help:?} is not {meaning:?}"
        );
    }
    let names = |map: &BTreeMap<String, String>| map.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&expected), names(&found));
}

/// `portcullis drift` writes its metrics by hand.
#[test]
fn the_table_is_what_drift_writes() {
    let source = workspace::root().join("cli/src/drift/metrics.rs");
    let text = fs::read_to_string(source).unwrap();
    let found: BTreeSet<&str> = text
        .split("# TYPE ")
        .skip(1)
        .filter_map(|rest| rest.split(' ').next())
        .collect();
    let rows = METRICS.iter().filter(|row| row.of == Of::Drift);
    assert_eq!(found, rows.map(|row| row.name).collect());
}

/// What the Prometheus operator is told to keep of Envoy is enough for the rules.
#[test]
fn the_service_monitor_keeps_what_is_asked_for() {
    let path = workspace::root().join("ops/kubernetes/service-monitor.yaml");
    let text = fs::read_to_string(path).unwrap();
    let kept = text
        .split("envoy_(")
        .nth(1)
        .unwrap()
        .split(')')
        .next()
        .unwrap();
    let kept: BTreeSet<&str> = kept.split('|').collect();
    for rule in recording::rules() {
        for name in rule.expr.split("envoy_").skip(1) {
            // A label, as against a metric.
            if name.starts_with("http_conn_manager")
                || name.starts_with("response_code")
                || name.starts_with("route")
                || name.starts_with("cluster_name")
            {
                continue;
            }
            let part = name.split('_').next().unwrap();
            assert!(
                kept.contains(part),
                "envoy_{part}_ is dropped, and {} needs it",
                rule.record
            );
        }
    }
}

fn registered(folder: &Path, found: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            registered(&path, found);
            continue;
        }
        let text = fs::read_to_string(&path).unwrap_or_default();
        for part in text
            .split(".register(\n")
            .skip(1)
            .chain(text.split(".register(\"").skip(1))
        {
            let part = if part.trim_start().starts_with('"') {
                part.to_owned()
            } else {
                format!("\"{part}")
            };
            let mut strings = part.split('"');
            let name = strings.nth(1).unwrap().to_owned();
            let help = strings.nth(1).unwrap().to_owned();
            found.insert(name, help);
        }
    }
}

/// A runbook says how to confirm, how to stop it and how to undo that; and there is none without an alert.
#[test]
fn every_alert_has_its_runbook() {
    let folder = workspace::root().join("docs/runbooks");
    let mut expected: BTreeSet<String> = ["README.md".to_owned()].into();
    for alert in alerts::alerts() {
        let name = alert.runbook();
        let text = fs::read_to_string(folder.join(&name)).unwrap_or_default();
        assert!(
            text.starts_with(&format!("# {}\n", alert.name)),
            "docs/runbooks/{name}: title"
        );
        for heading in ["\n## Confirm\n", "\n## Stop\n", "\n## Undo\n"] {
            let part = text.split_once(heading).map(|(_, rest)| rest);
            let part = part.unwrap_or_else(|| panic!("docs/runbooks/{name} lacks {heading:?}"));
            let body = part.split("\n## ").next().unwrap_or_default();
            assert!(
                body.trim().len() > 40,
                "docs/runbooks/{name}: {heading:?} says nothing"
            );
        }
        assert!(
            alerts::file().contains(&format!("/docs/runbooks/{name}\"")),
            "{name}"
        );
        expected.insert(name);
    }
    let found: BTreeSet<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    assert_eq!(found, expected);
}

/// Grafana's schema asks for more than this; what it cannot do without is looked at.
#[test]
fn dashboards_can_be_imported() {
    let mut uids = BTreeSet::new();
    for dashboard in dashboards::all() {
        let document: Value = serde_json::from_str(&dashboard.in_grafana()).unwrap();
        assert!(uids.insert(document["uid"].to_string()));
        assert!(document["uid"].as_str().unwrap().len() <= 40);
        assert!(document["schemaVersion"].as_u64().unwrap() >= 36);
        let mut ids = BTreeSet::new();
        for panel in document["panels"].as_array().unwrap() {
            assert!(ids.insert(panel["id"].as_u64().unwrap()));
            assert_eq!(panel["datasource"]["uid"], "${datasource}");
            for target in panel["targets"].as_array().unwrap() {
                assert!(!target["expr"].as_str().unwrap().is_empty());
            }
        }
    }
}

/// What dashboards and alerts ask for is in the table, is recorded here, or is the gateways' own.
#[test]
fn nothing_is_asked_for_that_nobody_counts() {
    let records: BTreeSet<&str> = recording::rules().iter().map(|rule| rule.record).collect();
    let asked = dashboards::all()
        .iter()
        .flat_map(|it| it.panels.clone())
        .flat_map(|panel| panel.queries)
        .map(|query| query.expr)
        .chain(alerts::alerts().iter().map(|alert| alert.expr.to_owned()))
        .chain(recording::rules().iter().map(|rule| rule.expr.clone()))
        .collect::<Vec<_>>();
    for expr in asked {
        let words = expr.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | ':')));
        for word in words {
            let ours = [
                "portcullis_",
                "redis_proxy_",
                "kong_ratelimit_",
                "kong_tarpit_",
            ];
            if ours.iter().any(|prefix| word.starts_with(prefix)) {
                assert!(Metric::of_series(word).is_some(), "{word} in {expr}");
            }
            if word.starts_with("edge:") {
                assert!(records.contains(word), "{word} in {expr}");
            }
        }
    }
}
