//! The redis-proxy that requests wait for, as an operator names it: an option of every filter that asks it.

use serde::Deserialize;

use crate::config::Problems;
use crate::duration::Span;
use crate::secret::Secret;
use crate::service::{Parts, Service};

/// The redis-proxy.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RawProxy {
    /// Envoy: a cluster name. Kong: `host:port`.
    pub upstream: String,
    /// The `Host` to ask for.
    pub authority: String,
    /// Longest wait for an answer; then the rule's `on_failure` applies to requests that waited. 5ms to 5s.
    #[serde(default = "default_timeout")]
    pub timeout: Span,
    /// Sent as `Authorization: Bearer`. Swapped by reloading the configuration.
    #[serde(default)]
    pub service_token: Option<Secret>,
}

fn default_timeout() -> Span {
    Span::millis(60)
}

impl RawProxy {
    /// Checks it; `at` is its path in the configuration.
    pub fn check(self, at: &str, problems: &mut Problems) -> Service {
        let parts = Parts {
            upstream: self.upstream,
            authority: self.authority,
            timeout: self.timeout,
            service_token: self.service_token,
        };
        Service::check(parts, at, Span::millis(5)..=Span::secs(5), problems)
    }
}
