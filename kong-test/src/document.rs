//! Kong's declarative configuration.

use std::net::SocketAddr;

use serde_json::{Value, json};
use testkit::gateway::FilterSetup;

/// The service before the upstream.
pub const SERVICE: &str = "world";
/// The one route, which leads there.
pub const ROUTE: &str = "rt-world-v1-cases";

/// How a filter's configuration is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As Kong takes it where it has the filter's `.meta.json`.
    Object,
    /// As Kong takes it elsewhere.
    Text,
}

/// One service, one route with a chain of these filters, and the plugin that shows metrics.
///
/// # Errors
/// When a configuration that should be written as an object is no JSON.
pub fn document(
    upstream: SocketAddr,
    filters: &[FilterSetup],
    form: Form,
) -> Result<Value, String> {
    let mut chain = Vec::new();
    for FilterSetup { name, config } in filters {
        let config = match form {
            Form::Object => serde_json::from_str(config).map_err(|e| format!("{name}: {e}"))?,
            Form::Text => Value::from(config.as_str()),
        };
        chain.push(json!({"name": name, "config": config}));
    }
    Ok(around(upstream, &chain))
}

fn around(upstream: SocketAddr, chain: &[Value]) -> Value {
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
    around(SocketAddr::from(([127, 0, 0, 1], 1)), &[])
}
