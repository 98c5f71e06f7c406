//! Recording rules: what Envoy and Kong count alike under names of their own gets one name, with a label `gateway`.

use crate::yaml;

/// A rule.
#[derive(Clone, Debug)]
pub struct Rule {
    pub record: &'static str,
    pub expr: String,
    pub labels: Vec<(&'static str, &'static str)>,
}

/// The limit over all requests that the shipped configurations set (R8), requests/s.
pub const GUARDRAIL: u32 = 5_000;

/// Envoy's own admin port is no edge.
const ENVOYS: &str = "envoy_http_conn_manager_prefix!=\"admin\"";
const QUANTILES: [&str; 3] = ["0.5", "0.95", "0.99"];

/// All of them.
#[must_use]
pub fn rules() -> Vec<Rule> {
    let mut rules = vec![
        of(
            "edge:requests:rate1m",
            "envoy",
            format!(
                "sum by (class) (label_replace(rate(envoy_http_downstream_rq_xx{{{ENVOYS}}}[1m]),\n\
                 \"class\", \"${{1}}xx\", \"envoy_response_code_class\", \"(.)\"))"
            ),
        ),
        of(
            "edge:requests:rate1m",
            "kong",
            "sum by (class) (label_replace(rate(kong_http_requests_total[1m]),\n\
             \"class\", \"${1}xx\", \"code\", \"(.).*\"))",
        ),
        of(
            "edge:route_requests:rate1m",
            "envoy",
            "sum by (route, class) (label_replace(label_replace(rate(envoy_vhost_route_upstream_rq_xx[1m]),\n\
             \"class\", \"${1}xx\", \"envoy_response_code_class\", \"(.)\"),\n\
             \"route\", \"$1\", \"envoy_route\", \"(.*)\"))",
        ),
        of(
            "edge:route_requests:rate1m",
            "kong",
            "sum by (route, class) (label_replace(rate(kong_http_requests_total[1m]),\n\
             \"class\", \"${1}xx\", \"code\", \"(.).*\"))",
        ),
        of(
            "edge:gateway_milliseconds:mean",
            "envoy",
            format!(
                "(sum(rate(envoy_http_downstream_rq_time_sum{{{ENVOYS}}}[1m])) - sum(rate(envoy_vhost_route_upstream_rq_time_sum[1m])))\n\
                 / sum(rate(envoy_http_downstream_rq_time_count{{{ENVOYS}}}[1m]))"
            ),
        ),
        of(
            "edge:gateway_milliseconds:mean",
            "kong",
            "sum(rate(kong_kong_latency_ms_sum[1m])) / sum(rate(kong_kong_latency_ms_count[1m]))",
        ),
        of(
            "edge:connections",
            "envoy",
            format!("sum by (instance) (envoy_http_downstream_cx_active{{{ENVOYS}}})"),
        ),
        of(
            "edge:connections",
            "kong",
            "sum by (instance) (kong_nginx_connections_total{state=\"active\"})",
        ),
        of(
            "edge:memory_bytes",
            "envoy",
            "sum by (instance) (envoy_server_memory_allocated)",
        ),
        of(
            "edge:memory_bytes",
            "kong",
            "sum by (instance) (kong_memory_workers_lua_vms_bytes)",
        ),
    ];
    for q in QUANTILES {
        let mut quantile = |record, gateway, expr: String| {
            let mut rule = of(record, gateway, format!("histogram_quantile({q}, {expr})"));
            rule.labels.push(("quantile", q));
            rules.push(rule);
        };
        let rate = |by: &str, series: &str| format!("sum by ({by}) (rate({series}[1m]))");
        let renamed = |to: &str, from: &str, series: &str| {
            format!(
                "sum by ({to}, le) (label_replace(rate({series}[1m]),\n\"{to}\", \"$1\", \"{from}\", \"(.*)\"))"
            )
        };
        quantile(
            "edge:request_milliseconds:quantile",
            "envoy",
            rate(
                "le",
                &format!("envoy_http_downstream_rq_time_bucket{{{ENVOYS}}}"),
            ),
        );
        quantile(
            "edge:request_milliseconds:quantile",
            "kong",
            rate("le", "kong_request_latency_ms_bucket"),
        );
        quantile(
            "edge:route_milliseconds:quantile",
            "envoy",
            renamed(
                "route",
                "envoy_route",
                "envoy_vhost_route_upstream_rq_time_bucket",
            ),
        );
        quantile(
            "edge:route_milliseconds:quantile",
            "kong",
            rate("route, le", "kong_request_latency_ms_bucket"),
        );
        quantile(
            "edge:upstream_milliseconds:quantile",
            "envoy",
            renamed(
                "upstream",
                "envoy_cluster_name",
                "envoy_cluster_upstream_rq_time_bucket",
            ),
        );
        quantile(
            "edge:upstream_milliseconds:quantile",
            "kong",
            renamed("upstream", "service", "kong_upstream_latency_ms_bucket"),
        );
    }
    rules.push(Rule {
        record: "edge:guardrail:share",
        expr: format!(
            "(sum(rate(redis_proxy_granted_tokens_total{{dimension=\"global\"}}[1m]))\n\
             - (sum(rate(redis_proxy_given_back_tokens_total{{dimension=\"global\"}}[1m])) or vector(0))) / {GUARDRAIL}"
        ),
        labels: Vec::new(),
    });
    rules.push(Rule {
        record: "edge:denied:per_minute",
        expr: "sum(increase(portcullis_requests{filter=\"fingerprint_deny\",outcome=\"denied\",code=\"EDGE_DENIED\"}[1m]))"
            .to_owned(),
        labels: Vec::new(),
    });
    rules
}

fn of(record: &'static str, gateway: &'static str, expr: impl Into<String>) -> Rule {
    Rule {
        record,
        expr: expr.into(),
        labels: vec![("gateway", gateway)],
    }
}

/// `ops/prometheus/recording.yml`.
#[must_use]
pub fn file() -> String {
    let mut out = yaml::comment(
        "Generated from observe/src/recording.rs. One name for what Envoy and Kong count alike, for the dashboards and \
         the alerts. The guardrail is the limit over all requests of ops/: change its number with that.",
    );
    out.push_str("groups:\n- name: edge\n  rules:\n");
    for rule in rules() {
        out.push_str(&format!("  - record: {}\n", rule.record));
        out.push_str(&yaml::expression(4, &rule.expr));
        if !rule.labels.is_empty() {
            let labels: Vec<String> = rule
                .labels
                .iter()
                .map(|(name, value)| format!("{name}: {}", yaml::quoted(value)))
                .collect();
            out.push_str(&format!("    labels: {{ {} }}\n", labels.join(", ")));
        }
    }
    out
}
