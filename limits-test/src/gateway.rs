//! A real Envoy with the filter. The upstream is a direct response: it comes after the filter, costs
//! next to nothing, and so leaves the machine to what is measured.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use envoy_test::bootstrap::{self, Fingerprints, Listener, OnTrap};
use envoy_test::{Envoy, artifacts, log};
use serde_json::{Value, json};
use testkit::gateway::FilterSetup;

/// What the configuration calls the store.
const STORE: &str = "redis_proxy";
const FILTER: &str = "rate_limit";
const LISTENER: &str = "limited";

/// One Envoy between clients and nothing.
pub struct Gateway {
    envoy: Envoy,
    address: SocketAddr,
}

/// What the filter counted so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Requests that waited for an answer of the store.
    pub waited: u64,
    /// Calls to the store.
    pub calls: u64,
}

impl Counted {
    #[must_use]
    pub const fn since(self, before: Self) -> Self {
        Self {
            waited: self.waited - before.waited,
            calls: self.calls - before.calls,
        }
    }

    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            waited: self.waited + other.waited,
            calls: self.calls + other.calls,
        }
    }
}

impl Gateway {
    /// Starts Envoy with these rules, asking that store.
    ///
    /// # Errors
    /// When Envoy does not start or the filter refuses the rules.
    pub fn start(rules: &Value, store: SocketAddr, workers: u32) -> Result<Self, String> {
        let config = json!({
            "proxy": {"upstream": STORE, "authority": STORE},
            "rules": rules,
        });
        Self::start_filter(FILTER, &config, store, workers)
    }

    /// The same with another filter and its whole configuration, in which `redis_proxy` is the store.
    ///
    /// # Errors
    /// When Envoy does not start or the filter refuses the configuration.
    pub fn start_filter(
        name: &str,
        config: &Value,
        store: SocketAddr,
        workers: u32,
    ) -> Result<Self, String> {
        let filter = FilterSetup {
            name: name.to_owned(),
            config: config.to_string(),
        };
        let mut listeners = bootstrap::listeners(
            1,
            &[Listener {
                name: LISTENER.to_owned(),
                on_trap: OnTrap::FailClosed,
                filters: vec![(filter, artifacts::wasm(name)?)],
                fingerprints: Fingerprints::None,
            }],
        );
        bootstrap::answer_directly(&mut listeners);
        let clusters = BTreeMap::from([(STORE.to_owned(), store)]);
        let (mut envoy, taken) = Envoy::start_with(&clusters, &listeners, workers)?;
        if let Err(rejected) = taken {
            return Err(rejected.log);
        }
        let address = envoy.listener(LISTENER)?;
        Ok(Self { envoy, address })
    }

    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What the filter counted so far.
    ///
    /// # Errors
    /// When Envoy does not tell.
    pub fn counted(&self) -> Result<Counted, String> {
        let metrics = self.envoy.stats()?.custom();
        let sum = |name: &str| {
            let own = metrics
                .iter()
                .filter(|(full, _)| full.split('.').next() == Some(name));
            own.map(|(_, value)| value).sum()
        };
        Ok(Counted {
            waited: sum("portcullis_rate_limit_hops"),
            calls: sum("portcullis_rate_limit_calls"),
        })
    }

    /// Every metric of the filter.
    ///
    /// # Errors
    /// When Envoy does not tell.
    pub fn metrics(&self) -> Result<BTreeMap<String, u64>, String> {
        Ok(self.envoy.stats()?.custom())
    }

    /// What went wrong inside: errors in the log, virtual machines that trapped.
    ///
    /// # Errors
    /// Each of them.
    pub fn check(&mut self) -> Result<(), String> {
        if !self.envoy.is_running() {
            return Err("Envoy has ended by itself".to_owned());
        }
        let text = self.envoy.log();
        let mut faults = self.envoy.stats()?.vm_failures();
        faults.extend(log::errors(&text, &[]).into_iter().map(str::to_owned));
        if faults.is_empty() {
            Ok(())
        } else {
            Err(faults.join("\n"))
        }
    }
}
