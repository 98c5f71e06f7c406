//! The tier table (R3): read from the configuration, served to the filters, replaced as a whole.

use std::{
    collections::{BTreeMap, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
};

use serde::Deserialize;
use wire::{
    limits::{Limit, Shape},
    tiers::{TENANT_DEFAULT, Tier, TierTable},
};

/// A limit as an operator writes it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawLimit {
    /// Tokens per period.
    pub tokens: u64,
    /// Milliseconds. Default one second.
    #[serde(default = "second")]
    pub period_ms: u64,
    /// What may exceed the even pace. Default: by period, as [`Limit::usual`].
    #[serde(default)]
    pub burst: RawBurst,
}

const fn second() -> u64 {
    1_000
}

/// What may exceed the even pace.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RawBurst {
    /// `double` up to one second, `window` above.
    #[default]
    Usual,
    /// Twice the rate for ten seconds (R4).
    Double,
    /// 100 ms of the rate (R7).
    None,
    /// Not a rate but a count, exact over any window (R11).
    Window,
}

impl RawLimit {
    fn limit(&self) -> Limit {
        match self.burst {
            RawBurst::Usual => Limit::usual(self.tokens, self.period_ms),
            RawBurst::Double => Limit::paced(self.tokens, self.period_ms),
            RawBurst::None => Limit::without_burst(self.tokens, self.period_ms),
            RawBurst::Window => Limit::window(self.tokens, self.period_ms),
        }
    }
}

/// A tier as an operator writes it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawTier {
    /// Lower ranks shrink first (R19). Default 100.
    #[serde(default = "middle_rank")]
    pub rank: u8,
    /// Dimension → limit. Without `tenant`, [`TENANT_DEFAULT`].
    #[serde(default)]
    pub limits: BTreeMap<String, RawLimit>,
}

const fn middle_rank() -> u8 {
    100
}

/// The table as an operator writes it. Without `tiers`: `standard` (R3) and `p3` (R7).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawTiers {
    /// The tier of tenants that are not named. Default `standard`.
    pub default: Option<String>,
    /// Tier name → tier.
    #[serde(default)]
    pub table: BTreeMap<String, RawTier>,
    /// Tenant → tier name.
    #[serde(default)]
    pub tenants: BTreeMap<String, String>,
}

impl RawTiers {
    /// The table, without factors.
    ///
    /// # Errors
    /// Every problem, with its path.
    pub fn table(&self) -> Result<TierTable, Vec<String>> {
        let mut problems = Vec::new();
        let mut tiers = BTreeMap::new();
        for (name, raw) in &self.table {
            let mut limits: BTreeMap<_, _> = raw
                .limits
                .iter()
                .map(|(dim, raw)| (dim.clone(), raw.limit()))
                .collect();
            for (dim, limit) in &limits {
                if let Err(problem) = limit.check() {
                    problems.push(format!("tiers.table.{name}.limits.{dim}.{problem}"));
                }
            }
            limits.entry("tenant".to_owned()).or_insert(TENANT_DEFAULT);
            tiers.insert(
                name.clone(),
                Tier {
                    rank: raw.rank,
                    limits,
                },
            );
        }
        if tiers.is_empty() {
            tiers = shipped();
        }
        let default_tier = self
            .default
            .clone()
            .unwrap_or_else(|| "standard".to_owned());
        if !tiers.contains_key(&default_tier) {
            problems.push(format!("tiers.default: no tier is named {default_tier:?}"));
        }
        for (tenant, tier) in &self.tenants {
            if !tiers.contains_key(tier) {
                problems.push(format!("tiers.tenants.{tenant}: no tier is named {tier:?}"));
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let tenants = self.tenants.clone();
        let revision = revision(&default_tier, &tiers, &tenants);
        Ok(TierTable {
            revision,
            default_tier,
            tiers,
            tenants,
            factors: Vec::new(),
        })
    }
}

fn shipped() -> BTreeMap<String, Tier> {
    let tier = |rank, limit| Tier {
        rank,
        limits: BTreeMap::from([("tenant".to_owned(), limit)]),
    };
    BTreeMap::from([
        ("standard".to_owned(), tier(100, TENANT_DEFAULT)),
        ("p3".to_owned(), tier(0, Limit::without_burst(1_000, 1_000))),
    ])
}

/// Same table, same revision, on every redis-proxy of the same build.
fn revision(
    default_tier: &str,
    tiers: &BTreeMap<String, Tier>,
    tenants: &BTreeMap<String, String>,
) -> String {
    let mut hasher = DefaultHasher::new();
    (default_tier, tenants).hash(&mut hasher);
    for (name, tier) in tiers {
        (name, tier.rank).hash(&mut hasher);
        for (dim, limit) in &tier.limits {
            let burst = match limit.shape {
                Shape::Paced { burst, peak } => Some((burst, peak)),
                Shape::Window {} => None,
            };
            (dim, limit.tokens, limit.period_ms, burst).hash(&mut hasher);
        }
    }
    format!("{:016x}", hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> Result<TierTable, Vec<String>> {
        toml(text).table()
    }

    fn toml(text: &str) -> RawTiers {
        use figment::{
            Figment,
            providers::{Format, Toml},
        };
        Figment::from(Toml::string(text)).extract().unwrap()
    }

    #[test]
    fn without_a_table_tenants_have_1000_a_second_and_p3_no_burst() {
        let table = table("[tenants]\nacme = 'p3'").unwrap();
        assert_eq!(
            table.limit("other", "tenant"),
            Some(Limit::paced(1_000, 1_000))
        );
        assert_eq!(
            table.limit("acme", "tenant"),
            Some(Limit::without_burst(1_000, 1_000))
        );
    }

    #[test]
    fn every_problem_is_named() {
        let problems = table(
            "default = 'gone'\n[table.a.limits.tenant]\ntokens = 0\n[tenants]\nacme = 'lost'",
        )
        .unwrap_err();
        assert_eq!(problems.len(), 3, "{problems:?}");
        assert!(
            problems[0].starts_with("tiers.table.a.limits.tenant.tokens"),
            "{problems:?}"
        );
    }

    #[test]
    fn the_revision_follows_the_content() {
        let one = table("[tenants]\nacme = 'p3'").unwrap().revision;
        assert_eq!(one, table("[tenants]\nacme = 'p3'").unwrap().revision);
        assert_ne!(one, table("[tenants]\nacme = 'standard'").unwrap().revision);
        let limit = |n| format!("[table.standard.limits.tenant]\ntokens = {n}");
        assert_ne!(
            table(&limit(1)).unwrap().revision,
            table(&limit(2)).unwrap().revision
        );
    }
}
