//! `POST /v1/load`: how the upstreams fare, and by how much to shrink for it (R19).
//!
//! A worker sends, on its tick, what it saw since the tick before; the reply carries the factors of now. A
//! filter keeps them and applies [`UpstreamFactors::permille`] to a limit with
//! [`Limit::scaled`](crate::limits::Limit::scaled) before it asks for tokens: no hop in any request.

use serde::{Deserialize, Serialize};

/// Where the reports go.
pub const LOAD_PATH: &str = "/v1/load";
/// Most upstreams in one report.
pub const MAX_REPORTS: usize = 256;
/// Longest upstream name, bytes.
pub const MAX_UPSTREAM_BYTES: usize = 128;
/// The factor of a healthy upstream.
pub const FULL: u32 = 1_000;

/// What a worker saw since its last report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct LoadReport {
    /// At most [`MAX_REPORTS`]; may be empty, to only ask for the factors.
    #[cfg_attr(feature = "openapi", schema(max_items = 256))]
    pub upstreams: Vec<UpstreamLoad>,
}

/// One upstream (or route), since the last report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct UpstreamLoad {
    /// Cluster, service or route name, 1 to [`MAX_UPSTREAM_BYTES`] bytes.
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 128))]
    pub upstream: String,
    /// Requests answered by the upstream, or lost to it.
    pub requests: u64,
    /// Of these, answered 5xx, reset, refused or timed out. At most `requests`.
    pub failures: u64,
    /// Sum of their latencies, milliseconds.
    pub latency_ms_sum: u64,
}

/// The factors of now, for every upstream not at full rate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LoadReply {
    /// An upstream that is not listed is at full rate.
    pub factors: Vec<UpstreamFactors>,
}

/// By how much the tiers shrink at one upstream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UpstreamFactors {
    /// The name it was reported under.
    pub upstream: String,
    /// One per tier, lowest rank first.
    pub tiers: Vec<TierFactor>,
}

/// The factor of one tier at one upstream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TierFactor {
    /// Name of the tier.
    pub tier: String,
    /// Effective rate in thousandths of the limit, from the floor to [`FULL`].
    pub permille: u32,
}

impl UpstreamFactors {
    /// The factor of a tier; [`FULL`] for one that is not listed.
    #[must_use]
    pub fn permille(&self, tier: &str) -> u32 {
        self.tiers
            .iter()
            .find(|factor| factor.tier == tier)
            .map_or(FULL, |factor| factor.permille)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tier_that_is_not_listed_is_at_full_rate() {
        let json = r#"{"factors":[{"upstream":"api","tiers":[{"tier":"p3","permille":250}]}]}"#;
        let reply: LoadReply = serde_json::from_str(json).unwrap();
        assert_eq!(reply.factors[0].permille("p3"), 250);
        assert_eq!(reply.factors[0].permille("p1"), FULL);
        assert_eq!(serde_json::to_string(&reply).unwrap(), json);
    }
}
