//! `POST /v1/quota/lookup`: how much of its quota a tenant has used (Q1). A worker asks from its tick for the
//! tenants that it has lately seen, and keeps the answers for a while.

use serde::{Deserialize, Serialize};

/// Where the quotas are.
pub const QUOTA_PATH: &str = "/v1/quota/lookup";
/// Most tenants in one question.
pub const MAX_TENANTS: usize = 256;
/// Longest name of a tenant, bytes.
pub const MAX_TENANT_BYTES: usize = 128;
/// The greatest `limit` and `used`, 2^53: the greatest whole numbers that every JSON reader keeps exact.
pub const MAX_COUNT: u64 = 1 << 53;

/// Which tenants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct QuotaRequest {
    /// 1 to [`MAX_TENANTS`] names, each as [`is_tenant`] has it.
    #[cfg_attr(
        feature = "openapi",
        schema(min_items = 1, max_items = 256, value_type = Vec<TenantName>)
    )]
    pub tenants: Vec<String>,
}

/// A name of a tenant: 1 to [`MAX_TENANT_BYTES`] bytes of visible ASCII, `!` to `~`.
#[cfg(feature = "openapi")]
#[derive(utoipa::ToSchema)]
#[schema(pattern = "^[!-~]{1,128}$")]
pub struct TenantName(pub String);

/// What is known of each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct QuotaReply {
    /// One for each tenant, in order; `null`: no quota of that tenant is known.
    pub quotas: Vec<Option<Quota>>,
}

/// A quota and what is used of it, as the last event said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Quota {
    /// How much may be used in the period, in whatever the source counts. 0 to [`MAX_COUNT`].
    pub limit: u64,
    /// How much has been. May be more than `limit`: the source counts after the fact. 0 to [`MAX_COUNT`].
    pub used: u64,
    /// What the source calls the period: `monthly`.
    pub period: String,
    /// When `used` starts from 0 again, RFC 3339 in UTC.
    pub reset_at: String,
    /// The same, milliseconds since 1970. From then on the record says nothing.
    pub reset_at_ms: u64,
    /// As of when `used` is, by the source's clock, milliseconds since 1970.
    pub last_updated_ms: u64,
}

impl Quota {
    /// What is left.
    #[must_use]
    pub const fn remaining(&self) -> u64 {
        self.limit.saturating_sub(self.used)
    }

    /// Whether nothing is left.
    #[must_use]
    pub const fn is_used_up(&self) -> bool {
        self.used >= self.limit
    }
}

/// Whether a tenant can have this name: 1 to [`MAX_TENANT_BYTES`] bytes of visible ASCII.
#[must_use]
pub fn is_tenant(name: &str) -> bool {
    (1..=MAX_TENANT_BYTES).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_may_exceed_the_limit() {
        let quota = |limit, used| Quota {
            limit,
            used,
            period: "monthly".into(),
            reset_at: "1970-01-01T00:00:00.001Z".into(),
            reset_at_ms: 1,
            last_updated_ms: 1,
        };
        assert_eq!(
            (quota(10, 12).remaining(), quota(10, 12).is_used_up()),
            (0, true)
        );
        assert_eq!(
            (quota(10, 9).remaining(), quota(10, 9).is_used_up()),
            (1, false)
        );
        assert!(quota(10, 10).is_used_up());
        assert!(quota(0, 0).is_used_up());
    }

    #[test]
    fn names_of_tenants_are_visible_and_bounded() {
        for good in ["a", "tenant-123", "a:b{c}", &"x".repeat(128)] {
            assert!(is_tenant(good), "{good}");
        }
        for bad in ["", "a b", "a\n", "é", &"x".repeat(129)] {
            assert!(!is_tenant(bad), "{bad}");
        }
    }

    #[test]
    fn the_form_is_as_documented() {
        let text = r#"{"quotas":[null,{"limit":10,"used":12,"period":"monthly","reset_at":"1970-01-01T00:00:00.003Z","reset_at_ms":3,"last_updated_ms":2}]}"#;
        let reply: QuotaReply = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&reply).unwrap(), text);
    }
}
