//! Alerts (O4), and what tests them: for each, a course of series that fires it and one that does not.

use std::fmt::Write as _;

use crate::yaml;

/// An alert.
#[derive(Clone, Debug)]
pub struct Alert {
    pub name: &'static str,
    pub expr: &'static str,
    /// How long it must hold.
    pub hold: &'static str,
    pub severity: Severity,
    /// Whose it is.
    pub team: &'static str,
    pub summary: &'static str,
    /// What fires it.
    pub fires: Course,
    /// What comes close and does not.
    pub rests: Course,
}

/// `page`: somebody gets up. `ticket`: in working hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    Page,
    Ticket,
}

/// Series as promtool writes them, a sample every 15 s, looked at 20 minutes in.
#[derive(Clone, Debug)]
pub struct Course {
    pub series: &'static [(&'static str, &'static str)],
    /// Labels of what fires, beside `severity` and `team`; one for each.
    pub with: &'static [&'static [(&'static str, &'static str)]],
}

const NOT: &[&[(&str, &str)]] = &[];
const ONCE: &[&[(&str, &str)]] = &[&[]];

const fn fires(series: &'static [(&'static str, &'static str)]) -> Course {
    Course { series, with: ONCE }
}

const fn rests(series: &'static [(&'static str, &'static str)]) -> Course {
    Course { series, with: NOT }
}

/// Where runbooks are read. Set it to the place of your fork.
pub const RUNBOOKS: &str = "https://portcullis.example.com/docs/runbooks";

/// All of them.
#[must_use]
#[allow(clippy::too_many_lines, reason = "a list")]
pub fn alerts() -> Vec<Alert> {
    use Severity::{Page, Ticket};
    vec![
        Alert {
            name: "EdgeDeniedSpike",
            expr: "edge:denied:per_minute > 10",
            hold: "0m",
            severity: Page,
            team: "security",
            summary: "{{ $value | printf \"%.0f\" }} requests a minute are refused with EDGE_DENIED",
            fires: fires(&[(DENIED, "0+3x100")]),
            rests: rests(&[(DENIED, "0+2x100")]),
        },
        Alert {
            name: "EdgeTarpitCrowded",
            expr: "sum(kong_tarpit_active_connections) > 1000",
            hold: "5m",
            severity: Page,
            team: "security",
            summary: "{{ $value }} requests are held by the tarpit",
            fires: fires(&[
                ("kong_tarpit_active_connections{instance=\"a\"}", "600x100"),
                ("kong_tarpit_active_connections{instance=\"b\"}", "401x100"),
            ]),
            rests: rests(&[
                ("kong_tarpit_active_connections{instance=\"a\"}", "600x100"),
                (
                    "kong_tarpit_active_connections{instance=\"b\"}",
                    "0x63 5000x40",
                ),
            ]),
        },
        Alert {
            name: "EdgeGuardrailHalfUsed",
            expr: "edge:guardrail:share > 0.5",
            hold: "5m",
            severity: Page,
            team: "edge",
            summary: "{{ $value | humanizePercentage }} of the limit over all requests is used",
            fires: fires(&[(GLOBAL, "0+37600x100")]),
            rests: rests(&[(GLOBAL, "0+37400x100")]),
        },
        Alert {
            name: "EdgeThrottlingStorm",
            expr: "sum by (tenant) (rate(kong_ratelimit_throttled_total[5m])) > 0.1 * scalar(sum(edge:requests:rate1m)) > 1",
            hold: "5m",
            severity: Ticket,
            team: "edge",
            summary: "More than a tenth of all requests is refused by limits of tenant {{ $labels.tenant }}",
            fires: Course {
                series: &[(REQUESTS, "0+1500x100"), (THROTTLED, "0+300x100")],
                with: &[&[("tenant", "acme")]],
            },
            rests: rests(&[(REQUESTS, "0+1500x100"), (THROTTLED, "0+100x100")]),
        },
        Alert {
            name: "EdgeLimiterDown",
            expr: "min by (instance) (portcullis_rate_limit_proxy_up) == 0 or min by (instance) (redis_proxy_store_ready) == 0",
            hold: "1m",
            severity: Page,
            team: "edge",
            summary: "Limits are decided without redis-proxy, or redis-proxy without its store ({{ $labels.instance }})",
            fires: Course {
                series: &[
                    (
                        "portcullis_rate_limit_proxy_up{instance=\"gw\"}",
                        "1x60 0x40",
                    ),
                    ("redis_proxy_store_ready{instance=\"rp\"}", "1x60 0x40"),
                ],
                with: &[&[("instance", "gw")], &[("instance", "rp")]],
            },
            rests: rests(&[
                (
                    "portcullis_rate_limit_proxy_up{instance=\"gw\"}",
                    "1x77 0x10",
                ),
                ("redis_proxy_store_ready{instance=\"rp\"}", "1x100"),
            ]),
        },
        Alert {
            name: "EdgeJwksStale",
            expr: "sum by (provider) (increase(portcullis_auth_jwks_fetches{result=\"failed\"}[10m])) > 0\n\
                   unless sum by (provider) (increase(portcullis_auth_jwks_fetches{result=\"ok\"}[10m])) > 0",
            hold: "2m",
            severity: Page,
            team: "identity",
            summary: "The key set of {{ $labels.provider }} was not fetched for 10 minutes: its tokens will be refused with 503 when the known one expires",
            fires: Course {
                series: &[(JWKS_FAILED, "0+1x100"), (JWKS_OK, "7x100")],
                with: &[&[("provider", "staff")]],
            },
            rests: rests(&[(JWKS_FAILED, "0+1x100"), (JWKS_OK, "0x20 1x20 2x20 3x40")]),
        },
        Alert {
            name: "EdgeKeyLookupsFail",
            expr: "sum(rate(portcullis_auth_key_lookups{result=\"failed\"}[5m])) / sum(rate(portcullis_auth_key_lookups[5m])) > 0.05",
            hold: "2m",
            severity: Page,
            team: "identity",
            summary: "{{ $value | humanizePercentage }} of the questions to the resolver of API keys fail: unknown keys get 503",
            fires: fires(&[
                ("portcullis_auth_key_lookups{result=\"failed\"}", "0+1x100"),
                ("portcullis_auth_key_lookups{result=\"active\"}", "0+15x100"),
            ]),
            rests: rests(&[
                ("portcullis_auth_key_lookups{result=\"failed\"}", "0+1x100"),
                ("portcullis_auth_key_lookups{result=\"active\"}", "0+25x100"),
            ]),
        },
        Alert {
            name: "EdgeCredentialGuessing",
            expr: "sum(increase(portcullis_requests{filter=\"auth\",code=\"too_many_failures\"}[5m])) > 100",
            hold: "0m",
            severity: Ticket,
            team: "security",
            summary: "{{ $value | printf \"%.0f\" }} requests in 5 minutes came from addresses that guess credentials",
            fires: fires(&[(GUESSES, "0+6x100")]),
            rests: rests(&[(GUESSES, "0+4x100")]),
        },
        Alert {
            name: "EdgeListStale",
            expr: "max by (instance) (portcullis_fingerprint_deny_list_age_seconds) > 10\n\
                   or max by (instance) (redis_proxy_edge_age_seconds) > 10",
            hold: "1m",
            severity: Page,
            team: "edge",
            summary: "{{ $labels.instance }} follows a list that is {{ $value | humanizeDuration }} old: nothing that is pushed takes effect there",
            fires: Course {
                series: &[(
                    "portcullis_fingerprint_deny_list_age_seconds{instance=\"gw\"}",
                    "0x60 1+15x40",
                )],
                with: &[&[("instance", "gw")]],
            },
            rests: rests(&[(
                "portcullis_fingerprint_deny_list_age_seconds{instance=\"gw\"}",
                "0x77 286x10",
            )]),
        },
        Alert {
            name: "EdgeFilterFaults",
            expr: "sum by (filter) (increase(portcullis_requests{outcome=\"faulted\"}[5m])) > 0\n\
                   or sum by (filter) (increase(envoy_wasm_vm_reload[5m])) > 0",
            hold: "0m",
            severity: Page,
            team: "edge",
            summary: "{{ $labels.filter }} could not decide through a fault of its own, or trapped and was replaced, {{ $value | printf \"%.0f\" }} times",
            fires: Course {
                series: &[
                    (
                        "portcullis_requests{filter=\"auth\",outcome=\"faulted\",code=\"fault\"}",
                        "0x70 1x30",
                    ),
                    ("envoy_wasm_vm_reload{filter=\"tarpit\"}", "0x70 1x30"),
                ],
                with: &[&[("filter", "auth")], &[("filter", "tarpit")]],
            },
            rests: rests(&[(
                "portcullis_requests{filter=\"auth\",outcome=\"faulted\",code=\"fault\"}",
                "1x100",
            )]),
        },
        Alert {
            name: "EdgeErrors",
            expr: "sum by (gateway) (edge:requests:rate1m{class=\"5xx\"}) / sum by (gateway) (edge:requests:rate1m) > 0.01",
            hold: "5m",
            severity: Page,
            team: "edge",
            summary: "{{ $value | humanizePercentage }} of the requests at {{ $labels.gateway }} are answered with 5xx",
            fires: Course {
                series: &[(REQUESTS, "0+98x100"), (ERRORS, "0+2x100")],
                with: &[&[("gateway", "envoy")]],
            },
            rests: rests(&[(REQUESTS, "0+995x100"), (ERRORS, "0+5x100")]),
        },
        Alert {
            name: "EdgeSlow",
            expr: "edge:gateway_milliseconds:mean > 50",
            hold: "10m",
            severity: Ticket,
            team: "edge",
            summary: "A request spends {{ $value | printf \"%.0f\" }} ms on average in {{ $labels.gateway }} itself",
            fires: Course {
                series: &[
                    ("kong_kong_latency_ms_sum", "0+6000x100"),
                    ("kong_kong_latency_ms_count", "0+100x100"),
                ],
                with: &[&[("gateway", "kong")]],
            },
            rests: rests(&[
                ("kong_kong_latency_ms_sum", "0+4000x100"),
                ("kong_kong_latency_ms_count", "0+100x100"),
            ]),
        },
        Alert {
            name: "EdgeTargetDown",
            expr: "up{job=~\"envoy|kong|redis-proxy\"} == 0",
            hold: "1m",
            severity: Page,
            team: "edge",
            summary: "{{ $labels.job }} {{ $labels.instance }} does not answer",
            fires: Course {
                series: &[("up{job=\"redis-proxy\",instance=\"rp\"}", "1x60 0x40")],
                with: &[&[("job", "redis-proxy"), ("instance", "rp")]],
            },
            rests: rests(&[
                ("up{job=\"redis-proxy\",instance=\"rp\"}", "1x77 0x10"),
                ("up{job=\"other\",instance=\"o\"}", "0x100"),
            ]),
        },
        Alert {
            name: "EdgeEventsWaiting",
            expr: "sum by (list) (redis_proxy_edge_events_waiting) > 100",
            hold: "5m",
            severity: Ticket,
            team: "security",
            summary: "{{ $value }} events of list {{ $labels.list }} wait for NATS; at nats.max_pending changes are refused",
            fires: Course {
                series: &[("redis_proxy_edge_events_waiting{list=\"deny\"}", "0+5x100")],
                with: &[&[("list", "deny")]],
            },
            rests: rests(&[("redis_proxy_edge_events_waiting{list=\"deny\"}", "90x100")]),
        },
        Alert {
            name: "EdgeQuotaEventsLate",
            expr: "max(redis_proxy_quota_lag_seconds) > 300 or sum(increase(redis_proxy_quota_dead_events_total[15m])) > 0",
            hold: "5m",
            severity: Ticket,
            team: "edge",
            summary: "Quota events are late, or made no sense and went to the dead-letter subject: what tenants have used is not known as it should be",
            fires: fires(&[(
                "redis_proxy_quota_dead_events_total{reason=\"bad_count\"}",
                "0x50 1x50",
            )]),
            rests: rests(&[
                ("redis_proxy_quota_lag_seconds", "299x100"),
                (
                    "redis_proxy_quota_dead_events_total{reason=\"bad_count\"}",
                    "1x100",
                ),
            ]),
        },
        Alert {
            name: "EdgeUpstreamMtlsFail",
            expr: "sum by (reason) (increase(portcullis_upstream_identity_failures[5m])) > 0",
            hold: "0m",
            severity: Page,
            team: "security",
            summary: "{{ $value | printf \"%.0f\" }} responses of upstreams were not believed: {{ $labels.reason }}. Their requests got 502 UPSTREAM_MTLS_FAIL",
            fires: Course {
                series: &[(
                    "portcullis_upstream_identity_failures{reason=\"mismatch\"}",
                    "0x70 1x30",
                )],
                with: &[&[("reason", "mismatch")]],
            },
            rests: rests(&[(
                "portcullis_upstream_identity_failures{reason=\"mismatch\"}",
                "5x100",
            )]),
        },
        Alert {
            name: "KongConfigDrift",
            expr: "max by (gateway) (portcullis_config_drift) == 1\n\
                   or time() - max by (gateway) (portcullis_config_drift_checked_timestamp_seconds) > 7200",
            hold: "5m",
            severity: Ticket,
            team: "edge",
            summary: "The running {{ $labels.gateway }} differs from its configuration in Git, or has not been compared for two hours",
            fires: Course {
                series: &[
                    ("portcullis_config_drift{gateway=\"kong\"}", "0x40 1x60"),
                    (
                        "portcullis_config_drift_checked_timestamp_seconds{gateway=\"envoy\"}",
                        "-7000x100",
                    ),
                ],
                with: &[&[("gateway", "kong")], &[("gateway", "envoy")]],
            },
            rests: rests(&[
                ("portcullis_config_drift{gateway=\"kong\"}", "0x63 1x40"),
                (
                    "portcullis_config_drift_checked_timestamp_seconds{gateway=\"kong\"}",
                    "-5900x100",
                ),
            ]),
        },
        Alert {
            name: "EdgeProbeFails",
            expr: "max_over_time(probe_success{job=\"edge-health\"}[90s]) == 0 or max_over_time(probe_success{job=\"edge-post\"}[11m]) == 0",
            hold: "0m",
            severity: Page,
            team: "edge",
            summary: "The probe {{ $labels.job }} of {{ $labels.instance }} fails",
            fires: Course {
                series: &[(
                    "probe_success{job=\"edge-health\",instance=\"api\"}",
                    "1x60 0x40",
                )],
                with: &[&[("job", "edge-health"), ("instance", "api")]],
            },
            rests: rests(&[(
                "probe_success{job=\"edge-health\",instance=\"api\"}",
                "1x76 0x3 1x40",
            )]),
        },
    ]
}

const DENIED: &str =
    "portcullis_requests{filter=\"fingerprint_deny\",outcome=\"denied\",code=\"EDGE_DENIED\"}";
const GLOBAL: &str = "redis_proxy_granted_tokens_total{dimension=\"global\"}";
const REQUESTS: &str = "envoy_http_downstream_rq_xx{envoy_http_conn_manager_prefix=\"https\",envoy_response_code_class=\"2\"}";
const ERRORS: &str = "envoy_http_downstream_rq_xx{envoy_http_conn_manager_prefix=\"https\",envoy_response_code_class=\"5\"}";
const THROTTLED: &str =
    "kong_ratelimit_throttled_total{dimension=\"tenant\",tenant=\"acme\",tier=\"p3\"}";
const JWKS_FAILED: &str = "portcullis_auth_jwks_fetches{provider=\"staff\",result=\"failed\"}";
const JWKS_OK: &str = "portcullis_auth_jwks_fetches{provider=\"staff\",result=\"ok\"}";
const GUESSES: &str =
    "portcullis_requests{filter=\"auth\",outcome=\"denied\",code=\"too_many_failures\"}";

impl Severity {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::Ticket => "ticket",
        }
    }
}

impl Alert {
    /// Its runbook's file, without folder: `edge-denied-spike.md`.
    #[must_use]
    pub fn runbook(&self) -> String {
        let mut out = String::new();
        for c in self.name.chars() {
            if c.is_ascii_uppercase() && !out.is_empty() {
                out.push('-');
            }
            out.push(c.to_ascii_lowercase());
        }
        out + ".md"
    }
}

/// `ops/prometheus/alerts.yml`.
#[must_use]
pub fn file() -> String {
    let mut out = yaml::comment(
        "Generated from observe/src/alerts.rs. Each has a runbook in docs/runbooks; put your own address in place of that \
         in runbook_url. Tests: alerts_test.yml (promtool test rules).",
    );
    out.push_str("groups:\n- name: edge-alerts\n  rules:\n");
    for alert in alerts() {
        writeln!(out, "  - alert: {}", alert.name).unwrap();
        out.push_str(&yaml::expression(4, alert.expr));
        if alert.hold != "0m" {
            writeln!(out, "    for: {}", alert.hold).unwrap();
        }
        writeln!(
            out,
            "    labels: {{ severity: {}, team: {} }}\n    annotations:\n      summary: {}\n      runbook_url: {}",
            alert.severity.as_str(),
            alert.team,
            yaml::quoted(alert.summary),
            yaml::quoted(&format!("{RUNBOOKS}/{}", alert.runbook())),
        )
        .unwrap();
    }
    out
}

/// `ops/prometheus/alerts_test.yml`.
#[must_use]
pub fn tests() -> String {
    let mut out = yaml::comment(
        "Generated from observe/src/alerts.rs: promtool test rules alerts_test.yml. For each alert a course that fires it and \
         one that comes close.",
    );
    out.push_str("rule_files: [ recording.yml, alerts.yml ]\nevaluation_interval: 1m\ntests:\n");
    for alert in alerts() {
        for (word, course) in [("fires", &alert.fires), ("rests", &alert.rests)] {
            writeln!(
                out,
                "- name: {} {word}\n  interval: 15s\n  input_series:",
                alert.name
            )
            .unwrap();
            for (series, values) in course.series {
                writeln!(out, "  - {{ series: '{series}', values: '{values}' }}").unwrap();
            }
            let firing = format!(
                "ALERTS{{alertname=\"{}\",alertstate=\"firing\"}}",
                alert.name
            );
            writeln!(
                out,
                "  promql_expr_test:\n  - expr: '{firing}'\n    eval_time: 20m\n    exp_samples:{}",
                if course.with.is_empty() { " []" } else { "" }
            )
            .unwrap();
            for labels in course.with {
                let mut all = vec![
                    ("alertname", alert.name),
                    ("alertstate", "firing"),
                    ("severity", alert.severity.as_str()),
                    ("team", alert.team),
                ];
                all.extend_from_slice(labels);
                let all: Vec<String> = all.iter().map(|(n, v)| format!("{n}=\"{v}\"")).collect();
                writeln!(
                    out,
                    "    - {{ labels: 'ALERTS{{{}}}', value: 1 }}",
                    all.join(",")
                )
                .unwrap();
            }
        }
    }
    out
}

#[cfg(test)]
mod tests_of_names {
    #[test]
    fn runbooks_are_named_after_alerts() {
        let names: Vec<String> = super::alerts().iter().map(super::Alert::runbook).collect();
        assert_eq!(names[0], "edge-denied-spike.md");
        assert!(names.contains(&"kong-config-drift.md".to_owned()));
    }
}
