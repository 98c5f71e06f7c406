//! Kong's declarative configuration.

use std::net::SocketAddr;

use serde_json::{Value, json};
use testkit::gateway::FilterSetup;

/// The service before the upstream.
pub const SERVICE: &str = "world";
/// The one route, which leads there.
pub const ROUTE: &str = "rt-world-v1-cases";

/// One service, one route with a chain of these filters, and the plugin that shows metrics.
#[must_use]
pub fn document(upstream: SocketAddr, filters: &[FilterSetup]) -> Value {
    let chain: Vec<Value> = filters
        .iter()
        .map(|filter| json!({"name": filter.name, "config": filter.config}))
        .collect();
    let chains = if chain.is_empty() {
        json!([])
    } else {
        json!([{"filters": chain}])
    };
    json!({
        "_format_version": "3.0",
        "services": [{
            "name": SERVICE,
            "url": format!("http://{upstream}"),
            "retries": 0,
            "routes": [{
                "name": ROUTE,
                "paths": ["/"],
                "strip_path": false,
                "preserve_host": true,
                "filter_chains": chains,
            }],
        }],
        "plugins": [{"name": "prometheus"}],
    })
}

/// A document that lets nothing reach any filter or upstream.
#[must_use]
pub fn nothing() -> Value {
    document(SocketAddr::from(([127, 0, 0, 1], 1)), &[])
}
