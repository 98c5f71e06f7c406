//! Where the lists are.

use policy::duration::Span;
use policy::service::Parts;
use policy::{Problems, Secret, Service};
use serde::Deserialize;

/// The redis-proxy that keeps the lists.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RawListService {
    /// Envoy: a cluster name. Kong: `host:port`.
    pub upstream: String,
    /// The `Host` to ask for.
    pub authority: String,
    /// Longest wait for an answer. No request waits for it. 50ms to 10s.
    #[serde(default = "default_timeout")]
    pub timeout: Span,
    /// Sent as `Authorization: Bearer`. Swapped by reloading the configuration.
    #[serde(default)]
    pub service_token: Option<Secret>,
}

fn default_timeout() -> Span {
    Span::secs(2)
}

impl RawListService {
    /// Checks the parts; `at` is the path of the object in the configuration.
    pub fn check(self, at: &str, problems: &mut Problems) -> Service {
        let parts = Parts {
            upstream: self.upstream,
            authority: self.authority,
            timeout: self.timeout,
            service_token: self.service_token,
        };
        Service::check(parts, at, Span::millis(50)..=Span::secs(10), problems)
    }
}
