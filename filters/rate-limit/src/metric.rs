//! What the filter counts beside allowed and denied requests.

use std::borrow::Cow;
use std::rc::Rc;

use policy::{Kind, Metric};
use wire::limits::Failure;

use crate::acquire;

/// `kong_ratelimit_throttled_total` (R6) and others with the prefix `portcullis_rate_limit_`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LimitMetric {
    /// Requests refused by a limit.
    Throttled(Whose),
    /// Requests that a limit in shadow mode would have refused (R18).
    Shadowed(Whose),
    /// Refusals by who decided: `local`, out of memory, or `store`, after a question.
    Refusals { by: &'static str },
    /// Requests that waited for an answer of redis-proxy, their own or another's.
    Hops,
    /// Calls to redis-proxy for tokens, by whether a `request` or a `tick` made them.
    Calls { by: &'static str },
    /// Tokens that the store granted.
    Granted,
    /// Tokens given back unspent.
    GivenBack,
    /// Questions without an answer: calls that failed and keys that the store could not decide.
    Failures { reason: &'static str },
    /// Requests decided without knowing the limit, by failure mode.
    Degraded { mode: &'static str },
    /// Pulls of the tier table that ended.
    TierPulls { ok: bool },
    /// Keys that this worker remembers.
    Keys,
    /// Whether redis-proxy answers: 1 or 0.
    ProxyUp,
}

/// Whose limit it was. A tenant that the tier table does not name is `other`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Whose {
    pub dimension: Rc<str>,
    pub tenant: Rc<str>,
    pub tier: Rc<str>,
}

impl LimitMetric {
    /// All but those with the labels of R6: dimensions, tenants and tiers are known when their limits bite.
    pub(crate) fn from_the_start() -> Vec<Self> {
        let mut all = vec![
            Self::Hops,
            Self::Granted,
            Self::GivenBack,
            Self::Keys,
            Self::ProxyUp,
        ];
        all.extend(["local", "store"].map(|by| Self::Refusals { by }));
        all.extend(["request", "tick"].map(|by| Self::Calls { by }));
        all.extend(["allow", "deny", "local"].map(|mode| Self::Degraded { mode }));
        all.extend([true, false].map(|ok| Self::TierPulls { ok }));
        let undecided = Failure::ALL.map(Failure::code);
        for reason in acquire::SILENT.into_iter().chain(undecided) {
            all.push(Self::Failures { reason });
        }
        all
    }
}

impl Metric for LimitMetric {
    fn known(&self) -> bool {
        !matches!(self, Self::Throttled(_) | Self::Shadowed(_))
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Keys | Self::ProxyUp => Kind::Gauge,
            _ => Kind::Counter,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Throttled(_) => "kong_ratelimit_throttled_total",
            Self::Shadowed(_) => "portcullis_rate_limit_shadowed",
            Self::Refusals { .. } => "portcullis_rate_limit_refusals",
            Self::Hops => "portcullis_rate_limit_hops",
            Self::Calls { .. } => "portcullis_rate_limit_calls",
            Self::Granted => "portcullis_rate_limit_granted",
            Self::GivenBack => "portcullis_rate_limit_given_back",
            Self::Failures { .. } => "portcullis_rate_limit_failures",
            Self::Degraded { .. } => "portcullis_rate_limit_degraded",
            Self::TierPulls { .. } => "portcullis_rate_limit_tier_pulls",
            Self::Keys => "portcullis_rate_limit_keys",
            Self::ProxyUp => "portcullis_rate_limit_proxy_up",
        }
    }

    fn labels(&self) -> Vec<(&'static str, Cow<'static, str>)> {
        match self {
            Self::Throttled(whose) | Self::Shadowed(whose) => vec![
                ("dimension", whose.dimension.to_string().into()),
                ("tenant", whose.tenant.to_string().into()),
                ("tier", whose.tier.to_string().into()),
            ],
            Self::Refusals { by } | Self::Calls { by } => vec![("by", (*by).into())],
            Self::Failures { reason } => vec![("reason", (*reason).into())],
            Self::Degraded { mode } => vec![("mode", (*mode).into())],
            Self::TierPulls { ok } => {
                vec![("result", if *ok { "ok" } else { "failed" }.into())]
            }
            Self::Hops | Self::Granted | Self::GivenBack | Self::Keys | Self::ProxyUp => Vec::new(),
        }
    }
}
