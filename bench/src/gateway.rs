//! A running gateway: Envoy, or Kong where there is one.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use envoy_test::bootstrap::{self, Fingerprints, Listener, OnTrap};
use envoy_test::{Envoy, log};
use kong_test::pool::ARTIFACTS;
use kong_test::{Kong, Source};
use serde_json::{Value, json};
use testkit::workspace;

use crate::variant::End;
use crate::{limiter, process};

const LISTENER: &str = "bench";

/// What Kong runs: filters as its declarative configuration has them, and plugins in Lua.
#[derive(Clone)]
pub struct KongChain {
    pub filters: Vec<Value>,
    pub plugins: Vec<Value>,
}

pub enum Gateway {
    Envoy(Box<Envoy>),
    Kong(Box<Kong>),
}

impl Gateway {
    /// Starts an Envoy whose requests end at the cluster `upstream`, or are answered by itself.
    ///
    /// # Errors
    /// When it does not start or refuses the filters.
    pub fn envoy(
        clusters: &BTreeMap<String, SocketAddr>,
        filters: &[Value],
        end: End,
        workers: u32,
    ) -> Result<(Self, SocketAddr), String> {
        let listener = Listener {
            name: LISTENER.to_owned(),
            on_trap: OnTrap::FailClosed,
            filters: Vec::new(),
            fingerprints: Fingerprints::None,
        };
        let mut document = bootstrap::listeners(1, &[listener]);
        let manager =
            &mut document["resources"][0]["filter_chains"][0]["filters"][0]["typed_config"];
        if end == End::Route {
            manager["route_config"]["virtual_hosts"][0]["routes"] = json!([{
                "name": "default",
                "match": {"prefix": "/"},
                "direct_response": {"status": 200, "body": {"inline_string": "ok"}},
            }]);
        }
        if let Some(chain) = manager["http_filters"].as_array_mut() {
            chain.splice(0..0, filters.iter().cloned());
        }
        let (mut envoy, taken) =
            Envoy::start_adjusted(clusters, &document, workers, limiter::speak_http2)?;
        if let Err(rejected) = taken {
            return Err(rejected.log);
        }
        let address = envoy.listener(LISTENER)?;
        Ok((Self::Envoy(Box::new(envoy)), address))
    }

    /// Starts a Kong with one worker before the cluster `upstream`.
    ///
    /// # Errors
    /// When it does not start or refuses the configuration.
    pub fn kong(
        source: &Source,
        clusters: &BTreeMap<String, SocketAddr>,
        chain: &KongChain,
    ) -> Result<(Self, SocketAddr), String> {
        let mut filters = Value::from(chain.filters.clone());
        dial(&mut filters, clusters);
        let names = || {
            chain
                .filters
                .iter()
                .filter_map(|filter| filter["name"].as_str())
        };
        let modules = names()
            .map(|name| Ok((name.to_owned(), workspace::artifact(ARTIFACTS, name)?)))
            .collect::<Result<BTreeMap<_, _>, String>>()?;
        let upstream = clusters.get("upstream").ok_or("no upstream")?;
        let chains = if chain.filters.is_empty() {
            json!([])
        } else {
            json!([{"filters": filters}])
        };
        let document = json!({
            "_format_version": "3.0",
            "services": [{
                "name": "bench",
                "url": format!("http://{upstream}"),
                "routes": [{
                    "name": "rt-bench-v1-orders",
                    "paths": ["/"],
                    "strip_path": false,
                    "plugins": chain.plugins,
                    "filter_chains": chains,
                }],
            }],
            "consumers": [{
                "username": "bench",
                "keyauth_credentials": [{"key": crate::site::API_KEY}],
            }],
        });
        let kong = Kong::start_with(source, 1, &modules, true, Some(&document))?;
        let address = kong.proxy();
        Ok((Self::Kong(Box::new(kong)), address))
    }

    /// Its processes: Kong's workers are children of another one.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub fn processes(&self) -> Result<Vec<u32>, String> {
        match self {
            Self::Envoy(envoy) => Ok(vec![envoy.pid()]),
            Self::Kong(kong) => process::with_descendants(kong.pid()),
        }
    }

    /// Errors that it has logged.
    #[must_use]
    pub fn errors(&self) -> Vec<String> {
        let none: &[String] = &[];
        match self {
            Self::Envoy(envoy) => (log::errors(&envoy.log(), none).iter())
                .map(|line| (*line).to_owned())
                .collect(),
            Self::Kong(kong) => kong_test::log::faults(&kong.log(), none, false)
                .into_iter()
                .map(str::to_owned)
                .collect(),
        }
    }
}

/// Kong knows no clusters: callouts go to addresses.
fn dial(value: &mut Value, clusters: &BTreeMap<String, SocketAddr>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let address = (value.as_str())
                    .filter(|_| name == "upstream")
                    .and_then(|cluster| clusters.get(cluster));
                match address {
                    Some(address) => *value = address.to_string().into(),
                    None => dial(value, clusters),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| dial(item, clusters)),
        _ => {}
    }
}
