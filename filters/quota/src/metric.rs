//! What the filter counts beside allowed and denied requests. No label holds the name of a tenant.

use std::borrow::Cow;

use policy::{Kind, Metric};

use crate::config::Mode;
use crate::lookup::SILENT;

/// All with the prefix `portcullis_quota_`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum QuotaMetric {
    /// Requests by what is known of the quota of their tenant.
    Requests(Found),
    /// Requests of tenants whose quota is used up, by the mode of the rule.
    Exceeded { mode: Mode },
    /// Requests that waited for redis-proxy, their own question or another's.
    Hops,
    /// Questions to redis-proxy, by whether a `request` or a `tick` asked.
    Lookups { by: &'static str },
    /// Questions without an answer, by why.
    Failures { reason: &'static str },
    /// Tenants that this worker remembers.
    Tenants,
    /// Whether redis-proxy answers: 1 or 0.
    ProxyUp,
}

/// What is known of the quota that a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Found {
    /// Something is left.
    Within,
    /// Nothing is.
    Exceeded,
    /// Its reset is over and no event has come since.
    Expired,
    /// The tenant has none.
    NoQuota,
    /// The request has no tenant.
    NoTenant,
    /// Nothing, or nothing that is recent enough.
    Unknown,
}

impl Found {
    const ALL: [Self; 6] = [
        Self::Within,
        Self::Exceeded,
        Self::Expired,
        Self::NoQuota,
        Self::NoTenant,
        Self::Unknown,
    ];

    /// The label `result`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Within => "within",
            Self::Exceeded => "exceeded",
            Self::Expired => "expired",
            Self::NoQuota => "no_quota",
            Self::NoTenant => "no_tenant",
            Self::Unknown => "unknown",
        }
    }
}

impl QuotaMetric {
    pub(crate) fn all() -> Vec<Self> {
        let mut all = vec![Self::Hops, Self::Tenants, Self::ProxyUp];
        all.extend(Found::ALL.map(Self::Requests));
        all.extend([Mode::Alert, Mode::Enforce].map(|mode| Self::Exceeded { mode }));
        all.extend(["request", "tick"].map(|by| Self::Lookups { by }));
        all.extend(SILENT.map(|reason| Self::Failures { reason }));
        all
    }
}

impl Metric for QuotaMetric {
    fn kind(&self) -> Kind {
        match self {
            Self::Tenants | Self::ProxyUp => Kind::Gauge,
            _ => Kind::Counter,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Requests(_) => "portcullis_quota_requests",
            Self::Exceeded { .. } => "portcullis_quota_exceeded",
            Self::Hops => "portcullis_quota_hops",
            Self::Lookups { .. } => "portcullis_quota_lookups",
            Self::Failures { .. } => "portcullis_quota_failures",
            Self::Tenants => "portcullis_quota_tenants",
            Self::ProxyUp => "portcullis_quota_proxy_up",
        }
    }

    fn labels(&self) -> Vec<(&'static str, Cow<'static, str>)> {
        match self {
            Self::Requests(found) => vec![("result", found.as_str().into())],
            Self::Exceeded { mode } => {
                let mode = match mode {
                    Mode::Enforce => "enforce",
                    Mode::Alert | Mode::Off => "alert",
                };
                vec![("mode", mode.into())]
            }
            Self::Lookups { by } => vec![("by", (*by).into())],
            Self::Failures { reason } => vec![("reason", (*reason).into())],
            Self::Hops | Self::Tenants | Self::ProxyUp => Vec::new(),
        }
    }
}
