//! Envoy's configuration, as JSON.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Value, json};
use testkit::gateway::FilterSetup;

/// Labels in the names of our metrics, which `stats_tags` turn into Prometheus labels.
pub const LABELS: [&str; 9] = [
    "filter",
    "outcome",
    "code",
    "provider",
    "result",
    "reason",
    "dimension",
    "tenant",
    "tier",
];

/// What never changes while Envoy runs: clusters, the admin endpoint, where listeners are read from.
#[must_use]
pub fn bootstrap(clusters: &BTreeMap<String, SocketAddr>, listeners: &Path) -> Value {
    let clusters: Vec<Value> = clusters.iter().map(|(n, a)| cluster(n, *a)).collect();
    let tags: Vec<Value> = LABELS
        .iter()
        .map(|label| {
            json!({
                "tag_name": label,
                "regex": format!("(\\.{label}=([^.]+))"),
            })
        })
        .collect();
    json!({
        "node": {"id": "portcullis", "cluster": "portcullis"},
        "admin": {"address": address("127.0.0.1", 0)},
        "stats_config": {"stats_tags": tags},
        "static_resources": {"clusters": clusters},
        "dynamic_resources": {
            "lds_config": {
                "resource_api_version": "V3",
                "path_config_source": {"path": listeners},
            },
        },
    })
}

/// A listener: the filters of this chain, then the upstream.
#[derive(Clone, Debug)]
pub struct Listener {
    pub name: String,
    pub on_trap: OnTrap,
    /// Each filter's name, the path of its module and its configuration.
    pub filters: Vec<(FilterSetup, std::path::PathBuf)>,
}

/// What Envoy does with a virtual machine that trapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnTrap {
    /// It answers 503 from then on. What operators run.
    FailClosed,
    /// It starts a new one, and counts.
    Reload,
}

impl OnTrap {
    const fn as_str(self) -> &'static str {
        match self {
            Self::FailClosed => "FAIL_CLOSED",
            Self::Reload => "FAIL_RELOAD",
        }
    }
}

/// The document that Envoy reads its listeners from.
#[must_use]
pub fn listeners(version: u32, listeners: &[Listener]) -> Value {
    let resources: Vec<Value> = listeners.iter().map(listener).collect();
    json!({"version_info": version.to_string(), "resources": resources})
}

fn listener(listener: &Listener) -> Value {
    let mut filters: Vec<Value> = listener
        .filters
        .iter()
        .map(|(filter, module)| wasm(filter, module, listener.on_trap))
        .collect();
    filters.push(json!({
        "name": "envoy.filters.http.router",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
        },
    }));
    json!({
        "@type": "type.googleapis.com/envoy.config.listener.v3.Listener",
        "name": listener.name,
        "address": address("127.0.0.1", 0),
        "filter_chains": [{"filters": [{
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                "stat_prefix": listener.name,
                // The peer is who connected; what it says of others is for the filters to judge.
                "use_remote_address": true,
                "skip_xff_append": true,
                "internal_address_config": {
                    "cidr_ranges": [{"address_prefix": "127.0.0.0", "prefix_len": 8}],
                },
                "preserve_external_request_id": true,
                // Else Envoy adds its own `server` after the filters.
                "server_header_transformation": "PASS_THROUGH",
                // As much as Envoy lets through, so that the filters see what clients can do.
                "max_request_headers_kb": 256,
                "common_http_protocol_options": {"max_headers_count": 2000},
                "route_config": {
                    "name": "local",
                    "virtual_hosts": [{
                        "name": "everything",
                        "domains": ["*"],
                        "routes": [{
                            "name": "default",
                            "match": {"prefix": "/"},
                            "route": {"cluster": "upstream", "timeout": "15s"},
                        }],
                    }],
                },
                "http_filters": filters,
            },
        }]}],
    })
}

fn wasm(filter: &FilterSetup, module: &Path, on_trap: OnTrap) -> Value {
    json!({
        "name": filter.name,
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
            "config": {
                "name": filter.name,
                "root_id": filter.name,
                "failure_policy": on_trap.as_str(),
                // So that a filter can read the body before the headers go on.
                "allow_on_headers_stop_iteration": true,
                "configuration": {
                    "@type": "type.googleapis.com/google.protobuf.StringValue",
                    "value": filter.config,
                },
                "vm_config": {
                    "vm_id": filter.name,
                    "runtime": "envoy.wasm.runtime.v8",
                    "code": {"local": {"filename": module}},
                },
            },
        },
    })
}

fn cluster(name: &str, endpoint: SocketAddr) -> Value {
    json!({
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        // What a test makes fail must fail, and recover, at once.
        "circuit_breakers": {"thresholds": [{
            "max_connections": 4096,
            "max_pending_requests": 4096,
            "max_requests": 4096,
        }]},
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{
                "endpoint": {"address": address(&endpoint.ip().to_string(), endpoint.port())},
            }]}],
        },
    })
}

fn address(ip: &str, port: u16) -> Value {
    json!({"socket_address": {"address": ip, "port_value": port}})
}
