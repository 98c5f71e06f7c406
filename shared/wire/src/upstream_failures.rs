//! `POST /v1/upstream-failures`: upstreams that did not prove who they are (U1). Sent in batches by a tick, until they
//! are taken: each has an id, so that a batch may be sent again.

use serde::{Deserialize, Serialize};

/// Where batches go.
pub const UPSTREAM_FAILURES_PATH: &str = "/v1/upstream-failures";
/// Most failures in a batch.
pub const MAX_FAILURES: usize = 64;
/// Longest text in a failure, bytes; longer ones are cut.
pub const MAX_TEXT_BYTES: usize = 512;
/// Most identities that a route may expect.
pub const MAX_EXPECTED: usize = 16;

/// Why an upstream was not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum FailureReason {
    /// Its certificate was not accepted: another name, another authority, expired, revoked.
    Certificate,
    /// It did not accept the gateway's certificate.
    Refused,
    /// TLS could not be agreed on for another reason; it may not speak TLS at all.
    Handshake,
    /// It answered, and showed the certificate of somebody else.
    Identity,
    /// It answered, and showed no certificate with a URI.
    Anonymous,
}

impl FailureReason {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Certificate,
        Self::Refused,
        Self::Handshake,
        Self::Identity,
        Self::Anonymous,
    ];

    /// As in JSON and in labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::Refused => "refused",
            Self::Handshake => "handshake",
            Self::Identity => "identity",
            Self::Anonymous => "anonymous",
        }
    }
}

/// What a worker has seen since its last batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FailureBatch {
    /// Failures that found no room since the last batch.
    #[serde(default)]
    pub dropped: u64,
    pub failures: Vec<UpstreamFailure>,
}

/// Requests that failed alike, of one worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UpstreamFailure {
    /// Told apart by it: 8 to 64 letters, digits and `-`. The same one is the same failure.
    pub id: String,
    /// When the first of them failed, milliseconds since 1970 on the gateway's clock.
    pub first_ms: u64,
    /// When the last did.
    pub last_ms: u64,
    /// How many there were.
    pub count: u64,
    pub reason: FailureReason,
    /// The gateway's name of the route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// The gateway's name of the upstream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The SPIFFE IDs that were expected.
    pub expected: Vec<String>,
    /// The URI that the upstream's certificate names, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub presented: Option<String>,
    /// What the gateway says of the connection, if it could not be made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_written_as_they_are_labelled() {
        for reason in FailureReason::ALL {
            let json = serde_json::to_value(reason).unwrap();
            assert_eq!(json, reason.as_str());
        }
    }
}
