//! `[traces]` in the configuration.

use axum::http::Uri;
use serde::Deserialize;

use crate::config::Problems;

/// Spans that wait to be sent, unless configured otherwise.
const USUAL_QUEUE: usize = 2_048;

/// As it is written; without `endpoint` there are no traces.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields, default)]
pub struct RawTraces {
    endpoint: Option<String>,
    service_name: String,
    queue: usize,
}

impl Default for RawTraces {
    fn default() -> Self {
        Self {
            endpoint: None,
            service_name: "redis-proxy".to_owned(),
            queue: USUAL_QUEUE,
        }
    }
}

/// Where spans go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Host and port of the collector.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) path: String,
    /// `service.name` of the spans.
    pub(super) service_name: String,
    /// Spans that wait to be sent; one more is dropped.
    pub(super) queue: usize,
}

impl RawTraces {
    /// Checks the section; `None`: there are no traces, or there is a problem.
    pub(crate) fn check(self, problems: &mut Problems) -> Option<Settings> {
        problems.within("traces.queue", self.queue, 16, 1_000_000);
        if !(1..=128).contains(&self.service_name.len()) {
            problems.add("traces.service_name", "must be 1 to 128 bytes");
        }
        let endpoint = self.endpoint?;
        let settings = endpoint.parse::<Uri>().ok().and_then(|uri| {
            let plain = uri.scheme_str() == Some("http") && uri.query().is_none();
            let authority = uri.authority().filter(|_| plain)?;
            let named = !authority.host().is_empty() && !authority.as_str().contains('@');
            named.then(|| Settings {
                host: authority.host().trim_matches(['[', ']']).to_owned(),
                port: authority.port_u16().unwrap_or(4_318),
                path: match uri.path() {
                    "" | "/" => "/v1/traces".to_owned(),
                    path => path.to_owned(),
                },
                service_name: self.service_name,
                queue: self.queue,
            })
        });
        if settings.is_none() {
            let must = "must be http://host:port or http://host:port/path, of a collector on this machine or network";
            problems.add("traces.endpoint", must);
        }
        settings
    }
}
