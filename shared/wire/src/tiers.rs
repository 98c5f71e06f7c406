//! `GET /v1/tiers`: which limits a tenant has (R3, R7). Workers pull it every
//! [`PULL_SECONDS`]; an unchanged table is answered with 304 when `If-None-Match` is sent.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{limits::Limit, load::UpstreamFactors};

/// Where the table is.
pub const TIERS_PATH: &str = "/v1/tiers";
/// How often a worker pulls, seconds: a change is effective within this (R3).
pub const PULL_SECONDS: u64 = 60;
/// The limit of a tenant whose tier says nothing else: 1,000 per second with the default burst (R3).
pub const TENANT_DEFAULT: Limit = Limit::paced(1_000, 1_000);

/// The whole table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TierTable {
    /// Changes whenever the tiers or tenants change; also sent as `ETag`.
    pub revision: String,
    /// The tier of a tenant that `tenants` does not name. Always a key of `tiers`.
    pub default_tier: String,
    /// Tier name → what it grants.
    pub tiers: BTreeMap<String, Tier>,
    /// Tenant → tier name. Each tier is a key of `tiers`.
    pub tenants: BTreeMap<String, String>,
    /// The adaptive factors of now (R19): where a worker that reports no load finds them.
    #[serde(default)]
    pub factors: Vec<UpstreamFactors>,
}

/// What a tier grants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Tier {
    /// Lower ranks shrink first when an upstream suffers (R19). 0 to 255.
    pub rank: u8,
    /// Dimension → limit. `tenant` is always there; others override what the rule says.
    pub limits: BTreeMap<String, Limit>,
}

impl TierTable {
    /// The tier a tenant is in, by name.
    #[must_use]
    pub fn tier_of(&self, tenant: &str) -> &str {
        self.tenants.get(tenant).unwrap_or(&self.default_tier)
    }

    /// The limit of a tenant in one dimension, if its tier has one.
    #[must_use]
    pub fn limit(&self, tenant: &str, dim: &str) -> Option<Limit> {
        self.tiers
            .get(self.tier_of(tenant))?
            .limits
            .get(dim)
            .copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_without_a_tier_has_the_default() {
        let tier = |limit| Tier {
            rank: 1,
            limits: BTreeMap::from([("tenant".into(), limit)]),
        };
        let table = TierTable {
            revision: "1".into(),
            default_tier: "standard".into(),
            tiers: BTreeMap::from([
                ("standard".into(), tier(TENANT_DEFAULT)),
                ("p3".into(), tier(Limit::without_burst(1_000, 1_000))),
            ]),
            tenants: BTreeMap::from([("acme".into(), "p3".into())]),
            factors: Vec::new(),
        };
        assert_eq!(
            table.limit("acme", "tenant"),
            Some(Limit::without_burst(1_000, 1_000))
        );
        assert_eq!(table.limit("other", "tenant"), Some(TENANT_DEFAULT));
        assert_eq!(table.limit("other", "route"), None);
        let json = serde_json::to_string(&table).unwrap();
        assert_eq!(serde_json::from_str::<TierTable>(&json).unwrap(), table);
    }
}
