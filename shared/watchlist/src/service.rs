//! Where the lists are.

use std::rc::Rc;
use std::time::Duration;

use policy::callout::{Callout, Upstream};
use policy::duration::Span;
use policy::effects::is_header_value;
use policy::{Problems, Secret};
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

/// A checked [`RawListService`].
#[derive(Clone, Debug)]
pub struct ListService {
    upstream: Upstream,
    timeout: Duration,
    service_token: Option<Secret>,
}

impl ListService {
    /// Checks the parts; `at` is the path of the object in the configuration.
    pub fn check(raw: RawListService, at: &str, problems: &mut Problems) -> Self {
        for (name, value) in [("upstream", &raw.upstream), ("authority", &raw.authority)] {
            if value.is_empty() || !is_header_value(value) {
                problems.say(format_args!("{at}.{name}"), "must be a name");
            }
        }
        if !(Duration::from_millis(50)..=Duration::from_secs(10)).contains(&raw.timeout.0) {
            problems.say(format_args!("{at}.timeout"), "must be between 50ms and 10s");
        }
        if let Some(token) = &raw.service_token
            && (token.expose().is_empty() || !is_header_value(token.expose()))
        {
            problems.say(format_args!("{at}.service_token"), "must be a header value");
        }
        Self {
            upstream: Upstream {
                target: raw.upstream.into(),
                authority: raw.authority.into(),
            },
            timeout: raw.timeout.0,
            service_token: raw.service_token,
        }
    }

    /// The longest wait for an answer.
    #[must_use]
    pub const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// A call to the service. A body is JSON.
    #[must_use]
    pub fn callout(
        &self,
        method: &'static str,
        path: impl Into<Rc<str>>,
        body: Vec<u8>,
        max_answer: usize,
    ) -> Callout {
        let mut headers = Vec::new();
        if !body.is_empty() {
            headers.push(("content-type".into(), "application/json".to_owned()));
        }
        if let Some(token) = &self.service_token {
            headers.push(("authorization".into(), format!("Bearer {}", token.expose())));
        }
        Callout {
            upstream: self.upstream.clone(),
            method,
            path: path.into(),
            headers,
            body,
            timeout: self.timeout,
            max_answer,
        }
    }
}
