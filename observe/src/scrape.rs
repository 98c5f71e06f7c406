//! What Prometheus is told: whom to scrape, and what becomes of Kong's prefixes.

use std::fmt::Write as _;

use crate::yaml;

/// A target, by the name that `ops/` gives it.
#[derive(Clone, Copy, Debug)]
pub struct Job {
    pub name: &'static str,
    pub target: &'static str,
    pub path: &'static str,
    about: &'static str,
}

/// Envoy, Kong, redis-proxy, and files.
pub const JOBS: [Job; 4] = [
    Job {
        name: "envoy",
        target: "envoy.internal:9901",
        path: "/stats/prometheus",
        about: "The admin port can do more than tell: let nobody else reach it.",
    },
    Job {
        name: "kong",
        target: "kong.internal:8100",
        path: "/metrics",
        about: "Kong puts pw_<filter>_ before each name of a filter's: taken off, and kept as label module, so that each name is the same in \
                both gateways (kong_ratelimit_throttled_total, kong_tarpit_active_connections).",
    },
    Job {
        name: "redis-proxy",
        target: "redis-proxy.internal:8970",
        path: "/metrics",
        about: "",
    },
    Job {
        name: "node",
        target: "ci.internal:9100",
        path: "/metrics",
        about: "node_exporter where `portcullis drift --metrics-file` runs, with --collector.textfile.directory.",
    },
];

/// Filters whose prefix is taken off: all.
pub const FILTERS: [&str; 8] = [
    "auth",
    "edge_headers",
    "fingerprint_deny",
    "portcullis",
    "quota",
    "rate_limit",
    "tarpit",
    "upstream_identity",
];

/// Envoy has the filter in the name of what counts virtual machines that trapped and were replaced.
const RELOADS: &str = "  metric_relabel_configs:\n  \
    - source_labels: [__name__]\n    regex: envoy_wasm_(.+)_vm_reload\n    target_label: filter\n    replacement: $1\n  \
    - source_labels: [__name__]\n    regex: envoy_wasm_.+_vm_reload\n    target_label: __name__\n    replacement: envoy_wasm_vm_reload\n";

/// Turns Kong's names into the filters' own.
#[must_use]
pub fn relabelling() -> String {
    // A filter's own name may begin like another's: the longest that fits is the right one, and names of metrics begin
    // with portcullis_ or kong_.
    let filters = FILTERS.join("|");
    format!(
        "    metric_relabel_configs:\n\
         \x20   - source_labels: [__name__]\n\
         \x20     regex: pw_({filters})_((?:portcullis|kong)_.+)\n\
         \x20     target_label: module\n\
         \x20     replacement: $1\n\
         \x20   - source_labels: [__name__]\n\
         \x20     regex: pw_(?:{filters})_((?:portcullis|kong)_.+)\n\
         \x20     target_label: __name__\n\
         \x20     replacement: $1\n\
         \x20   # Kong 3.9 leaves _bucket off the names of a filter's histograms.\n\
         \x20   - source_labels: [__name__, le]\n\
         \x20     regex: (portcullis_[a-z_]+_milliseconds);.+\n\
         \x20     target_label: __name__\n\
         \x20     replacement: ${{1}}_bucket\n"
    )
}

/// `ops/prometheus/prometheus.yml`.
#[must_use]
pub fn file() -> String {
    let mut out = yaml::comment(
        "Generated from observe/src/scrape.rs: an example to copy from. promtool check config prometheus.yml; the probes \
         are in blackbox.yml.",
    );
    out.push_str(
        "global:\n  scrape_interval: 15s\n  evaluation_interval: 15s\n\nrule_files: [ recording.yml, alerts.yml ]\n\nscrape_configs:\n",
    );
    for job in JOBS {
        if !job.about.is_empty() {
            out.push_str(&yaml::comment(job.about));
        }
        writeln!(out, "- job_name: {}", job.name).unwrap();
        writeln!(out, "  metrics_path: {}", job.path).unwrap();
        writeln!(
            out,
            "  static_configs: [ {{ targets: [ \"{}\" ] }} ]",
            job.target
        )
        .unwrap();
        if job.name == "envoy" {
            out.push_str(RELOADS);
        }
        if job.name == "kong" {
            out.push_str(&relabelling().replace("\n  ", "\n").replacen("  ", "", 1));
        }
    }
    out.push_str(&probes());
    out
}

/// Outside-in (O5): both probes go through the gateway, from the blackbox exporter of each region.
fn probes() -> String {
    let mut out = yaml::comment(
        "Synthetic probes: /health every 30 s, an authenticated POST every 5 minutes with a key of its own, through the \
         blackbox exporter (blackbox.yml). Run one in each of two regions at least.",
    );
    for (name, interval, module, target) in [
        (
            "edge-health",
            "30s",
            "edge_health",
            "https://api.example.com/health",
        ),
        (
            "edge-post",
            "5m",
            "edge_post",
            "https://api.example.com/v1/orders",
        ),
    ] {
        write!(
            out,
            "- job_name: {name}\n  scrape_interval: {interval}\n  scrape_timeout: 10s\n  metrics_path: /probe\n  params: {{ module: [ {module} ] }}\n  \
             static_configs: [ {{ targets: [ \"{target}\" ] }} ]\n  relabel_configs:\n  \
             - {{ source_labels: [ __address__ ], target_label: __param_target }}\n  \
             - {{ source_labels: [ __param_target ], target_label: instance }}\n  \
             - {{ target_label: __address__, replacement: \"blackbox.internal:9115\" }}\n"
        )
        .unwrap();
    }
    out
}

/// `ops/prometheus/blackbox.yml`.
#[must_use]
pub fn blackbox() -> String {
    let mut out = yaml::comment(
        "Generated from observe/src/scrape.rs: what the blackbox exporter does for the jobs edge-health and edge-post. The \
         key is one that was issued for probes and for nothing else; it is in a file that only the exporter reads.",
    );
    out.push_str(
        "modules:\n  \
         edge_health:\n    prober: http\n    timeout: 5s\n    http:\n      method: GET\n      valid_status_codes: [ 200 ]\n      \
         fail_if_not_ssl: true\n      \
         fail_if_header_not_matches: [ { header: Strict-Transport-Security, regexp: \"max-age=[1-9]\" } ]\n      \
         preferred_ip_protocol: ip4\n  \
         edge_post:\n    prober: http\n    timeout: 8s\n    http:\n      method: POST\n      valid_status_codes: [ 200, 201, 202 ]\n      \
         fail_if_not_ssl: true\n      headers: { Content-Type: application/json, Idempotency-Key: synthetic-probe }\n      \
         body: '{\"synthetic\":true}'\n      authorization: { type: Bearer, credentials_file: /etc/blackbox/probe.token }\n      \
         preferred_ip_protocol: ip4\n",
    );
    out
}
