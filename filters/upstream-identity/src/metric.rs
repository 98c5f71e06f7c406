//! What the filter counts beside allowed and denied requests.

use std::borrow::Cow;

use policy::{Kind, Metric};
use wire::upstream_failures::FailureReason;

/// All with the prefix `portcullis_upstream_identity_`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum IdentityMetric {
    /// Responses of upstreams that were not believed, and connections to them that failed.
    Failures { reason: FailureReason },
    /// Failures for which an event was asked, by what became of it: `sent`, `dropped` for want of room, `lost` because
    /// redis-proxy did not want it.
    Events { result: &'static str },
}

impl IdentityMetric {
    pub(crate) fn all() -> Vec<Self> {
        let failures = FailureReason::ALL.map(|reason| Self::Failures { reason });
        let events = ["sent", "dropped", "lost"].map(|result| Self::Events { result });
        failures.into_iter().chain(events).collect()
    }
}

impl Metric for IdentityMetric {
    fn kind(&self) -> Kind {
        Kind::Counter
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Failures { .. } => "portcullis_upstream_identity_failures",
            Self::Events { .. } => "portcullis_upstream_identity_events",
        }
    }

    fn labels(&self) -> Vec<(&'static str, Cow<'static, str>)> {
        match self {
            Self::Failures { reason } => vec![("reason", reason.as_str().into())],
            Self::Events { result } => vec![("result", (*result).into())],
        }
    }
}
