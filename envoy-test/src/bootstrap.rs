//! Envoy's configuration, as JSON.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use policy::metric::LABELS;
use serde_json::{Value, json};
use testkit::gateway::FilterSetup;
use testkit::request::TLS_HEADERS;

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
    pub fingerprints: Fingerprints,
}

/// Where the TLS fingerprints come from that filters can ask for.
#[derive(Clone, Debug)]
pub enum Fingerprints {
    /// There are none.
    None,
    /// It speaks plain HTTP; `testkit::request::TLS_HEADERS` say what an inspector would tell.
    Headers,
    /// It ends TLS and inspects it.
    Tls(Tls),
}

/// How a listener ends TLS. Its inspector computes the JA3 and JA4 of each client.
#[derive(Clone, Debug)]
pub struct Tls {
    /// PEM.
    pub certificate: String,
    pub key: String,
    /// Where what the inspector saw is written down: a line of JSON for each request, with `ja3`, `ja4`, `path` and
    /// `status`.
    pub access_log: std::path::PathBuf,
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

/// Replaces the way to the upstream of such a document's first listener by an answer.
pub fn answer_directly(listeners: &mut Value) {
    let manager = &mut listeners["resources"][0]["filter_chains"][0]["filters"][0]["typed_config"];
    manager["route_config"]["virtual_hosts"][0]["routes"] = json!([{
        "name": "default",
        "match": {"prefix": "/"},
        "direct_response": {"status": 200, "body": {"inline_string": "ok"}},
    }]);
}

fn listener(listener: &Listener) -> Value {
    let mut filters: Vec<Value> = fingerprints(&listener.fingerprints)
        .into_iter()
        .chain(
            listener
                .filters
                .iter()
                .map(|(filter, module)| wasm(filter, module, listener.on_trap)),
        )
        .collect();
    filters.push(json!({
        "name": "envoy.filters.http.router",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
        },
    }));
    let mut document = json!({
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
    });
    if let Fingerprints::Tls(tls) = &listener.fingerprints {
        document["listener_filters"] = tls_inspector();
        let chain = &mut document["filter_chains"][0];
        chain["transport_socket"] = tls_socket(tls);
        chain["filters"][0]["typed_config"]["access_log"] = access_log(tls);
    }
    document
}

/// Makes what the TLS inspector tells, or what a test says in its place, properties that filters can read.
fn fingerprints(fingerprints: &Fingerprints) -> Option<Value> {
    let [ja3, ja4] = match fingerprints {
        Fingerprints::None => return None,
        Fingerprints::Headers => TLS_HEADERS.map(|header| format!("%REQ({header})%")),
        Fingerprints::Tls(_) => {
            ["%TLS_JA3_FINGERPRINT%", "%TLS_JA4_FINGERPRINT%"].map(str::to_owned)
        }
    };
    let state = |name: &str, value: String| {
        json!({
            "object_key": name,
            "factory_key": "envoy.string",
            "format_string": {
                "text_format_source": {"inline_string": value},
                "omit_empty_values": true,
            },
            "skip_if_empty": true,
        })
    };
    Some(json!({
        "name": "fingerprints",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.set_filter_state.v3.Config",
            "on_request_headers": [state("portcullis.ja3", ja3), state("portcullis.ja4", ja4)],
        },
    }))
}

fn tls_inspector() -> Value {
    json!([{
        "name": "tls_inspector",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector",
            "enable_ja3_fingerprinting": true,
            "enable_ja4_fingerprinting": true,
        },
    }])
}

fn tls_socket(tls: &Tls) -> Value {
    json!({
        "name": "tls",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context": {
                "alpn_protocols": ["h2", "http/1.1"],
                "tls_certificates": [{
                    "certificate_chain": {"inline_string": tls.certificate},
                    "private_key": {"inline_string": tls.key},
                }],
            },
        },
    })
}

fn access_log(tls: &Tls) -> Value {
    json!([{
        "name": "file",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
            "path": tls.access_log,
            "log_format": {"json_format": {
                "ja3": "%TLS_JA3_FINGERPRINT%",
                "ja4": "%TLS_JA4_FINGERPRINT%",
                "path": "%REQ(:PATH)%",
                "status": "%RESPONSE_CODE%",
            }},
        },
    }])
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
