//! A service that filters ask: redis-proxy.

use std::ops::RangeInclusive;
use std::rc::Rc;
use std::time::Duration;

use crate::callout::{Callout, Upstream};
use crate::config::Problems;
use crate::duration::Span;
use crate::effects::is_header_value;
use crate::secret::Secret;

/// What a configuration says of a service. Each has options of its own, for whose timeout means what.
#[derive(Debug)]
pub struct Parts {
    pub upstream: String,
    pub authority: String,
    pub timeout: Span,
    pub service_token: Option<Secret>,
}

/// A service as the configuration names it, checked.
#[derive(Clone, Debug)]
pub struct Service {
    upstream: Upstream,
    timeout: Duration,
    service_token: Option<Secret>,
}

impl Service {
    /// Checks the parts; `at` is the path of the object in the configuration.
    pub fn check(
        parts: Parts,
        at: &str,
        timeouts: RangeInclusive<Span>,
        problems: &mut Problems,
    ) -> Self {
        for (name, value) in [
            ("upstream", &parts.upstream),
            ("authority", &parts.authority),
        ] {
            if value.is_empty() || !is_header_value(value) {
                problems.say(format_args!("{at}.{name}"), "must be a name");
            }
        }
        if !timeouts.contains(&parts.timeout) {
            problems.say(
                format_args!("{at}.timeout"),
                format_args!(
                    "must be between {} and {}",
                    timeouts.start(),
                    timeouts.end()
                ),
            );
        }
        if let Some(token) = &parts.service_token
            && (token.expose().is_empty() || !is_header_value(token.expose()))
        {
            problems.say(format_args!("{at}.service_token"), "must be a header value");
        }
        Self {
            upstream: Upstream {
                target: parts.upstream.into(),
                authority: parts.authority.into(),
            },
            timeout: parts.timeout.0,
            service_token: parts.service_token,
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
